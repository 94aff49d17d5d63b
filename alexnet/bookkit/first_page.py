"""The net on the first page, as it is before anybody touches it.

``python -m alexnet.bookkit.first_page`` computes it and writes ``book/first_page.html``, a part of
a page: the photograph, what the net sees of it, its guesses, and the maps of all layers. This is
also what print and a browser without scripts show. ``page/page.html`` is its outline, and
``page/page.js`` moves it. ``book/_ext/first_page.py`` puts it into the page; the part is in the
repository, since the pages are built without PyTorch.
"""

import argparse
import base64
import csv
import io
import json
import math
import sys
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.v2 import functional as TF

from alexnet.anatomy import ReceptiveField
from alexnet.bookkit.cut_costs import cut_costs
from alexnet.bookkit.export import describe, quantized
from alexnet.bookkit.paths import BOOK
from alexnet.bookkit.svg import FIRST, SECOND
from alexnet.console import printable
from alexnet.loader import decode_image, resize_center_crop
from alexnet.predictor import SHIPPED, Predictor

PAGE = Path(__file__).parent / "page"  # the outline, the style and the scripts
OUT = BOOK / "first_page.html"
PHOTOGRAPHS = BOOK / "photographs"

GUESSES = 5
# Where the gray square lies at first, in pixels of what the net sees: a corner that shows nothing
# of the red panda.
SQUARE = {"x": 10, "y": 54, "size": 14}
# Small pictures in a row of those that show a layer's maps.
TILES = {"conv1": 6, "conv2": 8, "conv3": 10, "conv4": 10, "conv5": 8}
TILES |= {"fc6": 16, "fc7": 16, "fc8": 10}
COLORS = [FIRST, SECOND, "#8a8f98"]  # of the columns, and of fc8, which is in neither
GAP = 255  # index of the color between maps, which is transparent
# A map is as bright as white where it reaches this share of its layer's values.
BRIGHT = 0.995
THUMBNAIL = 80  # pixels
# Of so many validation photographs at least the page says how often the net was right.
ENOUGH = 100
DIGITS = 6  # of PyTorch's numbers that stand beside the page's


@dataclass
class ShownLayer:
    """A layer as the page shows it; ``page/page.js`` has the same type."""

    name: str  # such as conv1
    output: str  # the layer whose output is shown: conv1's maps after their ReLU
    reads: str  # the layer before, or input
    maps: int  # of all columns
    columns: int
    side: int  # height and width of a map
    tiles: int  # maps in a row of the picture
    crosses: bool  # whether it reads the maps of both columns
    kernel: int  # height and width of what a unit reads; 0 for fc6 to fc8, which read all
    stride: int
    padding: int  # zeros above and left of what it reads
    scale: float  # the value that is shown as white
    # Of a map's first unit, in pixels of the crop: the receptive field's size and first pixel,
    # padding included, and the distance to its neighbor's.
    field: int
    start: int
    jump: int


@dataclass
class Pass:
    """What the net makes of an image."""

    probabilities: Tensor  # (classes,)
    maps: dict[str, Tensor]  # by layer, (maps, side, side), or (units,)


def forward(predictor: Predictor, image: Tensor) -> Pass:
    """One forward pass.

    Args:
        predictor: a net in two columns.
        image: uint8 (3, resize, resize).
    """
    nodes = {f"features.act{n}": f"conv{n}" for n in range(1, 6)}
    nodes |= {"classifier.act6": "fc6", "classifier.act7": "fc7", "classifier.fc8": "fc8"}
    extractor = create_feature_extractor(predictor.model.eval(), return_nodes=nodes)
    view = TF.center_crop(image[None], [predictor.crop, predictor.crop])
    with torch.no_grad():
        outputs = extractor(predictor.normalize(view))
    probabilities = outputs["fc8"][0].softmax(0)
    return Pass(probabilities, {name: output[0] for name, output in outputs.items()})


def shown_layers(predictor: Predictor, untouched: Pass) -> list[ShownLayer]:
    """The layers from conv1 to fc8, with the scales of the untouched photograph."""
    described = describe(predictor.model, (3, predictor.crop, predictor.crop))["layers"]
    layers = []
    field = ReceptiveField(1, 1, 0)
    reads = "input"
    for spec in described:
        name, kernel, stride = spec["name"], spec.get("kernel", 0), spec.get("stride", 1)
        padding = spec.get("padding", [0])[0]
        if kernel:
            field = field.grow(kernel, stride, padding)
        elif spec["type"] == "linear":
            field = ReceptiveField(predictor.crop, 1, 0)
        if name in untouched.maps:
            values = untouched.maps[name]
            layers.append(
                ShownLayer(
                    name=name,
                    output="fc8" if name == "fc8" else f"act{name[-1]}",
                    reads=reads,
                    maps=len(values),
                    columns=1 if name == "fc8" else 2,
                    side=values.shape[-1] if values.ndim == 3 else 1,
                    tiles=TILES[name],
                    crosses=spec.get("groups", 1) == 1,
                    kernel=kernel,
                    stride=stride,
                    padding=padding,
                    scale=_scale_of(values),
                    field=field.size,
                    start=field.start,
                    jump=field.jump,
                )
            )
        reads = name
    return layers


def _scale_of(values: Tensor) -> float:
    """The value that is shown as white; ``scaleOf`` in ``page/page.js`` is the same."""
    ordered = values.flatten().sort().values
    value = float(ordered[math.floor(BRIGHT * (len(ordered) - 1))])
    return value if value > 0 else 1.0


def gray_of(predictor: Predictor) -> list[int]:
    """The mean color of the photographs that the net was trained with, 0 to 255."""
    return [round(255 * float(value)) for value in predictor.mean.mean((1, 2))]


def cover(image: Tensor, square: dict[str, float], gray: list[int]) -> Tensor:
    """Lay the gray square on an image; ``laySquare`` in ``page/picture.js`` is the same.

    Args:
        image: uint8 (3, side, side).
        square: center and size in pixels. A pixel that is covered in part is gray in part.
        gray: its color, 0 to 255.
    """
    edges = torch.arange(image.shape[-1] + 1, dtype=torch.float64)
    half = square["size"] / 2
    across, down = [
        (edges[1:].clamp(max=square[key] + half) - edges[:-1].clamp(min=square[key] - half)).clamp(
            0
        )
        for key in ("x", "y")
    ]
    covered = down[:, None] * across  # (side, side), shares of a pixel
    color = torch.tensor(gray)[:, None, None]
    return (image * (1 - covered) + color * covered + 0.5).floor().to(torch.uint8)


def palette(color: str) -> list[list[int]]:
    """The 256 colors of a column's maps: from dark over the column's own to white."""
    own = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    stops = np.array([[20, 23, 28], own, [255, 255, 255]])
    places = np.linspace(0, 2, GAP)
    channels = [np.interp(places, range(3), stops[:, channel]) for channel in range(3)]
    return [*np.rint(np.array(channels).T).astype(int).tolist(), [0, 0, 0]]


def tile(maps: Tensor, layer: ShownLayer) -> np.ndarray:
    """The maps of one column as one picture of palette indices, side by side with gaps."""
    pitch = layer.side + (layer.side > 1)
    rows = math.ceil(len(maps) / layer.tiles)
    picture = np.full((rows * pitch, layer.tiles * pitch), GAP, np.uint8)
    levels = (maps.double() / layer.scale).clamp(0, 1) * (GAP - 1) + 0.5
    for at, level in enumerate(levels.reshape(-1, layer.side, layer.side)):
        top, left = at // layer.tiles * pitch, at % layer.tiles * pitch
        picture[top : top + layer.side, left : left + layer.side] = level.floor().numpy()
    return picture


def data_uri(image: Image.Image, kind: str, **options: object) -> str:
    """An image file in the page itself."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def strongest(shown: Pass) -> dict[str, list]:
    """PyTorch's numbers for the page to compare its own with: of each map the strongest unit.

    Returns:
        For each layer the values, and, where a map has several units, their places: row times side
        plus column.
    """
    numbers: dict[str, list] = {}
    for name, maps in shown.maps.items():
        best = maps.flatten(1).max(1) if maps.ndim == 3 else None
        values = maps if best is None else best.values
        numbers[name] = [[float(f"{value:.{DIGITS}g}") for value in values.tolist()]]
        if best is not None:
            numbers[name].append(best.indices.tolist())
    return numbers


def right_sentence(card: dict) -> str:
    """How often the first guess is right, for the caption; empty if the card does not say."""
    accuracy = card.get("accuracy", {}).get("stored, one crop")
    if not accuracy:
        return ""
    return (
        f" Its first guess is right for {100 * accuracy['top1']:.0f} of 100 photographs that it "
        "has not seen, so expect mistakes."
    )


def sure_sentence(card: dict, probability: float) -> str:
    """How often the net was right where it was as sure, as ``sureSentence`` in ``classes.js``.

    Args:
        card: of the net, with ``how_often_right`` of :mod:`alexnet.experiments.flagship`.
        probability: of the first guess.

    Returns:
        A sentence; nothing where too few validation photographs were in the same tenth.
    """
    for tenth in card.get("how_often_right", []):
        if tenth["from"] < probability <= tenth["to"] and tenth["images"] >= ENOUGH:
            right = math.floor(100 * tenth["right"] + 0.5)
            return f"Of 100 validation photographs of which it was this sure, {right} were right."
    return ""


def percent(probability: float) -> str:
    """As ``percent`` in ``page/page.js``."""
    value = 100 * probability
    is_whole = 9.95 <= value < 99 or value >= 99.95
    return f"{math.floor(value + 0.5)} %" if is_whole else f"{value:.1f} %"


def short(word: str) -> str:
    """The first of a class's names, such as ``goldfish`` for "goldfish, Carassius auratus"."""
    return word.partition(",")[0]


def credits() -> list[dict[str, str]]:
    """The photographs of free licence, the first one first."""
    with (PHOTOGRAPHS / "CREDITS.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def render(weights: str | Path, net: str | None = None) -> str:
    """The part of the page.

    Args:
        weights: as for :func:`alexnet.bookkit.export.quantized`.
        net: the name under which the page loads them; as they are called if it is left out.
    """
    predictor, _, card = quantized(weights)
    photographs = credits()
    path = PHOTOGRAPHS / photographs[0]["file"]
    image = resize_center_crop(decode_image(path), predictor.resize)
    gray = gray_of(predictor)
    seen = cover(image, SQUARE, gray)
    untouched, touched = forward(predictor, image), forward(predictor, seen)
    layers = shown_layers(predictor, untouched)
    guesses = untouched.probabilities.topk(GUESSES).indices.tolist()
    words = [predictor.class_name(label) for label in range(len(predictor.classes))]
    state = {
        "net": net or Path(weights).stem,
        "resize": predictor.resize,
        "crop": predictor.crop,
        "gray": gray,
        "square": SQUARE,
        "bright": BRIGHT,
        "guesses": guesses,
        "untouched": [float(untouched.probabilities[label]) for label in guesses],
        "base": data_uri(TF.to_pil_image(image), "PNG", optimize=True),
        "strongest": strongest(touched),
        "enough": ENOUGH,
        "palettes": [palette(color) for color in COLORS],
        "layers": [asdict(layer) for layer in layers],
        "photographs": [describe_photograph(row) for row in photographs],
        "costs": cut_costs(weights),
    }
    template = Template((PAGE / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        photograph=file_uri(path),
        word=escape(photographs[0]["in words"]),
        credit=credit_of(photographs[0]),
        square=square_style(predictor.resize, gray),
        headline=f"<b>{escape(short(words[int(touched.probabilities.argmax())]))}</b>",
        guesses=guess_rows(guesses, words, untouched.probabilities, touched.probabilities),
        rest=len(words) - GUESSES,
        classes=len(words),
        side=predictor.resize,
        margin=50 * (1 - predictor.crop / predictor.resize),
        cropped=100 * predictor.crop / predictor.resize,
        parameters=f"{sum(p.numel() for p in predictor.model.parameters()) / 1e6:.1f}",
        right=right_sentence(card),
        sure=sure_sentence(card, float(touched.probabilities.max())),
        patches="\n".join(patch_option(row) for row in photographs),
        samples=sample_buttons(photographs),
        seen=data_uri(TF.to_pil_image(seen), "PNG", optimize=True),
        layers="\n".join(layer_html(layer, touched.maps[layer.name]) for layer in layers),
        state=json.dumps(state, separators=(",", ":")).replace("<", "\\u003c"),
    )


def file_uri(path: Path) -> str:
    """A WebP file in the page itself, as it is."""
    return f"data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}"


def describe_photograph(row: dict[str, str]) -> dict[str, str]:
    """What the script is told of a photograph."""
    keys = {"words": "in words", "author": "author", "licence": "licence", "source": "source"}
    name = Path(row["file"]).stem
    return {"name": name, **{key: row[column] for key, column in keys.items()}}


def credit_of(row: dict[str, str]) -> str:
    """Author and licence, with a link to where it is from."""
    source = escape(row["source"])
    return f'<a href="{source}">{escape(row["author"])}</a>, {escape(row["licence"])}'


def square_style(side: int, gray: list[int]) -> str:
    """Where the square lies, as the script sets it."""
    half = SQUARE["size"] / 2
    left, top = [100 * (SQUARE[key] - half) / side for key in ("x", "y")]
    size = 100 * SQUARE["size"] / side
    color = ",".join(map(str, gray))
    return f"left:{left}%;top:{top}%;width:{size}%;height:{size}%;background:rgb({color})"


def guess_rows(labels: list[int], words: list[str], untouched: Tensor, touched: Tensor) -> str:
    """A row for each guess, and one for all other classes."""
    rows = [(words[label], float(touched[label]), float(untouched[label])) for label in labels]
    others = [1 - sum(row[at] for row in rows) for at in (1, 2)]
    rows.append((f"the other {len(words) - len(labels)}", *others))
    html = []
    for at, (word, value, mark) in enumerate(rows):
        kind = "" if at < len(labels) else " net-others"
        html.append(
            f'<li class="net-guess{kind}"><span class="net-word" title="{escape(word)}">'
            f'{escape(short(word))}</span><span class="net-bar">'
            f'<i style="width:{100 * value:.2f}%"></i><u style="left:{100 * mark:.2f}%"></u></span>'
            f'<span class="net-value">{percent(value)}</span></li>'
        )
    return "\n".join(html)


def patch_option(row: dict[str, str]) -> str:
    """The choice of a photograph of which the square shows a patch."""
    name = Path(row["file"]).stem
    return f'<option value="{name}">patch of {escape(name.replace("_", " "))}</option>'


def sample_buttons(photographs: list[dict[str, str]]) -> str:
    """A small picture to click for each photograph."""
    html = []
    for row in photographs:
        image = Image.open(PHOTOGRAPHS / row["file"]).convert("RGB")
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        name = Path(row["file"]).stem
        html.append(
            f'<button type="button" class="net-sample" data-name="{name}" '
            f'aria-label="photograph: {escape(name.replace("_", " "))}" '
            f'title="{escape(name.replace("_", " "))}">'
            f'<img class="dark-light" src="{data_uri(image, "WEBP", quality=60)}" alt="" '
            'width="40" height="40"></button>'
        )
    return "\n".join(html)


def layer_html(layer: ShownLayer, maps: Tensor) -> str:
    """What comes into a layer, its name, and a picture of its maps in either column."""
    blocks = []
    kind = "units" if layer.side == 1 else "maps"
    for column, part in enumerate(maps.reshape(layer.columns, -1, layer.side, layer.side)):
        picture = Image.fromarray(tile(part, layer), "P")
        color = COLORS[column if layer.columns > 1 else -1]
        picture.putpalette(np.array(palette(color), np.uint8).tobytes())
        uri = data_uri(picture, "PNG", transparency=GAP, optimize=True)
        label = f"{layer.name}, column {column + 1}: {len(part)} {kind}"
        if layer.columns == 1:
            label = f"{layer.name}: {len(part)} units, one for each kind of thing"
        blocks.append(
            f'<button type="button" class="net-block net-column{column + 1}" '
            f'style="--wide:{picture.width};--tall:{picture.height}" aria-label="{label}" '
            f'data-layer="{layer.name}" data-column="{column}">'
            f'<img class="dark-light" src="{uri}" alt="" '
            f'width="{picture.width}" height="{picture.height}"></button>'
        )
    name = layer.name if layer.columns == 2 else f"{layer.name}: {layer.maps} kinds"
    fed = "net-fan" if layer.name == "conv1" else "net-crossing" if layer.crosses else ""
    return (
        f'<div class="net-wire {fed}" data-layer="{layer.name}">{wires(layer)}</div>'
        f'<div class="net-layer" data-layer="{layer.name}"><span class="net-name">{name}'
        f"</span>{''.join(blocks)}</div>"
    )


def wires(layer: ShownLayer) -> str:
    """Lines from the layer before, for both ways to lay out the page: to the right, and down."""
    drawings = []
    for kind, first, second in (("across", 22, 78), ("down", 25, 75)):
        ends = [(first, first, 1), (second, second, 2)]
        if layer.name == "conv1":
            ends = [(50, first, 0), (50, second, 0)]
        elif layer.columns == 1:
            ends = [(first, 50, 1), (second, 50, 2)]
        elif layer.crosses:
            ends += [(first, second, 1), (second, first, 2)]
        lines = []
        for a, b, column in ends:
            path = f"M0 {a}L100 {b}" if kind == "across" else f"M{a} 0L{b} 100"
            crosses = " net-crosses" if column and a != b else ""
            lines.append(f'<path class="net-line{column}{crosses}" d="{path}"/>')
        drawings.append(
            f'<svg class="net-{kind}" viewBox="0 0 100 100" preserveAspectRatio="none" '
            f'aria-hidden="true">{"".join(lines)}</svg>'
        )
    return "".join(drawings)


def main(args: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "weights",
        nargs="?",
        default="tiny-imagenet",
        help=f"{', '.join(SHIPPED)}, or a model.safetensors (default: tiny-imagenet)",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the file (default: in the book)")
    options = parser.parse_args(args)
    try:
        options.out.write_text(render(options.weights), encoding="utf-8", newline="\n")
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(printable(f"{options.out}: {options.out.stat().st_size / 1e3:.0f} kB"))


if __name__ == "__main__":
    main()
