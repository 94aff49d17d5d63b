import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import pyplot as plt

from alexnet import drawings

SHAPES = {"image": (3, 32, 32), "conv1": (8, 16, 16), "conv2": (8, 8, 8), "fc3": (10,)}
PHOTO = np.zeros((32, 32, 3), np.uint8)
DRAWINGS = [
    drawings.columns(SHAPES, ["conv2"], "conv2"),
    drawings.field(PHOTO, (-2, 4), 11, "a square"),
    drawings.windows(224, 55, 11, 4),
    drawings.ratios({"weights": (200, 100), "work": (10, 100)}, "conv2"),
    drawings.shares({"weights": {"a": 1, "b": 3}}, [drawings.FIRST, drawings.SECOND]),
]


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_well_formed_with_alternative_text_and_on_a_phones_width(drawing):
    root = ElementTree.fromstring(drawing)
    assert root.get("role") == "img" and root.get("aria-label")
    width = float(root.get("viewBox").split()[2])
    for rect in root.iter("rect"):
        assert float(rect.get("width")) >= 0 and -20 <= float(rect.get("x")) and float(rect.get("x")) + float(rect.get("width")) <= width


def thick_lines(layer, crossing):
    return drawings.columns(SHAPES, crossing, layer).count('stroke-width="2.5"')


def test_lines_lead_to_the_chosen_layer_from_what_it_reads():
    assert thick_lines("conv1", []) == 2  # both columns read the image
    assert thick_lines("conv2", []) == 2 and thick_lines("conv2", ["conv2"]) == 4
    assert thick_lines("fc3", ["fc3"]) == 2


def test_the_last_window_over_the_edge_is_orange():
    """224 pixels, rounded up: three zeros are needed; rounded down, one pixel is not seen."""
    up, down = drawings.windows(224, 55, 11, 4), drawings.windows(224, 54, 11, 4)
    assert "3 zeros" in up and up.count('stroke-dasharray="2 2"') == 3
    assert len(re.findall(f'rx="2" fill="{drawings.SECOND}"', up)) == 1
    assert "zeros" not in down and f'rx="2" fill="{drawings.SECOND}"' not in down
    assert len(re.findall(f'height="14" fill="{drawings.SECOND}"', down)) == 1


def test_a_doubling_is_one_mark():
    bars = [float(w) for w in re.findall('<rect x=".*?" y=".*?" width="(.*?)"', DRAWINGS[3])]
    marks = sorted({float(x) for x in re.findall('<line x1="(.*?)"', DRAWINGS[3])})
    assert bars[0] == pytest.approx(marks[1] - marks[0], abs=0.1)


def test_the_two_columns_have_the_same_colours_in_charts():
    with plt.style.context("alexnet.book"):
        cycle = [entry["color"] for entry in plt.rcParams["axes.prop_cycle"]]
    assert [f"#{colour.lstrip('#')}" for colour in cycle[:2]] == [drawings.FIRST, drawings.SECOND]
