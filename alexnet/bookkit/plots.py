"""Matplotlib figures that more than one chapter draws, or that take more code than a cell has.

The style of all figures is next to this file: ``plt.style.use("alexnet.bookkit.book")``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from alexnet.loader import resize_center_crop
from alexnet.predictor import Predictor
from alexnet.visualize import activations, first_and_last_hidden, nearest_neighbors, occlusion


def plot_mean_and_band(
    ax: Axes, x: ArrayLike, values: ArrayLike, label: str | None = None, **line: object
) -> None:
    """Plot a curve over seeds: the mean as a line, in a band from the lowest to the highest seed.

    Args:
        ax: the axes to draw in.
        x: (points,), places on the horizontal axis.
        values: (seeds, points), one curve a row.
        label: name of the line in the legend.
        **line: color, linestyle and the like of the line, as :meth:`Axes.plot` takes them. The band
            has the line's color.
    """
    values = np.asarray(values)
    [mean] = ax.plot(x, values.mean(0), label=label, **line)
    ax.fill_between(x, values.min(0), values.max(0), color=mean.get_color(), alpha=0.25, lw=0)


def plot_seeds(
    ax: Axes, values: Mapping[str, Sequence[float]], colors: Sequence[str] | None = None
) -> None:
    """Plot numbers of several seeds, a row for each kind of net, the first on top.

    Args:
        ax: the axes to draw in. Its vertical axis gets the names.
        values: the numbers of each kind by its name: a dot for each, and a stroke at their mean.
        colors: color of each row; C0, C1 and so on if None.
    """
    for row, seeds in enumerate(values.values()):
        color = f"C{row}" if colors is None else colors[row]
        ax.plot(seeds, [row] * len(seeds), "o", color=color)
        ax.vlines(sum(seeds) / len(seeds), row - 0.3, row + 0.3, color=color)
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.4, -0.6)


def explain_prediction(predictor: Predictor, image: Tensor, others: Tensor) -> Figure:
    """Show what a trained net takes an image for, and why.

    Args:
        predictor: a trained net with its preprocessing, from :func:`alexnet.predictor.load`.
        image: uint8 (3, H, W), 0 to 255.
        others: uint8 (N, 3, H, W), four or more images to look for the nearest neighbors in.

    Returns:
        A figure in two rows. Above: the image; its five most probable classes; the probability of
        the first of them while a square of zeros hides a part of the image. Below: the four maps of
        the first layer with the largest mean, and the four nearest neighbors in the last hidden
        layer.
    """
    model, crop = predictor.model, predictor.crop
    squares = [resize_center_crop(each, predictor.resize) for each in (image, *others)]
    squares = torch.stack(squares)  # (1 + N, 3, resize, resize)
    crops = TF.center_crop(squares, [crop, crop]).to(predictor.mean.device)
    inputs = predictor.normalize(crops)  # (1 + N, 3, crop, crop)

    probabilities = predictor.probabilities(squares[:1].to(inputs.device))[0]  # (classes,)
    top = probabilities.topk(min(5, len(probabilities)))
    best = top.indices[0].item()
    step = max(1, crop // 16)
    occluded = occlusion(model, inputs[0], best, window=crop // 4, step=step)  # (rows, columns)

    first, last = first_and_last_hidden(model)
    maps = activations(model, first, inputs[:1])[0].relu()  # (maps, height, width)
    strongest = maps.mean((1, 2)).topk(4).indices.tolist()
    hidden = activations(model, last, inputs)  # (1 + N, units)
    _, nearest = nearest_neighbors(hidden[:1], hidden[1:], 4)  # (1, 4)

    figure = plt.figure(figsize=(7.2, 4.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(2, 1))
    image_ax, classes_ax, occlusion_ax = upper.subplots(1, 3)
    small_axes = lower.subplots(1, 8)

    image_ax.imshow(squares[0].permute(1, 2, 0))
    image_ax.set_title("the picture", fontsize="small")

    names = [predictor.class_name(label) for label in top.indices.tolist()]
    percent = [100 * probability for probability in top.values.tolist()]
    classes_ax.barh(range(len(names)), percent, color="C0")
    classes_ax.set_yticks(range(len(names)), names)
    classes_ax.invert_yaxis()
    classes_ax.set_xlabel("probability (%)")

    shown = occlusion_ax.imshow(100 * occluded.cpu(), cmap="cividis")
    occlusion_ax.set_title(f"{names[0]} (%), a part hidden", fontsize="small")
    upper.colorbar(shown, ax=occlusion_ax, shrink=0.7)

    for ax, i in zip(small_axes[:4], strongest):
        ax.imshow(maps[i].cpu(), cmap="gray")
        ax.set_title(f"map {i}", fontsize="small")
    for ax, i in zip(small_axes[4:], nearest[0].tolist()):
        ax.imshow(others[i].permute(1, 2, 0))
        ax.set_title("near", fontsize="small")
    for ax in (image_ax, occlusion_ax, *small_axes):
        ax.set_axis_off()
    return figure
