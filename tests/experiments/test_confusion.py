"""What the shipped net confuses, and its neighbors: that they are counted right and kept."""

import json
import re

import pytest
import torch

from alexnet.checkpoint import load_weights
from alexnet.datasets import photo_patches
from alexnet.experiments.__main__ import main
from alexnet.experiments.branches import BRANCHES
from alexnet.experiments.confusion import (
    LISTED,
    NEIGHBORS,
    PHOTOGRAPHS,
    branch_indices,
    count_pairs,
    other_neighbors,
)
from alexnet.experiments.cuts import weights_sha256
from alexnet.experiments.runner import RUNS
from alexnet.predictor import TINY_IMAGENET

RECORD = RUNS / "confusion.json"


@pytest.fixture(scope="module")
def metadata():
    return load_weights(TINY_IMAGENET)[1]


def test_each_class_is_in_one_branch(metadata):
    names = [name for branch in BRANCHES.values() for name in branch]
    assert len(names) == len(set(names)) == 200 and set(names) == set(metadata["classes"])
    assert branch_indices(("n02123045", "n12267677", "cat")).tolist() == [0, 5, -1]
    words = dict(zip(metadata["classes"], metadata["words"]))
    dogs_first = [words[name].partition(",")[0] for name in BRANCHES["dogs, cats, bears"]]
    assert dogs_first[0] == "Chihuahua" and dogs_first[-1] == "lesser panda"


def test_an_image_is_not_its_own_neighbor():
    features = torch.tensor([[0.0], [0.1], [1.0], [3.0], [7.0]])
    assert other_neighbors(features, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1], [3, 2]]
    many = torch.randn(1203, 4, generator=torch.Generator().manual_seed(0))  # several batches
    found = other_neighbors(many)
    assert found.shape == (1203, NEIGHBORS)
    assert not (found == torch.arange(1203)[:, None]).any()


def test_pairs_are_counted():
    counts = count_pairs(torch.tensor([0, 0, 2]), torch.tensor([[1, 1], [1, 2], [0, 2]]), 3)
    assert counts.tolist() == [[0, 3, 1], [0, 0, 0], [1, 0, 1]]


def test_quick(tmp_path):
    main(["confusion", "--quick", "--device", "cpu", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "confusion.json").read_text(encoding="utf-8"))
    guesses = [sum(count for _, count in row["guesses"]) for row in record["classes"]]
    assert sum(guesses) == record["data"]["test"] == 80
    assert guesses[:8] == [10] * 8 and not any(guesses[8:])
    assert set(record["same_class"]) == {"hidden", "untrained", "pixels"}


def test_photographs_of_other_classes_are_refused(tmp_path):
    photo_patches(32, 64).save(tmp_path / "data")
    arguments = ["confusion", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "runs")]
    message = r"--data must hold the 200 classes of tiny-imagenet, got 8 classes.*nothing was"
    with pytest.raises(SystemExit, match=message):
        main(arguments)


def test_the_record_is_of_the_shipped_weights(metadata):
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    command = "python -m alexnet.experiments confusion --data TINY_IMAGENET"
    assert record["weights"] == {"name": "tiny-imagenet", "sha256": weights_sha256()}, (
        f"run {command} again"
    )
    assert RECORD.stat().st_size < 100e3
    right = []
    for label, row in enumerate(record["classes"]):
        assert row["class"] == metadata["classes"][label]
        counts = [count for _, count in row["guesses"]]
        assert counts == sorted(counts, reverse=True) and sum(counts) == 50
        assert sum(count for _, count in row["neighbors"]) <= 50 * NEIGHBORS
        assert len(row["neighbors"]) <= LISTED
        right.append(dict(row["guesses"]).get(label, 0) / 50)
    accuracy = metadata["accuracy"]["stored, one crop"]["top1"]
    assert sum(right) / 200 == pytest.approx(accuracy, abs=5e-4)  # rounding on other machines
    for shares in [*record["same_class"].values(), *record["same_branch"].values()]:
        assert len(shares) == 200 and all(0 <= share <= 1 for share in shares)
    assert set(record["photographs"]) == {path.stem for path in PHOTOGRAPHS.glob("*.webp")}
    for found in record["photographs"].values():
        assert len(set(found["images"])) == NEIGHBORS
        assert [image // 50 for image in found["images"]] == found["classes"]


def test_nothing_of_the_data_set_is_in_the_record():
    text = RECORD.read_text(encoding="utf-8")
    assert not re.search(r"base64|data:|JPEG|\.png", text)
