"""Means, ratios and their intervals."""


import math
import statistics
import warnings



def mean_difference(a: list[float], b: list[float], paired: bool = False, level: float = 0.95) -> tuple[float, float, float]:
    """How much larger the mean of ``a`` is than that of ``b``, and the interval of 95 %, or another ``level``, around it:
    Welch's, or Student's for pairs, where the two lists measure the same nets."""
    from scipy.stats import ttest_ind, ttest_rel  # here, since whoever only trains needs no statistics

    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # three equal values have no variance, and may
        test = ttest_rel(a, b) if paired else ttest_ind(a, b, equal_var=False)
        interval = test.confidence_interval(level)
    return statistics.mean(a) - statistics.mean(b), float(interval.low), float(interval.high)


def verdict(low: float, high: float, claimed: float = 0.0) -> str:
    """What an interval says of the claim that a figure is above ``claimed``."""
    return "holds" if low > claimed else "does not hold" if high < claimed else "cannot tell at this scale"


def ratio(more: list[float], fewer: list[float]) -> tuple[float, float, float]:
    """How many times as large ``more`` is as ``fewer``: the ratio of geometric means, and the interval of 95 %, Welch's of
    the logarithms."""
    mean, low, high = mean_difference(*([math.log(value) for value in values] for values in (more, fewer)))
    return math.exp(mean), math.exp(low), math.exp(high)


def ratio_verdict(low: float, high: float, claimed: float) -> str:
    """What the interval of a ratio says of a claim such as "six times": it holds if there is an effect, and it may be as large."""
    return "holds" if low > 1 and high >= claimed else verdict(low, high, claimed)


def column_color_difference(coloured: list[float]) -> tuple[float, float]:
    """How much more coloured the kernels of the second column are than those of the first, and how often chance alone makes
    columns that differ as much: a permutation test, of two sides.

    Args:
        coloured: a figure a kernel, see :func:`alexnet.visualize.coloured`, the first column's in the first half.
    """
    from scipy.stats import permutation_test

    halves = coloured[len(coloured) // 2 :], coloured[: len(coloured) // 2]
    test = permutation_test(halves, lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=9999, vectorized=True, rng=0)
    return float(test.statistic), float(test.pvalue)
