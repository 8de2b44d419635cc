"""Token shards: they depend on the text shards only, whether made in parts, at once or after an interruption."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core import tokenize
from core.events import Event, StageFinished, StageSkipped
from core.jobs.prepare import Prepared, prepare
from core.recipe.schema import Preprocess, Recipe, Source, Tokenize
from core.storage.artifact import Artifact, Staging
from core.storage.documents import DocumentPart, read_parts, write_parts
from core.storage.workspace import Workspace
from core.tokenize import bpe, encode
from core.tokenize.codecs import DOCUMENT_SEPARATOR
from core.tokenize.merge_parts import part_path
from core.tokenize.shards import TokenStream, map_shard
from core.tokenize.vocabulary import Vocabulary
from tests.core.stages import (
    ROOT,
    StageFactory,
    file_digests,
    note_texts,
    return_value,
    run_stage,
    small_shards,
    tokenizing,
)
from tests.run_code import run_code

TEXTS = [f"{n}: the {n * n} of a text\n" * (1 + n % 40) for n in range(120)]


def clean_documents(home: Path, train: list[list[DocumentPart]], validation: list[DocumentPart]) -> Artifact:
    """Clean documents with these shards."""
    rows = {f"train-{n:05d}.parquet": parts for n, parts in enumerate(train)} | {"validation-00000.parquet": validation}
    with Staging(home, "preprocess", "0").open() as out:
        for name, parts in rows.items():
            out.publish(name, lambda path, parts=parts: write_parts(path, parts))
        sizes = [sum(len(part.text.encode()) for parts in side for part in parts) for side in (train, [validation])]
        return out.finish({"train_bytes": sizes[0], "validation_bytes": sizes[1]})


@pytest.fixture
def clean(tmp_path: Path) -> Artifact:
    """Twelve shards of ten documents each, and one held-out shard."""
    shards = [[DocumentPart(str(n), 0, TEXTS[n]) for n in range(start, start + 10)] for start in range(0, 110, 10)]
    return clean_documents(tmp_path / "clean", shards, [DocumentPart(str(n), 0, TEXTS[n]) for n in range(110, 120)])


def part_of(clean: Artifact, part: tuple[int, int]) -> StageFactory:
    return lambda out: tokenize.tokenize(Tokenize(size=300), clean, out, part)


def ids(tokens: Artifact, split: str = "train") -> list[int]:
    stream = TokenStream(tokens.files(f"{split}-*.tokens"))
    token_ids: list[int] = stream.window(0, len(stream)).tolist()
    return token_ids


# -- one token shard per text shard ----------------------------------------------------------------------------------


def test_each_text_shard_gives_one_token_shard(clean: Artifact, tmp_path: Path) -> None:
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean))
    vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    for source in clean.files("*.parquet"):
        expected: list[int] = []
        for part in read_parts([source]):
            expected += [*vocabulary.encode(part.text), vocabulary.end_of_text]
        name = f"{source.stem}.tokens"
        assert map_shard(tokens.path / name).tolist() == expected
        facts = tokens.manifest.files[name].facts
        assert facts == {"tokens": len(expected), "bytes": sum(len(part.text) for part in read_parts([source]))}


@pytest.mark.parametrize("vocabulary", ["bpe", "characters", "bytes"])
def test_a_document_continued_in_the_next_shard_has_one_end_of_text_token(tmp_path: Path, vocabulary: str) -> None:
    shards = [
        [],
        [DocumentPart("a", 0, "one\n"), DocumentPart("b", 0, "two\n"), DocumentPart("b", 1, "three\n")],
        [DocumentPart("b", 2, "four\n")],
        [DocumentPart("b", 3, "five\n"), DocumentPart("c", 0, ""), DocumentPart("d", 0, "six " * 200)],
    ]
    clean = clean_documents(tmp_path / "clean", shards, [DocumentPart("v", 0, "held out\n" * 30)])
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary=vocabulary, size=260)))  # type: ignore[arg-type]
    saved_vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    text = saved_vocabulary.decode(ids(tokens))
    assert text == "".join(
        ["one\n<|endoftext|>two\nthree\nfour\nfive\n<|endoftext|><|endoftext|>", "six " * 200, "<|endoftext|>"]
    )
    assert ids(tokens).count(saved_vocabulary.end_of_text) == 4
    assert len(map_shard(tokens.path / "train-00000.tokens")) == 0
    assert saved_vocabulary.end_of_text not in map_shard(tokens.path / "train-00002.tokens")


def test_the_document_separator_within_a_document_is_text(tmp_path: Path) -> None:
    texts = [
        f"a{DOCUMENT_SEPARATOR}b",
        DOCUMENT_SEPARATOR,
        f"{DOCUMENT_SEPARATOR}{DOCUMENT_SEPARATOR}",
        "plain",
        "<|endoftext|>",
    ] * 20
    clean = clean_documents(
        tmp_path / "clean", [[DocumentPart("", 0, text) for text in texts]], [DocumentPart("", 0, "x" * 300)]
    )
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean))
    saved_vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    assert ids(tokens).count(saved_vocabulary.end_of_text) == len(texts)
    assert saved_vocabulary.decode(ids(tokens)) == "".join(f"{text}<|endoftext|>" for text in texts)


def test_a_large_vocabulary_takes_four_bytes_per_id(tmp_path: Path) -> None:
    shard = tmp_path / "train-00000.parquet"
    write_parts(shard, [DocumentPart("", 0, "ab c")])
    bytes_of = [bytes([byte]) for byte in range(256)]
    vocabulary = Vocabulary("wide", bpe.PATTERN, [*bytes_of, *[b""] * 70_000, b"ab"])
    (ids_,) = [tokens for _, chunk, tokens in encode.encode_chunks(vocabulary, encode.shard_jobs([shard])) if chunk]
    assert (ids_.dtype, ids_.tolist()) == (np.dtype("uint32"), [70_256, 32, 99, 70_257])


@pytest.mark.parametrize("texts", [["a" * 40_000], ["", "", "a" * 2_000, ""], ["\n" * 5_000]])
@pytest.mark.parametrize("vocabulary", ["bpe", "characters", "bytes"])
def test_repetitive_and_empty_texts_are_encoded(tmp_path: Path, texts: list[str], vocabulary: str) -> None:
    parts = [DocumentPart(str(n), 0, text) for n, text in enumerate(texts)]
    clean = clean_documents(
        tmp_path / "clean", [parts], [DocumentPart("v", 0, texts[-1]), DocumentPart("w", 0, "a" * 300)]
    )
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary=vocabulary, size=300)))  # type: ignore[arg-type]
    saved_vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    assert saved_vocabulary.decode(ids(tokens)) == "".join(f"{text}<|endoftext|>" for text in texts)


def test_a_split_without_text_has_no_tokens(tmp_path: Path) -> None:
    with Staging(tmp_path / "clean", "preprocess", "0").open() as out:
        out.publish("train-00000.parquet", lambda path: write_parts(path, [DocumentPart("a", 0, TEXTS[9])]))
        clean = out.finish({"train_bytes": len(TEXTS[9]), "validation_bytes": 0})
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean))
    assert tokens.facts["validation_tokens"] == 0 and tokens.files("validation-*") == []


@pytest.mark.parametrize("cores", [1, 3])
def test_the_tokens_do_not_depend_on_the_number_of_cores(
    clean: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    whole = file_digests(run_stage(tmp_path / "whole", tokenizing(clean)))
    monkeypatch.setattr(encode, "cores", lambda: cores)
    monkeypatch.setattr(encode, "_CHUNK_BYTES", 700)
    assert file_digests(run_stage(tmp_path / "tokens", tokenizing(clean))) == whole


# -- in parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_shards_of_parts_are_reused(clean: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_stage(tmp_path / "whole", tokenizing(clean))
    place = tmp_path / "together"
    parts = [run_stage(part_path(place, (number, 3)), part_of(clean, (number, 3))) for number in (1, 2, 3)]
    assert [len(part.files("*.tokens")) for part in parts] == [4, 4, 4]
    assert parts[1].facts["part"] == 2 and parts[1].facts["parts"] == 3

    def forbidden(*_: object) -> object:
        raise AssertionError("a shard was encoded again, or a vocabulary trained")

    monkeypatch.setattr(bpe, "train_bpe", forbidden)
    monkeypatch.setattr(Vocabulary, "encode_chunk", forbidden)
    events: list[Event] = []
    together = run_stage(place, tokenizing(clean), events=events)
    assert note_texts(events) == ["took over 12 of 12 shards that were made in parts"]
    assert file_digests(together) == file_digests(whole) and together.facts == whole.facts


def test_part_0_is_the_vocabulary_that_the_others_take(
    clean: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_stage(tmp_path / "whole", tokenizing(clean))
    place = tmp_path / "together"
    first = run_stage(part_path(place, (0, 2)), part_of(clean, (0, 2)))
    assert list(first.manifest.files) == ["vocabulary.json"]

    def forbidden(*_: object) -> object:
        raise AssertionError("a vocabulary was trained again")

    monkeypatch.setattr(bpe, "train_bpe", forbidden)
    for number in (1, 2):
        run_stage(part_path(place, (number, 2)), part_of(clean, (number, 2)))
    assert file_digests(run_stage(place, tokenizing(clean))) == file_digests(whole)


def test_missing_and_damaged_shards_of_parts_are_encoded_again(clean: Artifact, tmp_path: Path) -> None:
    whole = run_stage(tmp_path / "whole", tokenizing(clean))
    place = tmp_path / "together"
    part = run_stage(part_path(place, (2, 3)), part_of(clean, (2, 3)))
    broken = part.files("*.tokens")[0]
    data = bytearray(broken.read_bytes())
    data[300] ^= 1
    broken.write_bytes(data)
    events: list[Event] = []
    together = run_stage(place, tokenizing(clean), events=events)
    assert note_texts(events) == ["took over 3 of 12 shards that were made in parts"]
    assert file_digests(together) == file_digests(whole)


def test_parts_with_another_fingerprint_are_ignored(clean: Artifact, tmp_path: Path) -> None:
    place = tmp_path / "together"
    with Staging(part_path(place, (1, 2)), "test", "another fingerprint").open() as out:
        return_value(tokenize.tokenize(Tokenize(size=300), clean, out, (1, 2)))
    events: list[Event] = []
    run_stage(place, tokenizing(clean), events=events)
    assert not [note for note in note_texts(events) if "in parts" in note]


def recipe(corpus: Path) -> Recipe:
    return Recipe(source=Source(corpus=str(corpus)), tokenize=Tokenize(size=300), preprocess=Preprocess(steps=()))


def prepare_corpus(
    corpus: Path, workspace: Workspace, part: tuple[int, int] | None = None
) -> tuple[list[Event], Prepared]:
    events: list[Event] = []
    stage = prepare(recipe(corpus), workspace, part)
    while True:
        try:
            events.append(next(stage))
        except StopIteration as end:
            return events, end.value


@pytest.mark.heavy
def test_two_machines_prepare_a_corpus_together(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    alone = prepare_corpus(corpus, Workspace(tmp_path / "alone").prepare())[1].tokens
    first, second = Workspace(tmp_path / "first").prepare(), Workspace(tmp_path / "second").prepare()
    prepare_corpus(corpus, first, (1, 2))
    other = prepare_corpus(corpus, second, (2, 2))[1].tokens
    other.path.rename(first.artifacts / "tokens" / other.path.name)
    events, prepared = prepare_corpus(corpus, first)
    assert [event.stage for event in events if isinstance(event, StageSkipped)] == ["download", "preprocess"]
    assert file_digests(prepared.tokens) == file_digests(alone)
    assert any("shards that were made in parts" in note for note in note_texts(events))
    assert [event.stage for event in prepare_corpus(corpus, first)[0] if isinstance(event, StageFinished)] == []


def test_tokens_of_another_format_version_are_made_again(
    corpus: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepare_corpus(corpus, workspace)[1].tokens
    monkeypatch.setattr(tokenize, "FORMAT", tokenize.FORMAT + 1)
    events, prepared = prepare_corpus(corpus, workspace)
    assert [event.stage for event in events if isinstance(event, StageFinished)] == ["tokenize"]
    assert prepared.tokens.path != before.path


# -- full disk and memory --------------------------------------------------------------------------------------------

FULL = """
import resource, signal, sys
from pathlib import Path
from core.storage.artifact import Artifact
from tests.core.stages import run_stage, tokenizing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    run_stage(Path(sys.argv[1]), tokenizing(Artifact.open(Path(sys.argv[2]))))
except OSError as error:
    sys.exit(7)
"""


def test_when_the_disk_is_full_complete_shards_are_kept_and_the_next_attempt_resumes(tmp_path: Path) -> None:
    small = [[DocumentPart(str(n), 0, TEXTS[n])] for n in range(3)]
    large = [DocumentPart("large", 0, "a different word each time " + " ".join(map(str, range(9_000))))]
    clean = clean_documents(tmp_path / "clean", [*small, large, *small], [DocumentPart("v", 0, TEXTS[9] * 5)])
    place = tmp_path / "tokens"
    limit = 20_000  # largest size of a file in bytes: more than the vocabulary, less than the large shard
    assert run_code(FULL, place, clean.path, limit).returncode == 7
    left = sorted(path.name for path in (tmp_path / "tokens.partial").iterdir())
    assert left == [".published.json", *(f"train-{n:05d}.tokens" for n in range(3)), "vocabulary.json"]
    assert file_digests(run_stage(place, tokenizing(clean))) == file_digests(
        run_stage(tmp_path / "whole", tokenizing(clean))
    )


PEAK = """
import sys
from pathlib import Path
from core.storage.artifact import Artifact, Staging
from core.recipe.schema import Tokenize
from core.tokenize import bpe, tokenize
bpe.SAMPLE_BYTES = 2**20
with Staging(Path(sys.argv[1]), "test", "0").open() as out:
    for _ in tokenize(Tokenize(vocabulary=sys.argv[3], size=400), Artifact.open(Path(sys.argv[2])), out):
        pass
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("vocabulary", ["bpe", "characters"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, vocabulary: str) -> None:
    words = " ".join(f"{(n * 7919) % 5000}" for n in range(400_000))
    shard = [DocumentPart(str(n), 0, words[n : n + 4000]) for n in range(0, len(words), 4000)]
    peaks = []
    for shards in (2, 16):
        clean = clean_documents(tmp_path / f"clean-{shards}", [shard] * shards, [DocumentPart("v", 0, words[:9000])])
        command = [sys.executable, "-c", PEAK, str(tmp_path / f"tokens-{shards}"), str(clean.path), vocabulary]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    # 14 shards of 1.9 MB more: their text alone, or two bytes for each of their ids, would be more than this
    assert peaks[1] < 400 and peaks[1] - peaks[0] < 25
