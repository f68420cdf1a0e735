"""Write the built-in questions: `python -m exspin.data.builtin.generate`, byte-identical for the same sources.

Reads `databases/*.sql`, `phrasebooks/*.yaml` and `hand/*.jsonl`, writes `examples/*.jsonl`. Every intent (the canonical
SQL with its literals masked, on one database) belongs wholly to train, dev or test, so a test question is never a
training question with another value. Every gold is run in two row orders and against its canonical form.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

from exspin.data.builtin.grammar import TEMPLATES, Draft, draw
from exspin.data.builtin.grammar.speaker import Unsuitable
from exspin.data.builtin.grammar.wording import MONTHS
from exspin.data.builtin.meaning import Agg, Cond, Either, Query, Schema
from exspin.data.builtin.phrasebook import HERE, Phrasebook, load
from exspin.data.builtin.sqlstyle import CANONICAL, Style, mask, write
from exspin.data.splits import find_near_duplicates
from exspin.errors import DataError
from exspin.ledger import read_jsonl, write_bytes
from exspin.sql.hardness import hardness, skeleton

SEED = 2025
UNSEEN = ("observatory", "brewery", "harbour")  # databases no model is trained on

# Knobs of difficulty and size.
ROWS = {"train": 1250, "dev": 38, "test": 132, "test-unseen": 145}  # a database, before hygiene
MIX = {"easy": 0.25, "medium": 0.40, "hard": 0.20, "extra": 0.15}
HELD_OUT = {"dev": 0.07, "test": 0.20}  # share of the intents of a database
WORDINGS = {
    "train": (5, 3, 2),
    "dev": (1,),
    "test": (4, 1),
    "test-unseen": (4, 1),
}  # 1, 2, 3 of an intent
EMPTY = 0.02  # share of questions that may have an empty answer
DRAWS = 60_000  # shapes tried a database before giving up
ENOUGH = 12  # questions of a template that show which hardness it can have
VOICES = 4  # values and wordings tried for one shape
NEAR = 0.8  # word-trigram Jaccard above which two questions of different splits are too close
NEAR_HAND = 0.5  # the same for a hand-written question and any other


@dataclass(frozen=True, slots=True)
class Item:
    """One generated question, checked."""

    db_id: str
    split: str
    template: str
    intent: str
    question: str
    query: str
    hardness: str
    handwritten: bool = False


@dataclass
class Checker:
    """Runs SQL of one database in both row orders and remembers results."""

    schema: Schema
    _cache: dict[tuple[str, bool], list[tuple[object, ...]]] = field(default_factory=dict)

    def run(self, sql: str, *, backwards: bool = False) -> list[tuple[object, ...]]:
        """The rows, floats cut to nine digits."""
        if (sql, backwards) not in self._cache:
            connection = self.schema.connection
            connection.execute(f"PRAGMA reverse_unordered_selects = {int(backwards)}")
            rows = connection.execute(sql).fetchall()
            self._cache[sql, backwards] = [
                tuple(float(f"{v:.9g}") if isinstance(v, float) else v for v in row) for row in rows
            ]
        return self._cache[sql, backwards]

    def canonical(self, query: Query) -> list[tuple[object, ...]]:
        """The rows of a meaning in its canonical SQL."""
        return self.run(write(query, self.schema, CANONICAL))

    def faithful(self, query: Query, sql: str) -> bool:
        """Whether a statement gives the meaning's rows, in both row orders, in the same order if it names one."""
        expected = self.canonical(query)
        ordered = bool(query.order)
        for backwards in (False, True):
            rows = self.run(sql, backwards=backwards)
            if rows != expected and (ordered or _sorted(rows) != _sorted(expected)):
                return False
        return True

    def worth_asking(self, query: Query, *, empty: bool) -> bool:
        """Whether the question has a sensible answer: filters bite, no ties at the cut, no empty result."""
        rows = self.canonical(query)
        if not rows or rows in ([(0,)], [(None,)]) or all(v is None for row in rows for v in row):
            return empty and not query.group and not query.limit
        if query.where and not self._filters_bite(query):
            return False
        if query.top and len(rows) > 2:
            return False
        if query.limit and not self._cut_is_clear(query):
            return False
        if query.having and len(rows) == len(self.canonical(replace(query, having=()))):
            return False
        grouped = query.group and not query.limit and not query.having
        return not ((grouped or query.distinct) and len(rows) < 2)

    def _filters_bite(self, query: Query) -> bool:
        """Every condition changes which rows are left, and some are."""

        def count(where: tuple[Cond, ...]) -> object:
            return self.canonical(Query(query.table, (Agg("COUNT"),), where))[0][0]

        kept = count(query.where)
        fewer = [query.where[:n] + query.where[n + 1 :] for n in range(len(query.where))]
        if kept == 0 or kept in [count(where) for where in fewer]:
            return False
        options = [c.options for c in query.where if isinstance(c, Either)]
        return all(count((option,)) not in (0, kept) for group in options for option in group)

    def _cut_is_clear(self, query: Query) -> bool:
        keys = tuple(expr for expr, _ in query.order)
        rows = self.canonical(replace(query, items=keys, limit=0, unique=False))
        if len(rows) <= query.limit or any(value is None for row in rows for value in row):
            return False
        return rows[query.limit - 1] != rows[query.limit]


@lru_cache(None)
def _hardness(shape: str) -> str:
    """Hardness depends on the skeleton alone, and parsing is what takes longest here."""
    return hardness(shape)


def _sorted(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return sorted(rows, key=repr)


@dataclass
class Writer:
    """Draws questions of one database until every split has its rows."""

    book: Phrasebook
    schema: Schema

    @cached_property
    def checker(self) -> Checker:
        """Runs the SQL."""
        return Checker(self.schema)

    def item(self, split: str, draft: Draft, style: random.Random) -> Item | None:
        """A checked question, or None where it is not worth asking."""
        if not self.checker.worth_asking(draft.query, empty=style.random() < EMPTY):
            return None
        sql = write(draft.query, self.schema, Style.draw(style))
        if not self.checker.faithful(draft.query, sql):
            sql = write(draft.query, self.schema, CANONICAL)
            if not self.checker.faithful(draft.query, sql):
                return None
        intent = self.intent(draft.query)
        name = self.book.db_id
        return Item(
            name, split, draft.template, intent, draft.question, sql, _hardness(skeleton(sql))
        )

    def intent(self, query: Query) -> str:
        """What two questions share that differ in values, words and SQL style only.

        The order of columns and of conditions does not count, nor how many of the highest are wanted.
        """

        def shape(cond: Cond) -> str:
            counted = Query(query.table, (Agg("COUNT"),), (cond,))
            return mask(write(counted, self.schema, CANONICAL))

        where = (
            Either(tuple(sorted(cond.options, key=shape))) if isinstance(cond, Either) else cond
            for cond in query.where
        )
        items = tuple(sorted(query.items, key=repr))
        normal = replace(query, items=items, where=tuple(sorted(where, key=shape)))
        return mask(write(normal, self.schema, replace(CANONICAL, limit=True)))

    def items(self, rng: random.Random, sizes: dict[str, int]) -> Iterator[Item]:
        """Items of all splits of `sizes`, until they are full or `DRAWS` shapes were tried."""
        quota = {(s, h): round(n * share) for s, n in sizes.items() for h, share in MIX.items()}
        templates, weights = list(TEMPLATES), list(TEMPLATES.values())
        intents: set[str] = set()
        asked: set[str] = set()
        seen: dict[tuple[str, str], list[str]] = defaultdict(
            list
        )  # hardness a template came out as
        for _ in range(DRAWS):
            still_open = {h for (_, h), left in quota.items() if left}
            if not still_open:
                return
            template = rng.choices(templates, weights)[0]
            if len(seen[template]) > ENOUGH and still_open.isdisjoint(seen[template]):
                continue
            drafts = self._drafts(template, rng.getrandbits(32), rng)
            first = next(drafts, None)
            if first is None or (intent := self.intent(first.query)) in intents:
                continue
            split = split_of(self.book.db_id, intent, sizes)
            if not any(quota[split, h] for h in MIX):
                continue
            intents.add(intent)
            wanted = rng.choices(range(1, len(WORDINGS[split]) + 1), WORDINGS[split])[0]
            meanings: list[Query] = []
            for draft in [first, *drafts]:
                item = self.item(split, draft, rng)
                if item is None or item.intent != intent:
                    continue
                seen[template].append(item.hardness)
                same_values = "?" in intent and draft.query in meanings
                if same_values or fold(item.question) in asked or not quota[split, item.hardness]:
                    continue
                quota[split, item.hardness] -= 1
                asked.add(fold(item.question))
                meanings.append(draft.query)
                yield item
                if len(meanings) == wanted:
                    break

    def _drafts(self, template: tuple[str, str], shape: int, rng: random.Random) -> Iterator[Draft]:
        for _ in range(VOICES):
            try:
                yield draw(self.book, self.schema, *template, shape, rng.getrandbits(32))
            except Unsuitable:
                return


def split_of(db_id: str, intent: str, sizes: dict[str, int]) -> str:
    """The split an intent belongs to, by its name alone."""
    if len(sizes) == 1:
        return next(iter(sizes))
    chance = random.Random(f"{SEED}/{db_id}/{intent}").random()
    for split, share in HELD_OUT.items():
        if chance < share:
            return split
        chance -= share
    return "train"


def fold(question: str) -> str:
    """A question without case and punctuation."""
    return " ".join(re.findall(r"\w+", question.lower()))


def masked_question(item: Item) -> str:
    """A question with its values masked, on its database."""
    text = item.question
    for value in sorted(re.findall(r"'((?:[^']|'')+)'", item.query), key=len, reverse=True):
        bare = value.replace("''", "'").strip("%")
        if bare and not bare.isdigit():
            text = re.sub(rf"(?<!\w){re.escape(bare)}(?!\w)", "#", text, flags=re.IGNORECASE)
    text = re.sub(rf"\b({'|'.join(MONTHS)})\b", "#", text)
    return f"{item.db_id}: {fold(re.sub(r'[0-9.,:-]*[0-9]', '#', text))}"


def hand_items(folder: Path, db_id: str) -> list[Item]:
    """The hand-written questions of one database."""
    path = folder / "hand" / f"{db_id}.jsonl"
    if not path.exists():
        return []
    items = []
    for number, row in enumerate(read_jsonl(path), 1):
        if set(row) != {"question", "query"}:
            raise DataError(
                f"{path}:{number}: needs exactly 'question' and 'query', has {sorted(row)}"
            )
        sql = row["query"].rstrip("; ")
        items.append(
            Item(db_id, "test-hand", "hand", "", row["question"], sql, hardness(sql), True)
        )
    return items


def clean(items: list[Item]) -> list[Item]:
    """Drop what comes too close to a question of another split; the split that comes first keeps its rows."""
    kept: list[Item] = []
    for split in ("test-hand", "test-unseen", "test", "dev", "train"):
        rows = [item for item in items if item.split == split]
        folded = {fold(item.question) for item in kept}
        masked = {masked_question(item) for item in kept}
        hand = [item.question for item in kept if item.handwritten]
        others = [item.question for item in kept if not item.handwritten]
        texts = [item.question for item in rows]
        close = {pair.a for pair in find_near_duplicates(texts, hand, NEAR_HAND)} if hand else set()
        close |= {pair.a for pair in find_near_duplicates(texts, others, NEAR)} if others else set()
        kept += [
            item
            for n, item in enumerate(rows)
            if n not in close
            and fold(item.question) not in folded
            and masked_question(item) not in masked
        ]
    return kept


def generate(folder: Path = HERE) -> dict[str, list[Item]]:
    """All items by split."""
    names = sorted(path.stem for path in (folder / "phrasebooks").glob("*.yaml"))
    items: list[Item] = []
    for name in names:
        book, connection = load(name, folder)
        unseen = name in UNSEEN
        sizes = {s: n for s, n in ROWS.items() if (s == "test-unseen") == unseen}
        items += Writer(book, Schema(connection)).items(random.Random(f"{SEED}/{name}"), sizes)
        items += hand_items(folder, name)
    by_split: dict[str, list[Item]] = defaultdict(list)
    for item in clean(items):
        by_split[item.split].append(item)
    for split, rows in by_split.items():
        if split != "test-hand":
            random.Random(f"{SEED}/{split}").shuffle(rows)
    return by_split


def save(by_split: dict[str, list[Item]], folder: Path) -> None:
    """Write one JSONL file a split."""
    for split, items in by_split.items():
        lines = (
            {
                "example_id": f"builtin/{split}/{n}",
                "db_id": item.db_id,
                "question": item.question,
                "query": item.query,
                "hardness": item.hardness,
                "handwritten": item.handwritten,
            }
            for n, item in enumerate(items)
        )
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_bytes(folder / f"{split}.jsonl", text.encode())


def samples(name: str, count: int) -> Iterator[tuple[str, str]]:
    """Random questions of one database with their SQL, for its author to read."""
    book, connection = load(name)
    items = Writer(book, Schema(connection)).items(random.Random(name), {"test-unseen": 4 * count})
    chosen = list(items)
    random.Random(name).shuffle(chosen)
    yield from ((item.question, item.query) for item in chosen[:count])


def main() -> None:
    """Write the examples and say how many."""
    by_split = generate()
    save(by_split, HERE / "examples")
    for split, items in by_split.items():
        mix = Counter(item.hardness for item in items)
        shares = ", ".join(f"{name} {mix[name] / len(items):.0%}" for name in MIX)
        sys.stdout.write(f"{split}: {len(items)} questions ({shares})\n")


if __name__ == "__main__":
    main()
