import json
import re
from dataclasses import replace

import pytest
import torch

from alexnet.experiments import runner as runner_module
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.fit import preprocess
from alexnet.experiments.recipes import NUM_SEEDS
from alexnet.experiments.runner import RUNS, Runner, describe_machine
from helpers import NO_RUN


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

    def fake_fit(config, data, num_classes, held_out, pretrained):
        assert held_out is None
        seen.append(data)
        return None, {"loss": [[0.0]]}

    monkeypatch.setattr(runner_module, "fit", fake_fit)
    asked = [(64, "raw"), (128, "raw"), (128, "standardized")]
    for images, pixels in asked:
        runner.run(ExperimentConfig(train_images=images, pixels=pixels))
    for data, (images, pixels) in zip(seen, asked, strict=True):
        own = preprocess(patches if images == 128 else patches.subset(images), pixels)
        assert all(a.equal(b) for a, b in zip(data, own, strict=True))


def test_a_run_that_holds_images_out(runner, patches, monkeypatch):
    """Of each class the last tenth; there are 16 images a class, so one."""
    seen = []

    def fake_fit(config, data, num_classes, held_out, pretrained):
        seen.append((config, data, num_classes, held_out))
        return None, {"loss": [[0.0]]}

    monkeypatch.setattr(runner_module, "fit", fake_fit)
    config = ExperimentConfig(test="at the end", crop=24, num_classes=4, train_images=50_000)
    with pytest.raises(ValueError, match="n must be a multiple of 4"):
        runner.run(replace(config, train_images=49))
    runner.run(replace(config, train_images=48))
    found, (images, labels, test_images, test_labels), num_classes, held_out = seen[0]
    assert num_classes == found.num_classes == 4 and found.train_images == 48
    for number, label in enumerate((0, 2, 4, 6)):  # evenly spread over eight
        own = patches.train_images[patches.train_labels == label]
        assert images[labels == number].equal(own[:12])
        assert held_out[0][held_out[1] == number].equal(own[-1:])
        assert test_images[test_labels == number].equal(
            patches.test_images[patches.test_labels == label]
        )


def test_a_net_learns_other_classes_first(runner, patches, monkeypatch):
    """Once a seed; it never sees an image of the classes that the run is about."""
    seen = []

    def fake_fit(config, data, num_classes, held_out, pretrained=None):
        seen.append((config, data, num_classes, pretrained))
        return f"net {config.seed}", {"loss": [[0.0]]}

    monkeypatch.setattr(runner_module, "fit", fake_fit)
    config = ExperimentConfig(
        test="at the end", crop=24, num_classes=2, train_images=24, pretrain_epochs=5
    )
    for seed, lr in ((0, 0.1), (0, 0.3), (1, 0.1)):
        run = runner.run(replace(config, seed=seed, lr=lr))
        assert run["curve"]["pretraining"] == {"loss": [[0.0]]}
        assert run["config"]["pretrain_epochs"] == 5
    assert [(found.seed, classes) for found, _, classes, _ in seen] == [
        (0, 6), (0, 2), (0, 2), (1, 6), (1, 2)
    ]  # fmt: skip
    assert [net for *_, net in seen] == [None, "net 0", "net 0", None, "net 1"]
    source, (images, labels, held_out, _), *_ = seen[0]
    assert (source.epochs, source.train_images, len(images)) == (5, 6 * 15, 6 * 15)
    others = [label for label in range(8) if label not in (0, 4)]
    for number, label in enumerate(others):  # two of eight are left out
        own = patches.train_images[patches.train_labels == label]
        assert images[labels == number].equal(own[:-1])
        assert held_out[number].equal(own[-1])


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT", "AVX512"])
def test_the_machine_names_what_the_precision_depends_on(capability, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert capability in describe_machine("cpu")


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_recorded_carries_all_that_it_takes_to_run_it_again(path):
    file = json.loads(path.read_text(encoding="utf-8"))
    seeds = NUM_SEEDS.get(path.stem, 3)
    assert file["command"] == f"python -m alexnet.experiments {path.stem}"
    assert file["options"] == {"seeds": seeds, "epochs": None}
    if path.stem.startswith("tiny-imagenet"):
        data = file["data"]
        assert (data["name"], data["train"], data["test"]) == ("Tiny ImageNet", 100_000, 10_000)
    elif path.stem in ("cuts", "confusion"):  # train nothing
        assert (file["data"]["name"], file["data"]["test"]) == ("Tiny ImageNet", 10_000)
    elif path.stem.startswith("race"):  # patches of the photographs in the page
        images = {"race": 3840, "race-dropout": 384}[path.stem]
        assert (file["data"]["train"], file["data"]["test"]) == (images, 768)
    elif path.stem != "kernels":
        assert file["data"]["name"] == "CIFAR-10"
        assert (file["data"]["train"], file["data"]["test"]) == (50_000, 10_000)
    assert file["runs"] or path.stem in NO_RUN
    for run in file["runs"]:
        config = ExperimentConfig(**run["config"] | {"pool": tuple(run["config"]["pool"])})
        machine = r".+; torch \S+, torchvision \S+, Python 3\.\d+\.\d+"
        assert re.fullmatch(machine, run["machine"]), run["machine"]
        assert run["precision"] in ("bfloat16", "float32") and run["seconds"] > 0
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", run["date"])
        curve = run["curve"]
        errors = curve.get("held_out_error", curve["test_error"])
        assert 1 <= len(errors) <= config.epochs
        assert 1 <= len(curve["train_error"]) == len(curve["loss"]) <= config.epochs
        assert all(len(row) == 4 for row in curve["loss"] + curve["train_error"])
    assert path.stat().st_size < (1_000_000 if path.stem == "tiny-imagenet" else 300_000)
