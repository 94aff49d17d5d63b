"""One training run: the images made ready, the steps, and what is measured on the way."""


import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import center_crop
from tqdm import tqdm

from alexnet.augment import PCAColor, TrainAugment, ten_crop
from alexnet.datasets import InMemoryDataset
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.nets import build_net
from alexnet.lrn import LocalResponseNorm



def preprocess(pictures: InMemoryDataset, pixels: str = "standardized", crop: int | None = None, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All images on the device: train, labels, test, labels; in float32, the mean training image subtracted, or as bytes.

    The standard deviation is that of the first 10,000 training images. CIFAR-10 is sorted by class here, so those are two
    classes of ten, with a deviation a few per cent above that of all. The recorded runs have it so.
    """
    if crop is not None:
        return tuple(t.to(device) for t in (pictures.train_images, pictures.train_labels, pictures.test_images, pictures.test_labels))
    mean = pictures.train_images.float().mean(0)
    std = (pictures.train_images[:10_000].float() - mean).std() if pixels == "standardized" else 1.0  # 2.5 GB less than that of all

    def normalized(images: Tensor) -> Tensor:
        return images.to(device).float().sub_(mean.to(device)).div_(std).contiguous(memory_format=torch.channels_last)

    return normalized(pictures.train_images), pictures.train_labels.to(device), normalized(pictures.test_images), pictures.test_labels.to(device)


def make_augment(kind: str, images: Tensor, size: int = 24, share: int = 1, raw: bool = False) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What is done to a batch of bytes in training, and in the test: windows of ``size`` pixels, standardised.

    "none" and the test take the middle; "flip" mirrors every other one; "crop" takes a random window as well; "color"
    adds PCA colour by the paper's rule. In the source of 2012, too, CIFAR-10 is cut to 24×24. So many images in a row
    ``share`` a random window and its flip. ``raw`` windows are from 0 to 255, minus the mean colour.
    """
    pixels = images[:: max(1, len(images) // 10_000)].float() / 255
    mean = pixels.mean((0, 2, 3))
    std = torch.full_like(mean, 1 / 255) if raw else pixels.std((0, 2, 3))

    def middle(batch: Tensor) -> Tensor:
        return ((center_crop(batch, [size, size]) / 255 - mean[:, None, None]) / std[:, None, None]).contiguous(memory_format=torch.channels_last)

    def flip(batch: Tensor) -> Tensor:
        x, mirrored = middle(batch), torch.rand(len(batch), 1, 1, 1, device=batch.device) < 0.5
        return torch.where(mirrored, x.flip(-1), x)

    if kind in ("none", "flip"):
        return middle if kind == "none" else flip, middle
    pca = PCAColor.fit(images).to(images.device) if kind == "color" else None
    augment = TrainAugment(size, mean, std, pca)

    def random(batch: Tensor) -> Tensor:
        window = [part.repeat_interleave(share)[: len(batch)] for part in augment.crop.make_params(batch[::share])]
        return augment.transform(batch, window, pca.sample(len(batch), batch.device) if pca else None)

    return random, middle


def compute_precision(device: torch.device) -> str:
    """What convolutions are computed in: bfloat16, or float32 on a CPU without AVX-512, on which PyTorch's convolution of
    bfloat16 takes ten times as long."""
    return "bfloat16" if device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability() else "float32"


def autocast(device: torch.device) -> torch.autocast:
    """Convolutions in bfloat16, the weights in float32: about twice as fast, where :func:`precision` has it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=compute_precision(device) == "bfloat16")


def train_one_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, batch: int, augment: Callable[[Tensor], Tensor] = lambda x: x
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over the images in a new order; a last batch that is not full is left out.

    Yields:
        For each step its loss, and the share of its batch that was classified wrongly, still on the device.
    """
    order = torch.randperm(len(images), device=images.device)
    for chosen in order[: len(images) // batch * batch].split(batch):
        x = augment(images[chosen])
        with autocast(images.device):
            logits = model(x)
        loss = F.cross_entropy(logits.float(), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach(), (logits.detach().argmax(1) != labels[chosen]).float().mean()


@torch.no_grad()
def error_rate(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images that the net, in evaluation mode, classifies wrongly."""
    model.eval()
    with autocast(images.device):
        wrong = sum((model(x).argmax(1) != y).sum() for x, y in zip(images.split(1000), labels.split(1000)))
    model.train()
    return wrong.item() / len(images)


def make_optimizer(model: nn.Module, setting: ExperimentConfig) -> torch.optim.SGD:
    """PyTorch's rule with the setting's rates and decays: those of the weights, of the last layer's weights, of the biases."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim <= 1]  # and what batch normalisation has
    groups = [{"params": weights[:-1], "weight_decay": setting.weight_decay, "lr": setting.lr}]
    groups += [{"params": weights[-1:], "weight_decay": setting.weight_decay * setting.last_decay_factor, "lr": setting.lr}]
    groups += [{"params": biases, "lr": setting.lr * setting.bias_lr_factor}]
    return torch.optim.SGD(groups, momentum=setting.momentum)


def lrn_divisors(model: nn.Module, images: Tensor) -> list[list[float | None]]:
    """What each local response normalisation of the net divides by: quantiles of 5, 50 and 95 % over all activations but zeros.

    They are None where all are zero.
    """
    quantiles = torch.tensor([0.05, 0.5, 0.95], device=images.device)
    return _measure_each(LocalResponseNorm, model, images, lambda x, y: [_round(value) for value in (x / y).nanquantile(quantiles).tolist()])


def saturation(model: nn.Module, images: Tensor) -> list[float]:
    """Share of the outputs of each tanh of the net whose slope is below a tenth."""
    return _measure_each(nn.Tanh, model, images, lambda x, y: _round((1 - y**2 < 0.1).float().mean().item()))


@torch.no_grad()
def _measure_each(kind: type, model: nn.Module, images: Tensor, look: Callable[[Tensor, Tensor], object]) -> list:
    """What ``look(input, output)`` finds at each layer of a kind, in evaluation mode, from the first to the last."""
    found = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: found.append(look(inputs[0], output)))
        for module in model.modules()
        if isinstance(module, kind)
    ]
    if hooks:
        model.eval()(images)
        model.train()
    for hook in hooks:
        hook.remove()
    return found


def fit(setting: ExperimentConfig, data: tuple[Tensor, Tensor, Tensor, Tensor], classes: int, bar: tqdm) -> tuple[nn.Module, dict]:
    """Train one net.

    Args:
        data: what :func:`prepare` gives.
        bar: a progress bar, moved on at every epoch.

    Returns:
        The net, and its curve. ``loss`` and ``train_error``: a row an epoch, four figures a row, each the mean over a quarter of the epoch while
        training; ``test_error``: a figure an epoch, or fewer where the test images are more than the training
        images, the last one always; where the rate fell to zero, ``final_train_error``: of all training
        images afterwards, in evaluation mode; of the four-layer net on bytes, ``ten_crop_error``, of the test images with ten views, and
        ``augment_share``, of the time; where there is such a layer, what :func:`divisors` and :func:`saturated` find in a hundred test
        images, after each epoch. Errors are shares, 0 to 1. A loss that is not finite ends the run, with None, and a fourth epoch
        whose loss is not 2 % below that of the first ends it too.
    """
    images, labels, test_images, test_labels = data
    augment, plain = (lambda x: x), (lambda x: x)
    if setting.crop is not None:
        augment, plain = make_augment(setting.augment, images, setting.crop, setting.images_per_crop, raw=setting.pixels == "raw")
        test_bytes, test_images = test_images, plain(test_images)
    model = build_net(setting, classes, test_images.shape[-1]).to(images.device)
    optimizer = make_optimizer(model, setting)
    steps = len(images) // setting.batch_size
    falling = setting.schedule == "linear"
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (steps * setting.epochs) if falling else 1.0)
    curve = {"loss": [], "train_error": [], "test_error": []}
    some = test_images[:: max(1, len(test_images) // 100)]  # a hundred of all classes, by which they are sorted
    for n in range(setting.epochs):
        found = []
        for result in train_one_epoch(model, optimizer, images, labels, setting.batch_size, augment):
            found.append(torch.stack(result))
            schedule.step()
        quarters = torch.stack([part.mean(0) for part in torch.stack(found).tensor_split(4)]).T.tolist()
        for name, row in zip(("loss", "train_error"), quarters):
            curve[name].append([_round(value) for value in row])
        bar.update()
        if not math.isfinite(sum(quarters[0])):
            curve["test_error"].append(None)
            break
        # It is there, or it has not begun to learn.
        ends = quarters[1][-1] < setting.target_train_error or (n == 3 and sum(curve["loss"][3]) > 0.98 * sum(curve["loss"][0]))
        if ends or n + 1 == setting.epochs or (n + 1) % max(1, len(test_images) // len(images)) == 0:
            curve["test_error"].append(_round(error_rate(model, test_images, test_labels)))
        for key, look in (("divisors", lrn_divisors), ("saturated", saturation)):
            if row := look(model, some):
                curve.setdefault(key, []).append(row)
        bar.set_postfix_str(f"training error {quarters[1][-1]:.1%}")
        if ends:
            break
    if setting.schedule == "linear" and len(curve["loss"]) == setting.epochs and curve["test_error"][-1] is not None:
        curve["final_train_error"] = _round(error_rate(model, plain(images), labels))
    if setting.crop is not None and setting.pixels == "standardized" and setting.net == "four-layer":
        curve["ten_crop_error"] = _round(ten_crop_error_rate(model, test_bytes, test_labels, plain))
        curve["augment_share"] = _round(augment_time_fraction(model, optimizer, images, labels, setting.batch_size, augment))
    return model, curve


@torch.no_grad()
def ten_crop_error_rate(model: nn.Module, images: Tensor, labels: Tensor, plain: Callable[[Tensor], Tensor]) -> float:
    """Share of the images, as bytes, that the mean of the softmax over ten windows of 24 pixels classifies wrongly."""
    model.eval()
    wrong = 0
    for some, true in zip(images.split(500), labels.split(500)):
        views = plain(ten_crop(some, 24).flatten(0, 1))  # (10 N, 3, 24, 24); the middle of 24 pixels is all of them
        with autocast(images.device):
            logits = model(views)
        wrong += (logits.float().softmax(1).unflatten(0, (-1, 10)).mean(1).argmax(1) != true).sum().item()
    model.train()
    return wrong / len(images)


def augment_time_fraction(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, batch: int, augment: Callable[[Tensor], Tensor]
) -> float:
    """Share of a training step's time that the augmentation takes (P28), on this device, one after the other."""

    def seconds(run: Callable[[], object]) -> float:
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        start = time.perf_counter()
        run()
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        return time.perf_counter() - start

    steps = len(images[: 20 * batch]) // batch
    alone = seconds(lambda: [augment(images[:batch]) for _ in range(steps)])
    return alone / seconds(lambda: list(train_one_epoch(model, optimizer, images[: steps * batch], labels[: steps * batch], batch, augment)))


def _round(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None
