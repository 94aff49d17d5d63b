"""Train a net on a folder of images, with the recipe of the paper.

``python -m alexnet.train --data DATA --out OUT`` takes a folder DATA that holds ``train/`` and
``val/``, with a folder of images for each class in them. ``torchrun --nproc-per-node 2 -m
alexnet.train ...`` shares the batch among processes. OUT gets ``checkpoint.pt``, ``previous.pt``,
``log.jsonl`` with a line for each epoch, and at the end ``model.safetensors``.
"""

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from alexnet import checkpoint
from alexnet.distributed import ProcessGroup, current_group, init_process_group
from alexnet.model import VARIANTS
from alexnet.predictor import load
from alexnet.resources import usable_cores
from alexnet.trainer import SCHEDULES, TrainConfig, TrainingStopped, make_trainer, variant_of

# What ends a job: Ctrl-C, kill, a terminal that is closed, batch systems before their time limit,
# torchrun. Windows has only some of them.
STOP_SIGNALS = [
    getattr(signal, name)
    for name in (
        "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK"
    )
    if hasattr(signal, name)
]  # fmt: skip
LOCK = ".lock"  # in the output folder


class StopSignals:
    """Signals that end a run after the step that it is in.

    Before :attr:`running` is set there is no step to wait for, and a second signal does not wait
    either: then :class:`TrainingStopped` is raised at once. Under ``nohup``, which has SIGHUP
    ignored, a closed terminal does not end the run.
    """

    def __init__(self) -> None:
        self.caught = 0  # the number of the signal
        self.running = False

    def __enter__(self) -> "StopSignals":
        self._before = {}
        self._terminals = [s.fileno() for s in (sys.stdout, sys.stderr) if s.isatty()]
        for number in STOP_SIGNALS:
            nohup = getattr(signal, "SIGHUP", None)
            if number == nohup and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name == "SIGHUP":
            self._leave_terminal()
        if not self.running:
            raise TrainingStopped(f"stopped by {name} before the first step", 128 + number)
        if self.caught:
            raise TrainingStopped(
                f"stopped at once by a second {name}: --resume goes on from the last checkpoint",
                128 + number,
            )
        self.caught = number

    def _leave_terminal(self) -> None:
        """Print into the void: a terminal that was closed answers every write with an error."""
        void = os.open(os.devnull, os.O_WRONLY)
        for terminal in self._terminals:
            os.dup2(void, terminal)
        os.close(void)


def main(arguments: list[str] | None = None) -> None:
    """The command.

    Args:
        arguments: those of the command line, if None.

    Raises:
        SystemExit: with a sentence and a status that is not 0, unless the run is complete.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    group = ProcessGroup()
    try:
        with StopSignals() as signals:
            group = init_process_group(args.device)
            with _locked_folder(args.out) if group.is_main else nullcontext():
                state = _load_resume_state(args, group)
                if state:  # options that are not given are as they were
                    parser.set_defaults(**state["config"])
                elif args.init_from:
                    parser.set_defaults(variant=variant_of(load(args.init_from)))
                config = TrainConfig(**vars(parser.parse_args(arguments)))
                if state:
                    _check_resume_invariant(config, state["config"])
                    _warn_if_complete(config, state["epoch"], group)
                trainer = make_trainer(config, state, lambda: signals.caught)
                signals.running = True
                trainer.fit()
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except TrainingStopped as stopped:
        with suppress(OSError):  # the terminal may be gone
            print(stopped, file=sys.stderr)
        sys.exit(stopped.code)
    except RuntimeError as error:
        if group.is_main:
            raise
        # Its collectives failed, since the connection to another process broke
        kind = type(error).__name__
        sys.exit(f"process {group.rank} ends, since it lost another one ({kind})")
    finally:
        current_group().close()


@contextmanager
def _locked_folder(out: Path) -> Iterator[None]:
    """The output folder, for one run at a time: made if need be, removed if nothing is left in it.

    Raises:
        OSError: if it cannot be made, or another run writes to it.
        ValueError: if it is a file.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder with --out")
    lock = FileLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OSError(
            f"another run is writing to {out}: wait for it, or name another folder with --out"
        ) from error
    except OSError as error:
        raise OSError(
            f"{out} cannot be made or written to ({error.strerror}): name another folder with --out"
        ) from error
    try:
        yield
    finally:
        lock.release()
        if os.listdir(out) == [LOCK]:
            (out / LOCK).unlink()
        with suppress(OSError):
            out.rmdir()


def _load_resume_state(args: argparse.Namespace, group: ProcessGroup) -> dict | None:
    """The state to go on from, the same in every process, or None to begin.

    Raises:
        ValueError: if the output folder holds something else, or lies among the images.
    """
    state = None
    if group.is_main:
        for part in ("train", "val", "test"):
            out, images = args.out.resolve(), (args.data / part).resolve()
            if images == out or images in out.parents:
                raise ValueError(
                    f"{args.out} lies among the images, in {args.data / part}: "
                    "name a folder elsewhere with --out"
                )
        files = sorted(set(os.listdir(args.out)) - {LOCK})
        if files and not args.resume:
            raise ValueError(
                f"{args.out} is not empty ({files[0]}): go on there with --resume, "
                "or name another folder with --out"
            )
        state = checkpoint.load_latest(args.out)
        if args.resume and state is None:
            if set(files) - {"checkpoint.part"}:  # what a run leaves that is killed at once
                raise ValueError(
                    f"{args.out} holds no checkpoint to resume from, but {files[0]}: "
                    "name the folder of the run"
                )
            print(f"nothing to resume in {args.out} yet: the run begins", file=sys.stderr)
    return group.broadcast_object(state)


def _check_resume_invariant(config: TrainConfig, before: dict) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    for name, now in config.resume_invariant().items():
        then = before.get(name, defaults[name])  # a checkpoint may be older than an option
        if now != then:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"{config.out} was begun with {option} {then}, got {now}: "
                f"leave {option} out, or begin anew in another folder"
            )


def _warn_if_complete(config: TrainConfig, epochs: int, group: ProcessGroup) -> None:
    if epochs >= config.epochs and group.is_main:
        print(
            f"{config.out} has {epochs} epochs already: more with --epochs",
            file=sys.stderr,
        )


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m alexnet.train", description=__doc__.split("\n\n")[0]
    )
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    defaults["workers"] = usable_cores()

    def add(name: str, kind: Callable, text: str, **more: object) -> None:
        default = defaults[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=kind, default=default, help=text, **more)

    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with train/ and val/, a folder of images for each class in them; "
        "alexnet.prepare makes one from the archives of ImageNet or Tiny ImageNet",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the checkpoints, the log and the weights",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in --out"
    )
    add("variant", str, "which net (%(default)s, or that of --init-from)", choices=VARIANTS)
    add("init-from", str, "trained weights, as of evaluate, for all layers but the last")
    parser.add_argument("--two-gpu", action="store_true", help="a column on each of two devices")
    add("epochs", int, "passes over the images (%(default)s)")
    add("batch-size", int, "images a step, over all processes (%(default)s)")
    add("schedule", str, "how the learning rate falls (%(default)s)", choices=SCHEDULES)
    add("lr", float, "learning rate to begin with, or at its highest (%(default)s)")
    add("patience", int, "epochs without progress before the learning rate falls (%(default)s)")
    add("dropout", float, "probability of a zero in fc6 and fc7 (the variant's)")
    add("resize", int, "side of the square that is kept of an image (8/7 of the crop)")
    add("crop", int, "side of the window that the net sees (the variant's)")
    add("workers", int, "threads that decode images (%(default)s)")
    parser.add_argument(
        "--no-cache",
        dest="cache",
        action="store_false",
        help="decode anew in every epoch, even where memory could hold the images",
    )
    add(
        "amp",
        str,
        "compute in bfloat16, keep the weights in float32; slower on a CPU without AVX-512",
        choices=["bf16"],
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile, which takes a minute at first"
    )
    add("device", str, "cpu, cuda or cuda:1 (a GPU where there is one)")
    add("seed", int, "of the weights, the order, the windows and the masks (%(default)s)")
    return parser


if __name__ == "__main__":
    main()
