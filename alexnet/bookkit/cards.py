"""Claims of the paper as HTML: a card for each, and the page that has them all."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
# As the claims are listed: who looks through them looks for these
_FAILED_FIRST = sorted(VERDICTS, key=lambda verdict: verdict != "does not hold")
_EVIDENCE = ("counted", "on the paper's data", "on other data", "")  # see Claim.evidence
_REASON = (
    "color: var(--pst-color-text-base); display: inline-block; font-style: normal; font-weight: 600"
)
_CHOSEN = "font-weight: 700; text-decoration: none;"
_INTERVAL = re.compile(r" \([^()]* to [^()]*\)|, by the seeds alone")
_NOT_COMPARABLE = (
    "How large the effect is cannot be compared: the photographs or the net are not the paper's, "
    "or the paper gives no figure."
)
RULE = "measuring.html#how-a-claim-is-judged"


def css_class(verdict: str) -> str:
    """The class of a verdict, such as ``is-does-not-hold``."""
    return f"is-{verdict.replace(' ', '-')}"


def card(row: "Claim") -> str:
    """Write the card of a claim: the verdict, a sentence or two, and folded what is behind them."""
    name = element("span", row.name, **{"class": "claim-name"})
    doubt = f": {escape(_doubt(row))}" if _doubt(row) else ""
    head = element("p", name + _sign(row) + _verdict(row) + doubt, **{"class": "claim-verdict"})
    return _block(row, head + _said(row) + _behind(row))


def _line(row: "Claim") -> str:
    """Write a claim in short, with the paper's figure and the book's; it opens to the card.

    What was measured has one figure, the one that the verdict rests on, and the reason why it
    cannot be told. Intervals, logs and other data are in the card.
    """
    figures = [] if row.paper == "–" else [f"paper: {row.paper}"]
    reason, outcome = "", row.decisive
    if outcome:
        figures.append(f"here: {_with_minus(_INTERVAL.sub('', outcome.found.ours))}")
        if _doubt(row):
            why = escape(f"{SIGNS[outcome.verdict]} {_doubt(row)}")
            reason = element("span", element("em", why, style=_REASON))
    elif row.ours:
        figures.append(f"here: {row.ours}")
    elif row.logs.strip("–"):
        figures.append(f"logs of 2012: {row.logs}")
    words = element("strong", escape(row.claim[0].upper() + row.claim[1:]))
    words += element("span", escape(" · ".join(figures))) + reason
    name = element("span", row.name, **{"class": "claim-name"})
    summary = element("summary", name + _sign(row) + element("span", words))
    where = element("a", "Where it is judged", href=f"{row.page}.html#claim-{row.name}")
    opened = element("p", _verdict(row) + ". " + where) + _said(row) + _behind(row)
    return _block(row, element("details", summary + opened, **{"class": "entry"}))


def _with_minus(figure: str) -> str:
    return re.sub(r"(?<!\w)-", "−", figure)  # not in "top-1"


def _block(row: "Claim", body: str) -> str:
    classes = f"claim {css_class(row.verdict)} in-{row.page}"
    return element("div", body, id=f"claim-{row.name}", **{"class": classes})


def _sign(row: "Claim") -> str:
    return element("span", SIGNS[row.verdict], aria_hidden="true", **{"class": "claim-sign"})


def _verdict(row: "Claim") -> str:
    return element("strong", row.verdict.capitalize()) + row.size_text


def _doubt(row: "Claim") -> str:
    """Why the runs cannot tell, in a few words, or nothing."""
    outcome = row.decisive
    if outcome is None or outcome.why == row.verdict:
        return ""
    return ("clear, but " if outcome.is_clear else "") + outcome.why


def _agrees(row: "Claim") -> bool:
    """Whether Tiny ImageNet has the same verdict; elsewhere another question was asked there."""
    return bool(row.tiny_imagenet) and row.tiny_imagenet.verdict == row.verdict


def _said(row: "Claim") -> str:
    """Write what the paper says, and what came out: first on the photographs that decide."""
    said, tiny = row.found, row.found_tiny
    if not _agrees(row):
        return element("p", escape(said))
    if row.tiny_imagenet_decides:
        paper, _, other = said.partition(". ")
        said, tiny = f"{paper}. {tiny}", other
    return element("p", escape(said)) + element("p", escape(tiny))


def _behind(row: "Claim") -> str:
    """What stands behind a verdict, folded."""
    where = f"section {row.section}" if row.section[0].isdigit() else row.section
    facts = [f"Claim {row.name} ({where}): {row.claim}."]
    facts += [row.reasons] if row.reasons else []
    facts += [row.found_tiny] if row.tiny_imagenet and not _agrees(row) else []
    facts += [row.measured.terms] if row.measured else []
    facts += [_NOT_COMPARABLE] if row.size == "not comparable" else []
    items = "".join(element("li", escape(fact)) for fact in facts)
    items += element("li", element("a", "The rule by which all claims are judged", href=RULE))
    return element(
        "details", element("summary", f"Why, in detail ({row.name})") + f"<ul>{items}</ul>"
    )


def tally(rows: Iterable["Claim"]) -> str:
    """Draw the claims as boxes in rows, one for each verdict.

    In each row they are grouped by the evidence, and counted. A box leads to its claim, and a
    verdict to those that have it (see :func:`cards`).
    """
    rows = list(rows)
    groups = ""
    for verdict in VERDICTS:
        boxes = {evidence: [] for evidence in _EVIDENCE}
        members = [row for row in rows if row.verdict == verdict]
        for row in members:
            name = element("small", row.name) + " " + escape(row.label)
            link = element("a", name, href=f"#claim-{row.name}", title=row.claim)
            box = element("li", link, **{"class": css_class(verdict)})
            boxes[row.evidence].append(box)
        kinds = ""
        for evidence in filter(boxes.get, boxes):
            found = boxes[evidence]
            words = element("span", escape(f"{len(found)} {evidence}")) if evidence else ""
            kinds += element("div", words + element("ul", "".join(found)))
        sign = element("span", SIGNS[verdict], aria_hidden="true")
        text = f"{sign} {len(members)} {_of_many(verdict, len(members))}"
        heading = element("p", element("a", text, href=f"#{css_class(verdict)}"))
        kinds = element("div", kinds, **{"class": "claim-kinds"})
        groups += element("div", heading + kinds, **{"class": "claim-group"})
    picture = element("div", groups, **{"class": "claim-tally"})
    caption = (
        "What the verdicts rest on: a count, or training runs, on the data set of which the claim "
        "speaks or on another one. A box opens its line below, and a verdict shows all lines "
        "that have it."
    )
    return f'<figure style="margin:1em 0">{picture}{element("figcaption", caption)}</figure>'


def guesses() -> str:
    """Write two empty places, where guesses.js counts the reader's guesses and lists them."""
    place = element("p", "", **{"class": "guess-tally"})
    return place + element("div", "", **{"class": "guess-marks"})


def _of_many(verdict: str, number: int) -> str:
    """A verdict as the predicate of a number of claims."""
    said = verdict.replace("cannot tell", "cannot be told")
    if number == 1:
        return said
    return said.replace("does not hold", "do not hold").replace("holds", "hold")


def _numbers(verdict: str, members: Sequence["Claim"]) -> str:
    """How many claims have a verdict; and hidden the same for each chapter that has some."""
    text = f"{len(members)} {_of_many(verdict, len(members))}"
    shown = element("span", text, **{"class": "of-all"})
    for chapter, number in Counter(row.page for row in members).items():
        text = f"{number} {_of_many(verdict, number)}"
        shown += element("span", text, style="display: none", **{"class": f"of-{chapter}"})
    return shown


def _first_choice() -> list[str]:
    """The rules for a page on which nobody has chosen a verdict."""
    failing = css_class("does not hold")
    nothing = "body:not(:has(#all-cards:target, .claim-set:target, .claim:target))"
    nothing += ' .claim-cards:has(option[value="all"]:checked)'
    of_all = 'a[href="#all-cards"]'
    a_chapter = '.claim-cards:not(:has(option[value="all"]:checked))'
    return [
        f"{nothing} .claim-set:not(#{failing}) {{ display: none; }}",
        f'{nothing} a[href="#{failing}"] {{ {_CHOSEN} }}',
        f"body:has(#all-cards:target, .claim:target) .claim-choice {of_all} {{ {_CHOSEN} }}",
        f"body:not(:has(.claim-set:target)) {a_chapter} {of_all} {{ {_CHOSEN} }}",
    ]


def cards(rows: Iterable["Claim"], chapters: Mapping[str, str]) -> str:
    """Write all claims as lines that open, by verdict, with a choice by verdict and by chapter.

    At first only those that do not hold are shown. The choice needs no script. The verdict stands
    in the address, such as ``#is-holds``: a link chooses it from anywhere. A link to one claim
    undoes the choice, that of a chapter by fold.js.

    Args:
        rows: the claims.
        chapters: titles of all pages that judge claims by their names, in the order of the book.
    """
    rows = list(rows)
    links, rules, sets = element("a", "all", href="#all-cards"), [], ""
    for verdict in _FAILED_FIRST:
        name = css_class(verdict)
        members = [row for row in rows if row.verdict == verdict]
        heading = element("p", _numbers(verdict, members), **{"class": "claim-heading"})
        lines = "".join(map(_line, members))
        sets += element("div", heading + lines, id=name, **{"class": "claim-set"})
        links += element("a", f"{SIGNS[verdict]} {_of_many(verdict, 2)}", href=f"#{name}")
        is_chosen = f"body:has(#{name}:target)"
        rules.append(f"{is_chosen} .claim-set:not(#{name}) {{ display: none; }}")
        rules.append(f'{is_chosen} .claim-choice a[href="#{name}"] {{ {_CHOSEN} }}')
    rules += _first_choice()
    options = element("option", "all chapters", value="all")
    for chapter, title in chapters.items():
        options += element("option", title, value=f"in-{chapter}")
        is_chosen = f'.claim-cards:has(option[value="in-{chapter}"]:checked)'
        # But for the claim that a link leads to
        rules.append(f"{is_chosen} .claim:not(.in-{chapter}, :target) {{ display: none; }}")
        rules.append(
            f"{is_chosen} .claim-set:not(:has(.in-{chapter}, .claim:target)) {{ display: none; }}"
        )
        of_both = f"{is_chosen} .claim-set:has(.in-{chapter})"
        rules.append(f"{of_both} .of-all {{ display: none; }}")
        rules.append(f"{of_both} .of-{chapter} {{ display: inline !important; }}")
        found = {row.verdict for row in rows if row.page == chapter}
        for verdict in VERDICTS:
            if verdict not in found:
                rules.append(
                    f"body:has(#{css_class(verdict)}:target) {is_chosen} .claim-none "
                    "{ display: block; }"
                )
    # On paper all claims are shown, whatever is chosen on the screen
    style = element("style", "@media screen {\n" + "\n".join(rules) + "\n}")
    select = element("label", "in " + element("select", options, aria_label="chapter"))
    choice = element("p", "Show: " + links + select, **{"class": "claim-choice"})
    none = element("p", "No claim of this chapter has this verdict.", **{"class": "claim-none"})
    top = element("span", "", id="all-cards")
    return element("div", style + top + choice + none + sets, **{"class": "claim-cards"})


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
        notes = " ".join(filter(None, [row.reasons, row.measured and row.measured.terms]))
        texts = (
            row.claim,
            row.paper,
            row.logs or "–",
            _with_minus(f"{tiny.ours}, {tiny.verdict}") if tiny else "–",
            _with_minus(row.ours or "–"),
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
