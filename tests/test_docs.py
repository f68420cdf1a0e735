"""The documents cannot drift: commands, options, keys, links and paths in them are those of the code.

Run as a script, this file writes the tables of docs/configuration.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from exspin.cli import app
from exspin.config import Config, config_schema, load_config
from exspin.data import parse_spec
from exspin.errors import DataError
from exspin.presets import PRESETS
from exspin.records import Outcome

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BEGIN, END = "<!-- keys -->\n", "<!-- /keys -->\n"


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


# --- the command line -----------------------------------------------------------------------------------------------


def commands(group: Any, words: tuple[str, ...] = ("exspin",)) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def section(command: str) -> str:
    found = re.search(rf"^## `{command}`\n(.*?)(?=^## |\Z)", text_of("docs/cli.md"), re.M | re.S)
    assert found, f"docs/cli.md has no section {command}"
    return found[1]


def test_no_section_describes_a_command_that_is_not() -> None:
    assert set(re.findall(r"^## `(.+)`$", text_of("docs/cli.md"), re.M)) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described_and_no_other(command: str) -> None:
    described = set(re.findall(r"^\| `([^`]+)` \|", section(command), re.M))
    known = {
        parameter.opts[0]
        if parameter.opts[0].startswith("-")
        else parameter.metavar or parameter.name.upper()
        for parameter in COMMANDS[command].params
    }
    assert described == known


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command: str) -> None:
    assert f"`{command}" in text_of("README.md")


# --- the configuration ----------------------------------------------------------------------------------------------


def render_keys() -> str:
    """The tables of docs/configuration.md."""
    schema = config_schema()
    own, sections = [], []
    for name, field in schema["properties"].items():
        inner = _section(schema, field)
        if inner is None:
            own.append(_row(name, name, field))
            continue
        rows = [
            _row(f"{name}.{key}", key, value, name) for key, value in inner["properties"].items()
        ]
        intro = inner["description"] if name != "lora" else f"{inner['description']} Default: none."
        sections.append("\n".join([f"## `{name}`", intro, "", *_HEAD, *rows]))
    return "\n\n".join(["\n".join([*_HEAD, *own]), *sections]) + "\n"


_HEAD = ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]


def _section(schema: Mapping[str, Any], field: Mapping[str, Any]) -> Any:
    for option in [field, *field.get("anyOf", [])]:
        if "$ref" in option:
            return schema["$defs"][option["$ref"].rpartition("/")[2]]
    return None


def _row(path: str, key: str, field: Mapping[str, Any], section: str = "") -> str:
    values = Config(lora={}).to_dict()  # type: ignore[arg-type]
    default = values[section][key] if section else values[key]
    shown = "none" if default is None else json.dumps(default).strip('"')
    assert field.get("description"), f"{path} has no description in config.py"
    return f"| `{path}` | {_values(field)} | {shown} | {field['description'].replace('|', '/')} |"


def _values(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_values(option) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = {
        "integer": "integer",
        "number": "number",
        "string": "text",
        "boolean": "`true`, `false`",
        "null": "none",
        "array": "list",
    }[field["type"]]
    marks = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{mark} {field[name]:,}" for name, mark in marks.items() if name in field]
    return " ".join([kind, ", ".join(bounds)]).strip()


def test_the_configuration_tables_are_up_to_date() -> None:
    shown = text_of("docs/configuration.md").partition(BEGIN)[2].partition(END)[0]
    assert shown == render_keys(), "run `python tests/test_docs.py` to write them again"


def test_the_example_of_the_configuration_page_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", text_of("docs/configuration.md"), re.S)
    (tmp_path / "run.yaml").write_text(example)
    monkeypatch.setenv("EXSPIN_DATA", "/data")
    assert load_config(tmp_path / "run.yaml").data == "spider:/data/spider"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_configuration_is_one_and_names_its_command(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXSPIN_DATA", "/data")
    assert parse_spec(load_config(path).data).folder
    assert f"exspin run configs/{path.name}" in path.read_text("utf-8")


# --- data -----------------------------------------------------------------------------------------------------------


def test_the_table_of_specs_has_every_kind_with_its_splits() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)(?::PATH)?` \| ((?:`[\w-]+`,? ?)+)\|", text_of("docs/data.md"), re.M
    )
    table = {kind: tuple(re.findall("`(.+?)`", splits)) for kind, splits in rows if "," in splits}
    kinds = ("builtin", "spider:x", "spider-syn:x", "bird:x", "pairs:x")
    known = {parse_spec(kind).kind: parse_spec(kind).splits for kind in kinds}
    assert {kind: table[kind] for kind in known} == known
    with pytest.raises(DataError) as error:
        parse_spec("?")
    assert str(error.value).endswith(f"Known: {', '.join(known)}")


# --- words, files, links --------------------------------------------------------------------------------------------


def test_every_preset_stands_in_the_table_of_the_method() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", text_of("docs/method.md"), re.M) == list(PRESETS)


def test_every_outcome_is_explained() -> None:
    text = text_of("docs/architecture.md")
    assert [outcome for outcome in Outcome if f"`{outcome}`" not in text] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:src|tests|docs|scripts)/[\w./-]+)(?:::\w+)?`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", re.findall(r"`(tests/[\w./]+::\w+)`", text_of("docs/resume.md")))
def test_a_test_that_is_named_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert f"def {function}(" in text_of(path)


if __name__ == "__main__":
    target = ROOT / "docs" / "configuration.md"
    before, _, rest = target.read_text("utf-8").partition(BEGIN)
    target.write_text(before + BEGIN + render_keys() + END + rest.partition(END)[2], "utf-8")
