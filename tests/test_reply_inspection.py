"""The X-ray of a text through a real inference process: the same text, branches, contexts, losses, a deleted
checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from core.recipe.sampling import Sampling
from core.sample.protocol import Generate, TextDelta
from core.storage.workspace import Workspace
from llmtui.clients.inference_client import InferenceClient
from llmtui.clients.reply_inspection import DenoisingInspection, LossDifference, ReplyInspection
from tests.byte_models import LETTERS, run_with_checkpoints

pytestmark = pytest.mark.heavy

SAMPLING = Sampling(tokens=30, logit_bias=LETTERS, top_k=8, seed=3)


@pytest.fixture
async def client(workspace: Workspace) -> AsyncIterator[InferenceClient]:
    client = InferenceClient(workspace)
    yield client
    await client.close()


@pytest.fixture
def request_(workspace: Workspace) -> Generate:
    """A context of 16 tokens is full and read again on the way."""
    run = run_with_checkpoints(workspace, 10, 20, context=16)
    return Generate(id=0, checkpoint=str(run.checkpoints / "step-00000020"), prompt="hello", sampling=SAMPLING)


async def generated(client: InferenceClient, request: Generate) -> str:
    return "".join([reply.text async for reply in client.stream(request) if isinstance(reply, TextDelta)])


def nothing() -> None:
    pass


async def test_the_x_ray_has_the_tokens_that_were_generated_and_their_contexts(
    client: InferenceClient, request_: Generate
) -> None:
    text = await generated(client, request_)
    inspection = ReplyInspection(client, request_, text)
    await inspection.load_branch(0, nothing)
    assert (inspection.branch.text, inspection.branch.complete, inspection.differs) == (text, True, False)
    assert len(inspection.branch.tokens) == 30
    for number in (1, 12, 13, 30):
        await inspection.load_context(number, layers=1, on_change=nothing)
        inspected, last = inspection.context(number), inspection.branch.tokens[number - 1].last
        assert inspected.outputs is not None and inspected.prompt is not None
        assert list(inspected.prompt.tokens) == inspection.context_tokens(number)
        assert inspected.outputs.rows[-1].logits[:5] == pytest.approx(last.logits[:5], abs=1e-4)
        assert set(inspected.attention) == {(1, 1), (1, 2)} and [row.layer for row in inspected.lens] == [0, 1]


async def test_a_stopped_text_is_followed_as_far_as_it_goes_and_another_text_is_noticed(
    client: InferenceClient, request_: Generate
) -> None:
    text = await generated(client, request_)
    stopped = ReplyInspection(client, request_, text[:9])
    await stopped.load_branch(0, nothing)
    assert (stopped.branch.text, stopped.differs) == (text[:9], False)
    other = ReplyInspection(client, request_, "z" + text[1:])
    await other.load_branch(0, nothing)
    assert other.differs


async def test_a_branch_goes_on_from_the_token_that_was_taken_and_the_first_text_is_kept(
    client: InferenceClient, request_: Generate
) -> None:
    text = await generated(client, request_)
    inspection = ReplyInspection(client, request_, text)
    await inspection.load_branch(0, nothing)
    fifth = inspection.branch.tokens[4]
    other = next(c.token for c in fifth.probabilities.candidates if c.token.id != fifth.sampled.token.id)
    assert inspection.take(5, other.id)
    await inspection.load_branch(1, nothing)
    branch = inspection.branch
    assert branch.text[:5] == text[:4] + other.text and len(branch.tokens) == 30
    assert branch.tokens[4].sampled.instead_of == fifth.sampled.token
    assert [token.last.step for token in branch.tokens] == list(range(1, 31))
    assert not inspection.take(5, fifth.sampled.token.id)
    assert inspection.current == 0 and inspection.branch.text == text
    assert not inspection.take(5, other.id) and inspection.current == 1


async def test_losses_of_two_checkpoints_are_of_the_same_tokens(client: InferenceClient, request_: Generate) -> None:
    checkpoints = [Path(request_.checkpoint).parent / f"step-000000{step}" for step in (10, 20)]
    pair = LossDifference(client, "hello, hello, hello", checkpoints)
    await pair.load(nothing)
    assert pair.error == "" and pair.first.tokens == pair.second.tokens
    assert len(pair.first.nats) == len(pair.second.nats) == 19 and pair.first.nats != pair.second.nats
    assert pair.first.result is not None
    assert sum(pair.first.nats) == pytest.approx(pair.first.result.nats, rel=1e-5)


async def test_a_deleted_checkpoint_is_called_so(client: InferenceClient, request_: Generate) -> None:
    text = await generated(client, request_)
    shutil.rmtree(request_.checkpoint)
    inspection = ReplyInspection(client, request_, text)
    await inspection.load_branch(0, nothing)
    assert inspection.error.startswith("step-00000020 has been deleted since")
    assert not inspection.branch.tokens


async def test_the_denoising_steps_end_in_the_text_that_was_generated(
    client: InferenceClient, workspace: Workspace
) -> None:
    run = run_with_checkpoints(workspace, 10, name="masked", objective="masked")
    request = Generate(
        id=0,
        checkpoint=str(run.checkpoints / "step-00000010"),
        prompt="hello",
        sampling=structs.replace(SAMPLING, tokens=12),
        denoising_steps=4,
    )
    text = await generated(client, request)
    inspection = DenoisingInspection(client, request)
    await inspection.load(nothing)
    assert inspection.complete and len(inspection.states) == 4
    assert "".join(span.text for span in inspection.states[-1].spans) == text
    assert [len(state.unmasked) for state in inspection.states] == [3, 3, 3, 3]
