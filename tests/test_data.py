"""CIFAR-10's stand-in is made here: ten tiny classes, in torchvision's format or as folders."""

import hashlib
import io
import pickle
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.datasets import CIFAR10
from torchvision.transforms.v2.functional import to_pil_image

from alexnet.data import cifar10, photo_patches, photos

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
    assert patches.train.shape == (1600, 3, 32, 32) and patches.test.shape == (400, 3, 32, 32)
    assert patches.train.dtype == torch.uint8 and patches.train_labels.dtype == torch.int64
    assert patches.train_labels.bincount().tolist() == [200] * 8 and patches.test_labels.bincount().tolist() == [50] * 8
    assert len(patches.classes) == 8
    assert patches.train[:, 0].equal(patches.train[:, 1]) and patches.train.float().std((1, 2, 3)).min() > 30  # grey, equalised
    again = photo_patches(1600, seed=1)
    assert again.train.equal(patches.train) and again.test.equal(patches.test)
    assert not photo_patches(1600, seed=2).train.equal(patches.train)
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
    train, test = ({(r, c) for r, c in zip(part[:, 0].flatten().tolist(), part[:, 1].flatten().tolist())} for part in (found.train, found.test))
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
    pixels, test_pixels = (images.float() / 64 - 2 for images in (patches.train, patches.test))
    seen = accuracy(trained(net, pixels, patches.train_labels, 500, 2e-3), test_pixels, patches.test_labels)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8))
    from_pixels = accuracy(trained(linear, pixels, patches.train_labels, 500, 1e-4), test_pixels, patches.test_labels)
    colours, test_colours = histogram(patches.train), histogram(patches.test)
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
    assert few.train_labels.bincount().tolist() == [10] * 8 and few.test is patches.test
    assert few.train[0].equal(patches.train[0])


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
    assert found.train.shape == (30, 3, 32, 32) and found.test.shape == (20, 3, 32, 32) and found.train.dtype == torch.uint8
    assert [int(image[0, 0, 0]) // 20 for image in found.train] == found.train_labels.tolist()


def test_folders_that_do_not_agree(folders):
    (folders / "test" / "truck").rename(folders / "test" / "lorry")
    with pytest.raises(ValueError, match="other classes: lorry, truck"):
        cifar10(folders)
    (folders / "test").rename(folders / "val")
    with pytest.raises(FileNotFoundError, match="has train/ and no test/"):
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
    assert found.train.shape == (100, 3, 32, 32) and found.test.shape == (20, 3, 32, 32) and found.classes == tuple(CLASSES)
    assert sorted(set(found.train[:, 0, 0, 0].tolist())) == [0, 1, 2, 3, 4] and found.test[0, 0, 0, 0] == 5  # batch by batch
    assert found.train[0, 0, 0, :5].tolist() == [0, 1, 2, 3, 4]  # the red plane, row by row
    assert found.train_labels.tolist() == sorted([i % 10 for i in range(100)])
    assert found.train[10, 0, 0, 1] == (3072 + 1) % 251  # the first of the second class is the second picture
    (stand_in.parent / "served" / CIFAR10.filename).unlink()
    assert cifar10(stand_in).train.equal(found.train)  # not a second time


def test_no_data_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nowhere").as_uri())
    with pytest.raises(FileNotFoundError, match="connect this machine, or name a folder that has it as train/CLASS"):
        cifar10(tmp_path / "data")
