"""Tables of Markdown with many columns, which a phone shows row by row.

Each cell is told the heading of its column, and `book.css` does the rest.
"""

import re

from bs4 import BeautifulSoup

TABLE = re.compile(r'<table class="table">.*?</table>', re.S)
COLUMNS = 4  # as many as a phone has no room for


def name_cells(found):
    table = BeautifulSoup(found[0], "html.parser").table
    headings = [head.get_text() for head in table.select("thead th")]
    if len(headings) < COLUMNS:
        return found[0]
    table["class"].append("stacked")
    for row in table.select("tbody tr"):
        first, *cells = row.select("td")
        first["class"] = "row-name"
        for cell, heading in zip(cells, headings[1:]):
            cell["data-name"] = heading
    return str(table)


def name_all_cells(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = TABLE.sub(name_cells, context["body"])


def setup(app):
    app.connect("html-page-context", name_all_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
