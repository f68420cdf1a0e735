"""Your own questions: a folder with `train.jsonl`, `dev.jsonl`, `test.jsonl` and `databases.yaml`.

A line is `{"question": …, "query": …, "db_id": …, "evidence": …}`, the last one optional; `hardness` may stand there too.
`databases.yaml` maps every db_id to a URL (see `urls.py`), or to `null` where there is no such database; a path in it is
seen from its folder. `dev` and `test` may be missing. Where `dev` is, two splits of `train` take its place: `heldout`, a
tenth that shares neither question nor query with the rest, and `fit`, the rest. Any other `NAME.jsonl` is a split too, and
so are `fit.jsonl` and `heldout.jsonl`, as `exspin data export` writes them. `descriptions/DB_ID/TABLE.csv`, where there
is one, says what columns mean, in BIRD's form.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from exspin.data.databases import safe_db_id
from exspin.data.descriptions import read_all_descriptions, summarise
from exspin.data.divide import divide
from exspin.data.rows import Row, read_lines
from exspin.data.splits import Split, question_key
from exspin.data.urls import open_url
from exspin.errors import DataError
from exspin.records import Database, Example

SPLITS = ("train", "dev", "test", "fit", "heldout")
DATABASES = "databases.yaml"
DESCRIPTIONS = "descriptions"
HELD_OUT_SHARE = 0.1

_FILES = ("train", "dev", "test")
_FIELDS = ("question", "query", "db_id", "evidence", "hardness", "handwritten")
_IDENTITY = ("index", "example_id")  # of `exspin data export`; a row's place says it here


def pairs_roles(folder: Path) -> tuple[str, str, tuple[str, ...]]:
    """What a run learns from, chooses by and reports."""
    train, dev = ("train", "dev") if (folder / "dev.jsonl").exists() else ("fit", "heldout")
    return train, dev, ("test",) if (folder / "test.jsonl").exists() else ()


def holds(folder: Path, name: str) -> bool:
    """Is there a file of this split?"""
    return Path(name).name == name and (folder / f"{name}.jsonl").is_file()


def load_pairs(folder: Path, name: str) -> Split:
    """Read one split and check the database files it uses. Servers are not asked.

    Raises `DataError` for the folder, a file, a row (with its line) or a URL, `DatabaseError` for a database file.
    """
    spec = f"pairs:{folder}"
    if not folder.is_dir():
        raise DataError(f"{spec}: no such folder; give the one that holds train.jsonl")
    origin = "train" if name in ("fit", "heldout") and not holds(folder, name) else name
    path = folder / f"{origin}.jsonl"
    if not path.exists():
        raise DataError(f"{spec}: no {path.name} in it; a line of it is a question with its query")
    rows = read_lines(path)
    examples = [_example(origin, number, row) for number, row in enumerate(rows)]
    warnings = list(_ignored(rows))
    kept = list(range(len(rows)))
    if name != origin:
        parts = divide([(e.question, e.query) for e in examples], [HELD_OUT_SHARE])
        kept = [row for row in kept if (parts[row] == 1) == (name == "heldout")]
        if not any(parts):
            raise DataError(
                f"{path}: all rows share a question or a query, so none can be held out to choose rounds; "
                "add other questions, or give dev.jsonl"
            )
        if name == "heldout":
            warnings.append(
                f"{len(kept)} of {len(rows)} questions of train.jsonl are held out to choose rounds"
                + ("" if (folder / "dev.jsonl").exists() else ", for want of a dev.jsonl")
            )
    databases, missing = _databases(folder, [rows[number] for number in kept])
    chosen = [examples[number] for number in kept]
    warnings += _repeated(folder, name, chosen)
    about = folder / DESCRIPTIONS
    folders = {db_id: about / db_id for db_id in databases}
    descriptions, problems = read_all_descriptions(about, folders, databases)
    warnings += summarise(problems)
    return Split(
        spec,
        name,
        tuple(_numbered(chosen)),
        databases,
        missing,
        descriptions=descriptions,
        warnings=tuple(f"{spec} {name}: {warning}" for warning in warnings),
    )


def named_databases(
    folder: Path, rows: Iterable[Row]
) -> tuple[dict[str, Database], dict[str, int]]:
    """The databases that rows ask for, and those for which `databases.yaml` has no URL, with their number of rows.

    Raises as `load_pairs` does for what it names.
    """
    where = folder / DATABASES
    urls = _read_urls(where)
    found: dict[str, Database] = {}
    unnamed: Counter[str] = Counter()
    for row in rows:
        db_id = safe_db_id(row)
        line, url = urls.get(db_id, (0, ""))
        if not url:
            unnamed[db_id] += 1
        elif db_id not in found:
            found[db_id] = open_url(db_id, url, folder, f"{where}:{line}")
    return found, dict(unnamed)


def written_urls(folder: Path) -> dict[str, str]:
    """db_id → URL as `databases.yaml` has it, `$NAME` and all. Raises `DataError` with the line."""
    return {name: url for name, (_, url) in _read_urls(folder / DATABASES).items() if url}


def _databases(folder: Path, rows: Sequence[Row]) -> tuple[dict[str, Database], dict[str, int]]:
    """The same, where each must be named, be it as one that is not there."""
    found, without = named_databases(folder, rows)
    urls = _read_urls(folder / DATABASES)
    for row in rows:
        if (db_id := row.text("db_id")) in without and db_id not in urls:
            where = folder / DATABASES
            (near,) = difflib.get_close_matches(db_id, urls, n=1, cutoff=0.0)
            raise DataError(
                f"{row.where}: db_id {db_id!r} is not in {where}; did you mean {near!r}?"
            )
    return found, without


def _example(origin: str, number: int, row: Row) -> Example:
    """One row; its index is given when it is known which rows are in the split."""
    if "query" not in row.values and "result" in row.values:
        raise DataError(
            f"{row.where}: has 'result' in place of 'query'; this version learns from queries alone: "
            "write the query, or take the row out"
        )
    return Example(
        example_id=f"pairs/{origin}/{number}",
        index=number,
        db_id=row.text("db_id"),
        question=row.text("question"),
        query=row.text("query"),
        evidence=row.optional_text("evidence"),
        hardness=row.optional_text("hardness"),
        handwritten=row.values.get("handwritten") is True,
    )


def _numbered(examples: Sequence[Example]) -> Iterator[Example]:
    return (replace(example, index=index) for index, example in enumerate(examples))


def _ignored(rows: Sequence[Row]) -> Iterator[str]:
    """Fields nobody reads: a misspelt one must not go unnoticed."""
    counts = Counter(field for row in rows for field in row.values)
    for field in (*_FIELDS, *_IDENTITY):
        del counts[field]
    for field, count in sorted(counts.items()):
        yield f"field {field!r} means nothing here and is passed over in {count} rows; known: {', '.join(_FIELDS)}"


def _repeated(folder: Path, name: str, examples: Sequence[Example]) -> Iterator[str]:
    """The same question twice, in this split or in one that comes before it."""
    keys = [question_key(example) for example in examples]
    if twice := len(keys) - len(set(keys)):
        yield f"{twice} questions stand there more than once"
    if name not in _FILES:
        return
    for other in _FILES[: _FILES.index(name)]:
        path = folder / f"{other}.jsonl"
        if path.exists():
            before = {question_key(_example(other, 0, row)) for row in read_lines(path)}
            if shared := sum(key in before for key in keys):
                yield f"{shared} of {len(keys)} questions stand in {path.name} too: a score on them says little"


def _read_urls(path: Path) -> dict[str, tuple[int, str]]:
    """db_id → line and URL, as written; "" for `null`. Raises `DataError` with the line."""
    try:
        root = yaml.compose(path.read_text("utf-8-sig"), Loader=yaml.SafeLoader)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: is missing; give one line for each database, as in my_db: sqlite:///my_db.sqlite"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    except (yaml.YAMLError, RecursionError) as error:
        # the message would show the line, and a password may be in it
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise DataError(
            f"{path}{line}: not YAML; give lines like my_db: sqlite:///my_db.sqlite"
        ) from error
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise DataError(f"{path}: names no database; give lines like my_db: sqlite:///my_db.sqlite")
    urls: dict[str, tuple[int, str]] = {}
    for key, value in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise DataError(f"{path}:{line}: expected a db_id and its URL, both text")
        none = value.tag.endswith(":null") and value.value
        if not value.value.strip():
            raise DataError(
                f"{path}:{line}: db_id {key.value!r} has no URL; write null where there is no such database"
            )
        if key.value in urls:
            raise DataError(
                f"{path}:{line}: db_id {key.value!r} stands in line {urls[key.value][0]} already; keep one"
            )
        urls[key.value] = (line, "" if none else value.value.strip())
    return urls
