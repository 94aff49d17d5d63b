import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import func, nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from alexnet import LocalResponseNorm, lrn
from alexnet.lrn import MapNorm, _definition
from helpers import export_to_onnx, some_of


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
    with pytest.raises(ValueError, match=r"floating point, got torch.int64: .* x.float\(\)"):
        LocalResponseNorm()(torch.ones(1, 3, 2, 2, dtype=torch.int64))
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
    with pytest.raises(ValueError, match=r"x must be floating point, got torch.uint8"):
        MapNorm()(torch.ones(1, 3, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"must have shape \(N, C, H, W\), got \(3, 5, 5\)"):
        MapNorm()(torch.zeros(3, 5, 5))


# Derivatives. `torch.nn`'s layer is made of basic operations, for which PyTorch has all of them.


def by_dual_numbers(norm, x, tangent):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(norm(forward_ad.make_dual(x, tangent))).tangent


def by_a_dual_gradient(norm, x, tangent):
    """The forward pass knows nothing of the tangent that the backward pass gets."""
    leaf = x.clone().requires_grad_()
    y = norm(leaf)
    with forward_ad.dual_level():
        [gradient] = torch.autograd.grad(y, leaf, forward_ad.make_dual(x, tangent))
        return forward_ad.unpack_dual(gradient).tangent


def backward_through_a_tangent(norm, x, tangent):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(by_dual_numbers(norm, leaf, tangent).square().sum(), leaf)[0]


def backward(norm, x, tangent):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(norm(leaf), leaf, tangent)[0]


def backward_twice(norm, x, tangent, times=2):
    leaf = x.clone().requires_grad_()
    result = norm(leaf)
    for _ in range(times):
        [result] = torch.autograd.grad((result * tangent).sum(), leaf, create_graph=True)
    return result


def backward_with_a_batch(norm, x, tangent):
    leaf = x.clone().requires_grad_()
    grads = torch.stack([tangent, x, tangent * x])
    return torch.autograd.grad(norm(leaf), leaf, grads, is_grads_batched=True)[0]


def backward_twice_with_a_batch(norm, x, tangent):
    leaf = x.clone().requires_grad_()
    [gradient] = torch.autograd.grad(norm(leaf).square().sum(), leaf, create_graph=True)
    return torch.autograd.grad(gradient, leaf, torch.stack([tangent, x]), is_grads_batched=True)[0]


def through_a_checkpoint(norm, x, tangent):
    return backward(lambda a: checkpoint(norm, a, use_reentrant=False), x, tangent)


def of_a_graph(norm, x, tangent):
    return func.jvp(make_fx(norm)(x), (x,), (tangent,))[1]


def of_a_graph_with_a_backward_pass(norm, x, tangent):
    def gradient(leaf):
        return torch.autograd.grad(norm(leaf), leaf, tangent)[0]

    graph = make_fx(gradient)(x.clone().requires_grad_())
    return func.jvp(graph, (x.clone().requires_grad_(),), (tangent,))[1]


def of_a_trace(norm, x, tangent):
    return func.jvp(torch.jit.trace(norm, x), (x,), (tangent,))[1]


def of_an_exported_program(norm, x, tangent):
    return func.jvp(torch.export.export(norm, (x,)).module(), (x,), (tangent,))[1]


def sum_of_squares(norm):
    return lambda x: norm(x).square().sum()


def compiled(function, **options):
    torch._dynamo.reset()  # else the tests together compile one function more often than it allows
    # This backend needs no C++ compiler
    return torch.compile(function, backend="aot_eager", **options)


functional = torch.autograd.functional
DERIVATIVES = {
    "backward": backward,
    "backward, create_graph": backward_twice,
    "backward three times": lambda m, x, t: backward_twice(m, x, t, times=3),
    "backward, is_grads_batched": backward_with_a_batch,
    "backward twice, is_grads_batched": backward_twice_with_a_batch,
    "checkpoint": through_a_checkpoint,
    "dual numbers": by_dual_numbers,
    "dual numbers under no_grad": torch.no_grad()(by_dual_numbers),
    "dual gradient": by_a_dual_gradient,
    "reverse over dual numbers": backward_through_a_tangent,
    "functional.jvp": lambda m, x, t: functional.jvp(m, x, t)[1],
    "functional.vjp": lambda m, x, t: functional.vjp(m, x, t)[1],
    "functional.hvp": lambda m, x, t: functional.hvp(sum_of_squares(m), x, t)[1],
    "functional.vhp": lambda m, x, t: functional.vhp(sum_of_squares(m), x, t)[1],
    "functional.jacobian": lambda m, x, t: functional.jacobian(m, x),
    "functional.jacobian, vectorized": lambda m, x, t: functional.jacobian(m, x, vectorize=True),
    "functional.jacobian, forward": lambda m, x, t: functional.jacobian(
        m, x, strategy="forward-mode", vectorize=True
    ),
    "functional.hessian, forward": lambda m, x, t: functional.hessian(
        sum_of_squares(m), x, outer_jacobian_strategy="forward-mode", vectorize=True
    ),
    "func.grad": lambda m, x, t: func.grad(sum_of_squares(m))(x),
    "func.vjp": lambda m, x, t: func.vjp(m, x)[1](t)[0],
    "func.jvp": lambda m, x, t: func.jvp(m, (x,), (t,))[1],
    "func.jvp twice": lambda m, x, t: func.jvp(lambda a: func.jvp(m, (a,), (t,))[1], (x,), (t,))[1],
    "func.linearize": lambda m, x, t: func.linearize(m, x)[1](t),
    "func.jacrev": lambda m, x, t: func.jacrev(m)(x),
    "func.jacfwd": lambda m, x, t: func.jacfwd(m)(x),
    "func.hessian": lambda m, x, t: func.hessian(sum_of_squares(m))(x),
    "func.jacrev of jacfwd": lambda m, x, t: func.jacrev(func.jacfwd(sum_of_squares(m)))(x),
    "func.jacrev of jacrev": lambda m, x, t: func.jacrev(func.jacrev(sum_of_squares(m)))(x),
    "func.functionalize": lambda m, x, t: func.grad(func.functionalize(sum_of_squares(m)))(x),
    "func.vmap of grad": lambda m, x, t: func.vmap(func.grad(sum_of_squares(m)))(x[:, None]),
    "func.grad of vmap": lambda m, x, t: func.grad(sum_of_squares(func.vmap(m)))(x[:, None]),
    "func.vmap of jvp": lambda m, x, t: func.vmap(lambda a: func.jvp(m, (a,), (a,))[1])(x[:, None]),
    "func.jvp of vmap": lambda m, x, t: func.jvp(func.vmap(m), (x[:, None],), (t[:, None],))[1],
    "func.vmap of vjp": lambda m, x, t: func.vmap(func.vjp(m, x)[1])(torch.stack([t, x]))[0],
    "make_fx": of_a_graph,
    "make_fx, backward": of_a_graph_with_a_backward_pass,
    "jit.trace": of_a_trace,
}
SLOW_DERIVATIVES = {
    "export": of_an_exported_program,
    "compile": lambda m, x, t: backward(compiled(m), x, t),
    "compile, dual numbers": lambda m, x, t: by_dual_numbers(compiled(m), x, t),
    "compile, dual gradient": lambda m, x, t: by_a_dual_gradient(compiled(m), x, t),
    "compile of func.grad": lambda m, x, t: compiled(func.grad(sum_of_squares(m)))(x),
    "compile of func.jvp": lambda m, x, t: compiled(lambda a: func.jvp(m, (a,), (t,))[1])(x),
    "compile of func.hessian": lambda m, x, t: compiled(func.hessian(sum_of_squares(m)))(x),
    "compile of func.vmap": lambda m, x, t: compiled(func.vmap(func.grad(sum_of_squares(m))))(
        x[:, None]
    ),
    "func.grad of compile": lambda m, x, t: func.grad(compiled(sum_of_squares(m)))(x),
    "func.jvp of compile": lambda m, x, t: func.jvp(compiled(m), (x,), (t,))[1],
}


class TorchInTwoGroups(nn.Module):
    """PyTorch's layer on each half of the maps."""

    def forward(self, x):
        halves = [F.local_response_norm(half, 4, 1.5, 0.75, 2.0) for half in x.chunk(2, 1)]
        return torch.cat(halves, 1)


class MapNormByHand(nn.Module):
    """MapNorm by slices of the padded maps instead of pooling."""

    def forward(self, x):
        padded = F.pad(x, (1, 1, 1, 1))
        height, width = x.shape[2:]
        squares = 0
        for i in range(3):
            for j in range(3):
                squares = squares + padded[:, :, i : i + height, j : j + width].square()
        return x * (2.0 + 1.5 / 9 * squares).pow(-0.75)


LAYERS = {
    "LocalResponseNorm": (LocalResponseNorm(4, alpha=1.5, groups=2), TorchInTwoGroups()),
    "MapNorm": (MapNorm(3, alpha=1.5, k=2.0), MapNormByHand()),
}


def check_a_derivative(layer, differentiate):
    """Zeros above all would be wrong without an error."""
    ours, theirs = LAYERS[layer]
    torch.manual_seed(0)
    x = torch.randn(2, 6, 2, 2, dtype=torch.float64)
    tangent = torch.randn_like(x)
    result = differentiate(ours, x, tangent)
    assert result is not None and result.abs().max() > 0.01
    torch.testing.assert_close(result, differentiate(theirs, x, tangent))


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace and parts of vmap warn of themselves
@pytest.mark.parametrize("way", DERIVATIVES)
@pytest.mark.parametrize("layer", LAYERS)
def test_no_way_of_differentiation_gives_other_numbers_than_torchs(layer, way):
    check_a_derivative(layer, DERIVATIVES[way])


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", SLOW_DERIVATIVES)
def test_no_way_through_a_compiler_gives_other_numbers_than_torchs(way):
    check_a_derivative("LocalResponseNorm", SLOW_DERIVATIVES[way])


def test_forward_mode_has_the_tangents_of_the_formula():
    """For maps of ones with the sums of squares 2, 3, 2: dy/dx·1 = s^-0.75·(1 - 1.5·(s - 2)/s)."""
    x = torch.ones(1, 3, 1, 1)
    norm = LocalResponseNorm(3, 1.0, k=2.0)
    _, tangent = func.jvp(norm, (x,), (x,))
    scale = torch.tensor([2 + 2 / 3, 2 + 3 / 3, 2 + 2 / 3])
    expected = scale**-0.75 * (1 - 1.5 * (scale - 2) / scale)
    torch.testing.assert_close(tangent.flatten(), expected)
    torch.testing.assert_close(
        tangent.flatten(), torch.tensor([0.2995, 0.2193, 0.2995]), rtol=1e-3, atol=0
    )


def check_all_derivatives(function, x):
    """By differences: one and two derivatives, in both modes, and batches of them."""
    assert torch.autograd.gradcheck(
        function,
        x,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(
        function, x, check_batched_grad=True, check_fwd_over_rev=True, check_rev_over_rev=True
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap as gradcheck uses it
@given(shape=SMALL_SHAPES, groups=st.sampled_from([1, 2]), **CONSTANTS)
@settings(deadline=None, max_examples=6)
def test_first_and_second_derivatives_are_numerical_ones(shape, groups, **constants):
    torch.manual_seed(0)
    n, maps, *extra = shape
    x = torch.randn(n, maps * groups, *extra, dtype=torch.float64, requires_grad=True)
    check_all_derivatives(LocalResponseNorm(**constants, groups=groups), x)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@given(shape=st.tuples(*[st.integers(1, n) for n in (2, 2, 4, 3)]), **WITHIN)
@settings(deadline=None, max_examples=5)
def test_map_norm_derivatives_are_numerical_ones(shape, **constants):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    check_all_derivatives(MapNorm(**constants), x)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the same, and what PyTorch's own test code warns of
def test_pytorchs_own_samples_of_lrn():
    """Those that PyTorch tests its layer with."""
    from torch.testing._internal.common_methods_invocations import op_db  # takes seconds

    [info] = [info for info in op_db if info.name == "nn.functional.local_response_norm"]
    count = 0
    for dtype in (torch.float64, torch.float32):
        for sample in info.sample_inputs("cpu", dtype, requires_grad=True):
            arguments = dict(zip(("size", "alpha", "beta", "k"), sample.args)) | sample.kwargs
            defaults = {"alpha": 1e-4, "beta": 0.75, "k": 1.0}  # as in torch.nn
            norm = LocalResponseNorm(**(defaults | arguments))
            expected = info.op(sample.input, *sample.args, **sample.kwargs)
            torch.testing.assert_close(norm(sample.input), expected)
            if dtype == torch.float64:
                check_all_derivatives(norm, sample.input)
            count += 1
    assert count >= 10


@pytest.mark.exhaustive
@pytest.mark.slow
def test_pytorchs_own_checks_of_an_operator():
    """Schema, fake tensors, autograd, and compilation with shapes that vary."""
    torch.manual_seed(0)
    x = torch.randn(2, 2, 4, 3, 3, dtype=torch.float64)
    for requires_grad in (False, True):
        leaf = x.clone().requires_grad_(requires_grad)
        torch.library.opcheck(lrn._local_response_norm, (leaf, 5, 0.1, 0.75, 2.0))
        scale = lrn._scale(x, 5, 0.1, 2.0)
        grad = torch.randn_like(x).requires_grad_(requires_grad)
        arguments = (grad, leaf, scale, 5, 0.1, 0.75, 2.0)
        torch.library.opcheck(lrn._local_response_norm_backward, arguments)


class RecordOperators(TorchDispatchMode):
    """The names of the operators that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.append(operator._opname)
        return operator(*args, **(kwargs or {}))


def test_one_pass_forward_and_one_backward_use_the_fast_operators():
    x = torch.randn(2, 8, 3, 3, requires_grad=True)
    with RecordOperators() as operators:
        y = LocalResponseNorm(groups=2)(x)
        y.backward(torch.ones_like(y))
    assert set(operators.names) <= {
        "lrn",
        "lrn_backward",
        "unflatten",
        "view",
        "_unsafe_view",
        "alias",
        "detach",
        "ones_like",
        "empty",
        "empty_like",
    }
    assert operators.names.count("lrn") == 1
    assert operators.names.count("lrn_backward") == 1


def by_loops(x, size, alpha, beta, k, groups):
    """The formula, map by map, in NumPy and float64. x: (N, C, *)."""
    y = np.empty_like(x)
    maps = x.shape[1] // groups
    for group, c in np.ndindex(groups, maps):
        first = group * maps + max(c - size // 2, 0)
        last = group * maps + min(c + (size - 1) // 2, maps - 1)
        squares = (x[:, first : last + 1] ** 2).sum(1)
        n = group * maps + c
        y[:, n] = x[:, n] / (k + alpha / size * squares) ** beta
    return y


def transposed(x):
    """The same values with the dimensions in the opposite order in memory."""
    backwards = tuple(reversed(range(x.ndim)))
    return x.permute(backwards).contiguous().permute(backwards)


def strided(x):
    """The same values, every second one in each dimension of a larger tensor."""
    larger = x.new_full([2 * size for size in x.shape], torch.nan)
    view = larger[tuple(slice(None, None, 2) for _ in x.shape)]
    return view.copy_(x)


def expanded(x):
    """The first image again and again, stored once."""
    return x[:1].expand(len(x), *x.shape[1:])


ERRORS = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@given(
    n=st.integers(0, 4),
    maps=st.integers(0, 6),
    extra=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    groups=st.integers(1, 4),
    dtype=st.sampled_from(list(ERRORS)),
    scale=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 30.0, 1e4]),
    layout=st.sampled_from([torch.clone, transposed, strided, expanded]),
    size=st.integers(1, 9),
    alpha=st.sampled_from([0.0, 1e-4, 0.1, 2.0]),
    beta=st.sampled_from([0.0, 0.5, 0.75, 1.0, 2.0]),
    k=st.sampled_from([0.5, 1.0, 2.0]),
)
@settings(deadline=None, max_examples=150)
def test_lrn_is_the_formula_for_all_shapes_and_layouts(
    n, maps, extra, groups, dtype, scale, layout, **constants
):
    torch.manual_seed(0)
    x = layout((scale * torch.randn(n, groups * maps, *extra, dtype=torch.float64)).to(dtype))
    y = LocalResponseNorm(**constants, groups=groups)(x)
    expected = by_loops(x.double().numpy(), **constants, groups=groups)
    rtol = ERRORS[dtype]
    torch.testing.assert_close(y, torch.from_numpy(expected).to(dtype), rtol=rtol, atol=1e-3 * rtol)


@given(
    shape=SHAPES,
    groups=st.sampled_from([1, 2]),
    dim=st.integers(0, 2),
    layout=st.sampled_from([torch.clone, transposed, strided]),
    **CONSTANTS,
)
@settings(deadline=None, max_examples=40)
def test_the_two_modes_and_batches_of_tensors_agree(shape, groups, dim, layout, **constants):
    """⟨w, J v⟩ = ⟨Jᵀ w, v⟩, in a batch along any dimension, which is a loop over the tensors."""
    torch.manual_seed(0)
    n, maps, *extra = shape
    norm = LocalResponseNorm(**constants, groups=groups)
    tensors = [torch.randn(n, maps * groups, *extra, dtype=torch.float64) for _ in range(3)]
    x = layout(torch.stack(tensors, dim))
    batched = func.vmap(norm, dim, dim)
    y, tangent = func.jvp(batched, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(y, torch.stack([norm(tensor) for tensor in tensors], dim))
    weights = torch.randn_like(y)
    [gradient] = func.vjp(batched, x)[1](weights)
    torch.testing.assert_close((weights * tangent).sum(), gradient.sum())
    leaf = x.clone().requires_grad_()
    one_by_one = torch.stack([norm(tensor) for tensor in leaf.unbind(dim)], dim)
    torch.testing.assert_close(torch.autograd.grad(one_by_one, leaf, weights)[0], gradient)


# Compilers, exporters and tracers


@pytest.mark.slow
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_compiles_in_one_graph_to_the_same_results(memory_format):
    torch.manual_seed(0)
    norm = LocalResponseNorm(4, groups=2)
    x = (torch.randn(2, 8, 5, 5) * 100).to(memory_format=memory_format).requires_grad_()
    in_one_graph = compiled(norm, fullgraph=True)
    torch.testing.assert_close(in_one_graph(x), norm(x))
    gradient = torch.autograd.grad(in_one_graph(x).square().sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(norm(x).square().sum(), x))


EXPORTED = {
    "LocalResponseNorm": LocalResponseNorm(4, alpha=1.5, groups=2),
    "LocalResponseNorm, beta=0.5": LocalResponseNorm(3, alpha=1.5, beta=0.5),
    "MapNorm": MapNorm(3, alpha=1.5),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
@pytest.mark.parametrize("dynamo", [True, False], ids=["torch.export", "TorchScript"])
@pytest.mark.parametrize(
    "layer, dtype",
    some_of(
        [
            *((layer, torch.float32) for layer in EXPORTED),
            ("LocalResponseNorm", torch.float16),
        ],
        ("LocalResponseNorm", torch.float32),
    ),
)
def test_onnx_computes_the_same(layer, dtype, dynamo, tmp_path):
    """For batches of any size, by both exporters."""
    norm = EXPORTED[layer].eval()
    torch.manual_seed(0)
    x = torch.randn(3, 6, 5, 5).to(dtype)
    run = export_to_onnx(norm, x, tmp_path / "norm.onnx", dynamo)
    rtol = 1e-5 if dtype == torch.float32 else 2e-3
    for maps in (x, x[:1]):
        torch.testing.assert_close(run(maps), norm(maps), rtol=rtol, atol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("layer", EXPORTED)
def test_an_exported_program_needs_none_of_our_operators(layer):
    x = torch.randn(3, 6, 5, 5)
    norm = EXPORTED[layer]
    for strict in (False, True):
        program = torch.export.export(
            norm, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=strict
        )
        assert "alexnet" not in str([node.target for node in program.graph.nodes])
        torch.testing.assert_close(program.module()(x[:2]), norm(x[:2]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
@pytest.mark.parametrize("layer", EXPORTED)
def test_traces_compute_the_same(layer):
    x = torch.randn(3, 6, 5, 5)
    norm = EXPORTED[layer]
    for traced in (torch.jit.trace(norm, x), torch.fx.symbolic_trace(norm)):
        torch.testing.assert_close(traced(x[:2]), norm(x[:2]))
    with pytest.raises(ValueError, match="x must be floating point"):
        traced(x.int())  # torch.fx keeps the checks


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_module_can_be_loaded_again():
    """As IPython's autoreload does; an operator can be registered once."""
    code = "import alexnet.lrn, importlib; importlib.reload(alexnet.lrn)"
    code += "; alexnet.lrn.LocalResponseNorm()(alexnet.lrn.torch.ones(1, 3, 1, 1))"
    subprocess.run([sys.executable, "-c", code], check=True)
