"""Descriptions of columns: what is read of hand-written files, and that nothing is left out in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from exspin.data.descriptions import (
    COMMENT_LENGTH,
    LARGEST_FILE,
    VALUES_LENGTH,
    Description,
    described,
    read_descriptions,
    summarise,
)
from exspin.sql.schema import Column, Schema, Table

HEADER = "original_column_name,column_name,column_description,data_format,value_description\n"
SCHEMA = Schema(
    "db",
    (
        Table(
            "City Data",
            "",
            tuple(
                Column(name, kind, comment, False, True, ())
                for name, kind, comment in [
                    ("City_ID", "INTEGER", "from the table's text"),
                    ("A11", "", ""),
                ]
            ),
            (),
        ),
    ),
    (),
)


def read(
    folder: Path, content: str | bytes, name: str = "City Data.csv"
) -> tuple[dict[str, Description], list[str]]:
    """Descriptions by column, and what is said."""
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    found, problems = read_descriptions(folder, SCHEMA)
    said = [line.replace(f"{folder}/", "") for line in summarise(problems)]
    return {column: text for (_, column), text in found.items()}, said


@pytest.mark.parametrize(
    ("row", "comment", "values"),
    [
        ("A11,average salary,,,", "average salary", ""),
        ("A11,,average salary in 1995,,", "average salary in 1995", ""),
        ("A11,pay,average salary,,", "pay: average salary", ""),
        ("A11,average salary,Average Salary (1995),,", "Average Salary (1995)", ""),  # once
        ("A11,A11,a-11,text,", "", ""),  # says nothing
        ("A11,,,,'A' stands for adult", "", "'A' stands for adult"),
        ('A11,,"of ""people""",,"1: a\r\n2: b"', 'of "people"', "1: a 2: b"),
        ('A11,, 5" pipe,,', '5" pipe', ""),  # a quote within a cell is text
        ("A11,,average\u2028salary,,", "average salary", ""),
        ("A11", "", ""),
        (" a11 ,,case and space,,", "case and space", ""),
    ],
)
def test_what_a_row_says(tmp_path: Path, row: str, comment: str, values: str) -> None:
    found, said = read(tmp_path, HEADER + row + "\n")
    assert (found["A11"].comment, found["A11"].values) == (comment, values)
    assert said == []


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        (HEADER + "A12,,gone,,\nA13,,,,\nA11,,x,,", ["A11"], "2 rows name no column of their table; the first: City Data.csv:2 ('A12')"),
        (HEADER + ",,lost words,,\nA11,,x,,", ["A11"], "1 rows name no column of their table; the first: City Data.csv:2 ('')"),
        (HEADER + "\nA11,,a, or b,,\nCity_ID,,x,,", ["City_ID"], "1 rows have more cells than the header's 5; the first: City Data.csv:3"),
        (HEADER + "A11,,x,,\na11,,y,,", ["A11"], "1 rows describe a column that has its description; the first: City Data.csv:3 ('a11')"),
        (HEADER + 'A11,,"never closed,,\nCity_ID,,x,,\n', ["City_ID"], "1 rows have a stray quote; the first: City Data.csv:2"),
        (HEADER + 'A11,,"opened,,\nCity_ID,,"x",,\n', ["City_ID"], "1 rows have a stray quote; the first: City Data.csv:2"),
        ("name,meaning\nA11,x\n", [], "1 description files have no column original_column_name; the first: City Data.csv"),
        (b"\x80\x04rest", [], "1 description files are no text; the first: City Data.csv (is a Python pickle"),
        (b"", [], "1 description files are no text; the first: City Data.csv (is empty (0 bytes))"),
        (HEADER.encode("utf-16"), [], "1 description files are no text; the first: City Data.csv (holds zero bytes)"),
        (HEADER.encode() + b"x" * LARGEST_FILE, [], "is larger than 1,000,000 bytes"),
        (HEADER.encode() + b"A11,,caf\xe9 \x93open\x94 \x81,,\n", ["A11"], "1 description files are not UTF-8 and were read as Windows-1252; the first: City Data.csv:2"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_counted_with_its_first_place(
    tmp_path: Path, content: str | bytes, columns: list[str], says: str
) -> None:
    found, said = read(tmp_path, content)
    assert list(found) == columns
    assert len(said) == 1 and says in said[0]


def test_windows_1252_is_read_as_it_was_meant(tmp_path: Path) -> None:
    found, _ = read(tmp_path, HEADER.encode() + b"A11,,caf\xe9 \x93open\x94,,\n")
    assert found["A11"].comment == "café “open”"


def test_a_file_for_no_table_is_counted_and_others_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".hidden.csv").write_text("rubbish")
    (tmp_path / "notes.txt").write_text("rubbish")
    _, said = read(tmp_path, HEADER, "Towns.csv")
    assert said == ["1 description files are for no table of their database; the first: Towns.csv"]


def test_the_name_of_the_file_may_differ_in_case(tmp_path: Path) -> None:
    assert list(read(tmp_path, HEADER + "A11,,x,,\n", "CITY DATA.CSV")[0]) == ["A11"]


def test_long_texts_are_cut_where_it_shows(tmp_path: Path) -> None:
    found, _ = read(tmp_path, f"{HEADER}A11,,{'long ' * 60},,{'word ' * 60}\n")
    assert len(found["A11"].comment) <= COMMENT_LENGTH and found["A11"].comment.endswith("...")
    assert len(found["A11"].values) <= VALUES_LENGTH and found["A11"].values.endswith("...")


def test_a_description_replaces_the_comment_but_not_the_type(tmp_path: Path) -> None:
    found, _ = read(tmp_path, HEADER + "City_ID,,the city,text,\nA11,,,Real,codes\n")
    described_ = described(SCHEMA, {("City Data", name): text for name, text in found.items()})
    city, pay = described_.tables[0].columns
    assert (city.comment, city.type) == ("the city", "INTEGER")
    assert (pay.comment, pay.values, pay.type) == ("", "codes", "real")
    assert described(SCHEMA, {}) is SCHEMA
