"""A corpus within limits: its beginning, or a sample spread over it; the same after any break."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.download import SubsetError
from core.events import Event, Progress
from core.storage.artifact import Artifact
from tests.core.source_files import parts_of
from tests.core.stages import close_after, downloading, file_digests, run_stage, small_shards


def corpus(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))
    return path


def lines_of(artifact: Artifact) -> list[int]:
    """The numbers of the documents that were taken."""
    return [int(part.name.rpartition(":")[2]) for part in parts_of(artifact) if part.number == 0]


@pytest.mark.parametrize(
    ("limits", "taken"),
    [
        ({"max_documents": 3}, 3),
        ({"max_documents": 1000}, 100),
        ({"max_bytes": 300}, 30),
        ({"max_bytes": 309}, 30),
        ({"max_bytes": 10_000}, 100),
        ({"max_bytes": 300, "max_documents": 7}, 7),
        ({"max_bytes": 70, "max_documents": 30}, 7),
    ],
)
def test_the_first_documents_that_fit_are_taken(tmp_path: Path, limits: dict[str, int], taken: int) -> None:
    path = corpus(tmp_path / "a.jsonl", [f"{n:09d}\n" for n in range(100)])
    artifact = run_stage(tmp_path / "out", downloading(path, **limits))
    assert lines_of(artifact) == list(range(1, taken + 1))
    assert artifact.facts["documents"] == taken and artifact.facts["bytes"] == taken * 10


def test_the_first_document_that_does_not_fit_ends_it(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", ["x" * 50, "y" * 500, "z" * 10])
    assert lines_of(run_stage(tmp_path / "out", downloading(path, max_bytes=100))) == [1]


def test_a_first_document_larger_than_everything_is_cut_at_a_line_end(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", ["Zeile eins\nZeile zwei\nZeile drei\n", "more"])
    assert [part.text for part in parts_of(run_stage(tmp_path / "1", downloading(path, max_bytes=25)))] == [
        "Zeile eins\nZeile zwei\n"
    ]
    path = corpus(tmp_path / "b.jsonl", ["ä" * 50])
    assert [part.text for part in parts_of(run_stage(tmp_path / "2", downloading(path, max_bytes=25)))] == ["ä" * 12]


def test_a_long_text_is_cut_at_a_line_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    text = "".join(f"{n:04d} {'x' * 44}\n" for n in range(200))
    (tmp_path / "a.txt").write_text(text)
    artifact = run_stage(tmp_path / "out", downloading(tmp_path / "a.txt", max_bytes=3333))
    assert "".join(part.text for part in parts_of(artifact)) == text[:3300]
    assert [part.number for part in parts_of(artifact)] == [0, 1, 2, 3]


@pytest.mark.parametrize("limits", [{"max_bytes": 40_000}, {"max_documents": 400}])
def test_a_sample_is_spread_over_the_corpus_and_as_large_as_asked_for(tmp_path: Path, limits: dict[str, int]) -> None:
    """A tenth of 4,000 documents of 100 bytes: 400 of them, 100 from each quarter give or take four deviations."""
    path = corpus(tmp_path / "a.jsonl", [f"{n:099d}\n" for n in range(4000)])
    artifact = run_stage(tmp_path / "out", downloading(path, take="sample", **limits))
    taken = lines_of(artifact)
    assert 380 <= len(taken) <= 400
    assert taken == sorted(set(taken))
    quarters = np.bincount([(number - 1) // 1000 for number in taken], minlength=4)
    assert all(abs(count - 100) < 4 * np.sqrt(100 * 0.9) for count in quarters)


def test_a_sample_over_many_small_batches_is_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    path = corpus(tmp_path / "a.jsonl", [f"{n:099d}\n" for n in range(2000)])
    taken = lines_of(run_stage(tmp_path / "out", downloading(path, take="sample", max_bytes=20_000)))
    assert 180 <= len(taken) <= 200
    quarters = np.bincount([(number - 1) // 500 for number in taken], minlength=4)
    assert all(abs(count - 50) < 4 * np.sqrt(50 * 0.9) for count in quarters)


def test_another_seed_takes_other_documents(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", [f"{n:099d}\n" for n in range(2000)])
    one, two, again = (
        set(lines_of(run_stage(tmp_path / name, downloading(path, take="sample", max_documents=200, seed=seed))))
        for name, seed in (("1", 1), ("2", 2), ("3", 1))
    )
    assert one == again
    assert len(one & two) < 50, "by chance a tenth of a tenth, 20"


def test_a_sample_of_everything_is_everything(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", [f"document {n}" for n in range(500)])
    taken = lines_of(run_stage(tmp_path / "out", downloading(path, take="sample", max_documents=5000)))
    assert taken == list(range(1, 501))


def test_the_parts_of_a_sampled_document_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    texts = {}
    for n in range(60):
        texts[f"{n:02d}.txt"] = "".join(f"{n} {k:03d} {'x' * 40}\n" for k in range(80))
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / f"{n:02d}.txt").write_text(texts[f"{n:02d}.txt"])
    artifact = run_stage(tmp_path / "out", downloading(tmp_path / "s", take="sample", max_bytes=60_000))
    joined: dict[str, str] = {}
    for part in parts_of(artifact):
        joined[part.name] = joined.get(part.name, "") + part.text
    cut = [name for name, text in joined.items() if text != texts[name]]
    assert len(joined) >= 10 and len(cut) <= 1
    assert all(texts[name].startswith(joined[name]) for name in cut)
    assert int(artifact.facts["bytes"]) <= 60_000


def test_one_document_is_no_sample(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 5000)
    with pytest.raises(SubsetError, match="none of its 1 document ") as caught:
        run_stage(tmp_path / "out", downloading(tmp_path / "a.txt", take="sample", max_bytes=100))
    assert "source.take=first" in caught.value.todo


@pytest.mark.parametrize(
    "limits",
    [
        {"max_bytes": 30_000},
        {"max_documents": 333},
        {"max_bytes": 30_000, "take": "sample"},
        {"max_documents": 333, "take": "sample"},
    ],
)
def test_after_breaks_at_any_point_the_documents_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, object]
) -> None:
    small_shards(monkeypatch)
    texts = [f"{n} {'y' * (n % 150)}\n" for n in range(800)]
    texts[300] = "".join(f"{n:04d} {'x' * 44}\n" for n in range(80))
    path = corpus(tmp_path / "a.jsonl", texts)
    whole = run_stage(tmp_path / "whole", downloading(path, **limits))
    assert len(file_digests(whole)) > 3
    after = 9
    while close_after(tmp_path / "broken", downloading(path, **limits), after):
        after += 5
    artifact = Artifact.open(tmp_path / "broken", verify=True)
    assert file_digests(artifact) == file_digests(whole) and artifact.facts == whole.facts


@pytest.mark.parametrize("limits", [{"max_bytes": 30_000}, {"max_documents": 333}, {"max_bytes": 10**9}])
def test_progress_towards_a_limit_is_even(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    small_shards(monkeypatch)
    path = corpus(tmp_path / "a.jsonl", [f"{n:099d}\n" for n in range(2000)])
    events: list[Event] = []
    run_stage(tmp_path / "out", downloading(path, **limits), events=events)
    progress = [event for event in events if isinstance(event, Progress) and event.unit == "bytes"]
    end = progress[-1]
    assert end.done == end.total
    after_a_fifth = [event for event in progress if event.done > end.done / 5]
    assert all(event.total == pytest.approx(end.done, rel=0.1) for event in after_a_fifth)
