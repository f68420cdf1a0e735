"""Spider and Spider-Syn as released: `dev.json`, `train_spider.json`, `database/ID/ID.sqlite`.

Two more splits are made here: `heldout`, ten training databases that choose rounds and settings, and `fit`, the
training questions without them. The official `dev` is the test split of a run and takes no part in choosing. A question
keeps the id it has in its file ("spider/train/17") in whichever split it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exspin.data.databases import find_databases
from exspin.data.rows import read_array
from exspin.data.splits import Split
from exspin.errors import DataError
from exspin.records import Example

# Ten of the 140 databases of train_spider.json, 477 of its 7,000 questions. Chosen by hand before any model was trained:
# no other training database speaks of the same subject, each has 40–60 questions, all ten are in the usual copies of the
# release, and together they range from 2 tables to 10 and from few joins to many, as dev does.
HELD_OUT = frozenset(
    {
        "aircraft",  # 46 questions, 5 tables: aviation
        "e_government",  # 40, 10: public services
        "medicine_enzyme_interaction",  # 44, 3: biochemistry
        "music_4",  # 60, 3: artists and charts
        "party_people",  # 44, 4: politics
        "ship_1",  # 48, 2: ships and captains
        "small_bank_1",  # 50, 3: accounts; nearly all joins
        "storm_record",  # 44, 3: weather
        "student_assessment",  # 53, 9: education
        "tracking_software_problems",  # 48, 6: software support
    }
)


@dataclass(frozen=True)
class Layout:
    """Where one release keeps its things."""

    kind: str
    question: str  # the field that holds the question
    database: str  # folder of the databases, seen from the release's folder
    files: dict[str, str]  # split → file


SPIDER = Layout(
    "spider",
    "question",
    "database",
    {
        "train": "train_spider.json",
        "train-others": "train_others.json",
        "dev": "dev.json",
        "fit": "train_spider.json",
        "heldout": "train_spider.json",
    },
)
SPIDER_SYN = Layout(
    "spider-syn",
    "SpiderSynQuestion",
    "../spider/database",
    {
        "train": "train_spider.json",
        "dev": "dev.json",
        "fit": "train_spider.json",
        "heldout": "train_spider.json",
    },
)


def load_spider(layout: Layout, folder: Path, name: str) -> Split:
    """Read one split and check every database it uses.

    Raises `DataError` for the folder, a file or a row (with its line), `DatabaseError` for a database file.
    """
    spec = f"{layout.kind}:{folder}"
    if not folder.is_dir():
        raise DataError(f"{spec}: no such folder; give the one that holds dev.json")
    path = folder / layout.files[name]
    if not path.exists():
        raise DataError(f"{spec}: no {path.name} in it; give the folder of the release as unpacked")
    source = "train" if name in ("fit", "heldout") else name
    rows = list(enumerate(read_array(path)))
    if name in ("fit", "heldout"):
        wanted = name == "heldout"
        rows = [(i, row) for i, row in rows if (row.text("db_id") in HELD_OUT) == wanted]
    examples = tuple(
        Example(
            example_id=f"{layout.kind}/{source}/{number}",
            index=index,
            db_id=row.text("db_id"),
            question=row.text(layout.question),
            query=row.text("query"),
        )
        for index, (number, row) in enumerate(rows)
    )
    root = database_root(layout, folder)
    databases, missing = find_databases(root, [row for _, row in rows])
    if not databases:
        raise DataError(
            f"{spec}: none of the {len(missing)} databases of {name} is in {root}; "
            "each belongs there as ID/ID.sqlite"
        )
    return Split(spec, name, examples, databases, missing)


def database_root(layout: Layout, folder: Path) -> Path:
    """The database folder; `..` goes by the name that was given, not by where a link leads."""
    root = folder.absolute()
    for part in Path(layout.database).parts:
        root = root.parent if part == ".." else root / part
    return root
