"""The rows of a batch as text: documents, targets, and the losses that lead to a spike."""

from __future__ import annotations

import math

import pytest

from core.sample.inspect_protocol import TokenInfo
from core.sample.token_protocol import NO_TARGET, BatchRow, RowLosses, TrainingBatch
from llmtui.view.batch_text import BatchView

END, MASK = 4, 5
TOKENS = (
    *(TokenInfo(number, "text", letter, letter.encode().hex()) for number, letter in enumerate("abcd")),
    TokenInfo(END, "mark", "<|endoftext|>", b"<|endoftext|>".hex()),
    TokenInfo(MASK, "hidden"),
)


def make(*rows: BatchRow, masked: bool = False, count: int = 0) -> BatchView:
    return BatchView(
        TrainingBatch(
            step=7,
            epoch=1,
            rows=rows,
            count=count or sum(target != NO_TARGET for row in rows for target in row.targets),
            end_of_text=END,
            masked=masked,
            tokens=TOKENS,
        )
    )


def causal() -> BatchView:
    view = make(
        BatchRow(start=0, inputs=(0, 1, END), targets=(1, END, 2)),
        BatchRow(start=40, inputs=(2, 2, 2), targets=(2, 2, END)),
    )
    view.add(RowLosses(row=0, nats=(0.5, 3.0, 1.0)))
    view.add(RowLosses(row=1, nats=(0.1, 0.2, 0.3)))
    return view


def test_a_causal_row_is_its_window_with_a_loss_for_each_token_but_the_first() -> None:
    view = causal()
    assert [(token.token, token.nats) for token in view.tokens(0)] == [(0, None), (1, 0.5), (END, 3.0), (2, 1.0)]
    grid = view.grid(0)
    assert [token.below for token in grid] == ["", "0.5", "3.0", "1.0"]
    assert [token.rule for token in grid] == ["", "", "the document ends here", ""]
    assert "context alone" in grid[0].detail and "loss 3.000 nats, 1 in 20" in grid[2].detail
    assert (view.text(0).documents, view.text(1).documents) == (2, 1)


def test_rows_and_tokens_are_ordered_by_loss() -> None:
    view = causal()
    assert view.by_loss() == [0, 1]
    assert (view.row_loss(0), view.loss) == (pytest.approx(1.5), pytest.approx(5.1 / 6))
    assert view.worst_tokens(0) == [2, 3, 1]
    begun = BatchView(view.batch)
    begun.add(RowLosses(row=1, nats=(0.1, 0.2, 0.3)))
    assert (begun.row_loss(0), begun.loss, begun.by_loss(), begun.scored) == (None, None, [1, 0], 1)
    view.add(RowLosses(row=0, nats=(0.5, None, 1.0)))
    assert view.by_loss() == [0, 1] and math.isnan(view.row_loss(0) or 0)
    assert [token.role for token in view.grid(0)] == ["dim", "surprise-1", "surprise-5", "surprise-2"]


def test_a_masked_row_shows_what_is_masked_replaced_or_left_to_be_predicted() -> None:
    row = BatchRow(start=0, inputs=(0, MASK, 3, 2), targets=(NO_TARGET, 1, 2, 2), weight=2.0)
    view = make(row, masked=True, count=4)
    grid = view.grid(0)
    assert [token.label for token in grid] == ["a", "▒b▒", "▒c▒", "c"]
    assert [token.role for token in grid] == ["dim", "accent", "accent", "accent"]
    named = [view.target(token) for token in view.tokens(0)]
    assert named == ["not a target", "masked", "a target, read as 'd'", "a target, not masked"]
    view.add(RowLosses(row=0, nats=(None, 1.0, 2.0, 3.0)))
    assert (view.row_loss(0), view.loss) == (2.0, pytest.approx(2.0 * 6 / 4))


def test_an_excerpt_is_sanitised_and_begins_near_the_highest_loss() -> None:
    hostile = TokenInfo(0, "text", "", b"\x1b]0;x\x07".hex())
    view = make(BatchRow(start=0, inputs=(0,) * 9, targets=(0,) * 8 + (1,)))
    view.__dict__["infos"] = {**view.infos, 0: hostile}
    assert "\x1b" not in view.text(0).excerpt and view.text(0).excerpt.startswith("␛]0;x␇")
    view.add(RowLosses(row=0, nats=(0.0,) * 8 + (9.0,)))
    assert view.text(0).excerpt == "…␛]0;x␇␛]0;x␇␛]0;x␇b"
