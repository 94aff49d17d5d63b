"""From a training run to the net that ships: integers, and a card that says what it does."""

import base64
import gzip
import json

import pytest
import torch

from alexnet.checkpoint import load_weights
from alexnet.evaluate import classify_image
from alexnet.experiments import flagship
from alexnet.predictor import load
from alexnet.quantize import dequantize
from helpers import ROOT, exit_message, run_train

PHOTOGRAPHS = ROOT / "book" / "photographs"


@pytest.fixture(scope="module")
def run(data_folder, tmp_path_factory):
    """A net of an epoch, its card, and the net as stored."""
    folder = tmp_path_factory.mktemp("flagship")
    run_train(data_folder, folder / "run", "--epochs", "1")
    out = folder / "net.safetensors"
    weights = folder / "run" / "model.safetensors"
    part = data_folder / "test"
    flagship.main([
        *("--weights", str(weights), "--held-out", str(part), "--data", str(part)),
        *("--bits", "6", "--out", str(out), "--photographs", str(PHOTOGRAPHS)),
    ])
    return weights, out, load_weights(out)[1]


def test_what_is_stored_are_integers_of_so_many_bits(run):
    weights, out, card = run
    tensors, floats = load_weights(out)[0], load_weights(weights)[0]
    names = {name for name in floats if name.endswith(".weight")}
    assert names == set(card["bits"]) and len(names) == 8
    for name in names:
        largest = 15 if "fc6" in name or "fc7" in name else 31
        assert tensors[name].dtype == torch.int8 and tensors[name].abs().max() == largest
        assert torch.equal(
            dequantize(tensors[name], tensors[f"{name}.scale"]),
            load(out).model.state_dict()[name],
        )
        half_a_step = tensors[f"{name}.scale"].max() / 2
        assert (
            load(out).model.state_dict()[name] - floats[name]
        ).abs().max() <= 1.001 * half_a_step


def test_the_card_is_what_evaluate_finds(run, data_folder):
    weights, out, card = run
    for kind, path in (("stored", out), ("floats", weights)):
        for views, ten_crop in (("one crop", False), ("ten crops", True)):
            probabilities, labels = flagship.predict_folder(
                load(path), data_folder / "test", ten_crop
            )
            right = (probabilities.argmax(1) == labels).float().mean().item()
            assert card["accuracy"][f"{kind}, {views}"]["top1"] == pytest.approx(right)
    assert card["accuracy"]["stored, one crop"]["images"] == len(labels)
    of_classes = torch.tensor(card["accuracy_by_class"])
    assert of_classes.mean().item() == pytest.approx(
        card["accuracy"]["stored, one crop"]["top1"], abs=1e-3
    )
    assert not list(weights.parent.glob("stored*")) and not list(weights.parent.glob("quant*"))


def test_logits_of_the_photographs(run):
    _, out, card = run
    assert sorted(card["photographs"]) == sorted(path.stem for path in PHOTOGRAPHS.glob("*.webp"))
    predictor = load(out)
    [name, _], *_ = classify_image(predictor, PHOTOGRAPHS / "koala.webp")
    logits = torch.tensor(card["photographs"]["koala"])
    assert predictor.class_name(int(logits.argmax())) == name


def test_bits_are_compared_on_held_out_images(run):
    rows = run[2]["compared_bits"]
    labels = ["float32", *(str(number) for number in flagship.BITS), "chosen"]
    assert [row["bits"] for row in rows] == labels
    sizes = [row["gzipped"] for row in rows[1:-1]]
    assert sizes == sorted(sizes, reverse=True)


def test_how_often_right_by_how_sure():
    probabilities = torch.tensor([[0.95, 0.05], [0.05, 0.95], [0.92, 0.08], [0.45, 0.55]])
    curve = flagship.how_often_right(probabilities, torch.tensor([0, 0, 0, 1]))
    assert [(row["from"], row["to"], row["images"]) for row in curve] == [
        (0.5, 0.6, 1),
        (0.9, 1.0, 3),
    ]
    assert [row["right"] for row in curve] == [1.0, 0.6667]
    assert curve[1]["sure"] == pytest.approx(0.94, abs=1e-4)


def test_a_letter_of_base64_for_six_bits():
    bits = {"fc.weight": 6}
    stored = flagship.quantized_tensors({"fc.weight": torch.randn(9, 400)}, bits)
    packed = stored["fc.weight"].flatten() + 32
    letters = b"".join(base64.b64encode(bytes([value << 2]))[:1] for value in packed.tolist())
    assert flagship.size_on_a_page(stored, bits) == len(gzip.compress(letters, mtime=0))


def test_a_folder_that_is_not_there(run, tmp_path):
    weights = str(run[0])
    options = ["--weights", weights, "--held-out", str(tmp_path / "no"), "--data", "no"]
    options += ["--photographs", str(PHOTOGRAPHS)]
    message, code = exit_message(
        lambda: flagship.main([*options, "--out", str(tmp_path / "net.safetensors")])
    )
    assert code == 1 and "no" in message and not (tmp_path / "net.safetensors").exists()


def test_notes_stand_on_the_card(run, data_folder, tmp_path):
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({"search": [{"lr": 0.02, "top1": 0.1}]}), encoding="utf-8")
    part = str(data_folder / "test")
    out = tmp_path / "net.safetensors"
    flagship.main([
        *("--weights", str(run[0]), "--held-out", part, "--data", part),
        *("--notes", str(notes), "--out", str(out), "--photographs", str(PHOTOGRAPHS)),
    ])
    assert load_weights(out)[1]["search"] == [{"lr": 0.02, "top1": 0.1}]
