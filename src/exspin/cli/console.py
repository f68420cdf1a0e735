"""Where the command line writes: two consoles for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

# Without emoji: rich would make a picture of "dev.json:100:".
stdout = Console(highlight=False, emoji=False)
stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """The one object that `--json` promises."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def print_timed_json(value: dict[str, Any]) -> None:
    """The same with `seconds`, since the process was started."""
    print_json({**value, "seconds": round(_seconds_since_start(), 3)})


def _seconds_since_start() -> float:
    """Wall time since this process was started, interpreter start included."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.process_time()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
