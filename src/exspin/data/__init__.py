"""Questions with their gold SQL and databases, by SPEC: `builtin`, `spider:PATH`, `spider-syn:PATH`, `bird:PATH`, `pairs:PATH`.

Loading checks every row and every database once and names file and line of what is wrong, so that later stages may
trust what they get. It runs no query: whether gold SQL works is the audit's question.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from exspin.data import bird, pairs
from exspin.data.builtin import SPLITS as BUILTIN_SPLITS
from exspin.data.builtin import load_builtin
from exspin.data.gold import Find, among, in_folders, read_gold
from exspin.data.quarantine import read_quarantine, with_quarantine
from exspin.data.spider import SPIDER, SPIDER_SYN, database_root, load_spider
from exspin.data.splits import Split, joined, remarks, select_questions
from exspin.errors import DataError

__all__ = [
    "Roles",
    "Spec",
    "Split",
    "joined",
    "load",
    "load_gold",
    "parse_spec",
    "remarks",
    "roles",
    "select_questions",
    "with_hardness",
]

_LAYOUTS = {"spider": SPIDER, "spider-syn": SPIDER_SYN}
_SPLITS = {
    "builtin": BUILTIN_SPLITS,
    **{kind: tuple(layout.files) for kind, layout in _LAYOUTS.items()},
    "bird": bird.SPLITS,
    "pairs": pairs.SPLITS,
}


@dataclass(frozen=True)
class Spec:
    """A parsed SPEC. `folder` is None for the built-in example."""

    kind: str
    folder: Path | None

    @property
    def splits(self) -> tuple[str, ...]:
        """The split names that `load` knows."""
        return _SPLITS[self.kind]


@dataclass(frozen=True)
class Roles:
    """Which split plays which part in a run: learn from `train`, choose by `dev`, report `tests`."""

    train: str
    dev: str
    tests: tuple[str, ...]


def parse_spec(spec: str) -> Spec:
    """Take a SPEC apart. Raises `DataError` with the known kinds and the nearest one."""
    kind, colon, folder = spec.partition(":")
    if kind not in _SPLITS:
        raise DataError(f"data {spec!r}: {_unknown('kind', kind, tuple(_SPLITS))}")
    if kind == "builtin":
        if colon:
            raise DataError(f"data {spec!r}: builtin takes no path; write builtin")
        return Spec(kind, None)
    if not folder or "\0" in folder:
        raise DataError(f"data {spec!r}: needs a folder, as in {kind}:PATH")
    return Spec(kind, Path(folder))


def roles(spec: str) -> Roles:
    """Which splits of this SPEC a run learns from, chooses by and reports."""
    parsed = parse_spec(spec)
    if parsed.folder is None:
        return Roles("train", "dev", ("test", "test-hand", "test-unseen"))
    if parsed.kind == "pairs":
        return Roles(*pairs.pairs_roles(parsed.folder))
    tests = (bird.reported_split(parsed.folder) if parsed.kind == "bird" else "dev",)
    return Roles("fit", "heldout", tests)


def load(
    spec: str,
    split: str,
    *,
    cache: str | Path | None = None,
    quarantine: str | Path | None = None,
) -> Split:
    """Load one split, or several with commas as one. `cache` is where the built-in databases are kept; None: the user's cache
    directory. `quarantine` is a file of rows not to be trusted, as `exspin.audit` writes it: see `Split.quarantined`.

    Raises `DataError` for the SPEC, the split's name, a file or a row; `DatabaseError` for a database file that is there
    and cannot be used. Databases that are not there at all are listed in `Split.missing`; `remarks` says that and all else
    that is to be said of a split.
    """
    if quarantine is not None:
        lines = read_quarantine(Path(quarantine))
        return with_quarantine(load(spec, split, cache=cache), lines)
    parsed = parse_spec(spec)
    cache = None if cache is None else Path(cache)
    if "," in split:
        return joined([load(spec, name.strip(), cache=cache) for name in split.split(",")])
    own = parsed.kind == "pairs" and parsed.folder is not None and pairs.holds(parsed.folder, split)
    if split not in parsed.splits and not own:
        raise DataError(f"data {spec!r}: {_unknown('split', split, parsed.splits)}")
    if parsed.folder is None:
        return load_builtin(split, cache)
    if parsed.kind == "bird":
        return bird.load_bird(parsed.folder, split)
    if parsed.kind == "pairs":
        return pairs.load_pairs(parsed.folder, split)
    return load_spider(_LAYOUTS[parsed.kind], parsed.folder, split)


def load_gold(
    path: str | Path, *, databases: str | Path | None = None, spec: str | None = None
) -> Split:
    """A gold file in Spider's format (`SQL<TAB>db_id` a line) as a split without questions, to score against.

    The databases are in the folder `databases`, or those of a SPEC. Raises `DataError` with file and line,
    `DatabaseError` for a database file that is there and cannot be used.
    """
    if (databases is None) == (spec is None):
        raise DataError(
            f"{path}: gold needs its databases; give a folder of them or a SPEC, one of the two"
        )
    if spec is None:
        return read_gold(Path(path), partial(in_folders, [Path(str(databases))]), str(databases))
    return read_gold(Path(path), _finder(parse_spec(spec)), spec)


def _finder(spec: Spec) -> Find:
    """Where the databases of a SPEC are looked for: where they are kept, so that nothing depends on a split's questions."""
    if spec.folder is None:
        splits = [load_builtin(name, None) for name in spec.splits]
        return partial(
            among, {name: db for split in splits for name, db in split.databases.items()}
        )
    if spec.kind == "pairs":
        return partial(pairs.named_databases, spec.folder)
    if spec.kind == "bird":
        return partial(in_folders, bird.database_folders(spec.folder))
    return partial(in_folders, [database_root(_LAYOUTS[spec.kind], spec.folder)])


def with_hardness(split: Split) -> Split:
    """The split with every example's hardness filled in. Apart from `load`, because parsing takes longer than reading.

    The class depends on the shape of a query alone, so only one query of each shape is parsed.
    """
    # loads the SQL parser, which plain loading does without
    from exspin.sql.hardness import hardness, skeleton

    by_shape: dict[str, str] = {}
    examples = []
    for example in split.examples:
        if not example.hardness:
            shape = skeleton(example.query)
            if shape not in by_shape:
                by_shape[shape] = hardness(example.query)
            example = replace(example, hardness=by_shape[shape])
        examples.append(example)
    return replace(split, examples=tuple(examples))


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    (near,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"unknown {what} {name!r}; did you mean {near!r}? Known: {', '.join(known)}"
