import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from filelock import FileLock

from alexnet.datasets import photo_patches
from helpers import HEADLESS_CHROMIUM, ROOT, build_book


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """A data set on disk: JPEG patches of eight photographs, 160 to train on, 40 to test on."""
    root = tmp_path_factory.mktemp("patches")
    photo_patches(160, 36).save(root, "jpg")
    return root


@pytest.fixture(scope="session")
def book(tmp_path_factory, worker_id):
    """The folder of the pages of the whole book, built once, even for several processes."""
    if worker_id == "master":
        return build_book(ROOT, tmp_path_factory.mktemp("book"))
    folder = tmp_path_factory.getbasetemp().parent / "book"  # which the processes share
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "done").exists():
            build_book(ROOT, folder)
            (folder / "done").touch()
    return folder / "_build" / "html"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def host(book):
    """The address of the whole book, on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """Chromium; at its module's end it is closed, since a thread may run one Playwright only."""
    if not HEADLESS_CHROMIUM and "CI" not in os.environ:
        pytest.skip("no browser: install Chromium (on Debian, apt install chromium)")
    from playwright.sync_api import sync_playwright  # the browser tests alone need it

    with sync_playwright() as playwright:
        options = {"executable_path": HEADLESS_CHROMIUM, "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        yield browser
        browser.close()
