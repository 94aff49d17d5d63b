"""What it costs to take a part of the net away, as the first page shows it.

:mod:`alexnet.experiments.cuts` measures it. ``page/cuts.js`` shows it, and asks the reader first
which of two cuts costs more.
"""

import json
from pathlib import Path

from alexnet.experiments.cuts import WHOLE, weights_sha256
from alexnet.experiments.runner import RUNS
from alexnet.predictor import SHIPPED

RECORD = RUNS / "cuts.json"
COLUMNS = ("top1", "top5", "changed", "right_to_wrong", "wrong_to_right", "parameters")
CLEAR = 0.02  # by which the costs of two cuts differ, of which the reader guesses the larger
PAIRS = 6  # of cuts to guess from, at most


def cut_costs(weights: str | Path, path: Path = RECORD) -> dict | None:
    """What the first page tells of the recorded cuts.

    Args:
        weights: a key of :data:`alexnet.predictor.SHIPPED`, or a file of weights.
        path: of the record.

    Returns:
        The number of ``images``; what the ``whole`` net gets and, by cut, the ``rows``, each of
        the numbers that :data:`COLUMNS` names; of ``dropout`` the top-1 accuracy of each draw; and
        ``pairs`` of cuts to guess from. None if there is no record, or one of other weights.
    """
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["weights"]["sha256"] != weights_sha256(SHIPPED.get(str(weights), Path(weights))):
        return None
    by_cut = {row["cut"]: row for row in record["cuts"]}
    rows = {cut: [row[column] for column in COLUMNS] for cut, row in by_cut.items()}
    whole = rows.pop(WHOLE)
    return {
        "images": record["data"]["test"],
        "whole": whole,
        "rows": rows,
        "dropout": [draw["top1"] for draw in by_cut["dropout"]["draws"]],
        "pairs": surprising_pairs(by_cut),
    }


def surprising_pairs(by_cut: dict[str, dict]) -> list[list[str]]:
    """Pairs of cuts of which the one that takes away fewer parameters costs clearly more.

    Or as many. The first pair is the most surprising: the one with the largest ratio of the two
    numbers of parameters. No cut is in more than two pairs. Single kernels are in none, since
    nobody knows them by their numbers.
    """
    names = [cut for cut in by_cut if cut != WHOLE and not cut.startswith("kernel")]
    found = []
    for small in names:
        for large in names:
            a, b = by_cut[small], by_cut[large]
            is_smaller = a["parameters"] <= b["parameters"]
            if small != large and is_smaller and b["top1"] - a["top1"] >= CLEAR:
                ratio = (b["parameters"] + 1) / (a["parameters"] + 1)
                # As they come in the record, so that the order does not tell which costs more
                found.append((ratio, sorted((small, large), key=names.index)))
    found.sort(key=lambda pair: -pair[0])
    chosen: list[list[str]] = []
    for _, pair in found:
        used = [cut for other in chosen for cut in other]
        if all(used.count(cut) < 2 for cut in pair):
            chosen.append(pair)
    return chosen[:PAIRS]
