import json

import pytest

from alexnet.bookkit.order import describe_order, effect_of_order, order_errors


def record_runs(folder, errors):
    """A file of the experiment ``order``: test errors in percent by order and images a window."""
    runs = [{"config": {"epochs": 1}, "curve": {"test_error": [0.9]}}]  # of a search for a rate
    for (order, images_per_crop), found in errors.items():
        for error in found:
            config = {"epochs": 20, "order": order, "images_per_crop": images_per_crop}
            runs.append({"config": config, "curve": {"test_error": [0.9, error / 100]}})
    (folder / "order.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")


ERRORS = {
    ("shuffled", 1): [26.0, 27.0, 28.0],
    ("fixed", 1): [26.5, 27.5, 28.5],
    ("shuffled", 32): [30.0, 30.5, 31.0],
    ("fixed", 32): [36.0, 36.5, 37.0],
}


def test_what_was_not_run_is_said(tmp_path):
    assert order_errors(tmp_path) == {}
    assert describe_order(tmp_path).startswith("not run here")


def test_what_was_run_is_described(tmp_path):
    record_runs(tmp_path, ERRORS)
    errors = order_errors(tmp_path)
    assert list(errors) == list(ERRORS)
    for setting, found in errors.items():
        assert found == pytest.approx(ERRORS[setting])
    text = describe_order(tmp_path).splitlines()
    assert text[1:3] == [
        "shuffled                1  26.0 27.0 28.0",
        "fixed                   1  26.5 27.5 28.5",
    ]
    assert text[-1].startswith("fixed minus shuffled, 32 a window: +6.0 (+4.9 to +7.1) points")


def test_a_plus_says_that_shuffling_is_better():
    effect = effect_of_order(ERRORS)
    assert effect[1].mean == pytest.approx(0.5) and effect[1].low < 0 < effect[1].high
    assert effect[32].low > 0


def test_a_setting_that_is_missing_is_named(tmp_path):
    record_runs(tmp_path, {("shuffled", 1): [26.0]})
    with pytest.raises(ValueError, match=r"order\.json must have a run with"):
        order_errors(tmp_path)
