"""Pictures to train on: photographs that come with scikit-image, patches of them, CIFAR-10, and folders in ImageNet's layout.

A small data set is held in memory whole, as bytes: :class:`Pictures`. A large one is a folder of files, :class:`Folder`,
read ahead of use by :class:`Squares`.
"""

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.datasets import CIFAR10
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional as F

# Endings, and what Pillow may take the content for; it knows more, some of them programs
FORMATS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")

CIFAR10_FOLDER = Path(__file__).parent.parent / "book" / "data" / "cifar10"


@dataclass(frozen=True)
class Pictures:
    """A data set in memory. Images are uint8 (N, 3, H, W), 0 to 255; labels int64 (N,), an index into ``classes``."""

    name: str
    classes: tuple[str, ...]
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    def subset(self, n: int) -> "Pictures":
        """The same test set, and ``n`` training images: equally many of each class, the first ones.

        Raises:
            ValueError: if a class has too few, or ``n`` is not a multiple of the number of classes.
        """
        share, rest = divmod(n, len(self.classes))
        places = [torch.nonzero(self.train_labels == label).flatten() for label in range(len(self.classes))]
        if rest or share < 1 or share > min(map(len, places)):
            raise ValueError(f"{n} images cannot be {len(places)} equal classes of at most {min(map(len, places))}: take a multiple")
        chosen = torch.cat([place[:share] for place in places])
        return replace(self, train=self.train[chosen], train_labels=self.train_labels[chosen])

    def save(self, root: str | Path, ending: str = "png") -> None:
        """Write a file an image, as ``train/CLASS/00000.png`` and ``test/CLASS/00000.png``: a data set for alexnet.train.

        Raises:
            FileExistsError: if there is such a folder already.
        """
        for part, images, labels in (("train", self.train, self.train_labels), ("test", self.test, self.test_labels)):
            for name in self.classes:
                (Path(root) / part / name).mkdir(parents=True)
            for i, (image, label) in enumerate(zip(images, labels.tolist())):
                F.to_pil_image(image).save(Path(root) / part / self.classes[label] / f"{i:05d}.{ending}", quality=95)


def photos() -> dict[str, Tensor]:
    """Eight photographs in colour, uint8 (3, H, W), 0 to 255, from scikit-image's wheel: nothing is downloaded.

    Their licences stand in the docstrings of :mod:`skimage.data`; all are free to use.
    """
    from skimage import data  # here, since whoever trains on pictures of their own needs no photographs

    found = {
        "astronaut": data.astronaut(), "cat": data.cat(), "coffee": data.coffee(), "galaxies": data.hubble_deep_field(),
        "motorcycle": data.stereo_motorcycle()[0], "retina": data.retina(), "rocket": data.rocket(),
        "tissue": data.immunohistochemistry(),
    }  # fmt: skip
    return {name: torch.from_numpy(photo).permute(2, 0, 1).contiguous() for name, photo in found.items()}


def photo_patches(n: int, size: int = 32, seed: int = 0) -> Pictures:
    """Patches of the photographs, to be told apart by the photograph that they are from.

    The task is that of Dosovitskiy et al. (2014), *Discriminative unsupervised feature learning with exemplar CNNs*, made
    small. A photograph is cut into tiles of twice the patch's size; two tiles in three give training patches, the third
    gives test patches, so that the two share no pixel. Every patch is made grey, in three equal channels, and equalised,
    so that all shades are equally frequent in all of them. Patches with next to nothing in them are passed over.

    Args:
        n: number of training patches, a multiple of 32; there are a quarter as many test patches.
        size: height and width in pixels, 8 to 75.
        seed: of the places.

    Raises:
        ValueError: if ``n`` or ``size`` is not such a number.
    """
    if n < 32 or n % 32:
        raise ValueError(f"n is a multiple of 32, so that all classes are equally large, not {n}")
    if not 8 <= size <= 75:
        raise ValueError(f"patches have 8 to 75 pixels a side, not {size}: the smallest photograph holds no more")
    generator = torch.Generator().manual_seed(seed)
    images, labels = {"train": [], "test": []}, {"train": [], "test": []}
    pictures = photos()
    for label, photo in enumerate(pictures.values()):
        for part, count in (("train", n // 8), ("test", n // 32)):
            images[part].append(_patches(photo, count, size, part == "test", generator))
            labels[part].append(torch.full((count,), label))
    parts = [torch.cat(found[part]) for part in ("train", "test") for found in (images, labels)]
    return Pictures("photo patches", tuple(pictures), *parts)


def _patches(photo: Tensor, count: int, size: int, test: bool, generator: torch.Generator) -> Tensor:
    """(count, 3, size, size) from the photograph's test tiles, or from the others."""
    side = 2 * size
    tiles = torch.cartesian_prod(*(torch.arange(length // side) for length in photo.shape[1:]))  # (tiles, 2)
    tiles = tiles[(tiles.sum(1) % 3 == 2) == test] * side
    found, window = [], torch.arange(size)
    while sum(map(len, found)) < count:
        corner = tiles[torch.randint(len(tiles), (count,), generator=generator)]
        corner = corner + torch.randint(size + 1, (count, 2), generator=generator)  # anywhere inside the tile
        rows, columns = corner[:, :1] + window, corner[:, 1:] + window  # (count, size)
        patches = photo[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)  # (count, 3, size, size)
        grey = F.rgb_to_grayscale(patches, 3)
        found.append(grey[grey.float().std((1, 2, 3)) > 8])
    return F.equalize(torch.cat(found)[:count])


def photo_exemplars(n: int, size: int = 96, seed: int = 0) -> Pictures:
    """Coloured patches of the photographs, to be told apart by the place that they are from.

    After Dosovitskiy et al. (2014), as :func:`photo_patches`, with their many classes: 24 places of 80×80 pixels in each
    photograph, where there is something to see. A patch is such a place moved by up to 12 pixels, turned by up to 20°,
    shown 1/1.4 to 1.4 times as large, with up to 30 % more or less contrast, and of each colour.

    Args:
        n: number of training patches, a multiple of 768: four or more for each of the 192 places, and a quarter as many test patches.
        size: height and width in pixels that a patch is drawn with.
        seed: of the places and of what is done to them.

    Raises:
        ValueError: if ``n`` is not such a number.
    """
    pictures, places, side = photos(), 24, 80
    classes = [f"{name} {i}" for name in pictures for i in range(places)]
    if n < 4 * len(classes) or n % (4 * len(classes)):
        raise ValueError(f"n is a multiple of {4 * len(classes)}, so that all {len(classes)} places have equally many, not {n}")
    generator = torch.Generator().manual_seed(seed)
    share = n // len(classes)  # of a class, to train on
    images: tuple[list[Tensor], list[Tensor]] = [], []
    for photo in pictures.values():
        corners = torch.cartesian_prod(*(torch.arange(16, length - side - 16, 48) for length in photo.shape[1:]))  # (tiles, 2)
        contrast = torch.stack([photo[:, y : y + side, x : x + side].float().std() for y, x in corners])
        chosen = corners[contrast.topk(min(2 * places, len(corners))).indices]
        for corner in chosen[torch.randperm(len(chosen), generator=generator)[:places]]:
            drawn = _exemplars(photo, corner + side / 2, side, share * 5 // 4, size, generator)
            images[0].append(drawn[:share])
            images[1].append(drawn[share:])
    labels = [torch.arange(len(classes)).repeat_interleave(len(found[0])) for found in images]
    return Pictures("photo exemplars", tuple(classes), torch.cat(images[0]), labels[0], torch.cat(images[1]), labels[1])


def _exemplars(photo: Tensor, centre: Tensor, side: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, 3, size, size): the place around ``centre``, a row and a column, drawn anew each time."""
    reach = 96  # pixels: farther from the centre nothing is drawn
    top, left = ((at - reach).clamp(min=0).int() for at in centre)
    photo = photo[:, top : top + 2 * reach + side, left : left + 2 * reach + side]
    centre = centre - torch.stack([top, left])

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    angle, half = uniform(-0.35, 0.35), side / 2 * 1.4 ** uniform(-1, 1)
    length = torch.tensor(photo.shape[1:]).flip(0)  # width and height
    middle = (centre.flip(0) + uniform(-12, 12, 2)) / length * 2 - 1  # x and y from -1 to 1, as grid_sample has them
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).unflatten(1, (2, 2))  # (count, 2, 2)
    turn = turn * (2 * half)[:, None, None] / length[:, None]
    grid = affine_grid(torch.cat([turn, middle[:, :, None]], 2), [count, 3, size, size], align_corners=False)
    drawn = grid_sample(photo.float().expand(count, -1, -1, -1), grid, padding_mode="reflection", align_corners=False)
    mean = drawn.mean((2, 3), keepdim=True)
    gain = uniform(0.7, 1.3, 1, 1, 1) * uniform(0.7, 1.3, 3, 1, 1)
    return ((drawn - mean) * gain + mean * uniform(0.7, 1.3, 3, 1, 1)).round().clamp(0, 255).byte()


def cifar10(root: str | Path = CIFAR10_FOLDER) -> Pictures:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 32×32, in ten classes.

    Args:
        root: a folder with class folders in ``train/`` and ``test/``, or one that holds, or shall hold, torchvision's
            download (170 MB, with a progress bar).

    Raises:
        FileNotFoundError: if there is neither, and no network to fetch it from.
        ValueError: if the class folders do not agree, or a file in them is not a picture of 32×32.
    """
    root = Path(root)
    if (root / "train").is_dir():
        return _class_folders(root)
    try:
        train, test = (CIFAR10(root, train=part, download=True) for part in (True, False))
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"CIFAR-10 is not in {root} and cannot be downloaded ({error}): connect this machine, or name a folder that has it as "
            "train/CLASS/*.png and test/CLASS/*.png"
        ) from error
    tensors = []
    for part in (train, test):
        labels = torch.tensor(part.targets)
        order = labels.argsort(stable=True)  # class by class, as in folders
        tensors += [torch.from_numpy(part.data).permute(0, 3, 1, 2)[order].contiguous(), labels[order]]
    return Pictures("CIFAR-10", tuple(train.classes), *tensors)


def _class_folders(root: Path) -> Pictures:
    tensors = []
    for part in data_set(root):
        tensors += [torch.stack([_of_32_pixels(path) for path in part.paths]), part.labels]  # (N, 3, 32, 32)
    return Pictures("CIFAR-10", part.classes, *tensors)


def _of_32_pixels(path: str) -> Tensor:
    try:
        image = decode(path)
    except OSError as problem:
        raise ValueError(f"{path} cannot be used ({problem}): put a whole picture there, or remove the file") from problem
    if image.shape != (3, 32, 32):
        raise ValueError(f"{path} has {image.shape[2]}×{image.shape[1]} pixels, CIFAR-10's pictures 32×32: name another folder")
    return image


# Folders of pictures


@dataclass(frozen=True)
class Folder:
    """The files of a folder with a folder a class. Labels are int64 (N,), an index into ``classes``, which are sorted."""

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: Tensor


def image_folder(root: str | Path) -> Folder:
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
    files = [_pictures_in(root / name) for name in classes]
    empty = [name for name, found in zip(classes, files) if not found]
    if empty:
        raise FileNotFoundError(f"{root}: no picture in {some(empty)}: add some ({', '.join(FORMATS)}), or remove the folder")
    labels = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor([len(found) for found in files]))
    return Folder(root, tuple(classes), tuple(path for found in files for path in found), labels)


def _pictures_in(folder: Path) -> list[str]:
    def fail(problem: OSError) -> None:
        raise OSError(f"{problem.filename} cannot be read ({problem.strerror}): make it readable, or remove it") from problem

    found = []
    for here, folders, files in sorted(os.walk(folder, onerror=fail)):
        hidden = any(part.startswith(".") for part in Path(here).relative_to(folder).parts)
        found += [os.path.join(here, name) for name in sorted(files) if name.lower().endswith(FORMATS) and not (hidden or name.startswith("."))]
    return found


def some(names: Iterable[str]) -> str:
    """The first five names, and how many more."""
    names = list(names)
    return ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)


def data_set(root: str | Path) -> tuple[Folder, Folder]:
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
    train, test = image_folder(root / "train"), image_folder(held_out)
    if train.classes != test.classes:
        names = some(sorted(set(train.classes) ^ set(test.classes)))
        raise ValueError(f"{root}: train/ and {held_out.name}/ have not the same classes, they differ in {names}")
    return train, test


def decode(path: str | Path) -> Tensor:
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
    return _with_pillow(data.tobytes())  # of others, since a damaged PNG ends torchvision 0.29 with a segmentation fault


def _with_pillow(data: bytes) -> Tensor:
    try:
        image = Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)
        if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut at 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return F.pil_to_tensor(image.convert("RGB"))
    except UnidentifiedImageError as problem:
        raise OSError("no picture of a known kind") from problem
    except (SyntaxError, ValueError, EOFError, NotImplementedError, Image.DecompressionBombError) as problem:  # Pillow's ways to say that a file is broken
        raise OSError(str(problem)) from problem


def square(image: Tensor, size: int) -> Tensor:
    """Shorter side to ``size`` pixels, then the middle cut out (section 2): (3, H, W) to (3, size, size), uint8.

    Raises:
        OSError: for a picture so long and thin that it would fill the memory.
    """
    height, width = image.shape[-2:]
    if max(height, width) > 100 * min(height, width):
        raise OSError(f"{width}×{height} pixels are too long and thin for a square")
    return F.center_crop(F.resize(image, [size], antialias=True), [size, size])


class Squares:
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

    def __init__(self, folder: Folder, size: int, workers: int, share: float = 0.25, pin: bool = False) -> None:
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
            into.copy_(square(decode(self.paths[i]), self.size))
            if self.kept is not None:
                self.have.add(i)
        except OSError as problem:
            self.broken[i] = str(problem)
