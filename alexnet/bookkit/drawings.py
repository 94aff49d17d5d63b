"""The drawings of the chapters, as SVG text: numbers and arrays in, markup out.

A drawing is 360 units wide, the width of a phone, unless it shows a photograph in its own pixels.
Blue is the first column or what is smaller, orange the second column or what is larger.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from html import escape
from itertools import cycle, groupby, pairwise
from math import ceil, floor, log2, log10
from textwrap import wrap

import numpy as np

from alexnet.bookkit.stats import Interval, verdict
from alexnet.bookkit.svg import (
    BOTH,
    FIRST,
    SECOND,
    element,
    embed_image,
    line,
    outline,
    pixel_image,
    svg,
)

WIDTH = 360
CROSSING = "#009e73"  # what goes from one column to the other


def draw_columns(
    shapes: Mapping[str, tuple[int, ...]],
    crossing: Sequence[str],
    chosen: str | None,
    traffic: Mapping[str, float] | None = None,
) -> str:
    """Draw the net of two columns, the image on top, with one layer highlighted.

    Args:
        shapes: output shape of each layer, both columns together, in order: (maps, height, width)
            or (units,). The first is the image; one whose name begins with "pool" is a thin slab.
        crossing: the layers that read both columns.
        chosen: the layer to highlight, with the lines that lead to it; None for all layers alike.
        traffic: how wide the lines are that lead to a layer from the other column, by layer; they
            are green then.
    """
    traffic = traffic or {}
    names = list(shapes)
    body = []
    y = 34.0  # of the middle of a block's top face
    above = []  # (x, y) of the blocks that the lines to this layer start from
    for name in names:
        shape = shapes[name]
        is_flat = len(shape) == 1
        half, depth, thickness = _block_size(shape)
        if name.startswith("pool"):
            thickness = 3.0
        blocks = [(88.0, FIRST), (212.0, SECOND)]  # middle and color
        if name == names[0]:
            blocks = [(150.0, BOTH)]  # the image is not split
        elif name == names[-1]:
            blocks = blocks[:1]  # the logits are all on the first GPU
        is_chosen = name == chosen

        for i, (x, color) in enumerate(blocks):
            for j, (x_above, y_above) in enumerate(above):
                reads_all = name in crossing or len(blocks) == 1 or len(above) == 1
                if not reads_all and i != j:
                    continue
                stroke, width = (color, 2.5) if is_chosen else ("currentColor", 0.6)
                if name in traffic and i != j:
                    stroke, width = CROSSING, round(traffic[name], 1)
                body.append(line(x_above, y_above, x, y - depth, stroke, width))
        for x, color in blocks:
            opacity = 1 if is_chosen or chosen is None else 0.6
            body.append(_block(x, y, half, depth, thickness, color, opacity))

        size = "×".join(str(length) for length in shape)
        weight = "bold" if is_chosen else "normal"
        size_place = (304, y + 8) if is_flat else (272, y + 13)  # flat: beside the name
        name_y = size_place[1] if is_flat else y + 1
        body.append(element("text", name, x=272, y=f"{name_y:.0f}", font_weight=weight))
        body.append(element("text", size, x=size_place[0], y=f"{size_place[1]:.0f}"))

        bottom = y + depth + thickness
        above = [(x, bottom) for x, _ in blocks]
        y = bottom + (20 if is_flat else 14 + depth)
    label = "The layers from the image down, in two columns"
    if chosen is not None:
        label += f"; {chosen} is picked out"
    return svg(WIDTH, round(y) - 4, label, "".join(body))


def _block_size(shape: tuple[int, ...]) -> tuple[float, float, float]:
    """Half the width, half the depth, and the thickness of the block that stands for a layer."""
    if len(shape) == 1:
        return 34.0, 0.0, 7.0
    maps, height, _ = shape
    half = 5 + 0.72 * min(height, 70)
    return half, half / 2.6, 3 + maps / 18


def _block(
    x: float, y: float, half: float, depth: float, thickness: float, color: str, opacity: float
) -> str:
    """A stack of maps seen from above: a diamond, as wide as a map, as thick as they are many.

    Args:
        x: middle of the top face.
        y: middle of the top face.
        half: from there to its left and right corners.
        depth: from there to its back and front corners.
        thickness: of the stack.
        color: of all faces.
        opacity: 0 to 1.
    """
    left, right = f"{x - half:.0f}", f"{x + half:.0f}"
    middle, level = f"{x:.0f}", f"{y:.0f}"
    back, front = f"{y - depth:.0f}", f"{y + depth:.0f}"
    level_below, front_below = f"{y + thickness:.0f}", f"{y + depth + thickness:.0f}"
    top = f"{left},{level} {middle},{back} {right},{level} {middle},{front}"
    sides = (
        f"{left},{level} {middle},{front} {right},{level} "
        f"{right},{level_below} {middle},{front_below} {left},{level_below}"
    )
    faces = element("polygon", points=sides, fill_opacity=0.75) + element("polygon", points=top)
    return element("g", faces, fill=color, stroke=color, stroke_linejoin="round", opacity=opacity)


def draw_depths(maps: int, window: int) -> str:
    """Draw how deep a kernel is that reads all maps, and beside it those that read half of them.

    Args:
        maps: how many there are; the first half is blue, the second orange.
        window: of the kernels.
    """
    half = maps // 2
    panels = [
        (8, 1, [(0, maps, BOTH)]),
        (188, 2, [(0, half, FIRST), (half + 8, half, SECOND)]),
    ]
    body = []
    described = []
    for left, groups, kernels in panels:
        gap = 8 * (groups - 1)  # between the halves that do not see each other
        depth = maps // groups
        weights = f"{window}×{window}×{depth} = {window**2 * depth:,} weights"
        body.append(element("text", f"groups={groups}", x=left, y=13, font_weight="bold"))
        for start, color in ((0, FIRST), (half + gap, SECOND)):
            body.append(_long_box(left + 1.3 * start, 40, 1.3 * half, 52, color, 0.35))
        for start, length, color in kernels:
            body.append(_long_box(left + 1.3 * start, 60, 1.3 * length, 14, color, 1))
        body.append(element("text", f"a kernel is {depth} maps deep:", x=left, y=110))
        body.append(element("text", weights, x=left, y=124))
        described.append(f"groups={groups}: a kernel is {depth} maps deep, {weights}")
    return svg(WIDTH, 130, "; ".join(described), "".join(body))


def _long_box(x: float, y: float, length: float, height: float, color: str, opacity: float) -> str:
    """A box whose front is a bar; its top and its right end recede, by a fourth of the height."""
    back = height / 4
    right = x + length
    front = {"x": f"{x:.1f}", "y": y, "width": f"{length:.1f}", "height": height}
    top = f"M{x:.1f} {y}l{back} -{back}h{length:.1f}l-{back} {back}z"
    end = f"M{right:.1f} {y}l{back} -{back}v{height}l-{back} {back}z"
    faces = element("rect", **front) + element("path", d=top) + element("path", d=end)
    return element("g", faces, fill=color, fill_opacity=opacity, stroke=color)


def draw_field(photo: np.ndarray, start: tuple[int, int], size: int, label: str) -> str:
    """Draw a photograph with the receptive field of a unit, and darken the rest.

    Args:
        photo: uint8 (H, W, 3).
        start: top and left edge of the field in pixels; below 0 it reaches into the padding.
        size: side of the field in pixels.
        label: alternative text.
    """
    height, width = photo.shape[:2]
    top, left = start
    # Two rectangles in one path, drawn in opposite directions: the second one is cut out.
    around = f"M0 0H{width}V{height}H0ZM{left} {top}v{size}h{size}v-{size}Z"
    body = (
        element("image", href=embed_image(photo), width=width, height=height)
        + element("path", d=around, fill="#000", fill_opacity=0.55)
        + _empty_square(left, top, size, 2)
    )
    return svg(width, height, label, body)


def _empty_square(left: int, top: int, size: int, stroke_width: int) -> str:
    """An empty orange square on a photograph."""
    return element(
        "rect",
        x=left,
        y=top,
        width=size,
        height=size,
        fill="none",
        stroke=SECOND,
        stroke_width=stroke_width,
    )


def draw_windows(size: int, count: int, kernel: int, stride: int, shown: int = 5) -> str:
    """Draw the last windows of a convolution on a row of pixels, and the pixels at its end.

    Args:
        size: pixels in the row.
        count: windows that the layer takes, from the left.
        kernel: pixels in a window.
        stride: pixels from one window to the next.
        shown: how many of the windows to draw.
    """
    end = (count - 1) * stride + kernel  # one past the last pixel that a window covers
    first = min(size, end) - kernel - shown * stride  # leftmost pixel that is drawn
    unit = 9.5  # width of a pixel in the drawing
    bottom = 44 + shown * 17
    body = []
    for pixel in range(first, max(size, end)):
        is_inside = pixel < size
        is_plain = is_inside and pixel < end  # neither padding nor left over
        color, opacity = ("currentColor", 0.25) if is_plain else (SECOND, 0.9)
        pixel_square = element(
            "rect",
            x=f"{10 + (pixel - first) * unit:.1f}",
            y=20,
            width=unit - 1.5,
            height=14,
            fill=color,
            stroke=color,
            fill_opacity=opacity if is_inside else 0.1,
            stroke_opacity=opacity,
            stroke_dasharray="none" if is_inside else "2 2",
        )
        body.append(pixel_square)

    for i in range(shown):
        window = count - shown + i
        start = window * stride
        x = 10 + (start - first) * unit
        y = 44 + i * 17
        is_over_edge = start + kernel > size
        color, ink = (SECOND, "#000") if is_over_edge else (FIRST, "#fff")
        width = f"{kernel * unit - 1.5:.1f}"
        number = {"x": f"{x + 4:.1f}", "y": y + 10, "font_size": 10.5, "font_weight": "bold"}
        body.append(element("rect", x=f"{x:.1f}", y=y, width=width, height=13, rx=2, fill=color))
        body.append(element("text", f"{window + 1}", **number, fill=ink))

    edge = 9.25 + (size - first) * unit
    edge_x = f"{edge:.1f}"
    stroke = {"stroke": "currentColor", "stroke_width": 1.5}
    zeros = f"{end - size} zeros" if end > size else ""
    last_pixel = f"pixel {size}, the last"
    body.append(element("line", x1=edge_x, y1=4, x2=edge_x, y2=bottom, **stroke))
    body.append(element("text", last_pixel, x=f"{edge - 4:.1f}", y=12, text_anchor="end"))
    body.append(element("text", zeros, x=f"{edge + 4:.1f}", y=12))
    label = f"{size} pixels: {count} windows, the last one ends at pixel {end}"
    return svg(WIDTH, bottom + 6, label, "".join(body))


def draw_ratios(rows: Mapping[str, tuple[int, int]], unit: str) -> str:
    """Draw each number beside its reference, on a scale where each mark is twice the one before.

    Args:
        rows: for each name the number and its reference.
        unit: what the reference is.
    """
    middle = 180  # where the number equals its reference
    doubling = 31  # width of a factor of two
    pitch = 46  # from one row to the next
    body = []
    for doublings in range(-5, 6):
        x = middle + doublings * doubling
        # The marks stand beside the bars only: the numbers are above them.
        marks = "".join(f"M{x} {44 + pitch * i}v23" for i in range(len(rows)))
        opacity = 0.15 if doublings else 0.9
        body.append(element("path", d=marks, stroke="currentColor", stroke_opacity=opacity))
        if doublings % 2 == 0:
            factor = _power_of_two(doublings) if doublings else unit
            body.append(element("text", factor, x=x, y=16, text_anchor="middle", font_size=10.5))

    described = []
    for i, (name, (value, reference)) in enumerate(rows.items()):
        smaller = value < reference  # a fraction then, as on the scale
        factor = f"1/{reference / value:.3g}" if smaller else f"{value / reference:.3g}×"
        doublings = min(max(log2(value / reference), -5.6), 5.6)  # longer bars stop at the edge
        x = middle + doubling * doublings
        y = 34 + pitch * i
        numbers = element("tspan", f"{value:,}", font_weight="bold") + f" ({factor})"
        bar = {
            "x": f"{min(x, middle):.1f}",
            "y": y + 14,
            "width": f"{max(abs(x - middle), 1.5):.1f}",
            "height": 15,
            "rx": 2,
        }
        color = FIRST if value <= reference else SECOND
        body.append(element("text", name, x=6, y=y + 8))
        body.append(element("text", numbers, x=354, y=y + 8, text_anchor="end"))
        body.append(element("rect", **bar, fill=color))
        described.append(f"{name}: {value:,}, {factor}{' of' if smaller else ''} {unit}")
    return svg(WIDTH, 40 + pitch * len(rows), "; ".join(described), "".join(body))


def _power_of_two(exponent: int) -> str:
    return f"{2**exponent}×" if exponent > 0 else f"1/{2**-exponent}"


def draw_cones(layers: int, most: int = 5) -> str:
    """Draw what one output sees of a row of pixels, in two ways side by side.

    On the left through several layers of kernel size 3, on the right through one layer with a
    kernel as wide as they see together.

    Args:
        layers: how many layers of three, 1 to ``most``.
        most: how many the drawing has room for.
    """
    pixels = 2 * most + 1  # in a row
    unit = 13  # from one pixel to the next
    pitch = 24  # from one layer to the next
    bottom = pitch * most + 22  # top edge of the row of pixels
    size = 2 * layers + 1  # pixels that are seen

    # (level, how many positions are seen there), from the output down to the pixels at level 0
    stacked = [(level, 1 + 2 * (layers - level)) for level in range(layers, -1, -1)]
    single = [(layers, 1), (0, size)]
    ways = [
        (f"{layers} × 3×3", FIRST, 20, stacked),
        (f"one {size}×{size}", SECOND, 197, single),
    ]
    body = []
    for level in range(most + 1):  # the rows stay where they are, with layers in them or without
        y = bottom - level * pitch + 6
        rule = {"stroke": "currentColor", "stroke_opacity": 0.15, "stroke_dasharray": "2 4"}
        body.append(element("path", d=f"M0 {y}H{WIDTH}", **rule))
    for name, color, left, levels in ways:
        middle = left + pixels * unit / 2
        above = []  # (x, y) of the positions that the lines start from
        for level, count in levels:
            y = bottom - level * pitch
            seen = [middle + unit * (i - (count - 1) / 2) for i in range(count)]
            reach = (count - len(above)) / 2 * unit  # of a kernel, to either side
            for x_above, y_above in above:
                for x in seen:
                    if abs(x - x_above) <= reach:
                        body.append(line(x_above, y_above, x, y, "currentColor", 0.5))
            above = [(x, y + 12) for x in seen]
            all_pixels = [left + unit * (i + 0.5) for i in range(pixels)]
            for x in all_pixels if level == 0 else seen:
                square = {"x": f"{x - 5.5:.1f}", "y": y, "width": 11, "height": 12, "rx": 2}
                fill, opacity = (color, 1) if x in seen else ("currentColor", 0.15)
                body.append(element("rect", **square, fill=fill, fill_opacity=opacity))
        place = {"x": f"{middle:.0f}", "y": 11, "text_anchor": "middle"}
        body.append(element("text", name, **place, font_weight="bold"))
    label = (
        f"One output sees {size} pixels in a row, through {layers} layers of three or one of {size}"
    )
    return svg(WIDTH, bottom + 18, label, "".join(body))


def draw_shares(
    rows: Mapping[str, Mapping[str, int]],
    colors: Sequence[str],
    longest: Mapping[str, int],
    marks: Mapping[str, int],
) -> str:
    """Draw a bar a row, divided into its parts; a part that is wide enough carries its percentage.

    Args:
        rows: for each bar its name, and the sizes of its parts by name. All bars have the same
            parts.
        colors: one a part.
        longest: for each bar the sum that is as long as the drawing is wide.
        marks: for each bar the sum of the paper's net, where a thin line stands.
    """
    pitch = 56  # from one bar to the next
    body = []
    described = []
    for i, (name, parts) in enumerate(rows.items()):
        total = sum(parts.values())
        x = 5.0
        y = 14 + pitch * i
        total_place = {"x": 355, "y": y, "text_anchor": "end", "font_weight": "bold"}
        body.append(element("text", name, x=5, y=y))
        body.append(element("text", f"{total:,}", **total_place))
        for size, color in zip(parts.values(), colors):
            width = 350 * size / longest[name]
            bar = {"x": f"{x:.1f}", "y": y + 6, "width": f"{width:.1f}", "height": 24}
            is_nearly_all = 0.995 <= size / total < 1
            percentage = f"{size / total:.{int(is_nearly_all)}%}" if width > 30 else ""
            middle = {"x": f"{x + width / 2:.1f}", "y": y + 22, "text_anchor": "middle"}
            ink = "#000" if color == SECOND else "#fff"
            body.append(element("rect", **bar, fill=color))
            body.append(element("text", percentage, **middle, fill=ink, font_weight="bold"))
            x += width
        mark = f"M{5 + 350 * marks[name] / longest[name]:.1f} {y + 2}v32"
        body.append(element("path", d=mark, stroke="currentColor", stroke_width=2))
        percentages = [f"{part} {size / total:.1%}" for part, size in parts.items()]
        described.append(f"{name} {total:,}: {', '.join(percentages)}")

    legend_x = 5
    legend_y = 18 + pitch * len(rows)
    for part, color in zip(next(iter(rows.values())), colors):
        square = {"x": legend_x, "y": legend_y - 9, "width": 10, "height": 10}
        body.append(element("rect", **square, fill=color))
        body.append(element("text", part, x=legend_x + 14, y=legend_y))
        legend_x += 30 + 6 * len(part)
    return svg(WIDTH, legend_y + 8, ". ".join(described), "".join(body))


def draw_levels(values: Mapping[str, float], low: int, high: int, label: str) -> str:
    """Draw a dot a name on a logarithmic axis from 10^low to 10^high, and the line through them.

    A dot that leaves the axis stops at its edge; its number is printed in any case.

    Args:
        values: place of each dot by name, zero or more.
        low: exponent of ten at the left end of the axis.
        high: exponent of ten at the right end.
        label: what the dots are, for the axis and the alternative text.
    """
    left = 62
    width = 216
    pitch = 22
    bottom = 18 + pitch * len(values)
    body = [element("text", label, x=left, y=bottom + 30)]
    for exponent in range(low, high + 1, 2 if high - low < 16 else 4):
        x = f"{left + width * (exponent - low) / (high - low):.0f}"
        mark = {"x1": x, "y1": 14, "x2": x, "y2": bottom}
        body.append(element("line", **mark, stroke="currentColor", stroke_opacity=0.2))
        power = "10" + element("tspan", f"{exponent}", dy=-4)
        place = {"x": x, "y": bottom + 14, "text_anchor": "middle"}
        body.append(element("text", power, **place))

    described, dots = [], []
    for i, (name, value) in enumerate(values.items()):
        number = f"{value:,.0f}" if 100 <= value < 1e5 else f"{value:.2g}"
        exponent = log10(value) if value > 0 else low
        exponent = min(max(exponent, low), high)
        y = 16 + pitch * i
        dots.append((left + width * (exponent - low) / (high - low), y + 9))
        body.append(element("text", name, x=left - 6, y=y + 12, text_anchor="end"))
        body.append(element("text", number, x=355, y=y + 12, text_anchor="end"))
        described.append(f"{name} {number}")
    for above, below in pairwise(dots):
        body.append(line(*above, *below, FIRST, 2))
    for x, y in dots:
        body.append(element("circle", cx=f"{x:.1f}", cy=y, r=5, fill=FIRST))
    return svg(WIDTH, bottom + 36, f"{label}: {', '.join(described)}", "".join(body))


def draw_signal(layers: Mapping[str, tuple[float, float, float]], low: int, high: int) -> str:
    """Draw how large a net's signal is from layer to layer, on a logarithmic axis.

    Blue is its size, orange and dashed the part of it that differs from image to image. What leaves
    the axis stops at its edge.

    Args:
        layers: for each layer its size, the part that differs, both more than zero, and the
            fraction of its units that are on, 0 to 1, which is printed below its name.
        low: exponent of ten at the lower end of the axis, even.
        high: exponent of ten at the upper end, even.
    """
    left, right = 34, 356
    bottom = 200
    pitch = (right - left) / len(layers)
    unit = (bottom - 24) / (high - low)  # height of a power of ten
    body = []
    for exponent in range(low, high + 1, 2):
        y = f"{bottom - unit * (exponent - low):.1f}"
        mark = {"x1": left, "y1": y, "x2": right, "y2": y}
        body.append(element("line", **mark, stroke="currentColor", stroke_opacity=0.2))
        power = "10" + element("tspan", f"{exponent}", dy=-4)
        body.append(element("text", power, x=left - 4, y=f"{float(y) + 4:.1f}", text_anchor="end"))
    body.append(element("text", "on", x=left - 4, y=bottom + 34, text_anchor="end"))

    described = []
    xs = [f"{left + pitch * (i + 0.5):.1f}" for i in range(len(layers))]
    for x, (name, (_, _, alive)) in zip(xs, layers.items()):
        for y, text in ((bottom + 18, escape(name)), (bottom + 34, f"{alive:.0%}")):
            body.append(element("text", text, x=x, y=y, text_anchor="middle"))
    kinds = (("size", FIRST, left + 6, "none"), ("what differs", SECOND, left + 48, "6 4"))
    for which, (kind, color, title_x, dashes) in enumerate(kinds):
        points, dots = [], ""
        for x, (name, values) in zip(xs, layers.items()):
            exponent = min(max(log10(values[which]), low), high)
            y = f"{bottom - unit * (exponent - low):.1f}"
            points.append(f"{x},{y}")
            dots += element("circle", cx=x, cy=y, r=4, fill=color)
            described.append(f"{kind} of {name} {values[which]:.2g}")
        path = {"stroke": color, "stroke_width": 2.5, "stroke_dasharray": dashes}
        body.append(element("polyline", points=" ".join(points), fill="none", **path) + dots)
        title = {"fill": color, "font_weight": "bold"}
        body.append(element("text", kind, x=title_x, y=14, **title))
    return svg(WIDTH, bottom + 42, ", ".join(described), "".join(body))


# Seconds in each unit, from the largest on
UNITS = {"year": 31_557_600, "day": 86_400, "hour": 3600, "minute": 60, "second": 1}


def in_words(seconds: float) -> str:
    """Write a duration in the largest unit that there is one of, such as "5.5 days"."""
    for name, unit in UNITS.items():
        if seconds >= unit or unit == 1:
            number = f"{seconds / unit:.2g}" if seconds < 100 * unit else f"{seconds / unit:,.0f}"
            return f"{number} {name}" if number == "1" else f"{number} {name}s"
    raise AssertionError("the last unit is taken in any case")


def draw_durations(
    seconds: Mapping[str, float], notes: Mapping[str, str] | None = None, title: str = ""
) -> str:
    """Draw a bar a name on a logarithmic axis of time, with its length in words.

    Args:
        seconds: length of each bar by name; shorter than a second is drawn as one, longer than 100
            years as 100. The first bar is blue, and the others, with which it is compared, gray.
        notes: what stands at the right above a bar, by name.
        title: stands above all.
    """
    notes = notes or {}
    left, width, pitch = 22, 326, 44
    decade = width / log10(100 * UNITS["year"])  # from a second to a hundred years
    top = 24 if title else 0
    bottom = top + 6 + pitch * len(seconds)
    body = []
    if title:
        body.append(element("text", escape(title), x=left, y=15, font_size=13))
    for name, unit in UNITS.items():
        x = f"{left + decade * log10(unit):.0f}"
        # The marks stand beside the bars only: the words are above them.
        marks = "".join(f"M{x} {top + 22 + pitch * i}v22" for i in range(len(seconds)))
        body.append(element("path", d=marks, stroke="currentColor", stroke_opacity=0.3))
        body.append(element("text", name, x=x, y=bottom + 14, text_anchor="middle"))

    described = []
    for i, (name, value) in enumerate(seconds.items()):
        y = top + 4 + pitch * i
        length = min(max(decade * log10(value), 1), width) if value > 1 else 1
        text = f"{name}: {in_words(value)}"
        color = BOTH if i else FIRST
        bar = {"width": f"{length:.1f}", "height": 16, "rx": 2, "fill": color}
        body.append(element("text", text, x=left, y=y + 15, font_size=13, font_weight="bold"))
        if name in notes:
            note = {"x": left + width, "y": y + 15, "text_anchor": "end"}
            body.append(element("text", escape(notes[name]), **note))
        body.append(element("rect", x=left, y=y + 21, **bar))
        described.append(f"{text}, {notes[name]}" if name in notes else text)
    label = ", ".join(described)
    return svg(WIDTH, bottom + 20, f"{title}: {label}" if title else label, "".join(body))


def draw_sharing(ways: Mapping[str, tuple[str, Mapping[str, tuple[bool, str]]]]) -> str:
    """Draw how two GPUs share the work, one way below the other.

    Args:
        ways: by name of a way, a sentence on it, and for each part, such as the images or a kind of
            layer: whether a GPU has all of it, or half; and what crosses there, or nothing.
    """
    pitch, full, apart = 112, 52, 32
    body = []
    said = []
    for i, (name, (sentence, shares)) in enumerate(ways.items()):
        top = pitch * i
        panel = WIDTH / len(shares)
        body.append(element("text", escape(name), x=0, y=top + 13, font_weight="bold"))
        body.append(element("text", escape(sentence), x=0, y=top + 29))
        said.append(f"{name}: {sentence}")
        for at, (part, (is_whole, crosses)) in enumerate(shares.items()):
            middle = panel * (at + 0.5)
            label = {"x": middle, "y": top + 50, "text_anchor": "middle"}
            body.append(element("text", escape(part), **label))
            y = top + 56
            width = full if is_whole else full / 2
            has = "all" if is_whole else "half"
            for side, color, ink in ((-1, FIRST, "#fff"), (1, SECOND, "#000")):
                x = middle + side * apart
                box = {"x": x - width / 2, "y": y, "width": width, "height": 20}
                body.append(element("rect", **box, fill=color))
                inside = {"x": x, "y": y + 14, "text_anchor": "middle", "fill": ink}
                body.append(element("text", has, **inside))
            said.append(f"{part}, {has} on each" + f", {crosses} cross" * bool(crosses))
            if crosses:
                gap = apart - width / 2
                body.append(line(middle - gap, y + 10, middle + gap, y + 10, CROSSING, 4))
                word = {"x": middle, "y": y + 33, "text_anchor": "middle", "fill": CROSSING}
                body.append(element("text", escape(crosses), **word))
    return svg(WIDTH, pitch * len(ways) - 16, "; ".join(said), "".join(body))


def draw_filled(rows: Mapping[str, tuple[str, float]], colors: Sequence[str] = (FIRST,)) -> str:
    """Draw bars that fill a frame in part, the name of each to the left, its number to the right.

    Args:
        rows: for each bar by its name what stands to its right, and how much of it is full, 0 to 1.
        colors: of the bars, in turn.
    """
    left, width, pitch = 92, 150, 24
    body = []
    described = []
    for i, ((name, (text, share)), color) in enumerate(zip(rows.items(), cycle(colors))):
        y = 4 + pitch * i
        bar = {"x": left, "y": y, "height": 16}
        body.append(element("rect", **bar, width=width, fill=BOTH, fill_opacity=0.3))
        body.append(element("rect", **bar, width=f"{width * share:.1f}", fill=color))
        body.append(element("text", escape(name), x=left - 8, y=y + 12, text_anchor="end"))
        body.append(element("text", escape(text), x=left + width + 8, y=y + 12, font_weight="bold"))
        described.append(f"{name} {text}, {share:.0%} of all")
    return svg(WIDTH, pitch * len(rows) + 4, "; ".join(described), "".join(body))


def draw_nets(
    nets: Sequence[tuple[str, str, Sequence[int] | None, Sequence[float]]],
    low: int,
    high: int,
    label: str,
) -> str:
    """Draw kinds of nets as small columns of five layers, each beside the numbers of its runs.

    Args:
        nets: for each kind its name, what stands below it, the layers (2 to 5) that read both
            columns, or None for a net of one column, and its numbers from low to high.
        low: left end of the axis.
        high: right end.
        label: what the numbers are, for the axis and the alternative text.
    """
    left, right, pitch = 186, 346, 84
    bottom = 8 + pitch * len(nets)

    place = partial(np.interp, xp=(low, high), fp=(left, right))
    body = []
    for tick in range(low, high + 1):
        line_down = f"M{place(tick):.1f} 8V{bottom}"
        body.append(element("path", d=line_down, stroke="currentColor", stroke_opacity=0.2))
        at_tick = {"x": f"{place(tick):.1f}", "y": bottom + 15, "text_anchor": "middle"}
        body.append(element("text", f"{tick}", **at_tick))
    described = []
    for i, (name, remark, crossing, numbers) in enumerate(nets):
        y = 14 + pitch * i
        body.append(_small_net(crossing, y))
        body.append(element("text", escape(name), x=66, y=y + 28, font_weight="bold"))
        body.append(element("text", escape(remark), x=66, y=y + 44))
        mean = sum(numbers) / len(numbers)
        stroke = f"M{place(mean):.1f} {y + 16}v36"
        body.append(element("path", d=stroke, stroke=FIRST, stroke_width=3))
        dot = {"cy": y + 34, "r": 5, "fill": FIRST, "fill_opacity": 0.7}
        body.extend(element("circle", cx=f"{place(number):.1f}", **dot) for number in numbers)
        described.append(f"{name}, {remark}: {mean:.1f}")
    axis = {"x": (left + right) // 2, "y": bottom + 32, "text_anchor": "middle"}
    body.append(element("text", escape(label), **axis))
    return svg(WIDTH, bottom + 40, f"{label}: {'; '.join(described)}", "".join(body))


def draw_kinds(kinds: Mapping[str, tuple[str, Sequence[int] | None]]) -> str:
    """Draw kinds of nets beside each other as small columns of five layers, their names below.

    Args:
        kinds: by name what stands below it, and the layers (2 to 5) that read both columns, or
            None for a net of one column.
    """
    panel = WIDTH / len(kinds)
    body = []
    for i, (name, (remark, crossing)) in enumerate(kinds.items()):
        middle = panel * (i + 0.5)
        shift = f"translate({middle - 30:.1f} 0)"  # a small net's middle is at 30
        body.append(element("g", _small_net(crossing, 6), transform=shift))
        place = {"x": f"{middle:.1f}", "text_anchor": "middle"}
        body.append(element("text", escape(name), y=88, font_weight="bold", **place))
        body.append(element("text", escape(remark), y=103, **place))
    described = "; ".join(f"{name}: {remark}" for name, (remark, _) in kinds.items())
    return svg(WIDTH, 110, described, "".join(body))


def _small_net(crossing: Sequence[int] | None, y: int) -> str:
    """Five layers as bars, in one column or two; green lines where one reads both."""
    middles = {FIRST: 30} if crossing is None else {FIRST: 18, SECOND: 46}
    body = []
    for n in range(1, 6):
        level = y + 14 * (n - 1)
        for color, x in middles.items():
            bar = {"x": x - 11, "y": level, "width": 22, "height": 6, "rx": 1}
            body.append(element("rect", **bar, fill=color))
            if n > 1:
                body.append(line(x, level - 8, x, level, "currentColor", 1))
        if n > 1 and n in (crossing or ()):
            body.append(line(18, level - 8, 46, level, CROSSING, 2))
            body.append(line(46, level - 8, 18, level, CROSSING, 2))
    return "".join(body)


def draw_beside(
    left: Sequence[tuple[str, str] | None],
    right: Sequence[tuple[str, str, bool] | None],
    headings: tuple[str, str],
    label: str,
    anchors: Mapping[str, str] | None = None,
) -> str:
    """Draw two lists of steps beside each other, with a line between those that are the same step.

    Args:
        left: name and text of each step, from the top down; None leaves a gap.
        right: likewise, and whether the step is drawn in orange.
        headings: of the two lists.
        label: alternative text.
        anchors: where on the page a step on the right leads, by its name.
    """
    pitch, height, width = 34, 28, 160  # for a finger, too
    sides = [(4, headings[0]), (WIDTH - 4 - width, headings[1])]
    body = []
    places = {}  # middle of each step on the left
    for x, heading in sides:
        body.append(element("text", escape(heading), x=x, y=13, font_weight="bold"))
    for (x, _), steps in zip(sides, (left, right)):
        for i, step in enumerate(steps):
            if step is None:
                continue
            name, text, *marked = step
            y = 22 + pitch * i
            is_marked = any(marked)
            color = SECOND if is_marked else BOTH
            box = {"x": x, "y": y, "width": width, "height": height, "rx": 3}
            fill = {"fill": color, "fill_opacity": 0.3 if is_marked else 0.12}
            drawn = element("rect", **box, **fill, stroke=color)
            drawn += element("text", escape(text), x=x + 6, y=y + 18)
            if steps is right and name in (anchors or {}):
                drawn = element("a", drawn, href=f"#{anchors[name]}")
            body.append(drawn)
            middle = y + height / 2
            if steps is left:
                places[name] = middle
            elif name in places:
                ends = (4 + width, places[name], x, middle)
                body.append(line(*ends, color, 2 if is_marked else 1))
    return svg(WIDTH, 24 + pitch * max(len(left), len(right)), label, "".join(body))


def draw_waterfall(values: Mapping[str, float], label: str) -> str:
    """Draw numbers that fall, a bar each, with what each takes off the one before it.

    Args:
        values: in per cent, by name, each at most the one before it.
        label: alternative text, before the numbers.
    """
    pitch, height, left = 42, 17, 4
    unit = (WIDTH - 2 * left) / max(values.values())
    body = []
    described = []
    before = None
    for i, (name, value) in enumerate(values.items()):
        y = 20 + pitch * i
        end = left + unit * value
        place = {"y": y, "height": height}
        body.append(element("text", escape(name), x=left, y=y - 5))
        kept = {"x": left, "width": f"{unit * value:.1f}", "fill": BOTH, "fill_opacity": 0.45}
        body.append(element("rect", **place, **kept))
        text = f"{value:.1f} %"
        if before is not None:
            taken = before - value
            off = {"x": f"{end:.1f}", "width": f"{unit * taken:.1f}", "fill": FIRST}
            body.append(element("rect", **place, **off))
            text += f" (−{taken:.1f})"
        place = {"x": WIDTH - left, "y": y - 5, "text_anchor": "end", "font_weight": "bold"}
        body.append(element("text", text, **place))
        described.append(f"{name} {text}")
        before = value
    return svg(WIDTH, 4 + pitch * len(values), f"{label}: {', '.join(described)}", "".join(body))


def draw_ruler(
    rows: Mapping[str, Sequence[float]],
    laid: Mapping[str, tuple[float, str]],
    ends: tuple[float, float],
    label: str,
    hollow: Collection[float] = (),
) -> str:
    """Draw rows of dots with the bands of their ranges, and below them what is laid beside.

    Args:
        rows: numbers by name, from low to high.
        laid: by name, a number and what is written at the right of its row; a line goes up from it.
        ends: of the axis.
        label: what the numbers are, for the axis and the alternative text.
        hollow: those of the numbers that are rings and not dots.
    """
    left, right, pitch = 112, 316, 30
    bottom = 16 + pitch * (len(rows) + len(laid))

    place = partial(np.interp, xp=ends, fp=(left, right))
    body = [element("text", label, x=(left + right) // 2, y=bottom + 30, text_anchor="middle")]
    for tick in range(ceil(2 * ends[0]), floor(2 * ends[1]) + 1):
        x = f"{place(tick / 2):.1f}"
        body.append(element("text", f"{tick / 2:.1f}", x=x, y=bottom + 14, text_anchor="middle"))
    axis = {"x1": left, "x2": right, "y1": bottom, "y2": bottom}
    body.append(element("line", **axis, stroke="currentColor", stroke_opacity=0.4))
    described = []
    for i, (name, numbers) in enumerate(rows.items()):
        y = 20 + pitch * i
        start, end = place(min(numbers)), place(max(numbers))
        band = {"x": f"{start:.1f}", "width": f"{end - start:.1f}", "fill": BOTH}
        body.append(element("rect", **band, y=y - 12, height=24, fill_opacity=0.4))
        body.append(element("rect", **band, y=8, height=bottom - 8, fill_opacity=0.15))
        for number, lower in zip(numbers, cycle((0, -7, 7))):  # so that none hides another
            dot = {"cx": f"{place(number):.1f}", "cy": y + lower, "r": 3.5}
            ink = {"stroke": "currentColor", "fill": FIRST}
            opacity = 0 if number in hollow else 1
            body.append(element("circle", **dot, **ink, fill_opacity=opacity))
        body.append(element("text", escape(name), x=left - 8, y=y + 4, text_anchor="end"))
        described.append(f"{name} {min(numbers):.2f} to {max(numbers):.2f}")
    for i, (name, (value, text)) in enumerate(laid.items(), len(rows)):
        y = 20 + pitch * i
        x = f"{place(value):.1f}"
        body.append(element("line", x1=x, x2=x, y1=8, y2=y, stroke=SECOND, stroke_width=2))
        body.append(element("circle", cx=x, cy=y, r=5, fill=SECOND))
        body.append(element("text", escape(name), x=left - 8, y=y + 4, text_anchor="end"))
        written = {"x": 356, "y": y + 4, "text_anchor": "end", "font_weight": "bold"}
        body.append(element("text", _with_minus(text), **written))
        described.append(f"{name} {value:.2f}")
    return svg(WIDTH, bottom + 36, f"{label}: {', '.join(described)}", "".join(body))


def draw_lineage(rows: Sequence[tuple[str, str, str, bool]]) -> str:
    """Draw training runs that were developed from each other, one below the other.

    Args:
        rows: name, error, and what changed for each run; and whether it is a branch of the line's
            last run. The line itself comes first.
    """
    left = 14  # of the line that connects the runs
    body = []
    y = 14
    joint = 0  # height of the line's last run
    for name, error, changed, is_branch in rows:
        x = left + 22 if is_branch else left
        if is_branch:
            path = f"M{left} {joint}V{y}H{x}"
            body.insert(0, element("path", d=path, fill="none", stroke=BOTH, stroke_width=1.5))
        else:
            if joint:
                body.insert(0, line(x, joint, x, y, FIRST, 3))
            joint = y
        dot = element("circle", cx=x, cy=y, r=4.5, fill=SECOND if is_branch else FIRST)
        body.append(dot)
        body.append(element("text", escape(name), x=x + 12, y=y + 4, font_weight="bold"))
        body.append(element("text", escape(error), x=WIDTH - 4, y=y + 4, text_anchor="end"))
        for text in wrap(changed, 50 if is_branch else 54):
            y += 14
            body.append(element("text", escape(text), x=x + 12, y=y + 4, font_size=10.5))
        y += 19
    described = "; ".join(f"{name}: {changed} {error}".strip() for name, error, changed, _ in rows)
    return svg(
        WIDTH, y - 4, f"Runs that were developed from each other. {described}", "".join(body)
    )


def draw_lineage_map(
    parents: Mapping[str, Sequence[str]], filled: Collection[str], labelled: Collection[str]
) -> tuple[str, list[tuple[int, int]]]:
    """Draw all runs as dots: a generation lower each, in their order from left to right.

    Args:
        parents: of each run, the first of them first, in order; a parent stands before its child.
        filled: the runs that are drawn as discs; the others are rings.
        labelled: the runs that have their names beside them.

    Returns:
        The markup of what the drawing consists of, without an ``<svg>`` around it; and the place of
        each run.
    """
    generations: dict[str, int] = {}
    places: dict[str, tuple[int, int]] = {}
    lines = discs = rings = names = ""
    for i, (name, above) in enumerate(parents.items()):
        generation = 1 + generations[above[0]] if above else 0
        generations[name] = generation
        x = round(8 + (WIDTH - 16) * i / (len(parents) - 1))
        y = 16 + 9 * generation
        places[name] = (x, y)
        for parent in above:
            parent_x, parent_y = places[parent]
            lines += f"M{parent_x} {parent_y}L{x} {y}"
        if name in filled:
            discs += f"M{x} {y}h0"
        else:
            rings += f"M{x - 1.5} {y}a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0-3 0"
        if name in labelled:
            names += element("text", escape(name), x=x + 3, y=y - 6, font_size=11)
    ink = {"fill": "none", "stroke": "currentColor"}
    body = element("path", d=lines, **ink, stroke_opacity=0.25)
    body += element("path", d=rings, **ink, stroke_opacity=0.7)
    body += element("path", d=discs, **ink, stroke_width=5, stroke_linecap="round")
    return body + element("g", names, fill="currentColor"), list(places.values())


def draw_before_and_after(
    before: Sequence[float],
    after: Sequence[float],
    divisors: Sequence[float],
    top: float,
    marked: int,
    reach: int,
    working: Sequence[str] = (),
) -> str:
    """Draw what maps put out, as pairs of bars from zero: gray before, in color what is left.

    Below each pair stands the number of the map, below those on the tinted ground also what they
    are divided by, and below all of them how one map's number is computed.

    Args:
        before: zero or more each.
        after: as many, zero or more each.
        divisors: as many.
        top: the value at the upper edge; longer bars stop there.
        marked: the map whose bar is orange, not blue.
        reach: how many maps it hears to either side; they stand on a tinted ground.
        working: lines of text or tspans.
    """
    unit = 322 / len(before)  # width of a pair
    height = 150
    zero = height + 10
    rows = {"map": zero + 16, "÷": zero + 32}
    small = {"font_size": 10.5}
    first, last = max(marked - reach, 0), min(marked + reach, len(before) - 1)
    step = 1 if reach <= 2 else 2  # long rows of divisors would run together on a phone
    ground = {"x": f"{32 + first * unit:.1f}", "width": f"{(last - first + 1) * unit:.1f}"}
    body = [element("rect", **ground, y=2, height=zero + 18, fill=SECOND, fill_opacity=0.2)]
    body.append(element("line", x1=30, y1=zero, x2=356, y2=zero, stroke="currentColor"))
    for tick in (0, top / 2, top):
        y = 10 + height * (1 - tick / top)
        name = {"x": 26, "y": f"{y + 4:.0f}", "text_anchor": "end"}
        body.append(element("text", f"{tick:g}", **name, **small))
        across = {"x1": 30, "y1": f"{y:.0f}", "x2": 356, "y2": f"{y:.0f}"}
        body.append(element("line", **across, stroke="currentColor", stroke_opacity=0.15))
    for name, y in rows.items():
        body.append(element("text", name, x=26, y=y, text_anchor="end", **small))

    described = []
    for i, (old, new, divisor) in enumerate(zip(before, after, divisors, strict=True)):
        x = 32 + i * unit
        color = SECOND if i == marked else FIRST
        lengths = [height * min(value / top, 1) for value in (old, new)]
        body.append(_bar_up(x + 0.05 * unit, zero, 0.9 * unit, lengths[0], BOTH, 0.4))
        body.append(_bar_up(x + 0.2 * unit, zero, 0.6 * unit, lengths[1], color, 1))
        middle = {"x": f"{x + 0.5 * unit:.1f}", "text_anchor": "middle"}
        body.append(element("text", str(i), **middle, y=rows["map"], font_size=11.5))
        if first <= i <= last and (i - marked) % step == 0:
            divided = f"{divisor:.1f}" if divisor < 10 else f"{divisor:.0f}"
            body.append(element("text", divided, **middle, y=rows["÷"], **small))
        described.append(f"{old:.0f} to {new:.1f}")
    for i, text in enumerate(working):
        body.append(element("text", text, x=32, y=zero + 56 + 19 * i, font_size=12.5))
    label = f"the output of each map, before and after: {', '.join(described)}"
    return svg(WIDTH, height + 54 + 19 * len(working), label, "".join(body))


def _bar_up(x: float, zero: float, width: float, length: float, color: str, opacity: float) -> str:
    place = {"x": f"{x:.1f}", "y": f"{zero - length:.1f}"}
    size = {"width": f"{width:.1f}", "height": f"{length:.1f}"}
    return element("rect", **place, **size, fill=color, fill_opacity=opacity)


def draw_answers(
    answers: Mapping[str, float],
    watched: str,
    left: Mapping[str, float],
    most: float,
) -> str:
    """Draw what neighbouring maps answer at one place, and what several ways leave of one of them.

    Above, bars up and down from zero; below, one bar for each way, on a scale that ends at the
    answer itself.

    Args:
        answers: before any normalisation, by the name of the map.
        watched: the map in question, which is orange; its answer is above zero.
        left: what each way leaves of it, by the name of the way.
        most: the longest bar that the upper half has room for, up or down.
    """
    unit = 340 / len(answers)  # width of a map
    zero, scale = 88, 56 / most
    body = [element("text", "what each map answers", x=4, y=12)]
    body.append(line(4, zero, 356, zero, "currentColor", 1))
    for i, (name, value) in enumerate(answers.items()):
        x = 10 + (i + 0.5) * unit
        color = SECOND if name == watched else BOTH
        long = scale * abs(value)
        top = zero - long if value > 0 else zero
        bar = {"x": f"{x - 0.3 * unit:.1f}", "width": f"{0.6 * unit:.1f}", "fill": color}
        body.append(element("rect", **bar, y=f"{top:.1f}", height=f"{long:.1f}"))
        texts = {name: 174, _with_minus(f"{value:.0f}"): top - 4 if value > 0 else top + long + 11}
        for text, y in texts.items():
            body.append(
                element("text", escape(text), x=f"{x:.1f}", y=f"{y:.1f}", text_anchor="middle")
            )

    whole = answers[watched]
    body.append(element("text", f"what is left of the {whole:g} of {escape(watched)}", x=4, y=202))
    for i, (name, rest) in enumerate(left.items()):
        y = 220 + 36 * i
        body.append(element("text", escape(name), x=4, y=y))
        frame = {"x": 4, "y": y + 5, "height": 12, "stroke": SECOND}
        body.append(element("rect", **frame, width=300, fill="none"))
        body.append(element("rect", **frame, width=f"{300 * rest / whole:.1f}", fill=SECOND))
        number = {"x": 356, "y": y + 15, "text_anchor": "end", "font_weight": "bold"}
        body.append(element("text", f"{rest:.1f}", **number))
    before = ", ".join(f"{name} {value:.0f}" for name, value in answers.items()).replace(" -", " −")
    after = ", ".join(f"{name} {rest:.1f}" for name, rest in left.items())
    label = f"{before}; of {watched} are left: {after}"
    return svg(WIDTH, 206 + 36 * len(left), label, "".join(body))


def draw_pooled(values: np.ndarray, result: np.ndarray, window: int, stride: int) -> str:
    """Draw a map with four of the windows that pool it, in the middle, and the pooled map.

    Args:
        values: (H, H), 0 to 1, the map.
        result: (h, h), 0 to 1, the pooled map.
        window: side of a window, in positions of the map.
        stride: from one window to the next, in positions of the map.
    """
    unit = 168 / len(values)  # side of a position
    before = f"{len(values)}×{len(values)}"
    after = f"{len(result)}×{len(result)}"
    body = [
        pixel_image(values, 4, 20, 168),
        pixel_image(result, 190, 20, unit * stride * len(result)),
        element("text", f"map, {before} = {values.size}", x=4, y=14),
        element("text", f"pooled, {after} = {result.size}", x=190, y=14),
    ]
    # Four neighboring windows, the first one on top of the others
    first = max(0, len(result) // 2 - 1)
    for row, column, color in ((1, 1, FIRST), (1, 0, FIRST), (0, 1, FIRST), (0, 0, SECOND)):
        if max(row, column) + first >= len(result):
            continue
        x = 4 + (first + column) * stride * unit
        y = 20 + (first + row) * stride * unit
        body.append(outline(x, y, window * unit, color))
    x, y = 190 + first * stride * unit, 20 + first * stride * unit
    body.append(outline(x, y, unit * stride, SECOND))
    label = f"windows of {window} that move by {stride} leave {after} of {before} values"
    return svg(WIDTH, 216, label, "".join(body))


def draw_shifted(
    maps: Mapping[str, np.ndarray],
    changes: Mapping[str, tuple[float, float | None, str]],
    chosen: str,
    cells: str = "",
) -> str:
    """Draw maps before and after a shift and how they differ, above a bar or two a window.

    The end of the scale is another photograph.

    Args:
        maps: (h, h) each, 0 to 1, by what stands above; four of them have room.
        changes: of maps pooled with each window, by its name: in per cent of what another
            photograph would change, where they lie and once moved back, and a color. The second
            is None where no map is moved back.
        chosen: the window that the maps were pooled with; the other bars are faint.
        cells: by how much its map is moved back, such as "1 cell"; empty: it is not.
    """
    top = 162 if cells else 142
    left, unit, pitch = 42, 2.7, 23  # of the bars, a per cent a unit
    where_it_lies, moved_back, _ = changes[chosen]
    said = f"{where_it_lies:.0f} % of the way to another photograph"
    body = element("text", said, x=2, y=126, font_size=14, font_weight="bold")
    if cells:
        back = f"{moved_back:.0f} % once the map is moved back by {cells}"
        body += element("text", back, x=2, y=146)
        said += f", {back}"
    for i, (name, values) in enumerate(maps.items()):
        x = 92 * i
        body += element("text", name, x=x, y=14)
        brighter = np.sqrt(values.clip(0, 1))
        shades = (15 * brighter).round() / 15  # fewer take less room
        body += pixel_image(shades, x, 20, 84)
    end = left + 100 * unit
    body += line(end, top - 4, end, top + pitch * len(changes), BOTH, 3)
    for row, (name, change) in enumerate(changes.items()):
        y = top + pitch * row
        weight = {"font_weight": "bold"} if name == chosen else {}
        body += element("text", name, x=left - 6, y=y + 11, text_anchor="end", **weight)
        body += _bars(left, y, unit, change, name == chosen)
        beside = left + unit * change[0] + 5
        if beside + 30 > end:  # not on the line
            beside = end + 6
        body += element("text", f"{change[0]:.0f} %", x=f"{beside:.1f}", y=y + 10, **weight)
    return svg(WIDTH, top + pitch * len(changes), f"{chosen}: {said}", body)


def _bars(
    left: float, y: float, unit: float, change: tuple[float, float | None, str], chosen: bool
) -> str:
    """Draw what a shift changes, and below it, narrow, what it does once moved back."""
    where_it_lies, moved_back, color = change
    faint = {} if chosen else {"fill_opacity": 0.4}
    bar = {"x": left, "fill": color, **faint}
    body = element("rect", y=y, width=f"{unit * where_it_lies:.1f}", height=11, **bar)
    if moved_back is None:
        return body
    bar["fill"] = "currentColor"
    return body + element("rect", y=y + 12, width=f"{unit * moved_back:.1f}", height=4, **bar)


def draw_units(values: Sequence[float], kept: Sequence[bool], top: float, label: str) -> str:
    """Draw a layer as discs whose areas are its outputs; a unit that is dropped is a cross.

    Args:
        values: output of each unit, zero or more.
        kept: whether the unit is kept.
        top: the value of the largest disc that has room.
        label: alternative text.
    """
    across = 16  # units in a row
    pitch = 22.4
    body = []
    for i, (value, is_kept) in enumerate(zip(values, kept, strict=True)):
        row, column = divmod(i, across)
        x = 12 + pitch * column
        y = 12 + pitch * row
        # Every unit has both shapes, one of them not to be seen, so that the page can change from
        # one to the other by changing two numbers.
        radius = 10 * min(value / top, 1) ** 0.5 if is_kept else 0
        disc = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{radius:.1f}"}
        body.append(element("circle", **disc, fill=FIRST))
        left, right, upper, lower = x - 4, x + 4, y - 4, y + 4
        cross = f"M{left:.1f} {upper:.1f}L{right:.1f} {lower:.1f}"
        cross += f"M{left:.1f} {lower:.1f}L{right:.1f} {upper:.1f}"
        shown = 0 if is_kept else 1
        body.append(element("path", d=cross, stroke=SECOND, stroke_width=2, opacity=shown))
    last_row = (len(values) - 1) // across
    return svg(WIDTH, round(24 + pitch * last_row), label, "".join(body))


def draw_sums(sums: Sequence[float], chosen: float, at_test: float, top: float) -> str:
    """Draw what the unit behind a layer with dropout is given, on an axis from 0.

    Args:
        sums: one for each of many masks, a gray stroke each.
        chosen: of the mask that is shown, a blue disc.
        at_test: when no unit is dropped, an orange stroke.
        top: right end of the axis; what is larger stops there.
    """
    left, right = 12, 348
    unit = (right - left) / top

    def across(value: float) -> str:
        return f"{left + unit * min(value, top):.1f}"

    body = element("text", "what the next unit is given", x=left, y=12)
    strokes = "".join(f"M{across(value)} 38v14" for value in sums)
    body += element("path", d=strokes, stroke=BOTH, stroke_width=1.5)
    test = {"stroke": SECOND, "stroke_width": 3}
    body += element("path", d=f"M{across(at_test)} 34v22", **test)
    name = {"fill": SECOND, "font_weight": "bold", "text_anchor": "middle"}
    body += element("text", "at test", x=across(at_test), y=29, **name)
    body += line(left, 62, right, 62, "currentColor", 1)
    body += element("circle", cx=across(chosen), cy=62, r=6.5, fill=FIRST)  # hides no stroke
    for value in range(0, round(top) + 1, 20):
        body += element("text", f"{value}", x=across(value), y=83, text_anchor="middle")
    label = f"the next unit is given {chosen:.1f}, at test {at_test:.1f}"
    return svg(WIDTH, 87, label, body)


def draw_comparison(
    without: Sequence[float],
    with_part: Sequence[float],
    interval: Interval,
    truth: float | None = None,
) -> str:
    """Draw runs of two nets as dots, and below them the interval of the difference and the verdict.

    Args:
        without: of the net without the part the test errors, one a run, in points above or below
            their true mean.
        with_part: those of the net with it, from the same mean.
        interval: of how much lower the errors with the part are, in points.
        truth: the true difference, which gets a mark; None: it is not known.
    """
    left, middle = 68, 212
    scale, most = 34, 4  # units per point, and points to each side
    found = verdict(interval.low, interval.high)
    color = {"holds": FIRST, "does not hold": SECOND}.get(found, BOTH)

    def to_x(points: float) -> float:
        """The place of so many points fewer; what lies outside stops at the edge."""
        return middle + scale * max(-most, min(points, most))

    body = []
    rows = (("without", without, SECOND), ("with", with_part, FIRST))
    for y, (name, errors, row_color) in zip((22, 46), rows):
        body.append(element("text", name, x=left - 8, y=y + 4, text_anchor="end"))
        for error in errors:
            dot = {"cx": f"{to_x(-error):.1f}", "cy": y, "r": 4.5, "fill_opacity": 0.7}
            body.append(element("circle", **dot, fill=row_color))
        mean = to_x(-sum(errors) / len(errors))
        body.append(line(mean, y - 9, mean, y + 9, row_color, 2))
    body.append(element("text", "fewer errors →", x=WIDTH, y=68, text_anchor="end"))

    bottom = 136
    for tick in range(-most, most + 1, 2):
        mark = {"x1": to_x(tick), "y1": 84, "x2": to_x(tick), "y2": bottom}
        body.append(element("line", **mark, stroke="currentColor", stroke_opacity=0.3))
        number = _with_minus(f"{tick:+d}") if tick else "0"
        body.append(element("text", number, x=to_x(tick), y=150, text_anchor="middle"))
    zero = {"x1": middle, "y1": 78, "x2": middle, "y2": bottom}
    body.append(element("line", **zero, stroke="currentColor"))
    body.append(element("text", "difference", x=left - 8, y=110, text_anchor="end"))
    body.append(line(to_x(interval.low), 106, to_x(interval.high), 106, color, 6))
    for bound in interval[1:]:
        if abs(bound) > most:  # an arrow says that it goes on beyond the edge
            outwards = 12 if bound > 0 else -12
            tip = f"M{to_x(bound)} 97l{outwards} 9l{-outwards} 9z"
            body.append(element("path", d=tip, fill=color))
    body.append(element("circle", cx=f"{to_x(interval.mean):.1f}", cy=106, r=7, fill=color))
    unit, known = "points", ""
    if truth is not None:
        tip = f"M{to_x(truth):.1f} 120l-5 9h10z"
        body.append(element("path", d=tip, fill="currentColor"))
        unit, known = "points; the triangle is the truth", f" True difference {truth:.2f} points."
    body.append(element("text", unit, x=left, y=170))
    # On which side of zero a bound is must show
    is_close = min(abs(round(bound, 2)) for bound in interval[1:]) < 0.05
    said = _with_minus(f"{found}: {interval:.{2 if is_close else 1}f} points")
    body.append(element("text", said, x=left, y=192, font_weight="bold", font_size=14))
    label = f"{len(without)} runs of each net.{known} {said}"
    return svg(WIDTH, 198, label, "".join(body))


def _with_minus(text: str) -> str:
    """A text in which numbers below zero have a minus sign, not a hyphen."""
    return text.replace("-", "−")


def draw_landscape(level_lines: Sequence[np.ndarray], goal: Sequence[float]) -> str:
    """Draw a landscape seen from above, without its frame: the lower, the more color.

    Args:
        level_lines: for each level (n, 2), the closed line around what is lower.
        goal: x and y of the lowest point, which gets a cross.
    """
    body = ""
    for level_line in level_lines:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in level_line)
        edge = {"stroke": FIRST, "stroke_opacity": 0.5, "stroke_width": 0.7}
        body += element("polygon", points=points, fill=FIRST, fill_opacity=0.13, **edge)
    x, y = goal
    cross = f"M{x - 6:.1f} {y:.1f}h12m-6 -6v12"
    return body + element("path", d=cross, stroke="currentColor", stroke_width=2.5)


def draw_descent(landscape: str, points: np.ndarray, size: tuple[int, int], label: str) -> str:
    """Draw the path of an optimizer over a landscape seen from above.

    Args:
        landscape: markup by :func:`draw_landscape`.
        points: (n, 2), x and y of the path, from the ring to the filled disc; what lies outside of
            the drawing is cut off.
        size: width and height of the drawing.
        label: alternative text.
    """
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    body = element("polyline", points=path, fill="none", stroke=SECOND, stroke_width=1.5)
    for x, y in points:
        body += element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.5, fill=SECOND)
    for (x, y), fill in ((points[-1], SECOND), (points[0], "#fff")):
        disc = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": 6, "stroke": "#000"}
        body += element("circle", **disc, fill=fill, stroke_width=1.5)
    return svg(*size, label, landscape + body)


def draw_course(course: Sequence[float], without: Sequence[float], drop: int, label: str) -> str:
    """Draw a loss at each step on a logarithmic axis, beside what it would be without a drop.

    Args:
        course: the loss after each step, from 0.01 to 10; what is beyond stops at the edge.
        without: the same, had the learning rate not dropped.
        drop: the step before which it drops; none is marked if it is the number of steps.
        label: alternative text.
    """
    left, right, top, bottom = 40, 352, 38, 218

    def place(step: float, loss: float) -> tuple[float, float]:
        power = min(max(log10(loss), -2), 1)
        across = left + (right - left) * step / len(course)
        return across, top + (bottom - top) * (1 - power) / 3

    body = element("text", "mean height", x=2, y=14)
    for loss in (0.01, 0.1, 1, 10):
        _, y = place(0, loss)
        body += line(left, y, right, y, "#7d828b66", 1)
        body += element("text", f"{loss:g}", x=left - 5, y=f"{y + 4:.0f}", text_anchor="end")
    if drop < len(course):
        x, _ = place(drop, 1)
        body += line(x, top, x, bottom, "currentColor", 1)
        end = "end" if drop > len(course) / 2 else "start"
        body += element("text", "÷ 10", x=f"{x:.0f}", y=32, text_anchor=end)
    for losses, color, width in ((without, "#7d828b", 1.5), (course, SECOND, 2.5)):
        points = [place(step, loss) for step, loss in enumerate(losses, start=1)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        body += element("polyline", points=path, fill="none", stroke=color, stroke_width=width)
    body += element("text", "step", x=left, y=bottom + 17)
    body += element("text", f"{len(course)}", x=right, y=bottom + 17, text_anchor="end")
    return svg(WIDTH, bottom + 22, label, body)


def draw_crop(
    photo: np.ndarray, top: int, left: int, size: int, flip: bool, label: str, drags: str = ""
) -> str:
    """Draw a photograph with a crop marked on it, and the crop beside it.

    Args:
        photo: uint8 (H, W, 3).
        top: upper edge of the crop in pixels.
        left: left edge of the crop in pixels.
        size: side of the crop in pixels.
        flip: whether the crop is mirrored.
        label: alternative text.
        drags: the two choices of an explorer that the reader moves by dragging the crop across and
            down, as ``"left top"``.
    """
    height, width = photo.shape[:2]
    source = element("image", href=embed_image(photo), width=width, height=height)
    # Two rectangles in one path, drawn in opposite directions: the second one is cut out.
    around = f"M0 0H{width}V{height}H0ZM{left} {top}v{size}h{size}v-{size}Z"
    shade = element("path", d=around, fill="#000", fill_opacity=0.45)
    square = {"x": left, "y": top, "width": size, "height": size}
    edge = {"fill": "#fff", "fill_opacity": 0, "stroke": SECOND, "stroke_width": 4}
    if drags:
        edge["data_drags"] = drags
    crop_x = width + 12
    # The crop is the whole photograph, moved and perhaps mirrored, behind a window.
    move = f"translate({left + size} -{top}) scale(-1 1)" if flip else f"translate(-{left} -{top})"
    moved = element("g", source, transform=move)
    window = {"x": crop_x, "y": 0, "width": size, "height": size}
    crop = element("svg", moved, **window, viewBox=f"0 0 {size} {size}")
    return svg(
        crop_x + size, height, label, source + shade + element("rect", **square, **edge) + crop
    )


def draw_kept(photos: Mapping[str, np.ndarray], across: int, label: str) -> str:
    """Draw photographs, and darken what is cut off when the central square is kept.

    Args:
        photos: uint8 (H, W, 3) by caption.
        across: how many stand side by side.
        label: alternative text.
    """
    pitch = WIDTH / across
    room = pitch - 10  # width and height of a photograph at most
    body, bottom = "", 2.0
    named = list(photos.items())
    for first in range(0, len(named), across):
        row = named[first : first + across]
        scales = [room / max(photo.shape[:2]) for _, photo in row]
        tallest = max(photo.shape[0] * scale for (_, photo), scale in zip(row, scales))
        for column, ((caption, photo), scale) in enumerate(zip(row, scales)):
            high, wide = (scale * pixels for pixels in photo.shape[:2])
            x = (column + 0.5) * pitch - wide / 2
            y = bottom + (tallest - high) / 2
            whole = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{wide:.1f}"}
            whole["height"] = f"{high:.1f}"
            side = min(wide, high)
            left, top = x + (wide - side) / 2, y + (high - side) / 2
            square = {"x": f"{left:.1f}", "y": f"{top:.1f}"}
            square |= {"width": f"{side:.1f}", "height": f"{side:.1f}"}
            around = f"M{x:.1f} {y:.1f}h{wide:.1f}v{high:.1f}h-{wide:.1f}Z"
            around += f"M{left:.1f} {top:.1f}v{side:.1f}h{side:.1f}v-{side:.1f}Z"
            text = {"x": f"{(column + 0.5) * pitch:.1f}", "y": f"{bottom + tallest + 14:.1f}"}
            body += element("image", href=embed_image(photo), **whole)
            body += element("path", d=around, fill="#000", fill_opacity=0.65)
            body += element("rect", **whole, fill="none", stroke="currentColor", stroke_opacity=0.4)
            body += element("rect", **square, fill="none", stroke=SECOND, stroke_width=2)
            body += element("text", escape(caption), **text, text_anchor="middle")
        bottom += tallest + 26
    return svg(WIDTH, round(bottom), label, body)


def draw_filtered(
    photo: np.ndarray,
    result: np.ndarray,
    label: str,
    weights: np.ndarray | None = None,
    titles: tuple[str, str] = ("", ""),
) -> str:
    """Draw a gray photograph, and beside it what a kernel makes of it, a pixel a unit.

    The result is orange above zero, blue below zero and white at zero, and framed, since all of it
    can be zero.

    Args:
        photo: uint8 (H, W), at most 160 pixels a side.
        result: (h, w), any numbers.
        label: alternative text.
        weights: (k, k), the kernel, which is drawn between the two; None for none.
        titles: of the photograph and of the result.
    """
    high, wide = photo.shape
    body = ""
    photo_pixels = np.repeat(photo[..., None], 3, 2)  # (H, W, 3)
    for x, pixels in ((0, photo_pixels), (wide + 42, _signed_pixels(result))):
        height, width = pixels.shape[:2]
        place = {"x": x, "y": 18, "width": width, "height": height}
        sharp = "image-rendering:pixelated"
        body += element("image", href=embed_image(pixels), **place, style=sharp)
    height, width = result.shape
    frame = {"x": wide + 42, "y": 18, "width": width, "height": height}
    body += element("rect", **frame, fill="none", stroke="currentColor", stroke_opacity=0.5)
    if not result.any():
        middle = {"x": wide + 42 + width / 2, "y": 22 + height / 2}
        body += element("text", "all zero", **middle, text_anchor="middle", fill="#000")
    for x, title in zip((0, wide + 42), titles):
        body += element("text", escape(title), x=x, y=12)
    if weights is not None:
        body += element("text", "kernel", x=wide + 21, y=71, text_anchor="middle")
        body += _sharp_image(_weight_pixels(weights), wide + 6, 77, 30)
        box = {"x": wide + 6, "y": 77, "width": 30, "height": 30}
        body += element("rect", **box, fill="none", stroke="currentColor", stroke_opacity=0.5)
    return svg(wide + 200, high + 22, label, body)


def draw_chain(maps: Mapping[str, np.ndarray], weights: np.ndarray, label: str) -> str:
    """Draw a map and what becomes of it step by step, side by side, two units a pixel.

    All are orange above zero, blue below zero and white at zero, in the shades of the first.

    Args:
        maps: by title (h, w), of which the last is half as large or less; the kernel is below it.
        weights: (k, k), the kernel.
        label: alternative text.
    """
    body, x, gap = "", 0, 22
    first = next(iter(maps.values()))
    high = 2 * len(first)
    top = np.abs(first).max()
    for title, result in maps.items():
        side = 2 * len(result)
        frame = {"x": x, "y": 18, "width": side, "height": side}
        body += element("text", escape(title), x=x, y=12)
        body += _sharp_image(_signed_pixels(result, top), x, 18, side)
        body += element("rect", **frame, fill="none", stroke="currentColor", stroke_opacity=0.5)
        x += side + gap
    x -= side + gap
    box = {"x": x, "y": high - 12, "width": 30, "height": 30}
    body += element("text", "kernel", x=x, y=high - 18)
    body += _sharp_image(_weight_pixels(weights), x, high - 12, 30)
    body += element("rect", **box, fill="none", stroke="currentColor", stroke_opacity=0.5)
    return svg(WIDTH, high + 22, label, body)


def draw_carried(
    photo: np.ndarray,
    weights: np.ndarray,
    result: np.ndarray,
    place: tuple[int, int],
    step: int,
    label: str,
    drags: str,
) -> str:
    """Draw a photograph with a kernel on it, and how one number of the map comes about.

    The drawing's unit is a stop of the kernel, so that it is dragged.

    Args:
        photo: (H, H), 0 (black) to 1 (white).
        weights: (k, k), the kernel.
        result: (h, h), what it makes of the photograph with a stride of 1.
        place: the stops of the kernel across and down, from 0.
        step: pixels from one stop to the next.
        label: alternative text, without the number.
        drags: the choices of an explorer that dragging moves, as ``"across down"``.
    """
    stop, size = 10, len(weights)
    unit = stop / step  # of a pixel
    left, top = (step * stops for stops in place)
    found = result[top, left]
    said = _with_minus(f"{found:+.2f}")
    side = unit * len(photo)
    parts = pixel_image(photo, 0, 18, side)
    map_x, map_y = side + 34, 18 + unit * (size - 1) / 2
    parts += _sharp_image(_signed_pixels(result), map_x, map_y, unit * len(result))
    for x, y, text in ((0, 12, "photograph"), (map_x, 12, "map")):
        parts += element("text", text, x=x, y=y)
    dot = {"x": f"{map_x + unit * (left - 1.5):.1f}", "y": f"{map_y + unit * (top - 1.5):.1f}"}
    edge = {"fill": "none", "stroke": "#000", "stroke_width": 1.5}
    parts += element("rect", **dot, width=4 * unit, height=4 * unit, **edge)

    y = side + 46
    color = _signed_pixels(np.array([[found]]), np.abs(result).max())[0, 0]
    parts += _draw_products(photo, weights, (left, top), said, color, y)
    body = element("g", parts, transform=f"scale({1 / stop})")
    square = {"x": place[0], "y": place[1] + 1.8, "width": size / step, "height": size / step}
    edge = {"fill": "#fff", "fill_opacity": 0, "stroke": SECOND, "stroke_width": 0.25}
    body += element("rect", **square, **edge, data_drags=drags)
    height = -(-(y + 62) // stop)
    return svg(WIDTH // stop, int(height), f"{label}: the sum is {said}", body)


def _draw_products(
    photo: np.ndarray,
    weights: np.ndarray,
    corner: tuple[int, int],
    said: str,
    color: np.ndarray,
    y: float,
) -> str:
    """A row of tables: the pixels under the kernel, times its weights, and their sum."""
    (left, top), size = corner, len(weights)
    # The pixels under the kernel are the photograph again, behind a window
    window = {"x": 0, "y": y, "width": 60, "height": 60}
    view = f"{left} {top} {size} {size}"
    photo_pixels = pixel_image(photo, 0, 0, len(photo))
    pictures = {"under the kernel": element("svg", photo_pixels, **window, viewBox=view)}
    under = photo[top : top + size, left : left + size]
    most = np.abs(weights).max()
    for name, values in {"weights": weights, "products": weights * under}.items():
        pixels = _signed_pixels(values, most) if name == "products" else _weight_pixels(values)
        pictures[name] = _sharp_image(pixels, 100 * len(pictures), y, 60)
    parts = ""
    for i, (name, picture) in enumerate(pictures.items()):
        parts += element("text", name, x=100 * i, y=y - 6) + picture
        box = {"x": 100 * i, "y": y, "width": 60, "height": 60}
        parts += element("rect", **box, fill="none", stroke="currentColor", stroke_opacity=0.5)
    for i, sign in enumerate("×=Σ"):
        parts += element("text", sign, x=100 * i + 80, y=y + 35, text_anchor="middle", font_size=16)
    # A number of the map, as large as its table
    box = {"x": 300, "y": y, "width": 60, "height": 60, "fill": "rgb({},{},{})".format(*color)}
    parts += element("rect", **box, stroke="currentColor", stroke_opacity=0.5)
    number = {"x": 330, "y": y + 35, "text_anchor": "middle", "font_size": 15}
    parts += element("text", said, **number, fill="#000", font_weight="bold")
    return parts + element("text", "sum", x=300, y=y - 6)


def draw_slope(
    table: np.ndarray,
    place: tuple[int, int],
    curves: Mapping[str, Sequence[float]],
    stop: int,
    slope: float,
    said: Sequence[str],
    drags: str,
) -> str:
    """Draw how a loss depends on one weight: the weight in its table, and below it the curves.

    The drawing's unit is a stop of the weight, so that its dot is dragged.

    Args:
        table: (k, k), the weights of a kernel.
        place: row and column of the one that is moved.
        curves: two, by name the loss at each stop; the dot is on the first.
        stop: of the weight, from 0.
        slope: of the first curve there, for each stop.
        said: lines of text beside the table.
        drags: the choice of an explorer that dragging moves.
    """
    unit, left, top, height = 15, 42, 124, 160
    values = [value for curve in curves.values() for value in curve]
    low, high = int(min(values)), -int(-max(values) // 1)

    def to_y(loss: float) -> float:
        return top + height * (high - loss) / (high - low)

    side = 84 / len(table)
    parts = element("text", "weights of a kernel", x=0, y=11)
    parts += _sharp_image(_signed_pixels(table, 1), 0, 18, 84)
    frame = {"x": f"{side * place[1]:.1f}", "y": f"{18 + side * place[0]:.1f}"}
    edge = {"fill": "none", "stroke": "#000", "stroke_width": 2}
    parts += element("rect", **frame, width=f"{side:.1f}", height=f"{side:.1f}", **edge)
    for i, text in enumerate(said):
        parts += element("text", text, x=126, y=34 + 21 * i, font_size=14)
    for loss in range(low, high + 1):
        y = to_y(loss)
        parts += element("text", str(loss), x=left - 10, y=f"{y + 4:.0f}", text_anchor="end")
        parts += element("g", line(left, y, WIDTH, y, BOTH, 1), opacity=0.3)
    parts += element("text", "loss", x=0, y=top + height / 2 + 4)
    for (name, curve), color in zip(curves.items(), (SECOND, BOTH)):
        points = " ".join(f"{left + unit * i},{to_y(loss):.1f}" for i, loss in enumerate(curve))
        parts += element("polyline", points=points, fill="none", stroke=color, stroke_width=2.5)
        nearest = {"x": left + 3, "y": f"{to_y(curve[0]) - 8:.0f}", "font_weight": "bold"}
        parts += element("text", name, **nearest, fill=color)
    first, *_ = curves.values()
    x, y = left + unit * stop, to_y(first[stop])
    rise = to_y(first[stop] + slope) - y
    ends = x - 3 * unit, y - 3 * rise, x + 3 * unit, y + 3 * rise
    parts += line(*ends, "currentColor", 2)
    parts += element("text", "← smaller", x=left, y=top + height + 18)
    greater = {"x": WIDTH, "y": top + height + 18, "text_anchor": "end"}
    parts += element("text", "the weight, greater →", **greater)
    body = element("g", parts, transform=f"scale({1 / unit})")
    dot = {"cx": f"{x / unit:.3f}", "cy": f"{y / unit:.3f}"}
    body += element("circle", **dot, r=0.5, fill=SECOND)
    body += element("circle", **dot, r=1.6, fill="#fff", fill_opacity=0, data_drags=drags)
    return svg(WIDTH // unit, (top + height + 24) // unit + 1, ", ".join(said), body)


def _signed_pixels(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """Numbers as uint8 (H, W, 3): orange above zero, blue below, white at zero.

    Args:
        values: (H, W).
        top: the magnitude that gets the full color; the largest if None.
    """
    top = np.abs(values).max() if top is None else top
    strength = (values / max(top, 1e-12)).clip(-1, 1)[..., None]  # (H, W, 1)
    blue, orange = np.array([_rgb(FIRST), _rgb(SECOND)])
    full = np.where(strength < 0, blue, orange)  # (H, W, 3)
    return (255 - np.abs(strength) * (255 - full)).round().astype(np.uint8)


def _weight_pixels(weights: np.ndarray) -> np.ndarray:
    """As :func:`_signed_pixels`, with small weights pale but not white."""
    return _signed_pixels(np.sign(weights) * np.abs(weights) ** 0.5)


def _sharp_image(pixels: np.ndarray, x: float, y: float, side: float) -> str:
    """Colored squares with sharp edges at any size; ``pixels`` is uint8 (H, W, 3)."""
    href = embed_image(pixels, lossless=True)
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{side:.1f}", "height": f"{side:.1f}"}
    return element("image", href=href, **place, style="image-rendering:pixelated")


def _rgb(color: str) -> list[int]:
    """The channels, 0 to 255, of a color such as "#2673b3"."""
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def draw_votes(photo: np.ndarray, votes: np.ndarray, top: float, said: Mapping[str, str]) -> str:
    """Draw a photograph beside what each position votes for one class: orange for it, blue against.

    Args:
        photo: uint8 (H, H, 3).
        votes: (h, h).
        top: the vote that gets the full color.
        said: what stands below the two, each with its number.
    """
    side, right = 176, WIDTH - 176
    body = element("text", "the photographs", x=0, y=12)
    body += element("text", "score at each position", x=right, y=12)
    body += element("image", y=18, href=embed_image(photo), width=side, height=side)
    body += _sharp_image(_signed_pixels(votes, top), right, 18, side)
    body += _signed_scale(top, right, 24 + side, side)
    bottom = 50 + side
    for i, (text, number) in enumerate(said.items()):
        y = bottom + 20 * (i + 1)
        body += element("text", escape(text), x=0, y=y, font_size=13)
        bold = {"font_weight": "bold", "font_size": 14, "text_anchor": "end"}
        body += element("text", escape(number), x=WIDTH, y=y, **bold)
    label = "; ".join(f"{text}: {number}" for text, number in said.items())
    return svg(WIDTH, bottom + 6 + 20 * len(said), label, body)


def _signed_scale(top: float, x: float, y: float, width: float) -> str:
    """Which number has which color in :func:`_signed_pixels`, from -top to top."""
    [colors] = _signed_pixels(np.linspace(-top, top, 11)[None], top)
    step = width / len(colors)
    body = ""
    for i, color in enumerate(colors):
        box = {"x": f"{x + step * i:.1f}", "y": y, "width": f"{step:.1f}", "height": 8}
        body += element("rect", **box, fill="rgb({}, {}, {})".format(*color))
    places = {"start": (x, -top), "middle": (x + width / 2, 0), "end": (x + width, top)}
    for anchor, (place, number) in places.items():
        text = {"x": f"{place:.1f}", "y": y + 21, "text_anchor": anchor}
        body += element("text", _with_minus(f"{number:g}"), **text)
    return body


def draw_survival(nets: Mapping[str, str], parts: Mapping[str, Sequence[str]]) -> str:
    """Draw what became of each part of a net, one below the other: a bar as long as it lasted.

    Args:
        nets: the year of each net by its name; the oldest first.
        parts: for each part by its name what each net has there. What the oldest has is orange,
            what came later blue; a bar goes on as long as the next net has the same.
    """
    panel, pitch, gap, top = WIDTH / len(nets), 37, 3, 34
    body, described = "", []
    for i, (name, year) in enumerate(nets.items()):
        middle = {"x": f"{panel * (i + 0.5):.1f}", "text_anchor": "middle"}
        body += element("text", escape(name), **middle, y=11, font_weight="bold")
        body += element("text", escape(year), **middle, y=25)
    for at, (part, ways) in enumerate(parts.items()):
        y = top + pitch * at
        body += element("text", escape(part), x=0, y=y + 11)
        start = 0
        for way, same in groupby(ways):
            color, ink = (FIRST, "white") if start else (SECOND, "black")
            lasted = len(list(same))
            x, width = panel * start, panel * lasted - gap
            box = {"x": f"{x:.1f}", "y": y + 15, "width": f"{width:.1f}", "height": 18}
            body += element("rect", **box, rx=3, fill=color)
            inside = {"x": f"{x + width / 2:.1f}", "y": y + 28, "text_anchor": "middle"}
            body += element("text", escape(way), **inside, fill=ink)
            start += lasted
        described.append(f"{part}: {', then '.join(way for way, _ in groupby(ways))}")
    label = f"Parts of {', '.join(nets)}. {'; '.join(described)}"
    return svg(WIDTH, top + pitch * len(parts), label, body)


def draw_steps(rows: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Draw how one number becomes another, step by step, one way below the other.

    Args:
        rows: for each way by its name its steps: what is done, and the number then. Nothing is done
            for the first, and the last is what comes out.
    """
    width, pitch = 42, 84
    body, described = "", []
    for i, (name, steps) in enumerate(rows.items()):
        y = pitch * i
        body += element("text", escape(name), x=0, y=y + 13, font_weight="bold")
        from_box_to_box = (WIDTH - width - 2) / (len(steps) - 1)
        for at, (done, number) in enumerate(steps):
            x = 1 + at * from_box_to_box
            edge = SECOND if at == len(steps) - 1 else FIRST if at == 0 else "currentColor"
            box = {"x": f"{x:.1f}", "y": y + 40, "width": width, "height": 26, "rx": 4}
            body += element("rect", **box, fill="none", stroke=edge, stroke_width=2)
            middle = {"x": f"{x + width / 2:.1f}", "y": y + 58, "text_anchor": "middle"}
            body += element("text", escape(number), **middle, font_size=14)
            if at:
                gap = from_box_to_box - width
                body += _pointer(x - gap + 3, x - 3, y + 53)
                above = {"x": f"{x - gap / 2:.1f}", "y": y + 34, "text_anchor": "middle"}
                body += element("text", escape(done), **above)
        described.append(f"{name}: " + ", ".join(f"{done} {number}" for done, number in steps))
    return svg(WIDTH, pitch * len(rows) - 14, "; ".join(described), body)


def _pointer(start: float, end: float, y: float) -> str:
    """A thin arrow to the right, in the color of the text."""
    head = f"M{start:.1f} {y}H{end:.1f}m-5 -4l5 4l-5 4"
    return element("path", d=head, fill="none", stroke="currentColor", stroke_width=1.2)


def draw_skip(layers: Sequence[str], after: str = "") -> str:
    """Draw layers in a row, and the connection that skips them: their input is added at the end.

    Args:
        layers: what stands in their boxes.
        after: what comes after the sum.
    """
    y, width = 78, 84
    last = WIDTH - (124 if after else 64)
    body = element("text", "input", x=0, y=y + 4)
    pitch = (last - 44) / len(layers)
    for i, layer in enumerate(layers):
        x = 44 + pitch * i
        body += _pointer(x - 6, x + pitch - width - 4, y)
        left = x + pitch - width
        box = {"x": f"{left:.1f}", "y": y - 15, "width": width - 10, "height": 30, "rx": 4}
        body += element("rect", **box, fill="none", stroke=FIRST, stroke_width=2)
        name = {"x": f"{left + width / 2 - 5:.1f}", "y": y + 4, "text_anchor": "middle"}
        body += element("text", escape(layer), **name)
    body += _pointer(last - 8, last + 2, y)
    plus = {"cx": last + 14, "cy": y, "r": 11, "fill": "none", "stroke": SECOND}
    body += element("circle", **plus, stroke_width=2)
    sign = {"x": last + 14, "y": y + 6, "text_anchor": "middle", "font_size": 17}
    body += element("text", "+", **sign) + _pointer(last + 28, WIDTH - (76 if after else 4), y)
    if after:
        box = {"x": WIDTH - 72, "y": y - 15, "width": 48, "height": 30, "rx": 4}
        body += element("rect", **box, fill="none", stroke=FIRST, stroke_width=2)
        name = {"x": WIDTH - 48, "y": y + 4, "text_anchor": "middle"}
        body += element("text", escape(after), **name) + _pointer(WIDTH - 20, WIDTH - 4, y)
    over = (
        f"M46 {y}V30Q46 20 56 20H{last + 4}Q{last + 14} 20 {last + 14} 30V{y - 14}m-5 -7l5 7l5 -7"
    )
    body += element("path", d=over, fill="none", stroke=SECOND, stroke_width=2.5)
    middle = {"x": last / 2 + 30, "y": 13, "text_anchor": "middle"}
    body += element("text", "the input as it is", **middle)
    label = f"An input goes through {', '.join(layers)}, and around them; the two are added"
    label += f", and {after} comes last" if after else ""
    return svg(WIDTH, 100, label, body)


def draw_tinted(
    photo: np.ndarray, color: Sequence[float], slope: float, label: str, half: bool = False
) -> str:
    """Draw a photograph with a color added to every pixel: (pixel + color) · slope.

    The browser computes it, so all stops of an explorer share one photograph.

    Args:
        photo: uint8 (H, W, 3).
        color: (3,), added to red, green and blue of pixels from 0 to 1.
        slope: factor of the sum.
        label: alternative text.
        half: whether the left half stays as it is.
    """
    height, width = photo.shape[:2]
    functions = ""
    for channel, added in zip("RGB", color):
        numbers = {"slope": f"{slope:.3f}", "intercept": f"{added * slope:.3f}"}
        functions += element(f"feFunc{channel}", type="linear", **numbers)
    # Named after its numbers, so that two drawings on a page do not share a filter.
    thousandths = [f"{round(1000 * number)}" for number in (*color, slope)]
    name = "tint" + "_".join(thousandths)
    transfer = element("feComponentTransfer", functions)
    body = element("filter", transfer, id=name, color_interpolation_filters="sRGB")
    image = {"href": embed_image(photo), "width": width, "height": height}
    tinted = element("image", **image, filter=f"url(#{name})")
    if half:
        # The right half is a window onto the tinted photograph, which begins left of it.
        middle = width // 2
        window = {"x": middle, "width": width - middle, "height": height}
        view = f"{middle} 0 {width - middle} {height}"
        tinted = element("image", **image) + element("svg", tinted, **window, viewBox=view)
    return svg(width, height, label, body + tinted)


def draw_cloud(
    colors: np.ndarray, axes: np.ndarray, chosen: int, added: Sequence[float], label: str
) -> str:
    """Draw the colors of pixels, seen along blue: red to the right, green upwards.

    Each dot has a ring in the color of the page's text, so that black and white ones are seen. The
    drawing is half as wide as a phone, so that a photograph fits beside it.

    Args:
        colors: (n, 3), 0 to 1, one a dot.
        axes: (3, 3), a principal axis a column, as long as the standard deviation along it; two
            standard deviations are drawn to either side.
        chosen: the axis that is drawn thicker than the others.
        added: (3,), a color that is added, drawn as an arrow from the middle of the cloud.
        label: alternative text.
    """
    side = 146
    left = 20
    top = 4

    def place(color: np.ndarray) -> tuple[float, float]:
        red, green, _ = color
        return left + side * red, top + side * (1 - green)

    square = {"x": left, "y": top, "width": side, "height": side}
    body = element("rect", **square, fill="none", stroke="currentColor", stroke_opacity=0.4)
    dots = ""
    for color in colors:
        x, y = place(color)
        red, green, blue = (int(255 * channel) for channel in color)
        fill = f"#{red:02x}{green:02x}{blue:02x}"
        dots += element("circle", cx=f"{x:.0f}", cy=f"{y:.0f}", r=2.2, fill=fill)
    body += element("g", dots, stroke="currentColor", stroke_width=0.7, stroke_opacity=0.5)

    middle = colors.mean(0)
    for i, axis in enumerate(axes.T):
        start = place(middle - 2 * axis)
        end = place(middle + 2 * axis)
        body += line(*start, *end, BOTH, 4 if i == chosen else 1)
    body += _arrow(place(middle), place(middle + np.asarray(added)))

    half_way = top + side / 2
    turned = f"rotate(-90 14 {half_way})"
    centered = {"text_anchor": "middle"}
    body += element("text", "red", x=left + side / 2, y=side + 18, **centered)
    body += element("text", "green", x=14, y=half_way, **centered, transform=turned)
    return svg(174, side + 24, label, body)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """An arrow in black with a white edge, seen on any ground, from a ring to the tip of its head.

    A short arrow has a small head, and one of no length only the ring.
    """
    start, end = np.array(start), np.array(end)
    length = np.linalg.norm(end - start)
    along = (end - start) / max(length, 1e-9)
    across = np.array([-along[1], along[0]])
    size = min(0.6 * length, 15)  # of the head
    neck = end - size * along
    corners = [end, neck + size / 2 * across, neck - size / 2 * across]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    shaft = dict(zip(("x1", "y1", "x2", "y2"), (f"{number:.1f}" for number in (*start, *neck))))
    ring = {"cx": f"{start[0]:.1f}", "cy": f"{start[1]:.1f}", "r": 4.5, "fill": "#fff"}
    edge = {"stroke": "#fff", "stroke_width": 3, "paint_order": "stroke"}
    return (
        element("line", **shaft, stroke="#fff", stroke_width=9)
        + element("circle", **ring, stroke="#000", stroke_width=1.5)
        + element("polygon", points=points, fill="#000", **edge)
        + element("line", **shaft, stroke="#000", stroke_width=5)
    )
