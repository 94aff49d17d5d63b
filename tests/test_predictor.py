import json
import lzma
import os
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional as TF

from alexnet import AlexNet, TwoGPUAlexNet, checkpoint
from alexnet.datasets import photos
from alexnet.loader import decode_image, resize_center_crop
from alexnet.predictor import SMALL, Predictor, load, topk_correct
from helpers import (
    OLD_CHECKPOINT,
    OLD_WEIGHTS,
    ROOT,
    save_random_weights,
    save_torchvision_weights,
)


def test_topk_correct_by_hand():
    probabilities = torch.tensor([[0.4, 0.1, 0.2, 0.1, 0.15, 0.05]] * 3)
    # The least probable of six classes is not among the first five
    assert topk_correct(probabilities, torch.tensor([0, 2, 5])).tolist() == [1, 2]
    # With five classes or fewer, top-5 is always correct
    assert topk_correct(probabilities[:, :3], torch.tensor([0, 1, 2])).tolist() == [1, 3]


class BrightOrDark(nn.Module):
    """Logits (m, -m), with m the mean of an image."""

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        return torch.stack([mean, -mean], 1)


def test_center_crop_and_ten_crops_by_hand():
    """An image with a bright center and dark corners."""
    image = torch.zeros(1, 3, 36, 36, dtype=torch.uint8)
    image[..., 4:32, 4:32] = 255
    mean, std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.1)
    predictor = Predictor(BrightOrDark(), ("bright", "dark"), 36, 32, mean, std)
    bright = []  # probability of each view; the mirror images are the same
    for y, x in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)):
        view = image[..., y : y + 32, x : x + 32] / 255
        m = ((view.mean() - 0.5) / 0.1).item()
        bright.append(1 / (1 + np.exp(-2 * m)))  # softmax of (m, -m)
    center = predictor.probabilities(image)[0, 0].item()
    ten = predictor.probabilities(image, ten_crop=True)[0, 0].item()
    assert center == pytest.approx(bright[4], rel=1e-5)
    assert ten == pytest.approx(np.mean(bright), rel=1e-5)


# What is loaded


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_random_weights(path, tuple(photos()))
    return path


@pytest.fixture
def torchvision_net(tmp_path, monkeypatch):
    """The net whose random weights torchvision takes for its download."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return save_torchvision_weights(tmp_path / "hub")


def test_probabilities_are_computed_in_evaluation_mode_and_the_mode_is_kept(weights):
    predictor = load(weights)
    predictor.model.train()
    images = torch.randint(0, 256, (4, 3, 36, 36), dtype=torch.uint8)
    assert predictor.probabilities(images).equal(predictor.probabilities(images))  # no dropout
    assert predictor.model.training


def test_a_checkpoint_in_two_columns_gives_the_same_net(tmp_path):
    torch.manual_seed(0)
    net = AlexNet(3, "small")
    state = {
        "config": {"variant": "small", "two_gpu": True, "resize": 36, "crop": 32},
        "classes": ["a", "b", "c"],
        "model": TwoGPUAlexNet.from_alexnet(net, ("cpu", "cpu")).state_dict(),
        "mean": torch.zeros(3, 1, 1),
        "std": torch.ones(3, 1, 1),
    }
    checkpoint.save(tmp_path, state)
    loaded = load(tmp_path / "checkpoint.pt").model.state_dict()
    assert set(loaded) == set(net.state_dict())
    assert all(tensor.equal(loaded[name]) for name, tensor in net.state_dict().items())


def test_torchvisions_weights_see_what_torchvisions_transform_gives(torchvision_net, tmp_path):
    predictor = load("torchvision")
    transform = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms()
    generator = np.random.default_rng(0)
    path = tmp_path / "image.png"
    for height in (200, 256, 400):
        noise = generator.integers(0, 256, (height, 300, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        image.save(path)
        theirs = torchvision_net.eval()(transform(image)[None]).softmax(1)
        ours = predictor.probabilities(resize_center_crop(decode_image(path), 256)[None])
        # A gray level differs here and there
        torch.testing.assert_close(ours, theirs, rtol=0.01, atol=0)


def test_small_gives_the_logits_that_were_recorded_and_ships_in_few_bytes():
    record = json.loads((ROOT / "book/runs/small.json").read_text(encoding="utf-8"))
    predictor = load("small")
    size = [predictor.crop, predictor.crop]
    squares = [resize_center_crop(photo, predictor.resize) for photo in photos().values()]
    views = TF.center_crop(torch.stack(squares), size)
    with torch.no_grad():
        logits = predictor.model.eval()(predictor.normalize(views))
    recorded = torch.tensor(list(record["logits"].values()))
    torch.testing.assert_close(logits, recorded, atol=1e-3, rtol=1e-3)
    assert list(record["logits"]) == list(photos())
    assert record["licence"] and record["date"] and record["data"]["train"] == 50_000
    top1 = record["accuracy"]["one crop"]["top1"]
    assert top1 >= 0.82
    assert record["training"]["log"][-1]["top1"] == pytest.approx(top1, abs=0.001)
    weights = [*SMALL.parent.glob("*.safetensors"), *ROOT.glob("book/runs/*.safetensors")]
    assert sum(path.stat().st_size for path in weights) < 8e6


# Made by version 0.1.0: a run that was stopped in its second epoch, and the weights at its end.
# The logits are those that version 0.1.0 gives for OLD_IMAGE with these files.
OLD_IMAGE = torch.arange(3 * 36 * 36).remainder(251).to(torch.uint8).view(1, 3, 36, 36)
OLD_LOGITS = {
    OLD_CHECKPOINT: [0.10476, -0.03485, 0.20409, -0.16624, 0.2397, -0.14629, 0.0603, 0.34671],
    OLD_WEIGHTS: [-0.00369, -0.07019, 0.14308, -0.07948, 0.09036, -0.09272, 0.04794, 0.1935],
}


@pytest.mark.parametrize("old", OLD_LOGITS, ids=lambda path: path.name)
def test_files_of_0_1_0_give_the_logits_of_0_1_0(old, tmp_path):
    path = tmp_path / old.with_suffix("").name  # without .xz
    path.write_bytes(lzma.decompress(old.read_bytes()))
    predictor = load(path)
    assert predictor.classes == tuple(photos())
    view = TF.center_crop(OLD_IMAGE, [predictor.crop, predictor.crop])
    with torch.no_grad():
        logits = predictor.model.eval()(predictor.normalize(view))
    torch.testing.assert_close(logits, torch.tensor([OLD_LOGITS[old]]), atol=1e-4, rtol=0)


def test_classes_of_a_checkpoint_have_the_canonical_form_of_unicode(tmp_path):
    """Checkpoints of 0.1.0 have the form that the folder had."""
    state = {
        "config": {"variant": "small", "two_gpu": False, "resize": 36, "crop": 32},
        "classes": ["cafe\u0301", "zebra"],
        "model": AlexNet(2, "small").state_dict(),
        "mean": torch.zeros(3, 1, 1),
        "std": torch.ones(3, 1, 1),
    }
    checkpoint.save(tmp_path, state)
    assert load(tmp_path / "checkpoint.pt").classes == ("caf\u00e9", "zebra")


# What is refused


def test_a_missing_file_is_an_error_that_says_what_to_name():
    sentence = "^nowhere.pt is not a file: name a checkpoint.pt or a model.safetensors"
    with pytest.raises(FileNotFoundError, match=sentence):
        load("nowhere.pt")


# What is done to the metadata of intact weights
DOES_NOT_FIT = {
    "no classes": lambda tensors, metadata: metadata.pop("classes"),
    "another variant": lambda tensors, metadata: metadata.update(variant="paper"),
    "a missing tensor": lambda tensors, metadata: tensors.popitem(),
    "no mean": lambda tensors, metadata: tensors.pop("mean"),
    "another crop": lambda tensors, metadata: metadata.update(crop=30),
    "a crop larger than the image": lambda tensors, metadata: metadata.update(resize=30),
    "no resize": lambda tensors, metadata: metadata.update(resize=None),
    "resize as text": lambda tensors, metadata: metadata.update(resize="36"),
}


@pytest.mark.parametrize("kind", [*DOES_NOT_FIT, "a list"])
def test_weights_that_do_not_fit_their_metadata_are_refused_when_they_are_loaded(
    kind, weights, tmp_path
):
    tensors, metadata = checkpoint.load_weights(weights)
    if kind == "a list":
        metadata = [1]
    else:
        DOES_NOT_FIT[kind](tensors, metadata)
    path = tmp_path / "other.safetensors"
    checkpoint.save_weights(path, tensors, metadata)
    with pytest.raises(ValueError) as error:
        load(path)
    assert str(error.value) == (
        f"{path} is refused: its weights do not fit the variant, classes, resize, crop, mean "
        "and std that it names"
    )


@pytest.mark.parametrize("kind", ["cut off", "text", "of another net"])
def test_a_damaged_download_of_torchvision_is_named(kind, torchvision_net, tmp_path):
    [path] = (tmp_path / "hub" / "checkpoints").iterdir()
    if kind == "cut off":
        os.truncate(path, 1000)
    elif kind == "text":
        path.write_text("no", encoding="utf-8")
    else:
        torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError) as error:
        load("torchvision")
    sentence = str(error.value)
    assert sentence.startswith(f"{path} is cut off, damaged, or not torchvision's (")
    assert sentence.endswith(": delete it, and it is downloaded again")


def test_torchvisions_weights_without_network_name_a_way_out(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "empty"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    sentence = r"cannot be downloaded \(<urlopen error no route to host>\): connect this machine$"
    with pytest.raises(FileNotFoundError, match=sentence):
        load("torchvision")
