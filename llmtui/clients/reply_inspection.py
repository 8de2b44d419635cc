"""The X-ray of a generated text: its tokens generated again with every intermediate result, and its branches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from msgspec import Struct, structs

from core.errors import LlmtuiError
from core.sample.inspect_protocol import (
    AppendedToken,
    AttentionHead,
    AttentionWeights,
    InspectOptions,
    LastLogits,
    LensRow,
    LogitsMatrix,
    PromptTokens,
    SampledToken,
    TokenInfo,
    TokenProbabilities,
)
from core.sample.protocol import (
    DenoisingState,
    Generate,
    InspectContext,
    Inspected,
    InspectPrompt,
    Score,
    ScoreProgress,
    ScoreResult,
    TextDelta,
    TokenLosses,
)
from llmtui.clients.inference_client import InferenceClient, InferenceError
from llmtui.clients.remote_inference import is_remote

CANDIDATES = 20
"""Tokens in each table of probabilities."""
POSITIONS = 48
"""Last positions of attention weights and logit lens."""
_PARTS = (LastLogits, TokenProbabilities, SampledToken, AppendedToken)
"""The fields of an `InspectedToken`, in order."""


class InspectedToken(Struct):
    """Steps 3 to 6 of one token."""

    last: LastLogits
    probabilities: TokenProbabilities
    sampled: SampledToken
    appended: AppendedToken


class Branch(Struct, kw_only=True):
    """One text: the tokens of another branch up to a token that the user chose, then sampled ones."""

    parent: int = -1
    """Index of that other branch; -1: this is the text that was generated first."""
    start: int = 1
    """Number of the chosen token, from 1."""
    forced: tuple[int, ...] = ()
    """Ids of the tokens up to `start`."""
    tokens: list[InspectedToken] = []
    """From the first on; those before `start` are the parent's."""
    complete: bool = False

    @property
    def text(self) -> str:
        return "".join(token.appended.text for token in self.tokens)


class ContextInspection(Struct, kw_only=True):
    """How the model reads the context of one token."""

    prompt: PromptTokens | None = None
    outputs: LogitsMatrix | None = None
    lens: list[LensRow] = []
    attention: dict[tuple[int, int], AttentionWeights] = {}
    """By layer and head."""


class ReplyInspection:
    """The X-ray of one text. Methods that ask the inference process call `on_change` as results arrive."""

    def __init__(self, client: InferenceClient, request: Generate, text: str) -> None:
        """request: the one that generated `text`, by a causal model."""
        self._client, self.request = client, request
        self._text = text.lstrip(" ")  # a chat template may have the spaces before a reply
        self.branches = [Branch()]
        self.current = 0
        """Index of the branch that is shown."""
        self.error = ""
        self.prompt: PromptTokens | None = None
        """The prompt as the model read it first; None until then."""
        self._contexts: dict[tuple[int, ...], ContextInspection] = {}
        """By the ids of the tokens before the one that is predicted."""

    @property
    def branch(self) -> Branch:
        """The branch that is shown."""
        return self.branches[self.current]

    @property
    def differs(self) -> bool:
        """Whether the same request now generates another text than the one shown in the chat."""
        again = self.branches[0].text.lstrip(" ")
        common = min(len(again), len(self._text))
        return again[:common] != self._text[:common] or (self.branches[0].complete and len(again) < len(self._text))

    def take(self, number: int, token: int) -> bool:
        """Show the branch of the current text in which token `number`, from 1, is `token`; whether it is new."""
        before = self.branch.tokens[: number - 1]
        forced = (*(each.sampled.token.id for each in before), token)
        for index, branch in enumerate(self.branches):
            if tuple(each.sampled.token.id for each in branch.tokens[:number]) == forced or branch.forced == forced:
                self.current = index
                return False
        self.branches.append(Branch(parent=self.current, start=number, forced=forced, tokens=before))
        self.current = len(self.branches) - 1
        return True

    async def load_branch(self, index: int, on_change: Callable[[], None]) -> None:
        """Generate what is missing of a branch. Errors go to `error`."""
        branch = self.branches[index]
        if branch.complete:
            return
        first = len(branch.tokens) + 1
        known = tuple(each.sampled.token.id for each in branch.tokens)
        request = InspectPrompt(
            id=0,
            checkpoint=self.request.checkpoint,
            cleaning=self.request.cleaning,
            precision=self.request.precision,
            prompt=self.request.prompt,
            sampling=self.request.sampling,
            options=InspectOptions(candidates=CANDIDATES, first_token=first),
            forced=branch.forced if len(branch.forced) >= len(known) else known,
        )
        parts: dict[type, object] = {}
        try:
            async with aclosing(self._client.stream(request)) as replies:
                async for reply in replies:
                    if not isinstance(reply, Inspected):
                        continue
                    parts[type(reply.result)] = reply.result
                    if isinstance(reply.result, PromptTokens):
                        self.prompt = reply.result
                    if isinstance(reply.result, AppendedToken):
                        if not parts.keys() >= set(_PARTS):
                            raise InferenceError("a step of a token is missing in the reply")
                        branch.tokens.append(_inspected_token(parts))
                        on_change()
                    if index == 0 and self._stopped_here(branch):
                        break
            branch.complete = True
        except LlmtuiError as error:
            self.error = await explain(error, self.request.checkpoint)
        on_change()

    def _stopped_here(self, branch: Branch) -> bool:
        """Whether the text in the chat was stopped after the tokens so far."""
        return bool(self._text) and len(branch.text.lstrip(" ")) >= len(self._text)

    def context_tokens(self, number: int) -> list[TokenInfo]:
        """The tokens that predict token `number` of the current branch, as far as they are known."""
        before = [each.sampled.token for each in self.branch.tokens[: number - 1]]
        tokens = [*(self.prompt.tokens if self.prompt else ()), *before]
        return tokens[-self.branch.tokens[number - 1].last.position :]

    def context(self, number: int) -> ContextInspection:
        """What is known of the context that predicts token `number` of the current branch, from 1."""
        ids = tuple(each.sampled.token.id for each in self.branch.tokens[: number - 1])
        return self._contexts.setdefault(ids, ContextInspection())

    async def load_context(self, number: int, *, layers: int, on_change: Callable[[], None]) -> None:
        """Read the context that predicts token `number`. layers: include attention of so many, and the logit lens; 0:
        neither. Errors go to `error`."""
        found = self.context(number)
        token = self.branch.tokens[number - 1]
        if found.outputs is not None and (not layers or len({layer for layer, _ in found.attention}) == layers):
            return
        request = InspectContext(
            id=0,
            checkpoint=self.request.checkpoint,
            cleaning=self.request.cleaning,
            precision=self.request.precision,
            prompt=self.request.prompt,
            generated=tuple(each.sampled.token.id for each in self.branch.tokens[: number - 1]),
            positions=token.last.position,
            options=InspectOptions(
                rows=8,
                columns=12,
                logit_lens=bool(layers),
                attention=tuple(AttentionHead(layer) for layer in range(1, layers + 1)),
                attention_positions=POSITIONS,
            ),
        )
        found.lens, found.attention = [], {}
        try:
            async with aclosing(self._client.stream(request)) as replies:
                async for reply in replies:
                    if not isinstance(reply, Inspected):
                        continue
                    match reply.result:
                        case PromptTokens():
                            found.prompt = reply.result
                        case LogitsMatrix():
                            found.outputs = reply.result
                        case LensRow():
                            found.lens.append(reply.result)
                        case AttentionWeights():
                            found.attention[reply.result.layer, reply.result.head] = reply.result
                    on_change()
        except LlmtuiError as error:
            self.error = await explain(error, self.request.checkpoint)
        on_change()


def _inspected_token(parts: dict[type, object]) -> InspectedToken:
    return InspectedToken(*(parts[kind] for kind in _PARTS))  # type: ignore[arg-type]


class DenoisingInspection:
    """The denoising steps of a text that a masked model generated."""

    def __init__(self, client: InferenceClient, request: Generate) -> None:
        """request: the one that generated the text."""
        self._client, self.request = client, structs.replace(request, denoising_states=True)
        self.states: list[DenoisingState] = []
        self.before: list[str] = []
        """For each of `states`, the text before its block."""
        self.error = ""
        self.complete = False

    async def load(self, on_change: Callable[[], None]) -> None:
        """Generate the text again. Errors go to `error`."""
        self.states, self.before, text = [], [], ""
        try:
            async with aclosing(self._client.stream(self.request)) as replies:
                async for reply in replies:
                    if isinstance(reply, DenoisingState):
                        self.states.append(reply)
                        self.before.append(text)
                        on_change()
                    elif isinstance(reply, TextDelta):
                        text += reply.text
            self.complete = True
        except LlmtuiError as error:
            self.error = await explain(error, self.request.checkpoint)
        on_change()


class ScoredText(Struct, kw_only=True):
    """The loss of each token of a text under one checkpoint."""

    checkpoint: Path
    tokens: list[TokenInfo] = []
    nats: list[float] = []
    total: int = 0
    """Tokens of the text; 0 until it is known."""
    result: ScoreResult | None = None


class LossDifference:
    """The loss of each token of one text under two checkpoints."""

    def __init__(
        self, client: InferenceClient, text: str, checkpoints: Sequence[Path], cleaning: tuple[str, ...] = ()
    ) -> None:
        """checkpoints: two with the same vocabulary. cleaning: as in `protocol.ModelRequest`."""
        self._client, self._text, self._cleaning = client, text, cleaning
        self.first, self.second = (ScoredText(checkpoint=checkpoint) for checkpoint in checkpoints)
        self.error = ""

    async def load(self, on_change: Callable[[], None]) -> None:
        """Score the text with both checkpoints. Errors go to `error`."""
        for scored in (self.first, self.second):
            try:
                await self._score(scored, on_change)
            except LlmtuiError as error:
                self.error = await explain(error, str(scored.checkpoint))
                break
        on_change()

    async def _score(self, scored: ScoredText, on_change: Callable[[], None]) -> None:
        request = Score(
            id=0, checkpoint=str(scored.checkpoint), text=self._text, cleaning=self._cleaning, each_token=True
        )
        async with aclosing(self._client.stream(request)) as replies:
            async for reply in replies:
                match reply:
                    case TokenLosses():
                        scored.tokens += reply.tokens
                        scored.nats += reply.nats
                        on_change()
                    case ScoreProgress():
                        scored.total = reply.total
                    case ScoreResult():
                        scored.result = reply


async def explain(error: LlmtuiError, checkpoint: str) -> str:
    """What went wrong and what to do, in one sentence; says so if `checkpoint` has been deleted."""
    path = Path(checkpoint)
    if not is_remote(path) and not await asyncio.to_thread(path.exists):
        return f"{path.name} has been deleted since; its numbers need its weights. Retry the prompt with another one."
    return error.what + (f"; {error.todo}" if error.todo else "")
