"""The trace of a run."""

import json
from pathlib import Path

from engine.monitoring.trace import merge_profiles, trace_events, write_profile
from engine.profiling import STAGES
from engine.worker.attempts import first_attempts
from engine.worker.runner import Runner
from engine.worker.unit_stats import Timeline
from tests.engine import small_run
from tests.engine.fakes import FakeGenerator


def test_it_has_every_unit_and_its_events_in_order(tmp_path: Path) -> None:
    run = small_run.begin(tmp_path)
    with Runner(run.context, FakeGenerator(4, 16), run.shards) as runner:
        offered = [runner.offer(first_attempts(run.context, number)) for number in range(small_run.UNITS)]
        runner.run()
    for unit in offered:
        written = unit.result()
        written.publish()
        write_profile(run.store, written.shard, written.timeline)
    assert merge_profiles(run.store) == f"{run.store}/profile.json"
    events = json.loads(run.store.read("profile.json"))["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["args"]["unit"] for event in spans} == {f"{number:05d}" for number in range(small_run.UNITS)}
    times = [event["ts"] for event in spans]
    assert times == sorted(times)
    assert times[0] == 0
    assert all(event["dur"] >= 0 and isinstance(event["tid"], int) and event["pid"] == 1 for event in spans)
    assert {event["name"] for event in spans} == {"denoise", "encode", "commit", "wait"} <= set(STAGES)
    named = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {named[event["tid"]] for event in spans if event["name"] in ("denoise", "wait")} == {"device"}
    assert {"device", "encode_0", "write_0", "publish"} <= set(named.values())


def test_actors_are_distinct_and_share_one_clock() -> None:
    def unit(shard: str, actor: str, start: float) -> dict[str, object]:
        return {"shard": shard, "actor": actor, "lanes": {"device": [["denoise", start, start + 0.25]]}}

    events = trace_events(
        [unit("00001", "b 7", 1.7e9 + 2), unit("00000", "a 7", 1.7e9 + 1.5), unit("00002", "b 7", 1.7e9 + 3)]
    )
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    spans = [event for event in events if event["ph"] == "X"]
    assert [(names[span["pid"]], span["ts"], span["dur"], span["args"]["unit"]) for span in spans] == [
        ("a 7", 0.0, 250_000.0, "00000"),
        ("b 7", 500_000.0, 250_000.0, "00001"),
        ("b 7", 1_500_000.0, 250_000.0, "00002"),
    ]
    assert trace_events([]) == []


def test_a_resumed_run_keeps_its_earlier_units(tmp_path: Path) -> None:
    run = small_run.begin(tmp_path)
    for shard in ("00000", "00001"):
        timeline = Timeline()
        with timeline.timer("publish").time("commit"):
            pass
        write_profile(run.store, shard, timeline)
        merge_profiles(run.store)
    events = json.loads(run.store.read("profile.json"))["traceEvents"]
    assert [event["args"]["unit"] for event in events if event["ph"] == "X"] == ["00000", "00001"]
