"""The command line: bad input is one line, exit code 2 and nothing written; `--json` is one object on stdout."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from exspin.cli import app
from exspin.cli.console import stderr, stdout
from exspin.cli.printing import print_rounds
from exspin.config import load_config
from exspin.errors import DataError
from exspin.reporting import Row
from exspin.run_directory import open_run

SMALL = Path(__file__).with_name("small.yaml")
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


def settings(*more: str) -> list[str]:
    """The small configuration with one round, and more settings, as arguments of `run`."""
    overrides = [part for setting in ["rounds=1", *more] for part in ("--set", setting)]
    return [str(SMALL), *overrides]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, every directory as None."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Calls a command that must fail as a user's mistake does; gives the line."""

    def check(*arguments: str | Path) -> str:
        before = snapshot(tmp_path)
        result = call(*arguments)
        assert result.exit_code == 2, (result.output, result.exception)
        assert result.stdout == ""
        line: str = result.stderr.rstrip("\n").rpartition("\n")[2]  # lines before it are progress
        assert line.startswith("error: ")
        assert "Traceback" not in result.stderr
        assert snapshot(tmp_path) == before
        return line

    return check


@pytest.fixture
def torch() -> None:
    pytest.importorskip("torch")


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Predictions for the twelve rows of dev: all gold but one, the rows of `lost` among them."""
    path = tmp_path / "predictions.sql"
    path.write_text("\n".join(["SELECT 42", *GOLD[1:], *GOLD]) + "\n")
    return path


# --- data -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"SQLite format 3\0" + b"\x10\x00" * 42, "cut off"),
        (None, "does not exist though its folder does"),
    ],
)
def test_a_database_file_that_is_none(
    small_spider: Path,
    predictions: Path,
    refused: Callable[..., str],
    content: bytes | None,
    said: str,
) -> None:
    file = small_spider / "database" / "farm" / "farm.sqlite"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    line = refused(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", predictions
    )
    assert str(file) in line and said in line


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("question,query\na,SELECT 1\nb,\n", "table.csv:3: 'query' is empty"),
        ("question,query\na,DROP TABLE pet\n", "table.csv:2: 'query' is not one statement"),
    ],
)
def test_a_table_that_cannot_be_imported(
    small_spider: Path, tmp_path: Path, refused: Callable[..., str], table: str, said: str
) -> None:
    (tmp_path / "table.csv").write_text(table)
    farm = small_spider / "database" / "farm" / "farm.sqlite"
    arguments = ("--pairs", tmp_path / "table.csv", "-o", tmp_path / "own")
    assert said in refused("data", "import", "--db", farm, *arguments)
    hidden = refused("data", "import", "--db", "mysql://me:secret@host/db", *arguments)
    assert "holds a password" in hidden and "secret" not in hidden


@pytest.mark.parametrize("command", ["score", "export", "run"])
def test_a_row_without_db_id_is_named_by_file_and_line(
    small_spider: Path,
    tmp_path: Path,
    predictions: Path,
    refused: Callable[..., str],
    torch: None,
    command: str,
) -> None:
    rows = [{"db_id": "pets", "question": "How many?", "query": GOLD[0]}]
    rows.append({"question": "How many?", "query": GOLD[0]})
    for name in ("dev.json", "train_spider.json"):
        (small_spider / name).write_text(json.dumps(rows, indent=1))
    spec = f"spider:{small_spider}"
    line = {
        "score": lambda: refused(
            "score", "--data", spec, "--split", "dev", "--predictions", predictions
        ),
        "export": lambda: refused(
            "data", "export", "--data", spec, "--split", "dev", "-o", tmp_path / "out"
        ),
        "run": lambda: refused("run", "-o", tmp_path / "out", *settings(f"data={spec}")),
    }[command]()
    assert ".json:7: field 'db_id' is missing" in line


def test_malformed_json_is_named_by_file_and_line(
    small_spider: Path, predictions: Path, refused: Callable[..., str]
) -> None:
    # Line 100: a console that knows emoji would print a picture for ":100:".
    (small_spider / "dev.json").write_text("[" + "\n" * 99 + '{"db_id": "farm",, }]')
    line = refused(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", predictions
    )
    assert f"{small_spider / 'dev.json'}:100: not JSON" in line


@pytest.mark.parametrize(
    ("spec", "split", "said"),
    [
        ("spidr:x", "dev", "did you mean 'spider'"),
        ("builtin", "tset", "did you mean 'test'"),
        ("builtin", "dev,,test", "unknown split ''"),
        ("builtin", "dev,dev", "name one of them"),
        ("spider:/nowhere/at/all", "dev", "no such folder"),
    ],
)
def test_an_unknown_spec_or_split(
    predictions: Path, refused: Callable[..., str], spec: str, split: str, said: str
) -> None:
    line = refused("score", "--data", spec, "--split", split, "--predictions", predictions)
    assert said in line


# --- configuration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning: {lamda: 0.1}", "unknown key 'learning.lamda'; did you mean 'learning.lambda'?"),
        ("K: 0", "unknown key 'K'; did you mean 'generation.k'?"),
        ("learning: {lr: .nan}", "learning.lr = nan: Input should be a finite number"),
        ("learning: {lr: []}", "learning.lr = []"),
        ("generation: {k: 0}", "generation.k = 0"),
        ("- data: builtin", "expected keys and values, found list"),
        ("data: [unclosed", "not YAML"),
        ("data: !!python/object/apply:os.system ['touch hacked']", "not YAML"),
        ("[" * 3000, "nested too deeply"),
        ("data: spider:$NOT_SET_ANYWHERE/x", "NOT_SET_ANYWHERE"),
    ],
)
def test_a_configuration_that_cannot_be(
    tmp_path: Path, refused: Callable[..., str], torch: None, text: str, said: str
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert said in refused("run", tmp_path / "run.yaml", "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("learning.lr=nan", "Input should be a finite number"),
        ("generation.k=0", "greater than or equal to 1"),
        ("K=0", "did you mean 'generation.k'?"),
        ("rounds", "expected key=value"),
    ],
)
def test_a_setting_that_cannot_be(
    tmp_path: Path, refused: Callable[..., str], torch: None, setting: str, said: str
) -> None:
    assert said in refused("run", "-o", tmp_path / "out", "--set", setting)


def test_a_configuration_file_that_is_not_there(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert "cannot be read" in refused("run", tmp_path / "none.yaml", "-o", tmp_path / "out")


# --- models ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": "{}", "pytorch_model.bin": "\x80"}, "only pickled weights"),
        ({}, "is empty"),
        ({"config.json": "{}"}, "no weights"),
        (None, "no such directory"),
    ],
)
@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_a_model_that_cannot_be_loaded(
    small_spider: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    torch: None,
    command: str,
    files: dict[str, str] | None,
    said: str,
) -> None:
    model, spec = tmp_path / "model", f"spider:{small_spider}"
    if files is not None:
        model.mkdir()
        for name, text in files.items():
            (model / name).write_text(text)
    if command == "run":
        line = refused("run", "-o", tmp_path / "out", *settings(f"data={spec}", f"model={model}"))
    else:
        line = refused("evaluate", "--model", model, "--data", spec, "--split", "dev")
    assert str(model) in line and said in line


def test_tiny_is_no_model_to_evaluate(
    small_spider: Path, refused: Callable[..., str], torch: None
) -> None:
    line = refused(
        "evaluate", "--model", "tiny", "--data", f"spider:{small_spider}", "--split", "dev"
    )
    assert "give the checkpoint directory of a run" in line


# --- predictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [0, 11, 13])
def test_predictions_for_another_number_of_rows(
    small_spider: Path, tmp_path: Path, refused: Callable[..., str], lines: int
) -> None:
    (tmp_path / "p.sql").write_text("SELECT 1\n" * lines)
    line = refused(
        "score", "--data", f"spider:{small_spider}", "--split", "dev",
        "--predictions", tmp_path / "p.sql", "--verdicts", tmp_path / "v.jsonl",
    )  # fmt: skip
    assert f"{lines} predictions for 12 rows" in line


def test_predictions_that_are_not_there(
    small_spider: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    line = refused(
        "score", "--data", f"spider:{small_spider}", "--split", "dev",
        "--predictions", tmp_path / "none.sql",
    )  # fmt: skip
    assert "none.sql: cannot be read" in line


def test_verdicts_never_replace_the_predictions(
    small_spider: Path, predictions: Path, refused: Callable[..., str]
) -> None:
    line = refused(
        "score", "--data", f"spider:{small_spider}", "--split", "dev",
        "--predictions", predictions, "--verdicts", predictions,
    )  # fmt: skip
    assert "a file of their own" in line


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_an_unknown_comparator(
    small_spider: Path, predictions: Path, refused: Callable[..., str], torch: None, command: str
) -> None:
    more = ["--predictions", predictions] if command == "score" else ["--model", "none"]
    line = refused(
        command, "--data", f"spider:{small_spider}", "--split", "dev", "--comparator", "bidr", *more
    )
    assert "'bidr'" in line and "test-suite-distinct" in line


@pytest.mark.parametrize("timeout", ["nan", "inf", "0", "-1", "soon"])
def test_a_time_limit_that_is_none(small_spider: Path, predictions: Path, timeout: str) -> None:
    result = call(
        "score", "--data", f"spider:{small_spider}", "--split", "dev",
        "--predictions", predictions, "--timeout", timeout,
    )  # fmt: skip
    assert result.exit_code == 2 and "--timeout" in result.stderr


# --- run directories ------------------------------------------------------------------------------------------------


def test_the_output_is_a_file(
    small_spider: Path, tmp_path: Path, refused: Callable[..., str], torch: None
) -> None:
    (tmp_path / "out").write_text("mine")
    for place in (tmp_path / "out", tmp_path / "out" / "below"):
        line = refused("run", "-o", place, *settings(f"data=spider:{small_spider}"))
        assert str(place) in line and "choose another place" in line


def test_the_output_cannot_be_written(
    small_spider: Path, refused: Callable[..., str], torch: None
) -> None:
    line = refused("run", "-o", "/proc/exspin-run", *settings(f"data=spider:{small_spider}"))
    assert "/proc/exspin-run" in line and "cannot be written" in line


def test_the_output_holds_something_else(
    small_spider: Path, tmp_path: Path, refused: Callable[..., str], torch: None
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    line = refused("run", "-o", tmp_path / "out", *settings(f"data=spider:{small_spider}"))
    assert "thesis.tex" in line


def test_another_run_holds_the_output(
    small_spider: Path, tmp_path: Path, refused: Callable[..., str], torch: None
) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = refused("run", "-o", tmp_path / "out", *settings(f"data=spider:{small_spider}"))
    assert "another run (process 4711)" in line


def test_a_start_that_is_refused_costs_no_import_of_torch(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "exspin.selfplay", None)  # torch comes with it
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    assert "thesis.tex" in refused("run", "-o", tmp_path / "out")
    assert "did you mean" in refused("run", "-o", tmp_path / "new", "--set", "sed=1")


def slow(*_: object) -> None:
    raise AssertionError("the slow work began")


def test_run_looks_for_the_model_before_it_reads_questions(
    tmp_path: Path, refused: Callable[..., str], torch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exspin.selfplay.load_questions", slow)
    line = refused("run", "-o", tmp_path / "out", "--set", "model=./nowhere")
    assert "./nowhere" in line and "no such directory" in line
    assert "did you mean 'spider'" in refused("run", "-o", tmp_path / "out", "--set", "data=spdr:x")


def test_evaluate_looks_for_the_model_before_it_parses_gold(
    small_spider: Path, refused: Callable[..., str], torch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exspin.evaluation.with_hardness", slow)
    spec = f"spider:{small_spider}"
    line = refused("evaluate", "--model", "./nowhere", "--data", spec, "--split", "dev")
    assert "./nowhere" in line and "no such directory" in line


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on a disk with no room left: a real one where this process may mount, else one that says so."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:

        def no_room(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("os.fsync", no_room)
        yield place
        return
    (place / "filler").write_bytes(bytes(4096))
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_the_disk_is_full(
    small_spider: Path, full_disk: Path, refused: Callable[..., str], torch: None
) -> None:
    line = refused("run", "-o", full_disk / "out", *settings(f"data=spider:{small_spider}"))
    assert str(full_disk / "out") in line and "the disk is full" in line
    spec = f"spider:{small_spider}"
    line = refused("data", "export", "--data", spec, "--split", "dev", "-o", full_disk / "out")
    assert "the disk is full" in line


def test_a_report_of_no_run(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path, tmp_path / "none", tmp_path / "file"):
        line = refused("report", place)
        assert str(place) in line and "give the directory of" in line


def test_a_report_of_an_unfinished_run_says_so(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", load_config(SMALL), {}):
        pass
    result = call("report", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "unfinished: next is SFT; the same `exspin run` again continues" in result.stdout


def test_an_export_leaves_other_files_alone(
    small_spider: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    spec = f"spider:{small_spider}"
    for place in (tmp_path / "out", tmp_path / "out" / "thesis.tex"):
        assert "not empty" in refused(
            "data", "export", "--data", spec, "--split", "dev", "-o", place
        )


# --- --json ---------------------------------------------------------------------------------------------------------


def only_json(*arguments: str | Path) -> dict[str, Any]:
    """The object a command printed, which must be all it printed."""
    result = call(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


def test_score_as_json(small_spider: Path, tmp_path: Path, predictions: Path) -> None:
    found = only_json(
        "score", "--data", f"spider:{small_spider}", "--split", "dev",
        "--predictions", predictions, "--verdicts", tmp_path / "verdicts.jsonl",
    )  # fmt: skip
    assert (found["n"], found["scored"], found["gold_unusable"]) == (12, 6, 6)
    assert found["ex"] == 5 / 6 and found["ci95"][0] <= found["ex"] <= found["ci95"][1]
    assert sum(found["outcomes"].values()) == 12
    assert found["comparator"] == "default" and found["seconds"] > 0
    rows = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(12))
    assert rows[0] == {"index": 0, "db_id": "farm", "outcome": "mismatch", "detail": "values"}


def test_score_on_copies(
    small_spider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts = ["SELECT 4", *GOLD[1:], *GOLD]  # the number of pets, known by heart
    (tmp_path / "p.sql").write_text("\n".join(texts))
    asked = (
        "score",
        "--data",
        f"spider:{small_spider}",
        "--split",
        "dev",
        "--predictions",
        tmp_path / "p.sql",
    )
    without = only_json(*asked)
    assert without["ex"] == 1 and "accidental" not in without
    found = only_json(*asked, "--copies", "5", "--copies-seed", "3", "--copies-strict")
    assert found["accidental"] == 1 and found["outcomes"]["mismatch"] == 1 and found["ex"] == 5 / 6
    assert (found["copies"]["copies"], found["copies"]["seed"], found["copies"]["strict"]) == (
        5,
        3,
        True,
    )
    assert len(list((tmp_path / "cache" / "exspin" / "copies").glob("*/*.sqlite"))) == 5
    said = call(*asked, "--copies", "5").stdout
    assert "1 of 1 matches were accidental on 5 copies" in said


def test_two_splits_are_scored_as_one(small_spider: Path, tmp_path: Path) -> None:
    (tmp_path / "p.sql").write_text("\n".join(GOLD * 3))
    found = only_json(
        "score", "--data", f"spider:{small_spider}", "--split", "heldout,dev",
        "--predictions", tmp_path / "p.sql",
    )  # fmt: skip
    assert (found["n"], found["scored"], found["ex"]) == (18, 12, 1.0)


def test_export_as_json(small_spider: Path, tmp_path: Path) -> None:
    found = only_json(
        "data", "export", "--data", f"spider:{small_spider}", "--split", "dev",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert found == {
        "files": [str(tmp_path / "out" / "dev.jsonl")],
        "questions": 12,
        "databases": 1,
        "missing": 1,
        "servers": [],
        "without_password": [],
    }


def test_import_as_json_and_what_it_made_is_scored(small_spider: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    rows = [f"Question {n}?\t{query}\tme" for n, query in enumerate(GOLD)]
    table.write_text("\n".join(["question\tquery\tauthor", *rows, rows[0]]))
    database = small_spider / "database" / "farm" / "farm.sqlite"
    out = tmp_path / "own"
    result = call("data", "import", "--db", database, "--pairs", table, "-o", out, "--json")
    assert json.loads(result.stdout) == {
        "directory": str(out),
        "db_id": "farm",
        "questions": 6,
        "splits": {"train": 4, "dev": 1, "test": 1},
        "duplicates": 1,
        "ignored": ["author"],
    }
    assert "1 rows say the same as one before and were left out" in result.stderr
    assert "passed over: author" in result.stderr
    (tmp_path / "p.sql").write_text("\n".join(["SELECT 42"] * 4))
    found = only_json(
        "score", "--data", f"pairs:{out}", "--split", "train", "--predictions", tmp_path / "p.sql"
    )
    assert (found["n"], found["scored"], found["ex"]) == (4, 4, 0.0)


def test_import_for_people(small_spider: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text("\n".join(json.dumps({"question": q, "query": q}) for q in GOLD))
    database = small_spider / "database" / "farm" / "farm.sqlite"
    result = call("data", "import", "--db", database, "--pairs", table, "-o", tmp_path / "own")
    assert result.stdout == (
        f"train 4, dev 1, test 1 questions about farm; use --data pairs:{tmp_path / 'own'}\n"
    )


def test_the_schema_as_json() -> None:
    assert "learning" in only_json("config", "schema")["properties"]
    assert json.loads(call("config", "schema").stdout) == only_json("config", "schema")


def test_doctor_as_json() -> None:
    found = only_json("doctor")
    assert found["ok"] and {"python", "sqlite", "exspin"} <= found["versions"].keys()
    assert {"guarded execution", "resources"} <= {check["name"] for check in found["checks"]}


@pytest.mark.train
def test_run_report_and_evaluate_as_json(small_spider: Path, tmp_path: Path, torch: None) -> None:
    """In a process of their own: libraries write to the real stdout, which no runner sees."""
    spec, out = f"spider:{small_spider}", tmp_path / "out"
    ran = alone("run", "-o", out, *settings(f"data={spec}"))
    assert [(e["round"], e["split"]) for e in ran["rounds"]] == [
        (0, "heldout"), (0, "dev"), (1, "heldout"), (1, "dev"),
    ]  # fmt: skip
    for entry in ran["rounds"]:
        assert {"round", "preset", "split", "n", "scored", "ex", "ci95", "outcomes"} <= entry.keys()
    assert ran["best_round"] in (0, 1) and Path(ran["report"]).exists()
    assert alone("report", out) == ran
    answers = tmp_path / "answers.jsonl"
    scored = alone(
        "evaluate", "--model", out / "sft" / "checkpoint", "--data", spec, "--split", "dev",
        "--predictions", answers,
    )  # fmt: skip
    assert (scored["n"], scored["scored"]) == (12, 6)
    assert scored["outcomes"] == ran["rounds"][1]["outcomes"]
    assert len(answers.read_text().splitlines()) == 12


def alone(*arguments: str | Path) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "exspin", *map(str, arguments), "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


# --- stopping, and text for people ----------------------------------------------------------------------------------


@pytest.mark.train
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    small_spider: Path, tmp_path: Path, torch: None
) -> None:
    command = [sys.executable, "-m", "exspin", "run", "-o", str(tmp_path / "out")]
    # Long enough that it is still at SFT when the first line of progress arrives.
    command += settings(f"data=spider:{small_spider}", "sft.epochs=100000")
    with subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has told them to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        said = ""
        while "prompts" not in said:
            said = process.stderr.readline()
            assert said, "it ended by itself"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "interrupted; the same command continues"
    assert "Traceback" not in rest


def test_the_score_for_people(small_spider: Path, predictions: Path) -> None:
    result = call(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", predictions
    )
    assert "EX 83.33%" in result.stdout and "5 of 6 scored, 6 of 12 not usable" in result.stdout
    assert "1 of 2 databases missing: lost (6)" in result.stderr


def test_a_database_that_is_damaged_inside_is_named_with_what_it_costs(
    small_spider: Path, predictions: Path, damage: Callable[[Path], None]
) -> None:
    file = small_spider / "database" / "farm" / "farm.sqlite"
    damage(file)
    arguments = ["score", "--data", f"spider:{small_spider}", "--split", "dev"]
    result = call(*arguments, "--predictions", predictions)
    assert f"damaged inside, so that gold fails: {file} (6); 6 questions count" in result.stderr
    assert only_json(*arguments, "--predictions", predictions)["damaged"] == {"farm": 6}


def test_a_score_of_nothing_says_so(small_bird: Path, predictions: Path) -> None:
    shutil.rmtree(small_bird / "dev_20240627" / "dev_databases")
    predictions.write_text("SELECT 1\n" * 8)
    result = call(
        "score", "--data", f"bird:{small_bird}", "--split", "dev", "--predictions", predictions
    )
    assert result.exit_code == 0
    assert "no EX: nothing could be judged" in result.stdout and "0.00%" not in result.stdout
    assert "8 of 8 questions cannot be executed" in result.stderr
    assert "none can be judged" in result.stderr
    assert "no folder dev_databases beside" in result.stderr


def test_the_table_of_rounds_fits_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    interval = (0.58123, 0.65321)
    first = Row(0, "sft", "test-unseen", 1584, 1584, 0.61234, interval, False)
    second = Row(
        1, "exspin-anchored", "test-unseen", 1584, 1584, 0.62345, interval, True,
        -0.01111, (-0.10049, 0.02345), 140, 122, 0.291,
    )  # fmt: skip
    summary = namedtuple("summary", "table")(lambda: [first, second])
    print_rounds(stdout, summary)
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "round split scored EX 95 % against SFT fixed broke p",
        "0 SFT test-unseen 1584 61.2 58.1–65.3",
        "1 test-unseen 1584 62.3 58.1–65.3 -1.1 (-10.0, +2.3) 140 122 0.291",
    ]


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither markup nor emoji codes in a path or a message are read."""
    stderr.print("[red]dev.json:100: :smile:", markup=False)
    assert capsys.readouterr().err == "[red]dev.json:100: :smile:\n"


def test_what_the_system_refuses_anywhere_is_one_line(
    small_spider: Path,
    predictions: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/somewhere")

    monkeypatch.setattr("exspin.scoring.score_files", no_room)
    line = refused(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", predictions
    )
    assert "/tmp/somewhere: No space left on device" in line


def test_a_bug_of_ours_keeps_its_traceback(
    small_spider: Path, predictions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("exspin.scoring.score_files", bug)
    result = call(
        "score", "--data", f"spider:{small_spider}", "--split", "dev", "--predictions", predictions
    )
    assert result.exit_code == 1 and isinstance(result.exception, ZeroDivisionError)


@pytest.mark.usefixtures("torch")
def test_evaluate_takes_the_comparator_of_its_keys_and_refuses_those_it_would_ignore(
    small_spider: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    place = ["--model", "no/model", "--data", f"spider:{small_spider}", "--split", "dev"]
    for override in ("learning.lr=3", "rounds=7", "data=nonsense"):
        line = refused("evaluate", *place, "--set", override)
        assert f"--set '{override}': has no part in an evaluation" in line
    asked: list[str] = []

    def evaluate(*_: Any, comparator: str, **__: Any) -> Any:
        asked.append(comparator)
        raise DataError("enough")

    monkeypatch.setattr("exspin.evaluation.evaluate", evaluate)
    for more in ([], ["--comparator", "strict"]):
        refused("evaluate", *place, "--set", "feedback.comparator=bird", *more)
    refused("evaluate", *place)
    assert asked == ["bird", "strict", "default"]


@pytest.mark.usefixtures("torch")
def test_the_last_lines_name_the_split_that_chose_the_round(
    small_spider: Path, tmp_path: Path
) -> None:
    data = ["--set", f"data=spider:{small_spider}"]
    result = call("run", "-o", tmp_path / "run", *settings("rounds=0"), *data)
    assert "best round on heldout: 0" in result.stdout


@pytest.mark.parametrize("override", ["threads=100000", "tiny.width=8"])
def test_sizes_that_would_crash_a_library_are_refused(
    override: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert override.partition("=")[0] in refused("run", "-o", tmp_path / "run", "--set", override)


def test_a_terminal_without_a_character_still_gets_the_table() -> None:
    code = "from exspin import cli; cli.app = lambda: print('19.7\\u201327.4'); cli.main()"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, "19.7?27.4\n"), found.stderr
