"""A stand-in for CIFAR-10 is made here: ten tiny classes, in torchvision's format or as folders."""

import hashlib
import io
import pickle
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.datasets import CIFAR10
from torchvision.transforms.v2 import functional as TF

from alexnet.datasets import (
    InMemoryDataset,
    cifar10,
    photo_exemplars,
    photo_patches,
    photos,
    tiny_imagenet,
    tiny_imagenet_val,
)
from alexnet.loader import decode_image

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

# Photographs


def test_photographs_are_in_color_and_need_no_network():
    found = photos()
    assert len(found) >= 8
    for photo in found.values():
        assert photo.dtype == torch.uint8 and photo.shape[0] == 3 and min(photo.shape[1:]) >= 300
        assert (photo[0] != photo[1]).any()


def test_photographs_without_scikit_image_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)  # importing it now fails
    with pytest.raises(ModuleNotFoundError) as error:
        photos()
    assert str(error.value).endswith('is not installed: pip install "alexnet[book]"')
    assert "\n" not in str(error.value) and error.value.name == "skimage"


# Patches


@pytest.fixture(scope="module")
def patches():
    return photo_patches(1600, seed=1)


def test_patches_are_gray_equalized_and_given_by_the_seed(patches):
    assert patches.train_images.shape == (1600, 3, 32, 32)
    assert patches.test_images.shape == (400, 3, 32, 32)
    assert patches.train_images.dtype == torch.uint8 and patches.train_labels.dtype == torch.int64
    assert patches.train_labels.bincount().tolist() == [200] * 8
    assert patches.test_labels.bincount().tolist() == [50] * 8
    assert len(patches.classes) == 8
    assert patches.train_images[:, 0].equal(patches.train_images[:, 1])  # gray
    assert patches.train_images.float().std((1, 2, 3)).min() > 30  # equalized
    again = photo_patches(1600, seed=1)
    assert again.train_images.equal(patches.train_images)
    assert again.test_images.equal(patches.test_images)
    assert not photo_patches(1600, seed=2).train_images.equal(patches.train_images)
    assert photo_patches(32, size=75).train_images.shape == (32, 3, 75, 75)


def test_train_and_test_share_no_pixel(monkeypatch):
    """On an image in which each pixel's value is its position."""
    side = 300
    position = torch.arange(side)
    row, column = position[:, None].expand(side, side), position.expand(side, side)
    image = torch.stack([row, column, column])
    monkeypatch.setattr("alexnet.datasets.photos", lambda: {str(i): image for i in range(8)})
    monkeypatch.setattr("alexnet.datasets.TF.equalize", lambda x: x)
    monkeypatch.setattr("alexnet.datasets.TF.rgb_to_grayscale", lambda x, channels: x)
    found = photo_patches(640, size=16)

    def pixels(images):
        rows, columns = images[:, 0].flatten().tolist(), images[:, 1].flatten().tolist()
        return set(zip(rows, columns))

    train, test = pixels(found.train_images), pixels(found.test_images)
    assert len(train) > 10_000 and len(test) > 5_000 and not train & test


def fit_and_test(model, inputs, labels, test_inputs, test_labels, steps, lr):
    """The accuracy on the test set after ``steps`` batches of 64."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for _ in range(steps):
        batch = torch.randint(len(inputs), (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    return (model(test_inputs).argmax(1) == test_labels).float().mean().item()


def color_histogram(images):
    """How frequent each of 64 colors is, four levels a channel: (N, 64)."""
    levels = images.long() // 64
    color = levels[:, 0] * 16 + levels[:, 1] * 4 + levels[:, 2]  # (N, H, W)
    return F.one_hot(color.flatten(1), 64).float().mean(1) * 20


@pytest.mark.slow
@pytest.mark.exhaustive
def test_colors_and_single_pixels_do_not_give_the_class_away(patches):
    """A small net learns what linear models of the pixels and of the colors do not."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 25, 8),
    )
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8))
    labels, test_labels = patches.train_labels, patches.test_labels
    pixels, test_pixels = patches.train_images / 64 - 2, patches.test_images / 64 - 2
    by_net = fit_and_test(net, pixels, labels, test_pixels, test_labels, 500, 2e-3)
    by_pixels = fit_and_test(linear, pixels, labels, test_pixels, test_labels, 500, 1e-4)
    colors = color_histogram(patches.train_images)
    test_colors = color_histogram(patches.test_images)
    linear = nn.Linear(64, 8)
    by_colors = fit_and_test(linear, colors, labels, test_colors, test_labels, 500, 1e-2)
    print(f"net {by_net:.0%}, pixels {by_pixels:.0%}, colors {by_colors:.0%}")
    assert by_net > 0.35 and by_pixels < by_net - 0.15 and by_colors < by_net - 0.15


def test_what_is_wrong_with_patches_is_said_in_a_sentence(patches):
    with pytest.raises(ValueError, match=r"^n must be a positive multiple of 32, .*, got 100$"):
        photo_patches(100)
    with pytest.raises(ValueError, match=r"^size must be 8 to 75 pixels, .*, got 96$"):
        photo_patches(64, size=96)
    with pytest.raises(ValueError, match=r"^n must be a multiple of 8, .*, got 30$"):
        patches.subset(30)
    with pytest.raises(ValueError, match=r"and at most 1600, 200 of each, got 1608$"):
        patches.subset(8 * 201)


def test_a_subset_has_all_classes(patches):
    few = patches.subset(80)
    assert few.train_labels.bincount().tolist() == [10] * 8
    assert few.test_images is patches.test_images
    assert few.train_images[0].equal(patches.train_images[0])


# Exemplars


def test_exemplars_have_192_classes_and_are_given_by_the_seed():
    found = photo_exemplars(768, size=32)
    assert found.train_images.shape == (768, 3, 32, 32)
    assert found.test_images.shape == (192, 3, 32, 32)
    assert found.train_images.dtype == torch.uint8
    assert len(set(found.classes)) == 192 and found.test_labels.equal(torch.arange(192))
    assert found.train_labels.bincount().equal(torch.full((192,), 4))
    again, other = photo_exemplars(768, size=32), photo_exemplars(768, size=32, seed=1)
    assert found.train_images.equal(again.train_images)
    assert not found.train_images.equal(other.train_images)
    # Transformed anew each time; a few are of one color all over
    assert len(found.train_images.flatten(1).unique(dim=0)) > 700


def test_exemplars_of_a_place_show_that_place():
    """Coarse images of a place are nearer to each other than to those of other places."""
    found = photo_exemplars(768, size=32)
    coarse = F.avg_pool2d(found.train_images.float(), 8).flatten(1)
    distances = torch.cdist(coarse, coarse)
    same = found.train_labels[:, None] == found.train_labels
    assert distances[same].mean() < 0.6 * distances[~same].mean()


@pytest.mark.parametrize("n", [0, 192, 960, 1000])
def test_exemplars_in_unequal_classes_are_refused(n):
    sentence = f"^n must be a positive multiple of 768, four for each of 192 places, got {n}$"
    with pytest.raises(ValueError, match=sentence):
        photo_exemplars(n)


# CIFAR-10


@pytest.fixture
def class_folders(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = torch.full((3, 32, 32), 20 * label + i, dtype=torch.uint8)
                TF.to_pil_image(image).save(folder / f"{i}.png")
    return tmp_path


def test_cifar10_from_class_folders(class_folders):
    found = cifar10(class_folders)
    assert found.classes == tuple(CLASSES)
    assert found.train_images.shape == (30, 3, 32, 32)
    assert found.test_images.shape == (20, 3, 32, 32)
    assert found.train_images.dtype == torch.uint8
    labels = [int(image[0, 0, 0]) // 20 for image in found.train_images]
    assert labels == found.train_labels.tolist()


def test_files_that_are_left_out_are_counted_in_a_line(class_folders, capsys):
    (class_folders / "test" / "cat" / "notes.txt").write_text("", encoding="utf-8")
    assert cifar10(class_folders).test_images.shape == (20, 3, 32, 32)
    line = f"left out: 1 in {class_folders / 'test'} (cat/notes.txt): "
    assert capsys.readouterr().err.startswith(line)


def test_class_folders_that_differ_are_refused(class_folders):
    (class_folders / "test" / "cat").rename(class_folders / "test" / "tiger")
    with pytest.raises(ValueError, match="must have the same classes, but differ in cat, tiger"):
        cifar10(class_folders)


def test_class_folders_that_are_not_mounted_are_not_downloaded_instead(tmp_path, monkeypatch):
    monkeypatch.setattr("alexnet.datasets.CIFAR10", lambda *_, **__: pytest.fail("downloaded"))
    (tmp_path / "train").symlink_to(tmp_path / "not mounted")
    with pytest.raises(OSError, match=r"train is a link to .*not mounted, which cannot be read"):
        cifar10(tmp_path)


def test_a_file_that_is_no_image_of_32_pixels_is_refused(class_folders):
    path = class_folders / "train" / "cat" / "0.png"
    TF.to_pil_image(torch.zeros(3, 30, 40, dtype=torch.uint8)).save(path)
    sentence = r"cat/0\.png must have 32×32 pixels, .*, got 40×30: name another folder$"
    with pytest.raises(ValueError, match=sentence):
        cifar10(class_folders)
    path.write_text("no image", encoding="utf-8")
    reason = r"not an image of a known format"
    sentence = rf"cat/0\.png cannot be decoded \({reason}\): replace or remove it$"
    with pytest.raises(ValueError, match=sentence):
        cifar10(class_folders)


def test_what_is_saved_is_what_is_read(tmp_path):
    saved = photo_patches(64)
    saved.save(tmp_path)
    found = cifar10(tmp_path)
    assert found.train_images.equal(saved.train_images)
    assert found.test_images.equal(saved.test_images)
    assert found.train_labels.equal(saved.train_labels)
    assert found.classes == tuple(sorted(saved.classes)) == saved.classes
    with pytest.raises(FileExistsError):
        saved.save(tmp_path)


@pytest.fixture
def served_cifar10(tmp_path, monkeypatch):
    """An archive in CIFAR-10's format, on a server of this machine, and a folder for it."""
    archive = tmp_path / "served" / CIFAR10.filename
    archive.parent.mkdir()
    checksums = {}
    with tarfile.open(archive, "w:gz") as tar:

        def add(name, content):
            data = pickle.dumps(content)
            checksums[name] = hashlib.md5(data).hexdigest()
            entry = tarfile.TarInfo(f"{CIFAR10.base_folder}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))

        for i, (name, _) in enumerate(CIFAR10.train_list + CIFAR10.test_list):
            pixels = torch.arange(20 * 3072).remainder(251).to(torch.uint8).view(20, 3072)
            pixels[:, 0] = i
            add(name, {"data": pixels.numpy(), "labels": [label % 10 for label in range(20)]})
        add(CIFAR10.meta["filename"], {"label_names": CLASSES})

    handler = partial(SimpleHTTPRequestHandler, directory=str(archive.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
    monkeypatch.setattr(CIFAR10, "url", url)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    for part in ("train_list", "test_list"):
        files = [[name, checksums[name]] for name, _ in getattr(CIFAR10, part)]
        monkeypatch.setattr(CIFAR10, part, files)
    meta = CIFAR10.meta | {"md5": checksums[CIFAR10.meta["filename"]]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    yield tmp_path / "data"
    server.shutdown()


def test_cifar10_is_downloaded_once_and_sorted_by_class(served_cifar10):
    found = cifar10(served_cifar10)
    assert found.train_images.shape == (100, 3, 32, 32)
    assert found.test_images.shape == (20, 3, 32, 32)
    assert found.classes == tuple(CLASSES)
    # The first byte of an image says which file it comes from: five to train on, one to test on
    assert set(found.train_images[:, 0, 0, 0].tolist()) == {0, 1, 2, 3, 4}
    assert found.test_images[0, 0, 0, 0] == 5
    assert found.train_images[0, 0, 0, :5].tolist() == [0, 1, 2, 3, 4]  # red plane, row by row
    assert found.train_labels.tolist() == sorted(label % 10 for label in range(100))
    # The first image of the second class is the second image of the first file
    assert found.train_images[10, 0, 0, 1] == (3072 + 1) % 251
    (served_cifar10.parent / "served" / CIFAR10.filename).unlink()
    assert cifar10(served_cifar10).train_images.equal(found.train_images)


def test_without_data_and_network_the_error_names_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nowhere").as_uri())
    sentence = "connect this machine, or name a folder that has it as train/CLASS"
    with pytest.raises(FileNotFoundError, match=sentence):
        cifar10(tmp_path / "data")


# Tiny ImageNet, of which a stand-in is saved as files


@pytest.fixture
def tiny_folders(tmp_path):
    photo_patches(64, size=64).save(tmp_path, "jpg")
    return tmp_path


def test_tiny_imagenet_from_class_folders(tiny_folders):
    found = tiny_imagenet(tiny_folders)
    assert found.name == "Tiny ImageNet" and len(found.classes) == 8
    assert found.train_images.shape == (64, 3, 64, 64) and found.train_images.dtype == torch.uint8
    assert found.test_images.shape == (16, 3, 64, 64)
    assert found.train_labels.tolist() == sorted(found.train_labels.tolist())
    expected = decode_image(tiny_folders / "train" / "cat" / "00011.jpg")
    assert found.train_images[8 + 3].equal(expected)


def test_its_validation_images_alone(tiny_folders):
    whole, found = tiny_imagenet(tiny_folders), tiny_imagenet_val(tiny_folders)
    assert found.test_images.equal(whole.test_images) and found.test_labels.equal(whole.test_labels)
    assert found.classes == whole.classes and len(found.train_images) == 0


@pytest.mark.parametrize("tiny_imagenet", [tiny_imagenet, tiny_imagenet_val])
def test_without_tiny_imagenet_the_error_names_the_command(tmp_path, tiny_imagenet):
    sentence = (
        r"^Tiny ImageNet is not in \S+/data: python -m alexnet.prepare tiny-imagenet --out \S+"
    )
    with pytest.raises(FileNotFoundError, match=sentence):
        tiny_imagenet(tmp_path / "data")
    (tmp_path / "data").symlink_to(tmp_path / "not mounted")
    with pytest.raises(OSError, match=r"is a link to .*not mounted, which cannot be read"):
        tiny_imagenet(tmp_path / "data")


def test_images_of_another_size_are_not_tiny_imagenet(tmp_path):
    photo_patches(64).save(tmp_path)
    sentence = r"00000\.png must have 64×64 pixels, as Tiny ImageNet's images, got 32×32"
    with pytest.raises(ValueError, match=sentence):
        tiny_imagenet(tmp_path)


# Parts of a data set


def numbered(counts):
    """A data set whose images are numbered, with so many in each class."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    classes = tuple("abcdefghij"[: len(counts)])
    return InMemoryDataset("numbered", classes, images, labels, images + 100, labels)


def test_the_last_tenth_of_each_class_is_held_out():
    whole = numbered([20, 30, 9])
    part = whole.hold_out()
    assert part.test_images.flatten().tolist() == [18, 19, 47, 48, 49]
    assert part.test_labels.tolist() == [0, 0, 1, 1, 1]
    assert len(part.train_images) == 54
    both = torch.cat([part.train_images, part.test_images]).flatten()
    assert sorted(both.tolist()) == whole.train_images.flatten().tolist()
    assert part.train_labels.bincount().tolist() == [18, 27, 9]


@pytest.mark.parametrize(("n", "kept"), [(1, "a"), (2, "af"), (3, "adg"), (10, "abcdefghij")])
def test_classes_that_are_spread_over_the_list(n, kept):
    whole = numbered([2] * 10)
    part = whole.take_classes(n)
    assert part.classes == tuple(kept)
    expected = [2 * "abcdefghij".index(name) + i for name in kept for i in range(2)]
    assert part.train_images.flatten().tolist() == expected
    assert (part.test_images - 100).flatten().tolist() == expected
    assert part.train_labels.tolist() == part.test_labels.tolist()
    assert part.train_labels.tolist() == [label for label in range(n) for _ in range(2)]


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_the_classes_that_are_left_out_are_the_others(n):
    whole = numbered([2] * 10)
    taken, others = whole.take_classes(n), whole.leave_out_classes(n)
    assert sorted(taken.classes + others.classes) == list(whole.classes)
    images = torch.cat([taken.train_images, others.train_images]).flatten().tolist()
    assert sorted(images) == whole.train_images.flatten().tolist()
    names = [whole.classes[i // 2] for i in others.train_images.flatten().tolist()]
    assert [others.classes[label] for label in others.train_labels.tolist()] == names


@pytest.mark.parametrize("n", [0, 11])
def test_as_many_classes_as_there_are(n):
    for method in ("take_classes", "leave_out_classes"):
        message = f"^n must be 1 to 10, the number of classes, got {n}$"
        with pytest.raises(ValueError, match=message):
            getattr(numbered([2] * 10), method)(n)
    with pytest.raises(ValueError, match=r"^n must be 1 to 9, so that a class is left, got 10$"):
        numbered([2] * 10).leave_out_classes(10)
