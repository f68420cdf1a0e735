"""`exspin link`: train a linker on a split, and measure one: are all tables and columns of the gold among what is kept?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exspin.data import Split, load, parse_spec, roles
from exspin.data.descriptions import described
from exspin.errors import ConfigError, DataError
from exspin.hints.labels import DIALECTS, Used, gold_selection, used_items
from exspin.hints.learned import LearnedLinker
from exspin.hints.lexical import lexical
from exspin.hints.link import Item, Linker, LinkScores, Selection, keep_mass, keep_top
from exspin.hints.literals import value_recall
from exspin.hints.values import Values, open_values
from exspin.progress import Progress, Silent
from exspin.records import Example
from exspin.sql.schema import Schema, read_schema

if TYPE_CHECKING:
    from exspin.records import Database

LINKERS = ("gold", "lexical", "learned")


@dataclass(frozen=True)
class Missed:
    """What one question's selection lacks of its gold."""

    example_id: str
    tables: tuple[str, ...]
    columns: tuple[Item, ...]


@dataclass(frozen=True)
class LinkRecall:
    """What a linker keeps of what golds use. Rates are None where no question counts, or nothing differs to be ranked."""

    n: int  # questions whose database is there and whose gold can be read
    table_recall: float | None  # the share of them all of whose gold tables are kept
    column_recall: float | None
    table_auc: (
        float | None
    )  # area under the ROC curve over all items of all questions; of `gold` there is none
    column_auc: float | None
    value_recall: float | None  # as in `exspin.hints.literals`
    k1: int | None  # None where `mass` chose
    k2: int | None
    mass: float | None
    unread: int  # golds that cannot be read
    columns_kept: float | None  # the mean over questions of the share of columns that is kept
    columns_kept_median: float | None
    missed: tuple[Missed, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        row = asdict(self)
        del row["missed"]
        return row


def link_train(
    data: str,
    output: str | Path,
    *,
    split: str | None = None,
    cache: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LearnedLinker:
    """Train a linker on a split, by default the one that a run learns from, and save it in the directory `output`.

    `cache` is where value indexes are kept; None: the user's cache directory. Raises what `train_linker` raises,
    `DataError` and `DatabaseError` of the data, `RunError` where `output` cannot be written.
    """
    linker = _trained(data, split or roles(data).train, cache, seed, progress or Silent())
    linker.save(Path(output))
    return linker


def link_eval(
    data: str,
    split: str,
    *,
    linker: str = "learned",
    model: str | Path | None = None,
    k1: int = 6,
    k2: int = 10,
    mass: float | None = None,
    cache: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LinkRecall:
    """Measure a linker on a split: `gold`, `lexical`, or `learned` from the directory `model`; without one it is trained
    first, on `train` (what a run learns from, where `heldout` is asked of). With `mass`, what is kept is chosen per question, and k1 and k2 go unused.

    Raises `ConfigError` for the linker's name or a number out of range, `ModelError` for `model`, and as `link_train`.
    """
    if linker not in LINKERS:
        raise ConfigError(f"linker {linker!r}: known are {', '.join(LINKERS)}")
    if model is not None and linker != "learned":
        raise ConfigError(f"linker {linker!r}: takes no model; {model} is one of a learned linker")
    if k1 < 1 or k2 < 1:
        raise ConfigError(f"k1 {k1}, k2 {k2}: both are at least 1")
    if mass is not None and (linker == "gold" or not 0 < mass <= 1):
        raise ConfigError(
            f"mass {mass}: a share of the probability, above 0 and at most 1; gold has no probabilities"
        )
    show = progress or Silent()
    chosen = LearnedLinker.load(Path(model)) if model is not None else None
    asked = load(data, split)
    if chosen is None and linker == "learned":
        learns_from = _training_split(data, split)
        show.say(f"no model given: a linker is trained on {data} {learns_from} first")
        chosen = _trained(data, learns_from, cache, seed, show)
    scorer: Linker | None = lexical() if linker == "lexical" else chosen
    examples = asked.usable()
    schemas = read_schemas(asked, examples)
    values = open_all_values(asked.databases, cache, show)
    count = _Count()
    with show.bar("linking", len(examples)) as advance:
        for example in examples:
            schema = schemas[example.db_id]
            dialect = DIALECTS.get(asked.databases[example.db_id].kind, "sqlite")
            used = used_items(example.query, schema, dialect)
            advance(1)
            if used is None:
                count.unread += 1
                continue
            if scorer is None:
                kept = gold_selection(example, schema, k1, k2, seed=seed, dialect=dialect)
                assert kept is not None, "a gold that was read has a selection"
            else:
                scores = scorer.score(
                    example.question,
                    schema,
                    evidence=example.evidence,
                    values=values[example.db_id],
                )
                count.rank(scores, used)
                kept = keep_top(scores, schema, k1, k2)
                if mass is not None:
                    kept = keep_mass(scores, schema, mass)
            count.add(example, used, kept, schema)
    found = value_recall(examples, asked.databases, values_of=lambda db: values[db.db_id])
    share = np.array(count.shares)
    return LinkRecall(
        n=len(share),
        table_recall=_mean(count.tables),
        column_recall=_mean(count.columns),
        table_auc=area_under_curve(count.table_scores),
        column_auc=area_under_curve(count.column_scores),
        value_recall=found.recall,
        k1=None if mass is not None else k1,
        k2=None if mass is not None else k2,
        mass=mass,
        unread=count.unread,
        columns_kept=_mean(count.shares),
        columns_kept_median=float(np.median(share)) if len(share) else None,
        missed=tuple(count.missed),
    )


def read_schemas(split: Split, examples: Sequence[Example]) -> dict[str, Schema]:
    """The schemas of the examples' databases, with what documents beside a database say of its columns."""
    found = {}
    for name in dict.fromkeys(example.db_id for example in examples):
        schema = read_schema(split.databases[name])
        found[name] = described(schema, split.descriptions.get(name, {}))
    return found


def open_all_values(
    databases: Mapping[str, Database], cache: str | Path | None, progress: Progress
) -> dict[str, Values]:
    """The values of each database; indexes are built where they are not there yet."""
    place = None if cache is None else Path(cache)
    found = {}
    with progress.bar("value indexes", len(databases)) as advance:
        for name, database in databases.items():
            found[name] = open_values(database, place)
            advance(1)
    return found


def _training_split(data: str, asked: str) -> str:
    """`train`, where there is one; what a run learns from, where the split that is asked of is a part of `train`."""
    whole = "train" in parse_spec(data).splits and "heldout" not in asked.split(",")
    return "train" if whole else roles(data).train


def _trained(
    data: str, split: str, cache: str | Path | None, seed: int, progress: Progress
) -> LearnedLinker:
    from exspin.hints.learning import train_linker

    learned = load(data, split)
    examples = learned.usable()
    if not examples:
        raise DataError(
            f"{data} {split}: no question has its database, so no linker can be trained"
        )
    needed = {example.db_id for example in examples}
    databases = {name: db for name, db in learned.databases.items() if name in needed}
    return train_linker(
        examples,
        read_schemas(learned, examples),
        open_all_values(databases, cache, progress),
        dialects={name: DIALECTS.get(db.kind, "sqlite") for name, db in databases.items()},
        seed=seed,
    )


class _Count:
    def __init__(self) -> None:
        self.unread = 0
        self.tables: list[bool] = []
        self.columns: list[bool] = []
        self.shares: list[float] = []
        self.table_scores: list[tuple[float, bool]] = []
        self.column_scores: list[tuple[float, bool]] = []
        self.missed: list[Missed] = []

    def rank(self, scores: LinkScores, used: Used) -> None:
        self.table_scores += [(p, name in used.tables) for name, p in scores.tables.items()]
        self.column_scores += [(p, item in used.columns) for item, p in scores.columns.items()]

    def add(self, example: Example, used: Used, kept: Selection, schema: Schema) -> None:
        tables = tuple(sorted(name for name in used.tables if name not in kept))
        columns = tuple(sorted(item for item in used.columns if item not in kept))
        self.tables.append(not tables)
        self.columns.append(not columns)
        total = sum(len(table.columns) for table in schema.tables)
        self.shares.append(sum(map(len, kept.columns.values())) / max(1, total))
        if tables or columns:
            self.missed.append(Missed(example.example_id, tables, columns))


def area_under_curve(scored: Sequence[tuple[float, bool]]) -> float | None:
    """How likely a used item has a higher score than an unused one, ties counting half. None where one kind is missing."""
    used = np.array([is_used for _, is_used in scored], bool)
    positives, negatives = int(used.sum()), int((~used).sum())
    if not positives or not negatives:
        return None
    values = np.array([score for score, _ in scored])
    ordered = np.sort(values)
    below, upto = (np.searchsorted(ordered, values[used], side) for side in ("left", "right"))
    ranks = (below + upto + 1) / 2  # from 1; ties share their mean
    return float((ranks.sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
