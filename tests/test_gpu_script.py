"""``make gpu`` without a GPU: its pieces, how it goes on, and its benchmarks on fake tensors."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from alexnet.experiments.recipes import EXPERIMENTS
from helpers import NOTEBOOKS, ROOT, exit_message

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such thing")


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


gpu, bench = load_script("gpu"), load_script("bench")


# What there is to do


def test_a_dry_run_lists_the_pieces_and_does_nothing(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "benchmarks/gpu.py", "--dry-run", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(NOTEBOOKS) + 7 and all(line.startswith("to do ") for line in lines)
    commands = [line.partition(" python ")[2] for line in lines]
    for name in ("float32", "bfloat16", "lrn", "augment", "experiment"):
        assert f"benchmarks/bench.py {name} --device cuda" in commands
    for name in NOTEBOOKS:
        assert f"-m pytest --nbval {name}.ipynb" in commands
    experiment = f"-m alexnet.experiments tiny-imagenet --device cuda --out {out / 'runs'}"
    assert commands[-1] == experiment
    assert not out.exists()


def test_all_tests_that_are_marked_are_run():
    pieces = gpu.make_pieces(ROOT, "cuda", None, False)
    [tests] = [piece for piece in pieces if piece.name == "tests"]
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if re.search(r"^@pytest\.mark\.gpu$", path.read_text(encoding="utf-8"), re.M)
    }
    assert len(marked) > 3 and marked <= set(tests.command)
    assert set(gpu.BENCHMARKS) == set(bench.ON_GPU)
    assert gpu.EXPERIMENT in EXPERIMENTS
    assert len({piece.name for piece in pieces}) == len(pieces)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_marked_tests_need_neither_nbval_nor_another_plugin():
    [tests] = [p for p in gpu.make_pieces(ROOT, "cuda", None, False) if p.name == "tests"]
    command = [sys.executable, *tests.command, "--collect-only", "-q", "-p", "no:nbval"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_a_gpu_gives_the_same_results_compiled_or_not" in done.stdout


def test_options_reach_the_pieces(tmp_path):
    pieces = gpu.make_pieces(tmp_path, "cuda:1", tmp_path / "data", True)
    commands = {piece.name: " ".join(piece.command) for piece in pieces}
    assert commands["bench lrn"] == "benchmarks/bench.py lrn --device cuda:1 --quick"
    assert commands["runs"] == (
        "-m alexnet.experiments tiny-imagenet --device cuda:1 --quick "
        f"--out {tmp_path / 'runs'} --data {tmp_path / 'data'}"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_ends_in_a_sentence(tmp_path):
    sentence, status = exit_message(lambda: gpu.main(["--out", str(tmp_path / "out")]))
    assert sentence.startswith("--device cuda cannot be used here, take --device cpu")
    assert status == 1 and not (tmp_path / "out").exists()


def test_an_older_pytorch_ends_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.10.1+cu128")
    sentence, _ = exit_message(lambda: gpu.main(["--device", "cpu", "--out", str(tmp_path)]))
    assert sentence == "PyTorch must be 2.11 or newer, got 2.10.1+cu128"


# Going on


def read(path):
    return path.read_text(encoding="utf-8")


def piece(name, code, record=None):
    return gpu.Piece(name, ("-c", code), record)


def noting(path, *lines):
    """Code for a piece that notes its run in a file, and what comes then."""
    return "\n".join([f"open({str(path)!r}, 'a').write('x')", *lines])


def results_of(path):
    return json.loads(path.read_text(encoding="utf-8"))["pieces"]


def test_what_passed_is_not_repeated_and_what_failed_comes_last(tmp_path, capsys):
    path, good, flag = tmp_path / "gpu.json", tmp_path / "good", tmp_path / "flag"
    fails_once = (
        f"import os, sys; sys.exit('no such luck' if not os.path.exists({str(flag)!r}) else 0)"
    )
    pieces = [
        piece("good", noting(good, "print('one')", "print('{\"speed\": 3}')")),
        piece("bad", fails_once),
        piece("last", noting(tmp_path / "last")),
    ]
    sentence, status = exit_message(lambda: gpu.run_all(pieces, path, "a machine"))
    assert status == 1 and sentence == (
        f"1 of 3 pieces have not passed (bad): {path} says why, and the same command tries them "
        "again"
    )
    results = results_of(path)
    assert [results[name]["status"] for name in ("good", "bad", "last")] == [
        "passed",
        "failed",
        "passed",
    ]
    assert results["good"]["results"] == {"speed": 3} and "results" not in results["last"]
    assert results["bad"]["output"] == "no such luck\n"
    assert results["bad"]["machine"] == "a machine" and results["bad"]["seconds"] >= 0

    flag.write_bytes(b"")
    capsys.readouterr()
    pieces.append(piece("new", noting(tmp_path / "new")))
    gpu.run_all(pieces, path, "another machine")
    started = re.findall(r"^(\w+) \.\.\.$", capsys.readouterr().out, re.M)
    assert started == ["new", "bad"]
    assert read(good) == read(tmp_path / "last") == "x"
    assert results_of(path)["good"] == results["good"]
    assert results_of(path)["bad"]["machine"] == "another machine"


KILLED = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import gpu
pieces = [gpu.Piece(name, ("-c", code)) for name, code in {pieces!r}]
gpu.run_all(pieces, Path({path!r}), "a machine")
"""


@posix
def test_killed_half_way_the_pieces_that_are_done_are_kept(tmp_path):
    path, first = tmp_path / "gpu.json", tmp_path / "first"
    kill = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    pieces = [("first", noting(first)), ("second", kill)]
    code = KILLED.format(folder=str(ROOT / "benchmarks"), pieces=pieces, path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == -9
    assert {name: result["status"] for name, result in results_of(path).items()} == {
        "first": "passed"
    }
    pieces = [piece("first", noting(first)), piece("second", "")]
    gpu.run_all(pieces, path, "a machine")
    assert read(first) == "x"


@posix
@pytest.mark.slow
def test_pieces_without_an_end_are_stopped_at_their_limit(tmp_path, monkeypatch):
    """By Ctrl-C, and if they ignore it, at once."""
    monkeypatch.setattr(gpu, "LIMIT", 4)
    monkeypatch.setattr(gpu, "GRACE", 2)
    start = (
        "import signal, time; signal.signal(signal.SIGINT, signal.{}); print('begun', flush=True)"
    )
    polite = "\ntry: time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit('what is kept')"
    pieces = [
        piece("stubborn", start.format("SIG_IGN") + "; time.sleep(60)"),
        piece("polite", start.format("default_int_handler") + polite),
        piece("next", ""),
    ]
    path = tmp_path / "gpu.json"
    sentence, _ = exit_message(lambda: gpu.run_all(pieces, path, "a machine"))
    assert sentence.startswith("2 of 3 pieces have not passed (stubborn, polite)")
    results = results_of(path)
    assert results["stubborn"]["status"] == results["polite"]["status"] == "out of time"
    assert results["stubborn"]["output"] == "begun\n"
    assert results["polite"]["output"] == "begun\nwhat is kept\n"
    assert results["next"]["status"] == "passed"


def test_runs_go_on_from_limit_to_limit_as_long_as_some_are_recorded(tmp_path, monkeypatch):
    """A stand-in that records a run before its limit, until there are three of them."""
    path, record = tmp_path / "gpu.json", tmp_path / "runs.json"

    def run_piece(piece):
        runs = record.read_text(encoding="utf-8") if record.exists() else ""
        record.write_text(f"{runs}x"[:most], encoding="utf-8")
        return {"status": "passed" if runs == "xxx" else "out of time", "seconds": 540.0}

    monkeypatch.setattr(gpu, "run_piece", run_piece)
    most = 2  # a run that takes longer than the limit: it would be begun forever
    sentence, _ = exit_message(lambda: gpu.run_all([piece("runs", "", record)], path, "a machine"))
    assert sentence.startswith("1 of 1 pieces have not passed (runs)")
    assert record.read_text(encoding="utf-8") == "xx"
    most = 3
    gpu.run_all([piece("runs", "", record)], path, "a machine")
    assert record.read_text(encoding="utf-8") == "xxx"
    assert results_of(path)["runs"]["status"] == "passed"


@pytest.mark.parametrize("text", ["{", "[]", '{"pieces": 3}', '{"pieces": {"tests": {}}}'])
def test_a_damaged_file_of_results_is_refused(text, tmp_path):
    (tmp_path / "gpu.json").write_text(text, encoding="utf-8")
    sentence, _ = exit_message(lambda: gpu.main(["--dry-run", "--out", str(tmp_path)]))
    assert sentence.startswith(f"{tmp_path / 'gpu.json'} must hold the results of an earlier comm")
    assert (tmp_path / "gpu.json").read_text(encoding="utf-8") == text


def test_recorded_runs_are_taken_along_and_those_of_an_earlier_command_kept(tmp_path, monkeypatch):
    runs, out = tmp_path / "book", tmp_path / "out"
    runs.mkdir()
    for name in ("tiny-imagenet", "relu"):
        (runs / f"{name}.json").write_text("of the book", encoding="utf-8")
    monkeypatch.setattr(gpu, "RUNS", runs)
    monkeypatch.setattr(gpu, "run_all", lambda *arguments: None)
    arguments = ["--device", "cpu", "--out", str(out)]
    gpu.main([*arguments, "--quick"])
    assert os.listdir(out / "runs") == []
    gpu.main(arguments)
    assert os.listdir(out / "runs") == ["tiny-imagenet.json"]
    (out / "runs" / "tiny-imagenet.json").write_text("and more", encoding="utf-8")
    gpu.main(arguments)
    assert (out / "runs" / "tiny-imagenet.json").read_text(encoding="utf-8") == "and more"


# The benchmarks


@pytest.fixture
def one_run(monkeypatch):
    """Each contender is run once, and takes an eighth of a second."""

    def median_seconds(run, repeats=9, device="cpu"):
        run()
        return 0.125

    monkeypatch.setattr(bench, "median_seconds", median_seconds)


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_training_steps_on_fake_tensors(device, name, one_run, monkeypatch, capsys):
    """Shapes and devices fit; what 128 images in 1/8 second mean for ImageNet."""
    # Fake parameters are made on the device, since they cannot be moved
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *arguments, **options: module)
    if device == "cuda" and not torch.cuda.is_available():  # the backward pass asks for a real one
        monkeypatch.setattr(torch.Tensor, "backward", lambda loss: None)
    with FakeTensorMode(), torch.device(device):
        speeds = bench.ON_GPU[name](device)
    assert speeds["alexnet, paper"] == speeds["torchvision.models.alexnet"] == 1024
    hours = 1_200_000 * 90 / 1024 / 3600
    assert speeds["hours for 90 epochs of ImageNet"] == round(hours, 2)
    text = capsys.readouterr().out
    assert f"128 images, {name}, {device}" in text
    assert (
        f"90 epochs of ImageNet in {hours:.1f} hours, with nothing but these steps; in 2012, at "
        "227 images a second, in 5.5 days" in text
    )


def test_augmentation_in_a_tiny_size(one_run):
    speeds = bench.ON_GPU["augment"]("cpu", batch_size=2)
    assert set(speeds.values()) == {16.0} and "torchvision.transforms.v2" in speeds


def test_lrn_in_a_tiny_size(one_run, monkeypatch):
    """Without the compiler, which takes a minute."""
    monkeypatch.setattr(torch, "compile", lambda module: module)
    speeds = bench.ON_GPU["lrn"]("cpu", batch_size=2)
    assert set(speeds.values()) == {16.0}
    for name in ("torch.nn.LocalResponseNorm", "alexnet.LocalResponseNorm"):
        assert {name, f"{name}, compiled"} <= set(speeds)


def test_a_benchmark_by_name_ends_in_json(one_run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "augment", "--device", "cpu", "--quick"])
    bench.main()
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last)["TrainAugment, fresh output"] == 16.0
