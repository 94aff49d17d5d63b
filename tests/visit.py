"""Visits to the rendered pages in a browser that reaches only their own host, for test files."""

import gzip
import zlib
from functools import partial
from urllib.parse import urlsplit

import pytest

from helpers import CHAPTERS

PAGES = [*CHAPTERS, "search"]
DESK = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "color_scheme": "dark",
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Waiting for an idle network would cost half a second more.
SETTLED = "Promise.all([window.MathJax?.startup?.promise, document.fonts.ready]).then(() => {})"
UNFOLD = "document.querySelectorAll('details').forEach(folded => folded.open = true)"


def on_devices(names, devices):
    """Each page on each device, as parameters (name, device).

    `make test` has one device for each page, which the page's name decides; the others are left
    to `make test-exhaustive`.
    """
    visits = []
    for name in names:
        chosen = devices[zlib.crc32(name.encode()) % len(devices)]
        for device in devices:
            marks = () if device == chosen else pytest.mark.exhaustive
            visits.append(pytest.param((name, device), marks=marks, id=f"{name}-{device}"))
    return visits


class Visit:
    """A page that can reach its own host only, with its complaints and responses."""

    def __init__(self, browser, address, **device):
        self.complaints, self.responses = [], []
        self.context = browser.new_context(**device)
        self.context.route("**/*", partial(self._own_host, urlsplit(address).netloc))
        self.page = self.context.new_page()
        self.session = self.context.new_cdp_session(self.page)
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", self._note_failure)
        self.page.on("response", self._note_response)
        self.page.goto(address)
        self.page.evaluate(SETTLED)

    def _own_host(self, host, route):
        if urlsplit(route.request.url).netloc == host or route.request.url.startswith("data:"):
            route.continue_()
        else:
            self.complaints.append(f"asked for {route.request.url}")
            route.abort()

    def _note_message(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _note_failure(self, request):
        self.complaints.append(f"failed: {request.url}")

    def _note_response(self, response):
        self.responses.append(response)
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")

    def pixels(self, place):
        """A screenshot of a part of the page; Playwright's own takes three times as long."""
        options = {"format": "png", "optimizeForSpeed": True, "clip": place}
        return self.session.send("Page.captureScreenshot", options)["data"]

    def weight(self):
        """Bytes of all that was loaded, gzipped."""
        loaded = [response.body() for response in self.responses if response.ok]
        return sum(len(gzip.compress(body)) for body in loaded)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.context.close()
