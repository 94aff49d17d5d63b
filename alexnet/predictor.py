"""A trained net with its preprocessing: from images to the probabilities of classes."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from alexnet import checkpoint
from alexnet.augment import ten_crop as make_ten_crops
from alexnet.loader import MAX_SIDE, canonical_name
from alexnet.model import AlexNet
from alexnet.quantize import dequantize_all
from alexnet.two_gpu import TwoGPUAlexNet

_WEIGHTS = Path(__file__).parent / "weights"
SMALL = _WEIGHTS / "small.safetensors"
TINY_IMAGENET = _WEIGHTS / "tiny-imagenet.safetensors"
SHIPPED = {"small": SMALL, "tiny-imagenet": TINY_IMAGENET}  # with the package


@dataclass
class Predictor:
    """A net, its classes, and the preprocessing that it was trained with.

    Attributes:
        model: takes float32 (N, 3, crop, crop), returns logits (N, classes).
        classes: their names; empty for torchvision's weights, which have ImageNet's.
        resize: height and width in pixels of the square that is kept of an image.
        crop: height and width in pixels of what the net sees of it.
        mean: subtracted from pixels of 0 to 1, (3, crop, crop) or (3, 1, 1).
        std: then divided by, (3, 1, 1).
        words: what each class is called in English, if its name is an id; else empty.
    """

    model: nn.Module
    classes: tuple[str, ...]
    resize: int
    crop: int
    mean: Tensor
    std: Tensor
    words: tuple[str, ...] = ()

    def normalize(self, views: Tensor) -> Tensor:
        """Turn views, uint8 (N, 3, crop, crop), into the float32 input of the net."""
        return (views / 255 - self.mean) / self.std

    def class_name(self, label: int) -> str:
        """What the class with that index is called."""
        imagenet = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"]
        return (self.words or self.classes or imagenet)[label]

    def to(self, device: torch.device | str) -> "Predictor":
        """The same on another device; only a net in two columns stays where it is."""
        two_gpu = isinstance(self.model, TwoGPUAlexNet)
        model = self.model if two_gpu else self.model.to(device)
        mean, std = self.mean.to(device), self.std.to(device)
        return Predictor(model, self.classes, self.resize, self.crop, mean, std, self.words)

    @torch.no_grad()
    def probabilities(self, images: Tensor, ten_crop: bool = False) -> Tensor:
        """Softmax of the center crop, or its mean over the ten crops of section 4.1.

        The net is in evaluation mode meanwhile, and then again in the mode that it was in.

        Args:
            images: uint8 (N, 3, resize, resize), 0 to 255, on the device of the mean.
            ten_crop: whether to average over ten crops.

        Returns:
            float32 (N, classes), each row with sum 1.
        """
        if ten_crop:
            views = make_ten_crops(images, self.crop)  # (N, 10, 3, crop, crop)
        else:
            views = TF.center_crop(images, [self.crop, self.crop])[:, None]  # (N, 1, ...)
        x = self.normalize(views.flatten(0, 1))  # (N · views, 3, crop, crop)
        training = self.model.training
        logits = self.model.eval()(x).float()
        self.model.train(training)
        by_view = logits.softmax(1).unflatten(0, (len(images), -1))  # (N, views, classes)
        return by_view.mean(1)


def topk_correct(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Count the images whose label is the most probable class, and is among the first five.

    With five classes or fewer, top-5 is always correct.

    Args:
        probabilities: (N, classes).
        labels: int64 (N,).

    Returns:
        int64 (2,): top-1 and top-5.
    """
    k = min(5, probabilities.shape[1])
    correct = probabilities.topk(k, dim=1).indices == labels[:, None]  # (N, k)
    return torch.stack([correct[:, 0].sum(), correct.sum()])


def load(weights: str | Path) -> Predictor:
    """Load a trained net, on the CPU.

    Args:
        weights: ``"tiny-imagenet"``, the net that ships with the package and knows two hundred
            classes of ImageNet in 64×64 pixels; ``"small"``, which knows the ten of CIFAR-10 in
            32×32; ``"torchvision"``, its AlexNet, which it downloads; or the path of a checkpoint
            or a ``model.safetensors`` of :mod:`alexnet.train`.

    Raises:
        FileNotFoundError: if there is no such file, or the download fails.
        ValueError: if the file is something else, or damaged.
    """
    if str(weights) == "torchvision":
        return _from_torchvision()
    path = SHIPPED.get(str(weights), Path(weights))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file: name a checkpoint.pt or a model.safetensors of alexnet.train, "
            f"{', '.join(SHIPPED)}, or torchvision"
        )
    is_weights = path.suffix.lower() == ".safetensors"
    content = checkpoint.load_weights(path) if is_weights else checkpoint.load(path)
    try:
        predictor = _from_weights(*content) if is_weights else _from_checkpoint(content)
        _check(predictor)
    except Exception as error:  # as many types as there are odd values in the place of these
        raise ValueError(
            f"{path} is refused: its weights do not fit the variant, classes, resize, crop, mean "
            "and std that it names"
        ) from error
    return predictor


def _check(predictor: Predictor) -> None:
    """Fail now rather than at the first image."""
    crop, resize = predictor.crop, predictor.resize
    if not 1 <= crop <= resize <= MAX_SIDE:  # center_crop would pad with black
        raise ValueError(f"crop must be <= resize and <= {MAX_SIDE}, got {crop} and {resize}")
    # Another size would be broadcast to a view, or a view to it
    if predictor.mean.shape not in ((3, 1, 1), (3, crop, crop)):
        raise ValueError(f"mean must be of {crop}×{crop} pixels, got {predictor.mean.shape}")
    if len(predictor.words) not in (0, len(predictor.classes)):
        raise ValueError(f"words must be one a class, got {len(predictor.words)}")
    if predictor.std.shape != (3, 1, 1):
        raise ValueError(f"std must be of three channels, got {predictor.std.shape}")
    predictor.probabilities(torch.zeros(1, 3, resize, resize, dtype=torch.uint8))


def _from_weights(tensors: dict[str, Tensor], metadata: dict) -> Predictor:
    mean, std = tensors.pop("mean"), tensors.pop("std")
    classes = _canonical_names(metadata["classes"])
    words = tuple(metadata.get("words", ()))  # 0.1.0 wrote none
    model = AlexNet(len(classes), metadata["variant"])
    model.load_state_dict(dequantize_all(tensors))
    return Predictor(model, classes, metadata["resize"], metadata["crop"], mean, std, words)


def _from_checkpoint(state: dict) -> Predictor:
    config, classes = state["config"], _canonical_names(state["classes"])
    model = AlexNet(len(classes), config["variant"])
    if config["two_gpu"]:
        two_gpu = TwoGPUAlexNet.from_alexnet(model, ("cpu", "cpu"))
        two_gpu.load_state_dict(state["model"])
        model = two_gpu.to_alexnet()
    else:
        model.load_state_dict(state["model"])
    mean, std, words = state["mean"], state["std"], tuple(state.get("words", ()))
    return Predictor(model, classes, config["resize"], config["crop"], mean, std, words)


def _canonical_names(names: list[str]) -> tuple[str, ...]:
    """The classes in a file; until version 0.1.0 they were written as the folders were called."""
    return tuple(canonical_name(name) for name in names)


def _from_torchvision() -> Predictor:
    weights = torchvision.models.AlexNet_Weights.IMAGENET1K_V1
    try:
        model = torchvision.models.alexnet(weights=weights)
    except Exception as error:  # as many types as in checkpoint.load
        path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[1]
        if path.is_file():
            raise ValueError(
                f"{path} is cut off, damaged, or not torchvision's ({type(error).__name__}): "
                "delete it, and it is downloaded again"
            ) from error
        raise FileNotFoundError(
            f"torchvision's weights are not here and cannot be downloaded ({error}): "
            "connect this machine"
        ) from error
    transform = weights.transforms()
    mean, std = torch.tensor(transform.mean), torch.tensor(transform.std)  # (3,)
    resize, crop = transform.resize_size[0], transform.crop_size[0]
    return Predictor(model, (), resize, crop, mean[:, None, None], std[:, None, None])
