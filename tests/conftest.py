"""Fixtures for all tests: where real data is, and no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exspin_data() -> Path:
    """The folder of real data sets; without `EXSPIN_DATA` the test skips, under `EXSPIN_REQUIRE_DATA=1` it fails."""
    place = os.environ.get("EXSPIN_DATA")
    if place:
        return Path(place)
    reason = "EXSPIN_DATA is not set: no real data sets here"
    if os.environ.get("EXSPIN_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
