"""Freed memory is kept, and returned on request."""

import ctypes
import resource
import subprocess
import sys

import pytest

# In a process of its own, since the settings of glibc stay.
PROGRAM = """
import resource, torch
from engine.models.memory import free_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(20 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
keep_freed_memory()
faults()
print(faults())
free_memory()
print(faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_freed_memory_is_kept_until_free_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, kept, returned = map(int, done.stdout.split())
    pages = (20 << 20) * 4 // resource.getpagesize()
    assert before > pages, "each tensor gets new memory"
    assert kept < pages / 100
    assert returned > pages / 4, "unused memory went back to the system"
