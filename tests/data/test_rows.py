"""Example files: what is wrong is named with file and line, and nothing wrong is read."""

from __future__ import annotations

import gzip
import json
import pickle
import tracemalloc
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


def test_json_lines_may_begin_with_a_mark_and_end_anyhow(tmp_path: Path) -> None:
    for end in ("", "\n", "\r\n", "\n\n \t\n"):
        rows = read_lines(write(tmp_path, b"\xef\xbb\xbf" + f"{GOOD}\r\n{GOOD}{end}".encode()))
        assert [row.line for row in rows] == [1, 2]
    odd = GOOD.replace("many", "\u2028 \x85 many")  # ends of lines for some, not for JSON Lines
    assert len(read_lines(write(tmp_path, f"{odd}\n{odd}"))) == 2


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (f'{GOOD}\n\n{{"question": "How', 3, "not JSON"),
        (f"{GOOD}\n{GOOD[:-1]}", 2, "cut off"),
        (f"{GOOD}\n{GOOD} {GOOD}", 2, "more text after the example"),
        (f"{GOOD}\n{GOOD},", 2, "more text after the example"),
        (f"{GOOD}\r{GOOD}", 1, "more text after the example"),  # an old Mac's ends of lines
        (f"[\n{GOOD}\n]", 1, "a JSON array"),
        (f'{GOOD}\n\n{{"x": NaN}}', 3, "NaN"),
        (f'{GOOD}\n{{"x": -Infinity}}', 2, "Infinity"),
        (f'{GOOD}\n{{"db_id": "a", "db_id": "b"}}', 2, "'db_id' stands twice"),
        (f'{GOOD}\n{{"x": {{"y": 1, "y": 2}}}}', 2, "'y' stands twice"),
        (f'{GOOD}\n{{"x": {"1" * 5000}}}', 2, "limit"),
        (f"{GOOD}\n" + '{"x":' * 100_000, 2, "nested too deeply"),
        (f"{GOOD}\nnull", 2, "found NoneType"),
        (GOOD.encode() + b"\n\xff\xfe", 2, "not UTF-8"),
        (GOOD.encode("utf-16"), 1, "not UTF-8"),
        (GOOD.encode() + b"\n\x00\n", 2, "not JSON"),
    ],
)
def test_damage_in_json_lines_is_named_with_its_line(
    tmp_path: Path, content: str | bytes, line: int, says: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=r"^[^\n]*$") as error:
        read_lines(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert says in str(error.value)


def test_a_line_of_200_megabytes_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = write(tmp_path, f"{GOOD}\n")
    with path.open("r+b") as file:
        file.seek(200_000_000)
        file.write(b"x")  # a sparse file: no such disk is needed
    tracemalloc.start()
    with pytest.raises(DataError, match=r":2: the line is longer than 10,000,000 bytes"):
        read_lines(path)
    assert tracemalloc.get_traced_memory()[1] < 40_000_000
    tracemalloc.stop()


def test_a_field_of_a_million_characters_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, f'{GOOD}\n{{"question": "{"x" * 1_000_001}"}}')
    with pytest.raises(DataError, match=r":2: 'question' has 1,000,001 characters"):
        read_lines(path)[1].text("question")


def test_a_field_that_may_be_absent(tmp_path: Path) -> None:
    text = '{"evidence": null}\n{}\n{"evidence": ""}\n{"evidence": " a"}\n{"evidence": 1}'
    *fine, wrong = read_lines(write(tmp_path, text))
    assert [row.optional_text("evidence") for row in fine] == ["", "", "", " a"]
    with pytest.raises(DataError, match=":5: 'evidence' is 1, expected text"):
        wrong.optional_text("evidence")


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
