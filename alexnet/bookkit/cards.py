"""Claims of the paper as HTML: a card for each, and the page that has them all."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from alexnet.bookkit.stats import VERDICTS
from alexnet.bookkit.svg import element, scrolling_table

if TYPE_CHECKING:
    from alexnet.bookkit.claims import Claim

# A sign for each verdict, so that color is not needed; book.css has the colors
SIGNS = {
    "holds": "✓",
    "does not hold": "✗",
    "cannot tell": "?",
    "not run here": "○",
    "holds by construction": "≡",
}
RULE = "claims.html#how-a-claim-is-judged"


def css_class(verdict: str) -> str:
    """The class of a verdict, such as ``is-does-not-hold``."""
    return f"is-{verdict.replace(' ', '-')}"


def card(row: "Claim", with_link: bool = False) -> str:
    """Write the card of a claim: the verdict, a sentence or two, and folded what is behind them.

    Args:
        row: the claim.
        with_link: to the chapter that judges it.
    """
    sign = element("span", SIGNS[row.verdict], aria_hidden="true", **{"class": "claim-sign"})
    verdict = element("strong", row.verdict.capitalize()) + row.size_text
    head = element("p", sign + verdict, **{"class": "claim-verdict"})
    text = escape(row.found)
    if with_link:
        where = f"{row.page}.html#claim-{row.name}"
        text += " " + element("a", "Where it is judged", href=where)
    said = element("p", text)
    classes = f"claim {css_class(row.verdict)} in-{row.page}"
    return element("div", head + said + _behind(row), id=f"claim-{row.name}", **{"class": classes})


def _behind(row: "Claim") -> str:
    """What stands behind a verdict, folded."""
    where = f"section {row.section}" if row.section[0].isdigit() else row.section
    facts = [f"Claim {row.name} ({where}): {row.claim}"]
    facts += [row.why] if row.why else []
    facts += [row.measured.terms] if row.measured else []
    if row.tiny_imagenet:
        facts.append(f"Tiny ImageNet: {row.tiny_imagenet.ours}, {row.tiny_imagenet.verdict}")
    items = "".join(element("li", escape(fact)) for fact in facts)
    items += element("li", element("a", "the rule by which all claims are judged", href=RULE))
    return element(
        "details", element("summary", f"Why, in detail ({row.name})") + f"<ul>{items}</ul>"
    )


def tally(rows: Iterable["Claim"]) -> str:
    """Write the claims as squares in groups, one for each verdict; a square leads to its card."""
    rows = list(rows)
    groups = ""
    for verdict in VERDICTS:
        squares = ""
        members = [row for row in rows if row.verdict == verdict]
        for row in members:
            link = element("a", row.name, href=f"#claim-{row.name}", title=row.claim)
            squares += element("li", link, **{"class": css_class(verdict)})
        sign = element("span", SIGNS[verdict], aria_hidden="true")
        heading = element("p", f"{sign} {len(members)} {_of_many(verdict, len(members))}")
        groups += element("div", heading + element("ul", squares), **{"class": "claim-group"})
    own = element("p", "", **{"class": "guess-tally"})  # of the reader's guesses, by guesses.js
    return element("div", groups, **{"class": "claim-tally"}) + own


def _of_many(verdict: str, number: int) -> str:
    """A verdict as the predicate of a number of claims."""
    if number == 1:
        return verdict
    plural = {"holds": "hold", "does not hold": "do not hold", "cannot tell": "cannot be told"}
    return plural.get(verdict, verdict.replace("holds", "hold"))


def cards(rows: Iterable["Claim"], chapters: Sequence[str]) -> str:
    """Write all cards, with a choice by verdict and by chapter, which needs no script.

    Args:
        rows: the claims.
        chapters: names of all pages that judge claims, in the order of the book.
    """
    rows = list(rows)
    choices = element("legend", "Show the claims that")
    for at, verdict in enumerate(("all", *VERDICTS)):
        checked = "" if at else " checked"
        radio = f'<input type="radio" name="claim-verdict" value="{css_class(verdict)}"{checked}>'
        label = "are in the paper" if verdict == "all" else _of_many(verdict, 2)
        choices += element("label", radio + f" {SIGNS.get(verdict, '')} {label}")
    options = element("option", "all chapters", value="all")
    options += "".join(element("option", c.replace("_", " "), value=f"in-{c}") for c in chapters)
    select = element("label", "in " + element("select", options, aria_label="chapter"))
    fields = element("fieldset", choices + select)
    rules = [
        _hidden_unless(f'input[value="{css_class(v)}"]:checked', css_class(v)) for v in VERDICTS
    ]
    rules += [_hidden_unless(f'option[value="in-{c}"]:checked', f"in-{c}") for c in chapters]
    style = element("style", "\n".join(rules))
    body = "".join(card(row, with_link=True) for row in rows)
    return element("div", style + fields + body, **{"class": "claim-cards"})


def _hidden_unless(chosen: str, kept: str) -> str:
    return f".claim-cards:has({chosen}) .claim:not(.{kept}) {{ display: none; }}"


def table(rows: Iterable["Claim"]) -> str:
    """Write all claims as a table; each verdict links to the cell that it comes from."""
    headings = (
        "",
        "verdict",
        "claim",
        "ImageNet: the paper",
        "ImageNet: logs of 2012",
        "two hundred classes: here",
        "counted, or CIFAR-10: here",
        "section",
        "to be known",
    )
    head = "".join(element("th", heading, scope="col") for heading in headings[1:])
    head = element("th", "name", scope="col") + head
    body = ""
    for row in rows:
        link = element("a", row.verdict, href=f"{row.page}.html#claim-{row.name}")
        tiny = row.tiny_imagenet
        notes = "; ".join(filter(None, [row.why, row.measured and row.measured.terms]))
        texts = (
            row.claim,
            row.paper,
            row.logs or "–",
            f"{tiny.ours}, {tiny.verdict}" if tiny else "–",
            row.ours or "–",
            row.section,
            notes,
        )
        cells = element("th", row.name, scope="row")
        for heading, cell in zip(
            headings[1:], (link + row.size_text, *map(escape, texts)), strict=True
        ):
            cells += element("td", cell, data_name=heading)
        body += element("tr", cells)
    return scrolling_table(head, body, "All claims", stacked=True)
