"""AlexNet, in the variants that the book compares: one class, and a table of what tells them apart.

Sizes and connections are those of section 3.5 of the paper (Krizhevsky, Sutskever and Hinton, 2012); where the paper is
silent, those of the source that won (``layers/layers-145.cfg``, Computer History Museum, 2025).

The two columns of 2012, one a GPU, are written as *groups* of a convolution: a layer with ``groups=2`` splits its maps in
two halves that do not see each other, which is what two GPUs do between the points where they talk. The first half of
the maps of every layer is the first column.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import count

from torch import Tensor, nn

from alexnet.lrn import LocalResponseNorm, MapNorm

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


@dataclass(frozen=True)
class AlexNetConfig:
    """What tells one AlexNet from another. Each field is also a keyword argument of :class:`AlexNet`."""

    input_size: int = 224  # height and width of an image in pixels
    widths: tuple[int, ...] = (96, 256, 384, 384, 256)  # maps of conv1 to conv5, all columns together
    kernels: tuple[int, ...] = (11, 5, 3, 3, 3)
    # conv1 sees the whole image, conv3 both columns, the others their own; the most groups of any layer are the columns,
    # within which the maps are normalised
    groups: tuple[int, ...] = (1, 2, 1, 2, 2)
    stride: int = 4  # of conv1; the others have 1
    # Zeros before and after the image, both ways. The original rounds the number of windows up, so that its last window
    # hangs over the edge by three pixels (``layer.py``); three zeros at the right and the bottom are the same.
    padding: tuple[int, int] = (0, 3)
    pool: tuple[int, int] = (3, 2)  # window and stride: they overlap (section 3.4)
    hidden: int = 4096  # units of fc6 and of fc7
    activation: str = "relu"
    act_last: tuple[int, ...] = ()  # convolutions whose activation comes after their normalisation and their pooling
    lrn: bool = True  # False: no normalisation of either kind
    lrn_alpha: float = 5e-4  # the paper's 1e-4: see LocalResponseNorm
    within_map: bool = False  # a second normalisation after that of conv2: see MapNorm
    dropout: float = 0.5  # probability of a zero
    init: str = "paper"  # or "he", or "torch": PyTorch's defaults
    middle_std: float = 0.01  # of the weights of conv3 to conv5, where ``init`` is "paper"
    torchvision: bool = False  # torchvision's key names, adaptive pooling, and dropout before fc6 and fc7, not after


PAPER = AlexNetConfig()
VARIANTS = {
    # The net as the paper describes it: two columns.
    "paper": PAPER,
    # The net that was trained, as the files of run 145 describe it. conv5 is pooled before its ReLU as well, which
    # changes nothing: the largest value stays the largest.
    "original-code": replace(PAPER, act_last=(1, 5), lrn_alpha=1e-4, within_map=True, middle_std=0.03),
    # All maps connected, no normalisation: the usual re-implementation.
    "single-column": replace(PAPER, groups=(1,) * 5, padding=(2, 2), lrn=False, init="torch"),
    # Section 3.2: half the kernels, except in the last convolution, so that the parameters stay about as many.
    "one-gpu": replace(PAPER, widths=(48, 128, 192, 192, 256), groups=(1,) * 5),
    # torchvision.models.alexnet, after Krizhevsky (2014), "One weird trick".
    "torchvision": replace(
        PAPER, widths=(64, 192, 384, 256, 256), groups=(1,) * 5, padding=(2, 2), lrn=False, init="torch", torchvision=True
    ),
    # Two columns for 32×32 pictures, small enough to train on a CPU. 31×31 positions in conv1 leave 15, 7 and 3 after
    # pooling, with windows of 3 as of 2: the two have equally many parameters, as in the paper (55, 27, 13, 6).
    "small": replace(
        PAPER, input_size=32, widths=(64, 128, 192, 192, 128), kernels=(5, 5, 3, 3, 3), stride=1, padding=(1, 2),
        hidden=256, init="he",
    ),
}  # fmt: skip


class AlexNet(nn.Module):
    """The net: five convolutions, three of them pooled, and three fully connected layers.

    Args:
        num_classes: number of logits.
        variant: a name in :data:`VARIANTS`.
        **switches: fields of :class:`Variant` that shall differ from the variant's, such as ``activation="tanh"``,
            ``lrn=False``, ``pool=(2, 2)``, ``dropout=0.0`` or ``groups=(1, 1, 1, 1, 1)``.

    Shape: images (N, 3, H, W) in floating point; logits (N, num_classes). H and W are ``model.config.input_size``, or
    any size that leaves as many positions for fc6. The net does no preprocessing.

    Raises:
        ValueError: for an unknown variant, activation or initialisation, for no classes, for an input size of which
            nothing is left, and in ``forward`` for images that do not fit.
        TypeError: for an unknown switch.
    """

    def __init__(self, num_classes: int = 1000, variant: str = "paper", **switches) -> None:
        super().__init__()
        self.config = config = replace(_choose("variant", variant, VARIANTS), **_check_overrides(switches))
        self.variant = variant
        self.sizes = _sizes_that_fit(config)

        if num_classes < 1:
            raise ValueError(f"a classifier needs one class or more, not {num_classes}")
        features = OrderedDict(_features(config))
        side = 6 if config.torchvision else _feature_side(config, config.input_size)
        classifier = OrderedDict(_classifier(config, config.widths[-1] * side**2, num_classes))
        if config.torchvision:
            features["pool"] = nn.AdaptiveAvgPool2d(side)
            self.features, self.classifier = nn.Sequential(*features.values()), nn.Sequential(*classifier.values())
        else:
            self.features, self.classifier = nn.Sequential(features), nn.Sequential(classifier)
        _choose("init", config.init, INITS)(self)

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.variant, self.config, self.sizes)
        x = self.features(images)  # (N, 3, 224, 224) -> (N, 256, 6, 6)
        return self.classifier(x.flatten(1))  # (N, 9216) -> (N, num_classes)


def check_images(images: Tensor, variant: str, config: AlexNetConfig, sizes: range) -> None:
    """Raise a ValueError that says what would be right, if a net of this variant cannot take the images."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"AlexNet takes a batch of RGB images, shape (N, 3, H, W), not {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"AlexNet takes images in floating point, not {images.dtype}: convert them with images.float()")
    for size in images.shape[2:]:
        if size < sizes[0] or size > sizes[-1]:
            fit = f"at least {sizes[0]}" if config.torchvision else f"{sizes[0]} to {sizes[-1]}"
            raise ValueError(
                f"the variant {variant!r} takes images of {config.input_size}×{config.input_size} pixels "
                f"({fit} will do), not {images.shape[2]}×{images.shape[3]}"
            )


def _features(config: AlexNetConfig) -> Iterator[tuple[str, nn.Module]]:
    """conv1 to conv5 with their names and what follows each, in the paper's order: activation, normalisation, pooling."""
    activation = _choose("activation", config.activation, ACTIVATIONS)
    columns = max(config.groups)
    channels = 3
    for n, (width, kernel, groups) in enumerate(zip(config.widths, config.kernels, config.groups, strict=True), start=1):
        if channels % groups or width % groups:
            raise ValueError(f"conv{n} cannot deal {channels} maps in and {width} out to {groups} groups: let both be multiples of it")
        before, after = config.padding if n == 1 else (kernel // 2, kernel // 2)
        if before != after:  # Conv2d pads both sides alike
            yield f"pad{n}", nn.ZeroPad2d((before, after, before, after))
        yield f"conv{n}", nn.Conv2d(
            channels, width, kernel, stride=config.stride if n == 1 else 1,
            padding=before if before == after else 0, groups=groups,
        )  # fmt: skip
        if n not in config.act_last:
            yield f"act{n}", activation()
        if config.lrn and n in (1, 2):
            yield f"norm{n}", LocalResponseNorm(alpha=config.lrn_alpha, groups=columns)
        if config.lrn and config.within_map and n == 2:
            yield f"mapnorm{n}", MapNorm()
        if n in (1, 2, 5):
            yield f"pool{n}", nn.MaxPool2d(*config.pool)
        if n in config.act_last:
            yield f"act{n}", activation()
        channels = width


def _classifier(config: AlexNetConfig, inputs: int, num_classes: int) -> Iterator[tuple[str, nn.Module]]:
    """fc6 to fc8 with their names. The paper drops the outputs of fc6 and fc7 (section 4.2), torchvision their inputs."""
    activation = _choose("activation", config.activation, ACTIVATIONS)
    for n in (6, 7):
        if config.torchvision:
            yield f"drop{n}", nn.Dropout(config.dropout)
        yield f"fc{n}", nn.Linear(inputs, config.hidden)
        yield f"act{n}", activation()
        if not config.torchvision:
            yield f"drop{n}", nn.Dropout(config.dropout)
        inputs = config.hidden
    yield "fc8", nn.Linear(inputs, num_classes)


def _init_paper(model: AlexNet) -> None:
    """Section 5: weights from N(0, 0.01); biases 1 in conv2, conv4, conv5, fc6 and fc7, 0 elsewhere. The code has 0.03 in
    conv3 to conv5 (``layers-145.cfg``)."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]  # conv1 to fc8, in order
    for n, layer in enumerate(layers, start=1):
        nn.init.normal_(layer.weight, std=model.config.middle_std if n in (3, 4, 5) else 0.01)
        nn.init.constant_(layer.bias, 1.0 if n in (2, 4, 5, 6, 7) else 0.0)


def _init_he(model: AlexNet) -> None:
    """He et al. (2015): weights from N(0, sqrt(2 / inputs)), which keeps the activations' size from layer to layer."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


INITS = {"paper": _init_paper, "he": _init_he, "torch": lambda model: None}


def _feature_side(config: AlexNetConfig, size: int) -> int:
    """Height and width of what the last pooling leaves of an image of ``size`` pixels; below 1 if nothing is left."""
    window, stride = config.pool
    side = (size + sum(config.padding) - config.kernels[0]) // config.stride + 1
    for _ in range(3):  # the other convolutions keep the size
        side = (side - window) // stride + 1
    return side


def _sizes_that_fit(config: AlexNetConfig) -> range:
    """The image sizes that the layers can take."""
    wanted = _feature_side(config, config.input_size)
    least = next(s for s in count(1) if _feature_side(config, s) >= 1)
    if wanted < 1:
        raise ValueError(f"of images of {config.input_size} pixels the pooling leaves nothing: take {least} or more")
    if config.torchvision:  # adaptive pooling: anything of which a position is left
        return range(least, 2**31)
    first = next(s for s in count(least) if _feature_side(config, s) == wanted)
    return range(first, next(s for s in count(first) if _feature_side(config, s) > wanted))


def _choose(what: str, name: str, table: dict):
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}: choose one of {', '.join(table)}")
    return table[name]


def _check_overrides(switches: dict) -> dict:
    names = [field.name for field in fields(AlexNetConfig)]
    for name in switches:
        if name not in names:
            raise TypeError(f"unknown switch {name!r}: choose among {', '.join(names)}")
    return switches
