"""Pack the built book into one zip file.

`make zip` builds the pages and calls this. Whoever unpacks the file opens
`index.html` in the folder that comes out of it: no host and no network.

Usage: ``python book/make_zip.py _build/html running-alexnet.zip``
"""

import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

ROOT = Path(__file__).parents[1]
LICENCES = ("LICENSE", "LICENSE-TEXT", "book/photographs/CREDITS.tsv")


def make_zip(html: Path, output: Path) -> None:
    """All files of the pages, in a folder named as the zip file is."""
    with ZipFile(output, "w", ZIP_DEFLATED) as archive:
        for path in sorted(html.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                name = path.relative_to(html)
                archive.write(path, Path(output.stem) / name)
        for name in LICENCES:
            archive.write(ROOT / name, Path(output.stem) / Path(name).name)


if __name__ == "__main__":
    make_zip(*map(Path, sys.argv[1:]))
