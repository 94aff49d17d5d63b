"""The net of the first page as an output of a notebook: live with a kernel, else a picture."""

import base64
import io
import json
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from PIL import Image

from alexnet.bookkit import first_page, net_output
from alexnet.bookkit.export import quantized
from alexnet.bookkit.net_output import show_net
from alexnet.experiments.cuts import take_away
from helpers import some_of

pytestmark = pytest.mark.slow

# What VS Code allows in an output: src/vs/workbench/contrib/notebook/browser/view/renderers/
# backLayerWebView.ts in its repository.
VS_CODE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src https: http: data:; font-src https:; connect-src https:; child-src https: data:"
)


@pytest.fixture(scope="module")
def output():
    return show_net("goldfish", cut=["column2", "kernel7"], look="conv1.7")


@pytest.fixture(scope="module")
def bundle(output):
    return output._repr_mimebundle_()


def guesses_of_pytorch():
    """The probabilities of what `output` shows, by the first words of the classes."""
    predictor = quantized("tiny-imagenet")[0]
    for cut in ("column2", "kernel7"):
        predictor.model = take_away(predictor.model, cut)
    image = net_output.resize_center_crop(
        net_output.decode_image(first_page.PHOTOGRAPHS / "goldfish.webp"), 64
    )
    image = first_page.cover(image, first_page.SQUARE, first_page.gray_of(predictor))
    probabilities = predictor.probabilities(image[None])[0]
    words = [first_page.short(predictor.class_name(label)) for label in range(200)]
    return dict(zip(words, probabilities.tolist()))


def test_what_a_notebook_stores_is_small(bundle):
    """A picture, a caption and a link; neither weights nor scripts."""
    stored = dict(bundle)
    view = stored.pop("application/vnd.jupyter.widget-view+json")
    assert len(json.dumps(view)) < 200
    assert sum(map(len, stored.values())) < 200e3
    html = BeautifulSoup(bundle["text/html"], "html.parser")
    assert html.select_one("script, iframe, style") is None
    link = html.select_one("figcaption a")
    assert link["href"] == "intro.html#net=goldfish&cut=column2,kernel7&look=conv1.7"
    assert "without column 2, kernel 7" in html.img["alt"]
    png = base64.b64decode(html.img["src"].partition(",")[2])
    assert png == base64.b64decode(bundle["image/png"])
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    assert image.getpixel((0, 0))[3] == 0  # without a ground of its own on a dark page
    picture = np.array(image.convert("RGB"))
    assert picture.shape[1] == net_output.STILL_WIDTH * net_output.PIXEL_RATIO
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    row = next(row for row in first_page.credits() if row["file"] == "goldfish.webp")
    assert row["author"] in html.figcaption.text and row["licence"] in html.figcaption.text


def test_the_whole_is_sent_once(output):
    """Asked for its state again, it is a picture: Jupyter Server drops messages of 3 MB."""
    assert len(output.value) > 1e6
    again = output.get_state()["value"]
    assert len(again) < 100e3
    assert BeautifulSoup(again, "html.parser").img and "run the cell again" in again


def test_the_picture_is_of_the_state():
    state = net_output._State("goldfish", ("column2", "kernel7"), None)
    seen, untouched, shown = net_output._compute(state)
    expected = guesses_of_pytorch()
    assert shown.probabilities.max().item() == pytest.approx(max(expected.values()), abs=1e-5)
    assert not (shown.probabilities - untouched.probabilities).abs().max() < 1e-4
    assert shown.maps["conv3"][96:].abs().max() == 0 and shown.maps["conv1"][6].abs().max() == 0
    assert (shown.maps["conv3"][:96].abs().max() > 0) and seen.shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("cuts", "bars", "said"),
    [((), 5, "triumphal arch"), (("column2",), 6, "golden retriever")],
)
def test_what_the_cut_net_says_has_a_bar_of_its_own(cuts, bars, said):
    _, untouched, shown = net_output._compute(net_output._State("triumphal_arch", cuts, None))
    axes = Figure().subplots()
    net_output._draw_guesses(axes, untouched, shown)
    words = [label.get_text() for label in axes.get_yticklabels()]
    assert len(axes.patches) == len(words) == bars and words[0] == "triumphal arch"
    assert axes.get_title(loc="left") == f"It says: {said}"
    said_bar = axes.patches[words.index(said)]
    assert said_bar.get_width() == max(bar.get_width() for bar in axes.patches)
    assert words.index(said) == (5 if cuts else 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"photograph": "dragon"}, r"photograph must be one of red_panda, .*, got 'dragon'"),
        ({"cut": "column3"}, r"cut must be one of column1, .*, got 'column3'"),
        ({"cut": ["lrn", "dropout"]}, r"cut must be one of .*, got 'dropout'"),
        ({"look": "conv1.49"}, r"look must be one of conv1.1 to conv1.48, .*, got 'conv1.49'"),
        ({"look": "conv1"}, r"look must be one of"),
        ({"look": "pool1.1"}, r"look must be one of"),
    ],
)
def test_what_there_is_not_is_an_error(arguments, said):
    with pytest.raises(ValueError, match=said):
        show_net(**arguments)


def test_without_the_book_there_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(first_page, "OUT", tmp_path / "first_page.html")
    with pytest.raises(FileNotFoundError, match="clone the repository"):
        show_net()


def test_all_scripts_of_the_page_are_listed():
    """Once each, and those to which others attach come first."""
    names = [path.name for path in net_output.script_files()]
    assert names[:2] == ["picture.js", "page.js"]
    assert sorted(names) == sorted(path.name for path in first_page.PAGE.glob("*.js"))


def test_the_document_needs_nothing_else(output):
    document = BeautifulSoup(output.value, "html.parser").iframe["srcdoc"]
    tags = BeautifulSoup(document, "html.parser").select("[src], link")
    assert all(tag.get("src", "").startswith("data:image/") for tag in tags)
    assert not re.search(r"url\((?!data:)", document)


# As the widget does it
SHOW = "html => { document.querySelector('div').innerHTML = html }"
NOTEBOOKS = {
    "JupyterLab": '<body data-jp-theme-light="true"><div></div>',
    "VS Code": f'<meta http-equiv="Content-Security-Policy" content="{VS_CODE_POLICY}">'
    '<body class="vscode-dark"><div></div>',
}


@pytest.mark.parametrize("notebook", some_of(NOTEBOOKS, "JupyterLab"))
def test_live_with_a_kernel(browser, output, notebook):
    """It is what PyTorch computes, in the state asked for, and goes on from there."""
    page = browser.new_page(viewport={"width": 1000, "height": 900}, reduced_motion="reduce")
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url[:99]))
    page.set_content(f"<!DOCTYPE html>{NOTEBOOKS[notebook]}")
    page.evaluate(SHOW, output.value)
    frame = page.wait_for_selector("iframe").content_frame()
    frame.wait_for_selector(".net[data-passes][data-state=idle]", timeout=60_000)
    theme = "dark" if notebook == "VS Code" else "light"
    assert frame.evaluate("document.documentElement.dataset.theme") == theme

    expected = guesses_of_pytorch()
    assert shown_guesses(frame) == {
        word: pytest.approx(expected[word], abs=2e-3) for word in shown_guesses(frame)
    }
    assert frame.text_content(".net-first") == max(expected, key=expected.get)
    assert "conv1, map 7 of 48" in frame.text_content(".net-panel")
    panel = frame.eval_on_selector(".net-panel", "e => e.getBoundingClientRect().bottom")
    assert panel <= page.eval_on_selector("iframe", "e => e.clientHeight")

    before = shown_guesses(frame)
    frame.click('[data-cut="column2"]')
    frame.wait_for_function(
        "before => document.querySelector('.net-guess i').style.width !== before",
        arg=f"{100 * next(iter(before.values()))}%",
    )
    frame.click('.net-sample[data-name="koala"]')
    frame.wait_for_function("document.querySelector('.net-by').textContent.includes('koala')")
    page.wait_for_timeout(600)  # after which a page would write its address
    assert [text for text in complaints if not text.startswith("data:")] == []
    page.close()


def shown_guesses(frame):
    """The five guesses: probabilities by words."""
    rows = frame.query_selector_all(".net-guess:not(.net-others)")
    values = [row.query_selector("i").evaluate("e => parseFloat(e.style.width)") for row in rows]
    return {
        row.query_selector(".net-word").text_content(): value / 100
        for row, value in zip(rows, values)
    }
