""""""


from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.utils import make_grid

from alexnet.anatomy import anatomy



BATCH_SIZE = 256  # images at a time


def kernel_grid(kernels: Tensor, across: int = 16) -> Tensor:
    """Kernels as one picture, as in Figure 3. Each has a scale of its own, and the grey in the middle is zero in all of them.

    Args:
        kernels: (N, 3, height, width), or (N, 1, height, width) for grey ones.
        across: how many stand side by side.

    Returns:
        (3, height, width), 0 to 1, with a line of white between the kernels. A kernel of zeros is grey.

    Raises:
        ValueError: for kernels that do not read one channel or three.
    """
    if kernels.ndim != 4 or kernels.shape[1] not in (1, 3):
        raise ValueError(f"kernels of three colours have the shape (N, 3, height, width), not {tuple(kernels.shape)}: take those of the first layer")
    largest = kernels.detach().abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return make_grid(0.5 + 0.5 * kernels.detach() / largest, nrow=across, padding=1, pad_value=1.0)


def color_fraction(kernels: Tensor) -> Tensor:
    """How coloured kernels are: the share of their variance that lies off the grey axis, where red, green and blue are alike.

    A kernel's variance is taken about zero, not about its mean: a kernel of one even colour is as coloured as can be. Of
    random weights two thirds are off the axis, since it is one of three directions.

    Args:
        kernels: (N, 3, height, width).

    Returns:
        (N,), from 0 for a grey kernel to 1 for one whose three weights add up to zero everywhere; NaN for a kernel of zeros.
    """
    off_grey = kernels - kernels.mean(1, keepdim=True)
    return off_grey.square().sum((1, 2, 3)) / kernels.square().sum((1, 2, 3))


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """The net in evaluation mode; afterwards each module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _layer_output(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    modules = dict(model.named_modules())
    if layer not in modules or not layer:
        raise ValueError(f"there is no layer {layer!r}: choose one of {', '.join(name for name in modules if name)}")
    heard: list[Tensor] = []
    # A copy, since a ReLU after the layer may write over it
    hook = modules[layer].register_forward_hook(lambda module, inputs, output: heard.append(output.clone()))
    try:
        with _eval_mode(model):
            model(images)
    finally:
        hook.remove()
    if not heard:
        raise ValueError(f"the forward pass does not come to the layer {layer!r}")
    return heard[-1]


@torch.no_grad()
def activations(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """The outputs of a layer: (N, maps, height, width), or (N, units). Of a layer that is used twice, the last time.

    Raises:
        ValueError: for a layer that the net does not have, or does not use.
    """
    return torch.cat([_layer_output(model, layer, part) for part in images.split(BATCH_SIZE)])


@torch.no_grad()
def occlusion(model: nn.Module, image: Tensor, label: int, window: int, step: int) -> Tensor:
    """Probability of a class while a square of zeros, the mean colour, hides a part of the image (Zeiler and Fergus, 2014).

    Args:
        image: (3, H, W).
        label: index of the class.
        window: side of the square in pixels; ``step``: by how many it moves.

    Returns:
        (rows, columns), 0 to 1. Where it is low, the net looked at what was hidden.

    Raises:
        ValueError: for a window that the image has no room for, or a step below 1.
    """
    height, width = image.shape[1:]
    if not 1 <= window <= min(height, width) or step < 1:
        raise ValueError(f"a window of {window} pixels, moved by {step}, does not fit into an image of {height}×{width}")
    tops, lefts = range(0, height - window + 1, step), range(0, width - window + 1, step)
    hidden = image.repeat(len(tops) * len(lefts), 1, 1, 1)  # (rows · columns, 3, H, W)
    for i, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        hidden[i, :, top : top + window, left : left + window] = 0
    with _eval_mode(model):
        found = torch.cat([model(part).float().softmax(1)[:, label] for part in hidden.split(BATCH_SIZE)])
    return found.view(len(tops), len(lefts))


def maximize_activation(model: nn.Module, layer: str, unit: int, size: int, steps: int = 200, seed: int = 0) -> Tensor:
    """A picture that excites a unit, found by climbing the gradient from faint noise.

    Without a regulariser the climb ends in a pattern of single pixels. Here there are two: the picture is pulled to zero
    (L2, Simonyan et al., 2014), and differences between neighbours cost (total variation, Mahendran and Vedaldi, 2015).

    Args:
        layer: best one before its ReLU, which gives no gradient to a unit that is silent.
        unit: a map, of which the middle position is taken, or a unit of a fully connected layer.
        size: height and width of the picture in pixels, as the net takes it.

    Returns:
        (3, size, size), on the net's device, in the units that the net takes.

    Raises:
        ValueError: for a layer or a unit that is not there.
    """
    weight = next(model.parameters())
    generator = torch.Generator().manual_seed(seed)
    picture = (0.1 * torch.randn(1, 3, size, size, generator=generator)).to(weight).requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=0.05)
    for _ in range(steps):
        output = _layer_output(model, layer, picture)
        if not 0 <= unit < output.shape[1]:
            raise ValueError(f"{layer} has the units 0 to {output.shape[1] - 1}, and no {unit}")
        excited = output[0, unit] if output.ndim == 2 else output[0, unit, output.shape[2] // 2, output.shape[3] // 2]
        rough = picture.diff(dim=2).square().sum() + picture.diff(dim=3).square().sum()
        loss = 0.02 * rough + 0.002 * picture.square().sum() - excited
        picture.grad = torch.autograd.grad(loss, picture)[0]  # and none for the net
        optimizer.step()
    return picture.detach()[0]


class Patch(NamedTuple):
    """A square of an image, and how much it excited a unit. It may hang over the edge, as far as the net pads."""

    image: int  # which one
    top: int  # in pixels
    left: int
    size: int
    value: float


def top_patches(model: nn.Module, layer: str, unit: int, images: Tensor, n: int = 9) -> list[Patch]:
    """What excites a unit most: one place an image, the most exciting first.

    Args:
        layer: a module without submodules.
        images: (N, 3, size, size).

    Returns:
        The ``n`` best. A place is the receptive field of the unit there: all that it sees.

    Raises:
        ValueError: for a layer or a unit that is not there.
    """
    outputs = activations(model, layer, images)  # (N, maps, height, width) or (N, units)
    rows = {row.layer: row for row in anatomy(model, images.shape[-1])}
    if layer not in rows:
        raise ValueError(f"{layer} is made of layers itself: choose one of {', '.join(rows)}")
    if not 0 <= unit < outputs.shape[1]:
        raise ValueError(f"{layer} has the units 0 to {outputs.shape[1] - 1}, and no {unit}")
    answers = outputs[:, unit].reshape(len(images), -1)  # (N, positions)
    values, positions = answers.max(1)
    row, across = rows[layer], outputs.shape[3] if outputs.ndim == 4 else 1
    places = []
    for image in values.argsort(descending=True, stable=True)[:n].tolist():
        down, right = divmod(positions[image].item(), across)
        whole = row.receptive_field >= images.shape[-1]  # it sees all of the image, wherever it stands
        top, left = (0 if whole else row.start + at * row.jump for at in (down, right))
        places.append(Patch(image, top, left, row.receptive_field, values[image].item()))
    return places


def crop_patch(images: Tensor, place: Patch) -> Tensor:
    """The square of a place, (3, size, size), from images of any kind that lie as those in which it was found; zeros outside."""
    size, (height, width) = place.size, images.shape[2:]
    wide = F.pad(images[place.image], (size, size, size, size))
    top, left = (min(max(at, -size), length) + size for at, length in ((place.top, height), (place.left, width)))
    return wide[:, top : top + size, left : left + size]


def first_and_last_hidden(model: nn.Module) -> tuple[str, str]:
    """The names of the first convolution, and of the layer before the last fully connected one: the last hidden layer."""
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    first = next(name for name, module in leaves if isinstance(module, nn.Conv2d))
    last = max(i for i, (_, module) in enumerate(leaves) if isinstance(module, nn.Linear))
    return first, leaves[last - 1][0]


def nearest_neighbors(queries: Tensor, others: Tensor, n: int = 6) -> tuple[Tensor, Tensor]:
    """The nearest by Euclidean distance, as in Figure 4, of activations or of pixels.

    Args:
        queries: (Q, ...), and ``others``: (N, ...), each flattened.

    Returns:
        Distances and indices into ``others``, (Q, n), the nearest first.

    Raises:
        ValueError: if there are fewer than ``n`` others.
    """
    if n > len(others):
        raise ValueError(f"there are {len(others)} others, and not {n}")
    distances = torch.cdist(queries.flatten(1).float(), others.flatten(1).float())
    return distances.topk(n, largest=False)
