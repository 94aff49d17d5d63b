"""The small nets of the experiments, and how their weights start."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from alexnet.experiments.config import ExperimentConfig
from alexnet.lrn import LocalResponseNorm, MapNorm
from alexnet.model import ACTIVATIONS, AlexNet, paper_std_and_bias

# Normalizations of the four-layer net: number of channels -> module
NORMS: dict[str, Callable[[int], nn.Module] | None] = {
    "none": None,
    # 1e-4 in the formula of section 3.3, which does not divide by the size
    "paper's alpha": lambda channels: LocalResponseNorm(alpha=5e-4),
    # 1e-4 in layer-params-145.cfg, divided by the size
    "code's alpha": lambda channels: LocalResponseNorm(alpha=1e-4),
    # All are divided by k ** beta = 1.68, and no map hears another one
    "constant": lambda channels: LocalResponseNorm(alpha=0.0),
    # layers-18pct.cfg
    "within maps": lambda channels: MapNorm(3, alpha=5e-5),
    "batch": nn.BatchNorm2d,
}

# Standard deviations of the initial weights of the four layers, from layers-18pct.cfg
ORIGINAL_STDS = (1e-4, 0.01, 0.01, 0.01)
# Standard deviations of initial weights in units of 1/sqrt(inputs), for the first layer and for
# those above it. PyTorch's default is uniform within one unit. On CIFAR-10 the first layer of
# layers-18pct.cfg has 75 inputs a unit, and its next ones have 800.
TORCH_GAINS = (3**-0.5, 3**-0.5)
ORIGINAL_GAINS = (ORIGINAL_STDS[0] * 75**0.5, ORIGINAL_STDS[1] * 800**0.5)

# Channels of the convolutions of the net "race", which a page trains in its reader's browser
RACE_WIDTHS = (8, 16, 16)


class FourLayerNet(nn.Sequential):
    """The CIFAR-10 net of 2012 with four layers of weights: ``layers-cifar/layers-18pct.cfg``.

    The paper does not specify the "four-layer" net of its Figure 1 further. As in that file, the
    first pooling layer takes the maximum, before the activation; the other two take the mean.
    Windows may hang over the edge, so windows of 3 and of 2 with stride 2 leave equally many
    positions.

    Args:
        num_classes: number of logits.
        activation: ``"relu"``, ``"tanh"`` or ``"sigmoid"``.
        norm: a name in :data:`NORMS`, applied after the first two convolutional layers.
        pool: window and stride of the three pooling layers; the stride must be 2.
        init: a name in :data:`INITS`; the weights are drawn from torch's global generator.
        image_size: height and width of the images in pixels, a multiple of 8.
        channels: of the images.
        widths: channels of the three convolutional layers.

    Shape: images float (N, channels, image_size, image_size); logits float (N, num_classes). The
    weights are in channels_last memory format.

    Raises:
        ValueError: for an invalid argument; the message names it and what it may be.
    """

    def __init__(
        self,
        num_classes: int,
        activation: str = "relu",
        norm: str = "none",
        pool: tuple[int, int] = (3, 2),
        init: str = "he",
        image_size: int = 32,
        channels: int = 3,
        widths: tuple[int, int, int] = (32, 32, 64),
    ) -> None:
        make_activation = _look_up("activation", activation, ACTIVATIONS)
        make_norm = _look_up("norm", norm, NORMS)
        if image_size < 8 or image_size % 8:
            raise ValueError(f"image_size must be a multiple of 8, got {image_size}")
        window, stride = pool
        if stride != 2:
            # The size of fc4 takes it that each pooling layer halves height and width
            raise ValueError(f"the stride of pool must be 2, got {stride}")
        pooling = {"kernel_size": window, "stride": stride, "ceil_mode": True}

        first, second, third = widths
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        # S stands for image_size
        layers["conv1"] = nn.Conv2d(channels, first, kernel_size=5, padding=2)  # (N, first, S, S)
        layers["pool1"] = nn.MaxPool2d(**pooling)  # (N, first, S/2, S/2)
        layers["act1"] = make_activation()
        if make_norm:
            layers["norm1"] = make_norm(first)
        layers["conv2"] = nn.Conv2d(first, second, kernel_size=5, padding=2)
        layers["act2"] = make_activation()
        layers["pool2"] = nn.AvgPool2d(**pooling)  # (N, second, S/4, S/4)
        if make_norm:
            layers["norm2"] = make_norm(second)
        layers["conv3"] = nn.Conv2d(second, third, kernel_size=5, padding=2)
        layers["act3"] = make_activation()
        layers["pool3"] = nn.AvgPool2d(**pooling)  # (N, third, S/8, S/8)
        layers["flatten"] = nn.Flatten()
        layers["fc4"] = nn.Linear(third * (image_size // 8) ** 2, num_classes)
        super().__init__(layers)

        initialize(self, init)
        self.to(memory_format=torch.channels_last)  # the faster format for convolutions

    def __getitem__(self, index: int | slice) -> nn.Module:
        """The layer at an index; of a slice, the layers as a plain ``nn.Sequential``."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)


def race_net(
    num_classes: int,
    activation: str = "relu",
    init: str = "torch, normal",
    image_size: int = 24,
) -> FourLayerNet:
    """The four-layer net for gray images, with a quarter of its channels.

    Args:
        num_classes: number of logits.
        activation: ``"relu"``, ``"tanh"`` or ``"sigmoid"``.
        init: ``"torch, normal"`` or ``"original, by inputs"``, the scales of today and of 2012.
        image_size: height and width of the images in pixels, a multiple of 8.

    Shape: images float (N, 1, image_size, image_size); logits float (N, num_classes).
    """
    return FourLayerNet(
        num_classes,
        activation,
        init=init,
        image_size=image_size,
        channels=1,
        widths=RACE_WIDTHS,
    )


def one_hidden_net(
    num_classes: int, dropout: float, drop_maps: bool = False, image_size: int = 24
) -> nn.Sequential:
    """Two convolutional layers and two fully connected ones, for gray images.

    A net for a page like :func:`race_net`, with a hidden fully connected layer for dropout.

    Args:
        num_classes: number of logits.
        dropout: probability of a zero in the outputs of the hidden layer, fc3.
        drop_maps: drop what fc3 is given, too: there is a dropout before each fully connected
            layer then, as in torchvision's AlexNet.
        image_size: height and width of the images in pixels, a multiple of 4.

    Shape: images float (N, 1, image_size, image_size); logits float (N, num_classes).
    """
    pooling = {"kernel_size": 3, "stride": 2, "ceil_mode": True}
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(1, 8, kernel_size=5, padding=2)  # (N, 8, S, S)
    layers["act1"] = nn.ReLU()
    layers["pool1"] = nn.MaxPool2d(**pooling)  # (N, 8, S/2, S/2)
    layers["conv2"] = nn.Conv2d(8, 16, kernel_size=5, padding=2)
    layers["act2"] = nn.ReLU()
    layers["pool2"] = nn.MaxPool2d(**pooling)  # (N, 16, S/4, S/4)
    layers["flatten"] = nn.Flatten()
    if drop_maps:
        layers["dropout2"] = nn.Dropout(dropout)
    layers["fc3"] = nn.Linear(16 * (image_size // 4) ** 2, 128)
    layers["act3"] = nn.ReLU()
    layers["dropout3"] = nn.Dropout(dropout)
    layers["fc4"] = nn.Linear(128, num_classes)
    net = nn.Sequential(layers)
    initialize(net, "he")
    return net


def half_small_alexnet(
    num_classes: int,
    activation: str = "relu",
    pool: tuple[int, int] = (3, 2),
    dropout: float = 0.0,
) -> AlexNet:
    """AlexNet's variant ``small`` with half its maps: eight layers, a quarter of the work.

    Args:
        num_classes: number of logits.
        activation: ``"relu"``, ``"tanh"`` or ``"sigmoid"``.
        pool: window and stride of the pooling layers.
        dropout: probability of a zero in fc6 and fc7.

    Shape: images float (N, 3, 32, 32); logits float (N, num_classes).
    """
    return AlexNet(
        num_classes,
        "small",
        widths=(32, 64, 96, 96, 64),
        activation=activation,
        pool=pool,
        dropout=dropout,
    )


# The modifications of a net with two columns that are arguments of AlexNet; "none" is the base
OVERRIDES: dict[str, dict] = {
    "none": {},
    "columns that never talk": {"groups": (1, 2, 2, 2, 2)},  # not before fc6
    "no columns": {"groups": (1, 1, 1, 1, 1)},
    "one GPU's half": {"groups": (1, 1, 1, 1, 1)},  # and half the widths, see _modified_alexnet
    "without LRN": {"lrn": False},
    "ReLU after pooling": {"act_last": (1, 5)},  # so that conv1 is normalized before it
    "within-map normalisation": {"within_map": True},
    "code's alpha": {"lrn_alpha": 1e-4},
}


def two_column_alexnet(
    num_classes: int,
    modification: str = "none",
    init: str = "he",
    dropout: float = 0.0,
    image_size: int = 24,
) -> AlexNet:
    """Half of AlexNet's variant ``small``: two columns with 16 first kernels each.

    Args:
        num_classes: number of logits.
        modification: one change to the net, a name in :data:`OVERRIDES`, :data:`REPLACEMENTS` or
            :data:`REMOVED_CONVS`.
        init: a name in :data:`INITS`; the weights are drawn from torch's global generator.
        dropout: probability of a zero in fc6 and fc7.
        image_size: height and width of the images in pixels.

    Shape: images float (N, 3, image_size, image_size); logits float (N, num_classes).

    Raises:
        ValueError: for an unknown modification or initialization.
    """
    return _modified_alexnet(
        num_classes,
        modification,
        init,
        variant="small",
        input_size=image_size,
        widths=(32, 64, 96, 96, 64),
        hidden=128,
        dropout=dropout,
    )


# The paper's alpha, 5e-4 in torch's terms, times the variance of pixels from 0 to 255. Normalized
# pixels are as many times smaller as their deviation, and so are the activations of a net that is
# initialized with them, but for its biases. So this alpha makes response normalization divide by
# what it divides by in the paper's net, whose pixels are 0 to 255; with 5e-4 it would divide by
# hardly more than 2 ** 0.75. Pixels from 0 to 255 would need far lower learning rates.
TINY_IMAGENET_ALPHA = 5e-4 * 70**2


def tiny_imagenet_alexnet(
    num_classes: int,
    modification: str = "none",
    init: str = "faint",
    activation: str = "relu",
    pool: tuple[int, int] = (3, 2),
    dropout: float = 0.5,
    image_size: int = 56,
) -> AlexNet:
    """AlexNet's variant ``tiny-imagenet`` with half its maps, but all of its 48 first kernels.

    These are few as they are, 24 a column, and their colors are counted.

    Args:
        num_classes: number of logits.
        modification: one change to the net, as of :func:`two_column_alexnet`.
        init: a name in :data:`INITS`; the weights are drawn from torch's global generator.
        activation: ``"relu"``, ``"tanh"`` or ``"sigmoid"``.
        pool: window and stride of the pooling layers.
        dropout: probability of a zero in fc6 and fc7.
        image_size: height and width of the images in pixels.

    Shape: images float (N, 3, image_size, image_size); logits float (N, num_classes).

    Raises:
        ValueError: for an unknown modification or initialization.
    """
    return _modified_alexnet(
        num_classes,
        modification,
        init,
        variant="tiny-imagenet",
        input_size=image_size,
        widths=(48, 64, 96, 96, 64),
        hidden=512,
        lrn_alpha=TINY_IMAGENET_ALPHA,
        activation=activation,
        pool=pool,
        dropout=dropout,
    )


def _modified_alexnet(num_classes: int, modification: str, init: str, **config) -> AlexNet:
    _look_up("modification", modification, OVERRIDES | REPLACEMENTS | REMOVED_CONVS)
    config |= OVERRIDES.get(modification, {})
    if modification == "one GPU's half":
        # As in the variant "one-gpu", conv5 keeps all its kernels
        *others, last = config["widths"]
        config["widths"] = (*[width // 2 for width in others], last)
    net = AlexNet(num_classes, **config)
    for replace_part in REPLACEMENTS.get(modification, ()):
        replace_part(net)
    if modification in REMOVED_CONVS:
        remove_conv(net, REMOVED_CONVS[modification])
    initialize(net, init)  # new layers start like the others
    return net


def _replace_modules(
    net: nn.Module, module_type: type, make_new: Callable[[nn.Module], nn.Module]
) -> None:
    """Replace every module of a type by ``make_new(module)``."""
    for parent in list(net.modules()):  # a list, so that new modules are not visited
        for name, module in list(parent.named_children()):
            if isinstance(module, module_type):
                setattr(parent, name, make_new(module))


def stack_convs(net: AlexNet) -> None:
    """Replace each 5×5 convolution by two of 3×3 with a ReLU between them.

    As in VGG (Simonyan and Zisserman, 2015). Two 3×3 windows see what one of 5×5 sees.
    """

    def split(conv: nn.Conv2d) -> nn.Module:
        if conv.kernel_size != (5, 5):
            return conv
        channels = conv.out_channels
        padding = conv.padding[0] // 2
        first = nn.Conv2d(conv.in_channels, channels, 3, padding=padding, groups=conv.groups)
        # The first convolution is connected as the old one was; the second keeps the columns apart
        second = nn.Conv2d(channels, channels, 3, padding=padding, groups=2)
        return nn.Sequential(first, nn.ReLU(), second)

    _replace_modules(net, nn.Conv2d, split)


def make_separable(net: AlexNet) -> None:
    """Replace each 3×3 convolution, except one that reads the image, by a separable one.

    As in MobileNets (Howard et al., 2017): a depthwise 3×3 convolution, a ReLU, and a 1×1
    convolution over all channels. The 1×1 convolution connects the two columns.
    """

    def separate(conv: nn.Conv2d) -> nn.Module:
        channels = conv.in_channels
        if conv.kernel_size != (3, 3) or channels == 3:
            return conv
        depthwise = nn.Conv2d(channels, channels, 3, padding=conv.padding, groups=channels)
        pointwise = nn.Conv2d(channels, conv.out_channels, 1)
        return nn.Sequential(depthwise, nn.ReLU(), pointwise)

    _replace_modules(net, nn.Conv2d, separate)


def add_batch_norm(net: AlexNet) -> None:
    """Add batch normalization after each convolution, and remove local response normalization.

    Between the convolution and its ReLU, as in Ioffe and Szegedy (2015).
    """

    def remove(norm: nn.Module) -> nn.Module:
        return nn.Identity()

    def add(conv: nn.Conv2d) -> nn.Module:
        return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))

    _replace_modules(net, LocalResponseNorm, remove)
    _replace_modules(net, nn.Conv2d, add)


def use_global_average_pooling(net: AlexNet) -> None:
    """Replace pool5, fc6 and fc7 by the mean of each map, as in ResNet (He et al., 2016)."""
    net.features.pool5 = nn.AdaptiveAvgPool2d(1)
    num_classes = net.classifier.fc8.out_features
    net.classifier = nn.Sequential(nn.Linear(net.config.widths[-1], num_classes))


def remove_conv(net: AlexNet, n: int) -> None:
    """Remove conv3, conv4 or conv5 and its activation; the layer behind it reads what it read.

    Without conv3, conv4 reads both columns in its place. Without conv5, fc6 reads conv4's maps.
    """
    removed = getattr(net.features, f"conv{n}")
    delattr(net.features, f"conv{n}")
    delattr(net.features, f"act{n}")
    if n == 3:
        old = net.features.conv4
        net.features.conv4 = nn.Conv2d(
            removed.in_channels,
            old.out_channels,
            old.kernel_size,
            padding=old.padding,
            groups=removed.groups,
        )
    elif n == 5:
        old = net.classifier.fc6
        in_features = old.in_features // removed.out_channels * removed.in_channels
        net.classifier.fc6 = nn.Linear(in_features, old.out_features)


# The modifications that replace modules, in the order of application
REPLACEMENTS: dict[str, tuple[Callable[[AlexNet], None], ...]] = {
    "stacked 3×3": (stack_convs,),
    "global average pooling": (use_global_average_pooling,),
    "batch normalisation": (add_batch_norm,),
    "depthwise separable": (make_separable,),
    "all four": (stack_convs, make_separable, add_batch_norm, use_global_average_pooling),
}


# The modifications that remove a convolution: its number
REMOVED_CONVS = {"without conv3": 3, "without conv4": 4, "without conv5": 5}


def first_layer_alexnet(
    num_classes: int, init: str = "fainter", dropout: float = 0.0, image_size: int = 96
) -> AlexNet:
    """The paper's first layer, 96 kernels of 11×11 with stride 4 in two columns, and little else.

    Args:
        num_classes: number of logits.
        init: a name in :data:`INITS`; the weights are drawn from torch's global generator.
        dropout: probability of a zero in fc6 and fc7.
        image_size: height and width of the images in pixels.

    Shape: images float (N, 3, image_size, image_size); logits float (N, num_classes).
    """
    net = AlexNet(
        num_classes,
        "paper",
        input_size=image_size,
        widths=(96, 64, 96, 96, 64),
        hidden=256,
        dropout=dropout,
    )
    initialize(net, init)
    return net


def _init_torch(layers: list[nn.Module]) -> None:
    """PyTorch's default, which the constructors have drawn: uniform within 1/sqrt(inputs)."""


def _init_he(layers: list[nn.Module]) -> None:
    """He et al. (2015): weights from N(0, sqrt(2 / inputs)), biases of 0."""
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)


def _init_original(layers: list[nn.Module]) -> None:
    """The four-layer net as in layers-18pct.cfg: weights from N(0, std), biases of 0."""
    if len(layers) != len(ORIGINAL_STDS):
        raise ValueError(f'init="original" needs a net of four layers, got {len(layers)}')
    for layer, std in zip(layers, ORIGINAL_STDS):
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)


def _init_by_inputs(layers: list[nn.Module], gains: tuple[float, float]) -> None:
    """Weights from N(0, gain / sqrt(inputs)), with one gain for the first layer; biases of 0."""
    for layer, gain in zip(layers, [gains[0]] + [gains[1]] * len(layers)):
        nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
        nn.init.zeros_(layer.bias)


def _init_original_with_ones(layers: list[nn.Module]) -> None:
    """Biases of 1 in the hidden layers but the first, as in the paper (section 5).

    Not in the last layer, whose outputs are the logits.
    """
    _init_original(layers)
    for layer in layers[1:-1]:
        nn.init.ones_(layer.bias)


def _init_as_paper(layers: list[nn.Module], middle_std: float) -> None:
    """A net of eight layers whose signals begin as large as those of the paper's net.

    Weights from N(0, std * sqrt(inputs there / inputs here)), since sums grow with the square root
    of their inputs: with the std of 2012, 0.01, and ``middle_std`` in conv3 to conv5. Biases as in
    section 5 of the paper.
    """
    with torch.device("meta"):  # the shapes suffice
        paper = [m for m in AlexNet().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for n, (layer, original) in enumerate(zip(layers, paper, strict=True), 1):
        std, bias = paper_std_and_bias(n, middle_std)
        scale = (original.weight[0].numel() / layer.weight[0].numel()) ** 0.5
        nn.init.normal_(layer.weight, std=std * scale)
        nn.init.constant_(layer.bias, bias)


def _init_faint(layers: list[nn.Module]) -> None:
    """The first kernels from N(0, 0.01), as in the paper, the rest as He et al.

    They are so faint that what is seen in them after training was learned.
    """
    _init_he(layers)
    nn.init.normal_(layers[0].weight, std=0.01)


def _init_fainter(layers: list[nn.Module]) -> None:
    """A tenth of "faint": a short training leaves much of the noise in kernels of 11×11."""
    _init_he(layers)
    nn.init.normal_(layers[0].weight, std=0.001)


INITS: dict[str, Callable[[list[nn.Module]], None]] = {
    "torch": _init_torch,
    "torch, normal": partial(_init_by_inputs, gains=TORCH_GAINS),
    "he": _init_he,
    "original": _init_original,
    "original, biases 1": _init_original_with_ones,
    "original, by inputs": partial(_init_by_inputs, gains=ORIGINAL_GAINS),
    "paper, by inputs": partial(_init_as_paper, middle_std=0.01),
    "code, by inputs": partial(_init_as_paper, middle_std=0.03),
    "faint": _init_faint,
    "fainter": _init_fainter,
}


def initialize(net: nn.Module, init: str) -> None:
    """Draw the weights of all convolutional and fully connected layers, from first to last.

    Args:
        net: changed in place.
        init: a name in :data:`INITS`.

    Raises:
        ValueError: for an unknown name, or one that the net cannot have.
    """
    initialize_layers = _look_up("init", init, INITS)
    initialize_layers([m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)])


def build_net(config: ExperimentConfig, num_classes: int, image_size: int = 32) -> nn.Module:
    """The net of a configuration, with the weights that its seed gives.

    Seeds torch's global generator, so what is drawn afterwards (order of the images, dropout,
    augmentation) is a function of the seed as well.

    Args:
        config: which net, and its options.
        num_classes: number of logits.
        image_size: height and width of the images in pixels; "half-small" always takes 32.

    Returns:
        The net in channels_last memory format, on the CPU.
    """
    torch.manual_seed(config.seed)
    if config.net == "four-layer":
        net = FourLayerNet(
            num_classes, config.activation, config.norm, config.pool, config.init, image_size
        )
    elif config.net == "race":
        net = race_net(num_classes, config.activation, config.init, image_size)
    elif config.net in ("one-hidden", "one-hidden, maps dropped"):
        drop_maps = config.net == "one-hidden, maps dropped"
        net = one_hidden_net(num_classes, config.dropout, drop_maps, image_size)
    elif config.net == "half-small":
        net = half_small_alexnet(num_classes, config.activation, config.pool, config.dropout)
    elif config.net == "two-column":
        net = two_column_alexnet(
            num_classes, config.modification, config.init, config.dropout, image_size
        )
    elif config.net == "tiny-imagenet":
        net = tiny_imagenet_alexnet(
            num_classes,
            config.modification,
            config.init,
            config.activation,
            config.pool,
            config.dropout,
            image_size,
        )
    else:
        net = first_layer_alexnet(num_classes, config.init, config.dropout, image_size)
    return net.to(memory_format=torch.channels_last)


def _look_up(name: str, value: str, table: dict) -> object:
    """The value's entry in a table, or an error that names the choices."""
    if value not in table:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, table))}, got {value!r}")
    return table[value]
