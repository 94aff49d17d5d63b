"""Make the net of Tiny ImageNet that ships with the package, out of a training run.

``python -m alexnet.experiments.flagship --weights RUN/model.safetensors --held-out DATA --data
DATA`` stores the weights as integers, measures what that costs on photographs that were held out,
then evaluates the net, once, on the validation set, and writes all of it into the file's metadata.
"""

import argparse
import base64
import datetime
import gzip
import itertools
import json
import sys
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from alexnet.checkpoint import load_weights, save_weights
from alexnet.evaluate import map_labels
from alexnet.experiments.runner import LICENSE, describe_machine
from alexnet.loader import (
    CachedImageLoader,
    decode_image,
    resize_center_crop,
    scan_image_folder,
)
from alexnet.predictor import TINY_IMAGENET, Predictor, load, topk_correct
from alexnet.quantize import quantize
from alexnet.resources import usable_cores

BITS = (8, 6, 5, 4)  # of a weight, that are compared
SURE_EDGES = torch.linspace(0, 1, 11)  # of the probabilities by which photographs are counted


def quantized_tensors(tensors: dict[str, Tensor], bits: dict[str, int]) -> dict[str, Tensor]:
    """Store the weights of layers as integers, with their scales beside them.

    Args:
        tensors: of a trained net, by name, with ``mean`` and ``std``.
        bits: of each weight, by name.

    Returns:
        The tensors, in which ``NAME`` is int8 and ``NAME.scale`` float32 for each name in ``bits``.
    """
    stored = {}
    for name, tensor in tensors.items():
        if name in bits:
            stored[name], stored[f"{name}.scale"] = quantize(tensor, bits[name])
        else:
            stored[name] = tensor.float()
    return stored


def size_on_a_page(tensors: dict[str, Tensor], bits: dict[str, int]) -> int:
    """Bytes of the integers as a page sends them: in base64, gzipped.

    An integer of at most six bits takes one letter of base64, so that gzip finds how often each
    value occurs. One of eight bits takes a byte.

    Args:
        tensors: what :func:`quantized_tensors` returns.
        bits: of each weight, by name.
    """
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    text = b""
    for name, number in bits.items():
        integers = tensors[name].flatten() + 2 ** (number - 1)  # from 1
        if number <= 6:
            text += bytes(alphabet[value] for value in integers.tolist())
        else:
            text += base64.b64encode(bytes(value & 255 for value in integers.tolist()))
    return len(gzip.compress(text, mtime=0))


@torch.no_grad()
def predict_folder(
    predictor: Predictor, folder: str | Path, ten_crop: bool = False
) -> tuple[Tensor, Tensor]:
    """The probabilities of all images of a folder of class folders.

    Args:
        predictor: the net.
        folder: the images.
        ten_crop: whether to average over ten crops.

    Returns:
        Probabilities, float32 (N, classes), and labels, int64 (N,), as the net numbers its classes.

    Raises:
        OSError: if the folder or an image in it cannot be read.
        ValueError: if the net does not know a class of the folder.
    """
    index = scan_image_folder(folder)
    labels = map_labels(predictor, index)
    loader = CachedImageLoader(index, predictor.resize, usable_cores(), memory_fraction=0.0)
    found = []
    for _, images in loader.batches(torch.arange(len(labels)).split(50)):
        found.append(predictor.probabilities(images, ten_crop))
    for number, reason in loader.failures.items():
        raise OSError(f"{loader.paths[number]} cannot be decoded ({reason}): restore it")
    return torch.cat(found), labels


def accuracy(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy, 0 to 1, and the number of images."""
    top1, top5 = topk_correct(probabilities, labels).tolist()
    n = len(labels)
    return {"top1": top1 / n, "top5": top5 / n, "images": n}


def accuracy_by_class(probabilities: Tensor, labels: Tensor) -> list[float]:
    """Top-1 accuracy of each class, 0 to 1."""
    right = (probabilities.argmax(1) == labels).float()
    num_classes = probabilities.shape[1]
    return [round(right[labels == label].mean().item(), 4) for label in range(num_classes)]


def how_often_right(probabilities: Tensor, labels: Tensor) -> list[dict[str, float]]:
    """How often the first guess is right, by how sure the net is of it.

    Returns:
        For each tenth from 0 to 1, if a guess is there: its edges ``from`` and ``to``, the number
        of ``images``, how ``sure`` the net was of them on average, and the fraction ``right``.
    """
    sure, guess = probabilities.max(1)
    right = (guess == labels).float()
    curve = []
    for low, high in itertools.pairwise(SURE_EDGES):
        inside = (sure > low) & (sure <= high)
        if inside.any():
            curve.append({
                "from": round(low.item(), 1),
                "to": round(high.item(), 1),
                "images": int(inside.sum()),
                "sure": round(sure[inside].mean().item(), 4),
                "right": round(right[inside].mean().item(), 4),
            })
    return curve


@torch.no_grad()
def photo_logits(predictor: Predictor, folder: Path) -> dict[str, list[float]]:
    """The net's logits for the center crop of each photograph in a folder, by the file's stem.

    With them a reader, or a page, can compare theirs.
    """
    logits = {}
    for path in sorted(folder.glob("*.webp")):
        square = resize_center_crop(decode_image(path), predictor.resize)
        view = TF.center_crop(square, [predictor.crop, predictor.crop])
        row = predictor.model.eval()(predictor.normalize(view[None]))[0]  # (classes,)
        logits[path.stem] = [round(value, 4) for value in row.tolist()]
    return logits


def choose_bits(tensors: dict[str, Tensor], bits: int, fc_bits: int) -> dict[str, int]:
    """Bits of each weight: fewer in fc6 and fc7, which have most of the weights."""
    names = [name for name in tensors if name.endswith(".weight")]
    return {name: fc_bits if "fc6" in name or "fc7" in name else bits for name in names}


def compare_bits(
    tensors: dict[str, Tensor], metadata: dict, weights: Path, held_out: Path, chosen: dict
) -> list[dict]:
    """What a number of bits a weight costs, in accuracy on held-out images and in bytes.

    The last row is for the bits that were chosen.
    """
    rows = [{"bits": "float32", **accuracy(*predict_folder(load(weights), held_out))}]
    part = weights.with_name("quantized.safetensors")
    choices = {str(number): dict.fromkeys(chosen, number) for number in BITS} | {"chosen": chosen}
    for label, bits in choices.items():
        stored = quantized_tensors(tensors, bits)
        save_weights(part, stored, metadata)
        row = {"bits": label, "gzipped": size_on_a_page(stored, bits)}
        rows.append(row | accuracy(*predict_folder(load(part), held_out)))
        print(json.dumps(rows[-1]), flush=True)
    part.unlink()
    return rows


def make_card(stored: Path, weights: Path, data: Path) -> dict:
    """What the net does on the validation set: with floats and as stored, by one and ten crops."""
    card: dict = {"accuracy": {}}
    for kind, path in (("floats", weights), ("stored", stored)):
        for views, ten_crop in (("one crop", False), ("ten crops", True)):
            probabilities, labels = predict_folder(load(path), data, ten_crop)
            card["accuracy"][f"{kind}, {views}"] = accuracy(probabilities, labels)
            if (kind, views) == ("stored", "one crop"):
                card["accuracy_by_class"] = accuracy_by_class(probabilities, labels)
                card["how_often_right"] = how_often_right(probabilities, labels)
    return card


def main(arguments: list[str] | None = None) -> None:
    """The command.

    Raises:
        SystemExit: with a sentence, if a file or a folder is missing or does not fit.
    """
    parser = argparse.ArgumentParser(
        prog="python -m alexnet.experiments.flagship", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--weights", type=Path, required=True, help="model.safetensors of train")
    parser.add_argument("--held-out", type=Path, required=True, help="class folders, for the bits")
    parser.add_argument("--data", type=Path, required=True, help="class folders, for the card")
    parser.add_argument(
        "--photographs", type=Path, required=True, help="folder of *.webp, for the card"
    )
    parser.add_argument("--bits", type=int, default=6, help="of a weight (%(default)s)")
    parser.add_argument("--fc-bits", type=int, default=5, help="in fc6 and fc7 (%(default)s)")
    parser.add_argument(
        "--notes", type=Path, help="JSON for the card, such as the search and what others publish"
    )
    parser.add_argument("--out", type=Path, default=TINY_IMAGENET, help="where to (%(default)s)")
    args = parser.parse_args(arguments)
    try:
        _make(args)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def _make(args: argparse.Namespace) -> None:
    tensors, metadata = load_weights(args.weights)
    card = metadata | {
        "date": str(datetime.date.today()),
        "machine": describe_machine("cpu"),
        "licence": LICENSE,
        "command": "python -m alexnet.experiments.flagship",
    }
    if args.notes:
        card |= json.loads(args.notes.read_text(encoding="utf-8"))
    bits = choose_bits(tensors, args.bits, args.fc_bits)
    card["bits"] = bits
    card["compared_bits"] = compare_bits(tensors, metadata, args.weights, args.held_out, bits)
    stored = quantized_tensors(tensors, bits)
    part = args.weights.with_name("stored.safetensors")
    save_weights(part, stored, card)
    card |= make_card(part, args.weights, args.data)
    card["photographs"] = photo_logits(load(part), args.photographs)
    part.unlink()
    save_weights(args.out, stored, card)
    print(json.dumps(card["accuracy"], indent=1))


if __name__ == "__main__":
    main()
