import json
import math
from itertools import chain

import pytest

from alexnet.bookkit import findings
from alexnet.bookkit.findings import (
    FINDINGS,
    column_distances,
    configuration,
    epoch_ratio,
    epoch_ratios,
    epochs_to,
    fastest_runs,
    final_errors,
    finding,
    gaps,
    load_runs,
)
from alexnet.bookkit.stats import verdict
from alexnet.experiments.config import ExperimentConfig


def test_epochs_to():
    run = {"curve": {"train_error": [[0.9, 0.8, 0.7, 0.6], [0.4, None, 0.2, 0.1]]}}
    assert [epochs_to(run, error) for error in (0.65, 0.5, 0.3, 0.05)] == [1, 1.25, 1.75, math.inf]


def runs_below_a_quarter_after(*quarters, epochs=12):
    """Runs with an error below 25 % after so many quarters of an epoch; 0: never."""
    runs = []
    for n in quarters:
        errors = [0.9] * (n - 1) + [0.2] if n else [0.9] * 4 * epochs
        runs.append({"config": {"epochs": epochs}, "curve": {"train_error": [errors]}})
    return runs


def test_an_epoch_ratio_is_one_of_geometric_means():
    slow, fast = runs_below_a_quarter_after(8, 16, 32), runs_below_a_quarter_after(4, 4, 5)
    assert epoch_ratio(slow, fast, 0.25)[0] == pytest.approx(16 / 80 ** (1 / 3), rel=1e-6)


def test_an_epoch_ratio_with_runs_that_never_came_there():
    slow, fast = runs_below_a_quarter_after(0, 0, 40), runs_below_a_quarter_after(4, 5, 4)
    mean, low, high = epoch_ratio(slow, fast, 0.25)
    assert low < mean < high == math.inf
    assert verdict(low, high, no_effect=20) == "cannot tell"


def test_no_epoch_ratio_to_a_run_that_never_came_there():
    slow, fast = runs_below_a_quarter_after(8, 8, 9), runs_below_a_quarter_after(0, 4, 4)
    with pytest.raises(ValueError, match="there is no ratio"):
        epoch_ratio(slow, fast, 0.25)


def test_epochs_to_a_test_error():
    """Four test errors in eight epochs."""
    run = {"curve": {"loss": [[1.0]] * 8, "test_error": [0.5, 0.21, 0.22, 0.2]}}
    errors = (0.6, 0.3, 0.205, 0.2)
    assert [epochs_to(run, error, "test_error") for error in errors] == [2, 4, 8, math.inf]


def run_with_test_errors(*errors):
    loss = [[1.0]] * len(errors)
    return {"config": {"epochs": len(errors)}, "curve": {"loss": loss, "test_error": list(errors)}}


def test_epoch_ratios_over_all_lines_that_each_run_crosses():
    slow = [run_with_test_errors(0.62, 0.6, 0.59, 0.575, 0.57)] * 2
    fast = [run_with_test_errors(0.605, 0.575, 0.58, 0.57, 0.562)] * 2
    found = epoch_ratios(slow, fast)
    assert list(found) == [60, 59, 58]  # above 60.5 one begins, and one ends at 57.0
    assert [interval.mean for interval in found.values()] == pytest.approx([3 / 2, 4 / 2, 4 / 2])


def test_epoch_ratios_by_the_training_error():
    runs = [{"config": {"epochs": 1}, "curve": {"train_error": [[0.5, 0.4, 0.3, 0.285]]}}] * 2
    assert list(epoch_ratios(runs, runs, "train_error")) == list(range(50, 28, -1))


def test_the_fastest_of_several_rates():
    runs = runs_below_a_quarter_after(8, 12, 0, 9)
    for run, lr in zip(runs, (0.01, 0.01, 0.03, 0.03)):
        run["config"]["lr"] = lr
    assert fastest_runs(runs, 0.25) == runs[:2]
    runs[2]["curve"] = runs_below_a_quarter_after(7)[0]["curve"]
    assert fastest_runs(runs, 0.25) == runs[2:]


def test_gaps_between_test_and_training_error():
    run = {"curve": {"test_error": [0.5, 0.25], "final_train_error": 0.125}}
    assert gaps([run]) == [12.5]


def test_column_distances():
    run = {"curve": {"coloured": [[0.0] * 4, [0.5, 0.7, 0.1, 0.3]]}}
    assert column_distances([run]) == pytest.approx([0.4])


def test_a_run_may_be_older_than_a_field():
    config = configuration({"config": {"epochs": 3}})
    assert config["epochs"] == 3 and config["batch_size"] == ExperimentConfig().batch_size
    assert config["pool"] == [3, 2]


def test_final_errors():
    run = {"curve": {"test_error": [0.5, 0.25], "final_train_error": 0.125}}
    assert final_errors([run]) == [25]
    assert final_errors([run], "final_train_error") == [12.5]


def test_a_run_that_diverged_has_no_final_error():
    run = {"curve": {"loss": [[2.3, None, None, None]], "test_error": [None]}}
    with pytest.raises(ValueError, match="got one that diverged"):
        final_errors([run])


@pytest.mark.parametrize("claim", FINDINGS)
def test_a_finding_rests_on_three_seeds(claim, monkeypatch):
    loaded = []

    def noted(name, **fields):
        loaded.append(load_runs(name, **fields))
        return loaded[-1]

    monkeypatch.setattr(findings, "load_runs", noted)
    found = finding(claim)
    seeds = {}
    for run in chain(*loaded):
        config = configuration(run)
        seed = config.pop("seed")
        seeds.setdefault(json.dumps(config), set()).add(seed)
    assert all(same >= {0, 1, 2} for same in seeds.values())
    # P25 is of one net, whose figure is a mean over 1,000 queries
    assert loaded or claim == "P25"
    assert found.ours and found.data == "CIFAR-10"
    for effect in found.effects:
        assert all(low <= mean <= high for mean, low, high in effect.intervals)


def test_more_looks_make_a_wider_interval():
    once, twice = (finding("P9", looks).effects[0].intervals[0] for looks in (1, 2))
    assert twice.low < once.low < once.mean == twice.mean < once.high < twice.high


def test_load_runs_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m alexnet\.experiments lrn makes it"):
        load_runs("lrn", tmp_path)
