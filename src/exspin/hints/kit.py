"""What prompting needs beside a database: the linker and the pool of solved questions. A run makes it, its checkpoints carry it.

    linker/      the learned linker's arrays; the lexical one has none
    shots.jsonl  solved questions

Values are not in it: they are the database's, and found in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from exspin.config import PromptConfig
from exspin.hints.learned import LearnedLinker
from exspin.hints.lexical import lexical
from exspin.hints.link import Linker, LinkScores, Selection, keep_mass, keep_top
from exspin.hints.shots import ShotPool, schema_words
from exspin.hints.values import Values
from exspin.ledger import digest_json
from exspin.records import Example, Hints
from exspin.sql.schema import Schema

LINKER, SHOTS = "linker", "shots.jsonl"
Links = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class HintKit:
    """None: there is none, and nothing of the kind is shown."""

    linker: Linker | None = None
    shots: ShotPool | None = None

    def save(self, directory: Path) -> None:
        """Write it into a directory. Raises `RunError` when the place cannot be written."""
        if isinstance(self.linker, LearnedLinker):
            self.linker.save(directory / LINKER)
        if self.shots is not None:
            self.shots.save(directory / SHOTS)

    @classmethod
    def load(cls, directory: Path, config: PromptConfig) -> Self:
        """The kit of a directory for this configuration, as far as it is there. Raises `UserError` for damaged files."""
        linker: Linker | None = None
        if config.links and config.linker == "lexical":
            linker = lexical()
        elif config.links and (directory / LINKER).is_dir():
            linker = LearnedLinker.load(directory / LINKER)
        pool = None
        if config.shots and (directory / SHOTS).exists():
            pool = ShotPool.load(directory / SHOTS)
        return cls(linker, pool)

    @property
    def digest(self) -> str:
        """SHA-256 over all that hints depend on, the databases aside."""
        learned = self.linker.digest if isinstance(self.linker, LearnedLinker) else ""
        return digest_json(
            [
                self.linker.name if self.linker else "",
                learned,
                self.shots.digest if self.shots else "",
            ]
        )

    def missing(self, config: PromptConfig) -> list[str]:
        """What the configuration asks for and is not here."""
        lacks = {
            "linker": config.links and self.linker is None,
            "solved questions": config.shots > 0 and self.shots is None,
        }
        return [name for name, lacking in lacks.items() if lacking]

    def hints(
        self,
        examples: Iterable[Example],
        schemas: Mapping[str, Schema],
        values: Mapping[str, Values],
        config: PromptConfig,
        links: Mapping[str, Links] | None = None,
    ) -> dict[str, Hints]:
        """The hints of some questions, by example_id; `schemas` and opened `values` by db_id.

        `links` gives those of training questions, whose golds the linker has seen.
        """
        words: dict[str, frozenset[str]] = {}
        found = {}
        for example in examples:
            schema, cells = schemas[example.db_id], values.get(example.db_id)
            given = (links or {}).get(example.example_id)
            if given is None and self.linker is not None:
                given = links_of(self.scores(example, schema, cells), schema, config)
            shots: tuple[tuple[str, str], ...] = ()
            if self.shots is not None and config.shots:
                if example.db_id not in words:
                    words[example.db_id] = schema_words(schema)
                similar = self.shots.similar(example, words[example.db_id], config.shots)
                shots = tuple((each.question, each.query) for each in similar)
            found[example.example_id] = Hints(
                links=given or (),
                values=_cells(example, cells) if cells is not None and config.values else (),
                shots=shots,
            )
        return found

    def scores(self, example: Example, schema: Schema, values: Values | None) -> LinkScores:
        """What the linker says of a question. There has to be one."""
        assert self.linker is not None
        return self.linker.score(example.question, schema, evidence=example.evidence, values=values)


def links_of(scores: LinkScores, schema: Schema, config: PromptConfig) -> Links:
    """What the configuration keeps of scores."""
    if isinstance(config.keep, tuple):
        return as_links(keep_top(scores, schema, *config.keep))
    return as_links(keep_mass(scores, schema, config.keep))


def as_links(selection: Selection) -> Links:
    """A selection as `Hints` holds it."""
    return tuple((table, tuple(selection.columns[table])) for table in selection.tables)


def _cells(example: Example, values: Values) -> tuple[tuple[str, str, str], ...]:
    asked = f"{example.question}\n{example.evidence}".rstrip()
    return tuple((hint.table, hint.column, hint.value) for hint in values.find(asked))
