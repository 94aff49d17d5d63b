"""The race of two nets in Firefox and in WebKit, Safari's engine, from its start to its end."""

import time
from dataclasses import replace

import pytest
from selenium.webdriver.common.by import By

from alexnet.bookkit.race import relu_race
from alexnet.experiments.race import load_data
from drivers import firefox, virtual_display, webkit
from race_page import make_site

pytestmark = [pytest.mark.slow, pytest.mark.browsers]

CLICK = "document.querySelector(arguments[0]).click()"
SECONDS = 300


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    race = replace(relu_race(), data=load_data((32, 8)), batch=16, epochs=2, seconds=600)
    folder = tmp_path_factory.mktemp("site")
    make_site(folder, small=race)
    return folder


@pytest.fixture(scope="module")
def display():
    with virtual_display():
        yield


@pytest.mark.parametrize("make_driver", [firefox, webkit], ids=["firefox", "webkit"])
def test_a_race_from_start_to_finish(make_driver, site, display, tmp_path):
    driver = make_driver(tmp_path)
    try:
        driver.get((site / "small.html").as_uri())
        driver.execute_script(CLICK, ".race-guess input")
        driver.execute_script(CLICK, ".race-start")
        figure = driver.find_element(By.CSS_SELECTOR, "figure.race")
        deadline = time.monotonic() + SECONDS
        while figure.get_attribute("data-state") == "running" and time.monotonic() < deadline:
            time.sleep(0.5)
        assert figure.get_attribute("data-state") == "finished"
        said = driver.find_element(By.CSS_SELECTOR, ".race-status").text
        assert "ReLU: " in said and "tanh: " in said, said
        points = driver.find_elements(By.CSS_SELECTOR, ".race-chart polyline")
        assert [line.get_attribute("points").count(",") for line in points] == [8, 8]
        assert len(driver.find_elements(By.CSS_SELECTOR, ".race-results tbody tr")) == 1
    finally:
        driver.quit()
