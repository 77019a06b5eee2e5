"""The shard cache: complete files only, one download for all processes, a size limit, and store failures."""

import hashlib
import json
import mmap
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from bench.s3_server import S3, serve_s3
from shards.errors import ShardError
from shards.storage.locations import ShardFile, find_tars, stat_tar
from shards.storage.shard_cache import ShardCache
from tests.conftest import ROOT

SIZE = 100_000


@pytest.fixture(scope="module")
def store() -> Iterator[S3]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with serve_s3() as server, server.environment():
        server.make_bucket("shards")
        yield server


@pytest.fixture
def tars(store: S3, tmp_path: Path) -> list[ShardFile]:
    """Return eight shards of SIZE random bytes under a separate prefix."""
    for number in range(8):
        store.put("shards", f"{tmp_path.name}/{number:05d}.tar", content(number))
    return find_tars(f"s3://shards/{tmp_path.name}")


def content(number: int) -> bytes:
    return hashlib.shake_128(bytes([number])).digest(SIZE)


def kept(folder: Path) -> dict[str, int]:
    """Return the sizes of the files in a cache by name without the digest. A missing cache is empty."""
    sizes = {}
    for path in folder.glob("*.tar*"):
        with suppress(FileNotFoundError):
            sizes[re.sub(r"-\w{32}", "", path.name)] = path.stat().st_size
    return sizes


def child(code: str, folder: Path, tar: ShardFile, *prefix: str, **environment: str) -> "subprocess.Popen[str]":
    """Start a process that runs Python code with `cache` and `tar` defined."""
    lines = [
        "import sys, time",
        "from pathlib import Path",
        "from shards.storage.shard_cache import ShardCache",
        "from shards.storage.locations import ShardFile, find_tars",
        f"cache, tar = ShardCache(Path({str(folder)!r})), {tar!r}",
        code,
    ]
    return subprocess.Popen(
        [*prefix, sys.executable, "-W", "error", "-c", "\n".join(lines)], cwd=ROOT, text=True,
        env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_shard_is_downloaded_once(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    path = cache.path(tars[3], hashlib.sha256(content(3)).hexdigest())
    assert path.read_bytes() == content(3)
    before = len(store.requests())
    assert cache.path(tars[3]) == ShardCache(tmp_path / "cache").path(tars[3]) == path
    assert len(store.requests()) == before
    assert kept(tmp_path / "cache") == {"00003.tar": SIZE}


def test_a_local_shard_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"data")
    (tar,) = find_tars(tmp_path)
    cache = ShardCache(tmp_path / "cache")
    cache.prefetch([tar])
    assert cache.path(tar, hashlib.sha256(b"data").hexdigest()) == tmp_path / "a.tar"
    with pytest.raises(ShardError, match=r"a\.tar: its SHA-256 is 3a6eb0790f39ac87\w+, and should be 00"):
        cache.path(tar, "00")
    assert (tmp_path / "a.tar").exists()
    assert not (tmp_path / "cache").exists()


def test_one_process_downloads_while_others_wait(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    store.delay(0.3)
    try:
        code = "path = cache.path(tar); print(path, len(path.read_bytes()))"
        children = [child(code, tmp_path / "cache", tars[0]) for _ in range(4)]
        outputs = [process.communicate(timeout=60) for process in children]
    finally:
        store.delay(0)
    assert [process.returncode for process in children] == [0] * 4, outputs
    assert Counter(outputs) == {(f"{ShardCache(tmp_path / 'cache').path(tars[0])} {SIZE}\n", ""): 4}
    assert len(store.requests("GET", f"{tmp_path.name}/00000.tar")) == 1


WAITS_ALOUD = """
sleep = time.sleep
def sleep_aloud(seconds):
    print("waiting", flush=True)
    sleep(seconds)
time.sleep = sleep_aloud
"""


def test_a_waiting_process_takes_over_a_killed_download(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    store.fail("slow", contains=f"{tmp_path.name}/00000.tar")
    code = "path = cache.path(tar); print(len(path.read_bytes()))"
    first = child(code, folder, tars[0])
    part = f"00000.tar.{SIZE}.part"
    wait_for(lambda: 0 < kept(folder).get(part, 0) < SIZE)
    second = child(WAITS_ALOUD + code, folder, tars[0])
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting\n"
    first.kill()
    output, errors = second.communicate(timeout=15)  # before the slow answer would have ended
    assert output.endswith(f"{SIZE}\n"), errors
    first.communicate()
    assert ShardCache(folder).path(tars[0]).read_bytes() == content(0)
    assert kept(folder) == {"00000.tar": SIZE}


@pytest.mark.parametrize("number", [0, 1])
def test_parts_of_a_killed_process_are_removed(store: S3, tars: list[ShardFile], tmp_path: Path, number: int) -> None:
    folder = tmp_path / "cache"
    store.fail("slow", contains=f"{tmp_path.name}/00000.tar")
    dead = child("cache.path(tar)", folder, tars[0])
    wait_for(lambda: 0 < kept(folder).get(f"00000.tar.{SIZE}.part", 0) < SIZE)
    dead.kill()
    dead.communicate()
    ShardCache(folder, limit=SIZE).path(tars[number])  # the partial file of the killed process does not count
    assert set(kept(folder)) == {f"0000{number}.tar"}


def test_the_least_recently_used_shards_are_evicted(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, limit=3 * SIZE)
    for number in (0, 1, 2, 0, 3):
        cache.path(tars[number])
    assert sorted(kept(tmp_path)) == ["00000.tar", "00002.tar", "00003.tar"]
    with cache.path(tars[2]).open("rb") as file:
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for number in (4, 5, 6):
        cache.path(tars[number])
    assert sorted(kept(tmp_path)) == ["00004.tar", "00005.tar", "00006.tar"]
    assert view[:] == content(2)
    with pytest.raises(ShardError, match=r"00000\.tar: it has 100,000 bytes, and the limit of the cache is 99,999 \("):
        ShardCache(tmp_path, limit=SIZE - 1).path(tars[0])


def test_processes_keep_a_common_limit(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    folder, limit = tmp_path / "cache", 3 * SIZE + 5
    code = f"""
import hashlib, random
tars = find_tars({tars[0].url.rpartition("/")[0]!r})
cache.limit = {limit}
for number in [random.randrange(8) for _ in range(40)]:
    cache.prefetch(tars[number:])
    while True:
        try:
            data = cache.path(tars[number]).read_bytes()
            break
        except FileNotFoundError:  # another process needed the room
            continue
    assert data == hashlib.shake_128(bytes([number])).digest({SIZE})
"""
    children = [child(code, folder, tars[0]) for _ in range(3)]
    most = 0
    while any(process.poll() is None for process in children):
        sizes = kept(folder)
        most = max(most, sum(sizes.values()))
        time.sleep(0.001)
    assert [process.communicate() for process in children] == [("", "")] * 3
    assert 2 * SIZE < most <= limit


FILLS_UP = """
mount -t tmpfs -o size=200k tmpfs "$DISK" || exit 99
"$@" & reader=$!
until ls "$DISK"/*.part >/dev/null 2>&1; do kill -0 $reader || exit 98; sleep 0.02; done
cat /dev/zero > "$DISK/ballast" 2>/dev/null
wait $reader; code=$?
rm "$DISK/ballast"; ls "$DISK"; exit $code
"""
TOO_SMALL = 'mount -t tmpfs -o size=80k tmpfs "$DISK" || exit 99; "$@"; code=$?; ls "$DISK"; exit $code'
HOLDS_ONE = 'mount -t tmpfs -o size=140k tmpfs "$DISK" || exit 99; "$@"; code=$?; ls "$DISK"; exit $code'


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (FILLS_UP, r"{folder}: cannot keep 00000.tar there: No space left on device; set SHARDMILL_CACHE to a folder"),
        (TOO_SMALL, r"{tar}: it has 100,000 bytes, and free on the disk are 81,920 \({folder}\); set SHARDMILL"),
        (HOLDS_ONE, ""),
    ],
    ids=["fills up", "too small", "holds one"],
)
def test_a_full_disk_is_named_or_cleared(
    store: S3, tars: list[ShardFile], tmp_path: Path, script: str, message: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounts = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    try:
        able = subprocess.run([*mounts, "mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare to mount a disk with")
    if able.returncode:
        pytest.skip("neither root nor a user namespace may mount a disk here")
    if script == FILLS_UP:
        store.fail("slow", contains=f"{tmp_path.name}/00000.tar")
    code = (
        "for shard in find_tars(tar.url.rpartition('/')[0])[:3]:\n"
        "    try: print(len(cache.path(shard).read_bytes()))\n"
        "    except Exception as error: sys.exit(f'{type(error).__name__} {error}')"
    )
    environment = {"DISK": str(disk), "FSSPEC_S3": json.dumps({"config_kwargs": {"read_timeout": 2}})}
    output, errors = child(code, disk, tars[0], *mounts, "sh", "-c", script, "sh", **environment).communicate()
    if message:
        assert re.match("ShardError " + message.format(folder=re.escape(str(disk)), tar=tars[0].url), errors), errors
        assert errors.count("\n") == 1
        assert output == ""  # the folder is empty
    else:  # free disk space, not the limit, decides what is evicted
        assert errors == ""
        assert output.startswith(f"{SIZE}\n" * 3 + "00002-")


def test_a_wrong_hash_is_named(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    is_, should = (hashlib.sha256(content(number)).hexdigest() for number in (1, 2))
    with pytest.raises(
        ShardError, match=f"^{tars[1].url}: its SHA-256 is {is_}, and should be {should}; it is damaged"
    ):
        cache.path(tars[1], should)
    assert kept(tmp_path / "cache") == {}
    assert len(store.requests("GET", f"{tmp_path.name}/00001.tar")) == 1


def test_a_damaged_local_copy_is_downloaded_again(tars: list[ShardFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    path = cache.path(tars[1])
    path.write_bytes(content(2))
    assert cache.path(tars[1], hashlib.sha256(content(1)).hexdigest()).read_bytes() == content(1)


def test_new_content_is_downloaded_again(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    assert cache.path(tars[0]).read_bytes() == content(0)
    store.put("shards", f"{tmp_path.name}/00000.tar", content(9))
    changed = stat_tar(tars[0].url)
    assert changed.size == tars[0].size
    assert cache.path(changed).read_bytes() == content(9)
    assert cache.path(tars[0]).read_bytes() == content(0)  # the version that this stream began with
    store.put("shards", f"{tmp_path.name}/00001.tar", content(9))
    with pytest.raises(ShardError, match=r"00001\.tar: it has changed since it was found"):
        cache.path(tars[1])
    assert sorted(kept(tmp_path / "cache")) == ["00000.tar"]


@pytest.mark.parametrize("fault", ["500", "503", "hang-up", "short", "time-out"])
def test_temporary_s3_failures_are_retried(
    store: S3, tars: list[ShardFile], tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 0.5}})
    name = f"{tmp_path.name}/00000.tar"
    store.fail(fault, contains=name, count=2)
    store.fail(fault, method="HEAD", contains=name)
    assert ShardCache(tmp_path / "cache").path(tars[0]).read_bytes() == content(0)
    assert len(store.requests("GET", name)) == 3
    if fault != "short":  # an answer to HEAD has no body
        assert len(store.requests("HEAD", name)) >= 2


@contextmanager
def failing_http(folder: Path, faults: list[int | str]) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder over HTTP, with these faults first. Yield the URL and the list of requested paths."""
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            fault = faults.pop(0) if faults else None
            if isinstance(fault, int):
                self.send_error(fault)
            elif fault == "hang-up":
                self.close_connection = True
            elif fault == "short":
                self.send_response(200)
                self.send_header("Content-Length", str(SIZE))
                self.end_headers()
                self.wfile.write(content(0)[: SIZE // 2])
            else:
                super().do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("fault", [500, 502, 503, 429, "hang-up", "short"])
def test_temporary_http_failures_are_retried(tmp_path: Path, fault: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.storage.retries._FIRST_WAIT_S", 0.001)
    (tmp_path / "0.tar").write_bytes(content(0))
    faults: list[int | str] = []
    with failing_http(tmp_path, faults) as (url, requests):
        (tar,) = find_tars(f"{url}/0.tar")
        faults += [fault] * 3
        assert ShardCache(tmp_path / "cache").path(tar).read_bytes() == content(0)
        if fault != "hang-up":  # aiohttp itself retries after a hang-up
            assert requests == ["/0.tar"] * 4
        faults += [fault] * 99
        with pytest.raises(ShardError, match=rf"^{url}/0\.tar: cannot be read \(\w+: .*\)$"):
            ShardCache(tmp_path / "other").path(tar)
        assert fault == "hang-up" or requests == ["/0.tar"] * 8
        assert kept(tmp_path / "other") == {}


@pytest.mark.parametrize(
    ("fault", "message"), [(404, "it is gone"), (403, "access is refused"), (400, "cannot be read")]
)
def test_permanent_failures_are_not_retried(tmp_path: Path, fault: int, message: str) -> None:
    (tmp_path / "0.tar").write_bytes(content(0))
    faults: list[int | str] = []
    with failing_http(tmp_path, faults) as (url, requests):
        (tar,) = find_tars(f"{url}/0.tar")
        faults += [fault] * 99
        with pytest.raises(ShardError, match=rf"^{url}/0\.tar: {message}"):
            ShardCache(tmp_path / "cache").path(tar)
        assert requests == ["/0.tar"]


def test_shards_in_fsspec_memory_are_cached(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe(f"{tmp_path}/0.tar", content(0))
    (tar,) = find_tars(f"memory://{tmp_path}")
    assert ShardCache(tmp_path / "cache").path(tar).read_bytes() == content(0)


def test_prefetched_shards_need_no_further_request(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, limit=6 * SIZE)
    cache.prefetch(tars)
    wait_for(lambda: sorted(kept(tmp_path)) == ["00000.tar", "00001.tar", "00002.tar"])  # half of the limit
    before = len(store.requests())
    assert [cache.path(tar).read_bytes() for tar in tars[:3]] == [content(number) for number in range(3)]
    assert len(store.requests()) == before
    cache.prefetch(tars[3:5])
    wait_for(lambda: sorted(kept(tmp_path)) == [f"{number:05d}.tar" for number in range(5)])


def test_a_new_prefetch_replaces_the_old_one(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    store.delay(0.2)
    try:
        cache.prefetch(tars)
        wait_for(lambda: len(store.requests("GET", f"{tmp_path.name}/0")) >= 4)
        cache.prefetch(tars[7:])
        wait_for(lambda: "00007.tar" in kept(tmp_path / "cache"))
    finally:
        store.delay(0)
    wait_for(lambda: all(name.endswith(".tar") for name in kept(tmp_path / "cache")))
    assert {"00004.tar", "00005.tar", "00006.tar"}.isdisjoint(kept(tmp_path / "cache"))


def test_prefetch_errors_are_raised_on_use(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    gone = ShardFile(tars[0].url.replace("00000", "gone"), SIZE, "x")
    cache.prefetch([gone, tars[1]])
    wait_for(lambda: sorted(kept(tmp_path / "cache")) == ["00001.tar"])
    with pytest.raises(ShardError, match=r"gone\.tar: it is gone from where it was found"):
        cache.path(gone)


def test_a_process_may_end_during_a_prefetch(store: S3, tars: list[ShardFile], tmp_path: Path) -> None:
    store.fail("slow", contains=f"{tmp_path.name}/00000.tar")
    code = (
        "cache.prefetch([tar])\n"
        "while not any(part.stat().st_size for part in cache.folder.glob('*.part')): time.sleep(0.01)"
    )
    (tmp_path / "cache").mkdir()
    assert child(code, tmp_path / "cache", tars[0]).communicate(timeout=10) == (
        "",
        "",
    )  # the download takes longer than this
    assert ShardCache(tmp_path / "cache").path(tars[0]).read_bytes() == content(0)


def use(cache: ShardCache, tars: list[ShardFile]) -> list[int]:
    cache.prefetch(tars[2:])
    return [len(cache.path(tar).read_bytes()) for tar in tars]


def test_a_forked_copy_of_a_lock_does_not_keep_it(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path)
    with cache._lock("a"):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        with cache._lock("a", timeout=5):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_share_the_cache(store: S3, tars: list[ShardFile], tmp_path: Path, method: str) -> None:
    cache = ShardCache(tmp_path / "cache", limit=50 * SIZE)
    store.delay(0.1)
    try:
        cache.prefetch(tars)  # threads of the parent run and hold locks during the fork
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.starmap(use, [(cache, tars)] * 2) == [[SIZE] * 8] * 2
    finally:
        store.delay(0)
    assert len(store.requests("GET", f"{tmp_path.name}/0")) == 8
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.folder, copy.limit) == (cache.folder, cache.limit)
