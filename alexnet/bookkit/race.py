"""Races between two nets that a page trains in its reader's browser.

``python -m alexnet.bookkit.race`` writes ``book/race_relu.html``, the part of a page with ReLU
against tanh: the photographs and the corners of the patches, the settings, and a recorded race for
print and for where scripts are off. ``race/race.js`` runs it, ``race/race.html`` is its outline,
and ``book/_ext/live_parts.py`` puts it into the page. The part is in the repository, since the
pages are built without PyTorch.

Another race is another :class:`Race`, with lanes of its own; ``race.js`` says what a lane is.
"""

import argparse
import json
import math
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from string import Template

import ipywidgets
import torch
from torch import nn

from alexnet.bookkit import net_output
from alexnet.bookkit.export import describe, encode, encode_integers
from alexnet.bookkit.findings import (
    epochs_to,
    errors_over_epochs,
    load_runs,
)
from alexnet.bookkit.paths import BOOK, missing_from_wheel
from alexnet.bookkit.stills import still_html, still_png
from alexnet.bookkit.svg import FIRST, SECOND, element, svg
from alexnet.console import printable
from alexnet.experiments.nets import ORIGINAL_GAINS, TORCH_GAINS, one_hidden_net, race_net
from alexnet.experiments.race import LEVELS, NAMES, SIDE, SIZE, RaceData, load_data, load_patches
from alexnet.experiments.race_dropout import PER_CLASS as FEW
from alexnet.experiments.race_dropout import load_few

FOLDER = Path(__file__).parent / "race"  # the outline, the style and the script

FINISH = 0.25  # training error, as in the paper's Figure 1
EPOCHS = 20
BATCH = 64
QUARTERS = 4  # points of a curve of training errors in an epoch
BOX = {"left": 56, "right": 630, "top": 10, "bottom": 230}  # of the chart, as in race.js


@dataclass
class Lane:
    """One of the two nets of a race; ``RaceLane`` in ``race.js`` says what the fields are."""

    key: str
    name: str
    net: dict
    parameters: list[dict]
    silent: dict | None = None

    @classmethod
    def of(cls, key: str, name: str, model: nn.Module, size: int, silent: dict | None) -> "Lane":
        """The lane of a net that takes gray images of ``size`` pixels a side."""
        parameters = []
        for parameter, value in model.named_parameters():
            short = ".".join(parameter.split(".")[-2:])
            parameters.append({"name": short, "shape": list(value.shape)})
        return cls(key, name, describe(model, (1, size, size)), parameters, silent)


@dataclass
class Preset:
    """Settings of a race; ``RaceSetting`` and ``RacePreset`` in ``race.js`` have the units."""

    name: str
    about: str  # one sentence
    first: float
    above: float
    pixels: float
    rates: list[float]
    same: float
    band: list[dict] = field(default_factory=list)
    recorded: str = ""  # how the recorded runs ended
    winner: int = 2  # the lane that was first in them


@dataclass
class Race:
    """A race as the page takes it; ``RaceState`` in ``race.js`` says what the fields are."""

    name: str  # of its part: ``book/race_NAME.html``
    page: str  # the page that it stands on, such as ``relu.html``
    title: str
    question: str
    counted: str  # the caption of the table of results
    caption: str
    lanes: list[Lane]
    presets: list[Preset]
    data: RaceData
    guesses: list[str]
    still: str  # a recorded race, as SVG
    measure: str = "training"
    finish: float | None = FINISH
    epochs: int = EPOCHS
    batch: int = BATCH
    momentum: float = 0.9
    controls: Sequence[str] = ("pixels", "first", "above")
    seconds: float = 3.0

    @property
    def path(self) -> Path:
        """The file of its part."""
        return part_path(self.name)

    def state(self) -> dict:
        """What the script is given."""
        keys = ("measure", "finish", "epochs", "batch", "momentum", "controls", "seconds")
        state = {key: getattr(self, key) for key in keys}
        state["lanes"] = [asdict(lane) for lane in self.lanes]
        state["presets"] = [asdict(preset) for preset in self.presets]
        state["data"] = pack_data(self.data)
        state["guesses"] = self.guesses
        return state

    def render(self) -> str:
        """The part of the page."""
        state = json.dumps(self.state(), separators=(",", ":"), ensure_ascii=False)
        return Template((FOLDER / "race.html").read_text(encoding="utf-8")).substitute(
            name=self.name,
            title=escape(self.title),
            question=escape(self.question),
            counted=escape(self.counted),
            caption=escape(self.caption),
            still=self.still,
            state=state.replace("<", "\\u003c"),
        )


def part_path(name: str) -> Path:
    """The file of a race's part."""
    return BOOK / f"race_{name}.html"


def pack_data(data: RaceData) -> dict:
    """The photographs as characters of 6 bits, and the corners of the patches in base64."""
    levels = torch.stack(list(data.photographs.values())).to(torch.int16)
    return {
        "side": SIDE,
        "size": SIZE,
        "names": list(data.photographs),
        "photographs": encode_integers((levels - LEVELS // 2).to(torch.int8), 6),
        "train": encode(data.train.to(torch.uint8).numpy()),
        "test": encode(data.test.to(torch.uint8).numpy()),
    }


# ReLU against tanh

ACTIVATIONS = {"relu": "ReLU", "tanh": "tanh"}
SILENT = {"relu": {"word": "dead", "of": "dead"}, "tanh": {"word": "saturated", "of": "saturated"}}
# What the recorded runs call the two recipes
INITS = {"2012": "original, by inputs", "today": "torch, normal"}
PIXELS = {"2012": "raw", "today": "standardized"}


def race_runs(activation: str, weights: str, pixels: str) -> list[dict]:
    """The recorded runs of the race's nets, three seeds, each at the best rate.

    Args:
        activation: ``"relu"`` or ``"tanh"``.
        weights: ``"2012"`` or ``"today"``.
        pixels: likewise.
    """
    return load_runs(
        "race",
        activation=activation,
        init=INITS[weights],
        pixels=PIXELS[pixels],
        target_train_error=FINISH,
    )


def recorded_band(activation: str, recipe: str) -> dict[str, list[float]]:
    """The lowest and the highest training error of the recorded runs of the race.

    Of each quarter of an epoch that all of them have.
    """
    found = race_runs(activation, recipe, recipe)
    curves = [errors_over_epochs(run, "train_error")[1] for run in found]
    quarters = list(zip(*curves))
    return {
        "low": [round(min(errors), 3) for errors in quarters],
        "high": [round(max(errors), 3) for errors in quarters],
    }


def _preset(recipe: str, about: str, gains: tuple[float, float], pixels: float) -> Preset:
    rates = [race_runs(key, recipe, recipe)[0]["config"]["lr"] for key in ACTIVATIONS]
    bands = [{"lane": i, **recorded_band(key, recipe)} for i, key in enumerate(ACTIVATIONS)]
    first, above = (float(f"{gain:.3g}") for gain in gains)
    name = "2012" if recipe == "2012" else "today’s pixels and weights"
    ends = [
        [epochs_to(run, FINISH) for run in race_runs(key, recipe, recipe)] for key in ACTIVATIONS
    ]
    arrived = [
        f"{name} after {min(epochs):g} to {max(epochs):g} epochs"
        if max(epochs) <= EPOCHS
        else f"{name} not within {EPOCHS} epochs"
        for name, epochs in zip(ACTIVATIONS.values(), ends)
    ]
    recorded = f"At the finish: {', '.join(arrived)}."
    lane = _first_of(ends)
    return Preset(name, about, first, above, pixels, rates, rates[0], bands, recorded, lane)


def _first_of(ends: Sequence[Sequence[float]]) -> int:
    """The lane of two whose recorded runs all end lower than those of the other, or 2 for none."""
    if max(ends[0]) < min(ends[1]):
        return 0
    return 1 if max(ends[1]) < min(ends[0]) else 2


def relu_race() -> Race:
    """ReLU against tanh, on patches of the book's photographs."""
    lanes = []
    for key, name in ACTIVATIONS.items():
        silent = SILENT[key] | {"layers": ["act1", "act2", "act3"]}
        lanes.append(Lane.of(key, name, race_net(len(NAMES), key, image_size=SIZE), SIZE, silent))
    images = load_patches().train_images.float()
    std = float(f"{(images - images.mean(0)).std():.3g}")
    presets = [
        _preset(
            "2012",
            "Pixels from 0 to 255 minus their mean, and weights as small as those of 2012.",
            ORIGINAL_GAINS,
            std,
        ),
        _preset(
            "today",
            "Pixels divided by their standard deviation, and weights of PyTorch’s size.",
            TORCH_GAINS,
            1.0,
        ),
    ]
    caption = (
        "Two nets of four layers learn to tell which of six photographs of this book a grey patch "
        f"of {SIZE}×{SIZE} pixels was cut from: who comes below {FINISH:.0%} training error "
        "first? Broad pale bands are three recorded runs of each in PyTorch, and pale "
        "lines are other seeds. A ReLU is dead if it is off for each of 96 patches, and an output "
        "of tanh saturated where the slope is below 0.1."
    )
    return Race(
        name="relu",
        page="relu.html",
        title="The race, in your browser",
        question="Your guess first: who is at the finish sooner, with this setting?",
        counted="Epochs to the finish, a race in each row",
        caption=caption.replace("%", " %"),
        lanes=lanes,
        presets=presets,
        data=load_data(),
        guesses=["ReLU", "tanh", "neither: less than an epoch apart"],
        still=draw_race({
            ACTIVATIONS[key]: race_runs(key, "2012", "2012")[0] for key in ACTIVATIONS
        }),
    )


# With and without dropout

DROPOUTS = {"without": 0.0, "dropout": 0.5}
DROPOUT_NAMES = {"without": "no dropout", "dropout": "dropout"}
DROPOUT_EPOCHS = 80
DROPOUT_RATE = 0.01  # the best of those recorded for either net


def dropout_runs(dropout: float, lr: float = DROPOUT_RATE) -> list[dict]:
    """The recorded runs of the race's nets, three seeds."""
    return load_runs("race-dropout", net="one-hidden", dropout=dropout, lr=lr)


def late_error(run: dict) -> float:
    """The mean test error of a run's last eighth, as ``race.js`` has it: 0 to 1."""
    errors = run["curve"]["test_error"]
    late = errors[-(len(errors) // 8) :]
    return sum(late) / len(late)


def dropout_race() -> Race:
    """The same net with and without dropout, by the errors on patches that are kept aside."""
    lanes, bands = [], []
    for i, (key, p) in enumerate(DROPOUTS.items()):
        net = one_hidden_net(len(NAMES), p, image_size=SIZE)
        lanes.append(Lane.of(key, DROPOUT_NAMES[key], net, SIZE, None))
        curves = [errors_over_epochs(run, "test_error")[1] for run in dropout_runs(p)]
        epochs = DROPOUT_EPOCHS // len(curves[0])  # for each recorded error
        bands.append({
            "lane": i,
            "low": [min(errors) for errors in zip(*curves) for _ in range(epochs)],
            "high": [max(errors) for errors in zip(*curves) for _ in range(epochs)],
        })
    gain = 1.414  # He et al. (2015), as in the recorded runs
    about = f"{6 * FEW[0]} patches to train on, {6 * FEW[1]} kept aside."
    rates = [DROPOUT_RATE] * 2
    preset = Preset("as recorded", about, gain, gain, 1.0, rates, DROPOUT_RATE, bands)
    ends = [[late_error(run) for run in dropout_runs(p)] for p in DROPOUTS.values()]
    errors = [
        f"{name} {100 * min(late):.0f} to {100 * max(late):.0f} %"
        for name, late in zip(DROPOUT_NAMES.values(), ends)
    ]
    preset.recorded = f"Error at the end: {', '.join(errors)}."
    preset.winner = _first_of(ends)
    caption = (
        "Two nets with a hidden layer of 128 units learn to tell which of six photographs of this "
        f"book a grey patch of {SIZE}×{SIZE} pixels was cut from, one of them with dropout 0.5 in "
        "the hidden layer. The curves are the errors on patches kept aside, with nothing dropped, "
        "and thin lines those on the patches learned from, counted while training. The broad pale "
        "bands are three recorded runs in PyTorch each, from the lowest to the highest error. Pale "
        "lines are other seeds. The error at the end is the mean of the last ten epochs."
    )
    first = {DROPOUT_NAMES[key]: dropout_runs(p)[0] for key, p in DROPOUTS.items()}
    return Race(
        name="dropout",
        page="dropout.html",
        title="With and without dropout, in your browser",
        question="Your guess first: which net has the lower error on patches kept aside?",
        counted="Error on patches kept aside, a race in each row",
        caption=caption,
        lanes=lanes,
        presets=[preset],
        data=load_few(),
        guesses=["no dropout", "dropout", "neither: less than a point apart"],
        still=draw_race(first, "test_error", None, DROPOUT_EPOCHS),
        measure="test",
        finish=None,
        epochs=DROPOUT_EPOCHS,
        batch=32,
        controls=(),
    )


RACES = {"relu": relu_race, "dropout": dropout_race}


def draw_race(
    runs: dict[str, dict],
    metric: str = "train_error",
    finish: float | None = FINISH,
    num_epochs: int = EPOCHS,
) -> str:
    """A recorded race as SVG, laid out as ``race.js`` does.

    Args:
        runs: a recorded run for each of the two lanes, by the names of the lanes.
        metric: see :func:`~alexnet.bookkit.findings.errors_over_epochs`.
        finish: the error that ends the race of a lane, or None.
        num_epochs: that the chart has room for.
    """
    left, right, top, bottom = BOX.values()

    def place(epoch: float, error: float) -> tuple[float, float]:
        across = left + (right - left) * epoch / num_epochs
        return round(across, 1), round(bottom - (bottom - top) * error, 1)

    body = ""
    for error in (0, 0.25, 0.5, 0.75, 1):
        _, y = place(0, error)
        line = {"stroke": "currentColor", "stroke_width": 1, "opacity": 0.2}
        if error == finish:
            line = {"stroke": "currentColor", "stroke_width": 1.5, "stroke_dasharray": "5 4"}
        body += element("path", d=f"M{left} {y}H{right}", fill="none", **line)
        body += element("text", f"{error:.0%}", x=left - 6, y=y + 4, text_anchor="end")
    for epoch in range(0, num_epochs + 1, num_epochs // 5):
        body += element(
            "text", str(epoch), x=place(epoch, 0)[0], y=bottom + 18, text_anchor="middle"
        )
    middle = (left + right) / 2
    kind = "training error" if metric == "train_error" else "error on patches kept aside"
    body += element("text", f"epochs ({kind})", x=middle, y=bottom + 36, text_anchor="middle")
    results = []
    for (name, run), color in zip(runs.items(), (FIRST, SECOND)):
        epochs, errors = errors_over_epochs(run, metric)
        arrived = math.inf if finish is None else epochs_to(run, finish, metric)
        shown = [(n, error) for n, error in zip(epochs, errors) if n <= arrived]
        points = [place(*point) for point in shown]
        text = " ".join(f"{x},{y}" for x, y in points)
        body += element("polyline", points=text, fill="none", stroke=color, stroke_width=2)
        x, y = points[-1]
        end = {"text_anchor": "end"} if x > right - 60 else {}
        body += element("text", name, x=x, y=y - 8, fill=color, font_weight="bold", **end)
        at_end = late_error(run) if finish is None else errors[-1]
        result = f"{arrived} epochs" if arrived < num_epochs else f"{at_end:.0%} at the end"
        results.append(f"{name} {result}")
    aim = "," if finish is None else f" to {finish:.0%}"
    label = f"a recorded race{aim} {kind}: {', '.join(results)}"
    return svg(640, 272, label.replace("%", " %"), body.replace("%<", " %<"))


# In a notebook


def show_race(name: str = "relu") -> "RaceOutput":
    """Show a race in a notebook: live with a kernel; a recorded race without one.

    Args:
        name: of the race, one of :data:`RACES`.

    Raises:
        FileNotFoundError: without the book, which has the part.
    """
    return RaceOutput(name)


class RaceOutput(ipywidgets.HTML):
    """One object with two views: the live race for a kernel, and a picture for a page alone.

    ``book/_ext/live_parts.py`` replaces the picture by the live race on the page.

    Args:
        name: see :func:`show_race`.
    """

    def __init__(self, name: str) -> None:
        path = part_path(name)
        if not path.exists():
            raise missing_from_wheel(path)
        self.name = name
        self._part = path.read_text(encoding="utf-8")
        start = self._part.index("<svg")
        self._drawing = self._part[start : self._part.index("</svg>") + len("</svg>")]
        super().__init__(net_output.frame_html(document_html(self._part)))

    def still_html(self) -> str:
        """The recorded race, and where the live one is."""
        page = f"{self.name}.html"
        return (
            f'<figure class="race" data-part="race_{self.name}">{still_html(self._drawing)}'
            f'<figcaption>A recorded race. On <a href="{page}">the page of this chapter</a>, and '
            "here with a kernel, you start it yourself.</figcaption></figure>"
        )

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        bundle = super()._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = f"show_race({self.name!r})"
        bundle["text/html"] = self.still_html()
        image = still_png(self._drawing)
        if image:
            bundle["image/png"] = b64encode(image).decode()
        return bundle


def document_html(part: str) -> str:
    """A part with all that it needs, in one document without an address."""
    style = (FOLDER / "race.css").read_text(encoding="utf-8")
    scripts = "".join(net_output.engine_scripts())
    script = net_output.script((FOLDER / "race.js").read_text(encoding="utf-8"))
    inside = part.replace("</figure>", f"{script}</figure>")
    return net_output.page_html(style, scripts + inside)


def main(args: list[str] | None = None) -> None:
    """Write the parts of all races."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.parse_args(args)
    if not BOOK.is_dir():
        sys.exit("the races are parts of the book, which is in the repository and not in a wheel")
    for make in RACES.values():
        race = make()
        race.path.write_text(race.render(), encoding="utf-8", newline="\n")
        print(printable(f"{race.path}: {race.path.stat().st_size / 1e3:.0f} kB"))


if __name__ == "__main__":
    main()
