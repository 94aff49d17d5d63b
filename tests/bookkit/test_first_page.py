"""The net on the first page: what it shows at first, and each thing that can be done with it."""

import base64
import gzip
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect
from torch import Tensor

from alexnet import checkpoint
from alexnet.bookkit import first_page
from alexnet.bookkit.claims import claims
from alexnet.bookkit.export import export, quantized
from alexnet.loader import decode_image, resize_center_crop
from alexnet.model import AlexNet
from alexnet.predictor import SHIPPED
from alexnet.quantize import quantize
from helpers import BROKEN_IMAGES, ODD_IMAGES, ROOT, encode, some_of
from net_page import IDLE, PHONE

pytestmark = pytest.mark.slow

DESK = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
STILL = {"reduced_motion": "reduce"}
INTRO = f"# Running AlexNet\n\n{'AlexNet is a net. ' * 12}\n\n## Below\n\nText.\n"


# How often the trial net is said to be right, by how sure it is; the last tenth is too few.
CURVE = [
    {"from": n / 10, "to": (n + 1) / 10, "images": 1000 if n < 9 else 40, "right": n / 10 + 0.03}
    for n in range(10)
]


def save_net(path):
    """Random weights of 6 bits, with which the photographs get different guesses."""
    torch.manual_seed(1)
    tensors = {}
    for name, value in AlexNet(200, "tiny-imagenet").state_dict().items():
        if name.endswith(".weight"):
            tensors[name], tensors[f"{name}.scale"] = quantize(value, 6)
        else:
            tensors[name] = torch.randn_like(value) * 0.05
    # As for the net of the book: a mean for each number of a photograph
    mean, std = 0.4 + 0.1 * torch.rand(3, 56, 56), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    tensors |= {"mean": mean, "std": std}
    card = {
        "variant": "tiny-imagenet",
        "classes": [f"n{i:08}" for i in range(200)],
        "words": [f"thing {i}, object {i}" for i in range(200)],
        "resize": 64,
        "crop": 56,
        "how_often_right": CURVE,
    }
    checkpoint.save_weights(path, tensors, card)
    predictor = quantized(path)[0]
    names = [row["file"] for row in first_page.credits()]
    images = torch.stack([photograph(name) for name in names])
    # What all have in common would decide the guess
    tensors["classifier.fc8.bias"] -= predictor.probabilities(images).log().mean(0)
    for name in ("weight.scale", "bias"):
        tensors[f"classifier.fc8.{name}"] *= 20
    checkpoint.save_weights(path, tensors, card)


def photograph(name):
    return resize_center_crop(decode_image(first_page.PHOTOGRAPHS / name), 64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "trial.safetensors"
    save_net(path)
    return path


@pytest.fixture(scope="module")
def predictor(weights):
    return quantized(weights)[0]


@pytest.fixture(scope="module")
def part(weights):
    """The part of the page, parsed, and its state."""
    page = BeautifulSoup(first_page.render(weights), "html.parser")
    return page, json.loads(page.select_one(".net-state").string)


@pytest.fixture(scope="module")
def site(weights, tmp_path_factory):
    """A book of one page, built as the book is, with the trial net."""
    folder = tmp_path_factory.mktemp("site")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    settings = config["sphinx"]["config"]
    ours = {path.stem for path in (ROOT / "book" / "_ext").glob("*.py")}
    needed = {"repository_buttons", "plain_markdown", "first_page"}  # others are of the chapters
    settings["extensions"] = [name for name in settings["extensions"] if name not in ours - needed]
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/intro\n", encoding="utf-8")
    for name in ("_ext", "_static", "_templates", "photographs"):
        leave_out = shutil.ignore_patterns("nets", "__pycache__")
        shutil.copytree(ROOT / "book" / name, folder / "book" / name, ignore=leave_out)
    for name in ("page", "engine"):
        shutil.copytree(first_page.PAGE.parent / name, folder / "alexnet" / "bookkit" / name)
    shutil.copy(ROOT / "book" / "references.bib", folder / "book")
    (folder / "book" / "intro.md").write_text(INTRO, encoding="utf-8")
    export(weights, folder / "book" / "_static" / "nets" / "trial")
    first_page.main([str(weights), "--out", str(folder / "book" / "first_page.html")])
    command = [Path(sys.executable).with_name("jupyter-book"), "build", folder, "-W", "-n"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


# What the page shows before any script runs


def true_answer(predictor, image):
    """Probabilities and conv1's maps, by another way than first_page's."""
    image = torch.as_tensor(image)
    conv1 = []
    hook = predictor.model.features.act1.register_forward_hook(lambda *call: conv1.append(call[2]))
    probabilities = predictor.probabilities(image[None])[0]
    hook.remove()
    return probabilities, conv1[0][0]


def outputs_of(predictor, image):
    """What each layer of the net puts out, before its ReLU, by names such as conv1."""
    outputs = {}

    def keep(name):
        return lambda layer, inputs, output: outputs.update({name: output[0].clone()})

    layers = predictor.model.named_modules()
    hooks = [
        layer.register_forward_hook(keep(name.rpartition(".")[2]))  # ReLU works in place
        for name, layer in layers
    ]
    predictor.probabilities(image[None])
    for hook in hooks:
        hook.remove()
    return outputs


def red_panda():
    return photograph("red_panda.webp")


def parsed(site):
    html = (site / "book" / "intro.html").read_text(encoding="utf-8")
    return BeautifulSoup(html, "html.parser")


def shown_in(page):
    """Words and percentages of the guesses."""
    rows = page.select(".net-guess")
    return [(row.select_one(".net-word").text, row.select_one(".net-value").text) for row in rows]


def decode_png(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def check_first_state(predictor, card, page, state):
    seen = np.array(decode_png(page.select_one(".net-seen")["src"])).transpose(2, 0, 1)
    square = state["square"]
    half = square["size"] // 2
    left, top = square["x"] - half, square["y"] - half
    expected = red_panda().numpy().copy()
    expected[:, top : top + 2 * half, left : left + 2 * half] = np.array(state["gray"])[
        :, None, None
    ]
    assert np.array_equal(seen, expected)

    probabilities, conv1 = true_answer(predictor, seen)
    logits = outputs_of(predictor, torch.as_tensor(seen))["fc8"]
    untouched, _ = true_answer(predictor, red_panda())
    best = untouched.topk(5).indices.tolist()
    assert state["guesses"] == best
    words = [predictor.class_name(label).split(",")[0] for label in best]
    values = [float(probabilities[label]) for label in best]
    values.append(1 - sum(values))
    others = f"the other {len(predictor.classes) - 5}"
    expected = [(word, first_page.percent(p)) for word, p in zip([*words, others], values)]
    assert shown_in(page) == expected
    bars = [row.select_one("i")["style"] for row in page.select(".net-guess")]
    assert bars == [f"width:{100 * p:.2f}%" for p in values]
    said = predictor.class_name(int(probabilities.argmax())).split(",")[0]
    assert page.select_one(".net-first").text == said

    for layer in state["layers"][:5]:
        _, places = state["strongest"][layer["name"]]
        assert all(place < layer["side"] ** 2 for place in places)
    values, places = state["strongest"]["conv1"]
    assert places == conv1.flatten(1).argmax(1).tolist()
    assert values == pytest.approx(conv1.amax((1, 2)).tolist(), rel=1e-4)
    assert state["strongest"]["fc8"][0] == pytest.approx(logits.tolist(), abs=1e-3)
    expected = first_page.sure_sentence(card, float(probabilities.max()))
    assert page.select_one(".net-sure").text == expected
    base = np.array(decode_png(state["base"])).transpose(2, 0, 1)
    assert np.array_equal(base, red_panda().numpy())

    picture = np.array(decode_png(page.select_one('.net-block[data-column="1"] img')["src"]))
    level = (conv1[24:25, :, :] / state["layers"][0]["scale"]).clamp(0, 1) * 254
    assert np.abs(picture[:27, :27] - level[0].numpy()).max() <= 0.51


def test_first_state_is_what_pytorch_computes(predictor, part):
    check_first_state(predictor, {"how_often_right": CURVE}, *part)


@pytest.mark.skipif(not first_page.OUT.exists(), reason="the page has no net yet")
def test_first_state_in_the_book_is_that_of_the_weights():
    page = BeautifulSoup(first_page.OUT.read_text(encoding="utf-8"), "html.parser")
    state = json.loads(page.select_one(".net-state").string)
    assert state["net"] == "tiny-imagenet" and SHIPPED["tiny-imagenet"].exists()
    predictor, _, card = quantized("tiny-imagenet")
    check_first_state(predictor, card, page, state)


def test_receptive_fields(part):
    fields = {layer["name"]: (layer["field"], layer["start"]) for layer in part[1]["layers"]}
    assert fields["conv1"] == (7, 0) and fields["conv2"] == (7 + 2 * 2 + 4 * 4, -8)
    assert fields["conv4"] == (51 + 2 * 8, -24) and fields["fc6"] == (56, 0)


@pytest.mark.parametrize(("sure", "expected"), [(0.1, "3"), (0.101, "13"), (0.9, "83"), (1, "")])
def test_how_often_it_was_right(sure, expected):
    sentence = f"Of 100 validation photographs of which it was this sure, {expected} were right."
    said = first_page.sure_sentence({"how_often_right": CURVE}, sure)
    assert said == (sentence if expected else "")
    assert first_page.sure_sentence({}, sure) == ""


@pytest.mark.parametrize(("size", "expected"), [(2, [0, 1, 1, 0]), (3, [0.5, 1, 1, 0.5])])
def test_a_square_covers_pixels_in_part(size, expected):
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    covered = first_page.cover(image, {"x": 2, "y": 2, "size": size}, [200, 200, 200])
    assert torch.equal(covered[0, 1], (200 * torch.tensor(expected)).to(torch.uint8))


def test_every_photograph_has_its_credit():
    rows = first_page.credits()
    assert sorted(row["file"] for row in rows) == sorted(
        path.name for path in first_page.PHOTOGRAPHS.glob("*.webp")
    )
    for row in rows:
        assert row["author"] and row["licence"] and row["source"].startswith("https://")


def test_a_missing_file_of_weights_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere\.safetensors is not a file"):
        first_page.main([str(tmp_path / "nowhere.safetensors"), "--out", str(tmp_path / "a.html")])
    assert not (tmp_path / "a.html").exists()


def test_the_number_of_claims_is_that_of_the_record():
    text = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    (number,) = re.findall(r"has found (\d+) claims", text)
    assert int(number) == len(claims())


# The page in a browser, from a folder


class Visit:
    """The first page, and what a person sees on it."""

    def __init__(self, browser, site, fragment="", **options):
        self.complaints = []
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = (site / "book" / "intro.html").as_uri()
        self.page.goto(self.address + fragment)

    def loaded(self):
        self.page.wait_for_function("document.querySelector('.net').dataset.passes > 0")
        return self

    def restart(self, fragment="#net=red_panda"):
        """Go to another state by its address, as a link does."""
        self.after(lambda: self.page.evaluate("to => { location.hash = to }", f"{fragment}&x"))
        self.page.wait_for_function("!location.hash.endsWith('&x')")  # read, and written anew
        self.page.mouse.move(2, 2)

    def after(self, action):
        """Do something, and wait until the net has answered."""
        before = self.page.evaluate("document.querySelector('.net').dataset.passes")
        action()
        self.page.wait_for_function(IDLE, arg=before)

    def expect_address(self, text):
        self.page.wait_for_function("text => location.hash.includes(text)", arg=text)

    def guesses(self):
        """Words and percentages; asking costs less than parsing a page of 200 kB."""
        return list(zip(self.texts(".net-guess .net-word"), self.texts(".net-guess .net-value")))

    def texts(self, selector):
        return self.page.locator(selector).all_text_contents()

    def bars(self):
        return self.page.eval_on_selector_all(
            ".net-guess i", "bars => bars.map(bar => parseFloat(bar.style.width) / 100)"
        )

    def marks(self):
        return self.page.eval_on_selector_all(
            ".net-guess u", "marks => marks.map(mark => parseFloat(mark.style.left) / 100)"
        )

    def words(self):
        return [word for word, _ in self.guesses()]

    def seen(self):
        """The pixels that the net sees, as they are shown: (3, 64, 64)."""
        bytes_ = self.page.evaluate("""() => {
            const canvas = document.querySelector("canvas.net-seen");
            return [...canvas.getContext("2d").getImageData(0, 0, 64, 64).data];
        }""")
        return torch.tensor(bytes_, dtype=torch.uint8).view(64, 64, 4)[..., :3].permute(2, 0, 1)

    def square(self):
        return self.page.get_attribute(".net-square", "aria-valuetext")

    def locate(self, selector):
        return self.page.locator(selector).first

    def point(self, selector, across, down):
        """A place in an element, as coordinates of the window."""
        box = self.locate(selector).bounding_box()
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.context.close()
        if exception == (None, None, None):
            assert self.complaints == []


@pytest.fixture(scope="module")
def desk(browser, site):
    with Visit(browser, site, **DESK, **STILL) as visit:
        yield visit.loaded()


@pytest.fixture
def visit(desk):
    desk.restart()
    return desk


def assert_true(visit, predictor):
    """The bars are what PyTorch says of the pixels that are shown."""
    probabilities, _ = true_answer(predictor, visit.seen())
    by_word = {predictor.class_name(i).split(",")[0]: float(p) for i, p in enumerate(probabilities)}
    expected = [by_word[word] for word in visit.words()[:5]]
    expected.append(1 - sum(expected))
    assert visit.bars() == pytest.approx(expected, abs=2e-4)
    said = visit.page.text_content(".net-first")
    assert by_word[said] == pytest.approx(max(by_word.values()), abs=2e-4)
    beyond = visit.page.text_content(".net-beyond")
    assert bool(beyond) == (said not in visit.words()[:5])


PICTURES = """() => [...document.querySelectorAll(".net-block canvas, canvas.net-seen")]
    .map((canvas) => canvas.toDataURL())"""


def test_loading_the_weights_changes_nothing(browser, site):
    stored = parsed(site)
    before = [image["src"] for image in stored.select(".net-seen, .net-block img")]
    with Visit(browser, site, **DESK, **STILL) as visit:
        visit.loaded()
        expected = [
            float(re.search("[0-9.]+", bar["style"])[0]) for bar in stored.select("i[style]")
        ]
        assert [100 * bar for bar in visit.bars()] == pytest.approx(expected, abs=0.5)
        assert visit.words() == [word for word, _ in shown_in(stored)]
        after = visit.page.evaluate(PICTURES)
    for old, new in zip(before, after, strict=True):
        old, new = (np.array(decode_png(uri).convert("RGBA")).astype(int) for uri in (old, new))
        assert np.abs(old - new).mean() < 0.5 and old.any()


def test_without_scripts_the_first_state_is_there(browser, site):
    with Visit(browser, site, **DESK, java_script_enabled=False) as visit:
        for selector in (".net-picture", ".net-seen", ".net-guess", ".net-block img"):
            assert visit.locate(selector).is_visible()
        for selector in (".net-cuts", ".net-tools", ".net-samples", ".net-do"):
            assert visit.locate(selector).is_hidden()


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_the_first_screen(browser, site, device):
    with Visit(browser, site, **device, **STILL) as visit:
        page = visit.page
        height = device["viewport"]["height"]
        last = "figure.net figcaption" if device is DESK else ".net-guess:last-child"
        for selector in ("h1", ".net-stage", ".net-first", last):
            box = visit.page.locator(f".bd-article {selector}").bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, selector
        scrolls = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(scrolls) <= 0
        visit.loaded()
        assert page.evaluate(scrolls) <= 0
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        own = [
            (violation["id"], node["html"][:200])
            for violation in found
            for node in violation["nodes"]
            if "net" in "".join(map(str, node["target"]))
        ]
        assert own == []


def test_what_the_first_page_sends(browser, site):
    """At most 0.9 MB before the weights, as a server sends it: what is text, gzipped."""
    sent = {}

    def weigh(request):
        path = Path(url2pathname(urlsplit(request.url).path))
        if request.url.startswith("file:") and "nets" not in path.parts:
            content = path.read_bytes()
            is_text = path.suffix in (".html", ".css", ".js", ".svg", ".json")
            sent[path] = len(gzip.compress(content) if is_text else content)

    with Visit(browser, site, **DESK, **STILL) as visit:
        visit.page.on("request", weigh)
        visit.page.reload()
        visit.loaded()
    assert {"intro.html", "page.js", "engine.js"} <= {path.name for path in sent}
    assert sum(sent.values()) <= 900_000


def test_the_mouse_carries_the_square(visit, predictor):
    page, start = visit.page, visit.bars()
    words, marks = visit.words(), visit.marks()
    page.mouse.move(*visit.point(".net-stage", 0.2, 0.2))
    visit.after(lambda: page.mouse.move(*visit.point(".net-stage", 0.5, 0.5)))
    assert visit.square().startswith("32 across, 32 down") and visit.bars() != start
    assert visit.words() == words and visit.marks() == marks
    assert_true(visit, predictor)
    page.mouse.move(*visit.point(".net-stage", 0.5031, 0.4967))
    visit.after(lambda: page.mouse.move(*visit.point(".net-stage", 0.5067, 0.5024)))
    place = page.evaluate("netPage.state.square")  # now not whole pixels
    laid = first_page.cover(red_panda(), place, first_page.gray_of(predictor))
    assert torch.equal(visit.seen(), laid) and place["x"] % 1
    visit.after(lambda: page.mouse.move(*visit.point(".net-stage", 0.5, 0.5)))
    page.mouse.down()
    page.mouse.up()  # puts it down
    page.mouse.move(*visit.point(".net-stage", 0.8, 0.8))
    page.wait_for_timeout(200)
    assert visit.square().startswith("32 across, 32 down")
    page.mouse.down()  # takes it up, and drags it
    page.mouse.move(*visit.point(".net-stage", 0.75, 0.25), steps=3)
    page.mouse.up()
    page.mouse.move(*visit.point(".net-stage", 0.1, 0.1))
    page.wait_for_timeout(300)
    assert visit.square().startswith("48 across, 16 down")
    assert_true(visit, predictor)


def test_keys_carry_the_square(visit, predictor):
    page = visit.page
    visit.locate(".net-square").focus()
    assert visit.square() == "10 across, 54 down, 14 wide"
    for key, place in [
        ("ArrowRight", "14 across, 54 down, 14 wide"),
        ("ArrowUp", "14 across, 50 down, 14 wide"),
        ("Shift+ArrowLeft", "13 across, 50 down, 14 wide"),
        ("Shift+ArrowDown", "13 across, 51 down, 14 wide"),
        ("+", "13 across, 51 down, 16 wide"),
        ("-", "13 across, 51 down, 14 wide"),
        ("Escape", "lifted"),
    ]:
        visit.after(lambda key=key: page.keyboard.press(key))
        assert visit.square() == place
    assert visit.bars() == pytest.approx(visit.marks(), abs=2e-4)
    assert torch.equal(visit.seen(), red_panda())
    for _ in range(20):
        page.keyboard.press("ArrowUp")
    visit.after(lambda: page.keyboard.press("ArrowUp"))
    assert visit.square().split(", ")[1] == "0 down"
    assert_true(visit, predictor)


def test_the_square_is_lifted_and_laid_down(visit):
    choice = visit.locate(".net-fill")
    visit.after(lambda: choice.select_option("no square"))
    assert visit.square() == "lifted"
    assert torch.equal(visit.seen(), red_panda())
    visit.after(lambda: choice.select_option("grey square"))
    assert visit.square() == "10 across, 54 down, 14 wide"


def blurred(image):
    """The mean of 13×13 pixels, or of those that are there."""
    means = F.avg_pool2d(image.double(), 13, 1, 6, count_include_pad=False)
    return (means + 0.5).floor().to(torch.uint8)


def noise():
    """MurmurHash3's last step for each byte's number."""
    bits = np.arange(1, 64 * 64 * 3 + 1, dtype=np.uint32) * np.uint32(0x9E3779B1)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * np.uint32(factor)
    bits = (bits ^ (bits >> 16)) & 255
    return torch.tensor(bits.astype(np.uint8)).view(64, 64, 3).permute(2, 0, 1)


COVERED = np.s_[:, 47:61, 3:17]  # where the square lies at first


@pytest.mark.parametrize("fill", some_of(["blur", "noise"], "blur"))
def test_the_square_is_blurred_or_noise(visit, predictor, fill):
    visit.after(lambda: visit.locate(".net-fill").select_option(fill))
    expected = red_panda()
    filled = blurred(expected) if fill == "blur" else noise()
    expected[COVERED] = filled[COVERED]
    assert torch.equal(visit.seen(), expected)
    assert_true(visit, predictor)
    visit.expect_address(f"with={fill}")
    visit.restart()
    assert not torch.equal(visit.seen(), expected)
    visit.restart(f"#net=red_panda&with={fill}")
    assert torch.equal(visit.seen(), expected)
    visit.page.mouse.move(*visit.point(".net-stage", 0.2, 0.2))
    visit.after(lambda: visit.page.mouse.move(*visit.point(".net-stage", 0.51, 0.48)))
    assert_true(visit, predictor)


def test_the_square_is_a_patch_of_another_photograph(visit, predictor):
    other = photograph("koala.webp").int()
    visit.after(lambda: visit.locate(".net-fill").select_option("patch of koala"))
    visit.expect_address("with=koala")
    visit.page.wait_for_function("netPage.seen()[3 * (54 * 64 + 10)] !== netPage.first.gray[0]")
    visit.after(lambda: visit.page.evaluate("netPage.touch()"))
    found = visit.seen()
    assert (found[COVERED].int() - other[:, 25:39, 25:39]).abs().max() <= 4  # its center
    found[COVERED] = red_panda()[COVERED]
    assert torch.equal(found, red_panda())
    assert_true(visit, predictor)


MAP = """() => {
    const { width, height } = document.querySelector(".net-over");
    const context = document.querySelector(".net-over").getContext("2d");
    return [...context.getImageData(0, 0, width, height).data].filter((_, at) => at % 4 === 3);
}"""
DARK = 225  # of the map, where nothing changes


def shades(values, white):
    return (DARK * (1 - (values / white).clamp(0, 1))).flatten()


def map_place(visit, kind):
    button = visit.locate(f"[data-where={kind}]")
    button.click()
    visit.page.wait_for_selector(f".net[data-mapped={kind}]")
    assert button.get_attribute("aria-pressed") == "true"
    assert visit.locate(".net-over").is_visible() and visit.locate(".net-legend").is_visible()
    return torch.tensor(visit.page.evaluate(MAP), dtype=torch.float32)


def test_one_click_covers_all_places(visit, predictor):
    usual = visit.page.text_content(".net-shows")
    found = map_place(visit, "cover")
    image, gray = red_panda(), first_page.gray_of(predictor)
    places = [6 + 4 * n for n in range(14)]
    images = [
        first_page.cover(image, {"x": x, "y": y, "size": 14}, gray) for y in places for x in places
    ]
    whole = predictor.probabilities(image[None])[0]
    best = int(whole.argmax())
    falls = whole[best] - predictor.probabilities(torch.stack(images))[:, best]
    assert (found - shades(falls, falls.max())).abs().max() <= 2
    lowest = first_page.percent(float(whole[best] - falls.max()))
    assert visit.page.text_content(".net-high") == f"down to {lowest}"
    name = predictor.class_name(best).split(",")[0]
    assert name in visit.page.text_content(".net-shows")
    visit.expect_address("map=cover")
    visit.restart()
    assert visit.locate(".net-over").is_hidden()
    visit.restart("#net=red_panda&map=cover")  # a link shows it again
    visit.page.wait_for_function("netPage.root.dataset.mapped === 'cover'")
    assert visit.page.evaluate(MAP) == found.tolist()
    # It stays while the square is carried, and goes when it would be the map of something else
    visit.after(lambda: visit.locate(".net-square").press("ArrowRight"))
    assert visit.locate(".net-over").is_visible()
    visit.after(visit.locate(".net-mirror").click)
    expect(visit.locate(".net-over")).to_be_hidden()
    assert visit.page.text_content(".net-shows") == usual


def test_covering_is_cancelled(visit):
    button = visit.locate("[data-where=cover]")
    button.click()
    expect(visit.locate(".net-progress")).to_be_visible()
    visit.after(lambda: visit.locate(".net-square").press("ArrowRight"))  # the page answers
    button.click()
    expect(visit.locate(".net-progress")).to_be_hidden()
    visit.page.wait_for_timeout(1000)
    assert visit.locate(".net-over").is_hidden()
    assert visit.page.get_attribute(".net", "data-mapped") is None


def check_gradient(visit, predictor, found):
    pixels = visit.seen()[None].float().requires_grad_()
    logits = predictor.model.eval()(predictor.normalize(pixels[:, :, 4:60, 4:60]))[0]
    logits.max().backward()
    sizes = pixels.grad[0, :, 4:60, 4:60].abs().sum(0).flatten()
    white = sizes.sort().values[int(0.995 * (len(sizes) - 1))]
    assert (found - shades(sizes, white)).abs().max() <= 2


def test_one_click_shows_the_gradient(visit, predictor):
    found = map_place(visit, "gradient")
    check_gradient(visit, predictor, found)
    visit.page.evaluate("delete document.querySelector('.net').dataset.mapped")
    visit.after(lambda: visit.locate(".net-square").press("ArrowUp"))
    visit.page.wait_for_selector(".net[data-mapped=gradient]")
    later = torch.tensor(visit.page.evaluate(MAP), dtype=torch.float32)
    assert not torch.equal(later, found)
    check_gradient(visit, predictor, later)
    visit.after(visit.locate("[data-where=gradient]").click)
    assert visit.locate(".net-over").is_hidden()


def listed(visit):
    """Rank, name and percentage in the list of all classes."""
    rows = visit.page.eval_on_selector_all(
        ".net-list li",
        "rows => rows.map(row => [...row.querySelectorAll('span')].map(part => part.textContent))",
    )
    return [tuple(row) for row in rows]


def test_the_list_of_all_classes(visit, predictor):
    page = visit.page
    visit.locate(".net-list summary").focus()
    page.keyboard.press("Enter")
    expect(visit.locate(".net-list li")).to_be_visible()
    assert page.evaluate("document.activeElement.type") == "search"
    probabilities, _ = true_answer(predictor, visit.seen())
    order = probabilities.argsort(descending=True).tolist()
    ranks = {label: rank for rank, label in enumerate(order, 1)}
    found = listed(visit)
    assert len(found) == 200 and found[0][0] == "1."
    for rank, name, value in found:
        label = int(name.split()[-1])
        assert rank == f"{ranks[label]}." and name == predictor.class_name(label)
        shown = float(value.removesuffix(" %"))
        assert shown == pytest.approx(100 * float(probabilities[label]), abs=0.5)
    page.keyboard.type("ThinG 17")
    expect(visit.locate(".net-found")).to_have_text("11 of 200")
    assert {name for _, name, _ in listed(visit)} == {
        f"thing {n}, object {n}" for n in (17, *range(170, 180))
    }
    before = listed(visit)
    visit.after(lambda: visit.locate(".net-square").press("Escape"))
    after = listed(visit)
    assert [name for _, name, _ in after] == [name for _, name, _ in before]  # none moves
    assert after != before
    visit.locate(".net-list input").fill("unheard of")
    expect(visit.locate(".net-found")).to_have_text("none of the 200")
    page.keyboard.press("Escape")
    expect(visit.locate(".net-list input")).to_be_hidden()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_how_often_it_was_right_follows_the_guess(visit):
    said = set()
    for name in ("red_panda", "goldfish", "dam", "hog", "koala"):
        visit.restart(f"#net={name}")
        sure = max(visit.page.evaluate("netPage.last().probabilities"))
        expected = first_page.sure_sentence({"how_often_right": CURVE}, sure)
        assert visit.page.text_content(".net-sure") == expected
        said.add(expected)
    assert len(said) > 1
    visit.after(visit.locate('[data-cut="lrn"]').click)  # the curve is that of the whole net
    assert visit.page.text_content(".net-sure") == ""


def test_mirror_and_crop(visit, predictor):
    page = visit.page
    visit.after(lambda: visit.locate(".net-square").press("Escape"))
    plain = visit.seen()
    visit.after(visit.locate(".net-mirror").click)
    assert (visit.seen().flip(2).int() - plain.int()).abs().max() <= 1
    assert_true(visit, predictor)
    assert visit.bars() == pytest.approx(visit.marks(), abs=2e-4)
    visit.after(visit.locate(".net-mirror").click)
    visit.locate(".net-crop").click()
    page.mouse.move(*visit.point(".net-stage", 0.5, 0.5))
    visit.after(lambda: page.mouse.wheel(0, -400))
    zoomed = visit.seen()
    assert not torch.equal(zoomed, plain)
    page.mouse.down()
    visit.after(lambda: page.mouse.move(*visit.point(".net-stage", 0.3, 0.5), steps=4))
    page.mouse.up()
    dragged = visit.seen()
    assert not torch.equal(dragged, zoomed)
    # What was to the right has come to the left
    assert (dragged[:, :, 10:40].int() - zoomed[:, :, 23:53].int()).float().abs().mean() < 6
    visit.after(lambda: visit.locate(".net-stage").press("ArrowUp"))
    assert not torch.equal(visit.seen(), dragged)
    visit.after(lambda: visit.locate(".net-zoom").fill("1"))
    assert torch.equal(visit.seen(), plain)
    assert_true(visit, predictor)
    visit.locate(".net-crop").click()


def test_other_photographs_with_their_credits(visit, predictor):
    for row in first_page.credits()[-2:]:
        name = row["file"].removesuffix(".webp")
        visit.after(visit.locate(f'.net-sample[data-name="{name}"]').click)
        assert visit.locate(".net-by a").get_attribute("href") == row["source"]
        assert row["author"] in visit.page.text_content(".net-by")
        assert "not among" in visit.page.text_content(".net-by")
        assert_true(visit, predictor)
        image = photograph(row["file"])
        visit.after(lambda: visit.locate(".net-square").press("Escape"))
        assert (visit.seen().int() - image.int()).abs().max() <= 4


QUADRANTS = Image.fromarray(
    np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)
)
TURNED = Image.Exif()
TURNED[274] = 6  # to be turned to the right


def color_at(visit, row, column):
    return visit.seen()[:, row, column].tolist()


SHOWN_OR_NOT = """(name) => document.querySelector(".net-by").textContent === "Your photograph."
    || document.querySelector(".net-status").textContent.startsWith(name)"""


def choose(visit, content, name="mine.png"):
    file = {"name": name, "mimeType": "", "buffer": content}
    clear = "document.querySelectorAll('.net-by, .net-status').forEach((e) => e.replaceChildren())"
    visit.page.evaluate(clear)
    visit.page.set_input_files(".net-file", file)


def test_an_own_photograph_is_turned_as_the_camera_says(visit):
    content = encode(QUADRANTS.resize((200, 200), 0), "JPEG", exif=TURNED, quality=95)
    visit.after(lambda: choose(visit, content))
    assert visit.page.text_content(".net-by") == "Your photograph."
    visit.after(lambda: visit.locate(".net-square").press("Escape"))
    for place, color in {
        (10, 10): [0, 0, 255],
        (10, 50): [255, 0, 0],
        (50, 50): [0, 255, 0],
    }.items():
        assert np.abs(np.array(color_at(visit, *place)) - color).max() <= 8


def test_own_photographs_of_all_kinds(visit):
    """Each is shown, or a sentence says why it is not, and the page goes on."""
    odd = dict(ODD_IMAGES)
    odd["wide"] = encode(Image.new("RGB", (900, 30), "red"), "PNG")
    odd["transparent"] = encode(Image.new("RGBA", (80, 80), (0, 0, 0, 0)), "PNG")
    shown = []
    for name, content in odd.items():
        choose(visit, content, name)
        visit.page.wait_for_function(SHOWN_OR_NOT, arg=name)
        shown += [name] * (visit.page.text_content(".net-status") == "")
    assert set(odd) - set(shown) <= {"TIFF", "PPM", "JPEG, CMYK"}
    visit.page.wait_for_timeout(500)
    visit.after(lambda: visit.locate(".net-square").press("Escape"))
    assert color_at(visit, 5, 5) == [255, 255, 255]  # the last one, transparent


@pytest.mark.parametrize(
    "name", some_of([*BROKEN_IMAGES, "long and thin"], "text", "a JPEG cut off")
)
def test_broken_photographs_get_a_sentence(visit, name):
    before = visit.guesses()
    content = BROKEN_IMAGES.get(name, encode(Image.new("L", (2000, 2)), "PNG"))
    choose(visit, content, "holiday.jpg")
    visit.page.wait_for_function(SHOWN_OR_NOT, arg="holiday.jpg")
    status, by = visit.locate(".net-status"), visit.locate(".net-by")
    said = status.text_content()
    if said:
        assert re.fullmatch(r"holiday\.jpg (is|has) [^.]*\.", said)
        assert visit.guesses() == before
    else:  # browsers show the part of a damaged file that is there
        assert by.text_content() == "Your photograph."


DROP = """([kind, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
    const at = document.querySelector(".net-maps");
    const options = { bubbles: true, cancelable: true };
    if (kind === "paste") {
        at.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: data }));
    } else {
        at.dispatchEvent(new DragEvent("dragover", { ...options, dataTransfer: data }));
        at.dispatchEvent(new DragEvent("drop", { ...options, dataTransfer: data }));
    }
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_photographs_are_dropped_and_pasted(visit, predictor, kind):
    content = base64.b64encode(encode(QUADRANTS.resize((90, 60), 0), "PNG")).decode()
    visit.after(lambda: visit.page.evaluate(DROP, [kind, content]))
    assert visit.page.text_content(".net-by") == "Your photograph."
    assert_true(visit, predictor)


@pytest.mark.parametrize(
    "cut", some_of(["column1", "column2", "crossing", "lrn", "dropout"], "column2", "dropout")
)
def test_parts_are_taken_away_and_put_back(visit, cut):
    whole = visit.bars()
    button = visit.locate(f'[data-cut="{cut}"]')
    visit.after(button.click)
    assert button.get_attribute("aria-pressed") == "true"
    assert visit.bars() != pytest.approx(whole, abs=1e-4)
    about = f"{button.text_content()}: {button.get_attribute('title')}"  # also for a thumb
    assert visit.page.text_content(".net-cut-about") == about
    visit.expect_address(f"cut={cut}")
    if cut == "dropout":
        first = visit.page.evaluate(PICTURES)[-1]  # fc7, after dropout in fc6
        visit.after(visit.locate(".net-again").click)
        assert visit.page.evaluate(PICTURES)[-1] != first
    visit.after(button.click)
    assert visit.bars() == pytest.approx(whole, abs=1e-4)
    assert visit.page.text_content(".net-cut-about") == ""


def test_what_a_cut_column_leaves(visit, predictor):
    model = predictor.model
    seen = visit.seen()
    visit.after(visit.locate('[data-cut="column2"]').click)
    hooks = []
    for conv in (layer for layer in model.features if isinstance(layer, torch.nn.Conv2d)):
        half = conv.out_channels // 2
        hooks.append(conv.register_forward_hook(lambda *call, half=half: zero_from(call[2], half)))
    try:
        assert torch.equal(visit.seen(), seen)
        assert_true(visit, predictor)
    finally:
        for hook in hooks:
            hook.remove()


def zero_from(maps: Tensor, first: int) -> Tensor:
    maps = maps.clone()
    maps[:, first:] = 0
    return maps


def test_a_map_is_previewed_pinned_and_closed(visit):
    page, panel = visit.page, visit.locate(".net-panel")
    page.mouse.move(*visit.point(".net-block[data-layer=conv1]", 0.25, 0.125))
    expect(panel).to_contain_text("conv1, map 2 of 48 (column 1)")
    page.mouse.move(*visit.point(".net-says", 0.5, 0.5))
    expect(panel).to_be_hidden()
    page.mouse.move(*visit.point(".net-block[data-layer=conv4]", 0.25, 0.125))
    expect(panel).to_contain_text("conv4")
    page.wait_for_function("document.querySelector('.net-weights').width > 1")  # before a click
    page.mouse.move(*visit.point(".net-says", 0.5, 0.5))
    page.mouse.click(*visit.point(".net-block[data-layer=conv1]", 0.25, 0.125))
    page.mouse.move(2, 2)
    expect(panel).to_be_visible()
    for selector in (".net-map", ".net-fires", ".net-term"):
        assert panel.locator(selector).first.is_visible()
    page.wait_for_timeout(500)
    visit.expect_address("look=conv1.2")
    visit.locate(".net-close").click()
    expect(panel).to_be_hidden()
    assert visit.locate(".net-field").is_hidden()
    for layer in ("conv3", "conv5", "fc6"):
        page.mouse.click(*visit.point(f".net-block[data-layer={layer}][data-column='1']", 0.1, 0.1))
        expect(panel).to_contain_text(layer)
        expect(panel).to_contain_text("column 2")
        page.keyboard.press("Escape")
        expect(panel).to_be_hidden()


def sum_of(visit):
    """The numbers in the sum behind a unit's number, and PyTorch's beside it, if it is there."""
    text = visit.page.text_content(".net-sum").replace("−", "-")
    numbers = dict(
        re.findall(r"(red|green|blue|column \d|bias|ReLU|PyTorch:|=) (-?[0-9.]+\d)", text)
    )
    return {name: float(value) for name, value in numbers.items()}


def pin(visit, layer, number):
    """Look at a map, as a link does."""
    visit.restart(f"#net=red_panda&look={layer}.{number}")
    visit.page.wait_for_function(
        "!document.querySelector('.net-panel').hidden && document.querySelector('.net-sum')"
        ".textContent.includes('=')"
    )


def test_a_unit_of_conv1_term_by_term(visit, predictor):
    page = visit.page
    pin(visit, "conv1", 31)
    conv = predictor.model.features.conv1.requires_grad_(requires_grad=False)
    view = predictor.normalize(visit.seen()[None, :, 4:60, 4:60])[0]
    padded = F.pad(view, (0, 3, 0, 3))

    def check(row, column, beside):
        window = padded[:, 2 * row : 2 * row + 7, 2 * column : 2 * column + 7]
        terms = (conv.weight[30] * window).sum((1, 2))
        total = float(terms.sum() + conv.bias[30])
        expected = dict(zip(["red", "green", "blue"], terms.tolist(), strict=True))
        expected |= {"bias": float(conv.bias[30]), "=": total, "ReLU": max(0, total)}
        if beside:
            expected["PyTorch:"] = max(0, total)
        assert sum_of(visit) == pytest.approx(expected, abs=1e-3)

    maps = outputs_of(predictor, visit.seen())["conv1"]
    strongest = int(maps[30].argmax())
    check(strongest // 27, strongest % 27, beside=True)  # as long as none was chosen
    # By mouse: pointing shows a unit, a click keeps it
    page.mouse.move(*visit.point(".net-map", 20.5 / 27, 3.5 / 27))
    check(3, 20, beside=False)
    page.mouse.move(2, 2)
    check(strongest // 27, strongest % 27, beside=True)
    visit.after(lambda: page.mouse.click(*visit.point(".net-map", 20.5 / 27, 3.5 / 27)))
    page.mouse.move(2, 2)
    check(3, 20, beside=False)
    visit.expect_address("look=conv1.31&unit=4,21")
    # By keyboard
    visit.locate(".net-map").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        visit.after(lambda key=key: page.keyboard.press(key))
    check(4, 22, beside=False)
    assert page.get_attribute(".net-map", "aria-valuetext").startswith("row 5, column 23: ")
    # Its receptive field, on the photograph
    box, stage = (visit.locate(name).bounding_box() for name in (".net-field", ".net-stage"))
    pixel = stage["width"] / 64
    assert box["x"] - stage["x"] == pytest.approx((4 + 2 * 22) * pixel, abs=1)
    assert box["y"] - stage["y"] == pytest.approx((4 + 2 * 4) * pixel, abs=1)
    assert box["width"] == pytest.approx(7 * pixel, abs=2)
    # The kernel and the pixels, each from black to white as its strongest number is high
    for at, values in ((2, conv.weight[30, 0]), (3, padded[0, 8:15, 44:51])):
        shown = page.evaluate(
            """(at) => {
                const canvas = document.querySelectorAll(".net-term")[at];
                return [...canvas.getContext("2d").getImageData(0, 0, 7, 7).data];
            }""",
            at,
        )
        expected = 127.5 + 127.5 * values / values.abs().max()
        assert (torch.tensor(shown)[::4] - expected.flatten()).abs().max() <= 1
    visit.after(lambda: page.keyboard.press("Escape"))
    expect(visit.locate(".net-field")).to_be_hidden()


@torch.no_grad()
def sums_by_column(predictor, layer, seen, number, unit):
    """The sum behind a unit's number, from the layer itself: of either column, and the bias."""
    reads = {"conv2": "pool1", "conv3": "pool2", "conv4": "act3", "conv5": "act4"}
    reads |= {"fc6": "pool5", "fc7": "act6", "fc8": "act7"}
    whole = outputs_of(predictor, seen)[reads[layer]]
    modules = {name.rpartition(".")[2]: m for name, m in predictor.model.named_modules()}
    bias = float(modules[layer].bias[number])
    half = len(whole) // 2
    sums = []
    for other in (1, 0):
        read = whole.clone()
        read[half * other : half * (other + 1)] = 0
        read = read if layer.startswith("conv") else read.flatten()
        units = modules[layer](read[None])[0].flatten(1 if layer.startswith("conv") else 0)
        sums.append(float(units[number].reshape(-1)[unit]) - bias)
    return sums, bias


@pytest.mark.parametrize(
    ("layer", "number"),
    some_of(
        [
            ("conv2", 70),
            ("conv3", 100),
            ("conv4", 5),
            ("conv5", 128),
            ("fc6", 9),
            ("fc7", 600),
            ("fc8", 3),
        ],
        ("conv3", 100),
        ("fc8", 3),
    ),
)
def test_the_sum_behind_a_unit(visit, predictor, layer, number):
    pin(visit, layer, number)
    seen = visit.seen()
    outputs = outputs_of(predictor, seen)[layer]
    values = outputs[number - 1].relu().flatten()
    unit = int(values.argmax())
    sums, bias = sums_by_column(predictor, layer, seen, number - 1, unit)
    found = sum_of(visit)
    total = found.pop("=")
    assert total == pytest.approx(float(outputs[number - 1].flatten()[unit]), abs=2e-3)
    shown = total if layer == "fc8" else max(0, total)
    assert found.pop("PyTorch:") == pytest.approx(shown, abs=2e-3)
    assert found.pop("ReLU", shown) == pytest.approx(shown, abs=2e-3)
    assert found.pop("bias") == pytest.approx(bias, abs=1e-3)
    groups = 2 if layer in ("conv2", "conv4", "conv5") else 1
    own = 0 if number <= len(outputs) // 2 else 1
    expected = {f"column {n + 1}": sums[n] for n in (0, 1) if groups == 1 or n == own}
    assert found == pytest.approx(expected, abs=2e-3)


def test_the_sum_without_the_crossing(visit, predictor):
    pin(visit, "conv3", 100)
    visit.after(visit.locate('[data-cut="crossing"]').click)
    found = sum_of(visit)
    assert found["column 1"] == 0 and "PyTorch:" not in found
    value = visit.page.evaluate("Math.max(...netPage.last().maps.act3.data.slice(99 * 36, 3600))")
    assert found["ReLU"] == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(
    ("cut", "layer", "number"),
    some_of(
        [
            ("lrn", "conv2", 70),
            ("column1", "conv3", 170),
            ("dropout", "fc7", 9),
            ("dropout", "fc8", 9),
        ],
        ("lrn", "conv2", 70),
    ),
)
def test_the_sum_is_that_of_what_was_computed(visit, cut, layer, number):
    pin(visit, layer, number)
    visit.after(visit.locate(f'[data-cut="{cut}"]').click)
    found = sum_of(visit)
    values = visit.page.evaluate(
        """(name) => {
            const { output, side } = netPage.first.layers.find((layer) => layer.name === name);
            const { map } = netPage.state.look;
            const { data } = netPage.last().maps[output];
            return [...data.slice(map * side ** 2, (map + 1) * side ** 2)];
        }""",
        layer,
    )
    assert found.get("ReLU", found["="]) == pytest.approx(max(values), abs=1e-3)
    terms = [value for name, value in found.items() if name not in ("=", "ReLU")]
    assert sum(terms) == pytest.approx(found["="], abs=2e-3) and "PyTorch:" not in found


def test_pytorchs_number_is_for_the_first_state_only(visit):
    pin(visit, "conv2", 70)
    assert "PyTorch:" in sum_of(visit)
    visit.after(lambda: visit.locate(".net-fill").select_option("no square"))
    assert "PyTorch:" not in sum_of(visit)


LEVELS = """(layer) => {
    const canvas = document.querySelector(`.net-block[data-layer=${layer}] canvas`);
    return [...canvas.getContext("2d").getImageData(0, 0, 27, 27).data];
}"""


def test_each_map_on_its_own_scale(visit, predictor):
    """The switch brightens the map in the panel and in the overview."""
    pin(visit, "conv1", 1)
    page, button = visit.page, visit.locate(".net-scale")
    assert button.get_attribute("aria-pressed") == "false"
    layers, own = page.evaluate(LEVELS, "conv1"), outputs_of(predictor, visit.seen())["conv1"][0]
    colors = torch.tensor(first_page.palette(first_page.FIRST))
    visit.after(button.click)
    assert button.get_attribute("aria-pressed") == "true"
    visit.expect_address("scale=own")
    found = torch.tensor(page.evaluate(LEVELS, "conv1")).view(27, 27, 4)[..., :3]
    level = (own.relu() / own.max() * 254 + 0.5).floor().int()
    assert (found - colors[level]).abs().max() <= 3
    assert (
        found.flatten().tolist() != torch.tensor(layers).view(27, 27, 4)[..., :3].flatten().tolist()
    )
    in_panel = """() => [...document.querySelector(".net-map").getContext("2d")
        .getImageData(0, 0, 27, 27).data]"""
    assert page.evaluate(in_panel) == page.evaluate(LEVELS, "conv1")
    visit.after(button.click)
    assert page.evaluate(LEVELS, "conv1") == layers


def test_the_scores_of_all_classes(visit, predictor):
    page, panel = visit.page, visit.locate(".net-panel")
    page.mouse.move(*visit.point(".net-block[data-layer=fc8]", 4.5 / 10, 2.5 / 20))
    expect(panel).to_contain_text("fc8, unit 25 of 200: thing 24")
    page.mouse.move(*visit.point(".net-says", 0.5, 0.5))
    expect(panel).to_be_hidden()
    visit.after(
        lambda: page.mouse.click(*visit.point(".net-block[data-layer=fc8]", 4.5 / 10, 2.5 / 20))
    )
    scores = outputs_of(predictor, visit.seen())["fc8"]
    sure = first_page.percent(float(scores.softmax(0)[24]))
    rank = int((scores > scores[24]).sum()) + 1
    expect(visit.locate(".net-panel .net-facts")).to_have_text(
        f"Score {float(scores[24]):.2f}, probability {sure}, rank {rank} of 200: "
        "thing 24, object 24."
    )
    visit.locate(".net-block[data-layer=fc8]").focus()
    page.keyboard.press("ArrowDown")
    expect(panel).to_contain_text("fc8, unit 35 of 200: thing 34")
    visit.expect_address("look=fc8.35")


def test_what_is_shown_is_saved(visit):
    visit.after(lambda: visit.locate(".net-fill").select_option("noise"))
    with visit.page.expect_download() as download:
        visit.locate(".net-save").click()
    assert download.value.suggested_filename == "alexnet-red_panda.png"
    saved = Image.open(download.value.path()).convert("RGB")
    assert saved.size == (2000, 1360)
    # The photograph with the square, the maps of conv1, and the bar of the first guess
    whole = np.array(saved).astype(int)
    stage = saved.crop((48, 48, 548, 548)).resize((64, 64), Image.Resampling.BOX)
    uncovered = np.abs(np.array(stage).astype(int) - visit.seen().permute(1, 2, 0).numpy())
    assert uncovered[:46].mean() < 8 and uncovered[48:60, 4:16].mean() < 12
    bars = (np.abs(whole[:, 800:] - [38, 115, 179]).max(2) < 3).sum(1) // 2  # wide, in units
    expected = visit.bars()[0] * (1000 - 24 - 60 - 504)
    assert bars[50:180].max() == pytest.approx(expected, abs=3)
    assert len(np.unique(whole[620:1100].reshape(-1, 3), axis=0)) > 500
    assert (whole[1150:1330, 60:1900].min(2) < 100).sum() > 2000  # the caption's letters


def test_a_kernel_is_taken_away_where_it_is_looked_at(visit):
    whole = visit.bars()
    visit.page.mouse.click(*visit.point(".net-block[data-layer=conv1]", 0.25, 0.125))
    visit.after(visit.locate(".net-cut-kernel").click)
    expect(visit.locate(".net-panel .net-facts")).to_contain_text("Highest value 0.00")
    expect(visit.locate(".net-sum")).to_have_text("It is taken away, so its value is 0.")
    assert visit.bars() != pytest.approx(whole, abs=1e-5)
    visit.expect_address("cut=kernel2")
    visit.after(visit.locate(".net-kernels button").click)
    assert visit.bars() == pytest.approx(whole, abs=1e-4)


def test_maps_by_keyboard(visit):
    page, panel = visit.page, visit.locate(".net-panel")
    visit.locate(".net-block[data-layer=conv2]").focus()
    for key, number in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowDown", 10), ("ArrowLeft", 9)]:
        page.keyboard.press(key)
        expect(panel).to_contain_text(f"conv2, map {number} of 128")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "net-map"
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.layer") == "conv2"


def test_the_address_holds_the_state(browser, site, visit):
    fragment = (
        "#net=goldfish&square=20,30,16&with=noise&crop=0.5,0.5,1.5&mirror=yes&cut=lrn,kernel7"
        "&look=conv1.7&unit=4,21&scale=own"
    )
    visit.restart(fragment)
    bars, square = visit.bars(), visit.square()
    assert square == "20 across, 30 down, 16 wide"
    with Visit(browser, site, fragment, **DESK) as other:
        other.loaded()
        other.page.wait_for_timeout(500)
        assert (other.bars(), other.square()) == (bars, square)
        expect(other.locate(".net-panel")).to_contain_text("conv1, map 7")
        unit = other.page.get_attribute(".net-map", "aria-valuetext")
        assert unit.startswith("row 4, column 21: ")
        assert other.locate(".net-scale").get_attribute("aria-pressed") == "true"
        assert other.page.get_attribute(".net", "data-glide") is None
        other.after(lambda: other.locate(".net-square").press("ArrowRight"))
        other.expect_address("24,30")
        assert other.page.evaluate("location.hash") == fragment.replace("20,30", "24,30")


AT_FIRST = "10 across, 54 down, 14 wide"


@pytest.mark.parametrize(
    ("fragment", "square"),
    some_of(
        [
            ("#net=dragon", AT_FIRST),
            ("#net=koala&square=1e9,-4,99", "64 across, 0 down, 40 wide"),
            ("#net=koala&square=NaN,1,2", AT_FIRST),
            ("#net=koala&square=1,2", AT_FIRST),
            ("#net=koala&square=none", "lifted"),
            ("#net=koala&cut=kernel0,kernel49,column3,<b>,&look=conv9.1", AT_FIRST),
            ("#net=koala&crop=9,-9,1e30&look=conv1.0", AT_FIRST),
            ("#net=koala&look=conv1.49&mirror=%", AT_FIRST),
            ("#net=koala&with=dragon&unit=0,1&map=all&scale=big", AT_FIRST),
        ],
        ("#net=koala&square=1e9,-4,99", "64 across, 0 down, 40 wide"),
        ("#net=koala&cut=kernel0,kernel49,column3,<b>,&look=conv9.1", AT_FIRST),
    ),
)
def test_an_odd_address_is_checked(visit, fragment, square):
    visit.restart(fragment)
    assert visit.square() == square
    assert visit.locate(".net-panel").is_hidden()
    assert visit.page.locator('.net-cuts [aria-pressed="true"]').count() == 0
    assert visit.page.locator('[data-where][aria-pressed="true"]').count() == 0
    assert visit.page.input_value(".net-fill") == ("none" if square == "lifted" else "gray")
    assert sum(visit.bars()) == pytest.approx(1, abs=1e-3)


ATTACH = """() => {
    const { netPage } = window;
    window.heard = [];
    window.asked = [];
    netPage.onPass(({ probabilities, seen, maps, cuts }) => heard.push({
        sum: probabilities.reduce((sum, p) => sum + p, 0),
        isSeen: seen.join() === netPage.seen().join(),
        maps: maps.act3.shape,
        cuts: JSON.stringify(cuts),
    }));
    netPage.addressKey("trial", () => "a b,c", (text) => asked.push(text));
    netPage.state.cuts.add("conv2.column2");
    netPage.state.square.x = 30;
    netPage.touch();
}"""


def test_other_scripts_attach_to_the_page(visit):
    """What the other scripts change is shown, computed and written into the address."""
    page = visit.page
    visit.after(lambda: page.evaluate(ATTACH))
    half = [*range(64, 128)]
    expected = {"isSeen": True, "maps": [1, 192, 6, 6], "cuts": f'{{"maps":{{"conv2":{half}}}}}'}
    heard = page.evaluate("heard")[-1]
    assert heard.pop("sum") == pytest.approx(1)
    heard["cuts"] = heard["cuts"].replace(",", ", ")
    assert heard == expected
    assert visit.square() == "30 across, 54 down, 14 wide"
    visit.expect_address("cut=conv2.column2&trial=a%20b,c")
    visit.restart("#net=koala&trial=1+2&cut=conv2.column2")
    visit.restart()
    assert page.evaluate("asked") == ["1 2", None]
    slots = page.eval_on_selector_all("[data-slot]", "slots => slots.map((e) => e.dataset.slot)")
    assert sorted(slots) == ["camera", "cuts", "save", "wish"]


def test_a_column_of_one_layer_is_put_back(visit):
    whole = visit.bars()
    visit.restart("#net=red_panda&cut=conv2.column2")
    assert visit.bars() != pytest.approx(whole, abs=1e-4)
    visit.after(visit.page.get_by_role("button", name="conv2, column 2", exact=True).click)
    assert visit.bars() == pytest.approx(whole, abs=1e-4)


def test_the_first_guess_is_read_out_when_it_changes(visit):
    page = visit.page
    page.evaluate("""() => {
        window.spoken = [];
        new MutationObserver(() => spoken.push(
            [performance.now(), document.querySelector(".net-live").textContent]
        )).observe(document.querySelector(".net-live"), { childList: true });
    }""")
    for name in ("goldfish", "dam", "hog", "koala", "bucket"):
        visit.after(visit.locate(f'.net-sample[data-name="{name}"]').click)
    page.wait_for_timeout(1200)
    spoken = page.evaluate("spoken")
    assert spoken and spoken[-1][1] == f"It says: {page.text_content('.net-first')}"
    texts, times = [text for _, text in spoken], [time for time, _ in spoken]
    assert all(a != b for a, b in itertools.pairwise(texts))
    assert all(b - a > 950 for a, b in itertools.pairwise(times))


def test_the_square_glides_until_something_is_touched(browser, site):
    with Visit(browser, site, **DESK) as visit:
        visit.loaded()
        start = "10 across, 54 down, 14 wide"
        visit.page.wait_for_function(
            "start => document.querySelector('.net-square').ariaValueText !== start", arg=start
        )
        visit.page.keyboard.press("Shift")
        assert visit.square() == start  # back in its corner, and it stays there
        visit.page.wait_for_timeout(500)
        assert visit.square() == start
    with Visit(browser, site, **DESK) as visit:
        visit.page.wait_for_selector(".net[data-glide=done]")
        assert visit.square() == start  # where it began
        visit.page.wait_for_timeout(300)
        assert visit.words() == [word for word, _ in shown_in(parsed(site))]


@pytest.mark.exhaustive
def test_no_glide_with_reduced_motion(desk, browser, site):
    with Visit(browser, site, **DESK, **STILL) as visit:
        visit.loaded()
        visit.page.wait_for_timeout(800)
        assert visit.square() == "10 across, 54 down, 14 wide"


def tapped(element, place, shown):
    """Tap, and return whether it was taken for one: on a machine under load it may be taken for a
    long press, and whoever sees nothing taps again."""
    element.tap(position=place)
    try:
        shown.wait_for(timeout=2000)
    except PlaywrightTimeout:
        return False
    return True


def test_by_touch(browser, site, predictor):
    with Visit(browser, site, **PHONE, **STILL) as visit:
        page = visit.loaded().page
        visit.after(lambda: page.touchscreen.tap(*visit.point(".net-stage", 0.5, 0.25)))
        assert visit.square().startswith("32 across, 16 down")
        session = visit.context.new_cdp_session(page)
        x, y = visit.point(".net-square", 0.5, 0.5)

        def touch(kind, *points):
            points = [{"x": x, "y": y} for x, y in points]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        def drag():
            touch("touchStart", (x, y))
            for step in range(1, 6):
                touch("touchMove", (x - 6 * step, y + 12 * step))
            touch("touchEnd")

        visit.after(drag)
        across, down = [int(n) for n in re.findall(r"\d+", visit.square())[:2]]
        assert across < 28 and down > 24
        assert page.evaluate("scrollY") == 0
        assert_true(visit, predictor)
        block = visit.locate(".net-block[data-layer=conv1]")
        box = block.bounding_box()
        # While a page is at work, a tap may last too long, and be taken for a long press
        page.evaluate("new Promise(requestIdleCallback)")
        place = {"x": box["width"] / 4, "y": box["height"] / 8}
        assert any(tapped(block, place, visit.locate(".net-panel")) for _ in range(3))
        expect(visit.locate(".net-panel")).to_contain_text("conv1, map 2 of 48")
        expect(visit.locate(".net-panel-says")).to_have_text(re.compile("It says: .* %"))
        visit.locate("[aria-label=Next]").tap()
        expect(visit.locate(".net-panel")).to_contain_text("conv1, map 3 of 48")
        visit.locate("[aria-label=Previous]").tap()
        expect(visit.locate(".net-panel")).to_contain_text("conv1, map 2 of 48")
        panel = visit.locate(".net-panel").bounding_box()
        assert panel["x"] == 0 and panel["width"] == 390
        assert panel["y"] + panel["height"] == pytest.approx(664, abs=1)
        box = visit.locate(".net-map").bounding_box()
        place = {"x": 10.5 * box["width"] / 27, "y": 5.5 * box["height"] / 27}
        visit.after(lambda: visit.locate(".net-map").tap(position=place))
        assert page.get_attribute(".net-map", "aria-valuetext").startswith("row 6, column 11: ")
        visit.locate(".net-close").tap()
        expect(visit.locate(".net-panel")).to_be_hidden()
        page.evaluate("scrollTo(0, 0)")
        visit.locate("[data-where=gradient]").tap()
        page.wait_for_selector(".net[data-mapped=gradient]")
        visit.locate(".net-list summary").tap()
        expect(visit.locate(".net-list li")).to_be_visible()
        box = visit.locate(".net-list > div").bounding_box()
        assert box["y"] + box["height"] == pytest.approx(664, abs=1)
        visit.locate(".net-list-close").tap()
        expect(visit.locate(".net-list li")).to_be_hidden()


def test_a_phone_shows_one_layer_until_it_is_asked_for_all(browser, site):
    """A link to a map of another layer shows all."""
    with Visit(browser, site, **PHONE, **STILL) as visit:
        visit.loaded()
        expect(visit.locate(".net-block[data-layer=conv1]")).to_be_visible()
        expect(visit.locate(".net-block[data-layer=conv3]")).to_be_hidden()
        visit.locate(".net-more").tap()
        expect(visit.locate(".net-block[data-layer=conv3]")).to_be_visible()
        expect(visit.locate(".net-more")).to_be_hidden()
        visit.restart("#net=red_panda&look=conv3.5")
        expect(visit.locate(".net-panel")).to_contain_text("conv3, map")
        expect(visit.locate(".net-block[data-layer=fc8]")).to_be_visible()


def test_on_a_phone_the_panel_of_a_map_goes_for_what_is_opened(browser, site):
    with Visit(browser, site, **PHONE, **STILL) as visit:
        visit.loaded()
        visit.locate(".net-block[data-layer=conv1]").tap(position={"x": 5, "y": 5})
        expect(visit.locate(".net-panel")).to_contain_text("conv1, map 1 of 48")
        for name in ("Previous", "Next", "Close"):
            box = visit.locate(f"[aria-label={name}]").bounding_box()
            assert min(box["width"], box["height"]) >= 44  # for a finger
        visit.locate(".net-list summary").tap()
        expect(visit.locate(".net-list li")).to_be_visible()
        expect(visit.locate(".net-panel")).to_be_hidden()
    with Visit(browser, site, **DESK, **STILL) as visit:
        visit.restart("#net=red_panda&look=conv1.1")
        visit.locate(".net-list summary").click()
        expect(visit.locate(".net-panel")).to_contain_text("conv1, map 1 of 48")


def test_the_square_can_make_a_banana_of_the_goldfish():
    """As the page asks its readers to; with the net that it has, not the one of these tests."""
    net, _, _ = quantized("tiny-imagenet")
    gray, size = first_page.gray_of(net), first_page.SQUARE["size"]
    path = first_page.PHOTOGRAPHS / "goldfish.webp"
    image = resize_center_crop(decode_image(path), net.resize)
    found = set()
    for x, y in itertools.product(range(12, 56, 8), repeat=2):
        seen = first_page.cover(image, {"x": x, "y": y, "size": size}, gray)
        answer = first_page.forward(net, seen).probabilities.argmax()
        found.add(first_page.short(net.class_name(int(answer))))
    assert found == {"goldfish", "banana"}
