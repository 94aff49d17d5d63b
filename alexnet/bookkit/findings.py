"""What the recorded runs in ``book/runs/`` say of the paper's claims, on CIFAR-10.

A run is a dict as it stands in the file: its ``config`` (the fields of an
:class:`~alexnet.experiments.config.ExperimentConfig`), the ``curve`` that was measured, and the
machine, date and seconds that it took.
"""

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from alexnet.bookkit.paths import missing_from_wheel
from alexnet.bookkit.stats import (
    Interval,
    column_color_difference,
    mean_difference,
    ratio,
    ratio_verdict,
    verdict,
)
from alexnet.experiments.config import RECIPE_2012, ExperimentConfig
from alexnet.experiments.runner import RUNS


def _read(name: str, folder: Path) -> dict:
    """The whole file of an experiment."""
    path = folder / f"{name}.json"
    if not folder.is_dir():
        raise missing_from_wheel(folder)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: python -m alexnet.experiments {name} makes it")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _not_recorded_runs(path, error) from error


def _not_recorded_runs(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} is not a file of recorded runs ({error!r}): take the repository's, or move it "
        f"away and record it anew with python -m alexnet.experiments {path.stem}"
    )


def load_runs(name: str, folder: Path = RUNS, **fields: object) -> list[dict]:
    """Load the recorded runs of an experiment whose configurations have the given values.

    Example::

        load_runs("relu", activation="tanh", target_train_error=0.25)

    Args:
        name: of the experiment; the runs are in ``NAME.json``.
        folder: where the file is.
        **fields: values of :class:`~alexnet.experiments.config.ExperimentConfig`.

    Returns:
        The runs in the order in which they were recorded.

    Raises:
        FileNotFoundError: if the experiment was not recorded, or outside a checkout.
        ValueError: if no run has these values, or if the file is no record of runs.
    """
    default = asdict(ExperimentConfig())
    wanted = json.loads(json.dumps(fields))  # a tuple is a list, as in the file
    try:
        runs = list(_read(name, folder)["runs"])
        # A file may be older than a field, which then had its default.
        configs = [default | run["config"] for run in runs]
    except (KeyError, TypeError) as error:
        raise _not_recorded_runs(folder / f"{name}.json", error) from error
    chosen = []
    for run, config in zip(runs, configs):
        if all(config[field] == value for field, value in wanted.items()):
            chosen.append(run)
    if not chosen:
        raise ValueError(f"{folder / name}.json must have a run with {fields}, got none")
    return chosen


def epochs_to(run: dict, error: float) -> float:
    """Epochs until the training error over a quarter of an epoch was below a value.

    Args:
        run: a recorded run.
        error: a fraction of the training images.

    Returns:
        A multiple of 1/4; infinity if the run never came there.
    """
    quarters = [value for epoch in run["curve"]["train_error"] for value in epoch]
    for i, value in enumerate(quarters, 1):
        if value is not None and value < error:  # None: the loss was not finite
            return i / 4
    return math.inf


def epochs_to_best(run: dict, tolerance: float = 0.01) -> float:
    """Epochs until the test error first came close to the lowest one of the run.

    Args:
        run: a recorded run.
        tolerance: how close, as a fraction of the test images.
    """
    errors = run["curve"]["test_error"]
    limit = min(errors) + tolerance
    first = next(i for i, error in enumerate(errors, 1) if error <= limit)
    # The test error is not measured after every epoch, the loss is.
    epochs_per_test = len(run["curve"]["loss"]) / len(errors)
    return first * epochs_per_test


def final_errors(runs: list[dict], metric: str = "test_error") -> list[float]:
    """The errors at the end of training, in percent, one a run.

    Args:
        runs: recorded runs.
        metric: ``"test_error"``, ``"final_train_error"`` or ``"ten_crop_error"``.

    Raises:
        ValueError: if a run has diverged.
    """
    errors = []
    for run in runs:
        curve = run["curve"]
        if curve["test_error"][-1] is None:
            raise ValueError(
                "final_errors needs runs with a finite loss, got one that diverged: leave it out, "
                "or choose a lower learning rate"
            )
        values = curve[metric]
        final = values[-1] if isinstance(values, list) else values
        errors.append(100 * final)
    return errors


def epoch_ratio(slow: list[dict], fast: list[dict], error: float) -> Interval:
    """How many times as many epochs some runs need as others to reach a training error.

    A slow run that never reached it counts with all its epochs. The true ratio is then at least the
    estimate, and the interval has no upper end.

    Args:
        slow: recorded runs.
        fast: recorded runs, all of which reached the error.
        error: a fraction of the training images.

    Raises:
        ValueError: if a fast run never reached the error.
    """
    fast_epochs = [epochs_to(run, error) for run in fast]
    slow_epochs = [epochs_to(run, error) for run in slow]
    if math.inf in fast_epochs:
        raise ValueError(
            f"all fast runs must reach a training error below {error}, got one that does not: "
            "there is no ratio"
        )
    trained = [min(n, run["config"]["epochs"]) for n, run in zip(slow_epochs, slow)]
    interval = ratio(trained, fast_epochs)
    if math.inf in slow_epochs:
        return interval._replace(high=math.inf)
    return interval


def accurate_runs(modification: str) -> list[dict]:
    """Load the runs of ``specialisation`` that classify at least 70 % of the test images correctly.

    Args:
        modification: of the two-column net, see
            :class:`~alexnet.experiments.config.ExperimentConfig`.
    """
    runs = load_runs("specialisation", modification=modification)
    return [run for run in runs if run["curve"]["test_error"][-1] <= 0.3]


@dataclass(frozen=True)
class Finding:
    """What the recorded runs say of a claim."""

    name: str  # of the idea behind the claim
    ours: str  # the figure, with its 95 % interval where it has one
    verdict: str  # one of alexnet.bookkit.claims.VERDICTS

    def __str__(self) -> str:
        return f"{self.name}: {self.ours}\n{self.verdict}"


def _gain(name: str, without: list[float], with_it: list[float], paired: bool = False) -> Finding:
    """The finding that an idea lowers an error in percent; "+" means that it does."""
    mean, low, high = mean_difference(without, with_it, paired)
    ours = f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})"
    return Finding(name, ours, verdict(low, high))


def _times(interval: Interval) -> str:
    mean, low, high = interval
    return f"{mean:.1f} times ({low:.1f} to {high:.1f})"


def _relu_against_tanh() -> Finding:
    """P5: how many times as many epochs tanh takes to 25 % training error."""
    recipe = {"init": "original", "pixels": "raw", "crop": None}
    tanh = load_runs("relu", activation="tanh", target_train_error=0.25, **recipe)
    relu = load_runs("relu", activation="relu", target_train_error=0.25, **recipe)
    speedup = epoch_ratio(tanh, relu, 0.25)
    ours = f"{_times(speedup)}, with the recipe of 2012"
    return Finding("ReLU against tanh", ours, ratio_verdict(speedup.low, speedup.high, 6))


def _response_normalization() -> Finding:
    """P9: what the paper's normalization takes off the test error, in points."""
    # Standardized pixels would make the layer divide by a constant.
    recipe = {"epochs": RECIPE_2012.epochs, "pixels": RECIPE_2012.pixels}
    without = load_runs("lrn", norm="none", **recipe)
    with_it = load_runs("lrn", norm="paper's alpha", **recipe)
    name = "Local response normalisation"
    return _gain(name, final_errors(without), final_errors(with_it))


def _overlapping_pooling() -> Finding:
    """P10: what overlapping windows take off the test error, in points."""
    apart = load_runs("pooling", pool=(2, 2), epochs=RECIPE_2012.epochs)
    overlapping = load_runs("pooling", pool=(3, 2), epochs=RECIPE_2012.epochs)
    return _gain("Pooling with overlap", final_errors(apart), final_errors(overlapping))


def _ten_crops() -> Finding:
    """P14: what ten crops take off the test error of one, in points."""
    runs = load_runs("augmentation", augment="color")
    one_crop = final_errors(runs)
    ten_crops = final_errors(runs, "ten_crop_error")
    return _gain("Ten crops against one", one_crop, ten_crops, paired=True)


def _pca_color() -> Finding:
    """P15: what PCA color takes off the test error, in points."""
    without = load_runs("augmentation", augment="crop")
    with_it = load_runs("augmentation", augment="color")
    return _gain("PCA colour", final_errors(without), final_errors(with_it))


def _dropout_iterations() -> Finding:
    """P16: how many times as many epochs dropout takes to its best test error."""
    with_it = load_runs("dropout", dropout=0.5, schedule="constant")
    without = load_runs("dropout", dropout=0.0, schedule="constant")
    slowdown = ratio(
        [epochs_to_best(run) for run in with_it], [epochs_to_best(run) for run in without]
    )
    doubled = ratio_verdict(slowdown.low, slowdown.high, 2)
    return Finding("Dropout, iterations to converge", _times(slowdown), doubled)


def _weight_decay() -> Finding:
    """P18: what weight decay takes off the training error, in points."""
    without = load_runs("learning", weight_decay=0.0, epochs=RECIPE_2012.epochs)
    decay = RECIPE_2012.weight_decay
    with_it = load_runs("learning", weight_decay=decay, epochs=RECIPE_2012.epochs)
    return _gain(
        "Weight decay, training error",
        final_errors(without, "final_train_error"),
        final_errors(with_it, "final_train_error"),
    )


def _biases_of_one() -> Finding:
    """P19: what biases of 1 take off the error in the first epoch, in points."""

    def first_epoch_errors(init: str) -> list[float]:
        runs = load_runs("learning", init=init, epochs=1)
        return [100 * statistics.mean(run["curve"]["train_error"][0]) for run in runs]

    zeros = first_epoch_errors("original")
    ones = first_epoch_errors("original, biases 1")
    return _gain("Biases of 1, error in the first epoch", zeros, ones)


def _one_column_gray() -> Finding:
    """P24: in how many nets the columns differ in color."""
    runs = accurate_runs("none")
    num_apart = 0
    for run in runs:
        _, trained = run["curve"]["coloured"]  # color fractions of the kernels, before and after
        _, p_value = column_color_difference(trained)
        num_apart += p_value < 0.05
    ours = f"{num_apart} of {len(runs)} nets have columns that differ"
    differ = "holds" if num_apart == len(runs) else "does not hold"
    return Finding("One column grey, one coloured", ours, differ)


def _neighbors_of_the_same_class() -> Finding:
    """P25: how often neighbors in the last hidden layer are of one class."""
    # Of each query the fraction of its six nearest neighbors that are of its class
    same = _read("small", RUNS)["same_class"]
    difference = mean_difference(same["hidden"], same["pixels"], paired=True)
    hidden = 100 * statistics.mean(same["hidden"])
    pixels = 100 * statistics.mean(same["pixels"])
    ours = f"{hidden:.0f} % of six, in pixels {pixels:.0f} %"
    closer = verdict(difference.low, difference.high)
    return Finding("Neighbours of the same class", ours, closer)


def _augmentation_time() -> Finding:
    """P28: the fraction of a training step that the augmentation takes."""
    runs = load_runs("augmentation", augment="color")
    fractions = [run["augment_share"] for run in runs]  # of the time of a step
    ours = f"{100 * statistics.mean(fractions):.0f} % of a step"
    # Prepared ahead as in 2012, a batch costs nothing if it is ready before the step is.
    is_free = "holds" if max(fractions) < 0.5 else "does not hold"
    return Finding("Augmentation, share of a step", ours, is_free)


def _crops_and_flips() -> Finding:
    """P29: what crops and flips take off the gap between test and training error."""

    def gaps(augment: str) -> list[float]:
        runs = load_runs("augmentation", augment=augment)
        test_errors = final_errors(runs)
        train_errors = final_errors(runs, "final_train_error")
        return [test - train for test, train in zip(test_errors, train_errors)]

    return _gain("Windows and mirror images, gap", gaps("none"), gaps("crop"))


FINDINGS: dict[str, Callable[[], Finding]] = {
    "P5": _relu_against_tanh,
    "P9": _response_normalization,
    "P10": _overlapping_pooling,
    "P14": _ten_crops,
    "P15": _pca_color,
    "P16": _dropout_iterations,
    "P18": _weight_decay,
    "P19": _biases_of_one,
    "P24": _one_column_gray,
    "P25": _neighbors_of_the_same_class,
    "P28": _augmentation_time,
    "P29": _crops_and_flips,
}


def finding(claim: str) -> Finding:
    """Compute what the recorded runs say of a claim.

    Args:
        claim: a key of :data:`FINDINGS`, such as "P9".
    """
    return FINDINGS[claim]()
