"""What the recorded runs on Tiny ImageNet say of the paper's claims.

``python -m alexnet.experiments tiny-imagenet`` makes them, in groups: nets without one of their
parts, on 200 classes; what holds overfitting back, on 40 classes; and the rest. Nothing is said of
a claim until all of its runs are there. P25 is about the net of the first page instead, which
``python -m alexnet.experiments confusion`` has looked into.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from alexnet.bookkit.findings import (
    Finding,
    column_distances,
    configuration,
    epoch_ratios,
    final_errors,
    gaps,
    load_runs,
    neighbors_of_the_same_class,
)
from alexnet.bookkit.stats import Effect, Interval, confidence_level, mean_difference
from alexnet.experiments.runner import RUNS

NUM_SEEDS = 3  # fixed beforehand

# The runs of all classes, and those of the setting that overfits: of the whole net. The others
# differ in a field or two
_WHOLE = {
    "test": "at the end",
    "num_classes": None,
    "dropout": 0.0,  # with which fewer of the images held out are wrong, see tiny_imagenet_base()
    "modification": "none",
    "activation": "relu",
    "crop": 56,
    "pool": [3, 2],
}
_OVERFITS = {
    "test": "at the end",
    "num_classes": 40,
    "augment": "color",
    "dropout": 0.5,
    "weight_decay": 0.0005,
}


class _MissingRuns(Exception):
    """Not all runs of a claim are recorded."""


class Select:
    """The recorded runs of a folder, to be selected by fields of their configurations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _recorded(self) -> list[dict]:
        if not (self.folder / "tiny-imagenet.json").exists():
            raise _MissingRuns
        return load_runs("tiny-imagenet", self.folder)

    def __call__(self, fields: dict) -> list[dict]:
        """The runs that have these fields, one for each seed."""
        runs = [run for run in self._recorded if fields.items() <= configuration(run).items()]
        seeds = {run["config"]["seed"] for run in runs}
        if len(seeds) < len(runs):
            raise ValueError(
                f"tiny-imagenet.json must have one run a seed with {fields}, got several: move "
                "those of another recipe away"
            )
        if len(seeds) < NUM_SEEDS:
            raise _MissingRuns
        return runs


Measure = Callable[[Select, float], Finding]


def _finding(name: str, ours: str, effects: list[Effect], runs: list[dict]) -> Finding:
    return Finding(name, ours, tuple(effects), "Tiny ImageNet", runs)


def _points(*gains: Interval) -> str:
    texts = []
    for gain in gains:
        has_spread = f"{gain.low:.1f}" != f"{gain.high:.1f}"
        digits = 1 if has_spread else 2
        texts.append(f"{gain:+.{digits}f}")
    return " and ".join(texts) + " points"


def _errors(
    name: str,
    without: dict,
    with_it: dict,
    num_parts: int,
    note: str,
    select: Select,
    level: float,
) -> Finding:
    """What an idea takes off the top-1 and the top-5 error.

    Args:
        name: of the idea.
        without: fields of the runs without it.
        with_it: fields of the runs with it.
        num_parts: 1 if the claim is about the top-1 error, 2 if it is about both.
        note: follows the figures.
        select: see :data:`Select`.
        level: of the intervals.
    """
    worse, better = select(without), select(with_it)
    gains = []
    for metric in ("test_error", "test_top5_error"):
        a, b = final_errors(worse, metric), final_errors(better, metric)
        gains.append(mean_difference(a, b, level=level))
    parts = ("top-1", "top-5") if num_parts > 1 else ("",)
    effects = [Effect((gain,), part=part) for gain, part in zip(gains, parts, strict=False)]
    return _finding(name, _points(*gains) + note, effects, worse + better)


def _relu_against_tanh(select: Select, level: float) -> Finding:
    """P5 asks how soon four layers have learned; this is how many errors eight layers make."""
    note = ", top-1 and top-5, after as many epochs"
    found = _errors("ReLU against tanh", _TANH, _WHOLE, 1, note, select, level)
    [effect] = found.effects
    effects = (effect._replace(part="errors"),)
    return replace(found, effects=effects, other_setting="errors, not speed")


def _ten_crops(select: Select, level: float) -> Finding:
    """P14: what ten crops take off the error of one."""
    runs = select(_WHOLE)
    gains = []
    for one, ten in (
        ("test_error", "ten_crop_error"),
        ("test_top5_error", "ten_crop_top5_error"),
    ):
        a, b = final_errors(runs, one), final_errors(runs, ten)
        gains.append(mean_difference(a, b, paired=True, level=level))
    effects = [Effect((gains[0],))]  # the claim is about the top-1 error
    # Other photographs would change more
    ours = f"{_points(*gains)}, top-1 and top-5, by the seeds alone"
    return _finding("Ten crops against one", ours, effects, runs)


def _dropout(select: Select, level: float) -> Finding:
    """P16: what dropout takes off the gap between test and training error; epochs with it."""
    without, with_it = select(_OVERFITS | {"dropout": 0.0}), select(_OVERFITS)
    gap = mean_difference(gaps(without), gaps(with_it), level=level)
    longer = []
    for metric in ("held_out_error", "train_error"):
        longer += epoch_ratios(with_it, without, metric, level).values()
    ratios = [interval.mean for interval in longer]
    ours = (
        f"{_points(gap)} of gap; {min(ratios):.1f} to {max(ratios):.1f} times the epochs, "
        "depending on the error; 40 classes"
    )
    by_error = Effect(tuple(longer), no_effect=1.0, part="epochs", by="error to be reached")
    effects = [by_error, Effect((gap,), part="gap")]
    return _finding("Dropout, epochs and gap", ours, effects, without + with_it)


def _weight_decay(select: Select, level: float) -> Finding:
    """P18: what the paper's weight decay takes off the training error."""
    runs, base = select(_OVERFITS | {"weight_decay": 0.0}), select(_OVERFITS)
    errors = (final_errors(found, "final_train_error") for found in (runs, base))
    gain = mean_difference(*errors, level=level)
    return _finding("Weight decay", f"{_points(gain)}, 40 classes", [Effect((gain,))], runs + base)


def _crops_and_flips(select: Select, level: float) -> Finding:
    """P29: what they take off the error, and off its gap to the training error."""
    runs, base = select(_OVERFITS | {"augment": "color only"}), select(_OVERFITS)
    gap = mean_difference(gaps(runs), gaps(base), level=level)
    error = mean_difference(final_errors(runs), final_errors(base), level=level)
    ours = f"{error:+.1f} points of error, {gap:+.1f} of gap, 40 classes"
    effects = [Effect((error,), part="error"), Effect((gap,), part="gap")]
    return _finding("Windows and mirror images", ours, effects, runs + base)


def _columns(select: Select, level: float) -> Finding:
    """P24: how much more the columns differ in color than halves of nets without columns."""
    columns, halves = select(_WHOLE), select(_WHOLE | {"modification": "no columns"})
    more = mean_difference(column_distances(columns), column_distances(halves), level=level)
    ours = f"{more:+.2f} more than without columns"
    return _finding("Columns differ in colour", ours, [Effect((more,))], columns + halves)


def _neighbors(select: Select, level: float) -> Finding:
    """P25: how often the neighbors of a validation image are of its class, in the flagship."""
    if not (select.folder / "confusion.json").exists():
        raise _MissingRuns
    return neighbors_of_the_same_class("confusion", select.folder, level)


def _middle_convolutions(select: Select, level: float) -> Finding:
    """P26: what each convolution in the middle takes off the top-1 error."""
    base = select(_WHOLE)
    texts, effects, runs = [], [], list(base)
    for layer in ("conv3", "conv4", "conv5"):
        removed = select(_WHOLE | {"modification": f"without {layer}"})
        loss = mean_difference(final_errors(removed), final_errors(base), level=level)
        texts.append(f"{loss:+.1f} without {layer}")
        effects.append(Effect((loss,), part=layer))
        runs += removed
    return _finding("Middle convolutions", f"{', '.join(texts)}, points", effects, runs)


_TANH = _WHOLE | {"activation": "tanh"}
_HALF = _WHOLE | {"modification": "one GPU's half"}
_NO_LRN = _WHOLE | {"modification": "without LRN"}
_OVERLAP = _WHOLE | {"crop": 48}  # as many positions with either pooling
_APART = _OVERLAP | {"pool": [2, 2]}
_NO_COLOR = _OVERFITS | {"augment": "crop"}


def _early(measure: Measure) -> Measure:
    """Of nets of eight epochs, where the claim is about the error of nets that were trained.

    The whole net still misses two thirds of its training photographs by then.
    """

    def measured(select: Select, level: float) -> Finding:
        found = measure(select, level)
        epochs = max(run["config"]["epochs"] for run in found.runs)
        return replace(found, other_setting=f"{epochs} epochs only")

    return measured


TINY_FINDINGS: dict[str, Measure] = {
    "P5": _relu_against_tanh,
    "P6": _early(partial(_errors, "All kernels against half", _HALF, _WHOLE, 2, "")),
    "P8": _early(partial(_errors, "Local response normalisation", _NO_LRN, _WHOLE, 2, "")),
    "P10": _early(partial(_errors, "Pooling with overlap", _APART, _OVERLAP, 2, "")),
    "P14": _ten_crops,
    "P15": partial(_errors, "PCA colour", _NO_COLOR, _OVERFITS, 1, ", top-1 and top-5, 40 classes"),
    "P16": _dropout,
    "P18": _weight_decay,
    "P24": _columns,
    "P25": _neighbors,
    "P26": _early(_middle_convolutions),
    "P29": _crops_and_flips,
}


def tiny_finding(claim: str, looks: int = 1, folder: Path = RUNS) -> Finding | None:
    """Compute what the recorded runs say of a claim.

    Args:
        claim: a key of :data:`TINY_FINDINGS`, such as "P6".
        looks: how many times the runs were looked at, see
            :func:`alexnet.bookkit.stats.confidence_level`.
        folder: where ``tiny-imagenet.json`` is.

    Returns:
        None if not all of its runs are recorded.

    Raises:
        ValueError: if the file is no record of runs, if a run has diverged, or if a seed has runs
            of two recipes.
    """
    try:
        return TINY_FINDINGS[claim](Select(folder), confidence_level(looks))
    except _MissingRuns:
        return None
