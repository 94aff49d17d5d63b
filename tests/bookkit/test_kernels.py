from math import pi

import pytest
import torch

from alexnet.bookkit.kernels import gabor_bank


def test_bank_is_the_one_that_the_chapters_were_written_with():
    """Lrn and paper_and_code store numbers that these kernels gave: equal to the last bit."""
    y, x = torch.meshgrid(*[torch.arange(-5.0, 6, dtype=torch.double)] * 2, indexing="ij")

    def gabor(angle):
        direction = x * torch.cos(angle) + y * torch.sin(angle)
        wave = torch.sin(direction * 2 * pi / 9 + angle / 2)
        kernel = wave * torch.exp(-(x**2 + y**2) / 12)
        return (kernel - kernel.mean()) / (kernel - kernel.mean()).norm()

    angles = torch.arange(16, dtype=torch.double) * 2 * pi / 16
    assert torch.equal(gabor_bank(16), torch.stack([gabor(angle) for angle in angles]))


@pytest.mark.parametrize(("num", "size"), [(4, 7), (16, 11)])
def test_kernels_have_mean_0_and_norm_1(num, size):
    kernels = gabor_bank(num, size)
    assert kernels.shape == (num, size, size) and kernels.dtype == torch.float64
    zeros, ones = torch.zeros(num).double(), torch.ones(num).double()
    torch.testing.assert_close(kernels.mean((1, 2)), zeros)
    torch.testing.assert_close(kernels.flatten(1).norm(dim=1), ones)
