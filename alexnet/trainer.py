"""The paper's recipe."""


import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision.transforms.v2.functional import center_crop
from tqdm import tqdm

from alexnet import checkpoint
from alexnet.augment import PCAColor, TrainAugment
from alexnet.loader import CachedImageLoader, train_val_folders, join_names
from alexnet.distributed import resolve_device
from alexnet.model import VARIANTS, AlexNet, check_images
from alexnet.optim import PaperSGD
from alexnet.predictor import Predictor, topk_correct
from alexnet.two_gpu import TwoGPUAlexNet



STATISTICS_SAMPLE = 5_000  # pictures that the mean and the colours are taken from


MAX_BROKEN_FRACTION = 0.01  # share of the pictures that may be broken, of those to train on and of those to test on


MAX_SIDE = 4096  # a side


# What a run that is resumed keeps: with other values its weights would not be what they are
RESUME_INVARIANT = ("variant", "two_gpu", "batch_size", "lr", "patience", "dropout", "resize", "crop", "amp", "seed")


@dataclass(frozen=True)
class TrainConfig:
    """What the command line says; without a word, the paper's recipe.

    Raises:
        ValueError: for a number out of its range.
    """

    data: Path
    out: Path
    variant: str = "paper"
    two_gpu: bool = False
    epochs: int = 90
    batch_size: int = 128
    lr: float = 0.01
    patience: int = 5  # the paper has no figure
    dropout: float | None = None
    resize: int | None = None
    crop: int | None = None
    workers: int = os.cpu_count() or 1
    amp: str | None = None
    compile: bool = False
    device: str | None = None
    seed: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr", "workers"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')} is above zero, not {getattr(self, name)}")
        if self.patience < 0:
            raise ValueError(f"--patience is 0 or more, not {self.patience}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed is 0 or more and below 2^32, not {self.seed}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout is 0 or more and below 1, not {self.dropout}")
        crop = VARIANTS[self.variant].input_size if self.crop is None else self.crop
        resize = crop * 8 // 7 if self.resize is None else self.resize  # as 256 to 224
        if not 1 <= crop <= resize <= MAX_SIDE:
            raise ValueError(f"--resize {resize} has no room for --crop {crop}: they are 1 to {MAX_SIDE}, and the crop is not the larger one")
        object.__setattr__(self, "crop", crop)
        object.__setattr__(self, "resize", resize)


class TrainingStopped(Exception):
    """A run ended before its last epoch. The text says why; ``code`` is the exit status."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


def train(options: TrainConfig, state: dict | None = None) -> list[dict]:
    """Train a net, from the beginning or from a checkpoint's state, and leave it in ``options.out``.

    There are then ``checkpoint.pt``, ``previous.pt``, ``log.jsonl`` with a line an epoch, and ``model.safetensors``.

    Returns:
        The lines of the log.

    Raises:
        OSError: for a missing folder, a full disk.
        ValueError: for a data set, a device or an output folder that does not do.
        Stopped: at SIGINT or SIGTERM, for a loss that is not finite, for too many broken pictures.
    """
    training = Trainer(options, state)
    with training.signals:
        while training.epoch < options.epochs:
            training.learn()
            training.finish_epoch()
        training.share()
    return training.history


class Trainer:
    """A run: what it trains, and how far it is."""

    def __init__(self, options: TrainConfig, state: dict | None) -> None:
        self.options, self.devices = options, devices_for(options)
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.folder, self.held_out = train_val_folders(options.data)
        self.pictures = len(self.folder.paths)
        if options.batch_size % self.world:
            raise ValueError(f"--batch-size {options.batch_size} cannot be shared by {self.world} processes: take a multiple of {self.world}")
        self.steps = self.pictures // options.batch_size
        if not self.steps:
            raise ValueError(f"{self.folder.root} has {self.pictures} pictures, less than a batch of {options.batch_size}: lower --batch-size")
        self.names = _hash_paths([*self.folder.paths, *self.held_out.paths], options.data)
        if state and state["names"] != self.names:
            raise ValueError(
                f"{options.data} has not the pictures that {options.out} was begun with ({self.pictures} to train on now, {state['pictures']} then, "
                "or other names): bring them back, or begin anew in another folder"
            )
        here, on_gpu = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), self.devices[0].type == "cuda"
        self.sets = [CachedImageLoader(part, options.resize, options.workers, 0.25 / here, on_gpu) for part in (self.folder, self.held_out)]
        self.signals = Signals()
        self.epoch, self.step, self.losses, self.history = 0, 0, [], []  # epochs done; steps of this one, and their losses
        self.speed = 0.0  # images per second
        if state:
            for s, broken in zip(self.sets, state["broken"]):  # decoded again: what was mended is not broken any more
                for _ in s.batches([torch.tensor(list(broken), dtype=torch.int64)]):
                    pass
        self.named = [set(s.broken) for s in self.sets]  # broken pictures, to train on and to test on, that all processes know of
        self._build(state)
        if state:
            self.net.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.epoch, self.step, self.history = state["epoch"], state["step"], state["history"]
            self.losses = list(state["losses"].to(self.devices[0]))
        self.save()

    def _build(self, state: dict | None) -> None:
        """The net, its optimiser, and what is done to the pictures."""
        options, device = self.options, self.devices[0]
        torch.manual_seed(options.seed)
        net = AlexNet(len(self.folder.classes), options.variant, **({} if options.dropout is None else {"dropout": options.dropout}))
        check_images(torch.empty(1, 3, options.crop, options.crop, device="meta"), options.variant, net.config, net.sizes)
        if state:
            mean, std, pca = state["mean"], state["std"], PCAColor(*state["pca"])
        else:
            mean, std, pca = self._statistics(raw=net.config.init == "paper")
        self.augment = TrainAugment(options.crop, mean, std.flatten(), pca).to(device)
        self.net = TwoGPUAlexNet.from_alexnet(net, tuple(self.devices)) if options.two_gpu else net.to(device)
        self.net.to(memory_format=torch.channels_last)
        self.trained = Predictor(self.net, self.folder.classes, options.resize, options.crop, mean.to(device), std.to(device))
        weights, biases = ([p for p in self.net.parameters() if (p.ndim > 1) == many] for many in (True, False))
        self.optimizer = PaperSGD([{"params": weights}, {"params": biases, "weight_decay": 0.0}], lr=options.lr)
        # "Three times prior to termination" (section 5)
        self.schedule = ReduceLROnPlateau(self.optimizer, factor=0.1, patience=options.patience, min_lr=options.lr / 1000)
        self.model = torch.compile(self.net) if options.compile else self.net
        if self.world > 1:
            self.model = DistributedDataParallel(self.model)

    def _statistics(self, raw: bool) -> tuple[Tensor, Tensor, PCAColor]:
        """Mean picture, its centre cut out, as in ``convdata.py`` of 2012; standard deviation; colours.

        The paper leaves pixels 0 to 255, and its initialisation counts on that: then the deviation is one grey level.
        """
        chosen = torch.randperm(self.pictures, generator=torch.Generator().manual_seed(self.options.seed))[:STATISTICS_SAMPLE].sort().values
        total, count = torch.zeros(3, self.options.resize, self.options.resize, dtype=torch.float64), 0

        def batches() -> Iterator[Tensor]:
            nonlocal count
            for _, squares in self.sets[0].batches(tqdm(chosen.split(128), desc="mean and colours", unit=" batches", disable=self._quiet())):
                total.add_(squares.sum(0))
                count += len(squares)
                self.stop_if_told()
                if len(squares):
                    yield squares

        pca = PCAColor.fit(batches())
        mean = center_crop(total / (255 * count), [self.options.crop] * 2).float()
        variance = pca.eigenvectors.square() @ pca.eigenvalues  # of each channel
        if not (variance > 0).all():
            raise ValueError(f"{self.folder.root}: all pixels of its pictures are alike in red, green or blue: there is nothing to learn")
        return mean, (torch.full((3,), 1 / 255) if raw else variance.sqrt())[:, None, None], pca

    def learn(self) -> None:
        """The rest of an epoch's steps."""
        size, per_process = self.options.batch_size, self.options.batch_size // self.world
        order, *draws = self._draws()
        mine = (order[step * size + self.rank * per_process :][:per_process] for step in range(self.step, self.steps))
        buffer = torch.empty(per_process, 3, self.options.crop, self.options.crop, device=self.devices[0])
        start, first = time.perf_counter(), self.step
        bar = tqdm(total=self.steps * size, initial=self.step * size, desc=f"epoch {self.epoch + 1}", unit=" images", disable=self._quiet())
        with bar:
            for indices, squares in self.sets[0].batches(mine):
                *window, alpha = (draw[indices].to(self.devices[0]) for draw in draws)
                x = self.augment.transform(squares.to(self.devices[0], non_blocking=True), window, self.augment.pca.color_offset(alpha), buffer[: len(indices)])
                self.losses.append(self.update(x, self.folder.labels[indices].to(self.devices[0])))
                self.step += 1
                # To look at a loss is to wait for the GPU
                if self.devices[0].type == "cpu" or self.step % 20 == 0 or self.step == self.steps:
                    bar.set_postfix_str(f"loss {self.look(max(first, self.step - 20)):.3f}", refresh=False)
                bar.update(size)
                self.stop_if_told()
        self.speed = (self.step - first) * size / (time.perf_counter() - start)

    def update(self, x: Tensor, labels: Tensor) -> Tensor:
        """One step on a batch, float32 (N, 3, crop, crop), and its loss; dropout draws from what the seed and the place in the run give."""
        torch.manual_seed(_derive_seed(self.options.seed, self.epoch, self.step, self.rank))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.options.amp == "bf16"):
            logits = self.model(x)
        # By the whole batch, not by what is left of it: a broken picture counts nothing, in whatever process it is
        loss = F.cross_entropy(logits.float(), labels, reduction="sum") / (self.options.batch_size // self.world)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def look(self, first: int) -> float:
        """The last loss; stop if one since ``first`` is not finite."""
        losses = torch.stack(self.losses[first:]).cpu()
        bad = torch.nonzero(~losses.isfinite())
        if len(bad):
            lower = f"a lower --lr than {self.options.lr}" + ", or without --amp" * (self.options.amp is not None)
            raise TrainingStopped(
                f"the loss is {losses[bad[0, 0]]} in epoch {self.epoch + 1}, step {first + bad[0, 0] + 1}: begin anew in another folder with {lower}"
                f"; {self.options.out / checkpoint.CHECKPOINT} is from before"
            )
        return losses[-1].item()

    def finish_epoch(self) -> None:
        """Test, log, rate, checkpoint."""
        top1, top5 = self.validate()
        losses = self._mean_losses().double()
        entry = {
            "epoch": self.epoch + 1, "lr": self.optimizer.param_groups[0]["lr"], "loss": losses.mean().item(), "top1": top1, "top5": top5,
            "skipped": sum(map(len, self.named)), "images_per_second": round(self.speed, 1),
        }  # fmt: skip
        self.schedule.step(1 - top1)
        self.history.append(entry)
        self.epoch, self.step, self.losses = self.epoch + 1, 0, []
        self.save()
        if self.rank == 0:
            line = "epoch {epoch}: rate {lr:g}, loss {loss:.4f}, top-1 {top1:.2%}, top-5 {top5:.2%}, {images_per_second:,} images/s"
            with suppress(BrokenPipeError):  # whoever reads it may leave
                print(line.format(**entry), flush=True)
            _log_to_tensorboard(self.options.out, entry)
        self.stop_if_told()

    def validate(self) -> tuple[float, float]:
        """Top-1 and top-5 accuracy on the held-out pictures, centre crop."""
        size, per_process = self.options.batch_size, self.options.batch_size // self.world
        count = torch.zeros(3, dtype=torch.int64)
        chosen = torch.arange(len(self.held_out.paths))
        mine = (batch[self.rank * per_process :][:per_process] for batch in chosen.split(size))
        for indices, squares in self.sets[1].batches(mine):
            if len(indices):
                found = topk_correct(self.trained.probabilities(squares.to(self.devices[0])).cpu(), self.held_out.labels[indices])
                count += torch.tensor([*found, len(indices)])
            self.stop_if_told()
        if self.world > 1:
            dist.all_reduce(count)
        if not count[2]:
            raise ValueError(f"{self.held_out.root}: no picture can be decoded")
        return count[0].item() / count[2].item(), count[1].item() / count[2].item()

    def stop_if_told(self) -> None:
        """Stop if a signal came, or if too many pictures are broken: all processes at the same step, after a checkpoint."""
        mine = torch.tensor([self.signals.caught, *(len(s.broken) - len(known) for s, known in zip(self.sets, self.named))])
        told = [mine]
        if self.world > 1:
            told = [torch.empty_like(mine) for _ in range(self.world)]
            dist.all_gather(told, mine)
        caught, *broken = torch.stack(told).amax(0).tolist()
        if any(broken):
            self.merge_broken()
        too_many = next((s for s in self.sets if len(s.broken) > MAX_BROKEN_FRACTION * len(s.paths)), None)
        if not (caught or too_many):
            return
        if self.losses:
            self.look(max(0, len(self.losses) - 20))  # what is not finite is not to be saved
        if hasattr(self, "trained"):  # else it has not begun
            self.save()
        if too_many:
            share = f"{len(too_many.broken)} of {len(too_many.paths)} pictures in {too_many.root} cannot be decoded, over {MAX_BROKEN_FRACTION:.0%}"
            raise TrainingStopped(f"{share}: mend or remove {join_names(too_many.paths[i] for i in sorted(too_many.broken))}")
        where = f"in epoch {self.epoch + 1}, after step {self.step} of {self.steps}: --resume goes on there"
        raise TrainingStopped(f"stopped by {signal.Signals(caught).name} {where}", 128 + caught)

    def merge_broken(self) -> None:
        """Tell all processes of all broken pictures, and the user of those that are new."""
        for n, s in enumerate(self.sets):
            if self.world > 1:
                found: list = [None] * self.world
                dist.all_gather_object(found, dict(s.broken))
                for one in found:
                    s.broken.update(one)  # in place: the threads write to it
            for i in sorted(set(s.broken) - self.named[n]) if self.rank == 0 else ():
                tqdm.write(f"skipped: {s.paths[i]} ({s.broken[i]})", file=sys.stderr)
            self.named[n] = set(s.broken)

    def save(self) -> None:
        """A checkpoint and the log. Every process takes part, the first one writes."""
        losses = self._mean_losses()
        if self.rank == 0:
            self.options.out.mkdir(parents=True, exist_ok=True)
            checkpoint.save(self.options.out, self._state(losses.cpu()))
            lines = "".join(json.dumps(entry) + "\n" for entry in self.history)
            checkpoint.atomic_write(self.options.out / "log.jsonl", lines.encode())  # whole: so it agrees with the checkpoint
        if self.world > 1:
            dist.barrier()  # or a process that ends would take this one with it

    def _fixed(self) -> dict:
        return {name: getattr(self.options, name) for name in RESUME_INVARIANT}

    def _state(self, losses: Tensor) -> dict:
        pca = self.augment.pca
        return {
            "options": self._fixed(), "classes": list(self.folder.classes),
            "pictures": self.pictures, "names": self.names, "broken": [dict(s.broken) for s in self.sets],
            "model": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(),
            "mean": self.trained.mean.cpu(), "std": self.trained.std.cpu(), "pca": [pca.eigenvectors.cpu(), pca.eigenvalues.cpu()],
            "epoch": self.epoch, "step": self.step, "losses": losses, "history": self.history,
        }  # fmt: skip

    def share(self) -> None:
        """``model.safetensors``: the weights, with what it takes to use them."""
        if self.rank == 0:
            net = self.net.to_alexnet() if self.options.two_gpu else self.net
            tensors = {name: tensor.cpu() for name, tensor in net.state_dict().items()}
            tensors |= {"mean": self.trained.mean.cpu(), "std": self.trained.std.cpu()}
            card = {"variant": self.options.variant, "classes": list(self.folder.classes), "resize": self.options.resize, "crop": self.options.crop}
            log = [{name: value for name, value in entry.items() if name != "images_per_second"} for entry in self.history]  # equal runs, equal files
            card |= {"options": self._fixed(), "pictures": self.pictures, "log": log}
            checkpoint.save_weights(self.options.out / "model.safetensors", tensors, card)

    def _draws(self) -> tuple[Tensor, ...]:
        """Of an epoch: the order of the pictures; for each picture the window's top and left, its flip, and α1 to α3."""
        g = torch.Generator().manual_seed(_derive_seed(self.options.seed, self.epoch))
        room = self.options.resize - self.options.crop + 1
        top, left = torch.randint(room, (2, self.pictures), generator=g)
        flip, alpha = torch.rand(self.pictures, generator=g) < 0.5, torch.randn(self.pictures, 3, generator=g)
        return torch.randperm(self.pictures, generator=g), top, left, flip, alpha * self.augment.pca.std

    def _mean_losses(self) -> Tensor:
        """The losses of this epoch's steps, over all processes."""
        losses = torch.stack(self.losses) if self.losses else torch.zeros(0)
        if self.world > 1 and len(losses):
            dist.all_reduce(losses)
            losses /= self.world
        return losses

    def _quiet(self) -> bool | None:
        return True if self.rank else None  # None: a bar on a terminal only


class Signals:
    """SIGINT and SIGTERM wait until a step is done; a second one does not wait."""

    caught = 0

    def __enter__(self) -> None:
        self.before = {which: signal.signal(which, self._note) for which in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for which, handler in self.before.items():
            signal.signal(which, handler)

    def _note(self, which: int, _: object) -> None:
        if self.caught:
            raise TrainingStopped(f"stopped at once by a second {signal.Signals(which).name}: --resume goes on from the last checkpoint", 128 + which)
        self.caught = which


def devices_for(options: TrainConfig) -> list[torch.device]:
    """The device of this process, or its two.

    Raises:
        ValueError: if there are not so many; it names the argument that runs the command anyway.
    """
    place, here = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    columns, there = 2 if options.two_gpu else 1, torch.cuda.device_count()
    name = options.device or ("cuda" if there or options.two_gpu else "cpu")
    if name == "cuda":  # GPUs of its own for every process
        if there < here * columns:
            needed = f"{'--two-gpu' if options.two_gpu else '--device cuda'} needs {columns} GPU{'s' * (columns > 1)}" + f" for each of {here} processes" * (here > 1)
            share = "--device cuda:0 shares one, " if there else ""
            raise ValueError(f"{needed}, and this machine has {there}: {share}--device cpu runs it on the CPU")
        return [torch.device("cuda", place * columns + i) for i in range(columns)]
    return [resolve_device(name)] * columns


def _derive_seed(*numbers: int) -> int:
    """A seed out of several numbers, as good as independent of that of any others."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _hash_paths(paths: Iterable[str], root: Path) -> str:
    return hashlib.sha256(os.fsencode("\n".join(os.path.relpath(path, root) for path in paths))).hexdigest()


def _log_to_tensorboard(out: Path, entry: dict) -> None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return
    with SummaryWriter(str(out / "tensorboard")) as writer:
        for name in ("loss", "top1", "top5", "lr"):
            writer.add_scalar(name, entry[name], entry["epoch"])
