"""Make a data set for :mod:`alexnet.train` from the archives in which ImageNet is published.

``python -m alexnet.prepare tiny-imagenet --out DATA`` downloads Tiny ImageNet (248 MB), or takes
``--archive FILE``. ``python -m alexnet.prepare imagenet --archives DIR --out DATA`` takes the three
archives of ILSVRC-2012 that image-net.org gives to registered users. DATA gets ``train/CLASS/`` and
``val/CLASS/``, whose classes are WordNet ids, and ``classes.tsv`` with the words for each id.

All is written to a folder beside DATA, which is renamed at the end, so that an incomplete data set
never looks complete. The same command goes on after it was interrupted.
"""

import argparse
import io
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path, PureWindowsPath
from typing import IO

from filelock import FileLock, Timeout
from torchvision.datasets.imagenet import ARCHIVE_META
from torchvision.datasets.utils import calculate_md5, check_integrity, download_url
from tqdm import tqdm

from alexnet.console import printable
from alexnet.loader import join_names

TINY_IMAGENET_URL = "https://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"

LOCK = ".lock"  # in the folder that is being filled


def prepare_tiny_imagenet(
    out: Path, archive: Path | None = None, verify: bool = True, hold_out: int = 0
) -> None:
    """Make a data set of Tiny ImageNet: 200 classes of ImageNet in 64×64 pixels.

    Its test images have no labels. They are ignored, and a line on stderr says so.

    Args:
        out: folder to make; nothing happens if it is a complete data set.
        archive: ``tiny-imagenet-200.zip``; without it, it is downloaded.
        verify: whether its MD5 checksum must be that of the published archive.
        hold_out: if not 0, ``val/`` gets so many training images of each class, the last by name,
            in the place of the validation images. Hyperparameters are to be chosen by them, so that
            the validation images judge what has not seen them.

    Raises:
        OSError: if the archive cannot be downloaded or read, or the folder cannot be written.
        ValueError: if the archive is damaged, has another checksum or other content, or ``out``
            holds something else.
    """
    if _is_complete(out):
        return
    if archive is not None:  # before anything is written
        if not archive.is_file():
            raise FileNotFoundError(
                f"--archive must be a file, got {archive}: name tiny-imagenet-200.zip, or leave "
                "it out, and it is downloaded"
            )
        _verify(archive, TINY_IMAGENET_MD5, verify)
    with _staging_folder(out, "tiny-imagenet") as staging:
        downloaded = staging / TINY_IMAGENET_URL.rsplit("/", 1)[1]
        if archive is None:
            _download(downloaded, verify)
        _extract_tiny_imagenet(archive or downloaded, staging, hold_out)
        downloaded.unlink(missing_ok=True)
    _print_summary(out)


def prepare_imagenet(out: Path, archives: Path, verify: bool = True) -> None:
    """Make a data set of ILSVRC-2012: 1000 classes, 1.3 million images, 150 GB.

    Args:
        out: folder to make; nothing happens if it is a complete data set.
        archives: folder with the three archives, under the names that
            :class:`torchvision.datasets.ImageNet` has for them.
        verify: whether their MD5 checksums must be those of the published archives.

    Raises:
        ModuleNotFoundError: without SciPy, which reads the list of classes.
        OSError: if an archive cannot be read, or the folder cannot be written.
        ValueError: if an archive is damaged, has another checksum or other content, or ``out``
            holds something else.
    """
    if _is_complete(out):
        return
    paths = {part: archives / name for part, (name, _) in ARCHIVE_META.items()}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"--archives must be a folder with ImageNet's three archives, got {archives} without "
            f"{join_names(missing)}: get them from image-net.org, which asks you to register"
        )
    if not hasattr(tarfile, "data_filter"):
        raise ValueError("ImageNet's archives are read by Python 3.11.4 or newer: update Python")
    words, val_ids = _read_devkit(paths["devkit"], verify)
    with _staging_folder(out, "imagenet") as staging:
        _write_words(staging, words)
        if not (staging / "val").exists():
            _verify(paths["val"], ARCHIVE_META["val"][1], verify)
            _extract_imagenet_val(paths["val"], staging / "val", val_ids)
        _verify(paths["train"], ARCHIVE_META["train"][1], verify)
        _extract_imagenet_train(paths["train"], staging / "train", set(words))
    _print_summary(out)


# Folders


def _is_complete(out: Path) -> bool:
    """Whether there is nothing to do, which is printed.

    Raises:
        ValueError: if ``out`` is not to be made: a file, a mount point, or a folder of other files.
    """
    if out.is_symlink() and not out.exists():  # to a disk that is not mounted, for example
        raise ValueError(f"--out must not be a dangling link, got {out}: remove it or mend it")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, got the file {out}: name another one")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if {"train", "val", "classes.tsv"} <= found:
        print(f"{out} is a complete data set already: nothing to do", file=sys.stderr)
        return True
    if found:
        raise ValueError(
            f"--out must be a new or an empty folder, got {out} with {join_names(sorted(found))}: "
            "name another one"
        )
    if out.is_mount():  # it cannot be replaced by another folder
        raise ValueError(f"--out must not be a mount point, got {out}: name a folder in it")
    return False


@contextmanager
def _staging_folder(out: Path, name: str) -> Iterator[Path]:
    """A folder beside ``out``, to be filled, which is renamed to ``out`` at the end.

    If it does not come to that, the folder is kept for the next command, unless it is empty.

    Args:
        out: the final folder.
        name: of the data set; a folder that was begun with another one is not used.

    Raises:
        OSError: if the folder cannot be written, or another process writes to it.
    """
    out = out.resolve()  # of a link, the folder that it leads to
    staging = out.with_name(f"{out.name}.{name}.part")
    lock = FileLock(staging / LOCK)
    try:
        staging.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        try:
            yield staging
        finally:
            lock.release()
            (staging / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                staging.rmdir()
        with suppress(FileNotFoundError):
            out.rmdir()
        staging.rename(out)
    except Timeout as error:
        raise OSError(f"another command is writing to {staging}: wait for it") from error
    except OSError as error:
        if error.errno is None:  # it has a sentence of its own
            raise
        raise OSError(
            f"{staging} cannot be written ({error.strerror}): free space there or make it "
            "writable, and run the same command again, which goes on"
        ) from error


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder to be filled, which is renamed to ``path`` at the end. It is empty at first."""
    part = path.with_name(f"{path.name}.part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    yield part
    part.rename(path)


def _write_words(folder: Path, words: dict[str, str]) -> None:
    lines = [f"{name}\t{words[name]}\n" for name in sorted(words)]
    (folder / "classes.tsv").write_text("".join(lines), encoding="utf-8")


def _print_summary(out: Path) -> None:
    num_classes = len(list((out / "train").iterdir()))
    train, val = (sum(1 for _ in (out / part).glob("*/*")) for part in ("train", "val"))
    text = f"{train:,} training and {val:,} validation images of {num_classes} classes"
    print(printable(f"{out}: {text}; train with python -m alexnet.train --data {out}"))


# Archives


def _download(archive: Path, verify: bool) -> None:
    """Download Tiny ImageNet, unless an earlier command has."""
    if verify and not check_integrity(archive, TINY_IMAGENET_MD5):
        archive.unlink(missing_ok=True)
    if not archive.exists():
        part = archive.with_suffix(".part")
        part.unlink(missing_ok=True)  # torchvision would take what is there for complete
        try:
            download_url(TINY_IMAGENET_URL, part.parent, part.name)
        except (OSError, HTTPException, RuntimeError) as error:
            raise OSError(
                f"{TINY_IMAGENET_URL} cannot be downloaded to {part} ({error}): connect this "
                "machine and free space there, or name a file with --archive"
            ) from error
        part.rename(archive)
    _verify(archive, TINY_IMAGENET_MD5, verify)


def _verify(archive: Path, md5: str, verify: bool) -> None:
    """Check that an archive is the published one.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it has another checksum.
    """
    if not verify:
        return
    size = archive.stat().st_size
    if size > 1e9:
        print(f"checking {archive}, {size / 1e9:.0f} GB, which takes minutes", file=sys.stderr)
    with _reading(archive):
        found = calculate_md5(archive)
    if found != md5:
        raise ValueError(
            f"{archive} must have the MD5 checksum {md5}, got {found}: "
            "download it again, or use it nevertheless with --no-verify"
        )


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Say in a sentence what is wrong with an archive. No file is written in this context."""
    try:
        yield
    except tarfile.FilterError as error:
        raise _outside(archive, error.tarinfo.name) from error
    except PermissionError as error:
        raise OSError(f"{archive} cannot be read ({error.strerror})") from error
    except Exception as error:  # a dozen types, from EOFError to zlib.error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{archive} is cut off, damaged, or not the published archive ({reason}): "
            "download it again"
        ) from error


def _outside(archive: Path, name: str) -> ValueError:
    return ValueError(
        f"{archive} is refused, since its member {name!a} leads outside of the folder that it is "
        "extracted to"
    )


def _check_equal(archive: Path, what: str, found: set[str], expected: set[str]) -> None:
    different = sorted(found ^ expected)
    if different:
        raise ValueError(
            f"{archive} must have the listed {what}, but differs in "
            f"{join_names(different)}: download it again"
        )


# Tiny ImageNet


def _extract_tiny_imagenet(archive: Path, folder: Path, hold_out: int) -> None:
    """Fill ``train/`` and ``val/``, and write ``classes.tsv``. Earlier ones are replaced."""
    with _reading(archive), zipfile.ZipFile(archive) as file:
        names = file.namelist()
    for name in names:
        path = PureWindowsPath(name)  # it knows the separators of POSIX, too
        if path.anchor or ".." in path.parts:
            raise _outside(archive, name)
    with _reading(archive), zipfile.ZipFile(archive) as file:
        words, val_labels = _read_tiny_imagenet_labels(file)
    targets = _tiny_imagenet_targets(archive, names, set(words), val_labels)
    if hold_out:
        targets = _hold_out(targets, hold_out)
    for part in ("train", "val"):
        shutil.rmtree(folder / part, ignore_errors=True)
        for wordnet_id in words:
            (folder / part / wordnet_id).mkdir(parents=True)
    _write_words(folder, words)
    with zipfile.ZipFile(archive) as file:
        for name, target in tqdm(targets.items(), "extracting", unit=" images", disable=None):
            with _reading(archive):
                data = file.read(name)
            (folder / target).write_bytes(data)
    num_test = sum("/test/images/" in name and not name.endswith("/") for name in names)
    print(f"left out: {num_test:,} test images, since they have no labels", file=sys.stderr)


def _read_tiny_imagenet_labels(file: zipfile.ZipFile) -> tuple[dict[str, str], dict[str, str]]:
    """The words by WordNet id, and the WordNet id of each validation image by its name."""

    def rows(name: str) -> list[list[str]]:
        text = file.read(f"tiny-imagenet-200/{name}").decode()
        return [line.split("\t") for line in text.splitlines()]

    words = {wordnet_id: text for wordnet_id, text in rows("words.txt")}  # of all of WordNet
    classes = [wordnet_id for [wordnet_id] in rows("wnids.txt")]
    labels = {image: wordnet_id for image, wordnet_id, *_ in rows("val/val_annotations.txt")}
    return {_check_id(wordnet_id): words[wordnet_id] for wordnet_id in classes}, labels


def _check_id(wordnet_id: str) -> str:
    """Make sure that a class can be the name of a folder."""
    if not re.fullmatch(r"n\d{8}", wordnet_id):
        raise ValueError(f"{wordnet_id!a} is no WordNet id")
    return wordnet_id


def _tiny_imagenet_targets(
    archive: Path, names: list[str], classes: set[str], val_labels: dict[str, str]
) -> dict[str, str]:
    """Where each image of the archive goes, such as ``val/n01443537/val_1230.JPEG``.

    Raises:
        ValueError: if there are not all images that the labels name, or others.
    """
    targets, train_classes, val_images = {}, set(), set()
    for name in names:
        match name.split("/")[1:]:
            case ["train", wordnet_id, "images", image] if image:
                targets[name] = f"train/{wordnet_id}/{image}"
                train_classes.add(wordnet_id)
            case ["val", "images", image] if image:
                targets[name] = f"val/{val_labels.get(image)}/{image}"
                val_images.add(image)
    _check_equal(archive, "classes in train/", train_classes, classes)
    _check_equal(archive, "images in val/", val_images, set(val_labels))
    _check_equal(archive, "classes in val/", set(val_labels.values()), classes)
    return targets


def _hold_out(targets: dict[str, str], num_images: int) -> dict[str, str]:
    """The training images alone, of which the last of each class go to ``val/``.

    Raises:
        ValueError: if a class has no more of them.
    """
    by_class: dict[str, list[str]] = {}
    for name in sorted(targets):
        part, wordnet_id, _ = targets[name].split("/")
        if part == "train":
            by_class.setdefault(wordnet_id, []).append(name)
    fewest = min(len(names) for names in by_class.values())
    if not 0 < num_images < fewest:
        raise ValueError(
            f"--hold-out must be > 0 and < {fewest}, the training images of a class, "
            f"got {num_images}"
        )
    kept = {}
    for names in by_class.values():
        kept |= {name: targets[name] for name in names[:-num_images]}
        for name in names[-num_images:]:
            kept[name] = targets[name].replace("train/", "val/", 1)
    return kept


# ILSVRC-2012


def _read_devkit(archive: Path, verify: bool) -> tuple[dict[str, str], list[str]]:
    """The words by WordNet id, and the WordNet ids of the validation images in order."""
    try:
        from scipy.io import loadmat  # imported lazily: nothing else in this module needs it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "ImageNet's list of classes is a file of MATLAB, which SciPy reads, and SciPy is not "
            "installed: pip install scipy",
            name=error.name,
        ) from error
    _verify(archive, ARCHIVE_META["devkit"][1], verify)
    files = {Path(name).name: data for name, data in _tar_files(archive, archive.parent)}
    with _reading(archive):
        synsets = loadmat(io.BytesIO(files["meta.mat"]), squeeze_me=True)["synsets"]
        ids, words = {}, {}
        for number, wordnet_id, text, _, num_children, *_ in synsets:
            if num_children == 0:  # the others are groups of classes, such as dog
                ids[int(number)] = _check_id(wordnet_id)
                words[wordnet_id] = text
        truth = files["ILSVRC2012_validation_ground_truth.txt"].split()
        return words, [ids[int(number)] for number in truth]


def _extract_imagenet_val(archive: Path, folder: Path, val_ids: list[str]) -> None:
    """Make ``val/``. The order of the names of the images is that of their labels."""
    with _reading(archive), tarfile.open(archive) as tar:
        names = sorted(Path(member.name).name for member in tar if member.isfile())
    if len(names) != len(val_ids):
        raise ValueError(
            f"{archive} must hold {len(val_ids):,} images, got {len(names):,}: download it again"
        )
    classes = dict(zip(names, val_ids))
    with _new_folder(folder) as new:
        for wordnet_id in set(val_ids):
            (new / wordnet_id).mkdir()
        bar = tqdm(desc="val", total=len(names), unit=" images", disable=None)
        for name, data in _tar_files(archive, new):
            image = Path(name).name
            (new / classes[image] / image).write_bytes(data)
            bar.update()
        bar.close()


def _extract_imagenet_train(archive: Path, folder: Path, classes: set[str]) -> None:
    """Make ``train/`` from an archive of archives, one per class. Complete classes are kept."""
    folder.mkdir(exist_ok=True)
    with tqdm(desc="train", total=len(classes), unit=" classes", disable=None) as bar:
        for wordnet_id, file in _class_archives(archive, folder):
            if not (folder / wordnet_id).exists():
                with _new_folder(folder / wordnet_id) as new:
                    for name, data in _tar_files(archive, new, file):
                        (new / Path(name).name).write_bytes(data)
            bar.update()
    _check_equal(archive, "classes", {path.name for path in folder.iterdir()}, classes)


def _class_archives(archive: Path, folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The WordNet id and the archive of each class in the archive of the training images."""
    with _reading(archive), tarfile.open(archive) as tar:
        for member in tar:
            path = Path(tarfile.data_filter(member, folder).name)
            yield _check_id(path.stem), tar.extractfile(member)


def _tar_files(
    archive: Path, folder: Path, file: IO[bytes] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in a tar archive.

    Args:
        archive: the file on the disk, for messages.
        folder: which nothing may lead out of, by tarfile's data filter.
        file: an archive in the archive.

    Raises:
        ValueError: if it is cut off, damaged, or has a member that leads outside of the folder.
    """
    with _reading(archive), tarfile.open(archive, fileobj=file) as tar:
        for member in tar:
            checked = tarfile.data_filter(member, folder)
            if checked.isfile():
                yield checked.name, tar.extractfile(member).read()
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            # tarfile takes an archive that is cut off between two files for a complete one
            raise tarfile.ReadError("unexpected end of archive")


# The command


def main(arguments: list[str] | None = None) -> None:
    """The command.

    Args:
        arguments: those of the command line, if None.

    Raises:
        SystemExit: with a sentence and a status that is not 0, unless the data set is complete.
    """
    args = _make_parser().parse_args(arguments)
    try:
        if args.name == "imagenet":
            prepare_imagenet(args.out, args.archives, args.verify)
        else:
            prepare_tiny_imagenet(args.out, args.archive, args.verify, args.hold_out)
    except (ModuleNotFoundError, OSError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped before the end: the same command goes on")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m alexnet.prepare", description=__doc__.split("\n\n")[0]
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    tiny = commands.add_parser("tiny-imagenet", help="200 classes in 64×64 pixels, 0.5 GB")
    tiny.add_argument(
        "--archive", type=Path, help="tiny-imagenet-200.zip (without it, it is downloaded)"
    )
    tiny.add_argument(
        "--hold-out",
        type=int,
        default=0,
        metavar="N",
        help="N training images of each class in the place of the validation images",
    )
    imagenet = commands.add_parser("imagenet", help="ILSVRC-2012, 1000 classes, 150 GB")
    imagenet.add_argument(
        "--archives",
        type=Path,
        required=True,
        help=f"folder with {', '.join(name for name, _ in ARCHIVE_META.values())}",
    )
    for command in (tiny, imagenet):
        command.add_argument("--out", type=Path, required=True, help="folder to make")
        command.add_argument(
            "--no-verify",
            dest="verify",
            action="store_false",
            help="take archives whose MD5 checksums are not those of the published ones",
        )
    return parser


if __name__ == "__main__":
    main()
