"""What the paper claims, what its logs say, and what came of it here: ``book/record.json``, where each figure stands once."""


import json
from dataclasses import dataclass
from html import escape

from alexnet.bookkit.findings import finding
from alexnet.bookkit.paths import RECORD



VERDICTS = ("holds", "does not hold", "cannot tell at this scale", "not run here")


@dataclass(frozen=True, repr=False)
class Claim:
    """A claim of the paper, and where in the book it is checked."""

    name: str  # "P1" to "P29"
    section: str  # of the paper
    claim: str
    paper: str  # the paper's figure
    ours: str | None  # the book's figure, or None if it was not run
    verdict: str  # one of VERDICTS
    page: str  # the chapter with the check
    why: str = ""  # what should be known with it
    logs: str = ""  # what the logs of 2012 say, where the closing table of the ideas asks for it

    def __repr__(self) -> str:
        return f"{self.name}: {self.claim}. The paper: {self.paper}. Here: {self.ours or '–'}. {self.verdict}{f' ({self.why})' * bool(self.why)}"

    def _repr_html_(self) -> str:
        signed = bool(self.ours) and self.ours[0] in "+-"
        figures = {"the paper": self.paper, "here" + " (plus for it, minus against)" * signed: self.ours or "–"}
        parts = "".join(f"<span>{name}: <b>{escape(value)}</b></span>" for name, value in figures.items())
        why = f": {escape(self.why)}" * bool(self.why)
        where = "section " * self.section[0].isdigit() + escape(self.section)  # or "abstract", or "Figure 2"
        return (
            f'<div class="claim" id="claim-{self.name}"><b>{self.name}</b> <span>{where}: {escape(self.claim)}.</span> '
            f"{parts} <span><strong>{self.verdict}</strong>{why}</span></div>"
        )


def record() -> dict:
    """All of the file: "claims"; "logs" of 2012, and their "repeats" of run 145; "tables" of the paper; "reproductions"."""
    return json.loads(RECORD.read_text())


def claims() -> dict[str, Claim]:
    """All claims, by name."""
    return {name: Claim(name, **row) for name, row in record()["claims"].items()}


def claim(name: str, ours: str | None = None, verdict: str | None = None) -> Claim:
    """The row of a claim, checked against what the cell that asks for it has found.

    Args:
        ours: the book's figure, as computed; None for what was not run.
        verdict: as computed, where it is.

    Raises:
        ValueError: if the record says something else.
    """
    row = claims()[name]
    for what, found, told in (("figure", ours, row.ours), ("verdict", verdict or row.verdict, row.verdict)):
        if found != told:
            raise ValueError(f"the {what} of {name} is {found!r} here and {told!r} in {RECORD.name}: mend the one that is wrong")
    return row


def claim_from_runs(name: str) -> Claim:
    """The row of a claim, checked against what the recorded runs say.

    Args:
        name: a key of :data:`alexnet.bookkit.findings.FINDINGS`, such as "P5".

    Raises:
        ValueError: if the record says something else.
    """
    found = finding(name)
    return claim(name, found.ours, found.verdict)


def claims_table() -> str:
    """HTML table of all claims; each verdict is a link to the cell that it comes from."""
    names = ("", "verdict", "claim", "the paper", "here", "section", "to be known")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = ""
    for row in claims().values():
        link = f'<a href="{row.page}.html#claim-{row.name}">{row.verdict}</a>'
        cells = (link, *map(escape, (row.claim, row.paper, row.ours or "–", row.section, row.why)))
        body += f'<tr><th scope="row">{row.name}</th>'
        body += "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in zip(names[1:], cells)) + "</tr>"
    return (
        '<div style="overflow-x:auto" tabindex="0" role="region" aria-label="All claims">'
        f'<table class="dataframe stacked"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
