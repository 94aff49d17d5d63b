import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from alexnet.bookkit.stats import (
    SIZES,
    VERDICTS,
    Effect,
    Interval,
    column_color_difference,
    confidence_level,
    counted_verdict,
    doubts,
    leading_number,
    mean_difference,
    measured_verdict,
    ratio,
    size,
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


def test_a_ratio_of_pairs_by_hand():
    """Logarithms that differ by log 2 each time, whatever their size."""
    assert ratio([2.0, 8, 20], [1.0, 4, 10], paired=True) == pytest.approx((2, 2, 2))


def test_a_higher_level_makes_a_wider_interval():
    a, b = [2.0, 4, 8], [1.0, 2, 4]
    assert ratio(a, b, level=0.99).low < ratio(a, b).low < ratio(a, b).high


@pytest.mark.parametrize("looks", range(1, 6))
def test_the_level_of_an_interval_makes_up_for_the_looks(looks):
    """Equal looks at a sum of normal values: the chance that none is beyond the bound is 95 %."""
    bound = norm.ppf((1 + confidence_level(looks)) / 2)
    n = np.arange(1, looks + 1)
    correlation = np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n))
    together = multivariate_normal(cov=correlation, abseps=1e-5, seed=0)
    chance = together.cdf(np.full(looks, bound), lower_limit=np.full(looks, -bound))
    assert chance == pytest.approx(0.95, abs=2e-4)


@pytest.mark.parametrize("looks", [0, 6])
def test_no_level_is_known_for_that_many_looks(looks):
    with pytest.raises(ValueError, match=f"looks must be 1 to 5, got {looks}"):
        confidence_level(looks)


def test_verdicts():
    assert verdict(0.1, 0.5) == "holds"
    assert verdict(-0.5, -0.1) == "does not hold"
    assert verdict(-0.1, 0.5) == "cannot tell"


def test_no_effect_of_a_ratio_is_one():
    """The paper's factor plays no part."""
    assert verdict(1.1, 1.2, no_effect=1) == "holds"
    assert verdict(0.7, 0.9, no_effect=1) == "does not hold"
    assert verdict(0.9, 7.0, no_effect=1) == "cannot tell"


ABOVE, AROUND, BELOW = Interval(2, 1, 3), Interval(0.5, -1, 2), Interval(-2, -3, -1)


def test_an_effect_that_depends_on_the_line_cannot_be_told():
    assert Effect((ABOVE, ABOVE)).verdict == "holds"
    assert Effect((BELOW, BELOW)).verdict == "does not hold"
    assert Effect((ABOVE, AROUND)).verdict == "cannot tell"
    assert Effect((ABOVE, BELOW)).verdict == "cannot tell"
    assert Effect((ABOVE,), no_effect=1.5).verdict == "cannot tell"


def test_a_claim_of_two_parts_needs_both():
    holds, unknown, against = (Effect((interval,)) for interval in (ABOVE, AROUND, BELOW))
    assert measured_verdict([holds, holds]) == "holds"
    assert measured_verdict([holds, unknown]) == "cannot tell"
    assert measured_verdict([unknown, against]) == "does not hold"


@pytest.mark.parametrize("interval", [ABOVE, AROUND, BELOW])
def test_runs_without_the_papers_setting_cannot_tell(interval):
    assert measured_verdict([Effect((interval,))], setting_was_run=False) == "cannot tell"
    assert doubts([Effect((interval,))], "in another setting") == ["in another setting"]


def test_why_a_verdict_is_open():
    """For each part; and nothing where the verdict is not."""
    holds, against = Effect((ABOVE,), part="gap"), Effect((BELOW,), part="error")
    unknown = Effect((AROUND,), part="epochs")
    assert doubts([holds, unknown]) == ["gap clear, epochs not", "interval includes zero"]
    assert doubts([holds, against]) == doubts([against, unknown]) == ["", ""]
    assert Effect((AROUND,), no_effect=1).doubt == "interval includes one"
    assert Effect((ABOVE, BELOW), by="error").doubt == "depends on the error"
    assert Effect((AROUND, AROUND), by="error").doubt == "interval includes zero"
    assert holds.doubt == against.doubt == ""


@pytest.mark.parametrize(
    ("interval", "is_comparable", "expected"),
    [
        (Interval(7, 6.5, 8), True, "larger"),
        (Interval(7, 5.5, 8), True, "as the paper says"),
        (Interval(3, 2, 5), True, "smaller"),
        (Interval(7, 5.5, 8), False, "not comparable"),
    ],
)
def test_sizes(interval, is_comparable, expected):
    assert size(Effect((interval,)), 6, is_comparable) == expected and expected in SIZES
    assert size(Effect((interval,)), None, is_comparable) == "not comparable"


def test_a_size_that_depends_on_the_line_is_as_the_paper_says():
    """It may be."""
    apart = Effect((Interval(7, 6.5, 8), Interval(3, 2, 5)))
    assert size(apart, 6, True) == "as the paper says"


@pytest.mark.parametrize(
    ("paper", "ours", "agreement", "expected"),
    [
        ("60 million", "60,965,224", "within 2 %", "holds"),
        ("60 million", "62,378,344", "within 2 %", "does not hold"),
        ("2048 times", "2178 times", "within 2 %", "does not hold"),
        ("at most 1 %", "1.45 % at most", "at most", "does not hold"),
        ("at most 1 %", "0.79 % at most", "at most", "holds"),
        ("nine numbers", "8 of 9, 290,400 where 253,440 is printed", "all", "does not hold"),
        ("nine numbers", "9 of 9", "all", "holds"),
    ],
)
def test_counts_hold_or_do_not(paper, ours, agreement, expected):
    assert counted_verdict(paper, ours, agreement) == expected and expected in VERDICTS


def test_the_first_number_of_a_text():
    texts = ["60 million", "650,000", "9.97 bits", "at most 1 %", "2178 times"]
    assert [leading_number(text) for text in texts] == [60e6, 650e3, 9.97, 1, 2178]


def test_columns_that_differ_in_color():
    torch.manual_seed(0)
    gray, colored = 0.3 * torch.rand(16), 0.5 + 0.5 * torch.rand(16)
    difference, p_value = column_color_difference([*gray.tolist(), *colored.tolist()])
    expected = (colored.mean() - gray.mean()).item()
    assert difference == pytest.approx(expected, abs=1e-6) and p_value < 0.001
    # Either column may be the gray one
    reverse, _ = column_color_difference([*colored.tolist(), *gray.tolist()])
    assert reverse == pytest.approx(-difference)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_columns_that_differ_by_chance():
    num_significant = 0
    for seed in range(100):
        fractions = torch.rand(32, generator=torch.Generator().manual_seed(seed))
        num_significant += column_color_difference(fractions.tolist())[1] < 0.05
    assert 0 < num_significant < 13  # one in twenty
