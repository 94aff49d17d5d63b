"""Explorers and the net in notebooks: in JupyterLab, and wherever else their output is shown."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import v4
from nbformat.sign import NotebookNotary
from playwright.sync_api import expect
from visit import DESK, Visit

from alexnet.bookkit.explore import explore
from helpers import ROOT

pytestmark = pytest.mark.slow


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
    html = [explore(bar, width=range(10)).to_html()]
    html.append(explore(tint, hue=["red", "blue"], height=range(1, 11)).to_html())
    outputs = outputs_page.locator(".output")
    outputs.nth(0).evaluate(RENDERERS[renderer], "".join(html))
    outputs.nth(1).evaluate(RENDERERS[renderer], html[0])
    explorers = outputs_page.locator("figure.explore")
    assert explorers.count() == 3
    for i in range(3):
        check_alone(explorers, i, others=2)


def test_live_where_the_parser_runs_the_script(outputs_page):
    html = explore(bar, width=range(10)).to_html()
    outputs_page.set_content(f"<!DOCTYPE html>{html}<p>{html}")
    explorers = outputs_page.locator("figure.explore")
    for i in range(2):
        check_alone(explorers, i, others=1)


def test_an_explorer_starts_once(outputs_page):
    """Also when its output is shown again after the reader has moved it."""
    html = explore(bar, width=range(10)).to_html()
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
    outputs_page.set_content(explore(bar, width=range(10)).to_html())
    outputs_page.locator("input").press("End")
    outputs_page.set_content(outputs_page.content())
    check_alone(outputs_page.locator("figure.explore"), 0, others=0)


def test_the_keys_of_a_slider_are_not_the_notebooks(outputs_page):
    """VS Code listens to keys on the window; JupyterLab spares a form that says so."""
    outputs_page.set_content(explore(bar, width=range(10)).to_html())
    outputs_page.evaluate("keys = []; addEventListener('keydown', event => keys.push(event.key))")
    slider = outputs_page.locator("input")
    for key in ("ArrowDown", "ArrowRight", "PageUp", "Home", "End", "Tab"):
        slider.press(key)
    assert outputs_page.evaluate("keys") == ["Tab"]
    assert outputs_page.locator("form").get_attribute("data-lm-suppress-shortcuts") == "true"


def test_live_in_html_by_nbconvert(browser, tmp_path):
    explorer = explore(bar, width=range(10))
    data = {"text/html": explorer.to_html(), "text/plain": "explore(bar, width: 10)"}
    output = v4.new_output("execute_result", data, execution_count=1)
    notebook = v4.new_notebook(cells=[v4.new_code_cell("explore(bar)", outputs=[output])])
    page, _ = HTMLExporter().from_notebook_node(notebook)
    path = tmp_path / "notebook.html"
    path.write_text(page, encoding="utf-8")
    with Visit(browser, path.as_uri(), **DESK) as visit:  # scripts of a CDN are out of reach
        check_alone(visit.page.locator("figure.explore"), 0, others=0)


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


IDLE_KERNEL = "Python 3 (ipykernel) | Idle"


def run_all(page):
    """Run all cells of the notebook that JupyterLab shows."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


@pytest.mark.exhaustive
def test_live_in_lab(browser, lab):
    context = browser.new_context(**DESK)
    page = context.new_page()
    page.goto(f"{lab}/lab/tree/parameters.ipynb")
    stored = page.locator("figure.explore").first
    stored.scroll_into_view_if_needed(timeout=60_000)
    expect(stored.locator("img")).to_be_visible()  # before a kernel runs, the first picture
    quotation = page.locator(".jp-MarkdownOutput blockquote").first
    expect(quotation).to_contain_text("What the paper says (Krizhevsky et al., 2012)")

    run_all(page)
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
    data = {"text/html": explore(bar, width=range(10)).to_html(), "text/plain": "explore(bar)"}
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
    expect(page.get_by_text(IDLE_KERNEL)).to_be_visible(timeout=60_000)
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


@pytest.mark.exhaustive
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
    expect(page.get_by_text(IDLE_KERNEL)).to_be_visible(timeout=60_000)
    run_all(page)
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


@pytest.mark.exhaustive
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
    expect(page.get_by_text(IDLE_KERNEL)).to_be_visible(timeout=60_000)
    run_all(page)
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
