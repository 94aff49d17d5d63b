"""What training leaves on the disk: checkpoints to go on from, and weights to share.

Neither is ever executed: checkpoints are read with ``weights_only=True``, weights are ``.safetensors``.
"""

import errno
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

FORMAT = "alexnet.train, format 1"
CHECKPOINT, PREVIOUS, DAMAGED = "checkpoint.pt", "previous.pt", "damaged.pt"


def save(folder: Path, state: dict) -> None:
    """Make ``checkpoint.pt`` of a state; the one before it becomes ``previous.pt``.

    At every moment one of the two is whole: the new one is complete on the disk before it gets its name.

    Raises:
        OSError: if it cannot be written. What was there stays.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT} | state, buffer)

    def rotate() -> None:
        if (folder / CHECKPOINT).exists():
            os.replace(folder / CHECKPOINT, folder / PREVIOUS)

    atomic_write(folder / CHECKPOINT, buffer.getbuffer(), rotate)


def atomic_write(path: Path, data: bytes | memoryview, before: Callable[[], object] = lambda: None) -> None:
    """Make a file of the data, or leave what was there: it is complete on the disk before it gets its name.

    Args:
        before: done in the last moment.

    Raises:
        OSError: if it cannot be written.
    """
    part = path.with_suffix(".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        before()
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # the names, too
        os.close(folder)
    except OSError as problem:
        with suppress(OSError):
            part.unlink()
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        way_out = "free some space there" if full else "let it be writable"
        raise OSError(f"{path} of {len(data) / 1e6:,.1f} MB cannot be written ({problem.strerror}): {way_out}, then --resume") from problem


def load(path: Path) -> dict:
    """The state in a checkpoint.

    Raises:
        OSError: if there is none, or it cannot be read.
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
    except OSError:
        raise
    except Exception as problem:  # a dozen kinds, from EOFError to UnpicklingError, and each is a broken or foreign file
        raise ValueError(f"{path} is refused: it is cut off, damaged, or holds more than numbers ({type(problem).__name__})") from problem
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is refused: it was not written by alexnet.train, or by another version of it")
    return state


def load_latest(folder: Path) -> dict | None:
    """The last good state in a folder, or None where there never was one.

    Raises:
        ValueError: if there are checkpoints and none is good.
    """
    refused = []
    for path in (folder / CHECKPOINT, folder / PREVIOUS):
        try:
            state = load(path)
        except FileNotFoundError:
            continue
        except ValueError as problem:
            refused.append(str(problem))
            continue
        for line in refused:
            os.replace(folder / CHECKPOINT, folder / DAMAGED)  # or the next one would push the good one out
            print(f"{line}; {path.name} is used, and the other is {DAMAGED} now", file=sys.stderr)
        return state
    if refused:
        raise ValueError("; ".join(refused))
    return None


def save_weights(path: Path, tensors: dict[str, Tensor], card: dict) -> None:
    """Weights to share, as safetensors, with a card of plain values that says what they are."""
    from safetensors.torch import save  # here, since whoever does not share weights needs it not

    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"card": json.dumps(card)})
    atomic_write(path, data)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a safetensors file, and its card.

    Raises:
        ValueError: if it is not such a file, or has no card.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors, card = {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get("card")
        return tensors, json.loads(card or "")
    except SafetensorError as problem:
        raise ValueError(f"{path} is refused: it is no whole safetensors file ({problem})") from problem
    except json.JSONDecodeError as problem:
        raise ValueError(f"{path} is refused: it has no card that names the variant and the classes") from problem
