"""What cuts cost, on the first page: the record that it shows, and each thing that can be done."""

import importlib.util
import json
import re

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from torchvision.transforms.v2 import functional as TF

from alexnet.bookkit import cut_costs as module
from alexnet.bookkit import first_page
from alexnet.bookkit.cut_costs import CLEAR, COLUMNS, PAIRS, cut_costs, surprising_pairs
from alexnet.bookkit.export import export
from alexnet.experiments.cuts import WHOLE, count_parameters, cut_names, take_away, weights_sha256
from alexnet.loader import decode_image, resize_center_crop
from alexnet.predictor import load
from helpers import ROOT, some_of
from net_page import DESK, IDLE, PHONE

IMAGES = 10_000
SKELETON = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>net</title><main>{}</main>'


@pytest.fixture(scope="module")
def predictor():
    return load("tiny-imagenet")


@pytest.fixture(scope="module")
def model(predictor):
    return predictor.model.eval()


@pytest.fixture(scope="module")
def record(model, tmp_path_factory):
    """The path of a record of the shipped weights with numbers that nobody measured."""
    generator = torch.Generator().manual_seed(0)
    rows = [dict.fromkeys(COLUMNS, 0) | {"cut": WHOLE, "top1": 0.4, "top5": 0.65}]
    for cut in cut_names(model):
        cost = torch.rand((), generator=generator).item() * (0.07 if "kernel" in cut else 0.35)
        cost = -0.004 if cut == "kernel9" else round(cost, 4)
        became_right = 10
        row = {"cut": cut, "top1": 0.4 - cost, "top5": 0.65 - cost, "changed": 5000}
        row |= {"right_to_wrong": round(cost * IMAGES) + became_right}
        row |= {"wrong_to_right": became_right, "parameters": count_parameters(model, cut)}
        if cut == "dropout":
            row["draws"] = [{"top1": row["top1"] + shift} for shift in (-0.011, 0, 0.011)]
        rows.append(row)
    path = tmp_path_factory.mktemp("runs") / "cuts.json"
    weights = {"name": "tiny-imagenet", "sha256": weights_sha256()}
    content = {"weights": weights, "data": {"test": IMAGES}, "cuts": rows}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def costs(record):
    return cut_costs("tiny-imagenet", record)


# What the page is told


def test_the_rows_are_those_of_the_record(record, costs, model):
    rows = {row["cut"]: row for row in json.loads(record.read_text(encoding="utf-8"))["cuts"]}
    assert list(costs["rows"]) == cut_names(model) and costs["images"] == IMAGES
    for cut, values in costs["rows"].items():
        assert values == [rows[cut][column] for column in COLUMNS]
    assert costs["whole"][0] == 0.4 and len(costs["dropout"]) == 3


def test_a_record_of_other_weights_is_not_shown(record, tmp_path):
    assert cut_costs("tiny-imagenet", tmp_path / "missing.json") is None
    other = json.loads(record.read_text(encoding="utf-8"))
    other["weights"]["sha256"] = "0" * 64
    (tmp_path / "cuts.json").write_text(json.dumps(other), encoding="utf-8")
    assert cut_costs("tiny-imagenet", tmp_path / "cuts.json") is None


def check_pairs(costs):
    rows, pairs = costs["rows"], costs["pairs"]
    assert 1 <= len(pairs) <= PAIRS and len({tuple(pair) for pair in pairs}) == len(pairs)
    used = [cut for pair in pairs for cut in pair]
    assert max(map(used.count, used)) <= 2 and not any("kernel" in cut for cut in used)
    for pair in pairs:
        costly, cheap = sorted(pair, key=lambda cut: rows[cut][0])
        assert rows[cheap][0] - rows[costly][0] >= CLEAR
        assert rows[costly][5] <= rows[cheap][5]  # the smaller part costs more


def test_the_pairs_are_surprising(costs):
    check_pairs(costs)


def test_the_most_surprising_pair_comes_first():
    row = {"top1": 0.3, "parameters": 50}
    by_cut = {
        "lrn": row,
        "crossing": {"top1": 0.31, "parameters": 1000},  # too close to the others
        "conv1.column1": {"top1": 0.2, "parameters": 10},
        "conv2.column1": {"top1": 0.1, "parameters": 100},
        "kernel1": {"top1": 0.0, "parameters": 1},
    }
    pairs = surprising_pairs(by_cut)
    assert pairs[0] == ["crossing", "conv1.column1"]
    assert ["crossing", "conv2.column1"] in pairs and ["lrn", "crossing"] not in pairs


def test_the_page_in_the_book_shows_the_record():
    state = re.search(
        r'<script type="application/json" class="net-state">(.*?)</script>',
        first_page.OUT.read_text(encoding="utf-8"),
    )
    costs = cut_costs("tiny-imagenet")
    assert json.loads(state[1])["costs"] == costs
    check_pairs(costs)


# The page in a browser, from a folder


@pytest.fixture(scope="module")
def site(record, tmp_path_factory):
    """The part of the page without the book around it, with the record and without one."""
    spec = importlib.util.spec_from_file_location("_", ROOT / "book" / "_ext" / "first_page.py")
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    folder = tmp_path_factory.mktemp("site")
    (folder / "_static").mkdir()
    extension.write_files(folder / "_static")
    export("tiny-imagenet", folder / "_static" / "nets" / "tiny-imagenet")
    for name, path in (("costs", record), ("none", folder / "missing.json")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                first_page, "cut_costs", lambda weights, path=path: cut_costs(weights, path)
            )
            first_page.main(["--out", str(folder / "part.html")])
        page = extension.part_of_page(folder / "part.html", "_static")
        (folder / f"{name}.html").write_text(SKELETON.format(page), encoding="utf-8")
    return folder


class Visit:
    """The part of the page, and what a person does with it."""

    def __init__(self, browser, site, name="costs", fragment="", **options):
        self.complaints = []
        self.context = browser.new_context(**options, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto((site / f"{name}.html").as_uri() + fragment)
        self.page.wait_for_function("document.querySelector('.net').dataset.passes > 0")

    def after(self, action):
        """Do something, and wait until the net has answered."""
        before = self.page.evaluate("document.querySelector('.net').dataset.passes")
        action()
        self.page.wait_for_function(IDLE, arg=before)

    def locate(self, selector):
        return self.page.locator(selector).first

    def unfold(self):
        self.locate(".net-costs-open").click()
        return self

    def costs(self):
        """Of each part what stands beside it, the share of its bar that is full, 0 to 1, the label
        of its kernel's button, and what its other button takes away.

        In one question, as there are dozens of parts.
        """
        costs = self.page.evaluate(COSTS)
        return {cut: (text, float(share.strip("%")) / 100, *b) for cut, text, share, *b in costs}

    def expect_address(self, text):
        self.page.wait_for_function("text => location.hash.includes(text)", arg=text)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.context.close()
        if exception == (None, None, None):
            assert self.complaints == []


COSTS = """() => [...document.querySelectorAll(".net-cost")].map((cost) => {
    const cut = cost.dataset.of;
    const buttons = document.querySelectorAll(`.net-with-cost:has(> [data-of="${cut}"]) button`);
    const kernel = document.querySelector(`[data-kernel-cut="${cut}"]`);
    return [cut, cost.textContent, cost.style.getPropertyValue("--share"),
        kernel?.getAttribute("aria-label"), [...buttons].at(-1)?.dataset.cut];
})"""


@pytest.fixture
def visit(browser, site):
    with Visit(browser, site, **DESK) as visit:
        yield visit


@pytest.fixture
def phone(browser, site):
    with Visit(browser, site, **PHONE) as visit:
        yield visit


def name_of(cut):
    names = {"crossing": "the crossing in conv3", "lrn": "LRN", "dropout": "dropout left on"}
    layer, _, column = cut.rpartition(".")
    if layer:
        return f"column {column[-1]} of {layer}"
    return names.get(cut) or cut.replace("column", "column ")


def costs_words(costs, cut):
    points = 100 * (costs["whole"][0] - costs["rows"][cut][0])
    if points < 0:
        return f"gains {-points:.1f} points on {100 * costs['whole'][0]:.1f}"
    return f"costs {points:.1f} points of {100 * costs['whole'][0]:.1f}"


@pytest.mark.slow
def test_nothing_is_told_before_the_guess(visit, costs):
    visit.unfold()
    first, second = costs["pairs"][0]
    assert visit.page.locator(".net-cost-choice").all_text_contents() == [
        name_of(first),
        name_of(second),
    ]
    assert visit.page.locator(".net-cost").count() == 0
    text = visit.page.text_content(".net-costs")
    assert "points" not in text and "40.0 % of the 10,000" in text and "!" not in text
    assert visit.page.text_content(".net-cost-answer") == ""


@pytest.mark.slow
@pytest.mark.parametrize("is_right", some_of([True, False], False))
def test_a_guess_is_answered(visit, costs, is_right):
    visit.unfold()
    pair = costs["pairs"][0]
    costly, cheap = sorted(pair, key=lambda cut: costs["rows"][cut][0])
    chosen = costly if is_right else cheap
    choices = visit.locate(".net-cost-choices")
    visit.after(choices.get_by_role("button", name=name_of(chosen), exact=True).click)
    answer = visit.locate(".net-cost-answer")
    start = "That is right" if is_right else "It is the other way around"
    expect(answer).to_contain_text(f"{start}: {name_of(costly)} costs more")
    assert answer.get_attribute("role") == "status"
    for cut in pair:
        text = answer.locator(f'.net-cost[data-of="{cut}"]').text_content()
        assert text == costs_words(costs, cut)
    assert visit.page.locator('.net-cost-choice[aria-pressed="true"]').text_content() == name_of(
        chosen
    )
    check_all_costs(visit, costs)


def check_all_costs(visit, costs):
    """Beside each part stands what it costs, and its bar is as long."""
    whole = costs["whole"][0]
    loss = {cut: whole - row[0] for cut, row in costs["rows"].items()}
    most = max(value for cut, value in loss.items() if cut.startswith("kernel"))
    shown = visit.costs()  # where a part has two, the last
    for cut, value in loss.items():
        text, share, label, button = shown[cut]
        full = costs_words(costs, cut)
        if cut.startswith("kernel"):
            assert label == f"{cut.replace('kernel', 'kernel ')} of conv1: {full}"
            assert share == pytest.approx(max(0, value) / most, abs=1e-3)
        else:
            number = f"{100 * value:.1f}".replace("-", "−")
            assert text == (number if "." in cut else full)
            assert share == pytest.approx(max(0, value) / whole, abs=1e-3)
            assert button == cut
    assert visit.page.locator(".net-kernel-cut .net-cost").count() == 48


@pytest.mark.slow
def test_another_pair(visit, costs):
    visit.unfold()
    seen = []
    for _ in range(len(costs["pairs"]) + 1):
        seen.append(visit.page.locator(".net-cost-choice").all_text_contents())
        visit.locate(".net-cost-next").click()
    assert seen[:-1] == [[name_of(cut) for cut in pair] for pair in costs["pairs"]]
    assert seen[-1] == seen[0] and visit.page.locator(".net-cost").count() == 0


@pytest.mark.slow
def test_no_cost_answers_the_next_question(visit, costs):
    visit.unfold()
    visit.after(visit.locate(".net-cost-choice").first.click)
    beside = visit.locate(".net-with-cost > .net-cost").first
    expect(beside).to_be_visible()
    visit.locate(".net-cost-next").click()
    expect(beside).to_be_hidden()
    expect(visit.locate(".net-cost-says")).to_be_hidden()
    visit.locate(".net-cost-choice").first.click()
    expect(beside).to_be_visible()


@pytest.mark.slow
def test_all_parts_are_put_back(visit):
    whole = visit.locate(".net-whole")
    expect(whole).to_be_hidden()
    visit.after(visit.locate('.net-cuts [data-cut="column2"]').click)
    visit.after(visit.locate('.net-cuts [data-cut="lrn"]').click)
    visit.expect_address("cut=column2,lrn")
    visit.after(whole.click)
    expect(whole).to_be_hidden()
    assert visit.page.locator('[data-cut][aria-pressed="true"]').count() == 0


@pytest.mark.slow
def test_all_costs_without_a_guess(visit, costs):
    visit.unfold()
    visit.after(visit.locate(".net-cost-show").click)
    expect(visit.locate(".net-cost-show")).to_have_count(0)
    check_all_costs(visit, costs)
    visit.expect_address("costs=shown")
    kernels = {cut: row[0] for cut, row in costs["rows"].items() if "kernel" in cut}
    text = visit.page.text_content(".net-cost-kernels")
    for cut in (min(kernels, key=kernels.get), max(kernels, key=kernels.get)):
        assert f"{cut.replace('kernel', 'kernel ')} of conv1 {costs_words(costs, cut)}" in text


@pytest.mark.slow
def test_an_address_shows_them(browser, site, costs):
    with Visit(browser, site, fragment="#net=koala&cut=conv3.column2&costs=shown", **DESK) as visit:
        visit.page.wait_for_selector(".net-cost")
        check_all_costs(visit, costs)
        pressed = visit.page.locator('.net-layer-cut[aria-pressed="true"]')
        assert pressed.get_attribute("data-cut") == "conv3.column2"
    with Visit(browser, site, fragment="#net=koala&costs=<b>", **DESK) as visit:
        assert visit.page.locator(".net-cost").count() == 0
        expect(visit.locate(".net-costs")).to_be_hidden()


def shown_bars(visit):
    return visit.page.eval_on_selector_all(
        ".net-guess i", "bars => bars.slice(0, -1).map(bar => parseFloat(bar.style.width) / 100)"
    )


SEEN = "() => [...netPage.seen()]"
RUN = """async ([name, photograph]) => {
    const { state } = netPage;
    state.cuts.clear();
    state.kernels.clear();
    if (name.startsWith("kernel")) state.kernels.add(Number(name.slice(6)) - 1);
    else state.cuts.add(name);
    const cuts = netPage.engineCuts();
    state.cuts.clear();
    state.kernels.clear();
    const result = await netPage.net().net.run(Uint8Array.from(photograph), { cuts });
    return [...result.logits.data];
}"""


def photographs():
    paths = sorted(first_page.PHOTOGRAPHS.glob("*.webp"))[:3]
    return torch.stack([resize_center_crop(decode_image(path), 64) for path in paths])


@torch.no_grad()
def logits_of(net, predictor, images):
    return net(predictor.normalize(TF.center_crop(images, [predictor.crop] * 2)))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_page_takes_away_what_was_measured(visit, predictor, model):
    """The logits of the engine and of :func:`take_away`, for all that dropout does not draw."""
    images = photographs()
    pixels = images.permute(0, 2, 3, 1).flatten().tolist()
    whole = logits_of(model, predictor, images)
    kernels = ["kernel1", "kernel25", "kernel48"]
    for cut in [name for name in cut_names(model) if "kernel" not in name] + kernels:
        if cut == "dropout":
            continue
        expected = logits_of(take_away(model, cut), predictor, images)
        assert not torch.allclose(expected, whole, atol=1e-3)
        found = torch.tensor(visit.page.evaluate(RUN, [cut, pixels])).view(3, -1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def check_bars(visit, predictor, net):
    """The bars are what the cut net says of the pixels that the page's net sees."""
    pixels = torch.tensor(visit.page.evaluate(SEEN), dtype=torch.uint8)
    image = pixels.view(1, 64, 64, 3).permute(0, 3, 1, 2)
    probabilities = logits_of(net, predictor, image)[0].softmax(0)
    labels = visit.page.evaluate("netPage.first.guesses")
    assert shown_bars(visit) == pytest.approx(probabilities[labels].tolist(), abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cut", some_of(["conv1.column1", "conv4.column2", "kernel13"], "conv4.column2", "kernel13")
)
def test_a_part_is_taken_away_and_put_back(visit, predictor, model, cut):
    visit.unfold()
    attribute = "data-kernel-cut" if "kernel" in cut else "data-cut"
    button = visit.page.locator(f'.net-costs [{attribute}="{cut}"]')
    visit.after(button.click)
    assert button.get_attribute("aria-pressed") == "true"
    check_bars(visit, predictor, take_away(model, cut))
    visit.expect_address(f"cut={cut}")
    away = visit.page.locator(".net-block.is-away")
    assert away.count() == ("column" in cut)
    if "column" in cut:
        layer, _, column = cut.partition(".column")
        assert away.get_attribute("data-layer") == layer
        assert away.get_attribute("data-column") == str(int(column) - 1)
    visit.after(button.click)
    assert button.get_attribute("aria-pressed") == "false"
    check_bars(visit, predictor, model)


@pytest.mark.slow
def test_what_the_cut_of_the_moment_costs(visit, costs):
    visit.unfold()
    visit.after(visit.locate('[data-cut="lrn"]').click)
    says = visit.locate(".net-cost-says")
    assert says.text_content() == ""  # before the guess
    visit.after(visit.locate(".net-cost-show").click)
    top1, top5, changed, wrong, right, _ = costs["rows"]["lrn"]
    for text in (
        f"Without LRN {100 * top1:.1f} % of the 10,000",
        f"not {100 * costs['whole'][0]:.1f} %",
        f"{100 * top5:.1f} % by the first five",
        f"{changed:,} change: {wrong:,} become wrong and {right:,} right",
    ):
        expect(says).to_contain_text(text)
    visit.after(visit.locate('[data-cut="dropout"]').click)
    expect(says).to_contain_text("was measured alone, and not together")
    visit.after(visit.locate('[data-cut="lrn"]').click)
    low, high = (100 * draw(costs["dropout"]) for draw in (min, max))
    expect(says).to_contain_text(f"the mean of 3 draws, from {low:.1f} to {high:.1f} %")


@pytest.mark.slow
def test_the_panel_of_a_kernel(visit, predictor, model, costs):
    visit.unfold()
    visit.after(visit.locate(".net-cost-show").click)
    visit.locate(".net-block[data-layer=conv1]").focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowRight")
    row = visit.locate(".net-panel-cuts")
    expect(row).to_contain_text(f"This kernel {costs_words(costs, 'kernel2')}")
    expect(row).to_contain_text(costs_words(costs, "conv1.column1"))
    button = row.get_by_role("button", name="Without column 1 of conv1")
    visit.after(button.click)
    assert button.get_attribute("aria-pressed") == "true"
    check_bars(visit, predictor, take_away(model, "conv1.column1"))
    visit.locate(".net-block[data-layer=conv4][data-column='1']").focus()
    visit.page.keyboard.press("ArrowRight")
    expect(visit.locate(".net-panel-cuts")).to_contain_text("Without column 2 of conv4")


@pytest.mark.slow
def test_kernels_are_drawn_as_they_are(visit, model):
    visit.unfold()
    visit.page.wait_for_function("document.querySelector('.net-kernel-cut canvas').width === 7")
    pixels = visit.page.evaluate("""() => [...document.querySelectorAll(".net-kernel-cut canvas")]
        .map((canvas) => [...canvas.getContext("2d").getImageData(0, 0, 7, 7).data])""")
    found = torch.tensor(pixels).view(48, 7, 7, 4)[..., :3].permute(0, 3, 1, 2) / 127.5 - 1
    weights = model.features.conv1.weight.detach()
    expected = weights / weights.abs().amax((1, 2, 3), keepdim=True)
    assert (found - expected).abs().max() < 0.01


@pytest.mark.slow
def test_by_keyboard(visit, costs):
    page = visit.page
    visit.locate(".net-costs-open").focus()
    page.keyboard.press("Enter")
    assert page.get_attribute(".net-costs-open", "aria-expanded") == "true"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className").startswith("net-cost-choice"):
            break
    visit.after(lambda: page.keyboard.press("Space"))
    expect(visit.locate(".net-cost-answer")).to_contain_text("costs more")
    assert page.evaluate("document.activeElement.className") == "net-cost-choice"
    page.keyboard.press("Escape")
    expect(visit.locate(".net-costs")).to_be_hidden()
    assert page.evaluate("document.activeElement.className") == "net-costs-open"
    visit.locate('[data-cut="column1"]').focus()
    visit.after(lambda: page.keyboard.press("Enter"))
    assert page.get_attribute('[data-cut="column1"]', "aria-pressed") == "true"


@pytest.mark.slow
def test_on_a_phone(phone, predictor, model, costs):
    phone.locate(".net-costs-open").tap()
    phone.after(phone.locate(".net-cost-choice").tap)
    check_all_costs(phone, costs)
    phone.after(phone.locate('[data-kernel-cut="kernel30"]').tap)
    check_bars(phone, predictor, take_away(model, "kernel30"))
    scrolls = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert phone.page.evaluate(scrolls) <= 0
    box = phone.locate('[data-kernel-cut="kernel1"]').bounding_box()
    assert box["width"] >= 24 and box["height"] >= 24


@pytest.mark.slow
@pytest.mark.parametrize("device", some_of([DESK, PHONE], PHONE), ids=["desk", "phone"])
def test_nothing_keeps_people_out(browser, site, device):
    with Visit(browser, site, **device) as visit:
        visit.unfold()
        visit.after(visit.locate(".net-cost-choice").click)
        found = Axe().run(visit.page, ".net-cuts, .net-costs").response["violations"]
        assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == []


@pytest.mark.slow
def test_without_a_record_there_is_no_question(browser, site, predictor, model):
    with Visit(browser, site, "none", "#net=red_panda&costs=shown", **DESK) as visit:
        assert visit.page.text_content(".net-costs-open") == "More parts"
        visit.unfold()
        assert visit.page.locator(".net-cost, .net-cost-choice, .net-cost-show").count() == 0
        visit.after(visit.locate('.net-layer-cut[data-cut="conv2.column1"]').click)
        check_bars(visit, predictor, take_away(model, "conv2.column1"))


def test_the_record_that_is_read_is_the_book_s():
    assert module.RECORD == ROOT / "book" / "runs" / "cuts.json"
