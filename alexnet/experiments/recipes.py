"""The experiments, one function each. A name such as P5 is a claim of the paper.

Each function asks the runner for the runs that it takes; the runner trains what is not recorded.
"""

import datetime
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from alexnet.checkpoint import load_weights
from alexnet.datasets import photos
from alexnet.experiments.config import (
    RECIPE_2012,
    RECIPE_TODAY,
    TINY_IMAGENET,
    TRANSFER,
    TWO_COLUMNS,
    ExperimentConfig,
    describe,
)
from alexnet.experiments.confusion import confusion
from alexnet.experiments.cuts import cuts
from alexnet.experiments.nets import NORMS, REPLACEMENTS
from alexnet.experiments.runner import LICENSE, Runner, describe_machine
from alexnet.loader import resize_center_crop
from alexnet.model import ACTIVATIONS, AlexNet
from alexnet.predictor import SMALL, Predictor, load, topk_correct
from alexnet.visualize import activations, nearest_neighbors


def find_best_lr(runner: Runner, config: ExperimentConfig, epochs: int = 2) -> ExperimentConfig:
    """The configuration with the learning rate that has the lowest loss after a few epochs.

    Of a run that holds images out, the one that has the lowest error on them.

    Out of ..., 0.01, 0.03, 0.1, ...; the search starts at the configuration's own and follows
    the falling loss, so the best is never at the edge of a grid.

    Args:
        runner: makes and records the short runs.
        config: what to train.
        epochs: length of the short runs.

    Raises:
        FloatingPointError: if three powers of ten away the loss is still falling, or not finite.
    """
    start = round(2 * math.log10(config.lr))  # half powers of ten
    losses: dict[int, float] = {}

    def at(step: int) -> ExperimentConfig:
        lr = 10 ** ((start + step) / 2)
        return replace(config, lr=float(f"{lr:.0e}"))  # 0.0316 becomes 0.03

    def loss(step: int) -> float:
        if step not in losses:
            short = replace(at(step), epochs=epochs, target_train_error=0.0)
            curve = runner.run(short)["curve"]
            last = curve.get("held_out_error", curve["loss"][-1])[-1]
            losses[step] = math.inf if last is None else last
        return losses[step]

    step = 0
    direction = 1 if loss(1) < loss(0) else -1
    while loss(step + direction) < loss(step) or loss(step) == math.inf:
        step += direction
        if abs(step) > 6:
            raise FloatingPointError(
                f"no best lr between {config.lr} and {at(step).lr} for {describe(config)}: "
                "start elsewhere"
            )
    return at(step)


def run_over_seeds(runner: Runner, configs: Iterable[ExperimentConfig]) -> None:
    """Run all configurations with seed 0, then all with seed 1, and so on.

    In this order, an experiment that is stopped early still compares equal numbers of seeds.
    """
    configs = list(configs)
    for seed in runner.seeds:
        for config in configs:
            runner.run(replace(config, seed=seed))


# (init, pixels): as today, as in 2012, and two mixtures that show which of the two matters
WEIGHTS_AND_PIXELS = [
    ("torch", "standardized"),
    ("original", "raw"),
    ("torch", "raw"),
    ("original", "standardized"),
]


# (init, pixels), as the first three in WEIGHTS_AND_PIXELS, and where the search for the lr starts
RACE_RECIPES = {
    ("torch, normal", "standardized"): 0.03,
    ("original, by inputs", "raw"): 0.003,
    ("torch, normal", "raw"): 0.003,
}


def relu(runner: Runner) -> None:
    """P5: epochs to 25 % training error with ReLU, tanh and sigmoid, each at its best lr.

    A short run of each tanh records how much of it is saturated.
    """
    for init, pixels in WEIGHTS_AND_PIXELS:
        is_mixture = (init, pixels) in WEIGHTS_AND_PIXELS[2:]
        best = []
        for activation in ("relu", "tanh") if is_mixture else ACTIVATIONS:
            config = ExperimentConfig(
                activation=activation,
                init=init,
                pixels=pixels,
                lr=0.03 if pixels == "standardized" else 0.001,  # where the search starts
                target_train_error=0.25,
                epochs=12,
            )
            best.append(find_best_lr(runner, config))
        long = []
        for config in best:
            if config.activation == "tanh":
                runner.run(replace(config, epochs=4, target_train_error=0.0))
            if config.activation == "tanh" and pixels == "raw":
                config = replace(config, epochs=48)  # it needs them
            long.append(config)
            if config.activation == "tanh" and (init, pixels) == ("original", "raw"):
                # Near the best after two epochs; which is fastest shows later
                long += [replace(config, lr=0.03), replace(config, lr=0.003)]
        run_over_seeds(runner, long)


def first_layer_rate(runner: Runner) -> None:
    """Is it the first layer that slows tanh down on pixels from 0 to 255?

    They act as a learning rate larger by their variance there. So tanh with the recipe of 2012, as
    in :func:`relu`, once with one rate and once with a first layer whose rate is divided by it;
    and on standardized pixels, once with one rate and once with the first layer's multiplied by it.
    """
    config = ExperimentConfig(
        activation="tanh",
        init="original",
        pixels="raw",
        lr=0.01,  # the best that relu() finds for it
        target_train_error=0.25,
        epochs=48,
    )
    variance = 64**2  # CIFAR-10's pixels deviate by some 64
    today = replace(config, pixels="standardized")
    for one, own_factor in ((config, 1 / variance), (today, variance)):
        run_over_seeds(runner, [one, replace(one, first_lr_factor=own_factor)])


def race(runner: Runner) -> None:
    """ReLU against tanh on the data that a page holds, each at its best lr, to 25 % training error.

    The page of the chapter runs the same nets on the same patches in its reader's browser, in
    float32. So does this on a CPU without AVX-512, or with ``ATEN_CPU_CAPABILITY=avx2``.
    """
    for (init, pixels), lr in RACE_RECIPES.items():
        best = []
        for activation in ("relu", "tanh"):
            config = ExperimentConfig(
                net="race",
                train_images=len(runner.dataset.train_images),
                activation=activation,
                init=init,
                pixels=pixels,
                lr=lr,
                target_train_error=0.25,
                epochs=20,
                batch_size=64,
            )
            best.append(find_best_lr(runner, config, epochs=4))
        run_over_seeds(runner, best)
        if pixels == "standardized":
            # The fourth recipe, with these rates: ReLU learns next to nothing with any of 1e-5 to
            # 0.1 within four epochs, so that a search has no end
            run_over_seeds(runner, [replace(c, init="original, by inputs") for c in best])


def baselines(runner: Runner) -> tuple[ExperimentConfig, ExperimentConfig]:
    """The four-layer net with the paper's normalization: today's recipe, and that of 2012."""
    today = find_best_lr(runner, replace(RECIPE_TODAY, norm="paper's alpha"), epochs=1)
    original = find_best_lr(runner, replace(RECIPE_2012, norm="paper's alpha"), epochs=4)
    return today, original


def lrn(runner: Runner) -> None:
    """P9: the four-layer net without normalization, and with each kind of it, by both recipes.

    A longer run with the paper's normalization records what that divides by.
    """
    # On today's pixels, which are near 1, normalization within maps is no normalization, and that
    # with the paper's alpha is a constant
    norms_today = [norm for norm in NORMS if norm not in ("constant", "within maps")]
    for recipe, epochs, norms in ((RECIPE_TODAY, 1, norms_today), (RECIPE_2012, 4, list(NORMS))):
        best = {norm: find_best_lr(runner, replace(recipe, norm=norm), epochs) for norm in norms}
        runner.run(replace(best["paper's alpha"], epochs=6))
        run_over_seeds(runner, best.values())
    # Of the recipe of 2012: the first three seeds without normalization lie two points apart,
    # those with the paper's a tenth of a point
    for seed in (3, 4):
        runner.run(replace(best["none"], seed=seed))


def inner_layers_rate(runner: Runner) -> None:
    """Is it the learning rate by which a constant normalization lowers the error?

    Behind a division by 1.68 a weight learns as one whose rate is lower by the square of it, and
    whose decay is larger by as much. So the four-layer net without normalization, as in
    :func:`lrn`, with such a rate where it would stand behind one, and all else as it was.
    """
    config = replace(RECIPE_2012, lr=0.01)  # the best that lrn() finds for it
    run_over_seeds(runner, [config, replace(config, inner_lr_factor=2**-1.5)])


def pooling(runner: Runner) -> None:
    """P10: overlapping windows, 3/2, against 2/2."""
    for base in baselines(runner):
        run_over_seeds(runner, [replace(base, pool=pool) for pool in [(3, 2), (2, 2)]])


def dropout(runner: Runner) -> None:
    """P16: eight layers with and without dropout; how many iterations does each need?

    Until the test error no longer falls, on 5,000 images and at a constant learning rate. And how
    far apart training and test error are after fewer epochs, on 5,000 images and on all.
    """
    base = ExperimentConfig(net="half-small", weight_decay=0.0005)
    for images, epochs, schedule in (
        (5_000, 16, "linear"),
        (50_000, 6, "linear"),
        (5_000, 60, "constant"),
    ):
        config = replace(base, train_images=images, epochs=epochs, schedule=schedule)
        run_over_seeds(runner, [replace(config, dropout=p) for p in (0.0, 0.5)])


def race_dropout(runner: Runner) -> None:
    """With and without dropout in the hidden layer, on few of the patches that a page holds.

    Does dropout lower the error of patches that the net has not seen, in so few steps that a page
    can take them? At three learning rates; and with dropout of what the hidden layer is given, too.
    Like :func:`race` in float32.
    """
    base = ExperimentConfig(net="one-hidden", train_images=384, epochs=80, batch_size=32)
    for lr in (0.01, 0.003, 0.03):
        without = replace(base, lr=lr)
        run_over_seeds(runner, [without, replace(without, dropout=0.5)])
    run_over_seeds(runner, [replace(base, net="one-hidden, maps dropped", dropout=0.5)])


def learning(runner: Runner) -> None:
    """P18: weight decay and the training error. P19: biases of 1 and the first epoch."""
    for base in baselines(runner):
        decays = (0.0, base.weight_decay)
        run_over_seeds(runner, [replace(base, weight_decay=decay) for decay in decays])
    # The best lr with the biases of 2012, which are 0 in this net
    base = ExperimentConfig(pixels="raw", lr=0.003, epochs=1)
    inits = ("original", "original, biases 1")
    run_over_seeds(runner, [replace(base, init=init) for init in inits])


def momentum(runner: Runner) -> None:
    """Is a net better with momentum, if it has a learning rate of its own without?

    A gradient that stays moves a weight ten times as far with momentum 0.9. So ten times the
    learning rate without it takes steps as large; both over the same five sizes of a step.
    """
    base = replace(RECIPE_TODAY, train_images=10_000)
    configs = []
    for step in (0.01, 0.03, 0.1, 0.3, 1.0):
        for share in (0.0, 0.9):
            configs.append(replace(base, momentum=share, lr=round(step * (1 - share), 4)))
    run_over_seeds(runner, configs)


def augmentation(runner: Runner) -> None:
    """P14, P15, P28, P29: crops of 24×24 out of 32×32, flips, PCA color, one after the other."""
    base = replace(RECIPE_TODAY, crop=24, epochs=40)
    kinds = ("none", "flip", "crop", "color")
    run_over_seeds(runner, [replace(base, augment=kind) for kind in kinds])


# Epochs until 70 % of the test images are right, by modification
EPOCHS_TO_70 = {"none": 6, "columns that never talk": 8, "no columns": 6}


def specialisation(runner: Runner) -> None:
    """P24: does one column turn gray and the other colored?

    With columns that are connected in conv3, that never are, and with a single column.
    """
    configs = []
    for modification, epochs in EPOCHS_TO_70.items():
        configs.append(replace(TWO_COLUMNS, modification=modification, epochs=epochs))
    run_over_seeds(runner, configs)


def kernels(runner: Runner) -> None:
    """The 96 kernels of Figure 3, learned from photographs; kept in ``kernels.safetensors``."""
    config = ExperimentConfig(
        net="first-layer",
        train_images=len(runner.dataset.train_images),
        init="fainter",
        weight_decay=0.002,
        lr=0.02,
        schedule="linear",
        epochs=40,
    )
    runner.run(config)


def paper_net(runner: Runner) -> ExperimentConfig:
    """The paper's net for the comparisons of the paper with the code of 2012.

    With pixels from 0 to 255: activations of standardized pixels are so small that normalization
    has no effect.
    """
    base = replace(TWO_COLUMNS, pixels="raw", augment="crop", lr=0.003, epochs=20, batch_size=128)
    return find_best_lr(runner, base, epochs=1)


def paper_and_code(runner: Runner) -> None:
    """The differences between the paper and the code of 2012: one change each to the paper's net.

    The one that :func:`order` measures is missing here.
    """
    base = paper_net(runner)
    configs = [
        base,
        replace(base, modification="code's alpha"),
        replace(base, modification="ReLU after pooling"),
        replace(base, modification="within-map normalisation"),
        replace(base, bias_lr_factor=2.0),
        replace(base, images_per_crop=32),
    ]
    run_over_seeds(runner, configs)
    # Weights of 0.01 and of 0.03 in the middle: such nets differ in the learning rates they bear,
    # so each also at the rate that is best for the other after an epoch
    inits = ("paper, by inputs", "code, by inputs")
    best = [find_best_lr(runner, replace(base, init=init), epochs=1) for init in inits]
    base = replace(base, epochs=6)  # enough to see how they begin
    rates = sorted({config.lr for config in best})
    configs = [replace(base, init=init, lr=lr) for lr in rates for init in inits]
    run_over_seeds(runner, configs)


def order(runner: Runner) -> None:
    """A new order in every epoch, or one for all, with a window an image, or one for 32.

    In the code of 2012 the order is fixed, so that the same 32 images share a window in every
    epoch. The runs with a new order are also in the experiment ``paper_and_code``.
    """
    base = paper_net(runner)
    configs = []
    for images_per_crop in (1, 32):
        for kind in ("shuffled", "fixed"):
            configs.append(replace(base, order=kind, images_per_crop=images_per_crop))
    run_over_seeds(runner, configs)


def choose_lr(runner: Runner, config: ExperimentConfig, epochs: int) -> ExperimentConfig:
    """The configuration with the best learning rate for images that are held out."""
    best = find_best_lr(runner, replace(config, test="never"), epochs)
    return replace(config, lr=best.lr)


# Of P8 and P14, of P6, of P26, and of P24
PARTS = (
    ("none", "without LRN"),
    ("one GPU's half",),
    ("without conv3", "without conv4", "without conv5"),
    ("no columns", "columns that never talk"),
)


def tiny_imagenet_base(runner: Runner) -> ExperimentConfig:
    """The paper's net for Tiny ImageNet, with dropout or without, each at its best learning rate.

    Eight epochs overfit nothing, so that dropout may only slow the learning down. The images held
    out decide between the two, in runs of which one is the first of those that are compared.
    """
    errors = {}
    for dropout in (0.0, 0.5):
        config = choose_lr(runner, replace(TINY_IMAGENET, dropout=dropout), epochs=2)
        error = runner.run(config)["curve"]["held_out_error"][-1]
        errors[config] = math.inf if error is None else error
    return min(errors, key=errors.get)


def tiny_imagenet_parts(runner: Runner) -> None:
    """P6, P8, P26: the net without one of its parts. P14 and P24 are measured in the same runs.

    Without normalization it has a learning rate of its own, the others have that of the whole net.
    One claim after the other, each over all seeds, so that a run of hours may be stopped early.
    """
    base = tiny_imagenet_base(runner)
    for parts in PARTS:
        configs = [replace(base, modification=part) for part in parts]
        if "without LRN" in parts:
            configs[1] = choose_lr(runner, configs[1], epochs=2)
        run_over_seeds(runner, configs)


def tiny_imagenet_overfitting(runner: Runner) -> None:
    """P15, P16, P18, P29: what holds overfitting back, one at a time.

    Forty classes, of each a hundred images, and sixty epochs of small batches, in which the net
    without dropout comes to fit most of them. With dropout and without it, each at its best
    learning rate; these two over all seeds first. The others have the rate of the net with dropout.
    """
    base = replace(
        TINY_IMAGENET, num_classes=40, train_images=4_000, batch_size=32, lr=0.01, epochs=60
    )
    base = choose_lr(runner, base, epochs=20)
    without = choose_lr(runner, replace(base, dropout=0.0), epochs=20)
    run_over_seeds(runner, [base, without])
    configs = [
        replace(base, augment="color only"),
        replace(base, augment="crop"),
        replace(base, weight_decay=0.0),
        replace(base, weight_decay=0.005),
    ]
    run_over_seeds(runner, configs)


def tiny_imagenet_rest(runner: Runner) -> None:
    """P10: windows of 3 and of 2, at which crops of 48 leave as many positions. P5: tanh."""
    base = tiny_imagenet_base(runner)
    smaller = replace(base, crop=48)
    tanh = choose_lr(runner, replace(base, activation="tanh"), epochs=2)
    run_over_seeds(runner, [smaller, replace(smaller, pool=(2, 2)), base, tanh])
    # Tanh is ahead with faint first kernels. With He's, a short run of each:
    for activation in ("relu", "tanh"):
        runner.run(replace(base, activation=activation, init="he", epochs=2, test="never"))


TINY_IMAGENET_GROUPS: dict[int, Callable[[Runner], None]] = {
    1: tiny_imagenet_parts,
    2: tiny_imagenet_overfitting,
    3: tiny_imagenet_rest,
}


def tiny_imagenet(runner: Runner, groups: Iterable[int] = tuple(TINY_IMAGENET_GROUPS)) -> None:
    """The claims at two hundred classes, in three groups that may be run one at a time.

    Rates and settings are chosen by the images that are held out; the validation images are used
    once a run, at its end. The seeds are 0, 1 and 2, and all are reported.

    The plan is for about ten hours of two cores without AVX-512, in float32: bare steps took 0.22
    seconds of one core for 128 images, so an epoch of 90,000 should take one and a half minutes of
    two. Group 1: 24 runs of eight epochs and the search, 5.5 hours. Group 2: 18 runs of 60 epochs
    of 4,000 images, and the search, 1.5 hours. Group 3: nine more runs of eight epochs, 1.7 hours.
    So the net has about half the flagship's maps, and sees each image a few times only; what a run
    really took is recorded with it.
    """
    for group in groups:
        TINY_IMAGENET_GROUPS[group](runner)


def tiny_imagenet_kernels(runner: Runner) -> None:
    """The 96 kernels of Figure 3, learned from Tiny ImageNet's photographs at twice their size.

    They are kept in ``tiny-imagenet-kernels.safetensors``, with how much of each a Gabor function
    or a blob of one color explains: see :mod:`alexnet.experiments.gabor`. The
    plan is for 40 minutes of two cores; nothing is chosen by the errors, and the validation images
    are not used.
    """
    config = ExperimentConfig(
        net="first-layer",
        train_images=90_000,
        test="never",
        init="faint",
        crop=56,
        upscale=2,
        augment="crop",
        weight_decay=0.0005,
        lr=0.02,
        schedule="linear",
        epochs=10,
    )
    runner.run(config)


def tiny_imagenet_transfer(runner: Runner) -> None:
    """Fifty images of each of forty classes, from scratch or after the other 160 classes.

    Each at its best learning rate. With each seed another net is trained on the 160 classes. The
    plan is for an hour of one core, half of it for these three nets.
    """
    from_scratch = choose_lr(runner, TRANSFER, epochs=20)
    pretrained = choose_lr(runner, replace(TRANSFER, pretrain_epochs=6), epochs=20)
    run_over_seeds(runner, [from_scratch, pretrained])


def limits(runner: Runner) -> None:
    """The parts of AlexNet that were replaced later, one at a time and all at once.

    With the recipe of the net that has all its parts.
    """
    modifications = ("none", *REPLACEMENTS)
    run_over_seeds(runner, [replace(TWO_COLUMNS, modification=m) for m in modifications])


def small(runner: Runner) -> None:
    """The record of ``small.safetensors``: how it was trained, and what it gets right.

    P25: are the neighbors of an image in the last hidden layer of the same class more often than
    its neighbors in pixels? This experiment trains nothing and writes its file itself.
    """
    metadata = load_weights(SMALL)[1]
    predictor = load("small").to(runner.device)
    same_class = _same_class_by_features(predictor, runner)
    logits = _photo_logits(predictor, runner.device)
    record = runner.header | {
        "date": str(datetime.date.today()),
        "machine": describe_machine(runner.device),
        "licence": LICENSE,
        "training": metadata,
        "accuracy": {
            "one crop": _accuracy(predictor, runner, ten_crop=False),
            "ten crops": _accuracy(predictor, runner, ten_crop=True),
        },
        "same_class": same_class,
        "logits": logits,
        "runs": [],
    }
    runner.path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _accuracy(predictor: Predictor, runner: Runner, ten_crop: bool) -> dict:
    """Top-1 and top-5 accuracy on the test images, 0 to 1."""
    dataset = runner.dataset
    images = resize_center_crop(dataset.test_images, predictor.resize).to(runner.device)
    correct = torch.zeros(2, dtype=torch.int64)
    for batch, labels in zip(images.split(500), dataset.test_labels.split(500)):
        probabilities = predictor.probabilities(batch, ten_crop=ten_crop).cpu()
        correct += topk_correct(probabilities, labels)
    top1, top5 = correct.tolist()
    num_images = len(images)
    return {"top1": top1 / num_images, "top5": top5 / num_images, "images": num_images}


def _center_views(predictor: Predictor, images: Tensor) -> Tensor:
    """The center crops that the predictor's net takes, still uint8: (..., 3, crop, crop)."""
    squares = resize_center_crop(images, predictor.resize)
    return TF.center_crop(squares, [predictor.crop, predictor.crop])


def _same_class_by_features(predictor: Predictor, runner: Runner) -> dict[str, list[float]]:
    """What :func:`same_class_fraction` finds by hidden features and by pixels, class by class."""
    dataset = runner.dataset
    queries = dataset.test_images[::10]  # a tenth of each class
    labels = dataset.test_labels[::10]
    torch.manual_seed(0)
    untrained = AlexNet(len(predictor.classes), "small").to(runner.device)

    def hidden_features(net: nn.Module, images: Tensor) -> Tensor:
        features = []
        for batch in images.split(1000):
            views = predictor.normalize(_center_views(predictor, batch.to(runner.device)))
            features.append(activations(net, "classifier.act7", views).cpu())
        return torch.cat(features)

    def fractions(features: Callable[[Tensor], Tensor]) -> list[float]:
        return same_class_fraction(
            features(queries), labels, features(dataset.train_images), dataset.train_labels
        )

    return {
        "hidden": fractions(lambda images: hidden_features(predictor.model, images)),
        "untrained": fractions(lambda images: hidden_features(untrained, images)),
        "pixels": fractions(lambda images: images / 255),
    }


@torch.no_grad()
def _photo_logits(predictor: Predictor, device: str) -> dict[str, list[float]]:
    """The net's logits for each photograph, with which a reader can compare theirs."""
    names = list(photos())
    views = torch.stack([_center_views(predictor, photo) for photo in photos().values()])
    logits = predictor.model.eval()(predictor.normalize(views.to(device))).cpu()
    return dict(zip(names, logits.tolist()))


def same_class_fraction(
    queries: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor, n: int = 6
) -> list[float]:
    """For each class of the queries, the fraction of their nearest neighbors in that class.

    Args:
        queries: (Q, ...).
        labels: int64 (Q,).
        others: (N, ...), among which the neighbors are sought.
        other_labels: int64 (N,).
        n: neighbors a query.

    Returns:
        A number for each class of the queries, 0 to 1, in the order of the labels.
    """
    _, neighbors = nearest_neighbors(queries, others, n)  # indices (Q, n)
    same = (other_labels[neighbors] == labels[:, None]).float().mean(1)  # (Q,)
    return [round(same[labels == label].mean().item(), 4) for label in labels.unique()]


# Seeds a configuration, where they are not three
NUM_SEEDS = {"specialisation": 10}

EXPERIMENTS: dict[str, Callable[[Runner], None]] = {
    "relu": relu,
    "first-layer-rate": first_layer_rate,
    "race": race,
    "lrn": lrn,
    "inner-layers-rate": inner_layers_rate,
    "pooling": pooling,
    "dropout": dropout,
    "race-dropout": race_dropout,
    "learning": learning,
    "momentum": momentum,
    "augmentation": augmentation,
    "specialisation": specialisation,
    "kernels": kernels,
    "small": small,
    "paper_and_code": paper_and_code,
    "order": order,
    "tiny-imagenet": tiny_imagenet,
    "tiny-imagenet-kernels": tiny_imagenet_kernels,
    "tiny-imagenet-transfer": tiny_imagenet_transfer,
    "limits": limits,
    "cuts": cuts,
    "confusion": confusion,
}
