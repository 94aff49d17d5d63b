"""What is stored in the notebooks is what a run from top to bottom shows. nbval compares the numbers; these tests see to the rest."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml
from helpers import CHAPTERS, NOTEBOOKS, ROOT, data_of


@pytest.fixture(params=NOTEBOOKS)
def path(request):
    return ROOT / f"{request.param}.ipynb"


@pytest.fixture
def code(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_is_in_the_table_of_contents():
    assert {p.stem for p in (ROOT / "book").glob("*.ipynb")} == {Path(name).name for name in NOTEBOOKS}


def test_stored_as_executed_from_top_to_bottom(code):
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_no_error_is_stored(code):
    for cell in code:
        if "raises-exception" not in cell.metadata.get("tags", []):
            assert not [out for out in cell.outputs if out.output_type == "error"]
            assert not [out for out in cell.outputs if out.get("name") == "stderr"]


def test_no_widget_state_and_no_run_times_are_stored(path, code):
    assert "widgets" not in nbformat.read(path, as_version=4).metadata
    assert not [cell for cell in code if "execution" in cell.metadata]
    assert not [out for cell in code for out in cell.outputs if "widget-view" in str(out.get("data", {}).keys())]


def test_small_enough(path):
    assert path.stat().st_size < 1.5e6


def test_no_cell_is_longer_than_twenty_lines(code):
    assert [cell.source for cell in code if len(cell.source.splitlines()) > 20] == []


class Pictures(HTMLParser):
    """Collects the pictures of a piece of HTML, and those without alternative text."""

    def __init__(self):
        super().__init__()
        self.found, self.silent = 0, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("img", "svg"):
            self.found += 1
            if not (attributes.get("alt") if tag == "img" else attributes.get("role") == "img" and attributes.get("aria-label")):
                self.silent.append((tag, attributes))


def test_every_figure_has_alternative_text(code):
    for cell in code:
        for out in cell.outputs:
            data = out.get("data", {})
            if "image/png" in data:
                assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt"), cell.source
            pictures = Pictures()
            pictures.feed(data.get("text/html", ""))
            assert not pictures.silent
            if 'class="explore"' in data.get("text/html", ""):
                assert pictures.found


def test_each_chapter_has_an_explorer_and_exercises(path):
    if path.stem == "claims":  # a table, and no chapter
        return
    text = path.read_text()
    assert "figure class=\\\"explore\\\"" in text
    assert text.count("{exercise}") >= 3 and text.count("{exercise}") == text.count("{solution-start}")


def test_sliders_have_five_stops_or_more(code):
    pages = [out.data["text/html"] for cell in code for out in cell.outputs if 'class="explore"' in str(out.get("data"))]
    stops = [int(last) + 1 for page in pages for last in re.findall(r'type="range".*?max="(\d+)"', data_of(page)["inputs"])]
    assert all(stop >= 5 for stop in stops)


def sources():
    """The text of the pages as it is written."""
    for name in CHAPTERS:
        if name in NOTEBOOKS:
            yield from (cell.source for cell in nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells if cell.cell_type == "markdown")
        else:
            yield (ROOT / f"{name}.md").read_text()


def test_every_reference_is_cited():
    """That every citation has its reference, the build of the pages says."""
    entries = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(), re.M))
    cited = {key.strip() for text in sources() for keys in re.findall(r"\{cite[:\w]*\}`([^`]+)`", text) for key in keys.split(",")}
    assert entries - cited == set()


def test_every_word_of_the_glossary_is_linked_to_a_chapter():
    words = re.findall(r"^(\S.*)\n((?:  .+\n)+)", (ROOT / "book" / "glossary.md").read_text(), re.M)
    assert len(words) > 40
    assert [word for word, text in words if not re.search(r"\[\]\((.+?)\.ipynb\)\s*$", text)] == []
