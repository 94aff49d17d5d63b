import io
import re
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from alexnet.bookkit.drawings import (
    draw_answers,
    draw_before_and_after,
    draw_beside,
    draw_carried,
    draw_chain,
    draw_cloud,
    draw_columns,
    draw_comparison,
    draw_cones,
    draw_course,
    draw_crop,
    draw_depths,
    draw_descent,
    draw_durations,
    draw_field,
    draw_filled,
    draw_filtered,
    draw_kept,
    draw_kinds,
    draw_landscape,
    draw_levels,
    draw_lineage,
    draw_lineage_map,
    draw_nets,
    draw_pooled,
    draw_ratios,
    draw_ruler,
    draw_shares,
    draw_sharing,
    draw_shifted,
    draw_signal,
    draw_skip,
    draw_slope,
    draw_steps,
    draw_sums,
    draw_survival,
    draw_tinted,
    draw_units,
    draw_votes,
    draw_waterfall,
    draw_windows,
    in_words,
)
from alexnet.bookkit.stats import Interval
from alexnet.bookkit.svg import BOTH, FIRST, SECOND

SHAPES = {"image": (3, 32, 32), "conv1": (8, 16, 16), "conv2": (8, 8, 8), "fc3": (10,)}
PHOTO = np.zeros((32, 32, 3), np.uint8)
WALK = np.array([[0.5, 0.5], [2.0, -1]])
FOUR_MAPS = {"before": np.eye(6), "after": np.eye(6), "differs": np.eye(6), "back": np.eye(6)}
DRAWINGS = [
    draw_comparison([0.2, -0.4], [-1.1, -0.9], Interval(0.9, -0.4, 2.2), 1.0),
    draw_columns(SHAPES, ["conv2"], "conv2"),
    draw_columns(SHAPES, ["conv2"], "conv1", {"conv2": 7.5}),
    draw_beside(
        [("a", "first"), None], [("b", "2nd", True), ("a", "1st", False)], ("l", "r"), "two"
    ),
    draw_waterfall({"all": 26.2, "one net": 18.2}, "error"),
    draw_depths(96, 5),
    draw_ruler({"same net": [40.4, 40.6]}, {"other": (41.0, "41 %")}, (40.2, 42.0), "error"),
    draw_field(PHOTO, (-2, 4), 11, "a square"),
    draw_windows(224, 55, 11, 4),
    draw_ratios({"weights": (200, 100), "work": (10, 100)}, "conv2"),
    draw_cones(3),
    draw_shares({"weights": {"a": 1, "b": 3}}, [FIRST, SECOND], {"weights": 8}, {"weights": 4}),
    draw_sharing({"a": ("b", {"c": (True, ""), "d": (False, "e")}), "f": ("g", {"c": (True, "")})}),
    draw_levels({"layer 1": 1e-4, "layer 2": 0.0, "layer 3": 1e9}, -6, 2, "gradient"),
    draw_signal({"conv1": (16.0, 14.0, 0.5), "fc2": (1e9, 1e-9, 1.0)}, -6, 4),
    draw_lineage([("1", "40 %", "a", False), ("2", "", "wider", False), ("3", "", "b", True)]),
    draw_before_and_after([0.0, 30, 99], [0.0, 15, 9], [1.7, 2, 11.4], 90, 1, 0, ["30 ÷ 2"]),
    draw_filled({"work": ("724 million", 0.64), "weights": ("61 million", 1.0)}),
    draw_nets([("half", "", None, [3.0, 4]), ("all", "more", [2, 3], [2.5])], 2, 4, "error"),
    draw_kinds({"half": ("one GPU", None), "all": ("meet in all", [2, 3, 4, 5])}),
    draw_answers({"a": -30, "b": 40}, "b", {"one way": 20.0, "another": 0.0}, 90),
    draw_pooled(np.eye(8), np.eye(3), 3, 2),
    draw_shifted(FOUR_MAPS, {"2/2": (30.0, 20.0, FIRST)}, "2/2", "1 cell"),
    draw_shifted(FOUR_MAPS, {"2/2": (30.0, None, FIRST)}, "2/2"),
    draw_units([0.0, 1, 4, 9], [True, True, False, True], 4, "units"),
    draw_sums([10.0, 99], 20.0, 30.0, 60),
    draw_descent(draw_landscape([WALK], (1, 2)), WALK, (360, 270), "a walk"),
    draw_crop(PHOTO, 4, 2, 11, True, "a window", "left top"),
    draw_kept({"wide": np.zeros((20, 30, 3), np.uint8), "square": PHOTO}, 2, "photographs"),
    draw_durations({"1 epoch": 0.5, "90 epochs": 4e10}),
    draw_durations({"yours": 0.5, "ours": 4e10}, {"yours": "40 images/s"}, "400 photographs"),
    draw_filtered(PHOTO[..., 0], np.eye(30) - 0.5, "an edge"),
    draw_chain({"map": np.eye(20) - 0.5, "pooled": np.eye(9)}, np.eye(5), "a diagonal"),
    draw_tinted(PHOTO, [0.1, 0.0, -0.1], 0.9, "a tint"),
    draw_votes(PHOTO, np.eye(4) - 0.5, 1, {"their mean": "-0.25"}),
    draw_steps({"two": [("", "2"), ("×3", "6"), ("+1", "7")], "one": [("", "2"), ("×3 +1", "7")]}),
    draw_skip(["conv", "conv"]),
    draw_skip(["conv", "conv"], "ReLU"),
    draw_survival({"old": "2012", "new": "2022"}, {"end": ("a", "a"), "way": ("b", "c")}),
    draw_cloud(np.eye(3), np.eye(3) * 0.1, 1, [0.1, 0, 0], "a cloud"),
]


def numbers(pattern, drawing):
    return [float(number) for number in re.findall(pattern, drawing)]


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_well_formed_with_alternative_text_and_on_a_phones_width(drawing):
    root = ElementTree.fromstring(drawing)
    assert root.get("role") == "img" and root.get("aria-label")
    width = float(root.get("viewBox").split()[2])
    for rect in root.iter("rect"):
        left, rect_width = float(rect.get("x")), float(rect.get("width"))
        assert rect_width >= 0 and left >= -20 and left + rect_width <= width


def thick_lines(layer, crossing):
    return draw_columns(SHAPES, crossing, layer).count('stroke-width="2.5"')


def test_lines_lead_to_the_chosen_layer_from_what_it_reads():
    assert thick_lines("conv1", []) == 2  # both columns read the image
    assert thick_lines("conv2", []) == 2
    assert thick_lines("conv2", ["conv2"]) == 4
    assert thick_lines("fc3", ["fc3"]) == 2


def test_a_signal_outside_of_the_axis_stops_at_its_edge():
    drawing = draw_signal({"conv1": (1.0, 0.01, 0.5), "fc2": (1e9, 1e-9, 1.0)}, -6, 4)
    heights = numbers('<circle cx=".*?" cy="(.*?)"', drawing)
    size, differs = heights[:2], heights[2:]
    assert size[0] == pytest.approx(200 - 6 * 17.6) and size[1] == 24
    assert differs[0] == pytest.approx(200 - 4 * 17.6) and differs[1] == 200
    assert "size of fc2 1e+09" in drawing and ">100%<" in drawing


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_what_an_output_sees_through_layers_of_three_and_through_one(layers):
    """On the way down, the blue squares are 1, 3, 5, ...; the orange ones are the output and all
    its pixels. A line a weight.
    """
    drawing = draw_cones(layers)
    assert drawing.count(f'fill="{FIRST}"') == (layers + 1) ** 2
    assert drawing.count(f'fill="{SECOND}"') == 1 + 2 * layers + 1
    assert drawing.count("<line") == 3 * layers**2 + 2 * layers + 1
    assert drawing.count('fill-opacity="0.15"') == 2 * (11 - 2 * layers - 1)


def test_the_last_window_over_the_edge_is_orange():
    """224 pixels, rounded up: three zeros are needed; rounded down, one pixel is not seen."""
    up = draw_windows(224, 55, 11, 4)
    assert "3 zeros" in up and up.count('stroke-dasharray="2 2"') == 3
    assert len(re.findall(f'rx="2" fill="{SECOND}"', up)) == 1
    down = draw_windows(224, 54, 11, 4)
    assert "zeros" not in down and f'rx="2" fill="{SECOND}"' not in down
    assert len(re.findall(f'height="14" fill="{SECOND}"', down)) == 1


def test_a_doubling_is_one_mark():
    drawing = draw_ratios({"weights": (200, 100), "work": (10, 100)}, "conv2")
    bars = numbers('<rect x=".*?" y=".*?" width="(.*?)"', drawing)
    marks = sorted(set(numbers('<path d="M(.*?) ', drawing)))
    assert bars[0] == pytest.approx(marks[1] - marks[0], abs=0.1)
    assert "(2×)" in drawing and "(1/10)" in drawing  # as on the scale, which says 1/4 and 4×


def test_levels_are_logarithmic_and_stop_at_the_edges():
    values = {"a": 1e-4, "b": 0.0, "c": 1e9, "d": 1.0}
    places = numbers('<circle cx="([0-9.]+)"', draw_levels(values, -6, 2, "x"))
    assert places == [62 + 54, 62, 62 + 216, 62 + 162]  # 216 units for eight powers of ten
    powers = re.findall(r'dy="-4">(-?[0-9]+)<', draw_levels(values, -10, 8, "x"))
    assert powers == ["-10", "-6", "-2", "2", "6"]  # more would run into each other


def test_a_course_is_logarithmic_and_stops_at_the_edges():
    drawing = draw_course([10.0, 1.0, 0.001], [10.0, 10.0, 100.0], drop=1, label="x")
    without, course = re.findall('points="([^"]*)"', drawing)
    assert [point.split(",")[1] for point in without.split()] == ["38.0"] * 3
    assert course == "144.0,38.0 248.0,98.0 352.0,218.0"  # 60 units for a power of ten
    assert 'x1="144" y1="38" x2="144" y2="218"' in drawing and "÷ 10" in drawing
    assert "÷ 10" not in draw_course([1.0, 1.0], [1.0, 1.0], drop=2, label="x")


def test_before_and_after_are_on_one_scale():
    drawing = draw_before_and_after([30.0, 99], [15.0, 20], [2.0, 17.9], 90, marked=1, reach=0)
    heights = numbers('height="([0-9.]+)" fill="#[0-9a-f]*" fill-opacity="(?:0.4|1)"', drawing)
    assert heights == [50, 25, 150, pytest.approx(33.3)]
    assert f'height="33.3" fill="{SECOND}"' in drawing
    assert re.findall(">([0-9.]+)</text>", drawing)[-3:] == ["0", "1", "18"]


@pytest.mark.parametrize(
    ("reach", "printed"), [(0, "2"), (1, "123"), (2, "01234"), (3, "024"), (9, "0246")]
)
def test_divisors_stand_below_the_tinted_maps_and_do_not_run_together(reach, printed):
    divisors = [1.0 + i for i in range(7)]
    drawing = draw_before_and_after([1.0] * 7, [1.0] * 7, divisors, 2, 2, reach)
    assert re.findall(r">(\d\.0)</text>", drawing) == [f"{1 + int(i)}.0" for i in printed]


@pytest.mark.parametrize(
    ("marked", "reach", "ground"), [(1, 0, 1), (1, 1, 3), (0, 1, 2), (3, 2, 3), (1, 9, 4)]
)
def test_a_map_hears_its_neighbors_as_far_as_there_are_any(marked, reach, ground):
    """A pair of bars is 80.5 units wide."""
    drawing = draw_before_and_after([1.0] * 4, [1.0] * 4, [1.0] * 4, 2, marked, reach)
    assert numbers('width="([0-9.]+)" y="2"', drawing) == [pytest.approx(80.5 * ground, abs=0.1)]


def test_filled_bars_are_as_long_as_their_share():
    drawing = draw_filled({"a": ("3", 0.5), "b": ("6", 1.0)})
    assert numbers(f'width="([0-9.]+)" fill="{FIRST}"', drawing) == [75, 150]
    drawing = draw_filled({"a": ("3", 0.5), "b": ("6", 1.0)}, (FIRST, SECOND))
    assert numbers(f'width="([0-9.]+)" fill="{SECOND}"', drawing) == [150]


def test_small_nets_cross_where_they_are_told_to_and_have_their_numbers_beside_them():
    nets = [("one", "", None, [3.0]), ("two", "", [3], [2.0]), ("all", "", [2, 3, 4, 5], [4.0])]
    drawing = draw_nets(nets, 2, 4, "error")
    assert drawing.count('stroke="#009e73"') == 2 + 8
    assert numbers('<circle cx="([0-9.]+)"', drawing) == [266, 186, 346]


def test_kinds_of_nets_stand_beside_each_other_each_above_its_name():
    drawing = draw_kinds({"one": ("a", None), "two": ("b", []), "met": ("c", [3])})
    assert drawing.count('stroke="#009e73"') == 2
    assert numbers(r"translate\(([0-9.]+) 0", drawing) == [30, 150, 270]
    assert drawing.count("<rect") == 5 + 10 + 10


def test_answers_hang_from_zero_or_stand_on_it():
    """56 units for 28, and zero at 88."""
    drawing = draw_answers({"a": -14, "b": 20}, "b", {}, 28)
    bars = re.findall('y="([0-9.]+)" height="([0-9.]+)"', drawing)
    assert bars == [("88.0", "28.0"), ("48.0", "40.0")]
    assert re.findall(">([−0-9]+)</text>", drawing) == ["−14", "20"]


def test_what_is_left_of_an_answer_fills_its_share_of_a_frame():
    drawing = draw_answers({"a": -14, "b": 20}, "b", {"half": 10.0, "fifth": 4.0}, 28)
    widths = numbers(f'stroke="{SECOND}" width="([0-9.]+)"', drawing)
    assert widths == [300, 150, 300, 60]
    assert "a −14, b 20; of b are left: half 10.0, fifth 4.0" in drawing


def test_a_dropped_unit_is_a_cross_and_a_kept_one_has_its_area():
    drawing = draw_units([1.0, 4, 4], [True, True, False], 4, "x")
    assert numbers(' r="([0-9.]+)"', drawing) == [5, 10, 0]
    assert numbers(' opacity="([0-9.]+)"', drawing) == [0, 0, 1]


def test_sums_lie_on_their_axis_which_ends_at_the_top():
    drawing = draw_sums([10.0, 99], 20.0, 30.0, 60)
    assert numbers("M([0-9.]+) 38", drawing) == [68, 348]
    assert numbers('cx="([0-9.]+)"', drawing) == [124]
    assert numbers("M([0-9.]+) 34", drawing) == [180]


def test_the_disc_of_the_mask_that_is_shown_hides_no_stroke():
    drawing = draw_sums([20.0], 20.0, 20.0, 60)
    [(top, length)] = re.findall(r"M[0-9.]+ (38)v([0-9]+)", drawing)
    [(middle, radius)] = re.findall(r'cy="([0-9.]+)" r="([0-9.]+)"', drawing)
    assert int(top) + int(length) < float(middle) - float(radius)


def test_a_walk_has_a_line_a_dot_at_each_step_and_two_discs():
    walk = np.array([[20, 30], [40, 50], [45.04, 60]])
    drawing = draw_descent("", walk, (360, 270), "x")
    assert 'points="20.0,30.0 40.0,50.0 45.0,60.0"' in drawing
    assert numbers(' r="([0-9.]+)"', drawing) == [2.5, 2.5, 2.5, 6, 6]
    assert re.search('cx="45.0"[^>]+ r="6"[^>]+fill="#e08a00"', drawing)
    assert re.search('cx="20.0"[^>]+ r="6"[^>]+fill="#fff"', drawing)


def test_a_landscape_has_a_line_a_level():
    lines = [np.array([[0, 0], [9, 0], [9, 9]]), np.array([[2, 1], [8, 1], [8, 8]])]
    drawing = draw_landscape(lines, (7, 2))
    assert re.findall('points="(.*?)"', drawing) == [
        "0.0,0.0 9.0,0.0 9.0,9.0",
        "2.0,1.0 8.0,1.0 8.0,8.0",
    ]
    assert 'd="M1.0 2.0h12m-6 -6v12"' in drawing


def test_the_mirrored_window_shows_the_same_pixels():
    """The left edge of the crop is shown at its right edge."""
    drawing = draw_crop(PHOTO, 4, 2, 11, True, "x")
    moved = re.search(r"translate\((-?\d+) (-?\d+)\) scale\((-?1) 1\)", drawing)
    shift, down, scale = map(int, moved.groups())
    assert scale * 2 + shift == 11 and scale * 13 + shift == 0 and down == -4


def test_a_window_is_dragged_only_in_an_explorer():
    assert "data-drags" not in draw_crop(PHOTO, 4, 2, 11, False, "x")
    assert 'data-drags="left top"' in draw_crop(PHOTO, 4, 2, 11, False, "x", "left top")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "0.25 seconds"),
        (1, "1 second"),
        (3600, "1 hour"),
        (125 * 86_400, "125 days"),
        (5.5 * 86_400, "5.5 days"),
        (5e9, "158 years"),
    ],
)
def test_a_duration_is_said_in_its_largest_unit(seconds, words):
    assert in_words(seconds) == words
    assert f"90 epochs: {words}" in draw_durations({"90 epochs": seconds})


def test_a_duration_has_its_note_also_for_those_who_hear_it():
    drawing = draw_durations({"yours": 60, "ours": 1}, {"yours": "40 images/s"}, "a title")
    assert "a title: yours: 1 minute, 40 images/s, ours: 1 second" in drawing
    assert drawing.count(FIRST) == 1  # the others are there to be compared with it


def test_two_tints_on_a_page_do_not_share_a_filter():
    names = set()
    for color in ([0.1, 0, 0], [0, 0.1, 0]):
        for slope in (1, 0.9):
            drawing = draw_tinted(PHOTO, color, slope, "x")
            names.add(re.search('filter id="(.*?)"', drawing)[1])
    assert len(names) == 4


def test_a_tint_is_the_sum_times_the_slope():
    drawing = draw_tinted(PHOTO, [0.2, 0.0, -0.1], 0.5, "x")
    channels = re.findall('slope="(.*?)" intercept="(.*?)"', drawing)
    assert channels == [("0.500", "0.100"), ("0.500", "0.000"), ("0.500", "-0.050")]


def test_half_a_tint_leaves_the_left_half_as_it_is():
    drawing = draw_tinted(PHOTO, [0.2, 0.0, -0.1], 1.0, "x", half=True)
    photo, tinted = re.findall("<image .*?>", drawing)
    assert "filter" not in photo and "filter" in tinted
    width = PHOTO.shape[1]
    [window] = re.findall('<svg x="(.*?)" width="(.*?)"', drawing)
    assert [int(number) for number in window] == [width // 2, width - width // 2]


def test_half_of_a_row_is_half_as_wide_and_what_crosses_has_a_line():
    shares = {"images": (True, ""), "layers": (False, "outputs")}
    ways = {"net": ("Half of it on each.", shares)}
    root = ElementTree.fromstring(draw_sharing(ways))
    widths = [float(box.get("width")) for box in root.iter("rect")]
    assert widths[0] == widths[1] == 2 * widths[2] == 2 * widths[3]
    [crossing] = root.iter("line")
    texts = [text.text for text in root.iter("text")]
    assert {"Half of it on each.", "outputs"} <= set(texts)
    assert texts.count("all") == texts.count("half") == 2
    boxes = [float(box.get("x")) for box in root.iter("rect")][2:]
    ends = float(crossing.get("x1")), float(crossing.get("x2"))
    assert ends == (boxes[0] + widths[2], boxes[1])


def test_a_filtered_image_is_white_at_zero_and_colored_by_its_sign():
    result = np.zeros((24, 24))
    result[:8], result[16:] = 2, -1
    second = ElementTree.fromstring(draw_filtered(PHOTO[..., 0], result, "stripes"))[1]
    assert (second.get("width"), second.get("height")) == ("24", "24")
    file = io.BytesIO(b64decode(second.get("href").split(",")[1]))
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
    orange, white, blue = pixels[3, 12], pixels[12, 12], pixels[20, 12]
    assert orange[0] > orange[2] + 150 and white.min() > 240
    assert blue[0] < 230 < blue[2] + 20  # half as strong


def test_what_becomes_of_a_map_keeps_its_shades():
    first = np.array([[4.0, -4], [2, 0]])
    drawing = draw_chain({"map": first, "half": first / 2}, np.eye(3), "a map halved")
    images = [e for e in ElementTree.fromstring(drawing).iter() if e.tag.endswith("image")]
    shown = []
    for image in images[:2]:
        file = io.BytesIO(b64decode(image.get("href").split(",")[1]))
        shown.append(np.asarray(Image.open(file).convert("RGB")))
    assert (shown[1][0, 0] == shown[0][1, 0]).all() and (shown[1][0, 0] != shown[0][0, 0]).any()


def test_a_line_of_runs_with_its_branches():
    rows = [("1", "40 %", "begins", False), ("2", "", "wider", False), ("3", "", "<b>", True)]
    drawing = draw_lineage(rows)
    assert numbers('cx="(.*?)"', drawing) == [14, 14, 36]
    heights = numbers('cy="(.*?)"', drawing)
    assert heights == sorted(heights)
    assert f'd="M14 {heights[1]:.0f}V{heights[2]:.0f}H36"' in drawing  # from the last of the line
    assert "&lt;b&gt;" in drawing and "<b>" not in drawing


def test_a_map_of_runs():
    parents = {"1": (), "2": ("1",), "3": ("1", "2"), "4": ("2",)}
    body, places = draw_lineage_map(parents, {"2"}, ["3"])
    assert [y for _, y in places] == [16, 25, 25, 34]  # by generations, of the first parent
    assert [x for x, _ in places] == [8, 123, 237, 352]
    assert 'd="M8 16L123 25M8 16L237 25M123 25L237 25M123 25L352 34"' in body
    assert 'd="M123 25h0"' in body and ">3</text>" in body and ">4</text>" not in body


def test_a_bar_of_shares_is_as_long_as_its_sum():
    """Half of the longest sum is half as wide, and the paper's mark does not move."""

    def widths_and_mark(parts):
        drawing = draw_shares({"weights": parts}, [FIRST, SECOND], {"weights": 8}, {"weights": 4})
        widths = [
            float(width)
            for width in re.findall(r'<rect [^>]*width="([\d.]+)" height="24"', drawing)
        ]
        return sum(widths), re.search(r'<path d="M([\d.]+) ', drawing)[1]

    assert widths_and_mark({"a": 1, "b": 3}) == (175, "180.0")
    assert widths_and_mark({"a": 2, "b": 6}) == (350, "180.0")


def test_each_window_has_two_bars_as_long_as_its_changes_and_the_chosen_ones_are_not_faint():
    bars = {"2/2": (36.0, 36.0, FIRST), "3/2": (46.0, 0.0, SECOND)}
    drawing = draw_shifted(FOUR_MAPS, bars, "3/2", "1 cell")
    assert "46 % of the way to another photograph" in drawing
    assert "0 % once the map is moved back by 1 cell" in drawing
    found = re.findall(r'width="([0-9.]+)" height="(11|4)"[^>]*', drawing)
    assert found == [("97.2", "11"), ("97.2", "4"), ("124.2", "11"), ("0.0", "4")]
    assert drawing.count("fill-opacity") == 2


def test_a_map_that_is_not_moved_back_has_one_bar_and_no_word_of_it():
    drawing = draw_shifted(FOUR_MAPS, {"2/2": (36.0, None, FIRST)}, "2/2")
    assert re.findall(r'width="([0-9.]+)" height="(11|4)"', drawing) == [("97.2", "11")]
    assert "moved back" not in drawing


@pytest.mark.parametrize(("change", "beside"), [(40, 155.0), (91, 318.0)])
def test_a_value_does_not_stand_on_the_line_for_another_photograph(change, beside):
    drawing = draw_shifted(FOUR_MAPS, {"2/2": (change, 0, FIRST)}, "2/2", "1 cell")
    assert f'x="{beside}" y="172" font-weight="bold">{change} %' in drawing


def test_a_pooled_map_says_how_many_values_are_left():
    drawing = draw_pooled(np.eye(9), np.eye(4), 3, 2)
    assert "map, 9×9 = 81</text>" in drawing and "pooled, 4×4 = 16</text>" in drawing


def test_only_the_chosen_axis_of_a_cloud_is_thick():
    drawing = draw_cloud(np.eye(3), np.eye(3) * 0.1, 1, [0.1, 0, 0], "a cloud")
    assert numbers(f'stroke="{BOTH}" stroke-width="([0-9.]+)"', drawing) == [1, 4, 1]
    places = re.findall(r'<circle cx="([0-9]+)" cy="([0-9]+)" r="2.2"', drawing)
    assert places == [("166", "150"), ("20", "4"), ("20", "150")]  # red, green, blue


def test_a_carried_kernel_shows_the_number_of_its_place():
    result = np.zeros((9, 9))
    result[4, 8] = -0.5
    drawing = draw_carried(np.eye(13), np.ones((5, 5)), result, (2, 1), 4, "an edge", "across down")
    assert "−0.50" in drawing and 'viewBox="8 4 5 5"' in drawing  # the pixels under it
    assert 'data-drags="across down"' in drawing


def test_a_slope_touches_the_curve_at_the_weight_that_is_dragged():
    curves = {"one": [4.0, 2.0, 1.0], "mean": [3.0, 3.0, 3.0]}
    drawing = draw_slope(np.eye(5), (4, 1), curves, 1, -1.5, ["weight −0.2", "loss 2.00"], "weight")
    svg = ElementTree.fromstring(drawing)
    [handle] = [part for part in svg.iter() if part.get("data-drags") == "weight"]
    *_, tangent = [part for part in svg.iter() if part.get("stroke") == "currentColor"]
    ends = [float(tangent.get(name)) for name in ("x1", "y1", "x2", "y2")]
    middle = (ends[0] + ends[2]) / 2, (ends[1] + ends[3]) / 2
    assert middle == pytest.approx([15 * float(handle.get(name)) for name in ("cx", "cy")], abs=1)
    assert ends[3] > ends[1]  # the loss falls as the weight grows
    assert svg.get("aria-label") == "weight −0.2, loss 2.00"


def test_what_is_nearly_all_is_not_said_to_be_all():
    drawing = draw_shares({"w": {"a": 996, "b": 4}}, [FIRST, SECOND], {"w": 1000}, {"w": 9})
    assert ">99.6%</text>" in drawing and ">100%</text>" not in drawing


@pytest.mark.parametrize(
    ("interval", "said", "color"),
    [
        (Interval(1.0, 0.5, 1.5), "holds: 1.0 (0.5 to 1.5) points", FIRST),
        (Interval(-1.0, -1.5, -0.5), "does not hold: −1.0 (−1.5 to −0.5) points", SECOND),
        (Interval(0.5, -9.0, 9.0), "cannot tell: 0.5 (−9.0 to 9.0) points", BOTH),
    ],
)
def test_a_comparison_says_its_verdict_and_stays_on_its_axis(interval, said, color):
    drawing = draw_comparison([0, 0.5], [-1, -0.8], interval, 0.0)
    svg = ElementTree.fromstring(drawing)
    assert said in drawing and said in svg.get("aria-label")
    thick = [line for line in svg.iter() if line.get("stroke-width") == "6"]
    assert [line.get("stroke") for line in thick] == [color]
    ends = [float(thick[0].get(name)) for name in ("x1", "x2")]
    assert 0 <= ends[0] < ends[1] <= 360
    arrows = [
        path for path in svg.iter() if path.tag.endswith("path") and path.get("fill") == color
    ]
    assert len(arrows) == sum(abs(bound) > 4 for bound in interval[1:])
    dots = [dot for dot in svg.iter() if dot.tag.endswith("circle") and dot.get("r") == "4.5"]
    assert len(dots) == 4
    # Fewer errors lie further to the right, from the line at zero on
    places = [float(dot.get("cx")) for dot in dots]
    assert places[1] < places[0] == 212 < places[3] < places[2]
    assert "−4" in drawing and ">-4" not in drawing
    of_real_runs = draw_comparison([0, 0.5], [-1, -0.8], interval)  # the truth is not known
    assert "truth" in drawing and "truth" not in of_real_runs
    assert "True difference 0.00" in drawing and "True difference" not in of_real_runs


def test_what_crosses_is_as_wide_as_asked():
    drawing = draw_columns(SHAPES, ["conv2"], "conv1", {"conv2": 7.5})
    wide = re.findall('stroke="#009e73" stroke-width="([0-9.]+)"', drawing)
    assert wide == ["7.5", "7.5"]  # from each column to the other


def test_all_layers_are_alike_where_none_is_picked_out():
    assert set(numbers(' opacity="([0-9.]+)"', draw_columns(SHAPES, [], None))) == {1}
    assert set(numbers(' opacity="([0-9.]+)"', draw_columns(SHAPES, [], "conv2"))) == {1, 0.6}


def test_pooling_is_a_thin_slab_and_sizes_are_in_pytorchs_order():
    net = {"image": (3, 32, 32), "conv1": (96, 16, 16), "pool1": (96, 7, 7), "fc2": (10,)}
    drawing = draw_columns(net, [], "fc2")
    blocks = re.findall('<polygon points="[^"]*" fill-opacity', drawing)
    thick = []
    for block in blocks:
        left, _, _, right, *_ = [point.split(",") for point in block.split('"')[1].split()]
        thick.append(int(right[1]) - int(left[1]))
    assert len(blocks) == 1 + 2 + 2 + 1 and set(thick[3:5]) == {3} and min(thick[1:3]) > 6
    assert ">96×16×16<" in drawing and ">96×7×7<" in drawing


def test_a_kernel_of_two_groups_is_half_as_long():
    drawing = draw_depths(96, 5)
    bars = re.findall('width="([0-9.]+)" height="14"', drawing)
    assert bars == ["124.8", "62.4", "62.4"]
    assert "5×5×96 = 2,400 weights" in drawing and "5×5×48 = 1,200 weights" in drawing


def test_a_waterfall_says_what_each_step_takes():
    drawing = draw_waterfall({"all": 26.2, "one net": 18.2, "five": 16.4}, "error")
    assert "error: all 26.2 %, one net 18.2 % (−8.0), five 16.4 % (−1.8)" in drawing
    taken = [float(bar) for bar in re.findall(f'width="([0-9.]+)" fill="{FIRST}"', drawing)]
    assert taken[0] / taken[1] == pytest.approx(8.0 / 1.8, rel=0.01)


def test_a_ruler_has_its_dots_on_one_axis_with_what_is_laid_beside_them():
    laid = {"new": (3.0, "-3")}
    drawing = draw_ruler({"a": [1.0, 2.0], "b": [4.0]}, laid, (0.0, 4.0), "points", [2.0])
    assert "points: a 1.00 to 2.00, b 4.00 to 4.00, new 3.00" in drawing
    assert ">−3</text>" in drawing
    one, two, four, three = numbers('cx="([0-9.]+)"', drawing)
    assert numbers(r'x1="([0-9.]+)" x2="[0-9.]+" y1="8"', drawing) == [three]
    steps = [two - one, three - two, four - three]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.1)
    assert numbers(f'fill="{FIRST}" fill-opacity="([0-9.]+)"', drawing) == [1, 0, 1]


def test_the_same_step_is_joined_and_a_new_one_is_not():
    drawing = draw_beside(
        [("a", "first"), None], [("b", "new", True), ("a", "1st", False)], ("l", "r"), ""
    )
    assert drawing.count("<line") == 1 and drawing.count("<rect") == 3


def test_the_steps_that_lead_somewhere_lie_a_fingertip_apart():
    right = [("a", "1st", True), ("b", "2nd", True)]
    drawing = draw_beside([None, None], right, ("l", "r"), "", {"a": "one", "b": "two"})
    first, second = numbers('<rect x="[0-9.]+" y="([0-9.]+)"', drawing)
    assert second - first >= 32


def test_a_step_on_the_right_leads_to_its_section():
    steps = [("a", "first"), ("b", "second")]
    right = [("a", "1st", False), ("b", "2nd", True)]
    drawing = draw_beside(steps, right, ("l", "r"), "", {"b": "second-of-all"})
    [link] = re.findall(r"<a .*?</a>", drawing)
    assert 'href="#second-of-all"' in link and ">2nd<" in link
    assert 'role="group"' in drawing  # an image would hide its links


def test_a_vote_for_a_class_is_orange_and_one_against_it_blue():
    drawing = draw_votes(PHOTO, np.array([[2.0, -1], [0, -9]]), 2, {"mean": "-2.00"})
    _, votes = re.findall('href="data:image/webp;base64,(.*?)"', drawing)
    (first, second), (third, last) = np.array(Image.open(io.BytesIO(b64decode(votes))))
    channels = [int(color[i : i + 2], 16) for color in (SECOND, FIRST) for i in (1, 3, 5)]
    assert [*first, *last] == channels and list(third) == [255, 255, 255]
    assert second[2] > second[0] > last[0]  # a weak one is pale
    assert 'aria-label="mean: -2.00"' in drawing
    scale = re.findall(r'fill="rgb\((.*?)\)"', drawing)
    ends = [", ".join(map(str, channels[at : at + 3])) for at in (3, 0)]
    assert [scale[0], scale[len(scale) // 2], scale[-1]] == [ends[0], "255, 255, 255", ends[1]]
    assert re.findall('y="221" text-anchor="(.*?)">(.*?)<', drawing) == [
        ("start", "−2"),
        ("middle", "0"),
        ("end", "2"),
    ]


def test_the_bar_of_a_part_is_as_long_as_it_lasted():
    nets = {"a": "2012", "b": "2016", "c": "2022"}
    parts = {"kept": 3 * ["x"], "gone": ["x", "y", "y"], "back": ["x", "y", "x"]}
    drawing = draw_survival(nets, parts)
    bars = re.findall('<rect x="(.*?)" .*? width="(.*?)" .*? fill="(.*?)"', drawing)
    assert bars == [
        ("0.0", "357.0", SECOND),
        ("0.0", "117.0", SECOND),
        ("120.0", "237.0", FIRST),
        ("0.0", "117.0", SECOND),
        ("120.0", "117.0", FIRST),
        ("240.0", "117.0", FIRST),
    ]
    assert "gone: x, then y" in drawing and drawing.index(">2012<") < drawing.index(">kept<")


def test_ways_of_many_steps_and_of_one_end_below_each_other():
    drawing = draw_steps({
        "a": [("", "1"), ("+1", "2"), ("×3", "6")],
        "b": [("", "1"), ("×6", "6")],
    })
    boxes = re.findall('<rect x="(.*?)" .*? stroke="(.*?)"', drawing)
    assert [x for x, color in boxes if color == SECOND] == 2 * ["317.0"]
    assert [x for x, color in boxes if color == FIRST] == 2 * ["1.0"]
    assert drawing.count("<path") == 3


def test_a_skip_connection_goes_around_the_layers_to_the_sum():
    drawing = draw_skip(["conv", "conv", "conv"])
    [around] = re.findall(
        f'<path d="M46 78V30.*?H300Q310 20 310 30V64.*?stroke="{SECOND}"', drawing
    )
    assert around and drawing.count("<rect") == 3 and 'cx="310"' in drawing
