"""The command line where only the base of the package is installed."""

import subprocess
import sys
from pathlib import Path

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
    found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stderr
    assert found.stderr.endswith(
        " is not installed, and this command needs it: pip install 'shardmill[generate,train]'\n"
    )
    assert "Traceback" not in found.stderr
