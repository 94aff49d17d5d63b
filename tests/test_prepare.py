"""Small archives in the layout of the published ones, and what may happen to them."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import imagenet
from torchvision.datasets.utils import calculate_md5

from alexnet import evaluate, prepare, train
from alexnet.loader import read_class_words, scan_image_folder, train_val_folders
from helpers import JPEG, ROOT, exit_message

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such thing")

WORDS = {
    "n01443537": "goldfish, Carassius auratus",
    "n01629819": "European fire salamander, Salamandra salamandra",
    "n02509815": "lesser panda, red panda",
}
VAL = {f"val_{i}.JPEG": name for i, name in enumerate([*WORDS, *reversed(WORDS)])}


def tiny_members(num_train=2):
    """Names and contents of a small tiny-imagenet-200.zip. Each image ends in bytes of its own."""
    rows = [*WORDS.items(), ("n00001740", "entity")]  # of all of WordNet
    members = {
        "wnids.txt": "\n".join(reversed(WORDS)),
        "words.txt": "".join(f"{name}\t{words}\n" for name, words in rows),
        "val/val_annotations.txt": "".join(f"{i}\t{name}\t0\t0\t9\t9\n" for i, name in VAL.items()),
    }
    for name in WORDS:
        members[f"train/{name}/{name}_boxes.txt"] = ""
        for i in range(num_train):
            image = f"{name}_{i}.JPEG"
            members[f"train/{name}/images/{image}"] = JPEG + image.encode()
    for folder, images in (("val", VAL), ("test", ["test_0.JPEG", "test_1.JPEG"])):
        members |= {f"{folder}/images/{name}": JPEG + name.encode() for name in images}
    return {f"tiny-imagenet-200/{name}": content for name, content in members.items()}


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for folder in sorted({name.rpartition("/")[0] for name in tiny_members()}):
            file.writestr(f"{folder}/", "")
        for name, content in members.items():
            file.writestr(name, content)


def tar_of(members):
    """A tar archive: names, contents."""
    buffer = io.BytesIO()
    with tarfile.TarFile(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def meta_mat():
    """The classes, numbered from 2, and after them a group of them, as in ImageNet's own file."""
    io_module = pytest.importorskip("scipy.io")
    rows = [(2 + i, name, words, "", 0, [], 0, 2) for i, (name, words) in enumerate(WORDS.items())]
    rows.append((7, "n00001740", "entity", "", 3, [2, 3, 4], 1, 0))
    fields = "ILSVRC2012_ID WNID words gloss num_children children wordnet_height num_train_images"
    synsets = np.empty(len(rows), dtype=[(field, object) for field in fields.split()])
    for i, row in enumerate(rows):
        synsets[i] = row
    buffer = io.BytesIO()
    io_module.savemat(buffer, {"synsets": synsets[:, None]})
    return buffer.getvalue()


IMAGENET_VAL = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": name for i, name in enumerate(VAL.values())}


def write_imagenet(folder, train_members=None, val_members=None, num_train=2):
    """The three archives of ILSVRC-2012, of three classes."""
    folder.mkdir()
    devkit, numbers = "ILSVRC2012_devkit_t12", {name: 2 + i for i, name in enumerate(WORDS)}
    truth = "".join(f"{numbers[name]}\n" for name in IMAGENET_VAL.values())
    files = {
        f"{devkit}/data/meta.mat": meta_mat(),
        f"{devkit}/data/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
        f"{devkit}/readme.txt": b"",
    }
    with tarfile.open(folder / f"{devkit}.tar.gz", "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    if val_members is None:  # not in their order
        val_members = {name: JPEG + name.encode() for name in reversed(IMAGENET_VAL)}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of(val_members))
    if train_members is None:
        train_members = {}
        for name in WORDS:
            images = [f"{name}_{i}.JPEG" for i in range(num_train)]
            train_members[f"{name}.tar"] = tar_of({i: JPEG + i.encode() for i in images})
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(train_members))
    return folder


@pytest.fixture
def tiny_archive(tmp_path):
    path = tmp_path / "tiny-imagenet-200.zip"
    write_zip(path, tiny_members())
    return path


@pytest.fixture
def imagenet_archives(tmp_path):
    return write_imagenet(tmp_path / "archives")


def run_tiny(out, archive, *options):
    arguments = ["tiny-imagenet", "--archive", archive, "--out", out, *options]
    prepare.main([str(argument) for argument in arguments])


def run_imagenet(out, archives, *options):
    arguments = ["imagenet", "--archives", archives, "--out", out, *options]
    prepare.main([str(argument) for argument in arguments])


def refusal(call):
    """The one sentence that the command ends with."""
    sentence, status = exit_message(call)
    assert sentence and "\n" not in sentence and status == 1
    return sentence


def files_in(folder):
    """The content of every file by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def expected_files(train_images, val_images):
    words = "".join(f"{name}\t{WORDS[name]}\n" for name in sorted(WORDS))
    files = {"classes.tsv": words.encode()}
    files |= {f"train/{name[:9]}/{name}": JPEG + name.encode() for name in train_images}
    files |= {f"val/{label}/{name}": JPEG + name.encode() for name, label in val_images.items()}
    return dict(sorted(files.items()))


TRAIN_IMAGES = [f"{name}_{i}.JPEG" for name in WORDS for i in range(2)]
TINY_FILES = expected_files(TRAIN_IMAGES, VAL)
IMAGENET_FILES = expected_files(TRAIN_IMAGES, IMAGENET_VAL)


# What comes out


def test_tiny_imagenet_is_a_data_set(tiny_archive, tmp_path, capsys):
    out = tmp_path / "new" / "data"
    run_tiny(out, tiny_archive, "--no-verify")
    assert files_in(out) == TINY_FILES
    captured = capsys.readouterr()
    assert captured.out == (
        f"{out}: 6 training and 6 validation images of 3 classes; "
        f"train with python -m alexnet.train --data {out}\n"
    )
    assert "left out: 2 test images, since they have no labels\n" in captured.err
    assert os.listdir(out.parent) == ["data"] and tiny_archive.exists()
    train_folder, val_folder = train_val_folders(out)
    assert train_folder.classes == val_folder.classes == tuple(sorted(WORDS))
    assert not train_folder.left_out and not val_folder.left_out
    assert read_class_words(out) == WORDS


def test_held_out_images_take_the_place_of_the_validation_images(tmp_path):
    archive, out = tmp_path / "tiny.zip", tmp_path / "data"
    write_zip(archive, tiny_members(num_train=5))
    run_tiny(out, archive, "--no-verify", "--hold-out", "2")
    train, val = train_val_folders(out)
    assert train.classes == val.classes == tuple(WORDS)
    for name in WORDS:
        assert {path.name for path in (out / "val" / name).iterdir()} == {
            f"{name}_{i}.JPEG" for i in (3, 4)
        }
        assert {path.name for path in (out / "train" / name).iterdir()} == {
            f"{name}_{i}.JPEG" for i in range(3)
        }


@pytest.mark.parametrize("number", ["-1", "2", "3"])
def test_some_images_must_be_left_to_train_on(number, tiny_archive, tmp_path):
    out = tmp_path / "data"
    message = refusal(lambda: run_tiny(out, tiny_archive, "--no-verify", "--hold-out", number))
    assert (
        f"--hold-out must be > 0 and < 2, the training images of a class, got {number}" in message
    )
    assert not out.exists()


def test_imagenet_is_a_data_set(imagenet_archives, tmp_path, capsys):
    out = tmp_path / "data"
    run_imagenet(out, imagenet_archives, "--no-verify")
    assert files_in(out) == IMAGENET_FILES
    assert read_class_words(out) == WORDS
    assert "6 training and 6 validation images of 3 classes" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == ["archives", "data"]


def test_imagenet_is_what_torchvision_makes_of_the_archives(
    imagenet_archives, tmp_path, monkeypatch
):
    out = tmp_path / "data"
    run_imagenet(out, imagenet_archives, "--no-verify")
    monkeypatch.setattr(imagenet, "_verify_archive", lambda *arguments: None)
    for split in ("train", "val"):
        theirs = imagenet.ImageNet(imagenet_archives, split)
        ours = scan_image_folder(out / split)
        names = [Path(path).relative_to(imagenet_archives) for path, _ in theirs.samples]
        assert [Path(path).relative_to(out) for path in ours.paths] == names
        assert ours.labels.tolist() == theirs.targets
        assert [tuple(WORDS[name].split(", ")) for name in ours.classes] == theirs.classes


def test_the_published_checksums_are_torchvisions():
    assert {name: md5 for name, md5 in prepare.ARCHIVE_META.values()} == {
        "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
        "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
        "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
    }
    assert prepare.TINY_IMAGENET_MD5 == "90528d7ca1a48142e341f4ef8d21d0de"


def test_the_folder_as_published_ends_in_a_sentence_that_names_the_command(tiny_archive, tmp_path):
    with zipfile.ZipFile(tiny_archive) as file:
        file.extractall(tmp_path)
    root = tmp_path / "tiny-imagenet-200"
    sentence = r"python -m alexnet.prepare tiny-imagenet makes a data set"
    command = ["--data", str(root), "--out", str(tmp_path / "run"), "--variant", "small"]
    assert sentence in refusal(lambda: train.main(command))
    assert not (tmp_path / "run").exists()
    assert sentence in refusal(lambda: evaluate.main(["--data", str(root / "val")]))


# Checksums


def test_another_checksum_stops_and_both_are_named(tiny_archive, tmp_path, monkeypatch):
    out, found = tmp_path / "data", calculate_md5(tiny_archive)
    assert refusal(lambda: run_tiny(out, tiny_archive)) == (
        f"{tiny_archive} must have the MD5 checksum 90528d7ca1a48142e341f4ef8d21d0de, got {found}: "
        "download it again, or use it nevertheless with --no-verify"
    )
    assert os.listdir(tmp_path) == [tiny_archive.name]
    monkeypatch.setattr(prepare, "TINY_IMAGENET_MD5", found)
    run_tiny(out, tiny_archive)
    assert files_in(out) == TINY_FILES


@pytest.mark.parametrize("part", ["train", "val", "devkit"])
def test_each_of_imagenets_archives_is_verified(part, imagenet_archives, tmp_path, monkeypatch):
    found = {
        name: (file, calculate_md5(imagenet_archives / file))
        for name, (file, _) in imagenet.ARCHIVE_META.items()
    }
    file, md5 = found[part]
    monkeypatch.setattr(prepare, "ARCHIVE_META", found | {part: (file, "0" * 32)})
    out = tmp_path / "data"
    sentence = refusal(lambda: run_imagenet(out, imagenet_archives))
    assert f"{file} must have the MD5 checksum {'0' * 32}, got {md5}: " in sentence
    assert not out.exists()
    monkeypatch.setattr(prepare, "ARCHIVE_META", found)
    run_imagenet(out, imagenet_archives)
    assert files_in(out) == IMAGENET_FILES


# Archives that are missing, cut off, damaged, or dangerous


def test_what_is_missing_is_named(imagenet_archives, tmp_path):
    out, nowhere = tmp_path / "data", tmp_path / "nowhere.zip"
    assert refusal(lambda: run_tiny(out, nowhere)) == (
        f"--archive must be a file, got {nowhere}: name tiny-imagenet-200.zip, or leave it out, "
        "and it is downloaded"
    )
    (imagenet_archives / "ILSVRC2012_img_val.tar").unlink()
    assert refusal(lambda: run_imagenet(out, imagenet_archives)) == (
        f"--archives must be a folder with ImageNet's three archives, got {imagenet_archives} "
        "without ILSVRC2012_img_val.tar: get them from image-net.org, which asks you to register"
    )
    assert "nowhere without ILSVRC2012" in refusal(lambda: run_imagenet(out, tmp_path / "nowhere"))
    assert not out.exists()


def test_without_scipy_imagenet_ends_in_a_sentence(imagenet_archives, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert refusal(lambda: run_imagenet(tmp_path / "data", imagenet_archives, "--no-verify")) == (
        "ImageNet's list of classes is a file of MATLAB, which SciPy reads, and SciPy is not "
        "installed: pip install scipy"
    )


CUTS = [0.0, 0.1, 0.5, 0.9, 0.999]


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_archive_of_tiny_imagenet_ends_in_a_sentence(cut, tiny_archive, tmp_path):
    data = tiny_archive.read_bytes()
    tiny_archive.write_bytes(data[: int(cut * len(data))])
    out = tmp_path / "data"
    sentence = refusal(lambda: run_tiny(out, tiny_archive, "--no-verify"))
    assert sentence.startswith(f"{tiny_archive} is cut off, damaged, or not the published archive")
    assert os.listdir(tmp_path) == [tiny_archive.name]


def cuts_of(data):
    """Places where a tar archive is cut: at every block of its headers, and in between."""
    blocks = len(data.rstrip(b"\0")) // 512 + 1
    return [int(i * 512) for i in range(blocks + 1)] + [700, len(data) // 3, blocks * 512 - 100]


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_cut_archive_of_imagenet_ends_in_a_sentence(part, imagenet_archives, tmp_path):
    """Also where it is cut between two files, which Python's tarfile does not notice."""
    archive = imagenet_archives / f"ILSVRC2012_img_{part}.tar"
    data = archive.read_bytes()
    for i, cut in enumerate(cuts_of(data)):
        archive.write_bytes(data[:cut])
        out = tmp_path / f"data {i}"
        sentence = refusal(lambda out=out: run_imagenet(out, imagenet_archives, "--no-verify"))
        assert sentence.startswith(str(archive)) and "download it again" in sentence
        assert not out.exists()
    archive.write_bytes(data)
    run_imagenet(out, imagenet_archives, "--no-verify")  # goes on
    assert files_in(out) == IMAGENET_FILES


def test_a_class_that_is_cut_inside_the_archive_of_classes(tmp_path):
    inner = tar_of({"n02509815_0.JPEG": JPEG, "n02509815_1.JPEG": JPEG})
    members = {f"{name}.tar": inner for name in WORDS}
    for i, cut in enumerate(cuts_of(inner)):
        members["n02509815.tar"] = inner[:cut]
        archives = write_imagenet(tmp_path / f"archives {i}", train_members=members)
        out = tmp_path / "data"
        run = partial(run_imagenet, out, archives, "--no-verify")
        assert "is cut off" in refusal(run)
        assert not out.exists()


@pytest.mark.parametrize("name", ["devkit_t12.tar.gz", "img_val.tar", "img_train.tar"])
def test_damaged_archives_of_imagenet_end_in_a_sentence(name, imagenet_archives, tmp_path):
    archive = imagenet_archives / f"ILSVRC2012_{name}"
    data = archive.read_bytes()
    for damaged in (b"", b"text", bytes(2000), data[: len(data) // 2], data[:512] + b"x" * 3000):
        archive.write_bytes(damaged)
        out = tmp_path / "data"
        sentence = refusal(lambda out=out: run_imagenet(out, imagenet_archives, "--no-verify"))
        assert sentence.startswith(str(archive)), damaged
        assert not out.exists()


def test_mutated_archives_of_tiny_imagenet_end_in_a_sentence_or_succeed(tmp_path):
    random = np.random.default_rng(0)
    archive, out = tmp_path / "tiny.zip", tmp_path / "data"
    write_zip(archive, tiny_members())
    data = archive.read_bytes()
    for _ in range(60):
        mutated = bytearray(data)
        for position in random.integers(len(data), size=3):
            mutated[position] = random.integers(256)
        archive.write_bytes(mutated)
        try:
            run_tiny(out, archive, "--no-verify")
        except SystemExit as end:
            assert isinstance(end.code, str) and "\n" not in end.code
            assert not out.exists()
        else:
            shutil.rmtree(out)


DANGEROUS = [
    "../outside.JPEG",
    "val/../../outside.JPEG",
    "/outside.JPEG",
    "..\\outside.JPEG",
    "C:\\outside.JPEG",
    "C:outside.JPEG",
    "train/n01443537/images/..\\..\\x.JPEG",
]


@pytest.mark.parametrize("name", DANGEROUS)
def test_a_member_that_leads_outside_of_tiny_imagenet_is_refused(name, tmp_path):
    archive, out = tmp_path / "tiny.zip", tmp_path / "folder" / "data"
    write_zip(archive, tiny_members() | {name: b"outside"})
    assert refusal(lambda: run_tiny(out, archive, "--no-verify")) == (
        f"{archive} is refused, since its member {name!r} leads outside of the folder that it is "
        "extracted to"
    )
    assert files_in(tmp_path) == {"tiny.zip": archive.read_bytes()}


def test_classes_that_are_no_ids_are_refused(tmp_path):
    """They become names of folders."""
    archive, members = tmp_path / "tiny.zip", tiny_members()
    for name in ("tiny-imagenet-200/wnids.txt", "tiny-imagenet-200/words.txt"):
        members[name] = members[name].replace("n02509815", "../n025")
    write_zip(archive, members)
    sentence = refusal(lambda: run_tiny(tmp_path / "data", archive, "--no-verify"))
    assert "(ValueError: '../n025' is no WordNet id)" in sentence
    assert os.listdir(tmp_path) == ["tiny.zip"]


def test_images_without_labels_and_labels_without_images_are_refused(tmp_path):
    archive, out = tmp_path / "tiny.zip", tmp_path / "data"

    def refused(members):
        write_zip(archive, members)
        return refusal(lambda: run_tiny(out, archive, "--no-verify"))

    root = "tiny-imagenet-200"
    members = tiny_members()
    del members[f"{root}/val/images/val_3.JPEG"]
    assert "must have the listed images in val/, but differs in val_3.JPEG: " in (refused(members))
    members = tiny_members() | {f"{root}/val/images/val_9.JPEG": JPEG}
    assert "differs in val_9.JPEG: download" in refused(members)
    members = tiny_members() | {f"{root}/train/n1/images/n1_0.JPEG": JPEG}
    assert "must have the listed classes in train/, but differs in n1: " in (refused(members))
    members = tiny_members()
    annotations = f"{root}/val/val_annotations.txt"
    members[annotations] = members[annotations].replace("n02509815", "n09999999")
    assert "must have the listed classes in val/, but differs in n02509815, n09999999: " in (
        refused(members)
    )
    assert os.listdir(tmp_path) == ["tiny.zip"]


def link_outside():
    buffer = io.BytesIO()
    with tarfile.TarFile(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("link.JPEG")
        member.type, member.linkname = tarfile.SYMTYPE, "../../../outside"
        tar.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize("place", ["train", "class", "val", "link"])
def test_a_member_that_leads_outside_of_imagenet_is_refused(place, tmp_path):
    inner = tar_of({"n02509815_0.JPEG": JPEG})
    train_members, val_members = {f"{name}.tar": inner for name in WORDS}, None
    name = "../outside.JPEG"
    if place == "train":
        train_members[name := "../n02509815.tar"] = inner
    elif place == "class":
        train_members["n02509815.tar"] = tar_of({name: JPEG})
    elif place == "link":
        train_members["n02509815.tar"], name = link_outside(), "link.JPEG"
    else:
        val_members = dict.fromkeys(IMAGENET_VAL, JPEG)
        val_members[name] = val_members.popitem()[1]
    archives = write_imagenet(tmp_path / "archives", train_members, val_members)
    before = files_in(archives)
    out = tmp_path / "a" / "b" / "c" / "data"
    sentence = refusal(lambda: run_imagenet(out, archives, "--no-verify"))
    assert f"is refused, since its member '{name}' leads outside of the folder" in sentence
    assert files_in(archives) == before and not out.exists()
    written = [path for path in files_in(tmp_path) if not path.startswith("archives")]
    assert all(path.startswith("a/b/c/data.imagenet.part/") for path in written)


# Folders


def test_run_twice_there_is_nothing_to_do(tiny_archive, imagenet_archives, tmp_path, capsys):
    out = tmp_path / "data"
    run_tiny(out, tiny_archive, "--no-verify")
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    run_tiny(out, tiny_archive, "--no-verify")
    run_tiny(out, tmp_path / "nowhere")  # and nothing is looked at
    run_imagenet(out, imagenet_archives)
    line = f"{out} is a complete data set already: nothing to do\n"
    assert capsys.readouterr().err == line * 3
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def test_nothing_is_overwritten(tiny_archive, tmp_path):
    out = tmp_path / "data"
    (out / "train").mkdir(parents=True)
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    assert refusal(lambda: run_tiny(out, tiny_archive, "--no-verify")) == (
        f"--out must be a new or an empty folder, got {out} with notes.txt, train: name another one"
    )
    assert files_in(out) == {"notes.txt": b"mine"}
    file = out / "notes.txt"
    assert refusal(lambda: run_tiny(file, tiny_archive, "--no-verify")) == (
        f"--out must be a folder, got the file {file}: name another one"
    )
    sentence = refusal(lambda: run_tiny(file / "data", tiny_archive, "--no-verify"))
    assert "cannot be written (Not a directory)" in sentence
    assert files_in(out) == {"notes.txt": b"mine"}


@posix
def test_an_empty_folder_and_a_link_to_one_are_filled(tiny_archive, tmp_path, monkeypatch):
    for name in ("empty", "disk/empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "empty")
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "link"):
        run_tiny(name, tiny_archive.name, "--no-verify")
        assert files_in(tmp_path / name) == TINY_FILES
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(tmp_path / "disk") == ["empty"]
    shutil.rmtree(tmp_path / "disk")
    assert refusal(lambda: run_tiny("link", tiny_archive.name, "--no-verify")) == (
        "--out must not be a dangling link, got link: remove it or mend it"
    )


def test_a_mount_point_is_refused(tiny_archive, tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    assert refusal(lambda: run_tiny(tmp_path / "disk", tiny_archive, "--no-verify")) == (
        f"--out must not be a mount point, got {tmp_path / 'disk'}: name a folder in it"
    )


def test_two_commands_at_once(tiny_archive, tmp_path):
    staging = tmp_path / "data.tiny-imagenet.part"
    staging.mkdir()
    with prepare.FileLock(staging / prepare.LOCK):
        sentence = refusal(lambda: run_tiny(tmp_path / "data", tiny_archive, "--no-verify"))
        assert sentence == f"another command is writing to {staging}: wait for it"
    run_tiny(tmp_path / "data", tiny_archive, "--no-verify")
    assert sorted(os.listdir(tmp_path)) == ["data", tiny_archive.name]


# A full disk


@posix
@pytest.mark.parametrize("name", ["tiny-imagenet", "imagenet"])
def test_a_full_disk_ends_in_a_sentence_and_the_command_goes_on(name, tmp_path):
    """A limit to the size of a file stands in for it: writing fails in the midst of a file."""
    import resource

    large = os.urandom(3_000_000)  # no image, which nobody looks at here
    image = "n02509815_1.JPEG"
    if name == "imagenet":
        inner = {f"{wnid}.tar": tar_of({f"{wnid}_0.JPEG": JPEG}) for wnid in WORDS}
        inner["n02509815.tar"] = tar_of({"n02509815_0.JPEG": JPEG, image: large})
        source = write_imagenet(tmp_path / "archives", train_members=inner)
        run = run_imagenet
    else:
        source, run = tmp_path / "tiny.zip", run_tiny
        members = tiny_members()
        members[f"tiny-imagenet-200/train/n02509815/images/{image}"] = large
        write_zip(source, members)
    out = tmp_path / "data"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        sentence = refusal(lambda: run(out, source, "--no-verify"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sentence == (
        f"{out}.{name}.part cannot be written (File too large): free space there or make it "
        "writable, and run the same command again, which goes on"
    )
    assert not out.exists()
    run(out, source, "--no-verify")
    assert files_in(out)[f"train/n02509815/{image}"] == large
    assert not list(tmp_path.glob("*.part"))


# SIGKILL

KILL_EVERYWHERE = """
import os, signal, sys
import scipy.io  # once, for all the processes
from alexnet import prepare

def run(out, stop, arguments):
    \"\"\"The command in a process that kills itself at change number `stop`; its exit status.\"\"\"
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def hook(event, values):
        nonlocal count
        if event in ("open", "os.mkdir", "os.rename", "os.rmdir", "os.remove"):
            if str(values[0]).startswith(out):
                count += 1
                if count == stop:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    prepare.main([*arguments, "--out", out, "--no-verify"])
    os._exit(0)

folder, *arguments = sys.argv[1:]
stop = 1
while run(out := f"{folder}/{stop}", stop, arguments) == -signal.SIGKILL:
    assert not os.path.exists(out), "half a data set looks whole"
    if stop % 2:  # killed again, a little later
        assert run(out, 10, arguments) == -signal.SIGKILL
        assert not os.path.exists(out)
    assert run(out, 0, arguments) == 0
    stop += 1
"""


@pytest.mark.exhaustive
@posix
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-imagenet", "imagenet"])
def test_killed_and_started_again(name, tmp_path):
    """SIGKILL at each file or folder that is opened, made, renamed or removed, in turn."""
    if name == "imagenet":
        source, expected = ["--archives", write_imagenet(tmp_path / "archives")], IMAGENET_FILES
    else:
        write_zip(tmp_path / "tiny.zip", tiny_members())
        source, expected = ["--archive", tmp_path / "tiny.zip"], TINY_FILES
    folder = tmp_path / "out"
    command = [sys.executable, "-c", KILL_EVERYWHERE, folder, name, *source]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = sorted(path.name for path in folder.iterdir())
    assert len(found) > len(expected)  # one for each change, and one for the command undisturbed
    assert found == sorted(str(i + 1) for i in range(len(found)))  # and nothing is left beside
    for path in folder.iterdir():
        assert files_in(path) == expected, path


def test_complete_classes_of_imagenet_are_not_extracted_again(imagenet_archives, tmp_path):
    archive, out = imagenet_archives / "ILSVRC2012_img_train.tar", tmp_path / "data"
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    refusal(lambda: run_imagenet(out, imagenet_archives, "--no-verify"))
    [staging] = tmp_path.glob("data.*")
    kept = [path for path in staging.rglob("*.JPEG") if ".part" not in path.parent.name]
    numbers = {path.name: path.stat().st_ino for path in kept}
    assert len(numbers) > len(IMAGENET_VAL)
    archive.write_bytes(data)
    run_imagenet(out, imagenet_archives, "--no-verify")
    found = {path.name: path.stat().st_ino for path in out.rglob("*.JPEG")}
    assert {name: found[name] for name in numbers} == numbers


def test_interrupted(tiny_archive, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    sentence = refusal(lambda: run_tiny(tmp_path / "data", tiny_archive, "--no-verify"))
    assert sentence == "stopped before the end: the same command goes on"
    assert not (tmp_path / "data").exists()


# The download, from a stand-in for the course's site


class Truncated(BaseHTTPRequestHandler):
    """A server whose connection breaks half-way."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(b"PK" + bytes(1000))

    def log_message(self, *arguments):
        pass


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Start a server on this machine, and make it the address of the archive."""
    servers = []

    def start(handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_port}/tiny-imagenet-200.zip"
        monkeypatch.setattr(prepare, "TINY_IMAGENET_URL", url)
        return url

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def download(out, *options):
    prepare.main(["tiny-imagenet", "--out", str(out), *options])


def test_the_archive_is_downloaded_with_a_progress_bar(
    tiny_archive, tmp_path, serve, monkeypatch, capsys
):
    serve(partial(Quiet, directory=tiny_archive.parent))
    out = tmp_path / "new" / "data"
    sentence = refusal(lambda: download(out))  # it is not the published one
    assert "must have the MD5 checksum 90528d7ca1a48142e341f4ef8d21d0de, got " in sentence
    assert "100%" in capsys.readouterr().err and not out.exists()
    monkeypatch.setattr(prepare, "TINY_IMAGENET_MD5", calculate_md5(tiny_archive))
    download(out)
    assert files_in(out) == TINY_FILES
    assert os.listdir(out.parent) == ["data"]  # the download is removed


def test_what_was_downloaded_with_another_checksum_is_used_without_verification(
    tiny_archive, tmp_path, serve
):
    serve(partial(Quiet, directory=tiny_archive.parent))
    out = tmp_path / "new" / "data"
    refusal(lambda: download(out))
    tiny_archive.unlink()  # no second download
    download(out, "--no-verify")
    assert files_in(out) == TINY_FILES


def test_a_download_that_breaks_off_begins_again(tiny_archive, tmp_path, serve, monkeypatch):
    out = tmp_path / "new" / "data"
    monkeypatch.setattr(prepare, "TINY_IMAGENET_MD5", calculate_md5(tiny_archive))
    serve(Truncated)
    assert "must have the MD5 checksum" in refusal(lambda: download(out))
    [staging] = out.parent.iterdir()
    (staging / "tiny-imagenet-200.part").write_bytes(b"PK")  # left by a command that was killed
    serve(partial(Quiet, directory=tiny_archive.parent))
    download(out)
    assert files_in(out) == TINY_FILES


def test_without_a_network_the_download_ends_in_a_sentence(tmp_path, serve):
    url = serve(Quiet)
    unused = url.replace(url.split(":")[2].split("/")[0], "9")
    prepare.TINY_IMAGENET_URL = unused  # restored by the fixture
    sentence = refusal(lambda: download(tmp_path / "data"))
    assert sentence.startswith(f"{unused} cannot be downloaded to ")
    assert sentence.endswith(
        "): connect this machine and free space there, or name a file with --archive"
    )
    assert not list(tmp_path.iterdir())


def test_help_names_the_data_sets(capsys):
    with pytest.raises(SystemExit) as end:
        prepare.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "tiny-imagenet" in text and "ILSVRC-2012" in text
