import json
import os
import shutil
import threading

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from alexnet import evaluate as evaluate_module
from alexnet.datasets import CIFAR10_ROOT
from alexnet.evaluate import classify_image, evaluate, main
from alexnet.loader import decode_image, resize_center_crop, scan_image_folder
from alexnet.predictor import load
from helpers import (
    BROKEN_IMAGES,
    JPEG,
    ROOT,
    exit_message,
    save_random_weights,
    save_torchvision_weights,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory, data_folder):
    """Of an untrained net for the classes of the patches."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_random_weights(path, scan_image_folder(data_folder / "test").classes)
    return path


@pytest.fixture
def torchvision_net(tmp_path, monkeypatch):
    """The net whose random weights torchvision takes for its download."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return save_torchvision_weights(tmp_path / "hub")


def refusal(*arguments):
    """The one sentence that the command ends with."""
    sentence, status = exit_message(lambda: main([str(argument) for argument in arguments]))
    assert sentence and "\n" not in sentence and status == 1
    return sentence


# evaluate


@pytest.mark.parametrize("ten_crop", [False, True])
def test_accuracy_is_that_of_torchvisions_transforms(ten_crop, weights, data_folder):
    predictor = load(weights)
    folder = scan_image_folder(data_folder / "test")
    result = evaluate(predictor, folder, ten_crop=ten_crop, batch_size=7)
    transform = v2.Compose([v2.Resize(36), v2.CenterCrop(36), v2.PILToTensor()])
    dataset = torchvision.datasets.ImageFolder(str(data_folder / "test"), transform)
    correct = np.zeros(2)
    for image, label in dataset:
        crops = TF.ten_crop(image, [32, 32]) if ten_crop else [TF.center_crop(image, [32, 32])]
        x = (torch.stack(crops) / 255 - predictor.mean) / predictor.std
        with torch.no_grad():
            p = predictor.model.eval()(x).softmax(1).mean(0)
        correct += [p.argmax() == label, label in p.topk(5).indices]
    # Where two classes are close, a gray level may decide
    expected = pytest.approx(list(correct / 40), abs=1 / 40)
    assert [result["top1"], result["top5"]] == expected
    assert result["images"] == 40 and result["skipped"] == 0


def test_classes_are_matched_by_name(weights, data_folder, tmp_path):
    """A folder may have some of the classes only, and then their indices are other ones."""
    for name in ("tissue", "cat"):
        shutil.copytree(data_folder / "test" / name, tmp_path / name)
    predictor = load(weights)
    last = predictor.model.classifier.fc8
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()[predictor.classes.index("tissue")] = 1.0
    assert evaluate(predictor, scan_image_folder(tmp_path))["top1"] == 0.5


def test_broken_images_are_named_and_not_counted(weights, data_folder, tmp_path, capsys):
    shutil.copytree(data_folder / "test" / "cat", tmp_path / "cat")
    first = min((tmp_path / "cat").iterdir())
    first.write_text("no image", encoding="utf-8")
    result = evaluate(load(weights), scan_image_folder(tmp_path))
    assert (result["images"], result["skipped"]) == (4, 1)
    assert f"skipped: {first} (" in capsys.readouterr().err
    for path in (tmp_path / "cat").iterdir():
        path.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="none of the 5 images can be decoded"):
        evaluate(load(weights), scan_image_folder(tmp_path))


@pytest.mark.parametrize("kind", ["a TIFF without an offset", "floating point"])
def test_whatever_is_broken_is_named_by_both_ways_of_the_command(kind, weights, tmp_path, capsys):
    path = tmp_path / "data" / "cat" / "broken.tif"
    path.parent.mkdir(parents=True)
    path.write_bytes(BROKEN_IMAGES[kind])
    data = tmp_path / "data"
    assert refusal("--weights", weights, "--data", data).startswith(f"{data}: none of the 1 images")
    assert capsys.readouterr().err.startswith(f"skipped: {path} (")
    sentence = refusal("--weights", weights, "--image", path)
    assert sentence.startswith(f"{path} cannot be read as an image (")
    if kind == "floating point":
        assert "floating-point numbers, which have no range of their own" in sentence


def test_what_is_left_out_is_said_in_a_line(weights, data_folder, tmp_path, capsys):
    shutil.copytree(data_folder / "test" / "cat", tmp_path / "cat")
    (tmp_path / "cat" / "notes.txt").write_text("", encoding="utf-8")
    first = min((tmp_path / "cat").glob("*.jpg"))
    first.rename(first.with_suffix(".jfif"))
    assert evaluate(load(weights), scan_image_folder(tmp_path))["images"] == 5
    assert capsys.readouterr().err.startswith(f"left out: 1 in {tmp_path} (cat/notes.txt): ")


@pytest.mark.parametrize("known", ["caf\u00e9", "cafe\u0301"])
def test_classes_are_matched_in_any_form_of_unicode(known, data_folder, tmp_path, capsys):
    """The weights may have been written when names were kept as they stood on the disk."""
    path = tmp_path / "model.safetensors"
    save_random_weights(path, ("zebra", known))
    assert load(path).classes == ("zebra", "caf\u00e9")
    for form in ("caf\u00e9", "cafe\u0301"):
        root = tmp_path / f"data {len(form)}"
        shutil.copytree(data_folder / "test" / "cat", root / form)
        folder = scan_image_folder(root)
        predictor = load(path)
        last = predictor.model.classifier.fc8
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor([0.0, 1.0]))
        assert evaluate(predictor, folder)["top1"] == 1
        predictor.classes = ("zebra", known)  # of a predictor that was made by hand
        assert evaluate(predictor, folder)["top1"] == 1


# classify_image


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_an_image_comes_from_a_pipe(weights, tmp_path):
    path, pipe = tmp_path / "image.jpg", tmp_path / "pipe"
    path.write_bytes(JPEG)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(JPEG,))
    writer.start()
    predictor = load(weights)
    assert classify_image(predictor, pipe) == classify_image(predictor, path)
    writer.join()


def test_torchvisions_classes_have_the_names_of_imagenet(data_folder, torchvision_net):
    names = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"]
    path = next((data_folder / "test" / "cat").iterdir())
    found = classify_image(load("torchvision"), path)
    assert len(found) == 5 and {name for name, _ in found} < set(names)


# The command


@pytest.mark.parametrize(("options", "views"), [([], "center crop"), (["--ten-crop"], "ten crops")])
def test_the_command_prints_a_line_for_people_and_one_for_programs(
    options, views, weights, data_folder, capsys
):
    data = str(data_folder / "test")
    main(["--weights", str(weights), "--data", data, "--device", "cpu", *options])
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert set(result) == {"top1", "top5", "images"} and result["images"] == 40
    assert 0 <= result["top1"] <= result["top5"] <= 1
    assert views in lines[0]


def test_the_command_prints_the_five_most_probable_classes(weights, data_folder, capsys):
    path = next((data_folder / "test" / "cat").iterdir())
    main(["--weights", str(weights), "--image", str(path), "--device", "cpu"])
    percent_by_name = {}
    for line in capsys.readouterr().out.splitlines():
        percent, name = line.split(maxsplit=1)
        percent_by_name[name] = float(percent.rstrip("%"))
    found = list(percent_by_name.values())
    assert len(found) == 5 and found == sorted(found, reverse=True)
    predictor = load(weights)
    image = resize_center_crop(decode_image(path), predictor.resize)
    probabilities = predictor.probabilities(image[None])[0]
    for name, percent in percent_by_name.items():
        expected = 100 * probabilities[predictor.classes.index(name)].item()
        assert percent == pytest.approx(expected, abs=0.06)


def test_help_says_what_the_command_does(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Top-1 and top-5 accuracy of a trained net" in capsys.readouterr().out


def test_what_is_wrong_is_said_in_a_sentence(weights, data_folder, torchvision_net, tmp_path):
    data = data_folder / "test"
    sentence = refusal("--weights", "nowhere.pt", "--data", data)
    assert "is not a file: name a checkpoint.pt or a model.safetensors" in sentence
    sentence = refusal("--weights", weights, "--data", tmp_path / "nowhere")
    assert "is not a folder" in sentence
    sentence = refusal("--weights", weights, "--data", data_folder)
    assert "has classes that the net was not trained on, such as 'test'" in sentence
    assert sentence.endswith("; it knows astronaut, cat, coffee, galaxies, motorcycle and 3 more")
    sentence = refusal("--weights", "torchvision", "--data", data)
    assert "must have the 1000 classes of ImageNet" in sentence
    assert sentence.endswith("got 8 classes")
    (tmp_path / "foreign.pt").write_text("no", encoding="utf-8")
    sentence = refusal("--weights", tmp_path / "foreign.pt", "--data", data)
    assert "foreign.pt is refused" in sentence


@pytest.mark.parametrize("device", ["toaster", "hpu", "privateuseone"])
def test_a_device_that_cannot_be_used_is_refused(device, weights, data_folder):
    sentence = refusal("--weights", weights, "--data", data_folder, "--device", device)
    assert f"--device {device} cannot be used here, take --device cpu: " in sentence


def test_there_are_as_many_workers_as_cores_that_may_be_used(weights, data_folder, monkeypatch):
    """Not as many as the machine has: a container or a batch system may allow fewer."""
    monkeypatch.setattr(evaluate_module, "usable_cores", lambda: 3)
    monkeypatch.setattr(evaluate_module.torch.cuda, "is_available", lambda: False)
    found = []

    def stop(predictor, folder, ten_crop, device, num_workers):
        found.append(num_workers)
        raise ValueError("seen")

    monkeypatch.setattr(evaluate_module, "evaluate", stop)
    assert refusal("--weights", weights, "--data", data_folder / "test") == "seen"
    assert found == [3]


def test_no_workers_is_an_error_of_usage(weights, data_folder, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--weights", str(weights), "--data", str(data_folder), "--workers", "0"])
    assert end.value.code == 2
    assert "--workers must be > 0, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.png", "not an image of a known format"),
        ("nowhere.jpg", "No such file"),
        (".", "Is a directory"),
    ],
)
def test_an_image_that_cannot_be_read_is_refused(name, reason, weights, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no image")
    sentence = refusal("--weights", weights, "--image", tmp_path / name)
    assert reason in sentence and "name a JPEG or PNG file" in sentence


@pytest.mark.slow
@pytest.mark.skipif(
    not (CIFAR10_ROOT / "test").is_dir(), reason="no class folders of CIFAR-10 beside the book"
)
@pytest.mark.parametrize(("views", "options"), [("one crop", []), ("ten crops", ["--ten-crop"])])
def test_small_has_the_accuracy_that_the_book_records(views, options, capsys):
    record = json.loads((ROOT / "book/runs/small.json").read_text(encoding="utf-8"))
    main(["--data", str(CIFAR10_ROOT / "test"), "--device", "cpu", *options])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    expected = record["accuracy"][views]
    assert result["images"] == 10_000
    assert result["top1"] == pytest.approx(expected["top1"], abs=5e-4)
    assert result["top5"] == pytest.approx(expected["top5"], abs=5e-4)
