"""Text generation compared with transformers, litgpt and the memory bandwidth: `python -m benchmarks.sampling`.

GPT-2 of 124M with random weights, 256 tokens after 16, temperature 0.8, top-k 50. A process for each contender, in
turn, medians of three rounds. transformers runs its `generate`; litgpt its own, its linear layers in torch's dynamic
int8. Needs `transformers` (the bench extra) and, for litgpt, LITGPT_PYTHON: a Python that has `litgpt`, which asks for
other versions of what this project needs. Without it that comparison is left out.

Then through the inference process: how long a loaded model of 5M parameters takes to its first token, and what endless
sampling costs a training beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.harness import Figure, Measurement, interleaved, limits, options, report
from benchmarks.training import ours as trained
from core.hardware import cores
from core.model.gpt import GPT
from core.model.inference import inference
from core.model.weights import meta_device, save_model
from core.recipe.file import load
from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.runs.launch import child_environment, python_command
from core.sample import precision
from core.sample.generate import generate
from core.sample.protocol import AnyReply, Finished, Generate, TextDelta, decode_reply, encode
from core.storage.workspace import Workspace
from core.tokenize.bpe import train_bpe

PROMPT, TOKENS = 16, 256
VOCABULARY = 50304
SETTINGS: dict[str, Any] = {"temperature": 0.8, "top_k": 50}

AT_LEAST = {
    "float32": ("transformers float32", 1.8),
    "16 bits": ("transformers bfloat16", 3.0),
    "int8": ("litgpt", 1.9),
}
"""Times the other's tokens a second."""
TOGETHER = 2.5
"""Times one text's tokens a second that four have together."""
FIRST = 50.0
"""Milliseconds from a request to the first token of a loaded model of 5M parameters."""

GenerateTokens = Callable[[int], int]
"""Generates the given number of tokens in each text; returns the total number."""


def ours(kept: str, texts: str) -> GenerateTokens:
    model = GPT(load(preset="gpt2").model, VOCABULARY).eval()
    precision.convert_weights(model, kept, parameters=model.parameter_count())  # type: ignore[arg-type]

    def generate_tokens(tokens: int) -> int:
        with inference(model):
            prompt = list(range(100, 100 + PROMPT))
            every = generate(model, prompt, Sampling(tokens=tokens, **SETTINGS), texts=int(texts))
            return sum(1 for one in every if one is not None)

    return generate_tokens


def transformers(kept: str, texts: str) -> GenerateTokens:
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, bos_token_id=None, eos_token_id=None))
    model.eval()  # type: ignore[no-untyped-call]
    model.to(getattr(torch, kept))
    ids = torch.arange(100, 100 + PROMPT)[None].repeat(int(texts), 1)

    def generate_tokens(tokens: int) -> int:
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                **SETTINGS,
            )
        return int((out.shape[1] - PROMPT) * out.shape[0])

    return generate_tokens


def litgpt(kept: str, texts: str) -> GenerateTokens:
    from litgpt.config import Config
    from litgpt.generate.base import generate as theirs
    from litgpt.model import GPT as Theirs

    config = Config(
        n_layer=12,
        n_head=12,
        n_embd=768,
        block_size=1024,
        padded_vocab_size=VOCABULARY,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=True,
        norm_class_name="LayerNorm",
        mlp_class_name="GptNeoxMLP",
        intermediate_size=3072,
    )
    model = Theirs(config).eval()
    if kept == "int8":
        torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)  # type: ignore[no-untyped-call]
    prompt = torch.arange(100, 100 + PROMPT)

    def generate_tokens(tokens: int) -> int:
        with torch.inference_mode():
            model.max_seq_length = PROMPT + tokens
            model.set_kv_cache(batch_size=1)
            out = theirs(model, prompt, PROMPT + tokens, **SETTINGS)
            model.clear_kv_cache()
        return len(out) - PROMPT

    return generate_tokens


CONTENDERS: dict[str, Callable[[str, str], GenerateTokens]] = {
    "ours": ours,
    "transformers": transformers,
    "litgpt": litgpt,
}


def one(contender: str, kept: str, texts: str, tokens: str) -> None:
    """What `measured` runs: tokens a second."""
    torch.set_num_threads(cores())
    generate_tokens = CONTENDERS[contender](kept, texts)
    generate_tokens(8)
    began = time.perf_counter()
    generated = generate_tokens(int(tokens))
    print(json.dumps({"rate": generated / (time.perf_counter() - began)}))


def measured(tokens: int, contender: str, kept: str, texts: int = 1) -> Measurement:
    """One round in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.sampling", contender, kept, str(texts), str(tokens)]
    if contender == "litgpt":
        command[0] = os.environ["LITGPT_PYTHON"]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    answer: dict[str, float] = json.loads(output.splitlines()[-1])
    return answer


# -- through the inference process -------------------------------------------------------------------------------------


class Child:
    """An inference process."""

    def __init__(self, workspace: Workspace) -> None:
        self.process = subprocess.Popen(
            python_command("core.sample.serve"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(workspace),
        )

    def send(self, request: Generate) -> Iterator[AnyReply]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(encode(request) + b"\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            yield decode_reply(line)

    def seconds_to_text(self, request: Generate) -> float:
        began, first = time.perf_counter(), 0.0
        for reply in self.send(request):
            if isinstance(reply, TextDelta) and not first:
                first = time.perf_counter() - began
            if isinstance(reply, Finished):
                return first
        raise RuntimeError("the inference process ended")


@contextlib.contextmanager
def child(folder: Path) -> Iterator[Child]:
    made = Child(Workspace(folder / "home"))
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def checkpoint(folder: Path, shape: Model, vocabulary: int) -> str:
    made = folder / "step-00000001"
    made.mkdir()
    save_model(GPT(shape, vocabulary), made)
    train_bpe(iter(["".join(map(chr, range(32, 500))) * 50]), vocabulary).save(made / "vocabulary.json")
    return str(made)


def first_token() -> float:
    """Milliseconds, the median of eleven requests to a loaded model of 5M parameters."""
    with tempfile.TemporaryDirectory(prefix="llmtui-benchmark-") as directory, child(Path(directory)) as sampler:
        path = checkpoint(Path(directory), Model(n_layer=4, n_head=4, n_embd=256, zero_init=False), 300)
        sampler.seconds_to_text(Generate(id=1, checkpoint=path, prompt="a"))
        times = [
            sampler.seconds_to_text(
                Generate(
                    id=2 + number, checkpoint=path, prompt="Once upon a time", sampling=Sampling(tokens=9, seed=number)
                )
            )
            for number in range(11)
        ]
    return 1000 * sorted(times)[len(times) // 2]


def beside_training(seconds: float) -> Measurement:
    """By how much a training is slower beside endless sampling, and the share of a core's time that it takes, in %.

    The training has a thread on each core, and its products are done when the slowest of them is.
    """
    step = trained((3, 4, 256, 256, 8, 4096), "float32")
    ids = torch.randint(4096, (8, 256))

    def rate() -> float:
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            step(ids)
            count += 1
        return count / seconds

    with tempfile.TemporaryDirectory(prefix="llmtui-benchmark-") as directory, child(Path(directory)) as sampler:
        path = checkpoint(Path(directory), Model(n_layer=4, n_head=4, n_embd=256, zero_init=False), 300)
        endless = Generate(
            id=1, checkpoint=path, prompt="a", sampling=Sampling(tokens=1_000_000, logit_bias={299: -1000})
        )
        rate()
        alone = [rate()]
        threading.Thread(target=lambda: all(True for _ in sampler.send(endless)), daemon=True).start()
        time.sleep(1)
        works = psutil.Process(sampler.process.pid)
        before = works.cpu_times()
        beside = rate() + rate()
        after = works.cpu_times()
        sampler.process.kill()
        alone.append(rate())
    busy = (after.user + after.system) - (before.user + before.system)
    return {"slower": 100 * (1 - beside / sum(alone)), "share": 100 * busy / (2 * seconds)}


def main() -> int:
    chosen = options(__doc__)
    tokens, rounds = (32, 1) if chosen.quick else (TOKENS, 3)
    measure = partial(measured, tokens)
    contenders = {
        "transformers float32": partial(measure, "transformers", "float32"),
        "transformers bfloat16": partial(measure, "transformers", "bfloat16"),
        **{name: partial(measure, "ours", name) for name in ("float32", "bfloat16", "float16", "int8")},
        **{
            f"{name}, four texts": partial(measure, "ours", name, 4)
            for name in ("float32", "bfloat16", "float16", "int8")
        },
    }
    if "LITGPT_PYTHON" in os.environ:
        contenders["litgpt"] = partial(measure, "litgpt", "int8")
    rates = {name: values["rate"] for name, values in interleaved(contenders, rounds).items()}
    rates["16 bits"] = max(rates["bfloat16"], rates["float16"])
    figures = [
        Figure(name=name, value=rates[name], unit="tokens/s")
        for name in rates
        if name in contenders and "," not in name
    ]
    for name, (other, times) in AT_LEAST.items():
        if other in rates:
            ratio = rates[name] / rates[other]
            figures.append(
                Figure(
                    name=f"{name}, beside {other}",
                    value=rates[name],
                    unit="tokens/s",
                    at_least=times * rates[other],
                    ratio=ratio,
                )
            )
    for name in ("float32", "bfloat16", "float16", "int8"):
        four = rates[f"{name}, four texts"]
        figures.append(
            Figure(
                name=f"{name}, four texts",
                value=four,
                unit="tokens/s",
                at_least=TOGETHER * rates[name],
                ratio=four / rates[name],
            )
        )
    with meta_device():
        weights = GPT(load(preset="gpt2").model, VOCABULARY).parameter_count()
    copied = limits()["memory copy GB/s"]
    for name, size in (("float32", 4), ("16 bits", 2), ("int8", 1)):
        figures.append(
            Figure(
                name=f"{name}: weights read, of the memory's rate",
                value=100 * rates[name] * weights * size / (1e9 * copied),
                unit="%",
            )
        )
    figures.append(Figure(name="first token, 5M parameters", value=first_token(), unit="ms", at_most=FIRST))
    beside = beside_training(2.0 if chosen.quick else 10.0)
    figures.append(
        Figure(
            name="training beside endless sampling, slower by",
            value=beside["slower"],
            unit="%",
            at_most=beside["share"],
        )
    )
    return report(figures, chosen)


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] in CONTENDERS:
        one(*sys.argv[1:])
    else:
        sys.exit(main())
