"""``make bench``: how fast, as a ratio to a named peer in the same run. Nothing here is asserted; equality is, in the tests."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from alexnet import LocalResponseNorm


def seconds(run: Callable[[], object], repeats: int = 9) -> float:
    """The median of some runs, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def lrn() -> None:
    """Local response normalisation, forward and backward."""
    x, grad = torch.randn(32, 96, 55, 55, requires_grad=True), torch.randn(32, 96, 55, 55)
    copy = torch.empty_like(grad)
    peer, ours = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0), LocalResponseNorm()

    def both(norm: nn.Module) -> Callable[[], object]:
        return lambda: torch.autograd.grad(norm(x), x, grad)

    theirs = seconds(both(peer))
    runs = {"torch.nn.LocalResponseNorm": theirs, "alexnet.LocalResponseNorm": seconds(both(ours))}
    runs["alexnet.LocalResponseNorm, compiled"] = seconds(both(torch.compile(ours)))
    runs["one copy of the tensor, the floor"] = seconds(lambda: copy.copy_(grad))
    print("local response normalisation, (32, 96, 55, 55) float32, forward and backward")
    for name, t in runs.items():
        print(f"  {name:36} {t * 1e3:8.1f} ms   {theirs / t:6.1f} times as fast")


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    lrn()
