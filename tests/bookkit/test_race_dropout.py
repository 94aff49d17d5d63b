"""The race with and without dropout: its patches, its recorded runs, and a short one in Chromium.

tests/bookkit/test_race.py looks at what both races have in common.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from alexnet.bookkit.race import dropout_race, dropout_runs, late_error
from alexnet.experiments.nets import one_hidden_net
from alexnet.experiments.race import NAMES, SIZE, RaceData
from alexnet.experiments.race_dropout import PER_CLASS, TILE, load_few, load_few_patches
from engine_page import EnginePage
from helpers import HEADLESS_CHROMIUM
from race_page import make_site

# .ci/lowest collects this file as well, without a browser's driver.
playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.slow

LONG = 240_000  # milliseconds for a race


@pytest.fixture(scope="module")
def race():
    return dropout_race()


@pytest.fixture
def page(race, tmp_path):
    """A race of two epochs, on every fourth patch."""
    data = RaceData(race.data.photographs, race.data.train[::4], race.data.test[::4])
    make_site(tmp_path, small=replace(race, data=data, batch=8, epochs=2, seconds=600))
    with playwright.sync_playwright() as browsers:
        options = {"executable_path": HEADLESS_CHROMIUM, "args": ["--no-sandbox"]}
        browser = browsers.chromium.launch(**options)
        page = browser.new_page()
        page.goto((tmp_path / "small.html").as_uri())
        yield page
        browser.close()


def test_the_stored_part_is_what_the_runs_and_the_photographs_give(race):
    assert race.path.read_text(encoding="utf-8") == race.render(), (
        "python -m alexnet.bookkit.race writes it anew"
    )


def test_patches_kept_aside_share_no_pixel_with_the_others_and_are_from_three_tiles():
    data = load_few()
    for train, test in zip(data.train.chunk(len(NAMES)), data.test.chunk(len(NAMES))):
        assert (len(train), len(test)) == PER_CLASS
        apart = (train[:, None] - test[None]).abs().amax(2)  # in pixels, of the corners
        assert apart.min() >= SIZE
        assert len((test // TILE).unique(dim=0)) == 3


def test_in_the_recorded_runs_dropout_lowers_the_error_with_each_seed():
    """What the chapter says of a rate of 0.01, and that no other is better for either net."""
    means = {}
    for lr in (0.003, 0.01, 0.03):
        without, dropped = ([late_error(run) for run in dropout_runs(p, lr)] for p in (0.0, 0.5))
        means[lr] = sum(without) / 3, sum(dropped) / 3
        if lr == 0.01:
            assert all(b < a for a, b in zip(without, dropped))
    assert min(means, key=lambda lr: means[lr][0]) == 0.01
    assert min(means, key=lambda lr: means[lr][1]) == 0.01
    assert 0.055 < means[0.01][0] - means[0.01][1] < 0.065


def test_both_lanes_begin_alike_and_the_one_without_dropout_learns_as_in_pytorch(page):
    perform = EnginePage(lambda body, values: page.evaluate("v => perform(...v)", [body, values]))
    found = perform("""
        const { Race, state } = document.querySelector("figure.race").race;
        const race = new Race(state.presets[0], 3);
        await race.open();
        const parameters = [];
        for (const net of race.nets) parameters.push(await net.parameters());
        const steps = [];
        for (let i = 0; i < 10; i++) {
            const results = await race.step();
            steps.push(results.map(({ loss }) => loss));
        }
        const { order } = race;
        race.close();
        return { parameters, steps, order }""")
    without, dropping = found["parameters"]
    assert set(without) == set(dropping)
    net = one_hidden_net(len(NAMES), 0.0)
    named = dict(net.named_parameters())
    with torch.no_grad():
        for name, value in without.items():
            torch.testing.assert_close(value, dropping[name])
            named[name].copy_(value.view(named[name].shape))
    few = load_few_patches().train_images[::4].double()
    centered = few - few.mean(0)
    images = (centered / centered.std(correction=0)).float()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    labels = torch.arange(len(NAMES)).repeat_interleave(len(images) // len(NAMES))
    for step, (loss_without, loss_dropping) in enumerate(found["steps"]):
        batch = found["order"][8 * step : 8 * step + 8]
        loss = F.cross_entropy(net(images[batch]), labels[batch])
        assert loss_without == pytest.approx(loss.item(), rel=1e-3)
        assert loss_dropping != pytest.approx(loss_without, rel=1e-6)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_a_short_race_ends_with_a_comparison(page):
    page.get_by_role("group", name="Your guess first").get_by_label("dropout", exact=True).check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector('figure.race[data-state="finished"]', timeout=LONG)
    said = page.locator(".race-status").inner_text()
    assert said.startswith(("The lower error: ", "They end level."))
    assert "no dropout: " in said and said.endswith(("You guessed it.", "Your guess was another."))
    cells = page.locator(".race-results tbody td").all_inner_texts()
    assert cells[2] in ("no dropout", "dropout", "neither: less than a point apart")
    points = page.locator(".race-curve").first.get_attribute("points").split()
    assert len(points) == 2  # one an epoch
