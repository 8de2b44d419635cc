"""`llmtui chat`: chat with a run's model, line by line."""

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

from core.checkpoints import step_of
from core.errors import LlmtuiError
from core.plural import plural
from core.recipe.fields import fields
from core.recipe.file import load
from core.recipe.sampling import Precision, Sampling
from core.recipe.schema import Sample
from core.runs.directory import Run
from core.runs.remote_state import inference_paths
from core.sample.protocol import Finished, Loaded, TextDelta
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.cli.commands.checkpoint import checkpoint_option, cleaning_message, inference_checkpoint, print_if_training
from llmtui.cli.commands.lookup import run_for_inference
from llmtui.cli.commands.options import precision_option, run_argument, sampling_options, sampling_settings
from llmtui.cli.console import print_message, print_output
from llmtui.clients.chat_session import ChatSession
from llmtui.clients.inference_client import InferenceClient

HELP = """\
/new                 start a new conversation
/retry               generate the last reply again, with the next seed
/seed N              the same seed gives the same reply; also /temperature X, /top_k N and so on
/set NAME=VALUE      change any setting of [sample] in the recipe; /set shows them
/checkpoint [WHICH]  switch to another checkpoint: a step, best or last
/help                this list
/quit                end, as does Ctrl-D; Ctrl-C stops the reply that is being generated
A line that begins with a space is sent to the model even if a slash follows."""


@click.command(short_help="Chat with a run's model.")
@run_argument()
@checkpoint_option
@sampling_options
@precision_option
@click.option("--new", is_flag=True, help="Start a new conversation instead of continuing the last one.")
def chat(run_name: str | None, checkpoint: str, precision: Precision, new: bool, **overrides: Any) -> int:
    """Chat with the model of RUN, during or after its training: each line of input is a message, also from a pipe.

    The chat templates are in the recipe, under [chat]; a model without templates continues the text of all messages.
    With --checkpoint last each message goes to the newest checkpoint. The conversation with each checkpoint is saved in
    the run's directory, and continued the next time. /help lists the commands of the chat.
    """
    workspace = Workspace()
    run = run_for_inference(workspace, run_name)
    settings = sampling_settings(run.recipe, overrides)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    with asyncio.Runner() as runner:
        client = InferenceClient(workspace)
        try:
            return ChatLoop(runner, ChatSession(client, run), run, checkpoint, settings, precision).run(new)
        finally:
            runner.run(client.close())


class ChatLoop:
    """Reads messages and commands from standard input, and prints the replies as they are generated."""

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
        self._checkpoint_name, self._settings, self._precision = checkpoint, settings, precision
        self._newest: Path | None = None
        """The newest checkpoint when one was last selected; it may have been skipped as damaged."""
        self._shown_precision = "float32"
        self._shown_cleaning: tuple[str, ...] = ()
        """The cleaning steps in the last message about them."""
        self._interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._transcript_kept = True

    def run(self, new: bool) -> int:
        """Chat until the input ends; returns the exit code."""
        print_if_training(self._run)
        self._update_checkpoint(quiet=new)
        if new:
            self._session.start_conversation()
        if self._session.transcripts.taken:
            print_message("another chat with this run is open; this conversation is not saved")
            self._transcript_kept = False
        if self._interactive:
            import readline  # noqa: F401 once it is imported, `input` has line editing and history

            print_message(f"{self._run.id}, {self._session.checkpoint}; /help lists the commands")
        while (line := self._read_line()) is not None:
            if line.startswith("/"):
                if not self._run_command(line[1:].strip()):
                    break
            elif line.strip():
                self._update_checkpoint()
                self._session.add_user_message(line)
                self._print_reply()
        return 0

    def _read_line(self) -> str | None:
        """The next line of input; None at its end."""
        if not self._interactive:
            line = sys.stdin.readline()
            return line.rstrip("\n") if line else None
        try:
            return input("> ")
        except EOFError:
            print_output("")
            return None
        except KeyboardInterrupt:
            print_output("")
            raise

    # -- commands ---------------------------------------------------------------------------------------------------

    def _run_command(self, command: str) -> bool:
        """Run /COMMAND; False if it ends the chat."""
        name, _, value = command.partition(" ")
        value = value.strip()
        try:
            match name:
                case "quit" | "exit" | "q":
                    return False
                case "help" | "":
                    print_message(HELP)
                case "new":
                    self._session.start_conversation()
                    print_message("new conversation")
                case "retry":
                    self._retry()
                case "checkpoint":
                    self._switch_checkpoint(value)
                case "set":
                    self._change_setting(value)
                case _ if name in Sampling.__struct_fields__:
                    self._change_setting(f"{name}={value}")
                case _:
                    print_message(f"unknown command /{name}; /help lists the commands")
        except LlmtuiError as error:
            print_message(error.sentence())
        return True

    def _retry(self) -> None:
        if not self._session.remove_reply():
            print_message("there is no message to reply to")
            return
        self._settings = structs.replace(self._settings, seed=self._settings.seed + 1)
        print_message(f"seed {self._settings.seed}")
        self._update_checkpoint()
        self._print_reply()

    def _switch_checkpoint(self, name: str) -> None:
        if not name:
            steps = ", ".join(str(step_of(path)) for path in reversed(inference_paths(self._run)))
            print_message(
                f"{self._session.checkpoint} replies; checkpoints: {steps}; /checkpoint last follows the training"
            )
            return
        checkpoint = self._load_checkpoint(name)
        self._checkpoint_name = name
        self._print_notice(self._session.select_checkpoint(checkpoint.path, continue_previous=name == "last"))
        print_message(f"{self._session.checkpoint} replies")

    def _change_setting(self, setting: str) -> None:
        if not setting:
            settings = (field for field in fields() if field.section == "sample" and field.name != "prompts")
            print_message("\n".join(f"{field.name} = {getattr(self._settings, field.name)}" for field in settings))
            return
        if setting.partition("=")[0].strip() == "prompts":
            print_message("prompts has no effect in a chat")
            return
        recipe = structs.replace(self._run.recipe, sample=self._settings)
        base = msgspec.to_builtins(recipe, str_keys=True)
        self._settings = load(base=base, overrides=[f"sample.{setting}"]).sample

    # -- replies ----------------------------------------------------------------------------------------------------

    def _update_checkpoint(self, *, quiet: bool = False) -> None:
        """Select the checkpoint, again if it is "last" and a newer one was saved. Raises NoCheckpointError."""
        if self._session.checkpoint and (self._checkpoint_name != "last" or self._newest_path() == self._newest):
            return
        previous, checkpoint = self._session.checkpoint, self._load_checkpoint(self._checkpoint_name)
        notice = self._session.select_checkpoint(checkpoint.path, continue_previous=self._checkpoint_name == "last")
        if previous and previous != checkpoint.path.name:
            print_message(f"training has saved {checkpoint.path.name}, which replies from now on")
        if not quiet:
            self._print_notice(notice)

    def _newest_path(self) -> Path | None:
        return next(iter(inference_paths(self._run)), None)

    def _load_checkpoint(self, name: str) -> Artifact:
        """Raises NoCheckpointError, CheckpointNotFoundError, DamagedError."""
        self._newest = self._newest_path()
        return inference_checkpoint(self._run, name)

    def _print_notice(self, notice: str) -> None:
        if notice:
            print_message(f"{self._session.checkpoint}: {notice}; /new starts another")

    def _print_reply(self) -> None:
        try:
            self._runner.run(self._stream_reply())
        except LlmtuiError as error:
            print_message(error.sentence() + "\n/retry tries again")
        if self._transcript_kept and not self._session.transcripts.kept:
            print_message("the transcript can no longer be written; the conversation is not saved")
            self._transcript_kept = False

    async def _stream_reply(self) -> None:
        """Print the reply as it is generated. Ctrl+C ends it, and the whole command if the input is not a terminal."""
        request = structs.replace(self._session.build_request(self._settings.sampling()), precision=self._precision)
        line_open = False
        try:
            async with aclosing(self._session.stream_reply(request)) as replies:
                async for reply in replies:
                    match reply:
                        case Loaded():
                            self._print_loaded(reply)
                        case TextDelta(text=text):
                            print_output(text, end="")
                            line_open = True
                        case Finished():
                            print_output("")
                            line_open = False
        except asyncio.CancelledError:
            if not self._interactive:
                raise
            print_output("")
            print_message("stopped")
        except LlmtuiError:
            if line_open:  # the error message starts on a new line
                print_output("")
            raise

    def _print_loaded(self, loaded: Loaded) -> None:
        """Print what has changed since the last reply: precision, cleaning; and truncation."""
        if loaded.precision != self._shown_precision and not loaded.precision.startswith("float32"):
            self._shown_precision = loaded.precision
            print_message(f"weights in {loaded.precision}")
        if loaded.changed_by and loaded.changed_by != self._shown_cleaning:
            self._shown_cleaning = loaded.changed_by
            print_message(cleaning_message(loaded, "the conversation"))
        if loaded.dropped_tokens:
            tokens = f"{loaded.dropped_tokens:,} of {plural(loaded.prompt_tokens, 'token')}"
            print_message(f"the conversation is longer than the context: the first {tokens} are left out")
