"""Pictures that the reader moves: live where there is a kernel, drawn beforehand where there is none.

``explore(draw, p=[0.0, 0.25, 0.5, 0.75, 0.9])`` calls ``draw(p=...)`` for every choice. In a running notebook it is a set of
widgets. On a rendered page it is plain HTML: the inputs, all the pictures, and a script of a screenful. It asks for no
server, no kernel and no other file. The module knows nothing of AlexNet.
"""

import inspect
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from html import escape
from io import BytesIO
from itertools import product
from math import prod
from pathlib import Path

import ipywidgets
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

MOST_PICTURES = 60  # of some 10 kB each; a page is read on a phone too
PIXELS_PER_INCH = 100  # on the page; pictures are drawn half as fine again, for screens that can show it
NUMBER = re.compile(r"(\d[\d,.]*)")


def explore(draw: Callable[..., Figure | str], **choices: Iterable) -> "Explorer":
    """Let the reader choose what ``draw`` draws.

    Args:
        draw: a function of the choices. It returns a matplotlib figure, or a piece of HTML or SVG. Its docstring is the
            caption; the titles of a figure are its alternative text (SVG brings its own, as ``aria-label``). Its
            parameters' defaults are the choices to begin with.
        **choices: for each parameter the values it can take: five or more become a slider, fewer become buttons.
            If they combine to more than 60 figures, the page lets each choice vary alone, and sets the others back.

    Returns:
        A widget that also shows on a page without a kernel.

    Raises:
        ValueError: if ``draw`` has no docstring, a choice has no values, or a default is not among them.
        TypeError: if ``draw`` is not a plain function, or returns neither a figure nor text.
    """
    return Explorer(draw, {name: list(values) for name, values in choices.items()})


class Explorer(ipywidgets.VBox):
    """One object, two views: widgets for a kernel, and HTML, drawn beforehand, for a page."""

    def __init__(self, draw: Callable[..., Figure | str], choices: dict[str, list]) -> None:
        if not inspect.isfunction(draw):
            raise TypeError(f"{draw!r} is not a plain function: write one around it, with a docstring for the caption")
        self.draw, self.choices = draw, choices
        self.caption = " ".join((draw.__doc__ or "").split())
        if not self.caption:
            raise ValueError(f"{draw.__name__} has no docstring: write one, it is the caption of the picture")
        self.start = tuple(_start(draw, name, values) for name, values in choices.items())
        self._drawn: dict[tuple[int, ...], str] = {}
        self._figures = False
        self._controls = [_control(name, values, stop) for (name, values), stop in zip(choices.items(), self.start)]
        for control in self._controls:
            control.observe(self._redraw, names="index")
        self._picture = ipywidgets.HTML()
        caption = ipywidgets.HTML(f"<style>{STYLE}</style><figcaption>{escape(self.caption)}</figcaption>")
        super().__init__([self._picture, *self._controls, caption])
        self.add_class("explore")
        self._redraw()

    def _redraw(self, change: dict | None = None) -> None:
        frame = self._frame(tuple(control.index for control in self._controls))
        self._picture.value = f'<div class="explore-picture">{frame}</div>'

    def _frame(self, stops: tuple[int, ...]) -> str:
        """The picture of one combination, as HTML; drawn once. A stop is the index of a choice."""
        if stops not in self._drawn:
            picture = self.draw(**{name: values[stop] for (name, values), stop in zip(self.choices.items(), stops)})
            self._figures = not isinstance(picture, str)
            self._drawn[stops] = _html(picture, self.draw.__name__)
        return self._drawn[stops]

    def _frames(self) -> list[str | None]:
        """The pictures of all combinations, the last choice fastest; None where one is left out."""
        few = not self._figures or prod(map(len, self.choices.values())) <= MOST_PICTURES

        def wanted(stops: tuple[int, ...]) -> bool:
            return few or sum(a != b for a, b in zip(stops, self.start)) <= 1

        return [self._frame(stops) if wanted(stops) else None for stops in product(*map(range, map(len, self.choices.values())))]

    def page(self) -> str:
        """The explorer as HTML that stands alone: the first picture, and what the script makes the rest of."""
        texts, frames = _pack(self._frames())
        inputs = "".join(_inputs(name, values, stop) for (name, values), stop in zip(self.choices.items(), self.start))
        data = {
            "start": dict(zip(self.choices, self.start)), "sizes": [len(values) for values in self.choices.values()],
            "inputs": inputs, "texts": texts, "frames": frames,
        }  # fmt: skip
        packed = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return (
            f'<figure class="explore"><style>{STYLE}</style>'
            f'<div class="explore-picture">{_still(self._frame(self.start))}</div>'
            f"<figcaption>{escape(self.caption)}</figcaption>"
            f'<script type="application/json">{packed}</script><script>{SCRIPT}</script></figure>'
        )

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        choices = ", ".join(f"{name}: {len(values)}" for name, values in self.choices.items())
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/plain": f"explore({self.draw.__name__}, {choices})", "text/html": self.page()}


def _start(draw: Callable, name: str, values: list) -> int:
    """The stop that a choice begins at: that of the parameter's default, or the first."""
    if not values:
        raise ValueError(f"{name} has no values to choose from: give at least one")
    parameter = inspect.signature(draw).parameters.get(name)
    if parameter is None or parameter.default is parameter.empty:
        return 0
    if parameter.default not in values:
        raise ValueError(f"{draw.__name__} begins with {name}={parameter.default!r}, which is not among its choices {values}: add it")
    return values.index(parameter.default)


def _control(name: str, values: list, stop: int) -> ipywidgets.Widget:
    widget = ipywidgets.SelectionSlider if len(values) >= 5 else ipywidgets.ToggleButtons
    options = [(str(value), i) for i, value in enumerate(values)]
    return widget(options=options, value=stop, description=_label(name), style={"description_width": "initial"})


def _inputs(name: str, values: list, start: int) -> str:
    """A slider, or radio buttons; the value of either is the index of the choice."""
    label = escape(_label(name))
    if len(values) >= 5:
        stops = escape(json.dumps([str(v) for v in values], ensure_ascii=False))
        return (
            f'<label>{label} <b aria-hidden="true">{escape(str(values[start]))}</b><input type="range" name="{name}" min="0" '
            f'max="{len(values) - 1}" value="{start}" data-stops="{stops}" aria-valuetext="{escape(str(values[start]))}"></label>'
        )
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{i}"{" checked" * (i == start)}> {escape(str(value))}</label>'
        for i, value in enumerate(values)
    )
    return f"<fieldset><legend>{label}</legend>{buttons}</fieldset>"


def _still(frame: str) -> str:
    """A picture for pages that strip drawings and scripts, as GitHub and Lab do: SVG becomes an image."""

    def image(drawing: re.Match) -> str:
        svg = drawing[0].replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" style="background:#fff"', 1)  # in Lab's dark too
        label = re.search('aria-label="(.*?)"', svg)
        kind = "photo" if "<image" in svg else "chart"
        return (
            f'<img class="{kind}" width="480" alt="{label[1] if label else ""}" '
            f'src="data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}">'
        )

    return re.sub("<svg.*?</svg>", image, frame, flags=re.S)


def _label(name: str) -> str:
    return name.replace("_", " ")


def _html(picture: Figure | str, name: str) -> str:
    """A picture as HTML: text as it is, a figure as an embedded WebP."""
    if isinstance(picture, str):
        return picture
    if not isinstance(picture, Figure):
        raise TypeError(f"{name} returned {type(picture).__name__}: let it return a matplotlib figure or a piece of HTML")
    photo = any(axes.images for axes in picture.axes)  # photographs may lose detail, and keep their colours on dark pages
    titles = [picture.get_suptitle(), *(axes.get_title(place) for axes in picture.axes for place in ("left", "center", "right"))]
    width, height = (round(inches * PIXELS_PER_INCH) for inches in picture.get_size_inches())
    quality = {"quality": 82} if photo else {"lossless": True}
    file = BytesIO()
    picture.savefig(file, format="webp", dpi=1.5 * PIXELS_PER_INCH, pil_kwargs={"method": 6, **quality})
    plt.close(picture)
    return (
        f'<img class="{"photo" if photo else "chart"}" width="{width}" height="{height}" '
        f'alt="{escape(". ".join(filter(None, titles)))}" src="data:image/webp;base64,{b64encode(file.getvalue()).decode()}">'
    )


def _pack(frames: list[str | None]) -> tuple[list[list[str]], list[list | None]]:
    """Drawings that differ in numbers only need their text once.

    Returns:
        The texts, each cut at the numbers that differ; and for each frame the index of its text, and its numbers. So a
        drawing, with a photograph in it perhaps, can have a thousand stops in a few kB.
    """
    pieces = [None if frame is None else tuple(NUMBER.split(frame)) for frame in frames]  # text, number, text, ..., text
    families: dict[tuple[str, ...], list[int]] = {}
    for i, piece in enumerate(pieces):
        if piece is not None:
            families.setdefault(piece[::2], []).append(i)
    texts, packed = [], [None] * len(frames)
    for family, (text, members) in enumerate(families.items()):
        columns = list(zip(*(pieces[i][1::2] for i in members)))
        cut, kept = [text[0]], []
        for column, after in zip(columns, text[1:]):
            if len(set(column)) == 1:  # the same in all: part of the text
                cut[-1] += column[0] + after
            else:
                cut.append(after)
                kept.append(column)
        texts.append(cut)
        for row, i in enumerate(members):
            packed[i] = [family, *(column[row] for column in kept)]
    return texts, packed


_HERE = Path(__file__).parent
STYLE = re.sub(r"/\*.*?\*/|\n", "", (_HERE / "explore.css").read_text(encoding="utf-8"), flags=re.S)
SCRIPT = re.sub(r"^//.*\n", "", (_HERE / "explore.js").read_text(encoding="utf-8"), flags=re.M)
