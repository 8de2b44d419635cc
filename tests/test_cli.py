"""The command line over hand-made run directories: what it prints where, and with which exit code it ends."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from core.errors import DiskError
from core.events import (
    AttemptEnded,
    AttemptStarted,
    CompressionBaseline,
    Evaluation,
    Event,
    GeneratedSample,
    Metric,
    ModelInfo,
    Note,
    StageFinished,
    StageSkipped,
    StageStarted,
    encode,
)
from core.recipe.file import load
from core.recipe.sampling import Sampling
from core.recipe.schema import Recipe, Source
from core.runs.directory import Run, RunState
from core.runs.launches import Exited, Launched
from core.runs.lookup import all_runs
from core.runs.summary import Summary
from core.storage.artifact import write_directory
from core.storage.files import write_atomic
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from llmtui.cli.commands import command_line as llmtui_commands
from llmtui.cli.main import run as command_line
from llmtui.cli.run_output import EventFormatter
from tests.speaking import speaking
from tests.ui.fake_runs import PLAN
from tests.ui.fake_runs import hold_locks as held
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent
LLMTUI = [sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()"]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egpj"

TRAINED: list[Event] = [
    AttemptStarted(tick=0, attempt=1, pid=1, host="here", device="2 cores, float32"),
    StageSkipped(tick=0.1, stage="download", artifact="a", facts={"documents": 734, "bytes": 12_100_000}),
    StageStarted(tick=1, stage="preprocess"),
    StageFinished(tick=4, stage="preprocess", artifact="b", facts={"documents": 693}),
    CompressionBaseline(tick=5, name="gzip -9", bits_per_byte=1.97),
    CompressionBaseline(tick=5, name="xz -9", bits_per_byte=1.68),
    StageStarted(tick=6, stage="train"),
    ModelInfo(tick=6, parameters=3_410_000, flops_per_token=2, vocabulary=4096, tokens=3_000_000),
    PLAN,
    Metric(tick=7, step=1, loss=8.3, lr=1e-3, grad_norm=1.0, tokens=4096, seconds=1.0, progress=0.25),
    Metric(tick=8, step=2, loss=8.2, lr=1e-3, grad_norm=1.0, tokens=8192, seconds=2.0, progress=0.5),
    Metric(tick=12, step=3, loss=8.1, lr=1e-3, grad_norm=1.0, tokens=12288, seconds=3.0, progress=0.75),
    Evaluation(tick=13, step=3, loss=3.21, train_loss=3.1, bits_per_byte=1.46, best=True),
    StageFinished(tick=14, stage="train", artifact="c", facts={"step": 3}),
    StageStarted(tick=15, stage="sample"),
    GeneratedSample(
        tick=16, step=3, prompt="def ", text="main():\n    pass", temperature=0.8, top_k=50, top_p=1.0, seed=1
    ),
    StageFinished(tick=17, stage="sample", artifact="d", facts={"samples": 1}),
]
DONE = [*TRAINED, AttemptEnded(tick=18, attempt=1, outcome="done")]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own and knows its terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(tmp_path)


def made(workspace: Workspace, events: list[Event], name: str = "tiny") -> Run:
    """A run whose worker has said `events` and is gone."""
    run = Run.create(workspace, Recipe(name=name))
    launches = JournalWriter(run.path / "launches.jsonl")
    launches.append(encode(Launched(attempt=1)))
    journal, summary = JournalWriter(run.journal), Summary()
    for event in events:
        journal.append(encode(event))
        summary.absorb(event)
    journal.close()
    launches.close()
    write_atomic(run.path / "status.json", encode(summary))
    return run


@pytest.fixture
def alive(workspace: Workspace, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Makes runs with a living worker that has said some events."""
    processes: list[subprocess.Popen[bytes]] = []

    def make(events: list[Event] = TRAINED[:-5], *arguments: str) -> Run:
        run = Run.create(workspace, Recipe(name="tiny"))
        (tmp_path / "lines").write_bytes(b"".join(encode(event) + b"\n" for event in events))
        launches = JournalWriter(run.path / "launches.jsonl")
        launches.append(encode(Launched(attempt=1)))
        launches.close()
        command = [sys.executable, "-m", "tests.living", str(run.path), str(tmp_path / "lines"), *arguments]
        processes.append(subprocess.Popen(command, cwd=ROOT))
        wait_for(lambda: run.journal.exists() and len(run.journal.read_bytes().splitlines()) == len(events))
        return run

    yield make
    for process in processes:
        process.kill()
        process.wait()


def spawn(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LLMTUI, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# -- nothing where a name should be ------------------------------------------------------------------------------------

TEXTS = {"prompt", "suffix", "stop", "logit_bias", "attention"}
"""Parameters that take a text, which may be empty, or have words of their own about an empty one."""


def commands(group: click.Group) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from (((name, *words), found) for words, found in commands(command))
        else:
            yield (name,), command


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_no_command_takes_nothing_for_a_name_or_a_path(
    workspace: Workspace, blank: str, capsys: pytest.CaptureFixture[str]
) -> None:
    only = made(workspace, DONE)
    tried = 0
    for words, command in commands(llmtui_commands):
        for parameter in command.params:
            if parameter.name in TEXTS or parameter.type.name not in ("text", "path"):
                continue
            given = [blank] if isinstance(parameter, click.Argument) else [parameter.opts[0], blank]
            others = ["x" for other in command.params if isinstance(other, click.Argument) and other is not parameter]
            yes = ["--yes"] if any("--yes" in other.opts for other in command.params) else []
            assert command_line([*words, *yes, *given, *others]) == 2, (words, parameter.name)
            assert "empty" in capsys.readouterr().err
            tried += 1
    assert tried > 30
    assert [run.id for run in all_runs(workspace)] == [only.id]
    assert [path.name for path in Path().iterdir()] == ["home"]


def test_rm_with_an_empty_name_deletes_nothing(workspace: Workspace) -> None:
    only = made(workspace, DONE)
    assert command_line(["rm", "--yes", ""]) == 2
    assert command_line(["rm", "--yes", only.id, ""]) == 2
    assert only.path.exists()


# -- lists -------------------------------------------------------------------------------------------------------------


def test_ls_shows_each_run_with_state_and_figures(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    done = made(workspace, DONE)
    broken = made(workspace, TRAINED[:4], name="broken")
    assert command_line(["ls"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "done" in lines[done.id] and "1.460" in lines[done.id]
    assert "interrupted" in lines[broken.id]


def test_ls_json_is_ascii_objects_with_a_schema(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(workspace, DONE)
    assert command_line(["ls", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert line.isascii()
    assert (record["schema"], record["id"], record["state"], record["bits_per_byte"]) == (1, run.id, "done", 1.46)


def test_ls_without_runs_says_how_to_start_one_and_prints_no_data(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["ls"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "llmtui demo" in captured.err


def test_show_tells_why_a_run_failed_and_what_to_do(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    ended = AttemptEnded(
        attempt=1, outcome="failed", what="cannot train: too big", where="here", todo="take less", exit_code=1
    )
    made(workspace, [*TRAINED[:8], ended])
    assert command_line(["show"]) == 0
    text = capsys.readouterr().out
    assert "cannot train: too big   (here)" in text
    assert "take less" in text


def test_show_json_holds_recipe_summary_and_checkpoints(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, DONE)
    assert command_line(["show", "tiny", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["recipe"]["name"] == "tiny"
    assert record["summary"]["compression_baselines"] == {"gzip -9": 1.97, "xz -9": 1.68}
    assert record["checkpoints"] == []


def test_show_of_a_run_that_is_not_there_names_the_nearest(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, DONE)
    assert command_line(["show", "tinny"]) == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err


def test_hostile_text_reaches_people_as_pictures(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(workspace, [*TRAINED[:8], Note(level="warning", text=HOSTILE)])
    command_line(["show"])
    command_line(["show", HOSTILE])
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "␛]0;owned␇␛[2J<U+202E>gpj" in captured.out


def test_locate_prints_places_and_runs(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(workspace, DONE)
    for what, path in (("data", workspace.data), ("runs", workspace.runs), ("tiny", run.path)):
        assert command_line(["locate", what]) == 0
        assert capsys.readouterr().out == f"{path}\n"


def test_ls_names_runs_that_cannot_be_read_beside_the_good_ones(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    (workspace.runs / "20200101-000000-torn-ffff").mkdir()
    assert command_line(["ls"]) == 0
    told = capsys.readouterr()
    assert run.id in told.out
    assert "torn" in told.err
    assert "run.json" in told.err


# -- watching ----------------------------------------------------------------------------------------------------------


def test_watch_json_prints_the_journal_and_ends_with_the_run(
    workspace: Workspace, alive: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = alive()
    process = spawn("watch", run.id, "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    (run.path / "finish").touch()
    rest = process.stdout.read().splitlines()
    process.wait()
    assert (first["schema"], first["type"], first["device"]) == (1, "Started", "2 cores, float32")
    assert json.loads(rest[-1])["outcome"] == "done"
    assert len(rest) == len(TRAINED[:-5])
    assert process.returncode == 0


@pytest.mark.parametrize(("outcome", "code", "expected"), [("stopped", 3, 3), ("failed", 1, 1), ("failed", 2, 2)])
def test_watch_ends_with_the_exit_code_of_the_run(
    workspace: Workspace, outcome: str, code: int, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, [*TRAINED[:8], AttemptEnded(attempt=1, outcome=outcome, what="cannot train: why", exit_code=code)])  # type: ignore[arg-type]
    assert command_line(["watch", "--json"]) == expected
    assert command_line(["watch", "--plain"]) == expected


def test_watch_plain_tells_the_story_and_prints_the_result(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    assert command_line(["watch", "--plain"]) == 0
    text = capsys.readouterr().out
    assert "download    up to date, 734 documents, 12.1 MB\n" in text
    assert "preprocess  done, 693 documents (3.0s)\n" in text
    assert "train       3.41M parameters, vocabulary 4,096, 3.00M training tokens\n" in text
    assert "train       expected    2.14M tokens in 2m00s\n" in text
    assert "embedding 1.05M, attention 786k, feed-forward 1.57M, norms 1.79k, output 1.05M\n" in text
    assert "step 3: validation loss 3.210 (training 3.100), perplexity 24.8, 1.460 bits per byte, best so far\n" in text
    assert "\ndef main():\n    pass\n" in text
    assert "bits per byte     1.460   (gzip -9 1.970, xz -9 1.680)\n" in text
    assert "3.0s, 4.10k tok/s\n" in text
    assert f"llmtui sample {run.id}" in text


def test_progress_is_told_every_five_seconds_of_the_workers_clock() -> None:
    formatter = EventFormatter()
    lines = [line for event in TRAINED for line in formatter.format(event) if "loss 8." in line]
    assert [line.split(",")[0] for line in lines] == ["train       step 3"]


def test_a_crashed_run_is_told_with_its_signal_and_log(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, TRAINED[:10])
    launches = JournalWriter(run.path / "launches.jsonl")
    launches.append(encode(Exited(attempt=1, code=-9, gave_up=True)))
    assert command_line(["watch", "--plain"]) == 1
    error = capsys.readouterr().err
    assert "failed: its worker ended with signal 9" in error
    assert str(run.log) in error


# -- steering ----------------------------------------------------------------------------------------------------------


def test_stop_waits_until_the_run_has_ended(alive: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = alive()
    assert run.state() is RunState.RUNNING
    assert command_line(["stop"]) == 0
    assert run.state() is RunState.STOPPED
    assert "stopped" in capsys.readouterr().err


def test_stop_now_ends_a_worker_that_ignores_requests_and_sigterm(
    alive: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtui.cli.commands.control.KILL_TIMEOUT", 1.0)
    run = alive(TRAINED[:-5], "--stubborn")
    assert command_line(["stop", "--now"]) == 0
    assert run.writer() is None
    assert (run.control / "stop").exists(), "its supervisor would have started it again"


def test_stop_that_is_not_obeyed_in_time_is_busy(
    alive: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llmtui.cli.commands.control.STOP_TIMEOUT", 0.2)
    alive(TRAINED[:-5], "--stubborn")
    assert command_line(["stop"]) == 75
    assert "llmtui stop --now" in capsys.readouterr().err


def test_pause_and_resume_a_living_run(alive: Callable[..., Run]) -> None:
    run = alive()
    assert command_line(["pause"]) == 0
    assert run.state() is RunState.PAUSED
    assert command_line(["resume"]) == 0
    assert run.state() is RunState.RUNNING


def test_a_second_start_of_a_running_run_is_busy(alive: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = alive()
    assert command_line(["resume"]) == 75
    assert f"{run.id} is running already" in capsys.readouterr().err
    assert run.state() is RunState.RUNNING


def test_resume_of_a_finished_run_says_so(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(workspace, DONE)
    assert command_line(["resume"]) == 0
    assert "is done" in capsys.readouterr().err


def test_pause_of_a_run_that_is_not_running_is_a_usage_error(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, DONE)
    assert command_line(["pause"]) == 2
    assert "is not running (done)" in capsys.readouterr().err


def test_rm_of_a_run_that_is_a_link_deletes_nothing_and_says_where_it_lies(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.create(workspace, Recipe(name="moved"))
    run.path.rename(tmp_path / "elsewhere")
    run.path.symlink_to(tmp_path / "elsewhere")
    assert command_line(["rm", "--yes", "moved"]) == 1
    said = capsys.readouterr().err
    assert "link to" in said and "nothing was deleted" in said and str(tmp_path / "elsewhere") in said
    assert run.path.is_symlink() and (tmp_path / "elsewhere" / "run.json").exists()


def test_rm_needs_consent_and_never_removes_a_running_run(
    workspace: Workspace, alive: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    done, running = made(workspace, DONE, name="old"), alive()
    assert command_line(["rm", "old"]) == 2
    assert done.path.exists()
    assert command_line(["rm", "old", "--yes"]) == 0
    assert not done.path.exists()
    assert command_line(["rm", running.id, "--yes"]) == 75
    assert running.path.exists()


def test_ctrl_c_while_watching_leaves_the_run_alone(alive: Callable[..., Run]) -> None:
    run = alive()
    process = spawn("watch", run.id, "--plain")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert run.state() is RunState.RUNNING


def test_ctrl_c_while_a_new_run_is_followed_leaves_it_running(workspace: Workspace, corpus: Path) -> None:
    process = spawn("run", str(corpus), "--name", "left-alone", "--set", "train.minutes=9")
    assert process.stderr is not None
    assert "runs in the background" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    [run] = all_runs(workspace)
    try:
        assert process.returncode == 130
        assert f"{run.id} continues; llmtui watch {run.id} shows it, llmtui stop {run.id} stops it" in error
        assert "Traceback" not in error
        assert run.state().is_active
    finally:
        assert command_line(["stop", "--now", run.id]) == 0
    assert not run.state().is_active


# -- recipes and sources -----------------------------------------------------------------------------------------------


def test_plan_counts_a_recipe_without_starting_it(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> None:
    assert command_line(["plan", "--preset", "gpt2", "--set", "train.precision=float32"]) == 0
    text = capsys.readouterr().out
    assert "parameters  124,439,808\n" in text
    assert "854M FLOP a token" in text
    assert "512 sequences" in text
    assert command_line(["plan", "--set", "model.n_embd=80000", "--set", "tokenize.vocabulary=characters"]) == 0
    text = capsys.readouterr().out
    assert "257 entries (an estimate" in text
    assert "does not fit; this would: --set model.n_embd=" in text
    assert list(all_runs(workspace)) == []


def test_plan_of_a_source_that_is_not_there_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["plan", "no-such-file.txt"]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err


def test_plan_json_has_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["plan", "--preset", "gpt2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(told["parameters"].values()) == 124_439_808
    assert {one["precision"] for one in told["options"]} == {"float32", "bfloat16"}
    assert told["flops_per_token"] == sum(told["flops_per_token_by_part"].values()) == 854_438_400
    assert told["flops_are"] == "forward and backward"
    assert told["schema"] == 2  # in 1 flops_per_token was a table


def test_a_home_that_is_a_file_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMTUI_HOME", str(tmp_path / "file"))
    assert command_line(["ls"]) == 1
    said = capsys.readouterr().err
    assert "not a directory" in said and "LLMTUI_HOME" in said and "free some space" not in said


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "who may write"),
        (errno.EROFS, "make it writable"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "llmtui doctor"),
    ],
)
def test_what_to_do_about_a_disk_fits_what_is_wrong_with_it(number: int, advice: str) -> None:
    assert advice in DiskError.from_oserror(OSError(number, os.strerror(number)), "x").sentence()


@pytest.mark.parametrize("field", ["train.seed", "source.seed", "preprocess.seed"])
def test_a_seed_beyond_64_bits_is_refused_before_anything_starts(
    field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["plan", "--set", f"{field}={2**64}"]) == 2
    assert "at most 9,223,372,036,854,775,807" in capsys.readouterr().err


def test_recipe_prints_a_file_that_gives_the_same_recipe(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["recipe", "--preset", "demo", "--set", "train.lr=3e-4"]) == 0
    (tmp_path / "again.toml").write_text(capsys.readouterr().out)
    assert load(file=tmp_path / "again.toml") == load(preset="demo", overrides=["train.lr=3e-4"])


def test_relative_corpus_in_a_recipe_is_meant_from_the_recipes_folder(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "my.toml").write_text('[source]\ncorpus = "text.txt"\n')
    assert command_line(["recipe", "deep/my.toml"]) == 0
    (tmp_path / "printed.toml").write_text(capsys.readouterr().out)
    printed = load(file=tmp_path / "printed.toml")
    assert printed.source == Source(corpus=str(tmp_path / "deep" / "text.txt"))
    assert printed.name == "my"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "stdlyb"], ["there is no such file or folder", "did you mean 'stdlib'?"]),
        (["run", "missing.toml"], ["there is no such file", "missing.toml"]),
        (["run", "wrong.toml"], ["unknown field 'train.lrr'", "wrong.toml", "did you mean 'train.lr'?"]),
        (["run", "typed.toml"], ["train.steps = 'many' is not a whole number at least 1", "typed.toml"]),
        (["run", "broken.toml"], ["not TOML", "broken.toml"]),
        (["run", "stdlib", "--set", "model.n_embd=100", "--set", "model.n_head=12"], ["n_embd = 96 or 108"]),
        (["run", "stdlib", "--set", "train.lr"], ["--set needs FIELD=VALUE"]),
        (["run", "stdlib", "--name", "No Name"], ["'No Name' is not a name"]),
        (["run", "stdlib", "--preset", "dmo"], ["there is no preset 'dmo'", "did you mean 'demo'?"]),
        (["run", "stdlib", "--workbench"], ["cannot open the workbench"]),
        (["run"], ["Missing argument 'RECIPE|SOURCE'"]),
        (["demo", "--set", "train.minutes=0"], ["train.minutes = 0 is not a number above 0"]),
        (["paint"], ["No such command 'paint'"]),
        (["show"], ["there are no runs yet"]),
        (["sample"], ["there are no runs yet"]),
        (["run", "\udcff"], ["not UTF-8"]),
    ],
)
def test_wrong_requests_are_told_in_sentences_and_start_nothing(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: list[str]
) -> None:
    (tmp_path / "wrong.toml").write_text("[train]\nlrr = 1\n")
    (tmp_path / "typed.toml").write_text('[train]\nsteps = "many"\n')
    (tmp_path / "broken.toml").write_text("[train\n")
    assert command_line(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for part in ["llmtui: ", *said]:
        assert part in captured.err
    assert "Traceback" not in captured.err
    assert list(workspace.runs.iterdir()) == []


def test_a_data_directory_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMTUI_HOME", str(tmp_path / "file" / "home"))
    assert command_line(["demo"]) == 1
    error = capsys.readouterr().err
    assert "cannot use the data directory: not a directory" in error
    assert "set LLMTUI_HOME" in error
    assert command_line(["doctor"]) == 1


def test_an_unforeseen_error_is_one_line_and_a_log(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llmtui.cli.commands.show.iter_runs", lambda _: [0 / 0])  # any error nobody thought of
    assert command_line(["ls"]) == 1
    captured = capsys.readouterr()
    log = workspace.state / "llmtui.log"
    assert "Traceback" not in captured.err and str(log) in captured.err
    assert "ZeroDivisionError" in log.read_text()


# -- text --------------------------------------------------------------------------------------------------------------


def checkpoint(run: Run, step: int, loss: float) -> Path:
    def write(path: Path) -> None:
        (path / "model.safetensors").write_bytes(b"weights")

    return write_directory(
        run.checkpoints / f"step-{step:08d}", "train", "f", write, facts={"step": step, "slice_loss": loss}
    ).path


SERVER = """
import sys
from pathlib import Path
from core.sample.protocol import TextEnded, Finished, Loaded, Refused, TextDelta, decode_request, encode
for line in sys.stdin.buffer:
    asked = decode_request(line)
    place = Path(asked.checkpoint)
    place = max(place.glob("step-*"), default=place)
    for reply in (
        Loaded(id=asked.id, checkpoint=str(place), step=int(place.name[5:]), prompt_tokens=1),
        TextDelta(id=asked.id, text=f" seed {asked.sampling.seed}"),
        *([Refused(id=asked.id, what="no")] if asked.prompt == "break off" else []),
        TextDelta(id=asked.id, text="\\x1b[31m, and so on"),
        TextEnded(id=asked.id, reason="length", tokens=2),
        Finished(id=asked.id, tokens=2, seconds=0.5),
    ):
        sys.stdout.buffer.write(encode(reply) + b"\\n")
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inference process that answers without a model."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("llmtui.clients.inference_client.python", lambda module: [sys.executable, "-P", "-c", SERVER])


def test_sample_streams_prompt_and_text_of_the_newest_checkpoint(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    checkpoint(run, 100, 2.0)
    checkpoint(run, 200, 3.0)
    assert command_line(["sample", "tiny", "once", "--seed", "7"]) == 0
    assert capsys.readouterr().out == "once seed 7\x1b[31m, and so on\n"  # a pipe gets what the model wrote


def test_sample_json_has_the_text_and_its_settings(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    checkpoint(run, 100, 2.0)
    checkpoint(run, 200, 3.0)
    assert command_line(["sample", "tiny", "once", "--checkpoint", "best", "--json", "--top-k", "3"]) == 0
    drawn = json.loads(capsys.readouterr().out)
    assert (drawn["step"], drawn["prompt"], drawn["text"]) == (100, "once", " seed 1\x1b[31m, and so on")
    assert (drawn["top_k"], drawn["temperature"], drawn["reason"], drawn["schema"]) == (3, 0.8, "length", 2)


def test_sample_passes_over_a_damaged_checkpoint_and_says_so(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = speaking(workspace, 100, 200)
    damaged = run.checkpoints / "step-00000200" / "model.safetensors"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # same size, other content
    assert command_line(["sample", "tiny", "once", "--json"]) == 0
    captured = capsys.readouterr()
    drawn = json.loads(captured.out)
    assert (drawn["step"], drawn["checkpoint"]) == (100, str(run.checkpoints / "step-00000100"))
    assert captured.err == "skipping step-00000200: model.safetensors has changed since it was written\n"
    assert command_line(["sample", "tiny", "once", "--checkpoint", "200"]) == 1
    assert "cannot generate text: model.safetensors has changed" in capsys.readouterr().err


def test_the_best_checkpoint_is_the_best_of_those_that_are_there_whole(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    checkpoint(run, 100, 2.0)
    (checkpoint(run, 200, 1.0) / "model.safetensors").unlink()
    assert command_line(["sample", "tiny", "once", "--checkpoint", "best", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 100
    assert command_line(["sample", "tiny", "once", "--checkpoint", "200"]) == 1
    assert "model.safetensors is missing" in capsys.readouterr().err
    assert command_line(["sample", "tiny", "once", "--checkpoint", "300"]) == 2
    assert "checkpoints: 200, 100" in capsys.readouterr().err


def test_sample_ends_the_line_of_a_text_that_breaks_off(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint(made(workspace, DONE), 100, 2.0)
    assert command_line(["sample", "tiny", "break off"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "break off seed 1\n"
    assert captured.err.endswith("llmtui: cannot generate text: no\n")


def test_sample_refuses_a_prompt_that_is_no_text(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(made(workspace, DONE), 100, 2.0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"once \xff")))
    assert command_line(["sample", "tiny", "-"]) == 2
    assert "cannot read the text: it is not UTF-8 text (byte 5)   (-)" in capsys.readouterr().err


def test_sample_takes_every_setting_of_sampling(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, list[str]] = {
        "tokens": ["--tokens", "3"],
        "logit_bias": ["--logit-bias", "5=-1.5", "--logit-bias", "7=2"],
        "repetition_penalty": ["--repetition-penalty", "1.5"],
        "presence_penalty": ["--presence-penalty", "0.5"],
        "frequency_penalty": ["--frequency-penalty", "0.25"],
        "temperature": ["--temperature", "0.5"],
        "top_k": ["--top-k", "4"],
        "top_p": ["--top-p", "0.5"],
        "min_p": ["--min-p", "0.125"],
        "typical_p": ["--typical-p", "0.75"],
        "seed": ["--seed", "9"],
        "stop": ["--stop", "a", "--stop", "b"],
        "stop_tokens": ["--stop-token", "3", "--stop-token", "4"],
    }
    assert set(asked) == set(Sampling.__struct_fields__)
    checkpoint(made(workspace, DONE), 100, 2.0)
    assert (
        command_line(["sample", "tiny", "once", "--json", *(word for words in asked.values() for word in words)]) == 0
    )
    drawn = json.loads(capsys.readouterr().out)
    told = [drawn[name] for name in asked]
    assert told == [3, {"5": -1.5, "7": 2.0}, 1.5, 0.5, 0.25, 0.5, 4, 0.5, 0.125, 0.75, 9, ["a", "b"], [3, 4]]
    for wrong in ("5", "x=1", "5=x"):
        assert command_line(["sample", "tiny", "once", "--logit-bias", wrong]) == 2
        assert f"{wrong!r} is not ID=NUMBER" in capsys.readouterr().err
    assert command_line(["sample", "tiny", "once", "--logit-bias", "5=1e9"]) == 2
    assert "sample.logit_bias" in capsys.readouterr().err


def test_sample_settings_are_checked_as_the_recipe_checks_them(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, DONE)
    assert command_line(["sample", "tiny", "once", "--top-p", "1.5"]) == 2
    assert "sample.top_p = 1.5 is not a number above 0, at most 1   (--top-p)" in capsys.readouterr().err
    assert command_line(["sample", "tiny", "once", "--stop-token", "-1"]) == 2
    assert "(--stop-token)" in capsys.readouterr().err
    for wrong, meant in (("lss", "id you mean 'ls'?"), ("a/b.txt", "`llmtui run a/b.txt` trains on it")):
        assert command_line([wrong]) == 2
        assert meant in capsys.readouterr().err
    assert command_line(["data"]) == 2
    assert capsys.readouterr().err.count("Usage:") == 1
    assert command_line(["vocab", "zzzz"]) == 2
    assert "commands are compare, import, report" in capsys.readouterr().err


def test_sample_without_checkpoint_says_so(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(workspace, TRAINED[:6])
    assert command_line(["sample"]) == 1
    assert "there is no checkpoint yet" in capsys.readouterr().err


# -- terminals ---------------------------------------------------------------------------------------------------------


def in_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the program with a terminal on all three streams; its exit code and what it wrote."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*LLMTUI, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = b""
    try:
        while piece := os.read(master, 65536):
            written += piece
    except OSError:
        pass  # how Linux says that the other end is closed
    os.close(master)
    return process.wait(), written.decode()


def cells(written: str) -> int:
    """Of the widest line; the terminal of `in_terminal` tells no size and counts as 80 columns wide."""
    return max(map(len, written.splitlines()))


def test_on_a_terminal_no_line_of_ls_show_or_watch_is_wider_than_it(workspace: Workspace) -> None:
    long = "the disk is full: there is room for 1.2 GB and the checkpoint takes 3.4 GB of it, which is too much"
    note = Note(
        tick=15, text="1 file with the text in 'body', beside 'title', 'id': a.csv; it begins: '" + "word " * 12
    )
    failed = AttemptEnded(tick=18, attempt=1, outcome="failed", what=long, exit_code=1)
    run = made(workspace, [*TRAINED[:-2], note, failed])
    code, listed = in_terminal("ls")
    assert code == 0 and cells(listed) <= 80
    assert run.id in listed and "LEFT" not in listed  # a column that says nothing
    assert long in " ".join(listed.split())
    for command in (["show", run.id], ["watch", "--plain", run.id]):
        _, told = in_terminal(*command)
        assert cells(told) <= 80 and long in " ".join(told.split()), told


def test_in_a_pipe_ls_keeps_its_columns_and_a_line_for_each_run(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, [*TRAINED[:-2], AttemptEnded(tick=18, attempt=1, outcome="failed", what="long " * 60, exit_code=1)])
    assert command_line(["ls"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["MADE", "WHY"] and row.endswith("long")


def test_without_a_command_a_dumb_terminal_gets_the_list(workspace: Workspace) -> None:
    run = made(workspace, DONE)
    code, written = in_terminal(TERM="dumb")
    assert code == 0
    assert "the workbench needs a terminal" in written
    assert run.id in written
    assert "\x1b" not in written


def test_a_terminal_gets_a_models_text_sanitised_and_no_colour(workspace: Workspace) -> None:
    sample = GeneratedSample(tick=16, step=3, prompt="x", text=HOSTILE, temperature=1.0, top_k=0, top_p=1.0, seed=1)
    made(workspace, [*TRAINED[:-2], sample, AttemptEnded(tick=18, attempt=1, outcome="done")])
    code, written = in_terminal("watch", "--plain", NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in written
    assert "␛]0;owned␇␛[2J<U+202E>gpj" in written


def test_doctor_checks_locks_and_data_and_says_ok(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["doctor", "--json"]) == 0
    found = {record["about"]: record for record in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["locks"]["level"] == "ok"
    assert found["terminal"]["level"] == "warn"  # a test has none
    assert "torch 2." in found["packages"]["what"]
    assert found["arithmetic"]["level"] == "ok"
    assert re.search(
        r"trains in (float32|bfloat16) .*bfloat16 is .* as float32 here .* GFLOP/s", found["arithmetic"]["what"]
    )


def test_logind_configuration_is_read_as_logind_reads_it() -> None:
    from llmtui.cli.doctor_checks import kills_user_processes

    assert not kills_user_processes("[Login]\n#KillUserProcesses=no\n")
    assert kills_user_processes("[Login]\n#KillUserProcesses=yes\n")
    assert kills_user_processes("#KillUserProcesses=no\n[Login]\nKillUserProcesses = yes\n")
    assert not kills_user_processes("KillUserProcesses=yes\n[Login]\nKillUserProcesses=no\n")
    assert not kills_user_processes("")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["completion", shell]) == 0
    assert "_LLMTUI_COMPLETE" in capsys.readouterr().out


def test_completion_knows_runs(workspace: Workspace) -> None:
    run = made(workspace, DONE)
    process = spawn(_LLMTUI_COMPLETE="bash_complete", COMP_WORDS="llmtui show ", COMP_CWORD="2")
    assert run.id in process.communicate()[0]


def test_whoever_draws_while_the_run_trains_is_told_that_it_costs(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    checkpoint(run, 100, 2.0)
    with held(run):
        assert command_line(["sample", "tiny", "once"]) == 0
        assert "training continues, and is slower" in capsys.readouterr().err
    assert command_line(["sample", "tiny", "once"]) == 0
    assert "training" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "closing", "code"),
    [
        (["locate", "data"], ">&-", 0),
        (["locate", "data"], "</dev/null >/dev/full", 1),
        (["nope"], "2>&-", 2),
        (["nope"], "2>/dev/full", 2),
        (["rm", "tiny"], "<&-", 2),
        (["score", "-"], "<&-", 2),
    ],
)
def test_closed_and_full_streams_change_no_exit_code(
    workspace: Workspace, arguments: list[str], closing: str, code: int
) -> None:
    speaking(workspace, 100)
    command = ["sh", "-c", f'exec "$@" {closing}', "sh", *LLMTUI, *arguments]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr
    assert "should not have happened" not in ended.stderr and "Traceback" not in ended.stderr
