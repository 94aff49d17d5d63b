"""The runs of the source of 2012, in the record and as a figure; tests/test_pages.py opens it.

Where the variable ALEXNET_SOURCE names a clone of the repository that ``book/record.json`` gives
under "source", every figure and quotation is compared with the line that it is said to stand in.
"""

import json
import os
import re
import subprocess
from base64 import b64decode
from xml.etree import ElementTree

import pytest

from alexnet.bookkit.claims import record
from alexnet.bookkit.lineage import Walk, lineage, logged_errors
from helpers import ROOT, data_of

LOGS = record()["logs"]
SOURCE = os.environ.get("ALEXNET_SOURCE")
SETS = ["2012 validation", "2010 test", "2010 validation", "Fall 2009"]
VIEWS = ["ten", "centre", "not stated", "one, in training"]
# A quotation in the text of a run, with its file, if it is not the run's, and its line or lines.
QUOTED = re.compile(r'"([^"]+)"[^("]*\((?:(\S+):|lines? )?(\d+)(?: to (\d+))?\)')


def name_of(row):
    return f"{row['run']}, {row['set']}, {row['views']}"


@pytest.mark.parametrize("row", LOGS, ids=name_of)
def test_every_logged_error_has_its_file_and_line(row):
    assert row["file"].startswith("layers/layer-params-") and row["file"].endswith(".cfg")
    assert type(row["line"]) is int and row["line"] > 0
    assert row["set"] in SETS and row["views"] in VIEWS
    assert 15 < row["top5"] < row["top1"] - 15 < 60
    for error in ("top1", "top5"):
        assert round(row[error], 4) == row[error]  # six digits of the fraction that is logged
    assert row.get("inferred") in (None, "set", "views", "set and views")


def test_an_error_is_recorded_once():
    assert len({name_of(row) for row in LOGS}) == len(LOGS)
    assert len({(row["file"], row["line"]) for row in LOGS}) == len(LOGS)


@pytest.mark.parametrize("images", SETS)
def test_an_error_is_a_whole_number_of_images(images):
    """With six digits that can be seen for sets of 50,000; 150,000 leave some doubt."""
    sizes = {"2012 validation": [50_000], "2010 validation": [50_000]}
    sizes["2010 test"] = [150_000, 149_998]
    for row in logged_errors(images).values():
        for error in (row["top1"], row["top5"]):
            counts = [error / 100 * size for size in sizes[images]]
            assert any(abs(count - round(count)) < 0.08 for count in counts), row


def test_the_repeats_are_logged_in_the_same_way_as_run_145():
    repeats = [row["run"] for row in record()["repeats"]]
    assert len(set(repeats)) == len(repeats) == 10 and "145" in repeats
    assert set(repeats) <= set(logged_errors())


def test_the_nets_of_the_footnote_have_their_files_and_lines():
    for net in record()["footnote_nets"]:
        assert re.fullmatch("[0-9a-f]{40}", net["commit"])
        for field in ("filters", "decay", "epochs", "size"):
            assert (field in net) == (f"{field}_at" in net)
        for field in ("filters_at", "decay_at", "size_at"):
            assert re.search(r"\.cfg:\d+(, \d+)*$", net.get(field, "a.cfg:1"))


def test_every_run_stands_after_its_parents():
    runs = lineage()
    known = set()
    for run in runs.values():
        assert set(run.parents) <= known, run
        known.add(run.run)
        assert bool(run.file) == (run.kind != "missing")
        assert bool(run.date) == bool(run.date_line)
        assert re.fullmatch(r"(201[23]-\d\d-\d\d)?", run.date)
    for row in LOGS:
        assert row["file"] == runs[row["run"]].file


def quotations():
    """The quotations of all runs: the run, the words, their file, their first and last line."""
    for run in lineage().values():
        for words, file, first, last in QUOTED.findall(run.outcome):
            yield run, words, file or run.file, int(first), int(last or first)


def test_every_quotation_has_its_line():
    quoted = list(quotations())
    assert len(quoted) > 20
    assert len(quoted) == sum(run.outcome.count('"') // 2 for run in lineage().values())


@pytest.fixture(scope="module")
def read_lines():
    """Reads a file of the source, at the commit of the record."""
    if not SOURCE:
        pytest.skip("no source of 2012: clone the repository, and set ALEXNET_SOURCE to its path")
    commit = record()["source"]["commit"]

    def read(file):
        command = ["git", "-C", SOURCE, "show", f"{commit}:{file}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return read


def test_the_source_has_every_figure_in_its_line(read_lines):
    for row in LOGS:
        text = read_lines(row["file"])[row["line"] - 1]
        numbers = [round(100 * float(number), 4) for number in re.findall(r"\d\.\d+", text)]
        assert {row["top1"], row["top5"]} <= set(numbers), (row, text)


def test_the_source_has_every_quotation_and_date_in_its_line(read_lines):
    for run, words, file, first, last in quotations():
        assert words in " ".join(read_lines(file)[first - 1 : last]), run
    for run in lineage().values():
        if run.date:
            assert run.date in read_lines(run.file)[run.date_line - 1], run


# Quotations in the chapters: words, then in parentheses a file and a line.
IN_TEXT = re.compile(r'"([^"]+)"[^"()]*\(`([\w.-]+)`, line (\d+)\)')


def quoted_in_chapters():
    for name in ("results", "paper_and_code"):
        notebook = json.loads((ROOT / "book" / f"{name}.ipynb").read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                yield from IN_TEXT.findall("".join(cell["source"]))


def test_the_source_has_the_quotations_of_the_chapters(read_lines):
    found = list(quoted_in_chapters())
    assert len(found) > 8
    for words, file, line in found:
        folder = "layers/" if file.startswith("layer-params") else ""
        assert words in read_lines(folder + file)[int(line) - 1], (words, file, line)


@pytest.fixture(scope="module")
def page():
    return Walk("145").to_html()


def test_the_page_holds_every_run_with_its_parents(page):
    data = data_of(page)
    runs = lineage()
    assert [node["name"] for node in data["nodes"]] == list(runs)
    for node, run in zip(data["nodes"], runs.values(), strict=True):
        assert [data["nodes"][i]["name"] for i in node["parents"]] == list(run.parents)
        assert node["changed"] == run.changed and ["trained on", run.data] in node["facts"]
        assert node["facts"][-1] == ["file", run.file or "none"]
    assert data["nodes"][data["start"]]["name"] == "145"


def test_a_run_shows_its_logged_error(page):
    nodes = {node["name"]: node for node in data_of(page)["nodes"]}
    assert nodes["145"]["error"] == "40.66 %"
    assert nodes["106"]["error"] == "37.06 %, 2010 test"
    assert nodes["162"]["error"] == "43.85 %, in training"
    assert nodes["110"]["error"] == ""
    errors = [text for heading, text in nodes["145-2010"]["facts"] if heading == "error"]
    assert errors == [
        "37.47 % top-1, 17.00 % top-5; 2010 test, ten views",
        "39.02 % top-1, 18.30 % top-5; 2010 test, centre view",
    ]
    assert dict(nodes["145-2010"]["facts"])["lines"].startswith("error 178, error 180")


def test_each_generation_lies_lower(page):
    data = data_of(page)
    for node, (x, y) in zip(data["nodes"], data["places"], strict=True):
        for parent in node["parents"]:
            assert data["places"][parent][0] < x
        if node["parents"]:
            assert data["places"][node["parents"][0]][1] == y - 9


def test_without_scripts_the_line_to_the_first_run_is_an_image(page):
    still = page.partition("<script")[0]
    assert "<svg" not in still and "<button" not in still
    assert 'alt="Runs that were developed from each other. 101: ' in still
    file = re.search('src="data:image/svg[+]xml;base64,(.*?)"', still)[1]
    drawing = ElementTree.fromstring(b64decode(file))
    names = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"101", "106", "120-2012", "131", "135", "137", "145", "147", "153"} <= set(names)


def test_what_is_kept_in_a_notebook_is_the_same_each_time(page):
    assert Walk("145").to_html() == page
    bundle = Walk("145")._repr_mimebundle_()
    assert bundle["text/html"] == page
    assert b64decode(bundle["image/png"]).startswith(b"\x89PNG")  # for print


def test_the_page_asks_for_nothing(page):
    assert "http" not in page.replace("http://www.w3.org", "")
