"""The rendered pages, in a real browser that reaches nothing but the pages' own host; and a notebook, live in JupyterLab."""

import gzip
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
from nbformat import v4
from playwright.sync_api import expect, sync_playwright
from pybtex.database import parse_string
from helpers import CHAPTERS, NOTEBOOKS, ROOT, frame

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PAGES = [*CHAPTERS, "search", "genindex"]
DESK = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


def build(source, folder):
    """The folder of the pages; a warning is an error."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", str(source), "--path-output", str(folder), "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("book"))


def parsed(path):
    return BeautifulSoup(path.read_text(), "html.parser")


@pytest.fixture(scope="module")
def pages(book):
    return {name: parsed(book / f"{name}.html") for name in ["index", *PAGES]}


def test_every_link_leads_somewhere(book, pages):
    places = {(book / f"{name}.html").resolve(): {tag["id"] for tag in page.select("[id]")} for name, page in pages.items()}
    lost = []
    for name, page in pages.items():
        for tag in page.select("[href], [src]"):
            link = urlsplit(tag.get("href") or tag.get("src"))
            if link.scheme or link.netloc:  # elsewhere, or in the page itself
                continue
            path = (book / name).parent / unquote(link.path) if link.path else book / f"{name}.html"
            if not path.is_file() or link.fragment and link.fragment not in places[path.resolve()]:
                lost.append(f"{name}: {link.geturl()}")
    assert lost == []


@pytest.mark.parametrize("place, step", [("left-prev", -1), ("right-next", 1)])
def test_previous_and_next(pages, place, step):
    links = [pages[name].select_one(f"a.{place}") for name in CHAPTERS]
    found = [f"book/{link['href'].removesuffix('.html')}" if link else None for link in links]
    assert found == ([None, *CHAPTERS[:-1]] if step < 0 else [*CHAPTERS[1:], None])


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_figure_has_a_caption(pages, name):
    """And stands in a figure: what is in none has no caption either. The alternative text: axe, in test_page."""
    article = pages[name].select_one("article.bd-article")
    assert [str(figure)[:200] for figure in article.select("figure") if not (figure.figcaption and figure.figcaption.get_text(strip=True))] == []
    assert [str(picture)[:200] for picture in article.select("img, svg") if not picture.find_parent("figure")] == []
    assert [str(picture)[:200] for picture in article.select("figure > img, figure a > img") if not picture.get("alt")] == []


def test_every_exercise_has_a_folded_solution(pages):
    for name in NOTEBOOKS:
        exercises = {tag["id"] for tag in pages[name].select("div.exercise")}
        solved = {link["href"].lstrip("#") for link in pages[name].select("div.solution.dropdown > p.admonition-title a")}
        assert exercises == solved and (exercises or name == "book/claims"), name


def buttons(page):
    """The addresses that the buttons at the top of a page lead to: of the repository, and of where notebooks run."""
    return [link["href"] for link in page.select(".btn-source-repository-button, .dropdown-launch-buttons a")]


def test_buttons_come_with_the_repository(pages, tmp_path):
    """With `repository_url` set they are on a notebook's page; while it is empty, on none."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    options = config["sphinx"]["config"]["html_theme_options"]
    if not options["repository_url"]:
        assert not any(buttons(page) for page in pages.values())
    options["repository_url"] = "https://github.com/NAME/REPOSITORY"
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/page\n")
    for name in ("_ext", "_static", "_templates"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# A page")]), tmp_path / "book" / "page.ipynb")
    found = buttons(parsed(build(tmp_path, tmp_path) / "book" / "page.html"))
    assert sorted(found) == [
        "https://colab.research.google.com/github/NAME/REPOSITORY/blob/main/book/page.ipynb",
        "https://github.com/NAME/REPOSITORY",
        "https://mybinder.org/v2/gh/NAME/REPOSITORY/main?urlpath=lab/tree/book/page.ipynb",
    ]


def test_every_reference_leads_to_the_work(pages):
    works = pages["book/references"].select(".citation")
    assert len(works) > 20 and [work.get_text() for work in works if not work.select_one('a[href^="https://"]')] == []


def test_the_page_on_citing_agrees_with_citation_cff(pages):
    """The same three works: who, what, when."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    works = [citation["preferred-citation"], *citation["references"]]
    names = [[author.get("name") or f"{author['given-names']} {author['family-names']}" for author in work["authors"]] for work in works]
    blocks = [block.get_text() for block in pages["book/cite"].select("div.highlight-bibtex pre")]
    entries = parse_string("".join(blocks), "bibtex").entries.values()
    shown = [[" ".join([*who.first_names, *who.middle_names, *who.last_names]) for who in entry.persons["author"]] for entry in entries]
    plain = str.maketrans("", "", "{}")
    assert [[name.translate(plain) for name in who] for who in shown] == names
    assert [(entry.fields["title"].translate(plain), int(entry.fields["year"])) for entry in entries] == [(work["title"], work["year"]) for work in works]
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert (names[0], works[0]["title"], str(works[0]["year"])) == ([config["author"]], config["title"], config["copyright"])
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


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM and "CI" not in os.environ:
        pytest.skip("no browser: install Chromium (on Debian, apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page that can reach its own host only, and what went wrong and came in on it."""

    def __init__(self, browser, address, **device):
        self.complaints, self.answers = [], []
        self.context = browser.new_context(**device)
        self.context.route("**/*", partial(self._own_host, urlsplit(address).netloc))
        self.page = self.context.new_page()
        self.session = self.context.new_cdp_session(self.page)
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("response", self._note)
        self.page.goto(address)
        self.page.wait_for_load_state("networkidle")

    def _own_host(self, host, route):
        if urlsplit(route.request.url).netloc == host or route.request.url.startswith("data:"):
            route.continue_()
        else:
            self.complaints.append(f"asked for {route.request.url}")
            route.abort()

    def _note(self, answer):
        self.answers.append(answer)
        if answer.status >= 400:
            self.complaints.append(f"{answer.status}: {answer.url}")

    def pixels(self, place):
        """A picture of a place on the page, a pixel of the page a pixel. Playwright's own takes three times as long."""
        options = {"format": "png", "optimizeForSpeed": True, "clip": place}
        return self.session.send("Page.captureScreenshot", options)["data"]

    def weight(self):
        """Bytes of all that was loaded, gzipped."""
        return sum(len(gzip.compress(answer.body())) for answer in self.answers if answer.ok)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.context.close()


@pytest.fixture(scope="module")
def weights():
    """Bytes of each page with all that it loads, gzipped; a page's test adds its own."""
    return {}


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_page(browser, host, name, device, weights):
    with Visit(browser, f"{host}/{name}.html", **device) as visit:
        page = visit.page
        expect(page.locator(".bd-article-container")).to_be_visible()
        page.wait_for_function("() => !window.MathJax?.startup || window.MathJax.startup.promise.then(() => true)")
        formulas = page.locator(".math.notranslate")
        assert page.locator(".math.notranslate > mjx-container").count() == formulas.count()
        assert page.locator("mjx-merror").count() == 0
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{wide} pixels to scroll sideways"
        icons = "() => [...document.fonts].some(font => font.family.includes('Font Awesome') && font.status === 'loaded')"
        page.wait_for_function(icons)
        assert page.evaluate("[...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)") == []
        if device is PHONE:
            weights[name] = visit.weight()
        page.add_style_tag(content="* { animation: none !important; transition: none !important }")
        page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
        assert violations(page) == []
        explorers = page.locator("figure.explore")
        assert explorers.count() > 0 or name not in NOTEBOOKS or name == "book/claims"  # a table
        for explorer in explorers.all():
            move_through(explorer, visit, touch="has_touch" in device)
        assert visit.complaints == []


ONE_OF_A_COLOUR = """
for (const block of document.querySelectorAll('.highlight')) {
    const colours = new Set()
    for (const token of block.querySelectorAll('span[class]'))
        colours.has(token.className) ? token.replaceWith(...token.childNodes) : colours.add(token.className)
}"""


def violations(page):
    """What axe finds serious. In a block of code one word keeps each colour: a thousand words take most of its time."""
    page.evaluate(ONE_OF_A_COLOUR)
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]


def test_weights(browser, host, weights):
    for name in set(PAGES) - set(weights):
        with Visit(browser, f"{host}/{name}.html", **PHONE) as visit:
            weights[name] = visit.weight()
    assert max(weights.values()) < 2.5e6 and statistics.median(weights.values()) < 1e6, weights


def test_a_page_has_formulas(browser, host):
    """Else the check for typeset formulas would be empty."""
    with Visit(browser, f"{host}/book/architecture.html", **DESK) as visit:
        expect(visit.page.locator(".math.notranslate > mjx-container").first).to_be_attached()


@pytest.mark.parametrize("name", ["claims", "learning"])
def test_a_table_of_many_columns_fits_a_phone(browser, host, name):
    """Each cell with its heading, so that the last column is seen."""
    with Visit(browser, f"{host}/book/{name}.html", **PHONE) as visit:
        table = visit.page.locator("table.stacked")
        scrolls = "table => table.parentElement.scrollWidth - table.parentElement.clientWidth"
        assert table.evaluate(scrolls) <= 0
        heading = "cell => getComputedStyle(cell, '::before').content"
        assert table.locator("td").first.evaluate(heading) == {"claims": '"verdict: "', "learning": '"idea: "'}[name]


SHOWN = """async (picture, html) => {
    if (!Object.assign(picture.cloneNode(), {innerHTML: html}).isEqualNode(picture)) return null
    await Promise.all([...picture.querySelectorAll('img')].map(image => image.decode()))
    picture.scrollIntoView({block: 'nearest', behavior: 'instant'})
    const {x, y, width, height} = picture.getBoundingClientRect()
    return {x: x + scrollX, y: y + scrollY, width, height, scale: 1 / devicePixelRatio}
}"""


def move_through(explorer, visit, touch):
    """By keys, then by mouse or touch: every stop shows the picture drawn for it, and looks other than the one before."""
    data = json.loads(explorer.locator("script[type]").text_content())
    form, picture = explorer.locator("form"), explorer.locator(".explore-picture")

    def shown():
        chosen = form.evaluate("form => Object.fromEntries(new FormData(form))")
        place = picture.evaluate(SHOWN, frame(data, *(int(chosen[name]) for name in data["start"])))
        assert place, f"{chosen} does not show the picture drawn for it"
        return place

    def go(stops, move):
        before = None
        for stop in range(stops):
            move(stop)
            now = visit.pixels(shown())
            assert now != before, f"stop {stop} looks as stop {stop - 1}"
            before = now

    for slider in explorer.locator("input[type=range]").all():
        stops, start = int(slider.get_attribute("max")) + 1, slider.input_value()
        slider.press("Home")
        go(stops, lambda stop: slider.press("ArrowRight") if stop else None)
        assert slider.input_value() == str(stops - 1)
        box, thumb = slider.bounding_box(), 16
        for stop in range(stops):
            place = {"x": thumb / 2 + (box["width"] - thumb) * stop / (stops - 1), "y": box["height"] / 2}
            slider.tap(position=place) if touch else slider.click(position=place)
            assert slider.input_value() == str(stop)
            shown()
        slider.fill(start)
    for buttons in explorer.locator("fieldset").all():
        choices = buttons.locator("input")
        go(choices.count(), lambda stop: choices.nth(stop).check())


def test_the_value_is_read_out(browser, host):
    with Visit(browser, f"{host}/book/architecture.html", **DESK) as visit:
        slider = visit.page.get_by_role("slider", name="layer").first
        slider.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == slider.locator("..").locator("b").inner_text() == "conv3"


def test_without_scripts_the_first_picture_shows(browser, host):
    with Visit(browser, f"{host}/book/architecture.html", java_script_enabled=False, **DESK) as visit:
        explorer = visit.page.locator("figure.explore").first
        assert explorer.locator("img").evaluate("image => image.naturalWidth > 0") and explorer.locator("form").count() == 0


def test_from_a_file(browser, book):
    """Readers unpack the book and open it: no host at all."""
    with Visit(browser, (book / "book" / "architecture.html").as_uri(), **DESK) as visit:
        explorer = visit.page.locator("figure.explore").first
        before = explorer.locator(".explore-picture").inner_html()
        explorer.get_by_role("slider").press("End")
        assert explorer.locator(".explore-picture").inner_html() != before
        assert visit.complaints == []


def test_search_and_copy(browser, host):
    with Visit(browser, f"{host}/search.html?q=overlapping", **DESK) as visit:
        expect(visit.page.locator("#search-results li").first).to_contain_text("Overlapping pooling")
        assert visit.complaints == []
    with Visit(browser, f"{host}/book/architecture.html", permissions=["clipboard-read", "clipboard-write"], **DESK) as visit:
        block = visit.page.locator("div.highlight").first
        block.hover()
        block.locator("button.copybtn").click()
        assert visit.page.evaluate("navigator.clipboard.readText()").strip() == block.locator("pre").inner_text().strip()


@pytest.fixture
def lab(tmp_path):
    """The address of a running JupyterLab, with one chapter in its folder."""
    shutil.copy(ROOT / "book" / "parameters.ipynb", tmp_path)
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root", "--IdentityProvider.token=", f"--notebook-dir={tmp_path}"]
    command = [sys.executable, "-m", "jupyter", "lab", *options]
    own = os.environ | {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA")}  # not the user's
    log = tmp_path / "log"
    with log.open("w") as file, subprocess.Popen(command, stderr=file, env=own) as server:
        try:
            while not (address := re.search("(http://127.0.0.1:[0-9]+)/lab", log.read_text())):
                assert server.poll() is None, log.read_text()
                time.sleep(0.2)
            yield address[1]
        finally:
            server.terminate()


def test_live_in_lab(browser, lab):
    context = browser.new_context(**DESK)
    page = context.new_page()
    page.goto(f"{lab}/lab/tree/parameters.ipynb")
    stored = page.locator("figure.explore").first
    stored.scroll_into_view_if_needed(timeout=60_000)
    expect(stored.locator("img")).to_be_visible()  # before a kernel runs, the first picture

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    live = page.locator(".jupyter-widgets.explore").first
    expect(live).to_be_attached(timeout=60_000)
    live.scroll_into_view_if_needed()
    picture, slider = live.locator(".explore-picture"), live.locator(".noUi-handle, [role=slider]").first
    before = picture.inner_html()
    slider.focus()
    slider.press("ArrowRight")
    expect(picture).not_to_have_js_property("innerHTML", before, timeout=60_000)  # the kernel runs the other cells first
    context.close()


def test_a_picture_uploaded_in_lab(browser, lab, tmp_path):
    """The cells of ``filters`` that it takes: the trained net, patches to look for neighbours in, the upload."""
    chapter = nbformat.read(ROOT / "book" / "filters.ipynb", 4)
    needed = ('small = load("small")', "import matplotlib", "scenes = ", "patches = photo_exemplars", "def show(path)", "FileUpload(")
    sources = [cell.source for cell in chapter.cells if cell.cell_type == "code" and any(part in cell.source for part in needed)]
    chapter.cells = [v4.new_code_cell("\n".join(sources))]  # one cell: JupyterLab draws only those in view
    nbformat.write(chapter, tmp_path / "upload.ipynb")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    context = browser.new_context(**DESK)
    page = context.new_page()
    page.goto(f"{lab}/lab/tree/upload.ipynb")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    button, below = page.get_by_role("button", name="a picture"), page.locator(".jp-OutputArea-output .jp-OutputArea").last
    for picture in (tmp_path / "torn.png", ROOT / "book" / "_static" / "page.webp"):
        with page.expect_file_chooser(timeout=120_000) as chooser:
            button.click(timeout=120_000)  # there once the lines above have run
        chooser.value.set_files(picture)
        if picture.name == "torn.png":
            expect(below).to_contain_text("torn.png cannot be read as a picture", timeout=60_000)
    expect(below.locator("img")).to_be_visible(timeout=60_000)
    context.close()
