"""Training with the paper's recipe (section 5).

Batches of 128, momentum 0.9, a weight decay of 0.0005, and a learning rate that begins at 0.01
and is divided by 10 when the validation error stalls. The one-cycle schedule is for training
runs that are too short for that.

Every random draw is a function of (seed, epoch, step, image or place in the batch). So there is
no random state to keep: a run that is killed and resumed, or shared among more processes, draws
what an undisturbed one does.
"""

import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torchvision.transforms.v2 import functional as TF
from tqdm import tqdm

from alexnet import checkpoint
from alexnet.augment import PCAColor, TrainAugment
from alexnet.distributed import (
    ProcessGroup,
    current_group,
    devices_for,
    processes_here,
    shard_dropout,
)
from alexnet.loader import (
    MAX_SIDE,
    CachedImageLoader,
    ImageFolderIndex,
    canonical_name,
    join_names,
    print_left_out,
    read_class_words,
    train_val_folders,
)
from alexnet.model import VARIANTS, AlexNet, check_images
from alexnet.optim import PaperSGD
from alexnet.predictor import Predictor, load, topk_correct
from alexnet.resources import usable_cores
from alexnet.two_gpu import TwoGPUAlexNet

STATISTICS_SAMPLE = 5_000  # images from which the mean image and the PCA colors are computed
CACHE_FRACTION = 0.25  # of the memory of this machine, for training and for validation images each
MAX_BROKEN_FRACTION = 0.01  # of the training images, and of the validation images
CHECK_EVERY = 20  # steps between two looks at the loss, which make the CPU wait for the GPU
SCHEDULES = ("plateau", "one-cycle")
# Options that --resume may not change, since the weights so far were trained with them
RESUME_INVARIANT = (
    "variant", "init_from", "two_gpu", "batch_size", "schedule", "lr", "patience", "dropout",
    "resize", "crop", "amp", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """The options of ``python -m alexnet.train``; the defaults are the paper's recipe.

    Raises:
        ValueError: for a number out of its range, or an unknown variant or precision.
    """

    data: Path
    out: Path
    variant: str = "paper"
    init_from: str | None = None  # trained weights for all layers but the last: see load
    two_gpu: bool = False
    epochs: int = 90
    batch_size: int = 128  # over all processes
    schedule: str = "plateau"  # "one-cycle" (Smith and Topin, 2018) rises to lr, and falls to 0
    lr: float = 0.01  # to begin with, or at its highest
    patience: int = 5  # epochs without progress before the learning rate falls; the paper has none
    dropout: float | None = None  # None: the variant's
    resize: int | None = None  # side of the square that images are cut to; None: 8/7 of the crop
    crop: int | None = None  # side of what the net sees; None: the variant's
    workers: int = dataclasses.field(default_factory=usable_cores)
    cache: bool = True  # keep decoded images in memory: see CACHE_FRACTION
    amp: str | None = None  # or "bf16"
    compile: bool = False
    device: str | None = None
    seed: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr", "workers"):
            value = getattr(self, name)
            if not value > 0:  # written so that NaN fails, too
                raise ValueError(f"--{name.replace('_', '-')} must be > 0, got {value}")
        if self.variant not in VARIANTS:
            raise ValueError(f"--variant must be one of {', '.join(VARIANTS)}, got {self.variant}")
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"--schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule}"
            )
        if self.amp not in (None, "bf16"):
            raise ValueError(f"--amp must be bf16 or left out, got {self.amp}")
        if self.patience < 0:
            raise ValueError(f"--patience must be >= 0, got {self.patience}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be >= 0 and < 2^32, got {self.seed}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be >= 0 and < 1, got {self.dropout}")
        crop = VARIANTS[self.variant].input_size if self.crop is None else self.crop
        resize = crop * 8 // 7 if self.resize is None else self.resize  # the paper's 256 : 224
        if not 1 <= crop <= resize <= MAX_SIDE:
            raise ValueError(
                f"--crop and --resize must be 1 to {MAX_SIDE} with --crop at most --resize, "
                f"got --crop {crop} and --resize {resize}"
            )
        object.__setattr__(self, "crop", crop)  # a frozen dataclass allows no other way
        object.__setattr__(self, "resize", resize)

    def resume_invariant(self) -> dict:
        """The options that a resumed run must share."""
        names = RESUME_INVARIANT
        if self.schedule == "one-cycle":  # which ends with the last epoch
            names += ("epochs",)
        return {name: getattr(self, name) for name in names}


class TrainingStopped(Exception):
    """A run ended before its last epoch. The text says why; ``code`` is the exit status."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


class Statistics(NamedTuple):
    """Normalization statistics of the training images, for pixels from 0 to 1."""

    mean: Tensor  # (3, crop, crop): the center of the mean image
    std: Tensor  # (3, 1, 1)
    pca: PCAColor


class TrainingData:
    """The training and the validation images of a data set, as the processes of a run share them.

    Args:
        train, val: the class folders.
        config: its ``data``, ``resize``, ``workers`` and ``batch_size`` are used.
        pin_memory: whether to put batches into pinned memory, as in ``DataLoader``.
        group: the processes.

    Raises:
        ValueError: if the batch size is not divisible by the number of processes, or larger than
            the training set.
    """

    def __init__(
        self,
        train: ImageFolderIndex,
        val: ImageFolderIndex,
        config: TrainConfig,
        pin_memory: bool,
        group: ProcessGroup,
    ) -> None:
        self.train, self.val, self.group = train, val, group
        words = read_class_words(config.data)
        self.words = tuple(words.get(name, name) for name in train.classes) if words else ()
        self.num_images = len(train.paths)
        self.batch_size = config.batch_size
        if self.batch_size % group.world_size:
            raise ValueError(
                f"--batch-size must be a multiple of the number of processes, {group.world_size}, "
                f"got {self.batch_size}"
            )
        self.steps = self.num_images // self.batch_size  # per epoch; an incomplete batch is dropped
        if not self.steps:
            raise ValueError(
                f"{train.root} has {self.num_images} images, less than a batch of "
                f"{self.batch_size}: lower --batch-size"
            )
        self.files_hash = _hash_paths([*train.paths, *val.paths], config.data)  # of their names
        memory_fraction = CACHE_FRACTION / processes_here() if config.cache else 0.0
        self.loaders = [
            CachedImageLoader(folder, config.resize, config.workers, memory_fraction, pin_memory)
            for folder in (train, val)
        ]
        self.reported: list[set[int]] = [set(), set()]  # failures that every process knows of

    def batches(self, indices: Tensor, val: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of each batch.

        Args:
            indices: int64 (N,), the images in order.
            val: whether they are validation images.

        Yields:
            The indices that could be decoded, (n,), and their squares, uint8 (n, 3, size, size).
        """
        per_process = self.batch_size // self.group.world_size
        first = self.group.rank * per_process
        # Every process gets the same number of parts, the last one perhaps empty, since each part
        # ends in a collective call
        starts = range(first, first + len(indices), self.batch_size)
        parts = (indices[start : start + per_process] for start in starts)
        return self.loaders[val].batches(parts)

    def retry_failures(self, failures: list[dict[int, str]]) -> None:
        """Try again to decode the files that a checkpoint lists as failures."""
        for loader, broken in zip(self.loaders, failures, strict=True):
            for _ in loader.batches([torch.tensor(list(broken), dtype=torch.int64)]):
                pass
        self.reported = [set(loader.failures) for loader in self.loaders]

    def sync_failures(self) -> None:
        """Share undecodable files across processes; rank 0 reports new ones."""
        num_new = [len(loader.failures) - len(known) for loader, known in self._with_reported()]
        if not self.group.max(torch.tensor(num_new)).any():
            return
        for which, (loader, known) in enumerate(self._with_reported()):
            for failures in self.group.gather_objects(dict(loader.failures)):
                loader.failures.update(failures)  # in place, since the decoding threads hold it
            if self.group.is_main:
                for i in sorted(set(loader.failures) - known):
                    tqdm.write(f"skipped: {loader.paths[i]} ({loader.failures[i]})", sys.stderr)
            self.reported[which] = set(loader.failures)

    def failure_message(self) -> str | None:
        """What to stop with if too many images cannot be decoded, else None."""
        for loader in self.loaders:
            if len(loader.failures) > MAX_BROKEN_FRACTION * len(loader.paths):
                broken = [loader.paths[i] for i in sorted(loader.failures)]
                return (
                    f"{len(broken)} of {len(loader.paths)} images in {loader.root} cannot be "
                    f"decoded, more than {MAX_BROKEN_FRACTION:.0%}: repair or remove "
                    f"{join_names(broken)}"
                )
        return None

    def _with_reported(self) -> Iterable[tuple[CachedImageLoader, set[int]]]:
        return zip(self.loaders, self.reported, strict=True)


def compute_statistics(data: TrainingData, config: TrainConfig, quiet: bool | None) -> Statistics:
    """The mean image, the standard deviation and the principal colors of a sample of the images.

    The center of the mean image is cut out, as in ``convdata.py`` of 2012. The paper leaves
    pixels at 0 to 255, and its initialization counts on that: for such nets std is 1/255.

    Args:
        data: its training images are sampled.
        config: the seed of the sample, sizes, and the variant.
        quiet: as tqdm's ``disable``.

    Raises:
        ValueError: if all pixels of a channel are equal.
        TrainingStopped: if too many images cannot be decoded.
    """
    generator = torch.Generator().manual_seed(config.seed)
    sample = torch.randperm(data.num_images, generator=generator)[:STATISTICS_SAMPLE].sort().values
    total = torch.zeros(3, config.resize, config.resize, dtype=torch.float64)
    count = 0

    def decode_and_sum() -> Iterator[Tensor]:
        nonlocal count
        bar = tqdm(sample.split(128), desc="mean and colors", unit=" batches", disable=quiet)
        for _, squares in data.loaders[0].batches(bar):
            total.add_(squares.sum(0))
            count += len(squares)
            data.sync_failures()
            if why := data.failure_message():
                raise TrainingStopped(why)
            if len(squares):
                yield squares

    pca = PCAColor.fit(decode_and_sum())
    mean = TF.center_crop(total / (255 * count), [config.crop] * 2).float()  # (3, crop, crop)
    variance = pca.eigenvectors.square() @ pca.eigenvalues  # (3,): the covariance's diagonal
    if not (variance > 0).all():
        raise ValueError(
            f"{data.train.root}: red, green or blue is the same in all pixels of all images: "
            "there is nothing to learn"
        )
    keep_scale = VARIANTS[config.variant].init == "paper"
    std = torch.full((3,), 1 / 255) if keep_scale else variance.sqrt()
    return Statistics(mean, std[:, None, None], pca)


def make_trainer(
    config: TrainConfig, state: dict | None = None, stop_signal: Callable[[], int] = lambda: 0
) -> "Trainer":
    """Build a trainer: scan the data, build the net, compute or restore the statistics.

    A first checkpoint is written to ``config.out``.

    Args:
        config: the options.
        state: of the checkpoint to go on from.
        stop_signal: returns the number of a signal that asks the run to end, or 0.

    Raises:
        OSError: for a missing folder, or a disk that is full.
        ValueError: for a data set, a device or a checkpoint that does not fit the options.
        TrainingStopped: if too many images cannot be decoded.
    """
    group = current_group()
    devices = devices_for(config.device, config.two_gpu)
    folders = train_val_folders(config.data)
    if group.is_main:
        for folder in folders:
            print_left_out(folder)
    data = TrainingData(*folders, config, pin_memory=devices[0].type == "cuda", group=group)
    if state and state["files_hash"] != data.files_hash:
        raise ValueError(
            f"{config.data} does not contain the images that {config.out} was started with "
            f"({data.num_images} training images now, {state['num_images']} then, or other names): "
            "restore them, or start a new run with another --out"
        )
    pretrained = load(config.init_from) if config.init_from and not state else None
    net = _build_net(config, len(data.train.classes), devices, pretrained)
    shard_dropout(net, group, config.batch_size)
    if state:
        data.retry_failures(state["failures"])
        statistics = Statistics(state["mean"], state["std"], PCAColor(*state["pca"]))
    else:
        statistics = compute_statistics(data, config, _hide_progress(group))
    if pretrained:  # its layers expect pixels as they were normalized for it
        statistics = statistics._replace(mean=pretrained.mean, std=pretrained.std)
    trainer = Trainer(config, data, net, statistics, devices[0], stop_signal)
    if state:
        trainer.load_state_dict(state)
    trainer.save_checkpoint()
    return trainer


def _build_net(
    config: TrainConfig,
    num_classes: int,
    devices: list[torch.device],
    pretrained: Predictor | None = None,
) -> AlexNet | TwoGPUAlexNet:
    torch.manual_seed(config.seed)
    overrides = {} if config.dropout is None else {"dropout": config.dropout}
    net = AlexNet(num_classes, config.variant, **overrides)
    example = torch.empty(1, 3, config.crop, config.crop, device="meta")
    check_images(example, config.variant, net.config, net.sizes)
    if pretrained:
        _copy_all_but_last(pretrained, net, config)
    net = TwoGPUAlexNet.from_alexnet(net, tuple(devices)) if config.two_gpu else net.to(devices[0])
    return net.to(memory_format=torch.channels_last)


def _copy_all_but_last(pretrained: Predictor, net: AlexNet, config: TrainConfig) -> None:
    """Copy the layers of a trained net but for the last, whose classes are other ones.

    Raises:
        ValueError: if the trained net is another variant, or takes images of another size.
    """
    weights = pretrained.model.state_dict()
    last = list(net.state_dict())[-2:]  # weight and bias of fc8
    copied = {name: weights.get(name) for name in net.state_dict() if name not in last}
    fits = all(
        tensor is not None and tensor.shape == net.state_dict()[name].shape
        for name, tensor in copied.items()
    )
    if not fits:
        raise ValueError(
            f"--variant must be {variant_of(pretrained)} as in --init-from {config.init_from}, "
            f"got {config.variant}"
        )
    if (config.resize, config.crop) != (pretrained.resize, pretrained.crop):
        raise ValueError(
            f"--resize and --crop must be {pretrained.resize} and {pretrained.crop} as in "
            f"--init-from {config.init_from}, got {config.resize} and {config.crop}"
        )
    net.load_state_dict(copied, strict=False)


def variant_of(predictor: Predictor) -> str:
    """The variant of a trained net; torchvision's own class has none."""
    return getattr(predictor.model, "variant", "torchvision")


def make_scheduler(
    optimizer: PaperSGD, config: TrainConfig, steps_per_epoch: int
) -> ReduceLROnPlateau | OneCycleLR:
    """The schedule of the learning rate: the paper's, stepped once an epoch, or one cycle.

    Args:
        optimizer: whose learning rate it sets.
        config: its ``schedule``, ``lr``, ``patience`` and ``epochs`` are used.
        steps_per_epoch: one cycle is stepped as often.
    """
    if config.schedule == "one-cycle":
        steps = config.epochs * steps_per_epoch
        # It divides by the length of the rise, which for a fifth of five steps is zero
        rise = 0.2 if steps != 5 else 0.25
        # The momentum stays as it is
        return OneCycleLR(
            optimizer, config.lr, total_steps=steps, pct_start=rise, cycle_momentum=False
        )
    # "reduced three times prior to termination" (section 5): to a thousandth
    return ReduceLROnPlateau(
        optimizer, factor=0.1, patience=config.patience, min_lr=config.lr / 1000
    )


class Trainer:
    """A training run: what it trains, and how far it has come.

    Args:
        config: the options.
        data: the images.
        net: already on its device, or its two.
        statistics: of the training images.
        device: where the images go.
        stop_signal: returns the number of a signal that asks the run to end, or 0.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        net: AlexNet | TwoGPUAlexNet,
        statistics: Statistics,
        device: torch.device,
        stop_signal: Callable[[], int] = lambda: 0,
    ) -> None:
        self.config, self.data, self.net, self.device = config, data, net, device
        self.stop_signal = stop_signal
        mean, std, pca = statistics
        self.augment = TrainAugment(config.crop, mean, std.flatten(), pca).to(device)
        self.predictor = Predictor(
            net,
            data.train.classes,
            config.resize,
            config.crop,
            mean.to(device),
            std.to(device),
            data.words,
        )
        weights = [p for p in net.parameters() if p.ndim > 1]
        biases = [p for p in net.parameters() if p.ndim == 1]  # not decayed, as in the code of 2012
        groups = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
        self.optimizer = PaperSGD(groups, lr=config.lr)
        self.scheduler = make_scheduler(self.optimizer, config, data.steps)
        # What computes; `net` has the same weights, without the wrappers' names
        self.model = data.group.wrap(torch.compile(net) if config.compile else net)
        self.epoch = 0  # epochs completed
        self.step = 0  # steps completed in the current epoch
        self.losses: list[Tensor] = []  # of these steps, on the device
        self.history: list[dict] = []  # a log entry for each complete epoch
        self._tensorboard = True  # until it turns out not to be there

    def fit(self) -> None:
        """Train until ``config.epochs`` epochs are complete, and export the weights.

        Raises:
            OSError: if nothing can be written.
            ValueError: if no validation image can be decoded.
            TrainingStopped: after a signal, for a loss that is not finite, or if too many images
                cannot be decoded.
        """
        while self.epoch < self.config.epochs:
            images_per_second = self.train_epoch()
            top1, top5 = self.validate()
            self._end_epoch(top1, top5, images_per_second)
            if self.config.schedule == "plateau":
                self.scheduler.step(1 - top1)  # divides the learning rate by 10 at a plateau
            self.save_checkpoint()
            self._report()
            self.check_stop()
        self.export_weights()

    def train_epoch(self) -> float:
        """Run the remaining steps of the current epoch.

        Returns:
            Images per second.
        """
        config, data = self.config, self.data
        order, top, left, flip, alpha = self._draw_epoch()
        remaining = order[self.step * config.batch_size : data.steps * config.batch_size]
        per_process = config.batch_size // data.group.world_size
        buffer = torch.empty(per_process, 3, config.crop, config.crop, device=self.device)
        start, first = time.perf_counter(), self.step
        bar = tqdm(
            total=data.steps * config.batch_size,
            initial=self.step * config.batch_size,
            desc=f"epoch {self.epoch + 1}",
            unit=" images",
            disable=_hide_progress(data.group),
        )
        with bar:
            for indices, squares in data.batches(remaining):
                window = [draw[indices].to(self.device) for draw in (top, left, flip)]
                color = self.augment.pca.color_offset(alpha[indices].to(self.device))
                squares = squares.to(self.device, non_blocking=True)  # uint8 (n, 3, resize, resize)
                x = self.augment.transform(squares, window, color, buffer[: len(indices)])
                labels = data.train.labels[indices].to(self.device)
                self.losses.append(self.training_step(x, labels))
                self.step += 1
                if self._is_time_to_check():
                    bar.set_postfix_str(f"loss {self.check_finite():.3f}", refresh=False)
                with suppress(OSError):  # writing to a closed terminal raises
                    bar.update(config.batch_size)
                self.check_stop()
        return (self.step - first) * config.batch_size / (time.perf_counter() - start)

    def training_step(self, x: Tensor, labels: Tensor) -> Tensor:
        """One update of the weights.

        Args:
            x: float32 (n, 3, crop, crop), augmented and normalized.
            labels: int64 (n,).

        Returns:
            The loss, still on the device.
        """
        self._seed_dropout()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.amp == "bf16"):
            logits = self.model(x)  # (n, classes)
        # By the nominal batch size, so that an undecodable image counts nothing. Averaging over
        # the processes, as DistributedDataParallel does, makes it that of the whole batch
        per_process = self.config.batch_size // self.data.group.world_size
        loss = F.cross_entropy(logits.float(), labels, reduction="sum") / per_process
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.config.schedule == "one-cycle":
            self.scheduler.step()
        return loss.detach()

    def validate(self) -> tuple[float, float]:
        """Top-1 and top-5 accuracy on the validation images, from 0 to 1, by the center crop.

        Raises:
            ValueError: if none of them can be decoded.
        """
        labels = self.data.val.labels
        counts = torch.zeros(3, dtype=torch.int64)  # correct, correct among five, images
        for indices, squares in self.data.batches(torch.arange(len(labels)), val=True):
            if len(indices):
                probabilities = self.predictor.probabilities(squares.to(self.device)).cpu()
                counts[:2] += topk_correct(probabilities, labels[indices])
                counts[2] += len(indices)
            self.check_stop()
        top1, top5, images = self.data.group.sum(counts).tolist()
        if not images:
            raise ValueError(f"{self.data.val.root}: none of the images can be decoded")
        return top1 / images, top5 / images

    def check_finite(self) -> float:
        """Raise if a recent loss is not finite, else return the last one.

        Raises:
            TrainingStopped: if one since the last check is not finite.
        """
        recent = torch.stack(self.losses[-CHECK_EVERY:]).cpu()
        bad = torch.nonzero(~recent.isfinite())
        if len(bad):
            which = int(bad[0, 0])
            without_amp = ", or without --amp" if self.config.amp else ""
            raise TrainingStopped(
                f"the loss is {recent[which]} in epoch {self.epoch + 1}, "
                f"step {self.step - len(recent) + which + 1}: start a new run with another "
                f"--out and a lower --lr than {self.config.lr}{without_amp}; "
                f"{self.config.out / checkpoint.CHECKPOINT} was saved before that"
            )
        return recent[-1].item()

    def check_stop(self) -> None:
        """Stop all processes at the same step after a signal, or for undecodable images.

        Raises:
            TrainingStopped: after a checkpoint.
        """
        self.data.sync_failures()
        why = self.data.failure_message()
        number = int(self.data.group.max(torch.tensor(self.stop_signal())))
        if not (number or why):
            return
        if self.losses:
            self.check_finite()  # weights that are not finite must not replace a good checkpoint
        self.save_checkpoint()
        if why:
            raise TrainingStopped(why)
        raise TrainingStopped(
            f"stopped by {signal.Signals(number).name} in epoch {self.epoch + 1}, "
            f"after step {self.step} of {self.data.steps}: continue with --resume",
            128 + number,
        )

    def save_checkpoint(self) -> None:
        """Write the checkpoint and the log. Every process takes part, rank 0 writes."""
        state = self.state_dict()
        if self.data.group.is_main:
            self.config.out.mkdir(parents=True, exist_ok=True)
            checkpoint.save(self.config.out, state)
            lines = "".join(json.dumps(entry) + "\n" for entry in self.history)
            # Written anew as a whole, so that it agrees with the checkpoint
            checkpoint.atomic_write(self.config.out / "log.jsonl", lines.encode())
        self.data.group.barrier()  # else one that ends now would break rank 0's calls

    def state_dict(self) -> dict:
        """Everything needed to resume: plain values, and tensors on the CPU.

        Every process must call it, since it averages over them.
        """
        pca = self.augment.pca
        return {
            # The epochs too: a run that goes on ends where it was to end, unless --epochs says more
            "config": self.config.resume_invariant() | {"epochs": self.config.epochs},
            "classes": list(self.data.train.classes),
            "words": list(self.data.words),
            "num_images": self.data.num_images,
            "files_hash": self.data.files_hash,
            "failures": [dict(loader.failures) for loader in self.data.loaders],
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "mean": self.predictor.mean.cpu(),
            "std": self.predictor.std.cpu(),
            "pca": [pca.eigenvectors.cpu(), pca.eigenvalues.cpu()],
            "epoch": self.epoch,
            "step": self.step,
            "losses": self._mean_losses().cpu(),
            "history": self.history,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.losses = list(state["losses"].to(self.device))
        self.history = state["history"]

    def export_weights(self) -> None:
        """Write ``model.safetensors``: the weights, with the metadata needed to use them."""
        if not self.data.group.is_main:
            return
        config = self.config
        net = self.net.to_alexnet() if config.two_gpu else self.net
        tensors = {name: tensor.cpu() for name, tensor in net.state_dict().items()}
        tensors |= {"mean": self.predictor.mean.cpu(), "std": self.predictor.std.cpu()}
        log = [dict(entry) for entry in self.history]
        for entry in log:
            del entry["images_per_second"]  # so that identical runs write identical files
        metadata = {
            "variant": config.variant,
            "classes": list(self.data.train.classes),
            "words": list(self.data.words),
            "resize": config.resize,
            "crop": config.crop,
            "config": config.resume_invariant(),
            "num_images": self.data.num_images,
            "log": log,
        }
        checkpoint.save_weights(config.out / "model.safetensors", tensors, metadata)

    def _end_epoch(self, top1: float, top5: float, images_per_second: float) -> None:
        entry = {
            "epoch": self.epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
            "loss": self._mean_losses().double().mean().item(),
            "top1": top1,
            "top5": top5,
            "skipped": sum(len(known) for known in self.data.reported),
            "images_per_second": round(images_per_second, 1),
        }
        self.history.append(entry)
        self.epoch, self.step, self.losses = self.epoch + 1, 0, []

    def _report(self) -> None:
        """Print the last log entry, and send it to TensorBoard if that is installed."""
        if not self.data.group.is_main:
            return
        entry = self.history[-1]
        with suppress(OSError):  # the reader of the pipe may have exited
            print(
                f"epoch {entry['epoch']}: rate {entry['lr']:g}, loss {entry['loss']:.4f}, "
                f"top-1 {entry['top1']:.2%}, top-5 {entry['top5']:.2%}, "
                f"{entry['images_per_second']:,} images/s",
                flush=True,
            )
        if self._tensorboard:
            self._tensorboard = _log_to_tensorboard(self.config.out, entry)

    def _seed_dropout(self) -> None:
        """Seed the masks of a step, which are those of the whole batch: see ShardedDropout."""
        torch.manual_seed(_derive_seed(self.config.seed, self.epoch, self.step))

    def _draw_epoch(self) -> tuple[Tensor, ...]:
        """Draw the order and the augmentation of an epoch.

        Returns:
            The order of the images; then for each image the top and the left of its window and
            its flip, each (num_images,), and α1 to α3 of its color, (num_images, 3).
        """
        n = self.data.num_images
        generator = torch.Generator().manual_seed(_derive_seed(self.config.seed, self.epoch))
        positions = self.config.resize - self.config.crop + 1
        top, left = torch.randint(positions, (2, n), generator=generator)
        flip = torch.rand(n, generator=generator) < 0.5
        alpha = torch.randn(n, 3, generator=generator) * self.augment.pca.std
        return torch.randperm(n, generator=generator), top, left, flip, alpha

    def _mean_losses(self) -> Tensor:
        """The losses of this epoch's steps, averaged over the processes: (steps,)."""
        if not self.losses:
            return torch.zeros(0)
        losses = torch.stack(self.losses)
        return self.data.group.sum(losses) / self.data.group.world_size

    def _is_time_to_check(self) -> bool:
        """Whether to read the loss now: always on a CPU, seldom on a GPU, which is waited for."""
        on_cpu = self.device.type == "cpu"
        return on_cpu or self.step % CHECK_EVERY == 0 or self.step == self.data.steps


def _hide_progress(group: ProcessGroup) -> bool | None:
    """Tqdm's ``disable``: None shows a bar on a terminal only."""
    return None if group.is_main else True


def _derive_seed(*numbers: int) -> int:
    """Hash several integers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _hash_paths(paths: Iterable[str], root: Path) -> str:
    """SHA-256 of the paths relative to the data set, so that moving it changes nothing."""
    relative = [canonical_name(os.path.relpath(path, root)) for path in paths]
    return hashlib.sha256(os.fsencode("\n".join(relative))).hexdigest()


def _log_to_tensorboard(out: Path, entry: dict) -> bool:
    """Log an entry; an error is printed, does not end the run, and returns False."""
    try:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(out / "tensorboard")) as writer:
            for name in ("loss", "top1", "top5", "lr"):
                writer.add_scalar(name, entry[name], entry["epoch"])
    except ModuleNotFoundError:  # it is not installed
        return False
    except Exception as error:  # of any kind: protobuf's TypeError, a full disk
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        tqdm.write(f"TensorBoard logging is disabled ({reason})", sys.stderr)
        return False
    return True
