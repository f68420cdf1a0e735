"""Splits as a folder for other tools, which `pairs:FOLDER` takes again: questions with gold, and their databases beside them.

`SPLIT.jsonl` holds question, gold and hardness, `databases/` a copy of each file, `databases.yaml` where each database is,
`descriptions/` what is written about columns. A server's database stays where it is: its URL goes along, as the source has
it where that names its password by a `$NAME`, else without the password, which is said.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exspin.data import load, parse_spec, with_hardness
from exspin.data.descriptions import write_descriptions
from exspin.data.pairs import DATABASES, DESCRIPTIONS, written_urls
from exspin.data.urls import holds_password
from exspin.errors import RunError
from exspin.ledger import unwritable, write_bytes, write_jsonl
from exspin.records import Database, Example
from exspin.urls import drop_password

FILES = "databases"
_ENDINGS = {"sqlite": ("",), "duckdb": ("", ".wal")}  # what belongs to a file, its log too


@dataclass(frozen=True)
class Export:
    """What was written."""

    files: tuple[Path, ...]  # one for each split
    questions: int
    databases: int
    missing: int  # databases that are not there
    servers: tuple[str, ...] = ()  # db_id of databases that stay on their server
    without_password: tuple[str, ...] = ()  # db_id of those whose password was left out

    def to_json(self) -> dict[str, Any]:
        return {
            "files": [str(file) for file in self.files],
            "questions": self.questions,
            "databases": self.databases,
            "missing": self.missing,
            "servers": list(self.servers),
            "without_password": list(self.without_password),
        }


def export(spec: str, split: str, directory: str | Path) -> Export:
    """Write a split, or several with commas, into a new or empty directory.

    Raises `RunError` where that holds anything or cannot be written; nothing is left there then.
    """
    directory = Path(directory)
    whole = load(spec, split)  # also checks that the splits do not overlap
    parts = [with_hardness(load(spec, name.strip())) for name in split.split(",")]
    servers = {name: db for name, db in whole.databases.items() if not db.is_file}
    urls, without_password = _server_urls(spec, servers)
    made = make_empty(directory)
    files = [directory / f"{part.name}.jsonl" for part in parts]
    try:
        (directory / FILES).mkdir()
        for name, database in whole.databases.items():
            if database.is_file:
                urls[name] = _copied(database, directory)
        for part, file in zip(parts, files, strict=True):
            write_jsonl(file, map(_row, part.examples))
        write_urls(directory / DATABASES, {**urls, **dict.fromkeys(whole.missing)})
        for name, text in whole.descriptions.items():
            write_descriptions(directory / DESCRIPTIONS / name, text)
        if len(servers) == len(whole.databases):
            (directory / FILES).rmdir()
    except (OSError, RunError) as error:
        take_back(directory, [*files, directory / DATABASES], made)
        raise error if isinstance(error, RunError) else unwritable(directory, error) from error
    return Export(
        tuple(files),
        len(whole.examples),
        len(whole.databases),
        len(whole.missing),
        tuple(servers),
        without_password,
    )


def _server_urls(
    spec: str, servers: Mapping[str, Database]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """db_id → URL as it may be written, and those that lost their password by it."""
    if not servers:
        return {}, ()
    parsed = parse_spec(spec)  # servers come from nothing but a folder's databases.yaml
    assert parsed.folder is not None
    written = written_urls(parsed.folder)
    secret = tuple(name for name in servers if holds_password(written[name]))
    return {n: drop_password(written[n]) if n in secret else written[n] for n in servers}, secret


def _copied(database: Database, directory: Path) -> str:
    """Copy a database file in place; its URL, seen from the directory."""
    name = f"{database.db_id}.{database.kind}"
    for ending in _ENDINGS[database.kind]:
        source = database.path.with_name(database.path.name + ending)
        if not ending or source.exists():
            shutil.copyfile(source, directory / FILES / f"{name}{ending}")
    return f"{database.kind}:///{FILES}/{name}"


def _row(example: Example) -> dict[str, Any]:
    return {
        "index": example.index,
        "example_id": example.example_id,
        "db_id": example.db_id,
        "question": example.question,
        "query": example.query,
        "evidence": example.evidence,
        "hardness": example.hardness,
        "handwritten": example.handwritten,
    }


def write_urls(path: Path, urls: Mapping[str, str | None]) -> None:
    """A `databases.yaml`; None for a database that is not there."""
    text = yaml.safe_dump(dict(urls), allow_unicode=True, width=10_000, sort_keys=False)
    write_bytes(path, text.encode())


def make_empty(directory: Path) -> bool:
    """Make the directory; False where it was there, empty."""
    try:
        directory.mkdir(parents=True)
        return True
    except FileExistsError:
        if directory.is_dir() and not any(directory.iterdir()):
            return False
        raise RunError(
            f"{directory}: exists and is not empty; choose a new directory with -o"
        ) from None
    except OSError as error:
        raise unwritable(directory, error) from error


def take_back(directory: Path, files: Sequence[Path], made: bool) -> None:
    """Undo what was begun in a directory from `make_empty`."""
    for folder in (FILES, DESCRIPTIONS):
        shutil.rmtree(directory / folder, ignore_errors=True)
    for file in files:
        file.unlink(missing_ok=True)
    if made:
        with suppress(OSError):
            directory.rmdir()
