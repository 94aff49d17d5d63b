"""What the shipped net takes each class for, and which photographs lie close together in it.

``python -m alexnet.experiments confusion --data TINY_IMAGENET`` counts both on the 10,000
validation photographs: what was guessed of each class, and of which classes the six photographs
are that are nearest by the last hidden layer, as in Figure 4 of the paper; for comparison by that
of the untrained net, and by pixels. It also looks up the neighbors of the book's own photographs.
Nothing is trained, and nothing is chosen by what comes out. The record holds numbers, and none of
the data set's photographs.
"""

import datetime
import json
import time

import torch
from torch import Tensor

from alexnet.experiments.branches import BRANCHES
from alexnet.experiments.cuts import BATCH, NET, center_views, load_shipped, weights_sha256
from alexnet.experiments.runner import RUNS, Runner, describe_machine
from alexnet.loader import decode_image
from alexnet.model import AlexNet
from alexnet.predictor import Predictor
from alexnet.visualize import activations, nearest_neighbors

NEIGHBORS = 6  # as many as Figure 4 shows
LISTED = 6  # classes, of those that are near a class
HIDDEN = "classifier.act7"
PHOTOGRAPHS = RUNS.parent / "photographs"


def other_neighbors(features: Tensor, n: int = NEIGHBORS) -> Tensor:
    """The nearest of all others, for each image of a set.

    Args:
        features: (N, numbers).
        n: neighbors an image.

    Returns:
        int64 (N, n), the nearest first; none is the image itself.
    """
    found = []
    for start in range(0, len(features), 500):
        distances = torch.cdist(features[start : start + 500], features)  # (500, N)
        own = torch.arange(len(distances))
        distances[own, start + own] = torch.inf
        found.append(distances.topk(n, largest=False).indices)
    return torch.cat(found)


def count_pairs(labels: Tensor, others: Tensor, num_classes: int) -> Tensor:
    """How often each class goes with each other one.

    Args:
        labels: int64 (N,).
        others: int64 (N, n), what goes with each.
        num_classes: of both.

    Returns:
        int64 (num_classes, num_classes), a row for each of the labels.
    """
    pairs = labels[:, None] * num_classes + others  # (N, n)
    counts = torch.bincount(pairs.flatten(), minlength=num_classes**2)
    return counts.view(num_classes, num_classes)


def branch_indices(classes: tuple[str, ...]) -> Tensor:
    """The branch of each class, by its place in :data:`BRANCHES`; -1 where it is in none."""
    of_class = {name: i for i, names in enumerate(BRANCHES.values()) for name in names}
    return torch.tensor([of_class.get(name, -1) for name in classes])


def _shares(same: Tensor, labels: Tensor) -> list[float]:
    """The mean over the images of each class: ``same`` is bool (N, n)."""
    by_image = same.float().mean(1)
    return [round(by_image[labels == label].mean().item(), 4) for label in labels.unique()]


def _sparse(row: Tensor, limit: int | None = None) -> list[list[int]]:
    """The entries of a row of counts that are not zero, the largest first."""
    order = row.argsort(descending=True, stable=True)[:limit].tolist()
    return [[label, int(row[label])] for label in order if row[label]]


def _by_batches(predictor: Predictor, net: AlexNet, layer: str, views: Tensor) -> Tensor:
    found = []
    for batch in views.split(BATCH):
        x = predictor.normalize(batch).contiguous(memory_format=torch.channels_last)  # faster
        found.append(activations(net, layer, x))
    return torch.cat(found)


def measure(predictor: Predictor, images: Tensor, labels: Tensor) -> dict:
    """Count guesses and neighbors.

    Args:
        predictor: the net.
        images: uint8 (N, 3, H, W), sorted by class.
        labels: int64 (N,), of the net's classes.

    Returns:
        What the record holds: ``rows``, one a class, and ``same_class``, ``same_branch`` and
        ``photographs``.
    """
    num_classes = len(predictor.classes)
    views = center_views(predictor, images)
    torch.manual_seed(0)
    untrained = AlexNet(num_classes, "tiny-imagenet")
    hidden = _by_batches(predictor, predictor.model, HIDDEN, views)  # (N, units)
    with torch.no_grad():
        guesses = predictor.model.classifier.fc8(hidden).argmax(1)  # (N,)
    features = {
        "hidden": hidden,
        "untrained": _by_batches(predictor, untrained, HIDDEN, views),
        "pixels": views.flatten(1).float(),
    }
    branches = branch_indices(predictor.classes)
    same_class, same_branch = {}, {}
    counts = count_pairs(labels, guesses[:, None], num_classes)
    near = None
    for name, numbers in features.items():
        others = labels[other_neighbors(numbers)]  # (N, n)
        near = count_pairs(labels, others, num_classes) if near is None else near
        same_class[name] = _shares(others == labels[:, None], labels)
        same_branch[name] = _shares(branches[others] == branches[labels][:, None], labels)
    rows = []
    for label, name in enumerate(predictor.classes):
        row = {"class": name, "guesses": _sparse(counts[label])}
        rows.append(row | {"neighbors": _sparse(near[label], LISTED)})
    return {
        "same_class": same_class,
        "same_branch": same_branch,
        "photographs": _photograph_neighbors(predictor, hidden, labels),
        "rows": rows,
    }


def _photograph_neighbors(predictor: Predictor, hidden: Tensor, labels: Tensor) -> dict:
    """For each of the book's photographs its neighbors: their places in the set, and classes."""
    found = {}
    for path in sorted(PHOTOGRAPHS.glob("*.webp")):
        view = center_views(predictor, decode_image(path)[None])
        query = _by_batches(predictor, predictor.model, HIDDEN, view)
        places = nearest_neighbors(query, hidden, NEIGHBORS)[1][0]
        found[path.stem] = {"images": places.tolist(), "classes": labels[places].tolist()}
    return found


def confusion(runner: Runner) -> None:
    """What the shipped net takes each class for, and its neighbors; trains nothing.

    Raises:
        ValueError: if the test images are not of the net's classes.
        OSError: if the file cannot be written.
    """
    predictor = load_shipped(runner)
    dataset = runner.dataset
    start = time.perf_counter()
    found = measure(predictor, dataset.test_images, dataset.test_labels)
    rows = [json.dumps(row, separators=(",", ":")) for row in found.pop("rows")]
    header = runner.header | {
        "weights": {"name": NET, "sha256": weights_sha256()},
        "date": str(datetime.date.today()),
        "machine": describe_machine("cpu"),
        "seconds": round(time.perf_counter() - start, 1),
    }
    text = json.dumps(header, indent=1).removesuffix("\n}")
    for name, values in found.items():
        text += f',\n "{name}": {json.dumps(values, separators=(",", ":"))}'
    lines = ",\n".join(rows)
    runner.replace_file(f'{text},\n "classes": [\n{lines}\n],\n "runs": []\n}}\n')
