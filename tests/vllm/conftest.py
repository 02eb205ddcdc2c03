"""Tests inside vLLM: `make test-vllm`, in an environment of their own. Elsewhere there are none."""

import importlib.util
import sys
from pathlib import Path

collect_ignore_glob = []
if importlib.util.find_spec("vllm") is None:
    collect_ignore_glob.append("test_*.py")
else:
    sys.path.insert(0, str(Path(__file__).parent))  # engines.py, tiny.py
