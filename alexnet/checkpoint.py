"""What training leaves on the disk: checkpoints to go on from, and weights to share.

Neither is ever executed: checkpoints are read with ``weights_only=True``, weights are ``.safetensors``.
"""

import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

FORMAT = "alexnet.train, format 1"
LAST, PREVIOUS = "checkpoint.pt", "previous.pt"


def write(folder: Path, state: dict) -> None:
    """Make ``checkpoint.pt`` of a state; the one before it becomes ``previous.pt``.

    At every moment one of the two is whole: the new one is complete on the disk before it gets its name.

    Raises:
        OSError: if it cannot be written. What was there stays.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT} | state, buffer)
    with _complete(folder / LAST, buffer.getbuffer()) as part:
        if (folder / LAST).exists():
            os.replace(folder / LAST, folder / PREVIOUS)
        os.replace(part, folder / LAST)


@contextmanager
def _complete(path: Path, data: bytes | memoryview) -> Iterator[Path]:
    """A file with the data beside ``path``, complete on the disk, for the block to rename."""
    part = path.with_suffix(".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield part
    except OSError as problem:
        part.unlink(missing_ok=True)
        size = f"{len(data) / 1e6:,.1f} MB"
        raise OSError(f"{path} of {size} cannot be written ({problem.strerror}): free some space there, then --resume") from problem


def read(path: Path) -> dict:
    """The state in a checkpoint.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is truncated, or not a checkpoint of this program.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        with zipfile.ZipFile(path) as file:  # torch.load does not look at the checksums
            damaged = file.testzip()
        if damaged:
            raise zipfile.BadZipFile(damaged)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # a dozen kinds, from EOFError to UnpicklingError, and each is a broken or foreign file
        raise ValueError(f"{path} is refused: it is cut off, damaged, or holds more than numbers ({type(problem).__name__})") from problem
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is refused: it was not written by alexnet.train, or by another version of it")
    return state


def latest(folder: Path) -> dict | None:
    """The last good state in a folder, or None where there never was one.

    Raises:
        ValueError: if there are checkpoints and none is good.
    """
    refused = []
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            state = read(path)
        except FileNotFoundError:
            continue
        except ValueError as problem:
            refused.append(str(problem))
            continue
        for line in refused:
            print(f"{line}; {path.name} is used", file=sys.stderr)
        return state
    if refused:
        raise ValueError("; ".join(refused))
    return None


def write_weights(path: Path, tensors: dict[str, Tensor], card: dict) -> None:
    """Weights to share, as safetensors, with a card of plain values that says what they are."""
    from safetensors.torch import save  # here, since whoever does not share weights needs it not

    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"card": json.dumps(card)})
    with _complete(path, data) as part:
        os.replace(part, path)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a safetensors file, and its card.

    Raises:
        ValueError: if it is not such a file, or has no card.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors, card = {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get("card")
    except SafetensorError as problem:
        raise ValueError(f"{path} is refused: it is no whole safetensors file ({problem})") from problem
    if card is None:
        raise ValueError(f"{path} is refused: it has no card that names the variant and the classes")
    return tensors, json.loads(card)
