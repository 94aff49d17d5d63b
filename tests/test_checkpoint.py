import pickle
import random

import pytest
import torch
from helpers import BROKEN_CHECKPOINTS

from alexnet import checkpoint


def state(number):
    return {"model": {"w": torch.full((1000,), float(number))}, "epoch": number, "history": [{"loss": 1.5}]}


class Opens:
    """What a pickle can do when it is read: this one makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_written_and_read(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None
    for number in (1, 2, 3):
        checkpoint.save(tmp_path, state(number))
        assert checkpoint.load_latest(tmp_path)["epoch"] == number
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "previous.pt"}
    assert checkpoint.load(tmp_path / "previous.pt")["epoch"] == 2
    found = checkpoint.load(tmp_path / "checkpoint.pt")
    assert found["model"]["w"].equal(state(3)["model"]["w"]) and found["history"] == [{"loss": 1.5}]


def test_nothing_is_executed(tmp_path):
    for save in (torch.save, lambda what, path: path.write_bytes(pickle.dumps(what, protocol=2))):
        save({"format": checkpoint.FORMAT, "x": Opens(tmp_path / "opened")}, tmp_path / "checkpoint.pt")
        with pytest.raises(ValueError, match="checkpoint.pt is refused: it is cut off, damaged, or holds more than numbers"):
            checkpoint.load(tmp_path / "checkpoint.pt")
        assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("kind", BROKEN_CHECKPOINTS)
def test_a_broken_one_is_refused_and_the_one_before_it_is_used(kind, tmp_path, capsys):
    for number in (2, 3):
        checkpoint.save(tmp_path, state(number))
    path = tmp_path / "checkpoint.pt"
    before = path.read_bytes()
    BROKEN_CHECKPOINTS[kind](path)
    assert path.read_bytes() != before
    with pytest.raises(ValueError, match="checkpoint.pt is refused: it "):
        checkpoint.load(path)
    assert checkpoint.load_latest(tmp_path)["epoch"] == 2
    told = capsys.readouterr().err
    assert "checkpoint.pt is refused" in told and "previous.pt is used" in told and told.count("\n") == 1


def test_any_cut_is_seen(tmp_path):
    checkpoint.save(tmp_path, state(1))
    data, places = (tmp_path / "checkpoint.pt").read_bytes(), random.Random(0)
    for _ in range(50):
        (tmp_path / "checkpoint.pt").write_bytes(data[: places.randrange(len(data))])
        with pytest.raises(ValueError, match="is refused"):
            checkpoint.load_latest(tmp_path)


def test_weights_to_share(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save_weights(path, {"w": torch.arange(6.0).view(2, 3).T}, {"variant": "small", "classes": ["a", "b"]})
    tensors, card = checkpoint.load_weights(path)
    assert tensors["w"].equal(torch.arange(6.0).view(2, 3).T) and card == {"variant": "small", "classes": ["a", "b"]}
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="model.safetensors is refused: it is no whole safetensors file"):
        checkpoint.load_weights(path)
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="is refused: it has no card"):
        checkpoint.load_weights(path)


def test_killed_while_a_damaged_one_is_replaced(tmp_path, monkeypatch, capsys):
    """The good one stays, whatever happens until the new one is in its place."""
    for number in (1, 2):
        checkpoint.save(tmp_path, state(number))
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    assert checkpoint.load_latest(tmp_path)["epoch"] == 1
    replace, killed = checkpoint.os.replace, type("Killed", (BaseException,), {})

    def die(source, target):
        if str(source).endswith(".part"):
            raise killed
        replace(source, target)

    monkeypatch.setattr(checkpoint.os, "replace", die)
    with pytest.raises(killed):
        checkpoint.save(tmp_path, state(3))
    monkeypatch.undo()
    assert checkpoint.load_latest(tmp_path)["epoch"] == 1 and (tmp_path / "damaged.pt").read_bytes() == b"damaged"


def test_one_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(1))
    monkeypatch.setattr(checkpoint.zipfile, "ZipFile", lambda path: open("/proc/self/mem/no"))  # an OSError, as of a disk that fails
    with pytest.raises(OSError, match="Not a directory"):
        checkpoint.load_latest(tmp_path)
    assert (tmp_path / "checkpoint.pt").exists()
