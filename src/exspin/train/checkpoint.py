"""Resume points: weights, optimizer state and step, whole or not there, without pickle.

A point is written to `step-N.tmp/`, its files synced, a manifest of digests last, then renamed to `step-N/`; older
points go only after that. A kill at any instant leaves the newest whole point to be found, and training goes on from
it bit for bit. Points of other training (other rows, settings or start) are not used.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from exspin.errors import DataError
from exspin.ledger import digest_file, read_json, sync_directory, unwritable, write_json

logger = logging.getLogger(__name__)

MANIFEST, STATE = "manifest.json", "state.json"
WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """What `newest` found: the directory of a whole point, its step and its notes."""

    directory: Path
    step: int
    notes: Mapping[str, Any]


def save(
    directory: Path,
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    made_from: str,
    notes: Mapping[str, Any],
) -> None:
    """Write the point of this step and remove the ones before it. Raises `RunError` when the place cannot be written."""
    target = directory / f"step-{step:08d}"
    staging = target.with_name(target.name + ".tmp")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        trained = dict(_trained(model))
        save_file({name: p.detach().contiguous() for name, p in trained.items()}, staging / WEIGHTS)
        save_file(_optimizer_tensors(trained, optimizer), staging / OPTIMIZER)
        write_json(staging / STATE, {"step": step, "made_from": made_from, "notes": dict(notes)})
        files = (WEIGHTS, OPTIMIZER, STATE)
        for name in files:
            with (staging / name).open("rb") as file:
                os.fsync(file.fileno())
        write_json(staging / MANIFEST, {name: digest_file(staging / name) for name in files})
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
        sync_directory(directory)
        for older in _points(directory):
            if older != target:
                shutil.rmtree(older)
    except SafetensorError as error:  # how safetensors reports what the system refused
        raise unwritable(staging, OSError(str(error))) from error
    except OSError as error:
        raise unwritable(staging, error) from error


def newest(directory: Path, made_from: str) -> ResumePoint | None:
    """The newest whole point of this training. Every other one is skipped with a logged line that says why."""
    for point in sorted(_points(directory), reverse=True):
        try:
            manifest = read_json(point / MANIFEST)
            damaged = [n for n, digest in manifest.items() if digest_file(point / n) != digest]
            state = read_json(point / STATE)
        except (OSError, DataError) as error:
            logger.warning("%s: resume point skipped, not whole (%s)", point, error)
            continue
        if damaged:
            logger.warning(
                "%s: resume point skipped, %s changed since it was written", point, damaged[0]
            )
        elif state["made_from"] != made_from:
            logger.warning("%s: resume point skipped, it belongs to other training", point)
        else:
            return ResumePoint(point, state["step"], state["notes"])
    return None


def load(point: ResumePoint, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put weights and optimizer state of a point in place, bit for bit."""
    trained = dict(_trained(model))
    weights = load_file(point.directory / WEIGHTS)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])
    for key, value in load_file(point.directory / OPTIMIZER).items():
        field, _, name = key.partition("/")
        parameter = trained[name]
        optimizer.state[parameter][field] = value.to(parameter.device)


def remove(directory: Path) -> None:
    """Remove all resume points: training is over."""
    shutil.rmtree(directory, ignore_errors=True)


def _trained(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def _optimizer_tensors(
    trained: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """State under `exp_avg/NAME` and so on. A parameter that never had a gradient has none."""
    return {
        f"{key}/{name}": value.contiguous()
        for name, parameter in trained.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _points(directory: Path) -> Sequence[Path]:
    return [path for path in directory.glob("step-*") if path.suffix != ".tmp"]
