"""A run on disk: who may write into it, what it was started with, where each stage puts its files.

`config.yaml` and `environment.json` are written before anything else. Opening the directory again with the same
configuration and data continues the run; only `rounds` may differ, so a finished run can be played further.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from exspin.config import Config
from exspin.data import Split
from exspin.errors import ConfigError, DataError, RunError
from exspin.ledger import (
    LOCK,
    check_output,
    check_unlocked,
    digest_file,
    digest_json,
    read_json,
    run_lock,
    unwritable,
    write_bytes,
    write_json,
)
from exspin.records import Database
from exspin.sql.schema import read_schema

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
PACKAGES = (
    "exspin",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "sqlglot",
    "numpy",
    "scikit-learn",
)
MAY_CHANGE = frozenset({"rounds"})
_HARMLESS = frozenset({LOCK, CONFIG + ".tmp"})  # what a run killed at its very start leaves


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run."""

    path: Path

    @property
    def report_html(self) -> Path:
        return self.path / "report.html"

    @property
    def report_json(self) -> Path:
        return self.path / "report.json"

    @property
    def hints(self) -> Path:
        """What prompts show besides the schema, made before round 0."""
        return self.path / "hints"

    def stage(self, round_number: int) -> Path:
        """Directory of a round; round 0 is the SFT model."""
        return self.path / ("sft" if round_number == 0 else f"round-{round_number}")

    def checkpoint(self, round_number: int) -> Path:
        """The policy after a round, which is the opponent of the next."""
        return self.stage(round_number) / "checkpoint"


@contextmanager
def open_run(path: Path, config: Config, data: Mapping[str, str]) -> Iterator[RunDirectory]:
    """Hold the directory for this process and settle what the run is; `data` maps a split to its digest.

    Raises `RunError` when another run holds it, when it holds something else, or when configuration or data are not
    those the run was started with.
    """
    check_place(path)
    with run_lock(path):
        if (path / CONFIG).exists():
            _check_config(path, config)
            _check_data(path, data)
        try:
            write_bytes(path / CONFIG, _to_yaml(config).encode())
            _settle_environment(path / ENVIRONMENT, data)
        except RunError:
            _remove_if_empty(path)
            raise
        yield RunDirectory(path)


def check_start(path: Path, config: Config) -> None:
    """Raise `RunError` for what can be refused before data and models are loaded: a place that cannot be, another run
    that holds it, another configuration than it was started with. Writes nothing; `open_run` looks again.
    """
    check_place(path)
    check_unlocked(path)
    if (path / CONFIG).exists():
        _check_config(path, config)
    check_output(path / CONFIG)


def check_place(path: Path) -> None:
    """Raise `RunError` where a run cannot be: in a file, or beside things that are no run's. Writes nothing."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        names = []
    except NotADirectoryError as error:
        raise RunError(f"{path}: is not a directory; choose another place with -o") from error
    except OSError as error:
        raise unwritable(path, error) from error
    if CONFIG in names:
        return
    if strange := [name for name in names if name not in _HARMLESS]:
        raise RunError(
            f"{path}: is not empty and holds no run ({strange[0]} …); choose another directory with -o"
        )


def _remove_if_empty(path: Path) -> None:
    """Take back the directory of a run whose first file could not be written."""
    if not (path / CONFIG).exists():
        with suppress(OSError):
            (path / LOCK).unlink()
            path.rmdir()


def read_run_config(path: Path) -> Config:
    """The configuration a run was started with. Raises `RunError` where there is no run."""
    try:
        return Config.model_validate(yaml.safe_load((path / CONFIG).read_text("utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{path}: holds no run (no {CONFIG}); give the directory of one") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path / CONFIG}: damaged; put back the configuration of the run, or delete {path} to begin anew"
        ) from error


def digest_split(split: Split) -> str:
    """Digest of a split's questions, of the databases they are asked of, of what is said about those and of the quarantine."""
    content: list[Any] = [
        [example.to_json() for example in split.examples],
        {name: _digest_database(database) for name, database in sorted(split.databases.items())},
    ]
    if split.descriptions or split.quarantined:
        content.append(
            [
                [name, [[*column, *astuple(text)] for column, text in sorted(found.items())]]
                for name, found in sorted(split.descriptions.items())
            ]
        )
    if split.quarantined:
        content.append(sorted(split.quarantined))
    return digest_json(content)


def _digest_database(database: Database) -> str:
    """Of a file, what is in it. Of a server, where it is, what its tables are, and what it can cheaply tell of their rows."""
    if database.is_file:
        return digest_file(database.path)
    from exspin.sql.server_rows import digest_rows  # an extra

    # Without its password, which may be changed; whether the login may be used is settled elsewhere.
    schema = read_schema(database, 0, allow_privileged=True)
    return digest_json([database.shown, schema.digest, digest_rows(database, schema)])


def versions() -> dict[str, str]:
    """What the numbers may depend on."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _to_yaml(config: Config) -> str:
    return yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)


def _check_config(path: Path, config: Config) -> None:
    before, now = read_run_config(path).resolved().to_dict(), config.resolved().to_dict()
    changed = [key for key in _changed_keys(before, now) if key not in MAY_CHANGE]
    if changed:
        raise RunError(
            f"{path}: was started with another configuration ({', '.join(changed)} changed); "
            "use the same one, or a new directory with -o"
        )


def _changed_keys(before: Any, now: Any, prefix: str = "") -> Iterable[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from _changed_keys(before.get(key), now.get(key), f"{prefix}{key}.")
    elif before != now:
        yield prefix.rstrip(".")


def _check_data(path: Path, data: Mapping[str, str]) -> None:
    if not (path / ENVIRONMENT).exists():
        return  # killed between the two files
    before = _read_environment(path / ENVIRONMENT)["data"]
    if changed := [name for name, digest in data.items() if before.get(name) != digest]:
        raise RunError(
            f"{path}: the data changed since the run began (split {', '.join(changed)}): its questions, a database file, or tables "
            "or rows of a server; restore it, or use a new directory with -o"
        )


def _read_environment(path: Path) -> dict[str, Any]:
    try:
        record = dict(read_json(path))
        _ = dict(record["data"]), record["versions"], record["platform"], list(record["resumed"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: damaged; put it back, or delete it to go on without its record of the data the run began with"
        ) from error
    return record


def _settle_environment(path: Path, data: Mapping[str, str]) -> None:
    here = {"platform": platform.platform(), "versions": versions()}
    if not path.exists():
        write_json(path, {**here, "data": dict(data), "resumed": []})
        return
    record = _read_environment(path)
    last = record["resumed"][-1] if record["resumed"] else record
    if any(last[key] != here[key] for key in here):
        record["resumed"].append(here)
        write_json(path, record)
