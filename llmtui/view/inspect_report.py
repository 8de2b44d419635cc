"""The report of `llmtui xray`: sections with a heading, an explanation and a table, as the results arrive."""

from __future__ import annotations

from collections.abc import Iterator

from core.plural import plural, verb
from core.sample.inspect_protocol import (
    AnyInspectResult,
    AppendedToken,
    AttentionWeights,
    LastLogits,
    LogitLens,
    LogitsMatrix,
    ModelPart,
    ModelSummary,
    PromptSurprisal,
    PromptTokens,
    SampledToken,
    TokenInfo,
    TokenProbabilities,
    TokenSurprisal,
)
from llmtui.view import inspect_details, inspect_tables
from llmtui.view.inspect_tables import section_heading


class InspectReport:
    """Formats the results of one inspection. The explanations are given for the first generated token only."""

    def __init__(self, *, width: int, greedy: bool) -> None:
        """width: of the terminal, in cells. greedy: whether the most probable token is taken instead of sampled."""
        self._width, self._greedy = width, greedy
        self._tokens: list[TokenInfo] = []
        """Tokens of the context that are known."""
        self._masked: list[TokenInfo] = []
        """The masked position after them, for a masked model."""
        self._surprisals: list[TokenSurprisal] = []
        self._logit_lenses: list[LogitLens] = []
        self._attention: list[AttentionWeights] = []
        self._parts: list[ModelPart] = []
        self._probabilities = TokenProbabilities(step=0, processors=(), candidates=())

    def sections(self, result: AnyInspectResult) -> Iterator[str]:
        """The sections that `result` completes."""
        match result:
            case PromptTokens():
                yield self._section(
                    "1  TEXT TO TOKEN IDS", _TOKENS, 1, inspect_tables.tokens_table(result)
                ) + _omitted_tokens(result)
                self._masked = [token for token in result.tokens[-1:] if token.kind == "hidden"]
                self._tokens = list(result.tokens[: len(result.tokens) - len(self._masked)])
            case LogitsMatrix():
                yield self._section("2  LOGITS", self._logits_sentence(result), 1, inspect_tables.logits_table(result))
            case PromptSurprisal():
                self._surprisals += result.tokens
            case LastLogits():
                yield from self._surprisal_section()
                yield self._section(
                    "3  LAST ROW OF THE LOGITS",
                    _last_logits_sentence(result),
                    result.step,
                    inspect_tables.last_logits_table(result),
                )
            case TokenProbabilities():
                self._probabilities = result
            case SampledToken():
                tables = inspect_tables.probability_tables(self._probabilities, result.token.id, self._width)
                yield self._section("4  LOGITS TO PROBABILITIES", _PROBABILITIES, result.step, "\n\n".join(tables))
                explanation = _GREEDY if self._greedy else _SAMPLED
                text = inspect_tables.sampled_token_text(result, self._probabilities)
                yield self._section("5  SAMPLED TOKEN", explanation, result.step, text)
            case LogitLens():
                self._logit_lenses.append(result)
            case AttentionWeights():
                self._attention.append(result)
            case AppendedToken():
                lines = inspect_tables.appended_token_text(result, [*self._tokens, result.token])
                yield self._section("6  APPENDED AND DECODED", _APPENDED, result.step, lines)
                yield from self._layer_sections(result)
                self._tokens.append(result.token)
            case ModelSummary():
                yield inspect_details.summary_table(result)
            case ModelPart():
                self._parts.append(result)
                if result.name == "output":
                    yield inspect_details.weights_table(self._parts)

    def _section(self, title: str, explanation: str, step: int, table: str) -> str:
        if step == 1:
            return section_heading(title, explanation, self._width) + "\n" + table
        return f"{title}, token {step:,}\n\n{table}"

    def _logits_sentence(self, result: LogitsMatrix) -> str:
        predicted = "the token at that position" if self._masked else "the next token"
        return (
            f"The model maps {plural(result.positions, 'token ID')} to a matrix of {result.positions:,} × "
            f"{result.vocabulary:,} logits: a row for each position, a column for each token of the vocabulary. "
            f"Each row predicts {predicted}."
        )

    def _surprisal_section(self) -> Iterator[str]:
        if not self._surprisals:
            return
        explanation = _SURPRISAL_MASKED if self._masked else _SURPRISAL
        yield self._section("TOKEN LOSSES", explanation, 1, inspect_details.surprisal_table(self._surprisals))
        self._surprisals = []

    def _layer_sections(self, appended: AppendedToken) -> Iterator[str]:
        if self._logit_lenses:
            table = inspect_details.lens_table(self._logit_lenses, self._width)
            yield self._section("LOGIT LENS", _LENS, appended.step, table)
        for head in self._attention:
            tokens = [*self._tokens, *self._masked][-len(head.weights[-1]) :]
            explanation = _ATTENTION_MASKED if self._masked else _ATTENTION
            table = inspect_details.attention_table(head, tokens, self._width)
            yield self._section(f"ATTENTION, LAYER {head.layer}, HEAD {head.head}", explanation, appended.step, table)
        self._logit_lenses, self._attention = [], []


def _omitted_tokens(result: PromptTokens) -> str:
    left_out = max(0, result.seen - inspect_tables.MAX_TOKENS)
    return f"\n   {plural(left_out, 'earlier token')} {verb(left_out, 'is', 'are')} not listed" if left_out else ""


def _last_logits_sentence(result: LastLogits) -> str:
    return (
        f"Only the last row predicts the new token. Its {result.vocabulary:,} logits are between {result.lowest:.2f} "
        f"and {result.highest:.2f}; their mean is {result.mean:.2f}, their standard deviation {result.deviation:.2f}."
    )


_TOKENS = "The tokenizer splits the text into tokens and looks up the ID of each. The IDs are the input of the model."
_PROBABILITIES = (
    "Softmax turns the logits into probabilities that add up to 1. The logits processors then change them or remove "
    "tokens, from left to right. The bars show the last column."
)
_SAMPLED = "One token is sampled from the probabilities in the last column."
_GREEDY = "Greedy decoding: the most probable token is taken."
_APPENDED = "The ID is appended to the context and decoded to text. These steps are repeated for each new token."
_SURPRISAL = (
    "The loss of each token of the prompt in bits, given the tokens before it; the rank of the token by probability; "
    "and the entropy of the prediction in bits."
)
_SURPRISAL_MASKED = (
    "The loss of each token of the prompt in bits, with this token masked, given all others; the rank of the token by "
    "probability; and the entropy of the prediction in bits. The sum is a pseudo-log-likelihood, which cannot be "
    "compared with the loss of a causal model."
)
_LENS = (
    "The output layer applied to the output of each layer (the logit lens): how the prediction develops from layer to "
    "layer."
)
_ATTENTION = "Attention weights of each token to itself and the tokens before it: a full block is 1, a blank is 0."
_ATTENTION_MASKED = "Attention weights of each token to itself and all others: a full block is 1, a blank is 0."
