"""Hints in a run: made once from the training questions, shown in training as in use, carried by every checkpoint."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from exspin import evaluation, preparing
from exspin.config import Config, load_config
from exspin.errors import DataError, RunError
from exspin.evaluation import evaluate
from exspin.hints.link import LinkScores
from exspin.ledger import digest_json, read_json, read_jsonl
from exspin.progress import Silent
from exspin.prompting import make_prompts
from exspin.records import Prompt
from exspin.selfplay import run
from exspin.sql.schema import Schema

pytestmark = pytest.mark.train
stubbed = pytest.mark.usefixtures("counting")

SMALL = Path(__file__).with_name("small.yaml")
ALL = ("prompt.max_tokens=400", "prompt.values=true", "prompt.shots=1")


class Counting:
    """In the place of the learned linker: it knows how many questions it saw, and likes items by their names."""

    name = "learned"
    trained: list[int] = []  # noqa: RUF012  (one list for all, emptied by the fixture)

    def __init__(self, seen: int, liked: str) -> None:
        self.seen = seen
        self.liked = liked

    def score(
        self, question: str, schema: Schema, *, evidence: str = "", values: Any = None
    ) -> LinkScores:
        return LinkScores(
            {t.name: 1.0 for t in schema.tables},
            {
                (t.name, c.name): float(c.name == self.liked)
                for t in schema.tables
                for c in t.columns
            },
        )

    @property
    def digest(self) -> str:
        return digest_json([self.seen, self.liked])

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "linker.json").write_text(json.dumps([self.seen, self.liked]))

    @classmethod
    def load(cls, directory: Path) -> Counting:
        return cls(*json.loads((directory / "linker.json").read_text()))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(examples: Sequence[Any], schemas: Any, values: Any, **_: Any) -> Counting:
        Counting.trained.append(len(examples))
        return Counting(len(examples), "age")

    def out_of_fold(examples: Sequence[Any], schemas: Any, values: Any, **_: Any) -> list[Any]:
        strange = Counting(0, "kind")
        return [strange.score(e.question, schemas[e.db_id]) for e in examples]

    Counting.trained.clear()
    monkeypatch.setattr(preparing, "train_linker", train)
    monkeypatch.setattr(preparing, "out_of_fold", out_of_fold)
    monkeypatch.setattr(preparing, "LearnedLinker", Counting)
    monkeypatch.setattr("exspin.hints.kit.LearnedLinker", Counting)


def small(data: Path, *more: str) -> Config:
    return load_config(SMALL, [f"data=spider:{data}", "rounds=0", "sft.epochs=1", *ALL, *more])


def texts(path: Path) -> list[str]:
    return [row["text"] for row in read_jsonl(path)]


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], list[dict[str, Any]]]:
    """Evaluate a checkpoint on dev; returns the prompts that it was asked with."""

    def ask(checkpoint: Path, data: Path) -> list[dict[str, Any]]:
        seen: list[Prompt] = []

        def recording(*given: Any, **options: Any) -> list[Prompt]:
            seen.extend(make_prompts(*given, **options))
            return list(seen)

        monkeypatch.setattr(evaluation, "make_prompts", recording)
        evaluate(checkpoint, f"spider:{data}", "dev")
        return [prompt.to_json() for prompt in seen]

    return ask


@pytest.mark.parametrize("schema", ["none", "full", "named", "linked"])
@pytest.mark.parametrize("linker", ["learned", "lexical"])
def test_evaluate_prompts_as_the_run_did(
    small_spider: Path, tmp_path: Path, evaluated: Any, schema: str, linker: str
) -> None:
    """To the byte, also after the checkpoint was moved away from its run."""
    config = small(small_spider, f"prompt.schema={schema}", f"prompt.linker={linker}")
    run(config, tmp_path / "run")
    written = list(read_jsonl(tmp_path / "run" / "prompts" / "dev.jsonl"))
    assert len(written) == 6
    shutil.move(tmp_path / "run" / "sft" / "checkpoint", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(tmp_path / "cache")
    assert evaluated(tmp_path / "elsewhere", small_spider) == written
    assert all(row["shots"] == 1 for row in written)
    assert any(row.get("values") for row in written)
    assert all(("links" in row) == (schema in ("named", "linked")) for row in written)
    assert all(("tables: pet (" in row["text"]) == (schema == "named") for row in written)
    assert all(("table pet (" in row["text"]) == (schema != "none") for row in written)


@stubbed
@pytest.mark.parametrize(
    ("source", "shown"),
    [("learned", {"kind"}), ("gold", {"gold"}), ("mix", {"kind", "gold"})],
)
def test_training_links_come_from_one_that_did_not_see_the_question(
    small_spider: Path, tmp_path: Path, source: str, shown: set[str]
) -> None:
    more = ("prompt.schema=named", f"prompt.training_links={source}", "prompt.keep=0.9")
    run(small(small_spider, *more), tmp_path / "run")
    assert Counting.trained == [12]  # the training questions, dev and heldout not
    rows = list(read_jsonl(tmp_path / "run" / "hints" / "links.jsonl"))
    found = set()
    for row, text in zip(rows, texts(tmp_path / "run" / "sft" / "prompts.jsonl"), strict=True):
        ((_, columns),) = row["links"]
        assert f"tables: pet ({', '.join(columns)})" in text
        found.add("gold" if row["from"] == "gold" else columns[0])
    assert found == shown
    # in use it is the linker that saw all of them
    assert "tables: pet (age" in texts(tmp_path / "run" / "prompts" / "dev.jsonl")[0]


@stubbed
def test_what_was_prepared_is_not_made_again(small_spider: Path, tmp_path: Path) -> None:
    config = small(small_spider, "prompt.schema=named")
    run(config, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "hints").rglob("*.json*")}
    run(config, tmp_path / "run")
    assert Counting.trained == [12]
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "hints").rglob("*.json*")}
    assert before == after and {p.name for p in before} > {"links.jsonl", "values.json"}


@stubbed
@pytest.mark.parametrize("stage", ["values", "linker", "links", "shots"])
def test_a_run_killed_between_stages_goes_on(
    small_spider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    config = small(small_spider, "prompt.schema=named")
    run(config, tmp_path / "whole")
    finish = preparing.Stage.finish

    def killed(self: Any, outputs: Any) -> None:
        if self.name == stage:
            raise KeyboardInterrupt
        finish(self, outputs)

    with monkeypatch.context() as patch:
        patch.setattr(preparing.Stage, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "sft").exists()
    run(config, tmp_path / "run")
    for name in ("sft/prompts.jsonl", "prompts/dev.jsonl", "hints/links.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    manifests = [tmp_path / place / "sft" / "checkpoint" / "manifest.json" for place in ("run", "whole")]  # fmt: skip
    assert read_json(manifests[0]) == read_json(manifests[1])


@stubbed
def test_a_damaged_linker_is_not_used(small_spider: Path, tmp_path: Path) -> None:
    config = small(small_spider, "prompt.schema=named")
    run(config, tmp_path / "run")
    path = tmp_path / "run" / "hints" / "hints" / "linker" / "linker.json"
    path.write_text('[12, "name"]')
    with pytest.raises(RunError, match="changed since stage 'linker' wrote it"):
        run(config, tmp_path / "run")


def test_too_few_questions_for_a_linker_are_said_with_the_cure(
    small_spider: Path, tmp_path: Path
) -> None:
    config = small(small_spider, "prompt.schema=named", "selection.train_questions=1")
    with pytest.raises(DataError, match=r"set prompt\.linker: lexical, or prompt\.schema: full"):
        run(config, tmp_path / "run")


def test_values_that_changed_are_noticed(
    small_spider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's values may change where its schema, which the data's digest is made of, does not."""
    config = small(small_spider, "prompt.schema=full", "prompt.shots=0")
    run(config, tmp_path / "run")
    monkeypatch.setattr("exspin.run_directory.digest_file", lambda path: "the same")
    monkeypatch.setattr("exspin.selfplay.open_run", _unchecked(monkeypatch))
    with closing(sqlite3.connect(small_spider / "database" / "pets" / "pets.sqlite")) as database:
        database.execute("INSERT INTO pet VALUES (9, 'Zed', 'fox', 2)")
        database.commit()
    with pytest.raises(RunError, match=r"values of pets changed"):
        run(config, tmp_path / "run")


def _unchecked(monkeypatch: pytest.MonkeyPatch) -> Any:
    from exspin import run_directory

    monkeypatch.setattr(run_directory, "_check_data", lambda *_: None)
    return run_directory.open_run


def test_the_record_says_what_prompts_carry_and_lost(small_spider: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    config = small(small_spider, "prompt.schema=named", "prompt.max_tokens=52")
    run(config, tmp_path / "run", progress=Listening())
    table = read_json(tmp_path / "run" / "table.json")
    count = table["prompts"]
    assert count["prompts"] == 12 + 6 + 6
    assert count["trimmed"] > 0 and count["steps"]["shots"] > 0
    assert count["carry"]["links"] > 0 and count["carry"]["values"] > 0
    (line,) = (line for line in said if "prompts trimmed" in line)
    assert f"linked names in {count['carry']['links']}" in line
    assert line in table["said"]


def test_a_checkpoint_without_hints_is_prompted_without(
    small_spider: Path, tmp_path: Path, evaluated: Any
) -> None:
    """Its notes say nothing of links, values and shots: it was saved before there were any."""
    config = small(small_spider, "prompt.schema=full", "prompt.values=false", "prompt.shots=0")
    run(config, tmp_path / "run")
    checkpoint = tmp_path / "run" / "sft" / "checkpoint"
    assert not (checkpoint / "hints").exists() and not (tmp_path / "run" / "hints").exists()
    notes = read_json(checkpoint / "exspin.json")
    kept = ("max_tokens", "sample_values", "template")
    notes["prompt"] = {key: notes["prompt"][key] for key in kept}
    (checkpoint / "exspin.json").write_text(json.dumps(notes))
    (checkpoint / "manifest.json").unlink()
    written = list(read_jsonl(tmp_path / "run" / "prompts" / "dev.jsonl"))
    assert evaluated(checkpoint, small_spider) == written


def test_the_tokenizer_of_tiny_knows_the_words_of_hints(small_spider: Path, tmp_path: Path) -> None:
    from exspin.model import load_policy

    run(small(small_spider, "prompt.schema=named", "tiny.vocabulary=600"), tmp_path / "run")
    policy = load_policy(tmp_path / "run" / "sft" / "checkpoint", device="cpu", dtype="float32")
    for word in ("tables:", "values:", "question:"):
        assert len(policy.tokenizer(word)["input_ids"]) <= 2, word
