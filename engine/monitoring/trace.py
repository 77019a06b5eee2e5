"""A run as a trace: when each device and each thread did what.

RUN/profile/00012.json  the spans of a unit, from the actor that made it
RUN/profile.json        all of them as Chrome's trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, "Complete Events".
"""

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from engine.worker.unit_stats import Timeline
from shards.storage.store import Store

NAME = "profile.json"
_FOLDER = "profile"
_MICRO = 1e6


def write_profile(store: Store, shard: str, timeline: Timeline) -> None:
    """Write the spans of a unit beside the shards of the run in a store. By the process that made it."""
    lanes = {
        name: [[span.stage, _epoch() + span.start, _epoch() + span.end] for span in timer.spans]
        for name, timer in timeline.timers.items()
    }
    content = {"shard": shard, "actor": f"{socket.gethostname()} {os.getpid()}", "lanes": lanes}
    (store / _FOLDER).replace(f"{shard}.json", json.dumps(content).encode())


def merge(store: Store) -> str:
    """Write RUN/profile.json from what the units left, of earlier commands too; gives its path."""
    folder = store / _FOLDER
    units = [json.loads(folder.read(name)) for name in folder.entries() if name.endswith(".json")]
    store.replace(NAME, json.dumps({"traceEvents": trace(units), "displayTimeUnit": "ms"}).encode())
    return f"{store}/{NAME}"


def trace(units: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Units as `write_profile` puts them, as events in the order of their times, which begin at 0."""
    found = list(units)
    actors = {name: number for number, name in enumerate(sorted({one["actor"] for one in found}), start=1)}
    lanes = {name: number for number, name in enumerate(dict.fromkeys(lane for one in found for lane in one["lanes"]))}
    events = [event for one in found for event in _events(one, actors[one["actor"]], lanes)]
    first = min((event["ts"] for event in events), default=0.0)
    for event in events:
        event["ts"] = round(event["ts"] - first, 1)
    return [*_names(actors, lanes), *sorted(events, key=lambda event: event["ts"])]


def _events(unit: dict[str, Any], actor: int, lanes: dict[str, int]) -> Iterator[dict[str, Any]]:
    for lane, spans in unit["lanes"].items():
        for stage, start, end in spans:
            when = {"ts": _MICRO * start, "dur": round(_MICRO * (end - start), 1)}
            yield {"name": stage, "ph": "X", "pid": actor, "tid": lanes[lane], **when, "args": {"unit": unit["shard"]}}


def _names(actors: dict[str, int], lanes: dict[str, int]) -> Iterator[dict[str, Any]]:
    for actor, pid in actors.items():
        yield {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": actor}}
        for lane, tid in lanes.items():
            yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": lane}}


@cache  # once, so that the clock of a process is never set while it is traced
def _epoch() -> float:
    """Unix time of the zero of `time.perf_counter`: processes and machines have nothing else in common."""
    return time.time() - time.perf_counter()
