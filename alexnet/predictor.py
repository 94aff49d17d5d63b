"""A trained net with its preprocessing."""


from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop

from alexnet import checkpoint
from alexnet.augment import ten_crop
from alexnet.model import AlexNet
from alexnet.two_gpu import TwoGPUAlexNet



SMALL = Path(__file__).parent / "weights" / "small.safetensors"


@dataclass
class Predictor:
    """A net, and what was done to the pictures that it learned from."""

    model: nn.Module
    classes: tuple[str, ...]
    resize: int  # side of the square that is cut out of a picture, in pixels
    crop: int  # side of what the net sees
    mean: Tensor  # subtracted: (3, crop, crop), or (3, 1, 1), of pixels from 0 to 1
    std: Tensor  # divided by: (3, 1, 1)

    def normalize(self, views: Tensor) -> Tensor:
        """What the net takes, float32 (N, 3, crop, crop), of views in uint8."""
        return (views / 255 - self.mean) / self.std

    def class_name(self, label: int) -> str:
        """The class of that index, in words."""
        return (self.classes or torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])[label]

    def to(self, device: torch.device | str) -> "Predictor":
        """All of it on a device. A net in two columns stays where it is."""
        model = self.model if isinstance(self.model, TwoGPUAlexNet) else self.model.to(device)
        return Predictor(model, self.classes, self.resize, self.crop, self.mean.to(device), self.std.to(device))

    @torch.no_grad()
    def probabilities(self, squares: Tensor, ten: bool = False) -> Tensor:
        """Softmax of the centre crop, or its mean over the ten crops of section 4.1.

        Args:
            squares: uint8 (N, 3, resize, resize), on the device of the mean.

        Returns:
            (N, classes), in evaluation mode whatever mode the net is in.
        """
        views = ten_crop(squares, self.crop) if ten else center_crop(squares, [self.crop, self.crop])[:, None]
        x = self.normalize(views.flatten(0, 1))  # (N · views, 3, crop, crop)
        training = self.model.training
        logits = self.model.eval()(x).float()
        self.model.train(training)
        return logits.softmax(1).unflatten(0, (len(squares), -1)).mean(1)


def topk_correct(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How many are right, and how many are among the five most probable: int64 (2,). Of fewer than five classes all are."""
    ranked = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices == labels[:, None]  # (N, 5)
    return torch.stack([ranked[:, 0].sum(), ranked.sum()])


def load(weights: str | Path) -> Predictor:
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
    what = checkpoint.load_weights(path) if path.suffix.lower() == ".safetensors" else checkpoint.load(path)
    try:
        trained = _from_weights(*what) if isinstance(what, tuple) else _from_checkpoint(what)
        if trained.crop > trained.resize:  # center_crop would fill up with black
            raise ValueError(f"a crop of {trained.crop} out of {trained.resize}")
        trained.probabilities(torch.zeros(1, 3, trained.resize, trained.resize, dtype=torch.uint8))  # or it would fail at the first picture
        return trained
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:  # of whatever else it holds
        raise ValueError(f"{path} is refused: its weights and what it says of them do not belong together") from problem


def _from_weights(tensors: dict[str, Tensor], card: dict) -> Predictor:
    mean, std = tensors.pop("mean"), tensors.pop("std")
    model = AlexNet(len(card["classes"]), card["variant"])
    model.load_state_dict(tensors)
    return Predictor(model, tuple(card["classes"]), card["resize"], card["crop"], mean, std)


def _from_checkpoint(state: dict) -> Predictor:
    options, classes = state["options"], tuple(state["classes"])
    model = AlexNet(len(classes), options["variant"])
    model = TwoGPUAlexNet.from_alexnet(model, ("cpu", "cpu")) if options["two_gpu"] else model
    model.load_state_dict(state["model"])
    model = model.to_alexnet() if options["two_gpu"] else model
    return Predictor(model, classes, options["resize"], options["crop"], state["mean"], state["std"])


def _torchvision() -> Predictor:
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
    return Predictor(model, (), transform.resize_size[0], transform.crop_size[0], mean, std)
