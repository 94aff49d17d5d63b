"""Print the built book as one PDF, without a kernel and without LaTeX.

`make pdf` builds the pages and calls this. The articles of all pages are put
into one page, with a title page and a table of contents, which Chromium
prints. On paper nothing moves and nothing is folded: of an explorer its first
picture is left, folded code is left out, and the solutions stand together at
the end, each linked to its exercise and back.

Usage: ``python book/make_pdf.py _build/html running-alexnet.pdf``
"""

import logging
import re
import shutil
import sys
from base64 import b64encode
from itertools import chain
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import NameObject, PdfObject, TextStringObject

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The exercises are in the chapters.
LEFT_OUT = ("book/exercises",)
# What is for the screen only, and code that the reader would have to unfold.
FOR_THE_SCREEN = (
    "a.headerlink, script, form, button, details.hide.above-input, .run-it"
)
# What scripts draw: it is photographed.
NET = "figure.net"
PRINTED = "running-alexnet.html"

PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
{head}
<link rel="stylesheet" href="_static/pdf.css">
</head>
<body>
<main class="bd-main"><div class="bd-content">
<div class="bd-article-container"><article class="bd-article">
{content}
</article></div></div></main>
</body>
</html>
"""

TITLE_PAGE = """<header class="pdf-title">
<p class="pdf-name">{title}</p>
<p class="pdf-about">{about}</p>
<p>By {authors}, {year}</p>
<p class="pdf-licence">Text and figures: CC BY 4.0. Code: BSD 3-clause
licence. Photographs: as their credits say. The figures that move are printed
as they begin; on the pages of the book they can be moved.</p>
</header>
"""


def read(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def page_names() -> list[str]:
    """The pages to print, as `book/relu`, in their order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"], *(entry["file"] for entry in toc["chapters"])]
    return [name for name in names if name not in LEFT_OUT]


def anchor(name: str, fragment: str = "") -> str:
    """What an anchor of a page is called where all pages are one."""
    page = name.rpartition("/")[2]
    return f"{page}--{fragment}" if fragment else page


class Book:
    """The articles of all pages, made to be one page in ``html``."""

    def __init__(self, html: Path, net: str) -> None:
        self.names = page_names()
        self.pages = {
            name: read(html / f"{name}.html") for name in self.names
        }
        self.solutions: dict[str, list[Tag]] = {}
        self.articles = {name: self.article(name) for name in self.names}
        whole = [*self.articles.values(), *chain(*self.solutions.values())]
        self.ids = {
            tag["id"] for part in whole for tag in part.select("[id]")
        }
        self.ids.update(part["id"] for part in whole)
        for name in self.names:
            self.link_within(name)
        self.show_net(net)
        self.head = self.styles()
        # Everything after the table of contents, each with its title.
        self.parts = [(self.title(n), self.articles[n]) for n in self.names]
        self.parts.append(("Solutions", self.last_part()))

    def article(self, name: str) -> Tag:
        """A page's article, less what is for the screen and the solutions."""
        article = self.pages[name].select_one("article.bd-article")
        for tag in article.select(FOR_THE_SCREEN):
            tag.decompose()
        for image in article.select("img[loading]"):
            del image["loading"]  # or it is not there when Chromium prints
        for folded in article.select("details"):
            folded["open"] = ""
        for tag in article.select("[id]:not(svg [id])"):
            tag["id"] = anchor(name, tag["id"])
        article["id"] = anchor(name)
        article.name, article["class"] = "section", "pdf-page"
        self.take_solutions(name, article)
        return article

    def take_solutions(self, name: str, article: Tag) -> None:
        """Move the solutions to the end, with a link from each exercise."""
        self.solutions[name] = article.select(".solution")
        for solution in self.solutions[name]:
            exercise = solution.select_one(".admonition-title a")["href"][1:]
            solution["id"] = anchor(name, f"solution-to-{exercise}")
            box = article.find(id=anchor(name, exercise))
            link = self.new_tag("a", href=f"#solution-to-{exercise}")
            link.string = "Solution"
            box.select_one(".admonition-title").extend([" · ", link])
            solution.extract()

    def show_net(self, address: str) -> None:
        """Put a picture of the net into the place of its controls."""
        figure = self.articles[self.names[0]].select_one(NET)
        if figure is not None:
            figure.clear()
            figure["class"] = []
            alternative = "The net on the first page of the book"
            figure.append(self.new_tag("img", src=address, alt=alternative))

    def new_tag(self, name: str, **attributes: str) -> Tag:
        return self.pages[self.names[0]].new_tag(name, **attributes)

    def link_within(self, name: str) -> None:
        """Let a page's links lead to the other pages' places in this one."""
        for part in (self.articles[name], *self.solutions[name]):
            for tag in part.select("[src]:not([src^='data:'])"):
                tag["src"] = urljoin(f"{name}.html", tag["src"])
            for style in part.select("link[rel=stylesheet]"):
                style["href"] = urljoin(f"{name}.html", style["href"])
            for tag in part.select("a[href]"):
                self.link(name, tag)

    def link(self, name: str, tag: Tag) -> None:
        address = urlsplit(tag["href"])
        if address.scheme or address.netloc:
            return
        path = urljoin(f"{name}.html", address.path) if address.path else name
        target = path.removesuffix(".html")
        if target not in self.articles:
            del tag["href"]  # a file, or a page that is left out
            return
        found = anchor(target, address.fragment)
        tag["href"] = f"#{found if found in self.ids else anchor(target)}"

    def title(self, name: str) -> str:
        return self.articles[name].find("h1").get_text()

    def last_part(self) -> Tag:
        """The solutions of all chapters."""
        end = self.new_tag("section", id="solutions")
        end["class"] = "pdf-page"
        end.append(self.heading("h1", "Solutions"))
        for name in filter(self.solutions.get, self.names):
            end.append(self.heading("h2", self.title(name)))
            end.extend(self.solutions[name])
        return end

    def heading(self, level: str, text: str) -> Tag:
        heading = self.new_tag(level)
        heading.string = text
        return heading

    def styles(self) -> str:
        """The styles of the pages, and what typesets their formulas."""
        found = {}
        for name in self.names:
            for tag in self.pages[name].head.select(
                "link[rel=stylesheet], script[src*=mathjax]"
            ):
                key = "href" if tag.name == "link" else "src"
                tag[key] = urljoin(f"{name}.html", tag[key])
                found[tag[key]] = str(tag)
        options = self.pages[self.names[0]].find(
            "script", string=re.compile("window.MathJax")
        )
        return "\n".join([str(options), *found.values()])


def contents(book: Book, numbers: dict[str, int]) -> str:
    """The table of contents; a page whose number is not known has none."""
    rows = [
        f'<li><a href="#{part["id"]}"><span>{title}</span>'
        f"<span>{numbers.get(part['id'], '')}</span></a></li>"
        for title, part in book.parts
    ]
    return (
        '<section class="pdf-page pdf-contents" id="contents">'
        f"<h1>Contents</h1><ol>{''.join(rows)}</ol></section>"
    )


def whole_page(book: Book, numbers: dict[str, int]) -> str:
    """The HTML of the whole book."""
    first = book.pages[book.names[0]]
    citation = yaml.safe_load(
        (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    )["preferred-citation"]
    title_page = TITLE_PAGE.format(
        title=citation["title"],
        about=first.select_one("meta[name=description]")["content"],
        authors=first.select_one("meta[name=author]")["content"],
        year=citation["year"],
    )
    parts = "\n".join(str(part) for _, part in book.parts)
    return PAGE.format(
        title=citation["title"],
        head=book.head,
        content=title_page + contents(book, numbers) + parts,
    )


def first_picture(browser: Browser, html: Path) -> str:
    """The net on the first page as scripts draw it, as the address of an
    image."""
    page = browser.new_page(device_scale_factor=2, reduced_motion="reduce")
    page.goto((html / f"{page_names()[0]}.html").resolve().as_uri())
    page.wait_for_load_state("load")
    content = page.locator(NET).screenshot(animations="disabled", type="jpeg")
    page.close()
    return f"data:image/jpeg;base64,{b64encode(content).decode()}"


def print_page(browser: Browser, path: Path, output: Path) -> None:
    page = browser.new_page()
    page.goto(path.resolve().as_uri(), timeout=120_000)
    page.wait_for_function(
        "() => window.MathJax?.startup?.promise?.then(() => true)",
        timeout=120_000,
    )
    page.pdf(
        path=output,
        prefer_css_page_size=True,
        print_background=True,
        outline=True,
        tagged=True,
    )
    page.close()


def page_numbers(path: Path) -> dict[str, int]:
    """On which page of the PDF each anchor is that a link leads to."""
    reader = PdfReader(path)
    return {
        name.removeprefix("/"): reader.get_destination_page_number(place) + 1
        for name, place in reader.named_destinations.items()
    }


def mend(path: Path, headings: list[str], author: str) -> None:
    """Give the bookmarks the texts of the headings, and name the author.

    Chromium takes the heading at the top of a page twice, and one that goes
    on in a second line without the space.
    """
    # It warns of a number in Chromium's files that does no harm.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    writer = PdfWriter(clone_from=path)
    titles = iter(headings)

    def name_all(bookmark: PdfObject | None) -> None:
        while bookmark is not None:
            bookmark = bookmark.get_object()
            title = TextStringObject(next(titles))
            bookmark[NameObject("/Title")] = title
            name_all(bookmark.get("/First"))
            bookmark = bookmark.get("/Next")

    name_all(writer.root_object["/Outlines"]["/First"])
    writer.add_metadata({"/Author": author})
    writer.write(path)


def make_pdf(browser: Browser, html: Path, output: Path) -> None:
    """Print twice: the first time says on which pages the chapters begin."""
    page = html / PRINTED
    book = Book(html, first_picture(browser, html))
    numbers = {}
    for _ in range(2):
        whole = whole_page(book, numbers)
        page.write_text(whole, encoding="utf-8")
        print_page(browser, page, output)
        numbers = page_numbers(output)
    page.unlink()
    found = BeautifulSoup(whole, "html.parser").select("h1, h2, h3, h4")
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    author = yaml.safe_load(config)["author"]
    mend(output, [heading.get_text() for heading in found], author)


def main(html: Path, output: Path) -> None:
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        sys.exit("a PDF needs Chromium: on Debian, apt install chromium")
    with sync_playwright() as playwright:
        options = {"executable_path": chromium, "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        make_pdf(browser, html, output)
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
