"""Folders of image files: finding them, decoding them, and reading them ahead of use."""

import io
import os
import re
import stat
import struct
import sys
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional as TF

from alexnet.resources import usable_memory

# The Pillow decoders that are allowed. Pillow has more of them, and some start other programs
# (Ghostscript for EPS), which a data set from the internet must not do.
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM")
# All extensions that Pillow and torchvision have for these formats. They are written out, so that
# the images of a data set do not depend on the version of Pillow.
EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
)  # fmt: skip
MAX_SIDE = 4096  # height and width in pixels of an image after resize_center_crop
MAX_ASPECT_RATIO = 100  # of an image that is resized; see resize_center_crop
MAX_PIXELS = 178_956_970  # of an image that is decoded, half a gigabyte in RGB: Pillow's limit


@dataclass(frozen=True)
class ImageFolderIndex:
    """The image files of a folder that holds one folder for each class.

    Attributes:
        root: the folder.
        classes: names of the class folders in their canonical form, sorted.
        paths: of the files, class by class.
        labels: int64 (N,), for each path the index of its class in ``classes``.
        left_out: what else is in the folder and is ignored, relative to ``root``: files without
            one of the :data:`EXTENSIONS`, files outside of class folders, and links to folders.
    """

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: Tensor
    left_out: tuple[str, ...] = ()


def canonical_name(name: str) -> str:
    """The one form of a name that Unicode can write in several.

    ``é`` is one character, or an ``e`` and an accent: archives that are made on a Mac have the
    second form. The result is the first one (Unicode's normalization form C).
    """
    return unicodedata.normalize("NFC", name)


def scan_image_folder(root: str | Path) -> ImageFolderIndex:
    """List the images of a folder as :class:`torchvision.datasets.ImageFolder` does.

    No file is opened. There are some differences: hidden files and folders are ignored, links to
    folders inside a class folder are not followed, names are compared in their canonical form, and
    a folder that cannot be read is an error, as is a dangling link in the place of a folder.

    Args:
        root: folder with a folder of images for each class.

    Raises:
        OSError: if there is no such folder, it has no class folder, a class folder has no image,
            or one cannot be read.
        ValueError: if two folders are of one class, or the folder is part of Tiny ImageNet or
            ImageNet as published, whose labels :mod:`alexnet.prepare` turns into class folders.
    """
    root = Path(root)
    _check_link(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: name one that holds a folder per class")
    folders, left_out = _list_class_folders(root)
    _check_published_layout(root, [os.path.basename(path) for path in left_out])
    if not folders:
        raise FileNotFoundError(
            f"{root} holds no class folders: put the images of each class in a folder of its name"
        )
    files: dict[str, list[str]] = {}
    for name, folder in sorted(folders.items()):
        files[name], others = _list_images(folder)
        left_out += others
    empty = [name for name, found in files.items() if not found]
    if empty:
        raise FileNotFoundError(
            f"{root}: no image in {join_names(empty)}: "
            f"add some ({', '.join(EXTENSIONS)}), or remove the folder"
        )
    paths = tuple(path for found in files.values() for path in found)
    sizes = torch.tensor([len(found) for found in files.values()])
    labels = torch.repeat_interleave(torch.arange(len(files)), sizes)
    names_left_out = tuple(os.path.relpath(path, root) for path in left_out)
    return ImageFolderIndex(root, tuple(files), paths, labels, names_left_out)


def _check_link(path: Path) -> None:
    """Raise an OSError for a link that leads nowhere, such as to a disk that is not mounted."""
    if not path.is_symlink():
        return
    try:
        os.stat(path)
    except OSError as error:
        raise OSError(
            f"{path} is a link to {os.readlink(path)}, which cannot be read ({error.strerror}): "
            "mount the disk that it is on, or remove the link"
        ) from error


def _list_class_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """The class folders by name, and the files beside them, which belong to no class."""
    folders: dict[str, Path] = {}
    files: list[str] = []
    try:
        found = sorted(os.listdir(root))
    except OSError as error:
        raise _unreadable(error) from error
    for entry in found:
        path = root / entry
        if entry.startswith("."):
            continue
        _check_link(path)
        if not path.is_dir():
            files.append(str(path))
            continue
        name = canonical_name(entry)
        if name in folders:
            raise ValueError(
                f"{root}: {folders[name].name!a} and {entry!a} are the same name in two forms of "
                "Unicode: put the images of this class into one folder"
            )
        folders[name] = path
    return folders, files


def _check_published_layout(root: Path, files: list[str]) -> None:
    """Raise a ValueError where the labels are in a file or an archive, not in class folders.

    Args:
        root: the folder.
        files: names of the files in it, outside of all folders.
    """
    if "val_annotations.txt" in files:
        name, content = "tiny-imagenet", "Tiny ImageNet's val/ as published, with labels in a file"
    elif any(file.startswith("ILSVRC2012_val_") for file in files):
        name, content = "imagenet", "ImageNet's val/ as published, without labels"
    elif any(re.fullmatch(r"n\d{8}\.tar", file) for file in files):
        name, content = "imagenet", "ImageNet's train/ as published, an archive per class"
    else:
        return
    raise ValueError(
        f"{root} must hold a folder per class, got {content}: "
        f"python -m alexnet.prepare {name} makes a data set from the published archive"
    )


def _list_images(folder: Path) -> tuple[list[str], list[str]]:
    """The images in a class folder and in the folders in it, and what is ignored there."""

    def fail(error: OSError) -> None:  # by default os.walk ignores errors
        raise _unreadable(error) from error

    images, left_out = [], []
    for directory, folders, files in sorted(os.walk(folder, onerror=fail), key=_directory_name):
        parts = Path(directory).relative_to(folder).parts
        if any(part.startswith(".") for part in parts):
            continue
        for name in sorted(files, key=canonical_name):
            path = os.path.join(directory, name)
            if name.startswith("."):
                continue
            (images if name.lower().endswith(EXTENSIONS) else left_out).append(path)
        for name in folders:
            path = os.path.join(directory, name)
            if os.path.islink(path) and not name.startswith("."):
                left_out.append(path)
    return images, left_out


def _directory_name(entry: tuple[str, list[str], list[str]]) -> str:
    """What an entry of os.walk is sorted by."""
    return canonical_name(entry[0])


def _unreadable(error: OSError) -> OSError:
    return OSError(
        f"{error.filename} cannot be read ({error.strerror}): make it readable, or remove it"
    )


def print_left_out(folder: ImageFolderIndex) -> None:
    """Print on stderr, in one line, what was ignored in a folder, if there is anything."""
    if folder.left_out:
        print(
            f"left out: {len(folder.left_out):,} in {folder.root} ({join_names(folder.left_out)}): "
            "only files with the extension of an image are read, in class folders",
            file=sys.stderr,
        )


def join_names(names: Iterable[str]) -> str:
    """Join names for a message: the first five, then how many more there are."""
    names = list(names)
    text = ", ".join(names[:5])
    return text if len(names) <= 5 else f"{text} and {len(names) - 5} more"


def train_val_folders(root: str | Path) -> tuple[ImageFolderIndex, ImageFolderIndex]:
    """Find the two folders of a data set: ``train/``, and ``val/`` or else ``test/``.

    ``val/`` goes first, because ImageNet's ``test/`` has no labels.

    Raises:
        OSError: if one is missing, and for the reasons of :func:`scan_image_folder`.
        ValueError: if their classes differ, and for the reasons of :func:`scan_image_folder`.
    """
    root = Path(root)
    for path in (root, *(root / name for name in ("train", "val", "test"))):
        _check_link(path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder: name a data set, which has train/ and val/ in it"
        )
    if not (root / "train").is_dir():
        raise FileNotFoundError(
            f"{root} has no train/: put the training images there, in a folder for each class"
        )
    val_folder = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
    if val_folder is None:
        raise FileNotFoundError(
            f"{root} has train/ and no val/ or test/: "
            "put the validation images there, in folders of the same names"
        )
    train, val = scan_image_folder(root / "train"), scan_image_folder(val_folder)
    if train.classes != val.classes:
        different = sorted(set(train.classes) ^ set(val.classes))
        raise ValueError(
            f"{root}: train/ and {val_folder.name}/ must have the same classes, "
            f"but differ in {join_names(different)}"
        )
    return train, val


def read_class_words(root: str | Path) -> dict[str, str]:
    """Read the words for each class of a data set whose class folders are named by an id.

    Args:
        root: the folder of the data set. Its file ``classes.tsv``, which :mod:`alexnet.prepare`
            writes, has an id, a tab and the words for it in each line.

    Returns:
        The words by id; empty without such a file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a line has no tab.
    """
    path = Path(root) / "classes.tsv"
    if not path.is_file():
        return {}
    words = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, tab, text = line.partition("\t")
        if not tab:
            raise ValueError(
                f"{path} must have an id, a tab and words in each line, "
                f"got {line!a} in line {number}"
            )
        words[canonical_name(name)] = text
    return words


def decode_image(path: str | Path) -> Tensor:
    """Decode the image in a file to RGB.

    Gray, CMYK, transparent, palette and 16-bit images are converted; of an animation the first
    frame is taken. EXIF orientation is ignored, as by :class:`torchvision.datasets.ImageFolder`.

    Gray of more than 8 bits is scaled by the range of its type: 0 to 4095 in 12 bits, 0 to 65,535
    in 16, 0 to 2^32 - 1 in 32. Of signed numbers, which only TIFF files have, 0 to the highest
    one counts, and what is below zero is black, as in torchvision's ``to_dtype`` and
    scikit-image's ``img_as_ubyte``. Floating-point numbers have no such range: they are refused.

    Args:
        path: of a file, or of a pipe such as ``/dev/stdin``.

    Returns:
        uint8 (3, H, W), 0 to 255.

    Raises:
        OSError: if the file cannot be read, does not hold a complete image, has floating-point
            numbers, or over :data:`MAX_PIXELS` pixels.
    """
    try:
        data = Path(path).read_bytes()
        if not data:
            raise OSError("the file is empty")
        if data.startswith(b"\xff\xd8"):
            return _decode_jpeg(data)
        # Not torchvision: version 0.29 ends with a segmentation fault on a damaged PNG file
        return _decode_with_pillow(data)
    except UnidentifiedImageError as error:
        if data.startswith((b"II*\0", b"MM\0*")):
            raise OSError(
                "a TIFF file that is damaged, or of a kind that Pillow does not read, such as "
                "floating-point numbers of 64 bits"
            ) from error
        raise OSError("not an image of a known format") from error
    except OSError:
        raise
    except Exception as error:  # decoders raise a dozen types for damaged files, TypeError too
        raise OSError(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def _decode_jpeg(data: bytes) -> Tensor:
    """In torchvision, where decoding and resizing take half of Pillow's time."""
    width, height = _jpeg_size(data)
    if width * height > MAX_PIXELS:
        raise OSError(f"{width}×{height} pixels are more than {MAX_PIXELS:,}")
    # A copy, since a tensor must be writable
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        return decode_jpeg(encoded, ImageReadMode.RGB)
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[0]) from error


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG image by its frame header; 0 and 0 if it has none.

    Markers are found as libjpeg does (``next_marker`` in ``jdmarker.c``): other bytes before them
    are skipped. So no file can hide its size from here that libjpeg decodes.
    """
    position = 2
    while (position := data.find(b"\xff", position)) >= 0:
        while data[position : position + 1] == b"\xff":  # any number of them
            position += 1
        segment = data[position : position + 8]  # marker, length, bits, height, width
        if len(segment) < 8:
            break
        marker, length, _, height, width = struct.unpack(">BHBHH", segment)
        position += 1
        # 0xC0 to 0xCF begin a frame, but for tables (C4, CC) and what is reserved (C8)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return width, height
        # A zero byte makes no marker; 01 and D0 to D7 have no length
        if marker > 0x01 and not 0xD0 <= marker <= 0xD7:
            position += length
    return 0, 0


def _decode_with_pillow(data: bytes) -> Tensor:
    image = Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)
    if image.mode == "F":
        raise OSError(
            "its pixels are floating-point numbers, which have no range of their own to scale "
            "them by: convert it to whole numbers"
        )
    bits, signed, inverted = _gray_type(image)
    if image.mode.startswith("I") or signed:
        gray = _scale_gray(np.asarray(image), bits, signed)
        image = Image.fromarray(255 - gray if inverted else gray)
    return TF.pil_to_tensor(image.convert("RGB"))


def _gray_type(image: Image.Image) -> tuple[int, bool, bool]:
    """How a gray image is stored: bits, whether they have a sign, and whether zero is white."""
    if image.format != "TIFF":
        return 16, False, False  # Pillow's mode is I;16 or I, which depends on its version
    tags = image.tag_v2
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
    signed = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 2
    zero_is_white = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0) == 0
    return bits, signed, zero_is_white


def _scale_gray(values: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Scale gray by the range of its type; Pillow's own conversion clips it at 255.

    Args:
        values: (H, W), as Pillow has them: in int32 if the file has 32 bits, in uint8 if it has 8.
        bits: in the file, 8 to 32.
        signed: whether one of them is the sign.

    Returns:
        uint8 (H, W), 0 to 255.
    """
    if bits == 8:
        return values.view(np.int8).clip(min=0).view(np.uint8) << 1  # 0 to 127, to 254
    if signed:
        values = values.clip(min=0)
    elif bits == 32:
        values = values.view(np.uint32)
    return (values >> (bits - signed - 8)).astype(np.uint8)


def resize_center_crop(image: Tensor, size: int) -> Tensor:
    """Resize the shorter side to ``size`` pixels and cut out the central square (section 2).

    Args:
        image: uint8 (..., 3, H, W), 0 to 255.
        size: height and width of the result in pixels.

    Returns:
        uint8 (..., 3, size, size).

    Raises:
        OSError: for an aspect ratio over 100, since such a resized image could fill the memory.
    """
    height, width = image.shape[-2:]
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise OSError(f"{width}×{height} pixels are too long and thin for a square")
    resized = TF.resize(image, [size], antialias=True)
    return TF.center_crop(resized, [size, size])


class CachedImageLoader:
    """Decode, resize and center-crop the images of a folder, in threads, ahead of use.

    If all images fit into the allowed fraction of the memory, each file is decoded only once.

    Args:
        folder: the image files.
        size: height and width in pixels of an image after :func:`resize_center_crop`.
        num_workers: threads that decode.
        memory_fraction: of the memory that this process may use, from 0 to 1, that the cache may
            take; 0 turns it off.
        pin_memory: whether batches lie in page-locked memory, from which a GPU can copy while it
            computes.

    Attributes:
        root: the folder.
        paths: of its files.
        failures: the reason for each file that could not be decoded so far, by index into
            ``paths``.
    """

    PREFETCH = 3  # batches that are decoded ahead of the one in use

    def __init__(
        self,
        folder: ImageFolderIndex,
        size: int,
        num_workers: int,
        memory_fraction: float = 0.25,
        pin_memory: bool = False,
    ) -> None:
        self.root, self.paths, self.size = folder.root, folder.paths, size
        self.pin_memory = pin_memory
        self.failures: dict[int, str] = {}
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="decode")
        fits = len(self.paths) * 3 * size**2 <= memory_fraction * usable_memory()
        self._cache = self._allocate_cache() if fits else None
        self._cached: set[int] = set()  # indices of the images that are in the cache

    def _allocate_cache(self) -> Tensor | None:
        """An empty cache for all images; None if the system refuses to allocate it."""
        shape = (len(self.paths), 3, self.size, self.size)
        try:
            # The system allocates the pages of an empty tensor as they are written
            return torch.empty(shape, dtype=torch.uint8)
        except RuntimeError:
            return None

    def batches(self, index_batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode batch after batch, up to :attr:`PREFETCH` of them ahead of the one in use.

        Args:
            index_batches: for each batch int64 (n,), indices into ``paths``.

        Yields:
            The indices that could be decoded, int64 (m,), and their images, uint8
            (m, 3, size, size), 0 to 255. The others are in :attr:`failures`.
        """
        pending: deque[tuple[Tensor, Tensor | None, list[Future]]] = deque()
        try:
            for indices in index_batches:
                pending.append(self._submit(indices))
                if len(pending) > self.PREFETCH:
                    yield self._collect(*pending.popleft())
            while pending:
                yield self._collect(*pending.popleft())
        finally:  # also if the caller stops early
            for _, _, futures in pending:
                for future in futures:
                    future.cancel()

    def _submit(self, indices: Tensor) -> tuple[Tensor, Tensor | None, list[Future]]:
        """Start to decode what is not in the cache, into the cache or else a new batch."""
        missing = [
            (row, index)
            for row, index in enumerate(indices.tolist())
            if index not in self._cached and index not in self.failures
        ]
        if self._cache is not None:
            futures = [
                self._pool.submit(self._decode, index, self._cache[index]) for _, index in missing
            ]
            return indices, None, futures
        shape = (len(indices), 3, self.size, self.size)
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self.pin_memory)
        futures = [self._pool.submit(self._decode, index, batch[row]) for row, index in missing]
        return indices, batch, futures

    def _collect(
        self, indices: Tensor, batch: Tensor | None, futures: list[Future]
    ) -> tuple[Tensor, Tensor]:
        """Wait for a batch, and drop the images that could not be decoded."""
        for future in futures:
            future.result()
        decoded = torch.tensor(
            [index not in self.failures for index in indices.tolist()], dtype=torch.bool
        )
        if batch is None:
            batch = self._cache[indices[decoded]]
            return indices[decoded], batch.pin_memory() if self.pin_memory else batch
        if decoded.all():  # no copy
            return indices, batch
        return indices[decoded], batch[decoded]

    def _decode(self, index: int, out: Tensor) -> None:
        path = self.paths[index]
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # reading from a pipe could block forever
                raise OSError("not a regular file")
            out.copy_(resize_center_crop(decode_image(path), self.size))
        except OSError as error:
            self.failures[index] = str(error)
            return
        if self._cache is not None:
            self._cached.add(index)
