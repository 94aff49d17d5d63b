"""What parts of the shipped net are worth: that they are taken away, counted and kept."""

import json
import re

import pytest
import torch
from torch import nn

from alexnet.checkpoint import save_weights
from alexnet.datasets import photo_patches
from alexnet.experiments import cuts as module
from alexnet.experiments.__main__ import main
from alexnet.experiments.cuts import (
    WHOLE,
    CutRecorder,
    compare,
    count_parameters,
    cut_names,
    first_guesses,
    take_away,
    weights_sha256,
)
from alexnet.experiments.runner import RUNS, Runner
from alexnet.model import AlexNet
from alexnet.predictor import load

RECORD = RUNS / "cuts.json"


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = AlexNet(20, "tiny-imagenet").eval()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return net


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(1)
    return torch.randn(3, 3, 56, 56)


def maps_of(net, images):
    """What each layer of the net computes."""
    found = {}
    handles = [
        layer.register_forward_hook(lambda *call, name=name: found.update({name: call[2]}))
        for name, layer in [*net.features.named_children(), *net.classifier.named_children()]
    ]
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return found


# The parts


def test_every_part_has_its_name(net):
    names = cut_names(net)
    assert len(names) == len(set(names)) == 5 + 2 * 5 + 48
    assert {"conv1.column1", "conv5.column2", "kernel1", "kernel48"} <= set(names)


def test_the_whole_net_stays_whole(net, images):
    before = maps_of(net, images)
    for cut in cut_names(net):
        assert not torch.equal(maps_of(take_away(net, cut), images)["fc8"], before["fc8"]), cut
    assert torch.equal(maps_of(net, images)["fc8"], before["fc8"]) and not net.training


LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
FIRST = {name: range(half) for name, half in zip(LAYERS, (24, 64, 96, 96, 64))}
SECOND = {name: range(half, 2 * half) for name, half in zip(LAYERS, (24, 64, 96, 96, 64))}


@pytest.mark.parametrize(
    ("cut", "zero"),
    [
        ("kernel1", {"conv1": range(1)}),
        ("kernel48", {"conv1": range(47, 48)}),
        ("conv1.column2", {"conv1": range(24, 48)}),
        ("conv3.column1", {"conv3": range(96)}),
        ("column1", FIRST),
        ("column2", SECOND),
    ],
)
def test_maps_that_are_taken_away_are_zero(net, images, cut, zero):
    maps = maps_of(take_away(net, cut), images)
    for name in LAYERS:
        active = maps[name].abs().sum((0, 2, 3)) > 0  # (maps,)
        expected = [number not in zero.get(name, ()) for number in range(len(active))]
        assert active.tolist() == expected, name


def test_without_lrn(net, images):
    maps = maps_of(take_away(net, "lrn"), images)
    assert torch.equal(maps["norm1"], maps["act1"]) and torch.equal(maps["norm2"], maps["act2"])


def test_without_the_crossing_a_column_sees_nothing_of_the_other(net, images):
    cut = take_away(net, "crossing")
    maps, (before, conv3) = (
        maps_of(cut, images),
        (maps_of(net, images)["pool2"], cut.features.conv3),
    )
    assert torch.equal(maps["pool2"], before)
    for half in (0, 1):
        own = torch.zeros_like(before)
        own.chunk(2, dim=1)[half].copy_(before.chunk(2, dim=1)[half])
        with torch.no_grad():
            alone = net.features.conv3(own).chunk(2, dim=1)[half]
        torch.testing.assert_close(maps["conv3"].chunk(2, dim=1)[half], alone)
    assert conv3.weight.count_nonzero() == conv3.weight.numel() // 2


def test_dropout_left_on(net, images):
    cut = take_away(net, "dropout")
    torch.manual_seed(0)
    first, second = maps_of(cut, images), maps_of(cut, images)
    assert torch.equal(first["act6"], second["act6"])
    dropped = (first["drop6"] == 0) & (first["act6"] > 0)
    assert dropped.any() and not torch.equal(first["drop6"], second["drop6"])
    kept = first["drop6"] != 0
    p = cut.classifier.drop6.p
    torch.testing.assert_close(first["drop6"][kept], first["act6"][kept] / (1 - p))


@pytest.mark.parametrize(
    ("cut", "parameters"),
    [
        ("kernel5", 3 * 7 * 7 + 1),
        ("conv1.column1", 24 * (3 * 7 * 7 + 1)),
        ("conv2.column2", 64 * (24 * 5 * 5 + 1)),
        ("crossing", 192 * 64 * 3 * 3),
        ("lrn", 0),
        ("dropout", 0),
    ],
)
def test_how_many_parameters_a_cut_takes(net, cut, parameters):
    assert count_parameters(net, cut) == parameters
    assert net.features.conv1.weight.std() > 0  # the net keeps its own


def test_a_part_that_there_is_not_is_named(net):
    with pytest.raises(ValueError, match=r"has no part 'kernel49': choose one of column1, "):
        take_away(net, "kernel49")


# The counts


def test_what_is_right_and_what_has_changed():
    guesses = torch.tensor([[1, 2], [1, 2], [3, 1], [2, 1], [0, 3]])
    labels = torch.tensor([1, 2, 1, 2, 1])
    whole = torch.tensor([1, 2, 1, 0, 0])
    assert compare(guesses, labels, whole) == {
        "top1": pytest.approx(2 / 5),
        "top5": pytest.approx(4 / 5),
        "changed": 3,
        "right_to_wrong": 2,
        "wrong_to_right": 1,
    }


def test_the_guesses_are_the_predictor_s():
    predictor = load("tiny-imagenet")
    torch.manual_seed(0)
    images = torch.randint(256, (60, 3, 64, 64), dtype=torch.uint8)  # more than a batch
    views = images[:, :, 4:60, 4:60]
    guesses = first_guesses(predictor, predictor.model.eval(), views)
    sure = predictor.probabilities(images)
    assert guesses.shape == (60, 5)
    expected = sure.topk(5, dim=1).values
    torch.testing.assert_close(sure.gather(1, guesses), expected, rtol=1e-4, atol=1e-5)


# The record


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Of a few patches, and of a net of few parts, since each part takes a pass."""

    names = ["lrn", "dropout", "kernel1"]
    monkeypatch.setattr(module, "cut_names", lambda model: names)
    return Runner("cuts", photo_patches(160, 64), tmp_path, "cpu", num_seeds=2, quick=True)


def rows(path):
    return {row["cut"]: row for row in json.loads(path.read_text(encoding="utf-8"))["cuts"]}


def test_a_cut_is_measured_once(runner, monkeypatch):
    module.cuts(runner)
    before = rows(runner.path)
    assert list(before) == [WHOLE, "lrn", "dropout", "kernel1"]
    draws = before["dropout"]["draws"]
    assert len(draws) == 2 and draws[0] != draws[1]
    assert before["dropout"]["top5"] == pytest.approx(sum(d["top5"] for d in draws) / 2, abs=1e-6)
    assert before["lrn"]["changed"] > 0 and before[WHOLE]["changed"] == 0
    monkeypatch.setattr(module, "take_away", None)  # calling it would fail
    module.cuts(runner)
    assert rows(runner.path) == before


def test_an_interrupted_command_goes_on(runner, monkeypatch):
    def stop(model, cut):
        if cut == "kernel1":
            raise KeyboardInterrupt
        return take_away(model, cut)

    with monkeypatch.context() as patch:
        patch.setattr(module, "take_away", stop)
        with pytest.raises(KeyboardInterrupt):
            module.cuts(runner)
    kept = rows(runner.path)
    assert list(kept) == [WHOLE, "lrn", "dropout"]
    module.cuts(runner)
    after = rows(runner.path)
    assert list(after) == [*kept, "kernel1"] and after | kept == after


def test_other_weights_are_measured_anew(runner, monkeypatch):
    module.cuts(runner)
    monkeypatch.setattr(module, "weights_sha256", lambda: "other")
    recorder = CutRecorder(runner)
    recorder.load_recorded()
    assert recorder.rows == {}


def test_the_hash_is_that_of_the_tensors(tmp_path):
    path = tmp_path / "a.safetensors"
    found = []
    for value, note in [(1.0, "a"), (1.0, "b"), (2.0, "b")]:
        save_weights(path, {"x": torch.tensor([value])}, {"note": note})
        found.append(weights_sha256(path))
    assert found[0] == found[1] != found[2]


def test_photographs_of_other_classes_are_refused(tmp_path):
    """A small Tiny ImageNet whose classes are called otherwise."""

    photo_patches(32, 64).save(tmp_path / "data")
    arguments = ["cuts", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "runs")]
    message = r"--data must hold the 200 classes of tiny-imagenet, got 8 classes.*nothing was"
    with pytest.raises(SystemExit, match=message):
        main(arguments)


def test_photographs_that_are_missing(tmp_path):
    missing = tmp_path / "missing"
    message = re.escape(f"python -m alexnet.prepare tiny-imagenet --out {missing} downloads it")
    with pytest.raises(SystemExit, match=message):
        main(["cuts", "--data", str(missing), "--out", str(tmp_path / "runs")])


def test_the_record_is_of_the_shipped_weights():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["weights"] == {"name": "tiny-imagenet", "sha256": weights_sha256()}, (
        "run python -m alexnet.experiments cuts again"
    )
    assert record["data"]["test"] == 10_000
    by_cut = {row["cut"]: row for row in record["cuts"]}
    predictor = load("tiny-imagenet")
    assert list(by_cut) == [WHOLE, *cut_names(predictor.model)]
    assert len(by_cut["dropout"]["draws"]) == len(range(record["options"]["seeds"]))
    whole = by_cut[WHOLE]
    for row in by_cut.values():
        difference = (row["wrong_to_right"] - row["right_to_wrong"]) / 10_000
        assert row["top1"] - whole["top1"] == pytest.approx(difference, abs=2e-6)
        assert row["top1"] <= row["top5"]
        assert row["cut"] == WHOLE or row["parameters"] == count_parameters(
            predictor.model, row["cut"]
        )
        assert row["changed"] >= row["right_to_wrong"] + row["wrong_to_right"]
