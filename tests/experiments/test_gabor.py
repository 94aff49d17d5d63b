import math

import pytest
import torch

from alexnet.bookkit.kernels import gabor_bank
from alexnet.experiments.gabor import explained_variance


def colored(shapes, seed=0):
    """Shapes (N, S, S) with a factor and a constant for each of three channels."""
    generator = torch.Generator().manual_seed(seed)
    factors, constants = torch.randn(2, len(shapes), 3, 1, 1, generator=generator)
    return shapes[:, None] * factors + constants


def positions(size):
    coordinates = torch.arange(size) - (size - 1) / 2
    y, x = torch.meshgrid(coordinates, coordinates, indexing="ij")
    return x, y


def test_waves_under_a_bell_are_gabor_functions():
    gabor, _ = explained_variance(colored(gabor_bank(16).float()))
    assert gabor.min() > 0.98


@pytest.mark.parametrize("size", [7, 11])
def test_a_gabor_function_that_is_not_in_the_middle(size):
    x, y = positions(size)
    u, v = (x - 2) * 0.8 + (y + 1) * 0.6, (y + 1) * 0.8 - (x - 2) * 0.6
    wave = torch.exp(-(u**2) / 6 - v**2 / 14) * torch.cos(2 * math.pi * u / (size / 2) + 0.7)
    gabor, blob = explained_variance(colored(wave[None]))
    assert gabor.item() > 0.98 and blob.item() < 0.7


def test_a_bell_is_a_blob():
    x, y = positions(11)
    shapes = [
        torch.exp(-((x - 1) ** 2) / 8 - (y + 2) ** 2 / 8),
        torch.exp(-((x + y) ** 2) / 30 - (x - y) ** 2 / 8),
    ]
    _, blob = explained_variance(colored(torch.stack(shapes)))
    assert blob.min() > 0.98


def test_noise_is_neither():
    generator = torch.Generator().manual_seed(0)
    for r_squared in explained_variance(torch.randn(32, 3, 11, 11, generator=generator)):
        assert r_squared.min() > 0 and r_squared.max() < 0.4


def test_two_waves_are_not_one():
    """A red wave across and a blue one down: one function of one color explains half of it."""
    bank = gabor_bank(16).float()
    kernel = torch.stack([bank[0], torch.zeros(11, 11), bank[4]])
    for r_squared in explained_variance(kernel[None]):
        assert r_squared.item() < 0.7


def test_the_fraction_of_the_variance_that_noise_leaves():
    generator = torch.Generator().manual_seed(0)
    kernels = colored(gabor_bank(16).float())
    noise = torch.randn(kernels.shape, generator=generator)
    variance = kernels.var((2, 3)).sum(1)[:, None, None, None]
    gabor, _ = explained_variance(kernels + noise * (variance / 3).sqrt())
    assert gabor.mean().item() == pytest.approx(0.5, abs=0.08)


def test_unit_and_brightness_do_not_matter():
    kernels = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    expected, found = explained_variance(kernels), explained_variance(0.01 * kernels + 3)
    for a, b in zip(expected, found):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


def test_a_kernel_without_variance():
    gabor, blob = explained_variance(torch.cat([torch.ones(1, 3, 7, 7), torch.randn(1, 3, 7, 7)]))
    assert gabor.isnan().tolist() == blob.isnan().tolist() == [True, False]
