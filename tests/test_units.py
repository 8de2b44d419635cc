"""Formatting of numbers with units, and plurals."""

from __future__ import annotations

import math
import time

import pytest

from core.plural import one, plural, verb
from core.runs.summary import StageProgress
from llmtui.tui.widgets.stages import artifact_facts
from llmtui.view.units import clock, count, duration, facts, flops, flops_rate, many, perplexity, rate, size


@pytest.mark.parametrize(
    ("number", "text"), [(3e17, "3e+17"), (1.254e18, "1.25e+18"), (950.0, "950"), (math.inf, "–"), (math.nan, "–")]
)
def test_flops_are_in_powers_of_ten(number: float, text: str) -> None:
    assert flops(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (12.5, "12.5"),
        (4_096, "4.10k"),
        (183_000, "183k"),
        (999_499, "999k"),
        (999_500, "1.00M"),  # never 1000k
        (3_410_000, "3.41M"),
        (9_996, "10.0k"),
        (124_000_000, "124M"),
        (8e12, "8.00T"),
        (-5, "-5"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_counts_have_three_digits(number: float, text: str) -> None:
    assert count(number) == text


def test_sizes_are_decimal_and_rates_name_their_unit() -> None:
    assert [size(n) for n in (0, 999, 12_100_000, 2 * 10**9)] == ["0 B", "999 B", "12.1 MB", "2.00 GB"]
    assert rate(183_000, "tok") == "183k tok/s"
    assert rate(12_100_000, "bytes") == "12.1 MB/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.4s"),
        (9.96, "10s"),
        (59.6, "1m00s"),
        (125, "2m05s"),
        (3_599.7, "1h00m"),
        (6_120, "1h42m"),
        (86_399, "1d00h"),
        (273_600, "3d04h"),
        (-1, "–"),
        (float("inf"), "–"),
    ],
)
def test_durations_have_two_units_and_carry_over_at_sixty(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_clock_is_local_time_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert clock(1_762_895_040) == "11 Nov 21:04"
    monkeypatch.undo()
    time.tzset()


def test_facts_read_as_one_line_without_zeros() -> None:
    known = {"documents": 734, "bytes": 12_100_000, "train_bytes": 11_000, "skipped": 0, "tokens": 3_410_000}
    assert facts(known) == "734 documents, 12.1 MB, 11.0 kB train, 3.41M tokens"
    assert facts({"step": 1_200, "loss": 3.2101}) == "step 1,200, loss 3.210"
    assert facts({"vocabulary": "bpe", "bits_per_byte": 1.4567}) == "vocabulary bpe, 1.457 bits per byte"
    assert facts({"loss": 3.2101, "bits_per_byte": 1.4567, "bound": 1}) == "loss ≤3.210, ≤1.457 bits per byte"


def test_perplexity_equals_that_of_the_book_and_a_diverged_loss_has_none() -> None:
    assert perplexity(10.7940) == "48.7k"  # Raschka, chapter 5: 48,725.82
    assert perplexity(3.2, bound=True) == "≤24.5"
    assert perplexity(1000.0) == perplexity(math.nan) == "–"


def test_plurals_of_regular_and_irregular_nouns() -> None:
    documents = [plural(number, "document") for number in (0, 1, 2, 1204)]
    assert documents == ["0 documents", "1 document", "2 documents", "1,204 documents"]
    assert (plural(1, "entry"), plural(2, "entry"), plural(2, "process")) == ("1 entry", "2 entries", "2 processes")
    assert (plural(2, "day"), plural(3, "cleaning step"), many(1, "token")) == ("2 days", "3 cleaning steps", "1 token")
    assert (many(3_410_000, "token"), verb(1, "was", "were"), verb(0, "was", "were")) == ("3.41M tokens", "was", "were")
    assert [one(nouns) for nouns in ("documents", "entries", "files", "bytes")] == ["document", "entry", "file", "byte"]


def test_facts_with_a_count_of_one_are_singular() -> None:
    assert facts({"documents": 1, "bytes": 12, "entries": 1}) == "1 document, 12 B, 1 entry"
    parts = artifact_facts(
        StageProgress(state="done", facts={"documents": 1, "bytes": 12, "skipped": 1, "samples": 1, "steps": 2})
    )
    assert parts == ["1 document", "12 B", "1 file skipped", "1 sample", "2 steps"]


def test_operations_per_second_have_the_prefixes_of_si() -> None:
    assert flops_rate(58.4e9) == "58.4 GFLOP/s"
    assert flops_rate(9.89e14) == "989 TFLOP/s"
    assert flops_rate(2e15) == "2.00 PFLOP/s"
