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


def test_an_audit_finds_the_same_on_every_engine(stage: Any, folder: Path, tmp_path: Path) -> None:
    golds = {
        "empty": "SELECT name FROM singer WHERE age > 99",
        "tie": "SELECT name FROM concert ORDER BY year DESC LIMIT 1",
        "no tie": "SELECT name FROM concert ORDER BY year DESC, id LIMIT 1",
        "clock": "SELECT count(*) FROM concert WHERE CURRENT_TIMESTAMP > '2001-01-01'",
        "write": "DELETE FROM singer",
        "syntax": "SELECT FROM FROM singer",
        "order": "SELECT name FROM concert ORDER BY year",
        "tie!": "SELECT name FROM concert ORDER BY year DESC LIMIT 1",
    }
    lines = [
        json.dumps({"db_id": "stage", "question": q, "query": sql}) for q, sql in golds.items()
    ]
    (folder / "test.jsonl").write_text("\n".join(lines))
    arguments = ["--data", f"pairs:{folder}", "--split", "test", "-o", tmp_path / "audit"]
    found = call(stage, "audit", *arguments, "--reasons", "failing,nondeterministic,ties,empty")

    def rows(name: str) -> list[tuple[int, str]]:
        return [(row["index"], row["detail"]) for row in found[name]]

    assert rows("failing") == [(4, "denied"), (5, "syntax")]
    assert rows("nondeterministic") == [(3, "clock")]
    assert rows("ties") == [(1, "values"), (6, "order"), (7, "values")]
    assert rows("empty") == [(0, "")]
    assert [row["example_id"] for row in found["duplicates"]] == ["pairs/test/7"]
    assert found["engines"] == [stage.kind]
    assert ("in the other direction" in (tmp_path / "audit" / "audit.html").read_text()) == (
        stage.kind == "sqlite"
    )
    marked = tmp_path / "audit" / "quarantine.jsonl"
    (tmp_path / "p.sql").write_text("".join(f"{sql}\n" for sql in golds.values()))
    spec = ["--data", f"pairs:{folder}", "--split", "test", "--predictions", tmp_path / "p.sql"]
    scored = call(stage, "score", *spec, "--quarantine", marked)
    assert (scored["n"], scored["scored"], scored["ex"]) == (8, 1, 1.0)


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


def test_imported_exported_and_scored_again(stage: Any, folder: Path, tmp_path: Path) -> None:
    """A copy of a file, the URL of a server; the password stands in neither folder."""
    (tmp_path / "table.csv").write_text(
        "question,query\n" + "".join(f'{q},"{sql}"\n' for q, sql in ASKED)
    )
    url = (folder / "databases.yaml").read_text().removeprefix("stage: ").strip()
    made = call(stage, "data", "import", "--db", url, "--pairs", tmp_path / "table.csv", "-o", tmp_path / "made")  # fmt: skip
    assert (made["questions"], set(made["splits"])) == (6, {"train", "dev", "test"})
    data = ["--data", f"pairs:{tmp_path / 'made'}", "--split", "train,dev,test"]
    written = call(stage, "data", "export", *data, "-o", tmp_path / "out")
    server = stage.kind in ("postgresql", "mysql")
    assert (written["databases"], len(written["servers"])) == (1, server)
    for file in (path for name in ("made", "out") for path in (tmp_path / name).rglob("*.*")):
        assert not shows_password(stage, file.read_bytes().decode("utf-8", "replace")), file
    golds = [row for n in ("train", "dev", "test") for row in read_jsonl(tmp_path / "out" / f"{n}.jsonl")]  # fmt: skip
    (tmp_path / "p.sql").write_text("".join(f"{row['query']}\n" for row in golds))
    data = ["--data", f"pairs:{tmp_path / 'out'}", "--split", "train,dev,test"]
    assert call(stage, "score", *data, "--predictions", tmp_path / "p.sql")["ex"] == 1.0


@pytest.mark.parametrize("command", ["import", "audit", "score"])
def test_a_login_that_may_write_is_refused_or_warned_of(
    server_stage: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    owner = {"postgresql": "postgres", "mysql": "root"}[server_stage.kind]
    url = server_stage.url(owner, "")
    (tmp_path / "databases.yaml").write_text(f"stage: {url}\n")
    lines = [json.dumps({"db_id": "stage", "question": q, "query": sql}) for q, sql in ASKED]
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    (tmp_path / "p.sql").write_text("".join(f"{sql}\n" for _, sql in ASKED))
    arguments = ["--data", f"pairs:{tmp_path}", "--split", "test"]
    if command == "score":
        arguments += ["--predictions", str(tmp_path / "p.sql")]
    words = [command, *arguments]
    if command == "import":
        (tmp_path / "table.jsonl").write_text("\n".join(lines))
        arguments = ["--db", url, "--pairs", str(tmp_path / "table.jsonl"), "-o", f"{tmp_path}/own"]
        words = ["data", "import", *arguments]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2, (refused.output, refused.exception)
    assert f"the login {owner!r} may do more than read" in refused.stderr
    assert "--allow-privileged" in refused.stderr and not (tmp_path / "own").exists()
    monkeypatch.setattr("exspin.sql.engines.login._warned", set())  # of each it warns once
    call(server_stage, *words, "--allow-privileged")
    assert f"the login {owner!r} may do more than read" in caplog.text


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
    """And is not continued when the tables are others, or the rows."""
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
    call(server_stage, "run", SMALL, "-o", tmp_path / "run", *arguments)  # nothing changed
    for change, back in (
        ("ALTER TABLE many ADD COLUMN later INTEGER", "ALTER TABLE many DROP COLUMN later"),
        ("UPDATE singer SET age = 30 WHERE id = 2", "UPDATE singer SET age = 29 WHERE id = 2"),
    ):
        server_stage.admin(change)
        try:
            again = CliRunner().invoke(
                app, ["run", str(SMALL), "-o", str(tmp_path / "run"), *arguments]
            )
        finally:
            server_stage.admin(back)
        assert again.exit_code == 2 and "the data changed" in again.stderr, again.output
        assert not shows_password(server_stage, again.output)
