"""Questions with their gold SQL and databases, by SPEC: `builtin`, `spider:PATH`, `spider-syn:PATH`.

Loading checks every row and every database once and names file and line of what is wrong, so that later stages may
trust what they get. It runs no query: whether gold SQL works is the audit's question.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exspin.data.builtin import SPLITS as BUILTIN_SPLITS
from exspin.data.builtin import load_builtin
from exspin.data.spider import SPIDER, SPIDER_SYN, load_spider
from exspin.data.splits import Split, describe_missing, joined, select_questions
from exspin.errors import DataError

__all__ = [
    "Roles",
    "Spec",
    "Split",
    "describe_missing",
    "load",
    "parse_spec",
    "roles",
    "select_questions",
    "with_hardness",
]

_LAYOUTS = {"spider": SPIDER, "spider-syn": SPIDER_SYN}
_SPLITS = {
    "builtin": BUILTIN_SPLITS,
    **{kind: tuple(layout.files) for kind, layout in _LAYOUTS.items()},
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
        raise DataError(f"data {spec!r}: needs the folder of the release, as in {kind}:PATH")
    return Spec(kind, Path(folder))


def roles(spec: str) -> Roles:
    """Which splits of this SPEC a run learns from, chooses by and reports."""
    if parse_spec(spec).kind == "builtin":
        return Roles("train", "dev", ("test", "test-hand", "test-unseen"))
    return Roles("fit", "heldout", ("dev",))


def load(spec: str, split: str, *, cache: Path | None = None) -> Split:
    """Load one split, or several with commas as one. `cache` is where the built-in databases are kept; None: the user's cache
    directory.

    Raises `DataError` for the SPEC, the split's name, a file or a row; `DatabaseError` for a database file that is there
    and cannot be used. Databases that are not there at all are listed in `Split.missing`: see `describe_missing`.
    """
    parsed = parse_spec(spec)
    if "," in split:
        return joined([load(spec, name.strip(), cache=cache) for name in split.split(",")])
    if split not in parsed.splits:
        raise DataError(f"data {spec!r}: {_unknown('split', split, parsed.splits)}")
    if parsed.folder is None:
        return load_builtin(split, cache)
    return load_spider(_LAYOUTS[parsed.kind], parsed.folder, split)


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
