"""Folders of image files: finding them, decoding them, and reading them ahead of use."""

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional as TF

# Extensions, and the Pillow decoders that are allowed. Pillow has more decoders, and some of them
# start other programs (Ghostscript for EPS), which a data set from the internet must not do.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
MAX_ASPECT_RATIO = 100  # of an image that is resized; see resize_center_crop


@dataclass(frozen=True)
class ImageFolderIndex:
    """The image files of a folder that holds one folder for each class.

    Attributes:
        root: the folder.
        classes: names of the class folders, sorted.
        paths: of the files, class by class.
        labels: int64 (N,), for each path the index of its class in ``classes``.
    """

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: Tensor


def scan_image_folder(root: str | Path) -> ImageFolderIndex:
    """List the images of a folder as :class:`torchvision.datasets.ImageFolder` does.

    No file is opened. There are three differences: hidden files and folders are left out, links to
    folders inside a class folder are not followed, and a folder that cannot be read is an error.

    Args:
        root: folder with a folder of images for each class.

    Raises:
        OSError: if there is no such folder, it has no class folder, a class folder has no image,
            or one cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: name one that holds a folder per class")
    classes = sorted(
        entry.name
        for entry in os.scandir(root)
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not classes:
        raise FileNotFoundError(
            f"{root} holds no class folders: put the images of each class in a folder of its name"
        )
    files = [_list_images(root / name) for name in classes]
    empty = [name for name, found in zip(classes, files) if not found]
    if empty:
        raise FileNotFoundError(
            f"{root}: no image in {join_names(empty)}: "
            f"add some ({', '.join(EXTENSIONS)}), or remove the folder"
        )
    paths = tuple(path for found in files for path in found)
    sizes = torch.tensor([len(found) for found in files])
    labels = torch.repeat_interleave(torch.arange(len(classes)), sizes)
    return ImageFolderIndex(root, tuple(classes), paths, labels)


def _list_images(folder: Path) -> list[str]:
    def fail(error: OSError) -> None:  # os.walk would skip the folder without a word
        raise OSError(
            f"{error.filename} cannot be read ({error.strerror}): make it readable, or remove it"
        ) from error

    paths = []
    for directory, _, files in sorted(os.walk(folder, onerror=fail)):
        parts = Path(directory).relative_to(folder).parts
        if any(part.startswith(".") for part in parts):
            continue
        for name in sorted(files):
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                paths.append(os.path.join(directory, name))
    return paths


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
        ValueError: if their classes differ.
    """
    root = Path(root)
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


def decode_image(path: str | Path) -> Tensor:
    """Decode the image in a file to RGB.

    Gray, CMYK, transparent, palette and 16-bit images are converted; of an animation the first
    frame is taken. EXIF orientation is ignored, as by :class:`torchvision.datasets.ImageFolder`.

    Returns:
        uint8 (3, H, W), 0 to 255.

    Raises:
        OSError: if the file cannot be read, or does not hold a complete image.
    """
    data = np.fromfile(path, np.uint8)
    if not len(data):
        raise OSError("the file is empty")
    if data[:2].tobytes() != b"\xff\xd8":
        # Not torchvision: version 0.29 ends with a segmentation fault on a damaged PNG file
        return _decode_with_pillow(data.tobytes())
    # JPEG, for which decoding and resizing in torchvision take half of Pillow's time
    try:
        return decode_jpeg(torch.from_numpy(data), ImageReadMode.RGB)
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[0]) from error


def _decode_with_pillow(data: bytes) -> Tensor:
    try:
        image = Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)
        if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip at 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return TF.pil_to_tensor(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise OSError("not an image of a known format") from error
    # The other errors that Pillow raises for a damaged file
    except (
        SyntaxError,
        ValueError,
        EOFError,
        NotImplementedError,
        Image.DecompressionBombError,
    ) as error:
        raise OSError(str(error)) from error


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
    """Decode the images of a folder to squares, in threads, ahead of use.

    If all squares fit into the allowed part of the memory, each file is decoded once only.

    Args:
        folder: the image files.
        size: height and width of a square in pixels.
        num_workers: threads that decode.
        memory_fraction: of this machine's memory, from 0 to 1, that the cache may take; 0 turns
            it off.
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
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # bytes
        shape = (len(self.paths), 3, size, size)
        fits = len(self.paths) * 3 * size**2 <= memory_fraction * memory
        # The system allocates the pages of an empty tensor as they are written
        self._cache = torch.empty(shape, dtype=torch.uint8) if fits else None
        self._cached: set[int] = set()  # indices of the squares that are in the cache

    def batches(self, index_batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode batch after batch, up to :attr:`PREFETCH` of them ahead of the one in use.

        Args:
            index_batches: for each batch int64 (n,), indices into ``paths``.

        Yields:
            The indices that could be decoded, int64 (m,), and their squares, uint8
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
        """Start to decode what is not in the cache, into the cache or else into a new batch."""
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
        """Wait for a batch, and leave out what could not be decoded."""
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
        try:
            out.copy_(resize_center_crop(decode_image(self.paths[index]), self.size))
        except OSError as error:
            self.failures[index] = str(error)
            return
        if self._cache is not None:
            self._cached.add(index)
