"""Stories from a grammar: reproducible, and of exactly known probability."""

from __future__ import annotations

import hashlib
import math
import platform
import re
from collections import Counter
from copy import copy
from fractions import Fraction
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import pytest

import core.download
from core.download import stories
from core.download.grammar import Choice
from core.download.grammar_generate import TextGenerator, derivation_bits
from core.download.source_reader import SourceBatch
from core.download.stories import Stories, grammar, log2_probability, story
from core.events import CleaningReport, Event
from core.recipe.schema import Source
from core.storage.artifact import Artifact
from core.storage.documents import read_parts
from tests.core.grammar_derivations import all_derivations, decode
from tests.core.grammar_prefix_free import prefix_conflicts
from tests.core.stages import StageFactory, close_after, file_digests, preprocessing, run_stage, small_shards

BITS, BYTES = 251.85546875, 1211.8001708984375
"""Means over stories."""


@cache
def sample_stories() -> list[str]:
    return [story(11, number) for number in range(2000)]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def downloading(**recipe: int) -> StageFactory:
    return lambda out: core.download.download(Source(corpus="stories", **recipe), out)  # type: ignore[arg-type]


def texts_of(artifact: Artifact) -> list[str]:
    return [part.text for part in read_parts(artifact.files("documents-*.parquet"))]


# --- reproducibility ---


def test_the_first_megabyte_of_seed_1_has_the_recorded_hash() -> None:
    text = "".join(story(1, number) for number in range(900))[: 2**20]
    assert len(text) == 2**20
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "12d8899a35fda19aa994481f2171b62953d6064c2c6f127bf4b94f12595f68da"
    )
    assert (
        hashlib.sha256(story(1, 123_456_789).encode()).hexdigest()
        == "9a4eb79fb4a09ccc9eb7c8313068d5937b9e7a7f037fdf8c3164f969d2498848"
    )


def test_the_fingerprint_depends_on_the_grammar_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # a change of the grammar changes it and the figures in this file
    assert stories.grammar_fingerprint() == "5e00e31f1e2d9799"
    monkeypatch.setattr(platform, "python_version", lambda: "3.99")
    for recipe in (Source(corpus="stories"), Source(corpus="stories", seed=5, max_bytes=7)):
        assert core.download.source_fingerprint(recipe) == stories.grammar_fingerprint()
    monkeypatch.setattr(stories, "_tables", lambda: ({"rules": {"story": "Once."}},))
    assert core.download.source_fingerprint(Source(corpus="stories")) != "5e00e31f1e2d9799"


def test_each_seed_and_number_gives_another_story() -> None:
    assert len({story(seed, number) for seed in range(40) for number in range(50)}) == 2000


@pytest.mark.heavy
def test_an_interrupted_download_resumes_to_the_same_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "_BATCH", 3000)
    small_shards(monkeypatch)
    whole = run_stage(tmp_path / "whole", downloading(max_bytes=30_000))
    assert len(whole.files("documents-*.parquet")) > 3
    for after in (1, 3, 7):
        path = tmp_path / str(after)
        assert close_after(path, downloading(max_bytes=30_000), after)
        assert file_digests(run_stage(path, downloading(max_bytes=30_000))) == file_digests(whole)


def test_reading_from_each_position_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "_BATCH", 3000)
    source = Stories(Source(corpus="stories", seed=3, max_documents=40))
    rows = [item for item in source.read({}) if isinstance(item, SourceBatch)]
    assert len(rows) > 9
    for index, item in enumerate(rows):
        following = list(source.read(item.position))
        assert [row.batch for row in following if isinstance(row, SourceBatch)] == [
            row.batch for row in rows[index + 1 :]
        ]


# --- cleanliness ---


def test_the_default_cleaning_changes_nothing(tmp_path: Path) -> None:
    documents = run_stage(tmp_path / "documents", downloading(max_bytes=2**20))
    events: list[Event] = []
    clean = run_stage(tmp_path / "clean", preprocessing(documents), events=events)
    report = next(event for event in events if isinstance(event, CleaningReport))
    assert [(step.changed, step.removed, step.bytes) for step in report.steps] == [(0, 0, 0)] * 5
    both = [part.text for side in ("train", "validation") for part in read_parts(clean.files(f"{side}-*.parquet"))]
    assert sorted(both) == sorted(texts_of(documents))


def test_two_equal_stories_are_practically_impossible() -> None:
    # the most probable story has 2^-minimum; 10^11 bytes are 2^27 stories
    minima: dict[str, int] = {}

    def minimum(rule: str) -> int:
        if rule not in minima:
            minima[rule] = min(
                alternative.bits
                + sum(
                    min(map(minimum, grammar().rules_of(symbol)))
                    for symbol in alternative.symbols
                    if isinstance(symbol, Choice)
                )
                for alternative in grammar().rules[rule]
            )
        return minima[rule]

    assert minimum("story") >= 120


@pytest.mark.heavy
def test_a_story_is_clean_english_of_a_few_words() -> None:
    words = Counter(word.lower() for text in sample_stories() for word in re.findall(r"[A-Za-z'-]+", text))
    assert 400 <= len(words) <= 1000
    for text in sample_stories():
        assert text.isascii() and text.endswith(".\n") and 600 < len(text) < 2000
        assert not re.search(
            r"  | \n|\n\n\n|[{}|%¶/]| [.,!?]|,,|\.\.|^[a-z]|[.!?] [a-z]", text.replace('!" ', "").replace('?" ', "")
        )
        assert text.count('"') % 2 == 0
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n (?!hon)[^aeiou]", text)


def test_objects_and_names_of_a_story_are_consistent() -> None:
    plots = Counter[str]()
    for text in sample_stories():
        hero = re.search(r"(girl|boy) (?:named|called) (\w+)", text)
        assert hero and text.count(hero[2]) > 3
        assert hero[1] == "girl" or not re.search(r"\b(girl|her)\b", text.replace("herb woman", "").split("\n\n")[0])
        if given := re.search(
            r"who gave them (.+?)\. .* found (.+?) (?:under|behind|beside|near|in|next|on|close) .*", text
        ):
            plots["feast"] += 1
            assert f"{given[1]}, {given[2]} and " in text
        elif carried := re.search(r" put (?:his|her) (.+?) (?:in|under) .*? and went out", text):
            plots["lost"] += 1
            assert f"felt for the {carried[1]}, it was gone!" in text
        elif trapped := re.search(r"It came from an? (\w+ \w+),", text):
            plots["rescue"] += 1
            assert f"Then the {trapped[1]} came back!" in text
        elif toy := re.search(r"wanted to play with (?:his|her) (.+?) (?:in|at|by|on|behind|near) ", text):
            plots["reach"] += 1
            assert f"the {toy[1]} came" in text
    assert sum(plots.values()) == len(sample_stories()) and min(plots.values()) > 400


# --- exact probabilities ---


@pytest.mark.heavy
def test_parsing_finds_one_derivation_with_the_bits_of_generation() -> None:
    generator = TextGenerator(grammar())
    for number in range(2000):
        random_bytes = hashlib.shake_128(f"11/{number}".encode()).digest(generator.max_random_bytes)
        text, bits = decode(grammar(), random_bytes)
        assert text == story(11, number)
        assert derivation_bits(grammar(), text) == [bits]


@pytest.mark.heavy
def test_no_alternative_is_a_prefix_of_another() -> None:
    assert prefix_conflicts(grammar()) == []


def test_the_probabilities_of_each_rule_add_up_to_one() -> None:
    for alternatives in grammar().rules.values():
        assert sum(Fraction(1, 2**alternative.bits) for alternative in alternatives) == 1


def test_each_text_of_a_rule_has_one_derivation() -> None:
    day = copy(grammar())
    day.start = "day"
    texts = all_derivations(day)
    assert len(texts) == len(dict(texts)) == 16 * 4 * 2 + 16 * 7 + 16 * 2 * 4 + 16
    assert sum(Fraction(1, 2**bits) for _, bits in texts) == 1
    assert all(derivation_bits(day, text) == [bits] for text, bits in texts)


@pytest.mark.heavy
def test_the_mean_over_two_thousand_stories_is_the_entropy() -> None:
    bits = [-log2_probability(text) for text in sample_stories()]
    sizes = [len(text) for text in sample_stories()]
    assert stories.entropy() == BITS and stories.expected_bytes() == BYTES
    assert abs(mean(bits) - BITS) < 4 * stdev(bits) / math.sqrt(len(bits))
    assert abs(mean(sizes) - BYTES) < 4 * stdev(sizes) / math.sqrt(len(sizes))
    assert stories.bits_per_byte() == pytest.approx(BITS / BYTES)


@pytest.mark.heavy
def test_a_text_that_the_grammar_cannot_generate_has_probability_zero() -> None:
    text = sample_stories()[0]
    name = re.search(r"(?:girl|boy) (?:named|called) (\w+)", text)
    assert name
    last = text.rindex(name[1])
    tampered = [
        "",
        "Hello.",
        text + text,
        text + "\n",
        " " + text,
        text.upper(),
        text.replace("\n", "\r\n"),
        text.replace(" the ", " a ", 1),
        text.replace("girl", "boy") if "girl" in text else text.replace("boy", "girl"),
        text[:last] + "Nobody" + text[last + len(name[1]) :],
        *(text[:end] for end in range(len(text))),
    ]
    assert log2_probability(text) > -math.inf
    assert {log2_probability(other) for other in tampered} == {-math.inf}


# --- limits ---


@pytest.mark.parametrize("limit", [1, 1000, 5000, 300_000])
def test_a_byte_limit_gives_as_many_complete_stories_as_fit_and_at_least_one(tmp_path: Path, limit: int) -> None:
    artifact = run_stage(tmp_path / "documents", downloading(max_bytes=limit, seed=4))
    texts = texts_of(artifact)
    assert texts == [story(4, number) for number in range(len(texts))]
    size = sum(map(len, texts))
    assert size <= limit or len(texts) == 1
    assert size + len(story(4, len(texts))) > limit
    assert artifact.facts == {
        "documents": len(texts),
        "bytes": size,
        "entropy_bits_per_byte": round(BITS / BYTES, 6),
    }


def test_a_document_limit_gives_exactly_that_many_stories(tmp_path: Path) -> None:
    artifact = run_stage(tmp_path / "documents", downloading(max_documents=123))
    names = [part.name for part in read_parts(artifact.files("documents-*.parquet"))]
    assert names == [f"story-{number:07d}" for number in range(123)]
    assert Stories(Source(corpus="stories", max_documents=10**6)).total == pytest.approx(10**6 * BYTES)
    both = Source(corpus="stories", max_documents=50, max_bytes=10_000)
    assert sum(row.batch.num_rows for row in Stories(both).read({}) if isinstance(row, SourceBatch)) < 10


def test_the_default_limit_is_16_mib() -> None:
    assert Stories(Source(corpus="stories")).total == 16 * 2**20
