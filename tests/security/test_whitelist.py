"""The calls, loads and writes that the product never makes, checked in the code and by running it."""

import ast
import json
import pickle
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

from engine.config.spec_file import load_spec
from engine.errors import ModelError
from engine.generators.generator import load_generator
from shards.sample import MEMBER_EXTENSIONS
from tests.conftest import ROOT, make_run, write_spec


@dataclass(frozen=True)
class Call:
    """A call in the code. name: of what is called, as it is written. arguments: what is given by position."""

    place: str
    name: str
    arguments: tuple[str, ...]
    keywords: dict[str, str]

    @classmethod
    def of(cls, node: ast.Call, place: str) -> Self:
        keywords = {str(keyword.arg): ast.unparse(keyword.value) for keyword in node.keywords}
        return cls(place, ast.unparse(node.func), tuple(map(ast.unparse, node.args)), keywords)

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]


FORBIDDEN: dict[str, Callable[[Call], bool]] = {
    "runs text": lambda call: call.name in ("eval", "exec", "compile", "os.system", "os.popen"),
    "runs a shell": lambda call: call.keywords.get("shell", "False") != "False",
    "unpickles": lambda call: bool(re.match(r"(pickle|cloudpickle|dill|joblib|marshal|shelve)\.", call.name)),
    "loads tensors with code": lambda call: call.name == "torch.load" and call.keywords.get("weights_only") != "True",
    "loads arrays with code": lambda call: call.keywords.get("allow_pickle", "False") != "False",
    "builds objects from YAML": lambda call: bool(re.match(r"yaml\.(?!safe_load$|safe_dump$)\w+$", call.name)),
    "unpacks an archive": lambda call: call.last in ("extractall", "extract", "unpack_archive"),
    "trusts remote code": lambda call: call.keywords.get("trust_remote_code", "False") != "False",
    # A folder is what our own training wrote a moment before.
    "leaves remote code to a default": lambda call: (
        call.last == "from_pretrained" and call.arguments != ("folder",) and "trust_remote_code" not in call.keywords
    ),
}


@cache
def calls() -> list[Call]:
    """Return every call in the three packages."""
    paths = [path for package in ("engine", "shards", "jobs") for path in sorted((ROOT / package).rglob("*.py"))]
    nodes = ((path, node) for path in paths for node in ast.walk(ast.parse(path.read_text())))
    return [
        Call.of(node, f"{path.relative_to(ROOT)}:{node.lineno}") for path, node in nodes if isinstance(node, ast.Call)
    ]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_line_of_ours(what: str) -> None:
    assert len(calls()) > 3000
    assert [call.place for call in calls() if FORBIDDEN[what](call)] == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("runs text", "eval(x)"),
        ("runs a shell", "subprocess.run(x, shell=True)"),
        ("unpickles", "pickle.loads(x)"),
        ("loads tensors with code", "torch.load(x)"),
        ("loads tensors with code", "torch.load(x, weights_only=False)"),
        ("loads arrays with code", "np.load(x, allow_pickle=True)"),
        ("builds objects from YAML", "yaml.load(x, Loader=yaml.Loader)"),
        ("unpacks an archive", "tarfile.open(x).extractall()"),
        ("trusts remote code", "M.from_pretrained(x, trust_remote_code=trusted)"),
        ("leaves remote code to a default", "M.from_pretrained(x)"),
    ],
)
def test_such_a_line_would_be_found(what: str, line: str) -> None:
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)
    assert FORBIDDEN[what](Call.of(call, ""))


class Canary:
    """An object that leaves a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._place,)


def test_weights_in_a_pickle_are_refused_without_running_them(
    tiny_spec: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights) | {"canary": Canary(tmp_path / "ran")}, weights.with_suffix(".bin"))
    weights.unlink()
    spec = load_spec(tiny_spec, [f"model.source={model}"])
    with pytest.raises(ModelError, match=r"diffusion_pytorch_model\.bin and no safetensors"):
        load_generator(spec.model, spec.output.image, spec.cluster)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Canary(tmp_path / "ran")))
    assert (tmp_path / "ran").exists(), "it would have been seen"


def test_code_beside_a_model_is_not_run(tiny_spec: Path, tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    for place in (model, model / "unet", model / "tokenizer"):
        (place / "own.py").write_text(code)
    config = model / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoModel": "own.Own"}}))
    index = model / "model_index.json"
    for change in ({"unet": ["own", "Own"]}, {"_class_name": ["own", "Own"]}):
        content = json.loads(index.read_text())
        index.write_text(json.dumps(content | change))
        spec = load_spec(tiny_spec, [f"model.source={model}"])
        with pytest.raises(ModelError, match="never run"):
            load_generator(spec.model, spec.output.image, spec.cluster)
        index.write_text(json.dumps(content))
    load_generator(spec.model, spec.output.image, spec.cluster)  # what is not needed is not looked at
    assert not (tmp_path / "ran").exists()


def test_every_sample_states_its_licence_and_known_members(tiny_spec: Path, tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "README.md").write_text("---\nlicense: openrail++\n---\n")
    content = yaml.safe_load(tiny_spec.read_text())
    classes = ["../../up", "/etc", "<script>"]
    spec = write_spec(
        tmp_path, content, {"model": {"source": str(model), "steps": 1}, "plan": {"per_class": 3}, "classes": classes}
    )
    run = make_run(spec, tmp_path / "run")
    shards = run / "shards"
    assert 'license: "openrail++"' in (shards / "README.md").read_text()
    assert not list(tmp_path.rglob("*up")), "no path is named for a class"
    for tar in sorted(shards.glob("*.tar")):
        stats = json.loads(tar.with_name(f"{tar.stem}_stats.json").read_text())
        assert stats["license"] == "openrail++"
        assert {row["license"] for row in pq.read_table(tar.with_suffix(".parquet")).to_pylist()} == {"openrail++"}
        with tarfile.open(tar) as opened:
            for member in opened:
                key, _, extension = member.name.partition(".")
                assert re.fullmatch(r"[a-z0-9_-]{1,64}", key)
                assert extension in MEMBER_EXTENSIONS
                assert (member.mode, member.uid, member.gid, member.mtime) == (0o644, 0, 0, 0)
                if extension == "json":
                    facts = json.load(opened.extractfile(member))  # type: ignore[arg-type]
                    assert (facts["license"], facts["synthetic"]) == ("openrail++", True)
                    assert facts["revision"]
                    assert facts["class_name"] in classes
