"""Differences and ratios of means over seeds, their confidence intervals, and verdicts on them.

One rule for all chapters: an effect is there if its whole interval lies on the claimed side.
"""

import math
import statistics
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import permutation_test, ttest_ind, ttest_rel


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


def ratio(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The geometric mean of ``a`` over that of ``b``, with its 95 % confidence interval.

    The interval is Welch's of the logarithms, so it is not symmetric about the ratio.

    Args:
        a: one value a run, each above 0.
        b: one value a run, each above 0.
    """
    log_a = [math.log(value) for value in a]
    log_b = [math.log(value) for value in b]
    mean, low, high = mean_difference(log_a, log_b)
    return Interval(math.exp(mean), math.exp(low), math.exp(high))


def verdict(low: float, high: float, claimed: float = 0.0) -> str:
    """The verdict on the claim that a quantity is larger than ``claimed``.

    Args:
        low: lower bound of its confidence interval.
        high: upper bound of its confidence interval.
        claimed: the value that the quantity is claimed to exceed.

    Returns:
        One of :data:`alexnet.bookkit.claims.VERDICTS`.
    """
    if low > claimed:
        return "holds"
    if high < claimed:
        return "does not hold"
    return "cannot tell at this scale"


def ratio_verdict(low: float, high: float, claimed: float) -> str:
    """The verdict on a claim such as "six times as fast".

    It holds if there is an effect (the interval lies above 1) that may be as large as claimed.

    Args:
        low: lower bound of the ratio's confidence interval.
        high: upper bound of the ratio's confidence interval.
        claimed: the claimed ratio, above 1.

    Returns:
        One of :data:`alexnet.bookkit.claims.VERDICTS`.
    """
    if low > 1 and high >= claimed:
        return "holds"
    return verdict(low, high, claimed)


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
