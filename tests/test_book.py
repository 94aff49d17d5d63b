"""The files of the built book: links, captions, numbers, buttons, references."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat import v4
from pybtex.database import parse_string
from visit import PAGES

from helpers import CHAPTERS, NOTEBOOKS, ROOT, build_book

pytestmark = pytest.mark.slow


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def parsed(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def pages(book):
    return {name: parsed(book / f"{name}.html") for name in ["index", *PAGES]}


def test_every_link_leads_somewhere(book, pages):
    anchors = {}
    for name, page in pages.items():
        path = (book / f"{name}.html").resolve()
        anchors[path] = {tag["id"] for tag in page.select("[id]")}
    lost = []
    for name, page in pages.items():
        for tag in page.select("[href], [src]"):
            link = urlsplit(tag.get("href") or tag.get("src"))
            if link.scheme or link.netloc:  # elsewhere, or in the page itself
                continue
            if tag.name == "a" and link.fragment.startswith("net="):  # a state, no place
                link = link._replace(fragment="")
            path = book / f"{name}.html"
            if link.path:
                path = path.parent / unquote(link.path)
            if not path.is_file() or (
                link.fragment and link.fragment not in anchors[path.resolve()]
            ):
                lost.append(f"{name}: {link.geturl()}")
    assert lost == []


@pytest.mark.parametrize(("place", "step"), [("left-prev", -1), ("right-next", 1)])
def test_previous_and_next(pages, place, step):
    links = [pages[name].select_one(f"a.{place}") for name in CHAPTERS]
    found = [f"book/{link['href'].removesuffix('.html')}" if link else None for link in links]
    expected = [None, *CHAPTERS[:-1]] if step < 0 else [*CHAPTERS[1:], None]
    assert found == expected


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_figure_has_a_caption(pages, name):
    """Each image stands in a figure with alternative text; axe looks at the rest, in test_page.

    The previews beside the list of chapters are ornaments.
    """
    article = pages[name].select_one("article.bd-article")
    for figure in article.select("figure"):
        assert figure.figcaption and figure.figcaption.get_text(strip=True), str(figure)[:200]
    for image in article.select(":is(img, svg):not(ul.chapters img)"):
        assert image.find_parent("figure"), str(image)[:200]
    for image in article.select("figure > img, figure a > img"):
        assert image.get("alt"), str(image)[:200]


def test_all_figures_are_numbered_in_one_series(pages):
    """Explorers as well, in the order of the book; the net on the first page has a name."""
    numbers = []
    for name in CHAPTERS:
        for figure in pages[name].select("article.bd-article figure:not(.net)"):
            number = figure.select_one("figcaption .caption-number")
            assert number, str(figure)[:200]
            numbers.append(number.get_text(strip=True))
    assert numbers == [f"Fig. {i}" for i in range(1, len(numbers) + 1)]


def test_every_exercise_has_a_folded_solution(pages):
    for name in NOTEBOOKS:
        exercises = {tag["id"] for tag in pages[name].select("div.exercise")}
        links = pages[name].select("div.solution.dropdown > p.admonition-title a")
        solved = {link["href"].lstrip("#") for link in links}
        assert exercises == solved and (exercises or name == "book/claims"), name


def buttons(page):
    """The addresses of the buttons at the top of a page: the repository, Binder and Colab."""
    links = page.select(".btn-source-repository-button, .dropdown-launch-buttons a")
    return [link["href"] for link in links]


def test_buttons_come_with_the_repository(pages, tmp_path):
    """With `repository_url` set they are on a notebook's page; while it is empty, on none."""
    config = read_yaml("_config.yml")
    options = config["sphinx"]["config"]["html_theme_options"]
    if not options["repository_url"]:
        assert not any(buttons(page) for page in pages.values())
    options["repository_url"] = "https://github.com/NAME/REPOSITORY"
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/page\n", encoding="utf-8")
    for name in ("_ext", "_static", "_templates"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    for name in ("engine", "page", "race"):  # which _ext and _config.yml name
        folder = Path("alexnet/bookkit") / name
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("references.bib", "pages.yml", "intro.md"):
        shutil.copy(ROOT / "book" / name, tmp_path / "book")
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A page")])
    nbformat.write(notebook, tmp_path / "book" / "page.ipynb")
    page = parsed(build_book(tmp_path, tmp_path) / "book" / "page.html")
    visible = [link["href"] for link in page.select("h1 + .run-it a")]
    assert (
        sorted(visible)
        == sorted(buttons(page))
        == [
            "https://colab.research.google.com/github/NAME/REPOSITORY/blob/main/book/page.ipynb",
            "https://github.com/NAME/REPOSITORY",
            "https://mybinder.org/v2/gh/NAME/REPOSITORY/main?urlpath=lab/tree/book/page.ipynb",
        ]
    )


def test_every_reference_leads_to_the_work(pages):
    works = pages["book/references"].select(".citation")
    assert len(works) > 20
    for work in works:
        assert work.select_one('a[href^="https://"]'), work.get_text()


def full_name(author):
    """Of an author in CITATION.cff."""
    return author.get("name") or f"{author['given-names']} {author['family-names']}"


def test_the_page_on_citing_agrees_with_citation_cff(pages):
    """The same three works: who, what, when."""
    citation = read_yaml("CITATION.cff")
    works = [citation["preferred-citation"], *citation["references"]]
    expected = []
    for work in works:
        names = [full_name(author) for author in work["authors"]]
        expected.append((names, work["title"], work["year"]))

    blocks = [block.get_text() for block in pages["book/cite"].select("div.highlight-bibtex pre")]
    references = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert [block in references for block in blocks] == [False, True, True]
    braces = str.maketrans("", "", "{}")
    shown = []
    for entry in parse_string("".join(blocks), "bibtex").entries.values():
        names = []
        for who in entry.persons["author"]:
            parts = [*who.first_names, *who.middle_names, *who.last_names]
            names.append(" ".join(parts).translate(braces))
        title = entry.fields["title"].translate(braces)
        shown.append((names, title, int(entry.fields["year"])))
    assert shown == expected

    config = read_yaml("_config.yml")
    assert expected[0] == ([config["author"]], config["title"], int(config["copyright"]))
    assert citation["title"] == config["title"] and citation["authors"] == works[0]["authors"]
