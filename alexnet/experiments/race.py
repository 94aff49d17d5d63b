"""The data of the race between ReLU and tanh, small enough to lie in a page.

Six of the book's own photographs, in gray and at 160×160 pixels. An image is a patch of 24×24
pixels, and its class is the photograph that it is from: the task of
:func:`alexnet.datasets.photo_patches`, with more of a photograph in a patch. The page holds the
photographs and the corners of the patches, and cuts the patches itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from alexnet.datasets import InMemoryDataset
from alexnet.experiments.runner import RUNS

PHOTOGRAPHS = RUNS.parent / "photographs"  # in a checkout; CREDITS.tsv names authors and licenses
NAMES = ("red_panda", "bison", "goldfish", "triumphal_arch", "cliff_dwelling", "giraffe")

SIDE = 160  # height and width of a photograph in pixels
LEVELS = 64  # of gray: a pixel is one character in the page
SIZE = 24  # height and width of a patch
ASIDE = 2 * SIZE  # of the lower right square, from which the test patches are, and no others
PER_CLASS = (640, 128)  # training and test patches of a photograph
CONTRAST = 8  # least standard deviation of a patch, in gray levels of 256


@dataclass(frozen=True)
class RaceData:
    """What the page holds.

    Attributes:
        photographs: by name uint8 (SIDE, SIDE), 0 to LEVELS - 1.
        train, test: upper left corners of the patches, row and column, int64 (N, 2), sorted by
            class, equally many of each.
    """

    photographs: dict[str, Tensor]
    train: Tensor
    test: Tensor


def load_photograph(path: Path) -> Tensor:
    """The middle of a photograph, uint8 (SIDE, SIDE), 0 to LEVELS - 1.

    Raises:
        FileNotFoundError: outside a checkout.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path} must be there for the race, whose images are patches of the book's "
            "photographs: run it in a checkout of the repository"
        )
    image = Image.open(path).convert("L")
    scale = SIDE / min(image.size)
    width, height = (round(scale * length) for length in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    image = image.crop((left, top, left + SIDE, top + SIDE))
    return torch.from_numpy(np.array(image) // (256 // LEVELS))


def sample_corners(
    photograph: Tensor, count: int, test: bool, generator: torch.Generator
) -> Tensor:
    """Random corners of patches within the square that is kept aside, or outside of it.

    Args:
        photograph: uint8 (SIDE, SIDE).
        count: number of patches.
        test: whether they are test patches.
        generator: for their positions.

    Returns:
        Row and column, int64 (count, 2).
    """
    edge = SIDE - ASIDE
    corners: list[Tensor] = []
    while len(corners) < count:
        corner = torch.randint(edge if test else 0, SIDE - SIZE + 1, (2,), generator=generator)
        is_outside = bool((corner + SIZE <= edge).any())
        if is_outside != test and has_contrast(photograph, corner):
            corners.append(corner)
    return torch.stack(corners)


def has_contrast(photograph: Tensor, corner: Tensor) -> bool:
    """Whether the patch at a corner, int64 (2,), is more than nearly uniform gray."""
    return bool(_to_bytes(cut(photograph, corner[None])).float().std() > CONTRAST)


def cut(photograph: Tensor, corners: Tensor) -> Tensor:
    """The patches at some corners, of a photograph of any kind: (N, 1, SIZE, SIZE)."""
    window = torch.arange(SIZE)
    rows, columns = corners[:, :1] + window, corners[:, 1:] + window  # (N, SIZE)
    return photograph[rows[:, None, :, None], columns[:, None, None, :]]


def _to_bytes(levels: Tensor) -> Tensor:
    return levels * (256 // LEVELS)


def load_data(per_class: tuple[int, int] = PER_CLASS) -> RaceData:
    """Read the photographs and choose the patches, the same ones each time.

    Args:
        per_class: how many training and how many test patches of each photograph.

    Raises:
        FileNotFoundError: outside a checkout.
    """
    photographs = {name: load_photograph(PHOTOGRAPHS / f"{name}.webp") for name in NAMES}
    generator = torch.Generator().manual_seed(0)
    corners: dict[bool, list[Tensor]] = {False: [], True: []}
    for photograph in photographs.values():
        for test, count in zip((False, True), per_class):
            corners[test].append(sample_corners(photograph, count, test, generator))
    return RaceData(photographs, torch.cat(corners[False]), torch.cat(corners[True]))


def load_patches(per_class: tuple[int, int] = PER_CLASS) -> InMemoryDataset:
    """The patches as a data set: uint8 (N, 1, SIZE, SIZE), each equalized, sorted by class.

    Equalized, so that its gray levels do not give the class of a patch away.

    Raises:
        FileNotFoundError: outside a checkout.
    """
    return to_dataset(load_data(per_class), "patches of six photographs")


def to_dataset(data: RaceData, name: str) -> InMemoryDataset:
    """The patches of a race as a data set of this name: see :func:`load_patches`."""

    def patches(corners: Tensor) -> Tensor:
        parts = zip(data.photographs.values(), corners.chunk(len(NAMES)))
        return TF.equalize(_to_bytes(torch.cat([cut(photo, part) for photo, part in parts])))

    def labels(corners: Tensor) -> Tensor:
        return torch.arange(len(NAMES)).repeat_interleave(len(corners) // len(NAMES))

    return InMemoryDataset(
        name, NAMES, patches(data.train), labels(data.train), patches(data.test), labels(data.test)
    )
