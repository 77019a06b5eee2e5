"""A credential in a spec is refused before anything is written, and no message repeats it."""

import json
import random
import string
import time
from pathlib import Path

import pytest
import yaml

from engine.config.credentials import is_secret
from engine.config.spec_file import load_spec
from engine.errors import SpecError
from tests.conftest import ROOT, Jobs, text_of

MINIMAL = {"name": "x", "classes": ["a", "b"], "plan": {"per_class": 2}, "model": {"source": "embedded/digits"}}


def random_text(alphabet: str, length: int) -> str:
    """Return random text for a credential. A literal one would alarm the secret scanners of this repository."""
    return "".join(random.Random(alphabet + str(length)).choices(alphabet, k=length))


WORD = string.ascii_letters + string.digits
SECRETS = {
    "AWS access key": "AKIA" + random_text(string.ascii_uppercase, 16),
    "Hugging Face token": "hf_" + random_text(string.ascii_letters, 34),
    "API key": "sk-proj-" + random_text(WORD, 48),
    "GitHub token": "ghp_" + random_text(WORD, 36),
    "GitLab token": "glpat-" + random_text(WORD, 20),
    "Slack token": "xoxb-" + random_text(string.digits, 12),
    "JSON web token": f"eyJ{random_text(WORD, 20)}.eyJ{random_text(WORD, 40)}.{random_text(WORD, 43)}",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\n" + random_text(WORD, 64),
    "URL with a password": f"https://me:{random_text(WORD, 12)}@host.example/v1",
    "signed URL": f"https://bucket.s3.amazonaws.com/a.tar?X-Amz-Expires=60&X-Amz-Signature={random_text(WORD, 64)}",
}


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(path, overrides)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def write(folder: Path, content: object) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("kind", SECRETS)
def test_credential_is_refused_anywhere_and_never_repeated(kind: str, tmp_path: Path) -> None:
    secret = SECRETS[kind]
    deep = {"prompts": {"attributes": {"place": ["at sea", f"see {secret}"]}}}
    for change, place in (
        ({"model": {"source": secret}}, "model.source"),
        (deep, "prompts.attributes.place.1"),
        ({"classes": [secret, "b"]}, "classes.0"),
        ({"prompts": {"classes": {secret: {"name": "b"}}}}, "prompts.classes"),
        ({"unknown": secret}, "unknown"),
        ({secret: 1}, "a key"),
    ):
        text = refusal(write(tmp_path, MINIMAL | change))
        assert f"spec.yaml: {place}: looks like a" in text, text
        assert kind in text
        assert "environment" in text
        assert secret not in text
    for override in (f"model.source={json.dumps(secret)}", f"{secret}=1", f"model.steps=[{secret}", secret):
        text = refusal(write(tmp_path, MINIMAL), override)
        assert text.startswith("--set: "), text
        assert secret not in text


@pytest.mark.parametrize("name", ["aws_secret_access_key", "password", "HF_TOKEN", "api-key", "apiKey", "credentials"])
def test_a_credential_is_known_by_its_name(name: str, tmp_path: Path) -> None:
    text = refusal(write(tmp_path, MINIMAL | {"model": {"source": "embedded/digits", name: "correct horse battery"}}))
    assert f"model.{name}: looks like a credential, by its name" in text
    assert "correct horse" not in text
    text = refusal(write(tmp_path, MINIMAL), f"model.{name}=correct horse battery")
    assert "correct horse" not in text


def test_a_file_that_is_no_yaml_is_not_quoted(tmp_path: Path) -> None:
    secret = SECRETS["API key"]
    path = tmp_path / "spec.yaml"
    for text in (f"a: [{secret}", f"a: {secret}: b", f"'{secret}", f"a: {secret}\n b: 1", f"\t{secret}: 1"):
        path.write_text(text)
        assert secret not in refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        "stabilityai/sd-turbo", "a photo of a {class}, risk-averse-and-very-long-compound-word", "subway token",
        "s3://bucket/prefix", "abfs://container@account.dfs.core.windows.net/x", "http://host:8000/v1",
        "main@" + "0" * 40, "hf_transfer", "task-1-of-the-whole-long-list-of-tasks", "hf://datasets/a/b", "10:30",
        "https://host/a.tar?token", "a token=1 of many", "sha256:" + "0" * 64, "desk-" + "1" * 30,
    ],
)  # fmt: skip
def test_ordinary_texts_are_none(text: str, tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, MINIMAL | {"classes": [text, "password"], "prompts": {"negative": text}}))
    assert spec.prompts.negative == text


def test_shipped_specs_and_names_of_variables_are_none() -> None:
    assert not is_secret("api_key_env", "OPENAI_API_KEY")
    assert not is_secret("HF_HOME", "/opt/huggingface")
    for path in sorted((ROOT / "jobs/specs").glob("*.yaml")):
        assert not is_secret("", path.read_text()), path


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "sk-" * 70_000, "eyJ-" * 50_000, "a:" * 100_000, "-----BEGIN " * 20_000]
)
def test_no_text_takes_long(text: str) -> None:
    started = time.process_time()
    assert not is_secret("", text)
    assert time.process_time() - started < 2


def test_the_command_line_refuses_it_and_writes_nothing(jobs: Jobs, tmp_path: Path) -> None:
    secret = SECRETS["Hugging Face token"]
    completed = jobs(
        "generate", "jobs/specs/smoke.yaml", "--out", tmp_path / "run", "--set", f"prompts.negative={secret}"
    )
    assert completed.returncode == 2, text_of(completed)
    assert "prompts.negative: looks like a Hugging Face token" in completed.stderr
    assert secret not in text_of(completed)
    assert not (tmp_path / "run").exists()
