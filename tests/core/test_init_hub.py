"""Weights from the hub, by the real `huggingface_hub` against a stand-in on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from core.download import hub_client
from core.download.hub_errors import HubError
from core.events import Evaluation, Event, Note, Progress, Resumed, StageStarted
from core.export.mappings import tensor_mappings
from core.init.hub import download_weights, weight_headers
from core.init.safetensors_header import read_headers
from core.init.spec import InitError
from core.model.device import Device
from core.pipeline import pipeline
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.tokenize.shards import map_shard
from tests.core.gpt2_folders import ARCHITECTURE, SMALL, save_gpt2, transformers_gpt2
from tests.core.hub_standin import HubStandIn, closed_port, use
from tests.core.stages import remarks, return_value

pytestmark = pytest.mark.heavy

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"
CPU = Device(name="cpu", dtype=torch.float32, description="")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A hub with one model in two files, beside files that are not needed."""
    for name, value in {
        "RETRY_SECONDS": 5.0,
        "FIRST_RESPONSE_SECONDS": 5.0,
        "READ_TIMEOUT": 0.5,
        "BACKOFF": 0.02,
        "MAX_BACKOFF": 0.1,
    }.items():
        monkeypatch.setattr(hub_client, name, value)
    monkeypatch.setattr("core.processes.progress.PROGRESS_INTERVAL", 0.01)
    folder = tmp_path / "repository"
    save_gpt2(folder, shard="50KB", vocab_size=300, **SMALL | {"n_embd": 64})
    for name in ("pytorch_model.bin", "tf_model.h5", "README.md"):
        (folder / name).write_bytes(b"\x80 not needed")
    with HubStandIn() as standin:
        use(standin.endpoint, tmp_path / "hf", monkeypatch)
        standin.add("me/small", folder)
        yield standin


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def download_error(repository: str, revision: str = "main") -> str:
    with pytest.raises((HubError, InitError)) as caught:
        return_value(download_weights(repository, revision))
    return caught.value.sentence()


def test_config_and_safetensors_are_fetched_and_nothing_else(hub: HubStandIn, tmp_path: Path) -> None:
    events: list[Event] = []
    download = download_weights("me/small", "main")
    while True:
        try:
            events.append(next(download))
        except StopIteration as end:
            folder = end.value
            break
    assert weights(folder) == weights(tmp_path / "repository")
    assert hub.sent(r"\.(bin|h5|md)$") == 0
    assert all(isinstance(event, Progress) and event.unit == "bytes" for event in events)


def test_cached_weights_are_not_requested_again(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = return_value(download_weights("me/small", "main"))
    requests = len(hub.requests)
    assert return_value(download_weights("me/small", "main")) == folder
    assert len(hub.requests) == requests
    with closed_port() as nowhere:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", nowhere)
        assert return_value(download_weights("me/small", "main")) == folder


def test_the_named_revision_is_downloaded(hub: HubStandIn, tmp_path: Path) -> None:
    save_gpt2(tmp_path / "other", vocab_size=300, **SMALL)
    hub.add("me/small", tmp_path / "other", "second")
    assert weights(return_value(download_weights("me/small", "second"))) == weights(tmp_path / "other")
    assert weights(return_value(download_weights("me/small", "main"))) == weights(tmp_path / "repository")
    assert "it has no revision 'third'" in download_error("me/small", "third")


@pytest.mark.parametrize("kind", ["drop", "stall", "status"])
def test_a_broken_connection_is_retried(hub: HubStandIn, tmp_path: Path, kind: str) -> None:
    hub.fail(r"GET .*model-00001.*\.safetensors", kind, times=2)  # type: ignore[arg-type]
    assert weights(return_value(download_weights("me/small", "main"))) == weights(tmp_path / "repository")


def test_files_with_another_digest_are_deleted(hub: HubStandIn, tmp_path: Path) -> None:
    hub.fail(r"GET .*model-00001.*\.safetensors", "garbage", times=1)
    assert "is not what the hub's listing says" in download_error("me/small")
    assert weights(return_value(download_weights("me/small", "main"))) == weights(tmp_path / "repository")


def test_an_unreachable_hub_is_an_error_with_an_alternative(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as nowhere:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", nowhere)
        error = download_error("me/small")
    assert "cannot be reached" in error
    assert "name a folder that has the weights as model.init" in error


def test_missing_and_gated_models_have_different_errors(hub: HubStandIn) -> None:
    assert "there is no such model, or it is private" in download_error("me/nothing")
    hub.gated["me/small"] = TOKEN
    error = download_error("me/small")
    assert "on request" in error
    assert f"{hub.endpoint}/me/small" in error


def test_a_repository_with_only_a_pickle_is_refused_before_download(hub: HubStandIn, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (old / "pytorch_model.bin").write_bytes(b"\x80")
    hub.add("me/old", old)
    assert "pytorch_model.bin, a pickle" in download_error("me/old")
    assert hub.sent("bin") == 0


def test_checking_downloads_only_the_headers(hub: HubStandIn, tmp_path: Path) -> None:
    folder, header = return_value(weight_headers("me/small", "main"))
    assert (folder / "config.json").is_file()
    assert header == read_headers(sorted((tmp_path / "repository").glob("*.safetensors")))
    assert header["transformer.h.1.mlp.c_fc.weight"].size == (64, 256)
    headers = [int.from_bytes(data[:8], "little") + 8 for data in weights(tmp_path / "repository").values()]
    assert hub.sent(r"\.safetensors$") == sum(headers)
    fetched, requests = return_value(download_weights("me/small", "main")), len(hub.requests)
    assert return_value(weight_headers("me/small", "main")) == (fetched, header)
    assert len(hub.requests) == requests


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 3}, "they come without h.2.ln_1.weight, h.2.ln_1.bias"),
        ({"n_embd": 32}, "wte.weight has the shape (50257, 64) where (50257, 32) is needed"),
        ({"vocab_size": 300}, "gpt2 of 50,257 entries here, 300 there"),
        ({"model_type": "llama"}, "model_type 'llama'"),
    ],
    ids=str,
)
def test_a_model_of_the_hub_that_does_not_fit_is_refused_before_the_first_stage(
    hub: HubStandIn, tmp_path: Path, workspace: Workspace, corpus: Path, change: dict[str, int | str], message: str
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 64, "n_positions": 8, "vocab_size": 50257, "model_type": "gpt2"}
    (folder / "config.json").write_text(json.dumps(shape | change))
    architecture = msgspec.structs.replace(load(preset="gpt2").model, n_layer=2, n_head=2, n_embd=64, block_size=8)
    mappings = tensor_mappings(architecture, 50257, ARCHITECTURE)
    save_file({mapping.name: torch.zeros(mapping.size) for mapping in mappings}, folder / "model.safetensors")
    hub.add("me/other", folder)
    overridden = {name: value for name, value in change.items() if name in ("n_layer", "n_embd")}
    recipe = recipe_of(corpus, "tokenize.vocabulary=gpt2")
    model = msgspec.structs.replace(architecture, init="hf:me/other", **overridden)
    events: list[Event] = []
    with pytest.raises(InitError) as caught:
        events.extend(pipeline(msgspec.structs.replace(recipe, model=model), workspace, tmp_path / "run", CPU))
    assert message in caught.value.sentence()
    assert not any(isinstance(event, StageStarted) for event in events)
    assert hub.sent(r"\.safetensors$") < 20_000


def test_closing_stops_the_download_and_the_next_attempt_resumes(hub: HubStandIn, tmp_path: Path) -> None:
    hub.fail(r"GET .*model-00002.*\.safetensors", "stall", times=1)
    download = download_weights("me/small", "main")
    while not hub.count("GET .*model-00002"):
        next(download)
    download.close()
    assert weights(return_value(download_weights("me/small", "main"))) == weights(tmp_path / "repository")
    assert hub.count("GET .*model-00001.*safetensors") == 1


def recipe_of(corpus: Path, *overrides: str) -> Recipe:
    base = {"name": "tuned", "source": {"corpus": str(corpus)}}
    small = ("train.steps=2", "train.batch_size=4", "train.evaluate_tokens=64", "sample.tokens=1", "train.device=cpu")
    return load(base=base, overrides=(*small, *overrides))


def test_a_training_loads_the_weights_and_resumes_without_them(
    hub: HubStandIn, tmp_path: Path, workspace: Workspace, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vocabulary of the weights is taken to be the one trained here, as 50,257 entries would be too large."""
    monkeypatch.setattr("core.init.weights.GPT2_VOCABULARIES", ("bpe",))
    monkeypatch.setattr("core.init.compat.GPT2_VOCABULARIES", ("bpe", "gpt2"))
    shape = ("n_layer=2", "n_head=2", "n_embd=64", "block_size=8", "positions=learned", "norm=layer", "bias=true")
    options = ("activation=gelu", "qk_norm=false", "tie_embeddings=true", "init=hf:me/small")
    small = ("tokenize.size=300", "train.evaluate_tokens=8")  # one window, the first
    recipe = recipe_of(corpus, *small, *(f"model.{field}" for field in (*shape, *options)))
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    events = list(pipeline(recipe, workspace, run, CPU))
    assert remarks(events)[-1].startswith("initialised with the weights of hf:me/s")
    theirs = transformers_gpt2(vocab_size=300, **SMALL | {"n_embd": 64})
    tokens = Artifact.open(next((workspace.artifacts / "tokens").glob("corpus-*[0-9a-f]")))
    (validation,) = tokens.files("validation-*.tokens")
    ids = torch.tensor(map_shard(validation)[:9].astype("int64"))
    with torch.no_grad():
        logits = theirs(ids[None, :8]).logits[0]
    first = next(event for event in events if isinstance(event, Evaluation))
    assert first.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, ids[1:]).item(), abs=1e-5)
    requests = len(hub.requests)
    longer = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, steps=3))
    resumed = list(pipeline(longer, workspace, run, CPU))
    assert any(isinstance(event, Resumed) for event in resumed)
    assert not any(isinstance(event, Note) and "initialised with" in event.text for event in resumed)
    assert len(hub.requests) == requests
