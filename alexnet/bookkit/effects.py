"""All measured effects in one picture, each with its interval, for the paper or against it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from alexnet.bookkit.cards import SIGNS
from alexnet.bookkit.claims import Claim
from alexnet.bookkit.findings import Finding
from alexnet.bookkit.stats import Effect, Interval
from alexnet.bookkit.svg import BOTH, FIRST, SECOND, element, line, svg

_WIDTH, _MIDDLE, _REACH = 360, 180, 170  # no effect is in the middle, the right end 170 from it
_LEFT = 138  # and the left one as far, since figures stand beyond it
_LEGEND, _AXIS = 22, 40  # heights of what the dots mean, and of an axis
_LABEL, _BAR, _GAP = 15, 14, 6  # heights of a row's words, of each of its bars, and below it
_BACKGROUND = "var(--pst-color-background, #fff)"
_PERCENT = ("P25",)  # claims with fractions that the record has in points
_FRACTIONS = ("P24",)  # and with others, which have an axis of their own
_TICKS = {  # those beyond the farthest bar are not drawn
    "errors": (-15, -10, -5, 0, 5, 10, 15),
    "points": (-50, -10, -2, 0, 2, 10, 50),
    "times": (1 / 8, 1 / 2, 1, 2, 8),
    "of 1": (-0.2, -0.1, 0, 0.1, 0.2),
}
_UNITS = {
    "errors": "points of error",
    "points": "in points",
    "times": "as a factor",
    "of 1": "from 0 to 1",
}


@dataclass(frozen=True)
class _Bar:
    effect: Effect
    verdict: str
    doubt: str  # why it cannot be told
    is_tiny: bool  # on Tiny ImageNet
    scale: int  # 100 for fractions that are shown in points
    digits: int  # after the point

    @property
    def intervals(self) -> list[Interval]:
        return [Interval(*(self.scale * value for value in i)) for i in self.effect.intervals]


@dataclass(frozen=True)
class _Row:
    claim: str
    label: str
    bars: list[_Bar]  # two if Tiny ImageNet has the same verdict, and for the same reason

    @property
    def height(self) -> int:
        return _LABEL + _BAR * len(self.bars) + _GAP

    @property
    def tag(self) -> str:
        """Sign and verdict, or why there is none."""
        bar = self.bars[0]
        return f"{SIGNS[bar.verdict]} {bar.doubt or bar.verdict}"

    @property
    def decides(self) -> bool:
        """Whether the verdict hangs on the intervals, and not on what else was run."""
        return self.bars[0].doubt == self.bars[0].effect.doubt

    @property
    def unit(self) -> str:
        if self.claim in _FRACTIONS:
            return "of 1"
        effect = self.bars[0].effect
        if effect.no_effect:
            return "times"
        return "points" if self.claim in _PERCENT or effect.part == "gap" else "errors"


def draw_effects(
    rows: Iterable[Claim], deciding: bool = True, units: Iterable[str] = tuple(_TICKS)
) -> str:
    """Draw the effect behind each claim that was measured, with hollow dots on Tiny ImageNet.

    Each row says its verdict, or why the runs cannot tell. Those whose runs cannot tell whatever
    their intervals are have a picture of their own.

    Each unit has an axis of its own: errors a linear one; gaps and shares of neighbors, which are
    small or large, one that is linear near zero and logarithmic far out; ratios a logarithmic one;
    and the differences of colors, which the record has as fractions, one of theirs. Where an effect
    depends on the line that is drawn, the least and the largest are, and the bar has the widest of
    all their intervals.

    Args:
        rows: the claims; others than those that were measured are left out.
        deciding: whether to draw the effects whose intervals decide, or the others.
        units: of ``"errors"``, ``"points"``, ``"times"`` and ``"of 1"`` those to be drawn.
    """
    drawn = [row for claim in rows for row in _rows_of(claim) if row.decides == deciding]
    body, y, said = _draw_legend(), _LEGEND, []
    for unit in units:
        group = sorted((row for row in drawn if row.unit == unit), key=_order)
        if not group:
            continue
        end = max(_far_end(row) for row in group)
        bottom = y + _AXIS + sum(row.height for row in group)
        body += _draw_axis(y, bottom, unit, end)
        y += _AXIS
        for row in group:
            body += _draw_row(y, row, end)
            figures = " and ".join(map(_whole_figure, row.bars))
            name = "points" if unit == "errors" else unit
            said.append(f"{row.claim} {row.label} {figures} {name}, {row.tag[2:]}")
            y += row.height
    return svg(_WIDTH, y + 4, f"Measured effects: {'; '.join(said)}", body)


def _rows_of(claim: Claim) -> list[_Row]:
    """A row for each part of a claim.

    What differs in verdict or in its reason has a row each, as have a ratio and a difference.
    """
    rows = {}
    outcomes = claim.outcomes
    scale = 100 if claim.name in _PERCENT else 1
    digits = 2 if claim.name in _FRACTIONS else 1
    for outcome in outcomes:
        is_tiny = outcome.found.data == "Tiny ImageNet"
        for effect, doubt in zip(outcome.found.effects, outcome.doubts, strict=True):
            key = effect.part, bool(effect.no_effect), outcome.verdict, doubt
            row = rows.setdefault(key, _Row(claim.name, _label(outcomes[0].found, effect), []))
            row.bars.append(_Bar(effect, outcome.verdict, doubt, is_tiny, scale, digits))
    return list(rows.values())


def _label(found: Finding, effect: Effect) -> str:
    name = found.name.partition(",")[0]
    return f"{name}, {effect.part}" if effect.part else found.name


def _order(row: _Row) -> tuple[int, float]:
    """What holds first, and of these what is farthest from no effect."""
    order = {"holds": 0, "cannot tell": 1, "does not hold": 2}
    return order[row.bars[0].verdict], -_stretched(row.bars[0].intervals[0].mean, row.unit)


def _stretched(value: float, unit: str) -> float:
    if unit == "errors":
        return value
    return math.log(value) if unit == "times" else math.asinh(value)


def _far_end(row: _Row) -> float:
    """What is drawn at the right end, so that all bars of a row have room on either side."""
    intervals = [interval for bar in row.bars for interval in bar.intervals]
    places = [_stretched(value, row.unit) for interval in intervals for value in interval]
    return max(*places, -_REACH / _LEFT * min(places))


def _place(value: float, unit: str, end: float) -> float:
    return _MIDDLE + _REACH * _stretched(value, unit) / end


def _figure(bar: _Bar) -> str:
    """The mean, or the least and the largest, in the unit of the axis."""
    means = [interval.mean for interval in bar.intervals]
    if bar.effect.no_effect:
        ends = [f"{mean:.{0 if mean > 10 else 1}f}" for mean in (min(means), max(means))]
    else:
        ends = [_minus(f"{mean:+.{bar.digits}f}") for mean in (min(means), max(means))]
    return ends[0] if len(means) == 1 else " to ".join(ends)


def _whole_figure(bar: _Bar) -> str:
    """With its interval, for those who do not see the bar."""
    figure = _figure(bar)
    if len(bar.intervals) == 1:
        _, low, high = bar.intervals[0]
        figure += _minus(f" ({low:.{bar.digits}f} to {high:.{bar.digits}f})")
    return f"on Tiny ImageNet {figure}" if bar.is_tiny else figure


def _minus(figure: str) -> str:
    return figure.replace("-", "−")


def _text(x: float, y: float, words: str, anchor: str = "start", **more: object) -> str:
    return element("text", escape(words), x=f"{x:.0f}", y=y, text_anchor=anchor, **more)


def _draw_legend() -> str:
    drawn = ""
    for x, name, is_tiny in ((8, "CIFAR-10", False), (88, "Tiny ImageNet", True)):
        drawn += _dot(x, 10, "currentColor", is_tiny) + _text(x + 9, 14, name)
    return drawn


def _draw_axis(y: float, bottom: float, unit: str, end: float) -> str:
    drawn = _text(2, y + 16, "← against the paper")
    drawn += _text(_MIDDLE, y + 16, _UNITS[unit], "middle", font_weight=600)
    drawn += _text(_WIDTH - 2, y + 16, "for the paper →", "end")
    for tick in _TICKS[unit]:
        if abs(_stretched(tick, unit)) > end:
            continue
        x = _place(tick, unit, end)
        name = {1 / 8: "⅛", 1 / 2: "½"}.get(tick, _minus(f"{tick}"))
        drawn += _text(x, y + 32, name, "middle")
        is_middle = x == _MIDDLE
        drawn += line(x, y + 36, x, bottom, "currentColor" if is_middle else "#7d828b66", 1)
    return drawn


def _draw_row(y: float, row: _Row, end: float) -> str:
    halo = {"paint_order": "stroke", "stroke": _BACKGROUND, "stroke_width": 4}  # over the grid
    drawn = _text(2, y + 13, f"{row.claim} {row.label}", font_weight=600, **halo)
    drawn += _text(_WIDTH - 2, y + 13, row.tag, "end", **halo)
    for at, bar in enumerate(row.bars):
        middle = y + _LABEL + _BAR * at + _BAR / 2 + 1
        drawn += _text(2, middle + 4, _figure(bar), **halo)
        drawn += _draw_bar(middle, bar, row.unit, end)
    return drawn


def _draw_bar(y: float, bar: _Bar, unit: str, end: float) -> str:
    color = {"holds": FIRST, "does not hold": SECOND}.get(bar.verdict, BOTH)
    places = [[_place(value, unit, end) for value in interval] for interval in bar.intervals]
    low, high = min(place[1] for place in places), max(place[2] for place in places)
    means = sorted(place[0] for place in places)
    if len(means) == 1:
        drawn = line(low, y, high, y, color, 3)
    else:
        drawn = line(low, y, high, y, color, 1.5) + line(means[0], y, means[-1], y, color, 5)
    for mean in {means[0]: None, means[-1]: None}:
        drawn += _dot(mean, y, color, bar.is_tiny)
    return drawn


def _dot(x: float, y: float, color: str, is_hollow: bool) -> str:
    fill = _BACKGROUND if is_hollow else color
    return element("circle", cx=f"{x:.1f}", cy=y, r=4.5, fill=fill, stroke=color, stroke_width=2)
