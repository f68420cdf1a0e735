"""A split as files for other tools: `SPLIT.jsonl` with question, gold and hardness, and `databases/NAME.sqlite`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exspin.data import load, with_hardness
from exspin.errors import RunError
from exspin.ledger import unwritable, write_jsonl


@dataclass(frozen=True)
class Export:
    """What was written."""

    file: Path
    questions: int
    databases: int
    missing: int  # databases that are not there

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.file),
            "questions": self.questions,
            "databases": self.databases,
            "missing": self.missing,
        }


def export(spec: str, split: str, directory: Path) -> Export:
    """Write a split into a directory. Raises `RunError` where that holds other files or cannot be written."""
    data = with_hardness(load(spec, split))
    file = directory / f"{split}.jsonl"
    if directory.exists() and (not directory.is_dir() or file.exists()):
        raise RunError(f"{file}: exists already; choose a new directory with -o")
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
            for e in data.examples
        ),
    )
    try:
        (directory / "databases").mkdir(exist_ok=True)
        for name, database in data.databases.items():
            shutil.copyfile(database.path, directory / "databases" / f"{name}.sqlite")
    except OSError as error:
        raise unwritable(directory, error) from error
    return Export(file, len(data.examples), len(data.databases), len(data.missing))
