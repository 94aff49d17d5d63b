"""``make bench``: how fast, as a ratio to a named peer in the same run. Nothing here is asserted; equality is, in the tests."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torchvision.transforms import v2
from tqdm import tqdm

from alexnet import LocalResponseNorm
from alexnet.augment import PCAColor, TrainAugment
from alexnet.data import Pictures
from alexnet.experiments import Setting, build, fit, prepare


def seconds(run: Callable[[], object], repeats: int = 9) -> float:
    """The median of some runs, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def lrn() -> None:
    """Local response normalisation, forward and backward."""
    x, grad = torch.randn(32, 96, 55, 55, requires_grad=True), torch.randn(32, 96, 55, 55)
    copy = torch.empty_like(grad)
    peer, ours = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0), LocalResponseNorm()

    def both(norm: nn.Module) -> Callable[[], object]:
        return lambda: torch.autograd.grad(norm(x), x, grad)

    theirs = seconds(both(peer))
    runs = {"torch.nn.LocalResponseNorm": theirs, "alexnet.LocalResponseNorm": seconds(both(ours))}
    runs["alexnet.LocalResponseNorm, compiled"] = seconds(both(torch.compile(ours)))
    runs["one copy of the tensor, the floor"] = seconds(lambda: copy.copy_(grad))
    print("local response normalisation, (32, 96, 55, 55) float32, forward and backward")
    for name, t in runs.items():
        print(f"  {name:36} {t * 1e3:8.1f} ms   {theirs / t:6.1f} times as fast")


def an_epoch() -> None:
    """A run of one epoch, as the experiments make it, beside the bare forward, backward and step on the same batches."""
    noise = torch.randint(0, 256, (12_800, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (12_800,))
    pictures = Pictures("noise", tuple("0123456789"), noise, labels, noise[:2_560], labels[:2_560])  # CIFAR-10's shares
    setting, data = Setting(epochs=1), prepare(pictures, "standardised")
    model = build(setting, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=setting.rate, momentum=setting.momentum)
    x, y = data[0][: setting.batch], labels[: setting.batch]

    def bare() -> None:
        for _ in range(len(noise) // setting.batch):
            with torch.autocast("cpu", torch.bfloat16):
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
    for name, t in runs.items():
        print(f"  {name:36} {t * 1e3:8.1f} ms   {peer / t:6.1f} times as fast   {128 / t:8,.0f} images/s")


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    lrn()
    an_epoch()
    augment()
