"""What the paper claims, what its logs say, and what came of it here.

All of it is stored once, in ``book/record.json``. A cell that checks a claim asks for its row with
what it has found, and fails if the record says something else; so no figure in the book is stale.
"""

import json
from dataclasses import dataclass
from html import escape

from alexnet.bookkit.findings import finding
from alexnet.bookkit.paths import RECORD, missing_from_wheel
from alexnet.bookkit.svg import element, scrolling_table
from alexnet.console import printable

VERDICTS = ("holds", "does not hold", "cannot tell at this scale", "not run here")


@dataclass(frozen=True, repr=False)
class Claim:
    """A claim of the paper, and where in the book it is checked.

    In a notebook it is shown as a card.
    """

    name: str  # "P1" to "P29"
    section: str  # of the paper; or "abstract", or "Figure 2"
    claim: str
    paper: str  # the paper's figure
    ours: str | None  # the book's figure, or None if it was not run
    verdict: str  # one of VERDICTS
    page: str  # the chapter with the check
    why: str = ""  # what should be known with it
    logs: str = ""  # what the logs of 2012 say, for the table that closes the chapter on learning

    def __repr__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return printable(
            f"{self.name}: {self.claim}. The paper: {self.paper}. Here: {self.ours or '–'}. "
            f"{self.verdict}{why}"
        )

    def _repr_html_(self) -> str:
        where = f"section {self.section}" if self.section[0].isdigit() else self.section
        is_signed = self.ours is not None and self.ours[0] in "+-"
        here = "here (plus for it, minus against)" if is_signed else "here"
        why = f": {escape(self.why)}" if self.why else ""
        return (
            f'<div class="claim" id="claim-{self.name}"><b>{self.name}</b> '
            f"<span>{escape(where)}: {escape(self.claim)}.</span> "
            f"<span>the paper: <b>{escape(self.paper)}</b></span>"
            f"<span>{here}: <b>{escape(self.ours or '–')}</b></span> "
            f"<span><strong>{self.verdict}</strong>{why}</span></div>"
        )


def record() -> dict:
    """Read the whole record.

    Returns:
        "claims" by name; the repository of the "source" of 2012, rows of its "logs", and "repeats",
        the training runs of the net of run 145; the "tables" of the paper, and the nets that its
        "footnote_nets" may be; "reproductions" by others.

    Raises:
        FileNotFoundError: outside a checkout of the repository.
    """
    if not RECORD.exists():
        raise missing_from_wheel(RECORD)
    return json.loads(RECORD.read_text(encoding="utf-8"))


def claims() -> dict[str, Claim]:
    """Read all claims, by name.

    Raises:
        FileNotFoundError: outside a checkout of the repository.
    """
    return {name: Claim(name, **row) for name, row in record()["claims"].items()}


def claim(name: str, ours: str | None = None, verdict: str | None = None) -> Claim:
    """Look up a claim, and check it against what the calling cell has found.

    Args:
        name: "P1" to "P29".
        ours: the book's figure, as computed; None if it was not run.
        verdict: as computed; None for the recorded one.

    Raises:
        ValueError: if the record says something else.
    """
    row = claims()[name]
    if ours != row.ours:
        raise _contradiction(name, "figure", ours, row.ours)
    if verdict is not None and verdict != row.verdict:
        raise _contradiction(name, "verdict", verdict, row.verdict)
    return row


def _contradiction(name: str, what: str, found: str | None, recorded: str | None) -> ValueError:
    return ValueError(
        f"the {what} of {name} must be {recorded!r} as in {RECORD.name}, got {found!r}: "
        "correct the one that is wrong"
    )


def claim_from_runs(name: str) -> Claim:
    """Look up a claim, and check it against what the recorded runs say.

    Args:
        name: a key of :data:`alexnet.bookkit.findings.FINDINGS`, such as "P5".

    Raises:
        ValueError: if the record says something else.
    """
    found = finding(name)
    return claim(name, found.ours, found.verdict)


def claims_table() -> str:
    """Write all claims as an HTML table; each verdict links to the cell that it comes from."""
    headings = ("", "verdict", "claim", "the paper", "here", "section", "to be known")
    head = "".join(element("th", heading, scope="col") for heading in headings)
    body = ""
    for row in claims().values():
        link = element("a", row.verdict, href=f"{row.page}.html#claim-{row.name}")
        texts = (row.claim, row.paper, row.ours or "–", row.section, row.why)
        cells = element("th", row.name, scope="row")
        for heading, cell in zip(headings[1:], (link, *map(escape, texts)), strict=True):
            cells += element("td", cell, data_name=heading)
        body += element("tr", cells)
    return scrolling_table(head, body, "All claims", stacked=True)
