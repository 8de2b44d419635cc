"""The command that lets one talk with a run's model, a line at a time."""

from __future__ import annotations

import asyncio
import io
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import structs

from core.checkpoints import checkpoint_paths, step_of
from core.errors import LlmtuiError
from core.plural import plural
from core.recipe.fields import fields
from core.recipe.file import load
from core.recipe.sampling import Precision, Sampling
from core.recipe.schema import Sample
from core.runs.directory import Run
from core.sample.protocol import Finished, Loaded, TextDelta
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.cli.commands.checkpoint import as_cleaned, checkpoint_option, choose, tell_training
from llmtui.cli.commands.lookup import run_with_checkpoint
from llmtui.cli.commands.options import precision_option, run_argument, sampling_options, sampling_settings
from llmtui.cli.console import out, say
from llmtui.clients.chat_session import ChatSession
from llmtui.clients.inference_client import InferenceClient

HELP = """\
/new                 begin a new conversation
/retry               another answer to what was said last, with the next seed
/seed N              the same seed draws the same answer; also /temperature X, /top_k N and so on
/set NAME=VALUE      change any setting of [sample] in the recipe; /set shows them
/checkpoint [WHICH]  let another checkpoint answer: a step, best or last
/help                this list
/quit                end, as does Ctrl-D; Ctrl-C stops the answer being written
What begins with a space is said to the model, even if a slash follows."""


@click.command(short_help="ChatSession with a run's model.")
@run_argument()
@checkpoint_option
@sampling_options
@precision_option
@click.option("--new", is_flag=True, help="Begin a new conversation instead of going on with the last one.")
def chat(wanted: str | None, checkpoint: str, precision: Precision, new: bool, **asked: Any) -> int:
    """ChatSession with the model of RUN, while it still trains or afterwards: each line is a turn, also from a pipe.

    How a conversation is written for the model is in the recipe, under [chat]; a model without templates goes on from
    what was said so far. With --checkpoint last the newest answers, at each turn. What was said is kept in the run's
    directory, for each checkpoint, and gone on with. /help lists what can be changed meanwhile.
    """
    workspace = Workspace()
    run = run_with_checkpoint(workspace, wanted)
    settings = sampling_settings(run.recipe, asked)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    with asyncio.Runner() as runner:
        client = InferenceClient(workspace)
        try:
            return Chat(runner, ChatSession(client, run), run, checkpoint, settings, precision).hold(new)
        finally:
            runner.run(client.close())


class Chat:
    """The conversation as lines: reads them, does what they ask, writes the answers as they come."""

    def __init__(
        self,
        runner: asyncio.Runner,
        session: ChatSession,
        run: Run,
        checkpoint: str,
        settings: Sample,
        precision: Precision,
    ) -> None:
        self._runner, self._session, self._run = runner, session, run
        self._wanted, self._settings, self._precision = checkpoint, settings, precision
        self._newest: Path | None = None
        """Of the checkpoints when one was last chosen, which may have passed over it."""
        self._said = "float32"
        """The numbers the weights are kept in, as far as it has been said."""
        self._changed: tuple[str, ...] = ()
        """The cleaning steps that have been said to change what is said."""
        self._asks = sys.stdin.isatty() and sys.stdout.isatty()
        self._kept = True

    def hold(self, new: bool) -> int:
        """ChatSession until there is nothing more to read; the exit code."""
        tell_training(self._run)
        self._turn(silent=new)
        if new:
            self._session.start_conversation()
        if self._session.transcripts.taken:
            say("another chat with this run is open, so what is said here is not kept")
            self._kept = False
        if self._asks:
            import readline  # noqa: F401 `input` edits lines and remembers them once it is imported

            say(f"{self._run.id}, {self._session.checkpoint}; /help lists what can be changed")
        while (line := self._read()) is not None:
            if line.startswith("/"):
                if not self._do(line[1:].strip()):
                    break
            elif line.strip():
                self._turn()
                self._session.add_user_message(line)
                self._answer()
        return 0

    def _read(self) -> str | None:
        """The next line, or None when there is none."""
        if not self._asks:
            line = sys.stdin.readline()
            return line.rstrip("\n") if line else None
        try:
            return input("> ")
        except EOFError:
            out("")
            return None
        except KeyboardInterrupt:
            out("")
            raise

    # -- what a line asks for ---------------------------------------------------------------------------------------

    def _do(self, command: str) -> bool:
        """Do what /COMMAND means; False when it ends the chat."""
        name, _, value = command.partition(" ")
        value = value.strip()
        try:
            match name:
                case "quit" | "exit" | "q":
                    return False
                case "help" | "":
                    say(HELP)
                case "new":
                    self._session.start_conversation()
                    say("a new conversation")
                case "retry":
                    self._retry()
                case "checkpoint":
                    self._checkpoint(value)
                case "set":
                    self._set(value)
                case _ if name in Sampling.__struct_fields__:
                    self._set(f"{name}={value}")
                case _:
                    say(f"there is no /{name}; /help lists what there is")
        except LlmtuiError as trouble:
            say(trouble.sentence())
        return True

    def _retry(self) -> None:
        if not self._session.remove_reply():
            say("nothing has been said yet")
            return
        self._settings = structs.replace(self._settings, seed=self._settings.seed + 1)
        say(f"seed {self._settings.seed}")
        self._turn()
        self._answer()

    def _checkpoint(self, which: str) -> None:
        if not which:
            kept = ", ".join(str(step_of(path)) for path in reversed(checkpoint_paths(self._run.checkpoints)))
            say(f"{self._session.checkpoint} answers; kept are the steps {kept}; /checkpoint last follows the training")
            return
        chosen = self._choose(which)
        self._wanted = which
        self._announce(self._session.select_checkpoint(chosen.path, continue_previous=which == "last"))
        say(f"{self._session.checkpoint} answers")

    def _set(self, setting: str) -> None:
        if not setting:
            said = (field for field in fields() if field.section == "sample" and field.name != "prompts")
            say("\n".join(f"{field.name} = {getattr(self._settings, field.name)}" for field in said))
            return
        if setting.partition("=")[0].strip() == "prompts":
            say("a chat has no prompts but what is said in it")
            return
        recipe = structs.replace(self._run.recipe, sample=self._settings)
        base = msgspec.to_builtins(recipe, str_keys=True)
        self._settings = load(base=base, overrides=[f"sample.{setting}"]).sample

    # -- answers ----------------------------------------------------------------------------------------------------

    def _turn(self, *, silent: bool = False) -> None:
        """Let the newest checkpoint answer, where that is wanted and it is another one. Raises NoCheckpointError."""
        if self._session.checkpoint and (self._wanted != "last" or self._newest_there() == self._newest):
            return
        before, chosen = self._session.checkpoint, self._choose(self._wanted)
        words = self._session.select_checkpoint(chosen.path, continue_previous=self._wanted == "last")
        if before and before != chosen.path.name:
            say(f"training has saved {chosen.path.name}, which answers from here on")
        if not silent:
            self._announce(words)

    def _newest_there(self) -> Path | None:
        return next(iter(checkpoint_paths(self._run.checkpoints)), None)

    def _choose(self, which: str) -> Artifact:
        """Raises NoCheckpointError, CheckpointNotFoundError, DamagedError."""
        self._newest = self._newest_there()
        return choose(self._run, which)

    def _announce(self, words: str) -> None:
        if words:
            say(f"{self._session.checkpoint}: {words}; /new begins another")

    def _answer(self) -> None:
        try:
            self._runner.run(self._write())
        except LlmtuiError as trouble:
            say(trouble.sentence() + "\n/retry asks again")
        if self._kept and not self._session.transcripts.kept:
            say("what is said can no longer be kept on the disk")
            self._kept = False

    async def _write(self) -> None:
        """Write the answer as it comes. Ctrl-C ends it where somebody can say something else, elsewhere all."""
        request = structs.replace(self._session.build_request(self._settings.sampling()), precision=self._precision)
        open_line = False
        try:
            async with aclosing(self._session.stream_reply(request)) as answer:
                async for reply in answer:
                    match reply:
                        case Loaded():
                            self._tell(reply)
                        case TextDelta(text=text):
                            out(text, end="")
                            open_line = True
                        case Finished():
                            out("")
                            open_line = False
        except asyncio.CancelledError:
            if not self._asks:
                raise
            out("")
            say("stopped")
        except LlmtuiError:
            if open_line:  # what is said about it does not belong to it
                out("")
            raise

    def _tell(self, loaded: Loaded) -> None:
        """What a person should know before the answer."""
        if loaded.precision != self._said and not loaded.precision.startswith("float32"):
            self._said = loaded.precision
            say(f"weights in {loaded.precision}")
        if loaded.changed_by and loaded.changed_by != self._changed:
            self._changed = loaded.changed_by
            say(as_cleaned(loaded, "what was said"))
        if loaded.dropped_tokens:
            of = f"{loaded.dropped_tokens:,} of {plural(loaded.prompt_tokens, 'token')}"
            say(f"this is longer than the context: the first {of} are left out")
