"""What several test files share: paths, explorers, odd and broken files, runs of the command."""

import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from torchvision.transforms.v2 import functional as TF

from alexnet import AlexNet, checkpoint, train
from alexnet.datasets import photos

ROOT = Path(__file__).parents[1]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(entry["file"] for entry in TOC["chapters"])]
# Experiments that record no training runs: they evaluate nets that there are
NO_RUN = ("small", "cuts", "confusion")
NOTEBOOKS = [name for name in CHAPTERS if (ROOT / f"{name}.ipynb").exists()]

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
# The same browser without what draws windows; it opens a page in two thirds of the time.
HEADLESS_CHROMIUM = shutil.which("chromium-headless-shell") or CHROMIUM

# Parameters of tests


def some_of(cases, *kept):
    """All cases, of which `make test` has those that stand for the others.

    The others are left to `make test-exhaustive`. A case of several parameters is a tuple.
    """
    assert all(case in cases for case in kept)
    marks = {True: (), False: (pytest.mark.slow, pytest.mark.exhaustive)}
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*v, marks=marks[case in kept]) for case, v in zip(cases, values)]


# The book


def build_book(source: Path, folder: Path) -> Path:
    """The folder of the pages; a warning is an error."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source]
    command += ["--path-output", folder, "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


# Explorers


def data_of(page: str) -> dict:
    """The data that an explorer puts into the page."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


def frame(data: dict, *stops: int) -> str | None:
    """The image that the script on the page shows for these stops of the sliders."""
    index = 0
    for stop, size in zip(stops, data["sizes"], strict=True):
        index = index * size + stop
    if data["frames"][index] is None:
        return None
    text, *numbers = data["frames"][index]
    pieces = data["texts"][text]
    numbers += [""] * (len(pieces) - len(numbers))
    return "".join(piece + number for piece, number in zip(pieces, numbers))


# Images


def make_png(width: int, height: int, depth: int, color_type: int, rows: bytes) -> bytes:
    """A PNG file by hand: Pillow writes no 16-bit colors."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def make_tiff(
    values: np.ndarray, bits: int | None = None, sample_format: int = 1, zero_is_white: bool = False
) -> bytes:
    """A gray TIFF file by hand: Pillow does not write all types of numbers.

    Args:
        values: (H, W), in the byte order of the file; or (H, bytes in a row) if bits are given.
        bits: of a pixel, if bytes are given.
        sample_format: 1 for unsigned numbers, 2 for signed ones, 3 for floating point.
        zero_is_white: whether 0 is white.
    """
    order = ">" if values.dtype.str[0] == ">" else "<"
    height, width = values.shape
    if bits is None:
        bits = 8 * values.dtype.itemsize
    else:
        width = 8 * width // bits
    pixels = values.tobytes()
    entries = [  # tag, type (3 has 16 bits, 4 has 32), value
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),  # no compression
        (262, 3, 0 if zero_is_white else 1),
        (273, 4, 8),  # where the pixels begin
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(pixels)),
        (339, 3, sample_format),
    ]
    head = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        content = (
            struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
        )
        directory += struct.pack(f"{order}HHI", tag, kind, 1) + content
    return head + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + directory + bytes(4)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PHOTO = TF.to_pil_image(photos()["coffee"]).resize((48, 30))
UPSIDE_DOWN = PHOTO.rotate(180)
ROTATED_BY_EXIF = Image.Exif()
ROTATED_BY_EXIF[274] = 6  # the camera was held upright
ROW_OF_16_BITS = b"\0" + struct.pack(">HHH", 40_000, 20_000, 513) * 6

ODD_IMAGES = {  # files that are decoded as Pillow converts them to RGB
    "JPEG": encode(PHOTO, "JPEG"),
    "JPEG, progressive": encode(PHOTO, "JPEG", progressive=True),
    "JPEG, gray": encode(PHOTO.convert("L"), "JPEG"),
    "JPEG, CMYK": encode(PHOTO.convert("CMYK"), "JPEG"),
    "JPEG, rotated by EXIF": encode(PHOTO, "JPEG", exif=ROTATED_BY_EXIF),
    "PNG, transparent": encode(PHOTO.convert("RGBA"), "PNG"),
    "PNG, gray and transparent": encode(PHOTO.convert("LA"), "PNG"),
    "PNG, palette": encode(PHOTO.convert("P"), "PNG"),
    "PNG, black and white": encode(PHOTO.convert("1"), "PNG"),
    "PNG, 16 bits": make_png(6, 4, 16, 2, ROW_OF_16_BITS * 4),
    "GIF, animated": encode(PHOTO, "GIF", save_all=True, append_images=[UPSIDE_DOWN]),
    "WebP, animated": encode(
        PHOTO, "WEBP", save_all=True, append_images=[UPSIDE_DOWN], lossless=True
    ),
    "BMP": encode(PHOTO, "BMP"),
    "TIFF": encode(PHOTO, "TIFF"),
    "PPM": encode(PHOTO, "PPM"),
    "one pixel": encode(PHOTO.resize((1, 1)), "PNG"),
}
JPEG, PNG = encode(PHOTO, "JPEG"), encode(PHOTO, "PNG")
# Its directory says that the pixels begin at the text "\b", which in Pillow is a TypeError
BAD_OFFSET = make_tiff(np.zeros((8, 8), np.uint8)).replace(
    struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 2, 1, 8)
)
BROKEN_IMAGES = {  # files that hold no complete image
    "empty": b"",
    "a JPEG cut off": JPEG[: len(JPEG) // 2],
    "a PNG cut off": PNG[: len(PNG) // 2],
    "a JPEG's first bytes": JPEG[:20],
    "text": b"not an image",
    "a web page": b"<!DOCTYPE html><title>404</title>",
    "zeros": bytes(1000),
    "a TIFF without an offset": BAD_OFFSET,
    "floating point": make_tiff(np.linspace(0, 1, 64, dtype="<f4").reshape(8, 8), sample_format=3),
    "a damaged PNG": PNG[:60] + bytes(40) + PNG[100:],
    "too long and thin": encode(Image.new("RGB", (3000, 2)), "PNG"),
}

# Weights and checkpoints

# Written by version 0.1.0 on the images of the fixture data_folder, one of which was cut off
OLD_CHECKPOINT = ROOT / "tests/data/checkpoint-0.1.0.pt.xz"  # stopped in the second epoch
OLD_WEIGHTS = ROOT / "tests/data/model-0.1.0.safetensors.xz"  # at the end of that epoch


def save_random_weights(path: Path, classes: tuple[str, ...]) -> None:
    """Write a file like ``model.safetensors``, of an untrained net of the variant small."""
    torch.manual_seed(0)
    tensors = AlexNet(len(classes), "small").state_dict()
    tensors |= {"mean": torch.rand(3, 32, 32), "std": torch.full((3, 1, 1), 0.25)}
    metadata = {"variant": "small", "classes": classes, "resize": 36, "crop": 32}
    checkpoint.save_weights(path, tensors, metadata)


def save_torchvision_weights(hub: Path) -> torch.nn.Module:
    """Write random weights to where torchvision looks for its download; the net that has them."""
    torch.manual_seed(0)
    net = torchvision.models.alexnet()
    name = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    (hub / "checkpoints").mkdir(parents=True)
    torch.save(net.state_dict(), hub / "checkpoints" / name)
    return net


def flip_a_bit(path: Path) -> None:
    """Change the first 3.0 in float32, which the checksum of the zip archive reveals."""
    before, after = bytes.fromhex("00004040"), bytes.fromhex("00004041")
    path.write_bytes(path.read_bytes().replace(before, after, 1))


BROKEN_CHECKPOINTS = {  # what is done to an intact one
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("epoch 3", encoding="utf-8"),
    "cut off at the end": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut off in the middle": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "of another program": lambda path: torch.save({"state_dict": {}}, path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "of an older format": lambda path: torch.save(
        {"format": "alexnet.train, format 0", "epoch": 9}, path
    ),
    "of a newer format": lambda path: torch.save(
        {"format": "alexnet.train, format 3", "epoch": 9}, path
    ),
    "a damaged number": flip_a_bit,
}

# Data sets and options

CLASSES = tuple(photos())


def black(data):
    for path in data.rglob("*.jpg"):
        Image.new("RGB", (36, 36)).save(path)


def without(root, *names):
    for name in names:
        shutil.rmtree(root / name)


WRONG = {  # what is done to a copy of a good data set, the options, and what is said
    "no folder": (lambda d: shutil.rmtree(d), [], r"is not a folder: name a data set"),
    "a file": (
        lambda d: (shutil.rmtree(d), d.write_text("", encoding="utf-8")),
        [],
        r"is not a folder",
    ),
    "no train/": (lambda d: without(d, "train"), [], r"has no train/"),
    "no val/ and no test/": (lambda d: without(d, "test"), [], r"has train/ and no val/ or test/"),
    "no classes": (lambda d: without(d / "train", *CLASSES), [], r"train holds no class folders"),
    "an empty class": (
        lambda d: [p.unlink() for p in (d / "train" / "cat").iterdir()],
        [],
        r"train: no image in cat: add some",
    ),
    "a class too many": (
        lambda d: shutil.copytree(d / "test" / "cat", d / "test" / "cats"),
        [],
        r"must have the same classes, but differ in cats",
    ),
    "a class too few": (
        lambda d: without(d / "test", "cat"),
        [],
        r"must have the same classes, but differ in cat",
    ),
    "a batch too large": (
        None,
        ["--batch-size", "1000"],
        r"has 160 images, less than a batch of 1000: lower --batch-size",
    ),
    "no batch": (None, ["--batch-size", "0"], r"--batch-size must be > 0, got 0"),
    "no epochs": (None, ["--epochs", "-1"], r"--epochs must be > 0, got -1"),
    "no rate": (None, ["--lr", "0"], r"--lr must be > 0, got 0"),
    "not a rate": (None, ["--lr", "nan"], r"--lr must be > 0, got nan"),
    "all dropped": (None, ["--dropout", "1"], r"--dropout must be >= 0 and < 1, got 1"),
    "no threads": (None, ["--workers", "0"], r"--workers must be > 0, got 0"),
    "less than no patience": (None, ["--patience", "-1"], r"--patience must be >= 0, got -1"),
    "a seed too large": (None, ["--seed", "9" * 20], r"--seed must be >= 0 and < 2\^32, got 9"),
    "a seed below zero": (None, ["--seed", "-1"], r"--seed must be >= 0 and < 2\^32, got -1"),
    "a crop that does not fit": (
        None,
        ["--resize", "30"],
        r"--crop at most --resize, got --crop 32 and --resize 30",
    ),
    "no crop": (None, ["--crop", "0"], r"must be 1 to 4096 .*, got --crop 0 and --resize 0"),
    "a square too large": (None, ["--resize", "100000"], r"must be 1 to 4096"),
    "pictures all black": (black, [], r"is the same in all pixels of all images"),
    "too many classes": (
        lambda d: [(d / "train" / f"{n}").mkdir() for n in range(99)],
        [],
        r"no image in 0, 1, 10, 11, 12 and 94 more: add",
    ),
    "a crop for another net": (None, ["--crop", "64"], r"takes images of 32×32 pixels"),
    "a net without columns": (
        None,
        ["--variant", "single-column", "--two-gpu"],
        r"must have two columns",
    ),
    "no such device": (
        None,
        ["--device", "cuda:77"],
        r"--device cuda:77 cannot be used here, take --device cpu",
    ),
    "a device without numbers": (
        None,
        ["--device", "meta"],
        r"--device meta cannot be used here, take --device cpu",
    ),
    "not a device": (None, ["--device", "toaster"], r"--device toaster cannot be used here"),
}

# Output folders

OUT = {  # what is done to the folder of a finished run, the options, and what is said
    "a run without --resume": (
        lambda out: None,
        [],
        r"is not empty \(checkpoint.pt\): go on there with --resume, or name another folder",
    ),
    "a file": (
        lambda out: (shutil.rmtree(out), out.write_text("", encoding="utf-8")),
        [],
        r"is a file: name a folder",
    ),
    "somebody else's": (
        lambda out: [(out / name).unlink() for name in ("checkpoint.pt", "previous.pt")],
        ["--resume"],
        r"holds no checkpoint",
    ),
    "another rate": (
        lambda out: None,
        ["--resume", "--lr", "0.1"],
        r"was begun with --lr 0.01, got 0.1: leave --lr out",
    ),
    "another batch": (
        lambda out: None,
        ["--resume", "--batch-size", "8"],
        r"was begun with --batch-size 16, got 8",
    ),
    "another seed": (
        lambda out: None,
        ["--resume", "--seed", "8"],
        r"was begun with --seed 0, got 8",
    ),
}

# Runs of the training command

SMALL_RUN = ["--variant", "small", "--batch-size", "16", "--device", "cpu", "--workers", "1"]
# Of a line of the log; the speed is the machine's
REPRODUCIBLE = ("epoch", "lr", "loss", "top1", "top5", "skipped")


def run_train(data, out, *options):
    """The command, in this process."""
    train.main(["--data", str(data), "--out", str(out), *SMALL_RUN, *options])


def read_log(out):
    """The lines of ``log.jsonl``, less what differs from machine to machine."""
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [{name: entry[name] for name in REPRODUCIBLE} for entry in entries]


def exit_message(call):
    """The one sentence that a command ends with, and its exit status."""
    with pytest.raises(SystemExit) as end:
        call()
    code = end.value.code
    return (code, 1) if isinstance(code, str) else ("", code)


def torchrun(processes, *command):
    """A command in several processes, by torchrun as this Python has it."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*launcher, "--nproc-per-node", str(processes), *map(str, command)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Exported nets


def export_to_onnx(
    module: torch.nn.Module, example: torch.Tensor, path: Path, dynamo: bool
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Export a module for batches of any size, and return a function that runs it in ONNX Runtime.

    Args:
        module: in evaluation mode.
        example: a batch of more than one.
        path: of the ONNX file.
        dynamo: which of PyTorch's two exporters: torch.export, or the older one of TorchScript.
    """
    import onnxruntime  # only the slow tests need it

    if dynamo:
        batch = {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},)}
    else:
        batch = {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    names = {"input_names": ["x"], "output_names": ["y"]}
    torch.onnx.export(module, (example,), path, dynamo=dynamo, verbose=False, **names, **batch)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(x: torch.Tensor) -> torch.Tensor:
        [y] = session.run(["y"], {"x": x.numpy()})
        return torch.from_numpy(y)

    return run
