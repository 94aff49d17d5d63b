"""The text of the chapters reads well as plain CommonMark with tables and formulas.

That is how JupyterLab, VS Code, Colab and GitHub show it, which know no roles and no directives.
"""

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from markdown_it import MarkdownIt
from pybtex.database import parse_file

from helpers import CHAPTERS, NOTEBOOKS, ROOT

BOOK = ROOT / "book"
WORKS = parse_file(str(BOOK / "references.bib")).entries
PARSER = MarkdownIt("commonmark").enable("table")

# What only MyST understands, in text that is no code: a role, a directive in colons, a
# substitution, a target, a comment, attributes.
ONLY_MYST = re.compile(r"\{[\w:.+-]+\}$|^:::|\{\{|^\([\w-]+\)=|^%|^\+\+\+|^\{[.#]", re.M)
# The list of works is made from references.bib, to which the page links.
DIRECTIVES = {"references": "{bibliography}"}


def sources(name):
    """The pieces of Markdown of a page: its cells, or the whole file."""
    if name in NOTEBOOKS:
        cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
        return [cell.source for cell in cells if cell.cell_type == "markdown"]
    return [(ROOT / f"{name}.md").read_text(encoding="utf-8")]


@pytest.fixture(params=CHAPTERS)
def name(request):
    return request.param


def links(source):
    """The links in a piece of Markdown: (text, address)."""
    found = []
    for block in PARSER.parse(source):
        opened = None
        for token in block.children or []:
            if token.type == "link_open":
                opened, text = unquote(token.attrs["href"]), ""
            elif token.type == "link_close":
                found.append((text, opened))
                opened = None
            elif opened is not None:
                text += token.content
    return found


def faults(source, directive=None):
    """What of a piece of Markdown is lost or not understood where only CommonMark is known."""
    found = [f"no text: {address}" for text, address in links(source) if not text.strip()]
    for block in PARSER.parse(source):
        if block.type == "fence" and block.info.startswith("{") and block.info != directive:
            found.append(f"directive: {block.info}")
        if block.type.startswith("html"):
            found.append(f"HTML: {block.content}")
        for token in block.children or []:
            if token.type == "text" and ONLY_MYST.search(token.content):
                found.append(f"only MyST: {token.content}")
            if token.type == "html_inline":
                found.append(f"HTML: {token.content}")
    return found


def test_every_page_reads_well_as_plain_markdown(name):
    directive = DIRECTIVES.get(Path(name).name)
    assert [fault for source in sources(name) for fault in faults(source, directive)] == []


@pytest.mark.parametrize(
    "source",
    [
        "[](lrn.ipynb) has more.",
        "It crosses {cite}`chm2025`.",
        "as {cite:t}`chm2025` say",
        ":::{admonition} What the paper says\n:class: note\nMuch.\n:::",
        "```{exercise}\n:label: ex-one\nHow many?\n```",
        "(pc-224)=\n## 224 pixels",
        "% a comment",
        "It is {{ number }}.",
        '<a id="here"></a>',
        "Text <b>in</b> HTML",
    ],
)
def test_what_only_the_pages_understand_is_found(source):
    assert faults(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "`{role}` in code",
        "```sh\n{a,b}\n```",
        "$\\sum_{i}^{n}$ and $x_{c}$ of `conv1`",
        "[$x$](a.md)",
        "| a | b |\n|---|---|\n| 50 % | {1, 2} |",
    ],
)
def test_plain_markdown_is_let_through(source):
    assert faults(source) == []


def heading_anchors(name):
    """The anchors of a page's headings, as JupyterLab names them."""
    anchors = set()
    for source in sources(name):
        tokens = PARSER.parse(source)
        for heading, content in pairwise(tokens):
            if heading.type == "heading_open":
                anchors.add(content.content.replace("`", "").replace(" ", "-"))
    return anchors


def test_every_link_leads_somewhere(name):
    """By itself, in the notebooks; tests/test_book.py looks at the links of the pages."""
    lost = []
    for source in sources(name):
        for text, address in links(source):
            path, _, anchor = address.partition("#")
            if address.startswith("https://"):
                continue
            if path == "references.md":
                known = not anchor or anchor in WORKS
            elif path == "intro.md" and anchor.startswith("net="):
                known = True  # a state of the net: tests/bookkit/test_first_page_robust.py
            elif path:
                known = (BOOK / path).is_file() and not anchor
            else:
                known = anchor in heading_anchors(name)
            if not known:
                lost.append((text, address))
    assert lost == []


def who_and_when(work):
    """A work as the text names it: Krizhevsky et al., 2012."""
    names = []
    for author in work.persons["author"]:
        name = " ".join([*author.prelast_names, *author.last_names])
        names.append(name.strip("{}"))
    if names[-1] == "others":
        who = f"{names[0]} and others"
    elif len(names) > 2:
        who = f"{names[0]} et al."
    else:
        who = " and ".join(names)
    return f"{who}, {work.fields['year']}"


def citations(name):
    """The keys of the works that a page names, each with the text of the link."""
    for source in sources(name):
        for text, address in links(source):
            if address.startswith("references.md#"):
                yield address.partition("#")[2], text


def test_every_citation_names_who_and_when(name):
    wrong = []
    for key, text in citations(name):
        if text != who_and_when(WORKS[key]):
            wrong.append((key, text))
    assert wrong == []


def test_every_reference_is_cited():
    cited = {key for name in CHAPTERS for key, _ in citations(name)}
    for path in (ROOT / "alexnet" / "bookkit" / "page").glob("*.js"):  # of the first page
        cited |= set(re.findall(r'makeCitation\("(\w+)"', path.read_text(encoding="utf-8")))
    assert set(WORKS) - cited == set()


def bold_beginnings(source):
    """The bold text at the beginning of each paragraph that has one."""
    tokens = PARSER.parse(source)
    for token in tokens:
        # The parser puts an empty text before a tag.
        kinds = [child for child in token.children or [] if child.type != "text" or child.content]
        if len(kinds) > 1 and kinds[0].type == "strong_open":
            yield kinds[1].content


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name != "book/claims"])
def test_every_exercise_is_numbered_and_has_its_solution(name):
    text = "\n\n".join(sources(name))
    exercises = text.partition("\n## Exercises\n")[2]
    found = list(bold_beginnings(exercises))
    expected = []
    for number in range(1, len(found) // 2 + 1):
        expected += [f"Exercise {number}.", "Solution."]
    assert found == expected and len(found) >= 6


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name != "book/claims"])
def test_every_chapter_has_what_the_paper_says(name):
    """In a quotation, which is a frame everywhere, with who and when in its bold first line."""
    text = "\n\n".join(sources(name))
    [quotation] = re.findall(r"^> \*\*((?!More: ).+)\*\*(.*)\n>\n> ", text, re.M)
    if name == "book/paper_and_code":
        assert quotation == ("What is compared", "")
    else:
        paper = who_and_when(WORKS["krizhevsky2012"])
        assert quotation == (
            "What the paper says",
            f" ([{paper}](references.md#krizhevsky2012))",
        )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_caption_of_a_figure_is_read_without_the_pages_too(name):
    """The pages take it from the metadata; elsewhere a cell says it, which the pages leave out."""
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    expected, hidden = [], []
    for cell, following in zip(cells, [*cells[1:], None]):
        if cell.cell_type == "markdown" and "remove-cell" in cell.metadata.get("tags", []):
            hidden.append(cell.source)
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure:
            caption = f"*{figure['caption']}*"
            assert following and following.source == caption
            expected.append(caption)
    assert hidden == expected


def test_the_glossary_is_sorted_and_every_word_is_linked_to_a_chapter():
    [source] = sources("book/glossary")
    words = re.findall(r"^\*\*(.+?):\*\* (.+)$", source, re.M)
    assert len(words) > 40
    link = re.compile(r"\[[^]]+\]\(\w+\.ipynb\)$")
    assert [word for word, text in words if not link.search(text)] == []
    assert words == sorted(words, key=lambda entry: entry[0].casefold())
