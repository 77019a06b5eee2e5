"""A new process makes one image of a run again from its key."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import RunMismatch
from engine.run.run import load_run
from engine.worker.replay import replay
from shards.codec import decode_rgb
from shards.storage.manifest import read_index_rows
from tests.conftest import Jobs, text_of


def test_replay_makes_the_same_bytes_and_notices_others(jobs: Jobs, tiny_run: Path, tmp_path: Path) -> None:
    key, saved = "000030002", tmp_path / "again.png"
    tar = tiny_run / "shards/00003.tar"
    row = next(row for row in read_index_rows(tar) if row["key"] == key)
    stored = tar.read_bytes()[row["image_offset"] : row["image_offset"] + row["image_size"]]
    completed = jobs("replay", tiny_run, key, "--save", saved)
    assert completed.returncode == 0, text_of(completed)
    assert f"{key}: {row['prompt']!r}, seed {row['seed']}" in completed.stdout
    assert "equal, byte for byte" in completed.stdout
    assert saved.read_bytes() == stored
    assert decode_rgb(stored).shape == (32, 32, 3)

    # An image of another prompt under this key is noticed.
    run = load_run(shutil.copytree(tiny_run, tmp_path / "run"))
    templates = run.context.spec.prompts.model_copy(update={"templates": ("{class}, {size}",)})
    other = replace(run.context, spec=run.context.spec.model_copy(update={"prompts": templates}))
    found_again = replay(replace(run, context=other), key)
    assert not found_again.equal
    assert found_again.largest_difference > 0

    # So is a spec that was edited after the run was begun.
    spec = run.store.local / "spec.yaml"
    spec.write_text(spec.read_text().replace("steps: 4", "steps: 5"))
    with pytest.raises(RunMismatch, match="was changed after the run was begun"):
        load_run(run.store)
