"""Where the book is: beside the package in a checkout of the repository, and not in a wheel."""

import json
from pathlib import Path

BOOK = Path(__file__).parents[2] / "book"
RECORD = BOOK / "record.json"
LINEAGE = BOOK / "lineage.json"


def missing_from_wheel(path: Path) -> FileNotFoundError:
    """The error to raise if a file or folder of the book is not there."""
    return FileNotFoundError(
        f"{path} must exist, but record.json and the recorded runs are in the book folder of the "
        "repository and not in a wheel: clone the repository and run pip install -e . in it"
    )


def chapter_title(name: str) -> str:
    """The title of a chapter, such as "Two GPUs" of "two_gpus".

    Raises:
        FileNotFoundError: outside a checkout of the repository.
    """
    path = BOOK / f"{name}.ipynb"
    if not path.exists():
        raise missing_from_wheel(path)
    first_cell = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    return first_cell["source"][0].removeprefix("# ").strip()
