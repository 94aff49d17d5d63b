""""""


from collections.abc import Mapping, Sequence
from html import escape
from math import log2, log10

import numpy as np
from PIL import Image

from alexnet.bookkit.svg import BOTH, FIRST, SECOND, _embed, _line, _outline, _pixels, svg



def draw_columns(shapes: Mapping[str, tuple[int, ...]], crossing: Sequence[str], chosen: str) -> str:
    """The net of two columns, image on top, with one layer picked out.

    Args:
        shapes: layer names in order, the image first, and the outputs of a layer, both columns together: (maps, height,
            width) or (units,).
        crossing: the layers that read both columns.
        chosen: the layer to pick out, with the lines that lead to it.
    """
    names, body, y, above = list(shapes), [], 34.0, []
    for name in names:
        shape, middle = shapes[name], 150.0
        single = name in (names[0], names[-1])  # the image, and the logits on the first GPU, are not split
        flat = len(shape) == 1
        half, thick = (34.0, 7.0) if flat else (5 + 0.72 * min(shape[1], 70), 3 + shape[0] / 18)
        depth = 0 if flat else half / 2.6
        places = [(middle - 62, FIRST), (middle + 62, SECOND)]
        if single:
            places = [(middle, BOTH)] if name == names[0] else places[:1]
        bright = name == chosen
        for i, (x, colour) in enumerate(places):
            for j, (x0, y0) in enumerate(above):
                if single or len(above) == 1 or name in crossing or i == j:
                    body.append(_line(x0, y0, x, y - depth, colour if bright else "currentColor", 2.5 if bright else 0.6))
        for x, colour in places:
            body.append(_slab(x, y, half, depth, thick, colour, 1 if bright else 0.45))
        size = "×".join(map(str, shape[::-1])) if single or flat else f"{shape[1]}×{shape[2]}×{shape[0]}"
        weight = "bold" if bright else "normal"
        body.append(f'<text x="272" y="{y + 2:.0f}" font-weight="{weight}">{name}</text>')
        body.append(f'<text x="272" y="{y + 14:.0f}" font-size="9.5">{size}</text>')
        below = y + depth + thick
        above = [(x, below) for x, _ in places]
        y = below + (22 if flat else 17 + depth)
    return svg(360, round(y) - 4, f"The layers from the image down, in two columns; {chosen} is picked out", "".join(body))


def _slab(x: float, y: float, half: float, depth: float, thick: float, colour: str, opacity: float) -> str:
    """A block of maps seen from above: a diamond, as wide as the maps, as thick as they are many."""
    top = f"{x - half:.0f},{y:.0f} {x:.0f},{y - depth:.0f} {x + half:.0f},{y:.0f} {x:.0f},{y + depth:.0f}"
    side = (
        f"{x - half:.0f},{y:.0f} {x:.0f},{y + depth:.0f} {x + half:.0f},{y:.0f} "
        f"{x + half:.0f},{y + thick:.0f} {x:.0f},{y + depth + thick:.0f} {x - half:.0f},{y + thick:.0f}"
    )
    return (
        f'<g fill="{colour}" stroke="{colour}" stroke-linejoin="round" opacity="{opacity}">'
        f'<polygon points="{side}" fill-opacity="0.75"/><polygon points="{top}"/></g>'
    )


def draw_field(photo: np.ndarray, start: tuple[int, int], size: int, label: str) -> str:
    """A photograph, with the square that one unit sees; what lies outside the photograph is padding.

    Args:
        photo: (H, W, 3), uint8.
        start: top and left corner of the square, in pixels.
        size: its side, in pixels.
        label: what to say to who cannot see it.
    """
    height, width = photo.shape[:2]
    top, left = start
    hole = f"M0 0H{width}V{height}H0ZM{left} {top}v{size}h{size}v-{size}Z"  # the other way round: cut out
    body = (
        f'<image href="{_embed(photo)}" width="{width}" height="{height}"/>'
        f'<path d="{hole}" fill="#000" fill-opacity="0.55"/>'
        f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="{SECOND}" stroke-width="2"/>'
    )
    return svg(width, height, label, body)


def draw_windows(size: int, count: int, kernel: int, stride: int, shown: int = 5) -> str:
    """The last windows of a convolution on a row of ``size`` pixels, and the pixels at its end.

    Args:
        size: pixels in the row.
        count: windows that the layer takes, from the left.
        kernel, stride: in pixels.
        shown: how many of the windows to draw.
    """
    end = (count - 1) * stride + kernel  # one past the last pixel that a window covers
    first, unit = min(size, end) - kernel - shown * stride, 9.5  # leftmost pixel of the drawing, and how wide one is drawn
    body = []
    for pixel in range(first, max(size, end)):
        seen, inside = pixel < end, pixel < size
        dash = "none" if inside else "2 2"
        colour, opacity = ("currentColor", 0.25) if seen and inside else (SECOND, 0.9)
        body.append(
            f'<rect x="{10 + (pixel - first) * unit:.1f}" y="20" width="{unit - 1.5}" height="14" fill="{colour}" stroke="{colour}" '
            f'fill-opacity="{opacity if inside else 0.1}" stroke-opacity="{opacity}" stroke-dasharray="{dash}"/>'
        )
    for i in range(shown):
        n = count - shown + i
        x, y = 10 + (n * stride - first) * unit, 44 + i * 17
        fill, ink = (SECOND, "#000") if n * stride + kernel > size else (FIRST, "#fff")
        body.append(
            f'<rect x="{x:.1f}" y="{y}" width="{kernel * unit - 1.5:.1f}" height="13" rx="2" fill="{fill}"/>'
            f'<text x="{x + 4:.1f}" y="{y + 10}" font-size="10" font-weight="bold" fill="{ink}">{n + 1}</text>'
        )
    edge = 9.25 + (size - first) * unit
    body.append(f'<line x1="{edge:.1f}" y1="4" x2="{edge:.1f}" y2="{44 + shown * 17}" stroke="currentColor" stroke-width="1.5"/>')
    body.append(f'<text x="{edge - 4:.1f}" y="12" text-anchor="end">pixel {size}, the last</text>')
    body.append(f'<text x="{edge + 4:.1f}" y="12">{f"{end - size} zeros" if end > size else ""}</text>')
    return svg(360, 50 + shown * 17, f"{size} pixels: {count} windows, the last one ends at pixel {end}", "".join(body))


def draw_ratios(rows: Mapping[str, tuple[int, int]], unit: str) -> str:
    """Each number beside its reference, on a scale where every mark to the right is twice as much.

    Args:
        rows: for each name the number and its reference.
        unit: what the reference is.
    """
    body = []
    for doublings in range(-5, 6):
        x = 180 + doublings * 31
        opacity = 0.15 if doublings else 0.9
        beside = "".join(f"M{x} {44 + 46 * i}v23" for i in range(len(rows)))  # the bars: the numbers stand above them
        body.append(f'<path d="{beside}" stroke="currentColor" stroke-opacity="{opacity}"/>')
        if doublings % 2 == 0:
            name = unit if doublings == 0 else f"{2**doublings}×" if doublings > 0 else f"1/{2**-doublings}"
            body.append(f'<text x="{x}" y="16" text-anchor="middle" font-size="10">{name}</text>')
    for i, (name, (value, reference)) in enumerate(rows.items()):
        x = 180 + 31 * min(max(log2(value / reference), -5.6), 5.6)
        left, width, y, colour = min(x, 180), abs(x - 180), 34 + 46 * i, FIRST if value <= reference else SECOND
        body.append(
            f'<text x="6" y="{y + 8}">{name}</text><text x="354" y="{y + 8}" text-anchor="end">'
            f'<tspan font-weight="bold">{value:,}</tspan> ({value / reference:.3g}×)</text>'
            f'<rect x="{left:.1f}" y="{y + 14}" width="{max(width, 1.5):.1f}" height="15" rx="2" fill="{colour}"/>'
        )
    label = "; ".join(f"{name}: {value:,}, {value / reference:.3g} times {unit}" for name, (value, reference) in rows.items())
    return svg(360, 40 + 46 * len(rows), label, "".join(body))


def draw_cones(layers: int, most: int = 5) -> str:
    """What one output sees of a row of pixels: through so many layers of three, and through one layer as wide.

    Args:
        layers: how many, 1 to ``most``.
        most: what the drawing has room for.
    """
    pixels, unit, rise, bottom = 2 * most + 1, 13, 24, 24 * most + 6
    wide = 2 * layers + 1
    ways = {
        f"{layers} × 3×3": (FIRST, [(level, 1 + 2 * (layers - level)) for level in range(layers, -1, -1)], 20),
        f"one {wide}×{wide}": (SECOND, [(layers, 1), (0, wide)], 197),
    }
    body = []
    for name, (colour, seen, left) in ways.items():
        middle, above = left + pixels * unit / 2, []
        for level, count in seen:  # from the output down
            y = bottom - level * rise
            places = [middle + unit * (i - (count - 1) / 2) for i in range(count)]
            reach = (count - len(above)) / 2 * unit  # to either side of what is above
            body += [_line(x0, y0, x, y, "currentColor", 0.5) for x0, y0 in above for x in places if abs(x - x0) <= reach]
            above = [(x, y + 12) for x in places]
            row = [left + unit * (i + 0.5) for i in range(pixels)] if level == 0 else places
            body += [
                f'<rect x="{x - 5.5:.1f}" y="{y}" width="11" height="12" rx="2" fill="{colour if x in places else "currentColor"}" '
                f'fill-opacity="{1 if x in places else 0.15}"/>'
                for x in row
            ]
        body.append(f'<text x="{middle:.0f}" y="{bottom + 28}" text-anchor="middle" font-weight="bold">{name}</text>')
    return svg(360, bottom + 36, f"One output sees {wide} pixels in a row, through {layers} layers of three or one of {wide}", "".join(body))


def draw_shares(rows: Mapping[str, Mapping[str, int]], colours: Sequence[str]) -> str:
    """One bar a row, cut into its parts; a part wide enough carries its share in per cent.

    Args:
        rows: for each bar its name, and the parts' names with their sizes.
        colours: one for each part.
    """
    body, labels = [], []
    for i, (name, parts) in enumerate(rows.items()):
        total, x, y = sum(parts.values()), 5.0, 14 + 56 * i
        body.append(f'<text x="5" y="{y}">{name}</text><text x="355" y="{y}" text-anchor="end" font-weight="bold">{total:,}</text>')
        for (part, size), colour in zip(parts.items(), colours):
            width = 350 * size / total
            body.append(f'<rect x="{x:.1f}" y="{y + 6}" width="{width:.1f}" height="24" fill="{colour}"/>')
            text, ink = f"{size / total:.0%}" if width > 30 else "", "#000" if colour == SECOND else "#fff"
            body.append(f'<text x="{x + width / 2:.1f}" y="{y + 22}" text-anchor="middle" fill="{ink}" font-weight="bold">{text}</text>')
            x += width
        labels.append(f"{name} {total:,}: " + ", ".join(f"{part} {size / total:.1%}" for part, size in parts.items()))
    y, x = 14 + 56 * len(rows), 5
    for part, colour in zip(next(iter(rows.values())), colours):
        body.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="{y}">{part}</text>')
        x += 30 + 6 * len(part)
    return svg(360, y + 8, ". ".join(labels), "".join(body))


def draw_levels(values: Mapping[str, float], low: int, high: int, label: str) -> str:
    """One bar a name on a logarithmic axis from 10^low to 10^high; what lies outside stops at the edge, its number does not.

    Args:
        values: for each bar its name and its length, zero or more.
        low, high: exponents of ten.
        label: what the bars are, for the axis and for who cannot see it.
    """
    left, width, row = 62, 216, 22
    bottom = 18 + row * len(values)
    numbers = {name: f"{value:,.0f}" if 100 <= value < 1e5 else f"{value:.2g}" for name, value in values.items()}
    body = [f'<text x="{left}" y="{bottom + 26}">{label}</text>']
    for exponent in range(low, high + 1, 2):
        x = left + width * (exponent - low) / (high - low)
        body.append(f'<line x1="{x:.0f}" y1="14" x2="{x:.0f}" y2="{bottom}" stroke="currentColor" stroke-opacity="0.2"/>')
        power = f'10<tspan dy="-4" font-size="8">{exponent}</tspan>'
        body.append(f'<text x="{x:.0f}" y="{bottom + 12}" text-anchor="middle" font-size="10">{power}</text>')
    for i, (name, value) in enumerate(values.items()):
        length = width * min(max((log10(value) if value > 0 else low) - low, 0), high - low) / (high - low)
        y = 16 + row * i
        body.append(
            f'<text x="{left - 6}" y="{y + 12}" text-anchor="end">{name}</text><text x="355" y="{y + 12}" text-anchor="end">{numbers[name]}</text>'
            f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{row - 7}" rx="2" fill="{FIRST}"/>'
        )
    return svg(360, bottom + 32, f"{label}: " + ", ".join(f"{name} {number}" for name, number in numbers.items()), "".join(body))


def draw_against(values: Mapping[str, float], chosen: str, reference: str, label: str) -> str:
    """A dot a name on one axis, and how far the chosen one is from the reference.

    Args:
        values: for each dot its name and its place.
        chosen, reference: names among them. What lies left of the reference is drawn blue, what lies right of it orange.
        label: what the axis shows, with its unit.
    """
    left, width, row = 150, 196, 20
    low, high = min(values.values()) - 0.2, max(values.values()) + 0.2
    place = {name: left + width * (value - low) / (high - low) for name, value in values.items()}
    bottom = 8 + row * len(values)
    middle = place[reference]
    body = [f'<line x1="{middle:.1f}" y1="6" x2="{middle:.1f}" y2="{bottom}" stroke="currentColor" stroke-opacity="0.4"/>']
    for i, (name, x) in enumerate(place.items()):
        y = 16 + row * i
        colour = BOTH if name == reference else FIRST if x < middle else SECOND
        strong = ' font-weight="bold"' if name in (chosen, reference) else ""
        body.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end"{strong}>{escape(name)}</text>')
        if name == chosen:
            body.append(f'<line x1="{middle:.1f}" y1="{y}" x2="{x:.1f}" y2="{y}" stroke="{colour}" stroke-width="4"/>')
        body.append(f'<circle cx="{x:.1f}" cy="{y}" r="{6 if name == chosen else 3.5}" fill="{colour}"/>')
    for tick in range(int(low) + 1, int(high) + 1):
        x = left + width * (tick - low) / (high - low)
        body.append(f'<text x="{x:.1f}" y="{bottom + 12}" text-anchor="middle" font-size="10">{tick}</text>')
    body.append(f'<text x="{left}" y="{bottom + 26}">{escape(label)}</text>')
    told = f"{label}: {chosen} {values[chosen]:.2f}, {reference} {values[reference]:.2f}"
    return svg(360, bottom + 32, told, "".join(body))


def draw_before_and_after(before: Sequence[float], after: Sequence[float], top: float, label: str) -> str:
    """A row of activations as pairs of bars from zero: grey before, blue after.

    Args:
        before, after: equally many values, zero or more.
        top: the value at the upper edge.
        label: what they are, for the axis and for who cannot see it.
    """
    unit, height = 330 / len(before), 150
    body = [f'<line x1="24" y1="{height + 10}" x2="356" y2="{height + 10}" stroke="currentColor"/>']
    for tick in (0, top / 2, top):
        y = 10 + height * (1 - tick / top)
        body.append(f'<text x="20" y="{y + 4:.0f}" text-anchor="end" font-size="10">{tick:g}</text>')
        body.append(f'<line x1="24" y1="{y:.0f}" x2="356" y2="{y:.0f}" stroke="currentColor" stroke-opacity="0.15"/>')
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        x = 26 + i * unit
        for value, shift, share, colour in ((old, 0.05, 0.9, BOTH), (new, 0.2, 0.6, FIRST)):
            tall = height * min(value / top, 1)
            body.append(
                f'<rect x="{x + shift * unit:.1f}" y="{10 + height - tall:.1f}" width="{share * unit:.1f}" height="{tall:.1f}" '
                f'fill="{colour}" fill-opacity="{0.4 if colour == BOTH else 1}"/>'
            )
    body.append(f'<text x="190" y="{height + 26}" text-anchor="middle">{label}</text>')
    return svg(360, height + 32, f"{label}, before and after: " + ", ".join(f"{a:.2f} to {b:.2f}" for a, b in zip(before, after)), "".join(body))


def draw_answers(linear: Sequence[float], after: Sequence[float], top: float) -> str:
    """What the maps of a layer answer at one place: grey bars, up and down, and below them, in blue, what comes out.

    Args:
        linear: the outputs of the convolution.
        after: what is left of each, zero or more, with its number above the bar.
        top: the value at the upper edge of the blue bars; what is larger stops there.
    """
    unit, high, low = 326 / len(linear), max(*linear, 0), min(*linear, 0)
    zero = 20 + 90 * high / (high - low)  # the line that the grey bars stand on and hang from
    body = [f'<line x1="28" y1="{y:.0f}" x2="356" y2="{y:.0f}" stroke="currentColor"/>' for y in (zero, 226)]
    for value, y in ((high, 20), (low, 110), (top, 146), (0, 226)):
        body.append(f'<text x="25" y="{y + 4}" text-anchor="end" font-size="10">{value:g}</text>')
    body += ['<text x="30" y="12">linear output of each map</text>', '<text x="30" y="134">what comes out</text>']
    for i, (value, left) in enumerate(zip(linear, after, strict=True)):
        x, tall, rest = 30 + i * unit, 90 * abs(value) / (high - low), 80 * min(left / top, 1)
        body.append(
            f'<rect x="{x:.1f}" y="{zero - tall * (value > 0):.1f}" width="{0.8 * unit:.1f}" height="{tall:.1f}" fill="{BOTH}" fill-opacity="0.6"/>'
            f'<rect x="{x:.1f}" y="{226 - rest:.1f}" width="{0.8 * unit:.1f}" height="{rest:.1f}" fill="{FIRST}"/>'
            f'<text x="{x + 0.4 * unit:.1f}" y="238" text-anchor="middle" font-size="9">{i}</text>'
        )
        if left:
            body.append(f'<text x="{x + 0.4 * unit:.1f}" y="{222 - rest:.1f}" text-anchor="middle" font-size="9" font-weight="bold">{left:.0f}</text>')
    label = "what each map puts out, and what is left of it: " + ", ".join(f"{a:.0f} to {b:.1f}" for a, b in zip(linear, after))
    return svg(360, 242, label, "".join(body))


def draw_pooled(values: np.ndarray, result: np.ndarray, window: int, stride: int) -> str:
    """A map, the windows that pool it, and what they leave.

    Args:
        values: (H, W), 0 to 1, the map.
        result: (h, w), 0 to 1, the pooled map.
        window, stride: in positions of the map.
    """
    unit = 168 / len(values)
    body = [_pixels(values, 4, 20, 168), _pixels(result, 190, 20, unit * stride * len(result))]
    body.append(f'<text x="4" y="14">map, {len(values)}×{len(values)}</text><text x="190" y="14">pooled, {len(result)}×{len(result)}</text>')
    for i, j in ((1, 1), (1, 0), (0, 1), (0, 0)):
        colour = SECOND if i == j == 0 else FIRST
        x, y, side = 4 + j * stride * unit, 20 + i * stride * unit, window * unit
        body.append(_outline(x, y, side, colour))
    body.append(_outline(190, 20, unit * stride, SECOND))
    label = f"windows of {window} that move by {stride} leave {len(result)}×{len(result)} of {len(values)}×{len(values)} values"
    return svg(360, 216, label, "".join(body))


def draw_units(values: Sequence[float], kept: Sequence[bool], top: float, label: str) -> str:
    """A layer as discs, as large as their outputs; a unit that is dropped is a cross.

    Args:
        values: the output of each unit, zero or more.
        kept: whether it does.
        top: the value of the largest disc that has room.
        label: what they are, for who cannot see them.
    """
    across = 16
    body = []
    for i, (value, stays) in enumerate(zip(values, kept, strict=True)):
        x, y = 12 + 22.4 * (i % across), 12 + 22.4 * (i // across)
        radius, cross = (10 * min(value / top, 1) ** 0.5, 0) if stays else (0, 4)
        body.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{FIRST}"/><path d="M{x - cross:.1f} {y - cross:.1f}L{x + cross:.1f} '
            f'{y + cross:.1f}M{x - cross:.1f} {y + cross:.1f}L{x + cross:.1f} {y - cross:.1f}" stroke="{SECOND}" stroke-width="2"/>'
        )
    rows = -(-len(values) // across)
    return svg(360, round(24 + 22.4 * (rows - 1)), label, "".join(body))


def draw_descent(background: np.ndarray, points: np.ndarray, goal: tuple[float, float], label: str) -> str:
    """The way of an optimiser over a landscape seen from above.

    Args:
        background: (H, W), 0 to 1, the landscape.
        points: (n, 2), the way, in units of the landscape's width and height, 0 to 1 from the lower left; what lies
            outside stops at the edge.
        goal: the lowest point.
        label: what to say to who cannot see it.
    """
    places = points.clip(0, 1) * [360, -220] + [0, 220]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="2.5" fill="{SECOND}"/>' for x, y in places)
    (x0, y0), (x1, y1) = places[0], places[-1]
    picture = Image.fromarray((background.clip(0, 1) * 255).round().astype(np.uint8)[::-1])
    body = (
        f'<image href="{_embed(np.asarray(picture.convert("RGB")))}" width="360" height="220" preserveAspectRatio="none"/>'
        f'<polyline points="{line}" fill="none" stroke="{SECOND}" stroke-width="1.5"/>{dots}'
        f'<circle cx="{x0:.0f}" cy="{y0:.0f}" r="5" fill="none" stroke="#fff" stroke-width="2"/>'
        f'<circle cx="{x1:.0f}" cy="{y1:.0f}" r="5" fill="{SECOND}" stroke="#000" stroke-width="1.5"/>'
        f'<text x="{goal[0] * 360:.0f}" y="{220 - goal[1] * 220 + 5:.0f}" text-anchor="middle" font-size="18" fill="#fff">+</text>'
    )
    return svg(360, 220, label, body)


def draw_crop(photo: np.ndarray, top: int, left: int, size: int, flip: bool, label: str) -> str:
    """A photograph with a window on it, and beside it what is seen through the window.

    Args:
        photo: (H, W, 3), uint8.
        top, left: the window's upper left corner, in pixels.
        size: its side, in pixels.
        flip: whether what is seen is mirrored.
        label: what to say to who cannot see it.
    """
    height, width = photo.shape[:2]
    source = f'<image href="{_embed(photo)}" width="{width}" height="{height}"/>'
    x = width + 12
    scale, shift = (-1, left + size) if flip else (1, -left)
    body = (
        f'{source}<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="{SECOND}" stroke-width="4"/>'
        f'<svg x="{x}" y="0" width="{size}" height="{size}" viewBox="0 0 {size} {size}">'
        f'<g transform="translate({shift} {-top}) scale({scale} 1)">{source}</g></svg>'
    )
    return svg(x + size, height, label, body)


def draw_filtered(photo: np.ndarray, result: np.ndarray, label: str) -> str:
    """A grey photograph, and beside it what a kernel makes of it, at its true size: orange above zero, blue below, white at zero.

    Args:
        photo: (H, W), uint8, at most 176 pixels a side.
        result: (h, w), any numbers; the largest in size gets the full colour.
        label: what to say to who cannot see it.
    """
    strength = (result / max(np.abs(result).max(), 1e-12))[..., None]  # (h, w, 1), -1 to 1
    ends = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (FIRST, SECOND)]
    colours = 255 - np.abs(strength) * (255 - np.where(strength < 0, *np.array(ends)))
    parts = ""
    for x, pixels in ((2, np.repeat(photo[..., None], 3, 2)), (184, colours.round().astype(np.uint8))):
        height, width = pixels.shape[:2]
        parts += f'<image href="{_embed(pixels)}" x="{x}" y="2" width="{width}" height="{height}" style="image-rendering:pixelated"/>'
    return svg(364, photo.shape[0] + 10, label, parts)


def draw_tinted(photo: np.ndarray, colour: Sequence[float], slope: float, label: str) -> str:
    """A photograph with a colour added to every pixel, (pixel + colour) · slope, by the browser.

    Args:
        photo: (H, W, 3), uint8.
        colour: what is added to red, green and blue, of pixels from 0 to 1.
        slope: what the sum is multiplied by.
        label: what to say to who cannot see it.
    """
    height, width = photo.shape[:2]
    functions = "".join(
        f'<feFunc{channel} type="linear" slope="{slope:.3f}" intercept="{part * slope:.3f}"/>' for channel, part in zip("RGB", colour)
    )
    # The name is that of the numbers, so that two pictures on a page do not share a filter.
    name = "tint" + "-".join(f"{round(1000 * part)}" for part in (*colour, slope))
    body = (
        f'<filter id="{name}" color-interpolation-filters="sRGB"><feComponentTransfer>{functions}</feComponentTransfer></filter>'
        f'<image href="{_embed(photo)}" width="{width}" height="{height}" filter="url(#{name})"/>'
    )
    return svg(width, height, label, body)


def draw_cloud(colours: np.ndarray, axes: np.ndarray, colour: Sequence[float], label: str) -> str:
    """The colours of pixels, seen along blue: red to the right, green upwards; their axes, and a colour that is added.

    Args:
        colours: (n, 3), 0 to 1, one a dot.
        axes: (3, 3), an axis a column, as long as the standard deviation along it.
        colour: (3,), drawn from the middle of the cloud.
        label: what to say to who cannot see it.
    """
    side, left = 210, 46  # the longest axis leaves the square

    def place(point: np.ndarray) -> tuple[float, float]:
        return left + side * point[0], 8 + side * (1 - point[1])

    dots = "".join(
        '<circle cx="{:.0f}" cy="{:.0f}" r="2.5" fill="#{:02x}{:02x}{:02x}"/>'.format(*place(c), *(int(255 * part) for part in c)) for c in colours
    )
    middle = colours.mean(0)
    x0, y0 = place(middle)
    lines = ""
    for i, axis in enumerate(axes.T):
        (xa, ya), (xb, yb) = place(middle - 2 * axis), place(middle + 2 * axis)
        lines += f'<line x1="{xa:.0f}" y1="{ya:.0f}" x2="{xb:.0f}" y2="{yb:.0f}" stroke="{FIRST}" stroke-width="{3 - i}"/>'
    x1, y1 = place(middle + np.asarray(colour))
    body = (
        f'<rect x="{left}" y="8" width="{side}" height="{side}" fill="none" stroke="currentColor" stroke-opacity="0.4"/>{dots}{lines}'
        f'<line x1="{x0:.0f}" y1="{y0:.0f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{SECOND}" stroke-width="4"/>'
        f'<circle cx="{x1:.1f}" cy="{y1:.1f}" r="5" fill="{SECOND}" stroke="#000"/>'
        f'<text x="{left + side / 2}" y="{side + 46}" text-anchor="middle">red</text>'
        f'<text x="12" y="{8 + side / 2}" text-anchor="middle" transform="rotate(-90 12 {8 + side / 2})">green</text>'
    )
    return svg(left + side + 16, side + 52, label, body)
