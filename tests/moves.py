"""Moving an explorer by keys, by mouse and by touch, for test files."""

import json

from helpers import frame

STILL = "* { animation: none !important; transition: none !important }"

# Whether a picture is the one that some HTML makes, and if so, where it is on the page.
SHOWN = """async (picture, html) => {
    const expected = Object.assign(picture.cloneNode(), {innerHTML: html})
    if (!expected.isEqualNode(picture)) return null
    await Promise.all([...picture.querySelectorAll('img')].map(image => image.decode()))
    picture.scrollIntoView({block: 'nearest', behavior: 'instant'})
    const {x, y, width, height} = picture.getBoundingClientRect()
    return {x: x + scrollX, y: y + scrollY, width, height, scale: 1 / devicePixelRatio}
}"""
CHOSEN = "form => Object.fromEntries(new FormData(form))"


def some_stops(num_stops):
    """A few stops of a slider: both ends, and two neighbours in the middle."""
    middle = num_stops // 2
    return sorted({0, middle - 1, middle, num_stops - 1} & set(range(num_stops)))


def move_through(explorer, visit, touch, choose_stops=some_stops):
    """Visit stops by keys, then by mouse or touch.

    Each must show the frame that was drawn for it, and look different from the one before.
    """
    data = json.loads(explorer.locator("script[type]").text_content())
    form, picture = explorer.locator("form"), explorer.locator(".explore-picture")

    def check_frame():
        chosen = form.evaluate(CHOSEN)
        stops = [int(chosen[name]) for name in data["start"]]
        place = picture.evaluate(SHOWN, frame(data, *stops))
        assert place, f"{chosen} does not show the frame drawn for it"
        return place

    def check_stops(stops, move):
        before = None
        for stop in stops:
            move(stop)
            now = visit.pixels(check_frame())
            assert now != before, f"stop {stop} looks like the one before"
            before = now

    for slider in explorer.locator("input[type=range]").all():
        move_slider(slider, touch, choose_stops, check_stops, check_frame)
    for buttons in explorer.locator("fieldset").all():
        choices = buttons.locator("input")
        stops = choose_stops(choices.count())
        check_stops(stops, lambda stop, choices=choices: choices.nth(stop).check())


def move_slider(slider, touch, choose_stops, check_stops, check_frame):
    """Move a slider through its stops, and back to where it was."""
    num_stops = int(slider.get_attribute("max")) + 1
    stops = choose_stops(num_stops)
    start = slider.input_value()

    def press(stop):
        if stop == 0:
            slider.press("Home")
        elif stop == num_stops - 1:
            slider.press("End")
        else:
            if slider.input_value() != str(stop - 1):
                slider.fill(str(stop - 1))
            slider.press("ArrowRight")
        assert slider.input_value() == str(stop)

    check_stops(stops, press)

    box = slider.bounding_box()
    thumb = 16  # pixels
    pitch = (box["width"] - thumb) / (num_stops - 1)
    for stop in stops:
        if (
            pitch < thumb
        ):  # where the thumb covers the next stop, a click would only take hold of it
            slider.press("End" if stop < num_stops / 2 else "Home")
        x = thumb / 2 + pitch * stop
        place = {"x": x, "y": box["height"] / 2}
        if touch:
            slider.tap(position=place)
        else:
            slider.click(position=place)
        assert slider.input_value() == str(stop)
        check_frame()
    slider.fill(start)
