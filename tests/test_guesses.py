"""Guesses on the pages: what becomes of plain Markdown, and what the script remembers."""

import contextlib
import io
import json

import pytest
from sphinx.cmd.build import build_main

from helpers import ROOT

CONFIG = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_parser", "guesses"]
html_js_files = ["guesses.js"]
html_static_path = [{str(ROOT / "book" / "_static")!r}]
html_theme = "basic"
"""
PAGE = """# A page

**Your guess.** Which is larger, 2 < 3?

- Two.
- Three.

## Later

**The answer.** *Three.* Since it is.

**Your guess.** And now?

- Two.
- Neither.

**The answer.** *Neither.* Both are gone.
"""


def build(folder, text=PAGE):
    """The built page, and what the build warned of."""
    folder.mkdir(exist_ok=True)
    (folder / "conf.py").write_text(CONFIG, encoding="utf-8")
    (folder / "index.md").write_text(text, encoding="utf-8")
    with contextlib.redirect_stderr(io.StringIO()) as warnings:
        assert build_main(["-q", "-E", str(folder), str(folder / "out")]) == 0
    return folder / "out" / "index.html", warnings.getvalue()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path, warnings = build(tmp_path_factory.mktemp("guesses") / "page")
    assert warnings == ""
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("*Three.*", "*Four.*"), "the answer 'Four.' is none of the page's choices"),
        (("**The answer.** *Neither.*", "*Neither.*"), "this guess has no answer"),
        (("- Two.\n- Neither.\n", "Two, or neither.\n"), "a guess needs a list of choices"),
    ],
)
def test_a_guess_that_is_not_whole_is_a_warning(tmp_path, change, message):
    assert message in build(tmp_path / "page", PAGE.replace(*change))[1]


@pytest.fixture(scope="module")
def tab(page, browser):
    tab = browser.new_page()
    tab.goto(page.as_uri())
    return tab


def test_an_answer_is_covered_until_the_guess_is_made_or_the_button_pressed(page, browser):
    """And keeps its place; it is on paper in any case."""
    style = ROOT / "book" / "_static" / "book.css"
    with browser.new_context() as context:
        tab = context.new_page()
        tab.goto(page.as_uri())
        tab.add_style_tag(path=style)
        second = tab.locator("#answer-index-2")
        height = second.bounding_box()["height"]
        assert not tab.get_by_text("Since it is.").is_visible()
        assert not tab.get_by_text("Both are gone.").is_visible()
        tab.emulate_media(media="print")
        assert tab.get_by_text("Since it is.").is_visible()
        assert not tab.get_by_role("button").first.is_visible()
        tab.emulate_media(media="screen")
        tab.get_by_label("Two.").first.check()
        assert tab.get_by_text("Since it is.").is_visible()
        assert not tab.get_by_text("Both are gone.").is_visible()
        second.get_by_role("button", name="Show the answer").click()
        assert tab.get_by_text("Both are gone.").is_visible()
        assert tab.locator(".guess-answer button").count() == 0
        assert second.bounding_box()["height"] == height


EVIDENCE = """# A page

**Your guess.** Which is larger, 2 < 3?

- Two.
- Three.

<div class="cell_output" id="explorer"><figure><input type="range"></figure></div>
<div class="cell_output" id="picture"><figure>three dots beside two</figure></div>
<div class="cell_output"><div class="claim-tally"><ul><li>one holds</li></ul></div></div>

**The answer.** *Three.* Since it is.

<div class="cell"><div class="cell_output"><div class="claim" id="claim-P5">Holds</div></div></div>

<div class="admonition"><p class="admonition-title">The paper</p><p>Three is larger.</p></div>

A paragraph.

<div class="cell"><div class="cell_output" id="more"><figure>More of it</figure></div></div>

## What comes next

<div class="cell"><div class="cell_output" id="next"><figure>Later</figure></div></div>
"""


@pytest.mark.parametrize("press", ["Two.", "Look without a guess", "Show the answer"])
def test_what_gives_an_answer_away_is_veiled_as_long(tmp_path, browser, press):
    """The pictures and verdicts before it, and the card, the quotation and a picture after it; not
    what one moves, or what comes under the next heading."""
    page, _ = build(tmp_path / "page", EVIDENCE)
    blurred = """() => [...document.querySelectorAll(".cell_output, .admonition")]
        .map((box) => getComputedStyle(box.children[box.matches(".admonition") ? 1 : 0] ?? box))
        .map((style) => style.filter !== "none")"""
    with browser.new_context() as context:
        tab = context.new_page()
        tab.goto(page.as_uri())
        tab.add_style_tag(path=ROOT / "book" / "_static" / "book.css")
        assert tab.evaluate(blurred) == [False, True, True, True, True, True, False]
        assert tab.locator(".guess-lift").count() == 3  # the answer has another button
        tab.emulate_media(media="print")
        assert tab.evaluate(blurred) == [False] * 7
        assert not tab.locator(".guess-lift").first.is_visible()
        tab.emulate_media(media="screen")
        tab.evaluate("location.hash = 'claim-P5'")  # as from the page of all claims
        assert tab.evaluate(blurred) == [False, True, True, False, True, True, False]
        tab.evaluate("location.hash = ''")
        assert tab.evaluate(blurred) == [False, True, True, True, True, True, False]
        tab.get_by_label(press).or_(tab.get_by_role("button", name=press)).first.click()
        assert tab.evaluate(blurred) == [False] * 7
        assert tab.locator(".guess-lift, .guess-answer button").count() == 0
        assert tab.get_by_text("Since it is.").is_visible()


REST = """# A page

**Your guess.** Which is larger, 2 < 3?

- Two.
- Three.

**The answer.** *Three.* Since it is.

That is the larger by one.

**Your guess.** And which is smaller?

- Four.
- Five.

**The answer.** *Four.*

| number | larger by |
|---|---|
| three | one |

## What comes next

Another paragraph.
"""


def test_all_of_an_answer_is_covered_up_to_the_next_heading(tmp_path, browser):
    page, _ = build(tmp_path / "page", REST)
    with browser.new_context() as context:
        tab = context.new_page()
        tab.goto(page.as_uri())
        tab.add_style_tag(path=ROOT / "book" / "_static" / "book.css")
        rest = tab.get_by_text("That is the larger by one.")
        assert not rest.is_visible()
        assert not tab.get_by_text("larger by", exact=True).is_visible()
        assert tab.get_by_text("Another paragraph.").is_visible()
        tab.emulate_media(media="print")
        assert rest.is_visible()
        tab.emulate_media(media="screen")
        tab.get_by_label("Two.").check()
        assert rest.is_visible()


def test_a_section_behind_an_answer_is_not_covered_although_its_own_answer_is(tmp_path, browser):
    second = """### Behind

Text of its own.

**Your guess.** And now?

- Two.
- Neither.

**The answer.** *Neither.* Both are gone.

More of that answer.
"""
    first, _, _ = PAGE.partition("**Your guess.** And now?")
    path, warnings = build(tmp_path / "page", first + second)
    assert warnings == ""
    page = browser.new_page()
    page.goto(path.as_uri())
    veiled = page.locator(".guess-veiled").evaluate_all("found => found.map(e => e.innerText)")
    assert veiled == ["More of that answer."]
    page.close()


def test_a_guess_is_remembered_and_shown_beside_the_answer(tab):
    assert tab.locator("fieldset.guess").count() == 2
    assert tab.locator("fieldset.guess p").first.inner_text() == "Which is larger, 2 < 3?"
    tab.get_by_label("Two.").first.check()
    assert tab.locator("#answer-index-1 .guess-yours").inner_text() == "Your guess was: Two."
    tab.get_by_label("Neither.").check()
    assert tab.locator("#answer-index-2 .guess-yours").inner_text() == "That was your guess, too."
    tab.reload()
    assert tab.get_by_label("Two.").first.is_checked()
    assert tab.locator("#answer-index-1 .guess-yours").inner_text() == "Your guess was: Two."
    tab.get_by_label("Three.").check()
    assert tab.locator("#answer-index-1 .guess-yours").inner_text() == "That was your guess, too."
    stored = json.loads(tab.evaluate("localStorage.getItem('alexnet-guesses')"))
    assert stored == {"index-1": [1, 1], "index-2": [1, 1]}


def test_the_page_of_claims_counts_the_guesses(tab):
    tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<p class=guess-tally></p>')")
    tab.get_by_label("Two.").first.check()
    tab.get_by_label("Neither.").check()
    said = tab.locator(".guess-tally").inner_text()
    assert said == "In this book you have made a guess at 2 questions, and were right once."


def test_the_guesses_of_a_chapter_stand_beside_its_title(tab):
    guesses = {"two_gpus-1": [0, 1], "two_gpus-2": [2, 2], "of_old-1": [0, 0]}
    tab.evaluate(f"localStorage.setItem('alexnet-guesses', '{json.dumps(guesses)}')")
    tab.reload()
    tab.evaluate("""document.body.insertAdjacentHTML('beforeend', `
        <p class=guess-tally></p><div class=guess-marks></div>
        <nav class=bd-links><a href="two_gpus.html">Two GPUs</a></nav>`)""")
    tab.get_by_label("Neither.").check()
    rows = tab.locator(".guess-marks > span").all_inner_texts()
    assert {"Two GPUs ✗ ✓", "of old ✓"} <= set(rows)  # a page that is gone has no title


@pytest.mark.parametrize(
    "stored", ["nonsense", "null", "[1]", '{"index-1": 7}', '{"index-1": [9, 1]}']
)
def test_what_is_stored_by_others_does_no_harm(tab, stored):
    errors = []
    tab.on("pageerror", lambda error: errors.append(error))
    tab.evaluate(f"localStorage.setItem('alexnet-guesses', {json.dumps(stored)})")
    tab.reload()
    tab.get_by_label("Two.").first.check()
    assert tab.locator("#answer-index-1 .guess-yours").inner_text() == "Your guess was: Two."
    assert errors == []
