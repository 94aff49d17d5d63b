"""Top-1 and top-5 accuracy of a trained net: ``python -m alexnet.evaluate --weights FILE --data DIR``.

DIR is a folder with a folder of pictures for each class. The weights are a checkpoint of ``alexnet.train``, the
``model.safetensors`` that it ends with; ``small``, the book's own net, which knows CIFAR-10; or ``torchvision``: those of
torchvision's AlexNet, which it downloads. The last line is JSON, shares from 0 to 1. With ``--image FILE`` instead of a
folder: what the net takes the picture for.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop
from tqdm import tqdm

from alexnet import checkpoint
from alexnet.augment import ten_crop
from alexnet.data import Folder, Squares, decode, image_folder, square
from alexnet.model import AlexNet
from alexnet.two_gpu import TwoGPUAlexNet

SMALL = Path(__file__).parent.parent / "book" / "runs" / "small.safetensors"


@dataclass
class Trained:
    """A net, and what was done to the pictures that it learned from."""

    model: nn.Module
    classes: tuple[str, ...]
    resize: int  # side of the square that is cut out of a picture, in pixels
    crop: int  # side of what the net sees
    mean: Tensor  # subtracted: (3, crop, crop), or (3, 1, 1), of pixels from 0 to 1
    std: Tensor  # divided by: (3, 1, 1)

    def standardise(self, views: Tensor) -> Tensor:
        """What the net takes, float32 (N, 3, crop, crop), of views in uint8."""
        return (views / 255 - self.mean) / self.std

    def name_of(self, label: int) -> str:
        """The class of that index, in words."""
        return (self.classes or torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])[label]

    def to(self, device: torch.device | str) -> "Trained":
        """All of it on a device. A net in two columns stays where it is."""
        model = self.model if isinstance(self.model, TwoGPUAlexNet) else self.model.to(device)
        return Trained(model, self.classes, self.resize, self.crop, self.mean.to(device), self.std.to(device))

    @torch.no_grad()
    def probabilities(self, squares: Tensor, ten: bool = False) -> Tensor:
        """Softmax of the centre crop, or its mean over the ten crops of section 4.1.

        Args:
            squares: uint8 (N, 3, resize, resize), on the device of the mean.

        Returns:
            (N, classes), in evaluation mode whatever mode the net is in.
        """
        views = ten_crop(squares, self.crop) if ten else center_crop(squares, [self.crop, self.crop])[:, None]
        x = self.standardise(views.flatten(0, 1))  # (N · views, 3, crop, crop)
        training = self.model.training
        logits = self.model.eval()(x).float()
        self.model.train(training)
        return logits.softmax(1).unflatten(0, (len(squares), -1)).mean(1)


def hits(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How many are right, and how many are among the five most probable: int64 (2,). Of fewer than five classes all are."""
    ranked = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices == labels[:, None]  # (N, 5)
    return torch.stack([ranked[:, 0].sum(), ranked.sum()])


def evaluate(trained: Trained, folder: Folder, ten: bool = False, device: torch.device | str = "cpu", workers: int = 2, batch: int = 64) -> dict:
    """Accuracy on a folder of class folders.

    Returns:
        ``top1`` and ``top5``, shares from 0 to 1, of so many ``images``; ``skipped``, those that could not be decoded.

    Raises:
        ValueError: if the folder has classes that the net does not know, or no picture can be decoded.
    """
    labels = _labels_of(trained, folder)
    trained = trained.to(device)
    squares = Squares(folder, trained.resize, workers, share=0.0)
    found, images = torch.zeros(2, dtype=torch.int64), 0
    with tqdm(total=len(labels), unit=" images", desc="evaluating", disable=None) as bar:
        for indices, some in squares.batches(torch.arange(len(labels)).split(batch)):
            if len(indices):
                found += hits(trained.probabilities(some.to(device), ten).cpu(), labels[indices])
            images += len(indices)
            bar.update(len(indices))
    for i, reason in sorted(squares.broken.items()):
        print(f"skipped: {folder.paths[i]} ({reason})", file=sys.stderr)
    if not images:
        raise ValueError(f"{folder.root}: none of the {len(labels)} pictures can be decoded")
    return {"top1": found[0].item() / images, "top5": found[1].item() / images, "images": images, "skipped": len(squares.broken)}


def top5(trained: Trained, path: str | Path, ten: bool = False) -> list[tuple[str, float]]:
    """The five most probable classes of the picture in a file, or as many as there are, and their probabilities.

    Raises:
        OSError: if the file cannot be read as a picture.
    """
    try:
        image = square(decode(path), trained.resize)
    except OSError as problem:
        raise OSError(f"{path} cannot be read as a picture ({problem.strerror or problem}): name a JPEG or PNG file") from problem
    probabilities = trained.probabilities(image[None].to(trained.mean.device), ten)[0].cpu()
    best = probabilities.topk(min(5, len(probabilities)))
    return [(trained.name_of(i), value) for value, i in zip(best.values.tolist(), best.indices.tolist())]


def _labels_of(trained: Trained, folder: Folder) -> Tensor:
    """The folder's labels, as the net numbers its classes: by name, or, where torchvision's names are words, by order."""
    if trained.classes == folder.classes or not trained.classes:
        return folder.labels
    unknown = [name for name in folder.classes if name not in trained.classes]
    if unknown:
        raise ValueError(
            f"{folder.root} has classes that the net was not trained on, such as {unknown[0]!r}; it knows {', '.join(trained.classes[:5])}"
            f"{', ...' if len(trained.classes) > 5 else ''}"
        )
    return torch.tensor([trained.classes.index(name) for name in folder.classes])[folder.labels]


def load(weights: str | Path) -> Trained:
    """A trained net: ``"small"``, ``"torchvision"``, a checkpoint of alexnet.train, or its ``model.safetensors``.

    Raises:
        FileNotFoundError: if there is no such file, or torchvision cannot download.
        ValueError: if the file is something else, or damaged.
    """
    if str(weights) == "torchvision":
        return _torchvision()
    path = SMALL if str(weights) == "small" else Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: name a checkpoint.pt or a model.safetensors of alexnet.train, small, or torchvision")
    what = checkpoint.read_weights(path) if path.suffix.lower() == ".safetensors" else checkpoint.read(path)
    try:
        trained = _from_weights(*what) if isinstance(what, tuple) else _from_checkpoint(what)
        if trained.crop > trained.resize:  # center_crop would fill up with black
            raise ValueError(f"a crop of {trained.crop} out of {trained.resize}")
        trained.probabilities(torch.zeros(1, 3, trained.resize, trained.resize, dtype=torch.uint8))  # or it would fail at the first picture
        return trained
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:  # of whatever else it holds
        raise ValueError(f"{path} is refused: its weights and what it says of them do not belong together") from problem


def _from_weights(tensors: dict[str, Tensor], card: dict) -> Trained:
    mean, std = tensors.pop("mean"), tensors.pop("std")
    model = AlexNet(len(card["classes"]), card["variant"])
    model.load_state_dict(tensors)
    return Trained(model, tuple(card["classes"]), card["resize"], card["crop"], mean, std)


def _from_checkpoint(state: dict) -> Trained:
    options, classes = state["options"], tuple(state["classes"])
    model = AlexNet(len(classes), options["variant"])
    model = TwoGPUAlexNet.from_alexnet(model, ("cpu", "cpu")) if options["two_gpu"] else model
    model.load_state_dict(state["model"])
    model = model.to_alexnet() if options["two_gpu"] else model
    return Trained(model, classes, options["resize"], options["crop"], state["mean"], state["std"])


def _torchvision() -> Trained:
    weights = torchvision.models.AlexNet_Weights.IMAGENET1K_V1
    try:
        model = torchvision.models.alexnet(weights=weights)
    except Exception as problem:  # as many kinds as in checkpoint.read
        path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[1]
        if path.is_file():
            raise ValueError(f"{path} is cut off, damaged, or not torchvision's ({type(problem).__name__}): delete it, and it is downloaded again") from problem
        raise FileNotFoundError(f"torchvision's weights are not here and cannot be downloaded ({problem}): connect this machine") from problem
    transform = weights.transforms()
    mean, std = (torch.tensor(value)[:, None, None] for value in (transform.mean, transform.std))
    return Trained(model, (), transform.resize_size[0], transform.crop_size[0], mean, std)


def usable(device: str) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: if this machine has none.
    """
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as problem:
        raise ValueError(f"--device {device} cannot be used here, take --device cpu: {str(problem).splitlines()[0][:200]}") from problem
    if found.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"--device {device} cannot be used here, take --device cpu: nothing is computed on it")
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alexnet.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="small", help="checkpoint.pt or model.safetensors of alexnet.train, small, or torchvision (%(default)s)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="folder with a folder of pictures for each class")
    what.add_argument("--image", type=Path, help="one picture: what is it?")
    parser.add_argument("--ten-crop", action="store_true", help="mean of the softmax over ten views, as in the paper")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads that decode (%(default)s)")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers is 1 or more, not {options.workers}")
    try:
        usable(options.device)
        if options.image:
            for name, probability in top5(load(options.weights).to(options.device), options.image, options.ten_crop):
                print(f"{probability:6.1%} {name}")
            return
        trained, folder = load(options.weights), image_folder(options.data)
        if not trained.classes and len(folder.classes) != 1000:
            raise ValueError(f"{folder.root} has {len(folder.classes)} classes: torchvision's weights know ImageNet's 1000, in the order of their folders")
        found = evaluate(trained, folder, options.ten_crop, options.device, options.workers)
    except (OSError, ValueError) as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("stopped before the end")
    views = "ten crops" if options.ten_crop else "centre crop"
    print(f"{found['images']:,} images, {views}: top-1 {found['top1']:.2%}, top-5 {found['top5']:.2%}")
    print(json.dumps({name: found[name] for name in ("top1", "top5", "images")}))


if __name__ == "__main__":
    main()
