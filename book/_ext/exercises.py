"""All exercises without their solutions on one page, for teachers.

`book/exercises.md` has the page's first words. What follows is copied from
the chapters while the pages are written, so that it is always what they say.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

PAGE = "book/exercises"


def exercises_of(document):
    """The boxes that plain_markdown made of a chapter's exercises."""
    return [
        box
        for box in document.findall(nodes.admonition)
        if "exercise" in box["classes"]
    ]


def lead_to_chapter(box, docname):
    """Let links within a chapter lead there from another page."""
    box["ids"] = [f"{docname.rpartition('/')[2]}-{box['ids'][0]}"]
    for link in box.findall(nodes.reference):
        if "refid" in link:
            link["refuri"] = f"{docname.rpartition('/')[2]}.html"
            link["refuri"] += f"#{link['refid']}"
            del link["refid"]


def section_of(env, docname):
    """A chapter's exercises under its title; None if it has none."""
    boxes = exercises_of(env.get_doctree(docname))
    if not boxes:
        return None
    title = env.titles[docname].astext()
    link = addnodes.pending_xref(
        "",
        nodes.inline("", title),
        refdoc=PAGE,
        refdomain="std",
        reftype="doc",
        refexplicit=True,
        reftarget=f"/{docname}",
    )
    name = docname.rpartition("/")[2]
    section = nodes.section("", nodes.title("", "", link), ids=[name])
    for box in boxes:
        lead_to_chapter(box, docname)
        section += box
    return section


class CopyExercises(SphinxPostTransform):
    """Fill the page, before the links on it are resolved."""

    default_priority = 1

    def run(self, **kwargs):
        if self.env.docname != PAGE:
            return
        page = next(self.document.findall(nodes.section))
        for docname in self.env.toctree_includes[self.config.root_doc]:
            section = section_of(self.env, docname)
            if section is not None:
                page += section
        # Sphinx notes it when it reads a page, and loads MathJax only there.
        if next(self.document.findall(nodes.math), None):
            math = self.env.get_domain("math")
            math.data["has_equations"][PAGE] = True


def always_write(app, env, added, changed, removed):
    """The page is made from others, which may have changed."""
    return [PAGE] if PAGE in env.found_docs else []


def keep_out_of_search(app, document):
    """The search shall lead to the chapters."""
    if app.env.docname == PAGE:
        app.env.metadata[PAGE]["nosearch"] = True


def setup(app):
    app.add_post_transform(CopyExercises)
    app.connect("env-get-outdated", always_write)
    app.connect("doctree-read", keep_out_of_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
