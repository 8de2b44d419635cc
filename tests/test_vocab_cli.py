"""`llmtui vocab`: import, report and compare."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.events import StageFinished, encode
from core.recipe.file import load
from core.recipe.schema import Preprocess
from core.runs.directory import Run
from core.runs.summary import Summary
from core.storage.artifact import write_directory
from core.storage.files import write_atomic
from core.storage.workspace import Workspace
from core.vocab.known import PublishedFile
from core.vocab.report import REPORT_FILE, VocabularyEntry, VocabularyReport
from llmtui.cli.main import run as command_line
from tests.core.stages import clean_documents, run_stage, tokenizing

ROOT = Path(__file__).parent.parent
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.fixture
def trained(workspace: Workspace, corpus: Path, tmp_path: Path) -> Run:
    """A run that has finished its data stages."""
    clean = clean_documents(tmp_path, corpus, Preprocess(steps=()))
    tokens = run_stage(workspace.artifacts / "tokens" / "words-0123456789abcdef", tokenizing(clean))
    made = Run.create(workspace, load(base={"name": "words", "source": {"corpus": str(corpus)}}))
    summary = Summary()
    for stage, artifact in (("preprocess", clean), ("tokenize", tokens)):
        summary.absorb(StageFinished(stage=stage, artifact=str(artifact.path), facts=artifact.facts))
    write_atomic(made.path / "status.json", encode(summary))
    return made


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_imported_file_is_copied_to_the_workspace(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given").write_bytes(b"IQ== 0\n")
    digest = hashlib.sha256(b"IQ== 0\n").hexdigest()
    monkeypatch.setattr("core.vocab.known.FILES", (PublishedFile("cl100k_base.tiktoken", digest, ""),))
    assert command_line(["vocab", "import", str(tmp_path / "given")]) == 0
    assert capsys.readouterr().out == "cl100k_base.tiktoken imported; it serves cl100k_base\n"
    assert (workspace.data / "vocabularies" / "cl100k_base.tiktoken").read_bytes() == b"IQ== 0\n"
    assert command_line(["vocab", "import", "--json", str(tmp_path / "given")]) == 0
    (result,) = lines(capsys.readouterr().out)
    assert result["serves"] == ["cl100k_base"] and result["sha256"] == digest


def test_importing_an_invalid_file_gives_an_error_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r50k_base.tiktoken").write_text("invalid")
    assert command_line(["vocab", "import", str(tmp_path / "r50k_base.tiktoken")]) == 2
    error = capsys.readouterr().err
    assert "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930" in error
    assert "https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken" in error
    assert command_line(["vocab", "import", str(tmp_path / "absent")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_report_of_a_run_is_a_table(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["vocab", "report", "words"]) == 0
    output = capsys.readouterr().out
    size = trained.summary().stages["tokenize"].facts["vocabulary_size"]
    assert f"{size}, of which {int(size) - 1} stand for text" in output
    assert "LONGEST" in output and "MOST FREQUENT" in output
    assert command_line(["vocab", "report", "words-0123456789abcdef", "--json"]) == 0
    (record,) = lines(capsys.readouterr().out)
    assert record["vocabulary"] == "bpe" and record["schema"] == 1
    assert isinstance(record["unused_share"], float) and 0 <= record["unused_share"] < 1


def test_control_characters_in_tokens_are_replaced(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    entry = VocabularyEntry(id=1, bytes=9, text=HOSTILE, hex="1b", count=3)
    report = VocabularyReport(
        vocabulary=HOSTILE,
        size=9,
        entries=8,
        used=1,
        unused=7,
        learned_from=1,
        train_bytes=1,
        train_tokens=1,
        validation_bytes=1,
        validation_tokens=1,
        train_bytes_per_token=1.0,
        bytes_per_token=1.0,
        longest=(entry,),
        frequent=(entry,),
    )
    path = workspace.artifacts / "tokens" / "bad"
    path.parent.mkdir()
    write_directory(path, "tokenize", "0", lambda path: (path / REPORT_FILE).write_bytes(encode(report)))
    assert command_line(["vocab", "report", "bad"]) == 0
    output = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(output)


def test_a_missing_report_gives_an_error_message(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace.artifacts / "tokens" / "old").mkdir(parents=True)
    assert command_line(["vocab", "report", "old"]) == 1
    assert "cannot read the vocabulary report: no such file" in capsys.readouterr().err


def test_vocabularies_are_compared_on_a_text(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["vocab", "compare", "bytes", "bpe:300", "--on", str(corpus)]) == 0
    output = capsys.readouterr()
    head, *rows = output.out.splitlines()
    assert head.split() == ["VOCABULARY", "IDS", "TOKENS", "BYTES/TOKEN", "CHARACTERS/TOKEN", "SPEED", "MADE", "FROM"]
    assert [row.split()[0:2] for row in rows] == [["bytes", "257"], ["bpe:300", "300"]]
    assert "of held-out text, 4 documents" in output.err and "making bpe:300 from the rest" in output.err


def test_the_byte_vocabulary_has_exact_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("é" * 500 + "\n")
    assert command_line(["vocab", "compare", "bytes", "--on", str(tmp_path / "text"), "--json"]) == 0
    row, last = lines(capsys.readouterr().out)
    # 500 characters of two bytes, a newline, and the end-of-text token
    assert (row["tokens"], row["entries"], row["learned_from"]) == (1002, 257, 0)
    assert (last["bytes"], last["characters"], last["documents"], last["held_out"]) == (1001, 501, 1, False)


def test_the_vocabulary_of_a_run_is_compared_on_its_held_out_text(
    trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["vocab", "compare", "words", "characters", "--on", "words", "--json"]) == 0
    own, characters, last = lines(capsys.readouterr().out)
    facts = trained.summary().stages["tokenize"].facts
    assert (own["vocabulary"], own["tokens"]) == ("words", facts["validation_tokens"])
    assert last["bytes"] == facts["validation_bytes"] and last["held_out"] is True
    assert own["bytes_per_token"] > characters["bytes_per_token"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense", "--on", "stdlib"], 2, "'nonsense' is neither a vocabulary nor a run"),
        (["bpe:12", "--on", "stdlib"], 2, "'bpe:12' has no size"),
        (["bytes", "--on", "/nowhere/at/all"], 2, "no such file or folder"),
        (["gpt2", "--on", "{text}"], 1, "cannot get the vocabulary: gpt2 is neither in tiktoken's cache nor imported"),
        (["bytes", "--on", "{binary}"], 1, "it is binary, not text"),
    ],
)
def test_invalid_comparisons_give_an_error_message(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    (tmp_path / "text").write_text("some text\n" * 100)
    (tmp_path / "binary").write_bytes(b"\0\1\2" * 100)
    paths = {"text": tmp_path / "text", "binary": tmp_path / "binary"}
    assert command_line(["vocab", "compare", *(argument.format(**paths) for argument in arguments)]) == code
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err and not captured.out


def test_vocab_commands_do_not_import_heavy_libraries(trained: Run) -> None:
    program = (
        "import sys, json\n"
        "from llmtui.cli.main import run\n"
        "run(['vocab', 'report']); run(['vocab', 'compare', 'bytes', '--on', 'words'])\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert imported & {"torch", "datasets", "pyarrow", "tokenizers", "tiktoken", "numpy", "textual", "rich"} == set()


@pytest.mark.heavy
def test_a_text_is_encoded_with_the_vocabulary_of_a_run(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["vocab", "encode", "words", "some words\x1b", "--json"]) == 0
    tokens = lines(capsys.readouterr().out)
    assert b"".join(bytes.fromhex(str(token["bytes"])) for token in tokens) == b"some words\x1b"
    assert command_line(["vocab", "encode", "bytes", "é\x1b"]) == 0
    output = capsys.readouterr()
    assert [row.split()[0] for row in output.out.splitlines()[1:]] == ["195", "169", "27"] and "\x1b" not in output.out
    assert "3 tokens of 257 ids, 1.00 bytes per token" in output.err


@pytest.mark.parametrize("name", ["characters", "bpe:512", "absent"])
def test_what_is_no_vocabulary_by_itself_encodes_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["vocab", "encode", name, "text"]) == 2
    assert "cannot inspect the vocabulary" in capsys.readouterr().err
