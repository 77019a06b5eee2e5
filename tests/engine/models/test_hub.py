"""The hub: each file is downloaded once, gated models, and errors in one line."""

from pathlib import Path
from typing import Any

import pytest

from tests import hub as hubs
from tests.engine.models.hub_client import HubClients, result_of


def test_actors_of_one_node_download_once(hub: hubs.Hub, clients: HubClients, tiny_model: Path) -> None:
    commit = hub.push("some/model", tiny_model)
    hub.together = 3
    started = [clients.start("some/model", fetch=True) for _ in range(3)]
    results = [result_of(client) for client in started]
    weights = {name for name in hub.sent() if name.endswith(".safetensors")}
    assert len(weights) == 3
    assert all(hub.requests["HEAD", name] == 3 for name in weights), "all three clients requested it"
    assert {hub.sent()[name] for name in weights} == {1}
    assert all(result["models"] == results[0]["models"] for result in results)
    folder, revision, variant, license = results[0]["models"][0]
    assert (revision, variant, license) == (commit, None, "unknown")
    assert files(Path(folder)) == {name for name in files(tiny_model) if not name.startswith("words/")}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


GENERATE = """
import hashlib
from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.generators.generator import Request
from engine.generators.kinds.text_to_image import TextToImage, TextToImageSettings
from engine.types import Prompt

for source, revision in MODELS:
    model = TextToImageSettings(source=source, revision=revision, steps=2, batch_size=1)
    generator = TextToImage(model, ImageSpec(), ClusterSpec())
    images = generator.generate([Request(Prompt("a cat", "", (), "template"), 0, "cat", 7)])
    print(generator.facts.revision, hashlib.sha256(images.pixels.tobytes()).hexdigest())
"""


def test_cached_model_makes_images_offline(
    hub: hubs.Hub, clients: HubClients, tiny_model: Path, tmp_path: Path
) -> None:
    commit = hub.push("some/model", tiny_model)
    revision = clients.result("some/model", fetch=True)["revisions"][0]
    before = hub.requests.copy()
    models = [("some/model", revision), (str(tiny_model), None)]
    client = hubs.start_client(f"MODELS = {models}\n{GENERATE}", hub.url, tmp_path / "home", {"HF_HUB_OFFLINE": "1"})
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0, err
    of_hub, of_folder = (line.split() for line in out.splitlines())
    assert of_hub[0] == commit
    assert of_hub[1] == of_folder[1]
    assert hub.requests == before


def test_gated_model_needs_its_licence_accepted(hub: hubs.Hub, clients: HubClients, small: Path) -> None:
    hub.push("some/gated", small, gated=True)
    assert clients.error("some/gated") == (
        f"model.source: some/gated is gated; accept its licence at {hub.url}/some/gated "
        "and set HF_TOKEN to a token of that account"
    )
    result = clients.result("some/gated", fetch=True, environment={"HF_TOKEN": hubs.TOKEN})
    assert result["models"][0][3] == "mit"


@pytest.mark.parametrize(
    ("source", "settings", "environment", "words"),
    [
        ("some/nothing", {}, {}, ["shows no some/nothing", "HF_TOKEN"]),
        ("some/nothing", {}, {"HF_TOKEN": hubs.TOKEN}, ["shows no some/nothing"]),
        ("some/model", {}, {"HF_TOKEN": "hf_wrong"}, ["rejects the token", "/settings/tokens"]),
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
def test_refusals_are_explained_in_one_line(
    hub: hubs.Hub,
    clients: HubClients,
    small: Path,
    source: str,
    settings: dict[str, Any],
    environment: dict[str, str],
    words: list[str],
) -> None:
    if source == "some/coded":
        (small / "model_index.json").write_text('{"_class_name": ["mine", "Mine"]}')
        (small / "mine.py").write_text("raise SystemExit")
    hub.push("some/model", small)
    weights = small / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    hub.push("some/pickled", small)
    hub.push("some/coded", small)
    error = clients.error(source, environment=environment, **settings)
    assert error.startswith("model.source: ")
    assert all(text in error for text in words), error
    assert "\n" not in error
    assert "hf_" not in error
    assert not {name for name in hub.sent() if not name.endswith("model_index.json")}, "no weights were downloaded"
