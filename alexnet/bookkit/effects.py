"""All measured effects in one picture, each with its interval, for the paper or against it."""

import math
from collections.abc import Iterable
from html import escape

from alexnet.bookkit.claims import Claim
from alexnet.bookkit.findings import finding
from alexnet.bookkit.stats import Effect
from alexnet.bookkit.svg import BOTH, FIRST, element, line, svg

_WIDTH, _ROW, _TOP = 360, 38, 30
_MIDDLE, _REACH = 180, 168  # of no effect, and of the farthest end of an interval
_PERCENT = ("P25",)  # effects that are fractions, and are given in points
_SCALE = ("P24",)  # effects on a scale of their own


def draw_effects(rows: Iterable[Claim]) -> str:
    """Draw the effect behind each claim that was measured.

    Each has a scale of its own, as their units differ: the end of its interval that is farther from
    no effect lies at the edge. Ratios are drawn by their logarithms. Where an effect depends on the
    line that is drawn, all of them are.

    Args:
        rows: the claims; others than those that were measured are left out.
    """
    drawn = []
    for row in rows:
        if row.measured is None:
            continue
        found = finding(row.name, row.measured.looks)
        name = found.name.partition(",")[0]
        names = [f"{name}, epochs", f"{name}, gap"] if len(found.effects) > 1 else [name]
        for label, effect in zip(names, found.effects, strict=True):
            drawn.append((row, f"{row.name} {label}", effect))
    order = {"holds": 0, "cannot tell": 1, "does not hold": 2}
    drawn.sort(key=lambda one: (order[one[0].verdict], -_places(one[2])[0][0]))
    body = _heads()
    for at, (row, label, effect) in enumerate(drawn):
        body += _draw_row(_TOP + at * _ROW, row, label, effect)
    said = "; ".join(f"{label} {_figure(row.name, effect)}" for row, label, effect in drawn)
    return svg(_WIDTH, _TOP + len(drawn) * _ROW, f"Measured effects: {said}", body)


def _places(effect: Effect) -> list[tuple[float, float, float]]:
    """Mean, low and high of each line, as fractions of the end that is farthest out."""
    places = []
    for interval in effect.intervals:
        if effect.no_effect:
            places.append(tuple(math.log(value / effect.no_effect) for value in interval))
        else:
            places.append(tuple(interval))
    farthest = max(abs(value) for place in places for value in place)
    return [tuple(value / farthest for value in place) for place in places]


def _figure(name: str, effect: Effect) -> str:
    if len(effect.intervals) > 1:
        means = [interval.mean for interval in effect.intervals]
        unit = "times" if effect.no_effect else "points"
        return f"{min(means):.1f} to {max(means):.1f} {unit}"
    (interval,) = effect.intervals
    if effect.no_effect:
        mean, low, high = interval
        digits = 0 if mean > 10 else 1
        return f"{mean:.{digits}f} times ({low:.{digits}f} to {high:.{digits}f})"
    if name in _PERCENT:
        mean, low, high = (f"{100 * value:.0f}" for value in interval)
        text = f"{mean} points ({low} to {high})"
    elif name in _SCALE:
        text = f"{interval:.2f}"
    else:
        mean, low, high = (f"{value:.1f}" for value in interval)
        text = f"{mean} points ({low} to {high})"
    return text.replace("-", "−")


def _text(x: float, y: float, words: str, anchor: str = "start", **more: object) -> str:
    return element("text", escape(words), x=x, y=y, text_anchor=anchor, **more)


def _heads() -> str:
    heads = _text(2, 14, "← against the paper")
    heads += _text(_MIDDLE, 14, "no effect", "middle")
    heads += _text(_WIDTH - 2, 14, "for the paper →", "end")
    return heads


def _draw_row(y: float, row: Claim, label: str, effect: Effect) -> str:
    color = FIRST if row.verdict == "holds" else BOTH
    places = [[_MIDDLE + _REACH * value for value in place] for place in _places(effect)]
    drawn = _text(2, y + 14, label, font_weight=600)
    drawn += _text(_WIDTH - 2, y + 14, _figure(row.name, effect), "end")
    bar = y + 26
    drawn += line(_MIDDLE - _REACH, bar, _MIDDLE + _REACH, bar, "#7d828b55", 1)
    drawn += line(_MIDDLE, bar - 8, _MIDDLE, bar + 8, "currentColor", 1)
    low, high = min(place[1] for place in places), max(place[2] for place in places)
    drawn += line(low, bar, high, bar, color, 3 if len(places) == 1 else 1.5)
    for mean, _, _ in places:
        dot = {"cx": f"{mean:.1f}", "cy": bar, "r": 5 if len(places) == 1 else 3}
        drawn += element("circle", fill=color, **dot)
    return drawn
