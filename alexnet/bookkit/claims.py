"""What the paper claims, what its logs say, and what came of it here.

All of it is stored once, in ``book/record.json``. A cell that checks a claim asks for its row with
what it has found, and fails if the record says something else, or if the verdict does not follow
from the rule in :mod:`alexnet.bookkit.stats`; so no figure in the book is stale.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from alexnet.bookkit.cards import card
from alexnet.bookkit.findings import Finding, configuration, finding
from alexnet.bookkit.paths import RECORD, missing_from_wheel
from alexnet.bookkit.stats import (
    confidence_level,
    counted_verdict,
    doubts,
    measured_verdict,
    size,
)
from alexnet.bookkit.tiny_imagenet import tiny_finding
from alexnet.console import printable
from alexnet.experiments.runner import RUNS

_SIZE_IN_WORDS = {
    "as the paper says": "as large as the paper says",
    "larger": "larger than the paper says",
    "smaller": "smaller than the paper says",
}
_NUMBER = re.compile(r"−?\d[\d,]*(?:\.\d+)?")
_TIMES = ("never", "once", "twice", "three times", "four times", "five times")
# For what was run instead of what a claim speaks of
_IN_WORDS = {"weight_decay": "decay", "device": "on", "cuda": "a GPU", "cpu": "a CPU"}


@dataclass(frozen=True)
class Measurement:
    """How a claim was measured, as far as its verdict, its size and its interval depend on it."""

    figure: float | None  # the paper's, in the unit of ours, for the size; None: it has none
    setting: dict  # the paper's "data" and "net", and what a run's configuration must have
    looks: int  # at the runs, the last included, until their number was final
    rate: str  # by what the learning rate was chosen; "" where it does not matter
    test_set_error: bool | None  # whether the interval has the test set's own; None: no test set

    @property
    def level(self) -> str:
        """The level of the interval."""
        return f"{100 * confidence_level(self.looks):.4g} %"

    @property
    def terms(self) -> str:
        """What the interval stands for, in whole sentences."""
        if self.looks == 1:
            said = (
                "It is judged by an interval of 95 %, and the number of runs was fixed beforehand."
            )
        else:
            said = (
                f"It is judged by an interval of {self.level} rather than 95 %, because the runs "
                f"were looked at {_TIMES[self.looks]} before their number was final."
            )
        best = self.rate.startswith("of ")
        rate = f"the best for {self.rate.removeprefix('of ')}" if best else self.rate
        if rate:
            said += f" The learning rate is {rate}."
        if self.test_set_error is not None:
            does = "includes" if self.test_set_error else "does not include"
            said += f" The interval {does} what other test photographs would change."
        return said


@dataclass(frozen=True)
class TinyImageNetResult:
    """What came of a claim at two hundred classes of ImageNet; its size is never comparable."""

    ours: str
    verdict: str
    looks: int  # as in Measurement


@dataclass(frozen=True)
class Outcome:
    """What the runs on one data set say of a claim."""

    found: Finding
    verdict: str
    doubts: list[str]  # why they cannot tell, in a few words for each effect; nothing if they can

    @property
    def why(self) -> str:
        """The verdict, or why there is none."""
        return "; ".join(dict.fromkeys(filter(None, self.doubts))) or self.verdict

    @property
    def decides(self) -> bool:
        """Whether the verdict hangs on the intervals, and not on what else was run."""
        return self.doubts[0] == self.found.effects[0].doubt

    @property
    def is_clear(self) -> bool:
        """Whether no interval includes no effect, although the runs cannot tell."""
        doubts = any(effect.doubt for effect in self.found.effects)
        return self.verdict == "cannot tell" and not doubts


@dataclass(frozen=True, repr=False)
class Claim:
    """A claim of the paper, and where in the book it is checked.

    In a notebook it is shown as a card.
    """

    name: str  # "P1" to "P29"
    label: str  # in two or three words
    section: str  # of the paper; or "abstract", or "Figure 2"
    claim: str
    # The same in whole sentences, with {paper} and {ours} for the two figures; also {0}, {1} and
    # so on for the numbers in ours, and {turned[0]} and so on for these with the other sign
    plain: str
    paper: str  # the paper's figure
    ours: str | None  # the book's figure, or None if it was not run
    verdict: str  # one of alexnet.bookkit.stats.VERDICTS
    page: str  # the chapter with the check
    size: str | None = None  # one of alexnet.bookkit.stats.SIZES; None: nothing was measured
    why: str = ""  # what should be known with it
    logs: str = ""  # what the logs of 2012 say, for the table that closes the chapter on learning
    agreement: str | None = None  # one of alexnet.bookkit.stats.AGREEMENTS, if it was counted
    measured: Measurement | None = None
    tiny_imagenet: TinyImageNetResult | None = None
    plain_tiny: str = ""  # a sentence for tiny_imagenet, with its numbers as in plain

    @property
    def kind(self) -> str:
        """How it was checked.

        "counted", "measured", "measured on Tiny ImageNet" alone, "by construction" or "not run".
        """
        if self.ours is None:
            return "measured on Tiny ImageNet" if self.tiny_imagenet else "not run"
        if self.measured:
            return "measured"
        return "counted" if self.agreement else "by construction"

    @property
    def evidence(self) -> str:
        """On what its verdict rests, in a few words; nothing if it was not run, or is a recipe."""
        if "measured" not in self.kind:
            return "counted" if self.kind == "counted" else ""
        own_data = self.measured and self.measured.setting["data"] == "CIFAR-10"
        return "on the paper's data" if own_data else "on other data"

    @property
    def notes(self) -> str:
        """What should be known with it, and why its interval is wider than others."""
        notes = self.reasons
        if self.measured and self.measured.looks > 1:
            times = _TIMES[self.measured.looks]
            notes += f" The interval is one of {self.measured.level}, since the runs were looked at"
            notes += f" {times}."
        return notes.strip()

    @property
    def size_text(self) -> str:
        """The size in a few words after a comma, or nothing if there is none to compare."""
        return f", {_SIZE_IN_WORDS[self.size]}" if self.size in _SIZE_IN_WORDS else ""

    @property
    def found(self) -> str:
        """What the paper says, and what came out here, in whole sentences."""
        if self.ours is None:
            logs = f" The logs of 2012 say {self.logs}." if self.logs else ""
            return self.plain.format(paper=self.paper) + logs
        return _filled(self.plain, self.ours, paper=self.paper)

    @property
    def found_tiny(self) -> str:
        """What came out on Tiny ImageNet, in whole sentences; or nothing.

        With its verdict and why the runs cannot tell, unless these are the claim's own.
        """
        if not self.tiny_imagenet:
            return ""
        said = _filled(self.plain_tiny, self.tiny_imagenet.ours)
        if self.kind == "measured on Tiny ImageNet" or self.tiny_imagenet_decides:
            return said
        verdict = self.tiny_imagenet.verdict
        agrees = verdict == self.verdict
        if verdict == "holds":
            return f"{said} The claim holds there{', too' * agrees}."
        either = ", either" * agrees
        if verdict == "does not hold":
            return f"{said} The claim does not hold there{either}."
        first, *_, last = self.outcomes
        why = "" if last.why == first.why else f" ({last.why})"
        return f"{said} These runs cannot tell{either}{why}."

    @property
    def reasons(self) -> str:
        """What should be known with it, in whole sentences."""
        return self.why and f"{self.why[0].upper()}{self.why[1:].removesuffix('.')}."

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """What the recorded runs say of it, first those on CIFAR-10; nothing if there are none.

        Raises:
            FileNotFoundError: outside a checkout of the repository.
        """
        outcomes = []
        if self.measured:
            found = finding(self.name, self.measured.looks)
            why = doubts(found.effects, _other_setting(self, found))
            outcomes.append(Outcome(found, self.verdict, why))
        if self.tiny_imagenet:
            found = tiny_finding(self.name, self.tiny_imagenet.looks)
            why = doubts(found.effects, found.other_setting)
            outcomes.append(Outcome(found, self.tiny_imagenet.verdict, why))
        return outcomes

    @property
    def decisive(self) -> Outcome | None:
        """The first whose intervals decide, or the first of all; nothing if there are no runs."""
        decisive = [outcome for outcome in self.outcomes if outcome.decides]
        return next(iter(decisive or self.outcomes), None)

    @property
    def tiny_imagenet_decides(self) -> bool:
        """Whether the runs on Tiny ImageNet decide, and those on CIFAR-10 do not."""
        return len(self.outcomes) == 2 and self.decisive is self.outcomes[1]

    def __repr__(self) -> str:
        notes = f" ({self.notes})" if self.notes else ""
        tiny = ""
        if self.tiny_imagenet:
            tiny = f" Tiny ImageNet: {self.tiny_imagenet.ours}. {self.tiny_imagenet.verdict}"
        verdict = f"{self.verdict.capitalize()}{self.size_text}"
        return printable(f"{self.name}: {self.found} {verdict}{notes}{tiny}")

    def _repr_html_(self) -> str:
        return card(self)


def _filled(sentence: str, ours: str, **more: str) -> str:
    """A sentence of the record with the figures of a result."""
    ours = ours.replace("+", "").replace("-", "−")
    numbers = _NUMBER.findall(ours)
    turned = [number[1:] if number[0] == "−" else f"−{number}" for number in numbers]
    return sentence.format(*numbers, ours=ours, turned=turned, **more)


def record() -> dict:
    """Read the whole record.

    Returns:
        "claims" by name; the repository of the "source" of 2012, rows of its "logs", and "repeats",
        the training runs of the net of run 145; the "tables" of the paper, and the nets that its
        "footnote_nets" may be; "reproductions" by others.

    Raises:
        FileNotFoundError: outside a checkout of the repository.
    """
    if not RECORD.exists():
        raise missing_from_wheel(RECORD)
    return json.loads(RECORD.read_text(encoding="utf-8"))


def claims() -> dict[str, Claim]:
    """Read all claims, by name.

    Raises:
        FileNotFoundError: outside a checkout of the repository.
    """
    found = {}
    for name, row in record()["claims"].items():
        fields = dict(row)
        for field, kind in {"measured": Measurement, "tiny_imagenet": TinyImageNetResult}.items():
            if fields.get(field):
                fields[field] = kind(**fields[field])
        found[name] = Claim(name, **fields)
    return found


def judge(row: Claim, found: Finding | None = None) -> tuple[str, str | None]:
    """The verdict on a claim, and the size of the effect, by the rule.

    What the claim itself speaks of, such as a decay of 0.0005 or a dropout of 0.5, must have been
    run as the paper has it; data set and net hardly ever are the paper's, and that is what the size
    answers. So ``measured.setting`` without its data and its net must be among the runs. What was
    measured on Tiny ImageNet alone has the verdict of that.

    Args:
        row: of the record; its own verdict and size are not looked at.
        found: what the recorded runs say, if it was measured.

    Returns:
        One of :data:`alexnet.bookkit.stats.VERDICTS`; one of
        :data:`alexnet.bookkit.stats.SIZES`, or None if it was not measured.
    """
    if row.kind == "not run":
        return "not run here", None
    if row.kind == "measured on Tiny ImageNet":
        return row.tiny_imagenet.verdict, "not comparable"
    if row.kind == "by construction":
        return "holds by construction", None
    if row.kind == "counted":
        return counted_verdict(row.paper, row.ours, row.agreement), None
    setting = row.measured.setting
    configs = [configuration(run) for run in found.runs]
    has_net = all(config["net"] == setting["net"] for config in configs)
    is_comparable = found.data == setting["data"] and has_net
    effect = found.effects[0]
    return (
        measured_verdict(found.effects, not _other_setting(row, found)),
        size(effect, row.measured.figure, is_comparable),
    )


def _other_setting(row: Claim, found: Finding) -> str:
    """What was run instead of what the claim itself speaks of, in a few words; or nothing."""
    setting = {k: v for k, v in row.measured.setting.items() if k not in ("data", "net")}
    configs = [configuration(run) for run in found.runs]
    if not setting or any(setting.items() <= config.items() for config in configs):
        return ""
    for field, wanted in setting.items():
        ran = sorted({str(config[field]) for config in configs if config[field]})  # 0: without it
        if str(wanted) not in ran:
            values = [_IN_WORDS.get(value, value) for value in (*ran, str(wanted))]
            return f"{_IN_WORDS.get(field, field)} {' and '.join(values[:-1])}, not {values[-1]}"
    return "another setting"


def judge_tiny_imagenet(
    name: str, looks: int = 1, folder: Path = RUNS
) -> TinyImageNetResult | None:
    """What came of a claim at two hundred classes, by the same rule.

    Runs that are not decisive cannot tell, whatever they show.

    Args:
        name: a key of :data:`alexnet.bookkit.tiny_imagenet.TINY_FINDINGS`, such as "P6".
        looks: how many times the runs were looked at.
        folder: where ``tiny-imagenet.json`` is.

    Returns:
        None if not all of its runs are recorded.
    """
    found = tiny_finding(name, looks, folder)
    if found is None:
        return None
    return TinyImageNetResult(found.ours, measured_verdict(found.effects, found.is_decisive), looks)


def claim(name: str, ours: str | None = None) -> Claim:
    """Look up a claim that was not measured, and check it against what the calling cell has found.

    Args:
        name: "P1" to "P29".
        ours: the book's figure, as computed; None if it was not run.

    Raises:
        ValueError: if the record says something else, or has a verdict that does not follow.
    """
    row = claims()[name]
    return _checked(row, ours)


def claim_from_runs(name: str) -> Claim:
    """Look up a claim, and check it against what the recorded runs say.

    Args:
        name: a key of :data:`alexnet.bookkit.findings.FINDINGS`, such as "P5".

    Raises:
        ValueError: if the record says something else, or has a verdict that does not follow.
    """
    row = claims()[name]
    found = finding(name, row.measured.looks)
    return _checked(row, found.ours, found)


def _checked(row: Claim, ours: str | None, found: Finding | None = None) -> Claim:
    _check(row.name, "figure", ours, row.ours)
    verdict, effect_size = judge(row, found)
    _check(row.name, "verdict", verdict, row.verdict)
    _check(row.name, "size", effect_size, row.size)
    return row


def _check(name: str, what: str, found: str | None, recorded: str | None) -> None:
    if found != recorded:
        raise ValueError(
            f"the {what} of {name} must be {recorded!r} as in {RECORD.name}, got {found!r}: "
            "correct the one that is wrong"
        )
