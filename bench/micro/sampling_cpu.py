"""`anydraft bench kernels --device cpu` with its results in bench/results.

OMP_WAIT_POLICY=passive python bench/micro/sampling_cpu.py [more arguments of the command]
"""

import datetime
import sys
from pathlib import Path

from anydraft.cli import main

RESULTS = Path(__file__).parents[1] / "results"

if __name__ == "__main__":
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    out = RESULTS / f"kernels-cpu-{date}.json"
    sys.exit(main(["bench", "kernels", "--device", "cpu", "--out", str(out), *sys.argv[1:]]))
