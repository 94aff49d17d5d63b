"""The command, in seconds and on patches of photographs."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict

import pytest

from alexnet.checkpoint import load_weights
from alexnet.experiments import __main__ as command
from alexnet.experiments import runner as runner_module
from alexnet.experiments.__main__ import main
from alexnet.experiments.config import RECIPE_TODAY, ExperimentConfig
from alexnet.experiments.nets import build_net
from alexnet.experiments.recipes import EXPERIMENTS
from helpers import NO_RUN, exit_message, some_of


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def curves(path):
    """The curve of each configuration in a file of recorded runs."""
    return {json.dumps(run["config"]): run["curve"] for run in read(path)["runs"]}


# What it records


ONE_RUN = ("kernels", "tiny-imagenet-kernels")
TRAINING = [name for name in EXPERIMENTS if name not in (*ONE_RUN, *NO_RUN)]
# Those that take a second, and what other tests here do not run
QUICK = ("augmentation", "dropout", "race-dropout", "specialisation")


@pytest.mark.parametrize("name", some_of(TRAINING, *QUICK))
def test_quick(name, tmp_path):
    main([name, "--quick", "--seeds", "1", "--device", "cpu", "--out", str(tmp_path)])
    file = read(tmp_path / f"{name}.json")
    assert file["command"] == f"python -m alexnet.experiments {name} --quick"
    # The races have data of their own.
    names = {
        "race": "patches of six photographs",
        "race-dropout": "few patches of six photographs",
    }
    assert file["data"]["name"] == names.get(name, "photo patches")
    configs = {json.dumps(run["config"]) for run in file["runs"]}
    assert len(configs) == len(file["runs"]) >= 2
    for run in file["runs"]:
        assert set(run["config"]) == set(asdict(ExperimentConfig()))
        assert "torch" in run["machine"]
        curve = run["curve"]
        assert len(curve["loss"]) == len(curve["train_error"]) == 1 and len(curve["loss"][0]) == 4


def test_a_group_at_a_time(tmp_path, monkeypatch):
    """What is recorded of one group stays when another is run."""
    asked = []

    def fake_fit(config, data, num_classes, held_out, pretrained):
        asked.append(config)
        distance = abs(config.lr - 0.03)  # from the best rate
        curve = {"loss": [[1.0] * 4], "train_error": [[1.0] * 4], "held_out_error": [distance]}
        return build_net(config, num_classes, config.crop), curve

    monkeypatch.setattr(runner_module, "fit", fake_fit)
    counts = []
    for group in ("3", "1", "2", "1"):
        main(["tiny-imagenet", "--quick", "--group", group, "--out", str(tmp_path)])
        assert len(read(tmp_path / "tiny-imagenet.json")["runs"]) == len(asked)
        counts.append(len(asked))
    assert counts[0] < counts[1] < counts[2] == counts[3]
    assert all(run["curve"]["coloured"] for run in read(tmp_path / "tiny-imagenet.json")["runs"])


LIMITS = ["limits", "--quick", "--device", "cpu"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A file of recorded runs; whoever changes it takes a copy."""
    folder = tmp_path_factory.mktemp("recorded")
    main([*LIMITS, "--seeds", "1", "--out", str(folder)])
    return folder / "limits.json"


def test_each_run_has_its_line_in_the_file(recorded):
    text = recorded.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith('{"config":{')]
    assert len(lines) == len(read(recorded)["runs"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "std"),
    some_of(
        [("kernels", "photo exemplars", 0.001), ("tiny-imagenet-kernels", "photo patches", 0.01)],
        ("tiny-imagenet-kernels", "photo patches", 0.01),
    ),
)
def test_quick_kernels(name, data, std, tmp_path):
    main([name, "--quick", "--device", "cpu", "--out", str(tmp_path)])
    file = read(tmp_path / f"{name}.json")
    tensors, metadata = load_weights(tmp_path / f"{name}.safetensors")
    assert file["data"]["name"] == metadata["data"] == data
    assert metadata["command"] == file["command"] and metadata["licence"]
    assert len(file["runs"]) == 1
    assert tensors["conv1"].shape == (96, 3, 11, 11)
    assert tensors["conv1"].std() < 3 * std  # a few steps from the initialization
    explained = file["runs"][0]["curve"]["explained"]
    assert len(explained["gabor"]) == len(explained["blob"]) == 96


def test_quick_small(tmp_path):
    main(["small", "--quick", "--device", "cpu", "--out", str(tmp_path)])
    file = read(tmp_path / "small.json")
    assert set(file["accuracy"]) == {"one crop", "ten crops"}
    assert set(file["same_class"]) == {"hidden", "untrained", "pixels"}
    assert all(len(logits) == 10 for logits in file["logits"].values())
    assert file["training"]["variant"] == "small" and "torch" in file["machine"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_quick_cuts(tmp_path):
    main(["cuts", "--quick", "--device", "cpu", "--out", str(tmp_path)])
    file = read(tmp_path / "cuts.json")
    assert file["command"] == "python -m alexnet.experiments cuts --quick"
    assert file["data"]["name"] == "photo patches" and len(file["weights"]["sha256"]) == 64
    assert {"none", "column1", "conv5.column2", "kernel48"} <= {row["cut"] for row in file["cuts"]}
    assert all("torch" in row["machine"] and row["seconds"] >= 0 for row in file["cuts"])


# Stopping and starting again


@pytest.mark.slow
def test_killed_and_started_again(tmp_path):
    """SIGKILL half-way: the same command ends with what an undisturbed one ends with."""
    arguments = ["learning", "--quick", "--seeds", "1", "--device", "cpu", "--out"]
    main([*arguments, str(tmp_path / "whole")])
    whole = curves(tmp_path / "whole" / "learning.json")
    part = tmp_path / "part" / "learning.json"
    killed = [sys.executable, "-m", "alexnet.experiments", *arguments, str(part.parent)]
    with subprocess.Popen(killed, stdout=subprocess.DEVNULL) as process:
        while not part.exists() or len(curves(part)) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    kept = read(part)["runs"]
    assert 2 <= len(kept) < len(whole)
    main([*arguments, str(part.parent)])
    assert curves(part) == whole
    assert read(part)["runs"][: len(kept)] == kept  # not made again


def test_interrupted(tmp_path, monkeypatch):
    """Ctrl-C ends with a sentence that says what is kept and how to go on."""
    folder = tmp_path / "new" / "runs"
    path = folder / "lrn.json"
    fit = runner_module.fit

    def fit_until_a_run_is_kept(*args, **options):
        if path.exists():
            signal.raise_signal(signal.SIGINT)
        return fit(*args, **options)

    monkeypatch.setattr(runner_module, "fit", fit_until_a_run_is_kept)
    arguments = ["lrn", "--quick", "--device", "cpu", "--out", str(folder)]
    told, code = exit_message(lambda: main(arguments))
    assert told == (
        f"stopped: what is finished is in {path}; the same command with --out {folder} goes on"
    )
    assert code == 1 and curves(path)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_command_interrupted(tmp_path):
    """The same from outside, at any moment, without a traceback."""
    folder = tmp_path / "new" / "runs"
    path = folder / "lrn.json"
    arguments = ["lrn", "--quick", "--device", "cpu", "--out", str(folder)]

    def take_sigint():
        """Jobs in the background of a shell ignore it."""
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(
        [sys.executable, "-m", "alexnet.experiments", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_sigint,
    ) as process:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        f"stopped: what is finished is in {path}; the same command with --out {folder} goes on"
    )
    assert "Traceback" not in errors and curves(path)


def test_a_pipe_whose_reader_has_exited_costs_no_run(tmp_path, monkeypatch):
    def broken(*args, **options):
        raise BrokenPipeError

    monkeypatch.setattr(command, "print", broken, raising=False)
    monkeypatch.setattr(runner_module, "print", broken, raising=False)
    main(["limits", "--quick", "--seeds", "1", "--out", str(tmp_path)])
    assert len(curves(tmp_path / "limits.json")) > 2


def test_runs_that_the_code_no_longer_asks_for_stay_in_the_file(recorded, tmp_path):
    path = tmp_path / "limits.json"
    file = read(recorded)
    first, second = file["runs"][:2]
    first["config"]["seed"] = 7
    file["runs"] = [first, second]
    path.write_text(json.dumps(file), encoding="utf-8")
    main([*LIMITS, "--seeds", "1", "--out", str(tmp_path)])
    assert first in read(path)["runs"]


@pytest.mark.slow
def test_runs_of_another_experiment_are_reused(tmp_path, capsys):
    main(["learning", "--quick", "--out", str(tmp_path)])
    main(["pooling", "--quick", "--out", str(tmp_path)])
    ours, others = curves(tmp_path / "pooling.json"), curves(tmp_path / "learning.json")
    own = [key for key in ours if key not in others]
    # Two recipes, two seeds; those with windows of 3 are there
    assert len(own) == 4 and all(json.loads(key)["pool"] == [2, 2] for key in own)
    assert capsys.readouterr().out.count("\npooling ") == 4  # trained


# What is wrong, in a sentence


def test_no_lr_at_which_it_learns(tmp_path, monkeypatch):
    def diverge(config, data, num_classes, held_out, pretrained):
        return None, {"loss": [[None] * 4], "test_error": [None]}

    monkeypatch.setattr(runner_module, "fit", diverge)
    folder = re.escape(str(tmp_path))
    message = (
        rf"^no best lr between {RECIPE_TODAY.lr} and .*; "
        rf"what is finished is in {folder}/pooling.json$"
    )
    with pytest.raises(SystemExit, match=message):
        main(["pooling", "--quick", "--out", str(tmp_path)])
    assert curves(tmp_path / "pooling.json")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    path = re.escape(str(tmp_path / "file"))
    message = rf"^--out must be a folder to write to, got {path} \(.*\): name another one$"
    with pytest.raises(SystemExit, match=message):
        main(["lrn", "--quick", "--out", str(tmp_path / "file")])


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    message = r"must be a folder to write to.* \(Read-only file system\)"
    with pytest.raises(SystemExit, match=message):
        main(["lrn", "--quick", "--out", str(tmp_path)])


def test_outside_a_checkout_a_folder_must_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "RUNS", tmp_path / "book" / "runs")
    with pytest.raises(SystemExit, match=r"^--out must be given outside a checkout[^\n]*$"):
        main(["lrn"])
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(os, "replace", full)
    message = (
        r"^\S+learning\.json cannot be written \(No space left on device\); nothing was finished$"
    )
    with pytest.raises(SystemExit, match=message):
        main(["learning", "--quick", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", "[]", '{"runs": [{}]}', '{"data": {}}'])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "lrn.json").write_text(text, encoding="utf-8")
    message = r"^[^\n]*lrn\.json is not a file of recorded runs[^\n]*move it away[^\n]*$"
    with pytest.raises(SystemExit, match=message):
        main(["lrn", "--quick", "--out", str(tmp_path)])
    assert (tmp_path / "lrn.json").read_text(encoding="utf-8") == text


def test_a_file_made_with_other_options_is_not_touched(recorded):
    before = recorded.read_text(encoding="utf-8")
    message = "was made with other options.*give another folder"
    with pytest.raises(SystemExit, match=message):
        main([*LIMITS, "--seeds", "2", "--out", str(recorded.parent)])
    assert recorded.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lrn", "--quick", "--seeds", "0"], "--seeds must be > 0, got 0"),
        (["lrn", "--quick", "--epochs", "-1"], "--epochs must be > 0, got -1"),
        (
            ["lrn", "--group", "1"],
            "--group is an option of tiny-imagenet, which has groups, got lrn",
        ),
        (["tiny-imagenet", "--group", "4"], "argument --group: invalid choice: 4"),
        (["lrn", "--quick", "--device", "cuda:77"], "--device cuda:77 cannot be used here"),
        (["lrn", "--quick", "--device", "cuda:77"], "take --device cpu"),
        (["lrn", "--quick", "--device", "toaster"], "--device toaster cannot be used here"),
        (["lrm"], "invalid choice: 'lrm'"),
    ],
)
def test_says_what_is_wrong_and_exits(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--out", str(tmp_path)])
    code = end.value.code
    said = code if isinstance(code, str) else capsys.readouterr().err.splitlines()[-1]
    assert message in said and code != 0 and "\n" not in said
    assert not list(tmp_path.iterdir())


def test_tiny_imagenet_that_is_missing(tmp_path):
    arguments = ["tiny-imagenet", "--data", str(tmp_path / "x"), "--out", str(tmp_path / "runs")]
    command = re.escape(f"python -m alexnet.prepare tiny-imagenet --out {tmp_path / 'x'}")
    with pytest.raises(
        SystemExit, match=rf"^Tiny ImageNet is not in [^\n]*: {command} downloads it$"
    ):
        main(arguments)


def test_class_folders_that_are_missing(tmp_path):
    (tmp_path / "train").mkdir()
    # --out: a checkout's own folder need not be writable
    arguments = ["lrn", "--data", str(tmp_path), "--out", str(tmp_path / "runs")]
    with pytest.raises(SystemExit, match="has train/ and no val/ or test/"):
        main(arguments)
