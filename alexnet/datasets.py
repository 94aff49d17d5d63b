"""Data sets in memory: patches of scikit-image's photographs, CIFAR-10, and Tiny ImageNet."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.datasets import CIFAR10
from torchvision.transforms.v2 import functional as TF
from tqdm import tqdm

from alexnet.loader import (
    ImageFolderIndex,
    decode_image,
    print_left_out,
    train_val_folders,
)

_BOOK = Path(__file__).parents[1] / "book"
# In a checkout the data lie beside the book, elsewhere in the user's cache
_DATA = _BOOK / "data" if _BOOK.is_dir() else Path.home() / ".cache" / "alexnet"
CIFAR10_ROOT = _DATA / "cifar10"
TINY_IMAGENET_ROOT = _DATA / "tiny-imagenet"

# Of photo_exemplars, in pixels of the photograph
PLACES = 24  # in each photograph
PLACE_SIZE = 80  # height and width of a place
PLACE_STRIDE = 48  # from one candidate to the next
PLACE_MARGIN = 16  # from the edge of the photograph to the first one
MAX_SHIFT = 12  # from the center of a place to that of a patch
REACH = 96  # from the center of a place to the corners of its patches, at most


@dataclass(frozen=True)
class InMemoryDataset:
    """A data set in memory.

    Attributes:
        name: of the data set.
        classes: names of the classes.
        train_images, test_images: uint8 (N, 3, H, W), 0 to 255.
        train_labels, test_labels: int64 (N,), indices into ``classes``.
    """

    name: str
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def subset(self, n: int) -> "InMemoryDataset":
        """Keep the first training images of each class, equally many, and the whole test set.

        Args:
            n: training images to keep, over all classes.

        Raises:
            ValueError: if a class has too few, or ``n`` is not a multiple of the number of
                classes.
        """
        num_classes = len(self.classes)
        by_class = self._train_indices_by_class()
        smallest = min(len(indices) for indices in by_class)
        per_class, remainder = divmod(n, num_classes)
        if remainder or not 1 <= per_class <= smallest:
            raise ValueError(
                f"n must be a multiple of {num_classes}, the number of classes, "
                f"and at most {num_classes * smallest}, {smallest} of each, got {n}"
            )
        kept = torch.cat([indices[:per_class] for indices in by_class])
        return replace(
            self, train_images=self.train_images[kept], train_labels=self.train_labels[kept]
        )

    def take_classes(self, n: int) -> "InMemoryDataset":
        """Keep ``n`` classes that are evenly spread over the list of all, with their images.

        Raises:
            ValueError: if ``n`` is not 1 to the number of classes.
        """
        return self._keep(self._evenly_spread(n))

    def leave_out_classes(self, n: int) -> "InMemoryDataset":
        """Keep the classes that :meth:`take_classes` leaves out, with their images.

        Raises:
            ValueError: if ``n`` is not 1 to the number of classes less one.
        """
        left_out = self._evenly_spread(n)
        kept = [label for label in range(len(self.classes)) if label not in left_out]
        if not kept:
            raise ValueError(f"n must be 1 to {n - 1}, so that a class is left, got {n}")
        return self._keep(kept)

    def _evenly_spread(self, n: int) -> list[int]:
        num_classes = len(self.classes)
        if not 1 <= n <= num_classes:
            raise ValueError(f"n must be 1 to {num_classes}, the number of classes, got {n}")
        return [i * num_classes // n for i in range(n)]

    def _keep(self, kept: list[int]) -> "InMemoryDataset":
        new_labels = torch.full((len(self.classes),), -1)
        new_labels[kept] = torch.arange(len(kept))
        train_labels, test_labels = new_labels[self.train_labels], new_labels[self.test_labels]
        return InMemoryDataset(
            self.name,
            tuple(self.classes[label] for label in kept),
            self.train_images[train_labels >= 0],
            train_labels[train_labels >= 0],
            self.test_images[test_labels >= 0],
            test_labels[test_labels >= 0],
        )

    def hold_out(self) -> "InMemoryDataset":
        """Test on the last tenth of the training images of each class, and train on the others.

        The test images are not in the result.
        """
        by_class = self._train_indices_by_class()
        held_out = torch.cat([indices[len(indices) - len(indices) // 10 :] for indices in by_class])
        is_held_out = torch.zeros(len(self.train_labels), dtype=torch.bool)
        is_held_out[held_out] = True
        return replace(
            self,
            train_images=self.train_images[~is_held_out],
            train_labels=self.train_labels[~is_held_out],
            test_images=self.train_images[is_held_out],
            test_labels=self.train_labels[is_held_out],
        )

    def _train_indices_by_class(self) -> list[Tensor]:
        return [
            torch.nonzero(self.train_labels == label).flatten()
            for label in range(len(self.classes))
        ]

    def save(self, root: str | Path, extension: str = "png") -> None:
        """Write the images as files, in the folders that :mod:`alexnet.train` takes.

        They are called ``train/CLASS/00000.png`` and so on, and ``test/CLASS/00000.png``.

        Args:
            root: folder to write to; it is made if need be.
            extension: ``"png"`` loses nothing, ``"jpg"`` is written with quality 95.

        Raises:
            FileExistsError: if one of the class folders exists.
        """
        parts = {
            "train": (self.train_images, self.train_labels),
            "test": (self.test_images, self.test_labels),
        }
        for part, (images, labels) in parts.items():
            folders = [Path(root) / part / name for name in self.classes]
            for folder in folders:
                folder.mkdir(parents=True)
            for i, (image, label) in enumerate(zip(images, labels.tolist())):
                path = folders[label] / f"{i:05d}.{extension}"
                TF.to_pil_image(image).save(path, quality=95)


def photos() -> dict[str, Tensor]:
    """Eight color photographs from scikit-image's wheel: nothing is downloaded.

    Their licenses stand in the docstrings of :mod:`skimage.data`; all are free to use.

    Returns:
        By name uint8 (3, H, W), 0 to 255, at least 300 pixels a side.

    Raises:
        ModuleNotFoundError: without scikit-image, which the extra ``book`` installs.
    """
    try:
        from skimage import data  # imported lazily: training on other images does not need it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the photographs come with scikit-image, which is not installed: "
            'pip install "alexnet[book]"',
            name=error.name,
        ) from error

    arrays = {  # uint8 (H, W, 3)
        "astronaut": data.astronaut(),
        "cat": data.cat(),
        "coffee": data.coffee(),
        "galaxies": data.hubble_deep_field(),
        "motorcycle": data.stereo_motorcycle()[0],
        "retina": data.retina(),
        "rocket": data.rocket(),
        "tissue": data.immunohistochemistry(),
    }
    return {
        name: torch.from_numpy(array).permute(2, 0, 1).contiguous()
        for name, array in arrays.items()
    }


def photo_patches(n: int, size: int = 32, seed: int = 0) -> InMemoryDataset:
    """Gray patches of the photographs; the class of a patch is the photograph it is from.

    A small version of the task of Dosovitskiy et al. (2014), *Discriminative unsupervised feature
    learning with exemplar convolutional neural networks*. A photograph is cut into tiles of twice
    the patch's size. Two tiles in three give training patches and the third gives test patches,
    so that the two share no pixel. Every patch is converted to gray, in three equal channels, and
    equalized, so that neither colors nor gray levels give the class away. Patches of nearly
    uniform gray are left out.

    Args:
        n: number of training patches, a multiple of 32; there are a quarter as many test patches.
        size: height and width of a patch in pixels, 8 to 75.
        seed: for the positions of the patches.

    Raises:
        ValueError: if ``n`` or ``size`` is out of range.
    """
    if n < 32 or n % 32:
        raise ValueError(
            f"n must be a positive multiple of 32, so that the classes are equally large, got {n}"
        )
    if not 8 <= size <= 75:
        raise ValueError(
            f"size must be 8 to 75 pixels, since the smallest photograph holds no more, got {size}"
        )
    generator = torch.Generator().manual_seed(seed)
    photographs = photos()
    images: dict[str, list[Tensor]] = {"train": [], "test": []}
    labels: dict[str, list[Tensor]] = {"train": [], "test": []}
    for label, photo in enumerate(photographs.values()):
        for part, count in (("train", n // 8), ("test", n // 32)):  # eight photographs
            patches = _sample_patches(photo, count, size, part == "test", generator)
            images[part].append(patches)
            labels[part].append(torch.full((count,), label))
    return InMemoryDataset(
        "photo patches",
        tuple(photographs),
        torch.cat(images["train"]),
        torch.cat(labels["train"]),
        torch.cat(images["test"]),
        torch.cat(labels["test"]),
    )


def _sample_patches(
    photo: Tensor, count: int, size: int, test: bool, generator: torch.Generator
) -> Tensor:
    """Patches from the test tiles of a photograph, or from its training tiles.

    Args:
        photo: uint8 (3, H, W).
        count: number of patches.
        size: height and width of a patch in pixels.
        test: whether they are test patches.
        generator: for their positions.

    Returns:
        uint8 (count, 3, size, size).
    """
    tile_size = 2 * size
    tile_indices = [torch.arange(length // tile_size) for length in photo.shape[1:]]
    tiles = torch.cartesian_prod(*tile_indices)  # (tiles, 2), row and column
    is_test = tiles.sum(1) % 3 == 2  # every third diagonal
    corners = tiles[is_test == test] * tile_size  # in pixels
    window = torch.arange(size)
    found: list[Tensor] = []
    while sum(len(patches) for patches in found) < count:
        corner = corners[torch.randint(len(corners), (count,), generator=generator)]
        corner = corner + torch.randint(size + 1, (count, 2), generator=generator)  # in the tile
        rows = corner[:, :1] + window  # (count, size)
        columns = corner[:, 1:] + window
        patches = photo[:, rows[:, :, None], columns[:, None, :]]  # (3, count, size, size)
        gray = TF.rgb_to_grayscale(patches.transpose(0, 1), 3)  # (count, 3, size, size)
        contrast = gray.float().std((1, 2, 3))  # in gray levels
        found.append(gray[contrast > 8])
    return TF.equalize(torch.cat(found)[:count])


def photo_exemplars(n: int, size: int = 96, seed: int = 0) -> InMemoryDataset:
    """Color patches of the photographs; the class of a patch is the place it is from.

    After Dosovitskiy et al. (2014), as :func:`photo_patches`, but with many classes, as in their
    article: in each photograph the 24 places of 80×80 pixels that are chosen at random among
    those of high contrast. A patch is such a place, shifted by up to 12 pixels, rotated by up to
    20°, scaled by 1/1.4 to 1.4, with its contrast changed by up to 30 %, in all and by channel,
    and the mean of each channel by up to 30 %.

    Args:
        n: number of training patches, a multiple of 768, four for each of the 192 places; there
            are a quarter as many test patches.
        size: height and width of a patch in pixels.
        seed: for the places and the transformations.

    Raises:
        ValueError: if ``n`` is not a positive multiple of 768.
    """
    photographs = photos()
    classes = [f"{name} {i}" for name in photographs for i in range(PLACES)]
    multiple = 4 * len(classes)
    if n < multiple or n % multiple:
        raise ValueError(
            f"n must be a positive multiple of {multiple}, four for each of {len(classes)} places, "
            f"got {n}"
        )
    generator = torch.Generator().manual_seed(seed)
    num_train = n // len(classes)  # patches of a place
    num_test = num_train // 4
    train_images: list[Tensor] = []
    test_images: list[Tensor] = []
    for photo in photographs.values():
        for corner in _sample_places(photo, generator):
            center = corner + PLACE_SIZE / 2
            patches = _sample_exemplars(photo, center, num_train + num_test, size, generator)
            train_images.append(patches[:num_train])
            test_images.append(patches[num_train:])
    labels = torch.arange(len(classes))
    return InMemoryDataset(
        "photo exemplars",
        tuple(classes),
        torch.cat(train_images),
        labels.repeat_interleave(num_train),
        torch.cat(test_images),
        labels.repeat_interleave(num_test),
    )


def _sample_places(photo: Tensor, generator: torch.Generator) -> Tensor:
    """Places of high contrast: their upper left corners, row and column, int64 (PLACES, 2)."""
    candidates = [
        torch.arange(PLACE_MARGIN, length - PLACE_SIZE - PLACE_MARGIN, PLACE_STRIDE)
        for length in photo.shape[1:]
    ]
    corners = torch.cartesian_prod(*candidates)  # (candidates, 2)
    contrast = torch.stack([
        photo[:, y : y + PLACE_SIZE, x : x + PLACE_SIZE].float().std() for y, x in corners
    ])
    # A choice among twice as many, so that the seed matters
    highest = contrast.topk(min(2 * PLACES, len(corners))).indices
    order = torch.randperm(len(highest), generator=generator)
    return corners[highest][order[:PLACES]]


def _sample_exemplars(
    photo: Tensor, center: Tensor, count: int, size: int, generator: torch.Generator
) -> Tensor:
    """Transformed patches of one place.

    Args:
        photo: uint8 (3, H, W).
        center: of the place, row and column, float32 (2,).
        count: number of patches.
        size: height and width of a patch in pixels.
        generator: for the transformations.

    Returns:
        uint8 (count, 3, size, size).
    """
    # Only the surroundings are converted to float and copied
    top, left = ((position - REACH).clamp(min=0).int() for position in center)
    photo = photo[:, top : top + 2 * REACH + PLACE_SIZE, left : left + 2 * REACH + PLACE_SIZE]
    center = center - torch.stack([top, left])

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    # The affine map from the patch to the photograph, both with x and y from -1 to 1
    angle = uniform(-0.35, 0.35)
    half_side = PLACE_SIZE / 2 * 1.4 ** uniform(-1, 1)  # in pixels of the photograph
    sides = torch.tensor(photo.shape[1:]).flip(0)  # width and height
    shift = uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    middle = (center.flip(0) + shift) / sides * 2 - 1  # (count, 2)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1)
    rotation = rotation.unflatten(1, (2, 2))  # (count, 2, 2)
    linear = rotation * (2 * half_side)[:, None, None] / sides[:, None]
    theta = torch.cat([linear, middle[:, :, None]], 2)  # (count, 2, 3)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    sources = photo.float().expand(count, -1, -1, -1)
    patches = F.grid_sample(sources, grid, padding_mode="reflection", align_corners=False)

    mean = patches.mean((2, 3), keepdim=True)  # (count, 3, 1, 1)
    contrast = uniform(0.7, 1.3, 1, 1, 1) * uniform(0.7, 1.3, 3, 1, 1)
    patches = (patches - mean) * contrast + mean * uniform(0.7, 1.3, 3, 1, 1)
    return patches.round().clamp(0, 255).byte()


def cifar10(root: str | Path = CIFAR10_ROOT) -> InMemoryDataset:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 training and 10,000 test images in ten classes.

    Args:
        root: a folder with class folders in ``train/`` and ``test/``, or the folder of
            torchvision's download, which is fetched if it is not there (170 MB, with a progress
            bar).

    Returns:
        Images of 32×32 pixels, sorted by class.

    Raises:
        OSError: if there is neither, and the download fails, or if a folder is a link to nowhere.
        ValueError: if the class folders differ, or a file in them is not an image of 32×32 pixels.
    """
    root = Path(root)
    if (root / "train").is_dir() or (root / "train").is_symlink():  # it may lead nowhere
        return _read_class_folders(root, "CIFAR-10", 32)
    try:
        train = CIFAR10(root, train=True, download=True)
        test = CIFAR10(root, train=False, download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"CIFAR-10 is not in {root} and cannot be downloaded ({error}): "
            "connect this machine, or name a folder that has it as "
            "train/CLASS/*.png and test/CLASS/*.png"
        ) from error
    tensors = []
    for part in (train, test):
        labels = torch.tensor(part.targets)
        order = labels.argsort(stable=True)  # by class, as in class folders
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2)  # from (N, H, W, C)
        tensors += [images[order].contiguous(), labels[order]]
    return InMemoryDataset("CIFAR-10", tuple(train.classes), *tensors)


def tiny_imagenet(root: str | Path = TINY_IMAGENET_ROOT) -> InMemoryDataset:
    """Tiny ImageNet: 200 classes of ImageNet, 500 training and 50 validation images in each.

    Args:
        root: a folder with class folders in ``train/`` and ``val/``, as :mod:`alexnet.prepare`
            leaves them.

    Returns:
        Images of 64×64 pixels, sorted by class and by name, and the validation images as the test
        images; 1.4 GB. The classes are WordNet ids.

    Raises:
        OSError: if the folder is not there, or is a link to nowhere.
        ValueError: if the class folders differ, or a file in them is not an image of 64×64 pixels.
    """
    root = Path(root)
    _check_tiny_imagenet(root)
    return _read_class_folders(root, "Tiny ImageNet", 64)


def tiny_imagenet_val(root: str | Path = TINY_IMAGENET_ROOT) -> InMemoryDataset:
    """The 10,000 validation images of :func:`tiny_imagenet`, without its training images.

    The errors are the same.
    """
    root = Path(root)
    _check_tiny_imagenet(root)
    val = train_val_folders(root)[1]
    print_left_out(val)
    images = _read_images(val, "Tiny ImageNet", 64)
    return InMemoryDataset(
        "Tiny ImageNet", val.classes, images[:0], val.labels[:0], images, val.labels
    )


def _check_tiny_imagenet(root: Path) -> None:
    if not root.exists() and not root.is_symlink():
        raise FileNotFoundError(
            f"Tiny ImageNet is not in {root}: "
            f"python -m alexnet.prepare tiny-imagenet --out {root} downloads it"
        )


def _read_class_folders(root: Path, name: str, size: int) -> InMemoryDataset:
    """The data set of a name, whose images all have ``size`` pixels a side."""
    train, test = train_val_folders(root)
    print_left_out(train)
    print_left_out(test)
    train_images, test_images = (_read_images(part, name, size) for part in (train, test))
    return InMemoryDataset(
        name, train.classes, train_images, train.labels, test_images, test.labels
    )


def _read_images(index: ImageFolderIndex, name: str, size: int) -> Tensor:
    # Filled one by one: a list of the images would take the memory twice
    images = torch.empty(len(index.paths), 3, size, size, dtype=torch.uint8)
    progress = tqdm(
        index.paths, f"reading {name}", unit="image", leave=False, disable=None, delay=2
    )
    for i, path in enumerate(progress):
        images[i] = _read_square(path, name, size)
    return images


def _read_square(path: str, name: str, size: int) -> Tensor:
    try:
        image = decode_image(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be decoded ({error}): replace or remove it") from error
    height, width = image.shape[1:]
    if (height, width) != (size, size):
        raise ValueError(
            f"{path} must have {size}×{size} pixels, as {name}'s images, got {width}×{height}: "
            "name another folder"
        )
    return image
