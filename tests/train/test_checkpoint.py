"""Resume points: whole or not there, newest first, bit for bit, no pickle."""

from __future__ import annotations

import logging
import shutil

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from exspin.errors import RunError
from exspin.train import checkpoint

pytestmark = pytest.mark.train


def trained(seed=0, steps=2):
    """A layer with an unused parameter, and its optimizer after some steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torch.nn.Linear(3, 2)
    model.unused = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    learn(model, optimizer, steps)
    return model, optimizer


def learn(model, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.ones(1, 3) * (step + 1)).pow(2).sum().backward()
        optimizer.step()


def write(directory, step, model, optimizer, made_from="rows"):
    checkpoint.save(directory, step, model, optimizer, made_from=made_from, notes={"lines": [step]})


def test_training_goes_on_bit_for_bit(tmp_path):
    model, optimizer = trained()
    write(tmp_path, 2, model, optimizer)
    learn(model, optimizer, 3)

    other, other_optimizer = trained(seed=1, steps=0)
    point = checkpoint.newest(tmp_path, "rows")
    assert (point.step, point.notes) == (2, {"lines": [2]})
    checkpoint.load(point, other, other_optimizer)
    learn(other, other_optimizer, 3)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_older_points_go_once_the_new_one_is_whole(tmp_path):
    for step in (2, 4, 6):
        write(tmp_path, step, *trained())
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000006"]


def test_nothing_is_pickled(tmp_path):
    write(tmp_path, 1, *trained())
    names = {path.name for path in (tmp_path / "step-00000001").iterdir()}
    assert names == {"weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no manifest", "no state", "half a manifest"])  # fmt: skip
def test_a_damaged_point_is_skipped_for_the_one_before_and_said(damage, tmp_path, caplog):
    write(tmp_path, 2, *trained())
    shutil.copytree(tmp_path / "step-00000002", tmp_path / "kept")
    write(tmp_path, 4, *trained())
    (tmp_path / "kept").rename(tmp_path / "step-00000002")
    newest = tmp_path / "step-00000004"
    weights = newest / "weights.safetensors"
    match damage:
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-5])
        case "flipped":
            content = bytearray(weights.read_bytes())
            content[-1] ^= 1
            weights.write_bytes(content)
        case "no manifest":
            (newest / "manifest.json").unlink()
        case "no state":
            (newest / "state.json").unlink()
        case "half a manifest":
            (newest / "manifest.json").write_text('{"weights.sa')
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest(tmp_path, "rows").step == 2
    (line,) = caplog.messages
    assert "step-00000004: resume point skipped" in line


def test_a_point_that_was_being_written_is_not_seen_and_not_in_the_way(tmp_path):
    half = tmp_path / "step-00000004.tmp"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    assert checkpoint.newest(tmp_path, "rows") is None
    write(tmp_path, 4, *trained())
    assert checkpoint.newest(tmp_path, "rows").step == 4
    assert not half.exists()


def test_points_of_other_training_are_not_used(tmp_path, caplog):
    write(tmp_path, 4, *trained(), made_from="other rows")
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest(tmp_path, "rows") is None
    assert "belongs to other training" in caplog.text


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        write(tmp_path / "file", 1, *trained())
