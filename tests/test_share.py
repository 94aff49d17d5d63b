"""How the book is found, shared, printed, packed and licensed."""

import gzip
import importlib.util
import re
import shutil
import sys
import unicodedata
import zipfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from pypdf import PdfReader

from helpers import CHAPTERS, NOTEBOOKS, ROOT

pytestmark = pytest.mark.slow

PREVIEWS = ROOT / "book" / "_static" / "previews"


def load_script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


make_previews = load_script(ROOT / "book" / "make_previews.py")
make_pdf = load_script(ROOT / "book" / "make_pdf.py")
make_zip = load_script(ROOT / "book" / "make_zip.py")
sharing = sys.modules["sharing"]


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def parsed(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def pages(book):
    return {name: parsed(book / f"{name}.html") for name in ["index", *CHAPTERS]}


def tags(page):
    """What the tags in a page's head say of it."""
    return {
        tag.get("name") or tag.get("property"): tag["content"]
        for tag in page.head.select("meta[name], meta[property]")
    }


# Descriptions and previews


def test_every_page_describes_itself(pages):
    found = {name: tags(page)["description"] for name, page in pages.items()}
    assert found.pop("index") == found["book/intro"]
    assert len(set(found.values())) == len(found)
    assert all(20 < len(text) < 300 for text in found.values()), found
    for page in pages.values():
        assert tags(page)["og:description"] == tags(page)["description"]
        assert tags(page)["author"] == read_yaml("CITATION.cff")["authors"][0]["name"]


def test_the_list_of_chapters_has_every_page_with_its_title(pages):
    rows = pages["book/intro"].select("ul.chapters > li")
    found = {f"book/{Path(row.a['href']).stem}": row for row in rows}
    assert list(found) == CHAPTERS[1:]
    for name, row in found.items():
        assert row.a.get_text() == pages[name].select_one("h1").contents[0]
        description = row.select("p")[1].get_text().replace("’", "'")
        assert description == tags(pages[name])["description"]
        assert bool(row.img) == (name in NOTEBOOKS)


def test_titles_are_not_doubled(pages):
    for name, page in pages.items():
        title = page.title.get_text()
        heading = "Running AlexNet" if name == "index" else page.select_one("h1").contents[0]
        assert tags(page)["og:title"] == heading
        is_first = name in ("index", "book/intro")
        assert title == (heading if is_first else f"{heading} — Running AlexNet")


def test_previews_are_whole_addresses_or_left_out():
    """Open Graph knows no relative addresses."""

    class Config:
        html_title, author, html_baseurl = "Running AlexNet", "A", ""

    assert "og:image" not in sharing.tags_of(Config, "book/relu", "ReLU")
    Config.html_baseurl = "https://example.org/book/"
    for name, preview in [("book/relu", "relu"), ("book/glossary", "intro")]:
        found = sharing.tags_of(Config, name, "A title")
        address = f"https://example.org/book/_static/previews/{preview}.png"
        assert f'property="og:image" content="{address}"' in found
        assert f'property="og:url" content="https://example.org/book/{name}.html"' in found


def test_previews_are_small_and_of_the_size_that_is_asked_for():
    for name in NOTEBOOKS:
        for path, size in [
            (PREVIEWS / f"{Path(name).name}.png", (1200, 630)),
            (PREVIEWS / f"{Path(name).name}-small.webp", (320, 168)),
        ]:
            with Image.open(path) as image:
                assert image.size == size
                assert len(image.convert("L").getcolors()) > 2, f"{path.name} shows nothing"
            assert path.stat().st_size <= 60_000


def test_previews_show_the_figures_of_the_pages(book):
    """If not, `make previews` draws them anew."""
    old = []
    for name, (selector, detail) in make_previews.choices().items():
        figure = make_previews.find_figure(book / "book" / f"{name}.html", selector)
        if figure and make_previews.digest(figure, detail) != make_previews.stored_digest(name):
            old.append(name)
    assert old == [], "make previews"


def test_a_figure_that_is_gone_is_named(tmp_path):
    path = tmp_path / "relu.html"
    path.write_text("<article><figure id='a'></figure></article>", encoding="utf-8")
    assert make_previews.find_figure(path, "#a")["id"] == "a"
    with pytest.raises(ValueError, match=r"relu has no figure #lost: name another in book/pages"):
        make_previews.find_figure(path, "#lost")


def test_the_number_of_a_figure_does_not_change_its_preview():
    def digest(image, number):
        html = f"<figure><img src='{image}'/><figcaption>Fig. {number}</figcaption></figure>"
        return make_previews.digest(BeautifulSoup(html, "html.parser").figure)

    assert digest("a.png", 1) == digest("a.png", 2) != digest("b.png", 2)


def test_a_preview_that_is_drawn(browser, tmp_path, monkeypatch):
    """The figure in the middle of a card, without its caption; a second time it stays."""
    monkeypatch.setattr(make_previews, "PREVIEWS", tmp_path)
    details = [make_previews.WHOLE]
    monkeypatch.setattr(make_previews, "choices", lambda: {"page": ("figure", details[-1])})
    drawing = '<svg width="400" height="100"><rect width="400" height="100" fill="blue"/></svg>'
    figure = f"<figure>{drawing}<figcaption>A caption</figcaption></figure>"
    (tmp_path / "book").mkdir()
    page = tmp_path / "book" / "page.html"
    page.write_text(f"<!DOCTYPE html><article>{figure}</article>", encoding="utf-8")
    assert make_previews.make_previews(browser, tmp_path) == ["page"]
    assert make_previews.make_previews(browser, tmp_path) == []
    with Image.open(tmp_path / "page.png") as image:
        card = image.convert("RGB")
    blue, white = (0, 0, 255), (255, 255, 255)
    places = [(600, 315), (50, 315), (1150, 315), (30, 315), (600, 100)]
    assert [card.getpixel(place) for place in places] == [blue, blue, blue, white, white]
    assert small_corner(tmp_path) == white
    details.append((0.5, 0, 0.9, 0.84))
    assert make_previews.make_previews(browser, tmp_path) == ["page"]
    assert small_corner(tmp_path)[2] > 240 > 20 > small_corner(tmp_path)[0]


def small_corner(folder):
    with Image.open(folder / "page-small.webp") as image:
        assert image.size == make_previews.SMALL
        return image.convert("RGB").getpixel((2, 2))


def test_a_figure_that_waits_for_a_guess_is_no_preview(browser, tmp_path):
    path = tmp_path / "relu.html"
    figure = "<div class='guess-veiled'><figure><img alt=''></figure></div>"
    path.write_text(f"<!DOCTYPE html><article>{figure}</article>", encoding="utf-8")
    page = browser.new_page()
    with pytest.raises(ValueError, match="relu's figure figure is covered until a guess is made"):
        make_previews.photograph(page, path, "figure")
    page.close()


def test_the_first_page_is_light(browser, book):
    """With all previews, before the net's weights."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    loaded = set()
    page.on("response", lambda response: loaded.add(urlsplit(response.url)))
    page.goto((book / "book" / "intro.html").as_uri())
    page.evaluate("document.querySelectorAll('.chapters img').forEach(i => i.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    page.close()
    paths = {Path(url.path) for url in loaded if url.scheme == "file" and "/nets/" not in url.path}
    assert sum(path.name.endswith("-small.webp") for path in paths) == len(NOTEBOOKS)
    assert sum(len(gzip.compress(path.read_bytes())) for path in paths) < 0.9e6


def test_drawn_previews_are_turned_over_in_the_dark(browser, book):
    filters = "images => images.map(i => [i.className, getComputedStyle(i).filter])"
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((book / "book" / "intro.html").as_uri())
        found = page.locator(".chapters img").evaluate_all(filters)
        page.close()
        assert {kind for kind, _ in found} == {"drawn", "photo"}
        for kind, value in found:
            assert ("invert" in value) == (scheme == "dark" and kind == "drawn")


# Search

QUERIES = [
    ("local response normalization", "lrn"),
    ("local response normalisation", "lrn"),
    ("LRN", "lrn"),
    ("normalization", "lrn"),
    ("batch normalization", "lrn"),
    ("data augmentation", "augmentation"),
    ("color augmentation", "augmentation"),
    ("colour augmentation", "augmentation"),
    ("horizontal flip", "augmentation"),
    ("pooling overlap", "pooling"),
    ("overlapping pooling", "pooling"),
    ("max pooling", "pooling"),
    ("dropout", "dropout"),
    ("overfitting", "dropout"),
    ("regularization", "dropout"),
    ("regularisation", "dropout"),
    ("relu", "relu"),
    ("tanh", "relu"),
    ("activation function", "relu"),
    ("vanishing gradients", "relu"),
    ("momentum", "learning"),
    ("weight decay", "learning"),
    ("weight initialization", "learning"),
    ("weight initialisation", "learning"),
    ("SGD", "learning"),
    ("receptive field", "architecture"),
    ("227", "architecture"),
    ("number of parameters", "parameters"),
    ("multi-GPU", "two_gpus"),
    ("model parallelism", "two_gpus"),
    ("feature visualization", "filters"),
    ("nearest neighbors", "filters"),
    ("gray kernels", "filters"),
    ("ResNet", "limits"),
    ("softmax", "basics"),
    ("ensemble", "results"),
    ("ImageNet", "results"),
    ("source code", "paper_and_code"),
    ("train on my images", "train_it"),
    ("reproducibility", "claims"),
]


@pytest.fixture(scope="module")
def search(browser, book):
    """The pages that the book's own search finds, from a folder, best first."""
    page = browser.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))

    def find(query):
        page.goto(f"{(book / 'search.html').as_uri()}?q={quote(query)}")
        page.get_by_text("Search finished").wait_for()
        links = page.locator("#search-results li > a").all()
        return [Path(urlsplit(link.get_attribute("href")).path).stem for link in links]

    yield find
    page.close()
    assert complaints == []


ONE_A_CHAPTER = list({name: (query, name) for query, name in QUERIES}.values())


@pytest.mark.parametrize(
    "queries", [ONE_A_CHAPTER, pytest.param(QUERIES, marks=pytest.mark.exhaustive)], ids=len
)
def test_search_finds_the_chapter(search, queries):
    lost = [(query, name) for query, name in queries if name not in search(query)[:3]]
    assert lost == []


def test_search_knows_both_spellings(search):
    """Of words in the text, too, not only of those in pages.yml."""
    for british, american in [
        ("standardised", "standardized"),
        ("centre", "center"),
        ("neighbouring", "neighboring"),
        ("grey", "gray"),
    ]:
        assert set(search(british)) == set(search(american)) != set()


def test_search_does_not_lead_to_the_copies_of_the_exercises(search):
    assert "exercises" not in search("exercise")[1:]


# The exercises on one page


def test_all_exercises_are_on_one_page_without_solutions(pages):
    page = pages["book/exercises"].select_one("article")
    found = {section["id"]: section for section in page.select("section section")}
    chapters = [name for name in NOTEBOOKS if pages[name].select(".exercise")]
    assert list(found) == [Path(name).name for name in chapters] and len(found) > 10
    for name in chapters:
        copies = found[Path(name).name].select(".exercise")
        originals = pages[name].select(".exercise")
        assert [box.get_text() for box in copies] == [box.get_text() for box in originals]
        assert found[Path(name).name].h2.a["href"] == f"{Path(name).name}.html"
    assert not page.select(".solution")


# The PDF


@pytest.fixture(scope="module")
def pdf(browser, book, tmp_path_factory):
    path = tmp_path_factory.mktemp("pdf") / "book.pdf"
    make_pdf.make_pdf(browser, book, path)
    assert not (book / make_pdf.PRINTED).exists()
    return PdfReader(path)


def compact(text):
    """A text without spaces, of which a PDF makes its own."""
    return "".join(text.split())


@pytest.mark.exhaustive
def test_what_is_printed_is_whole(browser, book):
    """No element is wider than the room between the margins; a table as wide as the screen stands
    on pages that are turned."""
    whole = make_pdf.whole_page(make_pdf.Book(book, "data:,"), {})
    path = book / "whole.html"
    path.write_text(whole, encoding="utf-8")
    upright, turned = 657, 986  # 210 and 297 mm less two margins of 18 mm, in pixels
    page = browser.new_page(viewport={"width": upright, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_function("() => MathJax.startup?.promise?.then(() => true)", timeout=120_000)
    page.emulate_media(media="print")
    wide = page.evaluate(TOO_WIDE, ".bd-article *:not(.tag_full-width, .tag_full-width *)")
    page.set_viewport_size({"width": turned, "height": 900})
    wide += page.evaluate(TOO_WIDE, ".tag_full-width *")
    shown = page.locator("form:visible, button:visible, .highlight:visible").count()
    page.close()
    path.unlink()
    assert wide == []
    assert shown > 50  # the code that stands open is there


TOO_WIDE = """selector => {
    const page = document.documentElement.clientWidth
    const elements = [...document.querySelectorAll(selector)]
    return elements.filter(element => {
        if (element.closest('svg, mjx-assistive-mml, span.math')) return false
        const box = element.getBoundingClientRect()
        const style = getComputedStyle(element)
        if (!box.width || !box.height) return false
        const scrolls = style.display !== 'inline' && style.overflowX !== 'visible'
        return box.right > page + 1 || scrolls && element.scrollWidth > element.clientWidth + 1
    }).map(element => `${element.tagName} ${element.className}: ${element.textContent}`)
}"""


@pytest.mark.exhaustive
def test_the_pdf_has_contents_bookmarks_and_page_numbers(pdf, pages):
    names = [name for name in CHAPTERS if name != "book/exercises"]
    titles = [pages[name].select_one("h1").contents[0] for name in names]
    bookmarks = [item for item in pdf.outline if not isinstance(item, list)]
    assert [item.title for item in bookmarks] == ["Contents", *titles, "Solutions"]
    texts = [page.extract_text() for page in pdf.pages]
    contents = compact(texts[1])
    for item in bookmarks[1:]:
        number = pdf.get_destination_page_number(item) + 1
        assert compact(f"{item.title}{number}") in contents
        lines = texts[number - 1].split("\n")
        assert compact(item.title) in compact("".join(lines[:3])), number
        assert str(number) in (lines[0].strip(), lines[-1].strip())
    assert "Running AlexNet" in texts[0] and pdf.metadata.title == "Running AlexNet"
    assert pdf.metadata.author == read_yaml("_config.yml")["author"]


@pytest.mark.exhaustive
def test_links_in_the_pdf_lead_to_its_pages(pdf):
    inside, outside = set(), set()
    for page in pdf.pages:
        for link in page.get("/Annots", []):
            link = link.get_object()
            if "/Dest" in link:
                inside.add(link["/Dest"])
            elif "/A" in link:
                outside.add(link["/A"].get("/URI"))
    assert {"/relu", "/claims", "/solutions"} <= inside <= set(pdf.named_destinations)
    assert any(name.startswith("/lrn--solution-to-") for name in inside)
    assert all(address.startswith("https://") for address in outside), outside


@pytest.mark.exhaustive
def test_the_pdf_has_the_last_column_of_the_widest_table(pdf, pages):
    rows = pages["book/claims"].select("table.stacked tbody tr")
    text = "".join(page.extract_text() for page in pdf.pages)
    text = unicodedata.normalize("NFKC", text)  # ligatures
    text = compact(re.sub("[-\u2010\u00ad]\n", "", text))  # words that a narrow column has divided
    for row in rows:
        for word in row.select("td")[-1].get_text().split():
            assert word in text


# The zip file


def test_the_zip_file_is_the_book(browser, book, tmp_path):
    path = tmp_path / "running-alexnet.zip"
    make_zip.make_zip(book, path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    path.unlink()
    folder = tmp_path / "running-alexnet"
    assert {"LICENSE", "LICENSE-TEXT", "CREDITS.tsv"} <= {file.name for file in folder.iterdir()}
    page = browser.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto((folder / "index.html").as_uri())
    page.wait_for_url("**/book/intro.html")
    # Whoever leaves a page ends what it still loads, which would count as failed
    page.evaluate("document.querySelectorAll('.chapters img').forEach(i => i.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    page.locator("figure.net.is-live").wait_for()
    page.locator(".chapters a", has_text="Dropout").click()
    page.wait_for_url("**/book/dropout.html")
    explorer = page.locator("figure.explore").first
    before = explorer.locator(".explore-picture").inner_html()
    explorer.get_by_role("slider").first.press("End")
    assert explorer.locator(".explore-picture").inner_html() != before
    page.close()
    assert complaints == []
    shutil.rmtree(folder)


# The licences


def test_the_licences_agree(pages):
    citation = read_yaml("CITATION.cff")
    assert citation["license"] == "BSD-3-Clause"
    assert citation["preferred-citation"]["license"] == "CC-BY-4.0"
    address = "https://creativecommons.org/licenses/by/4.0/"
    text = (ROOT / "LICENSE-TEXT").read_text(encoding="utf-8")
    assert f"{address}legalcode" in text and "CREDITS.tsv" in text
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "BSD 3-clause" in readme and "CC BY 4.0" in readme
    for name in CHAPTERS:
        footer = pages[name].select_one(".extra_footer")
        assert footer.a["href"] == address and "BSD" in footer.get_text()
