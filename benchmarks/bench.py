"""``make bench``: how fast, as a ratio to a named peer in the same run. Nothing here is asserted; equality is, in the tests."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F
from tqdm import tqdm

from alexnet import AlexNet, LocalResponseNorm
from alexnet.augment import PCAColor, TrainAugment
from alexnet.datasets import InMemoryDataset, photos
from alexnet.loader import CachedImageLoader, scan_image_folder
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.nets import build_net
from alexnet.experiments.fit import fit, autocast, preprocess
from alexnet.optim import PaperSGD


def seconds(run: Callable[[], object], repeats: int = 9) -> float:
    """The median of some runs, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def lrn(device: str) -> None:
    """Local response normalisation, forward and backward, beside PyTorch's; on a GPU its compiled form is what counts."""
    x, grad = (torch.randn(32, 96, 55, 55, device=device) for _ in range(2))
    x.requires_grad_()
    copy = torch.empty_like(grad)
    peer, ours = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0), LocalResponseNorm()

    def done(run: Callable[[], object]) -> Callable[[], object]:
        return lambda: (run(), torch.cuda.synchronize() if device == "cuda" else None)

    def both(norm: nn.Module) -> Callable[[], object]:
        return done(lambda: torch.autograd.grad(norm(x), x, grad))

    runs = {}
    for name, norm in {"torch.nn.LocalResponseNorm": peer, "alexnet.LocalResponseNorm": ours}.items():
        runs[name] = seconds(both(norm))
        try:
            runs[f"{name}, compiled"] = seconds(both(torch.compile(norm)))
        except RuntimeError as problem:
            print(f"{name} cannot be compiled here: {str(problem).splitlines()[0]}")
    runs["one copy of the tensor, the floor"] = seconds(done(lambda: copy.copy_(grad)))
    print(f"local response normalisation, (32, 96, 55, 55) float32, forward and backward, {device}")
    _table(runs, 32)


def an_epoch() -> None:
    """A run of one epoch, as the experiments make it, beside the bare forward, backward and step on the same batches."""
    noise = torch.randint(0, 256, (12_800, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (12_800,))
    pictures = InMemoryDataset("noise", tuple("0123456789"), noise, labels, noise[:2_560], labels[:2_560])  # CIFAR-10's shares
    setting, data = ExperimentConfig(epochs=1), preprocess(pictures, "standardised")
    model = build_net(setting, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=setting.rate, momentum=setting.momentum)
    x, y = data[0][: setting.batch], labels[: setting.batch]

    def bare() -> None:
        for _ in range(len(noise) // setting.batch):
            with autocast(x.device):
                logits = model(x)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits.float(), y).backward()
            optimizer.step()

    def whole() -> None:
        with tqdm(disable=True) as bar:
            fit(setting, data, 10, bar)

    floor, ours = seconds(bare, 5), seconds(whole, 5)
    print("an epoch of the four-layer net, 12,800 images of 32×32, test error included")
    print(f"  bare forward, backward and step      {floor * 1e3:8.1f} ms")
    print(f"  alexnet.experiments.fit              {ours * 1e3:8.1f} ms   {ours / floor:6.2f} times as long")


def augment() -> None:
    """Crop, mirror image, PCA colour and normalisation of a batch, beside torchvision's transforms image by image."""
    images = torch.randint(0, 256, (128, 3, 256, 256), dtype=torch.uint8)
    mean, std = [0.48, 0.45, 0.41], [0.25, 0.24, 0.26]
    pca = PCAColor.fit(images[:8])
    ours = TrainAugment(224, mean, std, pca)
    to_float = v2.ToDtype(torch.float32, scale=True)
    theirs = v2.Compose([v2.RandomCrop(224), v2.RandomHorizontalFlip(), to_float, pca, v2.Normalize(mean, std)])
    out = torch.empty(128, 3, 224, 224)
    copy = torch.empty_like(out)
    peer = seconds(lambda: torch.stack([theirs(image) for image in images]))
    runs = {"torchvision.transforms.v2": peer, "TrainAugment, out= reused": seconds(lambda: ours(images, out))}
    runs["TrainAugment, fresh output"] = seconds(lambda: ours(images))
    runs["one copy of the output, the floor"] = seconds(lambda: copy.copy_(out))
    print("augmentation, 128 uint8 images, 256 to 224 pixels, to float32")
    _table(runs, 128)


def loader() -> None:
    """From JPEG files of 500×375 to batches for the net, nothing kept in memory, beside ImageFolder with two workers."""
    mean, std = [0.48, 0.45, 0.41], [0.25, 0.24, 0.26]
    with tempfile.TemporaryDirectory() as root:
        for name, photo in photos().items():
            (Path(root) / name).mkdir()
            for i in range(64):
                picture = v2.RandomResizedCrop((375, 500), scale=(0.3, 1.0))(photo)
                F.to_pil_image(picture).save(Path(root) / name / f"{i}.jpg", quality=90)
        folder = scan_image_folder(root)
        squares = CachedImageLoader(folder, 256, workers=2, share=0.0)
        pca = PCAColor.fit(batch for _, batch in squares.batches(torch.arange(64).split(64)))
        steps = [v2.Resize(256), v2.CenterCrop(256), v2.RandomCrop(224), v2.RandomHorizontalFlip(), v2.PILToTensor()]
        chain = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), pca, v2.Normalize(mean, std)])
        peer = DataLoader(ImageFolder(root, chain), 128, shuffle=True, num_workers=2, persistent_workers=True)
        augment, out = TrainAugment(224, mean, std, pca), torch.empty(128, 3, 224, 224)

        def ours() -> None:
            for _, batch in squares.batches(torch.randperm(512).split(128)):
                augment(batch, out)

        runs = {"ImageFolder + transforms.v2": seconds(lambda: list(peer), 5), "Squares + TrainAugment": seconds(ours, 5)}
    print("loading 512 JPEG files of 500×375 pixels, to float32 batches of 224×224")
    _table(runs, 512)


def step() -> None:
    """A training step of the variant "paper", beside the same net from stock modules."""

    class ByColumn(nn.Module):
        """torch.nn's normalisation within each of two columns."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.norm(column) for column in x.chunk(2, 1)], 1)

    def stock() -> nn.Sequential:
        def block(n: int, m: int, kernel: int, groups: int) -> list[nn.Module]:
            return [nn.Conv2d(n, m, kernel, padding=kernel // 2, groups=groups), nn.ReLU()]

        layers = [nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), nn.ReLU(), ByColumn(), nn.MaxPool2d(3, 2)]
        layers += [*block(96, 256, 5, 2), ByColumn(), nn.MaxPool2d(3, 2), *block(256, 384, 3, 1), *block(384, 384, 3, 2)]
        layers += [*block(384, 256, 3, 2), nn.MaxPool2d(3, 2), nn.Flatten()]
        for inputs in (9216, 4096):
            layers += [nn.Linear(inputs, 4096), nn.ReLU(), nn.Dropout(0.5)]
        return nn.Sequential(*layers, nn.Linear(4096, 1000))

    x, y = torch.randn(64, 3, 224, 224), torch.randint(1000, (64,))

    def update(model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], object]:
        def run() -> None:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return run

    peer, ours = stock(), AlexNet().to(memory_format=torch.channels_last)
    peer.load_state_dict(dict(zip(peer.state_dict(), ours.state_dict().values(), strict=True)))
    theirs = torch.optim.SGD(peer.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4)
    runs = {"stock torch.nn, torch.optim.SGD": seconds(update(peer, theirs), 5)}
    runs["alexnet, PaperSGD"] = seconds(update(ours, PaperSGD(ours.parameters(), lr=0.001)), 5)
    print("a training step of the net of the paper, 64 images, float32")
    _table(runs, 64)


def on_a_gpu() -> None:
    """A training step on a GPU in bfloat16, beside torchvision's alexnet."""
    x, y = torch.randn(128, 3, 224, 224, device="cuda"), torch.randint(1000, (128,), device="cuda")

    def update(model: nn.Module) -> Callable[[], object]:
        model = model.to("cuda", memory_format=torch.channels_last)
        optimizer = PaperSGD(model.parameters(), lr=0.001)

        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16):
                logits = model(x)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits.float(), y).backward()
            optimizer.step()
            torch.cuda.synchronize()

        return run

    nets = {"torchvision.models.alexnet": torchvision.models.alexnet()} | {f"alexnet, {name}": AlexNet(variant=name) for name in ("torchvision", "paper")}
    runs = {name: seconds(update(net)) for name, net in nets.items()}
    print(f"a training step, 128 images, bfloat16, {torch.cuda.get_device_name()}")
    _table(runs, 128)


def _table(runs: dict[str, float], images: int) -> None:
    """The first is the peer."""
    peer = next(iter(runs.values()))
    for name, t in runs.items():
        print(f"  {name:36} {t * 1e3:8.1f} ms   {peer / t:6.2f} times as fast   {images / t:8,.0f} images/s")


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    lrn("cpu")
    an_epoch()
    augment()
    loader()
    step()
    if torch.cuda.is_available():
        lrn("cuda")
        on_a_gpu()
