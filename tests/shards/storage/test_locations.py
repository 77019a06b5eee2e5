"""Finding shards: on disk, in S3 (moto, through s3fs), behind http servers, on a hub, and in fsspec's memory."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.s3_server import S3, serve_s3
from shards.errors import ShardError
from shards.storage.locations import ShardFile, cache_home, expand_braces, find_tars, read_bytes, stat_tar
from shards.storage.retries import AccessRefused, FileMissing
from tests.hub import TOKEN, start_client
from tests.hub import serve as serve_hub

NAMES = [f"{number:05d}.tar" for number in range(12)]
STORES = ("local", "s3", "http", "memory")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def store() -> Iterator[S3]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with serve_s3() as server, server.environment():
        server.make_bucket("shards")
        yield server


@pytest.fixture
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[str, bytes], object]]]:
    """Return the URL of an empty folder in a store, and a function that writes a file to it."""
    if request.param == "s3":
        bucket = request.getfixturevalue("store")
        yield f"s3://shards/{tmp_path.name}", lambda name, data: bucket.put("shards", f"{tmp_path.name}/{name}", data)
    elif request.param == "http":
        handler = partial(Quiet, directory=str(tmp_path))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", lambda name, data: (tmp_path / name).write_bytes(data)
        finally:
            server.shutdown()
            server.server_close()
    elif request.param == "memory":
        yield f"memory://{tmp_path}", lambda name, data: fsspec.filesystem("memory").pipe(f"{tmp_path}/{name}", data)
    else:
        yield str(tmp_path), lambda name, data: (tmp_path / name).write_bytes(data)


@pytest.mark.parametrize("empty", STORES, indirect=True)
def test_all_notations_find_the_same_shards(empty: tuple[str, Callable[[str, bytes], object]]) -> None:
    root, put = empty
    for name in NAMES:
        put(name, name.encode() * 3)
        put(name.replace(".tar", ".parquet"), b"an index")
    expected = [f"{root.rstrip('/')}/{name}" for name in NAMES]
    ways: list[str | list[str]] = [
        f"{root}/*.tar", f"{root}/0*", f"{root}/{{00000..00011}}.tar", f"{root}/000{{00..11}}.tar",
        f"{root}/000{{0,1}}{{0..9}}.tar", expected, root, f"{root}/",
        [f"{root}/0000*.tar", f"{root}/{{00010,00011}}.tar"],
    ]  # fmt: skip
    if not root.startswith("http"):
        ways.append(f"{root}/000??.tar")
    for way in ways:
        if way == f"{root}/000{{0,1}}{{0..9}}.tar":
            with pytest.raises(ShardError, match=r"8 of 20 shards are not there, the first is \S+/00012\.tar$"):
                find_tars(way)
            continue
        tars = find_tars(way)
        assert [tar.url for tar in tars] == expected, way
        assert [tar.size for tar in tars] == [27] * 12
        assert [tar.name for tar in tars] == NAMES
        assert tars == [stat_tar(tar.url) for tar in tars]
    (tar,) = find_tars(f"{root}/00007.tar")
    assert tar == tars[7]
    assert (tar.local is None) == ("://" in root)
    assert read_bytes(tar.url) == b"00007.tar" * 3
    assert read_bytes(tar.sibling(".parquet")) == b"an index"
    with pytest.raises(FileMissing, match=r"^\S+/00007\.idx: there is no such file$"):
        read_bytes(tar.sibling(".idx"))


@pytest.mark.parametrize("empty", STORES, indirect=True)
def test_a_folder_yields_only_its_finished_shards(
    empty: tuple[str, Callable[[str, bytes], object]],
) -> None:
    root, put = empty
    for name in NAMES[:3]:
        put(name, b"x")
    put("00001_stats.json", b"{}")
    assert [tar.name for tar in find_tars(root)] == ["00001.tar"]
    put("00000_stats.json", b"{}")
    assert [tar.name for tar in find_tars(root)] == ["00000.tar", "00001.tar"]
    assert [tar.name for tar in find_tars(f"{root}/*.tar")] == NAMES[:3]
    put("00009_stats.json", b"{}")
    with pytest.raises(ShardError, match=r"00009\.tar: is missing, although its stats file exists"):
        find_tars(root)


@pytest.mark.parametrize("empty", STORES, indirect=True)
def test_new_content_is_a_new_version(empty: tuple[str, Callable[[str, bytes], object]]) -> None:
    root, put = empty
    put("a.tar", b"one")
    (before,) = find_tars(root)
    assert stat_tar(before.url) == before
    put("a.tar", b"four")
    (after,) = find_tars(root)
    assert after.version != before.version
    assert stat_tar(before.url) == after


@pytest.mark.parametrize("empty", STORES, indirect=True)
def test_a_missing_shard_is_an_error_of_one_line(empty: tuple[str, Callable[[str, bytes], object]]) -> None:
    root, put = empty
    put("readme.txt", b"x")
    for place, message in [
        ("", "no shard (a file *.tar) is there"),
        ("/*.tar", "no shard (a file *.tar) is there"),
        ("/none.tar", "there is no such file or folder"),
        ("/none/", "there is no such file or folder"),
        ("/{0..1}.tar", "2 of 2 shards are not there, the first is "),
    ]:
        with pytest.raises(ShardError) as caught:
            find_tars(root + place)
        assert str(caught.value).startswith(f"{root}{place}: {message}")
        assert "\n" not in str(caught.value)


def test_a_wrong_location_is_an_error_of_one_line(store: S3, tmp_path: Path) -> None:
    for place, message in [
        ("s3://no-such-bucket/train", "there is no such file or folder (The specified bucket does not exist)"),
        ("gs://bucket/train", "the backend of gs:// is not installed: pip install gcsfs"),
        ("what://bucket/train", "Protocol not known: what"),
    ]:
        with pytest.raises(ShardError) as caught:
            find_tars(place)
        assert str(caught.value) == f"{place}: {message}"
    with pytest.raises(ShardError, match="the list of places is empty"):
        find_tars([])
    (tmp_path / "a.tar").write_bytes(b"x")
    with pytest.raises(ShardError, match=r"a\.tar: named twice"):
        find_tars([tmp_path, tmp_path / "a.tar"])


def test_refused_access_is_an_error_of_one_line(store: S3) -> None:
    store.put("shards", "closed/0.tar", b"x")
    store.refuse_everyone()
    try:
        for place in ("s3://shards/closed", "s3://shards/closed/0.tar", "s3://shards/closed/{0..1}.tar"):
            with pytest.raises(ShardError) as caught:
                find_tars(place)
            assert ": access is refused (" in str(caught.value)
            assert "\n" not in str(caught.value)
            assert place.partition("{")[0] in str(caught.value)
        with pytest.raises(ShardError, match="access is refused"):
            read_bytes("s3://shards/closed/0.tar")
        with pytest.raises(AccessRefused):
            read_bytes("s3://shards/closed/1.tar")
    finally:
        store.refuse_everyone(False)


def test_named_shards_need_no_right_to_list(store: S3) -> None:
    for number in range(20):
        store.put("shards", f"named/{number:02d}.tar", b"x")
    reader = store.make_reader("s3:GetObject")
    store.refuse_everyone()
    try:
        with store.environment(**reader):
            with pytest.raises(ShardError, match="access is refused"):
                find_tars("s3://shards/named")
            assert len(find_tars("s3://shards/named/{00..19}.tar")) == 20
    finally:
        store.refuse_everyone(False)


def test_many_names_cost_one_listing(store: S3) -> None:
    for number in range(40):
        store.put("shards", f"many/{number:02d}.tar", b"x")
    before = len(store.requests())
    assert len(find_tars("s3://shards/many/{00..39}.tar")) == 40
    assert len(store.requests()) - before == 1


def test_missing_credentials_are_not_retried(store: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.environment(AWS_EC2_METADATA_DISABLED="true"):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        before = len(store.requests())
        with pytest.raises(ShardError, match=r"access is refused \(NoCredentialsError: Unable to locate credentials\)"):
            find_tars("s3://shards/x")
        assert len(store.requests()) == before


def test_shards_are_found_on_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    (tmp_path / "files").mkdir()
    for name in NAMES[:3]:
        (tmp_path / "files" / name).write_bytes(name.encode())
    code = """
from shards.storage.shard_cache import ShardCache
from shards.storage.locations import find_tars
ways = [find_tars("hf://me/shards" + way) for way in ("", "/", "/*.tar", "/{00000..00002}.tar")]
assert ways == [ways[0]] * 4
for tar in ways[0]:
    print(tar.url, tar.size, ShardCache().path(tar).read_text())
"""
    with serve_hub() as hub:
        hub.push("me/shards", tmp_path / "files")
        client = start_client(code, hub.url, tmp_path / "home", {"HF_TOKEN": TOKEN, "SHARDMILL_CACHE": str(tmp_path)})
        output, errors = client.communicate(timeout=60)
    assert output == "".join(f"hf://me/shards/{name} 9 {name}\n" for name in NAMES[:3]), errors


def test_an_unreachable_server_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.storage.retries._FIRST_WAIT_S", 0.001)
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        place = f"http://127.0.0.1:{server.server_address[1]}/0.tar"
    with pytest.raises(ShardError, match=r"/0\.tar: cannot be read \(ConnectionRefusedError"):
        find_tars(place)


@pytest.mark.parametrize("empty", ["http"], indirect=True)
def test_a_url_keeps_its_query(empty: tuple[str, Callable[[str, bytes], object]]) -> None:
    root, put = empty
    put("00003.tar", b"data")
    (tar,) = find_tars(f"{root}/00003.tar?signature=a/b*")
    assert (tar.name, tar.size) == ("00003.tar", 4)
    assert tar.sibling("_stats.json") == f"{root}/00003_stats.json?signature=a/b*"


def test_links_are_followed_and_duplicates_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for name in ("a", "b"):
        (store / f"{name}.tar").write_bytes(name.encode())
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "0.tar").write_bytes(b"0")
    for number, name in enumerate("ab", 1):
        (folder / f"{number}.tar").symlink_to(store / f"{name}.tar")
    (folder / "no.tar").symlink_to(tmp_path)  # a folder
    for way in (folder, f"{folder}/*.tar", f"{folder}/{{0..2}}.tar"):
        assert [(tar.name, tar.size) for tar in find_tars(way)] == [("0.tar", 1), ("1.tar", 1), ("2.tar", 1)], way
    for again in (store / "a.tar", folder / ".." / "links" / "1.tar"):
        with pytest.raises(ShardError, match=r"named twice"):
            find_tars([folder / "1.tar", again])
    (store / "b.tar").unlink()
    with pytest.raises(ShardError, match=r"2\.tar: cannot be read: .*No such file"):
        find_tars(folder)


def test_local_names_may_contain_pattern_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run {a,b} [1] *"
    folder.mkdir()
    (folder / "x{0..1}.tar").write_bytes(b"x")
    assert [tar.url for tar in find_tars(folder)] == [str(folder / "x{0..1}.tar")]
    assert [tar.url for tar in find_tars(folder / "x{0..1}.tar")] == [str(folder / "x{0..1}.tar")]
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_tars(".") == find_tars(f"file://{folder}") == find_tars(f"~/{folder.name}")


@pytest.mark.parametrize(
    "pattern",
    [
        "{00..12}",
        "{8..11}",
        "{08..11}",
        "{0..90..10}",
        "{3..1}",
        "a{0..1}b{x,yy}c",
        "{000..4..2}",
        "none",
        "{a}",
        "{,s}",
    ],
)
def test_braces_expand_as_in_bash(pattern: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash to compare with")
    expanded = subprocess.run([bash, "-c", f"printf '%s\\n' x{pattern}"], capture_output=True, text=True, check=True)
    assert expand_braces(f"x{pattern}") == expanded.stdout.splitlines()


@given(st.integers(0, 2000), st.integers(0, 300), st.integers(1, 50), st.integers(4, 7))
def test_number_ranges_expand(first: int, span: int, step: int, width: int) -> None:
    last = first + span
    pattern = f"s3://b/{{{first:0{width}d}..{last:0{width}d}..{step}}}.tar"
    assert expand_braces(pattern) == [f"s3://b/{n:0{width}d}.tar" for n in range(first, last + 1, step)]


def test_siblings_share_the_stem() -> None:
    assert ShardFile("/data/00012.tar", 1, "").sibling(".parquet") == "/data/00012.parquet"
    assert ShardFile("s3://b/p/00012.tar", 1, "").sibling("_stats.json") == "s3://b/p/00012_stats.json"
    assert ShardFile("/data/what?.tar", 1, "").name == "what?.tar"


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SHARDMILL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_home() == tmp_path / ".cache" / "shardmill"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home() == tmp_path / "xdg" / "shardmill"
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "ours"))
    assert cache_home() == tmp_path / "ours"
