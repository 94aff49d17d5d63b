"""Guesses that the reader makes on the pages before the answer is shown.

In a chapter, which is plain Markdown, a question is a paragraph that begins
with "Your guess." in bold, followed by a list of what can be chosen:

    **Your guess.** Which of the two nets makes fewer errors in the end?

    - The one whose windows overlap.
    - The one whose windows do not.

Where the answer is known, a paragraph begins with "The answer." in bold and
one of these choices in italics, word for word:

    **The answer.** *The one whose windows do not.* After 90 epochs ...

On the pages the list becomes a choice to click, which `guesses.js` remembers
and shows beside the answer. What follows the answer, up to the next heading
or the cell with the next question, is a part of it, and covered with it. An
answer that no question on the page has, or a question without an answer, is a
warning, and so an error.
"""

from html import escape

from docutils import nodes
from plain_markdown import split_bold
from sphinx.util import logging

QUESTION, ANSWER = "Your guess.", "The answer."
LINES_OF_A_CELL = 10_000
TALLY = "guess-tally"  # class of an empty paragraph on the page of all claims

logger = logging.getLogger(__name__)


def warn(text, node):
    logger.warning(text, location=node)


def begins_with(text):
    """Find paragraphs that begin with a text in bold."""

    def does(node):
        if not isinstance(node, nodes.paragraph):
            return False
        bold, _ = split_bold(node)
        return "".join(part.astext() for part in bold) == text

    return does


def following_list(paragraph):
    """The list of choices after a question, or None."""
    place = paragraph.parent.index(paragraph) + 1
    siblings = paragraph.parent.children
    if place < len(siblings) and isinstance(
        siblings[place], nodes.bullet_list
    ):
        return siblings[place]
    return None


def make_answer(paragraph, questions):
    """Frame an answer; return the question and the place of the choice."""
    paragraph["classes"].append("guess-answer")
    parts = [part for part in paragraph.findall(nodes.emphasis)]
    text = parts[0].astext() if parts else ""
    for question in questions:
        if text in question["choices"]:
            return question, question["choices"].index(text)
    warn(f"the answer {text!r} is none of the page's choices", paragraph)
    return None, None


def cell_of(node):
    """The number of a node's cell: MyST-NB counts lines from there."""
    return None if node.line is None else node.line // LINES_OF_A_CELL


def mark_rest(paragraph):
    """Mark what follows an answer up to the next heading or question."""
    siblings = paragraph.parent.children
    following = siblings[paragraph.parent.index(paragraph) + 1 :]
    is_question = begins_with(QUESTION)
    asking = {cell_of(node) for node in following if is_question(node)}
    asking.discard(cell_of(paragraph))
    for node in following:
        if isinstance(node, nodes.section) or is_question(node):
            break
        if cell_of(node) in asking:
            break
        # Of a cell with code guesses.js covers what it shows
        if not isinstance(node, nodes.raw) and "cell" not in node["classes"]:
            node["classes"].append("guess-rest")


def find_questions(document, name):
    """Name the questions of a page, and replace them by fields."""
    questions = []
    for paragraph in list(document.findall(begins_with(QUESTION))):
        choices = following_list(paragraph)
        if choices is None:
            logger.warning(
                "a guess needs a list of choices", location=paragraph
            )
            continue
        texts = [item.astext() for item in choices]
        key = f"{name}-{len(questions) + 1}"
        questions.append({"key": key, "choices": texts, "node": paragraph})
    return questions


def fields_of(question, answer):
    """The HTML of a question."""
    key = question["key"]
    labels = [
        f'<label><input type="radio" name="{key}" value="{at}">'
        f" <span>{escape(text)}</span></label>"
        for at, text in enumerate(question["choices"])
    ]
    return (
        f'<fieldset class="guess" id="guess-{key}" data-guess="{key}"'
        f' data-answer="{answer}"><legend>{QUESTION}</legend>'
        f"<p>{question['html']}</p>{''.join(labels)}"
        '<p class="guess-noted" aria-live="polite"></p></fieldset>'
    )


def set_guesses(app, document):
    name = app.env.docname.rpartition("/")[2]
    questions = find_questions(document, name)
    answers = {}
    for paragraph in list(document.findall(begins_with(ANSWER))):
        question, choice = make_answer(paragraph, questions)
        if question is None:
            continue
        answers[question["key"]] = choice
        paragraph["ids"].append(f"answer-{question['key']}")
        mark_rest(paragraph)
    for question in questions:
        node, key = question["node"], question["key"]
        if key not in answers:
            warn("this guess has no answer", node)
            continue
        text = "".join(part.astext() for part in split_bold(node)[1])
        question["html"] = escape(text.strip())
        html = fields_of(question, answers[key])
        node.parent.remove(following_list(node))
        node.replace_self(nodes.raw("", html, format="html"))


def setup(app):
    app.connect("doctree-read", set_guesses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
