"""Local response normalization (paper, section 3.3), and normalization within each map.

Local response normalization divides a map's activations by those of the neighboring maps at the
same position. The code of 2012 has a second layer, which divides by the neighboring positions of
the same map.

PyTorch's own ``nn.LocalResponseNorm`` moves the whole tensor through memory in every step. Here, a
block of images that fits into the cache goes through all steps before the next block does, and the
gradient is written out by hand. The operation is registered as a custom operator, which
``torch.compile`` takes as it is. For derivatives beyond one backward pass, for the transforms of
:mod:`torch.func` and for exporters the same formulas stand in basic operations.
"""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from alexnet.memory import empty

# Values that are worked on at a time on a CPU. One megabyte of them is about what the cache of a
# core holds.
BLOCK_SIZE = 300_000


class LocalResponseNorm(nn.LocalResponseNorm):
    """:class:`torch.nn.LocalResponseNorm` with the constants of 2012, and within groups of maps.

    y_c = x_c / (k + alpha / size * sum of x_j² over the ``size`` maps j around c) ** beta

    PyTorch divides alpha by ``size``, as the original ``layer.py`` does. The formula in the paper
    does not: the paper's alpha of 1e-4, read literally, is ``alpha=5e-4`` here.

    Args:
        size: number of neighboring maps in the sum, including the map itself.
        alpha: weight of the mean square.
        beta: exponent.
        k: constant that keeps the divisor away from zero.
        groups: number of equal blocks of maps. The sum stops at the border of a block, as it did in
            2012, when each GPU normalized the maps that it held (``layers-145.cfg``: a ``cmrnorm``
            layer in each column).

    Shape:
        - Input: (N, C, *), floating point, with at least one dimension after C, and C a multiple of
          ``groups``.
        - Output: the same shape and dtype. float16 and bfloat16 are computed in float32, and the
          two tensors that are kept for the backward pass are float32 then. Under autocast the
          output is float32, as PyTorch's.

    Raises:
        ValueError: if ``size`` or ``groups`` is below 1.

    Example:
        >>> norm = LocalResponseNorm(3, 1.0, k=2.0)
        >>> x = torch.ones(1, 3, 1, 1)
        >>> norm(x).flatten()
        tensor([0.4792, 0.4387, 0.4792])
        >>> output, tangent = torch.func.jvp(norm, (x,), (x,))  # the derivative in the direction x
        >>> tangent.flatten()
        tensor([0.2995, 0.2193, 0.2995])
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        groups: int = 1,
    ) -> None:
        if size < 1 or groups < 1:
            raise ValueError(f"size and groups must be >= 1, got {size} and {groups}")
        super().__init__(size, alpha, beta, k)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Normalize feature maps.

        Args:
            x: (N, C, *), floating point.

        Returns:
            (N, C, *), normalized.

        Raises:
            ValueError: if x is not floating point or has fewer than three dimensions, or if C is
                no multiple of ``groups``.
        """
        return _normalize_maps(x, self.size, self.alpha, self.beta, self.k, self.groups)

    def extra_repr(self) -> str:
        """List the arguments for ``repr()``."""
        return f"{super().extra_repr()}, groups={self.groups}"


class MapNorm(nn.Module):
    """Normalization over neighboring positions of one map, which the paper does not mention.

    y = x / (k + alpha / size² * sum of x² over the ``size`` × ``size`` positions around it) ** beta

    The defaults are those of ``cnorm2a`` in ``layers-145.cfg`` and ``layer-params-145.cfg``; these
    files do not have k. At the border the window is cut off, but alpha is still divided by size²,
    as if there were zeros outside.

    Args:
        size: height and width of the window in positions, odd.
        alpha: weight of the mean square.
        beta: exponent.
        k: constant that keeps the divisor away from zero.

    Shape:
        - Input: (N, C, H, W), floating point.
        - Output: the same shape and dtype. float16 and bfloat16 are computed in float32.

    Raises:
        ValueError: if ``size`` is below 1 or even: such a window has no position in the middle.
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-3, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be odd and >= 1, got {size}")
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        """Normalize feature maps.

        Args:
            x: (N, C, H, W), floating point.

        Returns:
            (N, C, H, W), normalized.

        Raises:
            ValueError: if x is not floating point, or does not have four dimensions.
        """
        return _normalize_within_maps(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """List the arguments for ``repr()``."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


# torch.fx records calls of these two functions as it does those of torch.nn.functional, since it
# cannot follow code that depends on shapes and dtypes.
@torch.fx.wrap
def _normalize_maps(
    x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int
) -> Tensor:
    """Compute :class:`LocalResponseNorm` of x, (N, C, *)."""
    _check_maps(x, groups)
    dtype = x.dtype
    if dtype in (torch.float16, torch.bfloat16):
        x = x.float()
        if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
            dtype = torch.float32
    # A view in every memory format: (N, C, *) -> (N, groups, C / groups, *)
    x = x.unflatten(1, (groups, -1))
    args = (x, size, alpha / size, beta, k)
    # The compiler of a GPU fuses the definition into one kernel.
    fused = torch.compiler.is_compiling() and x.device.type != "cpu"
    # What is exported has to run without this package.
    exported = torch.compiler.is_exporting() or torch.jit.is_tracing()
    if fused or exported:
        y = _definition(*args)
    else:
        y, _ = _local_response_norm(*args)
    return y.flatten(1, 2).to(dtype)  # (N, C, *)


@torch.fx.wrap
def _normalize_within_maps(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """Compute :class:`MapNorm` of x, (N, C, H, W)."""
    _check_dtype(x)
    if x.ndim != 4:
        raise ValueError(f"x must have shape (N, C, H, W), got {tuple(x.shape)}")
    dtype = x.dtype
    x = x.to(torch.promote_types(dtype, torch.float32))
    # The mean over all size² positions of the window, padding included
    mean = F.avg_pool2d(x.square(), size, stride=1, padding=size // 2)
    return (x * _inverse_power(k + alpha * mean, beta)).to(dtype)


def _check_maps(x: Tensor, groups: int) -> None:
    """Raise a ValueError unless x is (N, C, *) in floating point, C a multiple of ``groups``."""
    _check_dtype(x)
    if x.ndim < 3:
        shape = tuple(x.shape)
        raise ValueError(f"x must have shape (N, C, *), three dimensions or more, got {shape}")
    # torch.jit.trace would record the comparison, with a warning that it is not repeated later
    if not torch.jit.is_tracing() and x.shape[1] % groups:
        raise ValueError(
            f"the number of maps must be a multiple of groups={groups}, got {x.shape[1]}"
        )


def _check_dtype(x: Tensor) -> None:
    """Raise a ValueError unless x is floating point: the result would be cut off to integers."""
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}: convert it with x.float()")


def _definition(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """LRN in basic operations, for compilers to fuse and for exporters.

    ``alpha`` is already divided by ``size``. x: (N, groups, C, *).
    """
    return x * _inverse_power(_scale(x, size, alpha, k), beta)


def _gradient(grad: Tensor, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """Compute the gradient of the loss L with respect to x in basic operations.

    dL/dx_c = g_c·s_c^-beta - 2·alpha·beta·x_c·(sum of g_j·x_j·s_j^(-beta - 1) over j)

    Here g is ``grad``, the gradient with respect to y, s is the divisor's base, and j runs over the
    maps whose windows contain c.
    """
    scale = _scale(x, size, alpha, k)
    scaled_grad = grad * _inverse_power(scale, beta)
    # The mirrored window: before and after change places.
    window_sum = _window_sum(scaled_grad * x / scale, (size - 1) // 2, size // 2)
    return scaled_grad - 2 * alpha * beta * x * window_sum


def _scale(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    """Compute the divisor's base, s = k + alpha·(window sum of x²), in basic operations."""
    return k + alpha * _window_sum(x.square(), size // 2, (size - 1) // 2)


def _window_sum(x: Tensor, before: int, after: int) -> Tensor:
    """Sum each map with the maps before and after it in its group. x: (N, groups, C, *)."""
    padding = [0, 0] * (x.ndim - 3) + [before, after]
    padded = F.pad(x, padding)  # (N, groups, before + C + after, *)
    maps = x.shape[2]
    return sum(padded[:, :, d : d + maps] for d in range(before + after + 1))


# The operator. `torch.library.custom_op` knows no forward mode and drops its tangents without an
# error, so the autograd kernels below are registered by hand.
# Its name is not that of 0.1.0, whose calls torch.compile may have kept on the disk.
_library = None  # To load this module again, the operators of the first time have to be gone.
_library = torch.library.Library("alexnet", "FRAGMENT")
_library.define(
    "lrn(Tensor x, int size, float alpha, float beta, float k) -> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
_library.define(
    "lrn_backward(Tensor grad, Tensor x, Tensor scale, "
    "int size, float alpha, float beta, float k) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)
_local_response_norm = torch.ops.alexnet.lrn.default
_local_response_norm_backward = torch.ops.alexnet.lrn_backward.default


@torch.library.register_kernel("alexnet::lrn", None, lib=_library)
def _compute(x: Tensor, size: int, alpha: float, beta: float, k: float) -> tuple[Tensor, Tensor]:
    """Return y = x·s^-beta and the divisor's base s = k + alpha·(window sum of x²).

    ``alpha`` is already divided by ``size``. x: (N, groups, C, *).
    """
    y = _empty_like(x)
    scale = _empty_like(x)
    blocks = _split_into_blocks(x, y, scale)
    first_block = blocks[0][0]
    buffer = torch.empty_like(first_block)
    for xb, yb, s in blocks:
        # alpha·x², whose memory is used again for the power
        square = torch.mul(xb, xb, out=buffer[: len(xb)]).mul_(alpha)
        torch.add(square, k, out=s)
        _add_neighbors(s, square, size // 2, (size - 1) // 2)
        torch.mul(_inverse_power(s, beta, square), xb, out=yb)
    return y, scale


@torch.library.register_kernel("alexnet::lrn_backward", None, lib=_library)
def _compute_backward(
    grad: Tensor, x: Tensor, scale: Tensor, size: int, alpha: float, beta: float, k: float
) -> Tensor:
    """Return the gradient of the loss L with respect to x, as :func:`_gradient` defines it."""
    grad_x = _empty_like(x)
    before = size // 2
    after = (size - 1) // 2
    blocks = _split_into_blocks(x, scale, grad, grad_x)
    first_block = blocks[0][0]
    term_buffer = torch.empty_like(first_block)
    sum_buffer = torch.empty_like(first_block)
    for xb, s, g, out in blocks:
        power = _inverse_power(s, beta, term_buffer[: len(xb)])
        torch.mul(power, g, out=out)  # g·s^-beta
        term = torch.mul(out, xb, out=term_buffer[: len(xb)]).div_(s)  # g·x·s^(-beta - 1)
        window_sum = sum_buffer[: len(xb)].copy_(term)
        # The backward pass uses the mirrored window: before and after change places.
        _add_neighbors(window_sum, term, after, before)
        out.addcmul_(window_sum, xb, value=-2 * alpha * beta)
    return grad_x


@torch.library.register_fake("alexnet::lrn", lib=_library)
def _fake(x, size, alpha, beta, k):
    return torch.empty_like(x), torch.empty_like(x)


@torch.library.register_fake("alexnet::lrn_backward", lib=_library)
def _fake_backward(grad, x, scale, size, alpha, beta, k):
    return torch.empty_like(x)


@torch.library.register_vmap("alexnet::lrn", lib=_library)
def _vmap(info, in_dims, x, *constants):
    x = x.movedim(in_dims[0], 0)  # (B, N, groups, C, *)
    y, scale = _local_response_norm(x.flatten(0, 1), *constants)
    return (y.view_as(x), scale.view_as(x)), (0, 0)


@torch.library.register_vmap("alexnet::lrn_backward", lib=_library)
def _vmap_backward(info, in_dims, grad, x, scale, *constants):
    batched = []  # each (B, N, groups, C, *)
    for tensor, dim in zip((grad, x, scale), in_dims):
        if dim is None:
            batched.append(tensor.expand(info.batch_size, *tensor.shape))
        else:
            batched.append(tensor.movedim(dim, 0))
    merged = [tensor.flatten(0, 1) for tensor in batched]  # each (B·N, groups, C, *)
    grad_x = _local_response_norm_backward(*merged, *constants)
    return grad_x.view_as(batched[0]), 0


class _FirstDerivative(torch.autograd.Function):
    """The operator with the gradient of one backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, *constants) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            y, scale = _local_response_norm(x, *constants)
        ctx.save_for_backward(x, scale)
        ctx.constants = constants
        ctx.mark_non_differentiable(scale)
        ctx.set_materialize_grads(False)
        return y, scale

    @staticmethod
    def backward(ctx, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None, None, None
        grad_x = _local_response_norm_backward(grad, *ctx.saved_tensors, *ctx.constants)
        return grad_x, None, None, None, None


@torch.library.impl("alexnet::lrn", "Autograd", lib=_library)
def _autograd(x, size, alpha, beta, k):
    if _needs_basic_operations(x):
        return _definition(x, size, alpha, beta, k), _scale(x, size, alpha, k).detach()
    if torch.is_grad_enabled() and x.requires_grad:
        return _FirstDerivative.apply(x, size, alpha, beta, k)
    with torch._C._AutoDispatchBelowAutograd():
        return _local_response_norm(x, size, alpha, beta, k)


@torch.library.impl("alexnet::lrn_backward", "Autograd", lib=_library)
def _autograd_backward(grad, x, scale, size, alpha, beta, k):
    # With create_graph=True autograd records the backward pass: it asks for a second derivative.
    recorded = torch.is_grad_enabled() and (grad.requires_grad or x.requires_grad)
    if recorded or _needs_basic_operations(grad, x):
        return _gradient(grad, x, size, alpha, beta, k)
    with torch._C._AutoDispatchBelowAutograd():
        return _local_response_norm_backward(grad, x, scale, size, alpha, beta, k)


def _needs_basic_operations(*tensors: Tensor) -> bool:
    """Tell whether PyTorch differentiates in another way than by one backward pass.

    These are the transforms of :mod:`torch.func`, and forward mode, where tensors carry tangents.
    Basic operations have all derivatives.
    """
    if torch._C._are_functorch_transforms_active():
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def _empty_like(x: Tensor) -> Tensor:
    """Allocate an uninitialized tensor of the shape, dtype and memory format of ``x``."""
    if x.dtype == torch.float32 and x.is_contiguous():
        return empty(x.shape, x.device)
    return torch.empty_like(x)


def _split_into_blocks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut tensors of one shape along N into blocks of which each fits into the cache.

    On a GPU the block is the whole batch, since many small launches would take longer.

    Returns:
        For each block a tuple with its part of every tensor. The first block is the largest.
    """
    x = tensors[0]
    images = len(x)
    if x.device.type == "cpu":
        images = BLOCK_SIZE * len(x) // max(x.numel(), 1)
    images = max(images, 1)  # an empty batch is one empty block
    return list(zip(*(tensor.split(images) for tensor in tensors)))


def _add_neighbors(total: Tensor, x: Tensor, before: int, after: int) -> None:
    """Add to each map of ``total`` the maps of ``x`` before and after it.

    Both are (N, groups, C, *). The sum stops at the first and the last map of a group.
    """
    maps = x.shape[2]
    for d in range(1, min(before + 1, maps)):
        total[:, :, d:].add_(x[:, :, :-d])
    for d in range(1, min(after + 1, maps)):
        total[:, :, :-d].add_(x[:, :, d:])


def _inverse_power(s: Tensor, beta: float, out: Tensor | None = None) -> Tensor:
    """Compute s^-beta, in ``out`` if that is given.

    For the paper's beta of 3/4 this is s^(-1/2)·s^(-1/4): two roots are many times faster than a
    power.
    """
    if beta != 0.75:
        return torch.pow(s, -beta, out=out)
    root = torch.rsqrt(s, out=out)
    return root * root.sqrt() if out is None else root.mul_(root.sqrt())
