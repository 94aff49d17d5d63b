"""Runs and their records: what is finished is kept in one JSON file an experiment."""


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
from tqdm import tqdm

from alexnet.checkpoint import save_weights
from alexnet.datasets import InMemoryDataset
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.fit import fit, compute_precision, preprocess
from alexnet.experiments.nets import build_net
from alexnet.visualize import color_fraction



RUNS = Path(__file__).parents[2] / "book" / "runs"


LICENSE = "BSD-3-Clause"  # of the weights that the book comes with


class Runner:
    """Runs experiments and keeps what they find in one file, written anew after every run."""

    def __init__(self, name: str, pictures: InMemoryDataset, folder: Path, device: str, seeds: int, most_epochs: int | None, quick: bool) -> None:
        self.pictures, self.device, self.most_epochs, self.quick = pictures, device, most_epochs, quick
        self.seeds = range(seeds)
        self.path = folder / f"{name}.json"
        self.head = {
            "experiment": name,
            "command": f"python -m alexnet.experiments {name}" + " --quick" * quick,
            "options": {"seeds": seeds, "epochs": most_epochs},
            "data": {"name": pictures.name, "train": len(pictures.train_images), "test": len(pictures.test_images), "classes": list(pictures.classes)},
        }
        self.known = _load_known(folder, self.head["data"])
        if self.path.exists():
            before = json.loads(self.path.read_text())
            for what in ("command", "options", "data"):
                if before.get(what) != self.head[what]:
                    raise ValueError(f"{self.path} was made with other {what} ({before.get(what)}): give another folder with --out, or move the file away")
        self.runs: list[dict] = []
        self._data: tuple = ()

    def run(self, setting: ExperimentConfig) -> dict:
        """The run of a setting: recorded before, here or in another experiment's file, or trained now and recorded."""
        if self.most_epochs:
            setting = replace(setting, epochs=min(setting.epochs, self.most_epochs))
        setting = replace(setting, train_images=min(setting.train_images, len(self.pictures.train_images)), batch_size=32 if self.quick else setting.batch_size)
        key = _config_key(asdict(setting))
        new = key not in self.known
        if new:
            self.known[key] = self._train(setting)
        run = self.known[key]
        if run not in self.runs:
            self.runs.append(run)
            self._save()
        if new:
            with suppress(BrokenPipeError):  # whoever reads it may leave
                print(f"{self.path.stem} {len(self.runs)}: {describe(setting)}: {len(run['curve']['loss'])} epochs, {run['seconds']} s", flush=True)
        return run

    def _train(self, setting: ExperimentConfig) -> dict:
        what = (setting.train_images, setting.pixels, setting.crop)
        if not self._data or self._data[0] != what:  # one set at a time is held in floating point
            self._data = ()
            chosen = self.pictures if setting.train_images == len(self.pictures.train_images) else self.pictures.subset(setting.train_images)
            self._data = what, preprocess(chosen, setting.pixels, setting.crop, self.device)
        start = time.perf_counter()
        with tqdm(total=setting.epochs, desc=describe(setting), unit="epoch", disable=None) as bar:
            model, curve = fit(setting, self._data[1], len(self.pictures.classes), bar)
        if setting.net == "two-column":
            untrained = build_net(setting, len(self.pictures.classes), 24)
            curve["coloured"] = [[round(c, 3) for c in color_fraction(next(net.parameters()).detach()).tolist()] for net in (untrained, model)]
        if setting.net == "first-layer":
            card = {"command": self.head["command"], "data": self.head["data"]["name"], "date": str(datetime.date.today()), "licence": LICENSE}
            save_weights(self.path.with_suffix(".safetensors"), {"conv1": model.features.conv1.weight.detach().cpu()}, card)
        seconds = round(time.perf_counter() - start, 1)
        share = {"augment_share": curve.pop("augment_share")} if "augment_share" in curve else {}  # a time, like the seconds
        made = {"date": str(datetime.date.today()), "machine": describe_machine(self.device), "precision": compute_precision(torch.device(self.device))}
        return {"config": json.loads(_config_key(asdict(setting))), "curve": curve, "seconds": seconds, **share, **made}

    def _save(self) -> None:
        """What an earlier command recorded and this one has not come to yet stays in the file."""
        earlier = json.loads(self.path.read_text())["runs"] if self.path.exists() else []
        kept = {_config_key(run["config"]) for run in self.runs}
        runs = self.runs + [run for run in earlier if _config_key(run["config"]) not in kept]
        part = self.path.with_suffix(f".{os.getpid()}.part")
        head = json.dumps(self.head, indent=1)[:-2]
        try:
            part.write_text(head + ',\n "runs": [\n' + ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs) + "\n]}\n")
            os.replace(part, self.path)
        except OSError as problem:
            raise OSError(f"{self.path} cannot be written ({problem.strerror})") from problem
        finally:
            part.unlink(missing_ok=True)


def _load_known(folder: Path, data: dict) -> dict[str, dict]:
    """The runs on some data that the files of a folder hold, by setting.

    Raises:
        ValueError: for a file that is no record of runs.
    """
    known = {}
    for path in sorted(folder.glob("*.json")):
        try:
            file = json.loads(path.read_text())
            known |= {_config_key(run["config"]): run for run in file["runs"] if file["data"] == data}
        except (KeyError, TypeError, ValueError) as problem:
            raise ValueError(f"{path} is no file of recorded runs ({problem!r}): move it away, or give another folder with --out") from problem
    return known


def _config_key(setting: dict) -> str:
    """A setting as text. A field that a file does not have yet had its default when the file was written."""
    return json.dumps(asdict(ExperimentConfig()) | setting, sort_keys=True)


def describe(setting: ExperimentConfig) -> str:
    """What sets a setting apart from the default one."""
    default = asdict(ExperimentConfig())
    return ", ".join(f"{name} {value}" for name, value in asdict(setting).items() if value != default[name])


def describe_machine(device: str) -> str:
    """The hardware by name, and the versions that the figures may depend on."""
    if torch.device(device).type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        kind = torch.backends.cpu.get_cpu_capability()
        where = f"{names[0] if names else platform.machine()}, {kind}, {torch.get_num_threads()} threads"
    return f"{where}; torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
