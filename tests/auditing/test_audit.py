"""What an audit finds in gold, what it counts, what it writes: on a small data set with one of everything, and on Spider."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import exspin
from exspin.auditing import REASONS, Audit
from exspin.errors import ConfigError, DataError, RunError
from exspin.sql.execute import Limits

MakeRelease = Callable[..., Path]


def numbers(found: list[dict[str, str]]) -> dict[str, str]:
    """example_id → detail, with the ids cut to `train/3`."""
    return {row["example_id"].removeprefix("spider/"): row["detail"] for row in found}


@pytest.fixture
def found(release: Path) -> dict[str, object]:
    return exspin.audit(f"spider:{release}", "train,dev", workers=1).to_json()


def test_every_fault_is_found_and_nothing_else(found: dict[str, list[dict[str, str]]]) -> None:
    assert numbers(found["failing"]) == {"train/7": "no_such_table", "train/8": "denied"}
    assert numbers(found["nondeterministic"]) == {
        "train/3": "row_order",
        "train/4": "random",
        "train/5": "clock",
    }
    assert numbers(found["ties"]) == {"train/1": "order", "train/2": "values"}
    assert list(numbers(found["empty"])) == ["train/6"]
    assert found["slow"] == []
    assert [(r["example_id"], r["of"], r["same_gold"]) for r in found["duplicates"]] == [
        ("spider/train/9", "spider/train/0", True),
        ("spider/train/10", "spider/train/3", False),
    ]
    assert [(r["example_id"], r["of"], r["kind"]) for r in found["leaks"]] == [
        ("spider/dev/0", "spider/train/0", "question+db"),
        ("spider/dev/1", "spider/train/11", "question"),
        ("spider/dev/2", "spider/train/11", "near"),
    ]
    assert found["unusable_databases"] == [{"db_id": "gone", "questions": 1, "detail": "missing"}]


def test_the_counts_add_up(found: dict[str, object]) -> None:
    """18 rows: one has no database, two golds fail; of the 15 that run, chance alone cannot be matched."""
    assert (found["n"], found["usable"]) == (18, 15)
    assert found["ceiling"] == 14 / 18
    assert found["certain"] == (15 - 3 - 2) / 18
    assert found["splits"]["train"] == {
        "n": 13, "usable": 11, "failing": 2, "empty": 1, "slow": 0, "nondeterministic": 3,
        "ties": 2, "duplicates": 2, "leaks": 0,
    }  # fmt: skip
    assert found["splits"]["dev"]["leaks"] == 3
    assert set(found["databases"]) == {"shop", "shop2", "gone"}


def test_the_json_has_the_promised_keys(found: dict[str, object]) -> None:
    assert list(found)[:9] == [
        "n", "usable", "ceiling", "failing", "empty", "slow", "nondeterministic", "duplicates",
        "leaks",
    ]  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_is_found_does_not_depend_on_workers(release: Path) -> None:
    def without_times(audit: Audit) -> object:
        text = json.loads(json.dumps(audit.to_json()))
        for row in (*text["failing"], *text["empty"], *text["nondeterministic"], *text["ties"]):
            del row["seconds"]
        return [text[name] for name in ("failing", "empty", "nondeterministic", "ties", "splits")]

    one, three = (exspin.audit(f"spider:{release}", "dev,train", workers=n) for n in (1, 3))
    assert without_times(one) == without_times(three)


def test_a_slow_gold_and_one_that_never_ends(make_release: MakeRelease) -> None:
    questions = [
        ("fast", "SELECT 1"),
        ("slow", "SELECT count(*) FROM number a, number b WHERE a.n + b.n = 7"),
        ("endless", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"),
    ]  # fmt: skip
    root = make_release(dev=[("shop", *row) for row in questions])
    audit = exspin.audit(
        f"spider:{root}", "dev", slow_s=0.005, limits=Limits(timeout_s=2.0), workers=1
    )
    assert [(row.question, row.detail) for row in audit.failing] == [("endless", "timeout")]
    assert [row.question for row in audit.slow] == ["slow"]
    assert [row.question for row in audit.slowest] == ["slow", "fast"]
    assert audit.n == 3 and audit.usable == 2


def test_a_damaged_database_is_named(make_release: MakeRelease) -> None:
    """The schema can be read, the table cannot."""
    golds = [("Names", "SELECT name FROM item"), ("One", "SELECT 1")]
    root = make_release(dev=[("shop", *row) for row in golds])
    file = root / "database" / "shop" / "shop.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    audit = exspin.audit(f"spider:{root}", "dev", workers=1)
    assert [(d.db_id, d.questions, d.detail) for d in audit.databases] == [("shop", 1, "damaged")]
    assert audit.usable == 1


def test_three_files_are_written(release: Path, tmp_path: Path) -> None:
    audit = exspin.audit(f"spider:{release}", "train,dev", directory=tmp_path / "a", workers=1)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "audit.html",
        "audit.json",
        "quarantine.jsonl",
    ]
    assert json.loads((tmp_path / "a" / "audit.json").read_text()) == audit.to_json()
    lines = [
        json.loads(line) for line in (tmp_path / "a" / "quarantine.jsonl").read_text().splitlines()
    ]
    assert [(line["example_id"], line["reason"], line["detail"]) for line in lines] == [
        ("spider/train/3", "nondeterministic", "row_order"),
        ("spider/train/4", "nondeterministic", "random"),
        ("spider/train/5", "nondeterministic", "clock"),
        ("spider/train/7", "failing", "no_such_table"),
        ("spider/train/8", "failing", "denied"),
    ]
    assert all(line["db_id"] == "shop" and line["query"] for line in lines)


@pytest.mark.parametrize(
    ("reasons", "quarantined"),
    [
        ([], []),
        (["failing"], ["train/7", "train/8"]),
        (["ties"], ["train/1", "train/2"]),
        (["empty"], ["train/6"]),
        (["duplicates"], ["train/9", "train/10"]),
        # of a leak all rows in earlier splits go: training gives way to the test
        (["leaks"], ["train/0", "train/9", "train/11"]),
        (REASONS, ["train/0", "train/1", "train/2", "train/3", "train/4", "train/5", "train/6",
                   "train/7", "train/8", "train/9", "train/10", "train/11"]),
    ],
    ids=lambda value: "-".join(value)[:40] or "none",
)  # fmt: skip
def test_the_reasons_choose_what_is_quarantined(
    reasons: list[str], quarantined: list[str], release: Path
) -> None:
    audit = exspin.audit(f"spider:{release}", "train,dev", quarantine=reasons, workers=1)
    assert [row.example_id for row in audit.quarantine] == [f"spider/{row}" for row in quarantined]


def test_every_row_that_gives_a_later_split_away_is_quarantined(make_release: MakeRelease) -> None:
    """Once more in train, about another database, and nearly so in two wordings; what is measured stays."""
    long = (
        "show the name and the price of every single item that the shop on the corner has ever sold"
    )
    train = [
        ("shop", "How many?", "SELECT 1"),
        ("shop", "how many", "SELECT 1"),
        ("shop2", "How many?", "SELECT 1"),
        ("shop", f"{long} please", "SELECT 1"),
        ("shop", f"please {long}", "SELECT 1"),
        ("shop", "Which items?", "SELECT 1"),
    ]
    dev = [
        ("shop", "How many", "SELECT 1"),
        ("shop", "How many!", "SELECT 1"),
        ("shop", long, "SELECT 1"),
    ]
    root = make_release(train=train, dev=dev)
    found = exspin.audit(f"spider:{root}", "train,dev", quarantine=["leaks"], workers=1)
    assert [(row.example_id, row.detail) for row in found.quarantine] == [
        ("spider/train/0", "question+db spider/dev/0"),
        ("spider/train/1", "question+db spider/dev/0"),
        ("spider/train/2", "question spider/dev/0"),
        ("spider/train/3", "near spider/dev/2"),
        ("spider/train/4", "near spider/dev/2"),
    ]
    assert "wordings" not in found.to_json()["leaks"][0]


def test_the_page_escapes_and_needs_nothing(make_release: MakeRelease, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> & <img src=x>"
    root = make_release(dev=[("shop", evil, "SELECT '<b>' FROM nowhere")])
    exspin.audit(f"spider:{root}", "dev", directory=tmp_path / "a", workers=1)
    page = (tmp_path / "a" / "audit.html").read_text()
    assert "<script" not in page and "<img" not in page and "<b>" not in page
    assert "&lt;script&gt;" in page and "default-src &#39;none&#39;" in page
    assert "http://" not in page and "https://" not in page
    assert "url(" not in page.replace("url(#", "")  # marks within the page


def test_the_page_cuts_what_nobody_reads(make_release: MakeRelease, tmp_path: Path) -> None:
    long = f"SELECT '{'x' * 900_000}' FROM nowhere"
    rows = [("shop", f"Q{i}{'?' * 5000}", long) for i in range(3)]
    audit = exspin.audit(f"spider:{make_release(dev=rows)}", "dev", directory=tmp_path, workers=1)
    page = (tmp_path / "audit.html").read_text()
    assert len(page) < 60_000 and page.count("(900,022 characters; whole in audit.json)") == 3
    assert page.count("(5,002 characters; whole in audit.json)") == 3
    assert audit.failing[0].query == long


def test_the_page_says_where_a_long_list_is_whole(
    make_release: MakeRelease, tmp_path: Path
) -> None:
    golds = [(f"Question {i}", f"SELECT {i} WHERE 0") for i in range(250)]
    root = make_release(dev=[("shop", *row) for row in golds])
    audit = exspin.audit(f"spider:{root}", "dev", directory=tmp_path / "a", workers=1)
    page = (tmp_path / "a" / "audit.html").read_text()
    assert len(audit.empty) == 250
    assert "The first 200 of 250; all of them are in audit.json" in page
    assert "Question 199<" in page and "Question 200<" not in page


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "trian"}, DataError, "did you mean 'train'"),
        ({"split": "train,fit"}, DataError, "share spider/train/0"),
        ({"comparator": "exact"}, ConfigError, "exact"),
        ({"quarantine": ["slow", "rude"]}, ConfigError, "'rude': unknown; choose of failing"),
        ({"directory": "/proc/nowhere"}, RunError, "cannot be written"),
    ],
)
def test_what_cannot_be_audited_is_said_before_the_work(
    arguments: dict[str, object],
    error: type[Exception],
    message: str,
    release: Path,
) -> None:
    split = arguments.pop("split", "train")
    with pytest.raises(error, match=message):
        exspin.audit(f"spider:{release}", split, workers=1, **arguments)


def test_spider_as_its_readme_counts_it(exspin_data: Path) -> None:
    """Three golds fail and 1,665 find nothing; no other is lost, and every leak crosses a split."""
    audit = exspin.audit(f"spider:{exspin_data / 'spider'}", "train,train-others,dev")
    assert [(row.db_id, row.detail) for row in audit.failing] == [
        ("assets_maintenance", "no_such_table"),
        ("document_management", "syntax"),
        ("document_management", "syntax"),
    ]
    assert {name: part.empty for name, part in audit.by_split.items()} == {
        "train": 254,
        "train-others": 1362,
        "dev": 49,
    }
    assert (audit.n, audit.usable) == (9693, 9693 - 158 - 3)
    assert {d.db_id: d.questions for d in audit.databases} == {
        "wta_1": 62,
        "baseball_1": 82,
        "soccer_1": 14,
    }
    assert all(leak.split != leak.of_split for leak in audit.leaks)
    assert audit.seconds < 150  # a safety bound; docs/audit.md has the figure
