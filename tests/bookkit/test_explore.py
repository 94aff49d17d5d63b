"""The explorer without a browser; tests/test_book.py moves it in one."""

import json
import re
from base64 import b64decode
from functools import partial
from html import escape

import pytest
from helpers import data_of, frame
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from alexnet.explore import MOST_PICTURES, _pack
from alexnet.bookkit.explore import explore


def disc(x=3, colour="red"):
    """A disc that moves."""
    return f'<svg role="img" aria-label="a disc at {x}"><circle cx="{x * 10}" cy="5" r="4" fill="{colour}"/></svg>'


def line(slope=1.0, end=2):
    """A line that rises."""
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, end], [0, slope * end])
    ax.set_title(f"slope {slope}, to {end}")
    return fig


def test_the_page_holds_every_drawing():
    page = explore(disc, x=range(10), colour=["red", "blue"]).page()
    data = data_of(page)
    for x in range(10):
        for i, colour in enumerate(["red", "blue"]):
            assert frame(data, x, i) == disc(x, colour)
    assert len(data["texts"]) == 2  # one for each colour: the rest is numbers
    assert data["start"] == {"x": 3, "colour": 0}


@given(st.lists(st.lists(st.sampled_from(["a", "<b>", "1", "12,5", "3.", " ", "-4"])).map("".join) | st.none(), min_size=1))
def test_packing_loses_nothing(frames):
    texts, packed = _pack(frames)
    data = {"texts": texts, "frames": packed, "sizes": [len(frames)]}
    assert [frame(data, i) for i in range(len(frames))] == frames


def test_a_number_that_never_changes_is_text():
    texts, packed = _pack(['<image href="data:0123" x="1"/>', '<image href="data:0123" x="2"/>'])
    assert texts == [['<image href="data:0123" x="', '"/>']] and packed == [[0, "1"], [0, "2"]]


def test_the_widget_draws_what_is_chosen():
    seen = []

    def draw(x=2):
        """Counts."""
        seen.append(x)
        return f"<b>{x}</b>"

    explorer = explore(draw, x=range(5))
    assert seen == [2] and "<b>2</b>" in explorer._picture.value
    explorer._controls[0].index = 4
    assert seen == [2, 4] and "<b>4</b>" in explorer._picture.value
    explorer._controls[0].index = 2
    assert seen == [2, 4]  # drawn once


def test_any_value_can_be_chosen():
    values = ["<b> & \"q\"", None, 1, True, 1.0, (2, 3), [4], "</script>"]

    def draw(length=None):
        """Repeats."""
        return f"<p>{escape(repr(length))}</p>"

    data = data_of(explore(draw, length=values).page())
    assert [frame(data, i) for i in range(len(values))] == [draw(v) for v in values]
    assert data["start"] == {"length": 1}


def test_five_choices_are_a_slider_and_fewer_are_buttons():
    inputs = data_of(explore(disc, x=range(5), colour=["red", "blue"]).page())["inputs"]
    assert inputs.count('type="range"') == 1 and inputs.count('type="radio"') == 2
    assert 'aria-valuetext="3"' in inputs and "<legend>colour</legend>" in inputs


def test_where_drawings_and_scripts_are_stripped_the_first_picture_is_an_image():
    page = explore(disc, x=range(5)).page()
    still, _, rest = page.partition("<script")
    assert "<svg" not in still and "<form" not in page
    picture = re.search('alt="a disc at 3" src="data:image/svg[+]xml;base64,(.*?)"', still)[1]
    assert b64decode(picture).decode() == disc().replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" style="background:#fff"')


def test_figures_become_pictures_with_their_titles_as_alternative_text():
    page = explore(line, slope=[0.0, 0.5, 1.0, 1.5, 2.0]).page()
    pictures = [frame(data_of(page), i) for i in range(5)]
    assert [re.search('alt="(.*?)"', p)[1] for p in pictures] == [f"slope {s}, to 2" for s in (0.0, 0.5, 1.0, 1.5, 2.0)]
    assert len(set(pictures)) == 5 and all('class="chart"' in p and "data:image/webp" in p for p in pictures)
    assert not plt.get_fignums()  # nothing is left open for the notebook to show again


def test_a_figure_with_a_photograph_keeps_its_colours():
    def photo(x=0):
        """A grey square."""
        fig, ax = plt.subplots(figsize=(1, 1))
        ax.imshow([[0, x]])
        return fig

    assert 'class="photo"' in explore(photo, x=[0, 1]).page()


def test_too_many_figures_vary_one_at_a_time():
    slopes, ends = [s / 10 for s in range(1, 11)], list(range(1, 9))
    assert len(slopes) * len(ends) > MOST_PICTURES
    data = data_of(explore(line, slope=slopes, end=ends).page())
    drawn = {(i, j) for i in range(10) for j in range(8) if frame(data, i, j)}
    start = (slopes.index(1.0), ends.index(2))
    assert drawn == {(i, start[1]) for i in range(10)} | {(start[0], j) for j in range(8)}


def test_one_object_two_views():
    bundle = explore(disc, x=range(5))._repr_mimebundle_()
    assert bundle["text/plain"] == "explore(disc, x: 5)"
    assert bundle["text/html"].startswith('<figure class="explore"')
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert explore(disc, x=range(5)).page() == explore(disc, x=range(5)).page()  # the same each time, for nbval


def test_the_page_asks_for_nothing():
    page = explore(disc, x=range(5)).page()
    assert not re.search(r"https?:|src=.(?!data:)|import|require|fetch", page)


def test_what_is_drawn_cannot_close_the_script():
    def draw(x=0):
        """Says </script> & <b>."""
        return f"<p>{x} &lt;/script&gt;</p>"

    page = explore(draw, x=range(5)).page()
    assert page.count("</script>") == 2 and "Says &lt;/script&gt; &amp; &lt;b&gt;." in page
    assert frame(data_of(page), 4) == draw(4)


def undocumented(x=0):
    return ""


def number(x=0):
    """Returns no picture."""
    return 3


@pytest.mark.parametrize(
    "draw, choices, error, says",
    [
        (undocumented, {"x": [0]}, ValueError, "undocumented has no docstring: write one"),
        (partial(disc, 3), {"colour": ["red"]}, TypeError, "is not a plain function: write one around it"),
        (disc, {"x": []}, ValueError, "x has no values to choose from"),
        (disc, {"x": [1, 2]}, ValueError, r"disc begins with x=3, which is not among its choices \[1, 2\]"),
        (number, {"x": [0, 1]}, TypeError, "number returned int: let it return a matplotlib figure or a piece of HTML"),
    ],
)
def test_errors_name_the_way_out(draw, choices, error, says):
    with pytest.raises(error, match=says):
        explore(draw, **choices)
