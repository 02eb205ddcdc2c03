"""Tests inside vLLM: `make test-vllm`, in an environment of their own. Elsewhere there are none."""

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

collect_ignore_glob = []
# Not by importing: this folder may be found under that name.
if "vllm" not in packages_distributions():
    collect_ignore_glob.append("test_*.py")
else:
    sys.path.insert(0, str(Path(__file__).parent))  # engines.py, tiny.py
