"""Tests of banks from a server: failures on the way do not change them, and errors name what is missing."""

import json
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
from engine.prompts.llm.bank_jobs import write_prompts
from engine.prompts.llm.bank_writer import response_cache_path
from engine.prompts.llm.response_parser import contains_name, deduplication_key
from engine.prompts.prompt_bank import read_bank
from tests.conftest import ROOT, Jobs
from tests.engine.prompts.llm.conftest import MakeSpec, silent
from tests.engine.prompts.llm.fake_chat_server import ChatRequest, ChatServer, serving, write

BACKENDS = ("ollama", "openai")
FAILURES = ("429 0", "500", "malformed", "strange", "hangup", "endless", "dribble", "slow 3", "503 soon")
KEY = "sk-canary-4711-do-not-tell"


def cached_keys(out: Path) -> set[tuple[str, int]]:
    """Return topic and number of every response in the cache."""
    lines = response_cache_path(out).read_text().splitlines()[1:]
    return {(key, number) for line in lines for key, number, _, _ in json.loads(line)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_failures_of_a_server_do_not_change_the_bank(make_spec: MakeSpec, tmp_path: Path, backend: str) -> None:
    expected, out = tmp_path / "expected.parquet", tmp_path / "bank.parquet"
    with serving(write) as server:
        bank = write_prompts(make_spec(server.model(backend)), expected, silent)
    assert bank.missing == 0
    assert bank.rejected.keys() == {"duplicate", "class name missing", "refusal"}

    seeds: dict[int, int] = {}

    def fail(request: ChatRequest, nth: int) -> str:
        return FAILURES[seeds.setdefault(request.seed, len(seeds)) % len(FAILURES)] if nth == 0 else ""

    with serving(write, fail) as server:
        write_prompts(make_spec(server.model(backend, timeout_s=1.0, parallel=8)), out, silent)
        assert len(seeds) >= 2 * len(FAILURES)
        assert Counter(request.seed for request in server.finished).most_common(1)[0][1] <= 2
    assert out.read_bytes() == expected.read_bytes()


def test_rows_record_their_request(make_spec: MakeSpec, tmp_path: Path) -> None:
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
    requests = {(request.text, request.seed) for _, request in server.arrivals}
    assert {(row["instruction"], row["seed"]) for row in rows} <= requests
    assert {(row["model"], row["source"]) for row in rows} == {("writer", "")}
    assert read_bank(out)["dog"] == [(row["prompt"], "") for row in rows if row["class_name"] == "dog"]


def test_a_larger_bank_asks_only_for_more(make_spec: MakeSpec, tmp_path: Path) -> None:
    out, fresh = tmp_path / "bank.parquet", tmp_path / "fresh.parquet"
    with serving(write) as server:
        write_prompts(make_spec(server.model("openai")), out, silent)
        before = len(server.arrivals)
        write_prompts(make_spec(server.model("openai")), out, silent)
        assert len(server.arrivals) == before
        larger = make_spec(server.model("openai"), per_class=30)
        write_prompts(larger, out, silent)
        assert len({request.seed for _, request in server.arrivals}) == len(server.arrivals)
        write_prompts(larger, fresh, silent)
    assert fresh.read_bytes() == out.read_bytes()


def test_an_incomplete_bank_names_what_is_missing(make_spec: MakeSpec, tmp_path: Path) -> None:
    out = tmp_path / "bank.parquet"

    def unwilling(request: ChatRequest) -> str:
        return "I cannot talk about a dog." if request.text.endswith("dog") else write(request)

    with serving(unwilling) as server, pytest.raises(BankIncomplete, match=r"dog: 0 of 25 \(28 refusal\)") as caught:
        write_prompts(make_spec(server.model("ollama")), out, silent)
    assert "cat:" not in str(caught.value)
    assert str(response_cache_path(out)) in str(caught.value)
    assert not out.exists()
    kept = cached_keys(out)
    with serving(write) as server:
        assert write_prompts(make_spec(server.model("ollama"), patience=10), out, silent).missing == 0
        assert {request.text.rpartition(" ")[2] for _, request in server.arrivals} == {"dog"}
    assert kept < cached_keys(out)


def test_responses_survive_a_server_that_stays_broken(make_spec: MakeSpec, tmp_path: Path) -> None:
    expected, out = tmp_path / "expected.parquet", tmp_path / "bank.parquet"
    lines: list[str] = []
    with serving(write) as server:
        write_prompts(make_spec(server.model("openai")), expected, silent)
    with serving(write, lambda request, nth: "500" if request.text.endswith("dog") else "") as server:
        spec = make_spec(server.model("openai", attempts=3, parallel=1))
        with pytest.raises(AnswerError, match=r"^dog, request 0: .* after 3 attempts; last failure: HTTP 500"):
            write_prompts(spec, out, lines.append)
        assert len([1 for _, request in server.arrivals if request.text.endswith("dog")]) == 3
    assert [line for line in lines if "attempt 3 of 3" in line and "HTTP 500" in line]
    kept = len(cached_keys(out))
    assert kept >= 14
    with serving(write) as server:
        write_prompts(make_spec(server.model("openai")), out, silent)
        assert len(server.arrivals) == len(cached_keys(out)) - kept
    assert out.read_bytes() == expected.read_bytes()


def test_a_killed_job_resumes_without_repeating_questions(make_spec: MakeSpec, tmp_path: Path) -> None:
    expected, out = tmp_path / "expected.parquet", tmp_path / "bank.parquet"
    with serving(write) as server:
        write_prompts(make_spec(server.model("ollama")), expected, silent)
    with serving(write, lambda request, nth: "slow 0.1") as server:
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
    assert out.read_bytes() == expected.read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_ctrl_c_stops_a_job_at_once(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(write, lambda request, nth: "slow 15") as server:
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


def test_retry_after_and_the_rate_limit_hold(make_spec: MakeSpec, tmp_path: Path) -> None:
    def be_busy_once(request: ChatRequest, nth: int) -> str:
        return "429 1" if len(server.arrivals) == 1 else ""

    with serving(write, be_busy_once) as server:
        spec = make_spec(server.model("openai", parallel=1, requests_per_minute=1200), per_class=8)
        write_prompts(spec, tmp_path / "bank.parquet", silent)
        times = [arrival for arrival, _ in server.arrivals]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] >= 0.99
    assert (times[-1] - times[1]) / (len(times) - 2) >= 0.049


def test_requests_run_in_parallel_up_to_the_limit(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(write, lambda request, nth: "slow 0.05") as server:
        write_prompts(make_spec(server.model("openai", parallel=3)), tmp_path / "bank.parquet", silent)
    assert server.most_at_once == 3


def test_a_too_long_retry_after_is_an_error(make_spec: MakeSpec, tmp_path: Path) -> None:
    date = "Fri, 31 Dec 2199 23:59:59 GMT"
    for value in ("86400", date):
        with serving(write, lambda request, nth, value=value: f"429 {value}") as server:  # type: ignore[misc]
            with pytest.raises(AnswerError, match="HTTP 429"):
                write_prompts(make_spec(server.model("openai", parallel=1)), tmp_path / f"{value[:3]}.parquet", silent)
            assert len(server.arrivals) == 1


@pytest.mark.parametrize(
    ("status", "advice"), [(401, r"\$SHARDMILL_TEST_KEY"), (403, r"\$SHARDMILL"), (404, "model.name")]
)
def test_permanent_failures_are_not_retried(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, advice: str
) -> None:
    monkeypatch.setenv("SHARDMILL_TEST_KEY", KEY)
    with serving(write, lambda request, nth: str(status)) as server:
        spec = make_spec(server.model("openai", parallel=1, api_key_env="SHARDMILL_TEST_KEY"))
        with pytest.raises(ModelError, match=rf"returned HTTP {status} .*{advice}"):
            write_prompts(spec, tmp_path / "bank.parquet", silent)
        assert len(server.arrivals) == 1


def test_a_missing_server_is_named(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(write) as server:
        spec = make_spec(server.model("ollama", attempts=2))
    with pytest.raises(
        AnswerError, match=rf"from http://127.0.0.1:{server.port}/api/chat after 2 attempts.*ConnectError"
    ):
        write_prompts(spec, tmp_path / "bank.parquet", silent)


def test_the_key_is_sent_and_never_shown(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARDMILL_TEST_KEY", f"  {KEY}\n")

    def repeat_key(request: ChatRequest) -> str:
        return write(request) + f"\n9. A cat, a dog and a sea lion, {request.authorization}"

    lines: list[str] = []
    with serving(repeat_key, lambda request, nth: "500" if nth == 0 else "") as server:
        spec = make_spec(server.model("openai", api_key_env="SHARDMILL_TEST_KEY"))
        lines.append(str(write_prompts(spec, tmp_path / "bank.parquet", lines.append)))
        assert {request.authorization for _, request in server.arrivals} == {f"Bearer {KEY}"}
    rows = pq.read_table(tmp_path / "bank.parquet").to_pylist()
    assert [row for row in rows if "sea lion, Bearer" in row["prompt"]]
    output = "".join(lines) + json.dumps(rows) + response_cache_path(tmp_path / "bank.parquet").read_text()
    assert "Bearer ***" in "".join(lines)
    assert KEY not in output + "".join(capfd.readouterr())
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("value", [None, "", "  \n", "schlüssel-" + KEY, "a\nb" + KEY])
def test_an_invalid_key_is_refused_without_showing_it(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("SHARDMILL_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SHARDMILL_TEST_KEY", value)
    spec = make_spec(ChatServer(write, port=9).model("openai", api_key_env="SHARDMILL_TEST_KEY"))
    with pytest.raises(SpecError, match="SHARDMILL_TEST_KEY") as caught:
        write_prompts(spec, tmp_path / "bank.parquet", silent)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "url", "messages"),
    [
        (
            "my key",
            "host/v1",
            ["model.api_key_env: must be the name of an environment", "model.url: must be like http"],
        ),
        (KEY, "http://host/v1", ["model.api_key_env: looks like an API key"]),
        ("VARIABLE", f"http://me:{KEY}@host/v1", ["model.url: looks like"]),
    ],
)
def test_the_command_names_every_mistake(env: str, url: str, messages: list[str], jobs: Jobs, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    model = {"backend": "openai", "name": "x", "api_key_env": env, "url": url}
    spec.write_text(yaml.safe_dump({"name": "t", "classes": ["cat"], "instruction": "{klass}", "model": model}))
    result = jobs("prompts", spec, "--out", tmp_path / "bank.parquet")
    assert result.returncode == 2
    assert all(message in result.stderr for message in messages), result.stderr
    assert KEY not in result.stdout + result.stderr
