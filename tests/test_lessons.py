"""The chapters as lessons: measured on the pages, as a reader has them before any click."""

import pytest
from visit import Visit

from helpers import ROOT

# Those that are written in the order that CONTRIBUTING.md gives.
LESSONS = [
    "basics",
    "measuring",
    "architecture",
    "parameters",
    "relu",
    "two_gpus",
    "lrn",
    "pooling",
    "augmentation",
    "dropout",
    "learning",
    "results",
    "paper_and_code",
    "filters",
    "limits",
    "train_it",
]
DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

FIRST_PICTURE = """() => {
    const kinds = 'figure.explore, figure.race, figure.valley, .cell_output img, .cell_output svg'
    const pictures = [...document.querySelectorAll(`.bd-article :is(${kinds})`)]
    const boxes = pictures.map(picture => picture.getBoundingClientRect()).filter(box => box.height)
    return Math.min(...boxes.map(box => box.top + scrollY))
}"""
OPEN_CODE = """() => {
    let code = 0
    for (const input of document.querySelectorAll('.bd-article .cell_input')) {
        const isFolded = input.closest('details:not([open]), .toggle-hidden')
        if (!isFolded) code += input.getBoundingClientRect().height
    }
    return code / document.querySelector('.bd-article').getBoundingClientRect().height
}"""
# Folded code in front of what it makes, or a second fold for one figure
FOLDS_IN_FRONT = """() => {
    const folds = [...document.querySelectorAll('.bd-article .cell > details.above-input')]
    const ahead = folds.filter(fold => fold.nextElementSibling?.matches('.cell_output'))
    const lone = folds.filter(fold => !fold.parentElement.querySelector('.cell_output'))
    const shown = ':is(.tag_hide-input, .tag_hide-cell):has(.cell_output)'
    const more = lone.filter(fold => fold.parentElement.nextElementSibling?.matches(shown))
    return [...ahead, ...more].map(fold => fold.textContent)
}"""
# Answers and exercises included; not labels, what figures, tables and code say, or what is folded
WORDS_OF_PROSE = """() => {
    const covered = [...document.querySelectorAll('.guess-answer > button')]
    for (const button of covered) button.click()
    const folded = '.bd-article details:not([open])'
    const others = `figure, table, .admonition-title, .cell_input, .cell_output, ${folded}`
    const kinds = [...document.querySelectorAll('.bd-article :is(h1, h2, h3, p, li)')]
    const prose = kinds.filter(block => block.checkVisibility() && !block.closest(others))
    const outermost = prose.filter(block => !block.parentElement.closest('p, li'))
    const words = outermost.flatMap(block => block.innerText.split(/\\s+/))
    return words.filter(word => word).length
}"""
LABELS = "labels => labels.map(label => label.textContent.trim())"


@pytest.fixture(scope="module", params=LESSONS)
def lesson(browser, host, request):
    with Visit(browser, f"{host}/book/{request.param}.html", **DESK) as visit:
        yield visit.page


def test_a_picture_comes_within_the_first_screen_or_just_below(lesson):
    assert lesson.evaluate(FIRST_PICTURE) <= 1000


def test_little_of_the_page_is_code(lesson):
    if lesson.url.endswith("/train_it.html"):  # whose commands are what it teaches
        return
    assert lesson.evaluate(OPEN_CODE) <= 0.15


def test_folded_code_says_what_it_is(lesson):
    labels = lesson.locator("details.hide .expanded, details.hide .collapsed")
    default = "How this is made"  # in _config.yml
    assert default in (ROOT / "_config.yml").read_text(encoding="utf-8")
    assert default not in labels.evaluate_all(LABELS)


def test_a_figure_comes_before_its_code_which_is_one_fold(lesson):
    assert lesson.locator(".cell_output + details.above-input").count()
    assert lesson.evaluate(FOLDS_IN_FRONT) == []


def test_the_reader_guesses_before_the_answer(lesson):
    guesses = lesson.locator("fieldset.guess").all()
    assert guesses
    for guess in guesses:
        key = guess.get_attribute("data-guess")
        answer = lesson.locator(f"#answer-{key}")
        assert guess.bounding_box()["y"] < answer.bounding_box()["y"]


def test_a_summary_stands_before_the_exercises(lesson):
    headings = lesson.locator(".bd-article h2").evaluate_all(LABELS)
    headings = [heading.rstrip("#") for heading in headings]
    assert headings[-2:] == ["In short", "Exercises"]


def test_a_lesson_is_at_most_2000_words_long(lesson):
    """The last, since it uncovers the answers."""
    words = lesson.evaluate(WORDS_OF_PROSE)
    assert 800 < words <= 2000
