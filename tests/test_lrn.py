import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from alexnet import LocalResponseNorm
from alexnet.lrn import MapNorm, _formula


def test_the_papers_defaults():
    """Section 3.3, k = 2, n = 5, alpha = 1e-4, beta = 0.75, as ``layer-params-145.cfg`` reads them: alpha is divided by n."""
    norm = LocalResponseNorm()
    assert (norm.size, norm.alpha, norm.beta, norm.k, norm.groups) == (5, 1e-4, 0.75, 2.0, 1)


@given(
    groups=st.sampled_from([1, 2, 4]), maps=st.integers(1, 4), size=st.integers(1, 7), alpha=st.floats(1e-4, 1.0), extra=st.integers(0, 3)
)
@settings(deadline=None, max_examples=40)
def test_lrn_normalises_each_group_by_itself(groups, maps, size, alpha, extra):
    torch.manual_seed(0)
    x = torch.randn(2, groups * maps, *[3] * extra, dtype=torch.float64) * 10
    if extra == 0:
        x = x[..., None]
    norm = LocalResponseNorm(size, alpha, 0.75, 2.0, groups)
    parts = [F.local_response_norm(part, size, alpha, 0.75, 2.0) for part in x.chunk(groups, 1)]
    torch.testing.assert_close(norm(x), torch.cat(parts, 1))


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 9), st.lists(st.integers(1, 4), min_size=1, max_size=3)).map(lambda s: (*s[:2], *s[2]))
SETTINGS = {"size": st.integers(1, 8), "alpha": st.floats(1e-5, 2.0), "beta": st.sampled_from([0.5, 0.75, 1.0]), "k": st.floats(1.0, 3.0)}


@given(shape=SHAPES, **SETTINGS)
@settings(deadline=None, max_examples=80)
def test_values_and_gradients_are_torchs(shape, **setting):
    torch.manual_seed(0)
    x = (torch.randn(shape, dtype=torch.float64) * 5).requires_grad_()
    grad = torch.randn(shape, dtype=torch.float64)
    ours, theirs = LocalResponseNorm(**setting)(x), nn.LocalResponseNorm(**setting)(x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, x, grad), torch.autograd.grad(theirs, x, grad))


@given(shape=SHAPES, groups=st.sampled_from([1, 2]), **SETTINGS)
@settings(deadline=None, max_examples=20)
def test_the_definition_that_a_gpu_compiles_is_torchs(shape, groups, size, alpha, beta, k):
    torch.manual_seed(0)
    x = (torch.randn(shape[0], groups, *shape[1:], dtype=torch.float64) * 5).requires_grad_()
    theirs = torch.stack([F.local_response_norm(part, size, alpha, beta, k) for part in x.unbind(1)], 1)
    torch.testing.assert_close(_formula(x, size, alpha / size, beta, k), theirs)
    ours = LocalResponseNorm(size, alpha, beta, k, groups)(x.flatten(1, 2))  # and it is what second derivatives follow
    grad = torch.randn_like(x)
    followed = torch.autograd.grad(ours, x, grad.flatten(1, 2), create_graph=True)
    torch.testing.assert_close(followed, torch.autograd.grad(theirs, x, grad))


def test_float32_to_two_millionths():
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
    # A gradient is a difference of two terms; where they cancel, its error is theirs
    torch.testing.assert_close(gradient, their_gradient, rtol=2e-6, atol=2e-6 * their_gradient.abs().max().item())


@given(shape=SHAPES, groups=st.sampled_from([1, 2]), **SETTINGS)
@settings(deadline=None, max_examples=15)
def test_gradcheck(shape, groups, **setting):
    torch.manual_seed(0)
    x = torch.randn(shape[0], shape[1] * groups, *shape[2:], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LocalResponseNorm(**setting, groups=groups), (x,))
    assert torch.autograd.gradgradcheck(LocalResponseNorm(**setting, groups=groups), (x,))


@pytest.mark.parametrize(("shape", "last"), [((2, 8, 5, 5), torch.channels_last), ((2, 8, 3, 5, 5), torch.channels_last_3d)])
def test_the_memory_format_stays(shape, last):
    torch.manual_seed(0)
    found = []
    x = torch.randn(shape) * 100
    for memory_format in (torch.contiguous_format, last):
        leaf = x.clone(memory_format=memory_format).requires_grad_()
        y = LocalResponseNorm(groups=2)(leaf)
        assert y.is_contiguous(memory_format=memory_format)
        y.square().sum().backward()
        found.append((y.detach(), leaf.grad))
        leaf.grad = None
        LocalResponseNorm(groups=2)(leaf).sum().backward()  # what comes back is one number, expanded, in no format at all
        found[-1] += (leaf.grad,)
    torch.testing.assert_close(*found)


def test_what_it_keeps_for_the_backward_pass():
    """The input and one tensor like it."""
    kept = []
    x = torch.randn(4, 16, 9, 9, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        LocalResponseNorm(groups=2)(x)
    assert len(kept) == 2 and all(t.numel() == x.numel() for t in kept) and kept[0].data_ptr() == x.data_ptr()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision(half):
    torch.manual_seed(0)
    x, grad = (torch.randn(2, 8, 5, 5) * 300).to(half), torch.randn(2, 8, 5, 5).to(half)  # squares that float16 does not hold
    pairs = []
    for norm, value in ((LocalResponseNorm(alpha=5e-4), x), (nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), x.float())):
        leaf = value.clone().requires_grad_()
        y = norm(leaf)
        y.backward(grad.to(y.dtype))
        pairs.append((y.detach(), leaf.grad))
    (y, gradient), (exact, exact_gradient) = pairs
    assert y.dtype == gradient.dtype == half and exact.abs().max() < 0.2 * (x.float() / 2**0.75).abs().max()  # it normalises
    torch.testing.assert_close((y.float(), gradient.float()), (exact, exact_gradient), rtol=1e-2, atol=1e-3)
    with torch.autocast("cpu", dtype=half):
        for value in (x, x.float()):
            y = LocalResponseNorm(alpha=5e-4)(value)
            assert y.dtype == nn.LocalResponseNorm(5)(value).dtype == torch.float32
            torch.testing.assert_close(y, exact)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_compiled(memory_format):
    torch.manual_seed(0)
    norm = LocalResponseNorm(4, groups=2)
    x = (torch.randn(2, 8, 5, 5) * 100).to(memory_format=memory_format).requires_grad_()
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)  # needs no C++ compiler
    torch.testing.assert_close(compiled(x), norm(x))
    torch.testing.assert_close(*(torch.autograd.grad(of(x).square().sum(), x) for of in (compiled, norm)))


def test_an_empty_batch():
    assert LocalResponseNorm()(torch.zeros(0, 8, 5, 5)).shape == (0, 8, 5, 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu():
    torch.manual_seed(0)
    x = torch.randn(4, 16, 9, 9, dtype=torch.float64)
    norm, found = LocalResponseNorm(groups=2), []
    for device, of in (("cpu", norm), ("cuda", norm), ("cuda", torch.compile(norm))):
        leaf = x.to(device).requires_grad_()
        y = of(leaf)
        y.square().sum().backward()
        found.append((y.detach().cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(found[1:], [found[0]] * 2)


def test_lrn_says_what_is_wrong():
    with pytest.raises(ValueError, match="6 maps cannot be normalised in 4 equal groups"):
        LocalResponseNorm(groups=4)(torch.zeros(1, 6, 2, 2))
    with pytest.raises(ValueError, match=r"three dimensions or more, not \(6, 2\)"):
        LocalResponseNorm()(torch.zeros(6, 2))
    for size, groups in ((0, 1), (5, 0), (5, -1)):
        with pytest.raises(ValueError, match=f"one map or more, in one group or more, not {size} in {groups}"):
            LocalResponseNorm(size, groups=groups)


# Within a map


def within_map_by_hand(x, size, alpha, beta, k):
    """Loops over images, maps and positions. x: (N, C, H, W), in NumPy."""
    y = np.empty_like(x)
    half = size // 2
    for n, c, i, j in np.ndindex(*x.shape):
        window = x[n, c, max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1]  # the part inside the map
        y[n, c, i, j] = x[n, c, i, j] / (k + alpha / size**2 * (window**2).sum()) ** beta
    return y


MAPS = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8))
WITHIN = SETTINGS | {"size": st.sampled_from([1, 3, 5, 7])}


def test_the_defaults_of_cnorm2():
    """layers-145.cfg and layer-params-145.cfg: 5×5, scale 0.001, power 0.75."""
    norm = MapNorm()
    assert (norm.size, norm.alpha, norm.beta, norm.k) == (5, 0.001, 0.75, 1.0)


@given(shape=MAPS, **WITHIN)
@settings(deadline=None, max_examples=40)
def test_map_norm_is_the_formula(shape, **setting):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) * 20
    expected = torch.from_numpy(within_map_by_hand(x.numpy(), **setting))
    torch.testing.assert_close(MapNorm(**setting)(x), expected)
    torch.testing.assert_close(MapNorm(**setting)(x.to(memory_format=torch.channels_last)), expected)


@given(shape=MAPS, **WITHIN)
@settings(deadline=None, max_examples=10)
def test_map_norm_gradcheck(shape, **setting):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MapNorm(**setting), (x,))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_map_norm_in_half_precision(half):
    x = (torch.randn(2, 4, 6, 6) * 1000).to(half)  # whose squares float16 does not hold
    y = MapNorm()(x)
    assert y.dtype == half and y.isfinite().all()
    torch.testing.assert_close(y.float(), MapNorm()(x.float()), rtol=1e-2, atol=1e-2)


def test_map_norm_says_what_is_wrong():
    for size in (4, 0, -1):
        with pytest.raises(ValueError, match=f"so that its size is odd and 1 or more, not {size}"):
            MapNorm(size)
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\), not \(3, 5, 5\)"):
        MapNorm()(torch.zeros(3, 5, 5))
