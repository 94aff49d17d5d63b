import io
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from alexnet.bookkit.svg import (
    element,
    embed_image,
    facts_table,
    html_table,
    pixel_image,
    svg,
)


def test_attributes_are_escaped_and_keep_their_order():
    rect = element("rect", x="1.0", stroke_width=2, aria_label='a "b" < c')
    assert rect == '<rect x="1.0" stroke-width="2" aria-label="a &quot;b&quot; &lt; c"/>'


def test_element_with_empty_content_has_an_end_tag():
    assert element("text", "", x=1) == '<text x="1"></text>'


def test_drawing_has_its_size_and_alternative_text():
    root = ElementTree.fromstring(svg(360, 20, "5 < 6", element("rect")))
    assert root.get("viewBox") == "0 0 360 20"
    assert root.get("role") == "img" and root.get("aria-label") == "5 < 6"


def test_facts_are_text_with_names():
    root = ElementTree.fromstring(facts_table({"a < b": "1", "c": "2 & 3"}))
    assert [cell.text for cell in root.iter("th")] == ["a < b", "c"]
    assert [cell.text for cell in root.iter("td")] == ["1", "2 & 3"]


def test_a_table_is_text_with_names():
    table = html_table(["claim", "holds"], [["P5", "a < b"]], "claims")
    root = ElementTree.fromstring(table)
    assert root.get("aria-label") == "claims"
    assert [cell.text for cell in root.iter("th")] == ["claim", "holds", "P5"]
    assert [cell.text for cell in root.iter("td")] == ["a < b"]
    assert "stacked" not in root.find("table").get("class")


def test_the_cells_of_a_wide_table_know_their_headings():
    root = ElementTree.fromstring(html_table(list("abcdef"), [list("ABCDEF")], "letters"))
    assert "stacked" in root.find("table").get("class")
    cells = [(cell.get("data-name"), cell.text) for cell in root.iter("td")]
    assert cells == list(zip("bcdef", "BCDEF"))


def test_a_row_with_a_cell_too_few_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        html_table(["a", "b"], [["A"]], "letters")


def decode(uri):
    return Image.open(io.BytesIO(b64decode(uri.split(",")[1])))


def test_embedded_image_is_webp_of_the_same_size():
    photo = np.full((4, 6, 3), 200, np.uint8)
    image = decode(embed_image(photo))
    assert image.format == "WEBP" and image.size == (6, 4)
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - 200).max() < 5


def test_pixel_image_is_black_at_0_and_white_at_1_and_clips_the_rest():
    values = np.array([[0.0, 0.5, 1.0], [-1.0, 0.2, 2.0]])
    image = ElementTree.fromstring(pixel_image(values, 4, 20, 168))
    assert (image.get("x"), image.get("y"), image.get("width")) == ("4", "20", "168.0")
    assert np.asarray(decode(image.get("href"))).tolist() == [[0, 128, 255], [0, 51, 255]]
