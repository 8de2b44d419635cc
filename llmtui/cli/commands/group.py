"""A command group that suggests names, and commands whose options have been renamed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from core.errors import did_you_mean
from llmtui.cli.console import print_message


class SuggestingGroup(click.Group):
    """For an unknown command, suggests the did_you_mean name or lists all; click 8.3 suggests names, too."""

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            name, message = args[0], error.format_message()
            if name.startswith("-") or "Did you mean" in message:
                raise
            names = self.list_commands(context)
            hint = did_you_mean(name, names) or f"commands are {', '.join(names)}"
            if context.parent is None and ("/" in name or Path(name).suffix or Path(name).is_dir()):
                hint = f"`llmtui run {name}` trains on it"
            raise click.UsageError(f"{message.rstrip('.')}; {hint}", context) from None


class CommandWithRenamedOptions(click.Command):
    """Accepts the former names of options, with a note on standard error."""

    def __init__(self, *args: Any, renamed: Mapping[str, str], **kwargs: Any) -> None:
        """renamed: former name of an option → its name."""
        super().__init__(*args, **kwargs)
        self.renamed = renamed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [self._current(arg) for arg in args[:end]] + args[end:])

    def _current(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        if name not in self.renamed:
            return argument
        print_message(f"llmtui: {name} is now called {self.renamed[name]}")
        return self.renamed[name] + equals + value
