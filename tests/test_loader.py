import errno
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from alexnet.loader import (
    CachedImageLoader,
    ImageFolderIndex,
    decode_image,
    join_names,
    resize_center_crop,
    scan_image_folder,
    train_val_folders,
)
from helpers import BROKEN_IMAGES, JPEG, ODD_IMAGES, encode, make_png

# Class folders


def test_a_folder_is_scanned_as_by_image_folder(data_folder):
    ours = scan_image_folder(data_folder / "train")
    theirs = ImageFolder(str(data_folder / "train"))
    assert list(ours.paths) == [path for path, _ in theirs.samples]
    assert ours.labels.dtype == torch.int64 and ours.labels.tolist() == theirs.targets
    assert list(ours.classes) == theirs.classes


def test_hidden_files_and_links_are_left_out_and_names_may_be_any_bytes(data_folder, tmp_path):
    root = shutil.copytree(data_folder / "test", tmp_path / "test")
    before = [Path(path).name for path in scan_image_folder(root).paths]
    first = min((root / "cat").iterdir())
    (root / ".ipynb_checkpoints").mkdir()
    (root / "cat" / ".ipynb_checkpoints").mkdir()
    shutil.copy(first, root / "cat" / ".ipynb_checkpoints" / "a.jpg")
    shutil.copy(first, root / "cat" / "._a.jpg")
    (root / "cat" / "loop").symlink_to("..")
    assert [Path(path).name for path in scan_image_folder(root).paths] == before

    os.rename(os.fsencode(first), os.fsencode(root / "cat") + b"/caf\xe9 \n.jpg")
    paths = scan_image_folder(root).paths
    assert len(paths) == len(before)
    [renamed] = [path for path in paths if "caf" in path]
    assert decode_image(renamed).shape == (3, 36, 36)


def test_a_folder_that_cannot_be_read_is_an_error(data_folder, tmp_path, monkeypatch):
    """Simulated, since the tests may run as root, who can read all folders."""
    root = shutil.copytree(data_folder / "test", tmp_path / "test")
    closed = root / "cat" / "closed"
    closed.mkdir()
    original = os.scandir

    def scandir(path):
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    sentence = r"cat/closed cannot be read \(Permission denied\): make it readable, or remove it$"
    with pytest.raises(OSError, match=sentence):
        scan_image_folder(root)


def test_val_goes_before_test(data_folder, tmp_path):
    """ImageNet's test/ has no labels."""
    root = shutil.copytree(data_folder, tmp_path / "data")
    assert train_val_folders(root)[1].root == root / "test"
    shutil.copytree(root / "test", root / "val")
    assert [folder.root for folder in train_val_folders(root)] == [root / "train", root / "val"]


def test_what_is_wrong_with_folders_is_said_in_a_sentence(data_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder: name a data set"):
        train_val_folders(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no train/: put the training images there"):
        train_val_folders(tmp_path)
    root = shutil.copytree(data_folder, tmp_path / "data")
    (root / "test" / "cat").rename(root / "test" / "cats")
    sentence = "train/ and test/ must have the same classes, but differ in cat, cats$"
    with pytest.raises(ValueError, match=sentence):
        train_val_folders(root)
    (root / "test").rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match="has train/ and no val/ or test/: put the valid"):
        train_val_folders(root)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder: name one"):
        scan_image_folder(tmp_path / "nowhere")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no image in a: add some \(\.jpg, .*or remove"):
        scan_image_folder(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="a holds no class folders: put the images"):
        scan_image_folder(tmp_path / "empty" / "a")


def test_names_are_joined_up_to_five():
    assert join_names("abcde") == "a, b, c, d, e"
    assert join_names("abcdefg") == "a, b, c, d, e and 2 more"


# Decoding


@pytest.mark.parametrize("kind", ODD_IMAGES)
def test_odd_images_are_converted_as_by_pillow(kind, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(ODD_IMAGES[kind])
    expected = TF.pil_to_tensor(Image.open(path).convert("RGB"))
    image = decode_image(path)
    assert image.dtype == torch.uint8 and image.shape == expected.shape
    assert (image.int() - expected.int()).abs().max() <= 1
    assert resize_center_crop(image, 24).shape == (3, 24, 24)


def test_16_bits_of_gray_are_not_clipped(tmp_path):
    """Pillow's own conversion would make everything above 255 white."""
    row = struct.pack(">HHHH", 0, 300, 32_768, 65_535)
    (tmp_path / "gray.png").write_bytes(make_png(4, 1, 16, 0, b"\0" + row))
    assert decode_image(tmp_path / "gray.png")[0].tolist() == [[0, 1, 128, 255]]
    image = Image.fromarray(np.array([[0, 300, 32_768, 65_535]], np.uint16))
    (tmp_path / "gray.tif").write_bytes(encode(image, "TIFF"))
    assert decode_image(tmp_path / "gray.tif")[0].tolist() == [[0, 1, 128, 255]]


# CachedImageLoader


@pytest.mark.parametrize("kind", [*BROKEN_IMAGES, "a link to nowhere"])
def test_broken_images_are_left_out_of_the_batch_and_named(kind, tmp_path):
    broken, whole = tmp_path / "broken.jpg", tmp_path / "whole.jpg"
    if kind in BROKEN_IMAGES:
        broken.write_bytes(BROKEN_IMAGES[kind])
    else:
        broken.symlink_to(tmp_path / "nowhere")
    whole.write_bytes(JPEG)
    paths = (str(whole), str(broken), str(whole))
    folder = ImageFolderIndex(tmp_path, (), paths, torch.zeros(3))
    loader = CachedImageLoader(folder, 24, num_workers=2)
    [(indices, images)] = loader.batches([torch.tensor([2, 1, 0])])
    assert indices.tolist() == [2, 0]
    assert images.shape == (2, 3, 24, 24) and images[0].equal(images[1])
    assert list(loader.failures) == [1] and loader.failures[1]


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_squares_are_those_of_torchvisions_transforms(memory_fraction, data_folder):
    """The same images as from ImageFolder and transforms.v2, to one gray level, cached or not."""
    folder = scan_image_folder(data_folder / "train")
    transform = v2.Compose([v2.Resize(32), v2.CenterCrop(32), v2.PILToTensor()])
    dataset = ImageFolder(str(data_folder / "train"), transform)
    order = torch.randperm(len(folder.paths), generator=torch.Generator().manual_seed(0))
    theirs = torch.stack([dataset[i][0] for i in order])
    loader = CachedImageLoader(folder, 32, num_workers=2, memory_fraction=memory_fraction)
    for _ in range(2):  # the second time from the cache, or decoded again
        batches = list(loader.batches(order.split(48)))
        assert torch.cat([indices for indices, _ in batches]).equal(order)
        ours = torch.cat([images for _, images in batches])
        difference = (ours.int() - theirs.int()).abs()
        assert difference.max() <= 1 and (difference != 0).float().mean() < 0.2
    assert len(loader._cached) == (len(order) if memory_fraction else 0)
