"""What cannot be is told as vLLM starts, before the target is loaded."""

import pytest
from engines import HERE, PROMPTS, engine, run, speculative, start
from tiny import write_model

RUNS = [{"prompts": PROMPTS[:1], "params": {"max_tokens": 1}}]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / name, name) for name in ("target", "drafter")]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"options": {"drafter": "/no/such/model"}}, "no/such/model"),
        ({"options": {"bridge": "slrs"}}, "worker_cls of anydraft"),
        ({"skip_tokenizer_init": True}, "skip_tokenizer_init"),
        ({"options": {"greedy_only": False}}, "option greedy_only"),
        ({"worker": True, "additional_config": {}}, "drafter"),
    ],
    ids=["no drafter", "exclusive options", "no tokenizer", "vLLM's sampler", "no options"],
)
def test_mistakes_are_told_before_the_target_is_loaded(pair, more, told):
    more = dict(more)
    config = more.pop("additional_config", None)
    asked = speculative(*pair, **more)
    asked["additional_config"] = asked["additional_config"] if config is None else config
    status, _, printed = start({"engine": asked, "runs": RUNS})
    assert status != 0
    assert told in printed and "Failed to instantiate custom proposer class" in printed
    assert "Loading weights took" not in printed


def test_a_worker_without_our_proposer_is_refused(pair):
    asked = engine(pair[0], worker_cls="anydraft.vllm.cpu_worker.CpuWorker")
    status, _, printed = start({"engine": asked, "runs": RUNS})
    assert status != 0 and "speculative_config" in printed and "Loading weights" not in printed


def test_a_text_as_long_as_the_model_takes(pair):
    """Near max_model_len vLLM fills in drafts of its own."""
    prompts = [{"prompt_token_ids": [i % 3] * (20 + i)} for i in range(6)]
    params = {"temperature": 0, "max_tokens": 40, "ignore_eos": True}
    runs = [{"prompts": prompts, "params": params}]
    small = {"max_model_len": 48, "num_gpu_blocks_override": 100}
    [plain] = run({"engine": engine(pair[0], **small), "runs": runs})
    for worker in (False, True):
        [spoken] = run({"engine": speculative(*pair, worker=worker, **small), "runs": runs})
        assert spoken["tokens"] == plain["tokens"]


def test_a_drafter_that_fails_is_off_and_the_service_goes_on(pair):
    prompts = [{"prompt_token_ids": [i % 3] * (1 + i)} for i in range(6)]
    params = {"temperature": 0, "max_tokens": 40, "ignore_eos": True}
    job = {"engine": engine(pair[0]), "runs": [{"prompts": prompts, "params": params}]}
    [plain] = run(job)
    job["engine"] = speculative(*pair, worker=True)
    job["engine"]["worker_cls"] = "recording.FailingWorker"
    status, results, printed = start(job, environment={"PYTHONPATH": str(HERE)})
    assert status == 0, printed[-4000:]
    assert results[0]["tokens"] == plain["tokens"]
    assert printed.count("the drafter failed; from now on nothing is drafted") == 1
    assert 0 < results[0]["counters"]["spec_decode_num_drafts"] < 60
