"""SVG and HTML from numbers: the parts that the drawings are made of."""


import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image



FIRST, SECOND, BOTH = "#2673b3", "#e08a00", "#7d828b"


def svg(width: int, height: int, label: str, body: str) -> str:
    """A drawing of so many units, 360 of which are a phone's width; ``label`` says what it shows to who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" font-size="11" fill="currentColor" '
        f'font-family="system-ui, sans-serif">{body}</svg>'
    )


def facts_table(rows: Mapping[str, str]) -> str:
    """A small table of names and values."""
    return "<table>" + "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in rows.items()) + "</table>"


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """A table of text, the first cell of a row being its name. Wider than a phone, it scrolls by itself; with more than five
    columns, it has the cells of a row one below the other there, each with its heading: ``book.css``, ``stacked``."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    stacked = len(headings) > 5
    names = [f' data-name="{escape(heading)}"' if stacked else "" for heading in headings]
    body = ""
    for row in rows:
        cells = "".join(f"<td{name}>{escape(cell)}</td>" for name, cell in zip(names[1:], row[1:], strict=True))
        body += f'<tr><th scope="row">{escape(row[0])}</th>{cells}</tr>'
    return (
        f'<div style="overflow-x:auto" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table class="dataframe{" stacked" * stacked}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _line(x0: float, y0: float, x: float, y: float, colour: str, width: float) -> str:
    return f'<line x1="{x0:.0f}" y1="{y0:.0f}" x2="{x:.0f}" y2="{y:.0f}" stroke="{colour}" stroke-width="{width}"/>'


def _embed(photo: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "webp", quality=80, method=6)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"


def _pixels(values: np.ndarray, x: float, y: float, side: float) -> str:
    """A map as grey squares; values from 0, black, to 1, white."""
    picture = Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    source = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    return f'<image x="{x}" y="{y}" width="{side:.1f}" height="{side:.1f}" href="{source}" style="image-rendering:pixelated"/>'


def _outline(x: float, y: float, side: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" fill="{colour}" fill-opacity="0.2" '
        f'stroke="{colour}" stroke-width="2"/>'
    )
