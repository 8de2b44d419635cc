"""The vocabulary report of the tokenize stage."""

from __future__ import annotations

from pathlib import Path

from core.recipe.schema import Preprocess, Tokenize
from core.storage.artifact import Artifact
from core.vocab.report import read_report
from tests.core.stages import clean_documents, run_stage, tokenizing


def test_the_report_counts_what_the_training_text_uses(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("ab" * 6_000 + "c" * 1_000)
    clean = clean_documents(tmp_path, tmp_path / "text", Preprocess(steps=(), validation=0.05))
    tokens: Artifact = run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="bytes")))
    report = read_report(tokens.path)
    assert (report.size, report.entries, report.used, report.unused) == (257, 256, 3, 253)
    assert report.unused_share == 253 / 256
    assert [(entry.text, entry.count) for entry in report.frequent] == [("a", 6_000), ("b", 6_000), ("c", 350)]
    assert report.bytes_per_token == tokens.facts["bytes_per_token"] == round(650 / 651, 4)


def test_the_report_lists_the_longest_entries_and_whether_they_occur(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a remarkable sentence\n" * 1000)
    tokens = run_stage(
        tmp_path / "tokens",
        tokenizing(clean_documents(tmp_path, tmp_path / "text", Preprocess(steps=())), Tokenize(size=300)),
    )
    report = read_report(tokens.path)
    assert (report.longest[0].text, report.longest[0].bytes) == (" remarkable", 11)
    assert report.longest[0].count == 950
    assert report.learned_from == int(tokens.facts["train_bytes"])
    assert report.unused > 200, "the parts of a merge that are never alone"
