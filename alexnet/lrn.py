"""Local response normalisation (paper, section 3.3): a map's activity, divided by that of its neighbours among the maps."""

from torch import Tensor, nn


class LocalResponseNorm(nn.LocalResponseNorm):
    """:class:`torch.nn.LocalResponseNorm` with the paper's defaults, and columns that keep to themselves.

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

    Shape: (N, C, *) floating point in and out; C a multiple of ``groups``.

    Raises:
        ValueError: if the maps cannot be dealt out evenly to the groups.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, groups: int = 1) -> None:
        super().__init__(size, alpha, beta, k)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        maps = x.shape[1]
        if maps % self.groups:
            raise ValueError(f"{maps} maps cannot be normalised in {self.groups} equal groups: make one a multiple of the other")
        blocks = x.reshape(-1, maps // self.groups, *x.shape[2:])  # (N·groups, C/groups, *)
        return super().forward(blocks).reshape(x.shape)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, groups={self.groups}"
