"""Models by path: which backend, chat templates, stops, and what rows cost."""

import functools
import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from test_cli import save_model  # noqa: E402
from test_native_real import folder, gguf_file  # noqa: E402

from anydraft import (  # noqa: E402
    InputError,
    SamplingParams,
    SpeculativeSession,
    Vocabulary,
    VocabularyError,
    cli,
    hf,
    loading,
    native,
)
from anydraft.loading import describe, load_model  # noqa: E402
from anydraft.native import NativeModel  # noqa: E402

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is <|im_end|> for?"},
]
GREEDY = SamplingParams(temperature=0)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    corpus = ["The cat sat on the mat, and the dog sat on the cat.", "def f(x): return x + 1"]
    return save_model(tmp_path_factory.mktemp("models") / "llama", 320, 0, corpus)


@pytest.fixture(scope="module")
def gpt2(llama, tmp_path_factory):
    """A family that the native decoder does not know, with the same tokenizer."""
    path = tmp_path_factory.mktemp("models") / "gpt2"
    transformers.AutoTokenizer.from_pretrained(llama).save_pretrained(path)
    config = transformers.GPT2Config(vocab_size=320, n_embd=32, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(path)
    return str(path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYDRAFT_CACHE", str(tmp_path))
    return tmp_path / "row_costs"


smollm2 = functools.cache(lambda: native.load(gguf_file("smollm2-135m")))


def test_chat_and_stops_of_a_gguf_file_are_those_of_its_owner():
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder("smollm2-135m"))
    for chat in (CHAT, CHAT[1:]):
        expected = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert smollm2().chat(chat) == expected
    assert smollm2().stop_tokens == [tokenizer.eos_token_id]
    made = SpeculativeSession(smollm2()).generate(
        [{"role": "user", "content": "Say hello."}], max_tokens=64, sampling=GREEDY
    )
    assert (made.finish_reason, made.tokens[-1]) == ("stop", tokenizer.eos_token_id)


def test_auto_is_native_where_the_decoder_knows_the_family(llama, gpt2):
    assert isinstance(load_model(llama, device="cpu"), NativeModel)
    assert isinstance(load_model(gguf_file("smollm2-135m")), NativeModel)
    assert isinstance(load_model(llama, device="cpu", backend="hf"), hf.HfModel)
    other = load_model(gpt2, device="cpu")
    assert isinstance(other, hf.HfModel)
    assert describe(other) == "hf, GPT2LMHeadModel, float32 on cpu"
    with pytest.raises(InputError, match="gpt2"):
        load_model(gpt2, backend="native")
    with pytest.raises(InputError, match="device"):
        load_model(llama, backend="native", device="cuda")
    with pytest.raises(
        InputError, match=r"without weights, which the native .*\(not native: .*gpt2"
    ):
        load_model(gpt2, device="cpu", weights="int8")


def test_names_that_are_no_model_say_so(llama, tmp_path, monkeypatch):
    for backend in ("auto", "native", "hf"):
        with pytest.raises(InputError, match=r"expected a GGUF file, got .*nofile\.gguf"):
            load_model("nofile.gguf", backend=backend)
    damaged = tmp_path / "x.bin"
    damaged.write_bytes(b"<html>404</html>")
    for read in (native.load, functools.partial(Vocabulary.from_file, kind="gguf")):
        with pytest.raises(VocabularyError, match=r"expected a GGUF file, got x\.bin"):
            read(damaged)
    for costs in ("abc", [0.0, -1.0], [0.0, float("nan")]):
        with pytest.raises(InputError, match="row_costs"):
            native.load(llama, row_costs=costs)
    monkeypatch.setenv("HOME", str(Path(llama).parent))
    assert native.load(f"~/{Path(llama).name}").vocab_size == native.load(llama).vocab_size
    assert (model := native.load(llama)).input_size == model.vocab_size


def test_auto_leaves_to_transformers_what_it_cannot_read(llama, gpt2, tmp_path, monkeypatch):
    """A family that is not known, or a tokenizer in other files; on any machine."""
    tried = []
    monkeypatch.setattr(loading, "_hf", lambda name, *_: tried.append(Path(name).name))
    for path in (llama, gpt2):
        copy = tmp_path / Path(path).name
        shutil.copytree(path, copy)
        (copy / "tokenizer.json").unlink()
        load_model(copy, device="cpu")
    assert tried == ["llama", "gpt2"]
    with pytest.raises(
        FileNotFoundError, match=r"tokenizer\.json, tekken\.json, tokenizer\.model in"
    ):
        Vocabulary.from_file(copy)
    assert Vocabulary.from_file(llama) == native.load(llama).vocabulary
    monkeypatch.setattr(loading, "_has_cuda", lambda: True)
    assert isinstance(load_model(llama, backend="native"), NativeModel)


def test_sessions_of_both_backends_write_the_same(llama):
    texts = {}
    for backend, weights in (("native", "float32"), ("hf", None)):
        session = SpeculativeSession.from_pretrained(
            llama, "lookup", backend=backend, device="cpu", weights=weights, sampling=GREEDY
        )
        texts[backend] = session.generate("The cat sat on the mat. The cat", max_tokens=32).tokens
    assert texts["native"] == texts["hf"]


def test_row_costs_are_measured_once_and_kept(llama, cache):
    first = native.load(llama).row_costs
    assert len(first) == 17 and first[0] == 0 and min(first[1:]) > 0
    (file,) = cache.iterdir()
    kept = json.loads(file.read_text())
    quick = [n / 1e6 for n in range(17)]  # no call is quicker
    file.write_text(json.dumps(kept | {"milliseconds": quick}))
    assert native.load(llama).row_costs == quick
    assert native.load(llama, weights="int4").row_costs != quick  # another table
    file.write_text(json.dumps(kept | {"milliseconds": [n * 1e6 for n in range(17)]}))
    assert max(native.load(llama).row_costs) < 1e6  # calls are quicker now: measured again
    file.write_text("{")  # as if cut off: measured again
    assert len(native.load(llama).row_costs) == 17


def test_a_session_counts_with_the_row_costs_that_were_given(llama, cache):
    target = native.load(llama, row_costs=[0, 40, 44])
    drafter = native.load(llama, weights="int4", row_costs=[0, 10, 11])
    assert SpeculativeSession(target, drafter).draft_cost == 0.25
    assert SpeculativeSession(target, "lookup").draft_cost == 0.15
    assert not cache.exists()  # nothing was measured
    with pytest.raises(InputError, match="row_costs"):
        native.load(llama, row_costs=[1.0])


def test_the_command_line_says_which_backend_is_in_force(llama, capsys):
    command = ["generate", "--target", llama, "--drafter", "lookup", "--prompt", "The cat sat on"]
    assert cli.main([*command, "--max-tokens", "8", "--weights", "int8"]) == 0
    assert "native, llama, weights a step reads: i8" in capsys.readouterr().err
    assert cli.main([*command, "--max-tokens", "8", "--backend", "hf"]) == 0
    assert "hf, LlamaForCausalLM, float32 on cpu" in capsys.readouterr().err
    assert cli.main([*command, "--pack", "--weights", "int8"]) == 2
    assert "--pack with --backend hf" in capsys.readouterr().err


def test_bench_decode_compares_texts_and_counts_calls(llama, cache, tmp_path, capsys):
    prompts, out = tmp_path / "prompts.json", tmp_path / "result.json"
    prompts.write_text(json.dumps(["The cat sat on the mat. The", "def f(x): return", "A dog"]))
    command = ["bench", "decode", "--target", llama, "--drafter", llama, "--prompts", str(prompts)]
    command += ["--tune", "1", "--range", "1:3", "--tokens", "12", "--json", str(out)]
    assert cli.main([*command, "--drafter-weights", "float32"]) == 0
    result = json.loads(out.read_text())
    plain = [run for run in result["runs"] if run["method"] == "plain"]
    assert [run["prompt"] for run in plain] == [1, 2]
    assert all(run["target_calls"] == len(run["tokens"]) for run in plain)
    assert result["texts_equal"] is True
    best = max(row["over_plain"] for name, row in result["methods"].items() if name != "plain")
    assert result["best_over_plain"] == best
    assert result["best_over_llamacpp"] is None
    for wrong, told in {
        ("--method", "none such"): "expected methods out of plain",
        ("--method", "plain", "--range", "2:9"): "behind 0 tuning prompts and within 3",
        ("--each", "0"): "expected --each N of 3 prompts, got none",
        ("--peer", "openvino", "--temperature", "1"): "expected --peer at temperature 0",
        ("--tokens", "13"): f"expected the settings of {out}",
    }.items():
        assert cli.main([*command, *wrong]) == 2
        assert told in capsys.readouterr().err
    assert cli.main([*command, "--method", "plain", "--range", "0:1"]) == 0  # added to the file
    assert len(json.loads(out.read_text())["runs"]) == len(result["runs"]) + 1
