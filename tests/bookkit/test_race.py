"""The race of two nets in the page: its data, its steps beside PyTorch's, what a reader does."""

import re
import sys
from dataclasses import replace

import pytest
import torch
from bs4 import BeautifulSoup
from torch.nn import functional as F

from alexnet.bookkit import race
from alexnet.bookkit.export import ENGINE
from alexnet.bookkit.findings import epochs_to, load_runs
from alexnet.bookkit.race import FINISH, FOLDER, race_runs, relu_race, show_race
from alexnet.experiments.nets import race_net
from alexnet.experiments.race import NAMES, PER_CLASS, load_data, load_patches
from drivers import renderer_memory
from engine_page import EnginePage
from helpers import HEADLESS_CHROMIUM, ROOT, some_of
from race_page import make_site

# .ci/lowest collects this file as well, without a browser's driver.
playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = pytest.mark.slow
EXHAUSTIVE = pytest.mark.exhaustive

expect = playwright.expect
DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 664}, "has_touch": True, "is_mobile": True}
LONG = 240_000  # milliseconds for a race


@pytest.fixture(scope="module")
def whole():
    return relu_race()


@pytest.fixture(scope="module")
def small(whole):
    """A race of two epochs on a few patches, for what does not depend on who wins."""
    return replace(whole, data=load_data((32, 8)), batch=16, epochs=2, seconds=600)


@pytest.fixture(scope="module")
def site(whole, small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    make_site(folder, whole=replace(whole, seconds=600), small=small)
    # An epoch may take no time here, so that it always takes too long.
    make_site(folder, slow=replace(small, data=load_data((64, 8)), seconds=1e-4))
    make_site(folder, aside=replace(small, measure="test", finish=None))
    return folder


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as browsers:
        options = {"executable_path": HEADLESS_CHROMIUM, "args": ["--no-sandbox"]}
        browser = browsers.chromium.launch(**options)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, site):
    contexts = []

    def open_it(name="small", **options):
        context = chromium.new_context(**(DESK | options))
        contexts.append(context)
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()


def guess(page, text="tanh"):
    page.get_by_role("group", name="Your guess first").get_by_label(text, exact=True).check()


def start(page):
    guess(page)
    page.get_by_role("button", name="Start").click()


def wait_for_end(page, state="finished"):
    page.wait_for_selector(f'figure.race[data-state="{state}"]', timeout=LONG)


# The data


def test_the_stored_part_is_what_the_runs_and_the_photographs_give(whole):
    assert whole.path.read_text(encoding="utf-8") == whole.render(), (
        "python -m alexnet.bookkit.race writes it anew"
    )


def test_the_page_weighs_less_than_a_megabyte(whole):
    files = [whole.path, *FOLDER.glob("*.js"), *FOLDER.glob("*.css"), *ENGINE.glob("*.js")]
    assert sum(path.stat().st_size for path in files) < 600e3


def test_no_test_patch_shares_a_pixel_with_a_training_patch():
    data = load_data()
    for train, test in zip(data.train.chunk(len(NAMES)), data.test.chunk(len(NAMES))):
        apart = (train[:, None] - test[None]).abs().amax(2)  # in pixels, of the corners
        assert len(train) == PER_CLASS[0] and len(test) == PER_CLASS[1]
        assert apart.min() >= race.SIZE


def test_outside_a_checkout_the_error_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("alexnet.experiments.race.PHOTOGRAPHS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"red_panda\.webp must be there .* checkout"):
        load_data()


def test_the_patches_in_the_page_are_those_of_the_experiment(open_page):
    page = engine_page(open_page("whole"))
    body = """
        const { Race, state } = document.querySelector("figure.race").race;
        const { images } = new Race(state.presets[0], 0);
        return { train: images.train, test: images.test, std: images.std }"""
    found = page(body)
    dataset = load_patches()
    mean = dataset.train_images.double().mean(0)
    for part, images in (("train", dataset.train_images), ("test", dataset.test_images)):
        expected = (images.double() - mean).flatten()
        torch.testing.assert_close(found[part].double(), expected, rtol=0, atol=1e-4)
    centered = dataset.train_images.double() - mean
    assert found["std"] == pytest.approx(centered.std(correction=0).item(), rel=1e-6)


# The recorded runs


@pytest.mark.parametrize(
    ("weights", "pixels", "winner"),
    [("2012", "2012", "relu"), ("today", "2012", "relu"), ("today", "today", "tanh")],
)
def test_the_pixels_decide_in_the_recorded_runs(weights, pixels, winner):
    """Who is first by an epoch or more, for each seed."""
    relu, tanh = (race_runs(activation, weights, pixels) for activation in ("relu", "tanh"))
    assert [run["config"]["seed"] for run in relu] == [0, 1, 2]
    assert [run["config"]["seed"] for run in tanh] == [0, 1, 2]
    for first, second in zip(relu, tanh):
        gap = epochs_to(second, FINISH) - epochs_to(first, FINISH)
        assert gap >= 1 if winner == "relu" else gap <= -1


@pytest.mark.parametrize("weights", ["2012", "today"])
def test_large_pixels_saturate_the_first_layer_in_the_recorded_runs(weights):
    for run in race_runs("tanh", weights, "2012"):
        assert all(shares[0] > 0.95 for shares in run["curve"]["saturated"])
        assert epochs_to(run, FINISH) > run["config"]["epochs"]  # never
    for run in race_runs("tanh", weights, "today"):
        assert all(shares[0] < 0.3 for shares in run["curve"]["saturated"])


def test_what_the_chapter_says_follows_from_the_recorded_runs():
    text = (ROOT / "book" / "relu.ipynb").read_text(encoding="utf-8")
    on_large = {
        activation: [
            run for weights in race.INITS for run in race_runs(activation, weights, "2012")
        ]
        for activation in ("relu", "tanh")
    }
    epochs = [epochs_to(run, FINISH) for run in on_large["relu"]]
    assert (
        f"ReLU reaches a training error of 25 % after {min(epochs)} to {max(epochs)} epochs" in text
    )
    errors = [run["curve"]["train_error"][-1][-1] for run in on_large["tanh"]]
    assert sum(errors) / len(errors) == pytest.approx(0.3, abs=0.02)
    assert "about three in ten patches are still wrong after 20 epochs" in text
    today = {
        activation: [epochs_to(run, FINISH) for run in race_runs(activation, "today", "today")]
        for activation in ("relu", "tanh")
    }
    ahead = [relu - tanh for relu, tanh in zip(today["relu"], today["tanh"])]
    assert sum(ahead) / 3 == pytest.approx(3.4, abs=0.5)
    assert "tanh is first, by three epochs or so" in text
    [hardly, *_] = race_runs("relu", "2012", "today")
    assert len(hardly["curve"]["loss"]) == 4  # fit.py ends it


def test_the_rates_of_the_page_are_the_best_of_the_search(whole):
    for preset, recipe in zip(whole.presets, ("2012", "today")):
        for rate, activation in zip(preset.rates, race.ACTIVATIONS):
            fields = {"init": race.INITS[recipe], "pixels": race.PIXELS[recipe]}
            tried = load_runs("race", activation=activation, epochs=4, **fields)
            losses = {run["config"]["lr"]: run["curve"]["loss"][-1][-1] for run in tried}
            finite = {lr: loss for lr, loss in losses.items() if loss is not None}
            assert rate == min(finite, key=finite.get)
            assert min(losses) < rate < max(losses)  # not at an edge


# Steps


def engine_page(page):
    return EnginePage(lambda body, values: page.evaluate("v => perform(...v)", [body, values]))


@pytest.mark.parametrize("recipe", some_of([0, 1], 0), ids=["2012", "today"])
def test_the_losses_of_ten_steps_are_those_of_pytorch(open_page, recipe):
    page = engine_page(open_page("whole"))
    body = """
        const { Race, state } = document.querySelector("figure.race").race;
        const race = new Race(state.presets[recipe], 7);
        await race.open();
        const parameters = [];
        for (const net of race.nets) parameters.push(await net.parameters());
        const order = race.order.slice(0, 10 * state.batch);
        const losses = [[], []];
        for (let i = 0; i < 10; i++) {
          const results = await race.step();
          results.forEach(({ loss }, lane) => losses[lane].push(loss));
        }
        race.close();
        return { parameters, order, losses, setting: race.setting }"""
    found = page(body, recipe=recipe)
    setting = found["setting"]
    dataset = load_patches()
    images = dataset.train_images.double() - dataset.train_images.double().mean(0)
    images = (images * (setting["pixels"] / images.std(correction=0))).float()
    order = torch.tensor(found["order"])
    for lane, activation in enumerate(("relu", "tanh")):
        net = race_net(len(NAMES), activation)
        net.load_state_dict(found["parameters"][lane])
        gains = [p.std().item() * p[0].numel() ** 0.5 for p in net.parameters() if p.ndim > 1]
        assert gains[0] == pytest.approx(setting["first"], rel=0.2)
        assert gains[1:3] == pytest.approx([setting["above"]] * 2, rel=0.1)
        optimizer = torch.optim.SGD(net.parameters(), lr=setting["rates"][lane], momentum=0.9)
        losses = []
        for batch in order.split(64):
            loss = F.cross_entropy(net(images[batch]), dataset.train_labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert found["losses"][lane] == pytest.approx(losses, rel=1e-4)
    both = found["parameters"]
    assert all(torch.equal(both[0][name], both[1][name]) for name in both[0])  # the same draws


def test_a_seed_gives_the_same_race_and_another_gives_another(open_page):
    page = engine_page(open_page())
    body = """
        const { Race, state } = document.querySelector("figure.race").race;
        const races = [];
        for (const seed of [1, 1, 2]) {
          const race = new Race(state.presets[1], seed);
          await race.open();
          await race.time();  // which leaves everything as it was
          race.fit(0.01);
          await race.quarter(async () => {});
          races.push([race.order, race.runs.map(({ errors }) => errors), race.runs[0].kernels]);
          race.close();
        }
        return races"""
    first, again, other = page(body)
    assert first[:2] == again[:2] and torch.equal(first[2], again[2])
    assert first[0] != other[0] and not torch.equal(first[2], other[2])


@EXHAUSTIVE
def test_a_thousand_steps_leak_no_memory(open_page):
    page = engine_page(open_page())
    body = """
        const { Race, state } = document.querySelector("figure.race").race;
        window.long ??= new Race({ ...state.presets[1], rates: [1e-4, 1e-4] }, 0);
        if (!window.long.nets.length) await window.long.open();
        for (let i = 0; i < 500; i++) await window.long.step();"""
    used = []
    for _ in range(3):
        page(body)
        used.append(renderer_memory())
    assert used[2] < used[0] + 20e6, used  # bytes, over 1,000 steps


# What a reader does


def test_a_race_from_start_to_finish(open_page):
    page = open_page()
    button = page.get_by_role("button", name="Start")
    expect(button).to_be_disabled()
    expect(page.locator(".race-status")).to_contain_text("Make a guess first")
    expect(page.locator(".race-band")).to_have_count(0)  # which would answer it
    guess(page, "ReLU")
    expect(button).to_be_enabled()
    button.click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    wait_for_end(page)
    expect(page.locator(".race-results tbody tr")).to_have_count(1)
    said = page.locator(".race-status").inner_text()
    assert "ReLU: " in said and "tanh: " in said and "guess" in said
    assert page.locator(".race-spoken").text_content() == said
    assert page.locator(".race-chart polyline").count() == 2
    assert page.locator(".race-band").count() == 2
    assert page.locator(".race-silent li").count() == 6
    assert "dead" in page.locator(".race-silent").first.inner_text()
    assert "saturated" in page.locator(".race-silent").last.inner_text()
    assert page.locator("canvas.race-kernels").first.evaluate(KERNELS) == 8
    assert page.errors == []


# How many kernels show something, of those in the canvas
KERNELS = """canvas => {
    const shades = (at) => new Set(canvas.getContext("2d").getImageData(6 * at, 0, 5, 5).data).size;
    return [...Array((canvas.width + 1) / 6).keys()].filter((at) => shades(at) > 3).length;
}"""


def test_three_more_seeds(open_page):
    page = open_page()
    more = page.get_by_role("button", name="Three more seeds")
    expect(more).to_be_disabled()
    start(page)
    wait_for_end(page)
    more.click()
    expect(page.locator(".race-results tbody tr")).to_have_count(4, timeout=LONG)
    wait_for_end(page)
    heads = page.locator(".race-results tbody th").all_inner_texts()
    assert heads == ["0", "1", "2", "3"]
    assert page.locator(".race-chart polyline.is-pale").count() == 6


def test_a_guess_is_asked_for_each_preset(open_page):
    page = open_page()
    guess(page)
    page.get_by_label("today’s pixels and weights").check()
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    assert "PyTorch" in page.locator(".race-about").inner_text()


def test_rates_and_scales_are_dragged_and_said(open_page):
    page = open_page()
    about = page.locator(".race-about")
    expect(about).to_contain_text("each its best in the recorded runs")
    page.get_by_text("Change the setting").click()
    page.get_by_label("the same for both").check()
    expect(about).to_contain_text("the same for both: ")
    expect(page.get_by_role("slider", name="of tanh", exact=True)).to_be_hidden()
    page.get_by_label("each its best").check()
    pixels = page.get_by_label("Pixels, standard deviation")
    pixels.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_label("your own")).to_be_checked()
    expect(about).to_contain_text("what is best was searched for the presets only")
    expect(page.locator(".race-band")).to_have_count(0)
    assert float(pixels.get_attribute("aria-valuetext")) > 85
    weights = page.get_by_label("First weights of layer 1, times √inputs")
    weights.fill("0")
    assert weights.get_attribute("aria-valuetext") == "1"
    page.get_by_role("slider", name="of tanh", exact=True).fill("-1")
    expect(about).to_contain_text("tanh 0.1")


def test_a_lane_that_overflows_is_named_and_frozen(open_page):
    page = open_page()
    page.get_by_text("Change the setting").click()
    page.get_by_role("slider", name="of ReLU", exact=True).fill("0")
    page.get_by_label("Pixels, standard deviation").fill("2.5")
    page.get_by_label("First weights above it, times √inputs").fill("1")
    start(page)
    wait_for_end(page)
    said = page.locator(".race-status").inner_text()
    assert re.search(r"ReLU was frozen \(\w+: its maps hold NaN or infinity\)", said)
    assert "Try a smaller learning rate than 1, or smaller pixels than 320" in said
    expect(page.locator(".race-lane.is-frozen .race-lane-head")).to_contain_text("stopped: ")
    expect(page.locator(".race-cross")).to_have_count(1)
    assert "tanh: " in said and "tanh was frozen" not in said


def test_a_hidden_page_pauses(open_page):
    page = open_page()
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    start(page)
    wait_for_end(page, "paused")
    page.wait_for_timeout(500)
    assert page.locator(".race-chart polyline").count() == 0
    page.evaluate(hide, False)
    wait_for_end(page)


# Where the curves and the bands of the recorded runs end, once there are any
ENDS = """() => {
    const shapes = kind => [...document.querySelectorAll(kind)]
    const places = kind => shapes(kind).flatMap(
        shape => shape.getAttribute('points').split(' ').filter(Boolean).map(parseFloat))
    const [curves, bands] = ['.race-curve', '.race-band'].map(places)
    return bands.length && [Math.max(...curves), Math.max(...bands)]
}"""


def test_while_a_race_runs_the_recorded_runs_come_as_far_as_it_does(open_page):
    page = open_page()
    start(page)
    curves, bands = page.wait_for_function(ENDS, timeout=LONG).json_value()
    assert bands == curves
    wait_for_end(page)
    _, end = page.evaluate(ENDS)
    assert bands < end


def test_without_a_race_the_recorded_runs_are_shown_after_a_guess(open_page):
    """On a slow phone a race takes minutes."""
    page = open_page("whole")
    show = page.get_by_role("button", name="Show recorded runs")
    expect(show).to_be_disabled()
    expect(page.locator(".race-band")).to_have_count(0)
    guess(page, "ReLU")
    show.click()
    expect(page.locator(".race-band")).to_have_count(2)
    found = [epochs_to(run, FINISH) for run in race_runs("relu", "2012", "2012")]
    said = page.locator(".race-status")
    expect(said).to_contain_text(f"ReLU after {min(found)} to {max(found)} epochs")
    expect(said).to_contain_text("tanh not within 20 epochs. You guessed it.")
    page.get_by_label("today’s pixels and weights").check()
    expect(show).to_be_disabled()
    expect(page.locator(".race-band")).to_have_count(0)
    guess(page, "ReLU")
    show.click()
    expect(said).to_contain_text("Your guess was another.")


def test_whoever_is_tired_of_waiting_is_shown_the_recorded_runs(open_page):
    page = open_page("whole")
    start(page)
    page.wait_for_selector(".race-chart polyline", timeout=LONG)
    page.get_by_role("button", name="Show recorded runs").click()
    wait_for_end(page, "stopped")
    expect(page.locator(".race-status")).to_contain_text("tanh not within 20 epochs.")
    expect(page.locator(".race-band")).to_have_count(2)


def test_the_reader_stops_it(open_page):
    page = open_page("whole")
    start(page)
    page.wait_for_selector(".race-chart polyline", timeout=LONG)
    page.get_by_role("button", name="Stop").click()
    wait_for_end(page, "stopped")
    expect(page.locator(".race-status")).to_have_text("You have stopped the race.")
    expect(page.get_by_role("button", name="Start")).to_be_enabled()


def test_where_an_epoch_takes_too_long_there_are_fewer_patches(open_page):
    page = open_page("slow")
    start(page)
    expect(page.locator(".race-status")).to_contain_text("so it has 256", timeout=LONG)
    words = page.locator(".race-chart text")
    for epoch in ("2", "3"):  # 3 epochs of 16 steps, for 2 of 24
        expect(words.filter(has_text=re.compile(f"^{epoch}$")).first).to_be_attached(timeout=LONG)
    wait_for_end(page)
    race = "document.querySelector('figure.race').race"
    [band, _] = page.evaluate(f"{race}.state.presets[0].band")
    quarters, epochs = len(band["low"]), page.evaluate(f"{race}.state.epochs")
    points = page.locator(".race-band").first.get_attribute("points")
    last = max(float(point.split(",")[0]) for point in points.split())
    # With all patches an epoch of the recorded runs is as long as here one and a half
    assert last == pytest.approx(56 + (630 - 56) * quarters / 4 / epochs, abs=1)


def test_the_error_on_patches_kept_aside(open_page):
    """For races without a finish."""
    page = open_page("aside")
    assert page.locator(".race-finish").count() == 0
    start(page)
    wait_for_end(page)
    # A point for each epoch
    assert page.locator(".race-chart polyline").first.get_attribute("points").count(",") == 2
    expect(page.locator(".race-chart svg")).to_contain_text("error on patches kept aside")
    fitted = page.locator(".race-chart .race-fitted")  # and on those learned from
    assert fitted.count() == 2 and fitted.first.get_attribute("points").count(",") == 2


def test_one_cursor_reads_both_curves(open_page):
    page = open_page()
    start(page)
    wait_for_end(page)
    chart = page.get_by_role("slider", name="epoch at which both curves are read")
    chart.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    reading = page.locator(".race-reading")
    expect(reading).to_have_text(re.compile(r"^After 1\.75 epochs: ReLU \d+ %, tanh \d+ %\.$"))
    assert chart.get_attribute("aria-valuetext") == reading.inner_text()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 56 / 640 + 2, box["y"] + 40)
    expect(reading).to_contain_text("After 0.25 epochs")


def test_by_keyboard_alone(open_page):
    page = open_page()
    page.keyboard.press("Tab")  # to the guesses
    page.keyboard.press("Space")
    page.keyboard.press("Tab")  # over the presets
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Start"
    page.keyboard.press("Enter")
    wait_for_end(page)
    assert page.evaluate("document.activeElement.textContent") == "Start"


@pytest.mark.parametrize(
    ("device", "scheme"),
    some_of(
        [("desk", "light"), ("phone", "light"), ("desk", "dark"), ("phone", "dark")],
        ("desk", "light"),
        ("phone", "dark"),
    ),
)
def test_axe_finds_nothing_and_nothing_sticks_out(open_page, device, scheme):
    options = {"desk": DESK, "phone": PHONE}[device]
    page = open_page(**options, color_scheme=scheme)
    page.evaluate("scheme => { document.documentElement.dataset.theme = scheme }", scheme)
    page.get_by_text("Change the setting").click()
    start(page)
    wait_for_end(page)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]


def test_with_scripts_off_and_on_paper_a_recorded_race_is_shown(open_page):
    page = open_page(java_script_enabled=False)
    expect(page.locator(".race-still svg")).to_be_visible()
    expect(page.locator(".race-live")).to_be_hidden()
    page = open_page()
    expect(page.locator(".race-still svg")).to_be_hidden()
    page.emulate_media(media="print")
    expect(page.locator(".race-still svg")).to_be_visible()
    expect(page.locator(".race-live")).to_be_hidden()


# Who wins


@EXHAUSTIVE
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("preset", "winner"), [(0, "relu"), (1, "tanh")], ids=["2012", "today"])
def test_the_winner_is_the_one_that_the_chapter_names(open_page, preset, winner, seed):
    """By an epoch or more, in the browser."""
    page = engine_page(open_page("whole"))
    body = """
        const { Race, state } = document.querySelector("figure.race").race;
        const race = new Race(state.presets[preset], seed);
        await race.open();
        race.fit(0);  // on all patches
        const first = () => race.runs.find(({ arrived }) => arrived !== null);
        const isDecided = () => {
          const epochs = Math.max(...race.runs.map(({ errors }) => errors.length)) / 4;
          return race.isOver || (first() && epochs >= first().arrived + 1);
        };
        while (!isDecided()) await race.quarter(async () => {});
        race.close();
        return race.runs.map(({ arrived }) => arrived)"""
    arrived = dict(zip(("relu", "tanh"), page(body, preset=preset, seed=seed)))
    assert [name for name, epochs in arrived.items() if epochs is not None] == [winner]


# In a notebook


def test_the_output_of_a_notebook(open_page, tmp_path):
    output = show_race()
    bundle = output._repr_mimebundle_()
    assert {"text/plain", "text/html", "image/png"} <= set(bundle)
    assert "application/vnd.jupyter.widget-view+json" in bundle
    still = BeautifulSoup(bundle["text/html"], "html.parser")
    assert still.figure["data-part"] == "race_relu" and still.img["alt"]
    assert still.a["href"] == "relu.html" and not still.find("script")
    frame = tmp_path / "frame.html"
    frame.write_text(output.value, encoding="utf-8")
    page = open_page()
    page.goto(frame.as_uri())
    inside = page.frame_locator("iframe")
    inside.get_by_label("tanh", exact=True).first.check()
    inside.get_by_role("button", name="Start").click()
    expect(inside.locator(".race-chart polyline").first).to_be_attached(timeout=LONG)
    assert page.errors == []


def test_the_page_takes_the_part_in_place_of_the_picture():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    import live_parts

    html = show_race()._repr_mimebundle_()["text/html"]
    [name] = live_parts.MARKED.findall(html)
    assert (ROOT / "book" / f"{name}.html").exists()
