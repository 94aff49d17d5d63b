"""AlexNet on two devices, as in 2012 (paper, section 3.5 and Figure 2): one column on each.

The columns exchange their feature maps before conv3, fc6 and fc7. fc8 is on the first device, and
the second column sends its half of fc7 there. Between these layers neither device waits for the
other: on CUDA all launches return at once, so that the two devices work at the same time.
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

torch.fx.wrap("check_images")  # which counts for the module that calls it

Devices = tuple[torch.device | str, torch.device | str]

_counters: list[dict[str, dict[str, int]]] = []  # those of the count_traffic() blocks that are open
_counters_lock = Lock()


class TwoGPUAlexNet(nn.Module):
    """AlexNet in two columns, each on its own device.

    With the same weights, the logits are those of the grouped :class:`alexnet.AlexNet` up to
    rounding. Dropout differs: each device draws its own masks.

    Args:
        num_classes: number of logits.
        devices: devices of the first and of the second column: two GPUs, or one GPU or the CPU
            named twice.
        variant: a key of :data:`alexnet.VARIANTS` that has two columns.
        **overrides: fields of the configuration, as for :class:`alexnet.AlexNet`.

    Shape:
        - Input: (N, 3, H, W), floating point, on any device.
        - Output: (N, num_classes), the logits, on the first device.

    Raises:
        ValueError: if the variant does not have two columns, if ``devices`` are not two, or as
            :class:`alexnet.AlexNet`.
        TypeError: as :class:`alexnet.AlexNet`.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        devices: Devices = ("cuda:0", "cuda:1"),
        variant: str = "paper",
        **overrides,
    ) -> None:
        super().__init__()
        self._build_columns(AlexNet(num_classes, variant, **overrides), devices)

    @classmethod
    def from_alexnet(
        cls, model: AlexNet, devices: Devices = ("cuda:0", "cuda:1")
    ) -> "TwoGPUAlexNet":
        """Copy a grouped net into two columns.

        Args:
            model: the grouped net. It stays as it is.
            devices: devices of the first and of the second column.

        Returns:
            A net with the same configuration, a copy of the weights, and the same training mode.

        Raises:
            ValueError: if ``model`` does not have two columns, or ``devices`` are not two.
        """
        # Without __init__, which would draw weights and so advance the random number generator.
        columns = cls.__new__(cls)
        nn.Module.__init__(columns)
        columns._build_columns(model, devices)
        return columns

    def to_alexnet(self) -> AlexNet:
        """Copy the two columns into a grouped net on the CPU.

        Returns:
            A net with the same configuration, a copy of the weights, and the same training mode.
        """
        # On the meta device no weights are allocated and none are drawn.
        with torch.device("meta"):
            model = AlexNet(self.num_classes, self.variant, **asdict(self.config))
        state = {}
        for key in model.state_dict():
            _, name, kind = key.split(".")  # such as features.conv1.weight
            parts = []
            for column in self.columns:
                if name in column:  # fc8 is in the first column only
                    parts.append(getattr(column[name], kind).detach().cpu())
            state[key] = torch.cat(parts)
        model.load_state_dict(state, assign=True)
        return model.train(self.training)

    def _build_columns(self, model: AlexNet, devices: Devices) -> None:
        """Make the columns from a grouped net, whose layers have the first column's half first."""
        self.config = model.config
        self.variant = model.variant
        self.sizes = model.sizes
        groups = self.config.groups
        if len(devices) != 2:
            raise ValueError(f"devices must be two, got {len(devices)}: name one twice to share it")
        if set(groups) - {1, 2} or max(groups) != 2 or self.config.torchvision:
            raise ValueError(
                f"variant must have two columns, got {self.variant!r} with groups {groups}: "
                "take 'paper' or 'small'"
            )
        self.num_classes = model.classifier.fc8.out_features

        layers = [*model.features.named_children(), *model.classifier.named_children()]
        self.layer_names = [name for name, _ in layers]
        # The layers that read both columns. conv1 is not among them: it reads the image.
        connected = [f"conv{n}" for n, g in enumerate(groups, start=1) if g == 1 and n > 1]
        self.exchange_before = [*connected, "fc6", "fc7", "fc8"]

        self.columns = nn.ModuleList()
        for i, device in enumerate(devices):
            column = nn.ModuleDict()
            for name, layer in layers:
                if i == 0 or name != "fc8":
                    column[name] = _split_layer(layer, name, i, torch.device(device))
            self.columns.append(column)
        self.train(model.training)

    @property
    def devices(self) -> list[torch.device]:
        """Devices of the first and of the second column."""
        return [column["conv1"].weight.device for column in self.columns]

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of a batch of images.

        Args:
            images: (N, 3, H, W), floating point, on any device.

        Returns:
            (N, num_classes) logits on the first device.

        Raises:
            ValueError: if the images do not fit, see :func:`alexnet.model.check_images`.
        """
        images = check_images(images, self.variant, self.config, self.sizes)
        devices = self.devices
        x = [_copy(images, device) for device in devices]  # one tensor for each column
        for name in self.layer_names:
            if name == "fc6":
                x = [part.flatten(1) for part in x]  # (N, 128, 6, 6) -> (N, 4608)
            columns = [column for column in self.columns if name in column]  # the first only: fc8
            if name in self.exchange_before:
                x = exchange(x, devices[: len(columns)], name)
            x = [column[name](part) for column, part in zip(columns, x)]
        return x[0]


def _split_layer(layer: nn.Module, name: str, column: int, device: torch.device) -> nn.Module:
    """Copy one column's part of a layer of the grouped net.

    The part is half of the kernels or units, with the weights for all inputs that they read.
    """
    if isinstance(layer, LocalResponseNorm):
        return LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return deepcopy(layer)
    weight = layer.weight.detach()
    bias = layer.bias.detach()
    if name != "fc8":  # fc8 is whole, on the first device
        weight = weight.chunk(2)[column]
        bias = bias.chunk(2)[column]
    factory_kwargs = {"device": device, "dtype": weight.dtype}
    if isinstance(layer, nn.Linear):
        part = nn.Linear(layer.in_features, len(weight), **factory_kwargs)
    else:
        part = nn.Conv2d(
            weight.shape[1],
            len(weight),
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            **factory_kwargs,
        )
    with torch.no_grad():
        part.weight.copy_(weight)
        part.bias.copy_(bias)
    return part


def exchange(parts: list[Tensor], devices: list[torch.device], layer: str) -> list[Tensor]:
    """Give each device the outputs of both columns.

    Args:
        parts: output of each column, (N, C/2, ...), on its own device.
        devices: devices that get the result: both, or the first one only.
        layer: name of the layer that reads the result, by which :func:`count_traffic` counts.

    Returns:
        For each device in ``devices`` a tensor (N, C, ...) on it: the first column's maps, then the
        second's.
    """
    gathered = []
    for i, device in enumerate(devices):
        both = []
        for j, part in enumerate(parts):
            if j != i:
                part = _send(part, device, layer)
            both.append(part)
        gathered.append(torch.cat(both, dim=1))
    return gathered


def _copy(x: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device: asynchronously to a GPU, while copies to the CPU block.

    A GPU runs the copy and what is launched after it in order. On the CPU the copy has to be
    complete before the next operation reads it.
    """
    return x.to(device, non_blocking=device.type == "cuda")


@torch.fx.wrap
def _send(x: Tensor, device: torch.device, layer: str) -> Tensor:
    """Copy a column's output to another device, and its gradient back; count the bytes of both."""
    return _CopyToDevice.apply(x, device, layer, "forward")


class _CopyToDevice(torch.autograd.Function):
    """Copy a tensor to another device and count its bytes, in all derivatives and transforms."""

    @staticmethod
    def forward(x: Tensor, device: torch.device, layer: str, direction: str) -> Tensor:
        _count(direction, layer, x)
        # Where both columns share a device, _copy() returns x itself. Return a view in that case
        # too, since a Function should not return its input.
        return _copy(x, device).view_as(x)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        x, ctx.device, ctx.layer, ctx.direction = inputs
        ctx.source = x.device

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        grad_x = _CopyToDevice.apply(grad, ctx.source, ctx.layer, "backward")
        return grad_x, None, None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_) -> Tensor:
        """In forward mode the tangent is sent beside the values."""
        return _CopyToDevice.apply(tangent, ctx.device, ctx.layer, ctx.direction)

    @staticmethod
    def vmap(info, in_dims: tuple, x: Tensor, *args) -> tuple[Tensor, int]:
        """Send the whole batch of :func:`torch.vmap` at once, so that all its bytes are counted."""
        return _CopyToDevice.apply(x, *args), in_dims[0]


def _count(direction: str, layer: str, x: Tensor) -> None:
    """Add the bytes of a tensor to all open counters."""
    with _counters_lock:  # autograd runs the backward pass of each device in a thread of its own
        for counter in _counters:
            counted = counter[direction]
            counted[layer] = counted.get(layer, 0) + x.nbytes


@contextmanager
def count_traffic() -> Iterator[dict[str, dict[str, int]]]:
    """Count the bytes that the columns exchange while the block runs.

    Yields:
        {"forward": {layer: bytes}, "backward": {layer: bytes}}, by the name of the layer that reads
        what was exchanged. If both columns are on one device, it counts what two devices would
        have exchanged. In forward mode the tangents count too. The gradients that autograd takes at
        once under ``is_grads_batched=True`` count as one.
    """
    counter: dict[str, dict[str, int]] = {"forward": {}, "backward": {}}
    _counters.append(counter)
    try:
        yield counter
    finally:
        # By identity: list.remove() would take the first counter with equal counts.
        _counters[:] = [other for other in _counters if other is not counter]
