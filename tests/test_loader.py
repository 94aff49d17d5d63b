import errno
import os
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from alexnet import loader as loader_module
from alexnet.loader import (
    EXTENSIONS,
    MAX_PIXELS,
    PILLOW_FORMATS,
    CachedImageLoader,
    ImageFolderIndex,
    canonical_name,
    decode_image,
    join_names,
    print_left_out,
    read_class_words,
    resize_center_crop,
    scan_image_folder,
    train_val_folders,
)
from helpers import (
    BAD_OFFSET,
    BROKEN_IMAGES,
    JPEG,
    ODD_IMAGES,
    PHOTO,
    encode,
    make_png,
    make_tiff,
)

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


needs_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such thing")


def make_folder(folder, *names):
    """A folder with small images in it, in the format that their extensions say."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(JPEG)
    return folder


def test_all_extensions_of_pillow_and_torchvision_are_read():
    registered = Image.registered_extensions()
    formats = {*PILLOW_FORMATS, "MPO"}  # JPEG with more images behind the first
    of_pillow = {extension for extension, name in registered.items() if name in formats}
    assert {".jfif", ".jpe", ".apng", ".pbm", ".pnm", ".dib"} <= of_pillow
    assert of_pillow | set(IMG_EXTENSIONS) == set(EXTENSIONS)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_image_of_any_extension_is_found_and_decoded(extension, tmp_path):
    name = Image.registered_extensions()[extension]
    mode = {".pbm": "1", ".pgm": "L", ".pfm": "F"}.get(extension, "RGB")
    path = make_folder(tmp_path / "cat") / f"a{extension.upper()}"
    PHOTO.convert(mode).save(path, name)
    folder = scan_image_folder(tmp_path)
    assert folder.paths == (str(path),) and folder.left_out == ()
    if mode == "F":
        with pytest.raises(OSError, match="floating-point"):
            decode_image(path)
    else:
        difference = decode_image(path).int() - TF.pil_to_tensor(PHOTO.convert(mode).convert("RGB"))
        assert difference.abs().float().mean() < 10  # JPEG and the palette of GIF


def test_what_is_left_out_is_counted_in_a_line(tmp_path, capsys):
    root = tmp_path / "train"
    make_folder(root / "cat", "a.jpg", "b.jfif", "c.jpg_large", "notes.txt", ".hidden")
    make_folder(root / "dog" / "more", "d.JPE", "noext")
    make_folder(tmp_path / "elsewhere", "e.jpg")
    (root / "dog" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "f.jpg").write_bytes(JPEG)  # in no class folder
    folder = scan_image_folder(root)
    assert [Path(path).name for path in folder.paths] == ["a.jpg", "b.jfif", "d.JPE"]
    left_out = ["cat/c.jpg_large", "cat/notes.txt", "dog/link", "dog/more/noext", "f.jpg"]
    assert sorted(folder.left_out) == left_out
    print_left_out(folder)
    line = capsys.readouterr().err
    assert line.startswith(f"left out: 5 in {root} (f.jpg, cat/c.jpg_large, cat/notes.txt, ")
    assert line.count("\n") == 1
    print_left_out(scan_image_folder(make_folder(tmp_path / "clean" / "cat", "a.jpg").parent))
    assert capsys.readouterr().err == ""


# The same name in two forms of Unicode, of which archives from a Mac have the second
NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_a_name_has_one_form():
    assert NFC != NFD and canonical_name(NFC) == canonical_name(NFD) == NFC
    assert canonical_name("\u1112\u1161\u11ab") == "\ud55c"  # Korean, from three letters
    assert canonical_name("caf\udce9") == "caf\udce9"  # not UTF-8


def test_classes_are_the_same_in_two_forms_of_unicode(tmp_path):
    """The order of the classes is the same, too: by their bytes é is before f or after it."""
    for part, cafe in (("train", NFC), ("val", NFD)):
        for name in (cafe, "caff"):
            make_folder(tmp_path / part / name, "a.jpg")
    train, val = train_val_folders(tmp_path)
    assert train.classes == val.classes == ("caff", NFC)
    assert [Path(path).parent.name for path in val.paths] == ["caff", NFD]
    assert val.labels.tolist() == [0, 1]


def test_files_are_in_one_order_in_two_forms_of_unicode(tmp_path):
    for root, accented in ((tmp_path / "one", NFC), (tmp_path / "two", NFD)):
        make_folder(root / "a" / accented, f"{accented}.jpg", "caff.jpg")
        make_folder(root / "a" / "caff", "a.jpg")
    one, two = scan_image_folder(tmp_path / "one"), scan_image_folder(tmp_path / "two")
    names = [[canonical_name(path.split("/a/")[1]) for path in index.paths] for index in (one, two)]
    assert names[0] == names[1] == ["caff/a.jpg", f"{NFC}/caff.jpg", f"{NFC}/{NFC}.jpg"]


def test_two_folders_of_one_class_are_refused(tmp_path):
    for name in (NFC, NFD):
        make_folder(tmp_path / name, "a.jpg")
    with pytest.raises(ValueError) as error:
        scan_image_folder(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: 'cafe\\u0301' and 'caf\\xe9' are the same name in two forms of Unicode: "
        "put the images of this class into one folder"
    )


@needs_posix
@pytest.mark.parametrize("place", [".", "train", "val", "test", "train/cat"])
def test_a_link_to_nowhere_in_the_place_of_a_folder_is_refused(place, tmp_path):
    root = tmp_path / "data"
    for part in ("train", "val", "test"):
        for name in ("cat", "dog"):
            make_folder(root / part / name, "a.jpg")
    link = root / place
    shutil.rmtree(link)
    link.symlink_to(tmp_path / "not mounted")
    with pytest.raises(OSError) as error:
        train_val_folders(root)
    assert str(error.value) == (
        f"{link} is a link to {tmp_path / 'not mounted'}, which cannot be read "
        "(No such file or directory): mount the disk that it is on, or remove the link"
    )


@needs_posix
def test_a_link_to_a_class_folder_is_followed_and_one_to_itself_is_refused(tmp_path):
    make_folder(tmp_path / "disk", "a.jpg")
    make_folder(tmp_path / "train" / "dog", "a.jpg")
    (tmp_path / "train" / "cat").symlink_to(tmp_path / "disk")
    assert scan_image_folder(tmp_path / "train").classes == ("cat", "dog")
    (tmp_path / "train" / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"loop is a link to loop, which cannot be read \(Too many l"):
        scan_image_folder(tmp_path / "train")


# Data sets as they are published


def test_tiny_imagenet_as_published_names_the_command_that_prepares_it(tmp_path):
    make_folder(tmp_path / "train" / "n01443537" / "images", "n01443537_0.JPEG")
    val = make_folder(tmp_path / "val" / "images", "val_0.JPEG").parent
    (val / "val_annotations.txt").write_text(
        "val_0.JPEG\tn01443537\t0\t0\t9\t9\n", encoding="utf-8"
    )
    sentence = (
        f"{val} must hold a folder per class, got Tiny ImageNet's val/ as published, with labels "
        "in a file: python -m alexnet.prepare tiny-imagenet makes a data set from the published "
        "archive"
    )
    for scan in (lambda: train_val_folders(tmp_path), lambda: scan_image_folder(val)):
        with pytest.raises(ValueError) as error:
            scan()
        assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("part", "name", "content"),
    [
        ("val", "ILSVRC2012_val_00000001.JPEG", "val/ as published, without labels"),
        ("train", "n01440764.tar", "train/ as published, an archive per class"),
    ],
)
def test_imagenet_as_published_names_the_command_that_prepares_it(part, name, content, tmp_path):
    for folder in ("train", "val"):
        if folder == part:
            make_folder(tmp_path / folder, name)
        else:
            make_folder(tmp_path / folder / "n01440764", "a.JPEG")
    sentence = (
        f"{tmp_path / part} must hold a folder per class, got ImageNet's {content}: "
        "python -m alexnet.prepare imagenet makes a data set from the published archive"
    )
    for scan in (lambda: train_val_folders(tmp_path), lambda: scan_image_folder(tmp_path / part)):
        with pytest.raises(ValueError) as error:
            scan()
        assert str(error.value) == sentence


def test_words_of_classes_are_read_by_their_id(tmp_path):
    assert read_class_words(tmp_path) == {}
    path = tmp_path / "classes.tsv"
    path.write_text(
        f"n01443537\tgoldfish, Carassius auratus\n{NFD}\t{NFC}\tbar\n", encoding="utf-8"
    )
    words = {"n01443537": "goldfish, Carassius auratus", NFC: f"{NFC}\tbar"}
    assert read_class_words(str(tmp_path)) == words
    path.write_text("n01443537\tgoldfish\nn01629819 salamander\n", encoding="utf-8")
    with pytest.raises(ValueError) as error:
        read_class_words(tmp_path)
    assert str(error.value) == (
        f"{path} must have an id, a tab and words in each line, "
        "got 'n01629819 salamander' in line 2"
    )


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


def gradient(kind, low, high):
    """Black, a quarter, three quarters, white: (1, 4)."""
    quarter = (high - low) // 4
    return np.array([[low, low + quarter, high - quarter, high]], kind)


SCALED = [0, 63, 192, 255]
GRAY = {  # a file with the numbers of a type from its lowest to its highest; what is expected
    "8 bits": (make_tiff(gradient("u1", 0, 255)), SCALED),
    "8 bits, signed": (make_tiff(gradient("i1", 0, 127), sample_format=2), [0, 62, 192, 254]),
    "12 bits": (make_tiff(np.frombuffer(b"\0\x03\xff\xc0\x0f\xff", "u1")[None], 12), SCALED),
    "16 bits": (make_tiff(gradient("<u2", 0, 65_535)), SCALED),
    "16 bits, big-endian": (make_tiff(gradient(">u2", 0, 65_535)), SCALED),
    "16 bits, zero is white": (
        make_tiff(gradient("<u2", 0, 65_535), zero_is_white=True),
        [255, 192, 63, 0],
    ),
    "16 bits, signed": (make_tiff(gradient("<i2", 0, 32_767), sample_format=2), SCALED),
    "16 bits, below zero": (
        make_tiff(gradient(">i2", -32_768, 32_767), sample_format=2),
        [0, 0, 128, 255],
    ),
    "32 bits": (make_tiff(gradient("<u4", 0, 2**32 - 1)), SCALED),
    "32 bits, signed": (make_tiff(gradient("<i4", 0, 2**31 - 1), sample_format=2), SCALED),
    "32 bits, below zero": (
        make_tiff(gradient(">i4", -(2**31), 2**31 - 1), sample_format=2),
        [0, 0, 128, 255],
    ),
    "32 bits, by Pillow": (encode(Image.fromarray(gradient("i4", 0, 2**31 - 1)), "TIFF"), SCALED),
    "PGM of 16 bits": (b"P5 4 1 65535\n" + gradient(">u2", 0, 65_535).tobytes(), SCALED),
    "PGM up to 1023": (b"P5 4 1 1023\n" + gradient(">u2", 0, 1023).tobytes(), SCALED),
}


@pytest.mark.parametrize("kind", GRAY)
def test_gray_of_whole_numbers_is_scaled_by_their_range(kind, tmp_path):
    data, expected = GRAY[kind]
    (tmp_path / "gray").write_bytes(data)
    image = decode_image(tmp_path / "gray")
    assert image.tolist() == [[expected]] * 3


def test_16_bits_of_a_png_are_the_same_where_pillow_calls_their_mode_i(tmp_path, monkeypatch):
    """As it did until version 10."""
    (tmp_path / "gray.png").write_bytes(
        make_png(4, 1, 16, 0, b"\0" + gradient(">u2", 0, 65_535).tobytes())
    )
    original = Image.open

    def open_as_before(*arguments, **options):
        image = original(*arguments, **options)
        old = Image.fromarray(np.asarray(image).astype(np.int32))
        old.format = image.format
        assert (image.mode, old.mode, old.format) == ("I;16", "I", "PNG")
        return old

    assert decode_image(tmp_path / "gray.png")[0].tolist() == [SCALED]
    monkeypatch.setattr(Image, "open", open_as_before)
    assert decode_image(tmp_path / "gray.png")[0].tolist() == [SCALED]


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f2"])
def test_floating_point_is_refused_in_a_sentence_that_says_so(kind, tmp_path):
    """It was read as black: 0 to 1 is what most programs write."""
    path = tmp_path / "train" / "cat" / "f.tif"
    path.parent.mkdir(parents=True)
    values = np.linspace(0, 1, 1440).reshape(30, 48).astype(kind)
    path.write_bytes(make_tiff(values, None, 3))
    loader = CachedImageLoader(scan_image_folder(tmp_path / "train"), 24, num_workers=1)
    [(indices, _)] = loader.batches([torch.tensor([0])])
    assert not len(indices) and "floating-point numbers" in loader.failures[0]


def test_whatever_a_decoder_raises_is_the_reason_for_that_file(tmp_path, monkeypatch):
    (tmp_path / "offset.tif").write_bytes(BAD_OFFSET)
    with pytest.raises(OSError, match=r"^TypeError: 'str' object cannot be interpreted"):
        decode_image(tmp_path / "offset.tif")
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "a.png").write_bytes(encode(PHOTO, "PNG"))
    for kind in (KeyError, IndexError, struct.error, MemoryError, RecursionError, AssertionError):

        def fail(*_, kind=kind, **__):
            raise kind("of some kind\nin two lines")

        for module, name in ((Image, "open"), (loader_module, "decode_jpeg")):
            monkeypatch.setattr(module, name, fail)
        for name in ("a.jpg", "a.png"):
            with pytest.raises(OSError) as error:
                decode_image(tmp_path / name)
            assert "of some kind" in str(error.value) and "\n" not in str(error.value)


@needs_posix
def test_an_image_comes_from_a_pipe_as_from_a_file(tmp_path):
    for name, data in (
        ("jpg", JPEG),
        ("png", encode(PHOTO, "PNG")),
        ("tif", encode(PHOTO, "TIFF")),
    ):
        (tmp_path / name).write_bytes(data)
        fifo = tmp_path / f"fifo.{name}"
        os.mkfifo(fifo)
        writer = threading.Thread(target=fifo.write_bytes, args=(data,))
        writer.start()
        image = decode_image(fifo)
        writer.join()
        assert image.equal(decode_image(tmp_path / name))


def with_size(jpeg, width, height):
    """A JPEG file whose header names another size."""
    start = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]


HIDDEN_SIZES = {  # what libjpeg skips, before it finds the size
    "at once": b"",
    "other bytes": b"\xff\xd8\0\0abc",
    "many FF": b"\xff\xd8\xff\xff\xff",
    "FF and 0": b"\xff\xd8\xff\0\xff\0",
    "a marker without a length": b"\xff\xd8\xff\x01\xff\xd0",
    "a comment with a header in it": b"\xff\xd8\xff\xfe\0\x0e\xff\xc0\0\x11\x08\0\x10\0\x10abc",
    "a length of 0": b"\xff\xd8\xff\xfe\0\0",
}


@pytest.mark.parametrize("kind", HIDDEN_SIZES)
def test_a_jpeg_has_a_limit_on_pixels(kind, tmp_path, monkeypatch):
    """65,500 × 65,500 would take 13 GB. The limit is that of Pillow, which a PNG file has."""
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS

    def insert(jpeg):
        return HIDDEN_SIZES[kind] + jpeg[2:] if HIDDEN_SIZES[kind] else jpeg

    path = tmp_path / "large.jpg"
    path.write_bytes(insert(JPEG))
    assert decode_image(path).shape == (3, 30, 48)  # libjpeg does skip it
    path.write_bytes(insert(with_size(JPEG, 65_500, 65_500)))
    with monkeypatch.context() as patched:  # or a mistake here would take 13 GB
        patched.setattr(loader_module, "decode_jpeg", lambda *_: pytest.fail("it was decoded"))
        with pytest.raises(OSError, match=r"^65500×65500 pixels are more than 178,956,970$"):
            decode_image(path)
    path.write_bytes(make_png(65_500, 65_500, 8, 0, b""))
    with pytest.raises(OSError, match=r"exceeds limit of 178956970 pixels"):
        decode_image(path)


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


@needs_posix
def test_a_pipe_among_the_files_is_left_out_and_not_waited_for(tmp_path):
    make_folder(tmp_path / "cat", "a.jpg")
    os.mkfifo(tmp_path / "cat" / "b.jpg")
    loader = CachedImageLoader(scan_image_folder(tmp_path), 24, num_workers=1)
    [(indices, _)] = loader.batches([torch.tensor([0, 1])])
    assert indices.tolist() == [0] and loader.failures == {1: "not a regular file"}


def test_the_cache_counts_with_the_memory_that_the_process_may_use(data_folder, monkeypatch):
    """What a container or a batch system allows, not what the machine has."""
    folder = scan_image_folder(data_folder / "test")
    size = len(folder.paths) * 3 * 32 * 32
    for memory, fits in ((4 * size, True), (4 * size - 1, False)):
        monkeypatch.setattr(loader_module, "usable_memory", lambda memory=memory: memory)
        assert (CachedImageLoader(folder, 32, 1)._cache is not None) == fits


@pytest.mark.slow
@pytest.mark.exhaustive
@needs_posix
def test_where_memory_is_refused_images_are_decoded_again(data_folder):
    """In a process of its own, which may have 2 GB more than it has, and a cache of 8 GB."""
    code = f"""
import resource, torch
from alexnet import loader as module
folder = module.scan_image_folder({str(data_folder / "test")!r})
pages = int(open("/proc/self/statm", encoding="ascii").read().split()[0])
limit = pages * resource.getpagesize() + 2 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
folder = module.ImageFolderIndex(folder.root, folder.classes, folder.paths * 100, folder.labels)
module.usable_memory = lambda: 2**40
loader = module.CachedImageLoader(folder, 900, num_workers=1)
assert loader._cache is None
for _ in range(2):
    [(indices, images)] = loader.batches([torch.arange(8)])
    assert len(images) == 8 and not loader.failures
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
