"""The three floors of the package: imports run downwards only, and the product stands alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT

PACKAGE = ROOT / "alexnet"
FLOORS = ["alexnet", "alexnet.experiments", "alexnet.bookkit"]  # from the ground up
MODULES = sorted(PACKAGE.rglob("*.py"))


def floor_of(module):
    """How high a module stands, by its dotted name."""
    return max(i for i, name in enumerate(FLOORS) if f"{module}.".startswith(f"{name}."))


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(source):
    """The modules of the package that a source imports anywhere, at the top or in a function."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where an arrow points"
            # `from alexnet import bookkit` names a module, too
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in found if f"{name}.".startswith("alexnet.")]


def upward(path, source):
    """The imports of a module that run up."""
    here = floor_of(dotted(path))
    return [name for name in imported(source) if floor_of(name) > here]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_run_downwards(path):
    assert upward(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import alexnet.experiments.fit",
        "from alexnet import bookkit",
        "from alexnet.bookkit.svg import svg",
        "def f():\n    from alexnet.experiments import nets",
    ],
)
def test_an_arrow_that_runs_up_is_seen(line):
    assert upward(PACKAGE / "model.py", line) != []


def test_bookkit_may_import_what_is_below_it():
    line = "from alexnet.experiments.fit import fit\nfrom alexnet import AlexNet"
    assert upward(PACKAGE / "bookkit" / "plots.py", line) == []
    assert upward(PACKAGE / "experiments" / "fit.py", "import alexnet.bookkit") != []


def test_every_package_is_built():
    """A folder of modules that pyproject.toml does not name would be missing in a wheel."""
    folders = {dotted(path) for path in PACKAGE.rglob("__init__.py")}
    assert folders == set(FLOORS)
    assert str(FLOORS).replace("'", '"') in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_product_loads_nothing_of_the_book():
    """Neither matplotlib nor ipywidgets nor scikit-image nor scipy, nor a floor above."""
    names = [dotted(path) for path in MODULES if path.parent == PACKAGE]
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    roots = {name.partition(".")[0] for name in loaded}
    assert "torch" in roots
    assert not roots & {"matplotlib", "ipywidgets", "skimage", "scipy"}
    assert not [name for name in loaded if name.startswith(tuple(FLOORS[1:]))]


def test_no_line_is_too_long():
    """ruff formats code; this sees to strings and to what its rules let pass."""
    sources = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    for path in map(Path, sources):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if len(line) > 100] == [], path
