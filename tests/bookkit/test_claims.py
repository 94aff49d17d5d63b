import json
import re
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT

from alexnet.bookkit.claims import record
from alexnet.bookkit.findings import FINDINGS, finding
from alexnet.bookkit.claims import VERDICTS, claim, claims

BOOK = ROOT / "book"
CALL = re.compile(r'\bclaim\("(P\d+)"(,?)')


def calls(page):
    """The claims that the cells of a page ask for, whether they bring a figure, and what the page stores of them."""
    found = {}
    for cell in nbformat.read(BOOK / f"{page}.ipynb", 4).cells:
        if cell.cell_type == "code":
            for name, comma in CALL.findall(cell.source):
                assert name not in found, f"{page} asks for {name} twice"
                found[name] = bool(comma), json.dumps(cell.outputs, ensure_ascii=False)
    return found


PAGES = {path.stem: calls(path.stem) for path in sorted(BOOK.glob("*.ipynb"))}


def test_every_claim_has_a_row():
    assert list(claims()) == [f"P{n}" for n in range(1, 30)]
    for row in claims().values():
        assert row.verdict in VERDICTS and row.section and row.claim and row.paper
        assert (row.ours is None) == (row.verdict == "not run here")
        assert row.ours or row.why, f"{row.name} was not run: why?"


@pytest.mark.parametrize("name", claims())
def test_a_row_comes_from_the_one_cell_that_it_leads_to(name):
    row = claims()[name]
    assert [page for page, found in PAGES.items() if name in found] == [row.page]
    computed, stored = PAGES[row.page][name]
    assert computed == (row.ours is not None)
    assert f'id=\\"claim-{name}\\"' in stored and row.verdict in stored and (row.ours or "–") in stored


@pytest.mark.parametrize("name", FINDINGS)
def test_a_row_of_a_recorded_run_is_what_the_run_says(name):
    assert (claims()[name].ours, claims()[name].verdict) == (finding(name).ours, finding(name).verdict)


def test_a_cell_that_finds_something_else_fails():
    assert claim("P13", "2178 times").verdict == "does not hold"
    for wrong in [("P13", "2048 times"), ("P13",), ("P13", "2178 times", "holds"), ("P6", "1.7 points")]:
        with pytest.raises(ValueError, match=f"of {wrong[0]} is .* in record.json: mend the one that is wrong"):
            claim(*wrong)


def test_rows_of_the_logs():
    rows = record.record()["logs"] + record.record()["repeats"]
    assert len({(row["run"], row.get("set"), row.get("views")) for row in rows}) == len(rows)
    assert all(15 < row["top5"] < row["top1"] - 15 < 30 for row in rows)
    assert "145" not in {row["run"] for row in record.record()["repeats"]}  # its figure stands among the logs


@pytest.mark.parametrize(
    ("name", "worse", "better"),
    [
        ("P9", ("148", "2012 validation", "ten"), ("145", "2012 validation", "ten")),
        ("P10", ("147", "2012 validation", "ten"), ("145", "2012 validation", "ten")),
        ("P14", ("145", "2010 test", "centre"), ("145", "2010 test", "ten")),
    ],
)
def test_what_a_claim_says_of_the_logs_is_what_they_say(name, worse, better):
    rows = {(row["run"], row["set"], row["views"]): row for row in record.record()["logs"]}
    top1, top5 = (rows[worse][error] - rows[better][error] for error in ("top1", "top5"))
    assert claims()[name].logs.removesuffix(", on ImageNet") == f"{top1:.2f} and {top5:.2f}"


def test_no_other_claim_has_a_figure_of_the_logs():
    assert [row.name for row in claims().values() if row.logs not in ("", "–")] == ["P9", "P10", "P14"]


def test_all_verdicts_stand_in_the_introduction():
    explained = re.findall(r"^\| ([a-z ]+) \|", (BOOK / "intro.md").read_text(), re.M)
    assert explained[1:] == list(VERDICTS)


def test_the_overview_links_to_every_cell():
    links = re.findall(r'href="(\w+)\.html#claim-(P\d+)"', record.overview())
    assert links == [(row.page, row.name) for row in claims().values()]
