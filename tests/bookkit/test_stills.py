"""The first picture of an explorer, where scripts and SVG do not run."""

import re
import sys
from base64 import b64decode
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
from matplotlib import pyplot as plt
from nbconvert import LatexExporter, RSTExporter
from nbformat import v4
from PIL import Image

from alexnet.bookkit.explore import explore
from alexnet.bookkit.stills import WIDTH, still_html, still_png
from alexnet.bookkit.svg import element, facts_table, svg

RED, BLUE = (255, 0, 0), (0, 0, 255)


def square(color, x=0):
    return element("rect", x=x, width=10, height=10, fill=color)


def drawing(*body):
    return svg(20, 10, "two squares", "".join(body))


def images_of(html):
    """The drawings in a piece of HTML, as XML."""
    files = re.findall('src="data:image/svg[+]xml;base64,(.*?)"', html)
    return [ElementTree.fromstring(b64decode(file)) for file in files]


def pixels(png):
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def test_a_drawing_within_a_drawing_stays_within_it():
    inner = element("svg", square("blue"), x=10, width=10, height=10, viewBox="0 0 10 10")
    html = still_html(f"<b>1</b>{drawing(square('red'), inner)}<b>2</b>{drawing()}")
    outer, empty = images_of(html)
    assert [child.tag.rpartition("}")[2] for child in outer] == ["rect", "svg"]
    assert len(empty) == 0
    assert re.fullmatch('<b>1</b><img [^>]*alt="two squares"[^>]*><b>2</b><img [^>]*>', html)


def test_the_image_has_the_proportions_of_the_drawing():
    assert f'width="{WIDTH}" height="{WIDTH // 2}"' in still_html(drawing())


def test_the_png_shows_all_drawings_one_below_the_other():
    frame = drawing(square("red"), square("blue", x=10)) + drawing(square("blue"))
    image = pixels(still_png(frame))
    height, width, _ = image.shape
    assert width == height  # two drawings, each twice as wide as high
    left, right = width // 4, 3 * width // 4
    assert tuple(image[height // 4, left]) == RED and tuple(image[height // 4, right]) == BLUE
    assert tuple(image[3 * height // 4, left]) == BLUE
    assert tuple(image[3 * height // 4, right]) == (255, 255, 255)


def test_the_png_shows_text_and_facts():
    """Each adds black pixels: the letters of the drawing, the name of a fact, its value."""
    black = []
    text = element("text", "conv1", x=2, y=8)
    for frame in (
        drawing(),
        drawing(text),
        drawing(text) + facts_table({"outputs": ""}),
        drawing(text) + facts_table({"outputs": "290,400 & more"}),
    ):
        black.append((pixels(still_png(frame)).max(axis=-1) < 100).sum())
    assert black[0] == 0 and np.all(np.diff(black) > 100)


def test_the_png_of_a_figure_is_the_figure():
    def red(x=0):
        """A red figure."""
        return plt.figure(figsize=(3, 2), facecolor="red")

    bundle = explore(red, x=[0, 1])._repr_mimebundle_()
    image = pixels(b64decode(bundle["image/png"])).astype(int)
    height, width, _ = image.shape
    assert width / height == 1.5 and np.abs(image - RED).max() < 10


def test_what_has_no_drawing_has_no_png():
    assert still_png("<p>words</p>") is None


def test_without_resvg_there_is_no_png(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    assert still_png(drawing()) is None


def squares(color="red"):
    """Two squares."""
    return drawing(square("black"), square(color, x=10))


def printed(exporter):
    """What nbconvert writes for print of a notebook with an explorer, and its files of images."""
    bundle = explore(squares, color=["red", "blue"])._repr_mimebundle_()
    del bundle["application/vnd.jupyter.widget-view+json"]  # as book/execute.py stores it
    output = v4.new_output("execute_result", bundle, execution_count=1)
    cell = v4.new_code_cell("1", outputs=[output], execution_count=1)
    text, resources = exporter.from_notebook_node(v4.new_notebook(cells=[cell]))
    assert "explore(squares" not in text
    return text, resources["outputs"]


def test_latex_has_the_picture():
    """And so has PDF, which is made from it."""
    text, images = printed(LatexExporter())
    [(name, image)] = images.items()
    assert f"{{{name}}}" in text
    assert pixels(image).std() > 5


def test_restructured_text_has_the_picture():
    """As HTML: its exporter puts that first, and nothing can be set."""
    text, _ = printed(RSTExporter())
    html = text.partition(".. raw:: html")[2]
    assert len(images_of(html)) == 1
