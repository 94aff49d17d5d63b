"""Local response normalisation (paper, section 3.3): a map's activity, divided by that of its neighbours among the maps;
and the normalisation within each map that the source of 2012 has besides.

PyTorch's own moves the whole tensor through memory at every step. Here a block of images that fits in the cache goes through
all steps before the next one does, and the gradient is written out. It is an operator of its own, which ``torch.compile``
takes as it is.
"""

import torch
from torch import Tensor, nn

from alexnet.memory import empty

BLOCK = 300_000  # values worked on at a time on a CPU: a megabyte, about what a core's cache holds


class LocalResponseNorm(nn.LocalResponseNorm):
    """:class:`torch.nn.LocalResponseNorm` with the constants of 2012, and columns that keep to themselves.

    y_c = x_c / (k + alpha / size * sum of x_j² over the ``size`` maps j around c) ** beta

    PyTorch, like the original ``layer.py``, divides alpha by ``size``; the formula in the paper does not. So the paper's
    alpha of 1e-4, read literally, is ``alpha=5e-4`` here.

    Args:
        size: number of neighbouring maps in the sum, the map itself included.
        alpha: weight of the mean square.
        beta: exponent.
        k: constant that keeps the divisor away from zero.
        groups: number of equal blocks of maps; the sum stops at the border of a block, as it did in 2012, where each
            GPU normalised the maps that it held (``layers-145.cfg``: one ``rnorm`` layer a column).

    Shape: (N, C, *) floating point in and out, with at least one dimension after C; C a multiple of ``groups``. Half
    precision is computed in float32, and what is kept for the backward pass, two tensors like the input, is float32 then;
    under autocast the result is float32, as PyTorch's.

    Raises:
        ValueError: for a size or groups below 1, if the maps cannot be dealt out evenly to the groups, or if there are fewer
            than three dimensions.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, groups: int = 1) -> None:
        if size < 1 or groups < 1:
            raise ValueError(f"LocalResponseNorm sums over one map or more, in one group or more, not {size} in {groups}")
        super().__init__(size, alpha, beta, k)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 3:
            raise ValueError(f"LocalResponseNorm takes maps of shape (N, C, *), three dimensions or more, not {tuple(x.shape)}")
        if x.shape[1] % self.groups:
            raise ValueError(f"{x.shape[1]} maps cannot be normalised in {self.groups} equal groups: let them be a multiple of it")
        dtype = x.dtype
        if dtype in (torch.float16, torch.bfloat16):
            x = x.float()
            if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
                dtype = torch.float32
        blocks = x.unflatten(1, (self.groups, -1))  # (N, groups, C/groups, *): a view, whatever the memory format
        arguments = blocks, self.size, self.alpha / self.size, self.beta, self.k
        if torch.compiler.is_compiling() and x.device.type != "cpu":  # a GPU's compiler makes one launch of the formula
            return _formula(*arguments).flatten(1, 2).to(dtype)
        return _normalise(*arguments)[0].flatten(1, 2).to(dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, groups={self.groups}"


class MapNorm(nn.Module):
    """The second normalisation of the source of 2012, which the paper does not mention: over the positions of one map.

    y = x / (k + alpha / size² * sum of x² over the ``size`` × ``size`` positions of the same map around it) ** beta

    The defaults are those of ``cnorm2a`` in ``layers-145.cfg`` and ``layer-params-145.cfg``; the constant is not in them. At
    the border the window is cut off, and alpha still divided by size²: what lies outside counts as zeros.

    Args:
        size: height and width of the window, odd.
        alpha: weight of the mean square.
        beta: exponent.
        k: constant that keeps the divisor away from zero.

    Shape: (N, C, H, W) floating point in, and the same out. Half precision is computed in float32.

    Raises:
        ValueError: for a size below 1, or an even one, which has no position in the middle; for maps without a batch dimension.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-3, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"the window of MapNorm has a position in its middle, so that its size is odd and 1 or more, not {size}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ValueError(f"MapNorm takes maps of shape (N, C, H, W), not {tuple(x.shape)}")
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        # Zeros outside, and the mean over size², theirs included
        mean = nn.functional.avg_pool2d(wide.square(), self.size, stride=1, padding=self.size // 2)
        return (wide * _power(self.k + self.alpha * mean, self.beta)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _formula(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """The definition, for a compiler to fuse and for second derivatives. x: (N, groups, C, *)."""
    padding = [0, 0] * (x.ndim - 3) + [size // 2, (size - 1) // 2]
    squares = nn.functional.pad(x.square(), padding)
    total = sum(squares[:, :, d : d + x.shape[2]] for d in range(size))
    return x * _power(k + alpha * total, beta)


@torch.library.custom_op("alexnet::local_response_norm", mutates_args=())
def _normalise(x: Tensor, size: int, alpha: float, beta: float, k: float) -> tuple[Tensor, Tensor]:
    """y = x·s^-beta and s = k + alpha·(window sum of x²). x: (N, groups, C, *)."""
    y, scale = _like(x), _like(x)
    blocks = list(zip(*_in_blocks(x, y, scale)))
    work = torch.empty_like(blocks[0][0])
    for xi, yi, s in blocks:
        square = torch.mul(xi, xi, out=work[: len(xi)]).mul_(alpha)
        torch.add(square, k, out=s)
        _add_neighbours(s, square, size // 2, (size - 1) // 2)
        torch.mul(_power(s, beta, square), xi, out=yi)
    return y, scale


@torch.library.custom_op("alexnet::local_response_norm_backward", mutates_args=())
def _gradient(grad: Tensor, x: Tensor, scale: Tensor, size: int, alpha: float, beta: float) -> Tensor:
    """dL/dx_c = g_c·s_c^-beta - 2·alpha·beta·x_c·(sum of g_j·x_j·s_j^(-beta - 1) over the windows j that c is in)."""
    result = _like(x)
    before, after = size // 2, (size - 1) // 2
    blocks = list(zip(*_in_blocks(x, scale, grad, result)))
    work, more = torch.empty_like(blocks[0][0]), torch.empty_like(blocks[0][0])
    for xi, s, g, r in blocks:
        torch.mul(_power(s, beta, work[: len(xi)]), g, out=r)
        share = torch.mul(r, xi, out=work[: len(xi)]).div_(s)
        total = more[: len(xi)].copy_(share)
        _add_neighbours(total, share, after, before)  # seen from the other end, the window is turned round
        r.addcmul_(total, xi, value=-2 * alpha * beta)
    return result


@_normalise.register_fake
def _(x, size, alpha, beta, k):
    return torch.empty_like(x), torch.empty_like(x)


@_gradient.register_fake
def _(grad, x, scale, size, alpha, beta):
    return torch.empty_like(x)


def _keep(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[1])
    ctx.arguments = inputs[1:]
    ctx.set_materialize_grads(False)  # of the divisor, which nobody uses


def _backward(ctx, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 5
    (x, scale), (size, alpha, beta, k) = ctx.saved_tensors, ctx.arguments
    if torch.is_grad_enabled():  # a second derivative is wanted: let autograd follow the definition
        return *torch.autograd.grad(_formula(x, size, alpha, beta, k), x, grad, create_graph=True), None, None, None, None
    return _gradient(grad, x, scale, size, alpha, beta), None, None, None, None


_normalise.register_autograd(_backward, setup_context=_keep)


def _like(x: Tensor) -> Tensor:
    """An uninitialised tensor like ``x``."""
    return empty(x.shape, x.device) if x.dtype == torch.float32 and x.is_contiguous() else torch.empty_like(x)


def _in_blocks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """The tensors, cut along N into pieces for the cache; whole on a GPU, where many small launches would cost more."""
    x = tensors[0]
    images = max(1, BLOCK * len(x) // max(x.numel(), 1)) if x.device.type == "cpu" else max(len(x), 1)
    return [tensor.split(images) for tensor in tensors]


def _neighbours(before: int, after: int, maps: int) -> list[tuple[slice, slice]]:
    """For each distance in the window: the maps that have such a neighbour, and the neighbours."""
    back = [(slice(d, None), slice(None, -d)) for d in range(1, min(before + 1, maps))]
    return back + [(slice(None, -d), slice(d, None)) for d in range(1, min(after + 1, maps))]


def _add_neighbours(total: Tensor, x: Tensor, before: int, after: int) -> None:
    """Add to each map of ``total`` the maps of ``x`` around it. Both (N, groups, C, *)."""
    for out, other in _neighbours(before, after, x.shape[2]):
        total[:, :, out].add_(x[:, :, other])


def _power(s: Tensor, beta: float, out: Tensor | None = None) -> Tensor:
    """s^-beta. The paper's 3/4 is two roots, s^(-1/2) and s^(-1/4), which are many times faster than a power."""
    if beta != 0.75:
        return torch.pow(s, -beta, out=out)
    root = torch.rsqrt(s, out=out)
    return root * root.sqrt() if out is None else root.mul_(root.sqrt())
