import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from alexnet.bookkit.plots import explain_prediction, plot_mean_and_band, plot_seeds
from alexnet.bookkit.svg import FIRST, SECOND
from alexnet.datasets import photos
from alexnet.loader import resize_center_crop
from alexnet.model import AlexNet
from alexnet.predictor import Predictor, load


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_line_is_the_mean_and_band_goes_from_the_lowest_to_the_highest(kind, ax):
    values = kind([[1.0, 5.0], [2.0, 1.0], [6.0, 0.0]])  # (seeds, points)
    plot_mean_and_band(ax, [1, 2], values, label="three seeds", color="C3", linestyle=":")
    [line], [band] = ax.lines, ax.collections
    assert line.get_ydata().tolist() == [3, 2] and line.get_linestyle() == ":"
    assert line.get_label() == "three seeds"
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(1, 1), (1, 6), (2, 0), (2, 5)}
    color = matplotlib.colors.to_rgba("C3", 0.25)
    assert band.get_facecolor()[0].tolist() == pytest.approx(color)


def test_band_has_the_color_of_its_line_in_the_cycle_too(ax):
    for _ in range(2):
        plot_mean_and_band(ax, [1, 2], [[1.0, 2.0], [3.0, 4.0]])
    for i, band in enumerate(ax.collections):
        color = matplotlib.colors.to_rgba(f"C{i}", 0.25)
        assert band.get_facecolor()[0].tolist() == pytest.approx(color)


@pytest.mark.parametrize("colors", [None, ["C3", "0.4"]])
def test_seeds_are_dots_with_a_stroke_at_their_mean_in_rows_from_the_top(colors, ax):
    plot_seeds(ax, {"with": [1.0, 2.0, 6.0], "without": [4.0, 5.0]}, colors)
    expected = [("with", [1, 2, 6], 3), ("without", [4, 5], 4.5)]
    for row, (name, seeds, mean) in enumerate(expected):
        dots, stroke = ax.lines[row], ax.collections[row]
        assert dots.get_xydata().tolist() == [[seed, row] for seed in seeds]
        assert dots.get_linestyle() == "None" and dots.get_marker() == "o"
        [[low, high]] = stroke.get_segments()
        assert low[0] == high[0] == mean and low[1] < row < high[1]
        color = matplotlib.colors.to_rgba((colors or ["C0", "C1"])[row])
        assert matplotlib.colors.to_rgba(dots.get_color()) == color
        assert tuple(stroke.get_colors()[0]) == color
        assert ax.get_yticklabels()[row].get_text() == name
    bottom, top = ax.get_ylim()
    assert bottom > 1 and top < 0


def test_charts_give_the_two_columns_the_colors_of_the_drawings():
    with plt.style.context("alexnet.bookkit.book"):
        cycle = [entry["color"] for entry in plt.rcParams["axes.prop_cycle"]]
    assert [f"#{color.lstrip('#')}" for color in cycle[:2]] == [FIRST, SECOND]


def test_explanation_shows_the_probable_classes_and_the_nearest_images():
    predictor, images = load("small"), photos()
    others = torch.stack([resize_center_crop(photo, 36) for photo in images.values()])
    figure = explain_prediction(predictor, images["cat"], others)
    all_axes = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    _, bars, occluded, *maps_and_near = all_axes
    square = resize_center_crop(images["cat"], 36)
    top = predictor.probabilities(square[None])[0].topk(5)
    widths = [bar.get_width() for bar in bars.patches]
    assert widths == pytest.approx((100 * top.values).tolist())
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert names == [predictor.classes[i] for i in top.indices]
    assert occluded.images[0].get_array().max() <= 100 and len(maps_and_near) == 8
    nearest = maps_and_near[4].images[0].get_array()
    assert (nearest == others[1].permute(1, 2, 0).numpy()).all()  # the cat is nearest to itself
    plt.close(figure)


def test_explanation_of_a_net_with_fewer_than_five_classes():
    model = AlexNet(3, "small")
    mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    predictor = Predictor(model, ("a", "b", "c"), 36, 32, mean, std)
    others = torch.zeros(4, 3, 36, 36, dtype=torch.uint8)
    figure = explain_prediction(predictor, photos()["cat"], others)
    names = {label.get_text() for label in figure.axes[1].get_yticklabels()}
    assert names == {"a", "b", "c"}
    plt.close(figure)
