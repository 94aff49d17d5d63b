"""How much of a kernel of the first layer a Gabor function, or a blob of one color, explains.

Figure 3 of the paper shows kernels that are selective for frequency and orientation, and colored
blobs. Gabor functions, waves under a bell, describe the former, as they do cells of the visual
cortex (Jones and Palmer, 1987).
"""

import math

import torch
from torch import Tensor

NUM_STARTS = 3  # the best of a grid, from which each kernel's fit goes on
NUM_STEPS = 100


def explained_variance(kernels: Tensor) -> tuple[Tensor, Tensor]:
    """R² of the best Gabor function, and of the best blob, for each kernel.

    A Gabor function is a plane wave under a bell, a blob is a bell; the bell may be longer than
    wide. Both have one shape in all channels, with a factor and a constant for each channel. The
    center is in the kernel, the bell has standard deviations from 1 pixel to half of the kernel's
    side, and a period of the wave is 2.5 pixels to the side.

    Args:
        kernels: floating point (N, C, S, S).

    Returns:
        Two tensors float32 (N,), 0 to 1: of the variance within the channels, the fraction that is
        explained. NaN for a kernel without variance.
    """
    size = kernels.shape[-1]
    values = kernels.detach().cpu().float().flatten(2)  # (N, C, S²)
    values = values - values.mean(2, keepdim=True)
    values = values / values.square().sum((1, 2), keepdim=True).sqrt()
    return _best_fit(values, size, wave=True), _best_fit(values, size, wave=False)


def _best_fit(values: Tensor, size: int, wave: bool) -> Tensor:
    """The highest R² (N,) over all Gabor functions, or over all blobs."""
    low, high = _bounds(size)
    grid = _grid(size, wave)  # (functions, 6)
    shapes = _shapes(grid, size, wave)  # (functions, 1 or 2, S²)
    found = _r_squared(values[:, None], shapes[None])  # (N, functions)
    starts = grid[found.nan_to_num().topk(NUM_STARTS).indices]  # (N, starts, 6)
    # The parameters within their bounds, as a function of numbers that have none
    position = ((starts - low) / (high - low)).clamp(0.02, 0.98)
    free = position.logit().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.1)
    for _ in range(NUM_STEPS):
        parameters = low + (high - low) * free.sigmoid()
        r_squared = _r_squared(values[:, None], _shapes(parameters, size, wave))  # (N, starts)
        optimizer.zero_grad()
        (-r_squared.nan_to_num().sum()).backward()
        optimizer.step()
    return torch.cat([found, r_squared.detach()], 1).amax(1)


def _bounds(size: int) -> tuple[Tensor, Tensor]:
    """Of the center's x and y, the bell's two deviations, the angle, and the period, in pixels."""
    edge = (size - 1) / 2
    low = torch.tensor([-edge, -edge, 1.0, 1.0, -math.pi, 2.5])
    high = torch.tensor([edge, edge, size / 2, size / 2, 2 * math.pi, float(size)])
    return low, high


def _grid(size: int, wave: bool) -> Tensor:
    """Parameters from which the fits start: (functions, 6)."""
    center = torch.tensor([-0.25, 0.0, 0.25]) * size
    deviation = torch.tensor([0.14, 0.23, 0.36]) * size
    angle = torch.arange(8) * math.pi / 8
    period = torch.tensor([0.27, 0.36, 0.5, 0.72, 0.95]) * size if wave else torch.tensor([size])
    x, y, s, a, p = torch.cartesian_prod(center, center, deviation, angle, period.float()).unbind(1)
    # A blob that is as long as it is wide has no angle, and no gradient towards one
    return torch.stack([x, y, s, s if wave else 1.3 * s, a, p], 1)


def _shapes(parameters: Tensor, size: int, wave: bool) -> Tensor:
    """What the functions of some parameters (..., 6) are made of.

    Returns:
        (..., 2, S²), a cosine and a sine under a bell, whose sums are waves of any phase, or
        (..., 1, S²), a bell. They have mean 0 and norm 1, and are at right angles.
    """
    coordinates = torch.arange(size) - (size - 1) / 2
    y, x = (c.flatten() for c in torch.meshgrid(coordinates, coordinates, indexing="ij"))  # (S²,)
    center_x, center_y, along, across, angle, period = parameters[..., None].unbind(-2)
    x, y = x - center_x, y - center_y  # (..., S²)
    u = x * angle.cos() + y * angle.sin()
    v = y * angle.cos() - x * angle.sin()
    bell = torch.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    if not wave:
        return _normalize(bell)[..., None, :]
    phase = 2 * math.pi * u / period
    cosine, sine = _normalize(bell * phase.cos()), _normalize(bell * phase.sin())
    overlap = (cosine * sine).sum(-1, keepdim=True)
    return torch.stack([cosine, _normalize(sine - overlap * cosine)], -2)


def _normalize(x: Tensor) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _r_squared(values: Tensor, shapes: Tensor) -> Tensor:
    """R² of the best factor a channel, and of the best phase, which is the same in all channels.

    Args:
        values: (..., C, S²), of mean 0 in each channel and norm 1.
        shapes: (..., 1 or 2, S²), as :func:`_shapes` returns them.

    Returns:
        (...).
    """
    factors = values @ shapes.transpose(-1, -2)  # (..., C, 1 or 2)
    if shapes.shape[-2] == 1:
        return factors.square().sum((-1, -2))
    # The largest eigenvalue of a 2×2 matrix: the phase that explains most
    a = factors[..., 0].square().sum(-1)
    b = factors[..., 1].square().sum(-1)
    c = factors.prod(-1).sum(-1)
    return (a + b) / 2 + (((a - b) / 2).square() + c.square() + 1e-12).sqrt()
