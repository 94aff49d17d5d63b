"""The small nets of the experiments."""


from collections.abc import Callable

import torch
from torch import nn

from alexnet.experiments.config import ExperimentConfig
from alexnet.lrn import LocalResponseNorm, MapNorm
from alexnet.model import ACTIVATIONS, AlexNet



NORMS = {
    "none": None,
    "paper's alpha": lambda maps: LocalResponseNorm(alpha=5e-4),  # 1e-4 in the formula of section 3.3
    "code's alpha": lambda maps: LocalResponseNorm(alpha=1e-4),  # 1e-4 in layer-params-145.cfg, divided by the size
    "within maps": lambda maps: MapNorm(3, alpha=5e-5),  # layers-18pct.cfg
    "batch": nn.BatchNorm2d,
}


ORIGINAL_STDS = (1e-4, 0.01, 0.01, 0.01)  # layers-18pct.cfg


def four_layer(setting: ExperimentConfig, classes: int, size: int = 32) -> nn.Sequential:
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


def half_small_alexnet(setting: ExperimentConfig, classes: int, size: int = 32) -> AlexNet:
    """AlexNet's variant ``small``, with half the maps: eight layers, a quarter of the work. It takes 32×32 pixels.

    Its normalisation is the variant's, whatever ``setting.norm`` says.
    """
    switches = {"activation": setting.activation, "pool": setting.pool, "dropout": setting.dropout}
    return AlexNet(classes, "small", widths=(32, 64, 96, 96, 64), **switches)


# One change each to the net below: arguments of AlexNet
OVERRIDES: dict[str, dict] = {
    "none": {},
    "columns that never talk": {"groups": (1, 2, 2, 2, 2)},  # not before fc6
    "no columns": {"groups": (1, 1, 1, 1, 1)},
    "ReLU after pooling": {"act_last": (1, 5)},  # so that conv1 is normalised before it
    "within-map normalisation": {"within_map": True},
    "code's alpha": {"lrn_alpha": 1e-4},
}


def two_column_alexnet(setting: ExperimentConfig, classes: int, size: int = 24) -> AlexNet:
    """Half of the variant ``small``, for windows of 24×24: two columns with 16 first kernels each, and one change to it."""
    switches = {"input_size": size, "widths": (32, 64, 96, 96, 64), "hidden": 128, "dropout": setting.dropout}
    if setting.modification not in REPLACEMENTS:
        return AlexNet(classes, "small", **switches | OVERRIDES[setting.modification])
    net = AlexNet(classes, "small", **switches)
    for replacement in REPLACEMENTS[setting.modification]:
        replacement(net)
    return net


def _replace_modules(net: nn.Module, kind: type, new: Callable[[nn.Module], nn.Module]) -> None:
    """Put ``new(module)`` in the place of every module of a kind."""
    for parent in list(net.modules()):  # what is put in is not looked at again
        for name, module in list(parent.named_children()):
            if isinstance(module, kind):
                setattr(parent, name, new(module))


def stack_convs(net: AlexNet) -> None:
    """Two convolutions of 3×3 with a ReLU between for each of 5×5, as in VGG (Simonyan and Zisserman, 2015)."""

    def two(conv: nn.Conv2d) -> nn.Module:
        if conv.kernel_size != (5, 5):
            return conv
        padding, maps = conv.padding[0] // 2, conv.out_channels
        first = nn.Conv2d(conv.in_channels, maps, 3, padding=padding, groups=conv.groups)
        return nn.Sequential(first, nn.ReLU(), nn.Conv2d(maps, maps, 3, padding=padding, groups=2))  # each column its own

    _replace_modules(net, nn.Conv2d, two)


def make_separable(net: AlexNet) -> None:
    """Each convolution of 3×3, except one that reads the image, in as many groups as it reads maps, and one of 1×1 that
    mixes them, as in MobileNets (Howard et al., 2017): no columns any more after them."""

    def two(conv: nn.Conv2d) -> nn.Module:
        if conv.kernel_size != (3, 3) or conv.in_channels == 3:
            return conv
        depthwise = nn.Conv2d(conv.in_channels, conv.in_channels, 3, padding=conv.padding, groups=conv.in_channels)
        return nn.Sequential(depthwise, nn.ReLU(), nn.Conv2d(conv.in_channels, conv.out_channels, 1))

    _replace_modules(net, nn.Conv2d, two)


def add_batch_norm(net: AlexNet) -> None:
    """Batch normalisation between each convolution and its ReLU (Ioffe and Szegedy, 2015), and no local response normalisation."""
    _replace_modules(net, LocalResponseNorm, lambda norm: nn.Identity())
    _replace_modules(net, nn.Conv2d, lambda conv: nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)))


def use_global_average_pooling(net: AlexNet) -> None:
    """The mean of each map in the place of pool5, fc6 and fc7, as in ResNet (He et al., 2016)."""
    net.features.pool5 = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Sequential(nn.Linear(net.config.widths[-1], net.classifier.fc8.out_features))


REPLACEMENTS: dict[str, tuple[Callable[[AlexNet], None], ...]] = {
    "stacked 3×3": (stack_convs,),
    "global average pooling": (use_global_average_pooling,),
    "batch normalisation": (add_batch_norm,),
    "depthwise separable": (make_separable,),
    "all four": (stack_convs, make_separable, add_batch_norm, use_global_average_pooling),
}


def first_layer_alexnet(setting: ExperimentConfig, classes: int, size: int = 96) -> AlexNet:
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


NETS = {"four-layer": four_layer, "half-small": half_small_alexnet, "two-column": two_column_alexnet, "first-layer": first_layer_alexnet}


INITS: dict[tuple[str, str], Callable[[list[nn.Module]], None]] = {
    ("four-layer", "torch"): _as_built,  # PyTorch's default, uniform within 1/sqrt(inputs)
    ("four-layer", "he"): _init_he,
    ("four-layer", "original"): _init_original,
    ("half-small", "he"): _as_built,
    ("two-column", "he"): _init_he,
    ("two-column", "faint"): _init_faint,
    ("first-layer", "fainter"): _init_fainter,
    ("four-layer", "original, biases 1"): _init_ones,
}


def build_net(setting: ExperimentConfig, classes: int, size: int = 32) -> nn.Module:
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
