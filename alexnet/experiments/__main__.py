""""""


import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch

from alexnet.datasets import CIFAR10_ROOT, cifar10, photo_exemplars, photo_patches
from alexnet.distributed import resolve_device
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.recipes import EXPERIMENTS
from alexnet.experiments.runner import RUNS, Runner



def _ensure_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # a run of an hour later it is too late to find out
    except OSError as problem:
        raise OSError(f"{folder} is no folder to write to, nor can it be made one ({problem.strerror}): name another one with --out") from problem


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alexnet.experiments", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=EXPERIMENTS, help="which experiment")
    parser.add_argument("--data", type=Path, default=CIFAR10_ROOT, help="folder with CIFAR-10, or to download it to (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for NAME.json (book/runs; with --quick, a new temporary one)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to train: cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--seeds", type=int, help="seeds a setting (3, of specialisation 10; with --quick, 2)")
    parser.add_argument("--epochs", type=int, help="epochs a run at most")
    parser.add_argument("--quick", action="store_true", help="a run of seconds, on patches of photographs instead of --data: does it work?")
    options = parser.parse_args(arguments)
    for name in ("seeds", "epochs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} is 1 or more, not {getattr(options, name)}")
    seeds, epochs = options.seeds or (2 if options.quick else 10 if options.name == "specialisation" else 3), options.epochs or (1 if options.quick else None)
    try:
        resolve_device(options.device)
        out = options.out or (Path(tempfile.mkdtemp(prefix="alexnet-")) if options.quick else RUNS)
        _ensure_writable(out)
        if options.name == "kernels":
            pictures = photo_exemplars(768 if options.quick else 9_216)
        else:
            pictures = photo_patches(128) if options.quick else cifar10(options.data)
        if not options.quick and len(pictures.train_images) < 10 * ExperimentConfig().batch_size:
            raise ValueError(f"{options.data} has {len(pictures.train_images)} training images, too few for an experiment: it takes CIFAR-10's 50,000")
        lab = Runner(options.name, pictures, out, options.device, seeds, epochs, options.quick)
    except (OSError, ValueError) as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("stopped before the first run")
    try:
        EXPERIMENTS[options.name](lab)
    except (KeyboardInterrupt, FloatingPointError, OSError, ValueError) as problem:
        kept = f"what is finished is in {lab.path}" if lab.path.exists() else "nothing was finished"
        stopped = isinstance(problem, KeyboardInterrupt)
        sys.exit(f"stopped: {kept}; the same command with --out {out} goes on" if stopped else f"{problem}; {kept}")
    with suppress(BrokenPipeError):
        print(lab.path)


if __name__ == "__main__":
    main()
