"""Frames, folds and anchors on the pages for what chapters say in plain text.

The chapters are plain Markdown, without directives and roles, so that they
read well in JupyterLab, VS Code, Colab and on GitHub too. What the pages have
besides is made here:

- a quotation that begins with a bold line becomes a box with that title, and
  one whose bold line begins with "More:" folds to it;
- in the section "Exercises" a paragraph that begins with "Exercise 1." in
  bold becomes a box, and one that begins with "Solution." a folded one, with
  all that follows it up to the next exercise;
- below a heading "A closer look" each section that has none below it folds to
  its heading;
- links to ``references.md#key`` lead to the work with that key in
  ``references.bib``;
- links to ``#A-heading`` lead to a heading as JupyterLab names it;
- links to ``intro.md#net=...`` lead to a state of the net on the first page.
"""

from docutils import nodes
from sphinx import addnodes

REFERENCES = "book/references"
FIRST_PAGE = "book/intro"
MORE = "More:"


def heading_slug(title):
    """The anchor of a heading in JupyterLab and in HTML by nbconvert."""
    return title.replace(" ", "-")


def split_bold(node):
    """A paragraph's text in bold at its beginning, and what follows it.

    Both are lists of nodes; the first is empty if it does not begin in bold.
    """
    if not isinstance(node, nodes.paragraph):
        return [], []
    content = [child for child in node.children if child.astext()]
    if not content or not isinstance(content[0], nodes.strong):
        return [], content
    return content[0].children, content[1:]


def make_box(title, classes, *content):
    heading = nodes.title("", "", *title)
    return nodes.admonition("", heading, *content, classes=classes)


def make_fold(title, content):
    """Folded to its title; fold.js opens it for a link and on paper."""
    return [
        raw_html('<details class="entry"><summary>'),
        *title,
        raw_html("</summary>"),
        *content,
        raw_html("</details>"),
    ]


def frame_quotations(document):
    for quotation in list(document.findall(nodes.block_quote)):
        bold, rest = split_bold(quotation[0])
        text = "".join(part.astext() for part in bold)
        title = text.removeprefix(MORE).strip().removesuffix(".")
        if text.startswith(MORE):
            fold = make_fold(
                [nodes.inline("", title[0].upper() + title[1:])],
                quotation.children[1:],
            )
            more = nodes.container("", *fold, classes=["more"])
            quotation.replace_self(more)
        elif bold:
            box = make_box([*bold, *rest], ["note"], *quotation.children[1:])
            quotation.replace_self(box)


def frame_exercises(document):
    for section in document.findall(nodes.section):
        if section[0].astext() == "Exercises":
            section[1:] = boxes_of_exercises(section.children[1:])


def boxes_of_exercises(content):
    """Exercises and their solutions, each with all that belongs to it."""
    boxes = []
    for node in content:
        bold, rest = split_bold(node)
        title = "".join(part.astext() for part in bold).removesuffix(".")
        if title.startswith("Exercise "):
            exercise = make_box([nodes.Text(title)], ["exercise"])
            exercise["ids"].append(heading_slug(title).lower())
            boxes.append(exercise)
        elif title == "Solution":
            link = nodes.reference("", exercise[0].astext(), internal=True)
            link["refid"] = exercise["ids"][0]
            heading = [nodes.Text("Solution to "), link]
            boxes.append(make_box(heading, ["solution", "dropdown"]))
        else:
            boxes[-1].append(node)
            continue
        if rest:
            boxes[-1].append(nodes.paragraph("", "", *rest))
    return boxes


def fold_entries(document):
    """Fold the sections below "A closer look" that have none below them."""
    for section in document.findall(nodes.section):
        if section[0].astext() != "A closer look":
            continue
        for entry in list(section.findall(nodes.section)):
            title, *content = entry.children
            has_parts = any(
                isinstance(part, nodes.section) for part in content
            )
            if entry is not section and not has_parts:
                entry[:] = make_fold([title], content)


def raw_html(markup):
    return nodes.raw("", markup, format="html")


def link_states(document):
    """Make links to a state of the net: MyST would look for an anchor."""
    for link in list(document.findall(addnodes.pending_xref)):
        state = link.get("reftargetid") or ""
        if link.get("reftarget") == FIRST_PAGE and state.startswith("net="):
            # All pages lie in one folder
            address = f"{FIRST_PAGE.rpartition('/')[2]}.html#{state}"
            text = link[0].children
            reference = nodes.reference("", "", *text, refuri=address)
            link.replace_self(reference)


def frame(app, document):
    link_states(document)
    frame_quotations(document)
    frame_exercises(document)
    fold_entries(document)


def name_works(app, env):
    """Tell MyST the anchors of the works, which it takes from headings."""
    anchors = env.metadata[REFERENCES].setdefault("myst_slugs", {})
    for work in env.get_domain("cite").citations:
        anchors[work.key] = (0, work.citation_id, work.formatted_entry.label)


def setup(app):
    app.connect("doctree-read", frame)
    # After the bibliography, at the same event, has found its works.
    app.connect("env-updated", name_works, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
