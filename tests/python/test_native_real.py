"""Real GGUF files in the native decoder. SmolLM2 always, the others where they can be had."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

from native_toys import chain  # noqa: E402

from anydraft import SamplingParams, SpeculativeSession, _core, native  # noqa: E402
from anydraft.gguf_metadata import read_metadata  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import models  # noqa: E402
from packages import Unavailable  # noqa: E402

NAMES = [
    "smollm2-135m",
    pytest.param("gemma3-270m", marks=pytest.mark.slow),
    pytest.param("qwen2.5-coder-1.5b", marks=pytest.mark.slow),
]


@functools.cache
def gguf_file(name):
    try:
        return models.gguf(name)
    except Unavailable as error:
        pytest.skip(f"!!!! {name} cannot be had: {error}")


@functools.cache
def folder(name):
    """What transformers makes of it: a bfloat16 folder with a tokenizer.json."""
    try:
        return models.fetch(name)
    except Unavailable as error:
        pytest.skip(f"!!!! {name} cannot be had: {error}")


def text_of(name, count):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder(name))
    return tokenizer("\n".join(models.humaneval_prompts(8)))["input_ids"][:count]


def losses(logits, ids):
    """Cross-entropy of each next token [count - 1]."""
    return torch.nn.functional.cross_entropy(
        torch.tensor(np.asarray(logits)[:-1]), torch.tensor(ids[1:]), reduction="none"
    )


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_weights_give_the_logits_of_transformers(name):
    ids = text_of(name, 160)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    rows = _core.Decoder(str(folder(name)), None, "float32").forward([chain(ids)])
    assert np.abs(rows - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_a_gguf_file_says_what_its_dequantised_weights_say(name):
    """Activations in 8 bits move single logits; the text is as likely as with exact ones. A file
    whose rows, scales or norms were read wrongly would be nowhere near."""
    ids = text_of(name, 600)
    exact = _core.Decoder(str(folder(name)), None, "float32").forward([chain(ids)])
    rows = _core.Decoder(str(gguf_file(name)), None, "float32").forward([chain(ids)])
    assert abs((losses(rows, ids) - losses(exact, ids)).mean()) < 0.03
    assert (rows.argmax(1) == exact.argmax(1)).mean() > 0.9


LOADED = """import resource, sys
from anydraft import native
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
model = native.load(sys.argv[1])
print(peak() - before)"""


@pytest.mark.parametrize("name", NAMES)
def test_loading_takes_little_more_than_the_file(name):
    """The vocabulary included, of which Gemma's is a fifth of the file's size while it is read."""
    command = [sys.executable, "-c", LOADED, str(gguf_file(name))]
    taken = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert taken <= 1.3 * gguf_file(name).stat().st_size


def test_metadata_is_that_of_the_gguf_package():
    reader = gguf.GGUFReader(gguf_file("smollm2-135m"))
    metadata = read_metadata(gguf_file("smollm2-135m"))
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        expected, got = field.contents(), metadata.pop(key)
        assert list(got) == expected if isinstance(got, bytes) else got == expected, key
    assert not metadata


def test_bits_and_texts_of_smollm2():
    """A row alone and beside others; greedy texts plain, by lookup, by itself as the drafter."""
    from anydraft import Vocabulary

    vocabulary = Vocabulary.from_file(folder("smollm2-135m") / "tokenizer.json")
    model = native.load(gguf_file("smollm2-135m"), vocabulary=vocabulary)
    assert model.context_length == 8192
    assert model.stop_tokens == [2]
    ids = text_of("smollm2-135m", 96)
    whole = model([chain(ids)]).view(np.uint32)
    for step in (1, 2, 5, 8, 16):
        rows = [model([chain(ids[at : at + step], at)]) for at in range(0, len(ids), step)]
        np.testing.assert_array_equal(np.concatenate(rows).view(np.uint32), whole)
    prompts = models.humaneval_prompts(4)
    greedy = SamplingParams(temperature=0)
    plain = SpeculativeSession(model).generate(prompts, max_tokens=48, sampling=greedy)
    for drafter, more in (("lookup", {}), (model, {"draft_length": 6}), (model, {"tree": "2,2"})):
        session = SpeculativeSession(model, drafter, **more)
        texts = session.generate(prompts, max_tokens=48, sampling=greedy, batch_size=3)
        assert [text.tokens for text in texts] == [text.tokens for text in plain]


WAYS = {
    **{f"{bridge} {n}": {"bridge": bridge, "draft_length": n, "draft_confidence": 0.0}
       for bridge in ("tli", "slem", "slrs", "auto") for n in (3, 7)},
    "tli tree": {"bridge": "tli", "tree": "2x2x1x1"},
    "slrs tree": {"bridge": "slrs", "tree": "3,1,1"},
    "dynamic tree": {"bridge": "tli", "tree": "dynamic:4,6,4,12"},
    "automatic": {"draft_length": "auto"},
}  # fmt: skip


@functools.cache
def plain_texts():
    """SmolLM2's own, of 20 prompts, each by itself."""
    target = native.load(gguf_file("smollm2-135m"))
    greedy = SamplingParams(temperature=0, max_tokens=128, ignore_eos=True)
    plain = SpeculativeSession(target, sampling=greedy)
    return (
        target,
        greedy,
        [plain.generate(prompt).tokens for prompt in models.humaneval_prompts(20)],
    )


@functools.cache
def gemma():
    return native.load(gguf_file("gemma3-270m"))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("way", WAYS)
def test_twenty_greedy_texts_are_plain_decodings(way, batch):
    """No clause of near ties: a row's bits do not depend on what stands beside it."""
    target, greedy, texts = plain_texts()
    session = SpeculativeSession(target, gemma(), sampling=greedy, **WAYS[way])
    made = session.generate(models.humaneval_prompts(20), batch_size=batch)
    assert [one.tokens for one in made] == texts
    assert way == "automatic" or sum(one.stats.accepted for one in made) > 500
