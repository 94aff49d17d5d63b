"""What the pages of the lessons look like: letters, tables, code, and sliders that keep still."""

import re

import nbformat
import pytest
from bs4 import BeautifulSoup, SoupStrainer
from test_lessons import DESK, LESSONS, PHONE
from visit import UNFOLD, Visit, on_devices

from helpers import ROOT

pytestmark = pytest.mark.slow

# The smallest letters in pixels, by device
LEAST = {"desk": (DESK, 11), "phone": (PHONE, 10)}

# The letters of a part of the page that are smaller than they may be, each with its size. In a
# drawing they grow and shrink with it; what it says is in units of the drawing.
SMALL_LETTERS = """(part, least) => {
    const found = {}
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement
        if (!text || element.closest('mjx-container, script, style, sup')) continue
        if (!element.checkVisibility()) continue
        let size = parseFloat(getComputedStyle(element).fontSize)
        if (element.closest('svg')) {
            const { a, b } = element.getScreenCTM()
            size *= Math.hypot(a, b)
        }
        if (size < least - 0.05) found[text.slice(0, 40)] = Math.round(10 * size) / 10
    }
    // Figures of matplotlib in an explorer, 100 pixels an inch, in letters of 11 points
    for (const image of part.querySelectorAll('.explore-picture img[width]')) {
        if (image.src.includes('svg+xml') || !image.clientWidth) continue
        const size = 11 / 72 * 100 * image.clientWidth / image.getAttribute('width')
        if (size < least - 0.05) found[image.alt] = Math.round(10 * size) / 10
    }
    return found
}"""
# The same for an explorer, with each of its inputs at each of its stops.
AT_ALL_STOPS = f"""(explorer, least) => {{
    const smallLetters = {SMALL_LETTERS}
    const found = {{}}
    for (const input of explorer.querySelectorAll('input[type=range]')) {{
        const start = input.value
        for (let stop = 0; stop <= Number(input.max); stop++) {{
            input.value = stop
            input.dispatchEvent(new Event('input', {{bubbles: true}}))
            Object.assign(found, smallLetters(explorer, least))
        }}
        input.value = start
        input.dispatchEvent(new Event('input', {{bubbles: true}}))
    }}
    for (const input of explorer.querySelectorAll('input[type=radio]')) {{
        input.click()
        Object.assign(found, smallLetters(explorer, least))
    }}
    return found
}}"""
# Where a slider stands on the page at each of its stops.
PLACES = """slider => {
    const places = []
    for (let stop = Number(slider.min); stop <= Number(slider.max); stop++) {
        slider.value = stop
        slider.dispatchEvent(new Event('input', {bubbles: true}))
        places.push(slider.getBoundingClientRect().top + scrollY)
    }
    return Math.max(...places) - Math.min(...places)
}"""
PLACES_OF_BUTTONS = """buttons => {
    const places = []
    for (const button of buttons.querySelectorAll('input')) {
        button.click()
        places.push(buttons.getBoundingClientRect().top + scrollY)
    }
    return Math.max(...places) - Math.min(...places)
}"""
COLUMN = "document.querySelector('.bd-article section > p').clientWidth"

# Room beside the text of a table's cells, less than which two columns seem to touch
NARROW_CELLS = """least => [...document.querySelectorAll('.bd-article .cell_output :is(td, th)')]
    .filter(cell => cell.checkVisibility() && cell.nextElementSibling)
    .filter(cell => {
        const {paddingRight, display} = getComputedStyle(cell)
        const next = getComputedStyle(cell.nextElementSibling)
        return display === 'table-cell'
            && parseFloat(paddingRight) + parseFloat(next.paddingLeft) < least
    }).map(cell => cell.textContent)"""
# Words of code of which a part stands in the next line, on a phone.
BROKEN_WORDS = """() => {
    const found = []
    for (const token of document.querySelectorAll('.cell_input .line > span')) {
        const text = token.textContent
        if (!/^\\w{2,}$/.test(text)) continue
        if (token.getClientRects().length > 1) found.push(text)
    }
    return found
}"""


# By the names that test_pages.py has, and there on the other device
VISITS = on_devices([f"book/{name}" for name in LESSONS], [*reversed(LEAST)])


@pytest.fixture(scope="module", params=VISITS)
def lesson(browser, host, request):
    """A page with all that is folded open, its name, and the smallest letters it may have."""
    name, device = request.param
    options, least = LEAST[device]
    with Visit(browser, f"{host}/{name}.html", **options) as visit:
        visit.page.evaluate(UNFOLD)
        yield visit.page, name, least


def test_no_letters_are_too_small(lesson):
    page, _, least = lesson
    article = page.locator(".bd-article")
    found = article.evaluate(SMALL_LETTERS, least)
    for explorer in page.locator("figure.explore").all():
        found |= explorer.evaluate(AT_ALL_STOPS, least)
    assert found == {}


WORDS = {"medium": 11, "small": 9.2, "x-small": 7.6, "xx-small": 6.4}  # font sizes in points
DPI = 138  # of a figure: book.mplstyle


def test_no_letters_of_a_figure_are_too_small(lesson):
    """From the font sizes in its cell, its width, and the width of the page."""
    page, name, least = lesson
    column = page.evaluate(COLUMN)
    found = []
    for cell in nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells:
        for output in cell.get("outputs", []):
            size = output.get("metadata", {}).get("image/png", {})
            if "width" not in size:
                continue
            points = [11.0]
            for text in re.findall(r"""(?:fontsize|labelsize)=["']?([\w.-]+)""", cell.source):
                points.append(WORDS.get(text) or float(text))
            pixels = min(points) * DPI / 72 * min(1, column / size["width"])
            if pixels < least - 0.05:
                found.append((cell.id, round(pixels, 1)))
    assert found == []


def test_columns_of_a_table_do_not_touch(lesson):
    page, *_ = lesson
    assert page.evaluate(NARROW_CELLS, 10) == []


def test_no_control_moves_while_it_is_used(lesson):
    page, *_ = lesson
    assert page.locator("figure.explore input").count()
    for slider in page.locator("figure.explore input[type=range]").all():
        assert slider.evaluate(PLACES) < 1
    for buttons in page.locator("figure.explore fieldset").all():
        assert buttons.evaluate(PLACES_OF_BUTTONS) < 1


def test_code_breaks_between_words(lesson):
    page, *_ = lesson
    assert page.evaluate(BROKEN_WORDS) == []


def test_lines_of_code_keep_their_text(book):
    """For whoever copies them."""
    for name in LESSONS:
        text = (book / "book" / f"{name}.html").read_text(encoding="utf-8")
        code = SoupStrainer(class_=re.compile(r"\bcell_input\b"))  # the rest takes most of the time
        page = BeautifulSoup(text, "html.parser", parse_only=code)
        cells = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4).cells
        sources = [cell.source for cell in cells if cell.cell_type == "code"]
        blocks = page.select(".cell_input pre")
        assert blocks, name
        for block in blocks:
            assert block.get_text().rstrip("\n") in sources
