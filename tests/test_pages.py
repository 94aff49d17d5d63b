"""The rendered pages in a browser: what is seen on a desk, on a phone and on paper."""

import statistics

import pytest
from axe_playwright_python.sync_playwright import Axe
from moves import STILL, move_through
from playwright.sync_api import expect
from visit import DESK, PAGES, PHONE, SIDEWAYS, UNFOLD, Visit, on_devices

from helpers import NOTEBOOKS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights():
    """Bytes of each page with all that it loads, gzipped; a page's tests add the most."""
    return {}


ICONS_LOADED = """
() => [...document.fonts].some(
    font => font.family.includes('Font Awesome') && font.status === 'loaded')"""
BROKEN_IMAGES = """
[...document.images].filter(image => image.complete && !image.naturalWidth)
    .map(image => image.src)"""


DEVICES = {"desk": DESK, "phone": PHONE}


@pytest.mark.parametrize("where", on_devices(PAGES, [*DEVICES]))
def test_page(browser, host, where, weights):
    name, device = where
    with Visit(browser, f"{host}/{name}.html", **DEVICES[device]) as visit:
        page = visit.page
        expect(page.locator(".bd-article-container")).to_be_visible()
        formulas = page.locator(".math.notranslate")
        assert page.locator(".math.notranslate > mjx-container").count() == formulas.count()
        assert page.locator("mjx-merror").count() == 0
        sideways = page.evaluate(SIDEWAYS)
        assert sideways <= 0, f"{sideways} pixels to scroll sideways"
        page.wait_for_function(ICONS_LOADED)
        assert page.evaluate(BROKEN_IMAGES) == []
        weights[name] = max(visit.weight(), weights.get(name, 0))
        page.add_style_tag(content=STILL)
        page.evaluate(UNFOLD)
        assert violations(page) == []
        explorers = page.locator("figure.explore")
        is_chapter = name in NOTEBOOKS and name != "book/claims"  # which is a table
        # The valley is moved in tests/bookkit/test_valley.py.
        assert explorers.or_(page.locator("figure.valley")).count() > 0 or not is_chapter
        for explorer in explorers.all():
            move_through(explorer, visit, touch=device == "phone")
        assert visit.complaints == []


# Marks one text of each look that a page has, as contrast takes most of axe's time and a page has
# thousands of words of some fifty looks.
MARK_LOOKS = """() => {
    const groundOf = element => {
        const {backgroundColor, backgroundImage} = getComputedStyle(element)
        const isClear = /^transparent$|, 0\\)$/.test(backgroundColor) && backgroundImage === 'none'
        const parent = isClear && element.parentElement
        return parent ? groundOf(parent) : backgroundColor + backgroundImage
    }
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    const seen = new Set()
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement
        if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue
        // What axe passes over cannot stand for others.
        if (element.closest('svg, :disabled') || element.clientHeight === 1) continue
        const {color, fontSize, fontWeight, opacity} = getComputedStyle(element)
        const look = [color, fontSize, fontWeight, opacity, groundOf(element)].join()
        if (!seen.has(look)) element.setAttribute('data-look', '')
        seen.add(look)
    }
}"""
UNMARK = """document.querySelectorAll('[data-look]')
    .forEach(element => element.removeAttribute('data-look'))"""


# What is not the book's: the theme has the book's name outside of all landmarks, and docutils gives
# the works that are cited a role which is deprecated by now.
OTHERS = {
    "region": 'class="navbar-brand logo"',
    "aria-allowed-role": 'role="doc-biblioentry"',
    "aria-deprecated-role": 'role="doc-biblioentry"',
}


def violations(page):
    """The violations of accessibility that axe finds, but for those of others."""
    page.evaluate(MARK_LOOKS)
    options = {"resultTypes": ["violations"], "preload": False}
    contrast = options | {"runOnly": ["color-contrast"]}
    others = options | {"rules": {"color-contrast": {"enabled": False}}}
    results = [
        Axe().run(page, options=others),
        Axe().run(page, context={"include": [["[data-look]"]]}, options=contrast),
    ]
    page.evaluate(UNMARK)  # an explorer's picture is compared with its frame
    found = []
    for violation in [v for result in results for v in result.response["violations"]]:
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


def test_the_claims_that_do_not_hold_are_shown_first(browser, host):
    with Visit(browser, f"{host}/book/claims.html", **DESK) as visit:
        holds, fails = visit.page.locator("#is-holds"), visit.page.locator("#is-does-not-hold")
        links = visit.page.locator(".claim-choice a")
        bold = "links => links.filter(a => getComputedStyle(a).fontWeight > 600).map(a => a.text)"
        for link, words, is_shown in [
            (None, "✗ do not hold", (False, True)),
            ("✓ hold", "✓ hold", (True, False)),
            ("all", "all", (True, True)),
        ]:
            if link:
                links.get_by_text(link, exact=True).click()
            assert (holds.is_visible(), fails.is_visible()) == is_shown, link
            assert links.evaluate_all(bold) == [words]


def test_a_link_to_one_claim_undoes_the_choice_of_a_chapter(browser, host):
    with Visit(browser, f"{host}/book/claims.html", **DESK) as visit:
        choice = visit.page.get_by_label("chapter")
        choice.select_option("in-relu")
        expect(visit.page.locator("#claim-P1")).to_be_hidden()
        visit.page.get_by_role("button", name="Look without a guess").first.click()
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
