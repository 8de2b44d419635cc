"""Damaged state on the disk: a flipped bit anywhere is a sentence or a gap, and never hides a healthy run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    Evaluation,
    Metric,
    Progress,
    StageFinished,
    StageStarted,
    encode,
)
from core.parsing import ParseError, parse_json, parse_toml, read_toml
from core.preprocess.shard_index import read_result
from core.runs.control import ControlRequests
from core.runs.directory import Run
from core.runs.errors import InvalidRunError
from core.runs.launches import Exited, Launched
from core.runs.summary import Summary
from core.runs.transcript import ChatMessage, ConversationStart, earlier_messages
from core.storage.artifact import Artifact, DamagedError, FileFacts, Manifest, seal
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from core.tokenize.vocabulary import Vocabulary, VocabularyError
from core.train.commands import GenerateSample
from llmtui.cli.commands.show import _detail_rows, _table_row
from llmtui.cli.main import run as llmtui
from llmtui.cli.run_output import EventFormatter
from llmtui.tui.settings import load_settings, load_ui_state
from llmtui.tui.theming import ThemeError, read_theme
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.curve import Curve
from llmtui.tui.widgets.stages import stage_lines
from llmtui.view import run_text
from llmtui.view.history import History
from llmtui.view.run_snapshot import RunSnapshot, take_snapshot
from llmtui.view.units import clock, cost, count, duration, facts, perplexity, rate, size
from tests.ui.fake_runs import events_before_training, finished_run, make_run, training_events, write_launch

BYTES = (0xB2, 0x00, ord("["), ord('"'), ord("9"), ord("-"))
"""What a byte may become, beside one of its own bits flipped; none is UTF-8 for the first."""


def damaged(content: bytes, offset: int) -> list[bytes]:
    """`content` with the byte at `offset` another one."""
    flips = {content[offset] ^ 1 << bit for bit in range(8)}
    return [
        content[:offset] + bytes([other]) + content[offset + 1 :]
        for other in sorted(flips | {*BYTES} - {content[offset]})
    ]


def every(content: bytes, read: Callable[[bytes], object], *documented: type[Exception]) -> None:
    """Look at `content` with each of its bytes changed in each way: nothing but what is documented is raised."""
    for offset in range(len(content)):
        # every change of some byte, some change of every byte
        for changed in damaged(content, offset)[offset % 3 :: 3]:
            try:
                read(changed)
            except documented:
                continue


def small_summary() -> Summary:
    summary = Summary()
    for event in (*events_before_training(), *training_events(1, 3, 9), AttemptEnded(attempt=1, outcome="done")):
        summary.absorb(event)
    return summary


def show_all(summary: Summary, run: Run) -> None:
    """All that the lists and screens show of a summary."""
    from core.runs.directory import RunState

    snapshot = RunSnapshot(run, RunState.RUNNING, summary, None, 0.0, None)
    for say in (run_text.state, run_text.speed, run_text.step, run_text.when):
        say(snapshot)
    run_text.remaining(summary)
    stage_lines(run.recipe, summary, 80, alive=True)


@pytest.fixture
def run(workspace: Workspace) -> Run:
    run = make_run(workspace, "small")
    write_launch(run, code=0)
    return run


@pytest.mark.heavy
def test_status_json_with_any_byte_changed_is_read_as_something_or_as_nothing(run: Run) -> None:
    path = run.path / "status.json"

    def read(raw: bytes) -> None:
        path.write_bytes(raw)
        summary = run.summary()
        show_all(summary, run)
        _table_row(take_snapshot(run))
        _detail_rows(run)

    content = msgspec.json.encode(small_summary())
    for offset in range(0, len(content), 41):  # each byte would take minutes: all kinds of them are met
        for changed in damaged(content, offset)[:: 1 + offset % 3]:
            read(changed)


@pytest.mark.heavy
def test_a_journal_line_with_any_byte_changed_is_an_event_or_damage(run: Run) -> None:
    events: list[AnyEvent] = [
        AttemptStarted(attempt=1, pid=1, host="h", device="d"),
        StageStarted(stage="download"),
        Progress(done=1, total=2, unit="bytes"),
        StageFinished(stage="download", artifact="a", facts={"documents": 1}),
        *list(training_events(100, 100, 1000)),
        AttemptEnded(attempt=1, outcome="failed", what="w"),
    ]
    for event in events:

        def read(raw: bytes) -> None:
            run.journal.write_bytes(raw + b"\n")
            history, formatter = History(run), EventFormatter()
            for found in JournalReader(run.journal).events():
                history.absorb([found])
                for _ in formatter.format(found):
                    pass
            show_all(history.summary, run)
            run.state(), run.end_event()

        every(encode(event), read)


@pytest.mark.heavy
def test_small_files_with_any_byte_changed_raise_what_is_documented(run: Run, tmp_path: Path) -> None:
    kept = (run.path / "run.json").read_bytes()

    def opened(raw: bytes) -> None:
        (run.path / "run.json").write_bytes(raw)
        again = Run.open(run.path)
        clock(again.made_at)

    content = kept
    for offset in range(0, len(content), 23):
        for changed in damaged(content, offset)[:: 1 + offset % 3]:
            try:
                opened(changed)
            except InvalidRunError:
                continue
    (run.path / "run.json").write_bytes(kept)

    launches = run.path / "launches.jsonl"

    def records(raw: bytes) -> None:
        launches.write_bytes(raw)
        run.state(), run.launches(), run.exit_record()

    every(msgspec.json.encode(Launched(attempt=1)) + b"\n" + msgspec.json.encode(Exited(attempt=1, code=1)), records)

    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "x").write_bytes(b"x")
    manifest = Manifest(stage="s", fingerprint="f", files={"x": FileFacts(bytes=1, sha256="00")})

    def artifact(raw: bytes) -> None:
        (folder / "manifest.json").write_bytes(raw)
        Artifact.open(folder)

    every(seal(msgspec.json.encode(manifest)), artifact, DamagedError)

    vocabulary = tmp_path / "vocabulary.json"
    Vocabulary("v", "", [bytes([n]) for n in range(256)], {"<|endoftext|>": 256}, "bytes").save(vocabulary)
    content = vocabulary.read_bytes()
    for offset in range(0, len(content), 97):
        for changed in damaged(content, offset)[:: 1 + offset % 3]:
            vocabulary.write_bytes(changed)
            try:
                Vocabulary.load(vocabulary)
            except VocabularyError:
                continue

    def transcript(raw: bytes) -> None:
        (run.path / "transcripts" / "step-00000001.jsonl").write_bytes(raw + b"\n")
        earlier_messages(run.path, "step-00000002")

    (run.path / "transcripts").mkdir()
    every(
        msgspec.json.encode(ConversationStart()) + b"\n" + msgspec.json.encode(ChatMessage(role="user", text="é")),
        transcript,
    )

    def request(raw: bytes) -> None:
        (run.control / "sample-1.json").write_bytes(raw)
        ControlRequests(run).take_samples()

    every(msgspec.json.encode(GenerateSample(prompt="é")), request)

    def memory(raw: bytes) -> None:
        (tmp_path / "workbench.json").write_bytes(raw)
        load_ui_state(tmp_path)

    every(b'{"theme":"a","log":true}', memory)

    def config(raw: bytes) -> None:
        (tmp_path / "config.toml").write_bytes(raw)
        load_settings(tmp_path / "config.toml")

    every(b'theme = "a"\nmouse = "on"\nrefresh_hz = 2\nkeymap = { "app.help" = "h" }\n', config)

    def theme(raw: bytes) -> None:
        (tmp_path / "theme.toml").write_bytes(raw)
        read_theme(tmp_path / "theme.toml")

    every(b'name = "a"\ndark = true\nprimary = "#112233"\n', theme, ThemeError)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_what_is_nested_ten_thousand_times_is_malformed(opening: bytes, tmp_path: Path) -> None:
    with pytest.raises(ParseError):
        parse_json(opening * 10_000, object)
    with pytest.raises(ParseError, match="nested"):
        parse_toml("a = " + "[" * 10_000)
    (tmp_path / "a.toml").write_bytes(b'a = "\xb2"')
    with pytest.raises(ParseError, match=r"UTF-8 text \(byte 5\)"):
        read_toml(tmp_path / "a.toml")
    with pytest.raises(ParseError):
        parse_toml("a = " + "9" * 5000)


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, -1, 1e300, -1e300, 1.7e308, 1e18, 2**63, -(2**63), 10**400, -(10**400), 5e-324]),
    st.integers(),
)


@given(numbers)
def test_no_number_is_too_strange_to_be_written(number: float) -> None:
    for write in (count, size, duration, clock, cost, perplexity, lambda n: rate(n, "tok"), lambda n: rate(n, "bytes")):
        assert len(write(number)) < 40
    for name in ("loss", "bits_per_byte", "step", "bytes", "train_bytes", "documents"):
        assert len(facts({name: number})) < 60


@pytest.mark.parametrize("metadata", [None, {"result": '{"documents":"\\xb2"}'}, {"result": "[" * 10_000}])
def test_damaged_tables_of_keys_are_named(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "keys.safetensors"
    path.write_bytes(save({"a.key": np.zeros(3)}, metadata=metadata))
    with pytest.raises(DamagedError, match="its keys are damaged"):
        read_result(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DamagedError, match="its keys are damaged"):
        read_result(path)


strange = st.one_of(st.floats(allow_nan=True), st.sampled_from([1e300, -1e300, 1.7e308, -1.7e308, 0.0, -1.0, 5e-324]))
whole = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 100))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(whole, strange, strange, strange, strange, st.text(max_size=8)), max_size=12))
def test_events_with_any_numbers_and_names_are_folded_told_and_drawn(
    run: Run, values: list[tuple[int, float, float, float, float, str]]
) -> None:
    """As damage, or a later version, may leave them in a journal."""
    history, formatter = History(run), EventFormatter()
    for step, a, b, c, d, name in values:
        events_written: list[AnyEvent] = [
            StageStarted(stage=name, at=a, tick=b),
            Progress(done=a, total=b, unit="bytes", tick=c),
            Metric(step=step, loss=a, lr=b, grad_norm=c, tokens=step, seconds=d, progress=a, at=b, tick=c),
            Evaluation(step=step, loss=a, train_loss=b, bits_per_byte=c, best=True, at=d),
            StageFinished(stage=name + "!", artifact=name, facts={name: a, "loss": b}, at=c, tick=d),
            AttemptEnded(attempt=step, outcome="failed", what=name, at=a),
        ]
        for event in events_written:
            history.absorb([event])
            for _ in formatter.format(event):
                pass
        show_all(history.summary, run)
    chart = Chart("loss")
    for logarithmic in (False, True):
        chart.logarithmic = logarithmic
        chart.curves = [
            Curve("a", history.curves.loss, "train", 0.9, convert=history.cost),
            Curve("b", history.val[0], "val", marks="•", convert=history.val[1]),
        ]
        for chart.finished in (False, True):
            assert chart.lines(80, 12)


DAMAGE = {
    "status.json": b'{"device":"\xb2"}',
    "journal.jsonl": b'{"type":"Ended","attempt":1,"outcome":"\xb2"}\n',
    "run.json": b'{"schema":1,"recipe":{"name":"\xb2"},"made_at":0}',
    "launches.jsonl": b'{"type":"Launched","attempt":"\xb2"}\n',
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_hides_no_other(workspace: Workspace, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    healthy, hurt = finished_run(workspace, "healthy", 10), finished_run(workspace, "hurt", 10)
    (hurt.path / name).write_bytes(DAMAGE[name])
    assert llmtui(["ls"]) == 0
    listed = capsys.readouterr()
    assert healthy.id in listed.out
    assert hurt.id in listed.out
    assert llmtui(["ls", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["id"] for record in records} == {healthy.id, hurt.id}
    for command in (["show", "healthy"], ["show", "--json", "healthy"], ["watch", "--plain", "healthy"]):
        assert llmtui(command) == 0
    for command in (["show", hurt.id], ["show", "--json", hurt.id], ["watch", "--json", hurt.id]):
        assert llmtui(command) in (0, 1, 2)
        assert "should not have happened" not in capsys.readouterr().err
    assert llmtui(["rm", "--yes", healthy.id]) == 0
    assert hurt.path.exists()
