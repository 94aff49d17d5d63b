"""What a net has learned: its kernels, its feature maps, what activates a unit, nearest neighbors.

Every function takes tensors and returns tensors; nothing is drawn here. They work on any net that
is made of modules, in this package or in torchvision, on any device, and leave the net as it was.
Images are as the net takes them: (N, 3, H, W), floating point, normalized as in its training.
Layers are named as in ``model.named_modules()``, such as ``"features.conv1"``.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.utils import make_grid

from alexnet.anatomy import anatomy, eval_mode

BATCH_SIZE = 256  # images that are computed at a time


def kernel_grid(kernels: Tensor, nrow: int = 16) -> Tensor:
    """Arrange kernels in one image, as in Figure 3.

    Each kernel is scaled by its own largest absolute value. Mid-gray is zero in all of them.

    Args:
        kernels: (N, 3, height, width), or (N, 1, height, width) for gray ones.
        nrow: number of kernels in each row, as in :func:`torchvision.utils.make_grid`.

    Returns:
        (3, height, width), 0 to 1, with one pixel of white around each kernel.

    Raises:
        ValueError: if the kernels do not have one or three input channels.
    """
    if kernels.ndim != 4 or kernels.shape[1] not in (1, 3):
        raise ValueError(
            "kernels must have shape (N, 3, height, width) or (N, 1, height, width), "
            f"got {tuple(kernels.shape)}: take those of the first layer"
        )
    kernels = kernels.detach()
    # Not below 1e-12, so that a kernel of zeros is gray instead of NaN
    largest = kernels.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)  # (N, 1, 1, 1)
    return make_grid(0.5 + 0.5 * kernels / largest, nrow=nrow, padding=1, pad_value=1.0)


def color_fraction(kernels: Tensor) -> Tensor:
    """Measure how colorful kernels are: the fraction of their variance off the gray axis.

    On the gray axis, red, green and blue are equal. A kernel's variance is taken about zero, not
    about its mean, so that a kernel of one even color is colorful too. For random weights the
    fraction is 2/3 on average, since the gray axis is one of three directions.

    Args:
        kernels: (N, 3, height, width).

    Returns:
        (N,), from 0 for a gray kernel to 1 for a kernel whose three weights add up to zero at every
        position; NaN for a kernel of zeros.
    """
    off_gray = kernels - kernels.mean(1, keepdim=True)
    return off_gray.square().sum((1, 2, 3)) / kernels.square().sum((1, 2, 3))


def _layer_output(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Run the model in evaluation mode and return a copy of a layer's (last) output."""
    modules = dict(model.named_modules())
    if layer not in modules or not layer:  # the model itself has the empty name
        names = ", ".join(name for name in modules if name)
        raise ValueError(f"unknown layer {layer!r}: choose one of {names}")
    outputs: list[Tensor] = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output.clone())  # an in-place ReLU after the layer may overwrite it

    handle = modules[layer].register_forward_hook(hook)
    try:
        with eval_mode(model):
            model(images)
    finally:
        handle.remove()
    if not outputs:
        raise ValueError(f"layer must be used in the forward pass, got {layer!r}, which is not")
    return outputs[-1]


@torch.no_grad()
def activations(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Compute the outputs of a layer.

    Args:
        model: the net.
        layer: name of the layer. If the layer is called more than once, the last call counts.
        images: (N, 3, H, W), as the net takes them.

    Returns:
        (N, maps, height, width), or (N, units), on the net's device.

    Raises:
        ValueError: if the net does not have the layer, or does not use it in the forward pass.
    """
    batches = images.split(BATCH_SIZE)
    return torch.cat([_layer_output(model, layer, batch) for batch in batches])


@torch.no_grad()
def occlusion(model: nn.Module, image: Tensor, label: int, window: int, step: int) -> Tensor:
    """Compute the probability of a class while a square hides a part of the image.

    The square is filled with zeros, the mean color. After Zeiler and Fergus (2014).

    Args:
        model: the net.
        image: (3, H, W), as the net takes it.
        label: index of the class.
        window: side of the square in pixels.
        step: distance in pixels between neighboring positions of the square.

    Returns:
        (rows, columns), 0 to 1, one value for each position of the square. Where the probability is
        low, the prediction depends on what was hidden.

    Raises:
        ValueError: if the window is empty or larger than the image, or if ``step`` is below 1.
    """
    height, width = image.shape[1:]
    if not 1 <= window <= min(height, width) or step < 1:
        raise ValueError(
            f"window must be 1 to {min(height, width)} and step >= 1 for an image of "
            f"{height}×{width} pixels, got window={window} and step={step}"
        )
    tops = range(0, height - window + 1, step)
    lefts = range(0, width - window + 1, step)
    occluded = image.repeat(len(tops), len(lefts), 1, 1, 1)  # (rows, columns, 3, H, W)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            occluded[row, column, :, top : top + window, left : left + window] = 0
    probabilities = []
    with eval_mode(model):
        for batch in occluded.flatten(0, 1).split(BATCH_SIZE):  # (N, 3, H, W)
            probabilities.append(model(batch).float().softmax(1)[:, label])
    return torch.cat(probabilities).view(len(tops), len(lefts))


def maximize_activation(
    model: nn.Module, layer: str, unit: int, size: int, steps: int = 200, seed: int = 0
) -> Tensor:
    """Find an image that strongly activates a unit, by gradient ascent from faint noise.

    Without regularization this ends in a pattern of single pixels. Two penalties prevent that: the
    L2 norm of the image (Simonyan et al., 2014), and differences between neighboring pixels (total
    variation, Mahendran and Vedaldi, 2015).

    Args:
        model: the net.
        layer: name of the layer, best the one before a ReLU: a unit that the ReLU sets to zero gets
            no gradient.
        unit: index of a feature map, whose middle position is maximized, or of a unit of a fully
            connected layer.
        size: height and width of the image in pixels.
        steps: number of gradient steps.
        seed: seed of the noise.

    Returns:
        (3, size, size), on the net's device, normalized as the net's images are.

    Raises:
        ValueError: if the net does not have the layer or the unit.
    """
    weight = next(model.parameters())
    generator = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(1, 3, size, size, generator=generator)
    image = noise.to(weight).requires_grad_()  # the dtype and device of the weights
    optimizer = torch.optim.Adam([image], lr=0.05)
    for _ in range(steps):
        output = _layer_output(model, layer, image)  # (1, maps, height, width) or (1, units)
        _check_unit(layer, unit, output)
        activation = output[0, unit]
        if output.ndim == 4:
            activation = activation[output.shape[2] // 2, output.shape[3] // 2]
        variation = image.diff(dim=2).square().sum() + image.diff(dim=3).square().sum()
        loss = 0.02 * variation + 0.002 * image.square().sum() - activation
        # Not loss.backward(), which would also leave gradients in the net's parameters
        image.grad = torch.autograd.grad(loss, image)[0]
        optimizer.step()
    return image.detach()[0]


class Patch(NamedTuple):
    """A square of an image and the activation of a unit there.

    Where the net pads, the square may lie partly outside of the image.
    """

    image: int  # index of the image
    top: int  # first row in pixels; may be negative
    left: int  # first column in pixels; may be negative
    size: int  # height and width in pixels
    value: float  # activation of the unit


def top_patches(model: nn.Module, layer: str, unit: int, images: Tensor, n: int = 9) -> list[Patch]:
    """Find the patches that activate a unit most, at most one in each image.

    Args:
        model: the net.
        layer: name of a module without submodules.
        unit: index of a feature map, or of a unit of a fully connected layer.
        images: (N, 3, size, size), as the net takes them.
        n: number of patches.

    Returns:
        The ``n`` patches with the largest activations, in descending order. A patch is the unit's
        receptive field: all pixels that the activation depends on.

    Raises:
        ValueError: if the net does not have the layer or the unit, or if the layer has submodules.
    """
    outputs = activations(model, layer, images)  # (N, maps, height, width) or (N, units)
    image_size = images.shape[-1]
    layers = {info.layer: info for info in anatomy(model, image_size)}
    if layer not in layers:
        names = ", ".join(layers)
        raise ValueError(f"layer must have no submodules, got {layer!r}: choose one of {names}")
    _check_unit(layer, unit, outputs)
    info = layers[layer]
    columns = outputs.shape[3] if outputs.ndim == 4 else 1
    of_unit = outputs[:, unit].reshape(len(images), -1)  # (N, positions)
    values, positions = of_unit.max(1)  # (N,), (N,)
    patches = []
    for image in values.argsort(descending=True, stable=True)[:n].tolist():
        row, column = divmod(positions[image].item(), columns)
        if info.receptive_field >= image_size:  # the whole image, at every position
            top = 0
            left = 0
        else:
            top = info.start + row * info.jump
            left = info.start + column * info.jump
        patches.append(Patch(image, top, left, info.receptive_field, values[image].item()))
    return patches


def crop_patch(images: Tensor, patch: Patch) -> Tensor:
    """Cut a patch out of the image that it is in.

    Args:
        images: (N, C, H, W), the images in which the patch was found, or others of the same size in
            the same order, such as those before normalization.
        patch: what :func:`top_patches` found.

    Returns:
        (C, size, size), with zeros outside of the image.
    """
    size = patch.size
    height, width = images.shape[2:]
    padded = F.pad(images[patch.image], (size, size, size, size))  # (C, H + 2 size, W + 2 size)
    # A patch that lies entirely outside is moved to the border of the padding: it is zeros anyway.
    top = min(max(patch.top, -size), height) + size
    left = min(max(patch.left, -size), width) + size
    return padded[:, top : top + size, left : left + size]


def first_and_last_hidden(model: nn.Module) -> tuple[str, str]:
    """Name the first convolution and the last hidden layer.

    Args:
        model: a net with a convolution, and with a fully connected layer at the end.

    Returns:
        The name of the first convolution, and that of the layer in front of the last fully
        connected one, whose output is what that layer reads.
    """
    leaves = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    convs = [name for name, module in leaves if isinstance(module, nn.Conv2d)]
    linears = [i for i, (_, module) in enumerate(leaves) if isinstance(module, nn.Linear)]
    last_hidden, _ = leaves[linears[-1] - 1]
    return convs[0], last_hidden


def nearest_neighbors(queries: Tensor, others: Tensor, n: int = 6) -> tuple[Tensor, Tensor]:
    """Find the nearest neighbors by Euclidean distance, as in Figure 4.

    Args:
        queries: (Q, ...), activations or pixels, which are flattened.
        others: (N, ...), the candidates, of the same shape after the first dimension.
        n: number of neighbors, at most N.

    Returns:
        Distances (Q, n) float32 and indices (Q, n) int64 into ``others``, the nearest first.

    Raises:
        ValueError: if ``n`` is larger than N.
    """
    if n > len(others):
        raise ValueError(f"n must be at most {len(others)}, the number of others, got {n}")
    distances = torch.cdist(queries.flatten(1).float(), others.flatten(1).float())  # (Q, N)
    return distances.topk(n, largest=False)


def _check_unit(layer: str, unit: int, output: Tensor) -> None:
    """Raise a ValueError unless a layer's output (N, units, ...) has the unit."""
    last = output.shape[1] - 1
    if not 0 <= unit <= last:
        raise ValueError(f"unit of the layer {layer!r} must be 0 to {last}, got {unit}")
