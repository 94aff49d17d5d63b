"""The update rule of the paper (section 5)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class PaperSGD(torch.optim.Optimizer):
    """Momentum SGD as the paper writes it, with the learning rate ε inside the velocity.

    v ← momentum·v − weight_decay·ε·w − ε·gradient; w ← w + v

    ``weights.cu`` of 2012 does the same. In :class:`torch.optim.SGD` the learning rate stands
    outside the velocity: w ← w − ε·v. The two agree as long as ε does not change. When it drops,
    the velocity that was gathered at the old rate is kept here, and scaled down at once there.

    Args:
        params: parameters, or parameter groups, as for every PyTorch optimizer.
        lr: learning rate ε, at least 0.
        momentum: fraction of the velocity that is kept, in [0, 1).
        weight_decay: pull of each weight towards zero, at least 0, multiplied by ε.

    Raises:
        ValueError: if one of the numbers is out of its range.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ) -> None:
        if lr < 0:
            raise ValueError(f"lr must be >= 0, got {lr}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay must be >= 0, got {weight_decay}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be >= 0 and < 1, got {momentum}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients anew.

        Returns:
            The loss that ``closure`` returns, or None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, weight_decay = group["lr"], group["weight_decay"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                if "velocity" not in self.state[w]:
                    self.state[w]["velocity"] = torch.zeros_like(w)
                v = self.state[w]["velocity"]
                v.mul_(group["momentum"]).add_(w, alpha=-weight_decay * lr).add_(w.grad, alpha=-lr)
                w.add_(v)
        return loss
