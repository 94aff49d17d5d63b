"""CIFAR-10's stand-in is made here: ten tiny classes, in torchvision's format or as folders."""

import errno
import hashlib
import io
import os
import pickle
import shutil
import struct
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import BROKEN_PICTURES, ODD_PICTURES, png, whole_jpeg, written
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from alexnet.loader import ImageFolderIndex, CachedImageLoader, train_val_folders, decode_image, scan_image_folder, resize_center_crop
from alexnet.datasets import cifar10, photo_exemplars, photo_patches, photos

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def test_photographs_are_in_colour_and_need_no_network():
    found = photos()
    assert len(found) >= 8
    for photo in found.values():
        assert photo.dtype == torch.uint8 and photo.shape[0] == 3 and min(photo.shape[1:]) >= 300
        assert (photo[0] != photo[1]).any()


@pytest.fixture(scope="module")
def patches():
    return photo_patches(1600, seed=1)


def test_patches(patches):
    assert patches.train_images.shape == (1600, 3, 32, 32) and patches.test_images.shape == (400, 3, 32, 32)
    assert patches.train_images.dtype == torch.uint8 and patches.train_labels.dtype == torch.int64
    assert patches.train_labels.bincount().tolist() == [200] * 8 and patches.test_labels.bincount().tolist() == [50] * 8
    assert len(patches.classes) == 8
    assert patches.train_images[:, 0].equal(patches.train_images[:, 1]) and patches.train_images.float().std((1, 2, 3)).min() > 30  # grey, equalised
    again = photo_patches(1600, seed=1)
    assert again.train_images.equal(patches.train_images) and again.test_images.equal(patches.test_images)
    assert not photo_patches(1600, seed=2).train.equal(patches.train_images)
    assert photo_patches(32, size=75).train.shape == (32, 3, 75, 75)


def test_train_and_test_share_no_pixel(monkeypatch):
    """On pictures whose every pixel has a value of its own, for each channel's place."""
    side = 300
    places = torch.arange(side)
    picture = torch.stack([places[:, None].expand(side, side), places.expand(side, side), places.expand(side, side)])
    monkeypatch.setattr("alexnet.data.photos", lambda: {str(i): picture for i in range(8)})
    monkeypatch.setattr("alexnet.data.F.equalize", lambda x: x)
    monkeypatch.setattr("alexnet.data.F.rgb_to_grayscale", lambda x, channels: x)
    found = photo_patches(640, size=16)
    train, test = ({(r, c) for r, c in zip(part[:, 0].flatten().tolist(), part[:, 1].flatten().tolist())} for part in (found.train_images, found.test_images))
    assert len(train) > 10_000 and len(test) > 5_000 and not train & test


def accuracy(model, x, labels):
    return (model(x).argmax(1) == labels).float().mean().item()


def trained(model, x, labels, steps, rate, batch=64):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        chosen = torch.randint(len(x), (batch,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[chosen]), labels[chosen]).backward()
        optimizer.step()
    return model


def histogram(images):
    """Of the colours, four steps a channel: (N, 64)."""
    steps = images.long() // 64
    return F.one_hot((steps[:, 0] * 16 + steps[:, 1] * 4 + steps[:, 2]).flatten(1), 64).float().mean(1) * 20


def test_colour_and_single_pixels_do_not_give_the_class_away(patches):
    """What a small convolutional net learns is far out of reach of a linear model on the pixels or on the colours."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 25, 8)
    )  # fmt: skip
    pixels, test_pixels = (images.float() / 64 - 2 for images in (patches.train_images, patches.test_images))
    seen = accuracy(trained(net, pixels, patches.train_labels, 500, 2e-3), test_pixels, patches.test_labels)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8))
    from_pixels = accuracy(trained(linear, pixels, patches.train_labels, 500, 1e-4), test_pixels, patches.test_labels)
    colours, test_colours = histogram(patches.train_images), histogram(patches.test_images)
    from_colours = accuracy(trained(nn.Linear(64, 8), colours, patches.train_labels, 500, 1e-2), test_colours, patches.test_labels)
    print(f"net {seen:.0%}, pixels {from_pixels:.0%}, colours {from_colours:.0%}")
    assert seen > 0.35 and from_pixels < seen - 0.15 and from_colours < seen - 0.15


def test_says_what_is_wrong_with_patches(patches):
    with pytest.raises(ValueError, match="multiple of 32.*not 100"):
        photo_patches(100)
    with pytest.raises(ValueError, match="8 to 75 pixels a side, not 96"):
        photo_patches(64, size=96)
    with pytest.raises(ValueError, match="30 images cannot be 8 equal classes"):
        patches.subset(30)
    with pytest.raises(ValueError, match="of at most 200"):
        patches.subset(8 * 201)


def test_a_subset_has_all_classes(patches):
    few = patches.subset(80)
    assert few.train_labels.bincount().tolist() == [10] * 8 and few.test_images is patches.test_images
    assert few.train_images[0].equal(patches.train_images[0])


@pytest.fixture
def folders(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(CLASSES):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                to_pil_image(torch.full((3, 32, 32), 20 * label + i, dtype=torch.uint8)).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def test_cifar10_from_class_folders(folders):
    found = cifar10(folders)
    assert found.classes == tuple(CLASSES)
    assert found.train_images.shape == (30, 3, 32, 32) and found.test_images.shape == (20, 3, 32, 32) and found.train_images.dtype == torch.uint8
    assert [int(image[0, 0, 0]) // 20 for image in found.train_images] == found.train_labels.tolist()


def test_folders_that_do_not_agree(folders):
    (folders / "test" / "truck").rename(folders / "test" / "lorry")
    with pytest.raises(ValueError, match="have not the same classes, they differ in lorry, truck"):
        cifar10(folders)
    (folders / "test").rename(folders / "tests")
    with pytest.raises(FileNotFoundError, match="has train/ and no val/ or test/"):
        cifar10(folders)


def test_a_file_that_is_no_picture_of_32_pixels(folders):
    file = folders / "train" / "cat" / "0.png"
    to_pil_image(torch.zeros(3, 30, 40, dtype=torch.uint8)).save(file)
    with pytest.raises(ValueError, match=r"cat/0\.png has 40×30 pixels, CIFAR-10's pictures 32×32: name another folder$"):
        cifar10(folders)
    file.write_text("no picture")
    with pytest.raises(ValueError, match=r"cat/0\.png cannot be used \(no picture of a known kind\): put a whole picture there, or remove the file$"):
        cifar10(folders)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """An archive in CIFAR-10's format, on a server of this machine, and a folder for it."""
    archive = tmp_path / "served" / CIFAR10.filename
    archive.parent.mkdir()
    sums = {}
    with tarfile.open(archive, "w:gz") as tar:

        def add(name, content):
            data = pickle.dumps(content)
            sums[name] = hashlib.md5(data).hexdigest()
            entry = tarfile.TarInfo(f"{CIFAR10.base_folder}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))

        for b, name in enumerate([name for name, _ in CIFAR10.train_list + CIFAR10.test_list]):
            pixels = torch.arange(20 * 3072).remainder(251).to(torch.uint8).view(20, 3072)
            pixels[:, 0] = b
            add(name, {"data": pixels.numpy(), "labels": [i % 10 for i in range(20)]})
        add(CIFAR10.meta["filename"], {"label_names": CLASSES})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(archive.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, part, [[name, sums[name]] for name, _ in getattr(CIFAR10, part)])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums[CIFAR10.meta["filename"]]})
    yield tmp_path / "data"
    server.shutdown()


def test_cifar10_downloads(stand_in):
    found = cifar10(stand_in)
    assert found.train_images.shape == (100, 3, 32, 32) and found.test_images.shape == (20, 3, 32, 32) and found.classes == tuple(CLASSES)
    assert sorted(set(found.train_images[:, 0, 0, 0].tolist())) == [0, 1, 2, 3, 4] and found.test_images[0, 0, 0, 0] == 5  # batch by batch
    assert found.train_images[0, 0, 0, :5].tolist() == [0, 1, 2, 3, 4]  # the red plane, row by row
    assert found.train_labels.tolist() == sorted([i % 10 for i in range(100)])
    assert found.train_images[10, 0, 0, 1] == (3072 + 1) % 251  # the first of the second class is the second picture
    (stand_in.parent / "served" / CIFAR10.filename).unlink()
    assert cifar10(stand_in).train.equal(found.train_images)  # not a second time


def test_no_data_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nowhere").as_uri())
    with pytest.raises(FileNotFoundError, match="connect this machine, or name a folder that has it as train/CLASS"):
        cifar10(tmp_path / "data")


# Folders of pictures


def test_what_is_saved_is_what_is_read(tmp_path):
    pictures = photo_patches(64)
    pictures.save(tmp_path)
    again = cifar10(tmp_path)
    assert all(a.equal(b) for a, b in zip((again.train_images, again.test_images, again.train_labels), (pictures.train_images, pictures.test_images, pictures.train_labels)))
    assert again.classes == tuple(sorted(pictures.classes)) == pictures.classes
    with pytest.raises(FileExistsError):
        pictures.save(tmp_path)


def test_a_folder_is_read_as_by_image_folder(data_folder):
    ours, theirs = scan_image_folder(data_folder / "train"), ImageFolder(str(data_folder / "train"))
    assert list(ours.paths) == [path for path, _ in theirs.samples] and ours.labels.tolist() == theirs.targets
    assert list(ours.classes) == theirs.classes


@pytest.mark.parametrize("kind", ODD_PICTURES)
def test_pictures_that_are_converted(kind, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(ODD_PICTURES[kind])
    expected = pil_to_tensor(Image.open(path).convert("RGB"))
    found = decode_image(path)
    assert found.dtype == torch.uint8 and found.shape == expected.shape
    assert (found.int() - expected.int()).abs().max() <= 1
    assert resize_center_crop(found, 24).shape == (3, 24, 24)


def test_16_bits_of_grey_are_not_cut_off(tmp_path):
    """Pillow's own conversion would make everything above 255 white."""
    path = tmp_path / "grey.png"
    path.write_bytes(png(4, 1, 16, 0, b"\0" + struct.pack(">HHHH", 0, 300, 32_768, 65_535)))
    assert decode_image(path)[0].tolist() == [[0, 1, 128, 255]]
    (tmp_path / "grey.tif").write_bytes(written(Image.fromarray(np.array([[0, 300, 32_768, 65_535]], np.uint16)), "TIFF"))
    assert decode_image(tmp_path / "grey.tif")[0].tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("kind", [*BROKEN_PICTURES, "a link to nowhere"])
def test_pictures_that_are_broken(kind, tmp_path):
    path = tmp_path / "picture.jpg"
    path.symlink_to(tmp_path / "nowhere") if kind not in BROKEN_PICTURES else path.write_bytes(BROKEN_PICTURES[kind])
    whole = tmp_path / "whole.jpg"
    whole.write_bytes(whole_jpeg)
    squares = CachedImageLoader(ImageFolderIndex(tmp_path, (), (str(whole), str(path), str(whole)), torch.zeros(3)), 24, workers=2)
    [(indices, batch)] = squares.batches([torch.tensor([2, 1, 0])])
    assert indices.tolist() == [2, 0] and batch.shape == (2, 3, 24, 24) and batch[0].equal(batch[1])
    assert list(squares.broken) == [1] and squares.broken[1]


def test_squares_are_those_of_transforms(data_folder):
    """The same pictures as from ImageFolder and transforms.v2, to one grey level, kept in memory or not."""
    folder = scan_image_folder(data_folder / "train")
    theirs = ImageFolder(str(data_folder / "train"), v2.Compose([v2.Resize(32), v2.CenterCrop(32), v2.PILToTensor()]))
    order = torch.randperm(len(folder.paths), generator=torch.Generator().manual_seed(0))
    for share in (0.0, 0.25):
        squares = CachedImageLoader(folder, 32, workers=2, share=share)
        for _ in range(2):  # the second time from memory, or decoded again
            found = list(squares.batches(order.split(48)))
            assert torch.cat([indices for indices, _ in found]).equal(order)
            difference = torch.cat([batch for _, batch in found]).int() - torch.stack([theirs[i][0] for i in order]).int()
            assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 0.2
        assert len(squares.have) == (len(order) if share else 0)


def test_names_that_surprise(data_folder, tmp_path):
    """Hidden files are not pictures, hidden folders not classes, links back up not followed; names are whatever bytes they are."""
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
    assert decode_image(scan_image_folder(root).paths[scan_image_folder(root).labels.tolist().index(1)]).shape == (3, 36, 36)
    assert len(scan_image_folder(root).paths) == len(before)


def test_a_folder_that_cannot_be_read(data_folder, tmp_path, monkeypatch):
    """It is not passed over; for root, too, who can read them all."""
    root = shutil.copytree(data_folder / "test", tmp_path / "test")
    closed = root / "cat" / "closed"
    closed.mkdir()

    def scandir(path, before=os.scandir):
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return before(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match=r"cat/closed cannot be read \(Permission denied\): make it readable, or remove it$"):
        scan_image_folder(root)


def test_val_goes_before_test(folders):
    """ImageNet's test/ has no classes."""
    shutil.copytree(folders / "test", folders / "val")
    assert train_val_folders(folders)[1].root == folders / "val"


def test_photo_exemplars():
    found = photo_exemplars(768, size=32)
    assert found.train_images.shape == (768, 3, 32, 32) and found.test_images.shape == (192, 3, 32, 32) and found.train_images.dtype == torch.uint8
    assert len(set(found.classes)) == 192 and torch.equal(found.test_labels, torch.arange(192))
    assert torch.equal(found.train_labels.bincount(), torch.full((192,), 4))
    again, other = photo_exemplars(768, size=32), photo_exemplars(768, size=32, seed=1)
    assert torch.equal(found.train_images, again.train_images) and not torch.equal(found.train_images, other.train_images)
    assert len(found.train_images.flatten(1).unique(dim=0)) > 700  # drawn anew each time; a few are all of one colour


def test_exemplars_of_a_place_show_that_place():
    """Coarse pictures of a place are nearer to each other than to those of other places."""
    found = photo_exemplars(768, size=32)
    coarse = F.avg_pool2d(found.train_images.float(), 8).flatten(1)
    distances = torch.cdist(coarse, coarse)
    same = found.train_labels[:, None] == found.train_labels
    assert distances[same].mean() < 0.6 * distances[~same].mean()


def test_exemplars_that_cannot_be_dealt_out():
    for n in (0, 192, 960, 1000):
        with pytest.raises(ValueError, match=f"a multiple of 768, so that all 192 places have equally many, not {n}"):
            photo_exemplars(n)
