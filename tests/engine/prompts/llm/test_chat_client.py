"""A bank from a server is whole and the same, whatever happens on the way; or the error says what is missing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from engine.errors import AnswerError, BankIncomplete, ModelError, SpecError
from engine.prompts.llm.response_parser import contains_name, deduplication_key
from engine.prompts.llm.bank_writer import response_cache_path
from engine.prompts.llm.prompt_job import write_prompts
from engine.prompts.prompt_bank import read_bank
from tests.conftest import ROOT
from tests.engine.prompts.llm.fake_chat_server import Asked, ChatServer, serving, write
from tests.engine.prompts.llm.conftest import MakeSpec

BACKENDS = ("ollama", "openai")
TROUBLES = ("429 0", "500", "malformed", "strange", "hangup", "endless", "dribble", "slow 3", "503 soon")
CANARY = "sk-canary-4711-do-not-tell"


def silent(line: str) -> None:
    """A log that nobody reads."""


def cached_keys(out: Path) -> set[tuple[str, int]]:
    """Topic and number of every answer that is safe."""
    lines = response_cache_path(out).read_text().splitlines()[1:]
    return {(key, number) for line in lines for key, number, _, _ in json.loads(line)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_troubled_server_gives_the_bank_of_an_undisturbed_one(
    make_spec: MakeSpec, tmp_path: Path, backend: str
) -> None:
    calm, troubled = tmp_path / "calm.parquet", tmp_path / "troubled.parquet"
    with serving(write) as server:
        bank = write_prompts(make_spec(server.model(backend)), calm, silent)
    assert bank.missing == 0
    assert bank.rejected.keys() == {"duplicate", "class name missing", "refusal"}

    seeds: dict[int, int] = {}

    def trouble(asked: Asked, nth: int) -> str:
        return TROUBLES[seeds.setdefault(asked.seed, len(seeds)) % len(TROUBLES)] if nth == 0 else ""

    with serving(write, trouble) as server:
        write_prompts(make_spec(server.model(backend, timeout_s=1.0, parallel=8)), troubled, silent)
        assert len(seeds) >= 2 * len(TROUBLES)
        assert Counter(asked.seed for asked in server.finished).most_common(1)[0][1] <= 2
    assert troubled.read_bytes() == calm.read_bytes()


def test_the_rows_are_what_was_asked_for(make_spec: MakeSpec, tmp_path: Path) -> None:
    out = tmp_path / "new" / "bank.parquet"
    with serving(write) as server:
        spec = make_spec(server.model("ollama"))
        write_prompts(spec, out, silent)
    rows = pq.read_table(out).to_pylist()
    assert [row["class_name"] for row in rows] == [name for name in spec.classes or () for _ in range(25)]
    for name in spec.classes or ():
        texts = [row["prompt"] for row in rows if row["class_name"] == name]
        assert len({deduplication_key(text) for text in texts}) == 25
        assert all(contains_name(text, [name]) and text[0] == "A" and "*" not in text for text in texts)
    asked = {(found.text, found.seed) for _, found in server.arrivals}
    assert {(row["instruction"], row["seed"]) for row in rows} <= asked
    assert {(row["model"], row["source"]) for row in rows} == {("writer", "")}
    assert read_bank(out)["dog"] == [(row["prompt"], "") for row in rows if row["class_name"] == "dog"]


def test_a_finished_bank_asks_nothing_and_a_larger_one_goes_on(make_spec: MakeSpec, tmp_path: Path) -> None:
    out, fresh = tmp_path / "bank.parquet", tmp_path / "fresh.parquet"
    with serving(write) as server:
        write_prompts(make_spec(server.model("openai")), out, silent)
        before = len(server.arrivals)
        write_prompts(make_spec(server.model("openai")), out, silent)
        assert len(server.arrivals) == before
        larger = make_spec(server.model("openai"), per_class=30)
        write_prompts(larger, out, silent)
        assert len({asked.seed for _, asked in server.arrivals}) == len(server.arrivals)
        write_prompts(larger, fresh, silent)
    assert fresh.read_bytes() == out.read_bytes()


def test_what_is_missing_is_named_and_the_rest_kept(make_spec: MakeSpec, tmp_path: Path) -> None:
    out = tmp_path / "bank.parquet"

    def unwilling(asked: Asked) -> str:
        return "I cannot talk about a dog." if asked.text.endswith("dog") else write(asked)

    with serving(unwilling) as server, pytest.raises(BankIncomplete, match=r"dog: 0 of 25 \(28 refusal\)") as caught:
        write_prompts(make_spec(server.model("ollama")), out, silent)
    assert "cat:" not in str(caught.value)
    assert str(response_cache_path(out)) in str(caught.value)
    assert not out.exists()
    kept = cached_keys(out)
    with serving(write) as server:
        assert write_prompts(make_spec(server.model("ollama"), patience=10), out, silent).missing == 0
        assert {asked.text.rpartition(" ")[2] for _, asked in server.arrivals} == {"dog"}
    assert kept < cached_keys(out)


def test_a_server_that_stays_broken_costs_nothing_that_was_answered(make_spec: MakeSpec, tmp_path: Path) -> None:
    calm, out = tmp_path / "calm.parquet", tmp_path / "bank.parquet"
    lines: list[str] = []
    with serving(write) as server:
        write_prompts(make_spec(server.model("openai")), calm, silent)
    with serving(write, lambda asked, nth: "500" if asked.text.endswith("dog") else "") as server:
        spec = make_spec(server.model("openai", attempts=3, parallel=1))
        with pytest.raises(AnswerError, match=r"^dog, request 0: .* 3 attempts, the last time: HTTP 500"):
            write_prompts(spec, out, lines.append)
        assert len([1 for _, asked in server.arrivals if asked.text.endswith("dog")]) == 3
    assert [line for line in lines if "attempt 3 of 3" in line and "HTTP 500" in line]
    kept = len(cached_keys(out))
    assert kept >= 14
    with serving(write) as server:
        write_prompts(make_spec(server.model("openai")), out, silent)
        assert len(server.arrivals) == len(cached_keys(out)) - kept
    assert out.read_bytes() == calm.read_bytes()


def test_a_killed_job_goes_on_without_asking_again(make_spec: MakeSpec, tmp_path: Path) -> None:
    calm, out = tmp_path / "calm.parquet", tmp_path / "bank.parquet"
    with serving(write) as server:
        write_prompts(make_spec(server.model("ollama")), calm, silent)
    with serving(write, lambda asked, nth: "slow 0.1") as server:
        spec = tmp_path / "spec.yaml"
        content = make_spec(server.model("ollama", parallel=2)).model_dump(mode="json")
        spec.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-m", "jobs", "prompts", str(spec), "--out", str(out)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and len(server.finished) < 6:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.communicate()[1] == ""
        assert process.returncode == -signal.SIGKILL
        assert not out.exists()
        kept, before = cached_keys(out), len(server.arrivals)
        assert kept
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert "75 prompts" in done.stdout
        assert len(server.arrivals) - before == len(cached_keys(out)) - len(kept)
    assert out.read_bytes() == calm.read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_ctrl_c_ends_a_job_at_once_and_says_how_to_go_on(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(write, lambda asked, nth: "slow 15") as server:
        spec = tmp_path / "spec.yaml"
        spec.write_text(yaml.safe_dump(make_spec(server.model("openai", timeout_s=60.0)).model_dump(mode="json")))
        command = [sys.executable, "-m", "jobs", "prompts", str(spec), "--out", str(tmp_path / "bank.parquet")]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )  # fmt: skip
        while process.poll() is None and not server.arrivals:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1] == "stopped; run the same command again to go on\n"
        assert process.returncode == 130
        assert not server.finished


def test_retry_after_is_heeded_by_all_and_the_rate_is_kept(make_spec: MakeSpec, tmp_path: Path) -> None:
    def busy(asked: Asked, nth: int) -> str:
        return "429 1" if len(server.arrivals) == 1 else ""

    with serving(write, busy) as server:
        spec = make_spec(server.model("openai", parallel=1, requests_per_minute=1200), per_class=8)
        write_prompts(spec, tmp_path / "bank.parquet", silent)
        times = [at for at, _ in server.arrivals]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] >= 0.99
    assert (times[-1] - times[1]) / (len(times) - 2) >= 0.049


def test_so_many_requests_at_once_and_no_more(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(write, lambda asked, nth: "slow 0.05") as server:
        write_prompts(make_spec(server.model("openai", parallel=3)), tmp_path / "bank.parquet", silent)
    assert server.most_at_once == 3


def test_a_wait_that_is_too_long_is_an_error_at_once(make_spec: MakeSpec, tmp_path: Path) -> None:
    date = "Fri, 31 Dec 2199 23:59:59 GMT"
    for value in ("86400", date):
        with serving(write, lambda asked, nth, value=value: f"429 {value}") as server:  # type: ignore[misc]
            with pytest.raises(AnswerError, match="HTTP 429"):
                write_prompts(make_spec(server.model("openai", parallel=1)), tmp_path / f"{value[:3]}.parquet", silent)
            assert len(server.arrivals) == 1


@pytest.mark.parametrize(
    ("status", "advice"), [(401, r"\$SHARDMILL_TEST_KEY"), (403, r"\$SHARDMILL"), (404, "model.name")]
)
def test_what_will_not_pass_is_not_tried_again(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, advice: str
) -> None:
    monkeypatch.setenv("SHARDMILL_TEST_KEY", CANARY)
    with serving(write, lambda asked, nth: str(status)) as server:
        spec = make_spec(server.model("openai", parallel=1, api_key_env="SHARDMILL_TEST_KEY"))
        with pytest.raises(ModelError, match=rf"answers {status} .*{advice}"):
            write_prompts(spec, tmp_path / "bank.parquet", silent)
        assert len(server.arrivals) == 1


def test_no_server_is_an_error_that_says_where(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(write) as server:
        spec = make_spec(server.model("ollama", attempts=2))
    with pytest.raises(
        AnswerError, match=rf"127.0.0.1:{server.port}/api/chat gave no answer in 2 attempts.*ConnectError"
    ):
        write_prompts(spec, tmp_path / "bank.parquet", silent)


def test_the_key_is_sent_and_stands_nowhere(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARDMILL_TEST_KEY", f"  {CANARY}\n")

    def nosy(asked: Asked) -> str:  # as the server does in its errors
        return write(asked) + f"\n9. A cat, a dog and a sea lion, {asked.authorization}"

    lines: list[str] = []
    with serving(nosy, lambda asked, nth: "500" if nth == 0 else "") as server:
        spec = make_spec(server.model("openai", api_key_env="SHARDMILL_TEST_KEY"))
        lines.append(str(write_prompts(spec, tmp_path / "bank.parquet", lines.append)))
        assert {asked.authorization for _, asked in server.arrivals} == {f"Bearer {CANARY}"}
    rows = pq.read_table(tmp_path / "bank.parquet").to_pylist()
    assert [row for row in rows if "sea lion, Bearer" in row["prompt"]]
    written = "".join(lines) + json.dumps(rows) + response_cache_path(tmp_path / "bank.parquet").read_text()
    assert "Bearer ***" in "".join(lines)
    assert CANARY not in written + "".join(capfd.readouterr())
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("value", [None, "", "  \n", "schlüssel-" + CANARY, "a\nb" + CANARY])
def test_a_key_that_is_none_is_a_spec_error_without_the_key(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("SHARDMILL_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SHARDMILL_TEST_KEY", value)
    spec = make_spec(ChatServer(write, port=9).model("openai", api_key_env="SHARDMILL_TEST_KEY"))
    with pytest.raises(SpecError, match="SHARDMILL_TEST_KEY") as caught:
        write_prompts(spec, tmp_path / "bank.parquet", silent)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "url", "said"),
    [
        (
            "my key",
            "host/v1",
            ["model.api_key_env: must be the name of an environment", "model.url: must be like http"],
        ),
        (CANARY, "http://host/v1", ["model.api_key_env: looks like an API key"]),
        ("KEY", f"http://me:{CANARY}@host/v1", ["model.url: looks like"]),
    ],
)
def test_the_command_line_names_what_is_wrong(env: str, url: str, said: list[str], tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    model = {"backend": "openai", "name": "x", "api_key_env": env, "url": url}
    spec.write_text(yaml.safe_dump({"name": "t", "classes": ["cat"], "instruction": "{klass}", "model": model}))
    command = [sys.executable, "-m", "jobs", "prompts", str(spec), "--out", str(tmp_path / "bank.parquet")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert found.returncode == 2
    assert all(text in found.stderr for text in said), found.stderr
    assert CANARY not in found.stdout + found.stderr
