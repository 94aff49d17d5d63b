"""Files and consoles in whatever encoding: none is left to the locale of the machine."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from helpers import JPEG, NOTEBOOKS, ROOT, save_random_weights

SOURCES = [
    path
    for folder in ("alexnet", "tests", "benchmarks", "book", ".ci")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


TEXT_MODES = ("r", "w", "a", "x", "r+", "w+", "a+", "rt", "wt", "at")


def call_without_encoding(call):
    """Whether a call reads or writes text in the encoding of the locale.

    ruff's PLW1514 sees this, too, but not where it cannot tell that something is a path. What
    other processes print is in the encoding of the locale.
    """
    name, options = ast.unparse(call.func), {option.arg: option.value for option in call.keywords}
    values = [v.value for v in (*call.args, options.get("mode")) if isinstance(v, ast.Constant)]
    mode = next((value for value in values if value in TEXT_MODES), None)
    last = name.rpartition(".")[2]
    if "encoding" in options:
        return False
    if last in ("read_text", "write_text"):
        return True
    if last in ("TemporaryFile", "NamedTemporaryFile", "fdopen"):
        return mode is not None
    if name in ("open", "io.open"):
        return mode is not None or (len(call.args) == 1 and "mode" not in options)
    return last == "open" and (mode is not None or not call.args)  # of a path


def calls_without_encoding(source):
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [ast.unparse(call)[:80] for call in calls if call_without_encoding(call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_read_or_written_names_its_encoding(path):
    assert calls_without_encoding(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_name_encodings(name):
    notebook = json.loads((ROOT / f"{name}.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = TransformerManager().transform_cell("".join(cell["source"]))
            assert calls_without_encoding(source) == []


@pytest.mark.parametrize(
    "line",
    [
        "open('file')",
        "open('file', 'w')",
        "open('file', mode='a')",
        "Path('file').open()",
        "path.open('w')",
        "path.read_text()",
        "(path / 'x').write_text('')",
        "tempfile.NamedTemporaryFile('w')",
        "tempfile.NamedTemporaryFile(mode='w')",
    ],
)
def test_a_call_without_encoding_is_seen(line):
    assert len(calls_without_encoding(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "open('file', 'rb')",
        "open('file', encoding='utf-8')",
        "path.read_text(encoding='utf-8')",
        "path.open('wb')",
        "Image.open('file')",
        "subprocess.run([], text=True)",
        "tempfile.TemporaryFile(dir='x')",
    ],
)
def test_a_call_that_needs_no_encoding_is_not(line):
    assert calls_without_encoding(line) == []


PRINTS = """
import sys
from alexnet import AlexNet, evaluate
from alexnet.anatomy import anatomy
from alexnet.bookkit.claims import claims
for claim in claims().values():
    print(claim)
print(anatomy(AlexNet(10, "small"), 32))
evaluate.main(["--weights", sys.argv[1], "--image", "/dev/stdin", "--device", "cpu"])
"""


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.skipif(os.name == "nt", reason="Windows has no /dev/stdin")
def test_everything_is_printed_and_read_in_the_c_locale(tmp_path):
    """Where the console has ASCII only, and files are read in ASCII that name no encoding."""
    weights = tmp_path / "model.safetensors"
    save_random_weights(weights, ("고양이", "개"))
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", PRINTS, weights],
        env=os.environ | locale | {"PYTHONIOENCODING": "ascii:strict"},
        input=JPEG,
        capture_output=True,
    )
    assert run.returncode == 0, run.stderr.decode()
    lines = run.stdout.decode("ascii").splitlines()
    assert lines[0].startswith("P1: ")
    [conv1] = [line for line in lines if line.startswith("features.conv1")]
    assert re.search(r"\b\d+x\d+x\d+\b", conv1)
    names = [line.split(maxsplit=1)[1] for line in lines[-2:]]
    assert sorted(names) == [r"\uac1c", r"\uace0\uc591\uc774"]
