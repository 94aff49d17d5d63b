"""Run one of the experiments behind the chapters, and record what it finds."""

import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch

from alexnet.console import printable
from alexnet.datasets import (
    CIFAR10_ROOT,
    TINY_IMAGENET_ROOT,
    InMemoryDataset,
    cifar10,
    photo_exemplars,
    photo_patches,
    tiny_imagenet,
    tiny_imagenet_val,
)
from alexnet.distributed import resolve_device
from alexnet.experiments import race, race_dropout
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.recipes import EXPERIMENTS, NUM_SEEDS, TINY_IMAGENET_GROUPS
from alexnet.experiments.runner import RUNS, Runner


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, run the experiment, and print the path of its record.

    Raises:
        SystemExit: with one sentence that says what is wrong, or where what is finished is kept.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    for option in ("seeds", "epochs"):
        value = getattr(args, option)
        if value is not None and value < 1:
            parser.error(f"--{option} must be > 0, got {value}")
    if args.group is not None and args.name != "tiny-imagenet":
        parser.error(f"--group is an option of tiny-imagenet, which has groups, got {args.name}")
    experiment = TINY_IMAGENET_GROUPS[args.group] if args.group else EXPERIMENTS[args.name]
    try:
        runner = _make_runner(args)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped before the first run")

    try:
        experiment(runner)
    except KeyboardInterrupt:
        resume = f"the same command with --out {runner.path.parent} goes on"
        sys.exit(f"stopped: {_what_is_kept(runner)}; {resume}")
    except (FloatingPointError, OSError, ValueError) as error:
        sys.exit(f"{error}; {_what_is_kept(runner)}")
    with suppress(BrokenPipeError):  # the reader of the pipe may have exited
        print(printable(str(runner.path)))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alexnet.experiments", description=__doc__)
    parser.add_argument("name", choices=EXPERIMENTS, help="which experiment")
    parser.add_argument(
        "--data",
        type=Path,
        help=f"folder with CIFAR-10, or to download it to ({CIFAR10_ROOT}); of tiny-imagenet, "
        f"cuts and confusion, what alexnet.prepare made ({TINY_IMAGENET_ROOT})",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for NAME.json (book/runs; with --quick, a new temporary one)",
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to train: cpu, cuda or cuda:N (%(default)s)",
    )
    parser.add_argument(
        "--group",
        type=int,
        choices=TINY_IMAGENET_GROUPS,
        help="of tiny-imagenet: only the net's parts (1), what holds overfitting back (2), or the "
        "rest (3)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        help="seeds a configuration (3, of specialisation 10; with --quick, 2); of cuts, the draws "
        "of dropout",
    )
    parser.add_argument("--epochs", type=int, help="epochs a run at most")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="try it in seconds: runs of an epoch, on patches of photographs instead of --data",
    )
    return parser


def _make_runner(args: argparse.Namespace) -> Runner:
    """Check all that may be wrong with the options before anything is trained."""
    resolve_device(args.device)
    folder = _output_folder(args)
    _ensure_writable(folder)
    dataset = _load_dataset(args)
    num_seeds = args.seeds
    if num_seeds is None and args.quick:
        num_seeds = 2
    elif num_seeds is None:
        num_seeds = NUM_SEEDS.get(args.name, 3)
    max_epochs = args.epochs
    if max_epochs is None and args.quick:
        max_epochs = 1
    runner = Runner(args.name, dataset, folder, args.device, num_seeds, max_epochs, args.quick)
    runner.load_recorded()
    return runner


def _output_folder(args: argparse.Namespace) -> Path:
    if args.out is not None:
        return args.out
    if args.quick:
        return Path(tempfile.mkdtemp(prefix="alexnet-"))
    if not RUNS.is_dir():
        raise ValueError(f"--out must be given outside a checkout, where {RUNS} does not exist")
    return RUNS


def _ensure_writable(folder: Path) -> None:
    # After a run of an hour it is too late to find out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"--out must be a folder to write to, got {folder} ({error.strerror}): name another one"
        ) from error


def _load_dataset(args: argparse.Namespace) -> InMemoryDataset:
    if args.name == "race-dropout":
        return race_dropout.load_few_patches()
    if args.name == "race":
        return race.load_patches((128, 8) if args.quick else race.PER_CLASS)
    if args.name == "kernels":
        return photo_exemplars(768 if args.quick else 9_216)
    trains_nothing = args.name in ("cuts", "confusion")
    is_tiny_imagenet = args.name.startswith("tiny-imagenet") or trains_nothing
    if args.quick:
        return photo_patches(320, 64) if is_tiny_imagenet else photo_patches(128)
    if trains_nothing:
        return tiny_imagenet_val(args.data or TINY_IMAGENET_ROOT)
    if is_tiny_imagenet:
        root, taken = args.data or TINY_IMAGENET_ROOT, "Tiny ImageNet's 100,000"
        dataset = tiny_imagenet(root)
    else:
        root, taken = args.data or CIFAR10_ROOT, "CIFAR-10's 50,000"
        dataset = cifar10(root)
    num_images = len(dataset.train_images)
    least = 10 * ExperimentConfig().batch_size
    if num_images < least:
        raise ValueError(
            f"--data must hold at least {least:,} training images, got {num_images} "
            f"in {root}: an experiment takes {taken}"
        )
    return dataset


def _what_is_kept(runner: Runner) -> str:
    if runner.path.exists():
        return f"what is finished is in {runner.path}"
    return "nothing was finished"


if __name__ == "__main__":
    main()
