"""Primitives of the drawings: elements, images and tables as SVG and HTML text."""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape

import numpy as np
from PIL import Image

# Blue, orange and gray: the first column, the second, and what belongs to both.
FIRST, SECOND, BOTH = "#2673b3", "#e08a00", "#7d828b"

STACKED_COLUMNS = 5  # a table with more columns than this is stacked on a phone


def element(name: str, content: str | None = None, **attributes: object) -> str:
    """Write one SVG or HTML element.

    Args:
        name: such as ``"rect"``.
        content: markup between the two tags; plain text must be escaped. None for no end tag.
        **attributes: in the order in which they are written, an underscore for a hyphen. The values
            are escaped.
    """
    tag = name
    for attribute, value in attributes.items():
        tag += f' {attribute.replace("_", "-")}="{escape(str(value))}"'
    if content is None:
        return f"<{tag}/>"
    return f"<{tag}>{content}</{name}>"


def svg(width: int, height: int, label: str, body: str) -> str:
    """Write a drawing.

    Args:
        width: in units of the drawing; 360 are the width of a phone.
        height: in the same units.
        label: alternative text.
        body: markup of its elements.
    """
    return element(
        "svg",
        body,
        viewBox=f"0 0 {width} {height}",
        role="group" if "<a " in body else "img",  # a screen reader does not look into an image
        aria_label=label,
        font_size=11,
        fill="currentColor",
        font_family="system-ui, sans-serif",
    )


def captioned(drawing: str, caption: str) -> str:
    """Put a drawing into a figure, as wide as that of an explorer, with a caption.

    On the pages it is numbered with all other figures.
    """
    caption = element("figcaption", escape(caption))
    return f'<figure style="max-width:520px;margin:1em 0">{drawing}{caption}</figure>'


def facts_table(rows: Mapping[str, str]) -> str:
    """Write a small table of names and values, without headings."""
    body = ""
    for name, value in rows.items():
        body += f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
    return f"<table>{body}</table>"


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """Write a table of text that also fits a phone.

    If it is wider than the page, it scrolls on its own. With more than five columns, the cells of a
    row stand one below the other on a phone, each with its heading (``stacked`` in ``book.css``).

    Args:
        headings: one a column.
        rows: the cells of each row, as many as headings; the first is the row's name.
        label: name of the table for screen readers.
    """
    stacked = len(headings) > STACKED_COLUMNS
    head = "".join(element("th", escape(heading), scope="col") for heading in headings)
    body = ""
    for name, *values in rows:
        cells = element("th", escape(name), scope="row")
        for heading, value in zip(headings[1:], values, strict=True):
            shown_heading = {"data_name": heading} if stacked else {}
            cells += element("td", escape(value), **shown_heading)
        body += element("tr", cells)
    return scrolling_table(head, body, label, stacked)


def scrolling_table(head: str, body: str, label: str, stacked: bool) -> str:
    """Put the cells of a table's head and the rows of its body into a box that scrolls sideways.

    Args:
        head: markup of the headings.
        body: markup of the rows.
        label: name of the table for screen readers.
        stacked: whether a phone shows the cells of a row one below the other.
    """
    classes = "dataframe stacked" if stacked else "dataframe"
    table = f'<table class="{classes}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return element(
        "div", table, style="overflow-x:auto", tabindex=0, role="region", aria_label=label
    )


def line(x0: float, y0: float, x1: float, y1: float, color: str, width: float) -> str:
    """Write a line from (x0, y0) to (x1, y1); the ends are rounded to whole units."""
    return element(
        "line",
        x1=f"{x0:.0f}",
        y1=f"{y0:.0f}",
        x2=f"{x1:.0f}",
        y2=f"{y1:.0f}",
        stroke=color,
        stroke_width=width,
    )


def outline(x: float, y: float, side: float, color: str) -> str:
    """Write a square with a thick edge and a faint fill; (x, y) is its upper left corner."""
    return element(
        "rect",
        x=f"{x:.1f}",
        y=f"{y:.1f}",
        width=f"{side:.1f}",
        height=f"{side:.1f}",
        fill=color,
        fill_opacity=0.2,
        stroke=color,
        stroke_width=2,
    )


def embed_image(image: np.ndarray, lossless: bool = False) -> str:
    """Encode an image as a WebP data URI, for ``href`` or ``src``.

    Args:
        image: uint8 (H, W, 3), 0 to 255.
        lossless: for few pixels, whose edges stay sharp at any size.
    """
    return _embed_pixels(image.tobytes(), image.shape, lossless)


@lru_cache(maxsize=64)  # an explorer draws the same images at each of its stops
def _embed_pixels(pixels: bytes, shape: tuple[int, ...], lossless: bool) -> str:
    file = io.BytesIO()
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    options = {"lossless": True, "quality": 100} if lossless else {"quality": 80, "method": 6}
    Image.fromarray(image).save(file, "webp", **options)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"


def to_gray(values: np.ndarray) -> np.ndarray:
    """Values from 0 (black) to 1 (white) as uint8 from 0 to 255; what lies outside is clipped."""
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def pixel_image(values: np.ndarray, x: float, y: float, side: float) -> str:
    """Write a map as gray squares, with sharp edges at any size.

    Args:
        values: (H, W), 0 (black) to 1 (white).
        x: left edge.
        y: upper edge.
        side: width and height.
    """
    file = io.BytesIO()
    Image.fromarray(to_gray(values)).save(file, "png", optimize=True)
    return element(
        "image",
        x=x,
        y=y,
        width=f"{side:.1f}",
        height=f"{side:.1f}",
        href=f"data:image/png;base64,{b64encode(file.getvalue()).decode()}",
        style="image-rendering:pixelated",
    )
