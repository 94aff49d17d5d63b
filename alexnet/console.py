"""Text for consoles that lack some of its letters."""

import sys


def printable(text: str) -> str:
    r"""Replace what the console cannot show, at which ``print`` would end with an error.

    Args:
        text: to print on stdout.

    Returns:
        The text with an ``x`` for ``×`` and escapes such as ``\ud55c`` for other letters, where
        the encoding of stdout lacks them.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # stdout may be None or anything
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("×", "x").encode(encoding, "backslashreplace").decode(encoding)
    return text
