"""The update rule of the paper (section 5)."""


from collections.abc import Callable, Iterable

import torch
from torch import Tensor



class PaperSGD(torch.optim.Optimizer):
    """The update rule of section 5: v ← momentum·v − weight_decay·ε·w − ε·gradient; w ← w + v.

    The rate ε stands inside the velocity, as in ``weights.cu`` of 2012. In :class:`torch.optim.SGD` it stands outside:
    w ← w − ε·v. The two agree as long as the rate stays; when it drops, what the old rate put into the velocity goes on
    at the old rate here, and at the new one there.

    Args:
        params: parameters, or groups of them, as for every optimiser.
        lr: the rate ε.
        momentum: share of the velocity that stays, 0 to 1.
        weight_decay: pull of a weight to zero, as a share of ε.

    Raises:
        ValueError: if one of the numbers is negative, or the momentum is 1 or more.
    """

    def __init__(self, params: Iterable, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 5e-4) -> None:
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(f"lr {lr} and weight_decay {weight_decay} are 0 or more, momentum {momentum} is 0 or more and below 1")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Move every parameter that has a gradient. ``closure``, if any, computes the loss anew, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                if "velocity" not in self.state[w]:
                    self.state[w]["velocity"] = torch.zeros_like(w)
                v = self.state[w]["velocity"]
                v.mul_(group["momentum"]).add_(w, alpha=-decay * rate).add_(w.grad, alpha=-rate)
                w.add_(v)
        return loss
