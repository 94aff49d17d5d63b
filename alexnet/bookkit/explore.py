"""Drawings that the reader moves: live with a kernel, drawn beforehand for a page without one.

``explore(draw, p=[0.0, 0.25, 0.5, 0.75, 0.9])`` calls ``draw(p=...)`` for every choice. In a
running notebook the result is a set of widgets. On a rendered page it is plain HTML: the inputs,
all the drawings, and a script; no server, no kernel and no other file is needed. The module knows
nothing of AlexNet.

A *stop* is the index of a value among those of its choice; a *frame* is the HTML of the drawing at
one combination of stops. The style and the script are ``explore.css`` and ``explore.js``, next to
this file.
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

from alexnet.bookkit.stills import still_html, still_png

SLIDER_STOPS = 10  # as many values or more are a slider, fewer are buttons
MANY_BUTTONS = 5  # as many or more have the whole width
MAX_FIGURES = 60  # on a page, of some 10 kB each: pages are read on phones too
PIXELS_PER_INCH = 100  # of a figure on the page
PIXEL_RATIO = 1.5  # pixels of a figure's file per pixel on the page, for sharp screens
# What may differ between frames of the same text: a number, or a whole embedded image.
NUMBER = re.compile(r"(data:image/[^\"]*|-?\d[\d,.]*)")


def _read_style() -> str:
    """``explore.css`` without comments, on one line."""
    text = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return "".join(line.strip() for line in text.splitlines())


def _read_script() -> str:
    """``explore.js`` without comments and indentation.

    Line breaks stay, as JavaScript may take them for the ends of statements.
    """
    text = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("//"))


STYLE = _read_style()
SCRIPT = _read_script()


class Buttons(list):
    """Values of a choice that are buttons however many they are: names, which have no order."""


def explore(draw: Callable[..., Figure | str], **choices: Iterable) -> "Explorer":
    """Let the reader choose the arguments of a function that draws.

    Args:
        draw: a function of the choices that returns a matplotlib figure, or a piece of HTML or SVG.
            On a page an element of SVG with ``data-drags="a b"`` can be dragged: across it moves
            the choice ``a``, down the choice ``b``, a stop for each unit of the drawing.
            Its docstring is the caption. The titles of a figure are its alternative text; SVG
            brings its own as ``aria-label``. Defaults of its parameters are the first choices.
        **choices: for each parameter the values it can take: ten or more become a slider, fewer
            become buttons; :class:`Buttons` always do. If they combine to more than 60 figures, the
            page varies one choice at a time and sets the others back to the first ones.

    Returns:
        A widget that is also shown on a page without a kernel.

    Raises:
        ValueError: if ``draw`` has no docstring, a choice has no values, or a default is not among
            them.
        TypeError: if ``draw`` is not a plain function, or returns neither a figure nor text.
    """
    listed = {}
    for name, values in choices.items():
        listed[name] = values if isinstance(values, Buttons) else list(values)
    return Explorer(draw, listed)


class Explorer(ipywidgets.VBox):
    """One object with two views: widgets for a kernel, and HTML for a page without one.

    Args:
        draw: see :func:`explore`.
        choices: the values of each choice by name.
    """

    def __init__(self, draw: Callable[..., Figure | str], choices: dict[str, list]) -> None:
        self.draw = draw
        self.choices = choices
        self.caption = _caption(draw)
        self.start = tuple(_first_stop(draw, name, values) for name, values in choices.items())
        self._frames: dict[tuple[int, ...], str] = {}  # by stops
        self._draws_figures = False  # known after the first drawing

        self._controls = []
        for (name, values), stop in zip(choices.items(), self.start):
            control = _widget(name, values, stop)
            control.observe(self._redraw, names="index")
            self._controls.append(control)
        self._picture = ipywidgets.HTML()
        caption = f"<style>{STYLE}</style><figcaption>{escape(self.caption)}</figcaption>"
        super().__init__([self._picture, *self._controls, ipywidgets.HTML(caption)])
        self.add_class("explore")
        self._redraw()

    def _redraw(self, change: dict | None = None) -> None:
        stops = tuple(control.index for control in self._controls)
        self._picture.value = f'<div class="explore-picture">{self._frame(stops)}</div>'

    def _frame(self, stops: tuple[int, ...]) -> str:
        """The frame at these stops; each is drawn once."""
        if stops not in self._frames:
            arguments = {}
            for (name, values), stop in zip(self.choices.items(), stops):
                arguments[name] = values[stop]
            drawing = self.draw(**arguments)
            self._draws_figures = not isinstance(drawing, str)
            self._frames[stops] = _to_frame(drawing, self.draw.__name__)
        return self._frames[stops]

    def _all_frames(self) -> list[str | None]:
        """The frames of all combinations, the last choice fastest; None if one is left out."""
        sizes = [len(values) for values in self.choices.values()]
        draw_all = not self._draws_figures or prod(sizes) <= MAX_FIGURES
        frames = []
        for stops in product(*map(range, sizes)):
            moved = sum(stop != first for stop, first in zip(stops, self.start))
            frames.append(self._frame(stops) if draw_all or moved <= 1 else None)
        return frames

    def to_html(self) -> str:
        """The explorer as HTML that needs no other file.

        It shows the first frame as an image, for where scripts are off; the script replaces it.
        """
        inputs = ""
        for (name, values), stop in zip(self.choices.items(), self.start):
            inputs += _input_html(name, values, stop)
        texts, frames = _pack(self._all_frames())
        data = {
            "start": dict(zip(self.choices, self.start)),
            "sizes": [len(values) for values in self.choices.values()],
            "inputs": inputs,
            "texts": texts,
            "frames": frames,
        }
        packed = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        packed = packed.replace("<", "\\u003c")  # so that no "</script>" ends the element
        return (
            f'<figure class="explore"><style>{STYLE}</style>'
            f'<div class="explore-picture">{still_html(self._frame(self.start))}</div>'
            f"<figcaption>{escape(self.caption)}</figcaption>"
            f'<script type="application/json">{packed}</script><script>{SCRIPT}</script></figure>'
        )

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """Jupyter takes the widget where there is a kernel, and the HTML where there is none.

        What nbconvert writes for print takes the image.
        """
        choices = ", ".join(f"{name}: {len(values)}" for name, values in self.choices.items())
        bundle = super()._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = f"explore({self.draw.__name__}, {choices})"
        bundle["text/html"] = self.to_html()
        image = still_png(self._frame(self.start))
        if image:
            bundle["image/png"] = b64encode(image).decode()
        return bundle


def _caption(draw: Callable) -> str:
    """The docstring of a function on one line."""
    if not inspect.isfunction(draw):
        raise TypeError(
            f"draw must be a plain function, got {draw!r}: write one around it, "
            "with a docstring for the caption"
        )
    caption = " ".join((draw.__doc__ or "").split())
    if not caption:
        raise ValueError(f"{draw.__name__} must have a docstring: write one, it is the caption")
    return caption


def _first_stop(draw: Callable, name: str, values: list) -> int:
    """The stop that a choice begins at: that of the parameter's default, or 0."""
    if not values:
        raise ValueError(f"{name} must have at least one value to choose from, got none")
    parameter = inspect.signature(draw).parameters.get(name)
    if parameter is None or parameter.default is parameter.empty:
        return 0
    if parameter.default not in values:
        raise ValueError(
            f"the default {name}={parameter.default!r} of {draw.__name__} must be among the values "
            f"to choose from, got {values}: add it"
        )
    return values.index(parameter.default)


def _label(name: str) -> str:
    return name.replace("_", " ")


def _is_slider(values: list) -> bool:
    return len(values) >= SLIDER_STOPS and not isinstance(values, Buttons)


def _widget(name: str, values: list, stop: int) -> ipywidgets.Widget:
    """The control of a choice where there is a kernel."""
    widget = ipywidgets.SelectionSlider if _is_slider(values) else ipywidgets.ToggleButtons
    return widget(
        options=[(str(value), i) for i, value in enumerate(values)],
        value=stop,
        description=_label(name),
        style={"description_width": "initial"},
    )


def _input_html(name: str, values: list, start: int) -> str:
    """The control of a choice on a page: a slider, or radio buttons. Its value is the stop."""
    label = escape(_label(name))
    if _is_slider(values):
        value = escape(str(values[start]))
        stops = escape(json.dumps([str(value) for value in values], ensure_ascii=False))
        return (
            f'<label>{label} <b aria-hidden="true">{value}</b>'
            f'<input type="range" name="{name}" min="0" max="{len(values) - 1}" value="{start}" '
            f'data-stops="{stops}" aria-valuetext="{value}"></label>'
        )
    buttons = ""
    for stop, value in enumerate(values):
        checked = " checked" if stop == start else ""
        button = f'<input type="radio" name="{name}" value="{stop}"{checked}>'
        buttons += f"<label>{button} {escape(str(value))}</label>"
    style = ' style="grid-column:1/-1"' if len(values) >= MANY_BUTTONS else ""
    return f"<fieldset{style}><legend>{label}</legend>{buttons}</fieldset>"


def _to_frame(drawing: Figure | str, name: str) -> str:
    """What the function of this name returned, as HTML."""
    if isinstance(drawing, str):
        return drawing
    if isinstance(drawing, Figure):
        return _embed_figure(drawing)
    raise TypeError(
        f"{name} must return a matplotlib figure or a piece of HTML, got {type(drawing).__name__}"
    )


def _embed_figure(figure: Figure) -> str:
    """A figure as an embedded WebP image; the figure is closed."""
    titles = [figure.get_suptitle()]
    for axes in figure.axes:
        titles += [axes.get_title(place) for place in ("left", "center", "right")]
    alternative = escape(". ".join(title for title in titles if title))
    width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    # A photograph may lose detail, and keeps its colors on a dark page; see explore.css.
    is_photo = any(axes.images for axes in figure.axes)
    kind = "photo" if is_photo else "chart"
    compression = {"quality": 82} if is_photo else {"lossless": True}
    file = BytesIO()
    dpi = PIXEL_RATIO * PIXELS_PER_INCH
    figure.savefig(file, format="webp", dpi=dpi, pil_kwargs={"method": 6, **compression})
    plt.close(figure)
    return (
        f'<img class="{kind}" width="{width}" height="{height}" alt="{alternative}" '
        f'src="data:image/webp;base64,{b64encode(file.getvalue()).decode()}">'
    )


def _pack(frames: list[str | None]) -> tuple[list[list[str]], list[list | None]]:
    """Store frames that differ in numbers only as one text and their numbers.

    So a drawing, even one with a photograph in it, can have a thousand stops in a few kB.

    Returns:
        The texts, each cut where a number differs; and for each frame the index of its text
        followed by its numbers, or None where the frame is None.
    """
    # Frames with the same text between their numbers are a family.
    numbers = {}  # by the index of a frame
    families: dict[tuple[str, ...], list[int]] = {}  # from texts to the indices of frames
    for i, frame in enumerate(frames):
        if frame is not None:
            pieces = NUMBER.split(frame)  # text, number, text, ..., text
            numbers[i] = pieces[1::2]
            families.setdefault(tuple(pieces[::2]), []).append(i)

    texts = []
    packed: list[list | None] = [None] * len(frames)
    for (first_text, *following), members in families.items():
        cut = [first_text]
        for i in members:
            packed[i] = [len(texts)]
        columns = zip(*(numbers[i] for i in members))  # a column holds one number of each member
        for column, text in zip(columns, following):
            if len(set(column)) == 1:  # the same in all members: part of the text
                cut[-1] += column[0] + text
                continue
            cut.append(text)
            for i, number in zip(members, column):
                packed[i].append(number)
        texts.append(cut)
    return texts, packed
