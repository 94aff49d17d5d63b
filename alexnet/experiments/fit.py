"""One training run: preprocessing, the training loop, and what is measured on the way."""

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torchvision.transforms.v2 import functional as TF
from tqdm import trange

from alexnet.augment import PCAColor, TrainAugment, ten_crop
from alexnet.datasets import InMemoryDataset
from alexnet.experiments.config import ExperimentConfig, describe
from alexnet.experiments.nets import build_net
from alexnet.lrn import LocalResponseNorm
from alexnet.predictor import topk_correct

# Images to images: an augmentation, or the preprocessing of the test images
Transform = Callable[[Tensor], Tensor]

# Added to the seed of a run, so that its fixed order has a seed of its own
ORDER_SEED = 2012


# Before training


def preprocess(
    dataset: InMemoryDataset,
    pixels: str = "standardized",
    crop: int | None = None,
    device: str | torch.device = "cpu",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Move the data set to the device and, without a crop, normalize it.

    Without a crop, the mean training image is subtracted once and for all. With a crop, the
    images stay as they are: :func:`make_augment` crops and normalizes them batch by batch.

    Args:
        dataset: images of 0 to 255.
        pixels: ``"standardized"`` divides by the standard deviation, ``"raw"`` does not; without
            effect here if there is a crop.
        crop: side of the windows that the run will cut, in pixels; None: whole images.
        device: where the tensors are put.

    Returns:
        ``(train_images, train_labels, test_images, test_labels)``. Images are float32
        (N, 3, H, W) in channels_last memory format, or uint8 with a crop; labels int64 (N,).
    """
    train_labels = dataset.train_labels.to(device)
    test_labels = dataset.test_labels.to(device)
    if crop is not None:
        train_images = dataset.train_images.to(device)
        test_images = dataset.test_images.to(device)
        return train_images, train_labels, test_images, test_labels

    mean = dataset.train_images.float().mean(0)  # (3, H, W)
    std: Tensor | float = 1.0
    if pixels == "standardized":
        # Of the first 10,000 images only, which saves memory. CIFAR-10 is sorted by class here, so
        # these are two of its ten classes, and the deviation is a few per cent above that of all.
        # Kept so that the recorded runs can be repeated.
        std = (dataset.train_images[:10_000].float() - mean).std()

    def normalize(images: Tensor) -> Tensor:
        normalized = images.to(device).float().sub_(mean.to(device)).div_(std)
        return normalized.contiguous(memory_format=torch.channels_last)

    train_images = normalize(dataset.train_images)
    test_images = normalize(dataset.test_images)
    return train_images, train_labels, test_images, test_labels


def make_augment(
    kind: str,
    images: Tensor,
    crop: int = 24,
    images_per_crop: int = 1,
    pixels: str = "standardized",
) -> tuple[Transform, Transform]:
    """The augmentation of the training images, and the center crop for the test images.

    Both normalize. The code of 2012, too, crops CIFAR-10 to 24×24.

    Args:
        kind: ``"none"``: the center crop; ``"flip"``: mirrored with probability 1/2; ``"crop"``:
            a random window as well; ``"color"``: also PCA color by the paper's rule; ``"color
            only"``: the center crop with PCA color.
        images: the training images, uint8 (N, 3, H, W), for the mean, the standard deviation and
            the principal components of their colors.
        crop: height and width of a window in pixels.
        images_per_crop: so many consecutive images share a random window and its flip.
        pixels: ``"standardized"``: minus the mean color, over the standard deviation of each
            channel; ``"raw"``: 0 to 255, minus the mean color.

    Returns:
        ``(augment, center)``, functions of uint8 images (N, 3, H, W) that return float32
        (N, 3, crop, crop).
    """
    sample = images[:: max(1, len(images) // 10_000)].float() / 255
    mean = sample.mean((0, 2, 3))  # (3,)
    std = torch.full_like(mean, 1 / 255) if pixels == "raw" else sample.std((0, 2, 3))

    def center(batch: Tensor) -> Tensor:
        windows = TF.center_crop(batch, [crop, crop]) / 255
        windows = (windows - mean[:, None, None]) / std[:, None, None]
        return windows.contiguous(memory_format=torch.channels_last)

    def flip(batch: Tensor) -> Tensor:
        windows = center(batch)
        mirrored = torch.rand(len(batch), 1, 1, 1, device=batch.device) < 0.5
        return torch.where(mirrored, windows.flip(-1), windows)

    if kind == "none":
        return center, center
    if kind == "flip":
        return flip, center

    pca = PCAColor.fit(images).to(images.device) if kind.startswith("color") else None

    def color_only(batch: Tensor) -> Tensor:
        color = pca.sample(len(batch), batch.device) / std  # (N, 3)
        return center(batch).add_(color[:, :, None, None])

    if kind == "color only":
        return color_only, center

    train_augment = TrainAugment(crop, mean, std, pca)

    def crop_and_color(batch: Tensor) -> Tensor:
        params = train_augment.crop.make_params(batch[::images_per_crop])
        window = [param.repeat_interleave(images_per_crop)[: len(batch)] for param in params]
        color = pca.sample(len(batch), batch.device) if pca else None
        return train_augment.transform(batch, window, color)

    return crop_and_color, center


def make_optimizer(net: nn.Module, config: ExperimentConfig) -> torch.optim.SGD:
    """SGD with four groups: the first layer's weights, those between, the last layer's, the biases.

    The biases, and with them the parameters of batch normalization, have no weight decay.
    """
    weights = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim <= 1]
    decay = config.weight_decay
    last_decay = decay * config.last_decay_factor
    groups = [
        {"params": weights[:1], "lr": config.lr * config.first_lr_factor, "weight_decay": decay},
        {"params": weights[1:-1], "lr": config.lr * config.inner_lr_factor, "weight_decay": decay},
        {"params": weights[1:][-1:], "lr": config.lr, "weight_decay": last_decay},
        {"params": biases, "lr": config.lr * config.bias_lr_factor},
    ]
    return torch.optim.SGD(groups, momentum=config.momentum)


def make_scheduler(
    optimizer: torch.optim.Optimizer, config: ExperimentConfig, steps_per_epoch: int
) -> LambdaLR:
    """A scheduler to be stepped once a batch: constant, or linear to zero."""
    num_steps = steps_per_epoch * config.epochs

    def factor(step: int) -> float:
        return 1 - step / num_steps if config.schedule == "linear" else 1.0

    return LambdaLR(optimizer, factor)


def make_order(config: ExperimentConfig, num_images: int) -> Tensor | None:
    """The order of the training images in every epoch, int64 (num_images,), if it is fixed.

    With it the same images are a batch in every epoch, and with ``images_per_crop`` the same
    images share a window. If the images do not fill the last batch, the same ones are never used.
    """
    if config.order == "shuffled":
        return None
    # The images are sorted by class, so that they must be permuted once
    generator = torch.Generator().manual_seed(ORDER_SEED + config.seed)
    return torch.randperm(num_images, generator=generator)


# Training


def autocast_dtype(device: torch.device) -> str:
    """The dtype that autocast uses on a device: ``"bfloat16"`` or ``"float32"``.

    float32 on a CPU without AVX-512, where PyTorch's bfloat16 convolution takes ten times as
    long.
    """
    if device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability():
        return "bfloat16"
    return "float32"


def autocast(device: torch.device) -> torch.autocast:
    """Bfloat16 autocast, which is about twice as fast, where the device supports it."""
    enabled = autocast_dtype(device) == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def train_one_epoch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    augment: Transform | None = None,
    order: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Train on all images once, step by step: a generator, which trains as it is iterated.

    An incomplete last batch is dropped.

    Args:
        net: in training mode.
        optimizer: of the net's parameters.
        images: (N, 3, H, W), on the net's device.
        labels: int64 (N,).
        batch_size: images per step.
        augment: applied to each batch of images.
        order: indices of the images, int64 (N,), on the net's device; random and new each time by
            default.

    Yields:
        After each step, the loss of its batch and the fraction of it that was misclassified:
        two scalar tensors, still on the device, so that no step waits for the one before.
    """
    if order is None:
        order = torch.randperm(len(images), device=images.device)
    num_used = len(images) // batch_size * batch_size
    for indices in order[:num_used].split(batch_size):
        batch = images[indices]
        if augment is not None:
            batch = augment(batch)
        with autocast(images.device):
            logits = net(batch)  # (batch_size, classes)
        loss = F.cross_entropy(logits.float(), labels[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wrong = logits.detach().argmax(1) != labels[indices]
        yield loss.detach(), wrong.float().mean()


def fit(
    config: ExperimentConfig,
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    num_classes: int,
    held_out: tuple[Tensor, Tensor] | None = None,
    pretrained: nn.Module | None = None,
) -> tuple[nn.Module, dict]:
    """Train one net as a configuration says.

    A loss that is not finite ends the run. So does a training error below the target, and, of runs
    that are tested in each epoch, a fourth epoch whose loss is not 2 % below that of the first.

    Args:
        config: the net, the training and the seed.
        data: what :func:`preprocess` returns for ``config.pixels`` and ``config.crop``.
        num_classes: number of logits.
        held_out: images that are not trained on, uint8 (N, 3, H, W), and their labels, on the
            device of the data. They take the place of the test images during the training, and
            are needed unless ``config.test`` is ``"each epoch"``.
        pretrained: a net of the same configuration, for other classes; all its layers but the last
            are copied.

    Returns:
        The net and its curve, a dict. Errors are fractions, 0 to 1; None stands for a value that
        is not finite.

        - ``loss``, ``train_error``: for each epoch four numbers, each the mean over a quarter of
          its steps while training.
        - ``test_error``: a number an epoch, or fewer where there are more test images than
          training images; always after the last epoch. If ``config.test`` is ``"at the end"``, one
          number, and if it is ``"never"``, none.
        - ``held_out_error``, ``held_out_epochs``: of the images that are held out, and after how
          many epochs; fewer than one an epoch where they are more than a tenth of the training
          images.
        - ``divisors``, ``saturated``: each time that an error is measured, see
          :func:`lrn_divisors` and :func:`saturation`, in a hundred test images or images that are
          held out; only with such layers.
        - ``final_train_error``: of all training images in evaluation mode, once the learning
          rate has fallen to zero.
        - ``test_top5_error``, ``ten_crop_error``, ``ten_crop_top5_error``: of runs that are tested
          at the end.
        - ``ten_crop_error``, ``augment_share``: of the four-layer net on standardized crops, see
          :func:`augment_time_fraction`.

    Raises:
        ValueError: if there are fewer than four batches of training images, one a quarter.
    """
    train_images, train_labels, test_images, test_labels = data
    steps_per_epoch = len(train_images) // config.batch_size
    if steps_per_epoch < 4:
        raise ValueError(
            f"batch_size must be at most a quarter of the {len(train_images)} training images, "
            f"got {config.batch_size}"
        )
    augment, center = _transforms(config, train_images)
    monitored = (test_images, test_labels) if config.test == "each epoch" else held_out
    monitor = _Monitor(config, len(train_images), center, *monitored)
    net = build_net(config, num_classes, monitor.probes.shape[-1]).to(train_images.device)
    if pretrained is not None:
        weights = list(pretrained.state_dict().items())
        net.load_state_dict(dict(weights[:-2]), strict=False)  # but for the last weight and bias
    optimizer = make_optimizer(net, config)
    scheduler = make_scheduler(optimizer, config, steps_per_epoch)
    order = make_order(config, len(train_images))
    if order is not None:
        order = order.to(train_images.device)

    curve = {"loss": [], "train_error": [], "test_error": []}
    finite = True
    progress = trange(config.epochs, desc=describe(config), unit="epoch", leave=False, disable=None)
    for epoch in progress:
        steps = train_one_epoch(
            net, optimizer, train_images, train_labels, config.batch_size, augment, order
        )
        losses, errors = _run_epoch(steps, scheduler)
        curve["loss"].append([_round(loss) for loss in losses])
        curve["train_error"].append([_round(error) for error in errors])
        progress.set_postfix_str(f"training error {errors[-1]:.1%}")
        finite = math.isfinite(sum(losses))
        last = epoch + 1 == config.epochs or _should_stop(config, curve, errors[-1]) or not finite
        monitor.measure(net, curve, last, finite)
        if last:
            break

    if config.schedule == "linear" and finite and epoch + 1 == config.epochs:
        error = error_rate(net, train_images, train_labels, center)
        curve["final_train_error"] = _round(error)
    if config.test != "each epoch":
        if config.test == "at the end" and finite:
            curve |= _test_once(net, test_images, test_labels, center, config.crop)
    elif config.crop and config.pixels == "standardized" and config.net == "four-layer":
        # The runs of recipes.augmentation, for the claims P14 and P28
        error, _ = topk_error_rates(net, test_images, test_labels, center, config.crop)
        curve["ten_crop_error"] = _round(error)
        # The last of all, since its steps train the net further
        fraction = augment_time_fraction(
            net, optimizer, train_images, train_labels, config.batch_size, augment
        )
        curve["augment_share"] = _round(fraction)
    return net, curve


def _transforms(config: ExperimentConfig, train_images: Tensor) -> tuple[Transform, Transform]:
    """The transforms of training and of test batches.

    The identity without a crop, since then :func:`preprocess` has normalized already.
    """

    def unchanged(images: Tensor) -> Tensor:
        return images

    if config.crop is None:
        return unchanged, unchanged
    augment, center = make_augment(
        config.augment, train_images, config.crop, config.images_per_crop, config.pixels
    )
    if config.upscale == 1:
        return augment, center

    def upscaled(transform: Transform) -> Transform:
        size = [config.upscale * config.crop] * 2
        return lambda images: F.interpolate(transform(images), size, mode="bilinear")

    return upscaled(augment), upscaled(center)


def _run_epoch(
    steps: Iterator[tuple[Tensor, Tensor]], scheduler: LambdaLR
) -> tuple[list[float], list[float]]:
    """Run one epoch, and return the mean loss and error of each quarter of its steps."""
    results = []
    for loss, error in steps:
        results.append(torch.stack([loss, error]))
        scheduler.step()
    # One transfer from the device per epoch: (steps, 2) -> (2, 4)
    quarters = torch.stack(results).tensor_split(4)
    losses, errors = torch.stack([quarter.mean(0) for quarter in quarters]).T.tolist()
    return losses, errors


def _should_stop(config: ExperimentConfig, curve: dict, train_error: float) -> bool:
    """Stop at the target, or if the loss has not fallen by 2 % by epoch 4."""
    if train_error < config.target_train_error:
        return True
    if config.test != "each epoch" or len(curve["loss"]) != 4:
        return False  # in a small part of a data set, four epochs are few steps
    sums = [sum(quarters) for quarters in curve["loss"] if None not in quarters]
    return len(sums) == 4 and sums[3] > 0.98 * sums[0]


class _Monitor:
    """The errors during training: of the test images, or of those that are held out.

    Args:
        config: of the run.
        num_train: number of the training images.
        center: the preprocessing of the images.
        images, labels: to measure the errors on.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        num_train: int,
        center: Transform,
        images: Tensor,
        labels: Tensor,
    ) -> None:
        self.images = images
        self.labels = labels
        self.center = center
        # Of all classes, since the images are sorted by class
        self.probes = center(images[:: max(1, len(images) // 100)])  # what the net takes
        self.holds_out = config.test != "each epoch"
        # Where measuring takes longer than an epoch, it does not follow each of them. Of images
        # that are held out: longer than a thirtieth, as a step takes three times the forward pass
        allowed = num_train / 10 if self.holds_out else num_train
        self.every = max(1, int(len(images) // allowed))

    def measure(self, net: nn.Module, curve: dict, last: bool, finite: bool) -> None:
        """Append to the curve what is due after an epoch."""
        epoch = len(curve["loss"])
        if not last and epoch % self.every:
            return
        error = None
        if finite:
            error = _round(error_rate(net, self.images, self.labels, self.center))
        if self.holds_out:
            curve.setdefault("held_out_epochs", []).append(epoch)
            curve.setdefault("held_out_error", []).append(error)
        else:
            curve["test_error"].append(error)
        if finite:
            _measure_layers(net, self.probes, curve)


def _test_once(
    net: nn.Module, images: Tensor, labels: Tensor, center: Transform, crop: int
) -> dict[str, float | list[float]]:
    """What the curve holds of the test images of a run that is tested at the end."""
    top1, top5 = topk_error_rates(net, images, labels, center)
    ten_crop_top1, ten_crop_top5 = topk_error_rates(net, images, labels, center, crop)
    return {
        "test_error": [_round(top1)],
        "test_top5_error": _round(top5),
        "ten_crop_error": _round(ten_crop_top1),
        "ten_crop_top5_error": _round(ten_crop_top5),
    }


def _measure_layers(net: nn.Module, images: Tensor, curve: dict) -> None:
    """Append to the curve what the normalization and the tanh layers do, if the net has any."""
    divisors = lrn_divisors(net, images)
    if divisors:
        curve.setdefault("divisors", []).append(divisors)
    saturated = saturation(net, images)
    if saturated:
        curve.setdefault("saturated", []).append(saturated)


# Measuring


@torch.no_grad()
def error_rate(
    net: nn.Module, images: Tensor, labels: Tensor, transform: Transform | None = None
) -> float:
    """Fraction of the images that the net, in evaluation mode, misclassifies.

    Args:
        net: left in training mode.
        images: (N, ...), what the net takes.
        labels: int64 (N,).
        transform: applied to each batch of images, which are then what it takes.
    """
    net.eval()
    num_wrong = torch.zeros((), dtype=torch.int64, device=images.device)
    with autocast(images.device):
        for batch, targets in zip(images.split(1000), labels.split(1000)):
            inputs = batch if transform is None else transform(batch)
            num_wrong += (net(inputs).argmax(1) != targets).sum()
    net.train()
    return num_wrong.item() / len(images)


@torch.no_grad()
def topk_error_rates(
    net: nn.Module, images: Tensor, labels: Tensor, center: Transform, crop: int | None = None
) -> tuple[float, float]:
    """Fractions of the images whose class is not the first, and is not among the first five.

    Args:
        net: left in training mode.
        images: uint8 (N, 3, H, W).
        labels: int64 (N,).
        center: the center crop, normalized, as :func:`make_augment` returns it.
        crop: height and width of the ten crops in pixels over which the softmax is averaged; None:
            the center crop alone.

    Returns:
        The top-1 and the top-5 error, 0 to 1.
    """
    net.eval()
    correct = torch.zeros(2, dtype=torch.int64, device=images.device)
    for batch, targets in zip(images.split(500), labels.split(500)):
        views = ten_crop(batch, crop).flatten(0, 1) if crop else batch  # (N or 10 N, 3, H, W)
        with autocast(images.device):
            logits = net(center(views))  # (N or 10 N, classes)
        probabilities = logits.float().softmax(1).unflatten(0, (len(batch), -1)).mean(1)
        correct += topk_correct(probabilities, targets)
    net.train()
    top1, top5 = ((len(images) - correct) / len(images)).tolist()
    return top1, top5


def augment_time_fraction(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    augment: Transform,
) -> float:
    """Time of the augmentation over the time of training steps with it (claim P28).

    Twenty steps, or as many as there are images for, on this device and not overlapping. They
    train the net further.
    """

    def seconds(run: Callable[[], object]) -> float:
        # Kernels on a GPU run asynchronously: wait for them before reading the clock
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        start = time.perf_counter()
        run()
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        return time.perf_counter() - start

    num_steps = min(20, len(images) // batch_size)
    num_images = num_steps * batch_size

    def augment_only() -> None:
        for _ in range(num_steps):
            augment(images[:batch_size])

    def train() -> None:
        steps = train_one_epoch(
            net, optimizer, images[:num_images], labels[:num_images], batch_size, augment
        )
        for _ in steps:
            pass

    augment_seconds = seconds(augment_only)
    return augment_seconds / seconds(train)


def lrn_divisors(net: nn.Module, images: Tensor) -> list[list[float | None]]:
    """What each local response normalization layer divides by.

    Args:
        net: left in training mode.
        images: (N, 3, H, W), what the net takes.

    Returns:
        For each such layer, the 5 %, 50 % and 95 % quantiles of input over output, over all
        activations that are not zero; None where all are zero.
    """
    levels = torch.tensor([0.05, 0.5, 0.95], device=images.device)

    def quantiles(inputs: Tensor, outputs: Tensor) -> list[float | None]:
        values = (inputs / outputs).nanquantile(levels)  # 0 / 0 is NaN
        return [_round(value) for value in values.tolist()]

    return _measure_each(LocalResponseNorm, net, images, quantiles)


def saturation(net: nn.Module, images: Tensor) -> list[float]:
    """For each tanh layer, the fraction of its outputs where the slope is below 0.1.

    Args:
        net: left in training mode.
        images: (N, 3, H, W), what the net takes.
    """

    def fraction(inputs: Tensor, outputs: Tensor) -> float:
        slope = 1 - outputs**2
        return _round((slope < 0.1).float().mean().item())

    return _measure_each(nn.Tanh, net, images, fraction)


@torch.no_grad()
def _measure_each(
    layer_type: type,
    net: nn.Module,
    images: Tensor,
    measure: Callable[[Tensor, Tensor], object],
) -> list:
    """``measure(inputs, outputs)`` of each layer of a type, in evaluation mode and in order."""
    layers = [module for module in net.modules() if isinstance(module, layer_type)]
    if not layers:
        return []  # without a forward pass
    found = []

    def hook(module: nn.Module, inputs: tuple[Tensor], outputs: Tensor) -> None:
        found.append(measure(inputs[0], outputs))

    handles = [layer.register_forward_hook(hook) for layer in layers]
    net.eval()(images)
    net.train()
    for handle in handles:
        handle.remove()
    return found


def _round(value: float) -> float | None:
    """Five decimals are enough for a curve, and JSON has no infinity and no NaN."""
    return round(value, 5) if math.isfinite(value) else None
