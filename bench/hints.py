"""How fast hints are made and how short they make a prompt, by part: `python bench/hints.py values`.

    python bench/hints.py values --json
    python bench/hints.py values --json --peer
    python bench/hints.py link --json
    python bench/hints.py link --json --model DIR
    python bench/hints.py labels --json

`values`: recall and speed of value retrieval on Spider dev (below `$EXSPIN_DATA`), one process, index built before; then
a database of five million distinct values (names, addresses, mail addresses, numbers, dates) made in a temporary folder:
the time and the memory its index takes in a process of its own, and lookups in it, cold (pages of the index not yet in
memory of that process) and warm. `--peer` gives the same texts to bm25s: time and memory of its index, and of
retrieving 100 values for a question.

`link`: the learned linker on Spider dev, one process, value indexes and schemas read before: seconds of training (on
`fit`, unless `--model` names one that `exspin link train` wrote), questions per second of scoring and selecting with and
without looking values up, and by how much the schema part of the prompt shrinks for the probability mass of `--mass`.

`labels`: what golds use, compared with what SQLite says that it reads, on all different golds of Spider's train and dev.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from exspin.config import PromptConfig
from exspin.data import load
from exspin.hints.labels import used_items
from exspin.hints.learned import LearnedLinker
from exspin.hints.link import Selection, keep_mass
from exspin.hints.linking import link_train
from exspin.hints.literals import value_recall
from exspin.hints.values import Values, open_values
from exspin.prompt import render
from exspin.records import Database, Example
from exspin.sql.schema import Schema, open_read_only, read_schema

MASS = 0.98
PEOPLE = 1_240_000  # five million distinct values
_SYLLABLES = "ka ro mi ten sol ber lin dra von pi chu ne gar tol wes ham bri fo lu set"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    values = parts.add_parser("values")
    values.add_argument("--data", type=Path, default=os.environ.get("EXSPIN_DATA"))
    values.add_argument("--people", type=int, default=PEOPLE, help="rows of the large database")
    values.add_argument("--peer", action="store_true", help="measure bm25s too")
    values.add_argument("--json", action="store_true")
    link = parts.add_parser("link")
    link.add_argument("--data", type=Path, default=os.environ.get("EXSPIN_DATA"))
    link.add_argument("--model", type=Path, help="a trained linker; without it one is trained")
    link.add_argument("--mass", type=float, default=MASS)
    link.add_argument("--json", action="store_true")
    labels = parts.add_parser("labels")
    labels.add_argument("--data", type=Path, default=os.environ.get("EXSPIN_DATA"))
    labels.add_argument("--json", action="store_true")
    values.add_argument(
        "--in-process", nargs=3, metavar=("WHAT", "DATABASE", "CACHE"), help="for itself"
    )
    given = parser.parse_args()
    if given.part == "link":
        with tempfile.TemporaryDirectory() as folder:
            linked = linking(Path(given.data), given.model, given.mass, Path(folder))
        print(json.dumps(linked, indent=None if given.json else 2))
        return
    if given.part == "values" and given.in_process:
        what, database, cache = given.in_process
        measure = {"index": index_large, "bm25s": index_with_bm25s}[what]
        print(json.dumps(measure(Path(database), Path(cache))))
        return
    if given.part == "labels":
        print(json.dumps(compare_labels(Path(given.data)), indent=None if given.json else 2))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "spider_dev": spider_dev(Path(given.data), Path(folder)) if given.data else None,
            "large": large(given.people, Path(folder), given.peer),
        }
    print(json.dumps(found, indent=None if given.json else 2))


# --- values -----------------------------------------------------------------------------------------------------------


def spider_dev(data: Path, folder: Path) -> dict[str, Any]:
    split = load(f"spider:{data / 'spider'}", "dev")
    begun = time.perf_counter()
    opened = {name: open_values(db, folder / "cache") for name, db in split.databases.items()}
    building = time.perf_counter() - begun
    asked = [(opened[e.db_id], e.question) for e in split.examples if e.db_id in opened]
    rates = []
    for _ in range(5):
        begun = time.perf_counter()
        for values, question in asked:
            values.find(question)
        rates.append(len(asked) / (time.perf_counter() - begun))
    recall = value_recall(split.examples, split.databases, values_of=lambda db: opened[db.db_id])
    return {
        "questions": len(asked),
        "golds": recall.golds,
        "value_recall": recall.recall,
        "literals": recall.literals,
        "literals_found": recall.literals_found,
        "in_column": recall.in_column,
        "values_per_prompt": recall.shown,
        "questions_per_s": {
            "median": statistics.median(rates),
            "low": min(rates),
            "high": max(rates),
        },
        "building_s": building,
        "databases": len(opened),
    }


def large(people: int, folder: Path, peer: bool) -> dict[str, Any]:
    path = folder / "large.sqlite"
    make_large(path, people)
    found = {"file_mb": path.stat().st_size / 1e6, "index": _alone("index", path, folder / "cache")}
    if peer:
        found["bm25s"] = _alone("bm25s", path, folder / "cache")
    return found


def _alone(what: str, database: Path, cache: Path) -> Any:
    """In a process of its own, whose memory is then that of the work."""
    command = [sys.executable, __file__, "values", "--in-process", what, str(database), str(cache)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def make_large(path: Path, people: int) -> None:
    rng, syllables = random.Random(5), _SYLLABLES.split()
    names = [
        "".join(rng.choice(syllables) for _ in range(rng.randint(2, 4))).capitalize()
        for _ in range(60_000)
    ]

    def rows() -> Iterator[tuple[int, str, str, str, str]]:
        for i in range(people):
            first, middle, last = rng.choice(names), rng.choice(names), rng.choice(names)
            yield (
                i,
                f"{first} {middle} {last}",
                f"{rng.randint(1, 9999)} {rng.choice(names)} Street, {rng.choice(names)}",
                f"{first.lower()}{i}@example.org",
                f"{rng.randint(1900, 2020)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
            )

    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE person (id INTEGER PRIMARY KEY, full_name TEXT, address TEXT, email TEXT, born TEXT)"
    )
    connection.executemany("INSERT INTO person VALUES (?, ?, ?, ?, ?)", rows())
    connection.commit()
    connection.close()


def index_large(path: Path, cache: Path) -> dict[str, Any]:
    database = Database.sqlite("large", path)
    begun, used = time.perf_counter(), _processor_s()
    values = open_values(database, cache)
    building, used = time.perf_counter() - begun, _processor_s() - used
    peak = _peak_mb()
    begun = time.perf_counter()
    values = open_values(database, cache)
    opening = time.perf_counter() - begun
    rng = random.Random(7)
    mentioned = [values.index.text(rng.randrange(len(values.index))) for _ in range(200)]
    questions = [
        f"Who of the people called {text.lower()} lives in Main Street?" for text in mentioned
    ]
    times: list[list[float]] = [[], []]
    found = 0
    for run in times:
        for question, text in zip(questions, mentioned, strict=True):
            begun = time.perf_counter()
            hints = values.find(question)
            run.append(1000 * (time.perf_counter() - begun))
            found += any(hint.value == text for hint in hints)
    return {
        "distinct_values": len(values.index),
        "building_s": building,
        "building_processor_s": used,
        "peak_mb": peak,
        "index_mb": sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) / 1e6,
        "opening_s": opening,
        "lookup_ms_first": _spread(times[0]),
        "lookup_ms_again": _spread(times[1]),
        "found": found / 400,
    }


def index_with_bm25s(path: Path, cache: Path) -> dict[str, Any]:
    import bm25s

    index = open_values(Database.sqlite("large", path), cache).index
    texts = [index.text(i) for i in range(len(index))]
    before = _peak_mb()
    begun = time.perf_counter()
    peer = bm25s.BM25()
    peer.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)
    building = time.perf_counter() - begun
    rng = random.Random(7)
    times = []
    for _ in range(20):
        question = f"Who of the people called {texts[rng.randrange(len(texts))].lower()} lives in Main Street?"
        begun = time.perf_counter()
        asked = bm25s.tokenize([question], stopwords=None, return_ids=False, show_progress=False)
        peer.retrieve(asked, k=100, show_progress=False)
        times.append(1000 * (time.perf_counter() - begun))
    return {
        "distinct_values": len(texts),
        "building_s": building,
        "peak_mb": _peak_mb(),
        "texts_mb": before,
        "lookup_ms": _spread(times),
    }


# --- link -------------------------------------------------------------------------------------------------------------


def linking(data: Path, model: Path | None, mass: float, folder: Path) -> dict[str, Any]:
    spec = f"spider:{data / 'spider'}"
    found: dict[str, Any] = {"mass": mass}
    if model is None:
        learned_from = load(spec, "fit")
        for database in learned_from.databases.values():
            open_values(database, folder / "cache")
        begun, used = time.perf_counter(), _processor_s()
        linker = link_train(spec, folder / "linker", cache=folder / "cache")
        found["training_s"] = time.perf_counter() - begun
        found["training_processor_s"] = _processor_s() - used
    else:
        linker = LearnedLinker.load(model)
    split = load(spec, "dev")
    examples = split.usable()
    schemas = {name: read_schema(db) for name, db in split.databases.items()}
    opened = {name: open_values(db, folder / "cache") for name, db in split.databases.items()}

    def select(example: Example, values: Values | None) -> Selection:
        schema = schemas[example.db_id]
        scores = linker.score(example.question, schema, evidence=example.evidence, values=values)
        return keep_mass(scores, schema, mass)

    for with_values in (True, False):
        rates = []
        for _ in range(5):
            begun = time.perf_counter()
            for example in examples:
                select(example, opened[example.db_id] if with_values else None)
            rates.append(len(examples) / (time.perf_counter() - begun))
        name = "questions_per_s" if with_values else "questions_per_s_without_values"
        found[name] = {
            "median": statistics.median(rates),
            "low": min(rates),
            "high": max(rates),
            "first": rates[0],
        }
    shrunk = []
    for example in examples:
        schema = schemas[example.db_id]
        kept = select(example, opened[example.db_id])
        small = _schema_characters(example, reduced(schema, kept))
        shrunk.append(1 - small / _schema_characters(example, schema))
    found["questions"] = len(examples)
    found["schema_part_shrinks"] = {k: v for k, v in _spread(shrunk).items() if k != "high"}
    return found


def compare_labels(data: Path) -> dict[str, Any]:
    counts = {"golds": 0, "refused_by_sqlite": 0, "unread": 0, "other": 0}
    for name in ("train", "dev"):
        split = load(f"spider:{data / 'spider'}", name)
        for db_id, database in split.databases.items():
            schema = read_schema(database)
            connection = open_read_only(database.path)
            for sql in dict.fromkeys(e.query for e in split.usable() if e.db_id == db_id):
                counts["golds"] += 1
                used = used_items(sql, schema)
                counts["unread"] += used is None
                read = _read_by_sqlite(connection, sql)
                counts["refused_by_sqlite"] += read is None
                if used is not None and read is not None:
                    counts["other"] += read != {(t.lower(), c.lower()) for t, c in used.columns}
            connection.close()
    return counts


def _read_by_sqlite(connection: sqlite3.Connection, sql: str) -> set[tuple[str, str]] | None:
    columns: set[tuple[str, str]] = set()

    def note(action: int, table: str | None, column: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table and column:
            columns.add((table.lower(), column.lower()))
        return sqlite3.SQLITE_OK

    connection.set_authorizer(note)
    try:
        connection.execute("EXPLAIN " + sql)
    except sqlite3.Error:
        return None
    return columns


def reduced(schema: Schema, kept: Selection) -> Schema:
    """The schema with what is kept alone, in its own order."""
    tables = [
        replace(t, columns=tuple(c for c in t.columns if (t.name, c.name) in kept))
        for t in schema.tables
        if t.name in kept
    ]
    keys = tuple(
        key
        for key in schema.foreign_keys
        if (key.child_table, key.child_column) in kept
        and (key.parent_table, key.parent_column) in kept
    )
    return Schema(schema.db_id, tuple(tables), keys)


def _schema_characters(example: Example, schema: Schema) -> int:
    config = PromptConfig(max_tokens=1_000_000)
    return render(example, schema, config=config, count_tokens=len).prefix_chars


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[int(0.95 * len(ordered))],
        "high": ordered[-1],
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
