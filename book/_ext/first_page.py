"""Put the net into the first page, after its first sentence.

`python -m alexnet.bookkit.first_page` computes what is shown at first, and
`python -m alexnet.bookkit.export tiny-imagenet` the weights; both are in the
repository, so that the pages are built without PyTorch. The page loads the
weights only here.
"""

import base64
import json
import shutil
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).parents[2]
PART = ROOT / "book" / "first_page.html"
PHOTOGRAPHS = ROOT / "book" / "photographs"
# The style and the scripts of this part, and those of the engine.
FOLDERS = [ROOT / "alexnet" / "bookkit" / name for name in ("page", "engine")]
# In the order in which they run: page.js before those that attach to it.
SCRIPTS = (FOLDERS[0] / "scripts.txt").read_text(encoding="utf-8").split()
DOCUMENT = "book/intro"


def part_of_page(part, static):
    """The HTML of the net, with its style and its scripts.

    `static` is the address of the folder with these files.
    """
    style = f'<link rel="stylesheet" href="{static}/page.css">'
    scripts = [f'<script src="{static}/{name}"></script>' for name in SCRIPTS]
    return "\n".join([style, part.read_text(encoding="utf-8"), *scripts])


def insert(app, document):
    if app.env.docname != DOCUMENT or not PART.exists():
        return
    html = nodes.raw("", part_of_page(PART, "../_static"), format="html")
    section = next(iter(document.findall(nodes.section)))
    section.insert(2, html)  # after the title and the first paragraph


def copy_files(app, exception):
    if exception is None and app.builder.format == "html" and PART.exists():
        write_files(Path(app.outdir) / "_static")


def write_files(folder):
    """Write the style, the scripts and the photographs into a folder."""
    for source in FOLDERS:
        for path in [*source.glob("*.js"), *source.glob("*.css")]:
            shutil.copy(path, folder)
    addresses = {}
    for path in sorted(PHOTOGRAPHS.glob("*.webp")):
        content = base64.b64encode(path.read_bytes()).decode()
        addresses[path.stem] = f"data:image/webp;base64,{content}"
    script = f"window.alexnetPhotographs = {json.dumps(addresses)};\n"
    (folder / "photographs.js").write_text(
        script, encoding="utf-8", newline="\n"
    )


def setup(app):
    app.connect("doctree-read", insert)
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
