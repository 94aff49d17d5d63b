"""The package as it is installed: a wheel, unpacked into an empty folder, used from a third one."""

import os
import subprocess
import sys
import zipfile

import pytest

from helpers import PHOTO, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the unpacked wheel; built as it is, from what this environment has."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source")
    # A copy of what git knows, so that neither build folders nor ignored files get in the way
    files = subprocess.run(
        [
            "git",
            "ls-files",
            "-co",
            "--exclude-standard",
            "pyproject.toml",
            "README.md",
            "LICENSE",
            "alexnet",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command = [*build, "--wheel-dir", wheels, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [wheel] = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


FORGET_CHECKOUT = """
import sys
sys.path[:] = [{installed!r}] + [path for path in sys.path if path != {checkout!r}]
# An editable install is found by a finder of its own
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
"""


def python(installed, folder, *arguments):
    """Python from a third folder, with the unpacked wheel in ``sys.path`` and the checkout out."""
    forget = FORGET_CHECKOUT.format(installed=str(installed), checkout=str(ROOT))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", forget + arguments[0], *map(str, arguments[1:])],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


RUN_MODULE = "import runpy; runpy.run_module({!r}, run_name='__main__', alter_sys=True)"


def test_it_is_the_wheel_that_is_used(installed, tmp_path):
    done = python(installed, tmp_path, "import alexnet; print(alexnet.__file__)")
    assert done.stdout.startswith(str(installed)), done.stdout + done.stderr


def test_evaluate_knows_its_weights(installed, tmp_path):
    PHOTO.save(tmp_path / "coffee.png")
    code = RUN_MODULE.format("alexnet.evaluate")
    options = ["--weights", "small", "--image", "coffee.png", "--device", "cpu"]
    done = python(installed, tmp_path, code, *options)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and all("%" in line for line in lines)


def test_explorers_and_drawings_bring_their_files(installed, tmp_path):
    code = """
import matplotlib.pyplot as plt
from alexnet.bookkit.explore import explore
from alexnet.bookkit.svg import svg
plt.style.use("alexnet.bookkit.book")
def square(side=2):
    "A square."
    return svg(9, 9, "a square", f'<rect width="{side}" height="{side}"/>')
print(explore(square, side=range(1, 9)).to_html())
"""
    done = python(installed, tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert "<style>.explore" in done.stdout and "addEventListener" in done.stdout


def test_the_scripts_of_the_engine_are_there(installed):
    names = {path.name for path in (installed / "alexnet/bookkit/engine").iterdir()}
    assert names >= {"alexnet.js", "engine.js", "kernel.js", "kernel.c"}


@pytest.mark.parametrize(
    "code",
    [
        "from alexnet.bookkit.claims import claims; claims()",
        "from alexnet.bookkit.findings import load_runs; load_runs('relu')",
    ],
)
def test_what_does_not_ship_says_where_it_is(code, installed, tmp_path):
    done = python(installed, tmp_path, code)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("FileNotFoundError: ") and "repository" in last


def test_experiments_outside_a_checkout_ask_for_a_folder(installed, tmp_path):
    code = RUN_MODULE.format("alexnet.experiments")
    done = python(installed, tmp_path, code, "relu", "--data", tmp_path)
    assert done.returncode == 1 and "--out" in done.stderr and "\n" not in done.stderr.strip()
