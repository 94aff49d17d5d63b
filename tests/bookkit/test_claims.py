import json
import re

import nbformat
import pytest

from alexnet.bookkit.claims import (
    VERDICTS,
    claim,
    claim_from_runs,
    claims,
    claims_table,
    record,
)
from alexnet.bookkit.findings import FINDINGS, finding
from alexnet.bookkit.paths import BOOK

CALL = re.compile(r'\bclaim(_from_runs)?\("(P\d+)"(,?)')


def calls(page):
    """The claims that the cells of a page ask for.

    Returns:
        By name whether the cell brings a figure, and what the page stores of it.
    """
    found = {}
    for cell in nbformat.read(BOOK / f"{page}.ipynb", 4).cells:
        if cell.cell_type != "code":
            continue
        for from_runs, name, comma in CALL.findall(cell.source):
            assert name not in found, f"{page} asks for {name} twice"
            is_computed = bool(from_runs or comma)
            found[name] = is_computed, json.dumps(cell.outputs, ensure_ascii=False)
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
    is_computed, stored = PAGES[row.page][name]
    assert is_computed == (row.ours is not None)
    assert f'id=\\"claim-{name}\\"' in stored
    assert row.verdict in stored and (row.ours or "–") in stored


@pytest.mark.parametrize("name", FINDINGS)
def test_a_row_of_a_recorded_run_is_what_the_run_says(name):
    assert (claims()[name].ours, claims()[name].verdict) == (
        finding(name).ours,
        finding(name).verdict,
    )
    assert claim_from_runs(name) == claims()[name]


def test_a_cell_that_finds_something_else_fails():
    assert claim("P13", "2178 times").verdict == "does not hold"
    for wrong in [
        ("P13", "2048 times"),
        ("P13",),
        ("P13", "2178 times", "holds"),
        ("P6", "1.7 points"),
    ]:
        message = f"of {wrong[0]} must be .* as in record.json, got .*: correct the one"
        with pytest.raises(ValueError, match=message):
            claim(*wrong)


def test_runs_that_say_something_else_fail(monkeypatch):
    other = FINDINGS["P9"]()
    monkeypatch.setitem(FINDINGS, "P10", lambda: other)
    with pytest.raises(ValueError, match="the figure of P10 must be"):
        claim_from_runs("P10")


def test_a_claim_is_shown_as_text_and_as_a_card():
    row = claims()["P9"]
    assert repr(row).startswith("P9: ") and repr(row).endswith(f"{row.verdict} ({row.why})")
    card = row._repr_html_()
    assert 'id="claim-P9"' in card and "here (plus for it, minus against)" in card
    assert "Figure 2: " in claims()["P3"]._repr_html_()
    assert "section 3.1, Figure 1: " in claims()["P5"]._repr_html_()


@pytest.mark.parametrize(
    ("name", "worse", "better"),
    [
        ("P9", ("148", "2012 validation", "ten"), ("145", "2012 validation", "ten")),
        ("P10", ("147", "2012 validation", "ten"), ("145", "2012 validation", "ten")),
        ("P14", ("145-2010", "2010 test", "centre"), ("145-2010", "2010 test", "ten")),
    ],
)
def test_what_a_claim_says_of_the_logs_is_what_they_say(name, worse, better):
    rows = {(row["run"], row["set"], row["views"]): row for row in record()["logs"]}
    top1 = rows[worse]["top1"] - rows[better]["top1"]
    top5 = rows[worse]["top5"] - rows[better]["top5"]
    assert claims()[name].logs.removesuffix(", on ImageNet") == f"{top1:.2f} and {top5:.2f}"


def test_no_other_claim_has_a_figure_of_the_logs():
    found = [row.name for row in claims().values() if row.logs not in ("", "–")]
    assert found == ["P9", "P10", "P14"]


def test_all_verdicts_stand_in_the_introduction():
    intro = (BOOK / "intro.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| ([a-z ]+) \|", intro, re.M)
    assert explained[1:] == list(VERDICTS)


def test_the_table_of_claims_links_to_every_cell():
    links = re.findall(r'href="(\w+)\.html#claim-(P\d+)"', claims_table())
    assert links == [(row.page, row.name) for row in claims().values()]
