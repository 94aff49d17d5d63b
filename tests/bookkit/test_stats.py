import pytest
import torch

from alexnet.bookkit.stats import (
    column_color_difference,
    mean_difference,
    ratio,
    ratio_verdict,
    verdict,
)


def test_a_ratio_by_hand():
    """Geometric means of 4 and 2, and an interval that is symmetric in logarithms."""
    mean, low, high = ratio([2.0, 4, 8], [1.0, 2, 4])
    assert mean == pytest.approx(2) and low * high == pytest.approx(4) and low < 1 < 2 < high


def test_a_mean_difference_by_hand():
    """Welch's interval of two threes.

    Variances of 1 and 4, so 5/3 under the root, and 2.94 degrees of freedom.
    """
    mean, low, high = mean_difference([11.0, 12, 13], [6.0, 8, 10])
    assert mean == 4
    half_width = pytest.approx(3.2208 * (5 / 3) ** 0.5, rel=1e-3)
    assert high - mean == pytest.approx(mean - low) == half_width


def test_a_mean_difference_of_pairs_by_hand():
    """5, 4 and 3: a mean of 4 and a standard error of 1/√3, with two degrees of freedom.

    Student's t is then 4.303 at 95 % and 2.920 at 90 %.
    """
    a, b = [11.0, 12, 13], [6.0, 8, 10]
    error = 1 / 3**0.5
    expected = (4, 4 - 4.30265 * error, 4 + 4.30265 * error)
    assert mean_difference(a, b, paired=True) == pytest.approx(expected, abs=1e-4)
    low = mean_difference(a, b, paired=True, level=0.9).low
    assert low == pytest.approx(4 - 2.91999 * error, abs=1e-4)


def test_verdicts():
    assert verdict(0.1, 0.5) == "holds"
    assert verdict(-0.5, -0.1) == "does not hold"
    assert verdict(-0.1, 0.5) == "cannot tell at this scale"
    assert verdict(1.0, 2.0, claimed=6) == "does not hold"


def test_a_ratio_holds_if_it_is_above_one_and_may_be_as_large_as_claimed():
    assert ratio_verdict(5.0, 7.0, claimed=6) == "holds"
    assert ratio_verdict(7.0, 8.0, claimed=6) == "holds"
    assert ratio_verdict(1.1, 5.9, claimed=6) == "does not hold"
    assert ratio_verdict(0.9, 7.0, claimed=6) == "cannot tell at this scale"


def test_columns_that_differ_in_color():
    torch.manual_seed(0)
    gray, colored = 0.3 * torch.rand(16), 0.5 + 0.5 * torch.rand(16)
    difference, p_value = column_color_difference([*gray.tolist(), *colored.tolist()])
    expected = (colored.mean() - gray.mean()).item()
    assert difference == pytest.approx(expected, abs=1e-6) and p_value < 0.001
    # Either column may be the gray one
    reverse, _ = column_color_difference([*colored.tolist(), *gray.tolist()])
    assert reverse == pytest.approx(-difference)


def test_columns_that_differ_by_chance():
    num_significant = 0
    for seed in range(100):
        fractions = torch.rand(32, generator=torch.Generator().manual_seed(seed))
        num_significant += column_color_difference(fractions.tolist())[1] < 0.05
    assert 0 < num_significant < 13  # one in twenty
