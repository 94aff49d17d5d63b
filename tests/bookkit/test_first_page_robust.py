"""The net on the first page with what nobody chose: odd pictures, odd addresses, long use."""

import base64
import html
import io
import random
import re
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps, features
from playwright.sync_api import expect
from torchvision.transforms.v2 import functional as TF

from alexnet.bookkit import first_page
from alexnet.bookkit.export import quantized
from alexnet.loader import resize_center_crop
from drivers import renderer_memory
from helpers import NOTEBOOKS, ROOT, encode, make_png
from net_page import DESK, PHONE, Visit, write_site

pytestmark = pytest.mark.slow

# Pictures

SHOWN = {"PNG", "JPEG", "GIF", "WEBP", "BMP", "ICO", "AVIF"}  # what Chromium reads
NOT_SHOWN = {"AVIF LAB"}  # of these
KINDS = [*sorted(SHOWN), "TIFF", "PPM", "TGA", "JPEG2000", "PCX", "SGI", "DDS"]
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB", "HSV"]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9v9"/></svg>'


def make_image(width=90, height=72):
    """Four colors that differ, brighter from left to right: no way round looks like another."""
    rows, columns = np.mgrid[:height, :width] / [[[height]], [[width]]]
    colors = np.array([[[200, 30, 30], [30, 160, 40]], [[40, 60, 210], [120, 110, 100]]])
    picture = colors[(rows >= 0.5).astype(int), (columns >= 0.5).astype(int)]
    return Image.fromarray((picture * (0.6 + 0.4 * columns[..., None])).astype(np.uint8))


IMAGE = make_image()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def swapped_profile():
    """A profile in which red and blue have changed places, as no camera has one."""
    profile = bytearray(SRGB.tobytes())
    for tag, other in ((b"rXYZ", b"bXY@"), (b"bXYZ", b"rXYZ"), (b"bXY@", b"bXYZ")):
        at = profile.index(tag)
        profile[at : at + 4] = other
    return bytes(profile)


def exif(orientation):
    data = Image.Exif()
    data[274] = orientation
    return data


def all_modes():
    """Every mode in every format, where Pillow writes it."""
    files = {}
    for kind in KINDS:
        if kind == "AVIF" and not features.check("avif"):
            continue
        for mode in MODES:
            image = IMAGE.convert("L").convert(mode) if mode in ("I", "F") else None
            image = image or convert(mode)
            if "A" in mode and mode != "LAB":
                image.putalpha(Image.linear_gradient("L").resize(image.size))
            try:
                files[f"{kind} {mode}"] = encode(image, kind)
            except (OSError, ValueError, KeyError, SystemError):
                continue
    return files


def convert(mode):
    if mode == "I;16":
        return Image.fromarray(np.array(IMAGE.convert("L")).astype(np.uint16) * 257)
    if mode == "LAB":
        return ImageCms.profileToProfile(
            IMAGE, SRGB, ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    return IMAGE.convert(mode)


def special_files():
    """Sizes, orientations, profiles, animations."""
    still, turned = IMAGE, IMAGE.rotate(180)
    quick = {"save_all": True, "append_images": [turned], "duration": 40}
    rows = (np.array(IMAGE).astype(">u2") * 257).reshape(72, -1)
    rows_of_16_bits = b"".join(b"\0" + row.tobytes() for row in rows)
    files = {
        "JPEG progressive": encode(still, "JPEG", progressive=True),
        "JPEG 4:4:4": encode(still, "JPEG", subsampling=0),
        "JPEG poor": encode(still, "JPEG", quality=20),
        "JPEG sRGB": encode(still, "JPEG", icc_profile=SRGB.tobytes()),
        "PNG sRGB": encode(still, "PNG", icc_profile=SRGB.tobytes()),
        "PNG swapped profile": encode(still, "PNG", icc_profile=swapped_profile()),
        "PNG 16 bits": make_png(90, 72, 16, 2, rows_of_16_bits),
        "PNG transparent color": encode(still.convert("P"), "PNG", transparency=3),
        "GIF animated": encode(still, "GIF", **quick),
        "WEBP animated": encode(still, "WEBP", lossless=True, **quick),
        "PNG orientation 6": encode(still, "PNG", exif=exif(6)),
        "WEBP orientation 6": encode(still, "WEBP", exif=exif(6), lossless=True),
        "ICO of a bitmap": encode(still, "ICO", bitmap_format="bmp", sizes=[(64, 48)]),
        "BMP tall": encode(make_image(40, 300), "BMP"),
        "PNG 1×1": encode(make_image(1, 1), "PNG"),
        "PNG 2×2": encode(make_image(2, 2), "PNG"),
        "PNG 63×65": encode(make_image(63, 65), "PNG"),
        "PNG 3×250": encode(make_image(3, 250), "PNG"),
        "PNG 2500×40": encode(make_image(2500, 40), "PNG"),
        "JPEG 12000×9000": encode(Image.new("L", (12_000, 9_000), 90), "JPEG", quality=10),
    }
    for orientation in range(1, 9):
        name = f"JPEG orientation {orientation}"
        files[name] = encode(still, "JPEG", quality=95, exif=exif(orientation))
    return files


JPEG, PNG = encode(IMAGE, "JPEG"), encode(IMAGE, "PNG")
REFUSED = {  # with a sentence
    "no bytes.jpg": b"",
    "text.jpg": b"This is no picture.",
    "page.png": b"<!DOCTYPE html><title>404</title>",
    "drawing.svg": SVG,
    "zeros.png": bytes(5000),
    "1×3000.png": encode(make_image(1, 3000), "PNG"),
    "3000×1.png": encode(make_image(3000, 1), "PNG"),
}
TORN = {  # the part that is there may be shown
    "half.jpg": JPEG[: len(JPEG) // 2],
    "half.png": PNG[: len(PNG) // 2],
    "half.gif": encode(IMAGE, "GIF")[:900],
    "half.webp": encode(IMAGE, "WEBP")[:300],
    "head.jpg": JPEG[:20],
    "damaged.png": PNG[:60] + bytes(40) + PNG[100:],
}


def expected_pixels(content):
    """What Pillow makes of a file: turned, in sRGB, on white; then what the net would see."""
    image = Image.open(io.BytesIO(content))
    profile = image.info.get("icc_profile")
    if image.format != "WEBP":  # which browsers do not turn
        image = ImageOps.exif_transpose(image)
    if profile:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        image = ImageCms.profileToProfile(image, own, SRGB, outputMode="RGB")
    if image.mode in ("I", "I;16"):
        image = Image.fromarray((np.array(image) / 257).astype(np.uint8))
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("RGB")
    return resize_center_crop(TF.pil_to_tensor(image), 64)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def desk(browser, site):
    with Visit(browser, site, **DESK) as visit:
        yield visit


@pytest.fixture(scope="module")
def predictor():
    return quantized("tiny-imagenet")[0]


# Drops a file on the page, and waits until it is shown or refused.
DROP = """async ([name, base64]) => {
    const [by, status] = [".net-by", ".net-status"].map((part) => document.querySelector(part));
    by.textContent = status.textContent = "";
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name));
    const options = { bubbles: true, cancelable: true, dataTransfer: data };
    document.querySelector(".net-stage").dispatchEvent(new DragEvent("drop", options));
    const start = performance.now();
    while (by.textContent !== "Your photograph." && !status.textContent.startsWith(name)) {
        if (performance.now() - start > 30_000) throw new Error(`no word about ${name}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return { said: status.textContent, seen: [...netPage.base()] };
}"""


def drop(visit, name, content):
    """The sentence that refuses a file, or none; and what the net sees then: (3, 64, 64)."""
    found = visit.page.evaluate(DROP, [name, base64.b64encode(content).decode()])
    seen = torch.tensor(found["seen"], dtype=torch.uint8).view(64, 64, 3).permute(2, 0, 1)
    return found["said"], seen


def is_refused(visit, name, said, before, seen):
    """Whether it was; then the sentence says why, and what was shown before is there."""
    if not said:
        return False
    assert re.fullmatch(rf"{re.escape(name)} (is|has|needs) [^.]+\.", said), said
    assert torch.equal(before, seen), name
    return True


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.exhaustive
def test_every_mode_and_size_is_shown_as_pillow_reads_it_or_refused(desk, predictor):
    files = all_modes() | special_files()
    assert len(files) >= 50
    assert {name.partition(" ")[0] for name in files} >= SHOWN - {"AVIF"}
    _, before = drop(desk, "first.png", PNG)
    wrong = {}
    for name, content in files.items():
        said, seen = drop(desk, name, content)
        if is_refused(desk, name, said, before, seen):
            if name.partition(" ")[0] in SHOWN and name not in NOT_SHOWN:
                wrong[name] = said
            continue
        # Turned or in other colors it is 20 and more. AVIF's colors, and icons, whose sides are
        # whole parts of no crop, are interpolated in more ways than one.
        limit = 8 if name.startswith(("AVIF", "ICO")) else 4
        off = (seen.float() - expected_pixels(content).float()).abs()
        if off.mean() > limit:
            wrong[name] = round(off.mean().item(), 1)
        before = seen
    assert wrong == {}, wrong
    check_answer(desk, predictor)


def test_what_is_no_picture_is_refused_and_the_page_goes_on(desk, predictor):
    _, before = drop(desk, "first.png", PNG)
    guesses = None
    for name, content in REFUSED.items():
        said, seen = drop(desk, name, content)
        assert is_refused(desk, name, said, before, seen), name
    for name, content in TORN.items():
        said, seen = drop(desk, name, content)
        if not is_refused(desk, name, said, before, seen):
            before = seen
    guesses = desk.text(".net-guesses")
    desk.after(lambda: desk.locate(".net-square").press("ArrowRight"))
    desk.after(lambda: desk.locate(".net-square").press("ArrowLeft"))
    assert desk.text(".net-guesses") == guesses
    check_answer(desk, predictor)


def check_answer(visit, predictor):
    """The bars are what PyTorch says of the pixels that the net sees."""
    visit.after(lambda: visit.locate(".net-square").press("ArrowUp"))
    seen = visit.page.evaluate("[...netPage.seen()]")
    image = torch.tensor(seen, dtype=torch.uint8).view(64, 64, 3).permute(2, 0, 1)
    probabilities = predictor.probabilities(image[None])[0].tolist()
    shown = visit.page.evaluate("netPage.last().probabilities")
    assert shown == pytest.approx(probabilities, abs=2e-4)
    assert sum(bars(visit)) == pytest.approx(1, abs=1e-3)


def bars(visit):
    script = "bars => bars.map(bar => parseFloat(bar.style.width) / 100)"
    return visit.page.eval_on_selector_all(".net-guess i", script)


# Addresses


def linked_states():
    """The states of the net to which the chapters lead, with the chapter's name."""
    found = []
    for name in NOTEBOOKS:
        text = (ROOT / f"{name}.ipynb").read_text(encoding="utf-8")
        for state in re.findall(r'intro\.(?:md|html)#(net=[^)"\\]*)', text):
            found.append((name.partition("/")[2], html.unescape(state)))
    return found


def test_the_page_understands_every_link_of_the_chapters(desk):
    """It writes the same state into its address, so that no key is one that it does not know."""
    states = linked_states()
    chapters = {"lrn", "two_gpus", "filters", "dropout", "augmentation", "basics"}
    assert {name for name, _ in states} >= chapters
    for name, state in states:
        go(desk, f"#{state}&unread")
        desk.page.wait_for_function("!location.hash.includes('unread')")
        written = dict(parse_qsl(desk.page.evaluate("location.hash.slice(1)")))
        assert written == dict(parse_qsl(state)), name


def go(visit, fragment):
    visit.after(lambda: visit.page.evaluate("to => { location.hash = to }", fragment))


KEYS = ["net", "square", "with", "crop", "mirror", "cut", "look", "unit", "scale", "costs", "x"]
WORDS = [
    "koala",
    "none",
    "yes",
    "lrn",
    "kernel7",
    "kernel0",
    "kernel99",
    "column2",
    "conv3.column1",
]
WORDS += ["conv1.7", "fc8.200", "conv9.1", "blur", "noise", "goldfish", "own", "shown", "dropout"]
WORDS += ["__proto__", "constructor", "null", "NaN", "-1", "1e999", "0x10", "", " ", "%", "%E0%A4"]
WORDS += ["<img src=x onerror=alert(1)>", "ü", "🐼", "'\"", "../..", "a" * 3000, "#", "=", ",,,"]


def random_fragment(draw):
    """Keys that there are, some twice, with values that may be anything."""
    parts = [f"net={draw.choice(['koala', 'bison', 'dragon', '', draw.choice(WORDS)])}"]
    for _ in range(draw.randrange(8)):
        values = []
        for _ in range(draw.choice([1, 1, 2, 3, 3, 4])):
            number = draw.choice([draw.uniform(-99, 99), draw.uniform(0, 64), draw.uniform(0, 4)])
            values.append(draw.choice([draw.choice(WORDS), str(number)]))
        parts.append(f"{draw.choice(KEYS)}={','.join(values)}")
    draw.shuffle(parts[1:])
    return "#" + draw.choice(["&", "&", "&", ";"]).join(parts)


STATE = """() => {
    const { square, fill, crop, mirrored, cuts, kernels, look, photograph } = netPage.state;
    return { square, fill, crop, mirrored, cuts: [...cuts], kernels: [...kernels], look, photograph,
        layers: netPage.first.layers, names: netPage.first.photographs.map(({ name }) => name) };
}"""


def check_state(state):
    """All within the bounds, whatever the address said."""
    names = state["names"]
    assert state["photograph"] in [*names, "yours"]
    assert state["fill"] in ["gray", "blur", "noise", *names]
    assert state["mirrored"] in (True, False)
    if square := state["square"]:
        assert 0 <= square["x"] <= 64 and 0 <= square["y"] <= 64 and 4 <= square["size"] <= 40
    crop = state["crop"]
    assert 1 <= crop["zoom"] <= 4
    half = 0.5 / crop["zoom"] - 1e-9  # of a square photograph
    assert half <= crop["x"] <= 1 - half and half <= crop["y"] <= 1 - half
    assert set(state["kernels"]) <= set(range(48))
    known = {"column1", "column2", "crossing", "lrn", "dropout"}
    known |= {f"conv{n}.column{c}" for n in range(1, 6) for c in (1, 2)}
    assert set(state["cuts"]) <= known
    if look := state["look"]:
        layer = state["layers"][look["layer"]]
        assert 0 <= look["map"] < layer["maps"]
        assert look.get("unit") is None or 0 <= look["unit"] < layer["side"] ** 2


@pytest.mark.exhaustive
def test_300_random_addresses(browser, site):
    draw = random.Random(26)
    with Visit(browser, site, **DESK) as visit:
        for at in range(300):
            fragment = random_fragment(draw)
            visit.page.evaluate(
                """async (to) => {
                    location.hash = to;
                    await new Promise((resolve) => setTimeout(resolve, 40));
                }""",
                fragment,
            )
            if at % 15:
                continue
            visit.page.wait_for_function("document.querySelector('.net').dataset.state === 'idle'")
            check_state(visit.page.evaluate(STATE))
            assert sum(bars(visit)) == pytest.approx(1, abs=1e-3), fragment
            assert "stopped" not in visit.text(".net-status"), fragment
        go(visit, "#net=red_panda")
        assert visit.page.locator(".net img[src='x']").count() == 0
        visit.after(lambda: visit.locate(".net-square").press("ArrowRight"))
        visit.expect_address("square=14,54,14")


# Long use

CARRY = """async (frames) => {
    const stage = document.querySelector(".net-stage");
    let passed = () => {};
    window.listening ??= netPage.onPass(() => window.passed()) ?? true;
    const box = stage.getBoundingClientRect();
    for (let frame = 0; frame < frames; frame++) {
        const place = { clientX: box.x + box.width * (0.5 + 0.4 * Math.sin(frame / 9)),
            clientY: box.y + box.height * (0.5 + 0.4 * Math.cos(frame / 7)) };
        const pass = new Promise((resolve) => { window.passed = resolve; });
        stage.dispatchEvent(new PointerEvent("pointermove",
            { bubbles: true, pointerId: 1, pointerType: "mouse", ...place }));
        await pass;
    }
}"""


@pytest.mark.browsers
def test_memory_is_steady_over_2000_frames(browser, site):
    """That of the page after collecting garbage, and that of the whole process with its worker."""
    with Visit(browser, site, **DESK) as visit:
        session = visit.context.new_cdp_session(visit.page)
        session.send("Performance.enable")
        heaps, processes = [], []
        for frames in (200, 1000, 1000):
            visit.page.evaluate(CARRY, frames)
            session.send("HeapProfiler.collectGarbage")
            metrics = session.send("Performance.getMetrics")["metrics"]
            heaps.append(next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize"))
            processes.append(renderer_memory())
    assert heaps[2] < heaps[0] + 2e6, heaps  # bytes; the maps of 2,000 frames are 500 MB
    assert processes[2] < processes[0] + 40e6, processes


# Every action by keys alone, and by touch alone


def test_every_action_by_keyboard(browser, site):
    with Visit(browser, site, **DESK) as visit:
        page, square = visit.page, visit.locate(".net-square")
        square.focus()
        for key in ("ArrowUp", "Shift+ArrowRight", "+", "-"):
            visit.after(lambda key=key: page.keyboard.press(key))
        assert square.get_attribute("aria-valuetext") == "11 across, 50 down, 14 wide"
        visit.after(lambda: page.keyboard.press("Escape"))
        assert square.get_attribute("aria-valuetext") == "lifted"
        visit.locate(".net-block[data-layer=conv1]").focus()
        page.keyboard.press("ArrowRight")
        expect(visit.locate(".net-panel")).to_contain_text("conv1, map")
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        expect(visit.locate(".net-panel")).to_be_hidden()
        for selector, key, address in [
            ('[data-cut="lrn"]', "Space", "cut=lrn"),
            ('.net-sample[data-name="koala"]', "Enter", "net=koala"),
            (".net-mirror", "Space", "mirror=yes"),
        ]:
            visit.locate(selector).focus()
            visit.after(lambda key=key: page.keyboard.press(key))
            visit.expect_address(address)
        visit.locate(".net-crop").focus()
        page.keyboard.press("Enter")
        for key in ("+", "ArrowLeft", "ArrowUp"):
            visit.after(lambda key=key: page.keyboard.press(key))
        visit.expect_address("crop=")
        page.keyboard.press("Escape")
        assert visit.locate(".net-crop").get_attribute("aria-pressed") == "false"


def test_every_action_by_touch(browser, site):
    with Visit(browser, site, **PHONE) as visit:
        page, stage = visit.page, visit.locate(".net-stage")
        session = visit.context.new_cdp_session(page)

        def drag(selector, dx, dy):
            """Put a finger down in the middle of an element, and draw it away."""
            box = visit.locate(selector).bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            for step in range(9):
                point = {"x": x + step * dx / 8, "y": y + step * dy / 8}
                kind = "touchMove" if step else "touchStart"
                session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
            session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        before = visit.locate(".net-square").get_attribute("aria-valuetext")
        visit.after(lambda: drag(".net-square", 60, -70))
        assert visit.locate(".net-square").get_attribute("aria-valuetext") != before
        visit.after(lambda: stage.tap(position={"x": 30, "y": 40}))
        visit.locate(".net-block[data-layer=conv1]").tap()
        expect(visit.locate(".net-panel")).to_contain_text("conv1, map")
        visit.locate(".net-close").tap()
        expect(visit.locate(".net-panel")).to_be_hidden()
        for selector, address in [
            ('[data-cut="lrn"]', "cut=lrn"),
            ('.net-sample[data-name="koala"]', "net=koala"),
            (".net-mirror", "mirror=yes"),
        ]:
            visit.after(visit.locate(selector).tap)
            visit.expect_address(address)
        visit.locate(".net-crop").tap()
        visit.locate(".net-zoom").fill("2")
        visit.after(lambda: drag(".net-stage", -40, 30))
        visit.expect_address("crop=")
        visit.locate(".net-crop").tap()
        assert visit.locate(".net-crop").get_attribute("aria-pressed") == "false"
        visit.locate(".net-fill").select_option("none")
        visit.expect_address("square=none")


def test_the_photographs_of_the_links_lie_ready():
    names = {row["file"].partition(".")[0] for row in first_page.credits()}
    assert {dict(parse_qsl(state))["net"] for _, state in linked_states()} <= names
