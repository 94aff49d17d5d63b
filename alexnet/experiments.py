"""The small measured experiments behind the chapters: ``python -m alexnet.experiments relu --data DIR``.

Each trains a few dozen small nets on CIFAR-10 and writes ``book/runs/NAME.json``, a run at a time: what is finished is
kept, and the same command goes on where it was stopped. Everything that tells one run from another stands in its
:class:`Setting`; on the same machine, the same setting gives the same curve. On another the curve is another, all the more
if that computes in another :func:`precision`, which stands beside each run.
"""

import argparse
import datetime
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import center_crop
from tqdm import tqdm

from alexnet.augment import PCAColor, TrainAugment, ten_crop
from alexnet.checkpoint import read_weights, write_weights
from alexnet.data import CIFAR10_FOLDER, Pictures, cifar10, photo_exemplars, photo_patches, photos, square
from alexnet.evaluate import SMALL, hits, load, usable
from alexnet.lrn import LocalResponseNorm, MapNorm
from alexnet.model import ACTIVATIONS, AlexNet
from alexnet.visualize import activations, coloured, neighbours

RUNS = Path(__file__).parent.parent / "book" / "runs"
LICENCE = "BSD-3-Clause"  # of the weights that the book comes with
NORMS = {
    "none": None,
    "paper's alpha": lambda maps: LocalResponseNorm(alpha=5e-4),  # 1e-4 in the formula of section 3.3
    "code's alpha": lambda maps: LocalResponseNorm(alpha=1e-4),  # 1e-4 in layer-params-145.cfg, divided by the size
    "within maps": lambda maps: MapNorm(3, alpha=5e-5),  # layers-18pct.cfg
    "batch": nn.BatchNorm2d,
}
ORIGINAL_STDS = (1e-4, 0.01, 0.01, 0.01)  # layers-18pct.cfg


@dataclass(frozen=True)
class Setting:
    """One training run, from the net to the seed. The recorded file holds these fields, and no other knows more."""

    net: str = "four-layer"  # or a name in NETS
    images: int = 50_000  # training images, equally many of each class
    activation: str = "relu"
    norm: str = "none"  # a name in NORMS
    pool: tuple[int, int] = (3, 2)  # window and stride
    init: str = "he"  # a name in INITS
    scale: str = "standardised"  # pixels minus the mean image, over the standard deviation that prepare() takes
    # or "raw": 0 to 255, minus the mean image; or "bytes" and "raw bytes": 0 to 255, for an augmentation to work on, which
    # then takes the mean colour away, and of "bytes" divides by the standard deviation
    augment: str = "none"  # of bytes, a name in augmentation_of()
    share: int = 1  # images in a row that share a random window and its flip
    change: str = "none"  # of the net "columns": a name in CHANGES or REPLACEMENTS
    dropout: float = 0.0  # in the hidden fully connected layers, which the four-layer net has not
    decay: float = 0.0  # of the weights, not of the biases
    last_decay: float = 1.0  # that of the last layer's weights, in decays of the others
    rate: float = 0.01
    bias_rate: float = 1.0  # that of the biases, in rates of the weights
    schedule: str = "constant"  # or "linear", from the rate to zero
    epochs: int = 10  # at most
    target: float = 0.0  # training error that ends the run
    seed: int = 0
    batch: int = 128
    momentum: float = 0.9


# The nets


def four_layer(setting: Setting, classes: int, size: int = 32) -> nn.Sequential:
    """The CIFAR-10 net of 2012 in four layers of weights: ``layers-cifar/layers-18pct.cfg``.

    The paper does not specify the "four-layer" net of its Figure 1 further. As in that file, the first pooling takes the
    maximum, before the activation, and the others take the mean; windows may hang over the edge, so that 3/2 and 2/2
    leave equally many positions.

    Shape: images (N, 3, size, size), size a multiple of 8; logits (N, classes).
    """
    activation, norm = ACTIVATIONS[setting.activation], NORMS[setting.norm]
    pool = {"kernel_size": setting.pool[0], "stride": setting.pool[1], "ceil_mode": True}
    layers = [nn.Conv2d(3, 32, 5, padding=2), nn.MaxPool2d(**pool), activation()]  # (N, 32, size/2, size/2)
    layers += [norm(32)] if norm else []
    layers += [nn.Conv2d(32, 32, 5, padding=2), activation(), nn.AvgPool2d(**pool)]  # (N, 32, size/4, size/4)
    layers += [norm(32)] if norm else []
    layers += [nn.Conv2d(32, 64, 5, padding=2), activation(), nn.AvgPool2d(**pool)]  # (N, 64, size/8, size/8)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(size * size, classes))


def half_small(setting: Setting, classes: int, size: int = 32) -> AlexNet:
    """AlexNet's variant ``small``, with half the maps: eight layers, a quarter of the work. It takes 32×32 pixels.

    Its normalisation is the variant's, whatever ``setting.norm`` says.
    """
    switches = {"activation": setting.activation, "pool": setting.pool, "dropout": setting.dropout}
    return AlexNet(classes, "small", widths=(32, 64, 96, 96, 64), **switches)


# One change each to the net below: arguments of AlexNet
CHANGES: dict[str, dict] = {
    "none": {},
    "columns that never talk": {"groups": (1, 2, 2, 2, 2)},  # not before fc6
    "no columns": {"groups": (1, 1, 1, 1, 1)},
    "ReLU after pooling": {"act_last": (1, 5)},  # so that conv1 is normalised before it
    "within-map normalisation": {"within_map": True},
    "code's alpha": {"lrn_alpha": 1e-4},
}


def columns(setting: Setting, classes: int, size: int = 24) -> AlexNet:
    """Half of the variant ``small``, for windows of 24×24: two columns with 16 first kernels each, and one change to it."""
    switches = {"input_size": size, "widths": (32, 64, 96, 96, 64), "hidden": 128, "dropout": setting.dropout}
    if setting.change not in REPLACEMENTS:
        return AlexNet(classes, "small", **switches | CHANGES[setting.change])
    net = AlexNet(classes, "small", **switches)
    for replacement in REPLACEMENTS[setting.change]:
        replacement(net)
    return net


# What replaced the parts of AlexNet: functions that change a net of two columns, as :class:`AlexNet` builds it, in place.
# The new layers are to be initialised.


def _swap(net: nn.Module, kind: type, new: Callable[[nn.Module], nn.Module]) -> None:
    """Put ``new(module)`` in the place of every module of a kind."""
    for parent in list(net.modules()):  # what is put in is not looked at again
        for name, module in list(parent.named_children()):
            if isinstance(module, kind):
                setattr(parent, name, new(module))


def stack(net: AlexNet) -> None:
    """Two convolutions of 3×3 with a ReLU between for each of 5×5, as in VGG (Simonyan and Zisserman, 2015)."""

    def two(conv: nn.Conv2d) -> nn.Module:
        if conv.kernel_size != (5, 5):
            return conv
        padding, maps = conv.padding[0] // 2, conv.out_channels
        first = nn.Conv2d(conv.in_channels, maps, 3, padding=padding, groups=conv.groups)
        return nn.Sequential(first, nn.ReLU(), nn.Conv2d(maps, maps, 3, padding=padding, groups=2))  # each column its own

    _swap(net, nn.Conv2d, two)


def separate(net: AlexNet) -> None:
    """Each convolution of 3×3, except one that reads the image, in as many groups as it reads maps, and one of 1×1 that
    mixes them, as in MobileNets (Howard et al., 2017): no columns any more after them."""

    def two(conv: nn.Conv2d) -> nn.Module:
        if conv.kernel_size != (3, 3) or conv.in_channels == 3:
            return conv
        depthwise = nn.Conv2d(conv.in_channels, conv.in_channels, 3, padding=conv.padding, groups=conv.in_channels)
        return nn.Sequential(depthwise, nn.ReLU(), nn.Conv2d(conv.in_channels, conv.out_channels, 1))

    _swap(net, nn.Conv2d, two)


def batch_normalise(net: AlexNet) -> None:
    """Batch normalisation between each convolution and its ReLU (Ioffe and Szegedy, 2015), and no local response normalisation."""
    _swap(net, LocalResponseNorm, lambda norm: nn.Identity())
    _swap(net, nn.Conv2d, lambda conv: nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)))


def average(net: AlexNet) -> None:
    """The mean of each map in the place of pool5, fc6 and fc7, as in ResNet (He et al., 2016)."""
    net.features.pool5 = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Sequential(nn.Linear(net.config.widths[-1], net.classifier.fc8.out_features))


REPLACEMENTS: dict[str, tuple[Callable[[AlexNet], None], ...]] = {
    "stacked 3×3": (stack,),
    "global average pooling": (average,),
    "batch normalisation": (batch_normalise,),
    "depthwise separable": (separate,),
    "all four": (stack, separate, batch_normalise, average),
}


def first_layer(setting: Setting, classes: int, size: int = 96) -> AlexNet:
    """The paper's first layer, 96 kernels of 11×11 with stride 4 in two columns, and little after it, for pictures of 96×96."""
    return AlexNet(classes, "paper", input_size=size, widths=(96, 64, 96, 96, 64), hidden=256, dropout=setting.dropout)


def _init_he(layers: list[nn.Module]) -> None:
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)


def _init_original(layers: list[nn.Module]) -> None:
    for layer, std in zip(layers, ORIGINAL_STDS, strict=True):
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)


def _init_ones(layers: list[nn.Module]) -> None:
    """Biases of 1 after the first layer, as the paper has them; not in the last, whose outputs are the logits."""
    _init_original(layers)
    for layer in layers[1:-1]:
        nn.init.ones_(layer.bias)


def _init_faint(layers: list[nn.Module]) -> None:
    """The first kernels from N(0, 0.01), as in the paper, so faint that what is seen in them afterwards was learned."""
    _init_he(layers)
    nn.init.normal_(layers[0].weight, std=0.01)


def _init_fainter(layers: list[nn.Module]) -> None:
    """Fainter by ten still: of N(0, 0.01) in 11×11 weights much is left after a training as short as here."""
    _init_he(layers)
    nn.init.normal_(layers[0].weight, std=0.001)


def _as_built(layers: list[nn.Module]) -> None:
    pass


NETS = {"four-layer": four_layer, "half-small": half_small, "columns": columns, "first-layer": first_layer}
INITS: dict[tuple[str, str], Callable[[list[nn.Module]], None]] = {
    ("four-layer", "torch"): _as_built,  # PyTorch's default, uniform within 1/sqrt(inputs)
    ("four-layer", "he"): _init_he,
    ("four-layer", "original"): _init_original,
    ("half-small", "he"): _as_built,
    ("columns", "he"): _init_he,
    ("columns", "faint"): _init_faint,
    ("first-layer", "fainter"): _init_fainter,
    ("four-layer", "original, biases 1"): _init_ones,
}


def build(setting: Setting, classes: int, size: int = 32) -> nn.Module:
    """The net of a setting, with the weights that its seed gives.

    Raises:
        ValueError: for an initialisation that the net does not have.
    """
    if (setting.net, setting.init) not in INITS:
        raise ValueError(f"{setting.net} is not initialised as {setting.init!r}: choose one of {', '.join(i for net, i in INITS if net == setting.net)}")
    torch.manual_seed(setting.seed)
    model = NETS[setting.net](setting, classes, size)
    INITS[setting.net, setting.init]([m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)])
    return model.to(memory_format=torch.channels_last)


# One run


def prepare(pictures: Pictures, scale: str, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All images on the device: train, labels, test, labels; in float32, the mean training image subtracted, or as bytes.

    The standard deviation is that of the first 10,000 training images. CIFAR-10 is sorted by class here, so those are two
    classes of ten, with a deviation a few per cent above that of all. The recorded runs have it so.
    """
    if "bytes" in scale:
        return tuple(t.to(device) for t in (pictures.train, pictures.train_labels, pictures.test, pictures.test_labels))
    mean = pictures.train.float().mean(0)
    std = (pictures.train[:10_000].float() - mean).std() if scale == "standardised" else 1.0  # 2.5 GB less than that of all

    def pixels(images: Tensor) -> Tensor:
        return images.to(device).float().sub_(mean.to(device)).div_(std).contiguous(memory_format=torch.channels_last)

    return pixels(pictures.train), pictures.train_labels.to(device), pixels(pictures.test), pictures.test_labels.to(device)


def augmentation_of(kind: str, images: Tensor, size: int = 24, share: int = 1, raw: bool = False) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What is done to a batch of bytes in training, and in the test: windows of ``size`` pixels, standardised.

    "none" and the test take the middle; "flip" mirrors every other one; "crop" takes a random window as well; "colour"
    adds PCA colour by the paper's rule. In the source of 2012, too, CIFAR-10 is cut to 24×24. So many images in a row
    ``share`` a random window and its flip. ``raw`` windows are from 0 to 255, minus the mean colour.
    """
    pixels = images[:: max(1, len(images) // 10_000)].float() / 255
    mean = pixels.mean((0, 2, 3))
    std = torch.full_like(mean, 1 / 255) if raw else pixels.std((0, 2, 3))

    def middle(batch: Tensor) -> Tensor:
        return ((center_crop(batch, [size, size]) / 255 - mean[:, None, None]) / std[:, None, None]).contiguous(memory_format=torch.channels_last)

    def flip(batch: Tensor) -> Tensor:
        x, mirrored = middle(batch), torch.rand(len(batch), 1, 1, 1, device=batch.device) < 0.5
        return torch.where(mirrored, x.flip(-1), x)

    if kind in ("none", "flip"):
        return middle if kind == "none" else flip, middle
    pca = PCAColor.fit(images).to(images.device) if kind == "colour" else None
    augment = TrainAugment(size, mean, std, pca)

    def random(batch: Tensor) -> Tensor:
        window = [part.repeat_interleave(share)[: len(batch)] for part in augment.crop.draw(batch[::share])]
        return augment.given(batch, window, pca.colour(len(batch), batch.device) if pca else None)

    return random, middle


def precision(device: torch.device) -> str:
    """What convolutions are computed in: bfloat16, or float32 on a CPU without AVX-512, on which PyTorch's convolution of
    bfloat16 takes ten times as long."""
    return "bfloat16" if device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability() else "float32"


def half(device: torch.device) -> torch.autocast:
    """Convolutions in bfloat16, the weights in float32: about twice as fast, where :func:`precision` has it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device) == "bfloat16")


def epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, batch: int, augment: Callable[[Tensor], Tensor] = lambda x: x
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over the images in a new order; a last batch that is not full is left out.

    Yields:
        For each step its loss, and the share of its batch that was classified wrongly, still on the device.
    """
    order = torch.randperm(len(images), device=images.device)
    for chosen in order[: len(images) // batch * batch].split(batch):
        x = augment(images[chosen])
        with half(images.device):
            logits = model(x)
        loss = F.cross_entropy(logits.float(), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach(), (logits.detach().argmax(1) != labels[chosen]).float().mean()


@torch.no_grad()
def error(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images that the net, in evaluation mode, classifies wrongly."""
    model.eval()
    with half(images.device):
        wrong = sum((model(x).argmax(1) != y).sum() for x, y in zip(images.split(1000), labels.split(1000)))
    model.train()
    return wrong.item() / len(images)


def optimizer_of(model: nn.Module, setting: Setting) -> torch.optim.SGD:
    """PyTorch's rule with the setting's rates and decays: those of the weights, of the last layer's weights, of the biases."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim <= 1]  # and what batch normalisation has
    groups = [{"params": weights[:-1], "weight_decay": setting.decay, "lr": setting.rate}]
    groups += [{"params": weights[-1:], "weight_decay": setting.decay * setting.last_decay, "lr": setting.rate}]
    groups += [{"params": biases, "lr": setting.rate * setting.bias_rate}]
    return torch.optim.SGD(groups, momentum=setting.momentum)


def divisors(model: nn.Module, images: Tensor) -> list[list[float | None]]:
    """What each local response normalisation of the net divides by: quantiles of 5, 50 and 95 % over all activations but zeros.

    They are None where all are zero.
    """
    quantiles = torch.tensor([0.05, 0.5, 0.95], device=images.device)
    return _of_each(LocalResponseNorm, model, images, lambda x, y: [_digits(value) for value in (x / y).nanquantile(quantiles).tolist()])


def saturated(model: nn.Module, images: Tensor) -> list[float]:
    """Share of the outputs of each tanh of the net whose slope is below a tenth."""
    return _of_each(nn.Tanh, model, images, lambda x, y: _digits((1 - y**2 < 0.1).float().mean().item()))


@torch.no_grad()
def _of_each(kind: type, model: nn.Module, images: Tensor, look: Callable[[Tensor, Tensor], object]) -> list:
    """What ``look(input, output)`` finds at each layer of a kind, in evaluation mode, from the first to the last."""
    found = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: found.append(look(inputs[0], output)))
        for module in model.modules()
        if isinstance(module, kind)
    ]
    if hooks:
        model.eval()(images)
        model.train()
    for hook in hooks:
        hook.remove()
    return found


def fit(setting: Setting, data: tuple[Tensor, Tensor, Tensor, Tensor], classes: int, bar: tqdm) -> tuple[nn.Module, dict]:
    """Train one net.

    Args:
        data: what :func:`prepare` gives.
        bar: a progress bar, moved on at every epoch.

    Returns:
        The net, and its curve. ``loss`` and ``train_error``: a row an epoch, four figures a row, each the mean over a quarter of the epoch while
        training; ``test_error``: a figure an epoch, or fewer where the test images are more than the training
        images, the last one always; where the rate fell to zero, ``final_train_error``: of all training
        images afterwards, in evaluation mode; of the four-layer net on bytes, ``ten_crop_error``, of the test images with ten views, and
        ``augment_share``, of the time; where there is such a layer, what :func:`divisors` and :func:`saturated` find in a hundred test
        images, after each epoch. Errors are shares, 0 to 1. A loss that is not finite ends the run, with None, and a fourth epoch
        whose loss is not 2 % below that of the first ends it too.
    """
    images, labels, test_images, test_labels = data
    augment, plain = (lambda x: x), (lambda x: x)
    if "bytes" in setting.scale:
        augment, plain = augmentation_of(setting.augment, images, share=setting.share, raw=setting.scale == "raw bytes")
        test_bytes, test_images = test_images, plain(test_images)
    model = build(setting, classes, test_images.shape[-1]).to(images.device)
    optimizer = optimizer_of(model, setting)
    steps = len(images) // setting.batch
    falling = setting.schedule == "linear"
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (steps * setting.epochs) if falling else 1.0)
    curve = {"loss": [], "train_error": [], "test_error": []}
    some = test_images[:: max(1, len(test_images) // 100)]  # a hundred of all classes, by which they are sorted
    for n in range(setting.epochs):
        found = []
        for result in epoch(model, optimizer, images, labels, setting.batch, augment):
            found.append(torch.stack(result))
            schedule.step()
        quarters = torch.stack([part.mean(0) for part in torch.stack(found).tensor_split(4)]).T.tolist()
        for name, row in zip(("loss", "train_error"), quarters):
            curve[name].append([_digits(value) for value in row])
        bar.update()
        if not math.isfinite(sum(quarters[0])):
            curve["test_error"].append(None)
            break
        # It is there, or it has not begun to learn.
        ends = quarters[1][-1] < setting.target or (n == 3 and sum(curve["loss"][3]) > 0.98 * sum(curve["loss"][0]))
        if ends or n + 1 == setting.epochs or (n + 1) % max(1, len(test_images) // len(images)) == 0:
            curve["test_error"].append(_digits(error(model, test_images, test_labels)))
        for look in (divisors, saturated):
            if row := look(model, some):
                curve.setdefault(look.__name__, []).append(row)
        bar.set_postfix_str(f"training error {quarters[1][-1]:.1%}")
        if ends:
            break
    if setting.schedule == "linear" and len(curve["loss"]) == setting.epochs and curve["test_error"][-1] is not None:
        curve["final_train_error"] = _digits(error(model, plain(images), labels))
    if setting.scale == "bytes" and setting.net == "four-layer":
        curve["ten_crop_error"] = _digits(ten_crop_error(model, test_bytes, test_labels, plain))
        curve["augment_share"] = _digits(augment_share(model, optimizer, images, labels, setting.batch, augment))
    return model, curve


@torch.no_grad()
def ten_crop_error(model: nn.Module, images: Tensor, labels: Tensor, plain: Callable[[Tensor], Tensor]) -> float:
    """Share of the images, as bytes, that the mean of the softmax over ten windows of 24 pixels classifies wrongly."""
    model.eval()
    wrong = 0
    for some, true in zip(images.split(500), labels.split(500)):
        views = plain(ten_crop(some, 24).flatten(0, 1))  # (10 N, 3, 24, 24); the middle of 24 pixels is all of them
        with half(images.device):
            logits = model(views)
        wrong += (logits.float().softmax(1).unflatten(0, (-1, 10)).mean(1).argmax(1) != true).sum().item()
    model.train()
    return wrong / len(images)


def augment_share(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, batch: int, augment: Callable[[Tensor], Tensor]
) -> float:
    """Share of a training step's time that the augmentation takes (P28), on this device, one after the other."""

    def seconds(run: Callable[[], object]) -> float:
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        start = time.perf_counter()
        run()
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        return time.perf_counter() - start

    steps = len(images[: 20 * batch]) // batch
    alone = seconds(lambda: [augment(images[:batch]) for _ in range(steps)])
    return alone / seconds(lambda: list(epoch(model, optimizer, images[: steps * batch], labels[: steps * batch], batch, augment)))


def _digits(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


# A file of runs


class Lab:
    """Runs experiments and keeps what they find in one file, written anew after every run."""

    def __init__(self, name: str, pictures: Pictures, folder: Path, device: str, seeds: int, most_epochs: int | None, quick: bool) -> None:
        self.pictures, self.device, self.most_epochs, self.quick = pictures, device, most_epochs, quick
        self.seeds = range(seeds)
        self.path = folder / f"{name}.json"
        self.head = {
            "experiment": name,
            "command": f"python -m alexnet.experiments {name}" + " --quick" * quick,
            "options": {"seeds": seeds, "epochs": most_epochs},
            "data": {"name": pictures.name, "train": len(pictures.train), "test": len(pictures.test), "classes": list(pictures.classes)},
        }
        self.known = _recorded(folder, self.head["data"])
        if self.path.exists():
            before = json.loads(self.path.read_text())
            for what in ("command", "options", "data"):
                if before.get(what) != self.head[what]:
                    raise ValueError(f"{self.path} was made with other {what} ({before.get(what)}): give another folder with --out, or move the file away")
        self.runs: list[dict] = []
        self._data: tuple = ()

    def run(self, setting: Setting) -> dict:
        """The run of a setting: recorded before, here or in another experiment's file, or trained now and recorded."""
        if self.most_epochs:
            setting = replace(setting, epochs=min(setting.epochs, self.most_epochs))
        setting = replace(setting, images=min(setting.images, len(self.pictures.train)), batch=32 if self.quick else setting.batch)
        key = _key(asdict(setting))
        new = key not in self.known
        if new:
            self.known[key] = self._train(setting)
        run = self.known[key]
        if run not in self.runs:
            self.runs.append(run)
            self._save()
        if new:
            with suppress(BrokenPipeError):  # whoever reads it may leave
                print(f"{self.path.stem} {len(self.runs)}: {_difference(setting)}: {len(run['curve']['loss'])} epochs, {run['seconds']} s", flush=True)
        return run

    def _train(self, setting: Setting) -> dict:
        what = (setting.images, setting.scale)
        if not self._data or self._data[0] != what:  # one set at a time is held in floating point
            self._data = ()
            chosen = self.pictures if setting.images == len(self.pictures.train) else self.pictures.subset(setting.images)
            self._data = what, prepare(chosen, setting.scale, self.device)
        start = time.perf_counter()
        with tqdm(total=setting.epochs, desc=_difference(setting), unit="epoch", disable=None) as bar:
            model, curve = fit(setting, self._data[1], len(self.pictures.classes), bar)
        if setting.net == "columns":
            untrained = build(setting, len(self.pictures.classes), 24)
            curve["coloured"] = [[round(c, 3) for c in coloured(next(net.parameters()).detach()).tolist()] for net in (untrained, model)]
        if setting.net == "first-layer":
            card = {"command": self.head["command"], "data": self.head["data"]["name"], "date": str(datetime.date.today()), "licence": LICENCE}
            write_weights(self.path.with_suffix(".safetensors"), {"conv1": model.features.conv1.weight.detach().cpu()}, card)
        seconds = round(time.perf_counter() - start, 1)
        share = {"augment_share": curve.pop("augment_share")} if "augment_share" in curve else {}  # a time, like the seconds
        made = {"date": str(datetime.date.today()), "machine": machine(self.device), "precision": precision(torch.device(self.device))}
        return {"setting": json.loads(_key(asdict(setting))), "curve": curve, "seconds": seconds, **share, **made}

    def _save(self) -> None:
        """What an earlier command recorded and this one has not come to yet stays in the file."""
        earlier = json.loads(self.path.read_text())["runs"] if self.path.exists() else []
        kept = {_key(run["setting"]) for run in self.runs}
        runs = self.runs + [run for run in earlier if _key(run["setting"]) not in kept]
        part = self.path.with_suffix(f".{os.getpid()}.part")
        head = json.dumps(self.head, indent=1)[:-2]
        try:
            part.write_text(head + ',\n "runs": [\n' + ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs) + "\n]}\n")
            os.replace(part, self.path)
        except OSError as problem:
            raise OSError(f"{self.path} cannot be written ({problem.strerror})") from problem
        finally:
            part.unlink(missing_ok=True)


def _recorded(folder: Path, data: dict) -> dict[str, dict]:
    """The runs on some data that the files of a folder hold, by setting.

    Raises:
        ValueError: for a file that is no record of runs.
    """
    known = {}
    for path in sorted(folder.glob("*.json")):
        try:
            file = json.loads(path.read_text())
            known |= {_key(run["setting"]): run for run in file["runs"] if file["data"] == data}
        except (KeyError, TypeError, ValueError) as problem:
            raise ValueError(f"{path} is no file of recorded runs ({problem!r}): move it away, or give another folder with --out") from problem
    return known


def _key(setting: dict) -> str:
    """A setting as text. A field that a file does not have yet had its default when the file was written."""
    return json.dumps(asdict(Setting()) | setting, sort_keys=True)


def _difference(setting: Setting) -> str:
    """What sets a setting apart from the default one."""
    default = asdict(Setting())
    return ", ".join(f"{name} {value}" for name, value in asdict(setting).items() if value != default[name])


def machine(device: str) -> str:
    """The hardware by name, and the versions that the figures may depend on."""
    if torch.device(device).type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        kind = torch.backends.cpu.get_cpu_capability()
        where = f"{names[0] if names else platform.machine()}, {kind}, {torch.get_num_threads()} threads"
    return f"{where}; torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"


# The experiments


def best_rate(lab: Lab, setting: Setting, epochs: int = 2) -> Setting:
    """The setting with the rate, out of ..., 0.01, 0.03, 0.1, ..., of the lowest training loss after a few epochs.

    The search starts at the setting's rate and goes on downhill, so that the best is not at the edge of a grid.

    Raises:
        FloatingPointError: if it has gone three powers of ten without an end.
    """
    losses: dict[int, float] = {}

    def at(step: int) -> Setting:
        exponent = round(2 * math.log10(setting.rate)) + step
        return replace(setting, rate=float(f"{10 ** (exponent / 2):.0e}"))

    def loss(step: int) -> float:
        if step not in losses:
            rows = lab.run(replace(at(step), epochs=epochs, target=0.0))["curve"]["loss"]
            losses[step] = math.inf if rows[-1][-1] is None else rows[-1][-1]
        return losses[step]

    step = 0
    way = 1 if loss(1) < loss(0) else -1
    while loss(step + way) < loss(step) or loss(step) == math.inf:
        step += way
        if abs(step) > 6:
            raise FloatingPointError(f"no best rate between {setting.rate} and {at(step).rate} for {_difference(setting)}: start elsewhere")
    return at(step)


def over_seeds(lab: Lab, settings: Iterable[Setting]) -> None:
    """All settings with seed 0 first, then with seed 1, and so on: stopped early, the comparison is still whole."""
    settings = list(settings)
    for seed in lab.seeds:
        for setting in settings:
            lab.run(replace(setting, seed=seed))


CAUSES = [("torch", "standardised"), ("original", "raw"), ("torch", "raw"), ("original", "standardised")]


def relu(lab: Lab) -> None:
    """P5: epochs to 25 % training error with ReLU, tanh and sigmoid, each with its own best rate.

    With today's initialisation and scale of the pixels and with those of 2012; then crossed, to see which of them matters.
    How much of tanh is saturated, a short run of each tells.
    """
    for init, scale in CAUSES:
        activations = ACTIVATIONS if (init, scale) in CAUSES[:2] else ("relu", "tanh")
        start = 0.03 if scale == "standardised" else 0.001
        settings = [Setting(activation=name, init=init, scale=scale, rate=start, target=0.25, epochs=12) for name in activations]
        best = [best_rate(lab, setting) for setting in settings]
        for setting in best:
            if setting.activation == "tanh":
                lab.run(replace(setting, epochs=4, target=0.0))
        over_seeds(lab, [replace(s, epochs=48) if (s.activation, s.scale) == ("tanh", "raw") else s for s in best])  # it needs them


TODAY = Setting(decay=0.001, rate=0.03, schedule="linear", epochs=8)
# layers-18pct.cfg, in as many epochs as the paper's net had, and with a rate that falls in a line instead of by hand
THEN = Setting(init="original", scale="raw", decay=0.004, last_decay=250.0, rate=0.003, bias_rate=2.0, schedule="linear", epochs=90)


def baselines(lab: Lab) -> tuple[Setting, Setting]:
    """The four-layer net with the paper's normalisation: as nets are trained today, and with the recipe of 2012 to the end."""
    return best_rate(lab, replace(TODAY, norm="paper's alpha"), epochs=1), best_rate(lab, replace(THEN, norm="paper's alpha"), epochs=4)


def lrn(lab: Lab) -> None:
    """P9: the net of 2012 without normalisation, with it after the paper and after the code, with its own and with batch normalisation.

    As nets are trained today; and with the pixels, the initialisation and the decay of 2012. What the paper's normalisation
    divides by, one short run of each tells. The net's own normalisation divides today's pixels, which are near 1, by 1: there
    it is the net without.
    """
    today = [norm for norm in NORMS if norm != "within maps"]
    for recipe, epochs, norms in ((TODAY, 1, today), (THEN, 4, list(NORMS))):
        best = {norm: best_rate(lab, replace(recipe, norm=norm), epochs) for norm in norms}
        lab.run(replace(best["paper's alpha"], epochs=6))
        over_seeds(lab, best.values())
    for seed in (3, 4):  # its first three lie two points apart, those of the paper's normalisation a tenth
        lab.run(replace(best["none"], seed=seed))


def pooling(lab: Lab) -> None:
    """P10: windows that overlap, 3/2, against 2/2."""
    for base in baselines(lab):
        over_seeds(lab, [replace(base, pool=pool) for pool in [(3, 2), (2, 2)]])


def dropout(lab: Lab) -> None:
    """P16: eight layers with and without dropout, on 5,000 images and at a rate that does not fall, until the test error
    does no more: how many iterations does that take?

    And how far apart training and test error are after fewer epochs, on 5,000 images and on all of them.
    """
    base = Setting(net="half-small", decay=0.0005)
    for images, epochs, schedule in ((5_000, 16, "linear"), (50_000, 6, "linear"), (5_000, 60, "constant")):
        over_seeds(lab, [replace(base, images=images, epochs=epochs, schedule=schedule, dropout=dropout) for dropout in (0.0, 0.5)])


def learning(lab: Lab) -> None:
    """P18: weight decay and the training error. P19: biases of 1 and the first stage of learning, an epoch."""
    for base in baselines(lab):
        over_seeds(lab, [replace(base, decay=decay) for decay in (0.0, base.decay)])
    base = Setting(scale="raw", rate=0.003, epochs=1)  # the rate that is best for the biases of 2012, which are 0 in this net
    over_seeds(lab, [replace(base, init=init) for init in ("original", "original, biases 1")])


def augmentation(lab: Lab) -> None:
    """P14, P15, P28, P29: windows of 24×24 out of 32×32, mirror images, PCA colour, one after the other."""
    base = replace(TODAY, scale="bytes", epochs=40)
    over_seeds(lab, [replace(base, augment=kind) for kind in ("none", "flip", "crop", "colour")])


# The first kernels are faint, so that what is seen in them was learned
COLUMNS = Setting(net="columns", init="faint", scale="bytes", augment="flip", decay=0.0005, rate=0.04, schedule="linear", batch=64, epochs=6)
TO_SEVENTY = {"none": 6, "columns that never talk": 8, "no columns": 6}  # epochs until 70 % of the test images are right


def specialisation(lab: Lab) -> None:
    """P24: does one column turn grey and the other coloured? With columns that talk in conv3, that never do, and with none."""
    over_seeds(lab, [replace(COLUMNS, change=change, epochs=epochs) for change, epochs in TO_SEVENTY.items()])


def kernels(lab: Lab) -> None:
    """The 96 kernels of Figure 3, learned from photographs; also kept as ``kernels.safetensors``."""
    lab.run(Setting(net="first-layer", images=len(lab.pictures.train), init="fainter", decay=0.002, rate=0.02, schedule="linear", epochs=40))


def small(lab: Lab) -> None:
    """The card of ``small.safetensors``: how it was trained, what it gets right; P25: are pictures that lie near each other
    in its last hidden layer of one class, more often than pictures that are near in their pixels?"""
    weights = read_weights(SMALL)[1]
    trained, pictures = load("small").to(lab.device), lab.pictures
    test = square(pictures.test, trained.resize).to(lab.device)

    def accuracy(ten: bool) -> dict:
        found = sum(hits(trained.probabilities(x, ten).cpu(), y) for x, y in zip(test.split(500), pictures.test_labels.split(500)))
        return {"top1": found[0].item() / len(test), "top5": found[1].item() / len(test), "images": len(test)}

    def hidden(net: nn.Module, images: Tensor) -> Tensor:
        views = (center_crop(square(part.to(lab.device), trained.resize), [trained.crop] * 2) for part in images.split(1000))
        return torch.cat([activations(net, "classifier.act7", trained.standardise(view)).cpu() for view in views])

    torch.manual_seed(0)
    untrained = AlexNet(len(trained.classes), "small").to(lab.device)
    queries, labels = pictures.test[::10], pictures.test_labels[::10]  # a tenth of each class
    same = {
        name: same_class(of(queries), labels, of(pictures.train), pictures.train_labels)
        for name, of in {"hidden": partial(hidden, trained.model), "untrained": partial(hidden, untrained), "pixels": lambda x: x / 255}.items()
    }
    with torch.no_grad():
        views = torch.stack([center_crop(square(photo, trained.resize), [trained.crop] * 2) for photo in photos().values()])
        logits = trained.model.eval()(trained.standardise(views.to(lab.device))).cpu()
    made = {"date": str(datetime.date.today()), "machine": machine(lab.device), "licence": LICENCE}
    accuracies = {"one crop": accuracy(False), "ten crops": accuracy(True)}
    results = {"training": weights, "accuracy": accuracies, "same_class": same, "logits": dict(zip(photos(), logits.tolist())), "runs": []}
    lab.path.write_text(json.dumps(lab.head | made | results, indent=1) + "\n")


def same_class(queries: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor, n: int = 6) -> list[float]:
    """For each class of the queries: the share of their ``n`` nearest others that are of the same class."""
    same = (other_labels[neighbours(queries, others, n)[1]] == labels[:, None]).float().mean(1)
    return [round(same[labels == label].mean().item(), 4) for label in labels.unique()]


def paper_and_code(lab: Lab) -> None:
    """Where the source of 2012 does otherwise than the paper says: one change each to the net that is after the paper.

    With pixels from 0 to 255: where they are standardised, activations are so small that no normalisation acts.
    """
    base = replace(COLUMNS, scale="raw bytes", augment="crop", rate=0.003, epochs=20, batch=128)
    base = best_rate(lab, base, epochs=1)
    changes = [{"change": name} for name in ("none", "code's alpha", "ReLU after pooling", "within-map normalisation")]
    over_seeds(lab, [replace(base, **change) for change in [*changes, {"bias_rate": 2.0}, {"share": 32}]])


def limits(lab: Lab) -> None:
    """The parts of AlexNet that others replaced, one at a time and all at once, with the recipe of the net with its parts."""
    over_seeds(lab, [replace(COLUMNS, change=change) for change in ("none", *REPLACEMENTS)])


EXPERIMENTS = {function.__name__: function for function in (relu, lrn, pooling, dropout, learning, augmentation, specialisation, kernels, small, paper_and_code, limits)}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # a run of an hour later it is too late to find out
    except OSError as problem:
        raise OSError(f"{folder} is no folder to write to, nor can it be made one ({problem.strerror}): name another one with --out") from problem


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alexnet.experiments", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=EXPERIMENTS, help="which experiment")
    parser.add_argument("--data", type=Path, default=CIFAR10_FOLDER, help="folder with CIFAR-10, or to download it to (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for NAME.json (book/runs; with --quick, a new temporary one)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to train: cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--seeds", type=int, help="seeds a setting (3, of specialisation 10; with --quick, 2)")
    parser.add_argument("--epochs", type=int, help="epochs a run at most")
    parser.add_argument("--quick", action="store_true", help="a run of seconds, on patches of photographs instead of --data: does it work?")
    options = parser.parse_args(arguments)
    for name in ("seeds", "epochs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} is 1 or more, not {getattr(options, name)}")
    seeds, epochs = options.seeds or (2 if options.quick else 10 if options.name == "specialisation" else 3), options.epochs or (1 if options.quick else None)
    try:
        usable(options.device)
        out = options.out or (Path(tempfile.mkdtemp(prefix="alexnet-")) if options.quick else RUNS)
        _make(out)
        if options.name == "kernels":
            pictures = photo_exemplars(768 if options.quick else 9_216)
        else:
            pictures = photo_patches(128) if options.quick else cifar10(options.data)
        if not options.quick and len(pictures.train) < 10 * Setting().batch:
            raise ValueError(f"{options.data} has {len(pictures.train)} training images, too few for an experiment: it takes CIFAR-10's 50,000")
        lab = Lab(options.name, pictures, out, options.device, seeds, epochs, options.quick)
    except (OSError, ValueError) as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("stopped before the first run")
    try:
        EXPERIMENTS[options.name](lab)
    except (KeyboardInterrupt, FloatingPointError, OSError, ValueError) as problem:
        kept = f"what is finished is in {lab.path}" if lab.path.exists() else "nothing was finished"
        stopped = isinstance(problem, KeyboardInterrupt)
        sys.exit(f"stopped: {kept}; the same command with --out {out} goes on" if stopped else f"{problem}; {kept}")
    with suppress(BrokenPipeError):
        print(lab.path)


if __name__ == "__main__":
    main()
