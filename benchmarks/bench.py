"""``make bench``: how fast, as a ratio to a named peer that is measured in the same run.

``python benchmarks/bench.py NAME --device cuda`` measures only one thing, one of those that
``make gpu`` asks for; its last line is JSON. Nothing is asserted here; the tests assert that the
results are equal.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from alexnet import AlexNet, LocalResponseNorm
from alexnet.augment import PCAColor, TrainAugment
from alexnet.console import printable
from alexnet.datasets import InMemoryDataset, photos
from alexnet.experiments.config import TINY_IMAGENET, ExperimentConfig
from alexnet.experiments.fit import autocast, fit, make_augment, make_optimizer, preprocess
from alexnet.experiments.nets import FourLayerNet, build_net
from alexnet.loader import CachedImageLoader, scan_image_folder
from alexnet.optim import PaperSGD

MEAN, STD = [0.48, 0.45, 0.41], [0.25, 0.24, 0.26]  # close to those of ImageNet


# Training as the paper has it: images (section 2), epochs and "five to six days" (section 5)
IMAGENET_IMAGES, EPOCHS, DAYS = 1_200_000, 90, 5.5
SPEED_OF_2012 = IMAGENET_IMAGES * EPOCHS / (DAYS * 86_400)  # 227 images a second


def median_seconds(run: Callable[[], object], repeats: int = 9, device: str = "cpu") -> float:
    """The median time of several runs, on a GPU of fifty, after two runs to warm up."""
    on_gpu = device.startswith("cuda")
    times = []
    for _ in range((50 if on_gpu else repeats) + 2):
        start = time.perf_counter()
        run()
        if on_gpu:  # its kernels run asynchronously
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def print_table(seconds: dict[str, float], num_images: int) -> dict[str, float]:
    """A line for each contender; the first one is the peer. Returns images a second by name."""
    peer = next(iter(seconds.values()))
    for name, t in seconds.items():
        speedup, images_per_second = peer / t, num_images / t
        print(
            f"  {name:36} {t * 1e3:8.1f} ms   {speedup:6.2f} times as fast   "
            f"{images_per_second:8,.0f} images/s"
        )
    return {name: round(num_images / t, 1) for name, t in seconds.items()}


def bench_lrn(device: str, batch_size: int = 32) -> dict[str, float]:
    """Local response normalization, forward and backward, beside PyTorch's.

    On a GPU, the compiled form is the one that counts.
    """
    shape = (batch_size, 96, 55, 55)
    x = torch.randn(shape, device=device, requires_grad=True)
    grad = torch.randn(shape, device=device)
    copy = torch.empty_like(grad)
    norms = {
        "torch.nn.LocalResponseNorm": nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0),
        "alexnet.LocalResponseNorm": LocalResponseNorm(),
    }

    def forward_and_backward(norm: nn.Module) -> Callable[[], object]:
        return lambda: torch.autograd.grad(norm(x), x, grad)

    seconds = {}
    for name, norm in norms.items():
        seconds[name] = median_seconds(forward_and_backward(norm), device=device)
        try:
            compiled = forward_and_backward(torch.compile(norm))
            seconds[f"{name}, compiled"] = median_seconds(compiled, device=device)
        except RuntimeError as error:  # such as no C++ compiler
            print(f"{name} cannot be compiled here: {str(error).splitlines()[0]}")
    floor = median_seconds(lambda: copy.copy_(grad), device=device)
    seconds["one copy of the tensor, the floor"] = floor
    print(f"local response normalization, {shape} float32, forward and backward, {device}")
    return print_table(seconds, batch_size)


def bench_fit() -> None:
    """One epoch of an experiment, beside bare forward, backward and step on as many batches."""
    images = torch.randint(0, 256, (12_800, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (12_800,))
    # As many test images for each training image as CIFAR-10 has
    dataset = InMemoryDataset(
        "noise", tuple("0123456789"), images, labels, images[:2_560], labels[:2_560]
    )
    config = ExperimentConfig(epochs=1)
    data = preprocess(dataset)
    net = FourLayerNet(10)
    optimizer = torch.optim.SGD(net.parameters(), lr=config.lr, momentum=config.momentum)
    batch, targets = data[0][: config.batch_size], labels[: config.batch_size]

    def bare() -> None:
        for _ in range(len(images) // config.batch_size):
            with autocast(batch.device):
                logits = net(batch)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), targets).backward()
            optimizer.step()

    floor = median_seconds(bare, 5)
    ours = median_seconds(lambda: fit(config, data, 10), 5)
    print(printable("an epoch of the four-layer net, 12,800 images of 32×32, test error included"))
    print(f"  bare forward, backward and step      {floor * 1e3:8.1f} ms")
    ratio = ours / floor
    print(
        f"  alexnet.experiments.fit              {ours * 1e3:8.1f} ms   {ratio:6.2f} times as long"
    )


def bench_tiny_imagenet(device: str = "cpu", batch_size: int = 128) -> dict[str, float]:
    """An epoch of the experiment tiny-imagenet, augmented on the device, beside bare steps.

    With as many images held out, whose error follows each epoch, but fewer images.
    """
    num_steps = 40 if device == "cpu" else 400
    n = num_steps * batch_size
    images = torch.randint(256, (n, 3, 64, 64), dtype=torch.uint8, device=device)
    labels = torch.randint(200, (n,), device=device)
    held_out = (images[: n // 9], labels[: n // 9])
    # Without what comes once a run
    config = replace(TINY_IMAGENET, batch_size=batch_size, test="never", schedule="constant")
    net = build_net(config, 200, config.crop).to(device)
    optimizer = make_optimizer(net, config)
    augment, _ = make_augment(config.augment, images, config.crop)
    batch, targets = augment(images[:batch_size]), labels[:batch_size]

    def bare() -> None:
        for _ in range(num_steps):
            with autocast(batch.device):
                logits = net(batch)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), targets).backward()
            optimizer.step()

    def run(epochs: int) -> None:
        fit(replace(config, epochs=epochs), (images, labels, None, None), 200, held_out)

    floor = median_seconds(bare, 3, device)
    three_epochs, one_epoch = (median_seconds(partial(run, n), 1, device) for n in (3, 1))
    ours = (three_epochs - one_epoch) / 2
    print(f"an epoch of the experiment tiny-imagenet, {n:,} images, errors included, {device}")
    seconds = {"bare forward, backward and step": floor, "alexnet.experiments.fit": ours}
    return print_table(seconds, n) | {"epoch over bare steps": round(ours / floor, 3)}


def bench_augment(device: str = "cpu", batch_size: int = 128) -> dict[str, float]:
    """Crop, flip, PCA color and normalization of a batch, beside torchvision image by image."""
    images = torch.randint(0, 256, (batch_size, 3, 256, 256), dtype=torch.uint8)
    pca = PCAColor.fit(images[:8]).to(device)
    images = images.to(device)
    ours = TrainAugment(224, MEAN, STD, pca).to(device)
    theirs = v2.Compose([
        v2.RandomCrop(224),
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        pca,
        v2.Normalize(MEAN, STD),
    ])
    out = torch.empty(batch_size, 3, 224, 224, device=device)
    copy = torch.empty_like(out)
    contenders = {
        "torchvision.transforms.v2": lambda: torch.stack([theirs(image) for image in images]),
        "TrainAugment, out= reused": lambda: ours(images, out),
        "TrainAugment, fresh output": lambda: ours(images),
        "one copy of the output, the floor": lambda: copy.copy_(out),
    }
    seconds = {name: median_seconds(run, device=device) for name, run in contenders.items()}
    print(f"augmentation, {batch_size} uint8 images, 256 to 224 pixels, to float32, {device}")
    return print_table(seconds, batch_size)


def write_jpegs(root: Path) -> None:
    """512 JPEG files of 500×375 pixels, crops of eight photographs, in a folder a photograph."""
    random_crop = v2.RandomResizedCrop((375, 500), scale=(0.3, 1.0))
    for name, photo in photos().items():
        (root / name).mkdir()
        for i in range(64):
            TF.to_pil_image(random_crop(photo)).save(root / name / f"{i}.jpg", quality=90)


def bench_loader() -> None:
    """From JPEG files to batches for the net, without the cache, beside ImageFolder.

    Both have two workers.
    """
    with tempfile.TemporaryDirectory() as root:
        write_jpegs(Path(root))
        index = scan_image_folder(root)
        loader = CachedImageLoader(index, 256, num_workers=2, memory_fraction=0.0)
        first_batch = torch.arange(64)
        pca = PCAColor.fit(images for _, images in loader.batches([first_batch]))
        augment = TrainAugment(224, MEAN, STD, pca)
        out = torch.empty(128, 3, 224, 224)
        transform = v2.Compose([
            v2.Resize(256),
            v2.CenterCrop(256),
            v2.RandomCrop(224),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            pca,
            v2.Normalize(MEAN, STD),
        ])
        peer = DataLoader(
            ImageFolder(root, transform),
            128,
            shuffle=True,
            num_workers=2,
            persistent_workers=True,
        )

        def ours() -> None:
            for _, images in loader.batches(torch.randperm(512).split(128)):
                augment(images, out)

        seconds = {
            "ImageFolder + transforms.v2": median_seconds(lambda: list(peer), 5),
            "CachedImageLoader + TrainAugment": median_seconds(ours, 5),
        }
    print(printable("loading 512 JPEG files of 500×375 pixels, to float32 batches of 224×224"))
    print_table(seconds, 512)


class NormByColumn(nn.Module):
    """PyTorch's local response normalization within each of two columns."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return torch.cat([self.norm(first), self.norm(second)], dim=1)


def stock_alexnet() -> nn.Sequential:
    """The variant ``paper``, from modules of ``torch.nn`` only."""

    def conv(channels_in: int, channels_out: int, kernel_size: int, groups: int) -> nn.Sequential:
        padding = kernel_size // 2
        layer = nn.Conv2d(channels_in, channels_out, kernel_size, padding=padding, groups=groups)
        return nn.Sequential(layer, nn.ReLU())

    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)),
        nn.Conv2d(3, 96, 11, stride=4),
        nn.ReLU(),
        NormByColumn(),
        nn.MaxPool2d(3, 2),
        conv(96, 256, 5, groups=2),
        NormByColumn(),
        nn.MaxPool2d(3, 2),
        conv(256, 384, 3, groups=1),
        conv(384, 384, 3, groups=2),
        conv(384, 256, 3, groups=2),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, 1000),
    )


def bench_training_step() -> None:
    """A training step of the variant ``paper``, beside the same net from stock modules."""
    images, labels = torch.randn(64, 3, 224, 224), torch.randint(1000, (64,))
    ours = AlexNet().to(memory_format=torch.channels_last)
    peer = stock_alexnet()
    peer.load_state_dict(dict(zip(peer.state_dict(), ours.state_dict().values(), strict=True)))

    def training_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        def run() -> None:
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return run

    sgd = torch.optim.SGD(peer.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4)
    paper_sgd = PaperSGD(ours.parameters(), lr=0.001)
    seconds = {
        "stock torch.nn, torch.optim.SGD": median_seconds(training_step(peer, sgd), 5),
        "alexnet, PaperSGD": median_seconds(training_step(ours, paper_sgd), 5),
    }
    print("a training step of the net of the paper, 64 images, float32")
    print_table(seconds, 64)


def bench_alexnet(
    device: str, dtype: torch.dtype = torch.bfloat16, batch_size: int = 128
) -> dict[str, float]:
    """A training step in a precision, beside torchvision's alexnet.

    In float32, a GPU computes convolutions in TF32, as is PyTorch's default.
    """
    images = torch.randn(batch_size, 3, 224, 224, device=device)
    labels = torch.randint(1000, (batch_size,), device=device)

    def training_step(net: nn.Module) -> Callable[[], None]:
        net = net.to(device, memory_format=torch.channels_last)
        optimizer = PaperSGD(net.parameters(), lr=0.001)

        def run() -> None:
            with torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32):
                logits = net(images)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

        return run

    nets = {
        "torchvision.models.alexnet": torchvision.models.alexnet,
        "alexnet, torchvision": lambda: AlexNet(variant="torchvision"),
        "alexnet, paper": lambda: AlexNet(variant="paper"),
    }
    seconds = {
        name: median_seconds(training_step(make()), device=device) for name, make in nets.items()
    }
    precision = str(dtype).removeprefix("torch.")
    print(f"a training step, {batch_size} images, {precision}, {device}")
    speeds = print_table(seconds, batch_size)
    hours = IMAGENET_IMAGES * EPOCHS / speeds["alexnet, paper"] / 3600
    print(
        f"{EPOCHS} epochs of ImageNet in {hours:.1f} hours, with nothing but these steps; in 2012, "
        f"at {SPEED_OF_2012:.0f} images a second, in {DAYS} days"
    )
    return speeds | {"hours for 90 epochs of ImageNet": round(hours, 2)}


ON_GPU = {  # what `make gpu` measures, by name
    "float32": partial(bench_alexnet, dtype=torch.float32),
    "bfloat16": bench_alexnet,
    "lrn": bench_lrn,
    "augment": bench_augment,
    "experiment": bench_tiny_imagenet,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", nargs="?", choices=ON_GPU, help="what to measure (all)")
    parser.add_argument("--device", default="cuda", help="of NAME (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a batch of two, to try NAME")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if args.name:
        more = {"batch_size": 2} if args.quick else {}
        print(json.dumps(ON_GPU[args.name](args.device, **more)))
        return
    bench_lrn("cpu")
    bench_fit()
    bench_tiny_imagenet()
    bench_augment()
    bench_loader()
    bench_training_step()
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
        for bench in ON_GPU.values():
            bench("cuda")


if __name__ == "__main__":
    main()
