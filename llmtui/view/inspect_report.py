"""What is seen of a model at work, told as it comes: sections with a heading, a sentence and a table."""

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
from llmtui.view.inspect_tables import explained


class Teller:
    """Turns what is seen into text for people; what is said once of the first token is not said again."""

    def __init__(self, *, width: int, greedy: bool) -> None:
        """width: of the terminal. greedy: the likeliest token is taken, none is drawn."""
        self._width, self._greedy = width, greedy
        self._tokens: list[TokenInfo] = []
        """What the model sees, as far as it was told."""
        self._hidden: list[TokenInfo] = []
        """The hidden place behind them, in a masked model."""
        self._surprises: list[TokenSurprisal] = []
        self._lenses: list[LogitLens] = []
        self._heads: list[AttentionWeights] = []
        self._parts: list[ModelPart] = []
        self._probabilities = TokenProbabilities(step=0, processors=(), candidates=())

    def tell(self, sight: AnyInspectResult) -> Iterator[str]:
        """The sections that are complete with `sight`."""
        match sight:
            case PromptTokens():
                yield self._section("1  TEXT TO TOKEN IDS", _TOKENS, 1, inspect_tables.tokens_table(sight)) + _more(
                    sight
                )
                self._hidden = [token for token in sight.tokens[-1:] if token.kind == "hidden"]
                self._tokens = list(sight.tokens[: len(sight.tokens) - len(self._hidden)])
            case LogitsMatrix():
                yield self._section(
                    "2  THE MATRIX OF OUTPUTS", self._of_outputs(sight), 1, inspect_tables.outputs_table(sight)
                )
            case PromptSurprisal():
                self._surprises += sight.tokens
            case LastLogits():
                yield from self._of_surprises()
                yield self._section(
                    "3  ITS LAST ROW", _of_last_row(sight), sight.step, inspect_tables.last_row_table(sight)
                )
            case TokenProbabilities():
                self._probabilities = sight
            case SampledToken():
                tables = inspect_tables.probabilities_tables(self._probabilities, sight.token.id, self._width)
                yield self._section("4  LOGITS TO PROBABILITIES", _PROBABILITIES, sight.step, "\n\n".join(tables))
                words = _TAKEN if self._greedy else _DRAWN
                yield self._section(
                    "5  THE CHOICE", words, sight.step, inspect_tables.choice_lines(sight, self._probabilities)
                )
            case LogitLens():
                self._lenses.append(sight)
            case AttentionWeights():
                self._heads.append(sight)
            case AppendedToken():
                lines = inspect_tables.appended_lines(sight, [*self._tokens, sight.token])
                yield self._section("6  APPENDED AND DECODED", _APPENDED, sight.step, lines)
                yield from self._of_layers(sight)
                self._tokens.append(sight.token)
            case ModelSummary():
                yield inspect_details.shape_table(sight)
            case ModelPart():
                self._parts.append(sight)
                if sight.name == "output":
                    yield inspect_details.weights_table(self._parts)

    def _section(self, title: str, words: str, step: int, table: str) -> str:
        if step == 1:
            return explained(title, words, self._width) + "\n" + table
        return f"{title}, token {step:,}\n\n{table}"

    def _of_outputs(self, seen: LogitsMatrix) -> str:
        follows = "stand there" if self._hidden else "follow it"
        return (
            f"The model turns {seen.positions:,} token IDs into a matrix of {seen.positions:,} × {seen.vocabulary:,} "
            "numbers: for each token a row with a score, a logit, for every token of the vocabulary that could "
            f"{follows}."
        )

    def _of_surprises(self) -> Iterator[str]:
        if not self._surprises:
            return
        words = _SURPRISE_HIDDEN if self._hidden else _SURPRISE
        yield self._section("SURPRISE", words, 1, inspect_details.surprise_table(self._surprises))
        self._surprises = []

    def _of_layers(self, appended: AppendedToken) -> Iterator[str]:
        if self._lenses:
            table = inspect_details.lens_table(self._lenses, self._width)
            yield self._section("WHAT EACH LAYER WOULD HAVE SAID", _LENS, appended.step, table)
        for head in self._heads:
            tokens = [*self._tokens, *self._hidden][-len(head.weights[-1]) :]
            words = _ATTENTION_BOTH if self._hidden else _ATTENTION
            table = inspect_details.attention_table(head, tokens, self._width)
            yield self._section(f"ATTENTION, LAYER {head.layer}, HEAD {head.head}", words, appended.step, table)
        self._lenses, self._heads = [], []


def _more(seen: PromptTokens) -> str:
    left_out = max(0, seen.seen - inspect_tables.TOKENS_SHOWN)
    return f"\n   {plural(left_out, 'token')} before them {verb(left_out, 'is', 'are')} not listed" if left_out else ""


def _of_last_row(seen: LastLogits) -> str:
    return (
        f"Only the last row tells what comes next. Its {seen.vocabulary:,} logits lie between {seen.lowest:.2f} and "
        f"{seen.highest:.2f}; their mean is {seen.mean:.2f}, their standard deviation {seen.deviation:.2f}."
    )


_TOKENS = (
    "The tokenizer cuts the text into tokens and looks up the ID of each. These numbers are all that the model sees."
)
_PROBABILITIES = (
    "Softmax turns the logits into probabilities that add up to 1. Then the samplers change them, from left to right, "
    "or cut tokens off. The bars show the last column."
)
_DRAWN = "One token is drawn at random, each with its probability in the last column."
_TAKEN = "The likeliest token is taken; nothing is left to chance."
_APPENDED = "The ID goes behind the others and is decoded to text. For the next token all begins again."
_SURPRISE = (
    "How many bits each token of the prompt surprises the model, that knows only what stands before it; the token's "
    "rank among all; and the entropy, in bits: how open the model thought it was."
)
_SURPRISE_HIDDEN = (
    "How many bits each token of the prompt surprises the model when it alone is hidden and all others are seen; the "
    "token's rank among all; and the entropy, in bits: how open the model thought it was. The sum is a "
    "pseudo-likelihood, which cannot be compared with that of a causal model."
)
_LENS = (
    "The output layer reads what each layer leaves, as if it were the last (the logit lens): the answer takes shape "
    "from layer to layer."
)
_ATTENTION = "How much each token takes from itself and from those before it: a full block is all, a blank nothing."
_ATTENTION_BOTH = "How much each token takes from itself and all others: a full block is all, a blank nothing."
