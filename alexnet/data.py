"""Pictures to train on: photographs that come with scikit-image, patches of them, and CIFAR-10.

A data set that fits in memory is held there whole, as bytes: :class:`Pictures`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms.v2 import functional as F

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


def cifar10(root: str | Path = CIFAR10_FOLDER) -> Pictures:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 32×32, in ten classes.

    Args:
        root: a folder with class folders in ``train/`` and ``test/``, or one that holds, or shall hold, torchvision's
            download (170 MB, with a progress bar).

    Raises:
        FileNotFoundError: if there is neither, and no network to fetch it from.
        ValueError: if the class folders do not agree.
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
    if not (root / "test").is_dir():
        raise FileNotFoundError(f"{root} has train/ and no test/: put the test images there, in folders of the same names")
    train, test = (ImageFolder(str(root / part), F.pil_to_tensor) for part in ("train", "test"))
    if train.classes != test.classes:
        raise ValueError(f"{root}: train/ and test/ have other classes: {', '.join(sorted(set(train.classes) ^ set(test.classes)))}")
    tensors = []
    for part in (train, test):
        tensors.append(torch.stack([image for image, _ in part]))  # (N, 3, 32, 32)
        tensors.append(torch.tensor(part.targets))
    return Pictures("CIFAR-10", tuple(train.classes), *tensors)
