"""Data sets in memory: photographs that come with scikit-image, patches of them, and CIFAR-10."""


from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.datasets import CIFAR10
from torchvision.transforms.v2 import functional as F

from alexnet.loader import train_val_folders, decode_image



_CHECKOUT = Path(__file__).parents[1]
# In a checkout the data lie beside the book, elsewhere in the user's cache.
CIFAR10_ROOT = (
    _CHECKOUT / "book" / "data" if (_CHECKOUT / "book").is_dir() else Path.home() / ".cache" / "alexnet"
) / "cifar10"


@dataclass(frozen=True)
class InMemoryDataset:
    """A data set in memory. Images are uint8 (N, 3, H, W), 0 to 255; labels int64 (N,), an index into ``classes``."""

    name: str
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def subset(self, n: int) -> "InMemoryDataset":
        """The same test set, and ``n`` training images: equally many of each class, the first ones.

        Raises:
            ValueError: if a class has too few, or ``n`` is not a multiple of the number of classes.
        """
        share, rest = divmod(n, len(self.classes))
        places = [torch.nonzero(self.train_labels == label).flatten() for label in range(len(self.classes))]
        if rest or share < 1 or share > min(map(len, places)):
            raise ValueError(f"{n} images cannot be {len(places)} equal classes of at most {min(map(len, places))}: take a multiple")
        chosen = torch.cat([place[:share] for place in places])
        return replace(self, train_images=self.train_images[chosen], train_labels=self.train_labels[chosen])

    def save(self, root: str | Path, ending: str = "png") -> None:
        """Write a file an image, as ``train/CLASS/00000.png`` and ``test/CLASS/00000.png``: a data set for alexnet.train.

        Raises:
            FileExistsError: if there is such a folder already.
        """
        for part, images, labels in (("train", self.train_images, self.train_labels), ("test", self.test_images, self.test_labels)):
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


def photo_patches(n: int, size: int = 32, seed: int = 0) -> InMemoryDataset:
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
            images[part].append(_draw_patches(photo, count, size, part == "test", generator))
            labels[part].append(torch.full((count,), label))
    parts = [torch.cat(found[part]) for part in ("train", "test") for found in (images, labels)]
    return InMemoryDataset("photo patches", tuple(pictures), *parts)


def _draw_patches(photo: Tensor, count: int, size: int, test: bool, generator: torch.Generator) -> Tensor:
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


def photo_exemplars(n: int, size: int = 96, seed: int = 0) -> InMemoryDataset:
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
            drawn = _draw_exemplars(photo, corner + side / 2, side, share * 5 // 4, size, generator)
            images[0].append(drawn[:share])
            images[1].append(drawn[share:])
    labels = [torch.arange(len(classes)).repeat_interleave(len(found[0])) for found in images]
    return InMemoryDataset("photo exemplars", tuple(classes), torch.cat(images[0]), labels[0], torch.cat(images[1]), labels[1])


def _draw_exemplars(photo: Tensor, centre: Tensor, side: int, count: int, size: int, generator: torch.Generator) -> Tensor:
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


def cifar10(root: str | Path = CIFAR10_ROOT) -> InMemoryDataset:
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
        return _read_class_folders(root)
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
    return InMemoryDataset("CIFAR-10", tuple(train.classes), *tensors)


def _read_class_folders(root: Path) -> InMemoryDataset:
    tensors = []
    for part in train_val_folders(root):
        tensors += [torch.stack([_read_32x32(path) for path in part.paths]), part.labels]  # (N, 3, 32, 32)
    return InMemoryDataset("CIFAR-10", part.classes, *tensors)


def _read_32x32(path: str) -> Tensor:
    try:
        image = decode_image(path)
    except OSError as problem:
        raise ValueError(f"{path} cannot be used ({problem}): put a whole picture there, or remove the file") from problem
    if image.shape != (3, 32, 32):
        raise ValueError(f"{path} has {image.shape[2]}×{image.shape[1]} pixels, CIFAR-10's pictures 32×32: name another folder")
    return image
