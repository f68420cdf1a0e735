"""BIRD's layout: where its files may be, what a row becomes, what is said of what is not there."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from exspin.config import PromptConfig
from exspin.data import load, parse_spec, remarks, roles, with_hardness
from exspin.data.bird import held_out_databases
from exspin.errors import DatabaseError, DataError
from exspin.prompting import make_prompts
from exspin.scoring import score


def gold_file(path: Path, queries: list[str]) -> Path:
    path.write_text("".join(" ".join(query.split()) + "\n" for query in queries))
    return path


# --- rows -----------------------------------------------------------------------------------------------------------


def test_a_row_becomes_an_example_with_evidence_and_difficulty(small_bird: Path) -> None:
    split = load(f"bird:{small_bird}", "dev")
    example = split.examples[1]
    assert (example.example_id, example.index, example.db_id) == ("bird/dev/1", 1, "delta")
    assert example.evidence == "active refers to Status = 'A'"
    assert example.query == "SELECT count(*) FROM school WHERE Status = 'A'"
    assert example.hardness == "moderate"
    assert split.missing == {"lost": 4} and len(split.usable()) == 4


def test_difficulty_is_the_hardness_and_training_rows_have_spiders(small_bird: Path) -> None:
    dev = with_hardness(load(f"bird:{small_bird}", "dev"))
    assert [e.hardness for e in dev.usable()] == ["simple", "moderate", "challenging", "simple"]
    train = with_hardness(load(f"bird:{small_bird}", "train"))
    assert {e.hardness for e in train.examples} <= {"easy", "medium", "hard", "extra"}


def test_ids_are_birds_own_and_stay_apart_where_it_gives_one_twice(tmp_path: Path) -> None:
    row = {"db_id": "x", "question": "?", "SQL": "SELECT 1", "evidence": None}
    rows = [{**row, "question_id": 12}, {**row, "question_id": 12}, {**row, "question_id": 5}, row]
    (tmp_path / "mini_dev_sqlite.json").write_text(json.dumps(rows))
    split = load(f"bird:{tmp_path}", "mini-dev")
    assert [e.example_id.removeprefix("bird/mini-dev/") for e in split.examples] == ["12", "12-2", "5", "3"]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"SQL": None}, "'SQL' is null"),
        ({"SQL": " "}, "'SQL' is empty"),
        ({"evidence": 7}, "'evidence' is 7"),
        ({"difficulty": ["simple"]}, "'difficulty' is"),
        ({"db_id": "../etc"}, "cannot be a folder name"),
        ({"db_id": "x" * 5000}, "cannot be a folder name"),
        ({"db_id": "🐦"}, "cannot be a folder name"),
    ],
)
def test_a_row_that_is_wrong_is_named_by_file_and_line(
    small_bird: Path, change: dict[str, object], says: str
) -> None:
    path = small_bird / "dev_20240627" / "dev.json"
    first, second = json.loads(path.read_text())[:2]
    path.write_text(f"[{json.dumps(first)},\n\n{json.dumps({**second, **change})}]")
    with pytest.raises(DataError) as error:
        load(f"bird:{small_bird}", "dev")
    assert str(error.value).startswith(f"{path}:3: ") and says in str(error.value)


# --- places ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moves", "given"),
    [
        ({}, ""),
        ({"dev_20240627": "dev"}, ""),
        ({"dev_20240627/dev.json": "dev.json"}, ""),
        ({"dev_20240627/dev_databases": "dev_databases"}, ""),
        ({"dev_20240627/dev.json": "dev.json", "dev_20240627/dev_databases": "dev_databases"}, ""),
        ({}, "dev_20240627"),
    ],
)
def test_the_usual_ways_to_unpack_it(small_bird: Path, moves: dict[str, str], given: str) -> None:
    for old, new in moves.items():
        os.rename(small_bird / old, small_bird / new)
    found = not ("dev_20240627/dev.json" in moves and len(moves) == 1)
    split = load(f"bird:{small_bird / given}", "dev")
    assert len(split.examples) == 8
    assert bool(split.databases) is found  # the databases of a lonely dev.json are elsewhere
    assert found or "no folder dev_databases beside" in split.warnings[0]


def test_an_archive_of_databases_unpacked_into_a_folder_of_its_name(small_bird: Path) -> None:
    place = small_bird / "dev_20240627"
    os.rename(place / "dev_databases", place / "inner")
    (place / "dev_databases").mkdir()
    os.rename(place / "inner", place / "dev_databases" / "dev_databases")
    assert set(load(f"bird:{small_bird}", "dev").databases) == {"delta"}


def test_mini_dev_finds_the_databases_of_dev(small_bird: Path) -> None:
    (small_bird / "minidev" / "MINIDEV").mkdir(parents=True)
    rows = json.loads((small_bird / "dev_20240627" / "dev.json").read_text())[:2]
    (small_bird / "minidev" / "MINIDEV" / "mini_dev_sqlite.json").write_text(json.dumps(rows))
    spec = f"bird:{small_bird}"
    assert set(load(spec, "mini-dev").databases) == {"delta"}
    assert any("2 questions stand in more than one" in line for line in remarks(load(spec, "dev,mini-dev")))  # fmt: skip
    assert roles(spec).tests == ("dev",)
    shutil.rmtree(small_bird / "dev_20240627")
    assert roles(spec).tests == ("mini-dev",)


def test_what_is_missing_is_said_with_its_archive(small_bird: Path) -> None:
    shutil.rmtree(small_bird / "train")
    spec = f"bird:{small_bird}"
    for name in ("train", "fit", "heldout"):
        with pytest.raises(
            DataError, match=r"no train\.json .* fetch train\.zip from https://bird"
        ):
            load(spec, name)
    (small_bird / "train.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"unpack train\.zip there"):
        load(spec, "train")


def test_databases_that_are_still_packed(small_bird: Path) -> None:
    place = small_bird / "dev_20240627"
    os.rename(place / "dev_databases", place / "away")
    (place / "dev_databases.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"dev_databases\.zip: is still packed"):
        load(f"bird:{small_bird}", "dev")


def test_two_files_of_questions_are_not_chosen_from(small_bird: Path) -> None:
    shutil.copy(small_bird / "dev_20240627" / "dev.json", small_bird / "dev.json")
    with pytest.raises(DataError, match="is there twice"):
        load(f"bird:{small_bird}", "dev")


def test_a_folder_without_its_database_is_an_error(small_bird: Path) -> None:
    path = small_bird / "dev_20240627/dev_databases/delta/delta.sqlite"
    path.unlink()
    with pytest.raises(DatabaseError, match="does not exist though its folder does"):
        load(f"bird:{small_bird}", "dev")


def test_descriptions_that_are_a_link_out_of_the_data_are_refused(small_bird: Path, tmp_path: Path) -> None:  # fmt: skip
    place = small_bird / "dev_20240627/dev_databases/delta/database_description"
    os.rename(place, tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatabaseError, match="outside"):
        load(f"bird:{small_bird}", "dev")


def test_no_such_folder() -> None:
    with pytest.raises(DataError, match="no such folder"):
        load("bird:/no/such", "dev")


# --- splits ---------------------------------------------------------------------------------------------------------


def test_some_training_databases_are_held_out(small_bird: Path) -> None:
    spec = f"bird:{small_bird}"
    train, fit, heldout = (load(spec, name) for name in ("train", "fit", "heldout"))
    assert len(heldout.databases) == 1 and len(fit.databases) == 2
    ids = [e.example_id for e in (*fit.examples, *heldout.examples)]
    assert sorted(ids) == sorted(e.example_id for e in train.examples)
    assert [e.index for e in fit.examples] == list(range(8))
    assert (roles(spec).train, roles(spec).dev, roles(spec).tests) == ("fit", "heldout", ("dev",))
    assert {"fit", "heldout", "dev"} <= set(parse_spec(spec).splits)


def test_the_choice_depends_on_names_alone() -> None:
    names = [f"db_{n}" for n in range(69)]  # as many as BIRD has
    chosen = held_out_databases(names)
    assert len(chosen) == 5
    assert held_out_databases(reversed(names * 2)) == chosen


def test_one_training_database_cannot_be_held_out(small_bird: Path) -> None:
    path = small_bird / "train" / "train.json"
    path.write_text(json.dumps([r for r in json.loads(path.read_text()) if r["db_id"] == "beta"]))
    with pytest.raises(DataError, match="about one database"):
        load(f"bird:{small_bird}", "heldout")


# --- prompts --------------------------------------------------------------------------------------------------------


def test_the_prompt_shows_descriptions_and_evidence(small_bird: Path) -> None:
    split = load(f"bird:{small_bird}", "dev")
    asked = split.usable()[1:2]
    (prompt,) = make_prompts(
        None, asked, split.databases, PromptConfig(sample_values=0), split.descriptions
    )
    assert prompt.text == (
        "table school (CDSCode integer primary key, "
        '"Free Meal (K-12)" real (Free "meals" in kindergarten to grade 12), '
        "Status text (values: A: active C: closed), A4 text (number of inhabitants), untyped integer)\n"
        'table "Area Code" (Code integer primary key, Name text (the “zone”))\n\n'
        "evidence: active refers to Status = 'A'\n"
        "question: How many schools are active?\nsql:"
    )


def test_joined_splits_keep_descriptions_and_warnings(small_bird: Path) -> None:
    spec = f"bird:{small_bird}"
    both = load(spec, "heldout,dev")
    parts = [load(spec, name) for name in ("heldout", "dev")]
    assert both.descriptions == {**parts[0].descriptions, **parts[1].descriptions}
    assert set(both.descriptions) == set(both.databases) and len(both.databases) == 2
    assert both.warnings == (*parts[0].warnings, *parts[1].warnings)


def test_what_is_wrong_with_descriptions_is_said_once_a_split(small_bird: Path) -> None:
    (line,) = load(f"bird:{small_bird}", "heldout").warnings
    assert "1 description files are not UTF-8 and were read as Windows-1252" in line
    shutil.rmtree(small_bird / "dev_20240627/dev_databases/delta/database_description")
    split = load(f"bird:{small_bird}", "dev")
    assert any("1 databases have no folder database_description" in w for w in split.warnings)
    assert set(remarks(split)) > set(split.warnings)  # and the missing database


# --- BIRD itself, of which the questions alone are here ---------------------------------------------------------------


def test_birds_questions_without_databases_are_counted(exspin_data: Path, tmp_path: Path) -> None:
    spec = f"bird:{exspin_data}/bird"
    dev, mini = with_hardness(load(spec, "dev")), with_hardness(load(spec, "mini-dev"))
    assert Counter(e.hardness for e in dev.examples) == {"simple": 925, "moderate": 464, "challenging": 145}  # fmt: skip
    assert Counter(e.hardness for e in mini.examples) == {"simple": 148, "moderate": 250, "challenging": 102}  # fmt: skip
    assert len({e.example_id for e in dev.examples} | {e.example_id for e in mini.examples}) == 2034
    assert sum(not e.evidence for e in dev.examples) == 148
    assert dev.databases == {} and len(dev.missing) == 11
    assert any("none can be judged" in line for line in remarks(dev))
    found = score(mini, gold_file(tmp_path / "gold.sql", [e.query for e in mini.examples]), comparator="bird")  # fmt: skip
    assert (found.n, found.scored, found.gold_unusable, found.ex) == (500, 0, 500, 0.0)
    assert list(found.by_hardness) == ["simple", "moderate", "challenging"]
    with pytest.raises(DataError, match=r"no train\.json"):
        load(spec, "fit")


def test_gold_scores_whole_on_the_small_set(small_bird: Path, tmp_path: Path) -> None:
    dev = load(f"bird:{small_bird}", "dev")
    found = score(dev, gold_file(tmp_path / "gold.sql", [e.query for e in dev.examples]), comparator="bird")  # fmt: skip
    assert (found.scored, found.ex, found.comparator) == (4, 1.0, "bird")
    assert {name: part.scored for name, part in found.by_hardness.items()} == {
        "simple": 2,
        "moderate": 1,
        "challenging": 1,
    }
