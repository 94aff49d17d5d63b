"""The camera of the first page, with Chromium's false camera, which shows a disk that turns."""

import os

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from torchvision.transforms.v2 import functional as TF

from alexnet.bookkit.export import quantized
from helpers import CHROMIUM, encode, some_of
from net_page import DESK, PHONE, Visit, write_site

pytestmark = pytest.mark.slow

FALSE_CAMERA = ["--use-fake-device-for-media-stream"]
ALLOWED = "--use-fake-ui-for-media-stream"
REFUSED = "--deny-permission-prompts"
# So that a test sees the tracks of all cameras that were opened
KEEP_STREAMS = """
window.tracks = [];
const { mediaDevices } = navigator;
const getUserMedia = mediaDevices.getUserMedia.bind(mediaDevices);
mediaDevices.getUserMedia = async (wanted) => {
    window.wanted = wanted;
    const stream = await getUserMedia(wanted);
    window.tracks.push(...stream.getTracks());
    return stream;
};
"""
FAIL = """navigator.mediaDevices.getUserMedia = () =>
    Promise.reject(new DOMException("it failed", "{}"));"""
NO_CAMERAS = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"


@pytest.fixture(scope="module")
def predictor():
    return quantized("tiny-imagenet")[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def playwright():
    if not CHROMIUM and "CI" not in os.environ:
        pytest.skip("no browser: install Chromium (on Debian, apt install chromium)")
    with sync_playwright() as playwright:
        yield playwright


def launch(playwright, *flags):
    args = ["--no-sandbox", *FALSE_CAMERA, *flags]
    return playwright.chromium.launch(executable_path=CHROMIUM, args=args)


@pytest.fixture(scope="module")
def browser(playwright):
    browser = launch(playwright, ALLOWED)
    yield browser
    browser.close()


@pytest.fixture
def visit(browser, site):
    with Visit(browser, site, script=KEEP_STREAMS, **DESK) as visit:
        yield visit


def open_camera(visit):
    visit.locate(".net-camera").click()
    visit.page.wait_for_function(
        "document.querySelector('.net-by').textContent === 'What the camera sees.'"
    )


def wait_for_passes(visit, number):
    visit.page.wait_for_function(
        "n => document.querySelector('.net').dataset.passes >= n",
        arg=int(visit.locate(".net").get_attribute("data-passes")) + number,
    )


def track_states(visit):
    return visit.page.evaluate("tracks.map((track) => track.readyState)")


def expect_closed(visit):
    expect(visit.page.locator("video")).to_have_count(0)
    expect(visit.page.locator(".net-freeze")).to_have_count(0)
    assert set(track_states(visit)) == {"ended"}
    assert visit.locate(".net-camera").get_attribute("aria-pressed") is None


def base(visit):
    pixels = visit.page.evaluate("[...netPage.base()]")
    return torch.tensor(pixels, dtype=torch.uint8).view(64, 64, 3).permute(2, 0, 1)


def test_what_the_camera_sees_is_answered_and_frozen(visit, predictor):
    before = base(visit)
    open_camera(visit)
    video = visit.locate("video")
    assert video.evaluate("v => [v.muted, v.playsInline, v.paused]") == [True, True, False]
    assert visit.page.evaluate("wanted.audio ?? false") is False
    assert visit.page.evaluate("document.activeElement.textContent") == "Freeze"
    box = visit.locate(".net-freeze").bounding_box()
    assert box["height"] >= 44 and box["width"] >= 100
    wait_for_passes(visit, 5)
    first = base(visit)
    assert not torch.equal(first, before)
    wait_for_passes(visit, 5)
    assert not torch.equal(base(visit), first)  # it moves
    found = Axe().run(visit.page).response["violations"]
    assert [fault["id"] for fault in found if "camera" in str(fault["nodes"])] == []
    visit.after(visit.locate(".net-freeze").click)
    expect_closed(visit)
    assert visit.text(".net-by") == "Your photograph, from the camera."
    assert visit.page.evaluate("document.activeElement.textContent") == "Camera"
    frozen = base(visit)
    visit.page.wait_for_timeout(500)
    assert torch.equal(base(visit), frozen)
    visit.after(lambda: visit.locate(".net-square").press("Escape"))
    probabilities = predictor.probabilities(frozen[None])[0]
    said = predictor.class_name(int(probabilities.argmax())).partition(",")[0]
    assert visit.text(".net-first") == said
    # In the middle of the frame the disk, on a ground of one color
    green = TF.center_crop(frozen, [40, 40]).float().mean((1, 2))
    assert green[1] > 2 * green[0] and green[1] > 2 * green[2]


@pytest.mark.parametrize("way", some_of(["Escape", "Close", "hidden", "unplugged"], "unplugged"))
def test_closing_shows_again_what_was_there(visit, way):
    visit.after(visit.locate('.net-sample[data-name="koala"]').click)
    visit.after(visit.locate(".net-mirror").click)
    visit.page.wait_for_timeout(800)
    kept = base(visit)
    by, guesses = visit.locate(".net-by").inner_html(), visit.text(".net-guesses")
    open_camera(visit)
    wait_for_passes(visit, 3)
    if way == "Escape":
        visit.page.keyboard.press("Escape")
    elif way == "Close":
        visit.locate(".net-camera-close").click()
    elif way == "hidden":
        visit.page.evaluate("""() => {
            Object.defineProperty(document, "hidden", { value: true, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""")
    else:
        visit.page.evaluate("tracks[0].dispatchEvent(new Event('ended'))")
        expect(visit.locate(".net-status")).to_have_text("The camera was taken away.")
    expect_closed(visit)
    visit.page.wait_for_function(
        "html => document.querySelector('.net-by').innerHTML === html", arg=by
    )
    visit.page.wait_for_function(
        "text => document.querySelector('.net-guesses').textContent === text", arg=guesses
    )
    assert torch.equal(base(visit), kept)
    pressed = '.net-sample[data-name="koala"]'
    assert visit.locate(pressed).get_attribute("aria-pressed") == "true"
    visit.expect_address("net=koala&mirror=yes")


def test_another_photograph_closes_it(visit):
    open_camera(visit)
    wait_for_passes(visit, 2)
    visit.locate('.net-sample[data-name="goldfish"]').click()
    expect(visit.locate(".net-by")).to_contain_text("It shows: goldfish")
    expect_closed(visit)
    visit.page.wait_for_timeout(500)
    expect(visit.locate(".net-by")).to_contain_text("It shows: goldfish")
    open_camera(visit)  # and it opens again
    wait_for_passes(visit, 2)


def test_a_refusal_gets_a_sentence(playwright, site):
    browser = launch(playwright, REFUSED)
    try:
        with Visit(browser, site, **DESK) as visit:
            by = visit.text(".net-by")
            visit.locate(".net-camera").click()
            expect(visit.locate(".net-status")).to_have_text(
                "The camera was refused: allow it for this page in the browser's settings."
            )
            assert visit.page.locator("video").count() == 0 and visit.text(".net-by") == by
    finally:
        browser.close()


@pytest.mark.parametrize(
    ("error", "sentence"),
    some_of(
        [
            ("NotFoundError", "No camera was found: choose a photograph instead."),
            ("NotReadableError", "The camera gives no picture: another program may be using it."),
            ("AbortError", "The camera cannot be opened: AbortError."),
        ],
        ("NotFoundError", "No camera was found: choose a photograph instead."),
    ),
)
def test_an_error_gets_a_sentence(browser, site, error, sentence):
    with Visit(browser, site, script=FAIL.format(error), **DESK) as visit:
        visit.locate(".net-camera").click()
        expect(visit.locate(".net-status")).to_have_text(sentence)


def test_where_browsers_give_no_camera(browser, site):
    with Visit(browser, site, script=NO_CAMERAS, **DESK) as visit:
        visit.locate(".net-camera").click()
        expect(visit.locate(".net-status")).to_have_text(
            "The camera opens only in pages from https or from a folder: choose a file."
        )
    with Visit(browser, site, script=NO_CAMERAS, **PHONE) as visit:
        with visit.page.expect_file_chooser() as chooser:
            visit.locate(".net-camera").tap()
        element = chooser.value.element
        assert element.get_attribute("capture") == "environment"
        assert element.get_attribute("accept") == "image/*"
        content = encode(Image.new("RGB", (80, 60), (200, 20, 20)), "PNG")
        picture = {"name": "a.png", "mimeType": "image/png", "buffer": content}
        visit.after(lambda: chooser.value.set_files(picture))
        assert visit.text(".net-by") == "Your photograph, from the camera."
        assert base(visit)[:, 32, 32].tolist() == [200, 20, 20]


def test_by_touch_on_a_phone(browser, site):
    with Visit(browser, site, script=KEEP_STREAMS, **PHONE) as visit:
        visit.locate(".net-camera").tap()
        wait_for_passes(visit, 3)
        expect(visit.locate(".net-freeze")).to_be_in_viewport()
        assert visit.page.evaluate("wanted.video.facingMode") == "environment"
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        visit.after(visit.locate(".net-freeze").tap)
        expect_closed(visit)
