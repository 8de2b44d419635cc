"""Private interfaces of libraries: which module may use which, and what breaks when a library changes them.

A private interface is a name with a leading underscore in a module or class of a library.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARIES = {
    "click", "datasets", "httpx2", "huggingface_hub", "pyarrow", "rich", "safetensors", "starlette", "textual",
    "tiktoken", "tokenizers", "torch", "urllib3", "uvicorn",
}  # fmt: skip

IMPORTED = {
    "llmtui/tui/textual_internals.py": {
        "textual._xterm_parser": "the workbench cannot read keys and mouse reports from the terminal",
        "textual._xterm_parser.XTermParser": "the workbench cannot read keys from the terminal",
        "textual._xterm_parser._re_mouse_event": "mouse reports are taken for unknown sequences and dropped",
        "textual._xterm_parser._re_terminal_mode_response": "mode reports are taken for unknown sequences and dropped",
        "textual.keys._character_to_key": "bindings of single characters in a keymap are not found",
    },
    "core/train/foreach.py": {
        "torch._foreach_mul_": "gradients are not scaled before an optimizer step",
        "torch._foreach_copy_": "the gradients of several processes are not written back after all-reduce",
    },
    "core/train/dry_run.py": {
        "torch.testing._internal.distributed.fake_pg.FakeStore": "`llmtui plan --gpus` cannot shard a model",
    },
    "core/model/gpt.py": {
        "torch._dynamo.config.suppress_errors": "a block that cannot be compiled ends the run",
    },
    "core/model/matmul.py": {
        "torch.ops.mkldnn._linear_pointwise": "matrix products on the processor take the slower path of F.linear",
    },
}
"""Module that uses it → interface → what breaks without it."""

DERIVED = {
    "textual.drivers.linux_driver.LinuxDriver": {
        "_run_input_thread": "an error while reading keys ends in a traceback on the screen",
        "_sigtstp_application": "Ctrl-Z leaves the terminal in raw mode",
        "_sigcont_application": "`fg` does not redraw the screen",
    },
    "textual._xterm_parser.XTermParser": {
        "_sequence_to_key_events": "Alt-Enter and unknown sequences are typed into the input as text",
    },
    "textual.app.App": {
        "_handle_exception": "an error shows a traceback instead of one line and a log",
        "_shutdown": "a worker that asks for a screen while a test ends fails that test",
    },
    "urllib3.connection.HTTPConnection": {
        "_new_conn": "private addresses are connected to: `core/download/ssrf.py` checks none",
        "_dns_host": "a name is looked up again after its address was checked, and may mean another one",
    },
}
"""Class of a library → private method or property that a class of ours overrides or sets → what breaks without it."""


def attribute_of(path: str) -> object:
    """The object with a dotted path, importing as much of it as is a module. Raises AttributeError."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for name in parts[length:]:
            value = getattr(value, name)
        return value
    raise AttributeError(path)


def private_uses(source: str) -> set[str]:
    """Dotted paths of the private names of libraries that a program imports or reads from a module it has imported."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    value: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                modules[bound] = alias.name if alias.asname else bound
                value.add(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                value.add(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Attribute):
            path = ast.unparse(node)
            first, _, rest = path.partition(".")
            if first in modules and path.replace(".", "").replace("_", "").isalnum():
                value.add(f"{modules[first]}.{rest}")
    return {
        path
        for path in value
        if path.partition(".")[0] in LIBRARIES
        and any(name.startswith("_") and not name.startswith("__") for name in path.split("."))
    }


@pytest.mark.heavy
def test_private_interfaces_are_used_only_in_the_modules_listed_here() -> None:
    for package in ("core", "llmtui"):
        for path in (ROOT / package).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            allowed = IMPORTED.get(name, {})
            used = private_uses(path.read_text("utf-8"))
            unlisted = {use for use in used if not any(f"{each}.".startswith(f"{use}.") for each in allowed)}
            assert not unlisted, f"{name}: use a public interface, or list it with what breaks when it goes"


def test_the_scan_finds_imports_and_attributes() -> None:
    source = "import torch\nfrom torch._dynamo import x\nfrom datasets.utils import _dill as d\ntorch._foreach_add_(a)"
    assert private_uses(source) == {"torch._dynamo.x", "datasets.utils._dill", "torch._foreach_add_"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("path", "broken"), [(path, broken) for uses in IMPORTED.values() for path, broken in uses.items()]
)
def test_the_library_still_has_it(path: str, broken: str) -> None:
    try:
        attribute_of(path)
    except AttributeError:
        pytest.fail(f"{path} is gone: {broken}")


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [(owner, name, broken) for owner, names in DERIVED.items() for name, broken in names.items()],
)
def test_the_library_still_calls_it(owner: str, name: str, broken: str) -> None:
    cls = attribute_of(owner)
    assert isinstance(cls, type)
    defined = any(name in vars(each) or f"self.{name} " in source_of(each) for each in cls.__mro__[:-1])
    assert defined, f"{owner} has no {name} any more: {broken}"


def source_of(cls: type) -> str:
    """The file that defines a class."""
    file = importlib.import_module(cls.__module__).__file__
    return Path(file).read_text("utf-8") if file and file.endswith(".py") else ""


def test_textual_has_a_queue_of_output_that_waits_for_the_terminal() -> None:
    from textual.drivers._writer_thread import WriterThread

    broken = "the workbench draws on while a slow terminal has not taken what was drawn before"
    assert hasattr(WriterThread(None), "_queue"), broken  # type: ignore[arg-type]
    assert "_writer_thread" in source_of(attribute_of("textual.drivers.linux_driver.LinuxDriver")), broken  # type: ignore[arg-type]
