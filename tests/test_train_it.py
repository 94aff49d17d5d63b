"""The commands that the chapter train_it shows."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
import torchvision

from helpers import ROOT


def commands(notebook):
    """The lines of the blocks of shell commands on a page."""
    lines = []
    for cell in nbformat.read(notebook, 4).cells:
        if cell.cell_type == "markdown":
            for block in re.findall(r"^ *```sh\n(.*?)^ *```", cell.source, re.M | re.S):
                joined = re.sub(r" \\\n +", " ", block)  # a command of several lines
                lines += [line.strip() for line in joined.splitlines()]
    return lines


def imagenet(folder, image):
    """A folder of a thousand classes, three of which have an image that can be decoded."""
    for i in range(1000):
        class_folder = folder / "val" / f"n{i:08d}"
        class_folder.mkdir(parents=True)
        if i < 3:
            shutil.copy(image, class_folder / "0.jpg")
        else:
            (class_folder / "0.jpg").touch()
    return folder


def torch_home(folder):
    """Where torchvision finds weights that it need not download."""
    hub = folder / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    name = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    torch.save(torchvision.models.alexnet().state_dict(), hub / name)
    return folder


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def run_together(command, processes, environment):
    """Start a command so many times, as on so many machines; what each of them prints."""
    started = [
        subprocess.Popen(
            command.split(),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    told = []
    for process in started:
        out, errors = process.communicate()
        assert process.returncode == 0, f"{command}: {errors}"
        told.append(out)
    return told


@pytest.mark.slow
@pytest.mark.exhaustive
def test_every_command_of_the_page(data_folder, tmp_path):
    """As it stands there, on a small folder, with options that make it short."""
    image = next((data_folder / "test" / "cat").iterdir())
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TORCH_HOME": str(torch_home(tmp_path / "torch")),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    values = {
        "--nproc-per-node 4": "--nproc-per-node 2",
        ".venv/bin/python": "python",
        "IMAGENET": str(imagenet(tmp_path / "imagenet", image)),
        "DATA/val": str(data_folder / "test"),
        "DATA": str(data_folder),
        "PICTURE": str(image),
        "HOST:29500": f"localhost:{free_port()}",
    }
    found = commands(ROOT / "book" / "train_it.ipynb")
    assert len(found) >= 10
    out = None
    for n, line in enumerate(found):
        trains = "alexnet.train" in line
        if trains and "--resume" not in line:  # the others go on with the folder before
            out = tmp_path / str(n)
        for name, value in (values | {"OUT": str(out)}).items():
            line = line.replace(name, value)
        line += " --device cpu"
        if trains:
            line += " --batch-size 16 --epochs 1"
            if "--init-from" not in line and "--resume" not in line:
                line += " --variant small"
        told = run_together(line, 2 if "--nnodes 2" in line else 1, environment)
        if trains:
            assert (out / "model.safetensors").exists()
        elif "--image" in line:
            assert re.search(r"\d% \w+$", told[-1].splitlines()[0])
        else:
            assert 0 <= json.loads(told[-1].splitlines()[-1])["top1"] <= 1


@pytest.mark.slow
def test_a_later_net_learns_by_the_lines_of_the_page(data_folder, tmp_path, monkeypatch, capsys):
    """As they stand there, on a few pictures of two classes, and with random weights."""
    text = "\n".join(
        cell.source
        for cell in nbformat.read(ROOT / "book" / "train_it.ipynb", 4).cells
        if cell.cell_type == "markdown"
    )
    (lines,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert sum(map(bool, lines.splitlines())) <= 20
    for part, source, count in (("train", "train", 2), ("val", "test", 1)):
        for name in ("cat", "coffee"):
            folder = tmp_path / "DATA" / part / name
            folder.mkdir(parents=True)
            for path in list((data_folder / source / name).iterdir())[:count]:
                shutil.copy(path, folder)
    assert "weights=weights" in lines and "range(15)" in lines
    lines = lines.replace("weights=weights", "weights=None").replace("range(15)", "range(1)")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(lines, found := {})
    fresh = torchvision.models.resnet50().fc.weight
    assert found["net"].fc.weight.shape == (2, fresh.shape[1])
    assert found["net"].fc.weight.grad.abs().sum() > 0
    assert torch.load("net.pt", weights_only=True).keys() == found["net"].state_dict().keys()
    assert re.fullmatch(r"[012] of 2 are right\n", capsys.readouterr().out)
