"""All measured effects in one picture, each with its interval, for the paper or against it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from alexnet.bookkit.claims import Claim
from alexnet.bookkit.findings import Finding, finding
from alexnet.bookkit.stats import Effect
from alexnet.bookkit.svg import BOTH, FIRST, SECOND, element, line, svg
from alexnet.bookkit.tiny_imagenet import tiny_finding

_WIDTH, _ROW, _TOP = 360, 38, 30
_MIDDLE, _REACH = 180, 168  # of no effect, and of the farthest end of an interval
_PERCENT = ("P25",)  # effects that are fractions, and are given in points
_SCALE = ("P24",)  # effects on a scale of their own


@dataclass(frozen=True)
class _Row:
    claim: str
    label: str
    effect: Effect
    verdict: str
    is_tiny: bool  # on Tiny ImageNet


def draw_effects(rows: Iterable[Claim]) -> str:
    """Draw the effect behind each claim that was measured.

    Each has a scale of its own, as their units differ: the end of its interval that is farther from
    no effect lies at the edge. Ratios are drawn by their logarithms. Where an effect depends on the
    line that is drawn, all of them are, and the bar has the widest of their intervals. What was
    measured on Tiny ImageNet as well stands below, not in bold and with hollow dots.

    Args:
        rows: the claims; others than those that were measured are left out.
    """
    drawn = [
        row for rows_of_claim in sorted(map(_rows_of, rows), key=_order) for row in rows_of_claim
    ]
    body = _heads()
    for at, row in enumerate(drawn):
        body += _draw_row(_TOP + at * _ROW, row)
    said = "; ".join(f"{row.label} {_figure(row.claim, row.effect)}" for row in drawn)
    return svg(_WIDTH, _TOP + len(drawn) * _ROW, f"Measured effects: {said}", body)


def _rows_of(claim: Claim) -> list[_Row]:
    """The lines of a claim: first those of what it was measured on, then those of Tiny ImageNet."""
    rows = []
    if claim.measured:
        found = finding(claim.name, claim.measured.looks)
        rows += _rows_of_finding(claim.name, found, claim.verdict)
    if tiny := claim.tiny_imagenet:
        found = tiny_finding(claim.name, tiny.looks)
        name = "Tiny ImageNet" if rows else found.name
        rows += _rows_of_finding(claim.name, found, tiny.verdict, name)
    return rows


def _rows_of_finding(claim: str, found: Finding, verdict: str, tiny_name: str = "") -> list[_Row]:
    name = tiny_name or found.name.partition(",")[0]
    rows = []
    for effect in found.effects:
        label = ", ".join(filter(None, (f"{claim} {name}", effect.part)))
        rows.append(_Row(claim, label, effect, verdict, bool(tiny_name)))
    return rows


def _order(rows: list[_Row]) -> tuple[int, float]:
    """What holds first, and of these what is farthest from no effect."""
    if not rows:
        return 0, 0.0
    order = {"holds": 0, "cannot tell": 1, "does not hold": 2}
    return order[rows[0].verdict], -_places(rows[0].effect)[0][0]


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
        mean, low, high = (f"{100 * value:.1f}" for value in interval)
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


def _draw_row(y: float, row: _Row) -> str:
    color = {"holds": FIRST, "does not hold": SECOND}.get(row.verdict, BOTH)
    fill = "var(--pst-color-background, #fff)" if row.is_tiny else color
    places = [[_MIDDLE + _REACH * value for value in place] for place in _places(row.effect)]
    drawn = _text(2, y + 14, row.label, font_weight=400 if row.is_tiny else 600)
    drawn += _text(_WIDTH - 2, y + 14, _figure(row.claim, row.effect), "end")
    bar = y + 26
    drawn += line(_MIDDLE - _REACH, bar, _MIDDLE + _REACH, bar, "#7d828b55", 1)
    drawn += line(_MIDDLE, bar - 8, _MIDDLE, bar + 8, "currentColor", 1)
    low, high = min(place[1] for place in places), max(place[2] for place in places)
    drawn += line(low, bar, high, bar, color, 3 if len(places) == 1 else 1.5)
    for mean, _, _ in places:
        dot = {"cx": f"{mean:.1f}", "cy": bar, "r": 5 if len(places) == 1 else 3}
        drawn += element("circle", fill=fill, stroke=color, stroke_width=2, **dot)
    return drawn
