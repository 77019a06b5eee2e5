"""The runner of one unit, from slots to a finished shard."""

import json
import tarfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.output_spec import ImageSpec, OutputSpec
from engine.config.prompts_spec import PromptsSpec
from engine.config.spec import PlanSpec, Spec
from engine.generators.generator import Images, Request
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.profiling import DEVICE, STAGES, Span, gaps
from engine.run.image_shape import image_shape
from engine.run.plan import make_plan
from engine.run.run import Run
from engine.run.run_context import RunContext
from engine.worker.runner import make_sample, run_unit
from shards import ShardStream
from shards.codec import decode_mask, decode_rgb
from shards.errors import CommitConflict
from shards.storage.commit import sha256_of
from shards.storage.manifest import read_index_rows
from shards.storage.open_store import open_store
from shards.tools.verify import verify_folder
from tests.engine.fakes import CountingGenerator, FakeGenerator

CLASSES = ("cat", "sea lion", "größe")


def make_context(per_shard: int = 7, format: str = "png", **plan: int) -> RunContext:
    spec = Spec(
        name="x",
        classes=CLASSES,
        plan=PlanSpec(**({"per_class": 6} | plan)),  # type: ignore[arg-type]
        prompts=PromptsSpec(templates=('a "{size}" {class}',), attributes={"size": ("big", "{wee}")}),
        model=TextToImageSettings(source="fake", batch_size=4),
        output=OutputSpec(samples_per_shard=per_shard, image=ImageSpec(format=format)),  # type: ignore[arg-type]
    )
    return RunContext(spec, make_plan(spec, CLASSES, (0, 0, 0)))


def findings(context: RunContext, folder: Path) -> list[str]:
    plan = context.plan
    names = [plan.shard_name(n) for n in range(plan.n_units)]
    return [finding.text for finding in verify_folder(folder, plan.classes, names, plan.digest)]


def rejected_once(context: RunContext) -> set[int]:
    """Return the seeds of the first attempts at every third slot."""
    return {context.plan.seed_of(context.plan.slot(i), 0) for i in range(0, context.plan.total, 3)}


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_a_run_holds_what_its_plan_names(tmp_path: Path, format: str) -> None:
    context = make_context(format=format)
    for number in range(context.plan.n_units):
        run_unit(context, number, FakeGenerator(), tmp_path)
    assert findings(context, tmp_path) == []
    batch = ShardStream(tmp_path, shuffle=False).read(range(18))
    slots = {slot.key: slot for slot in map(context.plan.slot, range(18))}
    assert set(batch.key) == set(slots)
    assert [int(label) for label in batch.label] == [slots[key].label for key in batch.key]
    assert batch.synthetic.all()


def test_members_and_types_of_json_fields_are_always_equal(tmp_path: Path) -> None:
    context = make_context()
    run_unit(context, 0, FakeGenerator(), tmp_path)
    with tarfile.open(tmp_path / "00000.tar") as tar:
        members = tar.getmembers()
        read = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    keys = [context.plan.slot(i).key for i in range(7)]
    assert [m.name for m in members] == [f"{key}.{ext}" for key in keys for ext in ("png", "cls", "json", "txt")]
    assert {(m.mode, m.uid, m.gid, m.mtime) for m in members} == {(0o644, 0, 0, 0)}
    kinds = {tuple((name, type(value)) for name, value in json.loads(read[f"{key}.json"]).items()) for key in keys}
    assert len(kinds) == 1
    metadata = json.loads(read[f"{keys[0]}.json"])
    assert metadata["prompt"] == read[f"{keys[0]}.txt"].decode()
    assert metadata["synthetic"] is True
    assert (metadata["generation"], metadata["model"], metadata["license"], metadata["plan_digest"]) == (
        1,
        "fake",
        "apache-2.0",
        context.plan.digest,
    )
    assert json.loads(metadata["attributes"])["size"] in metadata["prompt"]


def test_equal_bytes_whatever_the_order_of_units(tmp_path: Path) -> None:
    context = make_context()
    for folder, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        (tmp_path / folder).mkdir()
        generator = FakeGenerator()
        for number in order:
            run_unit(context, number, generator, tmp_path / folder)
    for name in ("00000", "00001", "00002"):
        for kind in ("tar", "parquet"):
            assert sha256_of(tmp_path / f"a/{name}.{kind}") == sha256_of(tmp_path / f"b/{name}.{kind}")


def test_a_rejected_image_is_tried_again_in_its_slot(tmp_path: Path) -> None:
    context = make_context(per_shard=18)
    bad = rejected_once(context)
    stats = run_unit(context, 0, FakeGenerator(blank=lambda request: request.seed in bad), tmp_path)
    assert (stats["count"], stats["rejected"], stats["failures"]) == (18, {"blank": 6}, [])
    assert findings(context, tmp_path) == []
    with tarfile.open(tmp_path / "00000.tar") as tar:
        metadata = [json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json")]  # type: ignore[arg-type]
    assert {row["index"]: row["attempt"] for row in metadata} == {i: int(i % 3 == 0) for i in range(18)}
    assert all(row["seed"] == context.plan.seed_of(context.plan.slot(row["index"]), row["attempt"]) for row in metadata)


def test_a_slot_that_stays_rejected_is_recorded_as_failed(tmp_path: Path) -> None:
    context = make_context(per_shard=18, max_attempts=2)

    def always(request: Request) -> bool:
        return request.label == 1

    stats = run_unit(context, 0, FakeGenerator(blank=always), tmp_path)
    assert stats["planned"] == {"cat": 6, "sea lion": 6, "größe": 6}
    assert stats["kept"] == {"cat": 6, "sea lion": 0, "größe": 6}
    assert stats["failed"] == {"cat": 0, "sea lion": 6, "größe": 0}
    assert stats["rejected"] == {"blank": 12}
    assert [failure["reasons"] for failure in stats["failures"]] == [["blank", "blank"]] * 6
    assert findings(context, tmp_path) == []


def test_a_unit_of_which_nothing_is_kept_is_still_finished(tmp_path: Path) -> None:
    context = make_context()
    for number in range(context.plan.n_units):
        stats = run_unit(context, number, FakeGenerator(blank=lambda _: True), tmp_path)
        assert stats["count"] == 0
    assert findings(context, tmp_path) == []


def test_the_last_batch_is_padded(tmp_path: Path) -> None:
    generator = FakeGenerator()
    run_unit(make_context(per_shard=7), 0, generator, tmp_path)
    assert len(generator.requests) == 8
    assert generator.requests[7] == generator.requests[6]


def test_a_unit_made_twice_counts_once(tmp_path: Path) -> None:
    context = make_context()
    first = run_unit(context, 0, FakeGenerator(), tmp_path)
    again = run_unit(context, 0, FakeGenerator(), tmp_path)
    assert again == first
    assert not list((tmp_path / ".staging").iterdir())


def test_a_unit_with_other_bytes_is_refused(tmp_path: Path) -> None:
    context = make_context()
    run_unit(context, 0, FakeGenerator(), tmp_path)
    before = sha256_of(tmp_path / "00000.tar")
    with pytest.raises(CommitConflict, match="other bytes"):
        run_unit(context, 0, FakeGenerator(size=16), tmp_path)
    assert sha256_of(tmp_path / "00000.tar") == before
    assert not list((tmp_path / ".staging").iterdir())


def test_a_failing_generator_publishes_nothing(tmp_path: Path) -> None:
    context = make_context()
    last = context.plan.seed_of(context.plan.slot(6), 0)

    def explode(request: Request) -> bool:
        if request.seed == last:
            raise RuntimeError("no more")
        return False

    with pytest.raises(RuntimeError, match="no more"):  # when the first batch is written
        run_unit(context, 0, FakeGenerator(blank=explode), tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == [".staging"]


def test_a_remade_image_is_the_same(tmp_path: Path) -> None:
    context, generator = make_context(), FakeGenerator()
    run_unit(context, 1, generator, tmp_path)
    slot = context.plan.slot(9)
    batch = ShardStream(tmp_path, shuffle=False).read(range(7))
    stored = batch.image[batch.key.index(slot.key)]
    again = make_sample(context, slot, 0, generator)
    assert again is not None
    assert (decode_rgb(again.image) == stored).all()


def test_the_shape_of_a_runs_images_is_read_from_them(tmp_path: Path) -> None:
    run = Run(open_store(tmp_path), make_context())
    run_unit(run.context, 0, FakeGenerator(size=24), run.shards)
    assert image_shape(run) == (24, 24)


class BucketedGenerator(FakeGenerator):
    """A generator with masks whose batches hold one label, and which refuses requests whose seed is divisible by 4."""

    def batch_key(self, request: Request) -> int:
        return request.label

    def generate(self, requests: Sequence[Request]) -> Images:
        images = super().generate(requests)
        masks = np.stack([np.full((8, 8), request.label, np.uint8) for request in requests])
        return replace(images, masks=masks, refused=tuple("unsafe" if r.seed % 4 == 0 else "" for r in requests))


def test_shapes_masks_and_refusals(tmp_path: Path) -> None:
    context = make_context(per_shard=18, max_attempts=50)
    generator = BucketedGenerator()
    stats = run_unit(context, 0, generator, tmp_path)
    assert findings(context, tmp_path) == []
    refused = {request.seed for request in generator.requests if request.seed % 4 == 0}
    assert stats["rejected"] == {"unsafe": len(refused)}
    assert refused
    rows = read_index_rows(tmp_path / "00000.tar")
    tar = (tmp_path / "00000.tar").read_bytes()
    assert len(rows) == 18
    for row in rows:
        assert row["seed"] % 4
        mask = decode_mask(tar[row["mask_offset"] : row["mask_offset"] + row["mask_size"]])
        assert (mask == row["label"]).all()


class TimedGenerator(FakeGenerator):
    """A generator that reports these spans for each batch, in seconds after the call."""

    def __init__(self, *spans: tuple[str, float, float]) -> None:
        super().__init__()
        self._spans = spans

    def generate(self, requests: Sequence[Request]) -> Images:
        now = time.perf_counter()
        spans = tuple(Span(stage, now + start, now + end) for stage, start, end in self._spans)
        return replace(super().generate(requests), spans=spans)


def test_the_seconds_of_a_unit_are_those_of_its_batches(tmp_path: Path) -> None:
    generator = TimedGenerator(
        ("text", -4.0, -3.0), ("denoise", -3.0, -1.0), ("decode", -1.0, -0.5), ("copy", -0.5, 0.0)
    )
    stats = run_unit(make_context(), 0, generator, tmp_path)  # two batches
    seconds = stats["seconds"]
    assert list(seconds) == list(STAGES)
    assert [seconds[stage] for stage in DEVICE] == [2.0, 4.0, 1.0, 1.0]
    assert seconds["encode"] > 0
    assert seconds["commit"] > 0


def test_wait_is_the_time_in_which_the_device_is_idle(tmp_path: Path) -> None:
    busy = run_unit(make_context(), 0, TimedGenerator(("denoise", -1000.0, 1000.0)), tmp_path / "busy")
    instant = run_unit(make_context(), 0, TimedGenerator(("denoise", 0.0, 0.0)), tmp_path / "instant")
    assert busy["seconds"]["wait"] == 0
    assert instant["seconds"]["wait"] == pytest.approx(instant["duration_s"], abs=1e-3)


def test_a_generator_without_spans_counts_as_denoising(tmp_path: Path) -> None:
    class SlowGenerator(FakeGenerator):
        def generate(self, requests: Sequence[Request]) -> Images:
            time.sleep(0.05)
            return super().generate(requests)

    stats = run_unit(make_context(), 0, SlowGenerator(), tmp_path)
    seconds = stats["seconds"]
    assert seconds["denoise"] >= 0.1
    assert seconds["denoise"] + seconds["wait"] == pytest.approx(stats["duration_s"], abs=2e-3)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=12), st.integers(0, 20), st.integers(21, 60)
)
def test_gaps_are_what_no_span_covers(intervals: list[tuple[int, int]], start: int, end: int) -> None:
    spans = [Span("denoise", at, at + length) for at, length in intervals]
    ticks = range(start, end)
    uncovered = {tick for tick in ticks if not any(span.start <= tick < span.end for span in spans)}
    waits = gaps(spans, start, end)
    assert {tick for tick in ticks if any(gap.start <= tick < gap.end for gap in waits)} == uncovered
    assert sum(gap.seconds for gap in waits) == len(uncovered)
    assert all(gap.seconds > 0 for gap in waits)


def test_two_batches_of_images_are_in_memory_at_most(tmp_path: Path) -> None:
    generator = CountingGenerator(batch_size=2)
    run_unit(make_context(per_shard=18), 0, generator, tmp_path)
    assert len(generator.alive) == 9
    assert max(generator.alive) <= 3, "two batches and the one that was just made"
