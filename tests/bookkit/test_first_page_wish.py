"""What the net would like to see, and the smallest change of a photograph, on the first page."""

import re

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from pybtex.database import parse_file
from torchvision.transforms.v2 import functional as TF

from alexnet.bookkit import first_page
from alexnet.bookkit.export import quantized
from alexnet.experiments.cuts import take_away
from alexnet.loader import decode_image, resize_center_crop
from alexnet.visualize import maximize_activation
from helpers import ROOT, some_of
from net_page import DESK, PHONE, Visit, write_site

pytestmark = pytest.mark.slow

CHANGE = ".wish-change"
# In the page: some steps from the noise of maximize_activation, which sees all of the picture and
# has one mean for each color
STEPS = """async ([layer, maps, side, map, start, size, steps]) => {
    const { net, preprocessing } = netPage.net();
    const scale = new NetScale(preprocessing);
    const area = size * size;
    scale.resize = scale.crop = size;
    scale.means = Float32Array.from(scale.means, (_, at) => scale.colors[Math.floor(at / area)]);
    const goal = { layer, maps, side, map };
    const picture = new GrownPicture(scale, goal, Float32Array.from(start));
    for (let step = 0; step < steps; step++) await picture.step(net, { top: 0, left: 0 });
    return [...picture.values];
}"""
# What the net says to a photograph through a window: the value, and the logits
LOOK = """async ([layer, maps, side, map, top, left]) => {
    const { net, preprocessing } = netPage.net();
    const scale = new NetScale(preprocessing);
    const values = GrownPicture.fromBytes(scale, netPage.base());
    const picture = new GrownPicture(scale, { layer, maps, side, map }, values);
    const bytes = [...picture.bytes()];
    const { value, logits } = await picture.step(net, { top, left });
    return { bytes, base: [...netPage.base()], value, logits: [...logits] };
}"""


@pytest.fixture(scope="module")
def predictor():
    predictor = quantized("tiny-imagenet")[0]
    predictor.model.eval().requires_grad_(False)
    return predictor


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def desk(browser, site):
    """A page that stays as it is."""
    with Visit(browser, site, **DESK) as visit:
        yield visit


@pytest.fixture
def visit(browser, site):
    with Visit(browser, site, **DESK) as visit:
        yield visit


def photograph(name):
    return resize_center_crop(decode_image(first_page.PHOTOGRAPHS / f"{name}.webp"), 64)


def image_of(pixels):
    """Bytes of the page as (3, 64, 64)."""
    return torch.tensor(pixels, dtype=torch.uint8).view(64, 64, 3).permute(2, 0, 1)


def logits_of(predictor, image, model=None):
    view = predictor.normalize(TF.center_crop(image[None], [predictor.crop] * 2))
    with torch.no_grad():
        return (model or predictor.model)(view)[0]


def short(predictor, label):
    return predictor.class_name(label).partition(",")[0]


def open_wish(visit, selector=".wish"):
    visit.locate(f"{selector} summary").click()
    expect(visit.locate(f"{selector} .wish-class")).not_to_have_value("")


def wait_for(visit, state, selector=".wish"):
    question = f"state => document.querySelector('{selector}').dataset.state === state"
    visit.page.wait_for_function(question, arg=state, timeout=300_000)


def steps_of(visit):
    return int(re.match(r"Step (\d+) of 200\.", visit.text(".wish-says"))[1])


def wait_for_step(visit, number):
    visit.page.wait_for_function(
        "n => parseInt(document.querySelector('.wish-says').textContent.slice(5)) >= n", arg=number
    )


# The picture that grows


@pytest.mark.exhaustive
def test_while_another_class_is_ahead_that_of_the_wish_is_named_beside_it(visit):
    open_wish(visit)
    visit.page.evaluate("""() => {
        window.said = []
        const note = list => window.said.push(list[0].target.textContent)
        new MutationObserver(note).observe(document.querySelector('.wish-says'), {childList: true})
    }""")
    visit.locate(".wish .wish-class").fill("goldfish")
    visit.locate(".wish-go").click()
    wait_for_step(visit, 20)
    said = visit.page.evaluate("window.said")
    assert re.fullmatch(r"Step 1 of 200\. It says: .+ %, and goldfish .+ %", said[0])
    assert re.fullmatch(r"Step \d+ of 200\. It says: goldfish [^,]+ %", said[-1])


@pytest.mark.parametrize(
    ("goal", "layer"),
    some_of(
        [(["fc8", 200, 1, 17], "classifier.fc8"), (["conv4", 192, 6, 5], "features.conv4")],
        (["conv4", 192, 6, 5], "features.conv4"),
    ),
)
def test_steps_are_those_of_maximize_activation(desk, predictor, goal, layer):
    """Its rule, from its noise; a step moves a pixel by up to 0.05."""
    size, steps = predictor.crop, 3
    # Without steps, it is the noise
    start = maximize_activation(predictor.model, layer, goal[3], size, steps=0)
    expected = maximize_activation(predictor.model, layer, goal[3], size, steps=steps)
    found = desk.page.evaluate(STEPS, [*goal, start.flatten().tolist(), size, steps])
    found = torch.tensor(found).view_as(expected)
    off = (found - expected).abs() > 1e-3
    # Adam's first step is as long where the slope is almost zero, whose sign rounding may turn
    assert off.sum() <= 5
    assert (found - start).abs().mean() > 0.05


@pytest.mark.parametrize(("top", "left"), some_of([(4, 4), (0, 7)], (0, 7)))
def test_the_net_looks_through_a_window(desk, predictor, top, left):
    found = desk.page.evaluate(LOOK, ["conv5", 128, 6, 90, top, left])
    image = image_of(found["base"])
    assert found["bytes"] == found["base"]
    window = image[:, top : top + predictor.crop, left : left + predictor.crop]
    view = predictor.normalize(window[None])
    outputs = []
    hook = predictor.model.features.conv5.register_forward_hook(
        lambda *call: outputs.append(call[2].clone())
    )
    logits = predictor.model(view)[0]
    hook.remove()
    assert torch.allclose(torch.tensor(found["logits"]), logits, atol=1e-3)
    assert found["value"] == pytest.approx(outputs[0][0, 90, 3, 3].item(), abs=1e-3)


def test_noise_is_seeded(desk):
    noise = desk.page.evaluate("""() => [1, 1, 2].map((seed) =>
        [...GrownPicture.noise(new NetScale(netPage.net().preprocessing), seed)])""")
    first, again, other = torch.tensor(noise)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.std() == pytest.approx(0.1, abs=0.005)
    assert first.mean() == pytest.approx(0, abs=0.005)


def test_pixels_stay_bytes(desk):
    """Steps that would lead far out of 0 to 255 end there."""
    bytes_ = desk.page.evaluate("""() => {
        const scale = new NetScale(netPage.net().preprocessing);
        const goal = { layer: "fc8", maps: 200, side: 1, map: 0 };
        const values = GrownPicture.noise(scale, 1);
        const picture = new GrownPicture(scale, goal, values);
        const ascent = values.map((_, at) => at % 2 ? 1e6 : -1e6);
        for (let step = 0; step < 100; step++) picture.move(ascent);
        return [...picture.bytes()];
    }""")
    assert set(bytes_) == {0, 255}


def test_a_picture_grows_pauses_goes_on_and_begins_again(visit, predictor):
    open_wish(visit)
    page, go = visit.page, visit.locate(".wish-go")
    best = int(logits_of(predictor, photograph("red_panda")).argmax())
    assert visit.locate(".wish-class").input_value() == short(predictor, best)
    go.click()
    wait_for_step(visit, 3)
    go.click()  # Pause
    wait_for(visit, "paused")
    paused, shown = steps_of(visit), visit.pixels(".wish-picture")
    page.wait_for_timeout(300)
    assert steps_of(visit) == paused < 200
    assert go.text_content() == "Go on"
    own = logits_of(predictor, photograph("red_panda"))[best].item()
    assert f"(the photograph: {own:.1f})" in visit.text(".wish-value")
    go.click()
    wait_for(visit, "done")
    assert steps_of(visit) == 200 and visit.pixels(".wish-picture") != shown
    value = float(re.search(r": (−?[\d.]+) \(", visit.text(".wish-value"))[1].replace("−", "-"))
    assert value > own  # it is more like the class than any part of the photograph
    assert visit.text(".wish-status").startswith(f"It says: {short(predictor, best)}")
    assert len(visit.locate(".wish-grown").get_attribute("d").split("L")) == 200
    grown = visit.pixels(".wish-picture")
    said = int(logits_of(predictor, image_of(grown)).argmax())
    assert said == best
    visit.locate(".wish-again").click()
    wait_for(visit, "growing")
    visit.locate(".wish-stop").click()
    expect(visit.locate(".wish-picture")).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Grow"


def test_the_same_noise_gives_the_same_picture(visit):
    open_wish(visit)
    pictures = []
    for start in ("2", "2", "3"):
        visit.locate(".wish select >> nth=1").select_option(start)
        visit.page.evaluate("""() => {
            window.frames5 = [];
            const canvas = document.querySelector(".wish-picture");
            const watch = new MutationObserver(() => {
                const says = document.querySelector(".wish-says").textContent;
                if (!says.startsWith("Step 5 ")) return;
                watch.disconnect();
                document.querySelector(".wish-go").click();
                window.frames5 = canvas.toDataURL();
            });
            watch.observe(document.querySelector(".wish-says"), { childList: true });
        }""")
        visit.locate(".wish-go").click()
        wait_for(visit, "paused")
        pictures.append(visit.page.evaluate("window.frames5"))
        visit.locate(".wish-stop").click()
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_map_from_the_photograph(browser, site):
    """The map that is looked at, and the address, which opens the same again."""
    with Visit(browser, site, "#net=koala&look=conv3.7", **DESK) as visit:
        visit.page.wait_for_timeout(500)
        visit.page.keyboard.press("Tab")
        visit.locate(".wish summary").press("Enter")
        expect(visit.locate(".wish-look")).to_be_visible()
        visit.locate(".wish-look").press("Enter")
        assert visit.locate(".wish-map").input_value() == "7"
        visit.expect_address("wish=conv3.7")
        visit.locate(".wish select >> nth=1").select_option("photograph")
        visit.locate(".wish-go").press("Enter")
        wait_for_step(visit, 1)
        visit.locate(".wish-go").press("Enter")
        wait_for(visit, "paused")
        grown = image_of(visit.pixels(".wish-picture")).float()
        far = (grown - photograph("koala").float()).abs().mean()
        assert 0 < far < 3 * steps_of(visit) + 3  # a step is about 3 of 255
        visit.after(visit.locate(".wish-take").click)
        assert image_of(visit.page.evaluate("[...netPage.base()]")).float().allclose(grown)
        assert "conv3, map 7" in visit.text(".net-by") and "Photograph: " in visit.text(".net-by")
        fragment = visit.page.evaluate("location.hash")
    with Visit(browser, site, fragment, **DESK) as other:
        expect(other.locate(".wish-map")).to_have_value("7")
        expect(other.locate(".wish select")).to_have_value("conv3")


@pytest.mark.parametrize(
    ("fragment", "kind"),
    some_of(
        [
            ("wish=conv9.1", "fc8"),
            ("wish=conv2.0", "fc8"),
            ("wish=conv2.129", "fc8"),
            ("wish=conv4.1e3", "fc8"),
            ("wish=<b>&change=<i>", "fc8"),
            ("wish=no_such_thing&change=no_such_thing", "fc8"),
            ("wish=conv2.128&change=goldfish", "conv2"),
        ],
        ("wish=conv2.129", "fc8"),
        ("wish=conv2.128&change=goldfish", "conv2"),
    ),
)
def test_an_odd_address_is_checked(browser, site, predictor, fragment, kind):
    with Visit(browser, site, f"#net=koala&{fragment}", **DESK) as visit:
        expect(visit.locate(".wish-class")).not_to_have_value("")
        expect(visit.locate(".wish select")).to_have_value(kind)
        words = [predictor.class_name(label) for label in range(200)]
        assert visit.locate(".wish-class").input_value() in [w.split(",")[0] for w in words]
        assert visit.locate(".wish").get_attribute("data-state") == "none"


def test_the_class_is_searched_for(visit, predictor):
    open_wish(visit)
    field = visit.locate(".wish-class")
    assert len(visit.page.query_selector_all(".wish datalist option")) >= 200
    name = predictor.class_name(100)
    for text in (name, short(predictor, 100).upper(), predictor.classes[100]):
        field.fill(text)
        field.press("Enter")
        expect(visit.locate(".wish-value")).to_contain_text(f"Score of {short(predictor, 100)}")
        visit.locate(".wish-stop").click()
    field.fill("unicorns")
    field.press("Enter")
    expect(visit.locate(".wish-status")).to_have_text("No kind of thing is called “unicorns”.")
    visit.locate(".wish select").select_option("conv5")
    visit.locate(".wish-map").fill("129")
    visit.locate(".wish-go").click()
    expect(visit.locate(".wish-status")).to_have_text("conv5 has maps 1 to 128.")


# The smallest change


def search(visit, text):
    visit.locate(f"{CHANGE} .wish-class").fill(text)
    visit.locate(".wish-find").click()
    wait_for(visit, "found", CHANGE)


def pictures_of(visit):
    return [image_of(visit.pixels(f"{CHANGE} .wish-picture >> nth={at}")) for at in range(3)]


def test_the_smallest_change(visit, predictor):
    open_wish(visit, CHANGE)
    image = photograph("red_panda")
    order = logits_of(predictor, image).argsort(descending=True).tolist()
    target = order[1]  # what it is filled in with, unless the square on the page changes that
    search(visit, predictor.class_name(target))
    shown, enlarged, total = pictures_of(visit)
    difference = total.int() - shown.int()
    assert torch.equal(shown, image)
    assert int(logits_of(predictor, total).argmax()) == target
    assert torch.equal(enlarged, (128 + 20 * difference).clamp(0, 255).to(torch.uint8))
    # It is small, and as short as it can be: with a tenth less, the net says something else
    size = difference.float().square().mean().sqrt().item()
    assert 0 < size < 10
    shorter = (image + (0.9 * difference).round()).clamp(0, 255).to(torch.uint8)
    assert int(logits_of(predictor, shorter).argmax()) != target
    assert size < plain_descent(predictor, image, target)
    contrast = image.float().std(correction=0).item()
    sentence = visit.text(".wish-size")
    assert f"{size:.2f} of 255" in sentence and f"{100 * size / contrast:.1f} %" in sentence
    assert sentence.endswith(f"the largest is {difference.abs().max()}.")
    check_guesses(visit, predictor)
    check_parts(visit, predictor, shown, total, target)


def plain_descent(predictor, image, target):
    """The size of the change by small steps down the loss, without a care for its length."""
    view = TF.center_crop(image, [predictor.crop] * 2) / 255
    changed = view
    for _ in range(500):
        x = changed.clone().requires_grad_()
        logits = predictor.model((x[None] - predictor.mean) / predictor.std)
        if logits.argmax() == target:
            break
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([target]))
        slope = torch.autograd.grad(loss, x)[0]
        changed = (x - 0.02 * slope / slope.norm()).detach().clamp(0, 1)
    return 255 * ((changed - view).square().sum() / image.numel()).sqrt().item()


def check_guesses(visit, predictor):
    for at, picture in enumerate(pictures_of(visit)):
        probabilities = logits_of(predictor, picture).softmax(0)
        rows = visit.page.locator(f"{CHANGE} .wish-guesses >> nth={at}").locator("li")
        best = probabilities.topk(3).indices.tolist()
        expected = [
            f"{short(predictor, label)} {first_page.percent(probabilities[label])}"
            for label in best
        ]
        assert rows.all_text_contents() == expected


def check_parts(visit, predictor, shown, total, target):
    """The cut nets, by another way than the page's."""
    model = predictor.model
    cut = [take_away(model, name) for name in ("column2", "column1", "lrn")]
    fooled = 0
    rows = visit.page.locator(".wish-parts tbody tr")
    for at, net in enumerate([model, *cut]):
        cells = rows.nth(at).locator("td").all_text_contents()
        for cell, image in zip(cells, (shown, total), strict=True):
            probabilities = logits_of(predictor, image, net).softmax(0)
            label = int(probabilities.argmax())
            percent = first_page.percent(probabilities[label]).replace(" ", "\u00a0")
            assert cell == f"{short(predictor, label)} {percent}"
        fooled += at > 0 and label == target
    start = f"Of the 3 nets from which something is taken away, {fooled or 'none'} "
    assert visit.text(".wish-fooled").startswith(start)


def test_the_changed_photograph_is_taken_along(visit, predictor):
    open_wish(visit, CHANGE)
    image = photograph("red_panda")
    target = logits_of(predictor, image).argsort(descending=True)[2].item()
    search(visit, short(predictor, target))
    total = pictures_of(visit)[2]
    visit.after(visit.locate(f"{CHANGE} .wish-take").click)
    assert torch.equal(image_of(visit.page.evaluate("[...netPage.seen()]")), total)
    assert visit.text(".net-first") == short(predictor, target)
    assert "Changed, so that the net says" in visit.text(".net-by")
    visit.after(visit.locate('[data-cut="lrn"]').click)  # it is a photograph as any other
    net = take_away(predictor.model, "lrn")
    label = int(logits_of(predictor, total, net).argmax())
    assert visit.text(".net-first") == short(predictor, label)


def test_a_search_is_stopped_and_needs_another_class(visit, predictor):
    open_wish(visit, CHANGE)
    best = int(logits_of(predictor, photograph("red_panda")).argmax())
    field, status = visit.locate(f"{CHANGE} .wish-class"), visit.locate(f"{CHANGE} .wish-status")
    field.fill(predictor.class_name(best))
    field.press("Enter")
    said = f"It says “{short(predictor, best)}” already: choose something else."
    expect(status).to_have_text(said)
    field.fill("unicorns")
    visit.locate(".wish-find").click()
    expect(status).to_have_text("No kind of thing is called “unicorns”.")
    field.fill(predictor.class_name((best + 1) % 200))
    visit.locate(".wish-find").focus()
    visit.page.keyboard.press("Enter")
    wait_for(visit, "searching", CHANGE)
    expect(visit.locate(f"{CHANGE} .wish-stop")).to_be_focused()
    visit.page.keyboard.press("Enter")
    wait_for(visit, "none", CHANGE)
    expect(visit.locate(".wish-find")).to_be_focused()
    expect(visit.locate(".wish-result")).to_be_hidden()


def test_the_works_are_in_the_list(desk):
    works = parse_file(str(ROOT / "book" / "references.bib")).entries
    links = desk.page.locator(".wish a")
    assert links.count() == 4
    for link in links.all():
        key = link.get_attribute("href").removeprefix("references.html#")
        name = works[key].persons["author"][0].last_names[-1]
        text = link.text_content()
        assert text.startswith(name) and text.endswith(works[key].fields["year"])


def test_on_a_phone_by_touch(browser, site):
    with Visit(browser, site, **PHONE) as visit:
        for selector in (".wish", CHANGE):
            visit.locate(f"{selector} summary").tap()
            expect(visit.locate(f"{selector} .wish-class")).not_to_have_value("")
        visit.locate(".wish-go").tap()
        wait_for_step(visit, 2)
        expect(visit.locate(".wish-picture")).to_be_in_viewport(ratio=0.9)
        visit.locate(".wish-go").tap()
        wait_for(visit, "paused")
        visit.locate(".wish-find").tap()
        wait_for(visit, "found", CHANGE)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        found = Axe().run(visit.page).response["violations"]
        assert [fault["id"] for fault in found if "wish" in str(fault["nodes"])] == []
