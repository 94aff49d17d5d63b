"""Where the book is: beside the package in a checkout of the repository, and not in a wheel."""

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
