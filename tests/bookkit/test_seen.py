"""Drawings of what a net sees: what is in them, and what is marked."""

import io
import re
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from alexnet.bookkit.seen import (
    INK,
    RIGHT,
    STOP,
    WIDTH,
    clear_ground,
    compact,
    draw_covered,
    draw_deals,
    draw_maps,
    draw_taken_for,
    guess_cards,
    neighbor_list,
)
from alexnet.bookkit.svg import BOTH, FIRST

PHOTOGRAPH = np.full((8, 8, 3), 200, np.uint8)
GUESSES = [("ox", 0.5, False), ("bison <1>", 0.25, True), ("hog", 0.0, False)]


def drawn(text):
    """The drawing as a tree: it must be well formed, and have an alternative text."""
    tree = ElementTree.fromstring(text)
    assert tree.get("aria-label") and tree.get("role") == "img"
    return tree


def texts(tree):
    return [node.text for node in tree.iter("text")]


def test_cards_mark_what_is_right():
    page = guess_cards({"bison": (PHOTOGRAPH, GUESSES)})
    tree = ElementTree.fromstring(page)
    words = [node.text for node in tree.iter("span")]
    assert words == ["ox", "50 %", "bison <1> ✓", "25 %", "hog", "0 %"]
    [image] = tree.iter("img")
    assert image.get("alt") == "bison"
    assert "photo" in image.get("class").split()  # else a dark page inverts it
    assert "50.0%,transparent" in page


def test_neighbors_have_a_color_for_what_they_share():
    near = [("bison", True, True), ("ox", False, True), ("dam", False, False)]
    tree = ElementTree.fromstring(neighbor_list({"bison": (PHOTOGRAPH, near)}))
    assert [node.text for node in tree.iter("b")] == ["bison ✓"]
    marks = {node.text: node.get("style") for node in [*tree.iter("b"), *tree.iter("span")]}
    for word, color in zip(marks, (RIGHT, FIRST, BOTH), strict=True):
        assert f"solid {color}" in marks[word]
    assert "photo" in tree.find(".//img").get("class").split()


@pytest.mark.parametrize(("p_value", "dashes"), [(0.04, "none"), (0.06, "6 5")])
def test_deals_mark_the_columns_by_what_chance_does(p_value, dashes):
    tree = drawn(draw_deals([0.0, 0.2, 0.5, 0.7], np.array([0.0, 0.1, 0.5]), p_value, "net"))
    assert len(list(tree.iter("rect"))) == 4
    bars, line = tree.iter("path")
    assert bars.get("fill") == BOTH
    assert line.get("stroke-dasharray") == dashes and line.get("d").startswith(
        "M348 "
    )  # 0.5 of 0.5
    assert f"{100 * p_value:.1f} of 100 random deals are as far apart" in texts(tree)


@pytest.mark.parametrize("sides", [(27, 13, 6), (5, 5, 5)])
def test_maps_of_both_columns(sides):
    generator = torch.Generator().manual_seed(0)
    layers = {
        f"conv{i}": torch.rand(16, side, side, generator=generator) for i, side in enumerate(sides)
    }
    tree = drawn(draw_maps(PHOTOGRAPH, GUESSES, layers, "bison"))
    assert {"conv0", "conv1", "conv2", "first column", "second column"} < set(texts(tree))
    images = list(tree.iter("image"))
    assert len(images) == 1 + 2 * 3
    for image in images:
        right = float(image.get("x", 0)) + float(image.get("width"))
        assert right <= WIDTH
    left, right = images[1], images[2]
    assert float(left.get("x")) + float(left.get("width")) < float(right.get("x"))


def test_the_maps_are_those_that_vary_most():
    """Not the strongest, which may be bright everywhere; one value is white in each."""
    maps = torch.full((8, 6, 6), 9.0)
    for i, value in ((1, 1), (2, 2), (4, 1), (5, 2)):
        maps[i] = 0
        maps[i, i, 0] = value
    tree = drawn(draw_maps(PHOTOGRAPH, GUESSES, {"conv1": maps}, "bison"))
    for image, spots in zip(list(tree.iter("image"))[1:], ((2, 1), (5, 4)), strict=True):
        data = b64decode(image.get("href").partition(",")[2])
        brightness = np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(int)
        for left, spot in zip((0, 7), spots):
            row, column = np.unravel_index(brightness[:, left : left + 6].argmax(), (6, 6))
            assert (row, column) == (spot, 0) and brightness[row, left] > 240


def test_a_map_of_zeros_is_drawn():
    drawn(draw_maps(PHOTOGRAPH, GUESSES, {"conv1": torch.zeros(8, 6, 6)}, "nothing"))


def test_the_square_is_where_it_is_said_and_can_be_dragged():
    probabilities = np.linspace(0.1, 0.9, 169).reshape(13, 13)
    places = []
    for across in (0, 1, 12):
        square = (across, 5, 3.5)
        text = draw_covered(
            PHOTOGRAPH, square, probabilities, "ox", GUESSES, "bison", "across down"
        )
        tree = drawn(text)
        [dragged] = [node for node in tree if node.get("data-drags")]  # in the drawing's own units
        assert dragged.get("data-drags") == "across down"
        places.append(float(dragged.get("x")) + 3.5 / 2)
    assert places == [1, 2, 13]  # a stop a unit
    assert "ox: 10 % (dark) to 90 %" in texts(tree)
    assert tree.get("viewBox").split()[2] == str(WIDTH // STOP)


def test_what_is_not_there_leaves_its_place_empty():
    long = draw_taken_for(GUESSES * 3, GUESSES, 5, "bison")
    short = draw_taken_for(GUESSES[:1], [], 5, "bison")
    assert len(texts(drawn(long))) == 2 + 5 + 3 and len(texts(drawn(short))) == 2 + 1
    boxes = [re.search('viewBox="(.*?)"', drawing)[1] for drawing in (long, short)]
    assert boxes[0] == boxes[1]
    assert "bison &lt;1&gt; ✓ 25 %" in long


def test_a_compact_figure_has_its_size_and_its_colors():
    figure, ax = plt.subplots(figsize=(2, 1), dpi=100)
    ax.bar([0, 1], [1, 2], color=["C0", "C1"])
    shown = compact(figure, 16)
    image = Image.open(io.BytesIO(shown.data))
    assert image.mode == "P" and len(image.getcolors()) <= 16
    assert image.width == pytest.approx(2 * shown.width, abs=2)
    assert not plt.get_fignums()


def test_a_figure_without_a_ground_is_legible_on_white_and_on_black():
    figure, ax = plt.subplots()
    ax.imshow(PHOTOGRAPH)
    ax.set(title="A title", xlabel="a label")
    image = Image.open(io.BytesIO(compact(clear_ground(figure), 32).data)).convert("RGBA")
    assert image.getpixel((0, 0))[3] == 0
    pixels = np.asarray(image).reshape(-1, 4)
    colors = pixels[pixels[:, 3] == 255][:, :3].astype(int)
    assert colors.min() > 100 and colors.max() < 220  # the letters' and the photograph's gray
    for ground in (0.0, 1.0):
        letters = (int(INK[3:5], 16) / 255) ** 2.2
        low, high = sorted([letters + 0.05, ground + 0.05])
        assert high / low > 4
