"""What the recorded runs say of the paper's claims: reading ``book/runs/``, intervals, verdicts."""

import json
import math
import statistics
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from alexnet.experiments import RUNS, THEN, Setting


def recorded(name: str, folder: Path = RUNS, **fields: object) -> list[dict]:
    """The runs of ``book/runs/NAME.json`` whose settings have these values.

    Raises:
        FileNotFoundError: if the experiment was not recorded.
        ValueError: if no run has these values.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: python -m alexnet.experiments {name} makes it")
    runs = json.loads(path.read_text())["runs"]
    chosen = [run for run in runs if all((asdict(Setting()) | run["setting"])[field] == value for field, value in fields.items())]
    if not chosen:
        raise ValueError(f"{path} has no run with {fields}")
    return chosen


def epochs_to(run: dict, error: float) -> float:
    """Epochs until the training error of a quarter of an epoch was below ``error``; infinity if it never was."""
    quarters = [value for row in run["curve"]["train_error"] for value in row]
    return next(((n + 1) / 4 for n, value in enumerate(quarters) if value is not None and value < error), math.inf)


def epochs_to_best(run: dict, tolerance: float = 0.01) -> float:
    """Epochs until the test error was for the first time within ``tolerance`` of the lowest that the run had."""
    errors = run["curve"]["test_error"]
    first = next(n for n, value in enumerate(errors, 1) if value <= min(errors) + tolerance)
    return first * len(run["curve"]["loss"]) / len(errors)  # it is not measured after every epoch


def last(runs: list[dict], what: str = "test_error") -> list[float]:
    """What the runs ended with, in per cent: their ``test_error`` or their ``final_train_error``.

    Raises:
        ValueError: if one of them diverged.
    """
    if any(run["curve"]["test_error"][-1] is None for run in runs):
        raise ValueError("a run whose loss was not finite has no error in the end: leave it out, or choose a lower rate")
    ends = (run["curve"][what] for run in runs)
    return [100 * (end[-1] if isinstance(end, list) else end) for end in ends]


def difference(a: list[float], b: list[float], paired: bool = False, level: float = 0.95) -> tuple[float, float, float]:
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


def times(more: list[float], fewer: list[float]) -> tuple[float, float, float]:
    """How many times as large ``more`` is as ``fewer``: the ratio of geometric means, and the interval of 95 %, Welch's of
    the logarithms."""
    mean, low, high = difference(*([math.log(value) for value in values] for values in (more, fewer)))
    return math.exp(mean), math.exp(low), math.exp(high)


def factor(low: float, high: float, claimed: float) -> str:
    """What the interval of a ratio says of a claim such as "six times": it holds if there is an effect, and it may be as large."""
    return "holds" if low > 1 and high >= claimed else verdict(low, high, claimed)


def slower(slow: list[dict], fast: list[dict], error: float) -> tuple[float, float, float]:
    """How many times as many epochs ``slow`` needs as ``fast`` to come below a training error, and the interval of 95 %.

    A run of ``slow`` that never came there counts with all its epochs: then the ratio is at least the mean, and the
    interval has no upper end.

    Raises:
        ValueError: if a run of ``fast`` never came there.
    """
    if any(epochs_to(run, error) == math.inf for run in fast):
        raise ValueError(f"a run that shall be the faster one never came below {error}: there is no ratio")
    mean, low, high = times(*([min(epochs_to(run, error), run["setting"]["epochs"]) for run in runs] for runs in (slow, fast)))
    return mean, low, math.inf if any(epochs_to(run, error) == math.inf for run in slow) else high


@dataclass(frozen=True)
class Idea:
    """What the recorded runs say of a claim, on CIFAR-10, with the interval of 95 %."""

    name: str
    ours: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.name}: {self.ours}\n{self.verdict}"


def _points(worse: list[float], better: list[float], paired: bool = False) -> tuple[str, str]:
    mean, low, high = difference(worse, better, paired)
    return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})", verdict(low, high)


def _gaps(runs: list[dict]) -> list[float]:
    """Test error minus training error, in points."""
    return [test - training for test, training in zip(last(runs), last(runs, "final_train_error"))]


def _p5() -> Idea:
    tanh, relu = (recorded("relu", init="original", scale="raw", target=0.25, activation=name) for name in ("tanh", "relu"))
    mean, low, high = slower(tanh, relu, 0.25)
    ours = f"{mean:.1f} times ({low:.1f} to {high:.1f}), with the recipe of 2012"
    return Idea("ReLU against tanh", ours, factor(low, high, 6))


def _p9() -> Idea:
    # With today's pixels the layer divides by a constant
    none, paper = (recorded("lrn", epochs=THEN.epochs, scale=THEN.scale, norm=norm) for norm in ("none", "paper's alpha"))
    return Idea("Local response normalisation", *_points(last(none), last(paper)))


def _p10() -> Idea:
    apart, overlapping = (recorded("pooling", epochs=THEN.epochs, pool=[window, 2]) for window in (2, 3))
    return Idea("Pooling with overlap", *_points(last(apart), last(overlapping)))


def _p14() -> Idea:
    runs = recorded("augmentation", augment="colour")
    return Idea("Ten crops against one", *_points(last(runs), last(runs, "ten_crop_error"), paired=True))


def _p15() -> Idea:
    without, with_it = (recorded("augmentation", augment=kind) for kind in ("crop", "colour"))
    return Idea("PCA colour", *_points(last(without), last(with_it)))


def _p16() -> Idea:
    dropped, whole = (recorded("dropout", dropout=p, schedule="constant") for p in (0.5, 0.0))
    mean, low, high = times(*([epochs_to_best(run) for run in runs] for runs in (dropped, whole)))
    return Idea("Dropout, iterations to converge", f"{mean:.1f} times ({low:.1f} to {high:.1f})", factor(low, high, 2))


def _p18() -> Idea:
    without, with_it = (recorded("learning", epochs=THEN.epochs, decay=decay) for decay in (0.0, THEN.decay))
    return Idea("Weight decay, training error", *_points(*(last(runs, "final_train_error") for runs in (without, with_it))))


def _p19() -> Idea:
    def first_epoch(init: str) -> list[float]:
        return [100 * statistics.mean(run["curve"]["train_error"][0]) for run in recorded("learning", init=init, epochs=1)]

    return Idea("Biases of 1, error in the first epoch", *_points(first_epoch("original"), first_epoch("original, biases 1")))


def specialised(coloured: list[float]) -> tuple[float, float]:
    """How much more coloured the kernels of the second column are than those of the first, and how often chance alone makes
    columns that differ as much: a permutation test, of two sides.

    Args:
        coloured: a figure a kernel, see :func:`alexnet.visualize.coloured`, the first column's in the first half.
    """
    from scipy.stats import permutation_test

    halves = coloured[len(coloured) // 2 :], coloured[: len(coloured) // 2]
    test = permutation_test(halves, lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=9999, vectorized=True, rng=0)
    return float(test.statistic), float(test.pvalue)


def good(change: str) -> list[dict]:
    """The runs of ``specialisation`` that get 70 % of the test images right."""
    return [run for run in recorded("specialisation", change=change) if run["curve"]["test_error"][-1] <= 0.3]


def _p24() -> Idea:
    runs = good("none")
    apart = sum(specialised(run["curve"]["coloured"][1])[1] < 0.05 for run in runs)
    return Idea("One column grey, one coloured", f"{apart} of {len(runs)} nets have columns that differ", "holds" if apart == len(runs) else "does not hold")


def _p25() -> Idea:
    same = json.loads((RUNS / "small.json").read_text())["same_class"]
    _, low, high = difference(same["hidden"], same["pixels"], paired=True)
    hidden, pixels = (100 * statistics.mean(same[name]) for name in ("hidden", "pixels"))
    return Idea("Neighbours of the same class", f"{hidden:.0f} % of six, in pixels {pixels:.0f} %", verdict(low, high))


def _p28() -> Idea:
    shares = [run["augment_share"] for run in recorded("augmentation", augment="colour")]
    # Made ahead of the step, as in 2012, it costs nothing as long as it is done before the step is
    return Idea("Augmentation, share of a step", f"{100 * statistics.mean(shares):.0f} % of a step", "holds" if max(shares) < 0.5 else "does not hold")


def _p29() -> Idea:
    return Idea("Windows and mirror images, gap", *_points(*(_gaps(recorded("augmentation", augment=kind)) for kind in ("none", "crop"))))


IDEAS = {"P5": _p5, "P9": _p9, "P10": _p10, "P14": _p14, "P15": _p15, "P16": _p16, "P18": _p18, "P19": _p19, "P24": _p24, "P25": _p25, "P28": _p28, "P29": _p29}


def idea(claim: str) -> Idea:
    """What the idea behind a claim, such as "P9", is worth: computed from ``book/runs/``."""
    return IDEAS[claim]()
