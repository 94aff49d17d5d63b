"""A net, layer by layer: shapes, neurons, parameters, multiply-adds, receptive fields and bytes.

Nothing is computed: the layers run on PyTorch's ``meta`` device, where tensors have shapes and no values. So VGG-16 takes
no longer than AlexNet, and the model stays as and where it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from alexnet.lrn import MapNorm


@dataclass(frozen=True)
class LayerInfo:
    """One layer, for one image."""

    layer: str  # its name in the model
    kind: str  # its class
    output: tuple[int, ...]  # shape: (maps, height, width) or (units,)
    groups: int  # blocks of maps that do not see each other within this layer: 2 where the two columns keep to themselves
    neurons: int  # outputs of a convolution or a fully connected layer, as the paper counts; other layers have none
    parameters: int
    multiply_adds: int  # of convolutions and fully connected layers; the rest is small beside them
    receptive_field: int  # height and width in pixels of what one output depends on, at most the whole image
    weight_bytes: int
    activation_bytes: int  # 0 where a layer writes over its input
    jump: int  # pixels from the field of one output to that of its neighbour
    start: int  # pixel at which the field of the first output begins; negative in the padding

    @property
    def name(self) -> str:
        """The layer's own name, without that of the block it is in: ``conv1`` for ``features.conv1``."""
        return self.layer.rpartition(".")[2]


# In this order: a page of a book shows the first five or six columns, a phone three
SHOWN = ("layer", "parameters", "multiply_adds", "neurons", "output", "groups", "receptive_field", "kind", "weight_bytes", "activation_bytes")
SUMMED = ("neurons", "parameters", "multiply_adds", "weight_bytes", "activation_bytes")


class ReceptiveField(NamedTuple):
    """A receptive field while it grows, in pixels, padding and all."""

    size: int
    jump: int
    start: int

    def behind(self, window: int, stride: int, padding: int) -> "ReceptiveField":
        """The field behind a window of so many outputs, that begins ``padding`` outputs outside and moves by ``stride``."""
        return ReceptiveField(self.size + (window - 1) * self.jump, self.jump * stride, self.start - padding * self.jump)


class Anatomy(list):
    """A list of :class:`Row` that prints as a table, with the sums (:attr:`total`) below."""

    @property
    def total(self) -> LayerInfo:
        """The sums over all layers; what cannot be summed is the last layer's."""
        last = self[-1]
        sums = {name: sum(getattr(row, name) for row in self) for name in SUMMED}
        return replace(last, layer="total", kind="", groups=1, **sums)

    def _cells(self) -> list[list[str]]:
        """The table as text: headings, layers, total. Zeros are left out, since most of a row is zeros."""
        headings = [name.removeprefix("receptive_").replace("_", " ") for name in SHOWN]
        rows = [[_text(getattr(row, name)) for name in SHOWN] for row in self]
        total = self.total
        sums = [_text(getattr(total, name)) if name in SUMMED else "" for name in SHOWN]
        return [headings, *rows, ["total", *sums[1:]]]

    def __str__(self) -> str:
        rows = self._cells()
        widths = [max(map(len, column)) for column in zip(*rows)]
        aligned = ([cell.ljust(w) if name in ("layer", "kind") else cell.rjust(w) for name, cell, w in zip(SHOWN, row, widths)] for row in rows)
        lines = ["  ".join(row).rstrip() for row in aligned]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(cells: list[str]) -> str:
            return f'<tr><th scope="row">{escape(cells[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])}</tr>'

        headings, *rows, total = self._cells()
        columns = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
        # Wider than a phone: the table scrolls by itself, with the keyboard too.
        return (
            '<div style="overflow-x:auto" tabindex="0" role="region" aria-label="The net, layer by layer">'
            f'<table class="dataframe anatomy"><thead><tr>{columns}</tr></thead>'
            f"<tbody>{''.join(map(line, rows))}</tbody><tfoot>{line(total)}</tfoot></table></div>"
        )


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "×".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and value else str(value or "")


def anatomy(model: nn.Module, input_size: int) -> Anatomy:
    """Take a net apart, layer by layer in the order of the forward pass.

    Args:
        model: a convolutional net that takes a batch of RGB images and is made of modules, as those of this package
            and torchvision's AlexNet, VGG and ResNet are. A module that is called twice has two rows, and its parameters
            count once; what the forward pass does not call is not there. Of an oblong window the longer side counts.
        input_size: height and width of the image in pixels.

    Returns:
        A list of :class:`Row`, one for each module without submodules.

    Raises:
        ValueError: if the size is no whole number of pixels, and what the model raises if such an image does not fit.
        TypeError: if a module takes or gives something other than a picture or what was made of one, as attention does.
    """
    if not isinstance(input_size, int) or input_size < 1:
        raise ValueError(f"input_size is the height and width of the image in whole pixels, such as 224, not {input_size!r}")
    for name, module in model.named_modules():
        if list(module.children()) and list(module.parameters(recurse=False)):
            raise TypeError(f"anatomy cannot follow {name or 'the net'}, a {type(module).__name__}: it has parameters outside its layers")
    rows = Anatomy()
    counted: set[Tensor] = set()

    def hook(name: str) -> Callable:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if inputs and hasattr(inputs[0], "field") and isinstance(output, Tensor):
                output.field = _field(module, inputs[0], output)
            if not hasattr(output, "field"):
                kind = type(module).__name__
                raise TypeError(f"anatomy cannot follow {name}, a {kind}: it knows convolutions, pooling and what keeps the size")
            weights = [w for w in module.parameters() if w not in counted]
            counted.update(weights)
            rows.append(_row(name, module, weights, inputs[0], output, input_size))

        return record

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    modes = {module: module.training for module in model.modules()}
    weights = {name: t.to("meta") for name, t in [*model.named_parameters(), *model.named_buffers()]}
    dtype = next((p.dtype for p in model.parameters()), None)
    image = torch.empty(1, 3, input_size, input_size, dtype=dtype, device="meta")
    image.field = ReceptiveField(size=1, jump=1, start=0)
    handles = [module.register_forward_hook(hook(name)) for name, module in leaves]
    try:
        with torch.no_grad(), _CarryField():
            functional_call(model.eval(), weights, image)  # eval: batch normalisation takes a single image only so
    finally:
        for module, mode in modes.items():
            module.training = mode
        for handle in handles:
            handle.remove()
    return rows


def _row(name: str, module: nn.Module, weights: list[Tensor], x: Tensor, output: Tensor, input_size: int) -> LayerInfo:
    multiply_adds = 0
    if isinstance(module, nn.Conv2d):
        multiply_adds = output.numel() * module.weight[0].numel()
    elif isinstance(module, nn.Linear):
        multiply_adds = output.numel() * module.in_features
    return LayerInfo(
        layer=name,
        kind=type(module).__name__,
        output=tuple(output.shape[1:]),
        groups=getattr(module, "groups", 1),
        neurons=output.numel() if isinstance(module, nn.Conv2d | nn.Linear) else 0,
        parameters=sum(w.numel() for w in weights),
        multiply_adds=multiply_adds,
        receptive_field=min(output.field.size, input_size),
        jump=output.field.jump,
        start=output.field.start,
        weight_bytes=sum(w.nbytes for w in weights),
        activation_bytes=0 if output is x else output.nbytes,
    )


def _field(module: nn.Module, x: Tensor, output: Tensor) -> ReceptiveField:
    """Receptive field of a module's outputs."""
    if isinstance(module, nn.AdaptiveAvgPool2d):
        before, after = max(zip(x.shape[2:], output.shape[2:]))
        window = max(-(-(i + 1) * before // after) - i * before // after for i in range(after))
        return x.field.behind(window, before // after, 0)
    if isinstance(module, nn.ZeroPad2d):
        return x.field.behind(1, 1, module.padding[0])
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        dilation = _larger(getattr(module, "dilation", 1))
        window = (_larger(module.kernel_size) - 1) * dilation + 1
        padding = (window - 1) // 2 if module.padding == "same" else _larger(module.padding)
        return x.field.behind(window, _larger(module.stride), padding)
    if isinstance(module, MapNorm):
        return x.field.behind(module.size, 1, module.size // 2)
    return x.field if output.shape == x.shape else output.field


def _larger(side: int | tuple[int, int]) -> int:
    return max(side) if isinstance(side, tuple) else side


class _CarryField(TorchFunctionMode):
    """What comes out of a function sees what its inputs saw: of two branches that are added, the larger field."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and hasattr(t, "field")]
        if isinstance(output, Tensor) and inputs:
            before, after = max(inputs, key=Tensor.numel).shape[2:], output.shape[2:]
            field = max(t.field for t in inputs)
            if before and after in ((), (1, 1)):  # flattened or pooled to one: the next layer sees all positions at once
                output.field = field.behind(max(before), 1, 0)
            elif len(before) != len(after) or before == after:  # a function that changes the size is not followed
                output.field = field
        return output
