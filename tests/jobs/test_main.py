"""The command line with only the base of the package installed, and its output for programs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.__main__ import main, parser

ROOT = Path(__file__).parents[2]
# None in sys.modules makes an import fail as that of a package which is not there.
WITHOUT_EXTRAS = """
import sys
sys.modules |= dict.fromkeys(["yaml", "pydantic", "torch", "ray", "diffusers"])
from jobs.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_missing_extra_is_named_with_its_remedy(tmp_path: Path) -> None:
    line = [sys.executable, "-c", WITHOUT_EXTRAS, "verify", str(tmp_path)]
    completed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 1, completed.stderr
    assert completed.stderr.endswith(
        " is not installed, and this command needs it: pip install 'shardmill[generate,train]'\n"
    )
    assert "Traceback" not in completed.stderr


def test_json_logs_are_json_to_their_last_line(
    tiny_spec: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    line = ["generate", str(tiny_spec), "--out", str(run), "--log-format", "json"]
    assert main(line) == 0
    events = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["finished", "report"]
    assert events[0]["message"].startswith("18 of 18 shards")
    assert events[1]["path"] == f"{run}/report.html"
    code = main([*line, "--set", "seed=4"])
    out, err = capsys.readouterr()
    events = [json.loads(text) for text in out.splitlines()]
    assert [(event["level"], event["event"], event["exit_code"]) for event in events] == [("error", "failed", code)]
    assert err == f"error: {events[0]['message']}\n"


@pytest.mark.parametrize("name", ["digits", "jobs/specs/digits.yaml"])
def test_shipped_specs_are_found_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parser().parse_args(["lint", name]).spec == str(ROOT / "jobs/specs/digits.yaml")
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert parser().parse_args(["lint", name]).spec == name
    assert parser().parse_args(["lint", "s3://bucket/digits"]).spec == "s3://bucket/digits"
