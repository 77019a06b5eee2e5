"""StyleGAN-XL: a network pickle and its checkout, which are trusted by name or never opened."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from engine.config.spec import Spec
from engine.errors import ModelError, SpecError
from engine.generators.generator import Generator, Request, load_generator
from engine.run.run import Run
from engine.types import Prompt
from shards.codec import decode_rgb
from shards.storage.commit import sha256_of
from tests.conftest import Jobs, text_of
from tests.recipes.harness import SPECS, assert_actors_make_the_same, make_recipe, members, rows, shipped

CHECKOUT = Path(__file__).parent / "small_stylegan"
SMALL = ["plan.per_class=3", "output.samples_per_shard=10", "model.batch_size=4", "cluster.gpus_per_actor=0"]


class Canary:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, track: Path) -> None:
        self.track = track

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.track,)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the checkout, with the pickle of a network of ten classes, and of one without any that makes grey."""
    folder = tmp_path_factory.mktemp("stylegan") / "checkout"
    shutil.copytree(CHECKOUT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, classes, channels in (("cifar10.pkl", 10, 3), ("grey.pkl", 0, 1)):
        subprocess.run([sys.executable, "make.py", name, str(classes), str(channels)], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_recipe(spec_of(files), tmp_path_factory.mktemp("run"))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Write a pickle that writes `track` beside itself when it is opened."""
    path = tmp_path / "canary.pkl"
    path.write_bytes(pickle.dumps(Canary(tmp_path / "track")))
    return path


def spec_of(files: Path, *overrides: str) -> Spec:
    return shipped("stylegan-xl-cifar10.yaml", *paths(files), *SMALL, *overrides)


def paths(code: Path, source: Path | None = None) -> tuple[str, str]:
    return f"model.code={code}", f"model.source={source or code / 'cifar10.pkl'}"


def load(spec: Spec) -> Generator:
    return load_generator(spec.model, spec.output.image, spec.cluster)


def request(name: str, seed: int) -> Request:
    classes = shipped("stylegan-xl-cifar10.yaml").classes or ()
    return Request(Prompt("", "", (), "class"), classes.index(name), name, seed)


def test_recipe(run: Run, files: Path) -> None:
    samples = rows(run)
    images = members(run, samples, "image")
    assert len(set(images)) == len(samples) == 30
    assert {decode_rgb(image).shape for image in images} == {(32, 32, 3)}
    for row in samples:
        assert (row["prompt"], row["negative_prompt"], row["strategy"], row["source"]) == ("", "", "class", "")
        assert row["revision"] == sha256_of(files / "cifar10.pkl")[:12]
        assert (row["license"], row["pipeline"], row["scheduler"]) == ("MIT", "Generator", "none")
        assert json.loads(row["settings"]) == {"truncation": 1.0, "noise_mode": "const"}


def test_the_shipped_spec_fills_a_second_cifar10() -> None:
    spec = shipped("stylegan-xl-cifar10.yaml")
    assert spec.plan.per_class is not None
    assert spec.plan.per_class * len(spec.classes or ()) == 60_000


def test_pixels_are_those_of_the_network(files: Path) -> None:
    """The expected pixels come from a process that has only the checkout on its path."""
    program = """if True:
        import legacy, numpy, sys, torch
        g = legacy.load_network_pkl(open("cifar10.pkl", "rb"))["G_ema"].eval()
        z = torch.cat([torch.randn(1, 16, generator=torch.Generator().manual_seed(s)) for s in (5, 6, 7, 8)])
        c = torch.nn.functional.one_hot(torch.tensor([3, 0, 3, 9]), 10).float()
        with torch.no_grad():
            images = g.synthesis(g.mapping(z, c, truncation_psi=0.5), noise_mode="const")
        numpy.save(sys.argv[1], (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
        """
    path = files / "by_hand.npy"
    subprocess.run([sys.executable, "-c", program, path], cwd=files, check=True)
    requests = [request("cat", 5), request("airplane", 6), request("cat", 7), request("truck", 8)]
    pixels = load(spec_of(files, "model.truncation=0.5")).generate(requests).pixels
    assert np.array_equal(pixels, np.load(path))
    assert len({image.tobytes() for image in pixels}) == 4


def test_neighbours_change_nothing_and_the_class_does(files: Path) -> None:
    generator = load(spec_of(files))
    cat, dog, ship = request("cat", 2**62 + 1), request("dog", 2**62 + 1), request("ship", 4)
    one, two = generator.generate([cat, dog, dog, ship]).pixels, generator.generate([ship, ship, cat, cat]).pixels
    assert np.array_equal(one[0], two[2])
    assert np.array_equal(two[2], two[3])
    assert not np.array_equal(one[0], one[1]), "same noise, other class"


def test_truncation_draws_the_images_of_a_class_together(files: Path) -> None:
    requests = [request("frog", seed) for seed in range(4)]
    spread = [
        load(spec_of(files, f"model.truncation={psi}")).generate(requests).pixels.std(axis=0).mean()
        for psi in (1, 0.5, 0)
    ]
    assert spread[0] > spread[1] > spread[2] == 0


def test_class_ids_and_sizes(files: Path) -> None:
    spec = spec_of(files, "model.class_ids={cat: 5}", "output.image.size=16")
    pixels = load(spec).generate([request("cat", 1), request("dog", 1), request("cat", 2), request("cat", 1)]).pixels
    assert pixels.shape == (4, 16, 16, 3)
    assert np.array_equal(pixels[0], pixels[1]), "both are the network's class 5"
    assert np.array_equal(pixels[0], pixels[3])


def test_a_network_without_classes(files: Path) -> None:
    spec = spec_of(files, f"model.source={files / 'grey.pkl'}")
    generator = load(spec)
    pixels = generator.generate([request("airplane", seed) for seed in range(4)]).pixels
    assert pixels.shape == (4, 32, 32, 3)
    assert np.array_equal(pixels[..., 0], pixels[..., 2]), "grey"
    with pytest.raises(ModelError, match="trained without classes, so it cannot be asked for 'cat'"):
        generator.generate([request("airplane", 1), request("cat", 1)] * 2)
    with pytest.raises(ModelError, match="trained without classes"):
        load(spec_of(files, f"model.source={files / 'grey.pkl'}", "model.class_ids={cat: 0}"))


def test_a_class_that_the_network_does_not_have(files: Path) -> None:
    with pytest.raises(ModelError, match=r"model.class_ids: 'cat' is 10, but .* has the classes 0 to 9"):
        load(spec_of(files, "model.class_ids={cat: 10}"))


def test_a_pickle_that_is_not_trusted_is_refused_with_the_remedy(
    run: Run, canary: Path, files: Path, tmp_path: Path, jobs: Jobs
) -> None:
    shutil.copytree(run.store.local, tmp_path / "run")
    saved = tmp_path / "run" / "spec.yaml"
    content = yaml.safe_load(saved.read_text())
    content["model"] |= {"source": str(canary), "trust_pickle": False}
    saved.write_text(yaml.safe_dump(content))
    key = rows(run)[0]["key"]
    spec = [
        "--out",
        tmp_path / "out",
        *(f"--set={override}" for override in (*paths(files, canary), "model.trust_pickle=false")),
    ]
    generate = ["generate", SPECS / "stylegan-xl-cifar10.yaml", *spec]
    for command in (
        generate,
        [*generate, "--dry-run"],
        [*generate, "--measure"],
        ["verify", tmp_path / "run"],
        ["report", tmp_path / "run"],
        ["replay", tmp_path / "run", key],
    ):
        completed = jobs(*command)
        assert completed.returncode == 2, text_of(completed)
        assert "runs any code that it contains" in completed.stderr
        assert "say trust_pickle: true" in completed.stderr
        assert "Traceback" not in completed.stderr
    assert not (tmp_path / "track").exists()


def test_only_making_images_opens_a_trusted_pickle(
    run: Run, canary: Path, files: Path, tmp_path: Path, jobs: Jobs
) -> None:
    overrides = [f"--set={override}" for override in (*paths(files, canary), *SMALL)]
    dry = jobs("generate", SPECS / "stylegan-xl-cifar10.yaml", "--out", tmp_path / "o", "--dry-run", *overrides)
    assert dry.returncode == 0, text_of(dry)
    assert "30 images" in dry.stdout
    assert "prompts" not in dry.stdout
    original = (files / "cifar10.pkl").read_bytes()
    (files / "cifar10.pkl").write_bytes(canary.read_bytes())
    try:
        for command in ("verify", "report"):
            completed = jobs(command, run.store.local)
            assert completed.returncode == 0, text_of(completed)
    finally:
        (files / "cifar10.pkl").write_bytes(original)
    assert not (tmp_path / "track").exists()
    with pytest.raises(ModelError, match="not a network pickle"):
        load(spec_of(files, f"model.source={canary}"))
    assert (tmp_path / "track").exists(), "the canary sings"


def test_what_is_missing_is_named_before_anything_is_spent(files: Path, tmp_path: Path, jobs: Jobs) -> None:
    def dry_run(*overrides: str) -> str:
        settings = [f"--set={override}" for override in (*paths(files), *SMALL, *overrides)]
        completed = jobs(
            "generate", SPECS / "stylegan-xl-cifar10.yaml", "--out", tmp_path / "o", "--dry-run", *settings
        )
        assert completed.returncode == 1, text_of(completed)
        return completed.stderr

    assert "model.source: no file nowhere.pkl on this node; download" in dry_run("model.source=nowhere.pkl")
    (tmp_path / "dnnlib").mkdir()
    assert f"model.code: {tmp_path} has no legacy.py; give the checkout" in dry_run(f"model.code={tmp_path}")
    (tmp_path / "legacy.py").touch()
    assert f"{tmp_path} has no dnnlib/__init__.py" in dry_run(f"model.code={tmp_path}")


def test_a_checkout_that_lacks_a_library(files: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from engine.generators.kinds.stylegan import load_network; from engine.errors import ModelError\n"
        "try: load_network(*sys.argv[1:])\nexcept ModelError as error: print(error)"
    )
    (tmp_path / "dnnlib").mkdir()
    (tmp_path / "dnnlib" / "__init__.py").touch()
    (tmp_path / "legacy.py").write_text("import a_library_of_old\n")
    arguments = [sys.executable, "-c", program, files / "cifar10.pkl", tmp_path]
    completed = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert (
        "cannot be imported: No module named 'a_library_of_old'; install what that checkout requires"
        in completed.stdout
    )


def test_one_checkout_at_a_time(files: Path, tmp_path: Path) -> None:
    load(spec_of(files))
    shutil.copytree(files, tmp_path / "other")
    with pytest.raises(ModelError, match=r"this process has imported .* already"):
        load(spec_of(files, f"model.code={tmp_path / 'other'}"))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_that_is_no_pickle(files: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.pkl").write_bytes(content)
    with pytest.raises(ModelError, match=r"page.pkl is not a network pickle .* download it again"):
        load(spec_of(files, f"model.source={tmp_path / 'page.pkl'}"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.dtype=bf16", "model.dtype"),
        ("model.truncation=1.5", "model.truncation"),
        ("prompts.templates=['a {class}']", "reads no prompts"),
    ],
)
def test_what_it_does_not_take(files: Path, override: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec_of(files, override)


def test_actors_make_the_same_bytes(run: Run, tmp_path: Path) -> None:
    assert_actors_make_the_same(run, tmp_path)
