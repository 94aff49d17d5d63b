"""Differences and ratios of means over seeds, their confidence intervals, and verdicts on them.

One rule for all claims. The verdict says whether there is an effect in the claimed direction, and
the paper's figure plays no part in it. The size compares the effect with that figure.
"""

import math
import re
import statistics
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import permutation_test, ttest_ind, ttest_rel

VERDICTS = ("holds", "does not hold", "cannot tell", "not run here", "holds by construction")
SIZES = ("as the paper says", "larger", "smaller", "not comparable")

# How a count may agree with the paper's, which is often a round number
AGREEMENTS = ("within 2 %", "at most", "all")

# By the number of looks at the data, the level at which an interval of each look must be taken so
# that, without an effect, any of them excludes it in 5 % of all cases (Pocock, 1977, Biometrika 64)
_LEVELS = (0.95, 0.9706, 0.9779, 0.9818, 0.9842)


class Interval(NamedTuple):
    """An estimate and its confidence interval, which prints itself.

    A format specification applies to each of the three numbers, a width to the estimate alone:

        >>> interval = Interval(mean=1.62, low=0.31, high=2.84)
        >>> f"{interval:.1f}"
        '1.6 (0.3 to 2.8)'
        >>> f"{interval:+6.1f}"
        '  +1.6 (+0.3 to +2.8)'
    """

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        mean, low, high = (format(value, spec) for value in self)
        return f"{mean} ({low.strip()} to {high.strip()})"


def mean_difference(
    a: Sequence[float], b: Sequence[float], paired: bool = False, level: float = 0.95
) -> Interval:
    """The mean of ``a`` minus the mean of ``b``, with its confidence interval.

    Args:
        a: one value a run.
        b: one value a run.
        paired: whether ``a[i]`` and ``b[i]`` were measured on the same net; then the interval is
            Student's of the differences, else Welch's, which allows unequal variances.
        level: the confidence level, between 0 and 1.
    """
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        # SciPy warns about zero variance, as of three equal values; that is fine here.
        test = ttest_rel(a, b) if paired else ttest_ind(a, b, equal_var=False)
        bounds = test.confidence_interval(level)
    difference = statistics.mean(a) - statistics.mean(b)
    return Interval(difference, float(bounds.low), float(bounds.high))


def ratio(
    a: Sequence[float], b: Sequence[float], paired: bool = False, level: float = 0.95
) -> Interval:
    """The geometric mean of ``a`` over that of ``b``, with its confidence interval.

    The interval is that of the logarithms, so it is not symmetric about the ratio.

    Args:
        a: one value a run, each above 0.
        b: one value a run, each above 0.
        paired: as in :func:`mean_difference`.
        level: the confidence level, between 0 and 1.
    """
    log_a = [math.log(value) for value in a]
    log_b = [math.log(value) for value in b]
    mean, low, high = mean_difference(log_a, log_b, paired, level)
    return Interval(math.exp(mean), math.exp(low), math.exp(high))


def confidence_level(looks: int) -> float:
    """The level of an interval after the data were looked at a number of times.

    To look at the first seeds, and then to decide whether to train more, gives more than one
    chance to find an effect where there is none; a higher level makes up for it.

    Args:
        looks: 1 if the number of seeds was fixed beforehand, at most 5.

    Raises:
        ValueError: for another number of looks.
    """
    if not 1 <= looks <= len(_LEVELS):
        raise ValueError(f"looks must be 1 to {len(_LEVELS)}, got {looks}")
    return _LEVELS[looks - 1]


def verdict(low: float, high: float, no_effect: float = 0.0) -> str:
    """The verdict on the claim that a quantity is larger than it would be without an effect.

    Args:
        low: lower bound of its confidence interval.
        high: upper bound of its confidence interval.
        no_effect: 0 for a difference, 1 for a ratio.

    Returns:
        One of the first three of :data:`VERDICTS`.
    """
    if low > no_effect:
        return "holds"
    if high < no_effect:
        return "does not hold"
    return "cannot tell"


class Effect(NamedTuple):
    """What was measured of a claim, or of a part of it.

    Mostly one interval. Where the answer may depend on where a line is drawn, such as an error that
    is to be reached, there is one for each line of the range.
    """

    intervals: tuple[Interval, ...]
    no_effect: float = 0.0  # 1 for ratios
    part: str = ""  # of a claim that has several, in a word
    by: str = ""  # what tells its intervals apart, where there are several

    @property
    def verdict(self) -> str:
        """That of all lines, or "cannot tell" if it depends on the line."""
        found = {verdict(low, high, self.no_effect) for _, low, high in self.intervals}
        return found.pop() if len(found) == 1 else "cannot tell"

    @property
    def doubt(self) -> str:
        """Why it cannot be told, in a few words; nothing if it can."""
        if self.verdict != "cannot tell":
            return ""
        found = {verdict(low, high, self.no_effect) for _, low, high in self.intervals}
        if len(found) == 1:
            return f"interval includes {'one' if self.no_effect else 'zero'}"
        return f"depends on the {self.by}"


def measured_verdict(effects: Sequence[Effect], setting_was_run: bool = True) -> str:
    """The verdict on a claim of one part or more, all of which it asserts.

    Args:
        effects: one for each part.
        setting_was_run: whether what the claim speaks of, such as a decay of 0.0005, was run as the
            paper has it; without that the runs cannot tell, whatever they show. Data set and net
            are the concern of :func:`size`.

    Returns:
        One of the first three of :data:`VERDICTS`.
    """
    if not setting_was_run:
        return "cannot tell"
    found = [effect.verdict for effect in effects]
    if "does not hold" in found:
        return "does not hold"
    return "cannot tell" if "cannot tell" in found else "holds"


def doubts(effects: Sequence[Effect], other_setting: str = "") -> list[str]:
    """Why :func:`measured_verdict` cannot tell, in a few words for each effect.

    Args:
        effects: one for each part of the claim.
        other_setting: what was run instead of that of which the claim speaks, or nothing.

    Returns:
        Nothing for any effect where it can tell.
    """
    if measured_verdict(effects, not other_setting) != "cannot tell":
        return [""] * len(effects)
    unclear = " and ".join(effect.part for effect in effects if effect.doubt)
    found = []
    for effect in effects:
        found.append(other_setting or effect.doubt or f"{effect.part} clear, {unclear} not")
    return found


def counted_verdict(paper: str, ours: str, agreement: str) -> str:
    """The verdict on a number that follows from the paper's own description.

    Args:
        paper: the paper's figure, such as "60 million" or "at most 1 %".
        ours: what was counted, such as "60,965,224"; for "all", such as "8 of 9".
        agreement: one of :data:`AGREEMENTS`: ours differs from the paper's figure by less than two
            per cent, is not above it, or is a number of things out of as many.

    Returns:
        "holds" or "does not hold".
    """
    if agreement == "all":
        right, things = re.match(r"(\d+) of (\d+)", ours).groups()
        agrees = right == things
    elif agreement == "at most":
        agrees = leading_number(ours) <= leading_number(paper)
    else:
        agrees = abs(leading_number(ours) / leading_number(paper) - 1) < 0.02
    return "holds" if agrees else "does not hold"


def leading_number(text: str) -> float:
    """The first number in a text such as "60 million", "9.97 bits" or "at most 1 %"."""
    digits, unit = re.search(r"(\d[\d,]*\.?\d*)( million)?", text).groups()
    return float(digits.replace(",", "")) * (1e6 if unit else 1)


def size(effect: Effect, claimed: float | None, is_comparable: bool) -> str:
    """How large an effect is, beside what the paper says.

    Args:
        effect: what was measured.
        claimed: the paper's figure, in the same unit; None if it has none.
        is_comparable: whether data set and net are the paper's.

    Returns:
        One of :data:`SIZES`.
    """
    if claimed is None or not is_comparable:
        return "not comparable"
    if all(interval.low > claimed for interval in effect.intervals):
        return "larger"
    if all(interval.high < claimed for interval in effect.intervals):
        return "smaller"
    return "as the paper says"


def column_color_difference(color_fractions: Sequence[float]) -> tuple[float, float]:
    """By how much the kernels of the second column are more colored than those of the first.

    Args:
        color_fractions: one value a kernel, see :func:`alexnet.visualize.color_fraction`; the
            first half belongs to the first column.

    Returns:
        The difference of the two columns' means, and the p-value of a two-sided permutation test:
        how often a random split of the kernels gives columns that differ as much.
    """
    half = len(color_fractions) // 2
    first, second = color_fractions[:half], color_fractions[half:]
    test = permutation_test(
        (second, first),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        n_resamples=9999,
        vectorized=True,
        rng=0,  # the same splits every time
    )
    return float(test.statistic), float(test.pvalue)
