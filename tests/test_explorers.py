"""What moves on the rendered pages, each stop of it."""

import itertools
import json

import pytest
from moves import STILL, move_through_all
from visit import DESK, PHONE, SIDEWAYS, UNFOLD, Visit

from helpers import NOTEBOOKS

pytestmark = pytest.mark.slow


# A shorter page is sooner laid out.
UNFOLD_EXPLORERS = """document.querySelectorAll('details:has(figure.explore)')
    .forEach(folded => folded.open = true)"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_stop_of_every_slider(browser, host, name):
    """On a desk; test_pages.py moves to some by keys, by mouse, and on a phone by touch."""
    with Visit(browser, f"{host}/{name}.html", **DESK) as visit:
        visit.page.add_style_tag(content=STILL)
        visit.page.evaluate(UNFOLD_EXPLORERS)
        for explorer in visit.page.locator("figure.explore").all():
            move_through_all(explorer, visit)


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
