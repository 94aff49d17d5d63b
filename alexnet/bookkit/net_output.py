"""The net of the first page as an output of a notebook.

``show_net("koala", cut="column2")`` shows it in the state that the arguments describe. With a
kernel the output is the whole: an ipywidget, whose state no notebook stores, that holds the page's
part, its scripts and the weights of the package in one document. Without a kernel it is a picture
of that state, which PyTorch computes, and a link to the first page. Both work in JupyterLab and in
VS Code.
"""

import copy
import io
import json
import re
from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from alexnet.bookkit import first_page
from alexnet.bookkit.export import ENGINE, export, quantized
from alexnet.bookkit.first_page import COLORS, GAP, SQUARE, Pass, ShownLayer
from alexnet.bookkit.paths import missing_from_wheel
from alexnet.bookkit.seen import INK
from alexnet.experiments.cuts import cut_names, take_away
from alexnet.loader import decode_image, resize_center_crop
from alexnet.predictor import Predictor

NET = "tiny-imagenet"
PAGE = "intro.html"  # the address of the first page from a chapter
STILL_WIDTH = 500  # pixels of a page, as all figures of the book
PIXEL_RATIO = 2  # of the picture's file, for sharp screens
MAPS_ABREAST = 4  # layers beside each other, so that a phone shows them large enough
# The first page takes these colors from its theme: each for light and for dark.
THEME = {
    "background": ("#fff", "#14181e"),
    "surface": ("#f3f4f5", "#29313d"),
    "border": ("#d1d5da", "#48566b"),
    "text-base": ("#222832", "#ced6dd"),
    "text-muted": ("#48566b", "#9ca4af"),
    "link": ("#176de8", "#66a3ff"),
}
# The document is as dark as the notebook around it, and its frame as high as its content.
FIT = """
const around = parent.document.body;
const isDark = around.dataset.jpThemeLight === "false" || around.matches(".vscode-dark");
document.documentElement.dataset.theme = isDark ? "dark" : "light";
const parts = [...document.querySelectorAll("body, .net-panel, .net-list > div")];
const observer = new ResizeObserver(() => {
  const ends = parts.map((part) => part.getBoundingClientRect().bottom + scrollY);
  frameElement.style.height = `${Math.ceil(Math.max(...ends)) + 8}px`;
});
for (const part of parts) observer.observe(part);
"""


def show_net(
    photograph: str = "red_panda", cut: str | Iterable[str] = (), look: str | None = None
) -> "NetOutput":
    """Show the net of the first page in a notebook.

    Args:
        photograph: one of those that lie ready on the first page, such as ``"koala"``.
        cut: a part that is taken away, or several, by the names of
            :func:`alexnet.experiments.cuts.cut_names`; not ``"dropout"``, which differs from draw
            to draw.
        look: a map to look at, ``"conv1.7"`` for the seventh of conv1, or none.

    Returns:
        An output for the last line of a cell.

    Raises:
        ValueError: if there is no such photograph, part or map.
        FileNotFoundError: without the book, which has the photographs.
    """
    return NetOutput(photograph, (cut,) if isinstance(cut, str) else tuple(cut), look)


class NetOutput(ipywidgets.HTML):
    """One object with two views: the live page for a kernel, and a picture for a notebook alone.

    Args:
        photograph, cuts, look: see :func:`show_net`.
    """

    def __init__(self, photograph: str, cuts: tuple[str, ...], look: str | None) -> None:
        if not first_page.OUT.exists():
            raise missing_from_wheel(first_page.OUT)
        self._state = _State(photograph, cuts, look)
        self._still = _draw_still(self._state)
        super().__init__(frame_html(document_html(self._state.fragment)))

    def get_state(self, *args: object, **kwargs: object) -> dict[str, object]:
        """The whole only as the widget is opened, and then the picture.

        A page of JupyterLab that is loaded anew asks for the state of all widgets in one message,
        and Jupyter Server drops what has more than 3 MB, so that no widget would be shown.
        """
        state = super().get_state(*args, **kwargs)
        if self.comm is not None and "value" in state:
            hint = "<p>To have it live again, run the cell again.</p>"
            state["value"] = still_html(self._state, self._still) + hint
        return state

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """Jupyter takes the widget where there is a kernel, and the HTML where there is none."""
        bundle = super()._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = f"the net of the first page: {PAGE}{self._state.fragment}"
        bundle["text/html"] = still_html(self._state, self._still)
        bundle["image/png"] = b64encode(self._still).decode()
        return bundle


class _State:
    """What is shown, checked."""

    def __init__(self, photograph: str, cuts: tuple[str, ...], look: str | None) -> None:
        names = {Path(row["file"]).stem: row for row in first_page.credits()}
        if photograph not in names:
            raise ValueError(f"photograph must be one of {', '.join(names)}, got {photograph!r}")
        known = [name for name in cut_names(_predictor().model) if name != "dropout"]
        for cut in cuts:
            if cut not in known:
                raise ValueError(f"cut must be one of {', '.join(known)}, got {cut!r}")
        self.photograph, self.cuts, self.look = photograph, cuts, None
        self.credit = names[photograph]
        self.image = resize_center_crop(
            decode_image(first_page.PHOTOGRAPHS / self.credit["file"]), _predictor().resize
        )  # (3, resize, resize)
        self.layers = first_page.shown_layers(
            _predictor(), first_page.forward(_predictor(), self.image)
        )
        if look is not None:
            self.look = self._find(look)
        parts = [f"net={photograph}"]
        parts += [f"cut={','.join(cuts)}"] if cuts else []
        parts += [f"look={look}"] if look else []
        self.fragment = f"#{'&'.join(parts)}"

    def _find(self, look: str) -> tuple[ShownLayer, int]:
        """The layer and the index of a map such as ``conv1.7``."""
        name, _, number = look.partition(".")
        for layer in self.layers:
            if layer.name == name and number.isdecimal() and 1 <= int(number) <= layer.maps:
                return layer, int(number) - 1
        known = ", ".join(f"{layer.name}.1 to {layer.name}.{layer.maps}" for layer in self.layers)
        raise ValueError(f"look must be one of {known}, got {look!r}")


@cache
def _predictor() -> Predictor:
    return quantized(NET)[0]


# The live page


def script_files() -> list[Path]:
    """The scripts of the part but ``alexnet.js``, in the order in which they run."""
    names = (first_page.PAGE / "scripts.txt").read_text(encoding="utf-8").split()
    return [first_page.PAGE / name for name in names if name != "alexnet.js"]


def document_html(fragment: str) -> str:
    """The part of the first page with all that it needs, in one document without an address.

    Args:
        fragment: the state, as in the address of the first page: ``#net=koala&cut=lrn``.
    """
    style = (first_page.PAGE / "page.css").read_text(encoding="utf-8")
    part = first_page.OUT.read_text(encoding="utf-8")
    scripts = [script(f"location.hash = {json.dumps(fragment)};"), *_held_scripts()]
    scripts += [script(path.read_text(encoding="utf-8")) for path in script_files()]
    return page_html(style, part + "".join(scripts))


def page_html(style: str, body: str) -> str:
    """A document for :func:`frame_html`, with the colors of the book."""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><base target="_blank">'
        f"<title>AlexNet</title><style>{_theme()}{style}</style></head>"
        f"<body>{body}{script(FIT)}</body></html>"
    )


def frame_html(document: str) -> str:
    """A frame with a document of its own, so that neither style nor script meets the notebook's."""
    style = "border:0;display:block;height:700px;width:100%"
    return (
        f'<iframe title="AlexNet" style="{style}" allow="camera" srcdoc="{escape(document)}">'
        "</iframe>"
    )


def engine_scripts() -> list[str]:
    """``alexnet.js`` and the engine, which it would load beside a page."""
    scripts = [script((ENGINE / "alexnet.js").read_text(encoding="utf-8"))]
    for name in ("engine.js", "kernel.js"):
        scripts.append(script((ENGINE / name).read_text(encoding="utf-8"), name))
    return scripts


@cache
def _held_scripts() -> list[str]:
    """The engine, and what else it loads beside a page: the weights, the photographs."""
    scripts = engine_scripts()
    with TemporaryDirectory() as folder:
        export(NET, Path(folder) / NET)
        for path in sorted((Path(folder) / NET).iterdir()):
            text = path.read_text(encoding="utf-8")
            scripts.append(script(text, f"nets/{NET}/{path.name}"))
    paths = [first_page.PHOTOGRAPHS / row["file"] for row in first_page.credits()]
    photographs = {path.stem: first_page.file_uri(path) for path in paths}
    return [*scripts, script(f"window.alexnetPhotographs = {json.dumps(photographs)};")]


def script(text: str, path: str = "") -> str:
    """A script element; ``alexnet.js`` knows by its path that it need not be loaded."""
    data = f' data-path="{path}"' if path else ""
    text = text.replace("</script", "<\\/script")  # which would end the element
    return f"<script{data}>{text}</script>"


def _theme() -> str:
    """The colors and the letters that the first page takes from the theme of the book."""
    rules = "body{background:var(--pst-color-background);color:var(--pst-color-text-base);"
    rules += "font-family:system-ui,sans-serif;margin:0;padding:8px}*{box-sizing:border-box}"
    rules += "a{color:var(--pst-color-link)}"
    for at, theme in enumerate(("light", "dark")):
        colors = "".join(f"--pst-color-{name}:{pair[at]};" for name, pair in THEME.items())
        rules += f'html[data-theme="{theme}"]{{color-scheme:{theme};{colors}}}'
    return rules


# The picture for a notebook without a kernel


def still_html(state: _State, png: bytes) -> str:
    """A picture of the state, with a caption and a link to the first page in the same state."""
    lacks = f", without {', '.join(map(_spaced, state.cuts))}" if state.cuts else ""
    alternative = f"A photograph, the net's five guesses as bars, and the maps of its layers{lacks}"
    uri = f"data:image/png;base64,{b64encode(png).decode()}"
    link = f'<a href="{PAGE}{escape(state.fragment)}">On the first page</a>'
    return (
        f'<figure class="net-still"><img class="photo clear" src="{uri}" width="{STILL_WIDTH}" '
        f'alt="{escape(alternative)}"><figcaption>The net of two hundred kinds of things{lacks}: '
        "what it sees, its guesses, and the maps of its layers; the thin marks are the guesses of "
        f"the whole net. {link} it is live, in this state. Photograph: "
        f"{first_page.credit_of(state.credit)}.</figcaption></figure>"
    )


def _spaced(cut: str) -> str:
    """A cut in words: ``conv3.column2`` as "conv3 column 2", ``lrn`` as it is."""
    return re.sub(r"(column|kernel)(\d+)", r"\1 \2", cut.replace(".", " "))


def _compute(state: _State) -> tuple[Tensor, Pass, Pass]:
    """What the net sees, and what the whole net and the net without its parts make of it."""
    predictor = copy.copy(_predictor())
    seen = first_page.cover(state.image, SQUARE, first_page.gray_of(predictor))
    untouched = first_page.forward(predictor, state.image)
    for cut in state.cuts:
        predictor.model = take_away(predictor.model, cut)
    return seen, untouched, first_page.forward(predictor, seen)


def _draw_still(state: _State) -> bytes:
    """The state as a PNG image: what the net sees, its guesses, and below them the maps."""
    seen, untouched, shown = _compute(state)
    style = {"font.family": "DejaVu Sans", "font.size": 11, "axes.titlesize": 11}
    style |= dict.fromkeys(("text.color", "axes.labelcolor", "ytick.color"), INK)
    # The style of the book is not asked for: the reader may have set another one
    with plt.rc_context({**style, "axes.grid": False}):
        figure = Figure(figsize=(STILL_WIDTH / 100, 6.4), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(1.5, 4.9))
        photograph, bars = above.subplots(1, 2, width_ratios=(1, 1.1))
        photograph.imshow(seen.permute(1, 2, 0).numpy())
        photograph.set_axis_off()
        _draw_guesses(bars, untouched, shown)
        _draw_maps(below, state, shown)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=100 * PIXEL_RATIO, transparent=True)
    image = Image.open(file).convert("RGBA").quantize(128)  # a third of the bytes
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw_guesses(axes: Axes, untouched: Pass, shown: Pass) -> None:
    """The five guesses of the untouched photograph as bars, as the first page has them.

    What the net says now comes last, if it is not among them.
    """
    labels = untouched.probabilities.topk(first_page.GUESSES).indices.tolist()
    best = int(shown.probabilities.argmax())
    if best not in labels:
        labels.append(best)
    for row, label in enumerate(labels):
        value, mark = float(shown.probabilities[label]), float(untouched.probabilities[label])
        axes.barh(row, value, height=0.6, color=COLORS[0])
        axes.plot([mark, mark], [row - 0.42, row + 0.42], color=INK, linewidth=1.5)
        axes.text(1.02, row, first_page.percent(value), va="center")
    words = [first_page.short(_predictor().class_name(label)) for label in labels]
    axes.set_title(f"It says: {words[labels.index(best)]}", loc="left")
    axes.set(xlim=(0, 1), xticks=[], yticks=range(len(words)), yticklabels=words)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _draw_maps(figure: SubFigure, state: _State, shown: Pass) -> None:
    """The maps of all layers, one column above the other; the one that is looked at is framed."""
    layout = []
    for start in range(0, len(state.layers), MAPS_ABREAST):
        abreast = state.layers[start : start + MAPS_ABREAST]
        for column in (0, 1):  # fc8 is in neither, and reaches over both rows
            layout.append([f"{layer.name} {column % layer.columns}" for layer in abreast])
    panels = figure.subplot_mosaic(layout)
    for layer in state.layers:
        parts = shown.maps[layer.name].reshape(layer.columns, -1, layer.side, layer.side)
        for column, maps in enumerate(parts):
            axes = panels[f"{layer.name} {column}"]
            opaque = first_page.palette(COLORS[column if layer.columns > 1 else -1])
            colors = np.array([[*color, 255] for color in opaque], np.uint8)
            colors[GAP] = 0  # transparent
            axes.imshow(colors[first_page.tile(maps, layer)], interpolation="nearest")
            axes.set_axis_off()
            if column == 0:
                axes.set_title(layer.name)
    if state.look:
        _frame_map(panels, *state.look)


def _frame_map(panels: dict[str, Axes], layer: ShownLayer, number: int) -> None:
    """Draw a frame around a map."""
    column, at = divmod(number, layer.maps // layer.columns)
    pitch = layer.side + (layer.side > 1)
    row, place = divmod(at, layer.tiles)
    corner = (place * pitch - 1, row * pitch - 1)
    side = layer.side + 1
    frame = Rectangle(corner, side, side, fill=False, edgecolor="red", linewidth=1.2)
    panels[f"{layer.name} {column}"].add_patch(frame)
