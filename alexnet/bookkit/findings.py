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
    Effect,
    Interval,
    column_color_difference,
    confidence_level,
    mean_difference,
    ratio,
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


def configuration(run: dict) -> dict:
    """All fields of a run's configuration, with the values that JSON has, and its "device".

    A file may be older than a field, which then had its default.
    """
    defaults = json.loads(json.dumps(asdict(ExperimentConfig())))
    return defaults | run["config"] | {"device": run.get("device", "cpu")}


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
    wanted = json.loads(json.dumps(fields))  # a tuple is a list, as in the file
    try:
        runs = list(_read(name, folder)["runs"])
        configs = [configuration(run) for run in runs]
    except (KeyError, TypeError) as error:
        raise _not_recorded_runs(folder / f"{name}.json", error) from error
    chosen = []
    for run, config in zip(runs, configs):
        if all(config[field] == value for field, value in wanted.items()):
            chosen.append(run)
    if not chosen:
        raise ValueError(f"{folder / name}.json must have a run with {fields}, got none")
    return chosen


def errors_over_epochs(run: dict, metric: str) -> tuple[list[float], list[float | None]]:
    """After how many epochs an error was measured, and the errors, fractions of the images.

    Args:
        run: a recorded run.
        metric: ``"train_error"``, counted while training and averaged over quarters of an epoch;
            ``"test_error"``, which is not measured after every epoch if there are few training
            images; or ``"held_out_error"``, of runs that hold training images out.
    """
    errors = run["curve"][metric]
    if metric == "train_error":
        errors = [value for epoch in errors for value in epoch]
        return [i / 4 for i in range(1, len(errors) + 1)], errors
    if metric == "held_out_error":
        return run["curve"]["held_out_epochs"], errors
    epochs_apart = len(run["curve"]["loss"]) / len(errors)
    return [i * epochs_apart for i in range(1, len(errors) + 1)], errors


def epochs_to(run: dict, error: float, metric: str = "train_error") -> float:
    """Epochs until an error was first measured below a value.

    Args:
        run: a recorded run.
        error: a fraction of the images.
        metric: see :func:`errors_over_epochs`.

    Returns:
        For the training error a multiple of 1/4; infinity if the run never came there.
    """
    for epochs, value in zip(*errors_over_epochs(run, metric)):
        if value is not None and value < error:  # None: the loss was not finite
            return epochs
    return math.inf


def final_errors(runs: list[dict], metric: str = "test_error") -> list[float]:
    """The errors at the end of training, in percent, one a run.

    Args:
        runs: recorded runs.
        metric: ``"test_error"``, ``"final_train_error"``, ``"ten_crop_error"`` and the like.

    Raises:
        ValueError: if a run has diverged.
    """
    errors = []
    for run in runs:
        curve = run["curve"]
        if not curve["test_error"] or curve["test_error"][-1] is None:
            raise ValueError(
                "final_errors needs runs with a finite loss, got one that diverged: leave it out, "
                "or choose a lower learning rate"
            )
        values = curve[metric]
        final = values[-1] if isinstance(values, list) else values
        errors.append(100 * final)
    return errors


def epoch_ratio(
    slow: list[dict],
    fast: list[dict],
    error: float,
    metric: str = "train_error",
    level: float = 0.95,
) -> Interval:
    """How many times as many epochs some runs need as others to reach an error.

    A slow run that never reached it counts with all its epochs. The true ratio is then at least the
    estimate, and the interval has no upper end.

    Args:
        slow: recorded runs.
        fast: recorded runs, all of which reached the error.
        error: a fraction of the images.
        metric: see :func:`errors_over_epochs`.
        level: of the interval.

    Raises:
        ValueError: if a fast run never reached the error.
    """
    fast_epochs = [epochs_to(run, error, metric) for run in fast]
    slow_epochs = [epochs_to(run, error, metric) for run in slow]
    if math.inf in fast_epochs:
        raise ValueError(
            f"all fast runs must reach a {metric} below {error}, got one that does not: "
            "there is no ratio"
        )
    trained = [min(n, run["config"]["epochs"]) for n, run in zip(slow_epochs, slow)]
    interval = ratio(trained, fast_epochs, level=level)
    if math.inf in slow_epochs:
        return interval._replace(high=math.inf)
    return interval


def epoch_ratios(
    slow: list[dict], fast: list[dict], metric: str = "test_error", level: float = 0.95
) -> dict[int, Interval]:
    """How many times as many epochs some runs need as others, for each error to be reached.

    Args:
        slow: recorded runs.
        fast: recorded runs.
        metric: see :func:`errors_over_epochs`.
        level: of the intervals.

    Returns:
        Ratios by the error in whole per cent: from the highest that no run is below when it is
        first measured, to the lowest that all runs come below.
    """
    errors = [errors_over_epochs(run, metric)[1] for run in (*slow, *fast)]
    highest = min(each[0] for each in errors)
    lowest = max(min(each) for each in errors)
    lines = [line for line in range(99, 0, -1) if lowest < line / 100 <= highest]
    return {line: epoch_ratio(slow, fast, line / 100, metric, level) for line in lines}


def fastest_runs(runs: list[dict], error: float) -> list[dict]:
    """Those of the learning rate that reaches a training error in the fewest epochs.

    Args:
        runs: recorded runs that differ in learning rate and seed only.
        error: a fraction of the training images.

    Returns:
        The runs of the rate with the lowest geometric mean; a run that did not get there counts
        with all its epochs.
    """
    by_rate: dict[float, list[dict]] = {}
    for run in runs:
        by_rate.setdefault(run["config"]["lr"], []).append(run)

    def mean_epochs(same_rate: list[dict]) -> float:
        epochs = [min(epochs_to(run, error), run["config"]["epochs"]) for run in same_rate]
        return statistics.geometric_mean(epochs)

    return min(by_rate.values(), key=mean_epochs)


def gaps(runs: list[dict]) -> list[float]:
    """How far the test error is above that of the training images in the end, in points.

    Args:
        runs: recorded runs whose learning rate fell to zero.

    Returns:
        One value a run.
    """
    test_errors = final_errors(runs)
    train_errors = final_errors(runs, "final_train_error")
    return [test - train for test, train in zip(test_errors, train_errors)]


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
    """What the recorded runs say of a claim.

    :mod:`alexnet.bookkit.claims` judges it, by the rule in :mod:`alexnet.bookkit.stats`.
    """

    name: str  # of the idea behind the claim
    ours: str  # the figure, with its interval where it has one
    effects: tuple[Effect, ...]  # one for each part of the claim
    data: str  # the data set of the runs
    runs: list[dict]  # that it rests on
    # What they are instead of what the claim speaks of, such as nets that learned to the end
    other_setting: str = ""

    @property
    def is_decisive(self) -> bool:
        """Whether the runs are such as the claim speaks of."""
        return not self.other_setting

    def __str__(self) -> str:
        return f"{self.name}: {self.ours}"


def _data_of(experiment: str) -> str:
    return _read(experiment, RUNS)["data"]["name"]


def _points(interval: Interval) -> str:
    """An interval of a difference in percent; "+" means that the idea does as claimed."""
    mean, low, high = interval
    return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})"


def _gain(
    name: str,
    experiment: str,
    without: list[dict],
    with_it: list[dict],
    level: float,
    measure: Callable[[list[dict]], list[float]] = final_errors,
) -> Finding:
    """The finding that an idea lowers what is measured, one value a run, in percent."""
    interval = mean_difference(measure(without), measure(with_it), level=level)
    effects = (Effect((interval,)),)
    return Finding(name, _points(interval), effects, _data_of(experiment), without + with_it)


def _train_errors(runs: list[dict]) -> list[float]:
    return final_errors(runs, "final_train_error")


def _relu_against_tanh(level: float) -> Finding:
    """P5: how many times as many epochs tanh takes to 25 % training error."""
    recipe = {"init": "original", "pixels": "raw", "crop": None, "target_train_error": 0.25}
    tanh = fastest_runs(load_runs("relu", activation="tanh", **recipe), 0.25)
    relu = load_runs("relu", activation="relu", **recipe)
    speedup = epoch_ratio(tanh, relu, 0.25, level=level)
    mean, low, high = speedup
    ours = f"{mean:.1f} times ({low:.1f} to {high:.1f}), with the recipe of 2012"
    effects = (Effect((speedup,), no_effect=1.0),)
    return Finding("ReLU against tanh", ours, effects, _data_of("relu"), tanh + relu)


def _response_normalization(level: float) -> Finding:
    """P9: what the paper's normalization takes off the test error, in points."""
    # Standardized pixels would make the layer divide by a constant.
    recipe = {"epochs": RECIPE_2012.epochs, "pixels": RECIPE_2012.pixels}
    without = load_runs("lrn", norm="none", **recipe)
    with_it = load_runs("lrn", norm="paper's alpha", **recipe)
    return _gain("Local response normalisation", "lrn", without, with_it, level)


def _overlapping_pooling(level: float) -> Finding:
    """P10: what overlapping windows take off the test error, in points."""
    apart = load_runs("pooling", pool=(2, 2), epochs=RECIPE_2012.epochs)
    overlapping = load_runs("pooling", pool=(3, 2), epochs=RECIPE_2012.epochs)
    return _gain("Pooling with overlap", "pooling", apart, overlapping, level)


def _ten_crops(level: float) -> Finding:
    """P14: what ten crops take off the test error of one, in points."""
    runs = load_runs("augmentation", augment="color")
    ten_crops = final_errors(runs, "ten_crop_error")
    gain = mean_difference(final_errors(runs), ten_crops, paired=True, level=level)
    effects = (Effect((gain,)),)
    return Finding("Ten crops against one", _points(gain), effects, _data_of("augmentation"), runs)


def _pca_color(level: float) -> Finding:
    """P15: what PCA color takes off the test error, in points."""
    without = load_runs("augmentation", augment="crop")
    with_it = load_runs("augmentation", augment="color")
    return _gain("PCA colour", "augmentation", without, with_it, level)


def _dropout(level: float) -> Finding:
    """P16: what dropout takes off the gap between test and training error; epochs with it.

    The gap after a short training, on a tenth of the images and on all. The epochs on a tenth of
    them, at a constant learning rate, for each error that may be meant by "converge".
    """
    runs, narrowing = [], []
    for images in (5_000, 50_000):
        recipe = {"schedule": "linear", "train_images": images}
        without, with_it = (load_runs("dropout", dropout=p, **recipe) for p in (0.0, 0.5))
        narrowing.append(mean_difference(gaps(without), gaps(with_it), level=level))
        runs += without + with_it
    fast, slow = (load_runs("dropout", dropout=p, schedule="constant") for p in (0.0, 0.5))
    by_test = epoch_ratios(slow, fast, "test_error", level)
    by_train = epoch_ratios(slow, fast, "train_error", level)
    ratios = [interval.mean for interval in (*by_test.values(), *by_train.values())]
    few, many = (interval.mean for interval in narrowing)
    ours = (
        f"{many:+.1f} to {few:+.1f} points of gap, depending on the images; "
        f"{min(ratios):.1f} to {max(ratios):.1f} times the epochs, depending on the error"
    )
    intervals = (*by_test.values(), *by_train.values())
    longer = Effect(intervals, no_effect=1.0, part="epochs", by="error to be reached")
    effects = (longer, Effect(tuple(narrowing), part="gap", by="number of images"))
    return Finding(
        "Dropout, epochs and gap", ours, effects, _data_of("dropout"), runs + slow + fast
    )


def _weight_decay(level: float) -> Finding:
    """P18: what weight decay takes off the training error, in points."""
    runs = load_runs("learning", epochs=RECIPE_2012.epochs)
    # The paper's decay, if it is among them, is the least
    least = min(run["config"]["weight_decay"] for run in runs if run["config"]["weight_decay"])
    without, with_it = (
        [run for run in runs if run["config"]["weight_decay"] == decay] for decay in (0.0, least)
    )
    name = "Weight decay, training error"
    return _gain(name, "learning", without, with_it, level, _train_errors)


def _biases_of_one(level: float) -> Finding:
    """P19: what biases of 1 take off the error in the first epoch, in points."""

    def first_epoch_errors(runs: list[dict]) -> list[float]:
        return [100 * statistics.mean(run["curve"]["train_error"][0]) for run in runs]

    zeros = load_runs("learning", init="original", epochs=1)
    ones = load_runs("learning", init="original, biases 1", epochs=1)
    name = "Biases of 1, error in the first epoch"
    return _gain(name, "learning", zeros, ones, level, first_epoch_errors)


def column_distances(runs: list[dict]) -> list[float]:
    """By how much the kernels of the two columns differ in color in the end, one value a run.

    Args:
        runs: of two-column nets.

    Returns:
        The difference of the columns' mean color fractions, without its sign.
    """
    distances = []
    for run in runs:
        _, trained = run["curve"]["coloured"]  # color fractions of the kernels, before and after
        half = len(trained) // 2
        first, second = statistics.mean(trained[:half]), statistics.mean(trained[half:])
        distances.append(abs(second - first))
    return distances


def _one_column_gray(level: float) -> Finding:
    """P24: how much more the columns differ in color than halves of nets without columns."""
    columns, halves = accurate_runs("none"), accurate_runs("no columns")
    more = mean_difference(column_distances(columns), column_distances(halves), level=level)
    num_apart = 0
    for run in columns:
        _, p_value = column_color_difference(run["curve"]["coloured"][1])
        num_apart += p_value < 0.05
    ours = f"{more:+.2f} more than without columns; {num_apart} of {len(columns)} nets are apart"
    effects = (Effect((more,)),)
    data = _data_of("specialisation")
    return Finding("Columns differ in colour", ours, effects, data, columns + halves)


def neighbors_of_the_same_class(experiment: str, folder: Path, level: float) -> Finding:
    """P25: how often neighbors in the last hidden layer are of one class.

    Args:
        experiment: the one that counted them: "small" for each query, "confusion" for each class.
        folder: where its file is.
        level: of the interval.
    """
    # Of each the fraction of the six nearest neighbors that are of the same class
    file = _read(experiment, folder)
    same = file["same_class"]
    difference = mean_difference(same["hidden"], same["pixels"], paired=True, level=level)
    hidden = 100 * statistics.mean(same["hidden"])
    pixels = 100 * statistics.mean(same["pixels"])
    more = _points(Interval(*(100 * value for value in difference)))
    ours = f"{more}: {hidden:.0f} % of six, in pixels {pixels:.0f} %"
    effects = (Effect((difference,)),)
    name = "Neighbours of one class, against pixels"
    return Finding(name, ours, effects, file["data"]["name"], [])


def _neighbors(level: float) -> Finding:
    return neighbors_of_the_same_class("small", RUNS, level)


def _augmentation_time(level: float) -> Finding:
    """P28: how many times as long as the augmentation the rest of a training step takes."""
    runs = load_runs("augmentation", augment="color")
    fractions = [run["augment_share"] for run in runs]  # of the time of a step
    rest = [1 - fraction for fraction in fractions]
    # Prepared ahead as in 2012, a batch costs nothing if it is ready before the step is.
    longer = ratio(rest, fractions, paired=True, level=level)
    mean, low, high = (f"1/{times:.0f}" for times in longer)
    ours = f"{mean} of the rest of a step ({high} to {low})"
    effects = (Effect((longer,), no_effect=1.0),)
    data = _data_of("augmentation")
    return Finding("Step against its augmentation", ours, effects, data, runs)


def _crops_and_flips(level: float) -> Finding:
    """P29: what crops and flips take off the test error, and off its gap to the training error.

    The gap alone would say little, because it narrows as well where the training error rises.
    """
    without = load_runs("augmentation", augment="none")
    with_it = load_runs("augmentation", augment="crop")
    error, gap = (
        mean_difference(measure(without), measure(with_it), level=level)
        for measure in (final_errors, gaps)
    )
    ours = f"{error:+.1f} points of error, {gap:+.1f} of gap"
    effects = (Effect((error,), part="error"), Effect((gap,), part="gap"))
    data = _data_of("augmentation")
    return Finding("Windows and mirror images", ours, effects, data, without + with_it)


FINDINGS: dict[str, Callable[[float], Finding]] = {
    "P5": _relu_against_tanh,
    "P9": _response_normalization,
    "P10": _overlapping_pooling,
    "P14": _ten_crops,
    "P15": _pca_color,
    "P16": _dropout,
    "P18": _weight_decay,
    "P19": _biases_of_one,
    "P24": _one_column_gray,
    "P25": _neighbors,
    "P28": _augmentation_time,
    "P29": _crops_and_flips,
}


def finding(claim: str, looks: int = 1) -> Finding:
    """Compute what the recorded runs say of a claim.

    Args:
        claim: a key of :data:`FINDINGS`, such as "P9".
        looks: how many times its runs were looked at before their number was final, see
            :func:`alexnet.bookkit.stats.confidence_level`.
    """
    return FINDINGS[claim](confidence_level(looks))
