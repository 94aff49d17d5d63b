"""A walk down a curved valley by the paper's rule, which the reader sets and the page computes.

The valley is Rosenbrock's, with sides a fifth as steep. What the page shows of it, and the rule,
are in ``valley.js``, next to this file, with the style ``valley.css``. :func:`descend` is the same
walk by :class:`alexnet.optim.PaperSGD`; the tests compare the two.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alexnet.bookkit.drawings import draw_descent, draw_landscape
from alexnet.bookkit.stills import still_html, still_png
from alexnet.optim import PaperSGD

STEEPNESS = 20  # of the sides; in Rosenbrock's own valley 100
LEVELS = (100, 30, 10, 3, 1, 0.3, 0.1, 0.03)  # heights at which a line is drawn
START = (-1.2, 1.0)  # Rosenbrock's own
STEPS = 100
# What is drawn, in the valley's own units and in those of the drawing
LEFT, BOTTOM, UNIT, SIZE = -1.6, -0.6, 112.5, (360, 270)

# Settings that show something each; the first is shown at first
PRESETS = {
    "no momentum": {"rate": 0.01, "momentum": 0.0, "decay": 0.0},
    "2012: 0.9, 0.0005": {"rate": 0.01, "momentum": 0.9, "decay": 0.0005},
    "from side to side": {"rate": 0.027, "momentum": 0.0, "decay": 0.0},
    "too fast": {"rate": 0.03, "momentum": 0.0, "decay": 0.0},
    "too much momentum": {"rate": 0.003, "momentum": 0.99, "decay": 0.0},
    "strong decay": {"rate": 0.01, "momentum": 0.9, "decay": 3.0},
}

CAPTION = (
    f"A walk of {STEPS} steps down the valley by the paper's rule; more colour is lower. It begins "
    "at the ball, which you can drag, or move by the arrow keys, and ends at the orange disc, or "
    "leaves the drawing at a slanting orange cross; the upright cross is the lowest point. With "
    "decay, the square is where its pull and the slope cancel."
)


def height(x: Tensor | float, y: Tensor | float) -> Tensor | float:
    """The height of the valley at a place."""
    return (1 - x) ** 2 + STEEPNESS * (y - x**2) ** 2


def descend(
    rate: float, momentum: float, decay: float, start: Sequence[float] = START, steps: int = STEPS
) -> Tensor:
    """Walk down the valley with :class:`alexnet.optim.PaperSGD`.

    Args:
        rate: the learning rate, the same at each step.
        momentum: fraction of the velocity that is kept, in [0, 1).
        decay: weight decay.
        start: x and y.
        steps: how many.

    Returns:
        float64 (steps + 1, 2), the places from the start on; they may be infinite or NaN.
    """
    w = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = PaperSGD([w], rate, momentum, decay)
    places = [w.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        height(*w).backward()
        optimizer.step()
        places.append(w.detach().clone())
    return torch.stack(places)


def _level_line(level: float) -> np.ndarray:
    """(n, 2), the closed line of the valley at a height, in units of the valley."""
    # A little more than what is drawn; more points at the ends, where the line turns.
    left, right = max(1 - level**0.5, -1.7), min(1 + level**0.5, 1.7)
    x = (left + right) / 2 - (right - left) / 2 * np.cos(np.linspace(0, np.pi, 60))
    half_width = np.sqrt(np.clip(level - (1 - x) ** 2, 0, None) / STEEPNESS)
    upper = np.stack([x, x**2 + half_width], 1)
    lower = np.stack([x, x**2 - half_width], 1)
    return np.concatenate([upper, lower[::-1]])


def _to_drawing(places: np.ndarray) -> np.ndarray:
    """Places (n, 2) of the valley in units of the drawing, from its upper left corner."""
    return (places - [LEFT, BOTTOM]) * [UNIT, -UNIT] + [0, SIZE[1]]


def _landscape() -> str:
    lines = [_to_drawing(_level_line(level)) for level in LEVELS]
    return draw_landscape(lines, _to_drawing(np.ones(2)))


class Valley:
    """The valley for a reader to walk down, with any rate, momentum, decay and start.

    Args:
        *names: of the presets that have a button; all, if none is named.
    """

    def __init__(self, *names: str) -> None:
        self.presets = {name: PRESETS[name] for name in names or PRESETS}

    def to_html(self) -> str:
        """The figure as HTML that needs no other file; without scripts it is :meth:`still`."""
        width, height = SIZE
        data = {
            "map": _landscape(),
            "box": {"left": LEFT, "bottom": BOTTOM, "unit": UNIT, "width": width, "height": height},
            "steepness": STEEPNESS,
            "start": START,
            "steps": STEPS,
            "presets": [{"name": name, **setting} for name, setting in self.presets.items()],
        }
        packed = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        packed = packed.replace("<", "\\u003c")  # so that no "</script>" ends the element
        style, script = (
            Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")
            for suffix in (".css", ".js")
        )
        return (
            f'<figure class="valley"><style>{style}</style>'
            f'<div class="valley-still">{still_html(self.still())}</div>'
            f'<div class="valley-live"></div><figcaption>{escape(CAPTION)}</figcaption>'
            f'<script type="application/json">{packed}</script><script>{script}</script></figure>'
        )

    def still(self) -> str:
        """A drawing of the first walk, for print."""
        path = descend(**next(iter(self.presets.values()))).numpy()
        label = f"a walk down a curved valley, which ends at a height of {height(*path[-1]):.3g}"
        return draw_descent(_landscape(), _to_drawing(path), SIZE, label)

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]:
        bundle = {"text/plain": "Valley()", "text/html": self.to_html()}
        image = still_png(self.still())
        if image:
            bundle["image/png"] = b64encode(image).decode()
        return bundle
