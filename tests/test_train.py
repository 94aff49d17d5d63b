"""The command: what it leaves, how it stops and goes on, and what it says of what is wrong.

It runs in this process where nothing ends it, and else in one that has read the modules already.
"""

import contextlib
import json
import lzma
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
import torch

from alexnet import checkpoint
from alexnet.evaluate import evaluate
from alexnet.loader import scan_image_folder
from alexnet.predictor import load
from alexnet.train import STOP_SIGNALS, StopSignals, main
from alexnet.trainer import Trainer, TrainingStopped
from helpers import (
    OLD_CHECKPOINT,
    OUT,
    SMALL_RUN,
    WRONG,
    exit_message,
    read_log,
    run_train,
    some_of,
)

FORK_SERVER = """
import json, os, sys
from alexnet.train import main
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.setsid()
        sys.stdin.close()
        sys.stdout = open(os.devnull, "w")
        main(json.loads(line))
        sys.exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Forks:
    """The command in processes that need not read PyTorch first, one after the other.

    The tests' own process has used threads, and what it forks may hang. So a process forks that
    has done nothing but read the modules.
    """

    def __init__(self, server, stderr):
        self.server, self.stderr = server, stderr

    def start(self, *arguments):
        """The process number of a run."""
        self.server.stdin.write(json.dumps(list(map(str, arguments))) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def wait(self):
        """How the run ended: its exit status, or below zero the signal."""
        return os.waitstatus_to_exitcode(int(self.server.stdout.readline()))


posix = pytest.mark.skipif(os.name != "posix", reason="Windows has neither fork nor terminals")


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    stderr = tmp_path_factory.mktemp("forks") / "stderr"
    with (
        stderr.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            [sys.executable, "-c", FORK_SERVER],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        ) as server,
    ):
        yield Forks(server, stderr)
        server.stdin.close()


def begun(out):
    """Wait until a run has written its first checkpoint, and a little longer."""
    while not (out / "log.jsonl").exists():
        time.sleep(0.01)
    time.sleep(0.2)


def weights(out):
    return (out / "model.safetensors").read_bytes()


def contents(out):
    """Of a file, or of all files of a folder."""
    return {path: path.read_bytes() for path in ([*out.iterdir()] if out.is_dir() else [out])}


def test_what_it_leaves(data_folder, tmp_path, capsys):
    out = tmp_path / "run"
    run_train(data_folder, out, "--epochs", "2")
    left = {path.name for path in out.iterdir()}
    assert left >= {"checkpoint.pt", "previous.pt", "log.jsonl", "model.safetensors"}
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = map(json.loads, lines)
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert first["images_per_second"] > 0 and second["images_per_second"] > 0
    assert first["lr"] == 0.01 and 0 <= first["top1"] <= first["top5"] <= 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and told[1].startswith("epoch 2: rate 0.01, loss ")
    found = evaluate(load(out / "model.safetensors"), scan_image_folder(data_folder / "test"))
    assert (found["top1"], found["top5"]) == (second["top1"], second["top5"])
    assert found["images"] == 40
    exported = load(out / "model.safetensors").model.state_dict()
    for name, tensor in load(out / "checkpoint.pt").model.state_dict().items():
        assert tensor.equal(exported[name])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_it_learns(data_folder, tmp_path):
    """The same images for validation as for training: a net that learns knows them in the end."""
    both, out = tmp_path / "data", tmp_path / "run"
    for part in ("train", "val"):
        shutil.copytree(data_folder / "test", both / part)
    options = ["--epochs", "20", "--lr", "0.003", "--batch-size", "8", "--dropout", "0"]
    run_train(both, out, *options)
    entries = read_log(out)
    assert entries[-1]["loss"] < 0.6 * entries[0]["loss"] and entries[-1]["top1"] > 0.5


@pytest.mark.slow
@pytest.mark.exhaustive
def test_killed_at_ten_moments(data_folder, tmp_path, forks):
    """kill -9 ten times: --resume ends with, bit for bit, what an undisturbed run ends with."""
    command = ["--data", data_folder, *SMALL_RUN, "--epochs", "6", "--resume", "--out"]
    whole = tmp_path / "whole"
    start = time.monotonic()
    forks.start(*command, whole)
    assert forks.wait() == 0
    seconds, moments = time.monotonic() - start, random.Random(0)
    killed, complete = 0, 0
    while killed < 10 or complete == 0:
        out = tmp_path / f"part {complete}"
        process = forks.start(*command, out)
        if killed < 10:
            time.sleep(moments.uniform(0, 0.2 * seconds))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        status = forks.wait()
        assert status in (0, -signal.SIGKILL)
        if status == 0:  # it was done before it was killed
            assert read_log(out) == read_log(whole) and len(read_log(out)) == 6
            assert weights(out) == weights(whole)
            complete += 1
        else:
            killed += 1


@pytest.fixture(scope="module")
def finished(data_folder, tmp_path_factory):
    """One epoch; whoever changes something takes a copy."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run_train(data_folder, out, "--epochs", "1")
    return out


@pytest.fixture(scope="module")
def undisturbed(data_folder, tmp_path_factory):
    """Two epochs from the first step to the last."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run_train(data_folder, out, "--epochs", "2")
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", some_of([number.name for number in STOP_SIGNALS], "SIGINT"))
def test_told_to_stop(name, data_folder, undisturbed, tmp_path, forks):
    """In the middle of an epoch: a checkpoint, a sentence, an exit status; --resume goes on at
    the very step."""
    command = ["--data", data_folder, *SMALL_RUN, "--epochs", "2", "--out"]
    part = tmp_path / "part"
    process = forks.start(*command, part)
    begun(part)
    os.kill(process, signal.Signals[name])
    assert forks.wait() == 128 + signal.Signals[name]
    told = forks.stderr.read_text(encoding="utf-8")
    assert f"stopped by {name} in epoch" in told and "continue with --resume" in told
    assert "Traceback" not in told
    forks.start(*command, part, "--resume")
    assert forks.wait() == 0
    assert read_log(part) == read_log(undisturbed) and weights(part) == weights(undisturbed)


def test_signals():
    """Before the first step at once; in a step after it; a second one does not wait."""
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        with pytest.raises(
            TrainingStopped, match=r"^stopped by SIGINT before the first"
        ) as stopped:
            signal.raise_signal(signal.SIGINT)
        assert stopped.value.code == 130 and signals.caught == 0
        signals.running = True
        signal.raise_signal(signal.SIGTERM)
        assert signals.caught == signal.SIGTERM
        with pytest.raises(
            TrainingStopped, match=r"^stopped at once by a second SIGINT"
        ) as stopped:
            signal.raise_signal(signal.SIGINT)
        assert stopped.value.code == 130
    assert signal.getsignal(signal.SIGTERM) == before


def start_apart(data, out, *options, wrapper=(), customize="", **how):
    """The command in a process of its own, with lines of Python that are run before it."""
    site = out.parent / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(customize, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(site)}
    command = [*wrapper, sys.executable, "-m", "alexnet.train", "--data", data, "--out", out]
    command = [str(part) for part in (*command, *SMALL_RUN, *options)]
    # In a folder of its own: nohup leaves a file where it is started
    return subprocess.Popen(command, env=environment, cwd=site, text=True, **how)


def run_apart(data, out, *options, **how):
    """What it prints as errors, and its exit status."""
    process = start_apart(data, out, *options, stderr=subprocess.PIPE, **how)
    return process.communicate()[1], process.returncode


def on_a_terminal(data, out, *options, wrapper=()):
    """The command with a terminal of its own; the process and the terminal's other end."""
    import fcntl  # not on Windows, as the rest of this function
    import termios

    ours, theirs = os.openpty()

    def control():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "preexec_fn": control}
    process = start_apart(data, out, *options, wrapper=wrapper, **streams)
    os.close(theirs)
    return process, ours


@posix
@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_terminal_that_is_closed(data_folder, undisturbed, tmp_path):
    """The steps up to there are kept, although nothing can be printed any more."""
    out = tmp_path / "run"
    process, terminal = on_a_terminal(data_folder, out, "--epochs", "2")
    begun(out)
    os.close(terminal)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    state = torch.load(out / "checkpoint.pt")
    assert state["step"] > 0 or state["epoch"] > 0
    run_train(data_folder, out, "--epochs", "2", "--resume")
    assert read_log(out) == read_log(undisturbed) and weights(out) == weights(undisturbed)


@posix
@pytest.mark.slow
@pytest.mark.exhaustive
def test_nohup_goes_on(data_folder, undisturbed, tmp_path):
    out = tmp_path / "run"
    process, terminal = on_a_terminal(data_folder, out, "--epochs", "2", wrapper=["nohup"])
    begun(out)
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    assert read_log(out) == read_log(undisturbed)


# What some machines have otherwise

NO_FOLDER_SYNC = """
import errno, os, stat
fsync = os.fsync
def no_folders(file):
    if stat.S_ISDIR(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "Invalid argument")
    return fsync(file)
os.fsync = no_folders
"""
NO_FCNTL = """
import sys
sys.modules["fcntl"] = None  # as on Windows
"""


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("customize", [NO_FOLDER_SYNC, NO_FCNTL], ids=["fsync", "fcntl"])
def test_without_what_some_systems_lack(customize, data_folder, tmp_path):
    """A run begins and is resumed."""
    out = tmp_path / "run"
    for epochs in ("1", "2"):
        told = run_apart(data_folder, out, "--epochs", epochs, "--resume", customize=customize)
        assert told[1] == 0, told[0]
    assert len(read_log(out)) == 2


def test_a_second_signal_does_not_wait_for_the_step(
    data_folder, finished, tmp_path, monkeypatch, capsys
):
    """A step that never ends is left, and the checkpoint from before goes on to the same end."""
    out, hanging = tmp_path / "run", []
    one_step = Trainer.training_step

    def training_step(self, x, labels):
        if self.step == 3:
            hanging.append(True)
            signal.raise_signal(signal.SIGTERM)  # waits for the step
            hanging.append(True)
            signal.raise_signal(signal.SIGTERM)  # does not
            hanging.append(True)
        return one_step(self, x, labels)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    _, code = exit_message(lambda: run_train(data_folder, out, "--epochs", "1"))
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == (
        "stopped at once by a second SIGTERM: --resume goes on from the last checkpoint"
    )
    assert code == 128 + signal.SIGTERM and len(hanging) == 2
    monkeypatch.undo()
    run_train(data_folder, out, "--epochs", "1", "--resume")
    assert weights(out) == weights(finished)


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--two-gpu"], ["--amp", "bf16"]])
def test_the_other_ways_to_compute(more, data_folder, tmp_path):
    out = tmp_path / "run"
    run_train(data_folder, out, "--epochs", "1", *more)
    assert math.isfinite(read_log(out)[0]["loss"])
    images = scan_image_folder(data_folder / "test")
    assert evaluate(load(out / "checkpoint.pt"), images)["images"] == 40
    run_train(data_folder, out, "--epochs", "2", "--resume")  # options not given are as they were
    assert len(read_log(out)) == 2


def test_the_compiled_net_is_what_learns(data_folder, finished, tmp_path, monkeypatch):
    """It is compiled for real in test_lrn. Here: the steps are those of what torch.compile
    returns, and its names do not get into the checkpoint."""
    seen = []

    def stand_in(model):
        seen.append(model)
        return lambda images: seen.append(len(images)) or model(images)

    compiled = tmp_path / "compiled"
    monkeypatch.setattr(torch, "compile", stand_in)
    run_train(data_folder, compiled, "--epochs", "1", "--compile")
    assert seen[1:] == [16] * 10
    assert read_log(compiled) == read_log(finished) and weights(compiled) == weights(finished)


def test_tensorboard_if_it_is_installed(data_folder, tmp_path, monkeypatch):
    scalars = []

    class SummaryWriter(contextlib.nullcontext):
        def __enter__(self):
            return self

        def add_scalar(self, *scalar):
            scalars.append(scalar)

    module = SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run_train(data_folder, tmp_path / "run", "--epochs", "1")
    assert {name for name, _, _ in scalars} == {"loss", "top1", "top5", "lr"}


def test_a_broken_tensorboard_costs_a_line(data_folder, tmp_path, monkeypatch, capsys):
    """protobuf raises a TypeError where its version does not fit."""

    class Broken(ModuleType):
        def __getattr__(self, name):
            raise TypeError("Descriptors cannot be created directly")

    module = Broken("torch.utils.tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run_train(data_folder, tmp_path / "run", "--epochs", "2")
    assert capsys.readouterr().err.splitlines() == [
        "TensorBoard logging is disabled (TypeError: Descriptors cannot be created directly)"
    ]
    assert len(read_log(tmp_path / "run")) == 2


@pytest.mark.parametrize("kind", WRONG)
def test_folders_and_options_that_are_wrong(kind, data_folder, tmp_path):
    spoil, more, sentence = WRONG[kind]
    data = shutil.copytree(data_folder, tmp_path / "data")
    if spoil:
        spoil(data)
    told, code = exit_message(lambda: run_train(data, tmp_path / "run", *more))
    assert re.search(sentence, told) and "\n" not in told and code == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", OUT)
def test_output_folders_that_do_not_do(kind, finished, data_folder, tmp_path):
    spoil, more, sentence = OUT[kind]
    out = shutil.copytree(finished, tmp_path / "run")
    spoil(out)
    before = contents(out)
    told, code = exit_message(lambda: run_train(data_folder, out, "--epochs", "2", *more))
    assert re.search(sentence, told) and "\n" not in told and code == 1
    assert contents(out) == before


def test_other_images_than_before(finished, data_folder, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    data = shutil.copytree(data_folder, tmp_path / "data")
    next((data / "train" / "cat").iterdir()).unlink()
    told, _ = exit_message(lambda: run_train(data, out, "--epochs", "2", "--resume"))
    assert "does not contain the images that" in told
    assert "159 training images now, 160 then" in told
    shutil.copytree(data_folder, data, dirs_exist_ok=True)
    next((data / "test" / "cat").iterdir()).unlink()  # which decides when the rate falls
    told, _ = exit_message(lambda: run_train(data, out, "--epochs", "2", "--resume"))
    assert "does not contain the images that" in told


@pytest.mark.slow
def test_a_damaged_checkpoint(finished, undisturbed, data_folder, tmp_path, capsys):
    """The one before it is used, and the run ends as if nothing had been."""
    out = shutil.copytree(finished, tmp_path / "run")
    damaged = out / "checkpoint.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    run_train(data_folder, out, "--epochs", "2", "--resume")
    told = capsys.readouterr().err
    assert "checkpoint.pt is refused: it is cut off, damaged" in told
    assert "previous.pt is used" in told
    assert read_log(out) == read_log(undisturbed)
    for name in ("checkpoint.pt", "previous.pt"):
        (out / name).write_bytes(b"no good")
    told, _ = exit_message(lambda: run_train(data_folder, out, "--epochs", "3", "--resume"))
    assert "checkpoint.pt is refused" in told and "previous.pt is refused" in told
    assert (out / "previous.pt").read_bytes() == b"no good"


def test_a_run_of_version_0_1_0_goes_on(data_folder, tmp_path):
    """From the fourth step of the second epoch, with the options and the log that it had."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes(lzma.decompress(OLD_CHECKPOINT.read_bytes()))
    before = checkpoint.load(out / "checkpoint.pt")
    assert (before["epoch"], before["step"]) == (1, 4)
    command = ["--data", str(data_folder), "--out", str(out), "--device", "cpu"]
    main([*command, "--resume", "--epochs", "2", "--workers", "1"])
    first, second = read_log(out)
    assert {name: before["history"][0][name] for name in first} == first
    assert second["epoch"] == 2 and math.isfinite(second["loss"])
    assert evaluate(load(out / "model.safetensors"), scan_image_folder(data_folder / "test"))


@posix
def test_a_disk_that_is_full(data_folder, finished, tmp_path):
    """/dev/full takes nothing, as a full disk."""
    out = shutil.copytree(finished, tmp_path / "run")
    before = (out / "checkpoint.pt").read_bytes()
    (out / "checkpoint.part").symlink_to("/dev/full")
    told, code = exit_message(lambda: run_train(data_folder, out, "--epochs", "2", "--resume"))
    assert re.fullmatch(
        r".*checkpoint.pt of \d\.\d MB cannot be written \(No space left on device\): "
        "free some space there, then --resume",
        told,
    )
    assert code == 1 and (out / "checkpoint.pt").read_bytes() == before
    assert not (out / "checkpoint.part").exists()
    run_train(data_folder, out, "--epochs", "2", "--resume")
    assert len(read_log(out)) == 2


def test_a_loss_that_is_not_finite(data_folder, tmp_path, capsys):
    out = tmp_path / "run"
    _, code = exit_message(lambda: run_train(data_folder, out, "--lr", "1e30"))
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.match(
        r"the loss is (nan|inf) in epoch 1, step [23]: start a new run with another --out "
        r"and a lower --lr than 1e\+30; ",
        told,
    )
    assert code == 1
    for tensor in load(out / "checkpoint.pt").model.state_dict().values():
        assert tensor.isfinite().all()


def test_broken_images_are_skipped(data_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("alexnet.trainer.MAX_BROKEN_FRACTION", 0.02)
    data = shutil.copytree(data_folder, tmp_path / "data")
    broken = sorted((data / "train" / "cat").iterdir())[:3]
    for path in broken:
        path.write_bytes(path.read_bytes()[:300])
    run_train(data, tmp_path / "run", "--epochs", "2")
    told = capsys.readouterr().err
    assert all(told.count(f"skipped: {path} (") == 1 for path in broken)
    assert [entry["skipped"] for entry in read_log(tmp_path / "run")] == [3, 3]


def test_too_many_broken_images(data_folder, tmp_path, capsys):
    data = shutil.copytree(data_folder, tmp_path / "data")
    broken = sorted((data / "train" / "cat").iterdir())[:2]
    for path in broken:
        path.write_text("", encoding="utf-8")
    _, code = exit_message(lambda: run_train(data, tmp_path / "run"))
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == (
        f"2 of 160 images in {data}/train cannot be decoded, more than 1%: "
        f"repair or remove {broken[0]}, {broken[1]}"
    )
    assert code == 1 and not (tmp_path / "run").exists()


def test_too_many_broken_validation_images(data_folder, finished, tmp_path, capsys):
    """The epoch's steps are kept: with the image mended the run goes on there, to the same end."""
    data, out = shutil.copytree(data_folder, tmp_path / "data"), tmp_path / "run"
    broken = next((data / "test" / "cat").iterdir())
    whole = broken.read_bytes()
    broken.write_text("", encoding="utf-8")
    _, code = exit_message(lambda: run_train(data, out, "--epochs", "1"))
    assert capsys.readouterr().err.splitlines() == [
        f"skipped: {broken} (the file is empty)",
        f"1 of 40 images in {data}/test cannot be decoded, more than 1%: repair or remove {broken}",
    ]
    assert torch.load(out / "checkpoint.pt")["step"] == 10 and code == 1
    broken.write_bytes(whole)
    run_train(data, out, "--resume", "--epochs", "1")
    assert read_log(out) == read_log(finished)


@pytest.mark.slow
def test_one_run_at_a_time(data_folder, tmp_path, forks):
    out = tmp_path / "run"
    command = ["--data", data_folder, *SMALL_RUN, "--epochs", "2", "--resume", "--out", out]
    forks.start(*command)
    begun(out)
    told, code = exit_message(lambda: main(list(map(str, command))))
    assert told == (
        f"another run is writing to {out}: wait for it, or name another folder with --out"
    )
    assert code == 1
    assert forks.wait() == 0 and len(read_log(out)) == 2


@pytest.mark.parametrize("inside", ["train/run", "test", "val"])
def test_output_among_the_images(inside, data_folder, tmp_path):
    data = shutil.copytree(data_folder, tmp_path / "data")
    told, _ = exit_message(lambda: run_train(data, data / inside))
    assert "lies among the images, in" in told
    assert sorted(data.iterdir()) == [data / "test", data / "train"]


def test_what_is_resumed_after_the_end(finished, data_folder, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "run")
    before = weights(out)
    run_train(data_folder, out, "--epochs", "1", "--resume")
    assert capsys.readouterr().err == f"{out} has 1 epochs already: more with --epochs\n"
    assert weights(out) == before
    run_train(data_folder, out, "--resume")  # to as many epochs as it was begun with
    assert capsys.readouterr().err == f"{out} has 1 epochs already: more with --epochs\n"
    assert weights(out) == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("more", [[], ["--amp", "bf16"], ["--two-gpu"]])
def test_on_a_gpu(more, data_folder, tmp_path):
    """The losses of the CPU, up to rounding: in bfloat16 to two digits."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found = {}
    for device in ("cpu", "cuda:0"):
        out = tmp_path / device
        options = ["--epochs", "1", "--lr", "1e-4", "--dropout", "0", "--device", device]
        run_train(data_folder, out, *options, *more)
        found[device] = read_log(out)[0]["loss"]
    assert found["cuda:0"] == pytest.approx(found["cpu"], rel=0.03 if "bf16" in more else 1e-4)
