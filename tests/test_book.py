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
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from test_explore import frame
from test_notebooks import CHAPTERS, NOTEBOOKS, ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    not CHROMIUM and "CI" not in os.environ, reason="no browser: install Chromium (on Debian, apt install chromium)"
)

PAGES = [*CHAPTERS, "search", "genindex"]
DESK = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of the pages, built anew; a warning is an error."""
    folder = tmp_path_factory.mktemp("book")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", str(ROOT), "--path-output", str(folder), "-W", "-n", "--keep-going"]
    build = subprocess.run(command, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout + build.stderr
    return folder / "_build" / "html"


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

    def weight(self):
        """Bytes of all that was loaded, gzipped."""
        return sum(len(gzip.compress(answer.body())) for answer in self.answers if answer.ok)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.context.close()


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_page(browser, host, name, device):
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
        page.add_style_tag(content="* { animation: none !important; transition: none !important }")
        page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
        found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
        serious = [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]
        assert serious == []
        assert visit.complaints == []


def test_weights(browser, host):
    weights = {}
    for name in PAGES:
        with Visit(browser, f"{host}/{name}.html", **PHONE) as visit:
            weights[name] = visit.weight()
    assert max(weights.values()) < 2.5e6 and statistics.median(weights.values()) < 1.4e6, weights


def test_a_page_has_formulas(browser, host):
    """Else the check for typeset formulas would be empty."""
    with Visit(browser, f"{host}/book/architecture.html", **DESK) as visit:
        expect(visit.page.locator(".math.notranslate > mjx-container").first).to_be_attached()


def shown(explorer):
    """The picture of the chosen stops, which is the one drawn for them."""
    data = json.loads(explorer.locator("script[type]").text_content())
    chosen = explorer.locator("form").evaluate("form => Object.fromEntries(new FormData(form))")
    drawn = frame(data, *(int(chosen[name]) for name in data["start"]))
    same = "(picture, html) => Object.assign(picture.cloneNode(), {innerHTML: html}).isEqualNode(picture)"
    assert explorer.locator(".explore-picture").evaluate(same, drawn), f"{chosen} does not show the picture drawn for it"
    return drawn


def go(explorer, stops, move, look):
    """Move from stop to stop; each looks other than the one before."""
    before = None
    for stop in range(stops):
        move(stop)
        now = look(explorer)
        assert now != before, f"stop {stop} shows what stop {stop - 1} shows"
        before = now


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name != "book/claims"])  # a table
def test_every_stop_shows_another_picture(browser, host, name, device):
    with Visit(browser, f"{host}/{name}.html", **device) as visit:
        explorers = visit.page.locator("figure.explore")
        assert explorers.count() > 0
        for explorer in explorers.all():

            def pixels(explorer):
                shown(explorer)
                return explorer.locator(".explore-picture").screenshot(animations="disabled", scale="css")

            for slider in explorer.locator("input[type=range]").all():
                stops, start = int(slider.get_attribute("max")) + 1, slider.input_value()
                slider.press("Home")
                go(explorer, stops, lambda stop: slider.press("ArrowRight") if stop else None, pixels)
                assert slider.input_value() == str(stops - 1)
                box, thumb = slider.bounding_box(), 16
                touch = slider.tap if "has_touch" in device else slider.click

                def point(stop):
                    x = thumb / 2 + (box["width"] - thumb) * stop / (stops - 1)
                    touch(position={"x": x, "y": box["height"] / 2})
                    assert slider.input_value() == str(stop)

                go(explorer, stops, point, shown)
                slider.fill(start)
            for buttons in explorer.locator("fieldset").all():
                choices = buttons.locator("input")
                go(explorer, choices.count(), lambda stop: choices.nth(stop).check(), pixels)
        assert visit.complaints == []


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
        while "/lab" not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
        yield re.search("(http://127.0.0.1:[0-9]+)/lab", log.read_text())[1]
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
    expect(picture).not_to_have_js_property("innerHTML", before)
    context.close()
