"""A trained net as scripts that a page loads: ``python -m alexnet.bookkit.export tiny-imagenet``.

The folder ``book/_static/nets/NAME`` gets ``net.js``, with the layers, the scales of the weights
and what the weights' file says of the net (the names of its classes, how sure it is and how often
right), and ``weights-1.js`` and so on, with the weights themselves. ``engine/alexnet.js`` loads
them, and ``engine/engine.js`` describes the format (``StoredNet``). The scripts are in the
repository, since the pages are built without PyTorch.

Weights of at most 6 bits are one character each: the compression on the way to the reader, which
servers do by themselves, takes as many bits of it as it holds information.
"""

import argparse
import base64
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from alexnet import checkpoint
from alexnet.bookkit.paths import BOOK
from alexnet.console import printable
from alexnet.datasets import photos
from alexnet.loader import resize_center_crop
from alexnet.predictor import SHIPPED, Predictor, load
from alexnet.quantize import dequantize_all, quantize

ENGINE = Path(__file__).parent / "engine"  # the scripts that every net needs
NETS = BOOK / "_static" / "nets"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
BITS = 8  # of weights that are stored as float32
PART_SIZE = 500_000  # characters of weights in a file, so that the page can show its progress

ACTIVATIONS = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.Softmax: "softmax"}


def describe(model: nn.Module, input_shape: tuple[int, int, int]) -> dict:
    """The layers of a net, as the engine takes them.

    Args:
        model: runs its modules in the order in which they were registered.
        input_shape: (channels, height, width) of an image.

    Returns:
        Values for JSON; ``NetDescription`` in ``engine/engine.js`` says which.

    Raises:
        ValueError: if the engine does not have one of the layers.
    """
    layers: list[dict] = []
    padding = [0, 0]
    for name, module in _named_layers(model):
        if isinstance(module, nn.ZeroPad2d):  # the next convolution pads by itself
            padding = [module.padding[0], module.padding[1]]
            continue
        layer = {"name": name.rpartition(".")[2], **_describe_layer(name, module)}
        if isinstance(module, nn.Conv2d) and padding != [0, 0]:
            layer["padding"] = padding
            padding = [0, 0]
        layers.append(layer)
    groups = [layer.get("groups", 1) for layer in layers]
    return {"input": list(input_shape), "columns": max(groups), "layers": layers}


def _named_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules without children, less those that only change the shape."""
    for name, module in model.named_modules():
        if not list(module.children()) and not isinstance(module, nn.Flatten | nn.Identity):
            yield name, module


def _describe_layer(name: str, module: nn.Module) -> dict:
    if type(module) in ACTIVATIONS:
        return {"type": ACTIVATIONS[type(module)]}
    match module:
        case nn.Conv2d():
            return {
                "type": "conv",
                "out": module.out_channels,
                "kernel": module.kernel_size[0],
                "stride": module.stride[0],
                "padding": [module.padding[0], module.padding[0]],
                "groups": module.groups,
            }
        case nn.Linear():
            return {"type": "linear", "out": module.out_features}
        case nn.LocalResponseNorm():
            constants = ("size", "alpha", "beta", "k")
            values = {constant: getattr(module, constant) for constant in constants}
            return {"type": "lrn", **values, "groups": getattr(module, "groups", 1)}
        case nn.MaxPool2d() | nn.AvgPool2d() if module.padding == 0:
            kind = "maxpool" if isinstance(module, nn.MaxPool2d) else "avgpool"
            window = {"kernel": module.kernel_size, "stride": module.stride}
            return {"type": kind, **window, "ceil": module.ceil_mode}
        case nn.Dropout():
            return {"type": "dropout", "p": module.p}
    raise ValueError(f"the engine has no layer like {name}, {module}")


def encode(values: np.ndarray) -> str:
    """The bytes of an array in base64; numbers of several bytes are little-endian."""
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()


def encode_integers(integers: Tensor, bits: int) -> str:
    """Integers as text, as ``dequantize`` in ``engine/engine.js`` reads it.

    Args:
        integers: int8, any shape.
        bits: of each, at most 8. Up to 6 it is a character each, else base64 of the bytes.
    """
    if bits > 6:
        return encode(integers.numpy())
    characters = np.frombuffer(ALPHABET.encode(), np.uint8)
    return characters[integers.numpy().ravel() + 32].tobytes().decode()


def quantized(weights: str | Path) -> tuple[Predictor, dict[str, Tensor], dict]:
    """A net whose weights are what its script stores: integers times scales.

    Args:
        weights: a key of :data:`alexnet.predictor.SHIPPED`, or the path of a
            ``model.safetensors`` of :mod:`alexnet.train`.

    Returns:
        The net with the dequantized weights; the tensors of the file, with int8 NAME.weight and
        float32 NAME.weight.scale; and the file's metadata.
    """
    predictor = load(weights)
    tensors, card = checkpoint.load_weights(SHIPPED.get(str(weights), Path(weights)))
    for name in [name for name in tensors if name.endswith(".weight")]:
        if tensors[name].is_floating_point():
            tensors[name], tensors[f"{name}.scale"] = quantize(tensors[name], BITS)
    state = {name: tensor for name, tensor in tensors.items() if name not in ("mean", "std")}
    predictor.model.load_state_dict(dequantize_all(state))
    return predictor, tensors, card


def export(weights: str | Path, folder: Path) -> int:
    """Write a net as scripts.

    Args:
        weights: as for :func:`quantized`.
        folder: of the scripts; its name is the name of the net. Older ones there are replaced.

    Returns:
        Bytes of all scripts, gzipped, as a server sends them.

    Raises:
        FileNotFoundError, ValueError: as :func:`alexnet.predictor.load`.
    """
    predictor, tensors, card = quantized(weights)
    text, encodings, biases = "", [], []
    for key, tensor in tensors.items():
        name = key.partition(".")[2]  # conv1.weight for features.conv1.weight
        if key.endswith(".bias"):
            biases.append({"name": name, "values": encode(tensor.numpy())})
        elif key.endswith(".weight"):
            bits = 6 if int(tensor.abs().max()) < 32 else 8
            piece = encode_integers(tensor, bits)
            encoding = {"bits": bits, "scale": encode(tensors[f"{key}.scale"].numpy())}
            encodings.append({"name": name, "length": len(piece), "encoding": encoding})
            text += piece
    parts = [text[start : start + PART_SIZE] for start in range(0, len(text), PART_SIZE)]
    stored = {
        "description": describe(predictor.model, (3, predictor.crop, predictor.crop)),
        "preprocessing": _describe_preprocessing(predictor),
        "weights": encodings,
        "biases": biases,
        "selfTest": _self_test(predictor),
        "parts": len(parts),
        "card": card,
    }
    return _write(folder, stored, parts)


def _describe_preprocessing(predictor: Predictor) -> dict:
    return {
        "resize": predictor.resize,
        "crop": predictor.crop,
        # torchvision's center_crop rounds half to even, as Python does
        "offset": round((predictor.resize - predictor.crop) / 2),
        "mean": encode(predictor.mean.numpy()),
        "std": encode(predictor.std.numpy()),
    }


def _self_test(predictor: Predictor) -> dict:
    """A photograph and its logits, by which the engine checks itself in the reader's browser."""
    image = resize_center_crop(photos()["coffee"], predictor.resize)  # (3, resize, resize)
    with torch.no_grad():
        view = TF.center_crop(image[None], [predictor.crop, predictor.crop])
        logits = predictor.model.eval()(predictor.normalize(view))
    pixels = image.permute(1, 2, 0)  # as a canvas has them: [row][column][color]
    return {"pixels": encode(pixels.numpy()), "logits": encode(logits.numpy())}


def _write(folder: Path, stored: dict, parts: list[str]) -> int:
    """Write the scripts, and return their bytes, gzipped."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.js"):
        path.unlink()
    scripts = {"net.js": (folder.name, stored)}
    for number, part in enumerate(parts, start=1):
        scripts[f"weights-{number}.js"] = (f"{folder.name}/{number}", part)
    total = 0
    for file, (name, value) in scripts.items():
        values = f"{json.dumps(name)}, {json.dumps(value, separators=(',', ':'))}"
        script = f"alexnet.receive({values});\n"
        (folder / file).write_text(script, encoding="utf-8", newline="\n")
        total += len(gzip.compress(script.encode()))
    return total


def main(args: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("weights", help=f"{', '.join(SHIPPED)}, or a model.safetensors")
    parser.add_argument("--out", type=Path, help="folder of the scripts (default: in the book)")
    options = parser.parse_args(args)
    if not options.out and not BOOK.is_dir():
        sys.exit("--out must name a folder, since the book is in the repository and not in a wheel")
    folder = options.out or NETS / Path(options.weights).stem
    try:
        size = export(options.weights, folder)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(printable(f"{folder}: {size / 1e6:.2f} MB gzipped"))


if __name__ == "__main__":
    main()
