"""`generate` of transformers, speculated: what it gives by itself, or a refusal by name."""

import copy
import gc
import pickle
import weakref

import pytest
from tokenizers import pre_tokenizers
from toys import bpe, letters

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
hf_toys = pytest.importorskip("hf_toys")

from anydraft import InputError, hf  # noqa: E402
from anydraft.generate_compat import Speculative, speculate  # noqa: E402
from anydraft.testing import chi_square  # noqa: E402

VOCABULARY = letters(*[bytes([i + 32]) for i in range(hf_toys.VOCAB)])
PROMPT = torch.tensor([[5, 9, 7, 5, 9]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = hf_toys.llama()
    made.generation_config.eos_token_id = [2, 11]
    made.generation_config.pad_token_id = 0
    return made


@pytest.fixture(params=["another", "lookup"])
def drafter(request):
    if request.param == "lookup":
        return "lookup"
    torch.manual_seed(1)
    return hf_toys.llama()


def both(model, drafter, *args, **kwargs):
    custom = Speculative(drafter, vocabulary=VOCABULARY)
    plain = model.generate(*args, **copy.deepcopy(kwargs))
    return plain, model.generate(*args, custom_generate=custom, **kwargs)


class Third(transformers.StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        return torch.tensor([row.tolist().count(int(row[5])) >= 3 for row in input_ids])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_length": 17},
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2},
        {"suppress_tokens": [3, 4, 40, 41, 42, 43]},
        {"begin_suppress_tokens": list(range(50))},
        {"bad_words_ids": [[50], [60, 61], [9, 7]]},
        {"min_new_tokens": 20, "sequence_bias": [[[11], 6.0]]},
        {"eos_token_id": list(range(20, 60))},
        {"forced_eos_token_id": 2},
        {"forced_bos_token_id": 8},
        {"exponential_decay_length_penalty": (5, 1.5)},
        {"do_sample": True, "top_k": 1},
        {"stopping_criteria": transformers.StoppingCriteriaList([Third()])},
    ],
    ids=str,
)
def test_greedy_texts_are_transformers_own(model, drafter, options):
    options = {"do_sample": False, "max_new_tokens": 24, **options}
    if "max_length" in options:
        del options["max_new_tokens"]
    plain, speculated = both(model, drafter, PROMPT, **options)
    assert speculated.tolist() == plain.tolist()


def test_padded_batches(model, drafter):
    ids = torch.tensor([[0, 0, 5, 9, 7], [8, 4, 5, 30, 12]])
    options = {
        "attention_mask": (ids != 0).long(),
        "do_sample": False,
        "max_new_tokens": 20,
        "repetition_penalty": 1.2,
        "eos_token_id": list(range(12, 24)),
    }
    plain, speculated = both(model, drafter, ids, **options)
    assert speculated.tolist() == plain.tolist()


def test_a_model_without_padding_is_padded_as_generate_does(model):
    """With the first id that ends a text."""
    model.generation_config.pad_token_id = None
    ids = torch.tensor([[5, 9, 7], [60, 70, 80]])  # the second ends with 58
    options = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": list(range(12, 60))}
    plain, speculated = both(model, "lookup", ids, attention_mask=torch.ones_like(ids), **options)
    assert speculated.tolist() == plain.tolist()
    assert plain[:, -1].tolist() == [7, 12]


def test_samples_have_transformers_distribution(model):
    options = {"do_sample": True, "temperature": 0.7, "top_k": 6, "top_p": 0.9, "max_new_tokens": 1}
    torch.manual_seed(5)
    custom = Speculative("lookup", vocabulary=VOCABULARY)
    calls = [
        model.generate(PROMPT, custom_generate=custom, num_return_sequences=40, **options)[:, -1]
        for _ in range(40)
    ]
    drawn = torch.cat(calls)
    again = model.generate(PROMPT, return_dict_in_generate=True, output_scores=True, **options)
    masses = torch.softmax(again.scores[0][0], 0).double()
    assert chi_square(torch.bincount(drawn, minlength=len(masses)), masses).p_value > 1e-3
    texts = []
    for _ in range(2):
        torch.manual_seed(7)
        texts.append(model.generate(PROMPT, custom_generate=custom, do_sample=True).tolist())
    assert texts[0] == texts[1]


def test_one_line_makes_every_call_speculate(model):
    plain = model.generate(PROMPT, do_sample=False, max_new_tokens=20)
    same = speculate(model, "lookup", vocabulary=VOCABULARY)

    class Streamer:
        told, ended = [], False

        def put(self, ids):
            self.told += ids.flatten().tolist()

        def end(self):
            self.ended = True

    streamer = Streamer()
    assert same is model
    made = model.generate(PROMPT, do_sample=False, max_new_tokens=20, streamer=streamer)
    assert made.tolist() == plain.tolist() == [streamer.told] and streamer.ended
    with pytest.raises(InputError, match="no assistant_model"):
        model.generate(PROMPT, assistant_model=model)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_beams": 2}, "got beam_search"),
        ({"output_scores": True, "return_dict_in_generate": True}, "output_scores"),
        ({"guidance_scale": 1.5}, "guidance_scale"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_name(model, options, told):
    custom = Speculative("lookup", vocabulary=VOCABULARY)
    with pytest.raises(InputError, match=told):
        model.generate(PROMPT, custom_generate=custom, max_new_tokens=4, **options)


def test_models_are_handed_back_in_their_own_mode(model):
    model.config.attention_dropout = 0.9
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.9
    plain = model.eval().generate(PROMPT, do_sample=False, max_new_tokens=12)
    drafter = hf_toys.llama().train()
    custom = Speculative(drafter, vocabulary=VOCABULARY)
    model.train()
    model.lm_head.eval()  # a part that is kept as it is
    modes = [layer.training for layer in model.modules()]
    for _ in range(2):  # the first call reads the models
        made = model.generate(PROMPT, custom_generate=custom, do_sample=False, max_new_tokens=12)
        assert made.tolist() == plain.tolist()
        assert [layer.training for layer in model.modules()] == modes
        assert all(layer.training for layer in drafter.modules())
    with pytest.raises(InputError):
        model.generate(PROMPT, custom_generate=custom, attention_mask=PROMPT * 0, max_new_tokens=4)
    assert [layer.training for layer in model.modules()] == modes


def test_a_model_is_freed_while_its_speculative_lives(model):
    custom = Speculative("lookup", vocabulary=VOCABULARY)
    model.generate(PROMPT, custom_generate=custom, do_sample=False, max_new_tokens=4)
    target = weakref.ref(model._anydraft_targets.by_user[custom])
    # Copies begin without, and have targets of their own.
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not again._anydraft_targets.by_user
        again.generate(PROMPT, custom_generate=custom, do_sample=False, max_new_tokens=4)
        assert again._anydraft_targets.by_user[custom].model is again
    gone = weakref.ref(again)
    del again
    gc.collect()
    assert gone() is None
    del custom
    gc.collect()
    assert target() is None


def test_vocabularies_come_from_where_the_models_do(model, tmp_path):
    """Target and drafter by folders, each with a tokenizer of its own; nothing else is given."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())[: hf_toys.VOCAB]
    torch.manual_seed(1)
    made = {}
    for name, of, chars in (("big", model, symbols), ("small", hf_toys.llama(), symbols[::-1])):
        of.save_pretrained(tmp_path / name)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=bpe([], eos=False, chars=chars)
        )
        tokenizer.save_pretrained(tmp_path / name)
        made[name] = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name)
    options = {"do_sample": False, "max_new_tokens": 24}
    plain = made["big"].generate(PROMPT, **options)
    for drafter in (made["small"], str(tmp_path / "small")):
        custom = Speculative(drafter)
        speculated = made["big"].generate(PROMPT, custom_generate=custom, **options)
        assert speculated.tolist() == plain.tolist()
        session = custom._session(made["big"], made["big"].generation_config, sample=False)
        spelt = [
            session.target.vocabulary.token_bytes(3),
            session.drafter.vocabulary.token_bytes(3),
        ]
        assert spelt == [symbols[3].encode(), symbols[-4].encode()]


@pytest.mark.parametrize("family", ["Llama", "Qwen2"])  # Qwen2's would be one of a single token
def test_a_model_whose_folder_has_no_tokenizer_wants_one(family, tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = getattr(transformers, f"{family}Config")(vocab_size=hf_toys.VOCAB, **sizes, **heads)
    kind = getattr(transformers, f"{family}ForCausalLM")
    kind(config).save_pretrained(tmp_path)
    built = kind.from_pretrained(tmp_path)
    unnamed = kind.from_pretrained(None, config=config, state_dict=built.state_dict())
    for model in (built, unnamed):
        with pytest.raises(InputError, match=r"expected .*tokenizer"):
            hf.load(model)
        assert hf.load(model, vocabulary=VOCABULARY).vocabulary is VOCABULARY
        drafted = Speculative(model, vocabulary=VOCABULARY)
        ids = model.generate(PROMPT, custom_generate=drafted, do_sample=False, max_new_tokens=8)
        assert ids.tolist() == model.generate(PROMPT, do_sample=False, max_new_tokens=8).tolist()
