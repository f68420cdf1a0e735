"""People's own questions on every engine, from the command line: scored, audited, answered by a model, learned from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from exspin.cli import app
from exspin.ledger import read_json, read_jsonl
from exspin.urls import passwords

SMALL = Path(__file__).parents[2] / "small.yaml"
ASKED = [
    ("How many singers are there?", "SELECT count(*) FROM singer"),
    ("Who is older than 30?", "SELECT name FROM singer WHERE age > 30"),
    ("How old is the oldest?", "SELECT max(age) FROM singer"),
    ("Which concerts were in 2015?", "SELECT name FROM concert WHERE year = 2015"),
    (
        "Who sang in 2014?",
        "SELECT s.name FROM singer s JOIN concert c ON s.id = c.singer_id WHERE c.year = 2014",
    ),
    ("Names by age", "SELECT name FROM singer ORDER BY age"),
]
WRONG = ("Who is this?", "SELECT name FROM nobody")
PASSWORD = "EXSPIN_TEST_PASSWORD"  # the variable that holds it


@pytest.fixture
def folder(stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six questions to learn from, four for dev of which one has broken gold, on one engine."""
    url = stage.database.url
    for secret in passwords(url):
        monkeypatch.setenv(PASSWORD, unquote(secret))
        url = url.replace(secret, f"${PASSWORD}")
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "databases.yaml").write_text(f"stage: {url}\n")
    for name, rows in {"train": ASKED, "dev": [*ASKED[:3], WRONG]}.items():
        lines = [json.dumps({"db_id": "stage", "question": q, "query": sql}) for q, sql in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def call(stage: Any, *arguments: str | Path) -> dict[str, Any]:
    """What a command prints as JSON; nothing that it says holds the password."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert not shows_password(stage, result.stdout + result.stderr)
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def shows_password(stage: Any, text: str) -> bool:
    return any(s in text or unquote(s) in text for s in passwords(stage.database.url))


def test_score_and_audit(stage: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p.sql").write_text(
        "SELECT count(id) FROM singer\nSELECT name FROM singer\nSELECT 1\nSELECT 1\n"
    )
    spec = ["--data", f"pairs:{folder}", "--split", "dev"]
    scored = call(stage, "score", *spec, "--predictions", tmp_path / "p.sql", "--workers", "1")
    assert {k: v for k, v in scored["outcomes"].items() if v} == {"match": 1, "mismatch": 2, "gold_unusable": 1}  # fmt: skip
    assert (scored["n"], scored["scored"], scored["damaged"]) == (4, 3, {})

    found = call(stage, "audit", *spec, "-o", tmp_path / "audit", "--workers", "1")
    assert (found["n"], found["usable"], found["ceiling"]) == (4, 3, 0.75)
    assert [(row["index"], row["detail"]) for row in found["failing"]] == [(3, "no_such_table")]
    assert found["nondeterministic"] == []
    for file in (tmp_path / "audit").iterdir():
        assert not shows_password(stage, file.read_text())
    quarantine = tmp_path / "audit" / "quarantine.jsonl"
    assert [row["example_id"] for row in read_jsonl(quarantine)] == ["pairs/dev/3"]


def test_gold_in_a_file_is_scored_on_it(stage: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gold.sql").write_text("".join(f"{sql}\tstage\n" for _, sql in ASKED))
    (tmp_path / "p.sql").write_text("".join(f"{sql}\n" for _, sql in ASKED))
    arguments = ["--gold", tmp_path / "gold.sql", "--data", f"pairs:{folder}", "--workers", "1"]
    assert call(stage, "score", *arguments, "--predictions", tmp_path / "p.sql")["ex"] == 1.0


HINTS = ("prompt.max_tokens=600", "prompt.schema=named", "prompt.values=true", "prompt.shots=1")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Indexes of values lie below a folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(place))
        yield place


@pytest.fixture(scope="module")
def model(duckdb_stage: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one round on DuckDB; fails as a test does."""
    pytest.importorskip("torch")
    place = tmp_path_factory.mktemp("run")
    (place / "databases.yaml").write_text(f"stage: {duckdb_stage.database.url}\n")
    lines = [json.dumps({"db_id": "stage", "question": q, "query": sql}) for q, sql in ASKED]
    for name, part in {"train": lines[:4], "dev": lines[4:]}.items():
        (place / f"{name}.jsonl").write_text("\n".join(part))
    settings = [f"data=pairs:{place}", *HINTS, "rounds=1"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    found = call(duckdb_stage, "run", SMALL, "-o", place / "run", *arguments)
    assert [(e["round"], e["split"], e["scored"]) for e in found["rounds"]] == [(0, "dev", 2), (1, "dev", 2)]  # fmt: skip
    outcomes = {row["outcome"] for row in read_jsonl(place / "run" / "round-1" / "outcomes.jsonl")}
    assert outcomes and "infra" not in outcomes and "gold_unusable" not in outcomes
    first = next(iter(read_jsonl(place / "run" / "sft" / "prompts.jsonl")))
    assert "table singer" in first["text"] and "\ntables: " in first["text"]
    assert set(read_json(place / "run" / "environment.json")["data"]) == {"train", "dev"}
    return place / "run" / "round-1" / "checkpoint"


@pytest.mark.train
def test_a_model_learned_on_duckdb_answers_on_every_engine(
    model: Path, stage: Any, folder: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    arguments = ["--model", model, "--data", f"pairs:{folder}", "--split", "dev"]
    found = call(stage, "evaluate", *arguments, "--predictions", answers)
    assert (found["n"], found["scored"], found["gold_unusable"]) == (4, 3, 1)
    assert not shows_password(stage, answers.read_text())


@pytest.mark.train
def test_a_run_on_a_server_keeps_no_password(
    server_stage: Any, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes on with another password, but not when the tables are others."""
    pytest.importorskip("torch")
    (secret,) = passwords(server_stage.database.url)
    monkeypatch.setenv(PASSWORD, unquote(secret))
    url = server_stage.database.url.replace(secret, f"${PASSWORD}")
    (tmp_path / "databases.yaml").write_text(f"stage: {url}\n")
    lines = [json.dumps({"db_id": "stage", "question": q, "query": sql}) for q, sql in ASKED]
    for name, part in {"train": lines[:4], "dev": lines[4:]}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part))
    settings = [f"data=pairs:{tmp_path}", *HINTS, "rounds=0", "sft.epochs=1"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    call(server_stage, "run", SMALL, "-o", tmp_path / "run", *arguments)
    written = [*(tmp_path / "run").rglob("*"), *cache.rglob("*")]
    for file in (path for path in written if path.is_file()):
        assert not shows_password(server_stage, file.read_bytes().decode("utf-8", "replace")), file
    server_stage.admin("ALTER TABLE many ADD COLUMN later INTEGER")
    try:
        again = CliRunner().invoke(
            app, ["run", str(SMALL), "-o", str(tmp_path / "run"), *arguments]
        )
    finally:
        server_stage.admin("ALTER TABLE many DROP COLUMN later")
    assert again.exit_code == 2 and "the data changed" in again.stderr, again.output
