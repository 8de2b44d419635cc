"""The model that the Model screen shows: that of a run or a preset, and what has been changed in it."""

from __future__ import annotations

from core.model.count import parameters
from core.model.parts import BLOCK, BLOCK_PARTS
from core.recipe import choices
from core.recipe.file import load, presets
from core.recipe.schema import Recipe
from core.vocab.sizes import expected_size
from llmtui.view.architecture import Step, hidden_shape, steps
from llmtui.view.architecture_figures import ModelFigures


class ModelDraft:
    """A recipe whose model can be changed field by field, and back."""

    def __init__(self, title: str, recipe: Recipe) -> None:
        """title: what it is, such as `preset gpt2`."""
        self.title, self.base = title, recipe
        self._known = 0
        self._history = [recipe]
        self.selected = BLOCK
        """The name of the highlighted step."""
        self._field: dict[str, str] = {}
        """The highlighted field of each step."""
        self._compute()

    def _compute(self) -> None:
        model, batch = self.recipe.model, self.recipe.train.batch_size
        self.figures = ModelFigures.of(model, self.vocabulary)
        self.before = ModelFigures.of(self.base.model, self.base_vocabulary)
        """Figures of `base`."""
        self.steps: tuple[Step, ...] = steps(model, self.vocabulary, batch)
        self.hidden = hidden_shape(model, batch)

    def set_vocabulary(self, entries: int) -> None:
        """Set the size of the run's vocabulary, which is known once it exists; 0: not yet."""
        if entries != self._known:
            self._known = entries
            self._compute()

    @property
    def recipe(self) -> Recipe:
        return self._history[-1]

    @property
    def is_changed(self) -> bool:
        return self.recipe != self.base

    @property
    def base_vocabulary(self) -> int:
        """Entries of the vocabulary of `base`: those of the run's once it exists, else those expected."""
        return self._known or expected_size(self.base.tokenize).entries

    @property
    def vocabulary(self) -> int:
        """Entries of the vocabulary."""
        if self.recipe.tokenize == self.base.tokenize:
            return self.base_vocabulary
        return expected_size(self.recipe.tokenize).entries

    # -- the highlighted step and field ---------------------------------------------------------------------------

    @property
    def step(self) -> Step:
        return next((step for step in self.steps if step.name == self.selected), self.steps[0])

    @property
    def in_block(self) -> bool:
        """Whether the highlighted step is a block or a part of it."""
        return self.step.name in (BLOCK, *BLOCK_PARTS)

    def move(self, by: int) -> None:
        """Highlight the step `by` steps further in the forward pass, which is up in the picture."""
        names = [step.name for step in self.steps]
        index = names.index(self.step.name) + by
        self.selected = names[max(0, min(len(names) - 1, index))]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the highlighted step that this recipe has."""
        own_vocabulary = self.recipe.tokenize.vocabulary == "bpe"
        return tuple(name for name in self.step.fields if name != "size" or own_vocabulary)

    @property
    def field(self) -> str:
        """The highlighted field."""
        chosen = self._field.get(self.step.name, "")
        return chosen if chosen in self.fields else self.fields[0]

    def next_field(self) -> None:
        """Highlight the next field of the step, after the last one the first."""
        self._field[self.step.name] = self.fields[(self.fields.index(self.field) + 1) % len(self.fields)]

    # -- changes --------------------------------------------------------------------------------------------------

    def change(self, by: int) -> bool:
        """Give the highlighted field its next (1) or previous (-1) value; False if there is none."""
        changed = choices.step(self.recipe, self.field, by)
        if changed == self.recipe:
            return False
        self._history.append(changed)
        self._compute()
        return True

    def undo(self) -> bool:
        """Take the last change back; False if there is none."""
        if len(self._history) == 1:
            return False
        self._history.pop()
        self._compute()
        return True


def presets_by_size() -> list[tuple[str, int]]:
    """Names of the presets and their parameters, the smallest first."""
    recipes = {name: load(preset=name) for name in presets()}
    sizes = {name: parameters(r.model, expected_size(r.tokenize).entries).total for name, r in recipes.items()}
    return sorted(sizes.items(), key=lambda pair: pair[1])
