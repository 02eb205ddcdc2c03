"""Tests inside vLLM: `make test-vllm`, in an environment of their own. Elsewhere there are none."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("vllm") else ["test_*.py"]
