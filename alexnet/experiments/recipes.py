"""The experiments, one function each."""


import datetime
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop

from alexnet.checkpoint import load_weights
from alexnet.datasets import photos
from alexnet.experiments.config import TWO_COLUMNS, RECIPE_2012, RECIPE_TODAY, ExperimentConfig
from alexnet.experiments.nets import NORMS, REPLACEMENTS
from alexnet.experiments.runner import LICENSE, Runner, describe, describe_machine
from alexnet.loader import resize_center_crop
from alexnet.model import ACTIVATIONS, AlexNet
from alexnet.predictor import SMALL, topk_correct, load
from alexnet.visualize import activations, nearest_neighbors



def best_rate(lab: Runner, setting: ExperimentConfig, epochs: int = 2) -> ExperimentConfig:
    """The setting with the rate, out of ..., 0.01, 0.03, 0.1, ..., of the lowest training loss after a few epochs.

    The search starts at the setting's rate and goes on downhill, so that the best is not at the edge of a grid.

    Raises:
        FloatingPointError: if it has gone three powers of ten without an end.
    """
    losses: dict[int, float] = {}

    def at(step: int) -> ExperimentConfig:
        exponent = round(2 * math.log10(setting.lr)) + step
        return replace(setting, lr=float(f"{10 ** (exponent / 2):.0e}"))

    def loss(step: int) -> float:
        if step not in losses:
            rows = lab.run(replace(at(step), epochs=epochs, target_train_error=0.0))["curve"]["loss"]
            losses[step] = math.inf if rows[-1][-1] is None else rows[-1][-1]
        return losses[step]

    step = 0
    way = 1 if loss(1) < loss(0) else -1
    while loss(step + way) < loss(step) or loss(step) == math.inf:
        step += way
        if abs(step) > 6:
            raise FloatingPointError(f"no best rate between {setting.lr} and {at(step).lr} for {describe(setting)}: start elsewhere")
    return at(step)


def over_seeds(lab: Runner, settings: Iterable[ExperimentConfig]) -> None:
    """All settings with seed 0 first, then with seed 1, and so on: stopped early, the comparison is still whole."""
    settings = list(settings)
    for seed in lab.seeds:
        for setting in settings:
            lab.run(replace(setting, seed=seed))


WEIGHTS_AND_PIXELS = [("torch", "standardized"), ("original", "raw"), ("torch", "raw"), ("original", "standardized")]


def relu(lab: Runner) -> None:
    """P5: epochs to 25 % training error with ReLU, tanh and sigmoid, each with its own best rate.

    With today's initialisation and scale of the pixels and with those of 2012; then crossed, to see which of them matters.
    How much of tanh is saturated, a short run of each tells.
    """
    for init, pixels in WEIGHTS_AND_PIXELS:
        activations = ACTIVATIONS if (init, pixels) in WEIGHTS_AND_PIXELS[:2] else ("relu", "tanh")
        start = 0.03 if pixels == "standardized" else 0.001
        settings = [ExperimentConfig(activation=name, init=init, pixels=pixels, lr=start, target_train_error=0.25, epochs=12) for name in activations]
        best = [best_rate(lab, setting) for setting in settings]
        for setting in best:
            if setting.activation == "tanh":
                lab.run(replace(setting, epochs=4, target_train_error=0.0))
        over_seeds(lab, [replace(s, epochs=48) if (s.activation, s.pixels) == ("tanh", "raw") else s for s in best])  # it needs them


def baselines(lab: Runner) -> tuple[ExperimentConfig, ExperimentConfig]:
    """The four-layer net with the paper's normalisation: as nets are trained today, and with the recipe of 2012 to the end."""
    return best_rate(lab, replace(RECIPE_TODAY, norm="paper's alpha"), epochs=1), best_rate(lab, replace(RECIPE_2012, norm="paper's alpha"), epochs=4)


def lrn(lab: Runner) -> None:
    """P9: the net of 2012 without normalisation, with it after the paper and after the code, with its own and with batch normalisation.

    As nets are trained today; and with the pixels, the initialisation and the decay of 2012. What the paper's normalisation
    divides by, one short run of each tells. The net's own normalisation divides today's pixels, which are near 1, by 1: there
    it is the net without.
    """
    today = [norm for norm in NORMS if norm != "within maps"]
    for recipe, epochs, norms in ((RECIPE_TODAY, 1, today), (RECIPE_2012, 4, list(NORMS))):
        best = {norm: best_rate(lab, replace(recipe, norm=norm), epochs) for norm in norms}
        lab.run(replace(best["paper's alpha"], epochs=6))
        over_seeds(lab, best.values())
    for seed in (3, 4):  # its first three lie two points apart, those of the paper's normalisation a tenth
        lab.run(replace(best["none"], seed=seed))


def pooling(lab: Runner) -> None:
    """P10: windows that overlap, 3/2, against 2/2."""
    for base in baselines(lab):
        over_seeds(lab, [replace(base, pool=pool) for pool in [(3, 2), (2, 2)]])


def dropout(lab: Runner) -> None:
    """P16: eight layers with and without dropout, on 5,000 images and at a rate that does not fall, until the test error
    does no more: how many iterations does that take?

    And how far apart training and test error are after fewer epochs, on 5,000 images and on all of them.
    """
    base = ExperimentConfig(net="half-small", weight_decay=0.0005)
    for images, epochs, schedule in ((5_000, 16, "linear"), (50_000, 6, "linear"), (5_000, 60, "constant")):
        over_seeds(lab, [replace(base, train_images=images, epochs=epochs, schedule=schedule, dropout=dropout) for dropout in (0.0, 0.5)])


def learning(lab: Runner) -> None:
    """P18: weight decay and the training error. P19: biases of 1 and the first stage of learning, an epoch."""
    for base in baselines(lab):
        over_seeds(lab, [replace(base, weight_decay=decay) for decay in (0.0, base.weight_decay)])
    base = ExperimentConfig(pixels="raw", lr=0.003, epochs=1)  # the rate that is best for the biases of 2012, which are 0 in this net
    over_seeds(lab, [replace(base, init=init) for init in ("original", "original, biases 1")])


def augmentation(lab: Runner) -> None:
    """P14, P15, P28, P29: windows of 24×24 out of 32×32, mirror images, PCA colour, one after the other."""
    base = replace(RECIPE_TODAY, crop=24, epochs=40)
    over_seeds(lab, [replace(base, augment=kind) for kind in ("none", "flip", "crop", "color")])


EPOCHS_TO_70 = {"none": 6, "columns that never talk": 8, "no columns": 6}  # epochs until 70 % of the test images are right


def specialisation(lab: Runner) -> None:
    """P24: does one column turn grey and the other coloured? With columns that talk in conv3, that never do, and with none."""
    over_seeds(lab, [replace(TWO_COLUMNS, modification=change, epochs=epochs) for change, epochs in EPOCHS_TO_70.items()])


def kernels(lab: Runner) -> None:
    """The 96 kernels of Figure 3, learned from photographs; also kept as ``kernels.safetensors``."""
    lab.run(ExperimentConfig(net="first-layer", train_images=len(lab.pictures.train_images), init="fainter", weight_decay=0.002, lr=0.02, schedule="linear", epochs=40))


def small(lab: Runner) -> None:
    """The card of ``small.safetensors``: how it was trained, what it gets right; P25: are pictures that lie near each other
    in its last hidden layer of one class, more often than pictures that are near in their pixels?"""
    weights = load_weights(SMALL)[1]
    trained, pictures = load("small").to(lab.device), lab.pictures
    test = resize_center_crop(pictures.test_images, trained.resize).to(lab.device)

    def accuracy(ten: bool) -> dict:
        found = sum(topk_correct(trained.probabilities(x, ten).cpu(), y) for x, y in zip(test.split(500), pictures.test_labels.split(500)))
        return {"top1": found[0].item() / len(test), "top5": found[1].item() / len(test), "images": len(test)}

    def hidden(net: nn.Module, images: Tensor) -> Tensor:
        views = (center_crop(resize_center_crop(part.to(lab.device), trained.resize), [trained.crop] * 2) for part in images.split(1000))
        return torch.cat([activations(net, "classifier.act7", trained.normalize(view)).cpu() for view in views])

    torch.manual_seed(0)
    untrained = AlexNet(len(trained.classes), "small").to(lab.device)
    queries, labels = pictures.test_images[::10], pictures.test_labels[::10]  # a tenth of each class
    same = {
        name: same_class_fraction(of(queries), labels, of(pictures.train_images), pictures.train_labels)
        for name, of in {"hidden": partial(hidden, trained.model), "untrained": partial(hidden, untrained), "pixels": lambda x: x / 255}.items()
    }
    with torch.no_grad():
        views = torch.stack([center_crop(resize_center_crop(photo, trained.resize), [trained.crop] * 2) for photo in photos().values()])
        logits = trained.model.eval()(trained.normalize(views.to(lab.device))).cpu()
    made = {"date": str(datetime.date.today()), "machine": describe_machine(lab.device), "licence": LICENSE}
    accuracies = {"one crop": accuracy(False), "ten crops": accuracy(True)}
    results = {"training": weights, "accuracy": accuracies, "same_class": same, "logits": dict(zip(photos(), logits.tolist())), "runs": []}
    lab.path.write_text(json.dumps(lab.head | made | results, indent=1) + "\n")


def same_class_fraction(queries: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor, n: int = 6) -> list[float]:
    """For each class of the queries: the share of their ``n`` nearest others that are of the same class."""
    same = (other_labels[nearest_neighbors(queries, others, n)[1]] == labels[:, None]).float().mean(1)
    return [round(same[labels == label].mean().item(), 4) for label in labels.unique()]


def paper_and_code(lab: Runner) -> None:
    """Where the source of 2012 does otherwise than the paper says: one change each to the net that is after the paper.

    With pixels from 0 to 255: where they are standardised, activations are so small that no normalisation acts.
    """
    base = replace(TWO_COLUMNS, pixels="raw", augment="crop", lr=0.003, epochs=20, batch_size=128)
    base = best_rate(lab, base, epochs=1)
    changes = [{"modification": name} for name in ("none", "code's alpha", "ReLU after pooling", "within-map normalisation")]
    over_seeds(lab, [replace(base, **change) for change in [*changes, {"bias_lr_factor": 2.0}, {"images_per_crop": 32}]])


def limits(lab: Runner) -> None:
    """The parts of AlexNet that others replaced, one at a time and all at once, with the recipe of the net with its parts."""
    over_seeds(lab, [replace(TWO_COLUMNS, modification=change) for change in ("none", *REPLACEMENTS)])


EXPERIMENTS = {function.__name__: function for function in (relu, lrn, pooling, dropout, learning, augmentation, specialisation, kernels, small, paper_and_code, limits)}
