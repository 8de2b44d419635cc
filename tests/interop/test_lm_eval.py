"""lm-eval loads an exported folder and computes the log-likelihoods that llmtui does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from core.model.gpt import GPT
from tests.core.exporting import MODERN, VOCABULARY, export, model_with_large_weights, save_checkpoint

pytestmark = pytest.mark.interop

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
LM_EVAL = """
import json, sys
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
lm = HFLM(pretrained=sys.argv[1], device="cpu", dtype="float32", batch_size=1)
pairs = [Instance("loglikelihood", {}, tuple(pair), 0) for pair in json.loads(sys.argv[2])]
print(json.dumps(lm.loglikelihood(pairs, disable_tqdm=True)))
"""


def log_likelihood(model: GPT, context: str, continuation: str) -> float:
    """Of the tokens of `continuation`, in nats; after the end-of-text token where there is no context."""
    before = VOCABULARY.encode(context) or [VOCABULARY.end_of_text]
    tokens = VOCABULARY.encode(continuation)
    with torch.inference_mode():
        log_probs = model(torch.tensor([[*before, *tokens[:-1]]]))[0, -len(tokens) :].log_softmax(-1)
    return sum(log_probs[at, token].item() for at, token in enumerate(tokens))


def test_log_likelihoods_are_ours(tmp_path: Path) -> None:
    """In a Python of its own: lm-eval needs a chardet below 7, llmtui 7.7."""
    python = os.environ.get("LM_EVAL_PYTHON")
    if not python:
        pytest.skip("LM_EVAL_PYTHON names no Python that has lm-eval[hf]")
    model = model_with_large_weights(MODERN)
    export(save_checkpoint(tmp_path, model), tmp_path / "out")
    pairs = [("ROMEO:", " é!"), ("a", "bcdefg"), ("", "x y")]
    command = [python, "-c", LM_EVAL, str(tmp_path / "out"), json.dumps(pairs)]
    output = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | OFFLINE, check=True, cwd=tmp_path).stdout
    found = [likelihood for likelihood, _ in json.loads(output.splitlines()[-1])]
    assert found == pytest.approx([log_likelihood(model, *pair) for pair in pairs], abs=1e-3)
