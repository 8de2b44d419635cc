"""[sample]: the texts generated at the end of a run."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from core.recipe.sampling import Sampling


class Sample(Sampling, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prompts and sampling settings."""

    prompts: Annotated[
        tuple[Annotated[str, Meta(max_length=100_000)], ...],
        Meta(min_length=1, description="Prompts to continue; an empty one starts a new document."),
    ] = ("",)

    def sampling(self) -> Sampling:
        """The settings without the prompts."""
        return Sampling(**{name: getattr(self, name) for name in Sampling.__struct_fields__})
