"""The explorer without a browser; tests/test_pages.py moves it in one."""

import re
from base64 import b64decode
from functools import partial
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from alexnet.bookkit.explore import MAX_FIGURES, SCRIPT, STYLE, Buttons, _pack, explore
from helpers import data_of, frame


def disc(x=3, color="red"):
    """A disc that moves."""
    circle = f'<circle cx="{x * 10}" cy="5" r="4" fill="{color}"/>'
    return f'<svg role="img" aria-label="a disc at {x}">{circle}</svg>'


def line(slope=1.0, end=2):
    """A line that rises."""
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, end], [0, slope * end])
    ax.set_title(f"slope {slope}, to {end}")
    return fig


def test_the_page_holds_every_drawing():
    page = explore(disc, x=range(10), color=["red", "blue"]).to_html()
    data = data_of(page)
    for x in range(10):
        for i, color in enumerate(["red", "blue"]):
            assert frame(data, x, i) == disc(x, color)
    assert len(data["texts"]) == 2  # one for each color: the rest is numbers
    assert data["start"] == {"x": 3, "color": 0}


PIECES = st.sampled_from(["a", "<b>", "1", "12,5", "3.", " ", "-4"])


@given(st.lists(st.lists(PIECES).map("".join) | st.none(), min_size=1))
def test_packing_loses_nothing(frames):
    texts, packed = _pack(frames)
    data = {"texts": texts, "frames": packed, "sizes": [len(frames)]}
    assert [frame(data, i) for i in range(len(frames))] == frames


def test_a_number_that_never_changes_is_text():
    texts, packed = _pack(['<image href="data:0123" x="1"/>', '<image href="data:0123" x="2"/>'])
    assert texts == [['<image href="data:0123" x="', '"/>']] and packed == [[0, "1"], [0, "2"]]


def test_images_and_signs_do_not_keep_frames_apart():
    """Of a thousand stops with a photograph, one text is kept."""
    frames = [f'<image href="data:image/webp;base64,A1b{i}" x="{i - 1}"/>' for i in range(3)]
    texts, packed = _pack(frames)
    assert len(texts) == 1
    assert packed[0] == [0, "data:image/webp;base64,A1b0", "-1"]


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


def test_names_are_buttons_however_many_they_are():
    explorer = explore(disc, x=Buttons(range(12)), color=["red", "blue"])
    inputs = data_of(explorer.to_html())["inputs"]
    assert inputs.count('type="radio"') == 14 and 'type="range"' not in inputs
    assert type(explorer._controls[0]).__name__ == "ToggleButtons"


def test_any_value_can_be_chosen():
    values = ['<b> & "q"', None, 1, True, 1.0, (2, 3), [4], "</script>"]

    def draw(length=None):
        """Repeats."""
        return f"<p>{escape(repr(length))}</p>"

    data = data_of(explore(draw, length=values).to_html())
    assert [frame(data, i) for i in range(len(values))] == [draw(v) for v in values]
    assert data["start"] == {"length": 1}


def test_ten_choices_are_a_slider_and_fewer_are_buttons():
    inputs = data_of(explore(disc, x=range(10), color=["red", "blue"]).to_html())["inputs"]
    assert inputs.count('type="range"') == 1 and inputs.count('type="radio"') == 2
    assert data_of(explore(disc, x=range(9)).to_html())["inputs"].count('type="radio"') == 9
    assert 'aria-valuetext="3"' in inputs and "<legend>color</legend>" in inputs


def test_where_svg_and_scripts_are_stripped_the_first_frame_is_an_image():
    page = explore(disc, x=range(5)).to_html()
    still = page.partition("<script")[0]
    assert "<svg" not in still and "<form" not in page
    file = re.search('alt="a disc at 3" src="data:image/svg[+]xml;base64,(.*?)"', still)[1]
    root = '<svg xmlns="http://www.w3.org/2000/svg" style="background:#fff"'
    assert b64decode(file).decode() == disc().replace("<svg", root)


def test_figures_become_images_with_their_titles_as_alternative_text():
    slopes = [0.0, 0.5, 1.0, 1.5, 2.0]
    data = data_of(explore(line, slope=slopes).to_html())
    images = [frame(data, stop) for stop in range(5)]
    titles = [re.search('alt="(.*?)"', image)[1] for image in images]
    assert titles == [f"slope {slope}, to 2" for slope in slopes]
    assert len(set(images)) == 5
    assert all('class="chart"' in image and "data:image/webp" in image for image in images)
    assert not plt.get_fignums()  # nothing is left open for the notebook to show again


def test_a_figure_with_a_photograph_keeps_its_colors():
    def photo(x=0):
        """A grey square."""
        fig, ax = plt.subplots(figsize=(1, 1))
        ax.imshow([[0, x]])
        return fig

    assert 'class="photo"' in explore(photo, x=[0, 1]).to_html()


def test_too_many_figures_vary_one_at_a_time():
    slopes = [s / 10 for s in range(1, 11)]
    ends = list(range(1, 9))
    assert len(slopes) * len(ends) > MAX_FIGURES
    data = data_of(explore(line, slope=slopes, end=ends).to_html())
    drawn = {(i, j) for i in range(10) for j in range(8) if frame(data, i, j)}
    start = (slopes.index(1.0), ends.index(2))
    assert drawn == {(i, start[1]) for i in range(10)} | {(start[0], j) for j in range(8)}


def test_one_object_two_views():
    bundle = explore(disc, x=range(5))._repr_mimebundle_()
    assert bundle["text/plain"] == "explore(disc, x: 5)"
    assert bundle["text/html"].startswith('<figure class="explore"')
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert b64decode(bundle["image/png"]).startswith(b"\x89PNG")  # for print


def test_the_html_is_the_same_each_time():
    """Nbval compares it with what is stored in the notebook."""
    assert explore(disc, x=range(5)).to_html() == explore(disc, x=range(5)).to_html()


def test_the_page_has_the_style_and_the_script_without_their_comments():
    page = explore(disc, x=range(5)).to_html()
    assert f"<style>{STYLE}</style>" in page and f"<script>{SCRIPT}</script>" in page
    assert ".explore {" in STYLE and "form.addEventListener(" in SCRIPT
    assert "/*" not in STYLE + SCRIPT and "//" not in SCRIPT and "\n" not in STYLE


def test_the_page_asks_for_nothing():
    page = explore(disc, x=range(5)).to_html()
    assert not re.search(r"https?:|src=.(?!data:)|import|require|fetch", page)


def test_what_is_drawn_cannot_close_the_script():
    def draw(x=0):
        """Says </script> & <b>."""
        return f"<p>{x} &lt;/script&gt;</p>"

    page = explore(draw, x=range(5)).to_html()
    assert page.count("</script>") == 2
    assert "Says &lt;/script&gt; &amp; &lt;b&gt;." in page
    assert frame(data_of(page), 4) == draw(4)


def undocumented(x=0):
    return ""


def number(x=0):
    """Returns nothing that can be shown."""
    return 3


@pytest.mark.parametrize(
    ("draw", "choices", "error", "message"),
    [
        (undocumented, {"x": [0]}, ValueError, "undocumented must have a docstring: write one"),
        (
            partial(disc, 3),
            {"color": ["red"]},
            TypeError,
            "draw must be a plain function, got .*: write one around it",
        ),
        (disc, {"x": []}, ValueError, "x must have at least one value to choose from"),
        (
            disc,
            {"x": [1, 2]},
            ValueError,
            r"the default x=3 of disc must be among the values to choose from, got \[1, 2\]",
        ),
        (
            number,
            {"x": [0, 1]},
            TypeError,
            "number must return a matplotlib figure or a piece of HTML, got int",
        ),
    ],
)
def test_errors_name_the_way_out(draw, choices, error, message):
    with pytest.raises(error, match=message):
        explore(draw, **choices)
