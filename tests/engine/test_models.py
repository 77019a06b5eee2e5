"""Where models are found: folders, and a hub that is asked as little as can be."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.config.model_settings import ModelPart
from engine.errors import ModelError
from engine.models.resolve import fetch_model, read_license
from tests import hub as hubs


def test_a_copy_that_broke_off_is_no_model(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    part = ModelPart("model.source", str(tmp_path / "model"), None, "model_index.json")
    assert len(fetch_model(part).revision) == 12
    weights = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model\.source: .*unet"):
        fetch_model(part)


@pytest.mark.parametrize(
    ("card", "license"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# Model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: sai-nc-community\n---\n", "sai-nc-community"),
        ("---\ntags: [x]\n---\n", "unknown"),
        ("---\nlicense: [\n---\n", "unknown"),
        ("# No front matter\n", "unknown"),
    ],
)
def test_the_license_is_read_from_the_card(tmp_path: Path, card: str, license: str) -> None:
    assert read_license(tmp_path) == "unknown"
    (tmp_path / "README.md").write_text(card)
    assert read_license(tmp_path) == license


def test_an_index_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ModelError, match=r"model_index\.json is not JSON"):
        fetch_model(ModelPart("model.source", str(tmp_path), None, "model_index.json"))


# ---- the hub. Its library reads its settings when it is imported, so each client is a process.

TALK = """
import json, sys
from engine.errors import ShardmillError
from engine.generators.kinds.controlnet import ControlNetSettings
from engine.models.resolve import check_models, fetch, pin

def settings(told):
    return None if told is None else ControlNetSettings.model_validate_json(json.dumps({"kind": "controlnet", **told}))

try:
    model = pin(settings(json.loads(MODEL)), settings(json.loads(BEGUN)))
    check_models(model)
    found = [fetch(part) for part in model.parts] if FETCH else []
    print(json.dumps({
        "revisions": [part.revision for part in model.parts],
        "models": [[str(one.folder), one.revision, one.variant, one.license] for one in found],
    }))
except ShardmillError as error:
    print(json.dumps({"error": str(error)}))
"""

Talk = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hub() -> Iterator[hubs.Hub]:
    with hubs.serve() as running:
        yield running


@pytest.fixture
def talk(hub: hubs.Hub, tmp_path: Path, net: Path) -> Iterator[Talk]:
    """Starts a client that pins, checks and, with `fetch`, fetches a model of the hub with a local ControlNet."""

    started = []

    def start(
        source: str,
        begun: dict[str, Any] | None = None,
        *,
        fetch_model: bool = False,
        environment: dict[str, str] | None = None,
        **more: Any,
    ) -> "subprocess.Popen[str]":
        told = {"controlnet": str(net)}
        model, before = {"source": source, **told, **more}, begun and {"source": source, **told, **begun}
        code = f"MODEL, BEGUN, FETCH = {json.dumps(model)!r}, {json.dumps(before)!r}, {fetch_model}\n{TALK}"
        started.append(hubs.start_client(code, hub.url, tmp_path / "home", environment or {}))
        return started[-1]

    yield start
    for client in started:
        client.kill()
        client.communicate()


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a ControlNet; nobody loads it here."""
    folder = tmp_path_factory.mktemp("net")
    (folder / "config.json").write_text("{}")
    save_file({"weight": np.zeros(4, np.float32)}, folder / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The files of a pipeline; nobody loads it here."""
    folder = tmp_path / "small"
    (folder / "unet").mkdir(parents=True)
    index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "unet" / "config.json").write_text("{}")
    save_file({"weight": np.zeros(4, np.float32)}, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def told(client: "subprocess.Popen[str]") -> dict[str, Any]:
    """What a client found."""
    found = answer(client)
    assert "error" not in found, found
    return found


def refused(client: "subprocess.Popen[str]") -> str:
    """What a client was refused with."""
    return str(answer(client)["error"])


def answer(client: "subprocess.Popen[str]") -> dict[str, Any]:
    """What a client printed."""
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0, err
    assert "Traceback" not in err
    found: dict[str, Any] = json.loads(out)
    return found


def test_actors_of_one_node_download_once(hub: hubs.Hub, talk: Talk, tiny_model: Path) -> None:
    commit = hub.push("some/model", tiny_model)
    hub.together = 3
    found = [told(client) for client in [talk("some/model", fetch=True) for _ in range(3)]]
    weights = {name for name in hub.sent() if name.endswith(".safetensors")}
    assert len(weights) == 3
    assert all(hub.asked["HEAD", name] == 3 for name in weights), "all three wanted it at the same time"
    assert {hub.sent()[name] for name in weights} == {1}
    assert all(one["models"] == found[0]["models"] for one in found)
    folder, revision, variant, license = found[0]["models"][0]
    assert (revision, variant, license) == (commit, None, "unknown")
    fetched = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}
    assert fetched == {path.relative_to(tiny_model).as_posix() for path in tiny_model.rglob("*") if path.is_file()} - {
        name for name in fetched if name.startswith("words/")
    } - {"words/vocab.json", "words/merges.txt"}


GENERATE = """
import hashlib
from engine.generators.generator import Request
from engine.generators.kinds.text_to_image import TextToImage, TextToImageSettings
from engine.prompts import Prompt
from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec

for source, revision in MODELS:
    model = TextToImageSettings(source=source, revision=revision, steps=2, batch_size=1)
    generator = TextToImage(model, ImageSpec(), ClusterSpec())
    made = generator.generate([Request(Prompt("a cat", "", (), "template"), 0, "cat", 7)])
    print(generator.facts.revision, hashlib.sha256(made.pixels.tobytes()).hexdigest())
"""


def test_a_hub_model_makes_the_images_of_its_folder_offline(
    hub: hubs.Hub, talk: Talk, tiny_model: Path, tmp_path: Path
) -> None:
    commit = hub.push("some/model", tiny_model)
    revision = told(talk("some/model", fetch=True))["revisions"][0]
    before = hub.asked.copy()
    models = [("some/model", revision), (str(tiny_model), None)]
    client = hubs.start_client(f"MODELS = {models}\n{GENERATE}", hub.url, tmp_path / "home", {"HF_HUB_OFFLINE": "1"})
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0, err
    of_hub, of_folder = (line.split() for line in out.splitlines())
    assert of_hub[0] == commit
    assert of_hub[1] == of_folder[1]
    assert hub.asked == before


def test_a_run_keeps_its_commit_when_the_branch_moves(hub: hubs.Hub, talk: Talk, small: Path) -> None:
    old = hub.push("some/model", small)
    begun = told(talk("some/model", fetch=True))
    assert begun["revisions"][0] == f"main@{old}"
    assert begun["models"][0][1:] == [old, None, "mit"]
    save_file({"weight": np.ones(4, np.float32)}, small / "unet" / "diffusion_pytorch_model.safetensors")
    new = hub.push("some/model", small)
    pinned = {"revision": f"main@{old}"}
    asked = hub.asked["GET", "/api/some/model/"]

    for revision in (None, "main", f"main@{old}", old):
        resumed = told(talk("some/model", pinned, revision=revision, fetch=True))
        assert resumed["models"][0][:2] == [begun["models"][0][0], old]
        assert resumed["revisions"][0] == f"main@{old}"
    assert hub.asked["GET", "/api/some/model/"] == asked, "the hub was not asked where the branch is"
    assert told(talk("some/model"))["revisions"][0] == f"main@{new}"
    hub.push("some/model", small, branch="v2")
    assert told(talk("some/model", pinned, revision="v2"))["revisions"][0] == f"v2@{new}", "another name was meant"
    assert told(talk("some/model", revision=new))["revisions"][0] == new


def test_every_part_is_pinned(hub: hubs.Hub, talk: Talk, small: Path, net: Path, tmp_path: Path) -> None:
    shutil.copytree(net, tmp_path / "lora")
    weights = tmp_path / "lora" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("pytorch_lora_weights.safetensors"))
    commits = [hub.push("some/model", small), hub.push("some/lora", tmp_path / "lora"), hub.push("some/net", net)]
    adapters = [{"source": "some/lora"}, {"source": str(tmp_path / "lora")}]
    found = told(talk("some/model", controlnet="some/net", adapters=adapters, fetch=True))
    model, lora, folder, control = found["revisions"]
    assert [model, lora, control] == [f"main@{commit}" for commit in commits]
    assert folder is None
    assert [revision for _, revision, *_ in found["models"] if len(revision) == 40] == commits


def test_only_the_variant_is_fetched(hub: hubs.Hub, talk: Talk, small: Path) -> None:
    plain = small / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(plain, plain.with_name("diffusion_pytorch_model.fp16.safetensors"))
    shutil.copy(plain, small / "one_file.safetensors")
    hub.push("some/model", small)
    found = told(talk("some/model", variant="fp16", fetch=True))
    assert found["models"][0][2] == "fp16"
    assert [name for name in hub.sent() if name.endswith(".safetensors")] == [
        "some/model/unet/diffusion_pytorch_model.fp16.safetensors"
    ]


def test_a_gated_model_wants_its_licence_accepted(hub: hubs.Hub, talk: Talk, small: Path) -> None:
    hub.push("some/gated", small, gated=True)
    said = refused(talk("some/gated"))
    assert said == (
        f"model.source: some/gated is gated; accept its licence at {hub.url}/some/gated "
        "and set HF_TOKEN to a token of that account"
    )
    found = told(talk("some/gated", fetch=True, environment={"HF_TOKEN": hubs.TOKEN}))
    assert found["models"][0][3] == "mit"


@pytest.mark.parametrize(
    ("source", "more", "environment", "said"),
    [
        ("some/nothing", {}, {}, ["shows no some/nothing", "HF_TOKEN"]),
        ("some/nothing", {}, {"HF_TOKEN": hubs.TOKEN}, ["shows no some/nothing"]),
        ("some/model", {}, {"HF_TOKEN": "hf_wrong"}, ["knows no such token", "/settings/tokens"]),
        ("some/model", {"revision": "v9"}, {}, ["no revision 'v9'", "/some/model/commits"]),
        ("some/model", {"revision": "0" * 40}, {}, ["no revision '000"]),
        ("some/mo..del", {}, {}, ["'some/mo..del' is neither a folder"]),
        ("some/model", {}, {"HF_HUB_OFFLINE": "1"}, ["HF_HUB_OFFLINE is set", "home/hub"]),
        ("some/model", {"revision": "0" * 40}, {"HF_HUB_OFFLINE": "1"}, ["HF_HUB_OFFLINE is set"]),
        ("some/model", {}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, ["http://127.0.0.1:9 fails", "Connection refused"]),
        ("some/model", {}, {"HF_HOME": "/proc/none"}, ["/proc/none/hub cannot be written", "HF_HOME"]),
        ("some/pickled", {}, {}, ["unet/diffusion_pytorch_model.bin", "safe_serialization=True"]),
        ("some/coded", {}, {}, ["mine.py", "never run"]),
    ],
)
def test_what_the_hub_refuses_is_said_in_a_line(
    hub: hubs.Hub,
    talk: Talk,
    small: Path,
    source: str,
    more: dict[str, Any],
    environment: dict[str, str],
    said: list[str],
) -> None:
    hub.push("some/model", small)
    if source == "some/coded":
        (small / "model_index.json").write_text('{"_class_name": ["mine", "Mine"]}')
        (small / "mine.py").write_text("raise SystemExit")
    weights = small / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    hub.push("some/pickled", small)
    hub.push("some/coded", small)
    error = refused(talk(source, environment=environment, **more))
    assert error.startswith("model.source: ")
    assert all(text in error for text in said), error
    assert "\n" not in error
    assert "hf_" not in error
    assert not {name for name in hub.sent() if not name.endswith("model_index.json")}, "nothing was spent"
