"""A sample of tools/model_table.py: one class of each kind."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from anydraft import InputError, SamplingParams, SpeculativeSession, hf
from tests.models import play, tiny

CLASSES = {**tiny.causal_classes(), **tiny.encoder_decoder_classes()}
RIGHT = [
    ("LlamaForCausalLM", True),
    ("GPT2LMHeadModel", True),
    ("Gemma3ForCausalLM", True),  # windows
    ("RobertaForCausalLM", True),  # positions counted from the padding
    ("BloomForCausalLM", False),  # no positions
    ("GPTNeoForCausalLM", False),  # a window that goes by slots
    ("DeepseekV32ForCausalLM", False),  # an index beside keys and values
    ("Lfm2ForCausalLM", False),  # convolutions
    ("Qwen3NextForCausalLM", False),  # gated delta
    ("Mamba2ForCausalLM", False),
    ("FalconH1ForCausalLM", False),  # states and attention in one layer
    ("T5ForConditionalGeneration", False),
    ("T5GemmaForConditionalGeneration", True),
    ("MarianMTModel", False),
    ("WhisperForConditionalGeneration", True),
]
REFUSED = {
    "JambaForCausalLM": "logits differ",
    "MambaForCausalLM": "logits differ",
    "RwkvForCausalLM": "cannot be taken back",
    "XLNetLMHeadModel": "logits differ",
    "MusicgenForCausalLM": "several codebooks",
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pair(name):
    return tiny.build(name, CLASSES[name]), tiny.build(name, CLASSES[name], seed=1)


@pytest.mark.parametrize(("name", "trees"), RIGHT)
@pytest.mark.filterwarnings("ignore")
def test_greedy_text_is_that_of_generate(name, trees):
    found = play.results(*pair(name))
    tree = found.pop("tree")
    assert set(found.values()) == {"right"}
    assert tree == "right" if trees else "expected a chain, got a tree" in tree


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_would_be_wrong_is_refused(name):
    with pytest.raises(InputError, match=REFUSED[name]):
        play.results(*pair(name))


@pytest.mark.parametrize("name", ["T5ForConditionalGeneration", "WhisperForConditionalGeneration"])
@pytest.mark.filterwarnings("ignore")
def test_a_session_gives_an_encoder_its_prompt(name):
    model, other = pair(name)
    size = model.config.get_text_config(decoder=True).vocab_size
    target, drafter = (
        hf.load(one, vocabulary=play.vocabulary(size), pack=False) for one in (model, other)
    )
    prompt = play.prompt_of(model, 9, seed=3)
    start = target.decoder_prompt(prompt)
    wanted = play.generated(model, prompt)[len(start) :]
    greedy = SamplingParams(temperature=0, max_tokens=len(wanted), ignore_eos=True)
    for second in (None, "lookup", drafter):
        session = SpeculativeSession(target, second, sampling=greedy)
        assert session.generate(prompt).tokens == wanted
        assert len(session._given_up) == 0
