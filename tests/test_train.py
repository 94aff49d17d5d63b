import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
import torchvision
from helpers import OUT, WRONG
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.loader import decode_image, scan_image_folder, resize_center_crop
from alexnet.evaluate import evaluate
from alexnet.predictor import load
from alexnet.trainer import TrainConfig, Trainer, devices_for
from alexnet.optim import PaperSGD
from alexnet.train import main

RATES = st.floats(1e-4, 0.5)


def walk(optimizer_class, rates, momentum, decay):
    """Where a weight goes on the slope of w² / 2, with a rate for each step."""
    w = torch.nn.Parameter(torch.tensor([1.0, -3.0], dtype=torch.float64))
    optimizer = optimizer_class([w], lr=rates[0], momentum=momentum, weight_decay=decay)
    places = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        w.square().sum().div(2).backward()
        optimizer.step()
        places.append(w.detach().clone())
    return torch.stack(places)


@given(rates=st.lists(RATES, min_size=1, max_size=8), momentum=st.floats(0, 0.99), decay=st.floats(0, 0.1))
@settings(deadline=None, max_examples=30)
def test_the_rule_by_hand(rates, momentum, decay):
    w, v, places = torch.tensor([1.0, -3.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64), []
    for rate in rates:
        v = momentum * v - decay * rate * w - rate * w  # the gradient of w² / 2 is w
        w = w + v
        places.append(w)
    torch.testing.assert_close(walk(PaperSGD, rates, momentum, decay), torch.stack(places))


@given(rate=RATES, steps=st.integers(1, 12), momentum=st.floats(0, 0.99), decay=st.floats(0, 0.1))
@settings(deadline=None, max_examples=30)
def test_torchs_rule_while_the_rate_stays(rate, steps, momentum, decay):
    ours, theirs = (walk(rule, [rate] * steps, momentum, decay) for rule in (PaperSGD, torch.optim.SGD))
    torch.testing.assert_close(ours, theirs)


def test_not_torchs_rule_once_the_rate_drops():
    rates = [0.1, 0.1, 0.01]
    ours, theirs = (walk(rule, rates, 0.9, 0.0) for rule in (PaperSGD, torch.optim.SGD))
    torch.testing.assert_close(ours[:2], theirs[:2])
    # What the first steps put into the velocity is used as it is by the one, and at a tenth by the other.
    assert ((ours[2] - ours[1]).abs() > 5 * (theirs[2] - theirs[1]).abs()).all()


def test_a_parameter_without_a_gradient_stays():
    w = torch.nn.Parameter(torch.ones(3))
    PaperSGD([w]).step()
    assert w.tolist() == [1, 1, 1]


def test_the_velocity_is_in_the_state_dict():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = PaperSGD([w], lr=0.1)
    optimizer.step(lambda: (w.square().sum().backward(), w.sum())[1])
    assert optimizer.state_dict()["state"][0]["velocity"].shape == (3,)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="momentum 1.5 is 0 or more and below 1"):
        PaperSGD([torch.nn.Parameter(torch.ones(1))], momentum=1.5)


# The command. It runs in this process where nothing shall end it, and else in one that has read the modules already.

SMALL = ["--variant", "small", "--batch-size", "16", "--device", "cpu", "--workers", "1"]
ALIKE = ("epoch", "lr", "loss", "top1", "top5", "skipped")  # of a line of the log; the speed is the machine's


def run(data, out, *more):
    main(["--data", str(data), "--out", str(out), *SMALL, *more])


def log(out):
    return [{name: entry[name] for name in ALIKE} for entry in map(json.loads, (out / "log.jsonl").read_text().splitlines())]


def says(call):
    """The one sentence that a command ends with, and its exit status."""
    with pytest.raises(SystemExit) as end:
        call()
    code = end.value.code
    return (code, 1) if isinstance(code, str) else ("", code)


def forked(*arguments):
    """The command in a process of its own, which need not read PyTorch first; its process number.

    The test's process has used threads, and what forks then may hang. So one forks that did nothing else: ``errors``.
    """
    FORKS.stdin.write(json.dumps(list(map(str, arguments))) + "\n")
    FORKS.stdin.flush()
    return int(FORKS.stdout.readline())


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """A process that has read the modules, and forks for every line that it is told. The file that it writes its errors to."""
    global FORKS
    code = """
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
    path, environment = tmp_path_factory.mktemp("forks") / "stderr", os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": path.open("a"), "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as FORKS:
        yield path
        FORKS.stdin.close()


def ended():
    """How the last one ended: below zero, by a signal; else its exit status."""
    return os.waitstatus_to_exitcode(int(FORKS.stdout.readline()))


def test_what_it_leaves(data_folder, tmp_path, capsys):
    out = tmp_path / "run"
    run(data_folder, out, "--epochs", "2")
    assert {path.name for path in out.iterdir()} >= {"checkpoint.pt", "previous.pt", "log.jsonl", "model.safetensors"}
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [1, 2] and all(entry["images_per_second"] > 0 for entry in entries)
    assert entries[0]["lr"] == 0.01 and 0 <= entries[0]["top1"] <= entries[0]["top5"] <= 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and told[1].startswith("epoch 2: rate 0.01, loss ")
    found = evaluate(load(out / "model.safetensors"), scan_image_folder(data_folder / "test"))
    assert (found["top1"], found["top5"]) == (entries[1]["top1"], entries[1]["top5"]) and found["images"] == 40
    from_checkpoint = load(out / "checkpoint.pt").model.state_dict()
    assert all(tensor.equal(from_checkpoint[name]) for name, tensor in load(out / "model.safetensors").model.state_dict().items())


def test_it_learns(data_folder, tmp_path):
    """The same pictures for testing as for training: a net that learns knows them in the end."""
    both = tmp_path / "data"
    for part in ("train", "val"):
        shutil.copytree(data_folder / "test", both / part)
    run(both, tmp_path / "run", "--epochs", "20", "--lr", "0.003", "--batch-size", "8", "--dropout", "0")
    entries = log(tmp_path / "run")
    assert entries[-1]["loss"] < 0.6 * entries[0]["loss"] and entries[-1]["top1"] > 0.5


def test_the_recipe_of_the_paper(data_folder, tmp_path):
    options = TrainConfig(data_folder, tmp_path / "run")
    assert (options.variant, options.batch_size, options.lr, options.epochs, options.resize, options.crop) == ("paper", 128, 0.01, 90, 256, 224)
    training = Trainer(TrainConfig(data_folder, tmp_path / "run", variant="small", batch_size=16, device="cpu"), None)
    assert isinstance(training.optimizer, PaperSGD)
    weights, biases = training.optimizer.param_groups
    assert (weights["momentum"], weights["weight_decay"], biases["weight_decay"]) == (0.9, 5e-4, 0.0)
    assert {p.ndim for p in biases["params"]} == {1} and 1 not in {p.ndim for p in weights["params"]}
    rates = []
    for _ in range(60):  # the error does not fall any more
        training.schedule.step(0.5)
        rates.append(weights["lr"])
    assert sorted(set(rates)) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])


def test_what_the_net_sees(data_folder, tmp_path):
    """The mean and the colours of the training set, as NumPy finds them; raw pixels where the paper's initialisation wants them."""
    training = Trainer(TrainConfig(data_folder, tmp_path / "run", variant="small", batch_size=16, device="cpu"), None)
    paths = scan_image_folder(data_folder / "train").paths
    pixels = np.stack([resize_center_crop(decode_image(path), 36).numpy() for path in paths]) / 255.0  # (N, 3, 36, 36)
    assert np.abs(training.trained.mean.numpy() - pixels.mean(0)[:, 2:34, 2:34]).max() < 1e-6
    assert np.abs(training.trained.std.numpy().ravel() - pixels.std((0, 2, 3), ddof=1)).max() < 1e-5
    values = np.linalg.eigvalsh(np.cov(pixels.transpose(1, 0, 2, 3).reshape(3, -1)))
    assert np.abs(training.augment.pca.eigenvalues.numpy() - values[::-1]).max() < 1e-6
    assert training._statistics(raw=True)[1].flatten().tolist() == pytest.approx([1 / 255] * 3)


def test_windows_flips_and_colours_of_two_epochs(data_folder, tmp_path, monkeypatch):
    """What the net is given, by hand from the draws of the epoch: for each picture its own, and others in the next epoch."""
    seen, draws = [], []
    monkeypatch.setattr(Trainer, "update", lambda self, x, labels: seen.append(x.clone()) or torch.tensor(0.0))
    training = Trainer(TrainConfig(data_folder, tmp_path / "run", variant="small", batch_size=16, device="cpu"), None)
    pixels = torch.stack([resize_center_crop(decode_image(path), 36) for path in scan_image_folder(data_folder / "train").paths]) / 255
    mean, std, pca = training.trained.mean, training.trained.std, training.augment.pca
    for _ in range(2):
        draws.append(training._draws())
        order, top, left, flip, alpha = draws[-1]
        training.learn()
        training.finish_epoch()
        assert order.sort().values.equal(torch.arange(160)) and all(len(draw[order[:16]].unique()) > 1 for draw in (top, left, flip, alpha))
        assert set(top.tolist()) == set(left.tolist()) == {0, 1, 2, 3, 4} and alpha.std().item() == pytest.approx(0.1, rel=0.2)
        for i, x in zip(order, torch.cat(seen[-10:])):
            window = pixels[i, :, top[i] : top[i] + 32, left[i] : left[i] + 32]
            window = window.flip(2) if flip[i] else window
            colour = pca.eigenvectors @ (alpha[i] * pca.eigenvalues)
            torch.testing.assert_close(x, (window - mean + colour[:, None, None]) / std, rtol=0, atol=1e-5)
    assert len(seen) == 20 and not any(one.equal(other) for one, other in zip(*draws))


@pytest.mark.parametrize("amp, kind", [(None, torch.float32), ("bf16", torch.bfloat16)])
def test_bfloat16_where_it_is_asked_for(amp, kind, data_folder, tmp_path):
    training = Trainer(TrainConfig(data_folder, tmp_path / "run", variant="small", batch_size=16, device="cpu", amp=amp), None)
    seen = []
    training.net.features.conv1.register_forward_hook(lambda conv, _, maps: seen.extend([maps.dtype, conv.weight.dtype]))
    training.update(torch.zeros(16, 3, 32, 32), torch.zeros(16, dtype=torch.int64))
    assert seen == [kind, torch.float32]


def test_killed_at_ten_moments(data_folder, tmp_path, errors):
    """kill -9 ten times: what --resume ends with is, bit for bit, what a run that was left alone ends with."""
    arguments = ["--data", data_folder, *SMALL, "--epochs", "6", "--resume", "--out"]
    start = time.monotonic()
    forked(*arguments, tmp_path / "whole")
    assert ended() == 0
    whole, moments, killed, n = time.monotonic() - start, random.Random(0), 0, 0
    while killed < 10 or n == 0:
        out = tmp_path / f"part {n}"
        process = forked(*arguments, out)
        if killed < 10:
            time.sleep(moments.uniform(0, 0.2 * whole))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        status = ended()
        assert status in (0, -signal.SIGKILL)
        killed += status == -signal.SIGKILL
        if status == 0:  # it was done before it was killed
            assert log(out) == log(tmp_path / "whole") and len(log(out)) == 6
            assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
            n += 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_told_to_stop(name, data_folder, tmp_path, errors):
    """In the middle of an epoch: a checkpoint, a sentence, an exit status; --resume goes on at the very step."""
    arguments = ["--data", data_folder, *SMALL, "--epochs", "2", "--out"]
    forked(*arguments, tmp_path / "whole")
    assert ended() == 0
    process = forked(*arguments, tmp_path / "part")
    while not (tmp_path / "part" / "log.jsonl").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(process, signal.Signals[name])
    assert ended() == 128 + signal.Signals[name]
    told = errors.read_text()
    assert f"stopped by {name} in epoch" in told and "--resume goes on there" in told and "Traceback" not in told
    forked(*arguments, tmp_path / "part", "--resume")
    assert ended() == 0
    assert log(tmp_path / "part") == log(tmp_path / "whole")
    assert (tmp_path / "part" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


STEPS = """
import sys, torch, torch.distributed as dist
from pathlib import Path
from alexnet.trainer import train
from alexnet.train import Options, Training
train.SAMPLE, train.MOST_BROKEN = 2, 0.05  # so that no process has seen all pictures before the steps
data, out, losses, *two = sys.argv[1:]
dist.init_process_group("gloo")
Training.update = lambda self, x, labels, update=Training.update: update(self, x.double(), labels)
options = Options(Path(data), Path(out), variant="small", batch_size=8, lr=1e-4, dropout=0.0, device="cpu", workers=1, two_gpu=bool(two))
torch.set_default_dtype(torch.float64)  # the net's: on some processors the rounding of float32 grows beyond the bound
training = Training(options, None)
torch.set_default_dtype(torch.float32)
assert all(p.dtype == torch.float64 for p in training.net.parameters())
training.learn()
training.merge_broken()
mean = training._mean_losses()
training.held_out.labels.view(5, 2, 4)[:, 1] = -1  # never right: so the two halves of a batch differ
training.trained.mean = training.trained.mean.double()
tested = training.validate()
if training.rank == 0:
    torch.save({"losses": mean, "broken": sorted(training.sets[0].broken), "tested": tested}, losses)
dist.destroy_process_group()
"""


def torchrun(processes, *command, **more):
    # torchrun's own command, of this Python
    arguments = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *map(str, command)]
    return subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def test_two_processes_are_as_one(data_folder, tmp_path):
    """Twenty steps: two processes with half the batch each, with a column on each of two devices as well, have its losses and its accuracy.

    Two pictures are broken; all processes know of both in the end. The rate is low, since this net at its start makes a hundred thousand of a rounding within twenty steps at 0.01.
    """
    (tmp_path / "steps.py").write_text(STEPS)
    data = shutil.copytree(data_folder, tmp_path / "data")
    for name in ("cat", "rocket"):
        min((data / "train" / name).iterdir()).write_text("")
    found = {}
    for name, processes, two in (("one", 1, []), ("two", 2, []), ("two, in two columns", 2, ["two"])):
        with torchrun(processes, tmp_path / "steps.py", data, tmp_path / name, tmp_path / f"{name}.pt", *two) as process:
            assert process.wait() == 0, process.stderr.read()
        found[name] = torch.load(tmp_path / f"{name}.pt")
    one = found["one"]["losses"]
    assert one.shape == (20,) and one.diff().abs().min() > 1e-3 and found["one"]["broken"] == [20, 120] and found["one"]["tested"][1] > 0
    for name in ("two", "two, in two columns"):
        torch.testing.assert_close(found[name]["losses"], one, rtol=1e-6, atol=0)
        assert found[name]["broken"] == [20, 120] and found[name]["tested"] == found["one"]["tested"]


def test_two_processes_stop_and_go_on(data_folder, tmp_path):
    arguments = ["-m", "alexnet.train", "--data", data_folder, *SMALL, "--epochs", "2", "--out"]
    with torchrun(2, *arguments, tmp_path / "whole") as process:
        assert process.wait() == 0, process.stderr.read()
    with torchrun(2, *arguments, tmp_path / "part") as process:
        while not (tmp_path / "part" / "log.jsonl").exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait() != 0 and "stopped by SIGTERM" in process.stderr.read()
    with torchrun(2, *arguments, tmp_path / "part", "--resume") as process:
        assert process.wait() == 0, process.stderr.read()
    assert log(tmp_path / "part") == log(tmp_path / "whole")
    assert (tmp_path / "part" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("more", [["--two-gpu"], ["--amp", "bf16"]])
def test_the_other_ways_to_compute(more, data_folder, tmp_path):
    run(data_folder, tmp_path / "run", "--epochs", "1", *more)
    assert math.isfinite(log(tmp_path / "run")[0]["loss"])
    assert evaluate(load(tmp_path / "run" / "checkpoint.pt"), scan_image_folder(data_folder / "test"))["images"] == 40
    run(data_folder, tmp_path / "run", "--epochs", "2", "--resume")  # what is not said is as it was
    assert len(log(tmp_path / "run")) == 2


def test_the_compiled_net_is_what_learns(data_folder, tmp_path, monkeypatch):
    """Compiled for real in test_lrn; here, that its steps are the run's and its names do not get into the checkpoint."""
    seen = []

    def stand_in(model):
        seen.append(model)
        return lambda images: seen.append(len(images)) or model(images)

    monkeypatch.setattr(torch, "compile", stand_in)
    run(data_folder, tmp_path / "compiled", "--epochs", "1", "--compile")
    assert seen[1:] == [16] * 10
    monkeypatch.undo()
    run(data_folder, tmp_path / "plain", "--epochs", "1")
    assert log(tmp_path / "compiled") == log(tmp_path / "plain")
    assert (tmp_path / "compiled" / "model.safetensors").read_bytes() == (tmp_path / "plain" / "model.safetensors").read_bytes()


def test_tensorboard_if_it_is_installed(data_folder, tmp_path, monkeypatch):
    told = []
    writer = type("SummaryWriter", (contextlib.nullcontext,), {"add_scalar": lambda _, *scalar: told.append(scalar)})
    monkeypatch.setattr(writer, "__enter__", lambda self: self)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=writer))
    run(data_folder, tmp_path / "run", "--epochs", "1")
    assert {name for name, _, _ in told} == {"loss", "top1", "top5", "lr"}


# What can be wrong


@pytest.mark.parametrize("kind", WRONG)
def test_folders_and_options_that_are_wrong(kind, data_folder, tmp_path):
    spoil, more, sentence = WRONG[kind]
    data = shutil.copytree(data_folder, tmp_path / "data")
    if spoil:
        spoil(data)
    told, code = says(lambda: run(data, tmp_path / "run", *more))
    assert re.search(sentence, told) and "\n" not in told and code == 1
    assert not (tmp_path / "run").exists()


def test_two_gpus_that_are_not_there(data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    told, _ = says(lambda: main(["--data", str(data_folder), "--out", str(tmp_path / "run"), "--two-gpu"]))
    assert told == "--two-gpu needs 2 GPUs, and this machine has 1: --device cuda:0 shares one, --device cpu runs it on the CPU"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"--two-gpu needs 2 GPUs for each of 2 processes, and this machine has 1"):
        devices_for(TrainConfig(data_folder, tmp_path, two_gpu=True))


def test_the_devices_of_a_process(data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert devices_for(TrainConfig(data_folder, tmp_path, two_gpu=True)) == [torch.device("cuda:2"), torch.device("cuda:3")]
    assert devices_for(TrainConfig(data_folder, tmp_path)) == [torch.device("cuda:1")]
    assert devices_for(TrainConfig(data_folder, tmp_path, device="cpu", two_gpu=True)) == [torch.device("cpu")] * 2


@pytest.fixture(scope="module")
def finished(data_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run(data_folder, out, "--epochs", "1")
    return out


@pytest.mark.parametrize("kind", OUT)
def test_output_folders_that_do_not_do(kind, finished, data_folder, tmp_path):
    spoil, more, sentence = OUT[kind]
    out = shutil.copytree(finished, tmp_path / "run")
    spoil(out)
    before = {path: path.read_bytes() for path in out.iterdir()} if out.is_dir() else out.read_bytes()
    told, code = says(lambda: run(data_folder, out, "--epochs", "2", *more))
    assert re.search(sentence, told) and "\n" not in told and code == 1
    assert before == ({path: path.read_bytes() for path in out.iterdir()} if out.is_dir() else out.read_bytes())


def test_other_pictures_than_before(finished, data_folder, tmp_path):
    out, data = shutil.copytree(finished, tmp_path / "run"), shutil.copytree(data_folder, tmp_path / "data")
    next((data / "train" / "cat").iterdir()).unlink()
    told, _ = says(lambda: run(data, out, "--epochs", "2", "--resume"))
    assert "has not the pictures that" in told and "159 to train on now, 160 then" in told
    shutil.copytree(data_folder, data, dirs_exist_ok=True)
    next((data / "test" / "cat").iterdir()).unlink()  # which decides when the rate falls
    told, _ = says(lambda: run(data, out, "--epochs", "2", "--resume"))
    assert "has not the pictures that" in told


def test_a_damaged_checkpoint(finished, data_folder, tmp_path, capsys):
    """The one before it is used, and the run ends as if nothing had been."""
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "checkpoint.pt").write_bytes((out / "checkpoint.pt").read_bytes()[:-1000])
    run(data_folder, out, "--epochs", "2", "--resume")
    told = capsys.readouterr().err
    assert "checkpoint.pt is refused: it is cut off, damaged" in told and "previous.pt is used" in told
    run(data_folder, tmp_path / "whole", "--epochs", "2")
    assert log(out) == log(tmp_path / "whole")
    for name in ("checkpoint.pt", "previous.pt"):
        (out / name).write_bytes(b"no good")
    told, _ = says(lambda: run(data_folder, out, "--epochs", "3", "--resume"))
    assert "checkpoint.pt is refused" in told and "previous.pt is refused" in told
    assert (out / "previous.pt").read_bytes() == b"no good"


def test_a_disk_that_is_full(data_folder, tmp_path):
    """/dev/full takes nothing, as a full disk."""
    out = tmp_path / "run"
    run(data_folder, out, "--epochs", "1")
    before = (out / "checkpoint.pt").read_bytes()
    (out / "checkpoint.part").symlink_to("/dev/full")
    told, code = says(lambda: run(data_folder, out, "--epochs", "2", "--resume"))
    assert re.fullmatch(r".*checkpoint.pt of \d\.\d MB cannot be written \(No space left on device\): free some space there, then --resume", told) and code == 1
    assert (out / "checkpoint.pt").read_bytes() == before and not (out / "checkpoint.part").exists()
    run(data_folder, out, "--epochs", "2", "--resume")
    assert len(log(out)) == 2


def test_a_loss_that_is_not_finite(data_folder, tmp_path, capsys):
    told, code = says(lambda: run(data_folder, tmp_path / "run", "--lr", "1e30"))
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"the loss is (nan|inf) in epoch 1, step [23]: begin anew in another folder with a lower --lr than 1e\+30; ", told) and code == 1
    assert all(tensor.isfinite().all() for tensor in load(tmp_path / "run" / "checkpoint.pt").model.state_dict().values())


def test_broken_pictures_are_skipped(data_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("alexnet.train.MOST_BROKEN", 0.02)
    data = shutil.copytree(data_folder, tmp_path / "data")
    broken = sorted((data / "train" / "cat").iterdir())[:3]
    for path in broken:
        path.write_bytes(path.read_bytes()[:300])
    run(data, tmp_path / "run", "--epochs", "2")
    told = capsys.readouterr().err
    assert all(told.count(f"skipped: {path} (") == 1 for path in broken)
    assert [entry["skipped"] for entry in log(tmp_path / "run")] == [3, 3]


def test_too_many_broken_pictures(data_folder, tmp_path, capsys):
    data = shutil.copytree(data_folder, tmp_path / "data")
    broken = sorted((data / "train" / "cat").iterdir())[:2]
    for path in broken:
        path.write_text("")
    _, code = says(lambda: run(data, tmp_path / "run"))
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == f"2 of 160 pictures in {data}/train cannot be decoded, over 1%: mend or remove {broken[0]}, {broken[1]}" and code == 1
    assert not (tmp_path / "run").exists()


def test_too_many_broken_test_pictures(data_folder, tmp_path, capsys):
    """After the epoch's steps, which are kept: with the picture mended the run goes on there, to the same end."""
    data = shutil.copytree(data_folder, tmp_path / "data")
    broken = next((data / "test" / "cat").iterdir())
    whole = broken.read_bytes()
    broken.write_text("")
    _, code = says(lambda: run(data, tmp_path / "run", "--epochs", "1"))
    told = capsys.readouterr().err.splitlines()
    assert told == [f"skipped: {broken} (the file is empty)", f"1 of 40 pictures in {data}/test cannot be decoded, over 1%: mend or remove {broken}"]
    assert torch.load(tmp_path / "run" / "checkpoint.pt")["step"] == 10 and code == 1
    broken.write_bytes(whole)
    run(data, tmp_path / "run", "--resume", "--epochs", "1")
    run(data_folder, tmp_path / "alone", "--epochs", "1")
    assert log(tmp_path / "run") == log(tmp_path / "alone")


def test_one_run_at_a_time(data_folder, tmp_path, errors):
    arguments = ["--data", data_folder, *SMALL, "--epochs", "2", "--resume", "--out", tmp_path / "run"]
    forked(*arguments)
    while not (tmp_path / "run" / "log.jsonl").exists():
        time.sleep(0.01)
    told, code = says(lambda: main(list(map(str, arguments))))
    assert told == f"another run is writing to {tmp_path / 'run'}: wait for it, or name another folder with --out" and code == 1
    assert ended() == 0 and len(log(tmp_path / "run")) == 2


@pytest.mark.parametrize("inside", ["train/run", "test", "val"])
def test_output_among_the_pictures(inside, data_folder, tmp_path):
    data = shutil.copytree(data_folder, tmp_path / "data")
    told, _ = says(lambda: run(data, data / inside))
    assert "lies among the pictures, in" in told and sorted(data.iterdir()) == [data / "test", data / "train"]


def test_what_is_resumed_after_the_end(finished, data_folder, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "run")
    before = (out / "model.safetensors").read_bytes()
    run(data_folder, out, "--epochs", "1", "--resume")
    assert capsys.readouterr().err == f"{out} has 1 epochs already: more with --epochs\n"
    assert (out / "model.safetensors").read_bytes() == before


# The page


def commands(notebook):
    """The lines of the blocks of shell commands on a page."""
    text = "\n".join(cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "markdown")
    return [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]


def test_every_command_of_the_page(data_folder, tmp_path):
    """As it stands there, on a small folder, with options that make it short."""
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    weights = torchvision.models.AlexNet_Weights.IMAGENET1K_V1
    torch.save(torchvision.models.alexnet().state_dict(), hub / weights.url.rsplit("/", 1)[1])
    for i in range(1000):
        (tmp_path / "imagenet" / "val" / f"n{i:08d}").mkdir(parents=True)
        picture = tmp_path / "imagenet" / "val" / f"n{i:08d}" / "0.jpg"
        shutil.copy(next((data_folder / "test" / "cat").iterdir()), picture) if i < 3 else picture.touch()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    names = {"--nproc-per-node 4": "--nproc-per-node 2", "DATA": str(data_folder), "IMAGENET": str(tmp_path / "imagenet"), "HOST:29500": f"localhost:{port}"}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_HOME": str(tmp_path)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = commands("book/train_it.ipynb")
    assert len(found) >= 8
    last = None
    for n, line in enumerate(found):
        out = tmp_path / str(n)
        if "--resume" in line or "alexnet.evaluate" in line:
            out = last  # of the command before it
        for name, value in (names | {"OUT": str(out)}).items():
            line = line.replace(name, value)
        more = " --device cpu" + (" --variant small --batch-size 16 --epochs 1" if "alexnet.train" in line else "")
        machines = 2 if "--nnodes 2" in line else 1
        processes = [subprocess.Popen((line + more).split(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(machines)]
        for process in processes:
            told, errors = process.communicate()
            assert process.returncode == 0, f"{line}: {errors}"
        if "alexnet.evaluate" in line:
            assert 0 <= json.loads(told.splitlines()[-1])["top1"] <= 1
        else:
            assert (out / "model.safetensors").exists()
            last = out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("more", [[], ["--amp", "bf16"], ["--two-gpu"]])
def test_on_a_gpu(more, data_folder, tmp_path):
    """The losses of the CPU, up to rounding: in bfloat16 to two digits."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found = {}
    for device in ("cpu", "cuda:0"):
        run(data_folder, tmp_path / device, "--epochs", "1", "--lr", "1e-4", "--dropout", "0", *more, "--device", device)
        found[device] = log(tmp_path / device)[0]["loss"]
    assert found["cuda:0"] == pytest.approx(found["cpu"], rel=0.03 if "bf16" in more else 1e-4)


def test_the_rate_falls_when_the_error_stands_still(data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "validate", lambda self: (0.25, 0.5))
    run(data_folder, tmp_path / "run", "--epochs", "3", "--patience", "0")
    assert [entry["lr"] for entry in log(tmp_path / "run")] == pytest.approx([0.01, 0.01, 0.001])
