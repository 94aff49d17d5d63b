"""The rendered pages in a browser: what is seen, on a desk, on a phone and on paper, and moved."""

import itertools
import json
import statistics

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from visit import DESK, PAGES, PHONE, UNFOLD, Visit

from helpers import NOTEBOOKS, frame

pytestmark = pytest.mark.slow


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


# On a page, one word of code keeps each color on each ground: a thousand take most of axe's time.
ONE_WORD_A_COLOR = """
const seen = new Set()
const groundOf = element => {
    const color = getComputedStyle(element).backgroundColor
    const isClear = color === 'transparent' || color.endsWith(', 0)')
    return isClear && element.parentElement ? groundOf(element.parentElement) : color
}
for (const block of document.querySelectorAll('.highlight')) {
    if (!block.checkVisibility()) continue
    const ground = groundOf(block.querySelector('pre') ?? block)
    for (const token of block.querySelectorAll('span[class]')) {
        const look = `${token.className} ${getComputedStyle(token).color} ${ground}`
        if (seen.has(look)) token.replaceWith(...token.childNodes)
        seen.add(look)
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


def test_a_table_of_many_columns_fits_a_phone(browser, host):
    """Each cell has its heading, so that the last column is seen."""
    with Visit(browser, f"{host}/book/claims.html", **PHONE) as visit:
        table = visit.page.locator("table.stacked")
        scrolls = "table => table.parentElement.scrollWidth - table.parentElement.clientWidth"
        assert table.evaluate(scrolls) <= 0
        before = "cell => getComputedStyle(cell, '::before').content"
        assert table.locator("td").first.evaluate(before) == '"verdict: "'


def test_a_link_to_one_claim_undoes_the_choice_of_a_chapter(browser, host):
    with Visit(browser, f"{host}/book/claims.html", **DESK) as visit:
        choice = visit.page.get_by_label("chapter")
        choice.select_option("in-relu")
        expect(visit.page.locator("#claim-P1")).to_be_hidden()
        visit.page.locator(".claim-tally").get_by_role("link", name="3 do not hold").click()
        expect(choice).to_have_value("in-relu")  # a verdict is chosen with it
        visit.page.locator(".claim-tally").get_by_role("link", name="P6 two columns").click()
        expect(choice).to_have_value("all")
        expect(visit.page.locator("#claim-P1")).to_be_visible()
        expect(visit.page.locator("#claim-P6 .entry")).to_have_attribute("open", "")
        expect(visit.page.locator("#claim-P6")).to_be_in_viewport()


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
            if slider.input_value() != str(stop - 1):
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


# A shorter page is sooner laid out.
UNFOLD_EXPLORERS = """document.querySelectorAll('details:has(figure.explore)')
    .forEach(folded => folded.open = true)"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_stop_of_every_slider(browser, host, name, device):
    with Visit(browser, f"{host}/{name}.html", **device) as visit:
        visit.page.add_style_tag(content=STILL)
        visit.page.evaluate(UNFOLD_EXPLORERS)
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
        visit.page.evaluate(UNFOLD)
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
        visit.page.locator("summary", has_text="All 109 runs").click()
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
            visit.page.evaluate(UNFOLD)
            figure = visit.page.locator("figure.lineage")
            still = figure.locator(".lineage-still img")
            assert still.is_visible() == bool(settings)
            visit.page.emulate_media(media="print")
            assert still.is_visible() and not figure.locator("button").first.is_visible()


def test_the_value_is_read_out(browser, host):
    with Visit(browser, f"{host}/book/architecture.html", **DESK) as visit:
        slider = visit.page.get_by_role("slider", name="pixels")
        slider.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "225"
        assert slider.locator("..").locator("b").inner_text() == "225"


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
        explorer.get_by_role("radio", name="fc8").check()
        assert explorer.locator(".explore-picture").inner_html() != before
        assert visit.complaints == []


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
