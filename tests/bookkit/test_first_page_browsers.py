"""The net of the first page in Firefox and in WebKit, Safari's engine, from a folder."""

import pytest

from drivers import firefox, virtual_display, webkit
from net_page import write_site

# .ci/lowest collects this file as well, without the browsers' drivers.
webdriver = pytest.importorskip("selenium.webdriver")
actions = pytest.importorskip("selenium.webdriver.common.actions.action_builder")
pointer = pytest.importorskip("selenium.webdriver.common.actions.pointer_input")
exceptions = pytest.importorskip("selenium.common.exceptions")
wait = pytest.importorskip("selenium.webdriver.support.wait")

pytestmark = [pytest.mark.slow, pytest.mark.browsers]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def display():
    with virtual_display():
        yield


@pytest.fixture(params=[firefox, webkit], ids=["firefox", "webkit"])
def driver(request, display, tmp_path):
    driver = request.param(tmp_path)
    try:
        yield driver
    finally:
        driver.quit()


PASSES = "return Number(document.querySelector('.net').dataset.passes ?? 0)"
BARS = "return [...document.querySelectorAll('.net-guess i')].map(bar => bar.style.width).join()"


def wait_for(driver, condition, seconds=120):
    """Poll a condition of the page."""
    wait.WebDriverWait(driver, seconds, poll_frequency=0.1).until(lambda _: condition())


def after(driver, action):
    """Do something, and wait until the net has answered with other bars."""
    before = driver.execute_script(PASSES), driver.execute_script(BARS)
    action()
    wait_for(driver, lambda: driver.execute_script(PASSES) > before[0])
    wait_for(driver, lambda: driver.execute_script(BARS) != before[1])


def test_the_first_page_from_a_folder(driver, site):
    """One photograph, one cut, one carried square, one key, and a tap where the driver can."""
    driver.get((site / "net.html").as_uri())
    wait_for(driver, lambda: driver.execute_script(PASSES) > 0)
    assert driver.execute_script("return netPage.net().engine") == "WebAssembly"

    def find(selector):
        return driver.find_element("css selector", selector)

    def place():
        return find(".net-square").get_attribute("aria-valuetext")

    after(driver, find('.net-sample[data-name="koala"]').click)
    assert "koala" in find(".net-by").text
    after(driver, find('[data-cut="lrn"]').click)
    assert find('[data-cut="lrn"]').get_attribute("aria-pressed") == "true"

    stage, before = find(".net-stage"), place()
    driver.execute_script("scrollTo(0, 0)")
    carry = webdriver.ActionChains(driver)
    carry.move_to_element(stage).move_by_offset(20, -20)
    after(driver, carry.perform)
    assert place() != before
    webdriver.ActionChains(driver).click().perform()  # puts it down
    before = place()
    after(driver, lambda: find(".net-square").send_keys(webdriver.Keys.ARROW_LEFT))
    assert place() != before

    touch = actions.ActionBuilder(driver, mouse=pointer.PointerInput("touch", "finger"))
    touch.pointer_action.move_to(stage, -60, 50).pointer_down().pointer_up()
    before = place()
    try:
        touch.perform()
    except exceptions.WebDriverException:
        return  # this driver has no fingers
    wait_for(driver, lambda: place() != before)
