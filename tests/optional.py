"""Parts of a machine that tests can do without: where they are, and marks that skip a test where they are missing.

$SHARDMILL_TEST_HIDE lists parts to treat as missing: `SHARDMILL_TEST_HIDE=chromium,wordnet,shared make test`.
"""

import os
import shutil
from pathlib import Path

import pytest

_HIDDEN = set(filter(None, os.environ.get("SHARDMILL_TEST_HIDE", "").split(",")))
_NOWHERE = Path("/nonexistent")

SHARED = _NOWHERE if "shared" in _HIDDEN else Path(__file__).parents[2] / "shared"
CIFAR10 = SHARED / "data/cifar10"
VISUAL_GENOME = SHARED / "data/attributes/visual_genome_by_cifar10_class.json"
WORDNET = _NOWHERE if "wordnet" in _HIDDEN else Path("/usr/share/wordnet")
CHROMIUM = None if "chromium" in _HIDDEN else shutil.which("chromium") or shutil.which("google-chrome")

needs_cifar10 = pytest.mark.skipif(not CIFAR10.is_dir(), reason="no CIFAR-10 in ../shared/data/cifar10")
needs_visual_genome = pytest.mark.skipif(not VISUAL_GENOME.exists(), reason="no Visual Genome in ../shared/data")
needs_wordnet = pytest.mark.skipif(not (WORDNET / "data.noun").exists(), reason="apt-get install wordnet-base")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")

if unknown := _HIDDEN - {"chromium", "wordnet", "shared"}:
    raise ValueError(f"SHARDMILL_TEST_HIDE: there is no part {', '.join(sorted(unknown))}")
if "wordnet" in _HIDDEN:
    os.environ["WNSEARCHDIR"] = str(_NOWHERE)  # of the commands that tests start
