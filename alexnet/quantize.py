"""Weights as small integers, with a scale for each output channel.

Han, Mao and Dally (2016), *Deep compression*, store AlexNet with few bits a weight. Here each
output channel has its own scale, and its integers lie symmetrically around zero, as in
:func:`torch.fake_quantize_per_channel_affine` with zero points of 0.
"""

import torch
from torch import Tensor


def quantize(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Round a weight to integers, channel by channel.

    Args:
        weight: (out, ...), floating point.
        bits: of each integer, 2 to 8.

    Returns:
        The integers, int8 (out, ...), from -(2^(bits - 1) - 1) to 2^(bits - 1) - 1; and the
        scales, float32 (out,). Integer times scale is the weight, up to half a scale.

    Raises:
        ValueError: if ``bits`` is out of range, or the weight is not finite.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be 2 to 8, got {bits}")
    if not weight.isfinite().all():
        raise ValueError("weight must be finite, got NaN or infinity")
    largest = 2 ** (bits - 1) - 1
    scale = weight.detach().flatten(1).abs().amax(1).float() / largest  # (out,)
    scale = torch.where(scale > 0, scale, 1.0)  # a channel of zeros stays one
    integers = (weight.detach() / _along(weight, scale)).round()
    return integers.clamp(-largest, largest).to(torch.int8), scale


def dequantize(integers: Tensor, scale: Tensor) -> Tensor:
    """The weight that integers and their scales stand for.

    Args:
        integers: int8 (out, ...).
        scale: float32 (out,).

    Returns:
        float32 (out, ...).
    """
    return integers.float() * _along(integers, scale)


def dequantize_all(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace integers by the weights that they stand for.

    Args:
        tensors: by name; beside integers called NAME, their scales are called NAME.scale.

    Returns:
        The tensors by name, those with scales dequantized, and without the scales.
    """
    weights = {}
    for name, tensor in tensors.items():
        if name.endswith(".scale"):
            continue
        scale = tensors.get(f"{name}.scale")
        weights[name] = tensor if scale is None else dequantize(tensor, scale)
    return weights


def _along(weight: Tensor, scale: Tensor) -> Tensor:
    """The scales in a shape that multiplies a weight: (out, 1, ...)."""
    return scale.view(-1, *[1] * (weight.ndim - 1))
