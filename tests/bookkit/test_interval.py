"""The interval that prints itself; where it comes from is in test_stats.py."""

from alexnet.bookkit.findings import epoch_ratio
from alexnet.bookkit.stats import Interval, mean_difference, ratio


def test_an_interval_prints_itself():
    interval = Interval(mean=1.62, low=0.31, high=2.84)
    assert f"{interval:.1f}" == "1.6 (0.3 to 2.8)"
    assert f"{interval:+.2f}" == "+1.62 (+0.31 to +2.84)"


def test_a_width_aligns_the_estimate_only():
    assert f"{Interval(6.1, -12.0, 23.5):+6.1f}" == "  +6.1 (-12.0 to +23.5)"


def test_a_negative_zero_can_lose_its_sign():
    """By Python's own format specification."""
    assert f"{Interval(-0.01, -2.4, 2.4):+z.1f}" == "+0.0 (-2.4 to +2.4)"


def test_differences_and_ratios_are_intervals():
    assert isinstance(mean_difference([11.0, 12, 13], [6.0, 8, 10]), Interval)
    assert isinstance(ratio([2.0, 4, 8], [1.0, 2, 4]), Interval)


def test_an_epoch_ratio_is_an_interval():
    runs = [{"config": {"epochs": 1}, "curve": {"train_error": [[0.5, 0.3, 0.2, 0.1]]}}] * 2
    assert epoch_ratio(runs, runs, 0.25) == Interval(1.0, 1.0, 1.0)
