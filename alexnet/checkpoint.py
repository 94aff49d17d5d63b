"""Files that training leaves: checkpoints to resume from, and weights to share.

Reading them executes no code: checkpoints are loaded with ``weights_only=True``, and weights are
``.safetensors`` files.
"""

import errno
import importlib.metadata
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

CHECKPOINT, PREVIOUS, DAMAGED = "checkpoint.pt", "previous.pt", "damaged.pt"

FORMAT = "alexnet.train, format 2"
FORMAT_1 = "alexnet.train, format 1"  # of version 0.1.0
# Keys of format 1, and what they are called since
RENAMED_KEYS = {
    "options": "config",
    "schedule": "scheduler",
    "pictures": "num_images",
    "names": "files_hash",
    "broken": "failures",
}


def save(folder: Path, state: dict) -> None:
    """Write a state to ``checkpoint.pt``, and keep the one before it as ``previous.pt``.

    At every moment at least one of the two is complete.

    Args:
        folder: of the run.
        state: plain values and tensors by name.

    Raises:
        OSError: if it cannot be written. The files that were there are kept.
    """
    buffer = io.BytesIO()
    torch.save({**state, "format": FORMAT}, buffer)

    def keep_previous() -> None:
        if (folder / CHECKPOINT).exists():
            os.replace(folder / CHECKPOINT, folder / PREVIOUS)

    atomic_write(folder / CHECKPOINT, buffer.getbuffer(), keep_previous)


def atomic_write(
    path: Path, data: bytes | memoryview, before_rename: Callable[[], object] = lambda: None
) -> None:
    """Write a file so that no half of it is ever found under its name.

    The data go to a temporary file, which is renamed once it is complete on the disk.

    Args:
        path: of the file.
        data: all of its content.
        before_rename: called when only the renaming is left to do.

    Raises:
        OSError: if it cannot be written. A file that was there is kept.
    """
    temporary = path.with_suffix(".part")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        before_rename()
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        way_out = "free some space there" if full else "make it writable"
        raise OSError(
            f"{path} of {len(data) / 1e6:,.1f} MB cannot be written ({error.strerror}): "
            f"{way_out}, then --resume"
        ) from error
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Let the new names reach the disk, too, where the system can.

    Windows opens no folder, and shared folders and some network file systems sync none (EINVAL).
    The file itself is on the disk by then, so that no error here is worth ending a run for.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load(path: Path) -> dict:
    """Read the state in a checkpoint, with the keys of this version.

    Args:
        path: of a ``checkpoint.pt`` that this version or 0.1.0 wrote.

    Raises:
        OSError: if there is none, or it cannot be read.
        ValueError: if the file is truncated, of another program, or of a version that this one
            does not know.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    # What the disk raises is raised here. Below, a damaged archive could raise an OSError, too,
    # since it leads to places before the beginning of the file.
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:  # torch.load does not verify the checksums
            damaged = file.testzip()
        if damaged:
            raise zipfile.BadZipFile(damaged)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a dozen types, from EOFError to UnpicklingError
        raise ValueError(
            f"{path} is refused: it is cut off, damaged, or holds more than numbers "
            f"({type(error).__name__})"
        ) from error
    found = str(state.get("format")) if isinstance(state, dict) else ""
    if not found.startswith("alexnet.train, format "):
        raise ValueError(f"{path} is refused: it was not written by alexnet.train")
    if found not in (FORMAT, FORMAT_1):
        raise ValueError(
            f"{path} is refused: it has the format {found!r}, and this is "
            f"alexnet {_package_version()}, which reads formats 1 and 2: "
            "take the version that wrote it"
        )
    return _upgrade(state) if found == FORMAT_1 else state


def _upgrade(state: dict) -> dict:
    """A state of format 1 as one of format 2: the same values under other keys."""
    return {RENAMED_KEYS.get(key, key): value for key, value in state.items()} | {"format": FORMAT}


def _package_version() -> str:
    try:
        return importlib.metadata.version("alexnet")
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout that is not installed"


def load_latest(folder: Path) -> dict | None:
    """Read the last intact checkpoint of a folder.

    If ``checkpoint.pt`` is refused and ``previous.pt`` is not, the former is renamed to
    ``damaged.pt``, and a line on stderr says so.

    Returns:
        The state, or None if the folder has no checkpoint.

    Raises:
        OSError: if one cannot be read.
        ValueError: if there are checkpoints and all are refused.
    """
    refused: list[str] = []
    for path in (folder / CHECKPOINT, folder / PREVIOUS):
        try:
            state = load(path)
        except FileNotFoundError:
            continue
        except ValueError as error:
            refused.append(str(error))
            continue
        if refused:
            # Otherwise the next save would replace the intact one by it
            os.replace(folder / CHECKPOINT, folder / DAMAGED)
            print(
                f"{refused[0]}; {path.name} is used, and the other is {DAMAGED} now",
                file=sys.stderr,
            )
        return state
    if refused:
        raise ValueError("; ".join(refused))
    return None


def save_weights(path: Path, tensors: dict[str, Tensor], metadata: dict) -> None:
    """Write weights to share, as safetensors.

    Args:
        path: of the file.
        tensors: by name.
        metadata: plain values that say what the weights are. They are stored as JSON under the
            key ``card``, as they were in version 0.1.0.

    Raises:
        OSError: if the file cannot be written.
    """
    from safetensors.torch import save  # imported lazily: only needed for export

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    atomic_write(path, save(contiguous, {"card": json.dumps(metadata)}))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Read what :func:`save_weights` wrote.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        ValueError: if it is not a safetensors file, or has no such metadata.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {}
            for name in file.keys():  # noqa: SIM118 (not a dict: it cannot be iterated over)
                tensors[name] = file.get_tensor(name)
            metadata = (file.metadata() or {}).get("card", "")
        return tensors, json.loads(metadata)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is refused: it is not a complete safetensors file ({error})"
        ) from error
    except (json.JSONDecodeError, RecursionError) as error:  # the latter for a deep one
        raise ValueError(
            f"{path} is refused: it has no metadata that names the variant and the classes"
        ) from error
