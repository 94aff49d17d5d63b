"""The net of the first page without the book around it, and visits to it, for test files."""

import importlib.util

from alexnet.bookkit import first_page
from alexnet.bookkit.export import export
from helpers import ROOT

DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {
    "viewport": {"width": 390, "height": 664},
    "color_scheme": "dark",
    "has_touch": True,
    "is_mobile": True,
}
SKELETON = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>net</title><main>{}</main>'
)
IDLE = """(before) => {
    const { state, passes } = document.querySelector(".net").dataset;
    return state === "idle" && passes !== before;
}"""


def write_site(folder):
    """Write a page with the net of the package into a folder."""
    spec = importlib.util.spec_from_file_location("_", ROOT / "book" / "_ext" / "first_page.py")
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    (folder / "_static").mkdir()
    extension.write_files(folder / "_static")
    export("tiny-imagenet", folder / "_static" / "nets" / "tiny-imagenet")
    first_page.main(["--out", str(folder / "part.html")])
    page = extension.part_of_page(folder / "part.html", "_static")
    (folder / "net.html").write_text(SKELETON.format(page), encoding="utf-8")
    return folder


class Visit:
    """The net on a page, and what a person does with it."""

    def __init__(self, browser, site, fragment="", script="", **options):
        """Open the page at a fragment of its address; the script runs before those of the page."""
        self.complaints = []
        self.context = browser.new_context(**options, reduced_motion="reduce")
        self.page = self.context.new_page()
        if script:
            self.page.add_init_script(script)
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto((site / "net.html").as_uri() + fragment)
        self.page.wait_for_function("document.querySelector('.net').dataset.passes > 0")

    def after(self, action):
        """Do something, and wait until the net has answered."""
        before = self.page.evaluate("document.querySelector('.net').dataset.passes")
        action()
        self.page.wait_for_function(IDLE, arg=before)

    def locate(self, selector):
        return self.page.locator(selector).first

    def text(self, selector):
        return self.locate(selector).text_content()

    def expect_address(self, text):
        self.page.wait_for_function("text => location.hash.includes(text)", arg=text)

    def pixels(self, selector):
        """Of a canvas, [row][column][color]."""
        return self.locate(selector).evaluate("""canvas => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [...data].filter((_, at) => at % 4 < 3);
        }""")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.context.close()
        if exception == (None, None, None):
            assert self.complaints == []
