"""Jobs for `serve.py`: models, prompts and configurations."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("ANYDRAFT_CACHE", Path.home() / ".cache" / "anydraft"))
MODELS = {name: str(CACHE / "models" / name) for name in ("smollm2-135m", "gemma3-270m")}
PAIRS = {
    "gemma<-smollm2": ("gemma3-270m", "smollm2-135m"),
    "smollm2<-gemma": ("smollm2-135m", "gemma3-270m"),
}
PROMPTS = [
    "The history of the city begins with a small harbour at the mouth of the river, where",
    "def binary_search(items, wanted):\n    low, high = 0, len(items)\n    while low < high:\n",
    "Question: A train leaves at 9:40 and arrives at 12:05. How long is the journey?\nAnswer:",
    "Once upon a time there was",
    "The three states of matter are",
    "import os\nimport sys\n\n\nclass Reader:\n    def __init__(self, path):\n",
    "To make bread you need flour, water,",
    "| name | age |\n|------|-----|\n| Ann  | 31  |\n| Bob  |",
    "Dear Sir or Madam,\n\nI am writing to",
    "1, 2, 3, 4, 5, 6,",
    "Water boils at",
    "SELECT name, count(*) FROM orders\nWHERE",
    "The capital of France is Paris. The capital of Italy is",
    "#include <stdio.h>\n\nint main(void) {\n",
    "A list of fruits:\n- apples\n- pears\n-",
    "In 1969, the first humans",
    "for (int i = 0; i < n; ++i) {\n\tsum +=",
    "The opposite of hot is cold. The opposite of big is",
    "Les enfants jouent dans le jardin et",
    '{\n  "name": "box",\n  "sides": [',
]
PROPOSER = "anydraft.vllm.Proposer"
WORKER = "anydraft.vllm.cpu_worker.CpuWorker"


def engine(target, **more):
    return {
        "model": MODELS.get(target, target),
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 256,
        "max_num_seqs": 8,
        "disable_log_stats": False,
        "seed": 0,
        **more,
    }


def speculative(target, drafter, length=4, *, worker=False, **more):
    # Without our worker: vLLM's CPU sampler is exact for greedy requests alone.
    options = {"drafter": MODELS.get(drafter, drafter), "greedy_only": not worker}
    options |= more.pop("options", {})
    return engine(
        target,
        speculative_config={
            "method": "custom_class",
            "model": PROPOSER,
            "num_speculative_tokens": length,
        },
        additional_config={"anydraft": options},
        **({"worker_cls": WORKER} if worker else {}),
        **more,
    )


def start(job, *, environment=None, script="serve.py"):
    """(exit status, results, what it printed) of a job."""
    with tempfile.TemporaryDirectory() as folder:
        asked, result = Path(folder) / "job.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(job))
        ran = subprocess.run(
            [sys.executable, str(HERE / script), str(asked), str(result)],
            capture_output=True,
            text=True,
            timeout=900,
            env={**os.environ, **(environment or {})},
            check=False,
        )
        answer = json.loads(result.read_text()) if result.exists() else None
        return ran.returncode, answer, ran.stdout + ran.stderr


def run(job, **options):
    """Results of a job that must succeed."""
    status, results, printed = start(job, **options)
    assert status == 0, printed[-6000:]
    return results
