"""Kernels that are computed instead of learned."""

import math

import torch
from torch import Tensor

WAVELENGTH = 9  # pixels
ENVELOPE = 12  # square pixels: twice the variance of the bell


def gabor_bank(num: int, size: int = 11) -> Tensor:
    """Gabor kernels at equally spaced angles: a wave under a bell, much like learned conv1 kernels.

    The phase of the wave turns with the angle, so the bank has both even and odd kernels.

    Args:
        num: how many kernels; kernel ``i`` has the angle 2π · i / num.
        size: height and width in pixels, odd. The wave and the bell do not scale with it.

    Returns:
        float64 (num, size, size); each kernel has mean 0 and norm 1.
    """
    coordinates = torch.arange(size, dtype=torch.double) - size // 2
    y, x = torch.meshgrid(coordinates, coordinates, indexing="ij")
    bell = torch.exp(-(x**2 + y**2) / ENVELOPE)
    kernels = []
    for angle in torch.arange(num, dtype=torch.double) * 2 * math.pi / num:
        distance = x * torch.cos(angle) + y * torch.sin(angle)
        wave = torch.sin(distance * 2 * math.pi / WAVELENGTH + angle / 2)
        kernel = wave * bell
        kernel = kernel - kernel.mean()
        kernels.append(kernel / kernel.norm())
    return torch.stack(kernels)
