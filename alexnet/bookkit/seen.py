"""Drawings of what a trained net sees: its guesses, its maps, its answer with a part covered.

Those that a chapter shows as they are, are HTML that fits a phone; those of explorers are SVG.
"""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from IPython import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from alexnet.bookkit.first_page import GAP, palette
from alexnet.bookkit.svg import BOTH, FIRST, SECOND, element, embed_image, pixel_image, svg

WIDTH = 360  # of a drawing, that of a phone
RIGHT = "#009e73"  # of a guess that is right; it has a tick as well
MAPS_IN_A_ROW = 2  # of each column
SHADES = 16  # of a map
INK = "#767b82"  # of letters that white and black pages show alike
PHOTO = {"class": "photo clear"}  # as it is on a dark page, too: see book/_static/book.css
STOP = 12  # units of a drawing for a stop of the square
LINE = 20  # units from one guess to the next

Guess = tuple[str, float, bool]  # the class, its probability, and whether it is right


def clear_ground(figure: Figure) -> Figure:
    """Give a figure of photographs no ground, and letters that black and white pages show alike.

    A chart is inverted on a dark page, photographs are not: ``img.photo.clear`` in ``book.css``.
    """
    figure.patch.set_alpha(0)
    for ax in figure.axes:
        ax.patch.set_alpha(0)
        ax.spines[:].set_color(INK)
        ax.tick_params(colors=INK)
    for text in figure.findobj(Text):
        text.set_color(INK)
    return figure


def compact(figure: Figure, colors: int = 64) -> display.Image:
    """A figure with few colors as an output that takes a third of the room; it is closed.

    Args:
        figure: is shown as wide as any other, with twice the pixels.
        colors: that are kept.
    """
    dpi = plt.rcParams["figure.dpi"]
    file, smaller = io.BytesIO(), io.BytesIO()
    figure.savefig(file, format="png", dpi=2 * dpi)
    plt.close(figure)
    image = Image.open(file)
    if figure.get_facecolor()[3] == 1:
        image = image.convert("RGB").quantize(colors, dither=Image.Dither.NONE)
    else:  # the only method that keeps a clear ground
        image = image.quantize(colors, Image.Quantize.FASTOCTREE)
    image.save(smaller, "png", optimize=True)
    width = round(figure.get_size_inches()[0] * dpi)
    return display.Image(smaller.getvalue(), format="png", width=width)


def _name(word: str, is_right: bool) -> str:
    return f"{word} ✓" if is_right else word


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %"


def guess_cards(photographs: Mapping[str, tuple[np.ndarray, Sequence[Guess]]]) -> str:
    """Write photographs with the guesses below each, side by side as far as there is room.

    Args:
        photographs: by name the photograph, uint8 (H, H, 3), and the guesses, the first one first.
    """
    cards = ""
    for name, (photograph, guesses) in photographs.items():
        picture = element(
            "img",
            src=embed_image(photograph),
            alt=name,
            style="width:100%;border-radius:4px;display:block",
            **PHOTO,
        )
        bars = ""
        for word, probability, is_right in guesses:
            color = RIGHT if is_right else BOTH
            fill = f"linear-gradient(90deg,{color}55 {100 * probability:.1f}%,transparent 0)"
            text = element("span", escape(_name(word, is_right)))
            text += element("span", _percent(probability), style="white-space:nowrap")
            weight = "font-weight:600" if is_right else "font-weight:400"
            style = f"display:flex;justify-content:space-between;gap:.3em;{weight}"
            style += f";background:{fill};padding:0 .3em;margin-top:2px"
            bars += element("div", text, style=style)
        title = element("div", escape(name), style="font-weight:600;margin:.2em 0")
        cards += element("div", picture + title + bars, style="break-inside:avoid")
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:1.2em 1em"
    cards = element("div", cards, style=f"{grid};font-size:.85em;line-height:1.4")
    caption = "The net’s five guesses for each; green is the right one."
    return element("figure", cards + element("figcaption", caption), style="margin:1em 0")


def neighbor_list(rows: Mapping[str, tuple[np.ndarray, Sequence[tuple[str, bool, bool]]]]) -> str:
    """Write photographs, and beside each the names of its neighbors, coloured by what they share.

    Args:
        rows: by name the photograph, uint8 (H, H, 3), and the class of each neighbor with whether
            it is the photograph's own, and whether it is of the same branch.
    """
    body = ""
    for name, (photograph, neighbors) in rows.items():
        source = embed_image(photograph)
        picture = element(
            "img", src=source, alt=name, style="width:76px;border-radius:4px", **PHOTO
        )
        names = ""
        for word, is_own, is_near in neighbors:
            color = RIGHT if is_own else FIRST if is_near else BOTH
            style = f"border-left:5px solid {color};border-radius:3px;padding:0 .4em"
            if is_own or is_near:
                style += f";background:{color}44"
            names += element("b" if is_own else "span", escape(_name(word, is_own)), style=style)
        names = element("div", names, style="display:flex;flex-wrap:wrap;gap:.25em .4em")
        title = element("div", escape(name), style="font-weight:600;margin-bottom:.2em")
        cells = element("div", picture, style="flex:none") + element("div", title + names)
        body += element("div", cells, style="display:flex;gap:.8em;margin-bottom:.9em")
    body = element("div", body, style="font-size:.85em;line-height:1.45")
    caption = (
        "The classes of the six nearest validation photographs: green, with a tick, the "
        "photograph's own; blue others of its branch; grey all the rest."
    )
    return element("figure", body + element("figcaption", caption), style="margin:1em 0")


def draw_deals(fractions: Sequence[float], dealt: np.ndarray, p_value: float, label: str) -> str:
    """Draw how colored the kernels of two columns are, and what random deals of them give.

    Args:
        fractions: one value a kernel, see :func:`alexnet.visualize.color_fraction`; the first half
            belongs to the first column.
        dealt: the distances of the means of two halves that are dealt at random.
        p_value: the share of all random deals whose halves are as far apart as the columns.
        label: alternative text.
    """
    columns = np.sort(np.reshape(fractions, (2, -1)))[:, ::-1]
    body = ""
    for x, title, column in zip((0, 200), ("first column", "second column"), columns):
        body += element("text", title, x=x, y=12)
        for i, fraction in enumerate(column):
            place = {"x": x + 20 * (i % 8), "y": 18 + 20 * (i // 8), "width": 18, "height": 18}
            body += element("rect", **place, fill=f"hsl(35,{100 * fraction:.0f}%,48%)")
    left, base, unit = 8, 186, 680  # the axis goes from 0 to 0.5
    counts, _ = np.histogram(dealt, 20, (0, 0.5))
    bars = f"M{left} {base}"
    for height in 80 * counts / counts.max():
        bars += f"V{base - height:.0f}h{unit / 40:.0f}"
    body += element("path", d=f"{bars}V{base}", fill=BOTH, opacity=0.6)
    for tick in range(6):
        body += element(
            "text", f"0.{tick}", x=left + tick * unit / 10, y=base + 14, text_anchor="middle"
        )
    body += element(
        "text",
        "difference of the halves in mean colour",
        x=WIDTH / 2,
        y=base + 30,
        text_anchor="middle",
    )
    distance = abs(columns[1].mean() - columns[0].mean())
    dashes = "none" if p_value < 0.05 else "6 5"  # orange means colored here
    x = left + unit * distance
    line = {"stroke": FIRST, "stroke_width": 3, "stroke_dasharray": dashes}
    body += element("path", d=f"M{x:.0f} {base}v-90", **line)
    middle = f"{min(max(x, 44), WIDTH - 44):.0f}"
    body += element(
        "text",
        "as learned",
        x=middle,
        y=base - 94,
        fill=FIRST,
        text_anchor="middle",
        font_weight=600,
    )
    share = f"{100 * p_value:.1f} of 100" if p_value >= 0.001 else "fewer than 0.1 of 100"
    body += element("text", f"{share} random deals are as far apart", y=77, font_weight=600)
    return svg(WIDTH, base + 34, label, body)


def _guess_bars(guesses: Sequence[Guess], top: float, left: float, width: float) -> str:
    """Bars with the class before and the per cent behind each."""
    room = 130  # for the longest names that are among the guesses of the photographs
    longest = width - room - 48
    bars = ""
    for i, (word, probability, is_right) in enumerate(guesses):
        y = top + LINE * i
        size = longest * probability
        color = RIGHT if is_right else BOTH
        text = {"y": f"{y + 13:.0f}", "font_weight": 600 if is_right else 400}
        bars += element(
            "text", escape(_name(word, is_right)), x=left + room - 6, **text, text_anchor="end"
        )
        bars += element(
            "rect", x=left + room, y=f"{y + 3:.0f}", width=f"{size:.1f}", height=13, fill=color
        )
        bars += element("text", _percent(probability), x=f"{left + room + 5 + size:.1f}", **text)
    return bars


def _map_row(maps: Tensor, color: str) -> str:
    """Maps side by side as a data URI, in the color of their column.

    Args:
        maps: (N, side, side); the largest value of each is shown as white.
        color: of the column.
    """
    side = maps.shape[-1]
    pitch = side + 1
    picture = np.full((side, pitch * len(maps) - 1), GAP, np.uint8)
    largest = maps.amax((1, 2), keepdim=True).clamp(min=1e-12)  # a map of zeros is black
    shades = (maps.double() / largest * (SHADES - 1)).round()  # fewer take less room
    levels = shades / (SHADES - 1) * (GAP - 1)
    for i, level in enumerate(levels):
        picture[:, i * pitch : i * pitch + side] = level.floor().numpy()
    image = Image.fromarray(picture, "P")
    image.putpalette(np.array(palette(color), np.uint8).tobytes())
    image.info["transparency"] = GAP
    file = io.BytesIO()
    image.convert("RGBA").save(file, "webp", lossless=True, quality=100, method=6)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"


def draw_maps(
    photograph: np.ndarray, guesses: Sequence[Guess], layers: Mapping[str, Tensor], label: str
) -> str:
    """Draw a photograph with its guesses, and below the most varied maps of each layer.

    Of each column the two maps are shown that vary most from place to place, the first column's on
    the left. The strongest maps would be bright nearly everywhere.

    Args:
        photograph: uint8 (H, H, 3).
        guesses: the first one first.
        layers: by name its maps after ReLU, (maps, side, side), of both columns.
        label: alternative text.
    """
    body = element("image", href=embed_image(photograph), width=104, height=104)
    body += _guess_bars(guesses, 0, 104, WIDTH - 104)
    side = 72
    room = MAPS_IN_A_ROW * (side + 1) - 1
    x = {FIRST: 46, SECOND: WIDTH - room}
    y = 132
    for title, color in (("first column", FIRST), ("second column", SECOND)):
        body += element("text", title, x=x[color], y=y - 5, fill=color)
    for name, maps in layers.items():
        body += element("text", name, x=0, y=y + side // 2 + 5)
        for column, color in zip(maps.chunk(2), (FIRST, SECOND)):
            varied = column.var((1, 2)).topk(MAPS_IN_A_ROW).indices
            body += element(
                "image",
                x=x[color],
                y=y,
                width=room,
                height=side,
                preserveAspectRatio="none",
                href=_map_row(column[varied], color),
                style="image-rendering:pixelated",
            )
        y += side + 4
    return svg(WIDTH, y - 2, label, body)


def draw_covered(
    photograph: np.ndarray,
    square: tuple[int, int, float],
    probabilities: np.ndarray,
    name: str,
    guesses: Sequence[Guess],
    label: str,
    drags: str,
) -> str:
    """Draw a photograph with a gray square on it, and how sure the net is then.

    The drawing's unit is a stop of the square, so that it is dragged.

    Args:
        photograph: uint8 (H, H, 3).
        square: the stops across and down of its center, and its side in stops.
        probabilities: (stops, stops), of the first guess for each place of the square, 0 to 1.
        name: of the first guess.
        guesses: with the square where it is.
        label: alternative text.
        drags: the choices of an explorer that dragging moves, as ``"across down"``.
    """
    across, down, size = square
    stops = len(probabilities)
    side = STOP * (stops + 1)  # the first and the last stop are a stop from the edge
    gap = WIDTH - 2 * side
    top = probabilities.max()
    parts = element("image", y=18, href=embed_image(photograph), width=side, height=side)
    parts += element("text", "covered", x=0, y=12)
    least = _percent(probabilities.min())
    scale = f"{name}: {least} (dark) to {_percent(top)}"
    parts += element("text", scale, x=WIDTH, y=12, text_anchor="end")
    parts += pixel_image(probabilities / top, side + gap + STOP / 2, 18 + STOP / 2, side - STOP)
    place = {"x": side + gap + STOP * (across + 0.5), "y": 18 + STOP * (down + 0.5)}
    parts += element(
        "rect", **place, width=STOP, height=STOP, fill="none", stroke=SECOND, stroke_width=2
    )
    parts += _guess_bars(guesses, 18 + side + 10, 0, WIDTH)
    height = 18 + side + 10 + LINE * len(guesses)
    body = element("g", parts, transform=f"scale({1 / STOP:.6f})")
    body += element(
        "rect",
        x=f"{across + 1 - size / 2:.2f}",
        y=f"{down + 1 + 18 / STOP - size / 2:.2f}",
        width=size,
        height=size,
        fill="#808080",
        stroke=SECOND,
        stroke_width=0.2,
        data_drags=drags,
    )
    return svg(WIDTH // STOP, -(-height // STOP), label, body)


def draw_taken_for(
    guesses: Sequence[Guess], neighbors: Sequence[Guess], lines: int, label: str
) -> str:
    """Draw what photographs of a class are taken for, and which classes are near to it.

    It is short, since an explorer has one for each of two hundred classes.

    Args:
        guesses: classes with their share of the guesses, and whether it is the class itself.
        neighbors: likewise, of the neighbors.
        lines: of each of the two; what is not there is left empty.
        label: alternative text.
    """
    body, top = "", 14
    for title, rows in (("taken for", guesses), ("nearest in the last hidden layer", neighbors)):
        texts = element("text", title, y=top, font_weight=600)
        bars = {RIGHT: "", BOTH: ""}
        for i, (word, share, is_own) in enumerate(rows[:lines]):
            y = top + LINE * (i + 1)
            text = f"{_name(escape(word), is_own)} {_percent(share)}"
            length = round(160 * share)
            texts += element("text", text, x=length + 8, y=y)
            bars[RIGHT if is_own else BOTH] += f"M0 {y - 10}h{length}v13H0"
        for color, path in bars.items():
            texts += element("path", d=path, fill=color) if path else ""
        body += texts
        top += LINE * lines + 28
    return svg(WIDTH, top - 22, label, body)
