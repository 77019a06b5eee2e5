"""What several tests share: the command line, one Ray, a tiny model and its finished run, and the order of files."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from threading import Event, Thread

import hypothesis
import psutil
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[1]

# Files of tests that take longest come first, so that both processes of `make test` end at about the same time.
LONGEST_FIRST = ("tests/cluster", "tests/end_to_end", "tests/recipes", "tests/clients", "tests/engine", "tests/jobs")

# A pause of a shared machine does not falsify a property, so there is no deadline.
hypothesis.settings.register_profile("shardmill", deadline=None, max_examples=40)
hypothesis.settings.load_profile("shardmill")

# Hub clients must not ask the network, and Ray must not send statistics, also in the processes that tests start.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
# Waiting threads spin. Two test processes and Ray share the cores, so a second thread costs twenty times what it gains.
os.environ["OMP_NUM_THREADS"] = "1"
# Commands that tests start find the generator "fake" there, by its entry point.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests/plugins/fake")])
# Tests must not connect to a cluster that the shell has configured.
os.environ.pop("RAY_ADDRESS", None)

# By default Ray forgets a process that takes over a second to die. Its `Popen` would then warn in a later test, and
# warnings are errors.
ray.shutdown = partial(ray.shutdown, wait_for_processes=True)

# Labels that need quoting, prompts that look like templates, and more units than a run has actors.
TINY_SPEC = {
    "name": "tiny",
    "seed": 3,
    "classes": ["cat", "sea lion", "größe"],
    "plan": {"per_class": 40},
    "prompts": {
        "templates": ['a {{class}} of "{size}" {class}', "it's {class}, {size}; {x: 1}"],
        "attributes": {"size": ["big", "{small}", "wee's"]},
    },
    "filters": [],
    "model": {"steps": 4, "batch_size": 8},
    "output": {"samples_per_shard": 7, "image": {"format": "png", "size": 32}},
}
# This generator needs no model and takes 0.3 s for each unit. Processes start in a third of the time without diffusers,
# and tests can interrupt them.
FAKE_MODEL = {"kind": "fake", "batch_size": 8, "seconds": 0.3}

Jobs = Callable[..., "subprocess.CompletedProcess[str]"]
Hashes = dict[str, str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by folder, as in LONGEST_FIRST."""

    def rank(item: pytest.Item) -> int:
        prefixes = enumerate(LONGEST_FIRST)
        return next((number for number, prefix in prefixes if item.nodeid.startswith(prefix)), len(LONGEST_FIRST))

    items.sort(key=rank)


def command(*arguments: object) -> list[str]:
    """`python -m jobs ARGUMENTS`, in the Python of the tests."""
    return [sys.executable, "-m", "jobs", *map(str, arguments)]


@pytest.fixture(scope="session")
def jobs() -> Jobs:
    """Return a function that runs `python -m jobs ARGUMENTS` from the root, without the start of a process."""
    return run_here


def run_here(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a command of the command line in this process."""
    from jobs.__main__ import main

    line, out, err = [str(argument) for argument in arguments], StringIO(), StringIO()
    with chdir(ROOT), redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(line)
        except SystemExit as error:
            code = int(error.code or 0)
        except Exception:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())


def start_ray() -> None:
    """Start the Ray that all tests of this process share, unless it runs: starting one takes seconds."""
    if not ray.is_initialized():
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            _system_config={"metrics_report_interval_ms": 500},
        )  # fmt: skip


@pytest.fixture
def shared_ray() -> None:
    """Return the Ray of `start_ray`."""
    start_ray()


@pytest.fixture(scope="session", autouse=True)
def _end_of_ray() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a real diffusers pipeline of random weights."""
    from bench.tiny_pipeline import make_pipeline

    return make_pipeline(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_spec(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the spec file of `tiny_run`."""
    return write_spec(tmp_path_factory.mktemp("spec"), TINY_SPEC, {"model": {"source": str(tiny_model)}})


@pytest.fixture(scope="session")
def tiny_run(tiny_spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of `tiny_spec`, made in this process without Ray. Copy it before you change it."""
    return make_run(tiny_spec, tmp_path_factory.mktemp("tiny-run") / "run")


@pytest.fixture(scope="session")
def fake_spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec file like `tiny_spec`, of the generator in `tests.cluster.fake_kind`."""
    return write_spec(tmp_path_factory.mktemp("fake-spec"), TINY_SPEC | {"model": FAKE_MODEL})


@pytest.fixture(scope="session")
def fake_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of `fake_spec`, made in this process without Ray. Copy it before you change it."""
    import tests.cluster.fake_kind  # noqa: F401  (registers it)

    folder = tmp_path_factory.mktemp("fake-run")
    return make_run(write_spec(folder, TINY_SPEC | {"model": FAKE_MODEL | {"seconds": 0}}), folder / "run")


def write_spec(folder: Path, *parts: dict) -> Path:
    """A spec file that holds these parts, a later one over an earlier one, one level deep."""
    content: dict = {}
    for part in parts:
        for key, value in part.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True))
    return path


def make_run(spec: Path, folder: Path) -> Path:
    """Make every unit of a spec in this process."""
    from engine.config.spec_file import load_spec
    from engine.generators.generator import load_generator
    from engine.run.run import begin_run, plan_run
    from engine.worker.runner import run_unit

    context = plan_run(load_spec(spec))
    run = begin_run(context, folder)
    generator = load_generator(context.spec.model, context.spec.output.image, context.spec.cluster)
    for number in run.pending():
        run_unit(context, number, generator, run.shards)
    run.write_card()
    return folder


def hashes(run: Path) -> Hashes:
    """Return the SHA-256 of every tar and every index of a run, by name."""
    from shards.storage.commit import sha256_of

    files = [path for path in (run / "shards").iterdir() if path.suffix in (".tar", ".parquet")]
    return {path.name: sha256_of(path) for path in sorted(files)}


@contextmanager
def kill_once(is_time: Callable[[], bool], title: str) -> Iterator[None]:
    """Within the block, send SIGKILL to the last process of this Ray that has such a title, as soon as it is time."""
    ended = Event()

    def wait_and_kill() -> None:
        while not is_time():
            if ended.wait(0.005):
                return
        [child for child in family(os.getpid()) if title in " ".join(child.cmdline())][-1].kill()

    killer = Thread(target=wait_and_kill, daemon=True)
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join()


def outside_environment() -> dict[str, str]:
    """The environment without PYTHONPATH: pip would take the checkout's metadata on it for an installed package."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def text_of(completed: "subprocess.CompletedProcess[str]") -> str:
    """Return everything that a command wrote."""
    return completed.stdout + completed.stderr


def family(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process, or none if it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
