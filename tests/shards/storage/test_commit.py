"""The commit of a unit by several writers that die or overtake each other at any step."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import CommitConflict
from shards.sample import Sample
from shards.stats import Stats
from shards.storage.bucket_store import BucketStore
from shards.storage.folder_store import FolderStore
from shards.storage.manifest import finished_shards, publish_stats, read_stats
from shards.storage.store import Store
from shards.writing.shard_writer import ShardWriter

UNIT = "00007"
ACTS = ("go", "die before", "die after", "another before", "another after")
Script = list[tuple[str, int]]


class WriterKilled(BaseException):
    """The simulated SIGKILL of a writer."""


class ScriptedStore(Store):
    """A store that runs the next event of a script around each publish, until the script ends."""

    script: Iterator[tuple[str, int]] = iter(())

    def _create(self, staged: Path, name: str) -> None:
        act, maker = next(self.script, ("go", 0))
        if act == "die before":
            raise WriterKilled
        if act == "another before":
            write(self, maker)
        super()._create(staged, name)  # type: ignore[safe-super]
        check(self)
        if act == "die after":
            raise WriterKilled
        if act == "another after":
            write(self, maker)


class ScriptedFolder(ScriptedStore, FolderStore):
    """A scripted store on disk."""


class ScriptedBucket(ScriptedStore, BucketStore):
    """A scripted object store."""


def write(store: Store, maker: int) -> Stats | None:
    """Write the unit: maker 0 the correct bytes, maker 1 others. Return None if the writer dies or is refused."""
    try:
        with ShardWriter(store, UNIT) as writer:
            writer.add(Sample(f"{UNIT}0000", b"image", "png", 0, {"prompt": f"a cat by {maker}"}))
            files: list[Any] = [facts.as_json() for facts in writer.publish()]
            return publish_stats(store, UNIT, {"unit": 7, "files": files})  # type: ignore[typeddict-item]
    except (WriterKilled, CommitConflict):
        return None


def check(store: Store) -> None:
    """Check that a finished unit has the files that its stats file names."""
    for name in finished_shards(store):
        for file in read_stats(store, name)["files"]:
            assert store.sha256(file["name"]) == file["sha256"]


def contents(store: Store) -> dict[str, bytes]:
    return {name: store.read(name) for name in store.entries()}


@pytest.mark.parametrize("kind", [ScriptedFolder, ScriptedBucket])
@given(script=st.lists(st.tuples(st.sampled_from(ACTS), st.just(0)), max_size=12))
def test_an_interrupted_commit_ends_with_the_same_bytes(
    kind: type[ScriptedStore], script: Script, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place, quiet = (new(kind, tmp_path_factory) for _ in range(2))
    assert write(quiet, 0) is not None
    place.script = iter(script)
    write(place, 0)
    place.script = iter(())
    assert write(place, 0) is not None
    assert contents(place) == contents(quiet)


@pytest.mark.parametrize("kind", [ScriptedFolder, ScriptedBucket])
@given(script=st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 1)), max_size=12))
def test_finished_shards_stay_whole_and_unchanged(
    kind: type[ScriptedStore], script: Script, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = new(kind, tmp_path_factory)
    place.script = iter(script)
    for maker in (0, 1, 0):
        before = contents(place)
        write(place, maker)
        check(place)
        assert before.items() <= contents(place).items(), "nothing is overwritten"


def new(kind: type[ScriptedStore], folders: pytest.TempPathFactory) -> ScriptedStore:
    if kind is ScriptedBucket:
        return kind(f"memory://{uuid.uuid4().hex}")
    return kind(str(folders.mktemp("run")))
