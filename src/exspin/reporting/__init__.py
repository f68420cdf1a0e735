"""The report of a run: `report.html`, one file that needs nothing else, and the same numbers as `report.json`.

    collect   files of a run directory → records          charts   numbers → SVG
    summary   records → numbers                           page     numbers → HTML

It reads the run directory alone and may be called at any time; an unfinished run is shown as far as it goes.
"""

from __future__ import annotations

from pathlib import Path

from exspin.ledger import write_bytes, write_json
from exspin.reporting.collect import read_run
from exspin.reporting.page import render
from exspin.reporting.summary import Row, Summary, summarise
from exspin.run_directory import RunDirectory

__all__ = ["Row", "Summary", "report"]


def report(run: str | Path) -> Summary:
    """Write `report.html` and `report.json` into a run directory.

    Raises `RunError` where there is no run, `DataError` naming a damaged file.
    """
    run = Path(run)
    place = RunDirectory(run)
    files = read_run(run)
    summary = summarise(files)
    write_json(place.report_json, summary.to_json())
    write_bytes(place.report_html, render(files, summary).encode("utf-8", "replace"))
    return summary
