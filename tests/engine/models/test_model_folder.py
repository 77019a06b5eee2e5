"""The licence that a model's card names."""

from pathlib import Path

import pytest

from engine.models.model_folder import read_license


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
def test_license_comes_from_the_card(tmp_path: Path, card: str, license: str) -> None:
    assert read_license(tmp_path) == "unknown"
    (tmp_path / "README.md").write_text(card)
    assert read_license(tmp_path) == license


def test_license_of_a_training_comes_first(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "training.json").write_text('{"license": "apache-2.0"}')
    assert read_license(tmp_path) == "apache-2.0"
