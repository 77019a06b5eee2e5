"""Disks that are too small, fill up, or may not be written: real ones, mounted for one process each."""

import socket
import subprocess
from pathlib import Path

import pytest

from bench.s3_server import serve_s3
from tests.conftest import ROOT, Jobs, command, hashes, make_run, text_of

# A mount namespace of its own, as root or as a user who becomes root within it: what is mounted goes with the process.
_NAMESPACES = (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"])

FILL_UP = """
mount -t tmpfs -o size=1500k tmpfs "$DISK" || exit 99
"$@" & driver=$!
until [ "$(ls "$DISK"/run/shards/*_stats.json 2>/dev/null | wc -l)" -ge 3 ]; do
  kill -0 $driver || exit 98; sleep 0.02
done
cat /dev/zero > "$DISK/ballast" 2>/dev/null
wait $driver; code=$?
rm "$DISK/ballast"; cp -a "$DISK/run" "$KEPT"; exit $code
"""
NO_CACHE = 'mount -t tmpfs -o size=48k tmpfs "$DISK" || exit 99; SHARDMILL_CACHE="$DISK" "$@"'
TOO_SMALL = 'mount -t tmpfs -o size=200k tmpfs "$DISK" || exit 99; "$@"'
READ_ONLY = 'mount --bind "$KEPT" "$DISK" && mount -o remount,bind,ro "$DISK" || exit 99; "$@"'


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("mount")
    for prefix in _NAMESPACES:
        try:
            tried = subprocess.run(
                [*prefix, "mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, check=False
            )
        except FileNotFoundError:
            break
        if tried.returncode == 0:
            return prefix
    pytest.skip("neither root nor a user namespace may mount a disk here")


def within(
    namespace: list[str], script: str, disk: Path, kept: Path, *arguments: object
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m jobs ARGUMENTS` where a script has mounted `disk`."""
    disk.mkdir()
    line = ["env", f"DISK={disk}", f"KEPT={kept}", *namespace, "sh", "-c", script, "sh", *command(*arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_disk_that_fills_up_costs_nothing_that_was_finished(
    namespace: list[str], fake_spec: Path, fake_run: Path, tmp_path: Path
) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    arguments = ["generate", fake_spec, "--out", disk / "run", "--set", "cluster.max_actors=1"]
    completed = within(namespace, FILL_UP, disk, kept, *arguments)
    assert completed.returncode == 1, text_of(completed)
    assert "Traceback" not in text_of(completed)
    last = completed.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {disk}/run/shards: No space left on device; finished shards are kept: make room")
    finished = hashes(kept)
    done = len(list((kept / "shards").glob("*_stats.json")))
    assert 3 <= done < 18
    assert finished.items() <= hashes(fake_run).items()
    assert not list((kept / "shards/.staging").glob("*")), "a full disk is not kept full by halves of shards"
    make_run(fake_spec, kept)
    assert hashes(kept) == hashes(fake_run)


def test_a_bucket_that_a_nodes_disk_holds_up_is_not_called_full(
    namespace: list[str], fake_spec: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "cache"
    with serve_s3() as store, store.environment():
        store.make_bucket("bucket")
        completed = within(namespace, NO_CACHE, disk, tmp_path, "generate", fake_spec, "--out", "s3://bucket/run")
    assert completed.returncode == 1, text_of(completed)
    last = completed.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {disk} on {socket.gethostname()}: No space left on device; shards are staged there")
    assert "set SHARDMILL_CACHE to a folder on a larger disk" in last


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_disk_that_cannot_hold_the_run_is_refused(
    dry: list[str], namespace: list[str], fake_spec: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    completed = within(namespace, TOO_SMALL, disk, tmp_path, "generate", fake_spec, "--out", disk / "run", *dry)
    assert completed.returncode == 1, text_of(completed)
    assert (
        f"error: --out {disk}/run: 0.9 MB are to be written, and 0.2 MB are free; choose another disk"
        in completed.stderr
    )
    assert len(completed.stderr.strip().splitlines()) == 1


def test_folder_that_may_not_be_written(
    namespace: list[str], jobs: Jobs, fake_spec: Path, fake_run: Path, tmp_path: Path
) -> None:
    generate = ["generate", fake_spec, "--out"]
    for number, (out, code) in enumerate([("new", 1), (".", 1)]):
        disk = tmp_path / f"disk-{number}"
        completed = within(namespace, READ_ONLY, disk, fake_run, *generate, disk / out)
        assert completed.returncode == code, text_of(completed)
        assert completed.stderr.strip().endswith("cannot be written: Read-only file system; choose another folder")
        assert len(completed.stderr.strip().splitlines()) == 1
    completed = within(namespace, READ_ONLY, tmp_path / "disk", fake_run, "verify", tmp_path / "disk")
    assert completed.returncode == 0, text_of(completed)
