"""`run` and `evaluate` from end to end on BIRD's layout and on people's own pairs, with a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from exspin import evaluation, table
from exspin.config import Config, load_config
from exspin.data.importing import import_pairs
from exspin.errors import RunError, UserError
from exspin.evaluation import evaluate
from exspin.ledger import read_json, read_jsonl
from exspin.prompting import make_prompts
from exspin.records import Prompt
from exspin.selfplay import run

pytestmark = pytest.mark.train

SMALL = Path(__file__).with_name("small.yaml")


def small(spec: str, *more: str) -> Config:
    return load_config(
        SMALL, [f"data={spec}", "prompt.max_tokens=320", "sft.epochs=1", "rounds=1", *more]
    )


class Said:
    """A progress that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def bar(self, label: str, total: int) -> object:
        from exspin.progress import Silent

        return Silent().bar(label, total)


def test_a_run_and_an_evaluation_on_birds_layout(small_bird: Path, tmp_path: Path) -> None:
    spec, said = f"bird:{small_bird}", Said()
    summary = run(small(spec, "feedback.comparator=bird"), tmp_path / "run", progress=said)  # type: ignore[arg-type]
    entries = summary.to_json()["rounds"]
    assert [(e["round"], e["split"], e["n"], e["scored"]) for e in entries] == [
        (0, "heldout", 4, 4),
        (0, "dev", 8, 4),
        (1, "heldout", 4, 4),
        (1, "dev", 8, 4),
    ]
    assert read_json(tmp_path / "run" / "best.json")["split"] == "heldout"
    scores = read_json(tmp_path / "run" / "round-1" / "scores.json")["dev"]
    assert scores["comparator"] == "bird"
    assert {name: part["n"] for name, part in scores["by_hardness"].items()} == {"simple": 4, "moderate": 2, "challenging": 2}  # fmt: skip
    prompts = [row["text"] for row in read_jsonl(tmp_path / "run" / "round-1" / "prompts.jsonl")]
    assert all("values: A: active C: closed" in text for text in prompts)
    assert any("evidence: active refers to Status = 'A'\nquestion:" in text for text in prompts)
    assert any("read as Windows-1252" in line for line in said.lines)
    assert any("read as Windows-1252" in line for line in read_json(tmp_path / "run/table.json")["said"])  # fmt: skip

    found = evaluate(tmp_path / "run" / "sft" / "checkpoint", spec, "dev", comparator="bird", predictions=tmp_path / "answers.jsonl")  # fmt: skip
    zero = next(e for e in entries if (e["round"], e["split"]) == (0, "dev"))
    assert (found.n, found.scored, found.ex) == (8, 4, zero["ex"])
    assert list(found.by_hardness) == ["simple", "moderate", "challenging"]
    first = read_jsonl(tmp_path / "run" / "sft" / "predictions-dev.jsonl")
    assert list(read_jsonl(tmp_path / "answers.jsonl")) == list(first)  # the same prompts


def test_every_prompt_shows_the_descriptions(
    small_bird: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Prompt] = []

    def recording(*given: Any, **options: Any) -> list[Prompt]:
        made = make_prompts(*given, **options)
        seen.extend(made)
        return made

    spec = f"bird:{small_bird}"
    monkeypatch.setattr(table, "make_prompts", recording)
    monkeypatch.setattr(evaluation, "make_prompts", recording)
    run(small(spec, "rounds=0"), tmp_path / "run")
    in_run = len(seen)
    assert (
        in_run == 2 * 8 + 4 + 4
    )  # of fit twice: the tokenizer is made from them; of heldout and dev
    evaluate(tmp_path / "run" / "sft" / "checkpoint", spec, "dev")
    assert len(seen) == in_run + 4
    assert [p.example_id for p in seen if "values: A: active C: closed" not in p.text] == []


def test_other_descriptions_are_other_data(small_bird: Path, tmp_path: Path) -> None:
    config = small(f"bird:{small_bird}", "rounds=0")
    run(config, tmp_path / "run")
    (path,) = small_bird.glob("dev_*/dev_databases/delta/database_description/School.csv")
    path.write_bytes(path.read_bytes().replace(b"kindergarten", b"nursery"))
    with pytest.raises(RunError, match="the data changed"):
        run(config, tmp_path / "run")


def test_a_run_without_the_training_set_says_what_is_missing(small_bird: Path, tmp_path: Path) -> None:  # fmt: skip
    config = small(f"bird:{small_bird}")
    shutil.move(small_bird / "train" / "train_databases", tmp_path / "away")
    with pytest.raises(UserError, match="split 'fit' has no question that can be used"):
        run(config, tmp_path / "run")
    shutil.rmtree(small_bird / "train")
    with pytest.raises(UserError, match=r"no train\.json .* fetch train\.zip"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_chooses_a_round_without_held_out_databases(small_bird: Path, tmp_path: Path) -> None:  # fmt: skip
    from exspin.data import load

    spec = f"bird:{small_bird}"
    (name,) = load(spec, "heldout").databases
    shutil.rmtree(small_bird / "train" / "train_databases" / name)
    with pytest.raises(UserError, match=f"'heldout', which chooses the round, .*{name}"):
        run(small(spec), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_and_an_evaluation_on_imported_pairs(small_bird: Path, tmp_path: Path) -> None:
    rows = [
        {"question": f"Which {what}? ({n})", "query": f"SELECT {what} FROM school LIMIT {n}"}
        for n in range(1, 9)
        for what in ("Status", "A4")
    ]
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (database,) = small_bird.glob("train/train_databases/alpha/alpha.sqlite")
    made = import_pairs(str(database), table, tmp_path / "own")
    spec = f"pairs:{tmp_path / 'own'}"
    summary = run(small(spec), tmp_path / "run")
    entries = summary.to_json()["rounds"]
    assert [(e["split"], e["n"]) for e in entries if e["round"] == 0] == [
        ("dev", made.splits["dev"]),
        ("test", made.splits["test"]),
    ]
    found = evaluate(tmp_path / "run" / "round-1" / "checkpoint", spec, "dev,test")
    assert found.n == found.scored == made.splits["dev"] + made.splits["test"]


def test_a_run_on_train_alone_holds_some_out_and_has_no_test(small_bird: Path, tmp_path: Path) -> None:  # fmt: skip
    folder, said = tmp_path / "own", Said()
    folder.mkdir()
    rows = [{"question": f"Question {n}?", "query": f"SELECT count(*) FROM school LIMIT {n + 1}", "db_id": "a"} for n in range(12)]  # fmt: skip
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (database,) = small_bird.glob("train/train_databases/alpha/alpha.sqlite")
    (folder / "databases.yaml").write_text(f"a: {database}")
    summary = run(small(f"pairs:{folder}"), tmp_path / "run", progress=said)  # type: ignore[arg-type]
    assert [(e["split"], e["n"]) for e in summary.to_json()["rounds"]] == [("heldout", 1)] * 2
    assert any("for want of a dev.jsonl" in line for line in said.lines)
    assert (tmp_path / "run" / "report.html").exists()
