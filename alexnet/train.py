"""The paper's recipe (section 5) on a folder of pictures: ``python -m alexnet.train --data DIR --out DIR``.

Batches of 128, momentum 0.9, decay 0.0005 of the weights, rate 0.01, divided by 10 when the held-out error stalls. DIR holds
``train/`` and ``val/`` with a folder of pictures for each class. ``torchrun --nproc-per-node 2 -m alexnet.train ...`` shares
the batch among processes.

All that is random hangs on the seed, the epoch, the step and the picture, and on nothing that went before. So there is no
random state to keep: a run that was killed and resumed, or shared among more processes, draws the same.
"""

import argparse
import dataclasses
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
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
from alexnet.data import Squares, data_set, some
from alexnet.evaluate import Trained, hits, usable
from alexnet.model import VARIANTS, AlexNet, check
from alexnet.two_gpu import TwoGPUAlexNet

SAMPLE = 5_000  # pictures that the mean and the colours are taken from
MOST_BROKEN = 0.01  # share of the pictures that may be broken, of those to train on and of those to test on
MOST_PIXELS = 4096  # a side
# What a run that is resumed keeps: with other values its weights would not be what they are
FIXED = ("variant", "two_gpu", "batch_size", "lr", "patience", "dropout", "resize", "crop", "amp", "seed")


class PaperSGD(torch.optim.Optimizer):
    """The update rule of section 5: v ← momentum·v − weight_decay·ε·w − ε·gradient; w ← w + v.

    The rate ε stands inside the velocity, as in ``weights.cu`` of 2012. In :class:`torch.optim.SGD` it stands outside:
    w ← w − ε·v. The two agree as long as the rate stays; when it drops, what the old rate put into the velocity goes on
    at the old rate here, and at the new one there.

    Args:
        params: parameters, or groups of them, as for every optimiser.
        lr: the rate ε.
        momentum: share of the velocity that stays, 0 to 1.
        weight_decay: pull of a weight to zero, as a share of ε.

    Raises:
        ValueError: if one of the numbers is negative, or the momentum is 1 or more.
    """

    def __init__(self, params: Iterable, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 5e-4) -> None:
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(f"lr {lr} and weight_decay {weight_decay} are 0 or more, momentum {momentum} is 0 or more and below 1")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Move every parameter that has a gradient. ``closure``, if any, computes the loss anew, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                if "velocity" not in self.state[w]:
                    self.state[w]["velocity"] = torch.zeros_like(w)
                v = self.state[w]["velocity"]
                v.mul_(group["momentum"]).add_(w, alpha=-decay * rate).add_(w.grad, alpha=-rate)
                w.add_(v)
        return loss


@dataclass(frozen=True)
class Options:
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
        if not 1 <= crop <= resize <= MOST_PIXELS:
            raise ValueError(f"--resize {resize} has no room for --crop {crop}: they are 1 to {MOST_PIXELS}, and the crop is not the larger one")
        object.__setattr__(self, "crop", crop)
        object.__setattr__(self, "resize", resize)


class Stopped(Exception):
    """A run ended before its last epoch. The text says why; ``code`` is the exit status."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


def train(options: Options, state: dict | None = None) -> list[dict]:
    """Train a net, from the beginning or from a checkpoint's state, and leave it in ``options.out``.

    There are then ``checkpoint.pt``, ``previous.pt``, ``log.jsonl`` with a line an epoch, and ``model.safetensors``.

    Returns:
        The lines of the log.

    Raises:
        OSError: for a missing folder, a full disk.
        ValueError: for a data set, a device or an output folder that does not do.
        Stopped: at SIGINT or SIGTERM, for a loss that is not finite, for too many broken pictures.
    """
    training = Training(options, state)
    with training.signals:
        while training.epoch < options.epochs:
            training.learn()
            training.finish_epoch()
        training.share()
    return training.history


class Training:
    """A run: what it trains, and how far it is."""

    def __init__(self, options: Options, state: dict | None) -> None:
        self.options, self.devices = options, devices_for(options)
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.folder, self.held_out = data_set(options.data)
        self.pictures = len(self.folder.paths)
        if options.batch_size % self.world:
            raise ValueError(f"--batch-size {options.batch_size} cannot be shared by {self.world} processes: take a multiple of {self.world}")
        self.steps = self.pictures // options.batch_size
        if not self.steps:
            raise ValueError(f"{self.folder.root} has {self.pictures} pictures, less than a batch of {options.batch_size}: lower --batch-size")
        self.names = _names([*self.folder.paths, *self.held_out.paths], options.data)
        if state and state["names"] != self.names:
            raise ValueError(
                f"{options.data} has not the pictures that {options.out} was begun with ({self.pictures} to train on now, {state['pictures']} then, "
                "or other names): bring them back, or begin anew in another folder"
            )
        here, on_gpu = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), self.devices[0].type == "cuda"
        self.sets = [Squares(part, options.resize, options.workers, 0.25 / here, on_gpu) for part in (self.folder, self.held_out)]
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
        check(torch.empty(1, 3, options.crop, options.crop, device="meta"), options.variant, net.config, net.sizes)
        if state:
            mean, std, pca = state["mean"], state["std"], PCAColor(*state["pca"])
        else:
            mean, std, pca = self._statistics(raw=net.config.init == "paper")
        self.augment = TrainAugment(options.crop, mean, std.flatten(), pca).to(device)
        self.net = TwoGPUAlexNet.from_alexnet(net, tuple(self.devices)) if options.two_gpu else net.to(device)
        self.net.to(memory_format=torch.channels_last)
        self.trained = Trained(self.net, self.folder.classes, options.resize, options.crop, mean.to(device), std.to(device))
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
        chosen = torch.randperm(self.pictures, generator=torch.Generator().manual_seed(self.options.seed))[:SAMPLE].sort().values
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
                x = self.augment.given(squares.to(self.devices[0], non_blocking=True), window, self.augment.pca.of(alpha), buffer[: len(indices)])
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
        torch.manual_seed(_key(self.options.seed, self.epoch, self.step, self.rank))
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
            raise Stopped(
                f"the loss is {losses[bad[0, 0]]} in epoch {self.epoch + 1}, step {first + bad[0, 0] + 1}: begin anew in another folder with {lower}"
                f"; {self.options.out / checkpoint.LAST} is from before"
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
            _tensorboard(self.options.out, entry)
        self.stop_if_told()

    def validate(self) -> tuple[float, float]:
        """Top-1 and top-5 accuracy on the held-out pictures, centre crop."""
        size, per_process = self.options.batch_size, self.options.batch_size // self.world
        count = torch.zeros(3, dtype=torch.int64)
        chosen = torch.arange(len(self.held_out.paths))
        mine = (batch[self.rank * per_process :][:per_process] for batch in chosen.split(size))
        for indices, squares in self.sets[1].batches(mine):
            if len(indices):
                found = hits(self.trained.probabilities(squares.to(self.devices[0])).cpu(), self.held_out.labels[indices])
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
        too_many = next((s for s in self.sets if len(s.broken) > MOST_BROKEN * len(s.paths)), None)
        if not (caught or too_many):
            return
        if self.losses:
            self.look(max(0, len(self.losses) - 20))  # what is not finite is not to be saved
        if hasattr(self, "trained"):  # else it has not begun
            self.save()
        if too_many:
            share = f"{len(too_many.broken)} of {len(too_many.paths)} pictures in {too_many.root} cannot be decoded, over {MOST_BROKEN:.0%}"
            raise Stopped(f"{share}: mend or remove {some(too_many.paths[i] for i in sorted(too_many.broken))}")
        where = f"in epoch {self.epoch + 1}, after step {self.step} of {self.steps}: --resume goes on there"
        raise Stopped(f"stopped by {signal.Signals(caught).name} {where}", 128 + caught)

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
            checkpoint.write(self.options.out, self._state(losses.cpu()))
            lines = "".join(json.dumps(entry) + "\n" for entry in self.history)
            checkpoint.put(self.options.out / "log.jsonl", lines.encode())  # whole: so it agrees with the checkpoint
        if self.world > 1:
            dist.barrier()  # or a process that ends would take this one with it

    def _fixed(self) -> dict:
        return {name: getattr(self.options, name) for name in FIXED}

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
            checkpoint.write_weights(self.options.out / "model.safetensors", tensors, card)

    def _draws(self) -> tuple[Tensor, ...]:
        """Of an epoch: the order of the pictures; for each picture the window's top and left, its flip, and α1 to α3."""
        g = torch.Generator().manual_seed(_key(self.options.seed, self.epoch))
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
            raise Stopped(f"stopped at once by a second {signal.Signals(which).name}: --resume goes on from the last checkpoint", 128 + which)
        self.caught = which


def devices_for(options: Options) -> list[torch.device]:
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
    return [usable(name)] * columns


def _key(*numbers: int) -> int:
    """A seed out of several numbers, as good as independent of that of any others."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _names(paths: Iterable[str], root: Path) -> str:
    return hashlib.sha256(os.fsencode("\n".join(os.path.relpath(path, root) for path in paths))).hexdigest()


def _tensorboard(out: Path, entry: dict) -> None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return
    with SummaryWriter(str(out / "tensorboard")) as writer:
        for name in ("loss", "top1", "top5", "lr"):
            writer.add_scalar(name, entry[name], entry["epoch"])


# The command


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    said = parser.parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _end_at_once)
    try:
        if "RANK" in os.environ:
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() and said.device != "cpu" else "gloo")
        with _folder(said.out) if _first() else nullcontext():
            state = _begin(said)
            if state:  # what this command line does not say is as it was
                parser.set_defaults(**state["options"])
            options = Options(**vars(parser.parse_args(arguments)))
            if state:
                _check_same(options, state["options"])
            if state and state["epoch"] >= options.epochs and _first():
                print(f"{options.out} has {state['epoch']} epochs already: more with --epochs", file=sys.stderr)
            train(options, state)
    except (OSError, ValueError) as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("stopped before the first step")
    except Stopped as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.code)
    except RuntimeError as problem:
        if _first():
            raise
        sys.exit(f"process {dist.get_rank()} ends, since it lost another one ({type(problem).__name__})")
    finally:
        signal.signal(signal.SIGTERM, before)
        if dist.is_initialized():
            dist.destroy_process_group()


def _first() -> bool:
    """Whether this process is the one that writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def _end_at_once(which: int, _: object) -> None:
    raise Stopped(f"stopped by {signal.Signals(which).name} before the first step", 128 + which)


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """The output folder, made if need be, for one run at a time; removed if the run leaves nothing in it."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as problem:
        raise OSError(f"{out} cannot be made ({problem.strerror}): name another folder with --out") from problem
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as problem:
        raise OSError(f"another run is writing to {out}: wait for it, or name another folder with --out") from problem
    finally:
        os.close(folder)
        with suppress(OSError):
            out.rmdir()


def _begin(said: argparse.Namespace) -> dict | None:
    """The state to go on from, the same in every process, or None to begin; refuses a folder that holds something else."""
    state = [None]
    if _first():
        for part in ("train", "val", "test"):
            if (said.data / part).resolve() in (said.out.resolve(), *said.out.resolve().parents):
                raise ValueError(f"{said.out} lies among the pictures, in {said.data / part}: name a folder elsewhere with --out")
        there = sorted(os.listdir(said.out))
        if there and not said.resume:
            raise ValueError(f"{said.out} is not empty ({there[0]}): go on there with --resume, or name another folder with --out")
        state = [checkpoint.latest(said.out)]
        if said.resume and state[0] is None:
            if set(there) - {"checkpoint.part"}:
                raise ValueError(f"{said.out} holds no checkpoint to resume from, but {there[0]}: name the folder of the run")
            print(f"nothing to resume in {said.out} yet: the run begins", file=sys.stderr)
    if dist.is_initialized():
        dist.broadcast_object_list(state)
    return state[0]


def _check_same(options: Options, before: dict) -> None:
    for name in FIXED:
        now = getattr(options, name)
        if now != before[name]:
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"{options.out} was begun with {flag} {before[name]}, not {now}: leave {flag} out, or begin anew in another folder")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alexnet.train", description=__doc__.split("\n\n")[0])
    default = {field.name: field.default for field in dataclasses.fields(Options)}

    def add(name: str, kind: Callable, text: str, **more: object) -> None:
        parser.add_argument(f"--{name}", type=kind, default=default[name.replace("-", "_")], help=text, **more)

    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, a folder of pictures for each class in them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints, the log and the weights")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    add("variant", str, "which net (%(default)s)", choices=VARIANTS)
    parser.add_argument("--two-gpu", action="store_true", help="a column on each of two devices")
    add("epochs", int, "passes over the pictures (%(default)s)")
    add("batch-size", int, "pictures a step, over all processes (%(default)s)")
    add("lr", float, "learning rate to begin with (%(default)s)")
    add("patience", int, "epochs without progress before the rate falls (%(default)s)")
    add("dropout", float, "probability of a zero in fc6 and fc7 (the variant's)")
    add("resize", int, "side of the square that is cut out of a picture (8/7 of the crop: 256 for 224)")
    add("crop", int, "side of the window that the net sees (the variant's)")
    add("workers", int, "threads that decode pictures (%(default)s)")
    add("amp", str, "compute in bfloat16, keep the weights in float32; on a CPU without AVX-512 that is slower", choices=["bf16"])
    parser.add_argument("--compile", action="store_true", help="torch.compile, which takes a minute at first")
    add("device", str, "cpu, cuda or cuda:1 (a GPU where there is one)")
    add("seed", int, "of the weights, the order, the windows and the masks (%(default)s)")
    return parser


if __name__ == "__main__":
    main()
