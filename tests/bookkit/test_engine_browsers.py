"""The net on the page in Firefox and in WebKit, Safari's engine, and for long in Chromium."""

import pytest
import torch

from drivers import firefox, renderer_memory, require, virtual_display, webkit
from engine_page import EnginePage, assert_close, check_all, make_site, noise_for, random_alexnet
from helpers import CHROMIUM

# .ci/lowest collects this file as well, without the browsers' drivers.
playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, pytest.mark.browsers]

# Selenium passes a callback as the last argument.
PERFORM = "perform(arguments[0], arguments[1]).then(arguments[2])"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def display():
    with virtual_display():
        yield


@pytest.fixture(scope="module", params=[firefox, webkit], ids=["firefox", "webkit"])
def page(request, site, display, tmp_path_factory):
    driver = request.param(tmp_path_factory.mktemp("driver"))
    try:
        driver.set_script_timeout(300)
        driver.command_executor.client_config.timeout = 300
        driver.get((site / "page.html").as_uri())
        yield EnginePage(lambda body, values: driver.execute_async_script(PERFORM, body, values))
    finally:
        driver.quit()


@pytest.mark.parametrize("engine", ["WebAssembly", "JavaScript"])
def test_forward_and_all_gradients(page, engine):
    net = random_alexnet("small")
    check_all(page, net, noise_for(net, 2), engine, torch.tensor([3, 9]))


@pytest.mark.parametrize("plain", [False, True])
def test_a_stored_net_from_a_folder(page, plain):
    """It passes its own test, with the kernel and without, and says nothing then."""
    body = """
        const loaded = await alexnet.load(name, { plain });
        return { engine: loaded.engine, notice: loaded.notice }"""
    for name in ("small", "tiny"):
        found = page(body, name=name, plain=plain)
        assert found == {"engine": "JavaScript" if plain else "WebAssembly", "notice": ""}


def test_where_simd_is_missing_plain_javascript_goes_on(page):
    body = """
        await alexnet.load("small");
        const expected = await alexnet.forward(pixels);
        alexnet.receive("kernel", btoa("no module"));
        const { engine, notice } = await alexnet.load("small");
        return { engine, notice, expected, found: await alexnet.forward(pixels) }"""
    pixels = torch.randint(0, 256, (36 * 36 * 3,), dtype=torch.uint8)
    found = page(body, pixels=pixels)
    assert found["engine"] == "JavaScript" and "no WebAssembly with SIMD" in found["notice"]
    assert_close(found["found"], found["expected"])


def test_memory_is_steady_over_2000_passes(site):
    """Of the whole browser's process: what the worker allocates is not in the page's heap."""
    require("chromium")
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto((site / "page.html").as_uri())
        page = EnginePage(lambda body, values: tab.evaluate("v => perform(...v)", [body, values]))
        page("await alexnet.load('small')")
        body = """
            const pixels = new Uint8Array(36 * 36 * 3);
            for (let i = 0; i < 1000; i++) {
              pixels[i] = i;
              await alexnet.run(pixels, { maps: ["conv1"], gradients: ["input"], labels: [3] });
            }"""
        used = []
        for _ in range(3):
            page(body)
            used.append(renderer_memory())
        browser.close()
    assert used[2] < used[0] + 30e6, used  # bytes; 2,000 passes' maps are 500 MB
