import json
import re

import pytest
import torch

from alexnet.experiments import runner as runner_module
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.fit import preprocess
from alexnet.experiments.runner import RUNS, Runner, describe_machine


@pytest.fixture
def runner(patches, tmp_path):
    return Runner("x", patches, tmp_path, "cpu", num_seeds=1, quick=True)


def test_the_constructor_touches_no_file(runner, tmp_path):
    (tmp_path / "x.json").write_text("not JSON", encoding="utf-8")
    Runner("x", runner.dataset, tmp_path / "missing", "cpu", num_seeds=1)
    Runner("x", runner.dataset, tmp_path, "cpu", num_seeds=1)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_run_is_trained_once_and_found_again(runner, tmp_path, monkeypatch):
    run = runner.run(ExperimentConfig(epochs=1))
    monkeypatch.setattr(runner_module, "fit", None)  # calling it would fail
    assert runner.run(ExperimentConfig(epochs=1)) is run and runner.runs == [run]
    again = Runner("x", runner.dataset, tmp_path, "cpu", num_seeds=1, quick=True)
    again.load_recorded()
    assert again.run(ExperimentConfig(epochs=1)) == run


def test_the_limits_of_the_command_and_of_the_data_set(patches, tmp_path):
    runner = Runner("x", patches, tmp_path, "cpu", num_seeds=1, max_epochs=1, quick=True)
    config = runner.run(ExperimentConfig(epochs=7))["config"]
    assert (config["epochs"], config["train_images"], config["batch_size"]) == (1, 128, 32)


def test_each_run_gets_its_own_images(runner, patches, monkeypatch):
    seen = []

    def fake_fit(config, data, num_classes):
        seen.append(data)
        return None, {"loss": [[0.0]]}

    monkeypatch.setattr(runner_module, "fit", fake_fit)
    asked = [(64, "raw"), (128, "raw"), (128, "standardized")]
    for images, pixels in asked:
        runner.run(ExperimentConfig(train_images=images, pixels=pixels))
    for data, (images, pixels) in zip(seen, asked, strict=True):
        own = preprocess(patches if images == 128 else patches.subset(images), pixels)
        assert all(a.equal(b) for a, b in zip(data, own, strict=True))


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT", "AVX512"])
def test_the_machine_names_what_the_precision_depends_on(capability, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert capability in describe_machine("cpu")


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_recorded_carries_all_that_it_takes_to_run_it_again(path):
    file = json.loads(path.read_text(encoding="utf-8"))
    seeds = 10 if path.stem == "specialisation" else 3
    assert file["command"] == f"python -m alexnet.experiments {path.stem}"
    assert file["options"] == {"seeds": seeds, "epochs": None}
    if path.stem != "kernels":
        assert file["data"]["name"] == "CIFAR-10"
        assert (file["data"]["train"], file["data"]["test"]) == (50_000, 10_000)
    assert file["runs"] or path.stem == "small"
    for run in file["runs"]:
        config = ExperimentConfig(**run["config"] | {"pool": tuple(run["config"]["pool"])})
        machine = r".+; torch \S+, torchvision \S+, Python 3\.\d+\.\d+"
        assert re.fullmatch(machine, run["machine"]), run["machine"]
        assert run["precision"] in ("bfloat16", "float32") and run["seconds"] > 0
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", run["date"])
        curve = run["curve"]
        assert 1 <= len(curve["test_error"]) <= config.epochs
        assert 1 <= len(curve["train_error"]) == len(curve["loss"]) <= config.epochs
        assert all(len(row) == 4 for row in curve["loss"] + curve["train_error"])
    assert path.stat().st_size < 300_000
