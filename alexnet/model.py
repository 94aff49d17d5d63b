"""AlexNet, in the variants that the book compares: one class, and a table of configurations.

Sizes and connections are those of section 3.5 of the paper (Krizhevsky, Sutskever and Hinton,
2012). Where the paper is silent, they are those of its net in the code of 2012
(``layers/layers-145.cfg``, published by the Computer History Museum in 2025).

The two columns of 2012, one on each GPU, are written as *groups* of a convolution: a layer with
``groups=2`` splits its feature maps into two halves that do not see each other, like two GPUs
between the layers at which they communicate. The first half of every layer's maps is the first
column.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from alexnet.lrn import LocalResponseNorm, MapNorm

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


@dataclass(frozen=True)
class AlexNetConfig:
    """Hyperparameters of an AlexNet. Each field is also a keyword argument of :class:`AlexNet`."""

    input_size: int = 224  # height and width of an image in pixels
    # Feature maps (channels) of conv1 to conv5, those of both columns together.
    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    kernels: tuple[int, ...] = (11, 5, 3, 3, 3)  # kernel sizes of conv1 to conv5
    # conv1 reads the whole image and conv3 both columns; the others read their own column. The
    # largest number of groups is the number of columns, and LRN normalizes within each column.
    groups: tuple[int, ...] = (1, 2, 1, 2, 2)
    stride: int = 4  # of conv1; the others have stride 1
    # Zeros (left and above, right and below) around the image. The code of 2012 rounds the number
    # of windows up, so that its last window hangs over the edge by three pixels (layer.py). Three
    # zeros on the right and below give the same result.
    padding: tuple[int, int] = (0, 3)
    pool: tuple[int, int] = (3, 2)  # kernel size and stride: the windows overlap (section 3.4)
    hidden: int = 4096  # units of fc6 and of fc7
    activation: str = "relu"  # a key of ACTIVATIONS
    # Convolutions whose activation comes after their normalization and pooling, rather than before.
    act_last: tuple[int, ...] = ()
    lrn: bool = True  # False: no normalization of either kind
    lrn_alpha: float = 5e-4  # the paper's 1e-4, in PyTorch's convention: see LocalResponseNorm
    within_map: bool = False  # a second normalization after that of conv2: see MapNorm
    dropout: float = 0.5  # probability that an activation is set to zero
    init: str = "paper"  # or "he", or "torch", which keeps PyTorch's defaults
    middle_std: float = 0.01  # standard deviation of conv3 to conv5's weights under init="paper"
    # Follow torchvision: its state-dict keys, adaptive pooling before fc6, and dropout in front of
    # fc6 and fc7 rather than behind them.
    torchvision: bool = False


PAPER = AlexNetConfig()
VARIANTS = {
    # The net that the paper describes, with two columns.
    "paper": PAPER,
    # The net that was trained, according to the files of run 145. They pool conv5 before its ReLU
    # as well, which makes no difference: the maximum stays the maximum.
    "original-code": replace(
        PAPER, act_last=(1, 5), lrn_alpha=1e-4, within_map=True, middle_std=0.03
    ),
    # All maps connected and no normalization: the usual re-implementation.
    "single-column": replace(PAPER, groups=(1,) * 5, padding=(2, 2), lrn=False, init="torch"),
    # Section 3.2: half the kernels, except in the last convolution, which keeps the number of
    # parameters about the same.
    "one-gpu": replace(PAPER, widths=(48, 128, 192, 192, 256), groups=(1,) * 5),
    # torchvision.models.alexnet, after Krizhevsky (2014), "One weird trick".
    "torchvision": replace(
        PAPER,
        widths=(64, 192, 384, 256, 256),
        groups=(1,) * 5,
        padding=(2, 2),
        lrn=False,
        init="torch",
        torchvision=True,
    ),
    # Two columns for images of 32×32, small enough to train on a CPU. The 31×31 positions of conv1
    # become 15, 7 and 3 under pooling with a window of 3 and with a window of 2 alike, so that both
    # nets have the same number of parameters. The paper's sizes (55, 27, 13, 6) do the same.
    "small": replace(
        PAPER,
        input_size=32,
        widths=(64, 128, 192, 192, 128),
        kernels=(5, 5, 3, 3, 3),
        stride=1,
        padding=(1, 2),
        hidden=256,
        init="he",
    ),
    # The paper's proportions for the 64×64 photographs of Tiny ImageNet: windows of 7/8 of the
    # side, a first kernel of an eighth of the window, whose last window hangs over the edge by
    # three pixels, and half the maps. Its positions are 27, 13 and 6, one halving less.
    "tiny-imagenet": replace(
        PAPER,
        input_size=56,
        widths=(48, 128, 192, 192, 128),
        kernels=(7, 5, 3, 3, 3),
        stride=2,
        hidden=1024,
        init="he",
    ),
}


class AlexNet(nn.Module):
    """Five convolutions, three of them followed by max pooling, and three fully connected layers.

    The net does no preprocessing. ``model.sizes`` is the range of image sizes that it accepts:
    those that leave as many positions for fc6 as ``model.config.input_size`` does.

    Args:
        num_classes: number of logits, at least 1.
        variant: a key of :data:`VARIANTS`.
        **overrides: fields of :class:`AlexNetConfig` that replace those of the variant, such as
            ``activation="tanh"``, ``lrn=False``, ``pool=(2, 2)``, ``dropout=0.0`` or
            ``groups=(1, 1, 1, 1, 1)``.

    Shape:
        - Input: (N, 3, H, W), floating point, with H and W in ``model.sizes``.
        - Output: (N, num_classes), the logits.

    Raises:
        ValueError: if the variant, the activation or the initialization is unknown, if
            ``num_classes`` is below 1, if a layer's maps are no multiple of its groups, or if the
            input size is so small that pooling leaves nothing.
        TypeError: if an override is not a field of :class:`AlexNetConfig`.

    Example:
        >>> import torch
        >>> AlexNet(10, "small", lrn=False)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 1000, variant: str = "paper", **overrides) -> None:
        super().__init__()
        base = _look_up("variant", variant, VARIANTS)
        config = replace(base, **_check_overrides(overrides))
        self.variant = variant
        self.config = config
        self.sizes = _accepted_sizes(config)
        if num_classes < 1:
            raise ValueError(f"num_classes must be >= 1, got {num_classes}")

        features = OrderedDict(_features(config))
        # torchvision pools to 6×6 whatever the image size; the others take what pool5 leaves.
        size = 6 if config.torchvision else _feature_map_size(config, config.input_size)
        classifier = OrderedDict(_classifier(config, config.widths[-1] * size**2, num_classes))
        if config.torchvision:
            features["pool"] = nn.AdaptiveAvgPool2d(size)
            # torchvision's layers have numbers instead of names, as in the key features.0.weight
            self.features = nn.Sequential(*features.values())
            self.classifier = nn.Sequential(*classifier.values())
        else:
            self.features = nn.Sequential(features)
            self.classifier = nn.Sequential(classifier)
        initialize = _look_up("init", config.init, INITS)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of a batch of images.

        Args:
            images: (N, 3, H, W), floating point.

        Returns:
            (N, num_classes) logits.

        Raises:
            ValueError: if the images do not fit, see :func:`check_images`.
        """
        images = check_images(images, self.variant, self.config, self.sizes)
        x = self.features(images)  # (N, 3, 224, 224) -> (N, 256, 6, 6)
        return self.classifier(x.flatten(1))  # (N, 9216) -> (N, num_classes)


# torch.fx records the call, since it cannot follow code that depends on shapes. So a net that it
# has traced still checks its images.
@torch.fx.wrap
def check_images(images: Tensor, variant: str, config: AlexNetConfig, sizes: range) -> Tensor:
    """Check that a net can take a batch of images, before a layer deep inside it fails.

    Args:
        images: the batch.
        variant: name of the net's variant, for the message.
        config: configuration of the net.
        sizes: heights and widths that the net accepts.

    Returns:
        The images as they are: torch.fx removes a call whose result is not used.

    Raises:
        ValueError: if the images are not (N, 3, H, W) in floating point, or if H or W is not one of
            the accepted sizes.
    """
    if torch.jit.is_tracing():
        return images  # Sizes are tensors there, and the trace cannot record a condition.
    if images.ndim != 4 or images.shape[1] != 3:
        shape = tuple(images.shape)
        raise ValueError(f"images must be RGB, of shape (N, 3, H, W), got {shape}")
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating point, got {images.dtype}: convert them with images.float()"
        )
    height, width = images.shape[2:]
    smallest, largest = sizes[0], sizes[-1]
    if min(height, width) < smallest or max(height, width) > largest:
        size = config.input_size
        # Adaptive pooling has no largest size.
        accepted = f"{smallest} or more" if config.torchvision else f"{smallest} to {largest}"
        raise ValueError(
            f"the variant {variant!r} takes images of {size}×{size} pixels (accepted: {accepted}), "
            f"got {height}×{width}"
        )
    return images


def _features(config: AlexNetConfig) -> Iterator[tuple[str, nn.Module]]:
    """Yield conv1 to conv5 with their names, each with its activation, normalization and pooling.

    The order is the paper's: activation, normalization, pooling. For the convolutions in
    ``config.act_last`` the activation comes last.
    """
    activation = _look_up("activation", config.activation, ACTIVATIONS)
    columns = max(config.groups)
    in_channels = 3
    layers = zip(config.widths, config.kernels, config.groups, strict=True)
    for n, (out_channels, kernel_size, groups) in enumerate(layers, start=1):
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"input and output maps of conv{n} must be multiples of its {groups} groups, "
                f"got {in_channels} and {out_channels}"
            )
        stride = config.stride if n == 1 else 1
        # Half a kernel of zeros on each side keeps the size of the maps.
        before, after = config.padding if n == 1 else (kernel_size // 2, kernel_size // 2)
        padding = before
        if before != after:  # nn.Conv2d pads both sides with equally many zeros
            yield f"pad{n}", nn.ZeroPad2d((before, after, before, after))
            padding = 0
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups)
        yield f"conv{n}", conv
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
        in_channels = out_channels


def _classifier(
    config: AlexNetConfig, in_features: int, num_classes: int
) -> Iterator[tuple[str, nn.Module]]:
    """Yield fc6 to fc8 with their names, activations and dropout.

    The paper drops outputs of fc6 and fc7 (section 4.2), torchvision drops their inputs.
    """
    activation = _look_up("activation", config.activation, ACTIVATIONS)
    for n in (6, 7):
        if config.torchvision:
            yield f"drop{n}", nn.Dropout(config.dropout)
        yield f"fc{n}", nn.Linear(in_features, config.hidden)
        yield f"act{n}", activation()
        if not config.torchvision:
            yield f"drop{n}", nn.Dropout(config.dropout)
        in_features = config.hidden
    yield "fc8", nn.Linear(in_features, num_classes)


def paper_std_and_bias(n: int, middle_std: float) -> tuple[float, float]:
    """How a layer begins in section 5 of the paper.

    Biases are 1 in conv2, conv4, conv5, fc6 and fc7, so that ReLUs get positive inputs from the
    start, and 0 elsewhere.

    Args:
        n: of the layer, 1 for conv1 to 8 for fc8.
        middle_std: standard deviation in conv3 to conv5: 0.01 in the paper, and 0.03 in the code of
            2012 (``layers-145.cfg``).

    Returns:
        The standard deviation of its weights, whose mean is 0, and its biases.
    """
    return (middle_std if n in (3, 4, 5) else 0.01), (1.0 if n in (2, 4, 5, 6, 7) else 0.0)


def _init_paper(model: AlexNet) -> None:
    """Initialize as in section 5 of the paper, with ``config.middle_std``."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]  # conv1 to fc8
    for n, layer in enumerate(layers, start=1):
        std, bias = paper_std_and_bias(n, model.config.middle_std)
        nn.init.normal_(layer.weight, std=std)
        nn.init.constant_(layer.bias, bias)


def _init_he(model: AlexNet) -> None:
    """Initialize as He et al. (2015).

    Weights are drawn from N(0, 2 / inputs), which keeps the variance of the activations from layer
    to layer. Biases are 0.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


def _init_torch(model: AlexNet) -> None:
    """Keep the weights that PyTorch's layers drew when they were made."""


INITS = {"paper": _init_paper, "he": _init_he, "torch": _init_torch}


def _feature_map_size(config: AlexNetConfig, image_size: int) -> int:
    """Height and width of pool5's maps for images of ``image_size``; below 1 if nothing is left."""
    kernel_size, stride = config.pool
    size = (image_size + sum(config.padding) - config.kernels[0]) // config.stride + 1  # conv1
    for _ in range(3):  # three poolings; conv2 to conv5 keep the size
        size = (size - kernel_size) // stride + 1
    return size


def _accepted_sizes(config: AlexNetConfig) -> range:
    """Image sizes for which pool5's maps are as large as for ``config.input_size``.

    Raises:
        ValueError: if pooling leaves nothing of an image of ``config.input_size``.
    """
    smallest = 1
    while _feature_map_size(config, smallest) < 1:
        smallest += 1
    if config.input_size < smallest:
        raise ValueError(
            f"input_size must be >= {smallest}, or pooling leaves nothing, got {config.input_size}"
        )
    if config.torchvision:  # adaptive pooling takes every size that leaves a position
        return range(smallest, 2**31)
    wanted = _feature_map_size(config, config.input_size)
    while _feature_map_size(config, smallest) < wanted:
        smallest += 1
    stop = smallest
    while _feature_map_size(config, stop) == wanted:
        stop += 1
    return range(smallest, stop)


def _look_up(kind: str, name: str, table: dict):
    """Get an entry of a table, or raise a ValueError that lists the names that there are."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}: choose one of {', '.join(table)}")
    return table[name]


def _check_overrides(overrides: dict) -> dict:
    """Return the overrides, or raise a TypeError that lists the fields that there are."""
    names = [field.name for field in fields(AlexNetConfig)]
    for name in overrides:
        if name not in names:
            raise TypeError(f"unknown override {name!r}: choose one of {', '.join(names)}")
    return overrides
