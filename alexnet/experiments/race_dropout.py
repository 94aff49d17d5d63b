"""The data of the race with and without dropout: few patches of the photographs of the other race.

The task is that of :mod:`alexnet.experiments.race`, with a tenth of its training patches, which a
net soon fits. The patches that are kept aside are from tiles between those of the training patches:
they share no pixel with them, and are from all parts of a photograph.
"""

import torch
from torch import Tensor

from alexnet.datasets import InMemoryDataset
from alexnet.experiments.race import SIDE, SIZE, RaceData, has_contrast, load_data, to_dataset

PER_CLASS = (64, 128)  # training and test patches of a photograph
TILE = 2 * SIZE  # side of a tile in pixels


def load_few() -> RaceData:
    """The photographs of the race and the corners of fewer patches, the same ones each time.

    Raises:
        FileNotFoundError: outside a checkout.
    """
    photographs = load_data((1, 1)).photographs
    generator = torch.Generator().manual_seed(0)
    train, test = [], []
    for photograph in photographs.values():
        train.append(sample_in_tiles(photograph, PER_CLASS[0], False, generator))
        test.append(sample_in_tiles(photograph, PER_CLASS[1], True, generator))
    return RaceData(photographs, torch.cat(train), torch.cat(test))


def sample_in_tiles(
    photograph: Tensor, count: int, test: bool, generator: torch.Generator
) -> Tensor:
    """Random corners of patches in every third tile of a photograph, or in the others.

    Args:
        photograph: uint8 (SIDE, SIDE).
        count: number of patches.
        test: whether they are test patches, which are from every third tile.
        generator: for their positions.

    Returns:
        Row and column, int64 (count, 2).
    """
    tiles = torch.cartesian_prod(*[torch.arange(SIDE // TILE)] * 2)  # (9, 2), row and column
    tiles = tiles[(tiles.sum(1) % 3 == 2) == test] * TILE  # a diagonal, in pixels
    corners: list[Tensor] = []
    while len(corners) < count:
        tile = tiles[torch.randint(len(tiles), (), generator=generator)]
        corner = tile + torch.randint(TILE - SIZE + 1, (2,), generator=generator)
        if has_contrast(photograph, corner):
            corners.append(corner)
    return torch.stack(corners)


def load_few_patches() -> InMemoryDataset:
    """The patches as a data set: uint8 (N, 1, SIZE, SIZE), each equalized, sorted by class.

    Raises:
        FileNotFoundError: outside a checkout.
    """
    return to_dataset(load_few(), "few patches of six photographs")
