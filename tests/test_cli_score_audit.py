"""The commands for people with a file of predictions and for people who doubt their gold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from exspin.cli import app
from exspin.ledger import read_jsonl

GOLD = [
    "SELECT count(*) FROM pet",
    "SELECT name FROM pet",
    "SELECT max(age) FROM pet",
    "SELECT name FROM pet WHERE kind = 'dog'",
    "SELECT name FROM pet ORDER BY age",
    "SELECT count(DISTINCT kind) FROM pet",
]


def call(*arguments: str | Path) -> Any:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def only_json(*arguments: str | Path) -> dict[str, Any]:
    """The object a command printed, which must be all it printed."""
    result = call(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


def refused(*arguments: str | Path) -> str:
    """The one line of a command that the user can mend."""
    result = call(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    *_, line = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two systems on the twelve rows of dev: one wrong in its first answer, one in its last two."""
    a, b = tmp_path / "a.sql", tmp_path / "b.csv"
    a.write_text("\n".join(["SELECT 42", *GOLD[1:], *GOLD]) + "\n")
    quoted = "".join(f'"{sql}",{i}\n' for i, sql in enumerate([*GOLD[:4], "", "", *GOLD]))
    b.write_text("prediction,index\n" + quoted)
    return a, b


def test_two_files_as_json(small_spider: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = files
    found = only_json(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", a,
        "--predictions", b, "--verdicts", tmp_path / "va", "--verdicts", tmp_path / "vb",
    )  # fmt: skip
    assert list(found) == ["files", "pairs", "seconds"]
    assert [(row["n"], row["scored"], row["ex"]) for row in found["files"]] == [
        (12, 6, 5 / 6),
        (12, 6, 4 / 6),
    ]
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"], pair["fixed"], pair["broke"]) == (str(a), str(b), 1, 2)
    assert pair["diff"] == pytest.approx(-1 / 6) and pair["p"] == 1.0
    assert found["seconds"] > 0
    alone = only_json(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", a
    )
    together = found["files"][0]
    assert list(together) == ["predictions", *alone]
    assert {k: v for k, v in alone.items() if k != "seconds"}.items() <= together.items()
    outcomes = [[row["outcome"] for row in read_jsonl(tmp_path / name)] for name in ("va", "vb")]
    assert outcomes[0][:6] == ["mismatch"] + ["match"] * 5
    assert outcomes[1][:6] == ["match"] * 4 + ["not_a_query"] * 2


def test_two_files_for_people(small_spider: Path, files: tuple[Path, Path]) -> None:
    a, b = files
    result = call(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--pred", a, "--pred", b
    )
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert f"A: {a}" in result.stdout and f"B: {b}" in result.stdout
    assert "EX 83.33% 66.67%" in lines
    assert any(line.startswith("B − A -16.7 ") and line.endswith(" 1 2 1.000") for line in lines)
    assert max(len(line) for line in result.stdout.splitlines() if str(a.parent) not in line) <= 80


def test_one_file_for_people_has_intervals(small_spider: Path, files: tuple[Path, Path]) -> None:
    result = call(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", files[0]
    )
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "match 5 83.33% 50.0–100.0" in lines
    assert "gold_unusable 6" in lines
    assert any(line.startswith("easy ") and "–" in line for line in lines)


def test_a_gold_file_as_the_test_suite_evaluator_is_called(
    small_spider: Path, tmp_path: Path
) -> None:
    (tmp_path / "gold.txt").write_text("".join(f"{sql}\tfarm\n" for sql in GOLD))
    (tmp_path / "pred.txt").write_text("\n".join(["SELECT 1", *GOLD[1:]]) + "\n")
    same = ("--gold", tmp_path / "gold.txt", "--pred", tmp_path / "pred.txt")
    for more in (("--db", small_spider / "database"), ("--data", f"spider:{small_spider}")):
        found = only_json("score", *same, *more, "--comparator", "test-suite")
        assert (found["n"], found["scored"], found["ex"]) == (6, 6, 5 / 6)


def test_model_text_in_a_table(small_spider: Path, tmp_path: Path) -> None:
    answers = [f"Sure!\n```sql\n{sql};\n```\nDone, I think." for sql in GOLD] * 2
    lines = [json.dumps({"model answer": text}) for text in answers]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    found = only_json(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--extract",
        "--predictions", tmp_path / "p.jsonl", "--sql-column", "model answer",
    )  # fmt: skip
    assert found["ex"] == 1.0


def test_a_quarantine_is_counted_aloud(
    small_spider: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    line = {"example_id": "spider/dev/0", "reason": "failing"}
    (tmp_path / "q.jsonl").write_text(json.dumps(line))
    arguments = (
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", files[0],
        "--quarantine", tmp_path / "q.jsonl", "--verdicts", tmp_path / "v.jsonl",
    )  # fmt: skip
    found = only_json(*arguments)
    assert (found["n"], found["scored"], found["gold_unusable"], found["ex"]) == (12, 5, 7, 1.0)
    first = next(read_jsonl(tmp_path / "v.jsonl"))
    assert (first["outcome"], first["detail"]) == ("gold_unusable", "quarantined")
    assert "1 of 12 questions are quarantined (failing 1)" in call(*arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "score needs --data SPEC --split S, or --gold FILE --databases DIR"),
        (("--data", "builtin"), "score needs --data SPEC --split S"),
        (("--data", "builtin", "--split", "dev", "--databases", "x"), "--databases x: goes with --gold"),
        (("--gold", "g"), "--gold g: needs its databases, by --databases DIR or by --data SPEC"),
        (("--gold", "g", "--data", "builtin", "--databases", "x"), "one of the two"),
        (("--gold", "g", "--databases", "x", "--split", "dev"), "--split: has no part with --gold g"),
        (("--gold", "g", "--databases", "x", "--quarantine", "q"), "--quarantine: has no part"),
        (("--gold", "nowhere.txt", "--databases", "."), "nowhere.txt: cannot be read"),
        (("--data", "builtin", "--split", "dev", "--quarantine", "gone"), "gone: cannot be read"),
        (("--data", "builtin", "--split", "dev", "--verdicts", "v", "--verdicts", "w"),
         "2 places for the verdicts of 1 files"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.sql").write_text("SELECT 1\n")
    assert said in refused("score", "--predictions", "p.sql", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["p.sql"]


def test_an_audit_as_json(small_spider: Path, tmp_path: Path) -> None:
    found = only_json(
        "audit", "--data", f"spider:{small_spider}", "--split", "train,dev", "-o", tmp_path / "a"
    )
    assert (found["n"], found["usable"], found["ceiling"]) == (30, 24, 24 / 30)
    assert found["failing"] == [] and found["unusable_databases"][0]["db_id"] == "lost"
    # the same six questions stand in every database of both splits
    assert {leak["kind"] for leak in found["leaks"]} == {"question"} and len(found["leaks"]) == 12
    assert found["seconds"] > 0
    written = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert {**written, "seconds": 0} == {**found, "seconds": 0}


def test_an_audit_for_people_and_its_quarantine_in_use(
    small_spider: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = json.loads((small_spider / "dev.json").read_text())
    rows[2]["query"] = "SELECT max(size) FROM pet"
    (small_spider / "dev.json").write_text(json.dumps(rows))
    spec = f"spider:{small_spider}"
    result = call("audit", "--data", spec, "--split", "dev", "-o", tmp_path / "a")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].startswith("5 of 12 golds run; ceiling 41.67%")
    assert "dev 12 5 1 0 0 0 0 0 0" in lines
    assert "fails: spider/dev/2 (farm): no_such_column" in lines
    assert "1 of 2 databases missing: lost (6)" in result.stderr
    found = only_json(
        "score", "--data", spec, "--split", "dev", "--predictions", files[0],
        "--quarantine", tmp_path / "a" / "quarantine.jsonl",
    )  # fmt: skip
    assert (found["n"], found["scored"], found["gold_unusable"]) == (12, 5, 7)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--reasons", "failing,ugly"), "reason 'ugly': unknown; choose of failing, "),
        (("--comparator", "exact"), "--comparator 'exact': known are"),
        (("--split", "dve"), "did you mean 'dev'"),
    ],
)
def test_an_audit_that_cannot_be(more: tuple[str, ...], said: str, small_spider: Path) -> None:
    assert said in refused("audit", "--data", f"spider:{small_spider}", "--split", "dev", *more)


def test_model_text_without_extract_gets_a_hint(small_spider: Path, tmp_path: Path) -> None:
    said = [json.dumps({"sql": f"Sure:\n```sql\n{sql}\n```"}) for sql in [*GOLD, *GOLD]]
    (tmp_path / "p.jsonl").write_text("\n".join(said))
    asked = ("score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", tmp_path / "p.jsonl")  # fmt: skip
    hint = "6 of 6 predictions are no single SELECT; --extract takes the statement out"
    assert hint in call(*asked).stderr
    extracted = call(*asked, "--extract")
    assert "EX 100.00%" in extracted.stdout and "--extract" not in extracted.stderr
