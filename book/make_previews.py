"""Draw the preview of each page from the built book, without a kernel.

`make previews` builds the pages and calls this. A page's preview is its first
figure, or the one that `book/pages.yml` names, photographed in Chromium and
put on a white card: `book/_static/previews/NAME.png`, for where a link to
the page is shared, and `NAME-small.webp`, beside the list of chapters: of a
figure whose letters would be too small there only the detail that
`book/pages.yml` names. Each file remembers the figure that it was made from,
so that those that are up to date are left as they are.

Usage: ``python book/make_previews.py _build/html``
"""

import hashlib
import io
import itertools
import shutil
import sys
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from PIL import Image, ImageChops, ImageOps, PngImagePlugin
from playwright.sync_api import Browser, Page, sync_playwright

BOOK = Path(__file__).parent
sys.path.insert(0, str(BOOK / "_ext"))

from sharing import PREVIEWS, SIZE, SMALL  # noqa: E402

MARGIN = 40  # pixels of the card that stay white on each side
MOST_BYTES = 60_000
# What is tried one after the other until a preview has no more bytes.
SCALES = (1, 0.85, 0.7, 0.55)
COLORS = (256, 128, 64, 32)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FIRST_FIGURE = "figure"
# Of a figure only the picture is shown, not the caption or the sliders.
PICTURE = ".explore-picture, :scope > img, :scope > a > img, :scope > svg"
LIGHT = {
    "viewport": {"width": 1280, "height": 1000},
    "device_scale_factor": 2,
    "color_scheme": "light",
    "reduced_motion": "reduce",
}


Detail = tuple[float, float, float, float]
WHOLE = (0.0, 0.0, 1.0, 1.0)


def choices() -> dict[str, tuple[str, Detail]]:
    """The CSS selector of each page's figure, and its detail that the list of
    chapters shows (left, top, right and bottom, as shares of the picture),
    by the page's name."""
    text = (BOOK / "pages.yml").read_text(encoding="utf-8")
    return {
        name: (
            entry.get("figure", FIRST_FIGURE),
            tuple(entry.get("detail", WHOLE)),
        )
        for name, entry in yaml.safe_load(text).items()
    }


def find_figure(path: Path, selector: str) -> Tag | None:
    """The figure of a built page; None if the page has no figure at all.

    Raises:
        ValueError: the figure that pages.yml names is not on the page.
    """
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    figure = page.select_one(f"article {selector}")
    if figure is None and selector != FIRST_FIGURE:
        raise ValueError(
            f"{path.stem} has no figure {selector}: name another in "
            "book/pages.yml, or none, for the first of the page"
        )
    return figure


def digest(figure: Tag, detail: Detail = WHOLE) -> str:
    """What a figure and its detail show, as a number; the names of images are
    those of their contents. The caption has the figure's number in the book,
    which says nothing of it."""
    pictures = figure.select(".explore-picture") or [
        part for part in figure.children if part.name != "figcaption"
    ]
    shown = "".join(str(picture) for picture in pictures)
    if detail != WHOLE:
        shown += str(detail)
    return hashlib.sha256(shown.encode()).hexdigest()[:16]


def stored_digest(name: str) -> str | None:
    """That of the figure from which a preview was made, if there is one."""
    path = PREVIEWS / f"{name}.png"
    if not path.exists():
        return None
    with Image.open(path) as image:
        return image.text.get("figure")


def photograph(page: Page, path: Path, selector: str) -> Image.Image:
    """The picture of a figure, twice as large as on the page.

    Raises:
        ValueError: the figure is covered until the reader makes a guess.
    """
    page.goto(path.resolve().as_uri())
    page.wait_for_load_state("load")
    figure = page.locator(f"article {selector}").first
    picture = figure.locator(PICTURE)
    part = picture.first if picture.count() else figure
    if part.evaluate("part => Boolean(part.closest('.guess-veiled'))"):
        raise ValueError(
            f"{path.stem}'s figure {selector} is covered until a guess is "
            "made: name another in book/pages.yml"
        )
    part.scroll_into_view_if_needed()
    page.evaluate("() => document.fonts.ready.then(() => true)")
    content = part.screenshot(animations="disabled")
    return Image.open(io.BytesIO(content)).convert("RGB")


def trim(picture: Image.Image) -> Image.Image:
    """A picture without the white around it."""
    white = Image.new("RGB", picture.size, "white")
    return picture.crop(ImageChops.difference(picture, white).getbbox())


def put_on_card(picture: Image.Image, scale: float) -> Image.Image:
    """A white card of the size of a preview, with a picture in its middle.

    With a scale of 1 the picture is as large as fits.
    """
    room = [side - 2 * MARGIN for side in SIZE]
    scale *= min(room[0] / picture.width, room[1] / picture.height)
    size = [max(1, round(side * scale)) for side in picture.size]
    card = Image.new("RGB", SIZE, "white")
    left, top = ((SIZE[i] - size[i]) // 2 for i in (0, 1))
    card.paste(picture.resize(size, Image.Resampling.LANCZOS), (left, top))
    return card


def cut_out(picture: Image.Image, detail: Detail) -> Image.Image:
    """A detail of a picture, in the form and size of a small preview."""
    sides = (picture.width, picture.height) * 2
    box = [share * side for share, side in zip(detail, sides)]
    part = picture.crop([round(edge) for edge in box])
    return ImageOps.fit(part, SMALL, Image.Resampling.LANCZOS)


def encode(card: Image.Image, colors: int, source: str) -> bytes:
    """A card as a PNG file that remembers the figure it was made from."""
    note = PngImagePlugin.PngInfo()
    note.add_text("figure", source)
    file = io.BytesIO()
    palette = card.quantize(colors, dither=Image.Dither.NONE)
    palette.save(file, "png", optimize=True, pnginfo=note)
    return file.getvalue()


def save(
    picture: Image.Image, name: str, source: str, detail: Detail = WHOLE
) -> None:
    """Write both files: the picture as large and colored as bytes allow.

    Raises:
        ValueError: even small and in few colors it has too many bytes.
    """
    for scale, colors in itertools.product(SCALES, COLORS):
        content = encode(put_on_card(picture, scale), colors, source)
        if len(content) <= MOST_BYTES:
            break
    else:
        raise ValueError(
            f"the preview of {name} must have at most {MOST_BYTES} bytes, "
            f"got {len(content)}: name a simpler figure in book/pages.yml"
        )
    (PREVIEWS / f"{name}.png").write_bytes(content)
    if detail == WHOLE:
        small = put_on_card(picture, 1).resize(
            SMALL, Image.Resampling.LANCZOS
        )
    else:
        small = cut_out(picture, detail)
    small.save(PREVIEWS / f"{name}-small.webp", quality=80, method=6)


def make_previews(browser: Browser, html: Path) -> list[str]:
    """Make those that are missing or out of date, and return their names."""
    made = []
    page = browser.new_page(**LIGHT)
    for name, (selector, detail) in choices().items():
        path = html / "book" / f"{name}.html"
        figure = find_figure(path, selector)
        if figure is None or digest(figure, detail) == stored_digest(name):
            continue
        picture = trim(photograph(page, path, selector))
        save(picture, name, digest(figure, detail), detail)
        made.append(name)
    return made


def main(html: Path) -> None:
    PREVIEWS.mkdir(exist_ok=True)
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        sys.exit("previews need Chromium: on Debian, apt install chromium")
    with sync_playwright() as playwright:
        options = {"executable_path": chromium, "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        try:
            made = make_previews(browser, html)
        except ValueError as error:
            sys.exit(str(error))
        finally:
            browser.close()
    print("new previews:", ", ".join(made) or "none")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
