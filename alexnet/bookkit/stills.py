"""The first picture of an explorer as an image, for where scripts or SVG do not run.

GitHub, and JupyterLab for a notebook that is not trusted, show HTML without them: see
:func:`still_html`. What nbconvert makes of a notebook for print (PDF, LaTeX, reStructuredText)
shows no HTML at all: see :func:`still_png`.
"""

import re
from base64 import b64decode, b64encode
from html import escape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import matplotlib
from PIL import Image

WIDTH = 480  # of a drawing, in pixels of a page
PIXEL_RATIO = 1.5  # pixels of the PNG image per pixel of a page, for print
SVG_URI = "data:image/svg+xml;base64,"
LINE_HEIGHT = 22  # of a fact below the drawings, in pixels of a page


def still_html(frame: str) -> str:
    """The frame of an explorer with each drawing in SVG turned into an image element."""
    # By hand, since a regular expression does not find the end of a drawing within a drawing.
    still, depth, start, end = "", 0, 0, 0
    for tag in re.finditer(r"<svg\b|</svg>", frame):
        if tag[0] != "</svg>":
            if depth == 0:
                start = tag.start()
            depth += 1
            continue
        depth -= 1
        if depth == 0:
            still += frame[end:start] + _to_image(frame[start : tag.end()])
            end = tag.end()
    return still + frame[end:]


def _to_image(drawing: str) -> str:
    """A drawing in SVG as an image element."""
    label = re.search('aria-label="(.*?)"', drawing)
    alternative = label[1] if label else ""
    kind = "photo" if "<image" in drawing else "chart"
    # White, since an image does not take the colors of a dark page, as in JupyterLab.
    root = '<svg xmlns="http://www.w3.org/2000/svg" style="background:#fff"'
    file = drawing.replace("<svg", root, 1).encode()
    return (
        f'<img class="{kind}" width="{WIDTH}"{_height(drawing)} alt="{alternative}" '
        f'src="{SVG_URI}{b64encode(file).decode()}">'
    )


def _height(drawing: str) -> str:
    """The attribute for the height that goes with ``WIDTH``, if the drawing has a view box."""
    box = re.search(r'^<svg[^>]*?viewBox="\S+ \S+ ([\d.]+) ([\d.]+)"', drawing)
    if not box:
        return ""
    return f' height="{round(WIDTH * float(box[2]) / float(box[1]))}"'


class _StillParser(HTMLParser):
    """Collects the images of a frame, and the rows of its tables."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []  # their attributes
        self.rows: list[list[str]] = []  # texts of their cells
        self._in_cell = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attributes))
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td") and self.rows:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._in_cell = False

    def handle_data(self, text: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += text


def still_png(frame: str) -> bytes | None:
    """Draw the frame of an explorer as one PNG image.

    Its drawings stand one below the other, and below them the facts of its table, a line each.
    The letters are those of matplotlib's own font, so that the image is the same on any machine.

    Returns:
        The file, or None if the frame has no drawing, or if resvg_py is not there to draw it.
    """
    try:
        import resvg_py
    except ImportError:  # needed for print only
        return None
    parser = _StillParser()
    parser.feed(still_html(frame))
    if not parser.images:
        return None
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    file = resvg_py.svg_to_bytes(
        svg_string=_put_together(parser.images, parser.rows),
        background="white",
        zoom=PIXEL_RATIO,
        skip_system_fonts=True,
        font_files=[str(fonts / name) for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")],
        font_family="DejaVu Sans",
        sans_serif_family="DejaVu Sans",
    )
    # 256 colors are enough for print, and half of the bytes.
    image = Image.open(BytesIO(file)).convert("RGB").quantize(256)
    packed = BytesIO()
    image.save(packed, "png", optimize=True)
    return packed.getvalue()


def _put_together(images: list[dict[str, str | None]], rows: list[list[str]]) -> str:
    """Images and lines of text, one below the other, as one drawing in SVG."""
    body, y = "", 0
    for image in images:
        height = WIDTH * int(image.get("height") or WIDTH) // int(image.get("width") or WIDTH)
        place = f'y="{y}" width="{WIDTH}" height="{height}"'
        if image["src"].startswith(SVG_URI):
            # As a drawing within the drawing: resvg writes no letters in images.
            drawing = b64decode(image["src"].removeprefix(SVG_URI)).decode()
            body += drawing.replace("<svg", f"<svg {place}", 1)
        else:
            body += f'<image {place} href="{image["src"]}"/>'
        y += height
    for name, *values in rows:
        y += LINE_HEIGHT
        value = f'<tspan font-weight="bold">{escape(" ".join(values))}</tspan>'
        body += f'<text x="8" y="{y}" font-size="15">{escape(name)} {value}</text>'
    y += LINE_HEIGHT // 2 if rows else 0
    size = f'width="{WIDTH}" height="{y}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="DejaVu Sans">{body}</svg>'
