"""Data augmentation (paper, section 4.1): crops, mirror images, PCA colour for training, and ten crops for the test.

The modules work like those of :mod:`torchvision.transforms.v2`, with one difference: of a batch every image has its own
window, mirror image and colour. They take uint8 images, 0 to 255, or floating-point ones, 0 to 1.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from alexnet.memory import empty

RULES = ("paper", "code")


def crop_flip(images: Tensor, top: Tensor, left: Tensor, flip: Tensor, size: int, out: Tensor | None = None) -> Tensor:
    """Cut a window out of every image of a batch, and mirror some of them.

    Args:
        images: (N, C, H, W), uint8 or floating point.
        top, left: (N,) integers, the window's upper left corner in pixels.
        flip: (N,) bool, whether the window is mirrored left to right.
        size: height and width of the window in pixels.
        out: where to put the result, of shape (N, C, size, size); values are converted to its type, unscaled.

    Returns:
        (N, C, size, size), of the images' type, or ``out``.
    """
    if images.device.type == "cpu":  # window by window: rows of memory, no index for every pixel
        out = images.new_empty(*images.shape[:2], size, size) if out is None else out
        for image, into, y, x, mirrored in zip(images, out, top.tolist(), left.tolist(), flip.tolist()):
            window = image[:, y : y + size, x : x + size]
            into.copy_(window.flip(-1) if mirrored else window)
        return out
    place = torch.arange(size, device=images.device)
    rows = top[:, None] + place  # (N, size)
    columns = left[:, None] + torch.where(flip[:, None], size - 1 - place, place)
    n, c = (torch.arange(length, device=images.device) for length in images.shape[:2])
    windows = images[n[:, None, None, None], c[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
    return windows if out is None else out.copy_(windows)


class RandomCropFlip(nn.Module):
    """A random window of every image, every other one mirrored.

    Args:
        size: height and width of the window in pixels.
        generator: source of the random numbers, on the images' device; without one, torch's global one.

    Shape: (..., C, H, W), uint8 or floating point; the result is (..., C, size, size), of the same type. All windows that
    fit are equally likely, (H - size + 1) · (W - size + 1) of them.

    Raises:
        TypeError: for another type than uint8 and floating point.
        ValueError: for fewer than three dimensions, or images smaller than the window.
    """

    def __init__(self, size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a window has a pixel or more a side, not {size}")
        self.size, self.generator = size, generator

    def forward(self, images: Tensor) -> Tensor:
        _check(images, self.size)
        batch = images.reshape(-1, *images.shape[-3:])  # (N, C, H, W)
        windows = crop_flip(batch, *self.make_params(batch), self.size)
        return windows.reshape(*images.shape[:-2], self.size, self.size)

    def make_params(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The top, the left and the flip of every image of a batch, each (N,), on its device."""
        where = {"device": batch.device, "generator": self.generator}
        top, left = (torch.randint(length - self.size + 1, batch.shape[:1], **where) for length in batch.shape[-2:])
        return top, left, torch.rand(batch.shape[:1], **where) < 0.5

    def extra_repr(self) -> str:
        return f"size={self.size}"


class PCAColor(nn.Module):
    """Add one random colour to all pixels of an image, along the principal components of the training set's colours.

    Args:
        eigenvectors: (3, 3), a principal component a column.
        eigenvalues: (3,), the variances along them, of pixels from 0 to 1.
        std: standard deviation of the α1, α2, α3 that are drawn for every image and use.
        rule: "paper" adds Σ αᵢ·λᵢ·pᵢ with the eigenvalues λᵢ (section 4.1). "code" adds Σ αᵢ·√λᵢ·pᵢ, with the standard
            deviations, and divides the image by 1.1 (``convdata.py``, 2012, where the mean image had been subtracted).
        generator: source of the random numbers, on the images' device; without one, torch's global one.

    Variances depend on the unit of the pixels, standard deviations scale with it: the paper's rule is sensible for
    pixels from 0 to 1 only, and is applied in that unit to uint8 images as well.

    Shape: (..., 3, H, W), uint8 or floating point, and the same out. uint8 is rounded, and cut at 0 and 255; floating
    point is not cut. A checkpoint holds the components, the
    rule and the spread.

    Raises:
        TypeError: for another type than uint8 and floating point.
        ValueError: for images without three channels, for components of another shape, or an unknown rule.
    """

    def __init__(
        self, eigenvectors: Tensor, eigenvalues: Tensor, std: float = 0.1, rule: str = "paper", generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if tuple(eigenvectors.shape) != (3, 3) or tuple(eigenvalues.shape) != (3,):
            raise ValueError(f"three components have shapes (3, 3) and (3,), not {tuple(eigenvectors.shape)} and {tuple(eigenvalues.shape)}")
        if rule not in RULES:
            raise ValueError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
        self.std, self.rule, self.generator = std, rule, generator
        self.register_buffer("eigenvectors", eigenvectors.float())
        self.register_buffer("eigenvalues", eigenvalues.float())

    @classmethod
    def fit(cls, images: Tensor | Iterable, std: float = 0.1, rule: str = "paper", generator: torch.Generator | None = None) -> "PCAColor":
        """The components of a set of images, in one pass and in the memory of one batch.

        Args:
            images: a tensor (..., 3, H, W), or an iterable of such tensors or of (tensor, labels), as a data loader is.

        Raises:
            ValueError: if there are no two pixels, or pixels above 1 in floating point.
        """
        count, total, products = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
        for batch in images.split(256) if isinstance(images, Tensor) else images:
            batch = batch if isinstance(batch, Tensor) else batch[0]
            _check(batch, 1, channels=3)
            pixels = batch.to(torch.float64).movedim(-3, 0).reshape(3, -1)  # (3, pixels)
            pixels = pixels / 255 if batch.dtype == torch.uint8 else pixels
            if pixels.max() > 1:
                raise ValueError(f"pixels in floating point go from 0 to 1, and here is a {pixels.max():.3g}: divide them by 255")
            count += pixels.shape[1]
            total += pixels.sum(1).cpu()
            products += (pixels @ pixels.T).cpu()
        if count < 2:
            raise ValueError("the components need two pixels or more")
        covariance = (products - torch.outer(total, total) / count) / (count - 1)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)  # ascending
        largest = eigenvectors.gather(0, eigenvectors.abs().argmax(0, keepdim=True))  # a sign is arbitrary: let it be positive
        return cls((eigenvectors * largest.sign()).flip(1), eigenvalues.flip(0).clamp(min=0), std, rule, generator)

    def forward(self, images: Tensor) -> Tensor:
        _check(images, 1, channels=3)
        colour = self.sample(images[..., 0, 0, 0].numel(), images.device).reshape(*images.shape[:-2], 1, 1)
        if images.dtype == torch.uint8:
            return ((images + 255 * colour) / self.divisor).round().clamp(0, 255).to(torch.uint8)
        return (images + colour.to(images.dtype)) / self.divisor

    @property
    def divisor(self) -> float:
        """What the image is divided by in the end."""
        return 1.1 if self.rule == "code" else 1.0

    def sample(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """Draw what is added to each of ``n`` images: (n, 3), of pixels from 0 to 1."""
        alpha = torch.randn(n, 3, device=device, generator=self.generator) * self.std
        return self.color_offset(alpha)

    def color_offset(self, alpha: Tensor) -> Tensor:
        """The colour (..., 3) that α1, α2, α3 (..., 3) give."""
        sizes = self.eigenvalues if self.rule == "paper" else self.eigenvalues.sqrt()
        parts = (alpha * sizes.to(alpha.device))[..., None, :] * self.eigenvectors.to(alpha.device)  # (..., 3, component)
        return parts.sum(-1)  # no matrix product, which autocast would round

    def get_extra_state(self) -> dict:
        return {"std": self.std, "rule": self.rule}

    def set_extra_state(self, state: dict) -> None:
        self.std, self.rule = state["std"], state["rule"]

    def extra_repr(self) -> str:
        return f"std={self.std}, rule={self.rule!r}"


class TrainAugment(nn.Module):
    """Crop, mirror, PCA colour and normalisation of a uint8 batch in one go: what a net is trained on.

    The result is (window - mean + colour) / std, in float32, pixels counting from 0 to 1; under PCAColor's rule "code" it is
    divided by 1.1 as well. It equals :class:`RandomCropFlip`, a conversion, a subtraction, :class:`PCAColor` and a division,
    one after the other.

    Args:
        size: height and width of the window in pixels.
        mean: of the training set: a figure a channel, or an image (C, size, size).
        std: a figure a channel.
        pca: the colours, or none.
        generator: source of the random numbers for windows, on the images' device; without one, torch's global one.

    Shape: (N, C, H, W) uint8 in; (N, C, size, size) float32 out, in ``out`` where that is given.

    Raises:
        TypeError: for images that are not uint8.
        ValueError: for images smaller than the window or without a batch dimension, an ``out`` of another shape or type,
            a mean or a std that does not fit the channels, or a std of zero.
    """

    def __init__(
        self, size: int, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor, pca: PCAColor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.crop, self.pca = RandomCropFlip(size, generator), pca
        mean, std = (torch.as_tensor(value, dtype=torch.float32) for value in (mean, std))
        if std.ndim != 1 or mean.shape not in (std.shape, (len(std), size, size)):
            raise ValueError(
                f"std is a figure a channel, and mean one a channel or an image (C, {size}, {size}), not {tuple(std.shape)} and {tuple(mean.shape)}"
            )
        if (std <= 0).any():
            raise ValueError(f"std divides, so it is above zero in every channel, not {std.tolist()}")
        self.register_buffer("mean", mean[:, None, None] if mean.ndim == 1 else mean)  # (C, 1, 1) or (C, size, size)
        self.register_buffer("std", std[:, None, None])  # (C, 1, 1)

    def forward(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        _check(images, self.crop.size)
        window = self.crop.make_params(images) if images.ndim == 4 else ()
        colour = self.pca.sample(len(images), images.device) if self.pca else None
        return self.transform(images, window, colour, out)

    def transform(self, images: Tensor, window: tuple[Tensor, ...], colour: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """The same with draws that are made already.

        Args:
            window: the top, the left and the flip of every image, (N,) each, as :meth:`RandomCropFlip.draw` gives them.
            colour: (N, 3), as :meth:`PCAColor.colour` gives it, or none.
        """
        size = self.crop.size
        _check(images, size)
        shape = (*images.shape[:2], size, size)
        if images.dtype != torch.uint8:
            raise TypeError(f"TrainAugment takes uint8 images, 0 to 255, not {images.dtype}")
        if images.ndim != 4:
            raise ValueError(f"TrainAugment takes a batch, (N, C, H, W), not {tuple(images.shape)}")
        if images.shape[1] != len(self.std):
            raise ValueError(f"images of {images.shape[1]} channels need as many means and stds, not {len(self.std)}")
        if out is None:
            out = empty(shape, images.device)
        elif tuple(out.shape) != shape or out.dtype != torch.float32 or out.device != images.device:
            raise ValueError(f"out is float32 {shape} on {images.device}, not {out.dtype} {tuple(out.shape)} on {out.device}")
        divisor = self.std.to(images.device) * (self.pca.divisor if self.pca else 1.0)
        scale, offset = 1 / (255 * divisor), -self.mean.to(images.device) / divisor
        if colour is not None:
            offset = offset + colour[:, :, None, None] / divisor  # (N, C, 1, 1)
        return crop_flip(images, *window, size, out).mul_(scale).add_(offset)


def ten_crop(images: Tensor, size: int) -> Tensor:
    """The ten views of the test (section 4.1): upper left, upper right, lower left, lower right and centre of the image,
    then the same five of its mirror image.

    Args:
        images: (..., C, H, W), uint8 or floating point.
        size: height and width of a view in pixels.

    Returns:
        (..., 10, C, size, size), of the images' type.

    Raises:
        TypeError, ValueError: as :class:`RandomCropFlip`.
    """
    _check(images, size)
    return torch.stack(F.ten_crop(images, [size, size]), dim=-4)


def _check(images: Tensor, size: int, channels: int | None = None) -> None:
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images are uint8, 0 to 255, or floating point, 0 to 1, not {images.dtype}")
    if images.ndim < 3:
        raise ValueError(f"images have shape (..., C, H, W), three dimensions or more, not {tuple(images.shape)}")
    if channels and images.shape[-3] != channels:
        raise ValueError(f"the colours are those of images of {channels} channels, not {images.shape[-3]}")
    if min(images.shape[-2:]) < size:
        raise ValueError(f"a window of {size}×{size} does not fit into an image of {images.shape[-2]}×{images.shape[-1]}: enlarge it, or take less")
