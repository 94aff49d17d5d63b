"""What the recorded runs say of the paper's claims."""


import json
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from alexnet.bookkit.stats import Interval, mean_difference, ratio_verdict, column_color_difference, ratio, verdict
from alexnet.experiments.config import RECIPE_2012, ExperimentConfig
from alexnet.experiments.runner import RUNS



def load_runs(name: str, folder: Path = RUNS, **fields: object) -> list[dict]:
    """The runs of ``book/runs/NAME.json`` whose settings have these values.

    Raises:
        FileNotFoundError: if the experiment was not recorded.
        ValueError: if no run has these values.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: python -m alexnet.experiments {name} makes it")
    runs = json.loads(path.read_text())["runs"]
    chosen = [run for run in runs if all((asdict(ExperimentConfig()) | run["config"])[field] == value for field, value in fields.items())]
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


def final_errors(runs: list[dict], what: str = "test_error") -> list[float]:
    """What the runs ended with, in per cent: their ``test_error`` or their ``final_train_error``.

    Raises:
        ValueError: if one of them diverged.
    """
    if any(run["curve"]["test_error"][-1] is None for run in runs):
        raise ValueError("a run whose loss was not finite has no error in the end: leave it out, or choose a lower rate")
    ends = (run["curve"][what] for run in runs)
    return [100 * (end[-1] if isinstance(end, list) else end) for end in ends]


def epoch_ratio(slow: list[dict], fast: list[dict], error: float) -> Interval:
    """How many times as many epochs ``slow`` needs as ``fast`` to come below a training error, and the interval of 95 %.

    A run of ``slow`` that never came there counts with all its epochs: then the ratio is at least the mean, and the
    interval has no upper end.

    Raises:
        ValueError: if a run of ``fast`` never came there.
    """
    if any(epochs_to(run, error) == math.inf for run in fast):
        raise ValueError(f"a run that shall be the faster one never came below {error}: there is no ratio")
    mean, low, high = ratio(*([min(epochs_to(run, error), run["config"]["epochs"]) for run in runs] for runs in (slow, fast)))
    return Interval(mean, low, math.inf if any(epochs_to(run, error) == math.inf for run in slow) else high)


@dataclass(frozen=True)
class Finding:
    """What the recorded runs say of a claim, on CIFAR-10, with the interval of 95 %."""

    name: str
    ours: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.name}: {self.ours}\n{self.verdict}"


def _points(worse: list[float], better: list[float], paired: bool = False) -> tuple[str, str]:
    mean, low, high = mean_difference(worse, better, paired)
    return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})", verdict(low, high)


def _gaps(runs: list[dict]) -> list[float]:
    """Test error minus training error, in points."""
    return [test - training for test, training in zip(final_errors(runs), final_errors(runs, "final_train_error"))]


def _p5() -> Finding:
    tanh, relu = (load_runs("relu", init="original", pixels="raw", crop=None, target_train_error=0.25, activation=name) for name in ("tanh", "relu"))
    mean, low, high = epoch_ratio(tanh, relu, 0.25)
    ours = f"{mean:.1f} times ({low:.1f} to {high:.1f}), with the recipe of 2012"
    return Finding("ReLU against tanh", ours, ratio_verdict(low, high, 6))


def _p9() -> Finding:
    # With today's pixels the layer divides by a constant
    none, paper = (load_runs("lrn", epochs=RECIPE_2012.epochs, pixels=RECIPE_2012.pixels, norm=norm) for norm in ("none", "paper's alpha"))
    return Finding("Local response normalisation", *_points(final_errors(none), final_errors(paper)))


def _p10() -> Finding:
    apart, overlapping = (load_runs("pooling", epochs=RECIPE_2012.epochs, pool=[window, 2]) for window in (2, 3))
    return Finding("Pooling with overlap", *_points(final_errors(apart), final_errors(overlapping)))


def _p14() -> Finding:
    runs = load_runs("augmentation", augment="color")
    return Finding("Ten crops against one", *_points(final_errors(runs), final_errors(runs, "ten_crop_error"), paired=True))


def _p15() -> Finding:
    without, with_it = (load_runs("augmentation", augment=kind) for kind in ("crop", "color"))
    return Finding("PCA colour", *_points(final_errors(without), final_errors(with_it)))


def _p16() -> Finding:
    dropped, whole = (load_runs("dropout", dropout=p, schedule="constant") for p in (0.5, 0.0))
    mean, low, high = ratio(*([epochs_to_best(run) for run in runs] for runs in (dropped, whole)))
    return Finding("Dropout, iterations to converge", f"{mean:.1f} times ({low:.1f} to {high:.1f})", ratio_verdict(low, high, 2))


def _p18() -> Finding:
    without, with_it = (load_runs("learning", epochs=RECIPE_2012.epochs, weight_decay=decay) for decay in (0.0, RECIPE_2012.weight_decay))
    return Finding("Weight decay, training error", *_points(*(final_errors(runs, "final_train_error") for runs in (without, with_it))))


def _p19() -> Finding:
    def first_epoch(init: str) -> list[float]:
        return [100 * statistics.mean(run["curve"]["train_error"][0]) for run in load_runs("learning", init=init, epochs=1)]

    return Finding("Biases of 1, error in the first epoch", *_points(first_epoch("original"), first_epoch("original, biases 1")))


def accurate_runs(change: str) -> list[dict]:
    """The runs of ``specialisation`` that get 70 % of the test images right."""
    return [run for run in load_runs("specialisation", modification=change) if run["curve"]["test_error"][-1] <= 0.3]


def _p24() -> Finding:
    runs = accurate_runs("none")
    apart = sum(column_color_difference(run["curve"]["coloured"][1])[1] < 0.05 for run in runs)
    return Finding("One column grey, one coloured", f"{apart} of {len(runs)} nets have columns that differ", "holds" if apart == len(runs) else "does not hold")


def _p25() -> Finding:
    same = json.loads((RUNS / "small.json").read_text())["same_class"]
    _, low, high = mean_difference(same["hidden"], same["pixels"], paired=True)
    hidden, pixels = (100 * statistics.mean(same[name]) for name in ("hidden", "pixels"))
    return Finding("Neighbours of the same class", f"{hidden:.0f} % of six, in pixels {pixels:.0f} %", verdict(low, high))


def _p28() -> Finding:
    shares = [run["augment_share"] for run in load_runs("augmentation", augment="color")]
    # Made ahead of the step, as in 2012, it costs nothing as long as it is done before the step is
    return Finding("Augmentation, share of a step", f"{100 * statistics.mean(shares):.0f} % of a step", "holds" if max(shares) < 0.5 else "does not hold")


def _p29() -> Finding:
    return Finding("Windows and mirror images, gap", *_points(*(_gaps(load_runs("augmentation", augment=kind)) for kind in ("none", "crop"))))


FINDINGS = {"P5": _p5, "P9": _p9, "P10": _p10, "P14": _p14, "P15": _p15, "P16": _p16, "P18": _p18, "P19": _p19, "P24": _p24, "P25": _p25, "P28": _p28, "P29": _p29}


def finding(claim: str) -> Finding:
    """What the idea behind a claim, such as "P9", is worth: computed from ``book/runs/``."""
    return FINDINGS[claim]()
