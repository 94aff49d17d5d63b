"""Numbers for the figures that bring their own HTML: explorers, races, walks.

The output of a cell may be a `<figure>` with a `<figcaption>`. On the pages
it is counted with all other figures of the book, in one series, and its
caption begins with its number, so that a text, a teacher or a reader can
name it. The printed book takes the numbers from the pages.

The net on the first page has no number: it is called by its name.
"""

import re

from docutils import nodes

CAPTION = re.compile("<figcaption>(.*?)</figcaption>", re.S)
FIGURE = re.compile(r"<figure (?=[^>]*>)")
FIRST_PAGE = "book/intro"


class live_figure(nodes.raw):
    """A figure in HTML, with a number."""


def caption_of(node):
    """The caption of a figure in HTML, or None."""
    found = CAPTION.search(node.rawsource)
    return found and re.sub("<.*?>", "", found[1])


def count_figures(app, document):
    """Let Sphinx number the figures that are pieces of HTML."""
    if app.env.docname == FIRST_PAGE:
        return
    pieces = [
        node
        for node in document.findall(nodes.raw)
        if FIGURE.search(node.astext()) and CAPTION.search(node.astext())
    ]
    for number, node in enumerate(pieces, 1):
        html = node.astext()
        figure = live_figure(html, html, format="html")
        figure["ids"].append(f"live-figure-{number}")
        node.replace_self(figure)


def visit_figure(translator, node):
    """Write the HTML, with the number as other captions have it."""
    written = len(translator.body)
    translator.add_fignumber(node)
    number = "".join(translator.body[written:])
    del translator.body[written:]
    html = FIGURE.sub(f'<figure id="{node["ids"][0]}" ', node.astext(), 1)
    html = html.replace("<figcaption>", f"<figcaption>{number}", 1)
    translator.body.append(html)
    raise nodes.SkipNode


def setup(app):
    app.add_enumerable_node(
        live_figure, "figure", caption_of, html=(visit_figure, None)
    )
    # After live_parts, which puts other HTML into its place
    app.connect("doctree-read", count_figures, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
