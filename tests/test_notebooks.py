"""What is stored in the notebooks is what a run from top to bottom shows.

Nbval compares the numbers; these tests see to the rest.
"""

import importlib.util
import os
import re
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import v4

from alexnet import bookkit
from helpers import NOTEBOOKS, ROOT, data_of, exit_message

MAX_CELL_LINES = 20

_spec = importlib.util.spec_from_file_location("execute", ROOT / "book" / "execute.py")
execute = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(execute)


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(params=NOTEBOOKS)
def path(request):
    return ROOT / f"{request.param}.ipynb"


@pytest.fixture
def code(path):
    """The code cells of a notebook."""
    notebook = read(path)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def outputs(code):
    return [output for cell in code for output in cell.outputs]


def test_every_notebook_is_in_the_table_of_contents():
    found = {path.stem for path in (ROOT / "book").glob("*.ipynb")}
    assert found == {Path(name).name for name in NOTEBOOKS}


def test_stored_as_executed_from_top_to_bottom(code):
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_no_error_is_stored(code):
    for cell in code:
        if "raises-exception" in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source


def test_no_widget_state_and_no_run_times_are_stored(path, code, outputs):
    assert "widgets" not in read(path).metadata
    assert not [cell for cell in code if "execution" in cell.metadata]
    for output in outputs:
        assert not [kind for kind in output.get("data", {}) if "widget-view" in kind]


def test_small_enough(path):
    assert path.stat().st_size < 1.5e6


def test_no_cell_is_longer_than_twenty_lines(code):
    assert [cell.source for cell in code if len(cell.source.splitlines()) > MAX_CELL_LINES] == []


class ImageParser(HTMLParser):
    """Counts the images of a piece of HTML, and collects those without alternative text."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.without_alternative = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            alternative = attributes.get("alt")
        elif tag == "svg":
            # With links it is a group, into which a screen reader looks
            is_named = attributes.get("role") in ("img", "group")
            alternative = is_named and attributes.get("aria-label")
        else:
            return
        self.count += 1
        if not alternative:
            self.without_alternative.append((tag, attributes))


def test_every_figure_has_alternative_text(code):
    for cell in code:
        for output in cell.outputs:
            data = output.get("data", {})
            html = data.get("text/html", "")
            is_explorer = 'class="explore"' in html
            if "image/png" in data and not html:  # which has the same picture
                image = cell.metadata.get("mystnb", {}).get("image", {})
                assert image.get("alt"), cell.source
            images = ImageParser()
            images.feed(html)
            assert images.without_alternative == []
            if is_explorer:
                assert images.count > 0
                assert "image/png" in data, f"nothing to print of {cell.source}"


def test_the_first_picture_of_an_explorer_is_whole(outputs):
    """Where scripts do not run, as on GitHub, it is all that is seen."""
    for output in outputs:
        html = output.get("data", {}).get("text/html", "")
        for file in re.findall('src="data:image/svg[+]xml;base64,(.*?)"', html):
            ElementTree.fromstring(b64decode(file))


def test_each_chapter_has_an_explorer_and_exercises(path):
    if path.stem == "claims":  # a table, and no chapter
        return
    text = path.read_text(encoding="utf-8")
    assert re.search(r'figure class=\\"(explore|valley)\\"', text)
    assert text.count("**Exercise ") >= 3  # tests/test_prose.py looks at their form


def test_sliders_have_ten_stops_or_more(outputs):
    for output in outputs:
        page = output.get("data", {}).get("text/html", "")
        if 'class="explore"' not in page:
            continue
        inputs = data_of(page)["inputs"]
        for last in re.findall(r'type="range".*?max="(\d+)"', inputs):
            assert int(last) + 1 >= 10


FIGURE = """\
from matplotlib import pyplot as plt
plt.style.use("alexnet.bookkit.book")
plt.plot([1, 2])
plt.show()"""
ENVIRONMENT = """\
import shutil, warnings
warnings.warn_explicit("old", DeprecationWarning, "lib.py", 1, module="lib")
from matplotlib import rcParams
from tqdm import tqdm
bar = tqdm(range(9), file=open(os.devnull, "w"))
print(shutil.get_terminal_size().columns, rcParams["text.color"], bar.disable)
assert False, "assertions are on\""""


@pytest.fixture
def odd_settings(tmp_path):
    """An environment with what changes the outputs of notebooks, as batch systems set it."""
    (tmp_path / "matplotlibrc").write_text("text.color: pink\n", encoding="utf-8")
    profile = tmp_path / "profile_default" / "startup"
    profile.mkdir(parents=True)
    (profile / "greet.py").write_text("print('good morning')\n", encoding="utf-8")
    settings = {"MPLBACKEND": "Agg", "COLUMNS": "33", "NO_COLOR": "1", "TQDM_DISABLE": "1"}
    settings |= {"PYTHONWARNINGS": "always", "PYTHONOPTIMIZE": "1"}
    settings |= {"MPLCONFIGDIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    return os.environ | settings


def figure_cell(source):
    return v4.new_code_cell(source, metadata={"mystnb": {"image": {"alt": "a line"}}})


def run_execute(path, environment):
    """The result of book/execute.py on one notebook."""
    command = [sys.executable, ROOT / "book" / "execute.py", path]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_reader_sees_figures_whatever_the_environment_says(odd_settings):
    notebook = v4.new_notebook(cells=[v4.new_code_cell(FIGURE)])
    NotebookClient(notebook).execute(env=odd_settings)
    assert [list(output.get("data", {})) for output in notebook.cells[0].outputs] == [
        ["text/plain", "image/png"]
    ]


def test_a_backend_that_shows_figures_stays(monkeypatch):
    """Only where there is a kernel, and only if nothing would be shown, one is chosen."""
    chosen = []
    shell = SimpleNamespace(run_line_magic=lambda *magic: chosen.append(magic), kernel=None)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    for backend in ("module://matplotlib_inline.backend_inline", "qtagg", "Agg", "pdf"):
        monkeypatch.setattr("matplotlib.get_backend", lambda backend=backend: backend)
        bookkit._show_figures()
    assert chosen == [("matplotlib", "inline")] * 2  # for Agg and pdf
    del shell.kernel  # a terminal
    bookkit._show_figures()
    assert len(chosen) == 2


def test_what_is_stored_does_not_depend_on_the_environment(odd_settings, tmp_path):
    """Nor on the user's own settings of matplotlib and IPython."""
    path = tmp_path / "book" / "page.ipynb"
    path.parent.mkdir()
    cells = [figure_cell(FIGURE), v4.new_code_cell("import os\n" + ENVIRONMENT)]
    cells[1].metadata.tags = ["raises-exception"]
    nbformat.write(v4.new_notebook(cells=cells), path)
    done = run_execute(path, odd_settings)
    assert done.returncode == 0, done.stderr
    figure, text = read(path).cells
    assert "image/png" in figure.outputs[0].data
    said, error = text.outputs
    assert said.text == "80 black False\n"
    assert (error.ename, error.evalue) == ("AssertionError", "assertions are on")


def test_a_notebook_without_its_figure_is_not_stored(tmp_path, monkeypatch, capsys):
    path = tmp_path / "page.ipynb"
    cells = [v4.new_code_cell("2 + 2"), figure_cell("figure = None")]
    nbformat.write(v4.new_notebook(cells=cells), path)
    before = path.read_bytes()
    monkeypatch.setattr(sys, "argv", ["execute.py", str(path)])
    told, code = exit_message(execute.main)
    assert code == 1 and told == f"{path} is not stored"
    said = capsys.readouterr().err
    assert f"{path}: cell [2] must show a figure, as its metadata describe one" in said
    assert path.read_bytes() == before


def test_an_explorer_that_cannot_be_printed_is_not_stored():
    """As where resvg_py is missing."""
    output = v4.new_output("execute_result", {"text/html": '<figure class="explore">'})
    cell = v4.new_code_cell("explore()", outputs=[output], execution_count=3)
    [sentence] = execute.missing_images(v4.new_notebook(cells=[cell]))
    assert sentence.startswith("cell [3] must have a picture of its explorer for print")
