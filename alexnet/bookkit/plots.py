"""Figures in matplotlib."""


import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from alexnet.loader import resize_center_crop
from alexnet.predictor import Predictor
from alexnet.visualize import activations, first_and_last_hidden, nearest_neighbors, occlusion



def explain_prediction(trained: Predictor, picture: Tensor, others: Tensor) -> Figure:
    """One picture through a trained net: what it takes it for, where it looked, which maps answer most, what lies nearest.

    Args:
        trained: a net and what is done to its pictures, from :func:`alexnet.evaluate.load`.
        picture: uint8 (3, H, W).
        others: uint8 (N, 3, H, W), four or more, among which those nearest in the last hidden layer are sought.

    Returns:
        A figure in two rows: the picture, the five most probable classes, the probability of the first one while a square
        hides a part of the picture; below, the four maps of the first layer with the largest mean, and the four nearest.
    """
    model, size = trained.model, trained.crop
    squares = torch.stack([resize_center_crop(image, trained.resize) for image in (picture, *others)])
    x = trained.normalize(center_crop(squares, [size, size]).to(trained.mean.device))
    first, last = first_and_last_hidden(model)
    guesses = trained.probabilities(squares[:1].to(x.device))[0].topk(min(5, len(trained.classes) or 1000))
    looked = occlusion(model, x[0], guesses.indices[0].item(), window=size // 4, step=max(1, size // 16))
    maps = activations(model, first, x[:1])[0].relu()
    hidden = activations(model, last, x)
    nearest = nearest_neighbors(hidden[:1], hidden[1:], 4)[1][0].tolist()

    figure = pyplot.figure(figsize=(7.2, 4.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(2, 1))
    above, below = upper.subplots(1, 3), lower.subplots(1, 8)
    above[0].imshow(squares[0].permute(1, 2, 0))
    above[0].set_title("the picture", fontsize="small")
    names = [trained.class_name(i) for i in guesses.indices.tolist()]
    above[1].barh(range(len(names)), [100 * value for value in guesses.values.tolist()], color="C0")
    above[1].set_yticks(range(len(names)), names)
    above[1].invert_yaxis()
    above[1].set_xlabel("probability (%)")
    shown = above[2].imshow(100 * looked.cpu(), cmap="cividis")
    above[2].set_title(f"{names[0]} (%), a part hidden", fontsize="small")
    upper.colorbar(shown, ax=above[2], shrink=0.7)
    for axes, i in zip(below[:4], maps.mean((1, 2)).topk(4).indices.tolist()):
        axes.imshow(maps[i].cpu(), cmap="gray")
        axes.set_title(f"map {i}", fontsize="small")
    for axes, i in zip(below[4:], nearest):
        axes.imshow(others[i].permute(1, 2, 0))
        axes.set_title("near", fontsize="small")
    for axes in (above[0], above[2], *below):
        axes.set_axis_off()
    return figure
