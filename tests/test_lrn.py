import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from alexnet import LocalResponseNorm
from alexnet.lrn import MapNorm, _definition


def test_the_papers_defaults():
    """Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75. As in layer-params-145.cfg, alpha is
    divided by n."""
    norm = LocalResponseNorm()
    assert (norm.size, norm.alpha, norm.beta, norm.k, norm.groups) == (5, 1e-4, 0.75, 2.0, 1)


@given(
    groups=st.sampled_from([1, 2, 4]),
    maps=st.integers(1, 4),
    size=st.integers(1, 7),
    alpha=st.floats(1e-4, 1.0),
    extra=st.integers(0, 3),
)
@settings(deadline=None, max_examples=40)
def test_lrn_normalizes_each_group_by_itself(groups, maps, size, alpha, extra):
    torch.manual_seed(0)
    x = torch.randn(2, groups * maps, *[3] * extra, dtype=torch.float64) * 10
    if extra == 0:
        x = x[..., None]
    norm = LocalResponseNorm(size, alpha, 0.75, 2.0, groups)
    parts = [F.local_response_norm(part, size, alpha, 0.75, 2.0) for part in x.chunk(groups, 1)]
    torch.testing.assert_close(norm(x), torch.cat(parts, 1))


SHAPES = st.builds(
    lambda n, maps, extra: (n, maps, *extra),
    n=st.integers(1, 5),
    maps=st.integers(1, 9),
    extra=st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
# gradcheck computes as many differences as there are values, gradgradcheck their square
SMALL_SHAPES = st.builds(
    lambda n, maps, extra: (n, maps, *extra),
    n=st.integers(1, 2),
    maps=st.integers(1, 9),
    extra=st.lists(st.integers(1, 3), min_size=1, max_size=2),
)
CONSTANTS = {
    "size": st.integers(1, 8),
    "alpha": st.floats(1e-5, 2.0),
    "beta": st.sampled_from([0.5, 0.75, 1.0]),
    "k": st.floats(1.0, 3.0),
}


@given(shape=SHAPES, **CONSTANTS)
@settings(deadline=None, max_examples=80)
def test_outputs_and_gradients_are_torchs(shape, **constants):
    torch.manual_seed(0)
    x = (torch.randn(shape, dtype=torch.float64) * 5).requires_grad_()
    grad = torch.randn(shape, dtype=torch.float64)
    ours, theirs = LocalResponseNorm(**constants)(x), nn.LocalResponseNorm(**constants)(x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, x, grad), torch.autograd.grad(theirs, x, grad)
    )


@given(shape=SHAPES, groups=st.sampled_from([1, 2]), **CONSTANTS)
@settings(deadline=None, max_examples=20)
def test_the_definition_that_a_gpu_compiles_is_torchs(shape, groups, size, alpha, beta, k):
    torch.manual_seed(0)
    x = (torch.randn(shape[0], groups, *shape[1:], dtype=torch.float64) * 5).requires_grad_()
    parts = [F.local_response_norm(part, size, alpha, beta, k) for part in x.unbind(1)]
    theirs = torch.stack(parts, 1)
    torch.testing.assert_close(_definition(x, size, alpha / size, beta, k), theirs)
    # Second derivatives follow the definition too
    ours = LocalResponseNorm(size, alpha, beta, k, groups)(x.flatten(1, 2))
    grad = torch.randn_like(x)
    gradient = torch.autograd.grad(ours, x, grad.flatten(1, 2), create_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, x, grad))


def test_float32_is_exact_to_two_millionths():
    torch.manual_seed(0)
    x = torch.randn(8, 96, 27, 27) * 30
    grad = torch.randn_like(x)
    pairs = []
    for norm in (LocalResponseNorm(alpha=5e-4), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)):
        leaf = x.clone().requires_grad_()
        y = norm(leaf)
        pairs.append((y.detach(), torch.autograd.grad(y, leaf, grad)[0]))
    (y, gradient), (their_y, their_gradient) = pairs
    torch.testing.assert_close(y, their_y, rtol=2e-6, atol=0)
    # A gradient is a difference of two terms; where they cancel, it has the error of the terms
    atol = 2e-6 * their_gradient.abs().max().item()
    torch.testing.assert_close(gradient, their_gradient, rtol=2e-6, atol=atol)


@pytest.mark.slow
@given(shape=SMALL_SHAPES, groups=st.sampled_from([1, 2]), **CONSTANTS)
@settings(deadline=None, max_examples=15)
def test_first_and_second_derivatives_are_numerical_ones(shape, groups, **constants):
    torch.manual_seed(0)
    x = torch.randn(
        shape[0], shape[1] * groups, *shape[2:], dtype=torch.float64, requires_grad=True
    )
    norm = LocalResponseNorm(**constants, groups=groups)
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


@pytest.mark.parametrize(
    "shape, last",
    [
        ((2, 8, 5, 5), torch.channels_last),
        ((2, 8, 3, 5, 5), torch.channels_last_3d),
    ],
)
def test_the_output_has_the_memory_format_of_the_input(shape, last):
    torch.manual_seed(0)
    results = []
    x = torch.randn(shape) * 100
    for memory_format in (torch.contiguous_format, last):
        leaf = x.clone(memory_format=memory_format).requires_grad_()
        y = LocalResponseNorm(groups=2)(leaf)
        assert y.is_contiguous(memory_format=memory_format)
        y.square().sum().backward()
        gradient = leaf.grad
        leaf.grad = None
        # The gradient of a sum is one number, expanded, in no memory format at all
        LocalResponseNorm(groups=2)(leaf).sum().backward()
        results.append((y.detach(), gradient, leaf.grad))
    torch.testing.assert_close(*results)


def test_it_saves_two_tensors_for_the_backward_pass():
    """The input and one tensor of its size."""
    saved = []

    def save(tensor):
        saved.append(tensor)
        return tensor

    x = torch.randn(4, 16, 9, 9, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        LocalResponseNorm(groups=2)(x)
    assert len(saved) == 2 and all(tensor.numel() == x.numel() for tensor in saved)
    assert saved[0].data_ptr() == x.data_ptr()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(half):
    torch.manual_seed(0)
    x = (torch.randn(2, 8, 5, 5) * 300).to(half)  # float16 cannot hold the squares
    grad = torch.randn(2, 8, 5, 5).to(half)
    pairs = []
    ours, theirs = LocalResponseNorm(alpha=5e-4), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)
    for norm, value in ((ours, x), (theirs, x.float())):
        leaf = value.clone().requires_grad_()
        y = norm(leaf)
        y.backward(grad.to(y.dtype))
        pairs.append((y.detach(), leaf.grad))
    (y, gradient), (exact, exact_gradient) = pairs
    assert y.dtype == gradient.dtype == half
    without_sum = x.float() / 2**0.75
    assert exact.abs().max() < 0.2 * without_sum.abs().max()  # the sum of squares matters
    torch.testing.assert_close(y.float(), exact, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(gradient.float(), exact_gradient, rtol=1e-2, atol=1e-3)
    with torch.autocast("cpu", dtype=half):
        for value in (x, x.float()):
            y = ours(value)
            assert y.dtype == nn.LocalResponseNorm(5)(value).dtype == torch.float32
            torch.testing.assert_close(y, exact)


@pytest.mark.slow
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_compiles_in_one_graph_to_the_same_results(memory_format):
    torch.manual_seed(0)
    norm = LocalResponseNorm(4, groups=2)
    x = (torch.randn(2, 8, 5, 5) * 100).to(memory_format=memory_format).requires_grad_()
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)  # needs no C++ compiler
    torch.testing.assert_close(compiled(x), norm(x))
    gradient = torch.autograd.grad(compiled(x).square().sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(norm(x).square().sum(), x))


def test_an_empty_batch_stays_empty():
    assert LocalResponseNorm()(torch.zeros(0, 8, 5, 5)).shape == (0, 8, 5, 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_results_compiled_or_not():
    torch.manual_seed(0)
    x = torch.randn(4, 16, 9, 9, dtype=torch.float64)
    norm = LocalResponseNorm(groups=2)
    results = []
    for device, module in (("cpu", norm), ("cuda", norm), ("cuda", torch.compile(norm))):
        leaf = x.to(device).requires_grad_()
        y = module(leaf)
        y.square().sum().backward()
        results.append((y.detach().cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(results[1:], [results[0]] * 2)


def test_lrn_errors_name_the_rule_and_what_was_got():
    with pytest.raises(ValueError, match="number of maps must be a multiple of groups=4, got 6"):
        LocalResponseNorm(groups=4)(torch.zeros(1, 6, 2, 2))
    with pytest.raises(ValueError, match=r"three dimensions or more, got \(6, 2\)"):
        LocalResponseNorm()(torch.zeros(6, 2))
    for size, groups in ((0, 1), (5, 0), (5, -1)):
        message = f"size and groups must be >= 1, got {size} and {groups}"
        with pytest.raises(ValueError, match=message):
            LocalResponseNorm(size, groups=groups)


# Normalization within a map


def within_map_by_hand(x, size, alpha, beta, k):
    """Loops over images, maps and positions. x: (N, C, H, W), in NumPy."""
    y = np.empty_like(x)
    half = size // 2
    for n, c, i, j in np.ndindex(*x.shape):
        top, left = max(i - half, 0), max(j - half, 0)
        window = x[n, c, top : i + half + 1, left : j + half + 1]  # the part inside the map
        y[n, c, i, j] = x[n, c, i, j] / (k + alpha / size**2 * (window**2).sum()) ** beta
    return y


MAPS = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8))
WITHIN = CONSTANTS | {"size": st.sampled_from([1, 3, 5, 7])}


def test_the_defaults_are_those_of_cnorm2a():
    """layers-145.cfg and layer-params-145.cfg: 5×5, scale 0.001, power 0.75."""
    norm = MapNorm()
    assert (norm.size, norm.alpha, norm.beta, norm.k) == (5, 0.001, 0.75, 1.0)


@given(shape=MAPS, **WITHIN)
@settings(deadline=None, max_examples=40)
def test_map_norm_is_the_formula(shape, **constants):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) * 20
    expected = torch.from_numpy(within_map_by_hand(x.numpy(), **constants))
    norm = MapNorm(**constants)
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(x.to(memory_format=torch.channels_last)), expected)


@given(shape=MAPS, **WITHIN)
@settings(deadline=None, max_examples=10)
def test_map_norm_derivatives_are_numerical_ones(shape, **constants):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MapNorm(**constants), (x,))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_map_norm_computes_half_precision_in_float32(half):
    x = (torch.randn(2, 4, 6, 6) * 1000).to(half)  # float16 cannot hold the squares
    y = MapNorm()(x)
    assert y.dtype == half and y.isfinite().all()
    torch.testing.assert_close(y.float(), MapNorm()(x.float()), rtol=1e-2, atol=1e-2)


def test_map_norm_errors_name_the_rule_and_what_was_got():
    for size in (4, 0, -1):
        with pytest.raises(ValueError, match=f"size must be odd and >= 1, got {size}"):
            MapNorm(size)
    with pytest.raises(ValueError, match=r"must have shape \(N, C, H, W\), got \(3, 5, 5\)"):
        MapNorm()(torch.zeros(3, 5, 5))
