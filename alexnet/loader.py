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
from torchvision.transforms.v2 import functional as F



# Endings, and what Pillow may take the content for; it knows more, some of them programs
EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")


PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")


@dataclass(frozen=True)
class ImageFolderIndex:
    """The files of a folder with a folder a class. Labels are int64 (N,), an index into ``classes``, which are sorted."""

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: Tensor


def scan_image_folder(root: str | Path) -> ImageFolderIndex:
    """The pictures of :class:`torchvision.datasets.ImageFolder`, without opening a file.

    It differs in what would surprise: hidden files and folders are left out, links to folders inside a class folder are not
    followed, and a folder that cannot be read is not passed over.

    Raises:
        OSError: if there is no such folder, no class folder in it, no picture in a class folder, or one cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: name one that holds a folder for each class")
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise FileNotFoundError(f"{root} holds no class folders: pictures of a class belong into a folder with its name")
    files = [_list_images(root / name) for name in classes]
    empty = [name for name, found in zip(classes, files) if not found]
    if empty:
        raise FileNotFoundError(f"{root}: no picture in {join_names(empty)}: add some ({', '.join(EXTENSIONS)}), or remove the folder")
    labels = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor([len(found) for found in files]))
    return ImageFolderIndex(root, tuple(classes), tuple(path for found in files for path in found), labels)


def _list_images(folder: Path) -> list[str]:
    def fail(problem: OSError) -> None:
        raise OSError(f"{problem.filename} cannot be read ({problem.strerror}): make it readable, or remove it") from problem

    found = []
    for here, folders, files in sorted(os.walk(folder, onerror=fail)):
        hidden = any(part.startswith(".") for part in Path(here).relative_to(folder).parts)
        found += [os.path.join(here, name) for name in sorted(files) if name.lower().endswith(EXTENSIONS) and not (hidden or name.startswith("."))]
    return found


def join_names(names: Iterable[str]) -> str:
    """The first five names, and how many more."""
    names = list(names)
    return ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)


def train_val_folders(root: str | Path) -> tuple[ImageFolderIndex, ImageFolderIndex]:
    """The two folders of a data set: ``train/``, and ``val/`` or ``test/``.

    Raises:
        OSError: if one is missing, and as :func:`image_folder`.
        ValueError: if their classes differ.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: a data set is one, with train/ and val/ in it")
    if not (root / "train").is_dir():
        raise FileNotFoundError(f"{root} has no train/: put the training pictures there, in a folder for each class")
    held_out = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
    if held_out is None:
        raise FileNotFoundError(f"{root} has train/ and no val/ or test/: put the pictures to test on there, in folders of the same names")
    train, test = scan_image_folder(root / "train"), scan_image_folder(held_out)
    if train.classes != test.classes:
        names = join_names(sorted(set(train.classes) ^ set(test.classes)))
        raise ValueError(f"{root}: train/ and {held_out.name}/ have not the same classes, they differ in {names}")
    return train, test


def decode_image(path: str | Path) -> Tensor:
    """The picture in a file, uint8 (3, H, W), 0 to 255: grey, CMYK, transparent, palette and 16-bit ones converted, the
    first picture of a moving one. What the camera said of its orientation is not heeded, as by ImageFolder.

    Raises:
        OSError: if the file cannot be read, or holds no whole picture.
    """
    data = np.fromfile(path, np.uint8)
    if not len(data):
        raise OSError("the file is empty")
    if data[:2].tobytes() == b"\xff\xd8":  # JPEG: with the resizing, torchvision takes half of Pillow's time
        try:
            return decode_jpeg(torch.from_numpy(data), ImageReadMode.RGB)
        except RuntimeError as problem:
            raise OSError(str(problem).splitlines()[0]) from problem
    return _decode_with_pillow(data.tobytes())  # of others, since a damaged PNG ends torchvision 0.29 with a segmentation fault


def _decode_with_pillow(data: bytes) -> Tensor:
    try:
        image = Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)
        if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut at 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return F.pil_to_tensor(image.convert("RGB"))
    except UnidentifiedImageError as problem:
        raise OSError("no picture of a known kind") from problem
    except (SyntaxError, ValueError, EOFError, NotImplementedError, Image.DecompressionBombError) as problem:  # Pillow's ways to say that a file is broken
        raise OSError(str(problem)) from problem


def resize_center_crop(image: Tensor, size: int) -> Tensor:
    """Shorter side to ``size`` pixels, then the middle cut out (section 2): (3, H, W) to (3, size, size), uint8.

    Raises:
        OSError: for a picture so long and thin that it would fill the memory.
    """
    height, width = image.shape[-2:]
    if max(height, width) > 100 * min(height, width):
        raise OSError(f"{width}×{height} pixels are too long and thin for a square")
    return F.center_crop(F.resize(image, [size], antialias=True), [size, size])


class CachedImageLoader:
    """The pictures of a folder as squares, decoded by threads ahead of use; decoded once, if memory can hold them all.

    Args:
        folder: where they are.
        size: height and width in pixels.
        workers: threads.
        share: the part of this machine's memory that may hold squares.
        pin: whether batches lie in memory that a GPU can fetch from while it computes.

    Attributes:
        broken: what could not be decoded so far, an index into ``paths`` and the reason.
    """

    AHEAD = 3  # batches

    def __init__(self, folder: ImageFolderIndex, size: int, workers: int, share: float = 0.25, pin: bool = False) -> None:
        self.root, self.paths, self.size, self.pin = folder.root, folder.paths, size, pin
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self.broken: dict[int, str] = {}
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        fits = len(self.paths) * 3 * size**2 <= share * memory
        self.kept = torch.empty(len(self.paths), 3, size, size, dtype=torch.uint8) if fits else None  # takes memory as it is filled
        self.have: set[int] = set()

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode batch after batch, some of them ahead of the one in use.

        Args:
            chosen: for each batch its indices into ``paths``, int64 (n,).

        Yields:
            The indices that could be decoded, (m,), and their squares, uint8 (m, 3, size, size).
        """
        waiting: deque[tuple[Tensor, Tensor | None, list[Future]]] = deque()
        try:
            for indices in chosen:
                waiting.append(self._begin(indices))
                if len(waiting) > self.AHEAD:
                    yield self._end(*waiting.popleft())
            while waiting:
                yield self._end(*waiting.popleft())
        finally:
            for _, _, futures in waiting:
                for future in futures:
                    future.cancel()

    def _begin(self, indices: Tensor) -> tuple[Tensor, Tensor | None, list[Future]]:
        wanted = [(row, i) for row, i in enumerate(indices.tolist()) if i not in self.have and i not in self.broken]
        if self.kept is not None:
            return indices, None, [self.pool.submit(self._decode, i, self.kept[i]) for _, i in wanted]
        batch = torch.empty(len(indices), 3, self.size, self.size, dtype=torch.uint8, pin_memory=self.pin)
        return indices, batch, [self.pool.submit(self._decode, i, batch[row]) for row, i in wanted]

    def _end(self, indices: Tensor, batch: Tensor | None, futures: list[Future]) -> tuple[Tensor, Tensor]:
        for future in futures:
            future.result()
        whole = torch.tensor([i not in self.broken for i in indices.tolist()], dtype=torch.bool)
        if batch is None:
            batch = self.kept[indices[whole]]
            return indices[whole], batch.pin_memory() if self.pin else batch
        return (indices, batch) if whole.all() else (indices[whole], batch[whole])

    def _decode(self, i: int, into: Tensor) -> None:
        try:
            into.copy_(resize_center_crop(decode_image(self.paths[i]), self.size))
            if self.kept is not None:
                self.have.add(i)
        except OSError as problem:
            self.broken[i] = str(problem)
