import io
import sys

import pytest

from alexnet.console import printable

TEXT = "55×55 한 café"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", TEXT),
        ("euc-kr", r"55x55 한 caf\xe9"),
        ("latin-1", "55x55 \\ud55c café"),
        ("cp1252", "55x55 \\ud55c café"),
        ("ascii", r"55x55 \ud55c caf\xe9"),
    ],
)
def test_what_the_console_lacks_is_escaped(encoding, expected, monkeypatch):
    console = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(console, encoding, errors="strict"))
    print(printable(TEXT), end="", flush=True)
    assert console.getvalue().decode(encoding) == expected


def test_a_name_that_is_not_utf_8_is_escaped(monkeypatch):
    """A class folder whose name was written in Latin-1."""
    console = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(console, "utf-8", errors="strict"))
    print(printable("caf\udce9"), end="", flush=True)
    assert console.getvalue() == rb"caf\udce9"


@pytest.mark.parametrize("stdout", [None, io.StringIO()])
def test_where_stdout_has_no_encoding_nothing_is_replaced(stdout, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stdout)
    assert printable(TEXT) == TEXT
