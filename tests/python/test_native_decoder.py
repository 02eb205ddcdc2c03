"""The native decoder against transformers, and the bits of a token's logits against themselves."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import native_toys as toys  # noqa: E402
from native_toys import Feed, chain, tokens  # noqa: E402

from anydraft import InputError, SamplingParams, SpeculativeSession, Vocabulary, _core, native  # noqa: E402
from anydraft import set_threads as choose_threads  # noqa: E402

TEXT = tokens(40)


@pytest.fixture(scope="module", params=toys.FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, toys.build(request.param, folder), folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A function of a family's name: the folder of its toy."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            toys.build(name, made[name])
        return made[name]

    return folder


def decoder(folder, weights="float32", cache="float32"):
    return _core.Decoder(str(folder), weights, cache)


def reference(name, model, text):
    """transformers' rows, the call split where longrope's frequencies change."""
    border = 24 if name == "phi3-longrope" else len(text)
    with torch.no_grad():
        first = model(torch.tensor([text[:border]]), use_cache=True)
        rows = first.logits[0]
        if text[border:]:
            rest = model(torch.tensor([text[border:]]), past_key_values=first.past_key_values)
            rows = torch.cat((rows, rest.logits[0]))
    return rows.numpy()


def far(rows, expected):
    """The largest difference, in shares of the largest logit."""
    return np.abs(rows - expected).max() / np.abs(expected).max()


def test_logits_are_those_of_transformers(family):
    name, model, folder = family
    expected = reference(name, model, TEXT)
    one = decoder(folder)
    assert far(one.forward([chain(TEXT)]), expected) < 1e-5
    # bfloat16 holds these weights exactly.
    assert far(decoder(folder, None).forward([chain(TEXT)]), expected) < 1e-4
    assert far(decoder(folder, None, "bfloat16").forward([chain(TEXT)]), expected) < 2e-2
    assert far(decoder(folder, "int8").forward([chain(TEXT)]), expected) < 0.2


def test_a_path_of_a_tree_is_the_text_it_spells(family):
    _name, _model, folder = family
    one, other = decoder(folder), decoder(folder)
    # Behind 9 tokens:  a(0) - b(1) - c(3);  a - d(2) - e(4) - f(5);  g(6)
    parents = [-1, 0, 0, 1, 2, 4, -1]
    depths = [0, 1, 1, 2, 2, 3, 0]
    new = TEXT[9:16]
    tree = Feed(0, new, [9 + d for d in depths], parents, range(9), 7)
    one.forward([chain(TEXT[:9])])
    rows = one.forward([tree])
    for node in range(7):
        path = [node]
        while parents[path[0]] >= 0:
            path.insert(0, parents[path[0]])
        text = TEXT[:9] + [new[i] for i in path]
        assert_same(other.forward([chain(text, rows=1)])[0], rows[node])
        # Kept, it goes on as that text does.
        again = decoder(folder)
        again.forward([chain(TEXT[:9])])
        again.forward([tree])
        more = chain([7, 8], len(text))
        more.keep = [*range(9), *(9 + i for i in path)]
        assert_same(again.forward([more]), other.forward([chain([*text, 7, 8], rows=2)]))


def assert_same(a, b):
    np.testing.assert_array_equal(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))


BITS = ["llama-biases", "gemma3", "mistral-window", "phi3"]
WEIGHTS = ["float32", "bfloat16", "int8", "int4"]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", BITS)
def test_bits_depend_on_the_text_alone(toy, name, weights):
    one = decoder(toy(name), weights)
    expected = one.forward([chain(TEXT)])
    for step in (1, 2, 3, 5, 7, 8, 15, 16, 17):  # a row alone, beside 1 to 16 others
        rows = [one.forward([chain(TEXT[at : at + step], at)]) for at in range(0, len(TEXT), step)]
        assert_same(np.concatenate(rows), expected)
    # In a batch of 8 requests, each at another place of its own text.
    texts = [tokens(30 + i, seed=i) for i in range(7)] + [TEXT]
    alone = [one.forward([chain(text, rows=3)]) for text in texts]
    for i, text in enumerate(texts):
        one.forward([chain(text[: -3 - i], request=i)])
    feeds = [chain(t[-3 - i :], len(t) - 3 - i, 3, i) for i, t in enumerate(texts)]
    assert_same(one.forward(feeds), np.concatenate(alone))


@pytest.mark.parametrize("name", BITS)
def test_bits_do_not_depend_on_threads_or_the_instruction_set(toy, name):
    expected = {w: decoder(toy(name), w).forward([chain(TEXT)]) for w in WEIGHTS}
    try:
        for count in (1, 2, 3):
            choose_threads(count)
            for instructions in _core.testing.instruction_sets():
                _core.testing.use_instruction_set(instructions)
                for weights in WEIGHTS:
                    got = decoder(toy(name), weights).forward([chain(TEXT)])
                    assert_same(got, expected[weights])
    finally:
        choose_threads(0)
        _core.testing.use_instruction_set("")


def test_an_array_stays_as_it_is_while_it_lives(toy):
    one = decoder(toy("llama"))
    first = one.forward([chain(TEXT[:8])])
    before = first.copy()
    for at in range(8, 16):
        one.forward([chain([TEXT[at]], at)])
    assert_same(first, before)


@pytest.mark.parametrize(("cache", "width"), [("float32", 4), ("bfloat16", 2)])
def test_what_caches_take_is_told(toy, cache, width):
    model = decoder(toy("llama"), cache=cache)
    # 3 layers, 2 key-value heads of size 8; values are padded to 16.
    assert model.cache_bytes_per_token == 3 * 2 * (8 + 16) * width
    for request in (1, 2):
        model.forward([chain(TEXT[:3], request=request)])
    assert model.cached_requests == 2
    model.forget(1)
    assert model.cached_requests == 1


def test_feeds_that_do_not_fit_are_refused_and_change_nothing(toy):
    one = decoder(toy("llama"))
    expected = one.forward([chain(TEXT[:9])])[-1]
    good = chain([5], 9, 1)
    for wrong, what in [
        (chain([96], 9), "tokens below 96"),
        (chain([-1], 9), "tokens below 96"),
        (chain([5], 10), "slots to keep below 9"),
        (Feed(0, [5], [8], [-1], range(9), 1), "position 9"),
        (Feed(0, [5, 6], [9, 9], [1, -1], range(9), 1), "parents before"),
        (Feed(0, [5], [9], [-1], range(9), 2), "as many rows"),
        (Feed(0, [], [], [], range(9), 0), "tokens, with a position"),
        (Feed(0, [5], [2], [-1], [0, 2], 1), "with their parents"),
        (Feed(0, [5], [9], [-1], [*range(8), 7], 1), "ascend"),
    ]:
        with pytest.raises(InputError, match=what):
            one.forward([chain([3], request=1), wrong])
    with pytest.raises(InputError, match="one feed a request"):
        one.forward([good, good])
    with pytest.raises(InputError, match="context length 256"):
        one.forward([chain([3] * 257, request=2)])
    assert_same(one.forward([chain([TEXT[8]], 8)])[0], expected)
    one.forget(0)
    one.forget(77)
    with pytest.raises(InputError, match="slots to keep below 0"):
        one.forward([good])


def test_what_is_not_supported_is_refused_by_name(tmp_path, toy):
    import json
    import shutil

    def changed(**values):
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(toy("llama"), folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))
        return folder

    for values, what in [
        ({"model_type": "mamba"}, "mamba"),
        ({"hidden_act": "relu"}, "relu"),
        ({"num_key_value_heads": 4}, "heads as a multiple"),
        ({"num_hidden_layers": 2}, "no tensor model.layers.2"),
        ({"num_hidden_layers": 4}, "a tensor model.layers.3"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"hidden_size": 2**50}, "2\\^20"),
        ({"hidden_size": 2**60}, "whole number"),
        ({"head_dim": 7.5}, "whole number"),
        ({"rope_parameters": {"rope_type": "ring", "rope_theta": 1.0}}, "ring"),
        ({"quantization_config": {"bits": 4}}, "not quantised"),
        ({"model_type": "qwen3"}, "q_norm"),
    ]:
        with pytest.raises(InputError, match=what):
            decoder(changed(**values))
    with pytest.raises(InputError, match="out of float32, bfloat16, int8, int4"):
        decoder(toy("llama"), "int3")


def test_a_session_of_two_native_models(toy):
    """Greedy text with a drafter of the same or another shape is plain decoding's."""
    vocabulary = Vocabulary.from_bytes(
        [bytes([i]) for i in range(toys.VOCAB)], encoder=lambda text: list(text.encode())
    )
    target = native.load(toy("qwen3"), weights="int8", vocabulary=vocabulary)
    drafter = native.load(toy("gemma3"), weights="int4", vocabulary=vocabulary)
    assert target.context_length == 256
    assert target.stop_tokens == [2]
    assert "qwen3" in target.description
    greedy = {"sampling": SamplingParams(temperature=0.0)}
    plain = SpeculativeSession(target).generate(TEXT[:9], max_tokens=40, **greedy)
    for options in ({"draft_length": 4}, {"tree": "3,2"}, {"draft_length": 7}):
        for own in (drafter, target):
            drafted = SpeculativeSession(target, own, **options)
            text = drafted.generate(TEXT[:9], max_tokens=40, **greedy)
            assert text.tokens == plain.tokens
