import math

import pytest

from alexnet.bookkit import findings
from alexnet.bookkit.claims import VERDICTS
from alexnet.bookkit.findings import (
    FINDINGS,
    epoch_ratio,
    epochs_to,
    epochs_to_best,
    final_errors,
    finding,
    load_runs,
)
from alexnet.bookkit.stats import verdict


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
    assert verdict(low, high, claimed=20) == "cannot tell at this scale"


def test_no_epoch_ratio_to_a_run_that_never_came_there():
    slow, fast = runs_below_a_quarter_after(8, 8, 9), runs_below_a_quarter_after(0, 4, 4)
    with pytest.raises(ValueError, match="there is no ratio"):
        epoch_ratio(slow, fast, 0.25)


def test_epochs_to_best():
    """Four test errors in eight epochs: the second, within a point of 0.2, is of the fourth."""
    run = {"curve": {"loss": [[1.0]] * 8, "test_error": [0.5, 0.21, 0.22, 0.2]}}
    assert epochs_to_best(run) == 4
    assert epochs_to_best(run, 0.0) == 8 and epochs_to_best(run, 1.0) == 2


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
    assert len(loaded) <= 2
    for runs in loaded:
        assert sorted(run["config"]["seed"] for run in runs)[:3] == [0, 1, 2]
    # P25 is of one net, whose figure is a mean over 1,000 queries
    assert loaded or claim == "P25"
    assert found.verdict in VERDICTS[:-1]


def test_load_runs_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m alexnet\.experiments lrn makes it"):
        load_runs("lrn", tmp_path)
