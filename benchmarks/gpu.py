"""``make gpu``: all that needs a GPU, in pieces of at most ten minutes, without a network.

The pieces are the tests marked ``gpu``, the benchmarks, each notebook (compared by nbval, not
stored), and the recorded runs of ``python -m alexnet.experiments tiny-imagenet`` that are missing.
OUT/gpu.json is written after each piece. The same command goes on: pieces that passed are not
repeated, those that were not tried yet come first, and runs are added to those in OUT/runs.
"""

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "book" / "runs"
LIMIT = 560  # seconds that a piece may take: ten minutes with its start and its end
GRACE = 20  # seconds to end in after a SIGINT
BENCHMARKS = ("float32", "bfloat16", "lrn", "augment", "experiment")  # of bench.py
EXPERIMENT = "tiny-imagenet"


@dataclass(frozen=True)
class Piece:
    """A command that is run by itself.

    Attributes:
        name: of the piece, unique.
        command: arguments for Python.
        record: a file that grows, if the command goes on where its time limit stopped it.
    """

    name: str
    command: tuple[str, ...]
    record: Path | None = None


def make_pieces(out: Path, device: str, data: Path | None, quick: bool) -> list[Piece]:
    """All pieces, the short ones first."""
    marked = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    ]
    # Without the options of pyproject.toml, which need nbval
    pytest = ("-m", "pytest", "-o", "addopts=--import-mode=importlib", "-rs")
    small = ("--quick",) if quick else ()
    pieces = [Piece("tests", (*pytest, "-m", "gpu", *marked))]
    for name in BENCHMARKS:
        command = ("benchmarks/bench.py", name, "--device", device, *small)
        pieces.append(Piece(f"bench {name}", command))
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        command = ("-m", "pytest", "--nbval", str(path.relative_to(ROOT)))
        pieces.append(Piece(f"notebook {path.stem}", command))
    command = ("-m", "alexnet.experiments", EXPERIMENT, "--device", device, *small)
    command += ("--out", str(out / "runs"), *(("--data", str(data)) if data else ()))
    pieces.append(Piece("runs", command, out / "runs" / f"{EXPERIMENT}.json"))
    return pieces


def run_piece(piece: Piece) -> dict:
    """Run a piece within the time limit.

    Returns:
        ``status``, one of ``"passed"``, ``"failed"`` and ``"out of time"``; ``seconds``; ``date``;
        ``command``; the end of the ``output``; and ``results`` if its last line is JSON.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *piece.command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    out_of_time = False
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        out_of_time = True
        output = _stop(process)
    except KeyboardInterrupt:
        _stop(process)
        raise
    status = "passed" if process.returncode == 0 else "out of time" if out_of_time else "failed"
    result = {
        "status": status,
        "seconds": round(time.perf_counter() - start, 1),
        "date": str(datetime.date.today()),
        "command": " ".join(["python", *piece.command]),
        "output": output[-4000:],
    }
    with suppress(ValueError):
        result["results"] = json.loads(output.strip().rpartition("\n")[2])
    return result


def _stop(process: subprocess.Popen) -> str:
    """End a process, by Ctrl-C first, at which it can say what is kept; its output."""
    with suppress(ValueError):  # Windows cannot send it
        process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=GRACE)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


def load_results(path: Path) -> dict[str, dict]:
    """The results of earlier commands by the name of the piece.

    Raises:
        ValueError: if the file is something else.
    """
    if not path.exists():
        return {}
    try:
        pieces = json.loads(path.read_text(encoding="utf-8"))["pieces"]
        for result in pieces.values():
            result["status"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must hold the results of an earlier command, but is damaged "
            f"({type(error).__name__}): remove it, or name another folder with --out"
        ) from error
    return pieces


def save_results(path: Path, results: dict[str, dict]) -> None:
    """Write the file so that a killed command leaves the earlier one or the new one."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"pieces": results}, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def run_all(pieces: list[Piece], path: Path, machine: str) -> None:
    """Run the pieces that have not passed yet, and write the results after each.

    Raises:
        SystemExit: if a piece did not pass.
    """
    results = load_results(path)
    to_do = [piece for piece in pieces if results.get(piece.name, {}).get("status") != "passed"]
    # What failed may fail again, and must not keep others from being run
    to_do.sort(key=lambda piece: piece.name in results)
    for piece in to_do:
        goes_on = True
        while goes_on:
            print(f"{piece.name} ...", flush=True)
            before = _content(piece.record)
            result = run_piece(piece) | {"machine": machine}
            results[piece.name] = result
            save_results(path, results)
            print(f"{piece.name}: {result['status']}, {result['seconds']} s", flush=True)
            progress = _content(piece.record) != before
            goes_on = result["status"] == "out of time" and progress
    remaining = [piece.name for piece in pieces if results[piece.name]["status"] != "passed"]
    if remaining:
        sys.exit(
            f"{len(remaining)} of {len(pieces)} pieces have not passed ({', '.join(remaining)}): "
            f"{path} says why, and the same command tries them again"
        )
    print(f"all {len(pieces)} pieces have passed: {path}")


def _content(path: Path | None) -> bytes:
    return path.read_bytes() if path and path.exists() else b""


def describe(device: str) -> str:
    """The machine, once it is known to be one that the pieces can run on.

    Raises:
        ValueError: if PyTorch is missing or too old, or there is no such device.
    """
    sys.path.insert(0, str(ROOT))  # where the package is not installed
    try:
        import torch

        from alexnet.distributed import resolve_device
        from alexnet.experiments.runner import describe_machine
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is not installed: pip install -r requirements.txt"
        ) from error
    version = tuple(int(number) for number in torch.__version__.split(".")[:2])
    if version < (2, 11):
        raise ValueError(f"PyTorch must be 2.11 or newer, got {torch.__version__}")
    resolve_device(device)
    return describe_machine(device)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "gpu-results", help="(%(default)s)")
    parser.add_argument("--data", type=Path, help="Tiny ImageNet, as alexnet.prepare leaves it")
    parser.add_argument("--device", default="cuda", help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--dry-run", action="store_true", help="list the pieces and run none")
    args = parser.parse_args(arguments)
    out = args.out.resolve()
    path = out / "gpu.json"
    pieces = make_pieces(out, args.device, args.data and args.data.resolve(), args.quick)
    try:
        if args.dry_run:
            results = load_results(path)
            for piece in pieces:
                status = results.get(piece.name, {}).get("status", "to do")
                print(f"{status:11} {piece.name:24} python {' '.join(piece.command)}")
            return
        machine = describe(args.device)
        (out / "runs").mkdir(parents=True, exist_ok=True)
        if not args.quick:  # whose runs are not those of the book
            for recorded in RUNS.glob(f"{EXPERIMENT}*.json"):
                if not (out / "runs" / recorded.name).exists():
                    shutil.copy(recorded, out / "runs")
        print(f"{machine}; results in {out}")
        run_all(pieces, path, machine)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(f"stopped: {path} has the pieces that are done, and the same command goes on")


if __name__ == "__main__":
    main()
