"""The linker that is trained on questions with gold SQL, on CPU; scoring needs NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from exspin.hints.link import LinkScores
from exspin.records import Example
from exspin.sql.schema import Schema

if TYPE_CHECKING:
    from exspin.hints.values import Values


class LearnedLinker:
    """A trained linker."""

    name = "learned"

    def score(
        self, question: str, schema: Schema, *, evidence: str = "", values: Values | None = None
    ) -> LinkScores:
        """See `Linker.score`."""
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        """Write the linker into a directory, which is made where it is not there."""
        raise NotImplementedError

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote. Raises `ModelError` where files are missing, damaged or of another version."""
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """SHA-256 over all that scores depend on."""
        raise NotImplementedError


def train_linker(
    examples: Sequence[Example],
    schemas: Mapping[str, Schema],
    values: Mapping[str, Values] | None = None,
    *,
    seed: int = 0,
) -> LearnedLinker:
    """Train on these examples; `schemas` and `values` by db_id. The same result for the same input and seed.

    Raises `MissingExtra` where scikit-learn is not installed.
    """
    raise NotImplementedError


def out_of_fold(
    examples: Sequence[Example],
    schemas: Mapping[str, Schema],
    values: Mapping[str, Values] | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> list[LinkScores]:
    """Scores for every example, in order, from a linker that did not see it: by database where there are enough, else by question."""
    raise NotImplementedError
