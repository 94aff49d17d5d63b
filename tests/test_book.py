"""The rendered pages in a browser that reaches only their own host, and notebooks in JupyterLab."""

import ast
import gzip
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import v4
from nbformat.sign import NotebookNotary
from playwright.sync_api import expect
from pybtex.database import parse_string

from alexnet.bookkit.explore import explore
from helpers import CHAPTERS, NOTEBOOKS, ROOT, build_book, frame

pytestmark = pytest.mark.slow

PAGES = [*CHAPTERS, "search"]
DESK = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "color_scheme": "dark",
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def parsed(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def pages(book):
    return {name: parsed(book / f"{name}.html") for name in ["index", *PAGES]}


def test_every_link_leads_somewhere(book, pages):
    anchors = {}
    for name, page in pages.items():
        path = (book / f"{name}.html").resolve()
        anchors[path] = {tag["id"] for tag in page.select("[id]")}
    lost = []
    for name, page in pages.items():
        for tag in page.select("[href], [src]"):
            link = urlsplit(tag.get("href") or tag.get("src"))
            if link.scheme or link.netloc:  # elsewhere, or in the page itself
                continue
            if tag.name == "a" and link.fragment.startswith("net="):  # a state, no place
                link = link._replace(fragment="")
            path = book / f"{name}.html"
            if link.path:
                path = path.parent / unquote(link.path)
            if not path.is_file() or (
                link.fragment and link.fragment not in anchors[path.resolve()]
            ):
                lost.append(f"{name}: {link.geturl()}")
    assert lost == []


@pytest.mark.parametrize(("place", "step"), [("left-prev", -1), ("right-next", 1)])
def test_previous_and_next(pages, place, step):
    links = [pages[name].select_one(f"a.{place}") for name in CHAPTERS]
    found = [f"book/{link['href'].removesuffix('.html')}" if link else None for link in links]
    expected = [None, *CHAPTERS[:-1]] if step < 0 else [*CHAPTERS[1:], None]
    assert found == expected


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_figure_has_a_caption(pages, name):
    """Each image stands in a figure with alternative text; axe looks at the rest, in test_page.

    The previews beside the list of chapters are ornaments.
    """
    article = pages[name].select_one("article.bd-article")
    for figure in article.select("figure"):
        assert figure.figcaption and figure.figcaption.get_text(strip=True), str(figure)[:200]
    for image in article.select(":is(img, svg):not(ul.chapters img)"):
        assert image.find_parent("figure"), str(image)[:200]
    for image in article.select("figure > img, figure a > img"):
        assert image.get("alt"), str(image)[:200]


def test_all_figures_are_numbered_in_one_series(pages):
    """Explorers as well, in the order of the book; the net on the first page has a name."""
    numbers = []
    for name in CHAPTERS:
        for figure in pages[name].select("article.bd-article figure:not(.net)"):
            number = figure.select_one("figcaption .caption-number")
            assert number, str(figure)[:200]
            numbers.append(number.get_text(strip=True))
    assert numbers == [f"Fig. {i}" for i in range(1, len(numbers) + 1)]


def test_every_exercise_has_a_folded_solution(pages):
    for name in NOTEBOOKS:
        exercises = {tag["id"] for tag in pages[name].select("div.exercise")}
        links = pages[name].select("div.solution.dropdown > p.admonition-title a")
        solved = {link["href"].lstrip("#") for link in links}
        assert exercises == solved and (exercises or name == "book/claims"), name


def buttons(page):
    """The addresses of the buttons at the top of a page: the repository, Binder and Colab."""
    links = page.select(".btn-source-repository-button, .dropdown-launch-buttons a")
    return [link["href"] for link in links]


def test_buttons_come_with_the_repository(pages, tmp_path):
    """With `repository_url` set they are on a notebook's page; while it is empty, on none."""
    config = read_yaml("_config.yml")
    options = config["sphinx"]["config"]["html_theme_options"]
    if not options["repository_url"]:
        assert not any(buttons(page) for page in pages.values())
    options["repository_url"] = "https://github.com/NAME/REPOSITORY"
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/page\n", encoding="utf-8")
    for name in ("_ext", "_static", "_templates"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    for name in ("engine", "page", "race"):  # which _ext and _config.yml name
        folder = Path("alexnet/bookkit") / name
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("references.bib", "pages.yml", "intro.md"):
        shutil.copy(ROOT / "book" / name, tmp_path / "book")
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A page")])
    nbformat.write(notebook, tmp_path / "book" / "page.ipynb")
    page = parsed(build_book(tmp_path, tmp_path) / "book" / "page.html")
    visible = [link["href"] for link in page.select("h1 + .run-it a")]
    assert (
        sorted(visible)
        == sorted(buttons(page))
        == [
            "https://colab.research.google.com/github/NAME/REPOSITORY/blob/main/book/page.ipynb",
            "https://github.com/NAME/REPOSITORY",
            "https://mybinder.org/v2/gh/NAME/REPOSITORY/main?urlpath=lab/tree/book/page.ipynb",
        ]
    )


def test_every_reference_leads_to_the_work(pages):
    works = pages["book/references"].select(".citation")
    assert len(works) > 20
    for work in works:
        assert work.select_one('a[href^="https://"]'), work.get_text()


def full_name(author):
    """Of an author in CITATION.cff."""
    return author.get("name") or f"{author['given-names']} {author['family-names']}"


def test_the_page_on_citing_agrees_with_citation_cff(pages):
    """The same three works: who, what, when."""
    citation = read_yaml("CITATION.cff")
    works = [citation["preferred-citation"], *citation["references"]]
    expected = []
    for work in works:
        names = [full_name(author) for author in work["authors"]]
        expected.append((names, work["title"], work["year"]))

    blocks = [block.get_text() for block in pages["book/cite"].select("div.highlight-bibtex pre")]
    references = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert [block in references for block in blocks] == [False, True, True]
    braces = str.maketrans("", "", "{}")
    shown = []
    for entry in parse_string("".join(blocks), "bibtex").entries.values():
        names = []
        for who in entry.persons["author"]:
            parts = [*who.first_names, *who.middle_names, *who.last_names]
            names.append(" ".join(parts).translate(braces))
        title = entry.fields["title"].translate(braces)
        shown.append((names, title, int(entry.fields["year"])))
    assert shown == expected

    config = read_yaml("_config.yml")
    assert expected[0] == ([config["author"]], config["title"], int(config["copyright"]))
    assert citation["title"] == config["title"] and citation["authors"] == works[0]["authors"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def host(book):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Visit:
    """A page that can reach its own host only, with its complaints and responses."""

    def __init__(self, browser, address, **device):
        self.complaints, self.responses = [], []
        self.context = browser.new_context(**device)
        self.context.route("**/*", partial(self._own_host, urlsplit(address).netloc))
        self.page = self.context.new_page()
        self.session = self.context.new_cdp_session(self.page)
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", self._note_failure)
        self.page.on("response", self._note_response)
        self.page.goto(address)
        self.page.wait_for_load_state("networkidle")

    def _own_host(self, host, route):
        if urlsplit(route.request.url).netloc == host or route.request.url.startswith("data:"):
            route.continue_()
        else:
            self.complaints.append(f"asked for {route.request.url}")
            route.abort()

    def _note_message(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _note_failure(self, request):
        self.complaints.append(f"failed: {request.url}")

    def _note_response(self, response):
        self.responses.append(response)
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")

    def pixels(self, place):
        """A screenshot of a part of the page; Playwright's own takes three times as long."""
        options = {"format": "png", "optimizeForSpeed": True, "clip": place}
        return self.session.send("Page.captureScreenshot", options)["data"]

    def weight(self):
        """Bytes of all that was loaded, gzipped."""
        loaded = [response.body() for response in self.responses if response.ok]
        return sum(len(gzip.compress(body)) for body in loaded)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.context.close()


@pytest.fixture(scope="module")
def weights():
    """Bytes of each page with all that it loads, gzipped; a page's test adds its own."""
    return {}


TYPESET = """
() => !window.MathJax?.startup || window.MathJax.startup.promise.then(() => true)"""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
ICONS_LOADED = """
() => [...document.fonts].some(
    font => font.family.includes('Font Awesome') && font.status === 'loaded')"""
BROKEN_IMAGES = """
[...document.images].filter(image => image.complete && !image.naturalWidth)
    .map(image => image.src)"""
STILL = "* { animation: none !important; transition: none !important }"
UNFOLD = "document.querySelectorAll('details').forEach(folded => folded.open = true)"


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_page(browser, host, name, device, weights):
    with Visit(browser, f"{host}/{name}.html", **device) as visit:
        page = visit.page
        expect(page.locator(".bd-article-container")).to_be_visible()
        page.wait_for_function(TYPESET)
        formulas = page.locator(".math.notranslate")
        assert page.locator(".math.notranslate > mjx-container").count() == formulas.count()
        assert page.locator("mjx-merror").count() == 0
        sideways = page.evaluate(SIDEWAYS)
        assert sideways <= 0, f"{sideways} pixels to scroll sideways"
        page.wait_for_function(ICONS_LOADED)
        assert page.evaluate(BROKEN_IMAGES) == []
        if device is PHONE:
            weights[name] = visit.weight()
        page.add_style_tag(content=STILL)
        page.evaluate(UNFOLD)
        assert violations(page) == []
        explorers = page.locator("figure.explore")
        is_chapter = name in NOTEBOOKS and name != "book/claims"  # which is a table
        # The valley is moved in tests/bookkit/test_valley.py.
        assert explorers.or_(page.locator("figure.valley")).count() > 0 or not is_chapter
        for explorer in explorers.all():
            move_through(explorer, visit, touch="has_touch" in device)
        assert visit.complaints == []


# In a block of code, one word keeps each color: a thousand words take most of axe's time.
ONE_WORD_A_COLOR = """
for (const block of document.querySelectorAll('.highlight')) {
    const seen = new Set()
    for (const token of block.querySelectorAll('span[class]')) {
        if (seen.has(token.className)) token.replaceWith(...token.childNodes)
        seen.add(token.className)
    }
}"""


# What is not the book's: the theme has the book's name outside of all landmarks, and docutils gives
# the works that are cited a role which is deprecated by now.
OTHERS = {
    "region": 'class="navbar-brand logo"',
    "aria-allowed-role": 'role="doc-biblioentry"',
    "aria-deprecated-role": 'role="doc-biblioentry"',
}


def violations(page):
    """The violations of accessibility that axe finds, but for those of others."""
    page.evaluate(ONE_WORD_A_COLOR)
    options = {"resultTypes": ["violations"], "preload": False}
    found = []
    for violation in Axe().run(page, options=options).response["violations"]:
        elements = [node["html"][:200] for node in violation["nodes"]]
        own = [html for html in elements if OTHERS.get(violation["id"], "\0") not in html]
        if own:
            found.append((violation["id"], own))
    return found


def test_weights(browser, host, weights):
    for name in set(PAGES) - set(weights):
        with Visit(browser, f"{host}/{name}.html", **PHONE) as visit:
            weights[name] = visit.weight()
    assert max(weights.values()) < 2.5e6, weights
    assert statistics.median(weights.values()) < 1e6, weights


def test_a_page_has_formulas(browser, host):
    """Otherwise the check for typeset formulas would be empty."""
    with Visit(browser, f"{host}/book/architecture.html", **DESK) as visit:
        expect(visit.page.locator(".math.notranslate > mjx-container").first).to_be_attached()


@pytest.mark.parametrize(("name", "heading"), [("claims", '"verdict: "'), ("learning", '"idea: "')])
def test_a_table_of_many_columns_fits_a_phone(browser, host, name, heading):
    """Each cell has its heading, so that the last column is seen."""
    with Visit(browser, f"{host}/book/{name}.html", **PHONE) as visit:
        table = visit.page.locator("table.stacked")
        scrolls = "table => table.parentElement.scrollWidth - table.parentElement.clientWidth"
        assert table.evaluate(scrolls) <= 0
        before = "cell => getComputedStyle(cell, '::before').content"
        assert table.locator("td").first.evaluate(before) == heading


# A4 is 210 mm wide, 794 pixels; browsers leave a margin of a centimeter on either side.
A4 = {"viewport": {"width": 718, "height": 1046}, "color_scheme": "dark"}
# What of an article reaches beyond the page, or is cut off by a box that would scroll. A formula in
# a line is measured by its own box, as its span always seems too narrow.
CUT_OFF = """() => {
    const page = document.documentElement.clientWidth
    const elements = document.querySelectorAll('.bd-article-container *:not(svg *, span.math)')
    return [...elements].filter(element => {
        const box = element.getBoundingClientRect()
        const style = getComputedStyle(element)
        if (!box.width || !box.height || element.closest('mjx-assistive-mml')) return false
        const scrolls = style.display !== 'inline' && style.overflowX !== 'visible'
        return box.right > page + 1 || scrolls && element.scrollWidth > element.clientWidth + 1
    }).map(element => `${element.tagName} ${element.className}: ${element.textContent}`)
}"""


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_nothing_is_cut_off(browser, host, name):
    with Visit(browser, f"{host}/{name}.html", **A4) as visit:
        page = visit.page
        page.wait_for_function(TYPESET)
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(CUT_OFF) == []
        assert page.locator("figure.explore input[type=range]:visible").count() == 0
        for solution in page.locator(".solution").all():
            assert solution.locator("> :last-child").is_visible()


def test_a_dark_page_is_printed_in_light_colors(browser, host):
    """The theme prints headings in black, and the chart of a dark page is inverted."""
    with Visit(browser, f"{host}/book/architecture.html", **A4) as visit:
        page = visit.page
        page.evaluate("""addEventListener('beforeprint', () => {
            window.printed = getComputedStyle(document.body).backgroundColor
        })""")
        page.pdf()
        assert page.evaluate("printed") == "rgb(255, 255, 255)"
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


# Whether a picture is the one that some HTML makes, and if so, where it is on the page.
SHOWN = """async (picture, html) => {
    const expected = Object.assign(picture.cloneNode(), {innerHTML: html})
    if (!expected.isEqualNode(picture)) return null
    await Promise.all([...picture.querySelectorAll('img')].map(image => image.decode()))
    picture.scrollIntoView({block: 'nearest', behavior: 'instant'})
    const {x, y, width, height} = picture.getBoundingClientRect()
    return {x: x + scrollX, y: y + scrollY, width, height, scale: 1 / devicePixelRatio}
}"""
CHOSEN = "form => Object.fromEntries(new FormData(form))"


def some_stops(num_stops):
    """A few stops of a slider: both ends, and two neighbours in the middle."""
    middle = num_stops // 2
    return sorted({0, middle - 1, middle, num_stops - 1} & set(range(num_stops)))


def move_through(explorer, visit, touch, choose_stops=some_stops):
    """Visit stops by keys, then by mouse or touch.

    Each must show the frame that was drawn for it, and look different from the one before.
    """
    data = json.loads(explorer.locator("script[type]").text_content())
    form, picture = explorer.locator("form"), explorer.locator(".explore-picture")

    def check_frame():
        chosen = form.evaluate(CHOSEN)
        stops = [int(chosen[name]) for name in data["start"]]
        place = picture.evaluate(SHOWN, frame(data, *stops))
        assert place, f"{chosen} does not show the frame drawn for it"
        return place

    def check_stops(stops, move):
        before = None
        for stop in stops:
            move(stop)
            now = visit.pixels(check_frame())
            assert now != before, f"stop {stop} looks like the one before"
            before = now

    for slider in explorer.locator("input[type=range]").all():
        move_slider(slider, touch, choose_stops, check_stops, check_frame)
    for buttons in explorer.locator("fieldset").all():
        choices = buttons.locator("input")
        stops = choose_stops(choices.count())
        check_stops(stops, lambda stop, choices=choices: choices.nth(stop).check())


def move_slider(slider, touch, choose_stops, check_stops, check_frame):
    """Move a slider through its stops, and back to where it was."""
    num_stops = int(slider.get_attribute("max")) + 1
    stops = choose_stops(num_stops)
    start = slider.input_value()

    def press(stop):
        if stop == 0:
            slider.press("Home")
        elif stop == num_stops - 1:
            slider.press("End")
        else:
            slider.fill(str(stop - 1))
            slider.press("ArrowRight")
        assert slider.input_value() == str(stop)

    check_stops(stops, press)

    box = slider.bounding_box()
    thumb = 16  # pixels
    pitch = (box["width"] - thumb) / (num_stops - 1)
    for stop in stops:
        if (
            pitch < thumb
        ):  # where the thumb covers the next stop, a click would only take hold of it
            slider.press("End" if stop < num_stops / 2 else "Home")
        x = thumb / 2 + pitch * stop
        place = {"x": x, "y": box["height"] / 2}
        if touch:
            slider.tap(position=place)
        else:
            slider.click(position=place)
        assert slider.input_value() == str(stop)
        check_frame()
    slider.fill(start)


@pytest.mark.exhaustive
@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_stop_of_every_slider(browser, host, name, device):
    with Visit(browser, f"{host}/{name}.html", **device) as visit:
        visit.page.add_style_tag(content=STILL)
        visit.page.evaluate(UNFOLD)
        for explorer in visit.page.locator("figure.explore").all():
            move_through(explorer, visit, touch="has_touch" in device, choose_stops=range)


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_a_window_is_dragged_on_its_photograph(browser, host, device):
    """And stops at the edges; the sliders say where it is."""
    with Visit(browser, f"{host}/book/augmentation.html", **device) as visit:
        page = visit.page
        explorer = page.locator("figure.explore:has([data-drags])")
        window = explorer.locator("[data-drags]")
        window.scroll_into_view_if_needed()
        left, top = explorer.locator("input[name=left]"), explorer.locator("input[name=top]")
        before = int(left.input_value()), int(top.input_value())
        unit = window.evaluate("window => window.getScreenCTM().a")
        box = window.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 9 * unit, y + 5 * unit, steps=3)
        moved = int(left.input_value()) - before[0], int(top.input_value()) - before[1]
        assert moved == (-9, 5)
        page.mouse.move(x - 99 * unit, y + 99 * unit, steps=3)
        page.mouse.up()
        page.mouse.move(x, y)
        assert (left.input_value(), top.input_value()) == ("0", "32")
        assert (window.get_attribute("x"), window.get_attribute("y")) == ("0", "32")
        assert visit.complaints == []


def shown_run(figure):
    """The run that a walk shows: its name, text, and the names of its parents and children."""
    return figure.evaluate("""figure => {
        const names = box => [...box.querySelectorAll('button b')].map(b => b.textContent)
        const run = figure.querySelector('.lineage-run')
        return {
            name: run.querySelector('b').textContent,
            text: run.textContent,
            others: [...figure.querySelectorAll('.lineage-runs')].map(names),
        }
    }""")


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_a_walk_through_all_runs(browser, host, device):
    with Visit(browser, f"{host}/book/results.html", **device) as visit:
        figure = visit.page.locator("figure.lineage")
        nodes = json.loads(figure.locator("script[type]").text_content())["nodes"]
        for i, node in enumerate(nodes):
            figure.get_by_label("any run").select_option(index=i)
            found = shown_run(figure)
            assert found["name"] == node["name"]
            for text in (node["error"], node["changed"], *itertools.chain(*node["facts"])):
                assert text in found["text"]
            parents = [nodes[parent]["name"] for parent in node["parents"]]
            children = [other["name"] for other in nodes if i in other["parents"]]
            assert found["others"] == [parents, children]
            assert visit.page.evaluate(SIDEWAYS) <= 0
        assert visit.complaints == []


def test_a_walk_by_keys_by_buttons_and_on_the_map(browser, host):
    with Visit(browser, f"{host}/book/results.html", **DESK) as visit:
        figure = visit.page.locator("figure.lineage")
        assert shown_run(figure)["name"] == "145"
        figure.locator(".lineage-run").focus()
        for key, run in [
            ("ArrowUp", "137"),
            ("ArrowDown", "137-2010"),
            ("ArrowRight", "137-tree"),
            ("ArrowLeft", "137-2010"),
            ("ArrowDown", "137-2010"),  # it led to nothing
        ]:
            visit.page.keyboard.press(key)
            assert shown_run(figure)["name"] == run
        figure.get_by_role("button", name="137").click()
        figure.get_by_role("button", name="145").click()
        figure.get_by_role("button", name="147").press("Enter")
        assert shown_run(figure)["name"] == "147"
        assert visit.page.evaluate("document.activeElement.getAttribute('aria-label')") == "run 147"
        figure.locator("svg").click(position={"x": 2, "y": 2})
        assert shown_run(figure)["name"] == "inet-5layer-conv94-2gpu"


def test_a_walk_on_paper_and_without_scripts(browser, host):
    """Either shows the drawing of the line that leads to the first run."""
    address = f"{host}/book/results.html"
    for settings in ({}, {"java_script_enabled": False}):
        with Visit(browser, address, **DESK, **settings) as visit:
            figure = visit.page.locator("figure.lineage")
            still = figure.locator(".lineage-still img")
            assert still.is_visible() == bool(settings)
            visit.page.emulate_media(media="print")
            assert still.is_visible() and not figure.locator("button").first.is_visible()


def test_the_value_is_read_out(browser, host):
    with Visit(browser, f"{host}/book/architecture.html", **DESK) as visit:
        slider = visit.page.get_by_role("slider", name="layer").first
        slider.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "conv3"
        assert slider.locator("..").locator("b").inner_text() == "conv3"


def test_without_scripts_the_first_frame_shows(browser, host):
    address = f"{host}/book/architecture.html"
    with Visit(browser, address, java_script_enabled=False, **DESK) as visit:
        explorer = visit.page.locator("figure.explore").first
        assert explorer.locator("img").evaluate("image => image.naturalWidth > 0")
        assert explorer.locator("form").count() == 0


def test_from_a_file(browser, book):
    """Readers unpack the book and open it: no host at all."""
    with Visit(browser, (book / "book" / "architecture.html").as_uri(), **DESK) as visit:
        explorer = visit.page.locator("figure.explore").first
        before = explorer.locator(".explore-picture").inner_html()
        explorer.get_by_role("slider").press("End")
        assert explorer.locator(".explore-picture").inner_html() != before
        assert visit.complaints == []


def bar(width=3):
    """A bar that grows."""
    rect = f'<rect width="{width * 10}" height="9" fill="red"/>'
    return f'<svg viewBox="0 0 99 9" role="img" aria-label="a bar">{rect}</svg>'


def tint(hue="red", height=2):
    """A bar of another color."""
    rect = f'<rect width="9" height="{height}" fill="{hue}"/>'
    return f'<svg viewBox="0 0 9 9" role="img" aria-label="a bar">{rect}</svg>'


# How an output comes into a page that exists, where a script in innerHTML does not run by itself.
RENDERERS = {
    # @jupyterlab/rendermime: a copy takes the place of each script.
    "JupyterLab": """(output, html) => {
        output.innerHTML = html
        for (const script of [...output.querySelectorAll('script')]) {
            const copy = document.createElement('script')
            for (const {name, value} of script.attributes) copy.setAttribute(name, value)
            copy.textContent = script.textContent
            script.replaceWith(copy)
        }
    }""",
    # microsoft/vscode, extensions/notebook-renderers: a copy runs at the end of the output.
    "VS Code": """(output, html) => {
        const element = document.createElement('div')
        element.innerHTML = html
        output.append(element)
        for (const script of [...element.getElementsByTagName('script')]) {
            const copy = document.createElement('script')
            copy.text = script.innerText
            if (script.type) copy.setAttribute('type', script.type)
            element.appendChild(copy).parentNode.removeChild(copy)
        }
    }""",
    # jQuery, as in Jupyter Notebook 6: a copy runs in the head, if its type is that of a script.
    "jQuery": """(output, html) => {
        output.innerHTML = html
        for (const script of [...output.querySelectorAll('script:not([type])')]) {
            const copy = document.createElement('script')
            copy.text = script.textContent
            document.head.appendChild(copy).parentNode.removeChild(copy)
        }
    }""",
    # A script that is run as text has no document.currentScript.
    "eval": """(output, html) => {
        output.innerHTML = html
        for (const script of [...output.querySelectorAll('script:not([type])')]) {
            window.eval(script.textContent)
        }
    }""",
}


def check_alone(explorers, key, others):
    """Move one of some explorers by a key: it has one form, and only its own picture changes."""
    explorer = explorers.nth(key)
    assert explorer.locator("form").count() == 1
    pictures = explorers.locator(".explore-picture")
    before = [picture.inner_html() for picture in pictures.all()]
    explorer.locator("input[type=range]").press("ArrowRight")
    after = [picture.inner_html() for picture in pictures.all()]
    changed = [i for i in range(others + 1) if before[i] != after[i]]
    assert changed == [key]


@pytest.fixture
def outputs_page(browser):
    """A page with two empty outputs, and what is complained of in it."""
    page = browser.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_content("<!DOCTYPE html><div class=output></div><div class=output></div>")
    yield page
    page.close()
    assert complaints == []


@pytest.mark.parametrize("renderer", RENDERERS)
def test_live_wherever_the_script_runs(outputs_page, renderer):
    """Two explorers in one output, and one of them again in another output."""
    html = [explore(bar, width=range(9)).to_html()]
    html.append(explore(tint, hue=["red", "blue"], height=range(1, 8)).to_html())
    outputs = outputs_page.locator(".output")
    outputs.nth(0).evaluate(RENDERERS[renderer], "".join(html))
    outputs.nth(1).evaluate(RENDERERS[renderer], html[0])
    explorers = outputs_page.locator("figure.explore")
    assert explorers.count() == 3
    for i in range(3):
        check_alone(explorers, i, others=2)


def test_live_where_the_parser_runs_the_script(outputs_page):
    html = explore(bar, width=range(9)).to_html()
    outputs_page.set_content(f"<!DOCTYPE html>{html}<p>{html}")
    explorers = outputs_page.locator("figure.explore")
    for i in range(2):
        check_alone(explorers, i, others=1)


def test_an_explorer_starts_once(outputs_page):
    """Also when its output is shown again after the reader has moved it."""
    html = explore(bar, width=range(9)).to_html()
    output = outputs_page.locator(".output").first
    output.evaluate(RENDERERS["VS Code"], html)
    explorers = outputs_page.locator("figure.explore")
    explorers.locator("input").press("End")
    moved = explorers.locator(".explore-picture").inner_html()
    script = BeautifulSoup(html, "html.parser").select_one("script:not([type])").string
    outputs_page.evaluate(script)
    assert explorers.locator(".explore-picture").inner_html() == moved
    assert explorers.locator("form").count() == 1


def test_a_saved_page_is_live(outputs_page):
    """A browser saves a page with what scripts have put into it."""
    outputs_page.set_content(explore(bar, width=range(9)).to_html())
    outputs_page.locator("input").press("End")
    outputs_page.set_content(outputs_page.content())
    check_alone(outputs_page.locator("figure.explore"), 0, others=0)


def test_the_keys_of_a_slider_are_not_the_notebooks(outputs_page):
    """VS Code listens to keys on the window; JupyterLab spares a form that says so."""
    outputs_page.set_content(explore(bar, width=range(9)).to_html())
    outputs_page.evaluate("keys = []; addEventListener('keydown', event => keys.push(event.key))")
    slider = outputs_page.locator("input")
    for key in ("ArrowDown", "ArrowRight", "PageUp", "Home", "End", "Tab"):
        slider.press(key)
    assert outputs_page.evaluate("keys") == ["Tab"]
    assert outputs_page.locator("form").get_attribute("data-lm-suppress-shortcuts") == "true"


def test_live_in_html_by_nbconvert(browser, tmp_path):
    explorer = explore(bar, width=range(9))
    data = {"text/html": explorer.to_html(), "text/plain": "explore(bar, width: 9)"}
    output = v4.new_output("execute_result", data, execution_count=1)
    notebook = v4.new_notebook(cells=[v4.new_code_cell("explore(bar)", outputs=[output])])
    page, _ = HTMLExporter().from_notebook_node(notebook)
    path = tmp_path / "notebook.html"
    path.write_text(page, encoding="utf-8")
    with Visit(browser, path.as_uri(), **DESK) as visit:  # scripts of a CDN are out of reach
        check_alone(visit.page.locator("figure.explore"), 0, others=0)


def test_search_and_copy(browser, host):
    with Visit(browser, f"{host}/search.html?q=overlapping", **DESK) as visit:
        first = visit.page.locator("#search-results li").first
        expect(first).to_contain_text("Overlapping pooling")
        assert visit.complaints == []
    address = f"{host}/book/architecture.html"
    clipboard = ["clipboard-read", "clipboard-write"]
    with Visit(browser, address, permissions=clipboard, **DESK) as visit:
        block = visit.page.locator("div.highlight:visible").first
        block.hover()
        block.locator("button.copybtn").click()
        copied = visit.page.evaluate("navigator.clipboard.readText()")
        assert copied.strip() == block.locator("pre").inner_text().strip()


@pytest.fixture
def lab(tmp_path):
    """The address of a running JupyterLab, with one chapter in its folder."""
    shutil.copy(ROOT / "book" / "parameters.ipynb", tmp_path)
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root"]
    options += ["--IdentityProvider.token=", f"--notebook-dir={tmp_path}"]
    command = [sys.executable, "-m", "jupyter", "lab", *options]
    environment = dict(os.environ)
    for kind in ("CONFIG", "DATA"):  # not the user's own folders
        environment[f"JUPYTER_{kind}_DIR"] = str(tmp_path / kind)
    path = tmp_path / "log"
    with path.open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stderr=log, env=environment)
    with server:
        try:
            yield server_address(server, path)
        finally:
            server.terminate()


def server_address(server, log):
    """Wait until JupyterLab writes its address into its log."""
    while True:
        text = log.read_text(encoding="utf-8")
        address = re.search("(http://127.0.0.1:[0-9]+)/lab", text)
        if address:
            return address[1]
        assert server.poll() is None, text
        time.sleep(0.2)


def test_live_in_lab(browser, lab):
    context = browser.new_context(**DESK)
    page = context.new_page()
    page.goto(f"{lab}/lab/tree/parameters.ipynb")
    stored = page.locator("figure.explore").first
    stored.scroll_into_view_if_needed(timeout=60_000)
    expect(stored.locator("img")).to_be_visible()  # before a kernel runs, the first picture
    quotation = page.locator(".jp-MarkdownOutput blockquote").first
    expect(quotation).to_contain_text("What the paper says (Krizhevsky et al., 2012)")

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    live = page.locator(".jupyter-widgets.explore").first
    expect(live).to_be_attached(timeout=60_000)
    live.scroll_into_view_if_needed()
    picture = live.locator(".explore-picture")
    slider = live.locator(".noUi-handle, [role=slider]").first
    before = picture.inner_html()
    slider.focus()
    slider.press("ArrowRight")
    # The kernel runs the other cells first.
    expect(picture).not_to_have_js_property("innerHTML", before, timeout=60_000)
    context.close()


def test_stored_explorers_are_live_in_a_trusted_notebook(browser, lab, tmp_path):
    """Without a kernel; the keys move the slider and not the cursor between cells."""
    data = {"text/html": explore(bar, width=range(9)).to_html(), "text/plain": "explore(bar)"}
    output = v4.new_output("execute_result", data, execution_count=1)
    cells = [v4.new_code_cell("explore(bar)", outputs=[output], execution_count=1)]
    cells.append(v4.new_markdown_cell("The end."))
    kernel = {"name": "python3", "display_name": "Python 3"}  # otherwise a dialog asks for one
    notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "stored.ipynb")
    NotebookNotary(data_dir=str(tmp_path / "DATA")).sign(notebook)
    page = browser.new_page(**DESK)
    page.goto(f"{lab}/lab/tree/stored.ipynb")
    stored = page.locator("figure.explore")
    slider = stored.locator("input[type=range]")
    expect(slider).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)
    slider.press("Home")
    for key, value in [("ArrowRight", "1"), ("ArrowUp", "2"), ("ArrowDown", "1")]:
        slider.press(key)
        expect(slider).to_have_value(value)
    expect(slider).to_be_focused()
    assert stored.locator("rect").get_attribute("width") == "10"
    page.close()


def names(source):
    """The names that a cell binds, and those that it takes from the cells before it."""
    bound, used = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add(node.asname or node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
    return bound, used - bound


def cells_for(notebook, text):
    """The sources of the code cell that has this text, and of the earlier ones that it needs."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    last = next(i for i, source in enumerate(sources) if text in source)
    chosen = [sources[last]]
    _, needed = names(sources[last])
    for source in reversed(sources[:last]):
        bound, used = names(source)
        if bound & needed:
            chosen.insert(0, source)
            needed = (needed - bound) | used
    return chosen


def test_an_image_uploaded_in_lab(browser, lab, tmp_path):
    """The cell of ``filters`` that takes an upload, and what it needs."""
    chapter = nbformat.read(ROOT / "book" / "filters.ipynb", 4)
    sources = cells_for(chapter, "FileUpload(")
    chapter.cells = [v4.new_code_cell("\n".join(sources))]  # JupyterLab draws only those in view
    nbformat.write(chapter, tmp_path / "upload.ipynb")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    context = browser.new_context(**DESK)
    page = context.new_page()
    page.goto(f"{lab}/lab/tree/upload.ipynb")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    button = page.get_by_role("button", name="a picture")
    below = page.locator(".jp-OutputArea-output .jp-OutputArea").last
    for path in (tmp_path / "torn.png", ROOT / "book" / "_static" / "page.webp"):
        with page.expect_file_chooser(timeout=120_000) as chooser:
            button.click(timeout=120_000)  # there once the lines above have run
        chooser.value.set_files(path)
        if path.name == "torn.png":
            refusal = "torn.png cannot be read as a picture"
            expect(below).to_contain_text(refusal, timeout=60_000)
    expect(below.locator("img")).to_be_visible(timeout=60_000)
    context.close()


def test_the_net_in_lab(browser, lab, tmp_path):
    """With a kernel the net of the first page is live; what is saved stays small."""
    cell = v4.new_code_cell(
        'from alexnet.bookkit.net_output import show_net\nshow_net("koala", cut="lrn")'
    )
    kernel = {"name": "python3", "display_name": "Python 3"}
    path = tmp_path / "net.ipynb"
    nbformat.write(v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), path)
    context = browser.new_context(**DESK)
    page = context.new_page()
    page.goto(f"{lab}/lab/tree/net.ipynb")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    frame = page.frame_locator(".jupyter-widgets iframe")
    net = frame.locator(".net[data-passes][data-state=idle]")
    expect(net).to_be_attached(timeout=120_000)
    expect(frame.locator('[data-cut="lrn"]')).to_have_attribute("aria-pressed", "true")
    expect(frame.locator('[data-name="koala"]')).to_have_attribute("aria-pressed", "true")
    bar = frame.locator(".net-guess i").first
    before = bar.get_attribute("style")
    frame.locator(".net-square").press("ArrowRight")
    frame.locator('[data-cut="lrn"]').click()
    expect(bar).not_to_have_attribute("style", before, timeout=60_000)
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.get_by_text("Save Notebook", exact=True).click()
    deadline = time.monotonic() + 30
    while "text/html" not in path.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, "the notebook is not saved"
        page.wait_for_timeout(200)
    assert path.stat().st_size < 200e3
    page.reload()
    again = page.locator(".jupyter-widgets").get_by_text("run the cell again")
    expect(again).to_be_visible(timeout=60_000)
    context.close()
