"""Put the parts that compute in the page into the chapters.

The output of a cell holds a picture for notebooks without a kernel, in a
figure with `data-part="NAME"`. On the page `book/NAME.html` takes its place,
with the style and the scripts that it needs. `python -m alexnet.bookkit.race`
writes the parts; they are in the repository, since the pages are built
without PyTorch.
"""

import re
import shutil
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "alexnet" / "bookkit" / name for name in ("race", "engine")]
MARKED = re.compile(
    r'<figure class="race" data-part="(race_\w+)">.*</figure>', re.S
)


def part_of_page(part, static):
    """The HTML of a part, with its style and its scripts.

    `static` is the address of the folder with these files.
    """
    style = f'<link rel="stylesheet" href="{static}/race.css">'
    engine = f'<script src="{static}/alexnet.js"></script>'
    # Within the figure, by which the script knows what it moves.
    script = f'<script src="{static}/race.js"></script></figure>'
    html = part.read_text(encoding="utf-8").replace("</figure>", script)
    return "\n".join([style, engine, html])


def insert(app, document):
    for node in list(document.findall(nodes.raw)):
        marked = MARKED.search(node.astext())
        part = marked and ROOT / "book" / f"{marked[1]}.html"
        if part and part.exists():
            html = part_of_page(part, "../_static")
            node.replace_self(nodes.raw("", html, format="html"))


def copy_files(app, exception):
    if exception is None and app.builder.format == "html":
        write_files(Path(app.outdir) / "_static")


def write_files(folder):
    """Write the style and the scripts into a folder."""
    for source in FOLDERS:
        for path in [*source.glob("*.js"), *source.glob("*.css")]:
            shutil.copy(path, folder)


def setup(app):
    app.connect("doctree-read", insert)
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
