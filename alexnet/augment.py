"""Data augmentation (paper, section 4.1): random crops and flips, PCA color, and ten crops.

The first three are for training, ten crops are for testing. The modules work like those of
:mod:`torchvision.transforms.v2`, except that every image of a batch gets its own crop, flip and
color. They take uint8 images, 0 to 255, or floating-point images, 0 to 1.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from alexnet.memory import empty

RULES = ("paper", "code")


def crop_flip(
    images: Tensor, top: Tensor, left: Tensor, flip: Tensor, size: int, out: Tensor | None = None
) -> Tensor:
    """Cut a square window out of every image of a batch, and flip some of the windows.

    Args:
        images: (N, C, H, W), uint8 or floating point.
        top: (N,) integers, the first row of each window.
        left: (N,) integers, the first column of each window.
        flip: (N,) bool, whether the window is mirrored left to right.
        size: height and width of the windows in pixels.
        out: (N, C, size, size), tensor for the result. Values are converted to its dtype, but not
            scaled.

    Returns:
        (N, C, size, size), of the images' dtype, or ``out``.
    """
    batch_size, channels = images.shape[:2]
    if images.device.type == "cpu":
        # Copy window by window. That moves whole rows of memory and needs no index for each pixel.
        if out is None:
            out = images.new_empty(batch_size, channels, size, size)
        targets = out
        if images.requires_grad:  # autograd cannot write into the views that iterating gives
            targets = (out[n] for n in range(batch_size))  # one at a time, before each write
        each = zip(images, targets, top.tolist(), left.tolist(), flip.tolist())
        for image, target, y, x, flipped in each:
            window = image[:, y : y + size, x : x + size]  # (C, size, size)
            target.copy_(window.flip(-1) if flipped else window)
        return out

    # On a GPU one indexing operation for the whole batch, without a loop over the images
    offset = torch.arange(size, device=images.device)
    rows = top[:, None] + offset  # (N, size)
    columns = left[:, None] + torch.where(flip[:, None], size - 1 - offset, offset)  # (N, size)
    n = torch.arange(batch_size, device=images.device)
    c = torch.arange(channels, device=images.device)
    windows = images[
        n[:, None, None, None], c[:, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]  # (N, C, size, size)
    return windows if out is None else out.copy_(windows)


class RandomCropFlip(nn.Module):
    """Crop each image at a random position, and flip it with probability 1/2.

    All (H - size + 1) · (W - size + 1) positions are equally likely.

    Args:
        size: height and width of the crop in pixels, at least 1.
        generator: random number generator on the images' device; PyTorch's global one by default.

    Shape:
        - Input: (..., C, H, W), uint8 or floating point.
        - Output: (..., C, size, size), of the same dtype.

    Raises:
        ValueError: if ``size`` is below 1.
    """

    def __init__(self, size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be >= 1, got {size}")
        self.size = size
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        """Crop and flip every image of a batch by itself.

        Args:
            images: (..., C, H, W), uint8 or floating point.

        Returns:
            (..., C, size, size), of the same dtype.

        Raises:
            TypeError: if the images are neither uint8 nor floating point.
            ValueError: if there are fewer than three dimensions, or the images are smaller than
                ``size``.
        """
        _check_images(images, self.size)
        batch = images.reshape(-1, *images.shape[-3:])  # (N, C, H, W)
        top, left, flip = self.make_params(batch)
        crops = crop_flip(batch, top, left, flip, self.size)  # (N, C, size, size)
        return crops.reshape(*images.shape[:-2], self.size, self.size)

    def make_params(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a crop and a flip for every image of a batch.

        Args:
            batch: (N, C, H, W).

        Returns:
            ``top``, ``left`` and ``flip`` as :func:`crop_flip` takes them, each (N,), on the device
            of the batch.
        """
        n, _, height, width = batch.shape
        kwargs = {"device": batch.device, "generator": self.generator}
        top = torch.randint(height - self.size + 1, (n,), **kwargs)
        left = torch.randint(width - self.size + 1, (n,), **kwargs)
        flip = torch.rand((n,), **kwargs) < 0.5
        return top, left, flip

    def extra_repr(self) -> str:
        """List the arguments for ``repr()``."""
        return f"size={self.size}"


class PCAColor(nn.Module):
    """Add one random color to all pixels of an image.

    The color lies along the principal components of the colors of the training set. Variances
    depend on the unit of the pixels, while standard deviations scale with it. So the paper's rule
    makes sense for pixels from 0 to 1 only; uint8 images are treated in that unit as well.

    The state dict has the components, the rule and ``std``.

    Args:
        eigenvectors: (3, 3), the principal components as columns.
        eigenvalues: (3,), the variances along them, of pixels from 0 to 1.
        std: standard deviation of α1, α2 and α3, which are drawn for each image and each use.
        rule: "paper" adds Σ αᵢ·λᵢ·pᵢ with the eigenvalues λᵢ (section 4.1). "code" adds
            Σ αᵢ·√λᵢ·pᵢ, with the standard deviations, and then divides the image by 1.1, as
            ``convdata.py`` of 2012 does after it has subtracted the mean image. (What that calls
            standard deviations is read from a file that was not published.)
        generator: random number generator on the images' device; PyTorch's global one by default.

    Shape:
        - Input: (..., 3, H, W), uint8 or floating point.
        - Output: the same shape and dtype. uint8 is rounded and clamped to 0 to 255; floating point
          is not clamped.

    Raises:
        ValueError: if the components do not have these shapes, or if the rule is unknown.
    """

    def __init__(
        self,
        eigenvectors: Tensor,
        eigenvalues: Tensor,
        std: float = 0.1,
        rule: str = "paper",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        vectors_shape = tuple(eigenvectors.shape)
        values_shape = tuple(eigenvalues.shape)
        if vectors_shape != (3, 3) or values_shape != (3,):
            raise ValueError(
                "eigenvectors and eigenvalues must have shapes (3, 3) and (3,), "
                f"got {vectors_shape} and {values_shape}"
            )
        if rule not in RULES:
            raise ValueError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
        self.std = std
        self.rule = rule
        self.generator = generator
        self.register_buffer("eigenvectors", eigenvectors.float())
        self.register_buffer("eigenvalues", eigenvalues.float())

    @classmethod
    def fit(
        cls,
        images: Tensor | Iterable,
        std: float = 0.1,
        rule: str = "paper",
        generator: torch.Generator | None = None,
    ) -> "PCAColor":
        """Compute the principal components of a set of images.

        One pass over the images, with the memory of one batch.

        Args:
            images: a tensor (..., 3, H, W), or an iterable of such tensors, or of tuples that begin
                with one, as a data loader yields them. uint8, or floating point from 0 to 1.
            std: as for :class:`PCAColor`.
            rule: as for :class:`PCAColor`.
            generator: as for :class:`PCAColor`.

        Returns:
            A :class:`PCAColor` with the largest component first. The largest entry of each
            eigenvector is positive.

        Raises:
            TypeError: if the images are neither uint8 nor floating point.
            ValueError: if there are fewer than two pixels, if images do not have three channels, or
                if floating-point pixels are not 0 to 1.
        """
        count = 0
        total = torch.zeros(3, dtype=torch.float64)
        products = torch.zeros(3, 3, dtype=torch.float64)
        batches = images.split(256) if isinstance(images, Tensor) else images
        for batch in batches:
            batch = batch if isinstance(batch, Tensor) else batch[0]  # without the labels
            pixels = _flatten_pixels(batch)  # (3, pixels)
            count += pixels.shape[1]
            total += pixels.sum(1).cpu()
            products += (pixels @ pixels.T).cpu()
        if count < 2:
            raise ValueError(f"images must have at least two pixels in all, got {count}")

        covariance = (products - torch.outer(total, total) / count) / (count - 1)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)  # ascending
        # The sign of an eigenvector is arbitrary: make its largest entry positive.
        largest = eigenvectors.gather(0, eigenvectors.abs().argmax(0, keepdim=True))  # (1, 3)
        eigenvectors = (eigenvectors * largest.sign()).flip(1)  # descending
        eigenvalues = eigenvalues.flip(0).clamp(min=0)  # rounding makes some slightly negative
        return cls(eigenvectors, eigenvalues, std, rule, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Add a random color to every image.

        Args:
            images: (..., 3, H, W), uint8 or floating point.

        Returns:
            (..., 3, H, W), of the same dtype.

        Raises:
            TypeError: if the images are neither uint8 nor floating point.
            ValueError: if there are fewer than three dimensions, or not three channels.
        """
        _check_images(images, 1, channels=3)
        n = images[..., 0, 0, 0].numel()
        color = self.sample(n, images.device)  # (N, 3)
        color = color.reshape(*images.shape[:-2], 1, 1)  # (..., 3, 1, 1)
        if images.dtype == torch.uint8:
            shifted = (images + 255 * color) / self.divisor
            return shifted.round().clamp(0, 255).to(torch.uint8)
        return (images + color.to(images.dtype)) / self.divisor

    @property
    def divisor(self) -> float:
        """What the image is divided by after the color is added: 1.1 under the rule "code"."""
        return 1.1 if self.rule == "code" else 1.0

    def sample(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """Draw the colors of ``n`` images.

        Args:
            n: number of images.
            device: device of the random number generator and of the result.

        Returns:
            (n, 3), what is added to each channel of each image, for pixels from 0 to 1.
        """
        alpha = torch.randn(n, 3, device=device, generator=self.generator) * self.std
        return self.color_offset(alpha)

    def color_offset(self, alpha: Tensor) -> Tensor:
        """Compute the colors for given α1, α2, α3.

        Args:
            alpha: (..., 3), the random numbers, already multiplied by ``std``.

        Returns:
            (..., 3), what is added to each channel, for pixels from 0 to 1.
        """
        scale = self.eigenvalues if self.rule == "paper" else self.eigenvalues.sqrt()
        scaled = (alpha * scale.to(alpha.device))[..., None, :]  # (..., 1, component)
        terms = scaled * self.eigenvectors.to(alpha.device)  # (..., channel, component)
        return terms.sum(-1)  # not as a matrix product, which autocast would round

    def get_extra_state(self) -> dict:
        """Return what the state dict holds besides the components."""
        return {"std": self.std, "rule": self.rule}

    def set_extra_state(self, state: dict) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.std = state["std"]
        self.rule = state["rule"]

    def extra_repr(self) -> str:
        """List the arguments for ``repr()``."""
        return f"std={self.std}, rule={self.rule!r}"


class TrainAugment(nn.Module):
    """Crop, flip, color and normalize a uint8 batch at once: the whole augmentation of training.

    The result is (crop - mean + color) / std for pixels from 0 to 1. Under PCAColor's rule "code"
    it is divided by 1.1 as well. It equals :class:`RandomCropFlip`, a conversion to float, the
    subtraction of the mean, :class:`PCAColor` and the division by std, one after the other, but
    goes through memory less often.

    Args:
        size: height and width of the crop in pixels.
        mean: mean of the training set, for pixels from 0 to 1: one number for each channel, or an
            image (C, size, size).
        std: standard deviation of the training set, one number > 0 for each channel.
        pca: the random color, or None for no color.
        generator: random number generator for crops and flips, on the images' device; PyTorch's
            global one by default.

    Shape:
        - Input: (N, C, H, W), uint8.
        - Output: (N, C, size, size), float32.

    Raises:
        ValueError: if the shapes of ``mean`` and ``std`` do not fit each other and ``size``, or if
            ``std`` is not > 0.
    """

    def __init__(
        self,
        size: int,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        pca: PCAColor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.crop = RandomCropFlip(size, generator)
        self.pca = pca
        mean = torch.as_tensor(mean, dtype=torch.float32)
        std = torch.as_tensor(std, dtype=torch.float32)
        if std.ndim != 1 or mean.shape not in (std.shape, (len(std), size, size)):
            raise ValueError(
                f"std must have shape (C,) and mean (C,) or (C, {size}, {size}), "
                f"got {tuple(std.shape)} and {tuple(mean.shape)}"
            )
        if (std <= 0).any():
            raise ValueError(f"std must be > 0 in every channel, got {std.tolist()}")
        if mean.ndim == 1:
            mean = mean[:, None, None]
        self.register_buffer("mean", mean)  # (C, 1, 1) or (C, size, size)
        self.register_buffer("std", std[:, None, None])  # (C, 1, 1)

    def forward(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        """Augment a batch with new random numbers.

        Args:
            images: (N, C, H, W), uint8.
            out: (N, C, size, size), float32, tensor for the result.

        Returns:
            (N, C, size, size), float32, or ``out``.

        Raises:
            TypeError: if the images are not uint8.
            ValueError: as :meth:`transform`.
        """
        self._check_batch(images)
        window = self.crop.make_params(images)
        color = None
        if self.pca is not None:
            color = self.pca.sample(len(images), images.device)  # (N, 3)
        return self.transform(images, window, color, out)

    def transform(
        self,
        images: Tensor,
        window: tuple[Tensor, Tensor, Tensor],
        color: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Apply the given crop, flip and color offset.

        Args:
            images: (N, C, H, W), uint8.
            window: top, left and flip of every image, (N,) each, as
                :meth:`RandomCropFlip.make_params` draws them.
            color: (N, C), as :meth:`PCAColor.sample` draws it, or None for no color.
            out: (N, C, size, size), float32, tensor for the result.

        Returns:
            (N, C, size, size), float32, or ``out``.

        Raises:
            TypeError: if the images are not uint8.
            ValueError: if the images are smaller than the crop, have no batch dimension or not as
                many channels as ``std``, or if ``out`` has another shape, dtype or device.
        """
        self._check_batch(images)
        size = self.crop.size
        shape = (*images.shape[:2], size, size)
        if out is None:
            out = empty(shape, images.device)
        elif tuple(out.shape) != shape or out.dtype != torch.float32 or out.device != images.device:
            raise ValueError(
                f"out must be float32 of shape {shape} on {images.device}, "
                f"got {out.dtype} of shape {tuple(out.shape)} on {out.device}"
            )
        # One multiplication and one addition for each pixel: (pixel / 255 - mean + color) / divisor
        divisor = self.std.to(images.device) * (self.pca.divisor if self.pca else 1.0)
        scale = 1 / (255 * divisor)  # (C, 1, 1)
        offset = -self.mean.to(images.device) / divisor  # (C, 1, 1) or (C, size, size)
        if color is not None:
            offset = (
                offset + color[:, :, None, None] / divisor
            )  # (N, C, 1, 1) or (N, C, size, size)
        top, left, flip = window
        return crop_flip(images, top, left, flip, size, out).mul_(scale).add_(offset)

    def _check_batch(self, images: Tensor) -> None:
        """Raise an error unless the images are a uint8 batch with as many channels as ``std``."""
        _check_images(images, self.crop.size)
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, 0 to 255, got {images.dtype}")
        if images.ndim != 4:
            raise ValueError(f"images must be a batch, (N, C, H, W), got {tuple(images.shape)}")
        channels = len(self.std)
        if images.shape[1] != channels:
            raise ValueError(
                f"images must have {channels} channels, as mean and std have, got {images.shape[1]}"
            )


def ten_crop(images: Tensor, size: int) -> Tensor:
    """Cut the ten crops of the test (section 4.1) out of images.

    Args:
        images: (..., C, H, W), uint8 or floating point.
        size: height and width of a crop in pixels.

    Returns:
        (..., 10, C, size, size), of the images' dtype: top left, top right, bottom left, bottom
        right and center, then the same five of the image flipped left to right.

    Raises:
        TypeError: if the images are neither uint8 nor floating point.
        ValueError: if there are fewer than three dimensions, or the images are smaller than
            ``size``.
    """
    _check_images(images, size)
    return torch.stack(TF.ten_crop(images, [size, size]), dim=-4)


def _flatten_pixels(images: Tensor) -> Tensor:
    """Turn RGB images (..., 3, H, W) into pixels (3, count), float64 from 0 to 1."""
    _check_images(images, 1, channels=3)
    pixels = images.to(torch.float64).movedim(-3, 0).reshape(3, -1)
    if images.dtype == torch.uint8:
        pixels = pixels / 255
    if pixels.numel() == 0:
        return pixels
    low, high = pixels.aminmax()
    if high > 1:
        raise ValueError(
            f"floating-point pixels must be 0 to 1, got {high:.3g}: divide them by 255"
        )
    if not low >= 0:  # or NaN
        raise ValueError(
            f"floating-point pixels must be 0 to 1, got {low:.3g}: take them before normalization"
        )
    return pixels


def _check_images(images: Tensor, size: int, channels: int | None = None) -> None:
    """Raise an error if images have the wrong dtype, shape or channels, or are below ``size``."""
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(
            f"images must be uint8, 0 to 255, or floating point, 0 to 1, got {images.dtype}"
        )
    if images.ndim < 3:
        raise ValueError(f"images must have shape (..., C, H, W), got {tuple(images.shape)}")
    if channels and images.shape[-3] != channels:
        raise ValueError(f"images must have {channels} channels, got {images.shape[-3]}")
    height, width = images.shape[-2:]
    if min(height, width) < size:
        raise ValueError(
            f"images must be at least {size}×{size} pixels, got {height}×{width}: "
            "enlarge them, or choose a smaller crop"
        )
