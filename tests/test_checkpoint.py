import errno
import importlib.metadata
import lzma
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

from alexnet import checkpoint
from helpers import BROKEN_CHECKPOINTS, OLD_CHECKPOINT


def state(number):
    return {
        "model": {"w": torch.full((1000,), float(number))},
        "epoch": number,
        "history": [{"loss": 1.5}],
    }


class OpensFile:
    """What a pickle can do when it is loaded: this one makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_what_is_saved_is_what_is_loaded(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None
    for number in (1, 2, 3):
        checkpoint.save(tmp_path, state(number))
        assert checkpoint.load_latest(tmp_path)["epoch"] == number
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "previous.pt"}
    assert checkpoint.load(tmp_path / "previous.pt")["epoch"] == 2
    loaded = checkpoint.load(tmp_path / "checkpoint.pt")
    assert loaded["model"]["w"].equal(state(3)["model"]["w"])
    assert loaded["history"] == [{"loss": 1.5}]
    assert loaded["format"] == "alexnet.train, format 2"


def test_loading_executes_nothing(tmp_path):
    path = tmp_path / "checkpoint.pt"
    content = {"format": checkpoint.FORMAT, "x": OpensFile(tmp_path / "opened")}
    sentence = "checkpoint.pt is refused: it is cut off, damaged, or holds more than numbers"
    torch.save(content, path)
    with pytest.raises(ValueError, match=sentence):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=sentence):
        checkpoint.load(path)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("kind", BROKEN_CHECKPOINTS)
def test_a_broken_one_is_refused_and_the_one_before_it_is_used(kind, tmp_path, capsys):
    for number in (2, 3):
        checkpoint.save(tmp_path, state(number))
    path = tmp_path / "checkpoint.pt"
    before = path.read_bytes()
    BROKEN_CHECKPOINTS[kind](path)
    assert path.read_bytes() != before
    with pytest.raises(ValueError, match=r"checkpoint\.pt is refused: it "):
        checkpoint.load(path)
    assert checkpoint.load_latest(tmp_path)["epoch"] == 2
    message = capsys.readouterr().err
    assert "checkpoint.pt is refused" in message and "previous.pt is used" in message
    assert message.count("\n") == 1


def test_a_cut_at_any_place_is_noticed(tmp_path):
    checkpoint.save(tmp_path, state(1))
    path, generator = tmp_path / "checkpoint.pt", random.Random(0)
    data = path.read_bytes()
    for _ in range(50):
        path.write_bytes(data[: generator.randrange(len(data))])
        with pytest.raises(ValueError, match="is refused"):
            checkpoint.load_latest(tmp_path)


def test_a_kill_while_a_damaged_one_is_replaced_loses_nothing(tmp_path, monkeypatch):
    """The intact one stays, whatever happens until the new one is in its place."""
    for number in (1, 2):
        checkpoint.save(tmp_path, state(number))
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    assert checkpoint.load_latest(tmp_path)["epoch"] == 1
    replace = checkpoint.os.replace

    class Killed(BaseException):
        pass

    def die(source, target):
        if str(source).endswith(".part"):
            raise Killed
        replace(source, target)

    monkeypatch.setattr(checkpoint.os, "replace", die)
    with pytest.raises(Killed):
        checkpoint.save(tmp_path, state(3))
    monkeypatch.undo()
    assert checkpoint.load_latest(tmp_path)["epoch"] == 1
    assert (tmp_path / "damaged.pt").read_bytes() == b"damaged"


def test_a_place_before_the_beginning_of_the_file_is_damage(tmp_path):
    """The directory of the archive may name any place; the system refuses to go to such a one."""
    checkpoint.save(tmp_path, state(1))
    path = tmp_path / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\6\6")  # of an archive that may be large, which those of torch are
    data[end + 48 : end + 52] = b"\xff\xff\xff\x7f"  # where the directory begins
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is refused: it is cut off, damaged"):
        checkpoint.load(path)


def test_one_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(1))

    def fail(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(checkpoint.Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.load_latest(tmp_path)
    assert (tmp_path / "checkpoint.pt").exists()


# Files of other versions


@pytest.fixture
def old_checkpoint(tmp_path):
    """The checkpoint of a run of version 0.1.0, which was stopped in its second epoch."""
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(lzma.decompress(OLD_CHECKPOINT.read_bytes()))
    return path


def test_a_checkpoint_of_0_1_0_is_loaded_with_the_keys_of_this_version(old_checkpoint):
    old = torch.load(old_checkpoint, weights_only=True)
    assert old["format"] == "alexnet.train, format 1"
    loaded = checkpoint.load(old_checkpoint)
    assert loaded["format"] == checkpoint.FORMAT
    renamed = {"config", "scheduler", "num_images", "files_hash", "failures"}
    same = {"classes", "model", "optimizer", "mean", "std", "pca", "epoch", "step", "losses"}
    assert set(loaded) == renamed | same | {"history", "format"}
    assert loaded["config"] == old["options"] and loaded["config"]["batch_size"] == 16
    assert loaded["scheduler"] == old["schedule"] and loaded["num_images"] == 160
    assert loaded["files_hash"] == old["names"] and loaded["failures"] == old["broken"]
    assert (loaded["epoch"], loaded["step"], len(loaded["losses"])) == (1, 4, 4)


def test_a_checkpoint_of_0_1_0_that_is_saved_again_has_the_format_of_this_version(
    old_checkpoint, tmp_path
):
    checkpoint.save(tmp_path, checkpoint.load(old_checkpoint))
    again = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert again["format"] == checkpoint.FORMAT and again["config"]["variant"] == "small"


@pytest.mark.parametrize("number", [0, 3])
def test_another_format_is_refused_in_a_sentence_that_names_it(number, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": f"alexnet.train, format {number}", "epoch": 9}, path)
    for version in ("0.2.0", None):

        def find(name, version=version):
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(importlib.metadata, "version", find)
        with pytest.raises(ValueError) as error:
            checkpoint.load(path)
        assert str(error.value) == (
            f"{path} is refused: it has the format 'alexnet.train, format {number}', and this is "
            f"alexnet {version or 'from a checkout that is not installed'}, "
            "which reads formats 1 and 2: take the version that wrote it"
        )


# Weights


def test_weights_are_loaded_with_their_metadata(tmp_path):
    path = tmp_path / "model.safetensors"
    metadata = {"variant": "small", "classes": ["a", "b"]}
    w = torch.arange(6.0).view(2, 3).T  # not contiguous
    checkpoint.save_weights(path, {"w": w}, metadata)
    tensors, loaded = checkpoint.load_weights(path)
    assert tensors["w"].equal(w) and loaded == metadata


def test_a_safetensors_file_that_is_cut_off_or_of_another_program_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save_weights(path, {"w": torch.zeros(6)}, {"variant": "small"})
    path.write_bytes(path.read_bytes()[:-4])
    sentence = "model.safetensors is refused: it is not a complete safetensors file"
    with pytest.raises(ValueError, match=sentence):
        checkpoint.load_weights(path)
    save_file({"w": torch.zeros(2)}, path)
    sentence = "is refused: it has no metadata that names the variant and the classes"
    with pytest.raises(ValueError, match=sentence):
        checkpoint.load_weights(path)
