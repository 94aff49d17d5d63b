"""Devices, and the processes that share a run: everything that asks ``torch.distributed``.

A run of one process uses the same calls: its :class:`ProcessGroup` has one member, and each
collective returns what it was given.
"""

import os

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


class ProcessGroup:
    """The process of a run that is not shared, which is rank 0 of 1."""

    rank, world_size = 0, 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and reports."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """A model whose gradients are averaged over the processes."""
        return model

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the processes, the same in all of them."""
        return x

    def max(self, x: Tensor) -> Tensor:
        """The maximum over the processes, elementwise, the same in all of them."""
        return x

    def gather_objects(self, value: object) -> list:
        """What every process gives, by rank, in all of them."""
        return [value]

    def broadcast_object(self, value: object) -> object:
        """What rank 0 gives, in all of them."""
        return value

    def barrier(self) -> None:
        """Wait for the others."""

    def close(self) -> None:
        """Leave the group."""


class TorchProcessGroup(ProcessGroup):
    """The processes that torchrun started, connected by ``torch.distributed``."""

    def __init__(self) -> None:
        self.rank = distributed.get_rank()
        self.world_size = distributed.get_world_size()

    def wrap(self, model: nn.Module) -> nn.Module:  # noqa: D102 (see ProcessGroup, as below)
        return DistributedDataParallel(model)

    def sum(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x.clone()
        distributed.all_reduce(x)
        return x

    def max(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x.clone()
        distributed.all_reduce(x, distributed.ReduceOp.MAX)
        return x

    def gather_objects(self, value: object) -> list:  # noqa: D102
        values: list = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: object) -> object:  # noqa: D102
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def barrier(self) -> None:  # noqa: D102
        distributed.barrier()

    def close(self) -> None:  # noqa: D102
        distributed.destroy_process_group()


def current_group() -> ProcessGroup:
    """The processes that share this run."""
    return TorchProcessGroup() if distributed.is_initialized() else ProcessGroup()


def init_process_group(device: str | None) -> ProcessGroup:
    """Connect to the other processes if torchrun started this one.

    Args:
        device: the command's ``--device``; on GPUs, gradients travel by NCCL.
    """
    if "RANK" in os.environ:
        gpu = torch.cuda.is_available() and device != "cpu"
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    return current_group()


class ShardedDropout(nn.Module):
    """Dropout of a batch that is shared: a row's mask depends on its place in the whole batch.

    Every process draws the masks of the whole batch, with the same seed, and takes its own rows.

    Args:
        p: probability of a zero.
        group: the processes.
        batch_size: rows over all processes.

    Shape: (n, *) floating point, at most ``batch_size / group.world_size`` rows, and the same out.
    """

    def __init__(self, p: float, group: ProcessGroup, batch_size: int) -> None:
        super().__init__()
        self.p, self.batch_size = p, batch_size
        self.first = group.rank * (batch_size // group.world_size)  # row of this process

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not self.training or self.p == 0:
            return x
        keep = x.new_empty(self.batch_size, *x.shape[1:]).bernoulli_(1 - self.p)
        return x * keep[self.first : self.first + len(x)] / (1 - self.p)

    def extra_repr(self) -> str:  # noqa: D102
        return f"p={self.p}"


def shard_dropout(net: nn.Module, group: ProcessGroup, batch_size: int) -> None:
    """Put a :class:`ShardedDropout` in the place of every dropout layer of a net."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(parent, name, ShardedDropout(child.p, group, batch_size))


def processes_here() -> int:
    """How many processes of the run share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def resolve_device(device: str) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: if nothing can be computed on such a device here.
    """
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ValueError(
            f"--device {device} cannot be used here, take --device cpu: {reason}"
        ) from error
    if found.type not in ("cpu", "cuda", "mps"):
        raise ValueError(
            f"--device {device} cannot be used here, take --device cpu: nothing is computed on it"
        )
    return found


def devices_for(device: str | None, two_gpu: bool) -> list[torch.device]:
    """The device of this process, or its two if a column goes on each.

    Args:
        device: the command's ``--device``; None takes GPUs where there are any.
        two_gpu: whether the net is split into two columns.

    Raises:
        ValueError: if there are too few GPUs; it names an argument with which the command runs.
    """
    columns = 2 if two_gpu else 1
    available = torch.cuda.device_count()
    if device is None:
        device = "cuda" if available or two_gpu else "cpu"
    if device != "cuda":
        return [resolve_device(device)] * columns
    processes = processes_here()
    if available < processes * columns:
        option = "--two-gpu" if two_gpu else "--device cuda"
        needs = "2 GPUs" if two_gpu else "1 GPU"
        each = f" for each of {processes} processes" if processes > 1 else ""
        share = "--device cuda:0 shares one, " if available else ""
        raise ValueError(
            f"{option} needs {needs}{each}, and this machine has {available}: "
            f"{share}--device cpu runs it on the CPU"
        )
    first = int(os.environ.get("LOCAL_RANK", 0)) * columns  # every process has GPUs of its own
    return [torch.device("cuda", first + i) for i in range(columns)]
