"""Devices, process groups, and processes that share a run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch

from alexnet.distributed import ProcessGroup, ShardedDropout, devices_for, resolve_device
from alexnet.train import main
from helpers import SMALL_RUN, exit_message, read_log, some_of, torchrun


def test_two_gpus_that_are_not_there(data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    command = ["--data", str(data_folder), "--out", str(tmp_path / "run"), "--two-gpu"]
    told, _ = exit_message(lambda: main(command))
    assert told == (
        "--two-gpu needs 2 GPUs, and this machine has 1: --device cuda:0 shares one, "
        "--device cpu runs it on the CPU"
    )
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 GPUs for each of 2 processes, and this machine has 1"):
        devices_for(None, two_gpu=True)


def test_the_devices_of_a_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert devices_for(None, two_gpu=True) == [torch.device("cuda:2"), torch.device("cuda:3")]
    assert devices_for(None, two_gpu=False) == [torch.device("cuda:1")]
    assert devices_for("cpu", two_gpu=True) == [torch.device("cpu")] * 2


@pytest.mark.parametrize("name", ["cuda:77", "meta", "toaster"])
def test_a_device_that_cannot_be_used(name):
    with pytest.raises(ValueError, match=rf"^--device {name} cannot be used here, take"):
        resolve_device(name)


def test_a_group_of_one_returns_what_it_is_given():
    group, x = ProcessGroup(), torch.tensor([1, 2])
    assert (group.rank, group.world_size, group.is_main) == (0, 1, True)
    assert group.sum(x).equal(x) and group.max(x).equal(x)
    assert group.gather_objects("a") == ["a"] and group.broadcast_object("a") == "a"


COLLECTIVES = """
import sys, torch
from alexnet.distributed import init_process_group
group = init_process_group("cpu")
x = torch.tensor([group.rank, 10 - group.rank])
found = group.sum(x), group.max(x), group.gather_objects(group.rank), group.broadcast_object(x)
assert x.tolist() == [group.rank, 10 - group.rank]
group.barrier()
torch.save((group.is_main, *found), f"{sys.argv[1]}/{group.rank}.pt")
group.close()
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_group_of_two(tmp_path):
    (tmp_path / "collectives.py").write_text(COLLECTIVES, encoding="utf-8")
    with torchrun(2, tmp_path / "collectives.py", tmp_path) as process:
        assert process.wait() == 0, process.stderr.read()
    for rank in (0, 1):
        main_process, total, largest, ranks, first = torch.load(tmp_path / f"{rank}.pt")
        assert main_process == (rank == 0) and ranks == [0, 1]
        assert total.tolist() == [1, 19] and largest.tolist() == [1, 10]
        assert first.tolist() == [0, 10]


STEPS = """
import sys, torch
from pathlib import Path
from alexnet import trainer
from alexnet.distributed import init_process_group
from alexnet.trainer import TrainConfig, Trainer, make_trainer

# So that no process has seen all images before the steps
trainer.STATISTICS_SAMPLE, trainer.MAX_BROKEN_FRACTION = 2, 0.05
data, out, result, dropout, *two = sys.argv[1:]
group = init_process_group("cpu")
config = TrainConfig(
    Path(data), Path(out), variant="small", batch_size=8, lr=1e-4, dropout=float(dropout),
    device="cpu", workers=1, two_gpu=bool(two),
)
step = Trainer.training_step
Trainer.training_step = lambda self, x, labels: step(self, x.double(), labels)
# The net's; on some processors the rounding of float32 grows beyond the bound
torch.set_default_dtype(torch.float64)
run = make_trainer(config)
torch.set_default_dtype(torch.float32)
assert all(p.dtype == torch.float64 for p in run.net.parameters())
run.train_epoch()
run.data.sync_failures()
losses = run._mean_losses()
run.data.val.labels.view(5, 2, 4)[:, 1] = -1  # never right, so that the halves of a batch differ
run.predictor.mean = run.predictor.mean.double()
tested = run.validate()
if group.is_main:
    broken = sorted(run.data.loaders[0].failures)
    weights = {name: tensor.cpu() for name, tensor in run.net.state_dict().items()}
    found = {"losses": losses, "broken": broken, "tested": tested, "weights": weights}
    torch.save(found, result)
group.close()
"""


@pytest.fixture(scope="module")
def two_broken(data_folder, tmp_path_factory):
    """Data of which two images are broken."""
    data = shutil.copytree(data_folder, tmp_path_factory.mktemp("broken") / "data")
    for name in ("cat", "rocket"):
        min((data / "train" / name).iterdir()).write_text("", encoding="utf-8")
    return data


@pytest.fixture(scope="module")
def one_process(two_broken, tmp_path_factory):
    """What twenty steps in one process give, which torchrun has not started."""
    folder = tmp_path_factory.mktemp("one")
    command = [two_broken, folder / "run", folder / "one.pt", "0.0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", STEPS, *command], env=environment, check=True)
    return torch.load(folder / "one.pt")


@pytest.mark.slow
@pytest.mark.parametrize("devices", some_of([1, 2], 1))
def test_two_processes_are_as_one(two_broken, one_process, tmp_path, devices):
    """Twenty steps, with half the batch in each process, and with a column on each of two devices
    as well: the losses and the accuracy are those of one process.

    Two images are broken, and all processes know of both in the end. The learning rate is low,
    since at 0.01 this net grows a rounding error a hundred thousand times in its first steps.
    """
    (tmp_path / "steps.py").write_text(STEPS, encoding="utf-8")
    assert one_process["losses"].shape == (20,)
    assert one_process["losses"].diff().abs().min() > 1e-3
    assert one_process["broken"] == [20, 120] and one_process["tested"][1] > 0
    result = tmp_path / "result.pt"
    command = [tmp_path / "steps.py", two_broken, tmp_path / "run", result, 0.0]
    command += ["two"] if devices == 2 else []
    with torchrun(2, *command) as run:
        assert run.wait() == 0, run.stderr.read()
    found = torch.load(result)
    torch.testing.assert_close(found["losses"], one_process["losses"], rtol=1e-6, atol=0)
    assert found["broken"] == [20, 120] and found["tested"] == one_process["tested"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_row_has_the_same_dropout_mask_in_any_process(data_folder, tmp_path):
    """Twenty steps with dropout 0.5: the same losses and weights with one process and with two."""
    (tmp_path / "steps.py").write_text(STEPS, encoding="utf-8")
    found = {}
    for processes in (1, 2):
        out, result = tmp_path / f"run {processes}", tmp_path / f"{processes}.pt"
        with torchrun(processes, tmp_path / "steps.py", data_folder, out, result, 0.5) as run:
            assert run.wait() == 0, run.stderr.read()
        found[processes] = torch.load(result)
    one, two = found[1], found[2]
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-6, atol=0)
    torch.testing.assert_close(two["weights"], one["weights"], rtol=1e-6, atol=1e-9)


def test_dropout_of_a_shared_batch():
    """Zeros and doubles, about half and half, different in each row; nothing in evaluation."""
    x, masks = torch.ones(8, 1000), []
    for rank in (0, 1):
        group = ProcessGroup()
        group.rank, group.world_size = rank, 2
        dropout = ShardedDropout(0.5, group, 16)
        torch.manual_seed(0)
        masks.append(dropout(x))
        assert dropout.eval()(x) is x
    whole = ShardedDropout(0.5, ProcessGroup(), 16)
    torch.manual_seed(0)
    assert torch.cat(masks).equal(whole(torch.ones(16, 1000)))
    assert set(torch.cat(masks).unique().tolist()) == {0.0, 2.0}
    assert torch.cat(masks).mean().item() == pytest.approx(1, abs=0.05)
    assert len(torch.cat(masks).unique(dim=0)) == 16
    short = ShardedDropout(0.5, ProcessGroup(), 16)(torch.ones(3, 10))  # undecodable images
    assert short.shape == (3, 10)


def started(out):
    """Wait until a run has written its first checkpoint, and a little longer."""
    while not (out / "log.jsonl").exists():
        time.sleep(0.01)
    time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_two_processes_stop_and_go_on(data_folder, tmp_path):
    command = ["-m", "alexnet.train", "--data", data_folder, *SMALL_RUN, "--epochs", "2", "--out"]
    whole, part = tmp_path / "whole", tmp_path / "part"
    with torchrun(2, *command, whole) as process:
        assert process.wait() == 0, process.stderr.read()
    with torchrun(2, *command, part) as process:
        started(part)
        process.send_signal(signal.SIGTERM)
        assert process.wait() != 0 and "stopped by SIGTERM" in process.stderr.read()
    with torchrun(2, *command, part, "--resume") as process:
        assert process.wait() == 0, process.stderr.read()
    assert read_log(part) == read_log(whole)
    weights = "model.safetensors"
    assert (part / weights).read_bytes() == (whole / weights).read_bytes()


LOSE_RANK_0 = """
import os, signal, sys
from alexnet import trainer
from alexnet.train import main

step = trainer.Trainer.training_step

def training_step(self, x, labels):
    if self.data.group.is_main and self.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, x, labels)

trainer.Trainer.training_step = training_step
try:
    main(sys.argv[2:])
except SystemExit as end:
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(str(end.code))
    raise
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_process_that_loses_another_one_says_so(data_folder, tmp_path):
    """Without torchrun, which would end the second process before it can say anything."""
    (tmp_path / "lose.py").write_text(LOSE_RANK_0, encoding="utf-8")
    ranks = []
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    options = ["--data", data_folder, "--out", tmp_path / "run", *SMALL_RUN, "--epochs", "1"]
    for rank in ("0", "1"):
        environment = os.environ | {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, tmp_path / "lose.py", tmp_path / f"said-{rank}", *options]
        ranks.append(
            subprocess.Popen(
                list(map(str, command)), env=environment, stderr=subprocess.PIPE, text=True
            )
        )
    assert ranks[0].wait(timeout=120) == -signal.SIGKILL
    ranks[1].communicate(timeout=120)
    assert ranks[1].returncode == 1
    said = (tmp_path / "said-1").read_text(encoding="utf-8")
    assert said.startswith("process 1 ends, since it lost another one (")
