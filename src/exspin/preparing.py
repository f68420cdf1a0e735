"""What prompts show besides the schema, made before round 0: stages in `hints/` of the run directory, each done once.

    values  every cell value of every database is indexed; the record says of which state
    linker  trained on the training questions, and nothing else
    links   what a training prompt shows: the linker's choice, made by one that did not see the question, or gold's
    shots   the solved questions that may stand in a prompt

What a later user of a checkpoint needs of it, the linker and the solved questions, is in `hints/hints/`, which every
checkpoint holds a copy of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from exspin.config import Config
from exspin.data import Split
from exspin.errors import DataError
from exspin.hints.kit import HintKit, Links, as_links, links_of
from exspin.hints.labels import DIALECTS, gold_selection
from exspin.hints.learned import LearnedLinker
from exspin.hints.learning import out_of_fold, train_linker
from exspin.hints.lexical import lexical
from exspin.hints.link import Linker, LinkScores
from exspin.hints.shots import ShotPool
from exspin.hints.values import Values
from exspin.ledger import (
    Stage,
    digest_bytes,
    digest_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from exspin.progress import Progress
from exspin.prompting import HINTS, open_all_values, read_schemas
from exspin.records import Database, Example, Hints
from exspin.sql.schema import Schema
from exspin.table import Questions


@dataclass(frozen=True)
class Prepared:
    """The hints of every question of a run, by example_id, and what checkpoints copy."""

    hints: Mapping[str, Hints] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)  # for the stages made from it


NOTHING = Prepared()
_Learned = TypeVar("_Learned")


def prepare_hints(
    config: Config,
    questions: Questions,
    place: Path,
    data: Mapping[str, str],
    show: Progress,
) -> Prepared:
    """Make what the configuration wants, or read it where an earlier call made it from the same things.

    `data` are digests of the data and the model. Raises `RunError` where something changed since, `DatabaseError` for
    databases that cannot be read.
    """
    if not config.prompt.hints:
        return NOTHING
    train, chosen = questions.train, questions.chosen
    allowed = config.feedback.allow_privileged
    databases = dict(train.databases)
    schemas = read_schemas(
        chosen, databases, config.prompt, train.descriptions, allow_privileged=allowed
    )
    asked = list(chosen)
    for split in questions.tests:
        databases |= split.databases
        schemas |= read_schemas(
            split.usable(),
            split.databases,
            config.prompt,
            split.descriptions,
            allow_privileged=allowed,
        )
        asked += split.usable()
    values = open_all_values(schemas, databases, config.prompt, show, allow_privileged=allowed)
    made_from = {
        "configuration": digest_json([config.prompt.model_dump(mode="json"), config.seed]),
        "data": digest_json(dict(data)),
        "questions": digest_json([example.example_id for example in chosen]),
    }
    making = _Making(config, chosen, train, schemas, values, databases, place, made_from, show)
    making.record_values()
    kit = HintKit(making.linker(), making.shots())
    links = making.links(kit)
    hints = kit.hints(asked, schemas, values, config.prompt, links)
    folder = place / HINTS
    shown = digest_json([[name, h.links, h.values, h.shots] for name, h in hints.items()])
    return Prepared(
        hints, (folder,) if folder.is_dir() else (), {"hints": shown, "kit": kit.digest}
    )


@dataclass(frozen=True)
class _Making:
    """The stages."""

    config: Config
    chosen: Sequence[Example]
    train: Split
    schemas: Mapping[str, Schema]
    values: Mapping[str, Values]
    databases: Mapping[str, Database]
    place: Path
    made_from: dict[str, str]
    show: Progress

    def record_values(self) -> None:
        """Which state of each database the values are of. The indexes themselves lie in the cache of the user."""
        if not self.values:
            return
        states = {f"values of {name}": digest for name, digest in self._states.items()}
        stage = self._stage("values", states)
        if stage.is_done():
            return
        target = self.place / "values.json"
        write_json(
            target,
            {
                name: {
                    "digest": found.index.digest,
                    "values": len(found.index),
                    "left_out": list(map(str, found.left_out)),
                }
                for name, found in self.values.items()
            },
        )
        stage.finish([target])

    def linker(self) -> Linker | None:
        """The linker, trained where it has to be."""
        if not self.config.prompt.links:
            return None
        if self.config.prompt.linker == "lexical":
            return lexical()
        directory = self.place / HINTS / "linker"
        stage = self._stage("linker", self._values_digest())
        if not stage.is_done():
            self.show.say(f"linker: learns from {len(self.chosen)} questions")
            trained = self._learned(train_linker)
            trained.save(directory)
            stage.finish(sorted(path for path in directory.rglob("*") if path.is_file()))
        return LearnedLinker.load(directory)

    def links(self, kit: HintKit) -> dict[str, Links]:
        """Of each training question, what its prompt shows or names."""
        if kit.linker is None:
            return {}
        target = self.place / "links.jsonl"
        stage = self._stage("links", {**self._values_digest(), "kit": kit.digest})
        if not stage.is_done():
            write_jsonl(target, self._link_rows(kit))
            stage.finish([target])
        return {
            row["example_id"]: tuple((table, tuple(columns)) for table, columns in row["links"])
            for row in read_jsonl(target)
        }

    def _link_rows(self, kit: HintKit) -> Iterator[dict[str, Any]]:
        scores = self._training_scores(kit)
        unread = 0
        for example, found in zip(self.chosen, scores, strict=True):
            schema = self.schemas[example.db_id]
            links, source = links_of(found, schema, self.config.prompt), "learned"
            if self._shows_gold(example):
                gold = self._gold_links(example, links)
                links, source = (gold, "gold") if gold else (links, "learned")
                unread += gold is None
            yield {"example_id": example.example_id, "from": source, "links": links}
        if unread:
            self.show.say(
                f"links: {unread} golds cannot be read; their questions show the linker's"
            )

    def _training_scores(self, kit: HintKit) -> Sequence[LinkScores]:
        prompt = self.config.prompt
        if prompt.linker == "learned" and prompt.training_links != "gold":
            return self._learned(out_of_fold)
        return [kit.scores(e, self.schemas[e.db_id], self.values.get(e.db_id)) for e in self.chosen]

    def _learned(self, learn: Callable[..., _Learned]) -> _Learned:
        """What is learned from the training questions and nothing else."""
        try:
            return learn(
                self.chosen,
                self.schemas,
                self.values,
                dialects=self._dialects,
                seed=self.config.seed,
            )
        except DataError as error:
            raise DataError(
                f"{error}; set prompt.linker: lexical, or prompt.schema: full"
            ) from error

    def _shows_gold(self, example: Example) -> bool:
        """Is it gold that this training prompt shows? Of a mix, for every second question by chance."""
        source = self.config.prompt.training_links
        coin = digest_bytes(f"{self.config.seed}/links/{example.example_id}".encode())
        return source == "gold" or (source == "mix" and int(coin[:8], 16) % 2 == 0)

    def _gold_links(self, example: Example, learned: Links) -> Links | None:
        """What gold uses, filled up with others to as many as are shown in use; None where gold cannot be read."""
        if isinstance(self.config.prompt.keep, tuple):
            tables, columns = self.config.prompt.keep
        else:
            tables = len(learned)
            columns = round(sum(len(each) for _, each in learned) / max(1, tables))
        selection = gold_selection(
            example,
            self.schemas[example.db_id],
            max(1, tables),
            max(1, columns),
            seed=self.config.seed,
            dialect=self._dialects[example.db_id],
        )
        return None if selection is None else as_links(selection)

    def shots(self) -> ShotPool | None:
        """The solved questions."""
        if not self.config.prompt.shots:
            return None
        target = self.place / HINTS / "shots.jsonl"
        stage = self._stage("shots", {})
        if not stage.is_done():
            ShotPool.make(self.chosen, self.schemas).save(target)
            stage.finish([target])
        return ShotPool.load(target)

    @cached_property
    def _dialects(self) -> dict[str, str]:
        """sqlglot's name of each training database's dialect."""
        databases = self.train.databases
        return {name: DIALECTS.get(databases[name].kind, "sqlite") for name in databases}

    @cached_property
    def _states(self) -> dict[str, str]:
        """Of each file, the state that its values are of. Servers change at any time: of those, what prompts show counts."""
        return {
            name: found.index.digest
            for name, found in self.values.items()
            if self.databases[name].is_file
        }

    def _values_digest(self) -> dict[str, str]:
        return {"values": digest_json(self._states)}

    def _stage(self, name: str, inputs: Mapping[str, str]) -> Stage:
        return Stage(self.place, name, {**self.made_from, **inputs})
