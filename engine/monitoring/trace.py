"""A trace of a run: when each thread of each actor worked on which stage.

RUN/profile/00012.json  the spans of a unit, written by the actor that made it
RUN/profile.json        the spans of all units as Chrome trace events, which ui.perfetto.dev and chrome://tracing open

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, "Complete Events".
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from engine.worker.unit_stats import Timeline
from shards.storage.store import Store

NAME = "profile.json"
_FOLDER = "profile"
_MICROSECONDS = 1e6


def write_profile(store: Store, shard: str, timeline: Timeline) -> None:
    """Write the spans of a unit. The process that made it must call this."""
    lanes = {
        name: [[span.stage, _epoch() + span.start, _epoch() + span.end] for span in timer.spans]
        for name, timer in timeline.timers.items()
    }
    content = {"shard": shard, "actor": f"{socket.gethostname()} {os.getpid()}", "lanes": lanes}
    (store / _FOLDER).replace(f"{shard}.json", json.dumps(content).encode())


def merge_profiles(store: Store) -> str:
    """Write RUN/profile.json from the spans of all units, also of earlier commands. Return its path."""
    folder = store / _FOLDER
    units = [json.loads(folder.read(name)) for name in folder.entries() if name.endswith(".json")]
    store.replace(NAME, json.dumps({"traceEvents": trace_events(units), "displayTimeUnit": "ms"}).encode())
    return f"{store}/{NAME}"


def trace_events(units: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of units as `write_profile` wrote them, sorted by time; the first begins at 0."""
    actors = {name: number for number, name in enumerate(sorted({unit["actor"] for unit in units}), start=1)}
    lane_names = dict.fromkeys(lane for unit in units for lane in unit["lanes"])
    lanes = {name: number for number, name in enumerate(lane_names)}
    events = [event for unit in units for event in _span_events(unit, actors[unit["actor"]], lanes)]
    first = min((event["ts"] for event in events), default=0.0)
    for event in events:
        event["ts"] = round(event["ts"] - first, 1)
    return [*_name_events(actors, lanes), *sorted(events, key=lambda event: event["ts"])]


def _span_events(unit: dict[str, Any], actor: int, lanes: dict[str, int]) -> Iterator[dict[str, Any]]:
    for lane, spans in unit["lanes"].items():
        for stage, start, end in spans:
            times = {"ts": _MICROSECONDS * start, "dur": round(_MICROSECONDS * (end - start), 1)}
            yield {"name": stage, "ph": "X", "pid": actor, "tid": lanes[lane], **times, "args": {"unit": unit["shard"]}}


def _name_events(actors: dict[str, int], lanes: dict[str, int]) -> Iterator[dict[str, Any]]:
    for actor, pid in actors.items():
        yield {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": actor}}
        for lane, tid in lanes.items():
            yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": lane}}


@cache  # once per process, so that setting the clock does not shift spans against each other
def _epoch() -> float:
    """Return the Unix time of the zero of `time.perf_counter`, because only Unix time is common to all processes."""
    return time.time() - time.perf_counter()
