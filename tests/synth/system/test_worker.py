"""Worker processes keep what they free."""

import subprocess
import sys

FAULTS = """
import resource, sys
import numpy as np
from synth.system.worker import tune_worker

if sys.argv[1] == "tuned":
    tune_worker()
def work():
    for size in (4_000_000, 9_000_000, 40_000_000):
        np.ones(size, np.uint8)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_large_arrays_are_not_mapped_again_and_again() -> None:
    plain, tuned = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("plain", "tuned")
    )
    assert 10 * tuned < plain
