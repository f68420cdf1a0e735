"""The doctor: a sound machine passes, and each thing that is wrong is found and named."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

from exspin import diagnosis
from exspin.diagnosis import Check, Diagnosis, Extra, doctor
from exspin.records import Outcome
from exspin.sql.execute import Executor, Judgement


def test_this_machine_is_well() -> None:
    found = doctor()
    assert found.ok
    names = [check.name for check in found.checks]
    assert names[:2] == ["python", "resources"] and names[-1] == "guarded execution"
    assert found.to_json()["checks"][-1]["found"].startswith("a query runs, a write is denied")


def test_a_guard_that_does_not_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Executor, "judge", lambda self, jobs, comparator: [Judgement(Outcome.MATCH)] * len(jobs)
    )
    found = doctor()
    assert not found.ok
    assert found.checks[-1] == Check(
        "guarded execution", False, "expected match, denied, timeout; got match, match, match"
    )


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 2**30))
    resources = next(check for check in doctor().checks if check.name == "resources")
    assert not resources.ok and "free some space" in resources.found


def test_an_extra_that_is_not_installed_is_named_with_its_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packages = ("no-such-package",)
    extras = {"a": Extra(packages, "x", used=True), "b": Extra(packages, "y", used=False)}
    monkeypatch.setattr(diagnosis, "EXTRAS", extras)
    found = {check.name: check for check in doctor().checks}
    assert found["extra [a]"] == Check(
        "extra [a]", True, 'for x: not installed (no-such-package); pip install "exspin[a]" adds it'
    )
    assert found["extra [b]"].found == (
        "for y, not used by this version: not installed (no-such-package)"
    )


def test_the_extras_are_those_of_the_package_and_used_is_true() -> None:
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert {*diagnosis.EXTRAS, "dev"} == set(project["optional-dependencies"])
    source = "\n".join(p.read_text("utf-8") for p in (root / "src").rglob("*.py"))
    for name, extra in diagnosis.EXTRAS.items():
        one = "|".join(extra.packages)
        imported = re.search(rf'^ *(import|from) ({one})\b|import_module\("({one})', source, re.M)
        assert extra.used == bool(imported), name


def test_one_bad_check_is_enough() -> None:
    good, bad = Check("a", True, ""), Check("b", False, "")
    assert Diagnosis((good,)).ok and not Diagnosis((good, bad)).ok
