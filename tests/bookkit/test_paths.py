"""Outside a checkout, one sentence says where the files of the book are."""

import pytest

from alexnet.bookkit import claims, findings
from alexnet.bookkit.paths import BOOK, RECORD
from alexnet.experiments.runner import RUNS

SENTENCE = r"must exist, but .* in the book folder of the repository .*pip install -e \. in it$"


def test_in_a_checkout_the_files_are_there():
    assert RECORD.is_file() and RUNS.is_dir() and RUNS.parent == BOOK


@pytest.mark.parametrize("read", [claims.record, claims.claims])
def test_record_is_not_in_a_wheel(read, monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "RECORD", tmp_path / "book" / "record.json")
    with pytest.raises(FileNotFoundError, match="record.json " + SENTENCE):
        read()


def test_recorded_runs_are_not_in_a_wheel(monkeypatch, tmp_path):
    folder = tmp_path / "book" / "runs"
    with pytest.raises(FileNotFoundError, match="runs " + SENTENCE):
        findings.load_runs("relu", folder)
    monkeypatch.setattr(findings, "RUNS", folder)
    with pytest.raises(FileNotFoundError, match="runs " + SENTENCE):
        findings.finding("P25")
