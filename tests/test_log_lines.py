"""Lines of logs and journals as text, and the search in them."""

from __future__ import annotations

import time

import pytest

from core.events import AttemptEnded, GeneratedSample, Gpu, HardwareReading, Metric, Note, Progress, encode
from llmtui.view.log_lines import LogLine, find, journal_lines, last_failure, log_lines


def test_a_reason_in_the_log_is_marked() -> None:
    lines = log_lines([b"step 1", b'  File "x.py", line 3', b"ValueError: no such column", b"llmtui: bye"])
    assert [line.is_failure for line in lines] == [False, False, True, False]
    assert last_failure(lines) == 2
    assert last_failure(lines[:1]) is None


def test_the_journal_has_every_event_in_words() -> None:
    time_of_line = time.mktime((2026, 11, 29, 14, 0, 27, 0, 0, -1))
    metric = Metric(
        at=time_of_line, step=109, loss=5.138, lr=0.05, grad_norm=0.25, tokens=2048, seconds=1.5, progress=0.1
    )
    ended = AttemptEnded(at=time_of_line, attempt=1, outcome="failed", what="cannot train: it is full", exit_code=1)
    lines = journal_lines([encode(metric), encode(Note(at=time_of_line, text="a note")), encode(ended), b"{damaged"])
    assert lines[0].text.startswith("29 Nov 14:00:27  step      109 loss 5.138 lr 0.05 grad_norm 0.25")
    assert lines[1].text == "29 Nov 14:00:27  note      a note"
    assert lines[2].is_failure and "it is full" in lines[2].text
    assert lines[3] == LogLine("{damaged", "warn")


@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;owned\x07", "\u202eevil", "a\rb\x00"])
def test_hostile_text_is_shown_as_text(text: str) -> None:
    sample = GeneratedSample(step=1, prompt=text, text=text, temperature=1.0, top_k=0, top_p=1.0, seed=1)
    for line in (*log_lines([text.encode()]), *journal_lines([encode(sample), text.encode()])):
        assert line.text.isprintable()


def test_readings_and_progress_have_units() -> None:
    gpu = Gpu(name="H200", utilisation=0.97, memory=2 * 10**9, memory_total=4 * 10**9)
    reading = HardwareReading(
        cpu=0.5,
        cores=2,
        ram=10**9,
        ram_total=24 * 10**9,
        process_ram=10**8,
        process_cpu=1.0,
        disk_free=10**10,
        gpus=(gpu,),
    )
    text = journal_lines([encode(reading)])[0].text
    assert text.endswith(
        "hardware  cpu 1.0/2 cores · ram 1.00 GB of 24.0 GB · worker 1.0 cores, 100 MB · gpu 0 97%, 2.00 GB of 4.00 GB"
        " · disk 10.0 GB free"
    )
    for progress, words in (
        (Progress(done=9, total=132_700.5, unit="tokens", of="evaluation"), "9 of 132,700 tokens of the evaluation"),
        (Progress(done=2, total=None, unit="samples"), "2 samples"),
        (Progress(done=0, total=None, unit="bytes", of="checkpoint"), "a checkpoint begins"),
    ):
        assert journal_lines([encode(progress)])[0].text.endswith(f"progress  {words}")


def test_a_search_ignores_case_unless_it_has_upper_case_letters() -> None:
    lines = log_lines([b"Loss is NaN", b"loss 3.2", b"nothing"])
    assert find(lines, "loss") == [0, 1]
    assert find(lines, "Loss") == [0]
    assert find(lines, "") == []
