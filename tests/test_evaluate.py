import json
import os
import shutil
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import center_crop

from alexnet import AlexNet, checkpoint
from alexnet.datasets import CIFAR10_ROOT, photos
from alexnet.loader import decode_image, scan_image_folder, resize_center_crop
from alexnet.predictor import SMALL, Predictor, topk_correct, load
from alexnet.evaluate import evaluate, main, classify_image


@pytest.fixture(scope="module")
def weights(tmp_path_factory, data_folder):
    """A net of random weights for the patches' classes, as alexnet.train leaves one."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    classes = list(scan_image_folder(data_folder / "test").classes)
    tensors = AlexNet(8, "small").state_dict() | {"mean": torch.rand(3, 32, 32), "std": torch.full((3, 1, 1), 0.25)}
    checkpoint.save_weights(path, tensors, {"variant": "small", "classes": classes, "resize": 36, "crop": 32})
    return path


def test_hits_by_hand():
    p = torch.tensor([[0.4, 0.1, 0.2, 0.1, 0.15, 0.05]] * 3)
    assert topk_correct(p, torch.tensor([0, 2, 5])).tolist() == [1, 2]  # the least probable of six is not among the five
    assert topk_correct(p[:, :3], torch.tensor([0, 1, 2])).tolist() == [1, 3]


class Brightest(nn.Module):
    """Says class 0 for a view that is bright, class 1 for a dark one, with logits of its mean."""

    def forward(self, x):
        m = x.mean((1, 2, 3))
        return torch.stack([m, -m], 1)


def test_one_view_and_ten_by_hand():
    """A picture whose middle is bright and whose corners are dark."""
    resize_center_crop = torch.zeros(1, 3, 36, 36, dtype=torch.uint8)
    resize_center_crop[..., 4:32, 4:32] = 255
    trained = Predictor(Brightest(), ("bright", "dark"), 36, 32, torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.1))
    inside = resize_center_crop.float() / 255
    views = [inside[..., y : y + 32, x : x + 32] for y, x in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]
    logits = [((view.mean() - 0.5) / 0.1).item() for view in views]
    share = [1 / (1 + np.exp(-2 * logit)) for logit in logits]  # softmax of (m, -m)
    assert trained.probabilities(resize_center_crop)[0, 0].item() == pytest.approx(share[4], rel=1e-5)
    assert trained.probabilities(resize_center_crop, ten=True)[0, 0].item() == pytest.approx(np.mean(share), rel=1e-5)


def test_evaluation_mode_and_back(weights, data_folder):
    trained = load(weights)
    trained.model.train()
    squares = torch.randint(0, 256, (4, 3, 36, 36), dtype=torch.uint8)
    assert trained.probabilities(squares).equal(trained.probabilities(squares)) and trained.model.training


@pytest.mark.parametrize("ten", [False, True])
def test_equals_the_chain_of_torchvision(ten, weights, data_folder):
    """Picture by picture with torchvision's transforms: the same classes in front."""
    trained = load(weights)
    found = evaluate(trained, scan_image_folder(data_folder / "test"), ten=ten, batch=7)
    data = torchvision.datasets.ImageFolder(str(data_folder / "test"), v2.Compose([v2.Resize(36), v2.CenterCrop(36), v2.PILToTensor()]))
    right = np.zeros(2)
    for image, label in data:
        views = torch.stack(v2.functional.ten_crop(image, [32, 32]) if ten else [v2.functional.center_crop(image, [32, 32])])
        with torch.no_grad():
            p = trained.model.eval()((views / 255 - trained.mean) / trained.std).softmax(1).mean(0)
        right += [p.argmax() == label, label in p.topk(5).indices]
    assert [found["top1"], found["top5"]] == pytest.approx(list(right / 40), abs=1 / 40)  # a grey level may decide one
    assert found["images"] == 40 and found["skipped"] == 0


def test_the_command(weights, data_folder, capsys):
    for more in ([], ["--ten-crop"]):
        main(["--weights", str(weights), "--data", str(data_folder / "test"), "--device", "cpu", *more])
        told = capsys.readouterr().out.splitlines()
        found = json.loads(told[-1])
        assert set(found) == {"top1", "top5", "images"} and found["images"] == 40 and 0 <= found["top1"] <= found["top5"] <= 1
        assert ("ten crops" if more else "centre crop") in told[0]


def test_some_of_the_classes_in_another_order(weights, data_folder, tmp_path):
    """Classes are known by their names, not by their place in the folder."""
    for name in ("tissue", "cat"):
        shutil.copytree(data_folder / "test" / name, tmp_path / name)
    trained = load(weights)
    biased = trained.model.classifier.fc8
    with torch.no_grad():
        biased.weight.zero_()
        biased.bias.zero_()[trained.classes.index("tissue")] = 1.0
    assert evaluate(trained, scan_image_folder(tmp_path))["top1"] == 0.5


def test_broken_pictures_are_named_and_not_counted(weights, data_folder, tmp_path, capsys):
    shutil.copytree(data_folder / "test" / "cat", tmp_path / "cat")
    first = min((tmp_path / "cat").iterdir())
    first.write_text("no picture")
    found = evaluate(load(weights), scan_image_folder(tmp_path))
    assert (found["images"], found["skipped"]) == (4, 1) and f"skipped: {first} (" in capsys.readouterr().err
    for path in (tmp_path / "cat").iterdir():
        path.write_text("")
    with pytest.raises(ValueError, match="none of the 5 pictures can be decoded"):
        evaluate(load(weights), scan_image_folder(tmp_path))


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """What torchvision would have downloaded: a file with its name, of random weights."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    torch.manual_seed(0)
    model = torchvision.models.alexnet()
    name = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(model.state_dict(), tmp_path / "hub" / "checkpoints" / name)
    return model


def test_torchvisions_weights(downloaded, tmp_path):
    """Preprocessed as torchvision's own transform does it."""
    trained, transform = load("torchvision"), torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms()
    noise = np.random.default_rng(0)
    for height in (200, 256, 400):
        picture = Image.fromarray(noise.integers(0, 256, (height, 300, 3), dtype=np.uint8))
        picture.save(tmp_path / "picture.png")
        theirs = downloaded.eval()(transform(picture)[None]).softmax(1)
        ours = trained.probabilities(resize_center_crop(decode_image(tmp_path / "picture.png"), 256)[None])
        torch.testing.assert_close(ours, theirs, rtol=0.01, atol=0)  # a grey level here and there


def says(arguments):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    assert isinstance(end.value.code, str) and "\n" not in end.value.code
    return end.value.code


def test_what_is_wrong_is_said(weights, data_folder, downloaded, tmp_path, monkeypatch):
    test = data_folder / "test"
    assert "is no file: name a checkpoint.pt or a model.safetensors" in says(["--weights", "nowhere.pt", "--data", test])
    assert "is not a folder" in says(["--weights", weights, "--data", tmp_path / "nowhere"])
    assert "classes that the net was not trained on, such as 'test'; it knows astronaut, cat" in says(["--weights", weights, "--data", data_folder])
    assert "has 8 classes: torchvision's weights know ImageNet's 1000" in says(["--weights", "torchvision", "--data", test])
    for device in ("toaster", "hpu", "privateuseone"):
        assert f"--device {device} cannot be used here, take --device cpu: " in says(["--weights", weights, "--data", test, "--device", device])
    (tmp_path / "foreign.pt").write_text("no")
    assert "foreign.pt is refused" in says(["--weights", tmp_path / "foreign.pt", "--data", test])
    [cached] = (tmp_path / "hub" / "checkpoints").iterdir()
    for spoil in (lambda: os.truncate(cached, 1000), lambda: cached.write_text("no"), lambda: torch.save({"weight": torch.zeros(3)}, cached)):
        spoil()
        told = says(["--weights", "torchvision", "--data", test])
        assert told.startswith(f"{cached} is cut off, damaged, or not torchvision's (") and told.endswith(": delete it, and it is downloaded again")

    def no_network(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "empty"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    assert "cannot be downloaded (<urlopen error no route to host>): connect this machine" in says(["--weights", "torchvision", "--data", test])


@pytest.mark.parametrize(
    "kind",
    ["no classes", "a list", "another variant", "a tensor missing", "no mean", "another crop", "no room for the crop", "no resize", "resize in words"],
)
def test_weights_whose_card_does_not_fit(kind, weights, data_folder, tmp_path):
    tensors, card = checkpoint.load_weights(weights)
    {
        "no classes": lambda: card.pop("classes"), "another variant": lambda: card.update(variant="paper"),
        "a tensor missing": lambda: tensors.popitem(), "no mean": lambda: tensors.pop("mean"), "a list": lambda: None,
        "another crop": lambda: card.update(crop=30), "no room for the crop": lambda: card.update(resize=30),
        "no resize": lambda: card.update(resize=None), "resize in words": lambda: card.update(resize="36"),
    }[kind]()  # fmt: skip
    checkpoint.save_weights(tmp_path / "other.safetensors", tensors, [1] if kind == "a list" else card)
    told = says(["--weights", tmp_path / "other.safetensors", "--data", data_folder / "test"])
    assert told.endswith("other.safetensors is refused: its weights and what it says of them do not belong together")


def test_what_a_picture_is(weights, data_folder, capsys):
    path = next((data_folder / "test" / "cat").iterdir())
    main(["--weights", str(weights), "--image", str(path), "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    found = [(line[7:], float(line[:6].rstrip("% "))) for line in lines]
    assert len(found) == 5 and found == sorted(found, key=lambda row: -row[1])
    trained = load(weights)
    expected = trained.probabilities(resize_center_crop(decode_image(path), trained.resize)[None])[0]
    for name, percent in found:
        assert percent == pytest.approx(100 * expected[trained.classes.index(name)].item(), abs=0.06)


def test_a_picture_that_cannot_be_read(weights, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no picture")
    for name, why in (("no.png", "no picture of a known kind"), ("nowhere.jpg", "No such file"), (".", "Is a directory")):
        told = says(["--weights", weights, "--image", tmp_path / name])
        assert why in told and "name a JPEG or PNG file" in told


def test_torchvisions_classes_have_names(data_folder, downloaded):
    names = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"]
    found = classify_image(load("torchvision"), next((data_folder / "test" / "cat").iterdir()))
    assert len(found) == 5 and {name for name, _ in found} < set(names)


def test_the_weights_of_the_book():
    """What they gave when they were recorded; and they are small."""
    card = json.loads(SMALL.with_suffix(".json").read_text())
    trained = load("small")
    views = torch.stack([center_crop(resize_center_crop(photo, trained.resize), [trained.crop] * 2) for photo in photos().values()])
    with torch.no_grad():
        logits = trained.model.eval()(trained.normalize(views))
    torch.testing.assert_close(logits, torch.tensor(list(card["logits"].values())), atol=1e-3, rtol=1e-3)
    assert list(card["logits"]) == list(photos()) and card["licence"] and card["date"] and card["data"]["train"] == 50_000
    assert card["accuracy"]["one crop"]["top1"] >= 0.82 and card["training"]["log"][-1]["top1"] == pytest.approx(card["accuracy"]["one crop"]["top1"], abs=0.001)
    assert sum(path.stat().st_size for path in SMALL.parent.glob("*.safetensors")) < 8e6


@pytest.mark.skipif(not (CIFAR10_ROOT / "test").is_dir(), reason="no class folders of CIFAR-10 in book/data/cifar10")
def test_the_accuracy_of_the_book(capsys):
    card = json.loads(SMALL.with_suffix(".json").read_text())
    for views, more in (("one crop", []), ("ten crops", ["--ten-crop"])):
        main(["--data", str(CIFAR10_ROOT / "test"), "--device", "cpu", *more])
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert found["images"] == 10_000
        assert (found["top1"], found["top5"]) == pytest.approx((card["accuracy"][views]["top1"], card["accuracy"][views]["top5"]), abs=5e-4)
