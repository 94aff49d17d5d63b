"""Readers of files withstand 2,000 mutated files each: nothing but the documented exceptions.

The mutations are given by a seed. A file that is in the way of one is left in the test's folder.
"""

import io
import json
import random
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from alexnet import AlexNet, checkpoint
from alexnet.bookkit.findings import load_runs
from alexnet.datasets import InMemoryDataset
from alexnet.experiments.runner import Runner
from alexnet.loader import decode_image, resize_center_crop
from alexnet.predictor import load
from helpers import BAD_OFFSET, PHOTO, encode, make_png, make_tiff, save_random_weights

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
MUTANTS = 2_000
ODD_BYTES = (0x00, 0x01, 0x0A, 0x20, 0x7F, 0x80, 0xD8, 0xFE, 0xFF)
ODD_NUMBERS = (0, 1, 2, 3, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(data: bytes, generator: random.Random) -> bytes:
    """Change a file in one to four places."""
    data = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(data) + 1)
        # Headers are where most can go wrong
        place = min(place, generator.randrange(200)) if generator.random() < 0.5 else place
        length = generator.choice((1, 1, 2, 4, 8, 30))
        kind = generator.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[place : place + 1] = [generator.choice(ODD_BYTES)]
        elif kind == 2:
            data[place : place + length] = generator.randbytes(length)
        elif kind == 3:
            order = generator.choice("<>")
            data[place : place + 4] = struct.pack(f"{order}I", generator.choice(ODD_NUMBERS))
        elif kind == 4:
            del data[place : place + length]
        elif kind == 5:
            data[place:place] = data[place : place + length]
        elif kind == 6 and generator.random() < 0.3:
            del data[place:]
    return bytes(data)


def mutants(files: list[bytes], seed: int):
    generator = random.Random(seed)
    for _ in range(MUTANTS):
        yield mutate(generator.choice(files), generator)


SMALL = PHOTO.resize((12, 8))
LONG = np.arange(96, dtype="<u4").reshape(8, 12) << 25
IMAGES = {
    "PNG": [
        *(encode(SMALL.convert(mode), "PNG") for mode in ("RGB", "RGBA", "L", "LA", "P", "1")),
        make_png(3, 2, 16, 0, (b"\0" + bytes(6)) * 2),
        make_png(3, 2, 16, 2, (b"\0" + bytes(18)) * 2),
    ],
    "JPEG": [
        *(encode(SMALL.convert(mode), "JPEG") for mode in ("RGB", "L", "CMYK")),
        encode(SMALL, "JPEG", progressive=True),
    ],
    "TIFF": [
        *(encode(SMALL.convert(mode), "TIFF") for mode in ("RGB", "L", "P", "1", "CMYK", "F")),
        *(
            encode(SMALL, "TIFF", compression=name)
            for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")
        ),
        BAD_OFFSET,
        make_tiff(LONG),
        make_tiff(LONG.astype(">u2")),
    ],
    "WebP": [
        encode(SMALL, "WEBP"),
        encode(SMALL.convert("RGBA"), "WEBP", lossless=True),
        encode(SMALL, "WEBP", save_all=True, append_images=[SMALL.rotate(180)]),
    ],
    "GIF": [
        encode(SMALL, "GIF"),
        encode(SMALL, "GIF", save_all=True, append_images=[SMALL.rotate(180)]),
    ],
    "BMP": [*(encode(SMALL.convert(mode), "BMP") for mode in ("RGB", "RGBA", "L", "P", "1"))],
    "PPM": [
        *(encode(SMALL.convert(mode), "PPM") for mode in ("RGB", "L", "1", "F")),
        b"P2 3 2 9\n0 1 2 3 4 9\n",
        b"P3 1 2 1000\n0 1 2 3 4 1000\n",
        b"P5 3 2 1023\n" + bytes(12),
    ],
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images(kind, tmp_path):
    path, refused = tmp_path / "image", 0
    warnings.simplefilter("ignore")  # Pillow warns of what it can read nevertheless
    for data in mutants(IMAGES[kind], seed=0):
        path.write_bytes(data)
        try:
            image = decode_image(path)
            assert image.dtype == torch.uint8 and image.ndim == 3 and len(image) == 3
            assert resize_center_crop(image, 16).shape == (3, 16, 16)
        except OSError as error:
            assert str(error) and "\n" not in str(error)
            refused += 1
    assert 0.1 * MUTANTS < refused < MUTANTS


# Checkpoints


def tiny_state():
    return {
        "config": {"variant": "small", "two_gpu": False, "resize": 36, "crop": 32, "lr": 0.01},
        "classes": ["cat", "dög"],
        "model": {"conv1.weight": torch.rand(2, 3), "step": torch.tensor(7)},
        "mean": torch.zeros(3, 1, 1),
        "epoch": 3,
        "history": [{"loss": 1.5, "top1": None}],
    }


def repacked(data: bytes, generator: random.Random) -> bytes:
    """A checkpoint in which one of the files is mutated and its checksum is right."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(packed, "w") as after:
        names = before.namelist()
        pickled = next(name for name in names if name.endswith("data.pkl"))
        chosen = generator.choice((pickled, pickled, generator.choice(names)))
        for name in names:
            content = before.read(name)
            after.writestr(name, mutate(content, generator) if name == chosen else content)
    return packed.getvalue()


@pytest.mark.parametrize("checksums", ["wrong", "right"])
def test_checkpoints(checksums, tmp_path):
    checkpoint.save(tmp_path, tiny_state())
    path = tmp_path / "checkpoint.pt"
    intact, generator, refused = path.read_bytes(), random.Random(0), 0
    warnings.simplefilter("ignore")
    for _ in range(MUTANTS):
        if checksums == "right":
            path.write_bytes(repacked(intact, generator))
        else:
            path.write_bytes(mutate(intact, generator))
        try:
            assert isinstance(checkpoint.load(path), dict)
        except ValueError as error:
            assert str(error).startswith(f"{path} is refused: ") and "\n" not in str(error)
            refused += 1
    assert 0.1 * MUTANTS < refused < MUTANTS


def test_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {"w": torch.rand(2, 3), "mean": torch.zeros(3, 1, 1)}
    checkpoint.save_weights(path, tensors, {"variant": "small", "classes": ["cat", "dög"]})
    refused = 0
    for data in mutants([path.read_bytes()], seed=0):
        path.write_bytes(data)
        try:
            tensors, metadata = checkpoint.load_weights(path)
            assert isinstance(tensors, dict) and isinstance(metadata, dict)
        except ValueError as error:
            assert str(error).startswith(f"{path} is refused: ") and "\n" not in str(error)
            refused += 1
    assert 0.1 * MUTANTS < refused < MUTANTS


# Values in the metadata of weights and in checkpoints that no program of ours would write
ODD_VALUES = {
    "nothing": None,
    "true": True,
    "zero": 0,
    "below zero": -1,
    "a fraction": 36.5,
    "too large": 10**6,
    "far too large": 10**30,
    "infinity": float("inf"),
    "not a number": float("nan"),
    "no text": "",
    "text": "abc",
    "no list": [],
    "a list": [1, 2],
    "lists": [[1], [2]],
    "an object": {"a": 1},
}


@pytest.mark.parametrize("key", ["variant", "classes", "resize", "crop"])
@pytest.mark.parametrize("kind", ODD_VALUES)
def test_odd_metadata(key, kind, tmp_path):
    path = tmp_path / "model.safetensors"
    save_random_weights(path, ("cat", "dog"))
    tensors, metadata = checkpoint.load_weights(path)
    checkpoint.save_weights(path, tensors, metadata | {key: ODD_VALUES[kind]})
    with pytest.raises(ValueError, match=r"is refused: its weights do not fit"):
        load(path)


@pytest.mark.parametrize("key", ["config", "classes", "model", "mean", "std"])
@pytest.mark.parametrize("kind", ODD_VALUES)
def test_odd_checkpoints(key, kind, tmp_path):
    state = {
        "config": {"variant": "small", "two_gpu": False, "resize": 36, "crop": 32},
        "classes": ["cat", "dog"],
        "model": AlexNet(2, "small").state_dict(),
        "mean": torch.zeros(3, 1, 1),
        "std": torch.ones(3, 1, 1),
    }
    checkpoint.save(tmp_path, state | {key: ODD_VALUES[kind]})
    with pytest.raises(ValueError, match=r"is refused: its weights do not fit"):
        load(tmp_path / "checkpoint.pt")


# JSON of runs

EMPTY = torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
NO_LABELS = torch.zeros(0, dtype=torch.int64)
NO_IMAGES = InMemoryDataset("none", ("cat", "dog"), EMPTY, NO_LABELS, EMPTY, NO_LABELS)


def make_runs(folder):
    """A runner, and a small file that it takes over runs from."""
    runner = Runner("relu", NO_IMAGES, folder, "cpu", num_seeds=1)
    config = {"activation": "tanh", "lr": 0.01, "seed": 1}
    run = {"config": config, "curve": {"loss": [[0.5]], "test_error": [0.25]}, "seconds": 1.5}
    file = runner.header | {"runs": [run, run | {"config": config | {"activation": "relu"}}]}
    runner.path.write_text(json.dumps(file), encoding="utf-8")
    return runner


def test_runs(tmp_path):
    runner = make_runs(tmp_path)
    refused = 0
    for data in mutants([runner.path.read_bytes()], seed=0):
        runner.path.write_bytes(data)
        for read in (lambda: load_runs("relu", tmp_path, activation="tanh"), runner.load_recorded):
            try:
                read()
            except ValueError as error:
                assert str(error).startswith(str(runner.path)) and "\n" not in str(error)
                refused += 1
    assert 0.1 * MUTANTS < refused < 2 * MUTANTS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{}",
        '{"runs": 1}',
        '{"runs": [1]}',
        '{"runs": [{"config": 1}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_record_of_runs(text, tmp_path):
    runner = make_runs(tmp_path)
    runner.path.write_text(text, encoding="utf-8")
    for read in (lambda: load_runs("relu", tmp_path), runner.load_recorded):
        with pytest.raises(ValueError, match=r"relu\.json is not a file of recorded runs"):
            read()


def test_deep_metadata(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"w": torch.zeros(1)}, path, {"card": "[" * 100_000})
    with pytest.raises(ValueError, match="is refused: it has no metadata"):
        checkpoint.load_weights(path)
