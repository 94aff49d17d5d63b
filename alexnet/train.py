"""The command."""


import argparse
import dataclasses
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch
from torch import distributed as dist

from alexnet import checkpoint
from alexnet.model import VARIANTS
from alexnet.trainer import RESUME_INVARIANT, TrainConfig, TrainingStopped, train



def main(arguments: list[str] | None = None) -> None:
    parser = _make_parser()
    said = parser.parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _stop_before_training)
    try:
        if "RANK" in os.environ:
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() and said.device != "cpu" else "gloo")
        with _locked_folder(said.out) if is_main_process() else nullcontext():
            state = _load_resume_state(said)
            if state:  # what this command line does not say is as it was
                parser.set_defaults(**state["options"])
            options = TrainConfig(**vars(parser.parse_args(arguments)))
            if state:
                _check_resume_invariant(options, state["options"])
            if state and state["epoch"] >= options.epochs and is_main_process():
                print(f"{options.out} has {state['epoch']} epochs already: more with --epochs", file=sys.stderr)
            train(options, state)
    except (OSError, ValueError) as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("stopped before the first step")
    except TrainingStopped as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.code)
    except RuntimeError as problem:
        if is_main_process():
            raise
        sys.exit(f"process {dist.get_rank()} ends, since it lost another one ({type(problem).__name__})")
    finally:
        signal.signal(signal.SIGTERM, before)
        if dist.is_initialized():
            dist.destroy_process_group()


def is_main_process() -> bool:
    """Whether this process is the one that writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def _stop_before_training(which: int, _: object) -> None:
    raise TrainingStopped(f"stopped by {signal.Signals(which).name} before the first step", 128 + which)


@contextmanager
def _locked_folder(out: Path) -> Iterator[None]:
    """The output folder, made if need be, for one run at a time; removed if the run leaves nothing in it."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as problem:
        raise OSError(f"{out} cannot be made ({problem.strerror}): name another folder with --out") from problem
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as problem:
        raise OSError(f"another run is writing to {out}: wait for it, or name another folder with --out") from problem
    finally:
        os.close(folder)
        with suppress(OSError):
            out.rmdir()


def _load_resume_state(said: argparse.Namespace) -> dict | None:
    """The state to go on from, the same in every process, or None to begin; refuses a folder that holds something else."""
    state = [None]
    if is_main_process():
        for part in ("train", "val", "test"):
            if (said.data / part).resolve() in (said.out.resolve(), *said.out.resolve().parents):
                raise ValueError(f"{said.out} lies among the pictures, in {said.data / part}: name a folder elsewhere with --out")
        there = sorted(os.listdir(said.out))
        if there and not said.resume:
            raise ValueError(f"{said.out} is not empty ({there[0]}): go on there with --resume, or name another folder with --out")
        state = [checkpoint.load_latest(said.out)]
        if said.resume and state[0] is None:
            if set(there) - {"checkpoint.part"}:
                raise ValueError(f"{said.out} holds no checkpoint to resume from, but {there[0]}: name the folder of the run")
            print(f"nothing to resume in {said.out} yet: the run begins", file=sys.stderr)
    if dist.is_initialized():
        dist.broadcast_object_list(state)
    return state[0]


def _check_resume_invariant(options: TrainConfig, before: dict) -> None:
    for name in RESUME_INVARIANT:
        now = getattr(options, name)
        if now != before[name]:
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"{options.out} was begun with {flag} {before[name]}, not {now}: leave {flag} out, or begin anew in another folder")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alexnet.train", description=__doc__.split("\n\n")[0])
    default = {field.name: field.default for field in dataclasses.fields(TrainConfig)}

    def add(name: str, kind: Callable, text: str, **more: object) -> None:
        parser.add_argument(f"--{name}", type=kind, default=default[name.replace("-", "_")], help=text, **more)

    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, a folder of pictures for each class in them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints, the log and the weights")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    add("variant", str, "which net (%(default)s)", choices=VARIANTS)
    parser.add_argument("--two-gpu", action="store_true", help="a column on each of two devices")
    add("epochs", int, "passes over the pictures (%(default)s)")
    add("batch-size", int, "pictures a step, over all processes (%(default)s)")
    add("lr", float, "learning rate to begin with (%(default)s)")
    add("patience", int, "epochs without progress before the rate falls (%(default)s)")
    add("dropout", float, "probability of a zero in fc6 and fc7 (the variant's)")
    add("resize", int, "side of the square that is cut out of a picture (8/7 of the crop: 256 for 224)")
    add("crop", int, "side of the window that the net sees (the variant's)")
    add("workers", int, "threads that decode pictures (%(default)s)")
    add("amp", str, "compute in bfloat16, keep the weights in float32; on a CPU without AVX-512 that is slower", choices=["bf16"])
    parser.add_argument("--compile", action="store_true", help="torch.compile, which takes a minute at first")
    add("device", str, "cpu, cuda or cuda:1 (a GPU where there is one)")
    add("seed", int, "of the weights, the order, the windows and the masks (%(default)s)")
    return parser


if __name__ == "__main__":
    main()
