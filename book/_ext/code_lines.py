"""Lines of code that go on in the next line where a page is narrow.

Each line of a block becomes an element that knows how far it is indented, so
that on a phone what is left of it stands below its own beginning and not at
the edge. `book.css` does the rest, and says where a line may break. An option
of a command such as `--data` stays whole, which browsers break at a hyphen.
"""

import re

BLOCK = re.compile(r'(<div class="highlight"><pre>)(.*?)(</pre>)', re.S)
TAG = re.compile("<[^>]*>")
# A tag, which stays as it is, or an option
OPTION = re.compile(r"<[^>]*>|(?<![\w-])--?[A-Za-z][\w-]*")


def keep_whole(found):
    option = found[0]
    if option.startswith("<"):
        return option
    return f'<span class="option">{option}</span>'


def wrap_line(line):
    text = TAG.sub("", line)
    indent = len(text) - len(text.lstrip(" "))
    style = f' style="--indent: {indent}"' if indent else ""
    line = OPTION.sub(keep_whole, line)
    # The line's end is within, for whoever copies it
    return f'<span class="line"{style}>{line}\n</span>'


def wrap_lines(block):
    begin, code, end = block.groups()
    lines = code.removesuffix("\n").split("\n")
    return begin + "".join(map(wrap_line, lines)) + end


def set_lines(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = BLOCK.sub(wrap_lines, context["body"])


def setup(app):
    app.connect("html-page-context", set_lines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
