"""The parts of a model add up to its figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.model.count import flops_per_token, parameters
from core.model.parts import block_of, part_of, parts
from core.recipe.schema import Model
from tests.core.test_count import shapes


@given(shapes(), st.integers(1, 300))
def test_parts_add_up_to_parameters_and_flops(shape: Model, vocabulary: int) -> None:
    by_name = {part.name: part for part in parts(shape, vocabulary)}
    counted, cost = parameters(shape, vocabulary), flops_per_token(shape, vocabulary)
    assert sum(part.parameters for part in by_name.values()) == counted.total
    assert sum(part.flops for part in by_name.values()) == cost.forward
    assert by_name["attn"].parameters == counted.attention and by_name["mlp"].parameters == counted.feed_forward
    assert sum(by_name[name].parameters for name in ("ln_1", "ln_2", "ln_f")) == counted.norms
    assert by_name["lm_head"].parameters == counted.output
    assert ("wpe" in by_name) == (shape.positions == "learned")


def test_tensors_name_their_part_and_block() -> None:
    assert (part_of("h.11.attn.c_attn.weight"), block_of("h.11.attn.c_attn.weight")) == ("attn", 11)
    assert (part_of("ln_f.bias"), block_of("ln_f.bias")) == ("ln_f", None)
