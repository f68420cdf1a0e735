"""Imports run downhill, and heavy libraries stay where they belong: read from the source, not from running it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import exspin

ROOT = Path(exspin.__file__).parent

# docs/architecture.md draws the same floors. A name stands for the module or for everything in the folder.
FLOORS = [
    ["errors", "urls", "records", "environment", "ledger", "progress", "statistics"],
    ["config", "presets", "data", "sql"],
    ["hints", "prompt", "tiny_tokenizer", "hub", "model"],
    ["generate", "feedback", "predictions", "accidental", "prompting"],
    ["pairs", "scoring", "evaluation", "run_directory"],
    ["train", "table", "preparing"],
    ["reporting", "auditing", "diagnosis", "selfplay"],
    ["cli", "__main__"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}

# Imports within a floor, beside those within one folder.
SIDEWAYS = {
    ("ledger", "errors"),
    ("records", "urls"),
    ("data", "sql"),
    ("model", "tiny_tokenizer"),
    ("model", "hub"),
    ("feedback", "accidental"),
    ("evaluation", "scoring"),
    ("preparing", "table"),
    ("selfplay", "reporting"),
    ("auditing", "reporting"),
    ("__main__", "cli"),
}

HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers"}
MAY_BE_HEAVY = {"model.py", "tiny_tokenizer.py", "generate/hf.py", "generate/shared_prefix.py"}


def sources() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, wherever in it, with the line. What only a type checker reads is left out."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: write the import in full"
            if node.module == "exspin":
                yield from ((node.lineno, f"exspin.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def uphill(path: Path) -> list[str]:
    """The imports of a file that the floors forbid."""
    here = room(path)
    found = []
    for line, module in imports(path):
        if not module.startswith("exspin."):
            continue
        there = module.split(".")[1]
        if there == "__version__" or there == here:
            continue
        allowed = FLOOR[there] < FLOOR[here] or (
            FLOOR[there] == FLOOR[here] and (here, there) in SIDEWAYS
        )
        if not allowed:
            found.append(f"{path.relative_to(ROOT)}:{line}: {here} imports {there}")
    return found


def test_every_module_has_a_floor() -> None:
    assert {room(path) for path in sources()} == set(FLOOR)


def test_imports_run_downhill() -> None:
    assert [line for path in sources() for line in uphill(path)] == []


def test_an_import_uphill_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "feedback.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from exspin.selfplay import run\n"
        "from exspin.records import Outcome\n"
        "def late():\n    from exspin import cli\n"
    )
    assert uphill(tmp_path / "feedback.py") == ["feedback.py:6: feedback imports cli"]


def test_no_way_round_in_a_floor() -> None:
    """The sideways imports make no cycle: following them always ends."""
    step = {a: {b for x, b in SIDEWAYS if x == a} for a, _ in SIDEWAYS}

    def longest(name: str, seen: tuple[str, ...] = ()) -> int:
        assert name not in seen, seen
        return 1 + max((longest(n, (*seen, name)) for n in step.get(name, ())), default=0)

    assert max(longest(name) for name in step) <= 3


def test_heavy_libraries_stay_at_the_edge() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in sources()
        for _, module in imports(path)
        if module.partition(".")[0] in HEAVY
    }
    assert all(name in MAY_BE_HEAVY or name.startswith("train/") for name in found), found


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        (
            "import exspin",
            {*HEAVY, "numpy", "pydantic", "yaml", "sqlglot", "rich", "typer", "jinja2"},
        ),
        ("import exspin.cli", {*HEAVY, "numpy", "sqlglot", "jinja2"}),
        ("import exspin.scoring, exspin.evaluation, exspin.reporting, exspin.diagnosis", HEAVY),
    ],
)
def test_importing_loads_nothing_heavy(statement: str, forbidden: set[str]) -> None:
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not forbidden & set(result.stdout.split())


def test_importing_exspin_loads_no_other_module_of_it() -> None:
    code = "import sys, exspin; print(*(name for name in sys.modules if name.startswith('exspin')))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["exspin"]
