"""The net over two devices, as in 2012 (paper, section 3.5 and Figure 2): one column on each, and four places to talk.

The columns exchange their maps before conv3, fc6 and fc7; before fc8, which stands on the first device, the second sends
its own. Between these places neither waits for the other. On CUDA all launches return at once, so that the two devices
work at the same time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from threading import Lock

import torch
from torch import Tensor, nn

from alexnet.lrn import LocalResponseNorm
from alexnet.model import AlexNet, check_images

_counters: list[dict[str, dict[str, int]]] = []
_lock = Lock()


class TwoGPUAlexNet(nn.Module):
    """AlexNet in two columns, each on a device of its own.

    Args:
        num_classes: number of logits.
        devices: where the first and the second column live: two GPUs, one GPU twice, the CPU twice.
        variant: a name in :data:`alexnet.VARIANTS` that has two columns.
        **switches: as for :class:`alexnet.AlexNet`.

    Shape: images (N, 3, H, W) on any device, in floating point; logits (N, num_classes) on the first one. With the same
    weights the result is that of the grouped net, up to rounding; dropout aside, whose masks each device draws.

    Raises:
        ValueError: for a variant that has not two columns, and as :class:`alexnet.AlexNet`.
    """

    def __init__(self, num_classes: int = 1000, devices: tuple = ("cuda:0", "cuda:1"), variant: str = "paper", **switches) -> None:
        super().__init__()
        self._split(AlexNet(num_classes, variant, **switches), devices)

    @classmethod
    def from_alexnet(cls, model: AlexNet, devices: tuple = ("cuda:0", "cuda:1")) -> "TwoGPUAlexNet":
        """The same net with the same weights, a copy of them, in two columns."""
        columns = cls.__new__(cls)
        nn.Module.__init__(columns)
        columns._split(model, devices)
        return columns

    def to_alexnet(self) -> AlexNet:
        """The same net with the same weights, a copy of them, as groups on the CPU."""
        with torch.device("meta"):  # no numbers, and none drawn
            model = AlexNet(self.num_classes, self.variant, **asdict(self.config))
        state = {}
        for key in model.state_dict():
            _, name, kind = key.split(".")
            parts = [getattr(column[name], kind).detach().cpu() for column in self.columns if name in column]
            state[key] = torch.cat(parts)
        model.load_state_dict(state, assign=True)
        return model.train(self.training)

    def _split(self, model: AlexNet, devices: tuple) -> None:
        """Make the columns out of a grouped net's weights: every layer's first half is the first column's."""
        self.config, self.variant, self.sizes = model.config, model.variant, model.sizes
        if len(devices) != 2:
            raise ValueError(f"two columns need two devices, not {len(devices)}: name one twice to share it")
        if set(self.config.groups) - {1, 2} or max(self.config.groups) != 2 or self.config.torchvision:
            raise ValueError(f"the variant {self.variant!r} with groups {self.config.groups} has not two columns: take 'paper' or 'small'")
        self.num_classes = model.classifier.fc8.out_features
        layers = [*model.features.named_children(), *model.classifier.named_children()]
        self.names = [name for name, _ in layers]
        connected = [f"conv{n}" for n, groups in enumerate(self.config.groups, start=1) if groups == 1]
        self.crossing = [*connected[1:], "fc6", "fc7", "fc8"]  # what reads both columns; conv1 reads the image
        self.columns = nn.ModuleList()
        for i, device in enumerate(map(torch.device, devices)):
            column = {name: _split_layer(layer, name, i, device) for name, layer in layers if i == 0 or name != "fc8"}
            self.columns.append(nn.ModuleDict(column))
        self.train(model.training)

    @property
    def devices(self) -> list[torch.device]:
        """Where the columns live."""
        return [column["conv1"].weight.device for column in self.columns]

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.variant, self.config, self.sizes)
        devices = self.devices
        x = [_copy(images, device) for device in devices]
        for name in self.names:
            if name == "fc6":
                x = [part.flatten(1) for part in x]  # (N, 128, 6, 6) -> (N, 4608)
            readers = [column for column in self.columns if name in column]
            if name in self.crossing:
                x = exchange(x, devices[: len(readers)], name)
            x = [column[name](part) for column, part in zip(readers, x)]
        return x[0]


def _split_layer(layer: nn.Module, name: str, column: int, device: torch.device) -> nn.Module:
    """A column's part of a layer of the grouped net: half of its kernels or units, with all that these read."""
    if isinstance(layer, LocalResponseNorm):
        return LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return deepcopy(layer)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    if name != "fc8":  # which is whole, on the first device
        weight, bias = weight.chunk(2)[column], bias.chunk(2)[column]
    where = {"device": device, "dtype": weight.dtype}
    if isinstance(layer, nn.Linear):
        part = nn.Linear(layer.in_features, len(weight), **where)
    else:
        shape = {"stride": layer.stride, "padding": layer.padding}
        part = nn.Conv2d(weight.shape[1], len(weight), layer.kernel_size, **shape, **where)
    with torch.no_grad():
        part.weight.copy_(weight)
        part.bias.copy_(bias)
    return part


def exchange(parts: list[Tensor], devices: list[torch.device], reader: str) -> list[Tensor]:
    """Give each device the maps of both columns: from (N, C/2, ...) on each to (N, C, ...) on each that is named."""
    return [
        torch.cat([part if i == j else _CopyToDevice.apply(part, device, reader) for j, part in enumerate(parts)], dim=1)
        for i, device in enumerate(devices)
    ]


def _copy(x: Tensor, device: torch.device) -> Tensor:
    """A copy on a GPU may take its time: what is launched there after it waits. One on the CPU has to be complete."""
    return x.to(device, non_blocking=device.type == "cuda")


class _CopyToDevice(torch.autograd.Function):
    """A tensor goes to another device, and its gradient comes back."""

    @staticmethod
    def forward(ctx, x: Tensor, device: torch.device, reader: str) -> Tensor:
        ctx.home, ctx.reader = x.device, reader
        _count("forward", reader, x)
        return _copy(x, device).view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        _count("backward", ctx.reader, grad)
        return _copy(grad, ctx.home), None, None


def _count(way: str, reader: str, x: Tensor) -> None:
    with _lock:  # each device has a thread of its own on the way back
        for counter in _counters:
            counter[way][reader] = counter[way].get(reader, 0) + x.nbytes


@contextmanager
def count_traffic() -> Iterator[dict[str, dict[str, int]]]:
    """Count the bytes that cross between the columns while the block runs.

    Yields:
        {"forward": {layer: bytes}, "backward": {layer: bytes}}, by the layer that reads what crossed. Where both columns
        live on one device, what would have crossed counts.
    """
    counter: dict[str, dict[str, int]] = {"forward": {}, "backward": {}}
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters[:] = [other for other in _counters if other is not counter]  # two may be equal
