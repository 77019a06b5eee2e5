"""User errors print one or two lines with the remedy, set the right exit code and lose no data."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Jobs, hashes, make_run, text_of, write_spec

Completed = subprocess.CompletedProcess[str]


def assert_refused(completed: Completed, code: int, *parts: str) -> None:
    assert completed.returncode == code, text_of(completed)
    assert "Traceback" not in text_of(completed)
    lines = completed.stderr.strip().splitlines()
    assert lines[0].startswith("error: "), completed.stderr
    assert len(lines) <= 2, completed.stderr
    for part in parts:
        assert part in completed.stderr


@pytest.mark.parametrize(
    ("override", "code", "parts"),
    [
        ("output.image.sise=32", 2, ["output.image.sise: unknown key; did you mean 'size'?"]),
        ("modle.steps=4", 2, ["modle: unknown key; did you mean 'model'?"]),
        ("model.steps=many", 2, ["model.steps: ", '"many"', "integer"]),
        ("model.steps=0", 2, ["model.steps: 0 is refused", "greater than or equal to 1"]),
        ("plan.total=5", 2, ["plan: give exactly one of per_class, total and balance_to, not per_class and total"]),
        ("output.image.format=gif", 2, ["output.image.format: ", '"gif"', "'png', 'jpg' or 'webp'"]),
        ("plan.overrides.kat=5", 2, ["plan.overrides: there is no class 'kat'; did you mean 'cat'?"]),
        (
            "plan.overrides.zebra=5",
            2,
            ["plan.overrides: there is no class 'zebra'; the classes are cat, sea lion, größe"],
        ),
        ("steps", 2, ["--set steps: write it as key.path=value"]),
        ("model.source=/no/such/model", 1, ["model.source: no folder /no/such/model; give a model's folder"]),
        ("model.source=embedded/digitz", 1, ["model.source: there is no 'embedded/digitz'; embedded are: "]),
        ("model.source=/usr", 1, ["model.source: /usr has no model_index.json"]),
    ],
)
def test_bad_spec(override: str, code: int, parts: list[str], jobs: Jobs, tiny_spec: Path, tmp_path: Path) -> None:
    completed = jobs("generate", tiny_spec, "--out", tmp_path / "run", "--set", override)
    assert_refused(completed, code, *parts)
    assert not (tmp_path / "run").exists()


def test_debug_shows_where(jobs: Jobs, tiny_spec: Path, tmp_path: Path) -> None:
    completed = jobs("generate", tiny_spec, "--out", tmp_path / "run", "--set", "model.steps=0", "--debug")
    assert completed.returncode == 1
    assert "Traceback" in completed.stderr
    assert "SpecError" in completed.stderr


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "no such spec file"),
        ("name: [", "not YAML"),
        ("- name", "a spec is a mapping of keys, not list"),
        ("name: x\nclasses: [a]\nplan: {per_class: 1}\n", "model: is required, and missing"),
    ],
)
def test_bad_spec_file(text: str | None, part: str, jobs: Jobs, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    if text is not None:
        spec.write_text(text)
    assert_refused(jobs("generate", spec, "--out", tmp_path / "run"), 2, str(spec), part)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["replay", "RUN", "000990000"], 2, "no sample '000990000'; keys are like 000000000"),
        (["replay", "RUN", "cat"], 2, "no sample 'cat'; keys are like 000000000"),
        (["verify", "NOWHERE"], 2, "not a run, it lacks spec.yaml or plan.json; `generate` makes one"),
        (["report", "NOWHERE"], 2, "not a run, it lacks"),
        (["sweep", "SPEC", "--out", "RUN"], 2, "no real images to compare with; add data"),
    ],
)
def test_bad_argument(
    arguments: list[str], code: int, part: str, jobs: Jobs, tiny_run: Path, tiny_spec: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    places = {"RUN": run, "SPEC": tiny_spec, "NOWHERE": tmp_path}
    assert_refused(jobs(*(places.get(argument, argument) for argument in arguments)), code, part)
    assert hashes(run) == hashes(tiny_run)


def test_run_begun_with_another_spec(jobs: Jobs, tiny_run: Path, tiny_spec: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    changed = ["--set", "model.steps=41", "--set", "plan.overrides.cat=9"]
    completed = jobs("generate", tiny_spec, "--out", run, *changed)
    assert_refused(
        completed, 2, str(run), "was begun with another spec", "model.steps: 4 -> 41", "plan.overrides.cat: "
    )
    assert "images.cat: 40 -> 9" in completed.stderr
    assert "use another --out, or that spec" in completed.stderr
    assert hashes(run) == hashes(tiny_run)
    assert (run / "spec.yaml").read_bytes() == (tiny_run / "spec.yaml").read_bytes()
    # Where it runs is no part of what it is.
    again = jobs("generate", tiny_spec, "--out", run, "--set", "cluster.max_actors=7")
    assert again.returncode == 0, text_of(again)


def test_verify_names_every_damage_and_the_remedy_works(
    jobs: Jobs, tiny_run: Path, tiny_spec: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shards = run / "shards"
    flip_a_bit(shards / "00001.tar", 700)
    flip_a_bit(shards / "00002.parquet", 300)
    cut_short(shards / "00003.tar")
    (shards / "00004.tar").unlink()
    (shards / "00005_stats.json").unlink()
    (shards / "00006_stats.json").write_text("{")
    (shards / "notes.txt").write_text("not ours")
    shutil.copy(shards / "00008.tar", shards / "00007.tar")

    completed = jobs("verify", run)
    assert_refused(completed, 1, "8 findings")
    for text in (
        "00001.tar: changed since it was written (SHA-256 differs)",
        "00002.parquet: changed since it was written (SHA-256 differs)",
        "00003.tar: ",
        "00004.tar: missing",
        "00005_stats.json: missing, the unit is not finished",
        "00006_stats.json: damaged",
        "00007.tar: ",
        "notes.txt: not a file of this run",
    ):
        assert text in completed.stdout, text
    assert len(completed.stdout.strip().splitlines()) == 8

    # The remedy: away with the damaged shards, whole, and generate again.
    (shards / "notes.txt").unlink()
    for number in range(1, 8):
        for path in shards.glob(f"0000{number}*"):
            path.unlink()
    make_run(tiny_spec, run)
    assert hashes(run) == hashes(tiny_run)
    assert jobs("verify", run).returncode == 0


def test_corrupt_image_in_real_data(jobs: Jobs, tiny_model: Path, tmp_path: Path) -> None:
    spec = write_spec(
        tmp_path,
        {"name": "photos", "filters": [], "model": {"source": str(tiny_model), "steps": 1, "batch_size": 4}},
        {"data": {"source": "imagefolder", "path": str(image_folder(tmp_path / "photos"))}},
        {"plan": {"per_class": 4}, "output": {"image": {"size": 32}}},
    )
    bad = tmp_path / "photos/sea lion/3.jpg"
    bad.write_bytes(bad.read_bytes()[:-200])
    run = make_run(spec, tmp_path / "run")
    before = hashes(run)
    assert_refused(jobs("sweep", spec, "--out", run), 1, f"{bad}: corrupt image", "repair or remove it and run again")
    assert hashes(run) == before


def image_folder(folder: Path) -> Path:
    """Write eight noise images of each of two classes."""
    noise = np.random.default_rng(0)
    for name in ("cat", "sea lion"):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = noise.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    return folder


def flip_a_bit(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])
