"""A net layer by layer: shapes, neurons, parameters, multiply-adds, receptive fields and bytes.

Nothing is computed. The layers run on PyTorch's ``meta`` device, where tensors have shapes but no
values. So VGG-16 takes no longer than AlexNet, and the model keeps its weights, device and mode.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from alexnet.console import printable
from alexnet.lrn import MapNorm


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a net, for one image."""

    layer: str  # qualified name in the model, such as features.conv1
    kind: str  # name of its class
    output: tuple[int, ...]  # shape: (maps, height, width) or (units,)
    groups: int  # blocks of maps that do not see each other in this layer; 2 for separate columns
    # Outputs of a convolution or a fully connected layer, as the paper counts; 0 for other layers.
    neurons: int
    parameters: int  # weights and biases; 0 if they were counted for an earlier call
    multiply_adds: int  # of convolutions and fully connected layers; the rest is small beside them
    # Height and width in pixels of what one output depends on, at most the whole image.
    receptive_field: int
    weight_bytes: int
    activation_bytes: int  # 0 if the layer works in place
    jump: int  # pixels between the receptive fields of neighboring outputs
    start: int  # pixel at which the receptive field of the first output starts; < 0 in the padding

    @property
    def name(self) -> str:
        """The last part of the qualified name: ``conv1`` for ``features.conv1``."""
        return self.layer.rpartition(".")[2]


# The columns of the table. The first ones matter most: a page of the book shows five or six of
# them, a phone three.
COLUMNS = (
    "layer",
    "parameters",
    "multiply_adds",
    "neurons",
    "output",
    "groups",
    "receptive_field",
    "kind",
    "weight_bytes",
    "activation_bytes",
)
SUMMED = ("neurons", "parameters", "multiply_adds", "weight_bytes", "activation_bytes")
LEFT_ALIGNED = ("layer", "kind")


class ReceptiveField(NamedTuple):
    """The receptive fields of a layer's outputs in pixels, including padding."""

    size: int  # height and width
    jump: int  # from the field of one output to that of its neighbor
    start: int  # first pixel of the field of the first output

    def grow(self, window: int, stride: int, padding: int) -> "ReceptiveField":
        """Compute the receptive field after a layer with a sliding window.

        Args:
            window: height and width of the window, in outputs of the layer before.
            stride: outputs by which the window moves.
            padding: outputs by which the first window starts outside.
        """
        return ReceptiveField(
            size=self.size + (window - 1) * self.jump,
            jump=self.jump * stride,
            start=self.start - padding * self.jump,
        )


class Anatomy(list):
    """A list of :class:`LayerInfo` that prints as a table, with a row of sums at the end."""

    @property
    def total(self) -> LayerInfo:
        """The sums over all layers. What cannot be summed is taken from the last layer."""
        sums = {}
        for column in SUMMED:
            sums[column] = sum(getattr(info, column) for info in self)
        return replace(self[-1], layer="total", kind="", groups=1, **sums)

    def _cells(self) -> list[list[str]]:
        """The table as text: headings, layers, sums. Zeros, which are frequent, are left empty."""
        headings = []
        for column in COLUMNS:
            headings.append(column.removeprefix("receptive_").replace("_", " "))
        rows = [headings]
        for info in self:
            rows.append([_format(getattr(info, column)) for column in COLUMNS])
        total = self.total
        sums = []
        for column in COLUMNS:
            shown = column == "layer" or column in SUMMED
            sums.append(_format(getattr(total, column)) if shown else "")
        return [*rows, sums]

    def __str__(self) -> str:
        rows = self._cells()
        widths = [max(len(cell) for cell in column) for column in zip(*rows)]
        lines = []
        for row in rows:
            cells = []
            for column, cell, width in zip(COLUMNS, row, widths):
                cells.append(cell.ljust(width) if column in LEFT_ALIGNED else cell.rjust(width))
            lines.append("  ".join(cells).rstrip())
        rule = "-" * max(len(line) for line in lines)
        headings, *layers, total = lines
        return printable("\n".join([headings, rule, *layers, rule, total]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table for a notebook."""

        def table_row(cells: list[str]) -> str:
            name, *values = [escape(cell) for cell in cells]
            data = "".join(f"<td>{value}</td>" for value in values)
            return f'<tr><th scope="row">{name}</th>{data}</tr>'

        headings, *layers, total = self._cells()
        head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
        body = "".join(table_row(cells) for cells in layers)
        # The table is wider than a phone. It scrolls by itself, and takes the focus so that the
        # arrow keys scroll it too.
        return (
            '<div style="overflow-x:auto" tabindex="0" role="region" '
            'aria-label="The net, layer by layer">'
            f'<table class="dataframe anatomy"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody><tfoot>{table_row(total)}</tfoot></table></div>"
        )


def _format(value: str | int | tuple[int, ...]) -> str:
    """Format a cell: 55×55 for a shape, 1,000 for a number, nothing for zero."""
    if isinstance(value, tuple):
        return "×".join(str(size) for size in value)
    if value == 0:
        return ""
    return f"{value:,}" if isinstance(value, int) else value


def anatomy(model: nn.Module, input_size: int) -> Anatomy:
    """List the layers of a net in the order of the forward pass.

    Args:
        model: a convolutional net that takes a batch of RGB images and is made of modules, as those
            of this package and torchvision's AlexNet, VGG and ResNet are.
        input_size: height and width of the image in pixels.

    Returns:
        One :class:`LayerInfo` for each call of a module without submodules. A module that is called
        twice is listed twice, and its parameters count once. Modules that the forward pass does not
        call are not listed. For windows that are not square the longer side counts.

    Raises:
        ValueError: if ``input_size`` is not a whole number >= 1, or if the model rejects images of
            that size.
        TypeError: if the model has parameters outside its layers, or layers whose receptive field
            is not known here, such as attention.
    """
    if not isinstance(input_size, int) or input_size < 1:
        raise ValueError(
            f"input_size must be a whole number of pixels >= 1, such as 224, got {input_size!r}"
        )
    for name, module in model.named_modules():
        if list(module.children()) and list(module.parameters(recurse=False)):
            kind = type(module).__name__
            raise TypeError(
                f"anatomy cannot follow {name or 'the net'}, a {kind}: "
                "it has parameters outside its layers"
            )
    infos = Anatomy()
    counted: set[Tensor] = set()  # parameters of the layers so far

    def make_hook(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            _set_receptive_field(name, module, inputs, output)
            weights = [w for w in module.parameters() if w not in counted]
            counted.update(weights)
            infos.append(_layer_info(name, module, weights, inputs[0], output, input_size))

        return hook

    handles = []
    for name, module in model.named_modules():
        if not list(module.children()):
            handles.append(module.register_forward_hook(make_hook(name)))
    try:
        _forward_on_meta(model, input_size)
    finally:
        for handle in handles:
            handle.remove()
    return infos


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode. Afterwards each module is back in the mode that it had.

    Args:
        model: the model.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _forward_on_meta(model: nn.Module, input_size: int) -> None:
    """Run the forward pass for one image without values, with receptive fields on the tensors.

    In evaluation mode, since batch normalization refuses a single image in training mode.
    """
    weights = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        weights[name] = tensor.to("meta")
    dtype = next((p.dtype for p in model.parameters()), None)
    image = torch.empty(1, 3, input_size, input_size, dtype=dtype, device="meta")
    image.receptive_field = ReceptiveField(size=1, jump=1, start=0)
    with torch.no_grad(), eval_mode(model), _PropagateReceptiveField():
        functional_call(model, weights, image)


def _set_receptive_field(
    name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    """Set ``output.receptive_field`` of a layer, or raise a TypeError if it is not known."""
    known = bool(inputs) and hasattr(inputs[0], "receptive_field")
    if known and isinstance(output, Tensor):
        output.receptive_field = _receptive_field(module, inputs[0], output)
    if not hasattr(output, "receptive_field"):
        kind = type(module).__name__
        raise TypeError(
            f"anatomy cannot follow {name}, a {kind}: "
            "it knows convolutions, pooling and layers that keep the size"
        )


def _layer_info(
    name: str,
    module: nn.Module,
    weights: list[Tensor],
    x: Tensor,
    output: Tensor,
    input_size: int,
) -> LayerInfo:
    """Describe a layer that was called with ``x``; ``weights`` are those not counted before."""
    neurons = 0
    multiply_adds = 0
    if isinstance(module, nn.Conv2d):
        neurons = output.numel()
        multiply_adds = neurons * module.weight[0].numel()
    elif isinstance(module, nn.Linear):
        neurons = output.numel()
        multiply_adds = neurons * module.in_features
    return LayerInfo(
        layer=name,
        kind=type(module).__name__,
        output=tuple(output.shape[1:]),
        groups=getattr(module, "groups", 1),
        neurons=neurons,
        parameters=sum(w.numel() for w in weights),
        multiply_adds=multiply_adds,
        receptive_field=min(output.receptive_field.size, input_size),
        jump=output.receptive_field.jump,
        start=output.receptive_field.start,
        weight_bytes=sum(w.nbytes for w in weights),
        activation_bytes=0 if output is x else output.nbytes,  # in place: no memory of its own
    )


def _receptive_field(module: nn.Module, x: Tensor, output: Tensor) -> ReceptiveField:
    """Compute the receptive field of a layer's outputs from that of its input."""
    field = x.receptive_field
    if isinstance(module, nn.AdaptiveAvgPool2d):
        sizes = zip(x.shape[2:], output.shape[2:])
        before, after = max(sizes)
        # Output i averages the inputs from floor(i·before/after) to ceil((i + 1)·before/after).
        windows = []
        for i in range(after):
            windows.append(-(-(i + 1) * before // after) - i * before // after)
        return field.grow(max(windows), before // after, 0)
    if isinstance(module, nn.ZeroPad2d):
        return field.grow(1, 1, module.padding[0])
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        dilation = _longer_side(getattr(module, "dilation", 1))
        window = (_longer_side(module.kernel_size) - 1) * dilation + 1
        same = module.padding == "same"
        padding = (window - 1) // 2 if same else _longer_side(module.padding)
        return field.grow(window, _longer_side(module.stride), padding)
    if isinstance(module, MapNorm):
        return field.grow(module.size, 1, module.size // 2)
    if output.shape == x.shape:  # activations, dropout and normalization work at each position
        return field
    return output.receptive_field  # as _PropagateReceptiveField found it


def _longer_side(size: int | tuple[int, int]) -> int:
    return max(size) if isinstance(size, tuple) else size


class _PropagateReceptiveField(TorchFunctionMode):
    """Set ``receptive_field`` on the results of functions that are called between the layers.

    Of several inputs, such as two branches that are added, the largest receptive field counts.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        inputs = []
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor) and hasattr(value, "receptive_field"):
                inputs.append(value)
        if not isinstance(output, Tensor) or not inputs:
            return output
        field = max(x.receptive_field for x in inputs)
        before = max(inputs, key=Tensor.numel).shape[2:]
        after = output.shape[2:]
        if before and after in ((), (1, 1)):
            # Flattened, or pooled to one position: the next layer sees all positions at once.
            output.receptive_field = field.grow(max(before), 1, 0)
        elif len(before) != len(after) or before == after:
            output.receptive_field = field
        # A function that changes the size gets no receptive field: it is not known here.
        return output
