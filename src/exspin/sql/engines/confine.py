"""Limits of the worker process itself, each set where an engine asks for it."""

from __future__ import annotations

import resource
from pathlib import Path


def limit_process(
    *,
    memory_mb: int | None = None,
    data_mb: int | None = None,
    file_bytes: int | None = None,
    open_files: int | None = None,
    cpu_s: int | None = None,
) -> None:
    """Limit this process for good; None leaves a limit as it is. There is never a core dump.

    `memory_mb` is address space beyond what is mapped now; `data_mb` is the part of it that can be written to, for an
    engine whose threads reserve much more than they use. `file_bytes` is how far a file may grow; with 0 nothing can
    be written to one. `cpu_s` is processor time, after which the process is killed. A lower limit that was there before stays.
    """
    wanted = {resource.RLIMIT_CORE: 0}
    if memory_mb is not None:
        wanted[resource.RLIMIT_AS] = _mapped() + (memory_mb << 20)
    if data_mb is not None:
        wanted[resource.RLIMIT_DATA] = _mapped(5) + (data_mb << 20)
    if file_bytes is not None:
        wanted[resource.RLIMIT_FSIZE] = file_bytes
    if open_files is not None:
        wanted[resource.RLIMIT_NOFILE] = open_files
    if cpu_s is not None:
        wanted[resource.RLIMIT_CPU] = cpu_s
    for limit, value in wanted.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _mapped(field: int = 0) -> int:
    """Bytes of address space in use; field 5 of the kernel's table is data and stacks."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 1 << 28
    return int(statm.read_text().split()[field]) * resource.getpagesize()
