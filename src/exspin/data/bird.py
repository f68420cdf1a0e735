"""BIRD as released: `dev.json` with `dev_databases/ID/ID.sqlite`, `train/train.json` with `train_databases`.

Each archive may be unpacked into the folder itself, into the folder the archive brings (`train`, `dev_20240627`,
`minidev/MINIDEV`), or with the databases' archive unpacked into a folder of its own name. `dev` is the test split of a
run; what chooses the round is made here: `heldout`, the questions of some training databases, and `fit`, the others.
`mini-dev` is 500 questions of `dev`, some corrected, and takes no part in a run where `dev` is there.

Databases may be missing, all of them too: the questions alone are worth reading, and are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from exspin.data.databases import find_databases
from exspin.data.descriptions import Problem, read_all_descriptions, summarise
from exspin.data.rows import Row, read_array
from exspin.data.splits import Split
from exspin.errors import DataError
from exspin.ledger import digest_bytes
from exspin.records import Example

SPLITS = ("train", "dev", "mini-dev", "fit", "heldout")
DESCRIPTIONS = "database_description"
_HELD_OUT_OF = (
    14  # one training database in so many is held out: 5 of BIRD's 69, as Spider's 10 of 140
)


@dataclass(frozen=True)
class _Source:
    """One of BIRD's downloads."""

    file: str
    folders: tuple[str, ...]  # where the file may be, seen from PATH; * as in a shell
    databases: str  # name of the folder of databases
    others: tuple[str, ...]  # where else the databases may be
    archive: str  # as it is downloaded


_DEV_FOLDERS = (".", "dev", "dev_2*")
_SOURCES = {
    "train": _Source("train.json", (".", "train"), "train_databases", (), "train.zip"),
    "dev": _Source("dev.json", _DEV_FOLDERS, "dev_databases", (), "dev.zip"),
    "mini-dev": _Source(
        "mini_dev_sqlite.json",
        (".", "MINIDEV", "minidev", "minidev/MINIDEV", "mini_dev_data"),
        "dev_databases",
        _DEV_FOLDERS,
        "minidev.zip",
    ),
}


def reported_split(folder: Path) -> str:
    """The split a run reports: `dev`, or `mini-dev` where that alone is there."""
    alone = not _found(folder, _SOURCES["dev"]) and _found(folder, _SOURCES["mini-dev"])
    return "mini-dev" if alone else "dev"


def held_out_databases(db_ids: Iterable[str]) -> frozenset[str]:
    """The training databases that choose rounds: one in fourteen, at least one, by the digest of their names."""
    names = sorted(set(db_ids), key=lambda name: digest_bytes(f"bird/heldout/{name}".encode()))
    return frozenset(names[: max(1, round(len(names) / _HELD_OUT_OF))])


def load_bird(folder: Path, name: str) -> Split:
    """Read one split and check every database it uses.

    Raises `DataError` for the folder, a file or a row (with its line), `DatabaseError` for a database file that is
    there and cannot be used. Trouble with descriptions is counted in `Split.warnings`.
    """
    spec = f"bird:{folder}"
    if not folder.is_dir():
        raise DataError(f"{spec}: no such folder; give the one that holds dev.json or train")
    origin = "train" if name in ("fit", "heldout") else name
    source = _SOURCES[origin]
    path = _question_file(spec, folder, source)
    rows = read_array(path)
    kept = list(zip(rows, _example_ids(origin, rows), strict=True))
    if name != origin:
        kept = _part(path, kept, heldout=name == "heldout")
    examples = tuple(
        Example(
            example_id=example_id,
            index=index,
            db_id=row.text("db_id"),
            question=row.text("question"),
            query=row.text("SQL"),
            evidence=row.optional_text("evidence"),
            hardness=row.optional_text("difficulty"),
        )
        for index, (row, example_id) in enumerate(kept)
    )
    root = _database_root(folder, path.parent, source)
    if root is None:
        wanted = dict(Counter(e.db_id for e in examples))
        said = f"{spec} {name}: no folder {source.databases} beside {path}; each database belongs there as ID/ID.sqlite"
        return Split(spec, name, examples, {}, wanted, warnings=(said,))
    databases, missing = find_databases(root, [row for row, _ in kept])
    folders = {db_id: root / db_id / DESCRIPTIONS for db_id in databases}
    descriptions, problems = read_all_descriptions(root, folders, databases)
    without = [db_id for db_id, place in folders.items() if not place.is_dir()]
    problems[:0] = [Problem(f"databases have no folder {DESCRIPTIONS}", db_id) for db_id in without]
    prefixed = tuple(f"{spec} {name}: {line}" for line in summarise(problems))
    return Split(
        spec, name, examples, databases, missing, descriptions=descriptions, warnings=prefixed
    )


def database_folders(folder: Path) -> list[Path]:
    """Every folder of databases that is there, each once. Raises `DataError` where one is still packed."""
    roots = [
        _database_root(folder, file.parent, source)
        for source in _SOURCES.values()
        for file in _found(folder, source)
    ]
    return list({root.resolve(): root for root in roots if root is not None}.values())


def _example_ids(origin: str, rows: Sequence[Row]) -> Iterator[str]:
    """Each question's id: BIRD's own, which mini-dev gives twice to some, or its row."""
    seen: Counter[str] = Counter()
    for number, row in enumerate(rows):
        given = row.values.get("question_id")
        example_id = f"bird/{origin}/{given if type(given) is int else number}"
        seen[example_id] += 1
        yield example_id if seen[example_id] == 1 else f"{example_id}-{seen[example_id]}"


def _part(path: Path, rows: list[tuple[Row, str]], *, heldout: bool) -> list[tuple[Row, str]]:
    """The rows of the held-out training databases, or the others."""
    names = {row.text("db_id") for row, _ in rows}
    if len(names) < 2:
        raise DataError(
            f"{path}: all questions are about one database, so none can be held out to choose rounds; "
            "give questions about two or more"
        )
    held_out = held_out_databases(names)
    return [(row, name) for row, name in rows if (row.text("db_id") in held_out) == heldout]


def _found(folder: Path, source: _Source) -> list[Path]:
    """Every place under the folder where the question file is, each once."""
    places = [place for pattern in source.folders for place in _matching(folder, pattern)]
    files = [place / source.file for place in places if (place / source.file).is_file()]
    return list({file.resolve(): file for file in files}.values())


def _matching(folder: Path, pattern: str) -> list[Path]:
    return [folder] if pattern == "." else sorted(folder.glob(pattern))


def _question_file(spec: str, folder: Path, source: _Source) -> Path:
    files = _found(folder, source)
    if not files:
        cure = (
            f"unpack {source.archive} there"
            if (folder / source.archive).is_file()
            else f"fetch {source.archive} from https://bird-bench.github.io and unpack it there"
        )
        raise DataError(
            f"{spec}: no {source.file} in it or in {', '.join(source.folders[1:])} below it; {cure}"
        )
    if len(files) > 1:
        raise DataError(
            f"{spec}: {source.file} is there twice, {files[0]} and {files[1]}; keep one, or give its own folder"
        )
    return files[0]


def _database_root(folder: Path, beside: Path, source: _Source) -> Path | None:
    """The folder that holds ID/ID.sqlite; None where there is none. Raises `DataError` where it is still packed."""
    places = [beside, folder, *(p for other in source.others for p in _matching(folder, other))]
    for place in places:
        root = place / source.databases
        inner = root / source.databases  # its archive unpacked into a folder of the same name
        if inner.is_dir():
            return inner
        if root.is_dir():
            return root
    for place in places:
        packed = place / f"{source.databases}.zip"
        if packed.is_file():
            raise DataError(f"{packed}: is still packed; unpack it where it is")
    return None
