"""The X-ray of a token as lines: steps, attention, logit lens, loss differences, denoising steps, branches."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rich.cells import cell_len

from core.sample.inspect_protocol import (
    AppendedToken,
    AttentionWeights,
    LastLogits,
    LensRow,
    LogitsMatrix,
    LogitsRow,
    PredictedToken,
    ProcessorSummary,
    SampledToken,
    TokenCandidate,
    TokenInfo,
    TokenProbabilities,
)
from core.sample.protocol import DenoisingState, Span, UnmaskedToken
from llmtui.view.lines import Line, width
from llmtui.view.sanitize import DANGEROUS
from llmtui.view.xray_layers import attention_lines, head_maps, lens_lines
from llmtui.view.xray_steps import TokenSteps, step_lines
from llmtui.view.xray_texts import denoising_lines, difference_lines, film_lines, tree_lines
from llmtui.view.xray_tokens import token_chip, token_strip

HOSTILE = "\x1b[2J\x07\u202e[bold]\n"
SIZES = [(56, 4), (76, 16), (56, 10), (62, 26)]


def info(text: str, number: int = 7) -> TokenInfo:
    return TokenInfo(number, "text", text, text.encode().hex())


def steps_of(text: str = " path", **other: Any) -> TokenSteps:
    """A token that top-p nearly cut, between two others, of which one is cut by top-k."""
    processors = (
        ProcessorSummary("softmax", None, 4096, 6.16),
        ProcessorSummary("temperature", 0.8, 4096, 4.2),
        ProcessorSummary("top_k", 50.0, 50, 3.4),
        ProcessorSummary("top_p", 0.9, 2, 0.9),
    )
    candidates = (
        TokenCandidate(info(" encoding", 8), 9.0, (0.6, 0.7, 0.72, 0.8), 2.0),
        TokenCandidate(info(text, 7), 8.0, (0.2, 0.15, 0.16, 0.2), 0.25),
        TokenCandidate(info(" None", 9), 4.0, (0.1, 0.05, 0.05, None)),
        TokenCandidate(info(" rare", 10), 2.0, (0.02, 0.01, None, None)),
    )
    sampled = SampledToken(step=3, token=info(text), probability=0.2, before=0.2, surprise=2.32, rank=2)
    fields: dict[str, Any] = {
        "context": [info("open", 1), info("(", 2), info(text, 3)],
        "outputs": LogitsMatrix(
            positions=3,
            vocabulary=4096,
            columns=(0, 1, 4095),
            rows=tuple(LogitsRow(n, info(text, n), (1.25, None, -3.5)) for n in (1, 2, 3)),
        ),
        "last": LastLogits(
            step=3, position=3, vocabulary=4096, columns=(0, 1, 4095), logits=(1.25, None, -3.5),
            lowest=-3.5, highest=9.0, mean=-1.0, deviation=2.0,
        ),
        "probabilities": TokenProbabilities(step=3, processors=processors, candidates=candidates),
        "sampled": sampled,
        "appended": AppendedToken(step=3, token=info(text), text=text, length=6, reason=None),
        "candidate": 1,
        "seed": 7,
    }  # fmt: skip
    return TokenSteps(**{**fields, **other})


def joined(lines: list[Line]) -> str:
    return "\n".join("".join(text for text, _ in line) for line in lines)


def test_each_step_says_its_shape_and_shows_its_numbers() -> None:
    shown = [" ".join(joined(step_lines(step, steps_of(), 76, 20)).split()) for step in range(1, 7)]
    assert "of shape (1, 3)" in shown[0] and "·path" in shown[0]
    assert "of shape (3, 4,096)" in shown[1] and "-3.50" in shown[1] and "◀ the last row" in shown[1]
    assert "of shape (4,096,)" in shown[2] and "highest 9.00" in shown[2]
    assert "raw" in shown[3] and "T 0.8" in shown[3] and "top-k 50" in shown[3] and "top-p 0.9" in shown[3]
    assert "Seed 7" in shown[4] and "surprise 2.32 bits · rank 2 · entropy 6.16 bits" in shown[4]
    assert "6 tokens so far" in shown[5] and "' path'" in shown[5]


def test_cut_tokens_name_the_processor_that_cut_them() -> None:
    lines = joined(step_lines(4, steps_of(), 76, 20)).splitlines()
    (none,) = (line for line in lines if "None" in line)
    (rare,) = (line for line in lines if "rare" in line)
    (taken,) = (line for line in lines if "◀ taken" in line)
    assert none.endswith("cut by top-p") and rare.endswith("cut by top-k")
    assert taken.split()[:6] == ["▸", "·path", ".200", ".150", ".160", ".200"]


def test_the_token_with_the_highest_ratio_is_marked() -> None:
    lines = joined(step_lines(5, steps_of(), 76, 20)).splitlines()
    assert next(line for line in lines if "◀ highest" in line).split()[:4] == ["·path", ".200", "0.2500", "0.8000"]
    other = SampledToken(
        step=3, token=info(" rare", 10), probability=0, before=0.02, surprise=5, rank=4, instead_of=info(" path")
    )
    forced = joined(step_lines(5, steps_of(sampled=other), 76, 20))
    assert "you took it instead of ·path" in forced and forced.count("◀ highest") == 1


def test_greedy_decoding_is_called_so() -> None:
    result = TokenProbabilities(
        step=1,
        processors=(ProcessorSummary("softmax", None, 9, 1.0), ProcessorSummary("temperature", 0.0, 1, 0.0)),
        candidates=(TokenCandidate(info(" path"), 1.0, (0.5, 1.0)),),
    )
    assert "greedy" in joined(step_lines(5, steps_of(probabilities=result, candidate=0), 76, 20))


def every_figure(text: str, cells: int, rows: int) -> list[list[Line]]:
    tokens = [info(text, n) for n in range(6)]
    heads = {
        (layer, head): AttentionWeights(
            step=1, layer=layer, head=head, first=1, before=(0.0,) * 6,
            weights=tuple(tuple(1 / (n + 1) if m <= n else 0.0 for m in range(6)) for n in range(6)),
        )
        for layer in (1, 2)
        for head in (1, 2, 3)
    }  # fmt: skip
    lens = [LensRow(layer=n, first=1, predictions=(PredictedToken(info(text), 0.4), None) * 3) for n in range(3)]
    state = DenoisingState(
        id=1, tokens=2, spans=[Span(text, new=True), Span(masked=4)], unmasked=[UnmaskedToken(1, info(text), 0.25)]
    )
    return [
        *(step_lines(step, steps_of(text), cells, rows) for step in range(1, 7)),
        attention_lines(heads[2, 3], tokens, cells, rows),
        head_maps(heads, (2, 3), cells, rows),
        lens_lines(lens, tokens, info(text), cells, rows),
        difference_lines(tokens, [1.0] * 6, [0.5, 2.0], (text, "b"), 1, cells, rows),
        denoising_lines(text, text, state, 1, 4, 2, cells, rows),
        film_lines(text, [text] * 9, [state] * 9, 4, cells, rows),
        [[(line, role)] for _, line, role in tree_lines([(-1, 1, text), (0, 3, text)], 1, cells)],
        [token_strip(tokens, 3, cells)],
    ]


@pytest.mark.parametrize("size", SIZES)
def test_every_figure_fits_its_pane_and_shows_no_control_character(size: tuple[int, int]) -> None:
    for text in (" a", HOSTILE, "日本語" * 9, "x" * 300):
        for number, lines in enumerate(every_figure(text, *size)):
            assert len(lines) <= size[1], number
            for line in lines:
                assert not set(map(ord, "".join(span for span, _ in line))) & DANGEROUS.keys(), number
                assert width(line) <= size[0] + 2, (number, line)  # spaces after the last column


def test_attention_shows_the_weight_of_each_token() -> None:
    weights = AttentionWeights(step=1, layer=2, head=1, first=1, weights=((0.1, 0.9),), before=(0.0,))
    lines = attention_lines(weights, [info("open"), info("(")], 70, 12)
    assert joined(lines[-2:]).replace("│", " ").split() == ["open", "(", "▁.10", "▇.90"]


def test_losses_are_compared_in_bits() -> None:
    bit = math.log(2)
    lines = joined(difference_lines([info("a"), info("b")], [2 * bit, bit], [bit, 4 * bit], ("old", "new"), 1, 70, 20))
    assert "new is worse by 1.000 bits per token" in lines
    assert "1.00 → 4.00 bits" in lines and "-1.0 +3.0" in lines


def test_a_branch_is_below_the_text_it_leaves() -> None:
    lines = [text for _, text, _ in tree_lines([(-1, 1, "a"), (0, 3, "b"), (0, 5, "c"), (1, 4, "d")], 3, 60)]
    assert lines == ["○ the reply: a", "└ ○ from token 3: b", "  └ ● from token 4: d", "└ ○ from token 5: c"]


def test_the_token_under_the_cursor_stays_visible() -> None:
    tokens = [info(f"word{n}") for n in range(60)]
    for cursor in (0, 17, 59):
        line = token_strip(tokens, cursor, 50)
        assert width(line) <= 50
        assert [text for text, role in line if role == "cursor"] == [f"word{cursor}"]
    assert cell_len(token_chip(info("x" * 300))) <= 18


def test_the_film_has_the_first_the_last_and_the_present_step() -> None:
    states = [DenoisingState(id=1, tokens=1, spans=[Span(f"\nat {n}")], unmasked=[]) for n in range(1, 65)]
    lines = joined(film_lines("once", [""] * 64, states, 30, 40, 12)).splitlines()
    assert len(lines) == 12 and lines[1] == "step by step"
    numbers = [int(line.split()[0]) for line in lines[2:]]
    assert numbers[0] == 1 and numbers[-1] == 64 and 30 in numbers and numbers == sorted(numbers)
    assert lines[2].split(maxsplit=1)[1] == "once at 1"


def test_a_mark_that_does_not_fit_loses_its_word() -> None:
    texts = [joined(step_lines(5, steps_of("a"), cells, 20)) for cells in (44, 80)]
    assert "ratio" in texts[0] and "◀" in texts[0] and "…" not in texts[0] and "◀ highest" in texts[1]
