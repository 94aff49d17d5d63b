"""Moving an explorer by keys, by mouse and by touch, or through all its stops, for test files."""

import json

from helpers import frame

STILL = "* { animation: none !important; transition: none !important }"

# Whether an explorer has these inputs and shows the picture that some HTML makes, and if so, where
# that is on the page, and how wide the drawing in it is. One question, as each costs a stop some
# ten milliseconds.
SHOWN = """async (explorer, [chosen, html]) => {
    const found = Object.fromEntries(new FormData(explorer.querySelector('form')))
    if (JSON.stringify(found) !== JSON.stringify(chosen)) return null
    const picture = explorer.querySelector('.explore-picture')
    const expected = Object.assign(picture.cloneNode(), {innerHTML: html})
    if (!expected.isEqualNode(picture)) return null
    await Promise.all([...picture.querySelectorAll('img')].map(image => image.decode()))
    picture.scrollIntoView({block: 'nearest', behavior: 'instant'})
    const {x, y, width, height} = picture.getBoundingClientRect()
    const drawing = picture.querySelector(':scope > :is(svg, img)')
    const place = {x: x + scrollX, y: y + scrollY, width, height, scale: 1 / devicePixelRatio}
    return [place, drawing?.getBoundingClientRect().width]
}"""
CHOSEN = "explorer => Object.fromEntries(new FormData(explorer.querySelector('form')))"
PLACE = """slider => {
    slider.scrollIntoView({block: 'nearest', behavior: 'instant'})
    const {x, y, width, height} = slider.getBoundingClientRect()
    return {x, y, width, height}
}"""
MOVE = """(slider, stop) => {
    slider.value = stop
    slider.dispatchEvent(new Event('input', {bubbles: true}))
}"""


class Mover:
    """An explorer that is moved, with what is chosen in it now."""

    def __init__(self, explorer, visit):
        self.explorer, self.visit = explorer, visit
        self.data = json.loads(explorer.locator("script[type]").text_content())
        self.chosen = explorer.evaluate(CHOSEN)
        self.width = None  # of the drawing

    def check_frame(self, name, stop):
        """Ask for the frame that was drawn for the stop that an input was moved to."""
        self.chosen[name] = str(stop)
        html = frame(self.data, *(int(self.chosen[name]) for name in self.data["start"]))
        found = self.explorer.evaluate(SHOWN, [self.chosen, html])
        assert found, f"{self.chosen} does not show the frame drawn for it"
        place, width = found
        assert self.width in (None, width), f"at {self.chosen} the drawing is {width} wide"
        self.width = width
        return place

    def check_stops(self, name, stops, move):
        """Move to each; it must also look different from the one before."""
        before = None
        for stop in stops:
            move(stop)
            now = self.visit.pixels(self.check_frame(name, stop))
            assert now != before, f"stop {stop} looks like the one before"
            before = now

    def check_buttons(self, choose_stops):
        for buttons in self.explorer.locator("fieldset").all():
            choices = buttons.locator("input")
            name, stops = choices.first.get_attribute("name"), choose_stops(choices.count())
            self.check_stops(name, stops, lambda stop, choices=choices: choices.nth(stop).check())


def some_stops(num_stops):
    """A few stops of a slider: both ends, and two neighbours in the middle."""
    middle = num_stops // 2
    return sorted({0, middle - 1, middle, num_stops - 1} & set(range(num_stops)))


def move_through(explorer, visit, touch):
    """Visit some stops by keys, then by mouse; or by touch."""
    mover = Mover(explorer, visit)
    for slider in explorer.locator("input[type=range]").all():
        move_slider(slider, mover, touch)
    mover.check_buttons(some_stops)


def move_through_all(explorer, visit):
    """Visit every stop; an event of ours takes a third of the time that a key takes."""
    mover = Mover(explorer, visit)
    for slider in explorer.locator("input[type=range]").all():
        name, start = slider.get_attribute("name"), slider.input_value()
        stops = range(int(slider.get_attribute("max")) + 1)
        mover.check_stops(name, stops, lambda stop, slider=slider: slider.evaluate(MOVE, stop))
        slider.evaluate(MOVE, start)
        mover.check_frame(name, start)
    mover.check_buttons(range)


def move_slider(slider, mover, touch):
    """Move a slider through some stops, and back to where it was."""
    page = mover.visit.page
    name, num_stops = slider.get_attribute("name"), int(slider.get_attribute("max")) + 1
    stops, start = some_stops(num_stops), slider.input_value()
    thumb = 16  # pixels

    def press(stop):
        if stop == 0:
            page.keyboard.press("Home")
        elif stop == num_stops - 1:
            page.keyboard.press("End")
        else:
            if stop - 1 not in stops:
                slider.fill(str(stop - 1))
            page.keyboard.press("ArrowRight")

    def point(stop):
        box = slider.evaluate(PLACE)
        pitch = (box["width"] - thumb) / (num_stops - 1)
        if pitch < thumb:  # where the thumb covers the next stop, a click only takes hold of it
            slider.fill(str(num_stops - 1 if stop < num_stops / 2 else 0))
        x, y = box["x"] + thumb / 2 + pitch * stop, box["y"] + box["height"] / 2
        (page.touchscreen.tap if touch else page.mouse.click)(x, y)

    if touch:  # a phone has no keys
        mover.check_stops(name, stops, point)
    else:
        slider.focus()
        mover.check_stops(name, stops, press)
        for stop in stops:
            point(stop)
            mover.check_frame(name, stop)
    slider.fill(start)
    mover.check_frame(name, start)
