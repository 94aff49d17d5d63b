"""Weights as small integers."""

import gzip

import pytest
import torch

from alexnet.quantize import dequantize, dequantize_all, quantize


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_weight_comes_back_up_to_half_a_step(bits):
    torch.manual_seed(bits)
    weight = torch.randn(6, 4, 3, 3) * torch.logspace(-4, 1, 6)[:, None, None, None]
    integers, scale = quantize(weight, bits)
    assert integers.dtype == torch.int8 and integers.shape == weight.shape
    assert integers.abs().max() == 2 ** (bits - 1) - 1
    error = (dequantize(integers, scale) - weight).abs().flatten(1).amax(1)
    assert (error <= scale / 2 * 1.001).all()
    assert (error > 0).all()


def test_torch_quantizes_in_the_same_way():
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    integers, scale = quantize(weight, 8)
    zeros = torch.zeros(5, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)
    torch.testing.assert_close(dequantize(integers, scale), theirs)


def test_a_channel_of_zeros_stays_one():
    integers, scale = quantize(torch.zeros(2, 3), 4)
    assert not integers.any() and torch.equal(scale, torch.ones(2))


@pytest.mark.parametrize("bits", [1, 9])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(ValueError, match=f"bits must be 2 to 8, got {bits}"):
        quantize(torch.ones(2, 2), bits)


def test_a_weight_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="weight must be finite"):
        quantize(torch.tensor([[1.0, float("nan")]]), 6)


def test_only_tensors_with_scales_are_dequantized():
    weight = torch.randn(3, 5)
    integers, scale = quantize(weight, 6)
    bias = torch.randn(3)
    tensors = {"fc.weight": integers, "fc.weight.scale": scale, "fc.bias": bias}
    weights = dequantize_all(tensors)
    assert list(weights) == ["fc.weight", "fc.bias"]
    assert torch.equal(weights["fc.weight"], dequantize(integers, scale))
    assert weights["fc.bias"] is bias


def test_fewer_bits_take_less_room():
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(1))
    sizes = [len(gzip.compress(quantize(weight, bits)[0].numpy().tobytes())) for bits in (4, 6, 8)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2] / 1.5
