"""The training runs in the source of 2012: what they logged, and how they descend.

The logged errors stand in ``book/record.json``, the runs in ``book/lineage.json``, both with the
files and lines of the source that they were read from. :class:`Walk` shows the runs to a reader:
its style and script are ``lineage.css`` and ``lineage.js``, next to this file.
"""

import json
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from pathlib import Path

from alexnet.bookkit.claims import record
from alexnet.bookkit.drawings import draw_lineage, draw_lineage_map
from alexnet.bookkit.paths import LINEAGE, missing_from_wheel
from alexnet.bookkit.stills import still_html, still_png

LANDMARKS = ("101", "120", "137", "145", "170")  # runs that many others came of

CAPTION = (
    "All training runs that the source of 2012 names, a circle for each, filled where an error on "
    "the validation set of 2012 is known, from ten views. Lines go down to what was developed from "
    "a run, and later numbers lie further right. Press a circle or a button, or use the arrow "
    "keys; 2010 and 2012 are the pictures of the contests of these years."
)


@dataclass(frozen=True)
class Run:
    """A training run, or a later continuation of one."""

    run: str  # its name in the source
    parents: tuple[str, ...]  # the run that it was changed from, then others that it takes from
    changed: str  # against the first parent
    data: str  # what it was trained on
    kind: str  # "trunk", "paper", "ablation", "schedule", "side", "other data", "missing" (no file)
    parent_at: str  # where the source says so
    parent_is: str = "stated"  # or how else the first parent is known
    date: str = ""  # when it began, as year-month-day
    date_line: int = 0  # of the file
    file: str = ""  # with its settings and notes
    outcome: str = ""
    inferred: str = ""  # what else the notes do not say


def lineage() -> dict[str, Run]:
    """Read all runs by name, in the order of their numbers.

    Raises:
        FileNotFoundError: outside a checkout of the repository.
    """
    if not LINEAGE.exists():
        raise missing_from_wheel(LINEAGE)
    rows = json.loads(LINEAGE.read_text(encoding="utf-8"))
    return {row["run"]: Run(**row | {"parents": tuple(row["parents"])}) for row in rows}


def logged_errors(images: str = "2012 validation", views: str = "ten") -> dict[str, dict]:
    """Look up the errors that were measured in the same way, by run.

    Args:
        images: the set, such as "2010 test".
        views: of each image: "ten", "centre", "not stated", or "one, in training".

    Returns:
        Rows of the record: "top1" and "top5" in percent with all logged digits, and the "file" and
        "line" of the source.
    """
    rows = {}
    for row in record()["logs"]:
        if row["set"] == images and row["views"] == views:
            rows[row["run"]] = row
    return rows


def _short_error(rows: list[dict]) -> str:
    """The first logged error of a run, as short as a button has room for."""
    if not rows:
        return ""
    row = rows[0]
    error = f"{row['top1']:.2f} %"
    if row["set"] != "2012 validation":
        return f"{error}, {row['set']}"
    return error if row["views"] == "ten" else f"{error}, in training"


def _facts(run: Run, rows: list[dict]) -> list[tuple[str, str]]:
    """What is known of a run: headings and texts."""
    facts = [("trained on", run.data)]
    lines = []
    for row in rows:
        how = f"{row['set']}, {row['views']}"
        how += " views" if row["views"] == "ten" else " view" * (row["views"] == "centre")
        how += " views" * (row["views"] == "not stated")
        if "inferred" in row:
            how += f" ({row['inferred']} inferred)"
        errors = f"{row['top1']:.2f} % top-1, {row['top5']:.2f} % top-5"
        facts.append(("error", f"{errors}; {how}"))
        lines.append(f"error {row['line']}")
    if run.outcome:
        facts.append(("outcome", run.outcome))
    if run.date:
        facts.append(("begun", run.date))
        lines.append(f"begun {run.date_line}")
    if run.inferred:
        facts.append(("to be known", run.inferred))
    if lines:
        facts.append(("lines", ", ".join(lines)))
    if run.parents:
        facts.append(("parent", f"{run.parents[0]}, {run.parent_is} ({run.parent_at})"))
    facts.append(("file", run.file or "none"))
    return facts


class Walk:
    """All runs, for a reader to walk from each to its parents and its children.

    Args:
        start: the run to begin with.
    """

    def __init__(self, start: str = "145") -> None:
        self.start = start
        self.runs = lineage()
        self._rows: dict[str, list[dict]] = {name: [] for name in self.runs}
        for row in record()["logs"]:
            self._rows[row["run"]].append(row)

    def to_html(self) -> str:
        """The figure as HTML that needs no other file; without scripts it is :meth:`still`."""
        names = list(self.runs)
        nodes = []
        for name, run in self.runs.items():
            node = {
                "name": name,
                "error": _short_error(self._rows[name]),
                "changed": run.changed,
                "facts": _facts(run, self._rows[name]),
                "parents": [names.index(parent) for parent in run.parents],
            }
            nodes.append(node)
        with_error = logged_errors()
        parents = {name: run.parents for name, run in self.runs.items()}
        drawing, places = draw_lineage_map(parents, with_error, LANDMARKS)
        data = {"start": names.index(self.start), "nodes": nodes, "map": drawing, "places": places}
        packed = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        packed = packed.replace("<", "\\u003c")  # so that no "</script>" ends the element
        style, script = (
            Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")
            for suffix in (".css", ".js")
        )
        return (
            f'<figure class="lineage"><style>{style}</style>'
            f'<div class="lineage-still">{still_html(self.still())}</div>'
            f'<div class="lineage-walk"></div><figcaption>{escape(CAPTION)}</figcaption>'
            f'<script type="application/json">{packed}</script><script>{script}</script></figure>'
        )

    def still(self) -> str:
        """A drawing for print: the line that leads to the first run, and what that led to."""
        line = [self.start]
        while self.runs[line[0]].parents:
            line.insert(0, self.runs[line[0]].parents[0])
        children = [run.run for run in self.runs.values() if run.parents[:1] == (self.start,)]
        rows = []
        for name in [*line, *children]:
            error = _short_error(self._rows[name])
            rows.append((name, error, self.runs[name].changed, name in children))
        return draw_lineage(rows)

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]:
        bundle = {"text/plain": f"Walk({self.start!r})", "text/html": self.to_html()}
        image = still_png(self.still())
        if image:
            bundle["image/png"] = b64encode(image).decode()
        return bundle
