"""Splits as files for other tools: `SPLIT.jsonl` with question, gold and hardness, and `databases/NAME.sqlite`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exspin.data import load, with_hardness
from exspin.errors import DataError, RunError
from exspin.ledger import unwritable, write_jsonl


@dataclass(frozen=True)
class Export:
    """What was written."""

    files: tuple[Path, ...]  # one for each split
    questions: int
    databases: int
    missing: int  # databases that are not there

    def to_json(self) -> dict[str, Any]:
        return {
            "files": [str(file) for file in self.files],
            "questions": self.questions,
            "databases": self.databases,
            "missing": self.missing,
        }


def export(spec: str, split: str, directory: str | Path) -> Export:
    """Write a split, or several with commas, into a new or empty directory.

    Raises `RunError` where that holds anything or cannot be written; nothing is left there then.
    """
    directory = Path(directory)
    whole = load(spec, split)  # also checks that the splits do not overlap
    for name, database in whole.databases.items():
        if database.kind != "sqlite":
            raise DataError(
                f"{spec}: database {name!r} is not an SQLite file and cannot be copied; export splits on SQLite alone"
            )
    parts = [with_hardness(load(spec, name.strip())) for name in split.split(",")]
    made = make_empty(directory)
    files = [directory / f"{part.name}.jsonl" for part in parts]
    try:
        (directory / "databases").mkdir()
        for name, database in whole.databases.items():
            shutil.copyfile(database.path, directory / "databases" / f"{name}.sqlite")
        for part, file in zip(parts, files, strict=True):
            write_jsonl(
                file,
                (
                    {
                        "index": e.index,
                        "example_id": e.example_id,
                        "db_id": e.db_id,
                        "question": e.question,
                        "query": e.query,
                        "evidence": e.evidence,
                        "hardness": e.hardness,
                        "handwritten": e.handwritten,
                    }
                    for e in part.examples
                ),
            )
    except (OSError, RunError) as error:
        take_back(directory, files, made)
        raise error if isinstance(error, RunError) else unwritable(directory, error) from error
    return Export(tuple(files), len(whole.examples), len(whole.databases), len(whole.missing))


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
    shutil.rmtree(directory / "databases", ignore_errors=True)
    for file in files:
        file.unlink(missing_ok=True)
    if made:
        with suppress(OSError):
            directory.rmdir()
