"""The search finds a page by the words that people use.

Both spellings are one to it: it takes "normalization" and "normalisation"
for the same word, in the pages and in what is typed. And `book/pages.yml`
has, for each page, words that lead to it.
"""

import json
import re
from pathlib import Path

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.search.en import SearchEnglish

PAGES = Path(__file__).parents[1] / "pages.yml"

# British spellings, as regular expressions that Python and JavaScript share,
# and the American ones. A word that is no such spelling, as "noise", may
# change too: it does so in the pages and in the query alike.
SPELLINGS = [
    ("is(?=(e[drs]?|ers|ing|ations?)$)", "iz"),
    ("ys(?=(e[drs]?|ers|ing)$)", "yz"),
    ("colour", "color"),
    ("neighbour", "neighbor"),
    ("behaviour", "behavior"),
    ("centre", "center"),
    ("grey", "gray"),
    ("labell", "label"),
    ("modell", "model"),
]

# Runs in the browser, after Sphinx's own stemmer.
STEMMER = """
const PorterStemmer = Stemmer;
Stemmer = function () {
  const spellings = %s;
  const stemmer = new PorterStemmer();
  this.stemWord = (word) => {
    for (const [british, american] of spellings) {
      word = word.replace(new RegExp(british), american);
    }
    return stemmer.stemWord(word);
  };
};
"""

# Without a host the search cannot fetch the pages that it has found, of which
# it would show a line.
FROM_A_FOLDER = """
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}
"""


def american(text):
    """A text, its words in American spelling, in small letters."""
    words = text.lower().split(" ")
    for british, replacement in SPELLINGS:
        words = [
            re.sub(british, replacement, word, count=1) for word in words
        ]
    return " ".join(words)


class SearchEitherSpelling(SearchEnglish):
    """English whose stems are those of the American spelling."""

    js_stemmer_code = SearchEnglish.js_stemmer_code + STEMMER % json.dumps(
        SPELLINGS
    )

    def stem(self, word):
        return super().stem(american(word))


def add_words(app, document):
    """Lead the words of pages.yml, and the page's title, to the page.

    They become entries of the index, which the search takes for better than
    text. It compares them letter by letter, so that each is there in both
    spellings.
    """
    name = app.env.docname.rpartition("/")[2]
    pages = yaml.safe_load(PAGES.read_text(encoding="utf-8"))
    title = next(iter(document.findall(nodes.title))).astext()
    words = [title, *pages.get(name, {}).get("words", [])]
    entries = [
        ("single", text, "", "main", None)
        for text in sorted({*words, *map(american, words)})
    ]
    document.insert(0, addnodes.index(entries=entries))


def mend_search_page(app, pagename, templatename, context, doctree):
    if pagename == "search":
        app.add_js_file(None, body=FROM_A_FOLDER)


def setup(app):
    app.add_search_language(SearchEitherSpelling)
    app.connect("doctree-read", add_words)
    app.connect("html-page-context", mend_search_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
