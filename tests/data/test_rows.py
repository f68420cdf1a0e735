"""Example files: what is wrong is named with file and line, and nothing wrong is read."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exspin.data.rows import read_array, read_lines
from exspin.errors import DataError

GOOD = '{"db_id": "a", "question": "How many?", "query": "SELECT 1"}'


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "dev.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_rows_know_the_line_they_begin_on(tmp_path: Path) -> None:
    rows = read_array(write(tmp_path, f"[\n  {GOOD},\n\n  {GOOD}, {GOOD}\n]\n"))
    assert [row.line for row in rows] == [2, 4, 4]
    assert rows[0].values == json.loads(GOOD)


def test_json_lines_skip_blank_lines_and_count_them(tmp_path: Path) -> None:
    rows = read_lines(write(tmp_path, f"{GOOD}\n\n{GOOD}\r\n"))
    assert [row.line for row in rows] == [1, 3]


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    assert len(read_array(write(tmp_path, b"\xef\xbb\xbf[" + GOOD.encode() + b"]"))) == 1


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (f"[\n{GOOD}\n{GOOD}\n]", 3, "expected ','"),
        (f"[\n{GOOD},\n{{'db_id': 1}}\n]", 3, "not JSON"),
        (f'[\n{GOOD},\n{{"db_id": \n"x" oops}}\n]', 4, "not JSON"),
        (f"[\n{GOOD},\n]", 3, "not JSON"),
        (f"[\n{GOOD},\n{GOOD}", 3, "cut off"),
        (f'[\n{GOOD},\n{{"question": "How', 3, "not JSON"),
        (f"[\n{GOOD}\n]\n]", 4, "more text"),
        (f"[\n{GOOD},\n7]", 3, "found int"),
        ('[\n\n{"x": NaN}]', 3, "NaN"),
        ('[\n\n{"x": -Infinity}]', 3, "Infinity"),
        ('[\n{"db_id": "a",\n"db_id": "b"}]', 2, "'db_id' stands twice"),
        ("[\n" + '{"x":' * 100_000, 2, "nested too deeply"),
        (GOOD, 1, "expected a JSON array"),
        (b"[\n\n\xff\xfe]", 3, "not UTF-8"),
    ],
)
def test_damage_is_named_with_its_line(
    tmp_path: Path, content: str | bytes, line: int, says: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError) as error:
        read_array(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("reader", [read_array, read_lines])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty (0 bytes)"),
        (b" \n ", "no examples"),
        (pickle.dumps([1]), "pickle"),
        (gzip.compress(GOOD.encode()), "compressed"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
    ],
)
def test_what_is_no_json_at_all_is_called_by_its_name(
    tmp_path: Path, reader: object, content: bytes, says: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=r"^[^\n]*$") as error:
        reader(path)  # type: ignore[operator]
    assert says in str(error.value)


def test_an_empty_array_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no examples"):
        read_array(write(tmp_path, "[]"))
    with pytest.raises(DataError, match="No such file"):
        read_array(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"query": "SELECT 1"}', "'question' is missing; the row has query"),
        ('{"question": 7}', "'question' is 7, expected text"),
        ('{"question": null}', "'question' is null"),
        ('{"question": " \\n"}', "'question' is empty"),
        ('{"question": "\\ud800?"}', "surrogate"),
    ],
)
def test_a_field_must_be_there_and_hold_text(tmp_path: Path, row: str, says: str) -> None:
    path = write(tmp_path, f"[\n{GOOD},\n{row}]")
    with pytest.raises(DataError) as error:
        read_array(path)[1].text("question")
    assert str(error.value).startswith(f"{path}:3: ")
    assert says in str(error.value)


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    rows=st.lists(
        st.dictionaries(texts, texts | st.integers() | st.none()), min_size=1, max_size=5
    ),
    indent=st.none() | st.integers(0, 2),
)
def test_any_array_of_objects_reads_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], indent: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), "utf-8", newline="")
    assert [row.values for row in read_array(path)] == rows
