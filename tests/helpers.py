"""What several test files share: where things are, explorers read back, and all that can be wrong with files and options."""

import io
import json
import re
import shutil
import struct
import zlib
from pathlib import Path

import torch
import yaml
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from alexnet.datasets import photos

ROOT = Path(__file__).parents[1]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(entry["file"] for entry in TOC["chapters"])]
NOTEBOOKS = [name for name in CHAPTERS if (ROOT / f"{name}.ipynb").exists()]

# Explorers


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


def frame(data: dict, *stops: int) -> str:
    """What the script on the page does: the picture of these stops."""
    index = 0
    for stop, size in zip(stops, data["sizes"], strict=True):
        index = index * size + stop
    if data["frames"][index] is None:
        return None
    text, *numbers = data["frames"][index]
    return "".join(piece + (numbers[i] if i < len(numbers) else "") for i, piece in enumerate(data["texts"][text]))


# Images


def png(width, height, depth, colour, rows):
    """A PNG file by hand: Pillow writes no 16-bit colours."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PHOTO = to_pil_image(photos()["coffee"]).resize((48, 30))
RED_16 = b"".join(b"\0" + struct.pack(">HHH", 40_000, 20_000, 513) * 6 for _ in range(4))


def written(image, kind, **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def turned():
    how = Image.Exif()
    how[274] = 6  # the camera was held upright
    return written(PHOTO, "JPEG", exif=how)


ODD_PICTURES = {  # named kinds of pictures that are read as Pillow converts them
    "JPEG": written(PHOTO, "JPEG"),
    "JPEG, progressive": written(PHOTO, "JPEG", progressive=True),
    "JPEG, grey": written(PHOTO.convert("L"), "JPEG"),
    "JPEG, CMYK": written(PHOTO.convert("CMYK"), "JPEG"),
    "JPEG, turned by the camera": turned(),
    "PNG, transparent": written(PHOTO.convert("RGBA"), "PNG"),
    "PNG, grey and transparent": written(PHOTO.convert("LA"), "PNG"),
    "PNG, palette": written(PHOTO.convert("P"), "PNG"),
    "PNG, black and white": written(PHOTO.convert("1"), "PNG"),
    "PNG, 16 bits": png(6, 4, 16, 2, RED_16),
    "GIF, moving": written(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(180)]),
    "WebP, moving": written(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(180)], lossless=True),
    "BMP": written(PHOTO, "BMP"),
    "TIFF": written(PHOTO, "TIFF"),
    "PPM": written(PHOTO, "PPM"),
    "one pixel": written(PHOTO.resize((1, 1)), "PNG"),
}
whole_jpeg, whole_png = written(PHOTO, "JPEG"), written(PHOTO, "PNG")
BROKEN_PICTURES = {  # named kinds of files that are no picture
    "empty": b"",
    "a JPEG cut off": whole_jpeg[: len(whole_jpeg) // 2],
    "a PNG cut off": whole_png[: len(whole_png) // 2],
    "a JPEG's first bytes": whole_jpeg[:20],
    "text": b"not a picture",
    "a web page": b"<!DOCTYPE html><title>404</title>",
    "zeros": bytes(1000),
    "a damaged PNG": whole_png[:60] + bytes(40) + whole_png[100:],
    "too long and thin": written(Image.new("RGB", (3000, 2)), "PNG"),
}

# Checkpoints

BROKEN_CHECKPOINTS = {  # what is done to a good one
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("epoch 3"),
    "cut off at the end": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut off in the middle": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "of another program": lambda path: torch.save({"state_dict": {}}, path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "of another version": lambda path: torch.save({"format": "alexnet.train, format 0", "epoch": 9}, path),
    "a damaged number": lambda path: path.write_bytes(path.read_bytes().replace(bytes.fromhex("00004040"), bytes.fromhex("00004041"), 1)),
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
    "no folder": (lambda d: shutil.rmtree(d), [], r"is not a folder: a data set is one"),
    "a file": (lambda d: (shutil.rmtree(d), d.write_text("")), [], r"is not a folder"),
    "no train/": (lambda d: without(d, "train"), [], r"has no train/"),
    "no val/ and no test/": (lambda d: without(d, "test"), [], r"has train/ and no val/ or test/"),
    "no classes": (lambda d: without(d / "train", *CLASSES), [], r"train holds no class folders"),
    "an empty class": (lambda d: [p.unlink() for p in (d / "train" / "cat").iterdir()], [], r"train: no picture in cat: add some"),
    "a class too many": (lambda d: shutil.copytree(d / "test" / "cat", d / "test" / "cats"), [], r"not the same classes, they differ in cats"),
    "a class too few": (lambda d: without(d / "test", "cat"), [], r"not the same classes, they differ in cat"),
    "a batch too large": (None, ["--batch-size", "1000"], r"has 160 pictures, less than a batch of 1000: lower --batch-size"),
    "no batch": (None, ["--batch-size", "0"], r"--batch-size is above zero, not 0"),
    "no epochs": (None, ["--epochs", "-1"], r"--epochs is above zero, not -1"),
    "no rate": (None, ["--lr", "0"], r"--lr is above zero, not 0"),
    "not a rate": (None, ["--lr", "nan"], r"--lr is above zero, not nan"),
    "all dropped": (None, ["--dropout", "1"], r"--dropout is 0 or more and below 1, not 1"),
    "no threads": (None, ["--workers", "0"], r"--workers is above zero, not 0"),
    "less than no patience": (None, ["--patience", "-1"], r"--patience is 0 or more, not -1"),
    "a seed too large": (None, ["--seed", "9" * 20], r"--seed is 0 or more and below 2\^32, not 9"),
    "a seed below zero": (None, ["--seed", "-1"], r"--seed is 0 or more and below 2\^32, not -1"),
    "a crop that does not fit": (None, ["--resize", "30"], r"--resize 30 has no room for --crop 32"),
    "no crop": (None, ["--crop", "0"], r"--resize 0 has no room for --crop 0"),
    "a square too large": (None, ["--resize", "100000"], r"they are 1 to 4096"),
    "pictures all black": (black, [], r"all pixels of its pictures are alike"),
    "too many classes": (lambda d: [(d / "train" / f"{n}").mkdir() for n in range(99)], [], r"no picture in 0, 1, 10, 11, 12 and 94 more: add"),
    "a crop for another net": (None, ["--crop", "64"], r"takes images of 32×32 pixels"),
    "a net without columns": (None, ["--variant", "single-column", "--two-gpu"], r"has not two columns"),
    "no such device": (None, ["--device", "cuda:77"], r"--device cuda:77 cannot be used here, take --device cpu"),
    "a device without numbers": (None, ["--device", "meta"], r"--device meta cannot be used here, take --device cpu"),
    "not a device": (None, ["--device", "toaster"], r"--device toaster cannot be used here"),
}

# Output folders

OUT = {  # what is done to the folder of a finished run, the options, and what is said
    "a run without --resume": (lambda out: None, [], r"is not empty \(checkpoint.pt\): go on there with --resume, or name another folder"),
    "a file": (lambda out: (shutil.rmtree(out), out.write_text("")), [], r"is a file: name a folder"),
    "somebody else's": (lambda out: [(out / name).unlink() for name in ("checkpoint.pt", "previous.pt")], ["--resume"], r"holds no checkpoint"),
    "another rate": (lambda out: None, ["--resume", "--lr", "0.1"], r"was begun with --lr 0.01, not 0.1: leave --lr out"),
    "another batch": (lambda out: None, ["--resume", "--batch-size", "8"], r"was begun with --batch-size 16, not 8"),
    "another seed": (lambda out: None, ["--resume", "--seed", "8"], r"was begun with --seed 0, not 8"),
}
