"""Local response normalization (paper, section 3.3), and normalization within each map.

Local response normalization divides a map's activations by those of the neighboring maps at the
same position. The code of 2012 has a second layer, which divides by the neighboring positions of
the same map.

PyTorch's own ``nn.LocalResponseNorm`` moves the whole tensor through memory in every step. Here, a
block of images that fits into the cache goes through all steps before the next block does, and the
gradient is written out by hand. The operation is registered as a custom operator, which
``torch.compile`` takes as it is.
"""

import torch
from torch import Tensor, nn
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
            2012, when each GPU normalized the maps that it held (``layers-145.cfg``: one ``rnorm``
            layer in each column).

    Shape:
        - Input: (N, C, *), floating point, with at least one dimension after C, and C a multiple of
          ``groups``.
        - Output: the same shape and dtype. float16 and bfloat16 are computed in float32, and the
          two tensors that are kept for the backward pass are float32 then. Under autocast the
          output is float32, as PyTorch's.

    Raises:
        ValueError: if ``size`` or ``groups`` is below 1.
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
            ValueError: if there are fewer than three dimensions, or if C is no multiple of
                ``groups``.
        """
        if x.ndim < 3:
            shape = tuple(x.shape)
            raise ValueError(f"x must have shape (N, C, *), three dimensions or more, got {shape}")
        if x.shape[1] % self.groups:
            raise ValueError(
                f"the number of maps must be a multiple of groups={self.groups}, got {x.shape[1]}"
            )
        dtype = x.dtype
        if dtype in (torch.float16, torch.bfloat16):
            x = x.float()
            if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
                dtype = torch.float32
        # A view in every memory format: (N, C, *) -> (N, groups, C / groups, *)
        x = x.unflatten(1, (self.groups, -1))
        args = (x, self.size, self.alpha / self.size, self.beta, self.k)
        if torch.compiler.is_compiling() and x.device.type != "cpu":
            # The compiler of a GPU fuses the definition into one kernel.
            y = _definition(*args)
        else:
            y, _ = _local_response_norm(*args)
        return y.flatten(1, 2).to(dtype)  # (N, C, *)

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
            ValueError: if there are not four dimensions.
        """
        if x.ndim != 4:
            raise ValueError(f"x must have shape (N, C, H, W), got {tuple(x.shape)}")
        dtype = x.dtype
        x = x.to(torch.promote_types(dtype, torch.float32))
        # The mean over all size² positions of the window, padding included
        mean = F.avg_pool2d(x.square(), self.size, stride=1, padding=self.size // 2)
        return (x * _inverse_power(self.k + self.alpha * mean, self.beta)).to(dtype)

    def extra_repr(self) -> str:
        """List the arguments for ``repr()``."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _definition(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """LRN in basic operations, for a compiler to fuse and for second derivatives.

    ``alpha`` is already divided by ``size``. x: (N, groups, C, *).
    """
    padding = [0, 0] * (x.ndim - 3) + [
        size // 2,
        (size - 1) // 2,
    ]  # in front of and behind the maps
    squares = F.pad(x.square(), padding)  # (N, groups, C + size - 1, *)
    maps = x.shape[2]
    window_sum = sum(squares[:, :, d : d + maps] for d in range(size))  # (N, groups, C, *)
    return x * _inverse_power(k + alpha * window_sum, beta)


@torch.library.custom_op("alexnet::local_response_norm", mutates_args=())
def _local_response_norm(
    x: Tensor, size: int, alpha: float, beta: float, k: float
) -> tuple[Tensor, Tensor]:
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


@torch.library.custom_op("alexnet::local_response_norm_backward", mutates_args=())
def _local_response_norm_backward(
    grad: Tensor, x: Tensor, scale: Tensor, size: int, alpha: float, beta: float
) -> Tensor:
    """Return the gradient of the loss L with respect to x.

    dL/dx_c = g_c·s_c^-beta - 2·alpha·beta·x_c·(sum of g_j·x_j·s_j^(-beta - 1) over j)

    Here g is ``grad``, the gradient with respect to y, s is ``scale``, and j runs over the maps
    whose windows contain c.
    """
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


@_local_response_norm.register_fake
def _fake_forward(x, size, alpha, beta, k):
    return torch.empty_like(x), torch.empty_like(x)


@_local_response_norm_backward.register_fake
def _fake_backward(grad, x, scale, size, alpha, beta):
    return torch.empty_like(x)


def _setup_context(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    x, *constants = inputs
    _, scale = output
    ctx.save_for_backward(x, scale)
    ctx.constants = constants
    ctx.set_materialize_grads(False)  # the second output, the scale, gets no gradient


def _backward(ctx, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None, None
    x, scale = ctx.saved_tensors
    size, alpha, beta, k = ctx.constants
    if torch.is_grad_enabled():
        # create_graph=True asks for a second derivative: autograd follows the definition.
        y = _definition(x, size, alpha, beta, k)
        [grad_x] = torch.autograd.grad(y, x, grad, create_graph=True)
    else:
        grad_x = _local_response_norm_backward(grad, x, scale, size, alpha, beta)
    return grad_x, None, None, None, None


_local_response_norm.register_autograd(_backward, setup_context=_setup_context)


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
