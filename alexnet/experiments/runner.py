"""The runs of an experiment, and their record: a JSON file that is written after each run."""

import datetime
import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from alexnet.checkpoint import save_weights
from alexnet.console import printable
from alexnet.datasets import InMemoryDataset
from alexnet.experiments.config import MODIFIED_NETS, PRETRAINING, ExperimentConfig, describe
from alexnet.experiments.fit import autocast_dtype, fit, preprocess
from alexnet.experiments.gabor import explained_variance
from alexnet.experiments.nets import build_net
from alexnet.visualize import color_fraction

# Where the recorded runs of the book are, in a checkout
RUNS = Path(__file__).parents[2] / "book" / "runs"

LICENSE = "BSD-3-Clause"  # of the weights that come with the book


class Runner:
    """Trains the runs that an experiment asks for and records them in one file.

    The constructor reads and writes nothing. Call :meth:`load_recorded` before the first
    :meth:`run`, or everything is trained anew.

    Args:
        name: of the experiment.
        dataset: what to train and test on.
        folder: holds ``NAME.json``; it must exist.
        device: where to train, such as ``"cpu"`` or ``"cuda:1"``.
        num_seeds: how many seeds a configuration gets, from 0.
        max_epochs: upper limit to the epochs of every run.
        quick: small batches, to check that an experiment works.
    """

    def __init__(
        self,
        name: str,
        dataset: InMemoryDataset,
        folder: Path,
        device: str,
        num_seeds: int,
        max_epochs: int | None = None,
        quick: bool = False,
    ) -> None:
        self.dataset = dataset
        self.device = device
        self.seeds = range(num_seeds)
        self.max_epochs = max_epochs
        self.quick = quick
        self.path = folder / f"{name}.json"
        command = f"python -m alexnet.experiments {name}"
        self.header = {
            "experiment": name,
            "command": f"{command} --quick" if quick else command,
            "options": {"seeds": num_seeds, "epochs": max_epochs},
            "data": {
                "name": dataset.name,
                "train": len(dataset.train_images),
                "test": len(dataset.test_images),
                "classes": list(dataset.classes),
            },
        }
        self.runs: list[dict] = []  # those asked for so far, in that order
        self._known: dict[str, dict] = {}  # recorded or trained runs by their configuration
        # The tensors of the last run and what they were made from: one copy at a time is held
        # in floating point.
        self._data: tuple[Tensor, ...] = ()
        self._data_key: tuple | None = None
        # The last net that runs began with, its curve, and what it was made from
        self._pretrained: tuple[nn.Module, dict] | None = None
        self._pretrained_key: tuple | None = None

    def load_recorded(self) -> None:
        """Take over the runs on the same data set that the files of the folder hold.

        They come from earlier, interrupted commands and from other experiments.

        Raises:
            ValueError: for a file that is no record of runs, or if ``NAME.json`` was made by
                another command, with other options, or on other data.
        """
        for path in sorted(self.path.parent.glob("*.json")):
            try:
                file = json.loads(path.read_text(encoding="utf-8"))
                recorded = {_config_key(run["config"]): run for run in file["runs"]}
                if file["data"] == self.header["data"]:
                    self._known |= recorded
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise ValueError(
                    f"{path} is not a file of recorded runs ({error!r}): "
                    "move it away, or give another folder with --out"
                ) from error
            if path == self.path:
                self._check_header(file)

    def _check_header(self, file: dict) -> None:
        for field in ("command", "options", "data"):
            if file.get(field) != self.header[field]:
                raise ValueError(
                    f"{self.path} was made with other {field} ({file.get(field)}): "
                    "give another folder with --out, or move the file away"
                )

    def run(self, config: ExperimentConfig) -> dict:
        """The run of a configuration, recorded earlier or trained and recorded now.

        Returns:
            What the file holds of it: ``config``, ``curve`` (see
            :func:`alexnet.experiments.fit.fit`), ``seconds``, ``date``, ``device``,
            ``machine`` and ``precision``.

        Raises:
            OSError: if the file cannot be written.
        """
        config = self._limit(config)
        key = _config_key(asdict(config))
        is_new = key not in self._known
        if is_new:
            self._known[key] = self._train(config)
        run = self._known[key]
        if run not in self.runs:
            self.runs.append(run)
            self._save()
        if is_new:
            self._print_progress(config, run)
        return run

    def _limit(self, config: ExperimentConfig) -> ExperimentConfig:
        """The configuration within the limits of the data set and the command line."""
        num_images = len(self.dataset.train_images)
        if config.num_classes is not None:
            most = len(self.dataset.classes)
            if config.pretrain_epochs:
                most //= 2  # of few classes, half are left to begin with
            num_classes = min(config.num_classes, most)
            config = replace(config, num_classes=num_classes)
            num_images = num_images // len(self.dataset.classes) * num_classes
        if config.test != "each epoch":
            num_images = num_images // 10 * 9
        config = replace(config, train_images=min(config.train_images, num_images))
        if self.max_epochs is not None:
            config = replace(
                config,
                epochs=min(config.epochs, self.max_epochs),
                pretrain_epochs=min(config.pretrain_epochs, self.max_epochs),
            )
        if self.quick:
            config = replace(config, batch_size=32)
        return config

    def _print_progress(self, config: ExperimentConfig, run: dict) -> None:
        num_epochs = len(run["curve"]["loss"])
        progress = f"{self.path.stem} {len(self.runs)}: {describe(config)}"
        with suppress(BrokenPipeError):  # the reader of the pipe may have exited
            print(printable(f"{progress}: {num_epochs} epochs, {run['seconds']} s"), flush=True)

    def _train(self, config: ExperimentConfig) -> dict:
        pretrained, pretraining = None, None
        if config.pretrain_epochs:
            pretrained, pretraining = self._pretrain(config)
        data, held_out = self._preprocessed(config)
        start = time.perf_counter()
        num_classes = config.num_classes or len(self.dataset.classes)
        net, curve = fit(config, data, num_classes, held_out, pretrained)
        if pretraining is not None:
            curve["pretraining"] = pretraining
        if config.net in MODIFIED_NETS:
            curve["coloured"] = self._kernel_colors(config, net)
        if config.net == "first-layer":
            curve["explained"] = self._save_kernels(net)
        seconds = round(time.perf_counter() - start, 1)

        run = {"config": json.loads(_config_key(asdict(config))), "curve": curve}
        run["seconds"] = seconds
        if "augment_share" in curve:
            # It depends on the machine, like the seconds; a curve depends on the seed only
            run["augment_share"] = curve.pop("augment_share")
        run["date"] = str(datetime.date.today())
        run["device"] = torch.device(self.device).type
        run["machine"] = describe_machine(self.device)
        run["precision"] = autocast_dtype(torch.device(self.device))
        return run

    def _pretrain(self, config: ExperimentConfig) -> tuple[nn.Module, dict]:
        """The net that a run begins with, trained on the classes that it leaves out; its curve."""
        key = (config.num_classes, config.pretrain_epochs, config.seed)
        if key != self._pretrained_key:
            self._data, self._data_key = (), None  # this data set is the largest
            split = self.dataset.leave_out_classes(config.num_classes).hold_out()
            source = replace(
                PRETRAINING,
                train_images=len(split.train_images),
                epochs=config.pretrain_epochs,
                seed=config.seed,
                batch_size=config.batch_size if self.quick else PRETRAINING.batch_size,
            )
            data = preprocess(split, source.pixels, source.crop, self.device)
            self._pretrained = fit(source, data, len(split.classes), data[2:])
            self._pretrained_key = key
        return self._pretrained

    def _preprocessed(self, config: ExperimentConfig) -> tuple[tuple[Tensor, ...], tuple | None]:
        """The data of a run, and the images that it holds out with their labels."""
        holds_out = config.test != "each epoch"
        key = (config.train_images, config.num_classes, holds_out, config.pixels, config.crop)
        if key == self._data_key:
            return self._data
        self._data = ()  # before the next copy is made
        dataset = self.dataset
        if config.num_classes is not None:
            dataset = dataset.take_classes(config.num_classes)
        held_out = None
        if holds_out:
            split = dataset.hold_out()
            held_out = (split.test_images.to(self.device), split.test_labels.to(self.device))
            dataset = replace(
                dataset, train_images=split.train_images, train_labels=split.train_labels
            )
        if config.train_images < len(dataset.train_images):
            dataset = dataset.subset(config.train_images)
        data = preprocess(dataset, config.pixels, config.crop, self.device)
        self._data = (data, held_out)
        self._data_key = key
        return self._data

    def _kernel_colors(self, config: ExperimentConfig, net: nn.Module) -> list[list[float]]:
        """How colored each first kernel is: before training, and after."""
        num_classes = config.num_classes or len(self.dataset.classes)
        untrained = build_net(config, num_classes, config.crop)
        colors = []
        for model in (untrained, net):
            kernels = next(model.parameters()).detach()  # (kernels, 3, height, width)
            colors.append([round(color, 3) for color in color_fraction(kernels).tolist()])
        return colors

    def _save_kernels(self, net: nn.Module) -> dict[str, list[float]]:
        """Write the first kernels to NAME.safetensors, and return how well they are explained."""
        metadata = {
            "command": self.header["command"],
            "data": self.header["data"]["name"],
            "date": str(datetime.date.today()),
            "licence": LICENSE,
        }
        kernels = net.features.conv1.weight.detach().cpu()
        save_weights(self.path.with_suffix(".safetensors"), {"conv1": kernels}, metadata)
        explained = zip(("gabor", "blob"), explained_variance(kernels))
        return {name: [round(r2, 3) for r2 in found.tolist()] for name, found in explained}

    def _save(self) -> None:
        """Write the file anew, one line a run; runs that it held before stay in it."""
        asked_for = {_config_key(run["config"]) for run in self.runs}
        runs = list(self.runs)
        if self.path.exists():
            for run in json.loads(self.path.read_text(encoding="utf-8"))["runs"]:
                if _config_key(run["config"]) not in asked_for:
                    runs.append(run)
        header = json.dumps(self.header, indent=1).removesuffix("\n}")
        lines = ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs)
        self.replace_file(f'{header},\n "runs": [\n{lines}\n]}}\n')

    def replace_file(self, text: str) -> None:
        """Write the record; a file that was there is kept if that fails.

        Raises:
            OSError: if it cannot be written.
        """
        # A complete file gets the name, so that a killed command leaves the earlier one. Not
        # checkpoint.atomic_write, which advises --resume and waits for the disk after each run.
        part = self.path.with_suffix(f".{os.getpid()}.part")
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, self.path)
        except OSError as error:
            raise OSError(f"{self.path} cannot be written ({error.strerror})") from error
        finally:
            part.unlink(missing_ok=True)


def _config_key(config: dict) -> str:
    """A configuration as JSON, with all fields.

    A field that was added after a file was recorded had its default value then.
    """
    return json.dumps(asdict(ExperimentConfig()) | config, sort_keys=True)


def describe_machine(device: str) -> str:
    """The hardware by name, and the versions that the numbers may depend on."""
    if torch.device(device).type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        capability = torch.backends.cpu.get_cpu_capability()
        hardware = f"{_cpu_name()}, {capability}, {torch.get_num_threads()} threads"
    versions = (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"Python {platform.python_version()}"
    )
    return f"{hardware}; {versions}"


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # on Linux; elsewhere only the architecture is known
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.machine()
