"""What a page needs to be found, shared and run elsewhere.

The list under "The chapters" in `book/intro.md` says in a sentence or two
what each page is about. It is the one place for these descriptions: they
become the pages' `<meta name="description">` and what a link to the page
shows where it is shared (Open Graph), with the page's preview from
`book/_static/previews/`. On the first page the same list has the previews
beside it.

Where _config.yml names a repository, each notebook's page begins with links
to it, to Colab and to Binder; where not, it ends with a sentence on how to
run it.
"""

import re
from html import escape
from pathlib import Path

import yaml
from docutils import nodes

BOOK = Path(__file__).parents[1]
PREVIEWS = BOOK / "_static" / "previews"
PAGES = BOOK / "pages.yml"
FIRST = "book/intro"
LIST = "The chapters"
SIZE = (1200, 630)  # of a preview in pixels, which Open Graph asks for
SMALL = (320, 168)  # of the same beside the list, shown at half that size

ENTRY = re.compile(r"^- \[(.+?)\]\((\w+)\.(?:ipynb|md)\): (.+)$", re.M)
LINK = re.compile(r"\[(.+?)\]\(.+?\)")

REDIRECT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="Refresh" content="0; url={page}">
{tags}
</head>
<body><p><a href="{page}">{title}</a></p></body>
</html>
"""

TO_RUN = '<p class="run-it">{}</p>'


def descriptions():
    """What each page is about, by its name, in the order of the list."""
    text = (BOOK / "intro.md").read_text(encoding="utf-8")
    _, first_paragraph, *_ = text.split("\n\n")
    found = {FIRST: LINK.sub(r"\1", first_paragraph)}
    section = text.partition(f"\n## {LIST}\n")[2].partition("\n## ")[0]
    for _, name, description in ENTRY.findall(section):
        found[f"book/{name}"] = description
    return found


def preview_of(docname):
    """The name of a page's preview; pages without one have the book's."""
    name = docname.rpartition("/")[2]
    return name if (PREVIEWS / f"{name}.png").exists() else "intro"


def tags_of(config, docname, title):
    """The tags that say what a page is and how a link to it looks.

    Addresses in them must be whole: without `baseurl` in _config.yml there
    are none, and so no picture.
    """
    description = descriptions().get(docname, "")
    named = {
        "description": description,
        "author": config.author,
        "twitter:card": "summary",
    }
    properties = {
        "og:type": "website" if docname == FIRST else "article",
        "og:site_name": config.html_title,
        "og:title": title,
        "og:description": description,
    }
    if config.html_baseurl:
        root = config.html_baseurl.rstrip("/")
        name = preview_of(docname)
        named["twitter:card"] = "summary_large_image"
        properties["og:url"] = f"{root}/{docname}.html"
        properties["og:image"] = f"{root}/_static/previews/{name}.png"
        properties["og:image:width"], properties["og:image:height"] = SIZE
        properties["og:image:alt"] = f"A figure of the page: {title}"
    lines = []
    for kind, tags in (("name", named), ("property", properties)):
        for name, content in tags.items():
            if content:
                text = escape(str(content))
                lines.append(f'<meta {kind}="{name}" content="{text}">')
    return "\n".join(lines)


def add_tags(app, pagename, templatename, context, doctree):
    if doctree is None:
        return
    title = re.sub("<.*?>", "", context["title"])
    context["metatags"] += "\n" + tags_of(app.config, pagename, title) + "\n"


def write_redirect(app, exception):
    """The address of the book itself leads to the first page, and is shared
    as that page is."""
    if exception is None and app.builder.name == "html":
        text = REDIRECT.format(
            title=escape(app.config.html_title),
            page=f"{FIRST}.html",
            tags=tags_of(app.config, FIRST, app.config.html_title),
        )
        path = Path(app.outdir) / "index.html"
        path.write_text(text, encoding="utf-8", newline="\n")


def addresses(buttons):
    """The links in the theme's menus of buttons, by their text."""
    return {
        link["text"]: link["url"]
        for menu in buttons
        if menu["type"] == "group"
        for link in menu["buttons"]
        if link["type"] == "link"
    }


def add_links(app, pagename, templatename, context, doctree):
    """Say where a notebook can be run: the theme hides that in a menu."""
    path = f"{pagename}.ipynb"
    if not (BOOK.parent / path).exists():
        return
    repository = app.config.html_theme_options.get("repository_url")
    if not repository:
        context["body"] += TO_RUN.format(
            f"This page is the notebook <code>{path}</code>: "
            "<code>make lab</code> opens it in JupyterLab, where every cell "
            "can be changed and run."
        )
        return
    found = addresses(context["header_buttons"])
    found["the repository"] = repository
    colab, binder, source = (
        f'<a href="{escape(found[name])}">{name}</a>'
        for name in ("Colab", "Binder", "the repository")
    )
    line = TO_RUN.format(
        f"Run this page in {colab} or in {binder}, or see {source}."
    )
    context["body"] = context["body"].replace("</h1>", f"</h1>\n{line}", 1)


def list_of_chapters(document):
    """The list that `descriptions` reads."""
    for section in document.findall(nodes.section):
        if section[0].astext() == LIST:
            return next(section.findall(nodes.bullet_list))
    raise ValueError(f"book/intro.md has no section {LIST!r}")


def small_preview(name, is_photograph):
    """The HTML of a small preview, which says nothing that the text beside it
    does not say."""
    width, height = SMALL
    kind = "photo" if is_photograph else "drawn"
    return (
        f'<img src="../_static/previews/{name}-small.webp" alt="" '
        f'class="{kind}" loading="lazy" '
        f'width="{width // 2}" height="{height // 2}">'
    )


def lay_out_list(app, document):
    """Put each page's preview beside its description."""
    if app.env.docname != FIRST:
        return
    chapters = list_of_chapters(document)
    chapters["classes"].append("chapters")
    names = [name.rpartition("/")[2] for name in descriptions()][1:]
    pages = yaml.safe_load(PAGES.read_text(encoding="utf-8"))
    for item, name in zip(chapters, names, strict=True):
        link, text = item[0].children[0], item[0].children[1:]
        text[0] = nodes.Text(text[0].astext().removeprefix(": "))
        item.children = []
        if (PREVIEWS / f"{name}-small.webp").exists():
            preview = small_preview(name, "photograph" in pages[name])
            item += nodes.raw("", preview, format="html")
        item += nodes.paragraph("", "", link)
        item += nodes.paragraph("", "", *text)


def setup(app):
    app.connect("doctree-read", lay_out_list)
    app.connect("html-page-context", add_tags)
    # After the theme has made its buttons.
    app.connect("html-page-context", add_links, priority=900)
    # Before sphinx-external-toc writes a page of its own there.
    app.connect("build-finished", write_redirect, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
