"""The files around the book: what they name is there."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from helpers import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NAMING = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", ".ci/run", ".ci/lowest")),
    *WORKFLOWS,
]
# Where the files lie that a text names by their name alone
FOLDERS = [
    "alexnet",
    "alexnet/experiments",
    "alexnet/bookkit",
    "alexnet/bookkit/engine",
    "alexnet/bookkit/page",
    "tests",
    "book",
    "book/runs",
    ".github/workflows",
]


def steps(path):
    return [
        step
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        for step in job["steps"]
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_is_there(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow[True]  # `on`, as YAML reads it
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
        for script in re.findall(r"bash (\S+)", step.get("run", "")):
            assert os.access(ROOT / script, os.X_OK)
    named = [name for job in workflow["jobs"].values() for name in [job.get("needs")] if name]
    assert set(named) <= set(workflow["jobs"])


def test_the_workflows_check_build_and_publish():
    commands = {
        command
        for path in WORKFLOWS
        for step in steps(path)
        for command in (step.get("run"), step.get("uses", "").split("@")[0])
    }
    assert commands >= {
        "bash .ci/run",
        "make book",
        "actions/upload-pages-artifact",
        "actions/deploy-pages",
    }
    published = [
        step["with"]["path"]
        for path in WORKFLOWS
        for step in steps(path)
        if "upload-pages" in step.get("uses", "")
    ]
    assert [f"{folder}/index.html" for folder in published] == re.findall(
        r"^FIRST_PAGE := (.*)", MAKEFILE, re.M
    )


@pytest.mark.parametrize(
    ("changed", "all_pages"),
    [
        ("book/lrn.ipynb", False),
        ("book/intro.md", False),
        ("book/_static/book.css", True),
        ("book/_templates/layout.html", True),
        ("_config.yml", True),
    ],
)
def test_what_make_builds_again_after_a_change(changed, all_pages, tmp_path):
    """Copies of the files, all of one age, and pages as old; the commands are only printed."""
    for path in [
        "Makefile",
        "requirements-book.txt",
        *re.findall(r"^PAGES := (\S+) (\S+)", MAKEFILE, re.M)[0],
    ]:
        shutil.copy(ROOT / path, tmp_path)
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("runs", "data"))
    for made in (".venv/book.stamp", "_build/html/index.html"):
        (tmp_path / made).parent.mkdir(parents=True)
        (tmp_path / made).touch()
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    command = ["make", "-n", "VENV=.venv", "book"]
    told = [
        subprocess.run(
            [*command, *more], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        for more in ([], ["-W", changed])
    ]
    assert (
        "jupyter-book build" not in told[0]
        and "jupyter-book build" in told[1]
        and ("--all" in told[1]) == all_pages
    )


def named(text):
    """What a text names: targets of make, links, files, and patterns of files."""
    targets = re.findall(r"(?:`|^\s*|run: )make (\w+)", text, re.M)
    links = re.findall(r"\]\(([^):]+)\)", text)
    endings = "md|yml|json|bib|txt|py|toml|css|js"
    files = re.findall(rf"(?<![\w/.-])(?:[\w.*-]+/)*[\w.*-]+\.(?:{endings})\b", text)
    files += re.findall(r"(?<![\w/])\.ci/\w+", text)
    return targets, links, [name for name in files if "NAME" not in name]


@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.name)
def test_targets_and_files_that_are_named_are_there(path):
    targets, links, files = named(path.read_text(encoding="utf-8"))
    assert targets or links or files, "a file that names nothing needs no test"
    assert set(targets) <= set(re.findall(r"^(\w+):", MAKEFILE, re.M))
    paths = [link.partition("#")[0] for link in links]
    lost = [path for path in paths if not any((ROOT / f / path).exists() for f in ("", "book"))]
    assert lost == []
    folders = [ROOT, *(ROOT / name for name in FOLDERS)]
    lost = [name for name in files if not any(any(folder.glob(name)) for folder in folders)]
    assert lost == []


def test_a_file_that_is_missing_is_seen():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert ".ci/run" in named(text)[2] and "requirements*.txt" in named(text)[2]
    assert named("see `lost.py` and run: make nothing") == (["nothing"], [], ["lost.py"])


def test_citation_cff_has_what_its_schema_asks_for():
    """Version 1.2.0 of the Citation File Format."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation) and citation[
        "cff-version"
    ] == "1.2.0"
    for work in [citation["preferred-citation"], *citation["references"]]:
        assert {"type", "title", "authors"} <= set(work)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert (
        f'version = "{citation["version"]}"' in project
        and f'license = "{citation["license"]}"' in project
    )
