"""The command line on two tiny random models with different BPEs."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

from anydraft import cli  # noqa: E402
from anydraft.cli import compare as comparing  # noqa: E402

PROMPT = "The cat sat on the mat. The cat sat on"


def save_model(folder, vocab_size, seed, corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["</s>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=specials,
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    fast.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=100_000,
        eos_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config)
    for parameter in model.parameters():  # far from uniform, so that no tie is near
        parameter.data.mul_(4)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other make tiny models slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    corpus = ["The cat sat on the mat, and the dog sat on the cat.", "def f(x): return x + 1"]
    return save_model(tmp_path_factory.mktemp("models") / "target", 320, 0, corpus)


@pytest.fixture(scope="module")
def drafter(tmp_path_factory):
    corpus = ["A dog, a mat and some other words that are not the target's at all."]
    return save_model(tmp_path_factory.mktemp("models") / "drafter", 290, 1, corpus)


def generate(target, drafter, *more, prompt=PROMPT, tokens=24):
    command = ["generate", "--target", target, "--drafter", drafter, "--prompt", prompt]
    return cli.main([*command, "--max-tokens", str(tokens), *more])


def result(capsys):
    return json.loads(capsys.readouterr().out)


def test_streams_text_and_prints_a_table(target, drafter, capsys):
    assert generate(target, drafter, "--seed", "1") == 0
    shown = capsys.readouterr()
    assert "\033" not in shown.out
    assert re.search(r"^auto +24 +\d+ ", shown.err, re.MULTILINE)
    assert "loading target" in shown.err and "%|" not in shown.err
    generate(target, "none", "--json")
    assert shown.out == result(capsys)["text"] + "\n"


@pytest.mark.parametrize(
    "options",
    [
        ["--bridge", "tli"],
        ["--bridge", "slem"],
        ["--bridge", "slem", "--temperature", "0.9", "--seed", "3", "--top-p", "0.9"],
        ["--pack"],
        ["--pack", "none"],
        ["--stop", "e", "--stop", "\n"],
        ["--chat"],
    ],
)
def test_compare_shows_identical_texts(target, drafter, capsys, options):
    assert generate(target, drafter, "--compare", "--json", *options) == 0
    found = result(capsys)
    assert found["must_be_identical"] and found["identical"]
    assert found["tokens"] == found["plain"]["tokens"] and found["speedup"] > 0
    assert found["stats"]["drafted"] > 0
    assert found["plain"]["stats"]["target_calls"] == found["plain"]["stats"]["tokens"]


def test_compare_with_the_automatic_length(target, capsys, monkeypatch, tmp_path):
    """Of lookup, which costs nothing, where a call costs the same on any number of rows."""
    monkeypatch.setenv("ANYDRAFT_CACHE", str(tmp_path))
    monkeypatch.setattr("anydraft.row_costs.measure_row_costs", lambda model: [0.0] + [1.0] * 16)
    options = ["--draft-length", "auto"]
    assert generate(target, "lookup", "--compare", "--json", *options, tokens=64) == 0
    found = result(capsys)
    assert found["must_be_identical"] and found["identical"]
    assert found["stats"]["drafted"] > 0


def test_compare_of_lookup_prints_the_verdict(target, capsys):
    assert generate(target, "lookup", "--compare", "--threads", "1") == 0
    assert re.search(r"speed-up \d+\.\d\d x; text identical", capsys.readouterr().err)


def test_several_prompts_are_decoded_together(target, drafter, capsys):
    options = ["--bridge", "slem", "--temperature", "0.9", "--seed", "3"]
    assert generate(target, drafter, *options, "--prompt", "a dog", "--json") == 0
    first, second = result(capsys)["generations"]
    assert generate(target, drafter, *options, "--json") == 0
    assert result(capsys)["tokens"] == first["tokens"] != second["tokens"]
    assert generate(target, drafter, *options, "--prompt", "a dog") == 0
    shown = capsys.readouterr()
    assert first["text"] in shown.out and second["text"] in shown.out
    assert len(re.findall(r"^slem +24 ", shown.err, re.MULTILINE)) == 2


def test_row_drafts_sampled_are_another_sample(target, drafter, capsys):
    options = ["--bridge", "tli", "--temperature", "1.5", "--seed", "3", "--compare", "--json"]
    assert generate(target, drafter, *options) == 0
    found = result(capsys)
    assert not found["must_be_identical"]
    assert found["identical"] or found["comparison"].startswith("same distribution, another sample")


def test_a_text_that_differs_is_an_error(target, capsys, monkeypatch):
    monkeypatch.setattr(comparing, "first_difference", lambda left, right: 0)
    monkeypatch.setattr(comparing, "tie_gap", lambda *_: 0.5)
    assert generate(target, "lookup", "--compare") == 1
    assert "DIFFERS from token 0" in capsys.readouterr().err
    monkeypatch.setattr(comparing, "tie_gap", lambda *_: 1e-5)
    assert generate(target, "lookup", "--compare") == 0
    assert "near tie" in capsys.readouterr().err


def test_tie_gap_of_plain_tokens_is_nothing(target):
    """The uniform of a sampled token lies in its own interval: position and purpose are right."""
    from anydraft import SamplingParams, SpeculativeSession, hf

    model = hf.load(target)
    for temperature in (0.0, 0.9):
        sampling = SamplingParams(temperature, seed=5)
        session = SpeculativeSession(model, sampling=sampling)
        tokens = session.generate(PROMPT, max_tokens=6).tokens
        for at, token in enumerate(tokens):
            text = [*session.last.prompt, *tokens[:at]]
            assert comparing.tie_gap(model, text, (token, token), sampling) < 1e-4
            assert comparing.tie_gap(model, text, (token, (token + 7) % 300), sampling) > 1e-4


def test_prompt_from_file_and_stdin(target, tmp_path, capsys, monkeypatch):
    generate(target, "none", "--json")
    expected = result(capsys)["tokens"]
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT)
    generate(target, "none", "--json", prompt=f"@{file}")
    assert result(capsys)["tokens"] == expected
    with file.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        generate(target, "none", "--json", prompt="-")
    assert result(capsys)["tokens"] == expected


def test_colours_on_a_terminal(target, capsys, monkeypatch):
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    generate(target, "lookup")
    assert "\033[36m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    generate(target, "lookup")
    assert "\033" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "/nowhere"}, "no such folder"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "@/nowhere.txt"}, "nowhere.txt"),
        ({"more": ["--bridge", "same"]}, "tli"),
        ({"more": ["--temperature", "-1"]}, "temperature"),
        ({"target": "nofile.gguf"}, "expected a GGUF file, got nofile.gguf"),
        ({"more": ["--draft-length", "-1"]}, "--draft-length in [0, 65536], got -1"),
        ({"more": ["--draft-length", "9999999999"]}, "--draft-length in [0, 65536], got 99"),
        ({"more": ["--draft-confidence", "nan"]}, "--draft-confidence in [0, 1], got nan"),
        ({"more": ["--prompt", "b", "--compare"]}, "one --prompt with --compare"),
        ({"more": ["--threads", "0"]}, "--threads in [1, 1024], got 0"),
        ({"more": ["--threads", "100000000"]}, "--threads in [1, 1024], got 100000000"),
        ({"tokens": -1}, "max_tokens"),
    ],
)
def test_bad_input_is_one_line_and_2(target, drafter, capsys, change, message):
    options = {"target": target, "prompt": PROMPT, "more": [], "tokens": 4} | change
    more = options.pop("more")
    assert generate(options.pop("target"), drafter, *more, **options) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("anydraft: ") and message in last


@pytest.mark.parametrize(
    ("option", "told"),
    [("--draft-confidence", "a number or auto"), ("--draft-length", "a whole number or auto")],
)
def test_a_word_for_a_number_is_told_what_was_expected(capsys, option, told):
    with pytest.raises(SystemExit, match="2"):
        generate("nowhere", "lookup", option, "foo")
    assert f"argument {option}: expected {told}, got 'foo'" in capsys.readouterr().err


def test_no_tokens_at_all(target, capsys):
    assert generate(target, "lookup", "--json", tokens=0) == 0
    assert result(capsys)["tokens"] == []


def test_vocab_export(target, tmp_path, capsys):
    file = tmp_path / "target.vocab"
    assert cli.main(["vocab", "--export", str(file), target]) == 0
    assert str(file) in capsys.readouterr().out
    assert cli.main(["vocab", str(file), target]) == 0
    assert "equal: yes" in capsys.readouterr().out
    assert cli.main(["vocab", target]) == 2
    file.write_bytes(file.read_bytes()[:-1])
    assert cli.main(["vocab", str(file), target]) == 2
    assert "cut off" in capsys.readouterr().err


def test_vocab(target, drafter, tmp_path, capsys):
    assert cli.main(["vocab", target, f"{drafter}/tokenizer.json"]) == 0
    shown = capsys.readouterr().out
    assert int(re.search(r"shared byte strings: (\d+)", shown)[1]) >= 256
    assert "specials with a counterpart: 3" in shown and "equal: no" in shown
    assert cli.main(["vocab", target, "/nowhere"]) == 2
    assert cli.main(["vocab", target, str(tmp_path)]) == 2
    assert "tekken.json" in capsys.readouterr().err  # of a folder that has none


def test_what_is_missing_is_told_with_what_installs_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["bench", "kernels", "--device", "cpu"]) == 2
    assert "pip install 'anydraft[hf]'" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys; from anydraft.cli import _parser; _parser(); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_ctrl_c_keeps_what_was_written(target):
    command = [sys.executable, "-m", "anydraft", "generate", "--target", target]
    command += ["--drafter", "lookup", "--prompt", PROMPT, "--threads", "1"]
    command += ["--max-tokens", "50000"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
        # Tests in the background of a shell ignore the signal, and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    first = process.stdout.read(8)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors.decode()
    assert len(first + rest) > 8
    assert b"interrupted" in errors and b"Traceback" not in errors


def bench(tmp_path, target, drafter, *more):
    (tmp_path / "prompts.json").write_text(json.dumps([PROMPT, "def f(x): return"]))
    command = ["bench", "acceptance", "--target", target, "--drafter", drafter, "--length", "7"]
    command += ["--prompts", str(tmp_path / "prompts.json"), "--json", str(tmp_path / "out.json")]
    assert cli.main([*command, "--temperatures", "0.8", *more]) == 0
    means = json.loads((tmp_path / "out.json").read_text())["means"]
    return {
        (row["shape"], row["draft"], row["verifier"]): row["tokens"]
        for row in means
        if row["kind"] == "all"
    }


def test_bench_of_a_model_that_drafts_for_itself(tmp_path, target, capsys):
    """Where both distributions are one, every draft but the greedy one is accepted to the last
    token.
    """
    means = bench(tmp_path, target, target)
    for (shape, draft, verifier), tokens in means.items():
        kind, _, number = shape.partition(" ")
        depth = 5 if kind == "paths" else int(number)
        if draft == "one_hot":
            assert 1 < tokens < depth + 1
        else:
            assert tokens == pytest.approx(depth + 1, abs=2e-3), (shape, draft, verifier)
    assert "SpecHub" in capsys.readouterr().out


def test_bench_across_vocabularies(tmp_path, target, drafter):
    picture = tmp_path / "picture.png"
    pytest.importorskip("matplotlib")
    means = bench(tmp_path, target, drafter, "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    for depth in (2, 3, 4, 5):
        one, two = (means[f"depth {depth}", draft, "top_down"] for draft in ("one draft", "iid"))
        assert 1 < one < two < depth + 1
    for distribution in ("iid", "without_replacement", "spechub"):
        assert {f"tree {d}" for d in (2, 5)} <= {
            shape for shape, of, _ in means if of == distribution
        }


def test_bench_spec_measures_every_cell_and_overwrites_nothing(target, tmp_path, capsys):
    """Questions of three tasks out of two files: tokens, and equal texts."""
    lines = [
        {"question_id": i, "category": category, "turns": [f"The cat sat on the mat, {i}."]}
        for i, category in enumerate(["qa", "writing", "math", "qa", "qa"])
    ]
    questions = tmp_path / "question.jsonl"
    questions.write_text("\n".join(map(json.dumps, lines)))
    functions = tmp_path / "HumanEval.jsonl.gz"
    with gzip.open(functions, "wt") as file:
        file.write(json.dumps({"task_id": "HumanEval/0", "prompt": "def cat(mat):\n"}))
    command = ["bench", "spec", "--questions", str(questions), "--questions", str(functions)]
    command += ["--target", target, "--out", str(tmp_path / "out")]
    options = ["--method", "lookup 8", "--batch", "1", "--batch", "2", "--turns", "2"]
    options += ["--each", "2", "--tokens", "64"]
    assert cli.main([*command, *options]) == 0
    cells = json.loads((tmp_path / "out" / "runs.json").read_text())
    assert len(cells) == 2 * 2 * 2 * 3 * 2  # turns, temperatures, batches, tasks, methods
    assert {cell["task"] for cell in cells} == {"qa", "conversation", "HumanEval"}
    assert all(cell["tokens"] <= 128 for cell in cells)
    assert all(cell["texts_equal"] for cell in cells if cell["temperature"] == 0)  # others: no seed
    for cell in cells:
        assert sum(cell["kept"]) <= cell["accepted"] <= cell["drafted"]
        assert (cell["drafted"] > 0) >= (cell["method"] == "lookup 8" and cell["temperature"] == 0)
    told = (tmp_path / "out" / "table.md").read_text()
    assert told in capsys.readouterr().out
    assert told.count("## T = ") == 4 and told.count("| plain | 1.00 | 1.00 | 1.00 | 1.00 |") == 4
    assert cli.main([*command, *options]) != 0  # the folder is there
    assert "expected --out to be new" in capsys.readouterr().err
    command[-1] = str(tmp_path / "another")
    assert cli.main([*command, "--peer", "llama.cpp"]) != 0
    assert "expected --peer out of llama.cpp plain" in capsys.readouterr().err
    assert cli.main([*command, *options, "--peer", "llama.cpp plain"]) != 0  # it reads GGUF files
    assert "got llama.cpp: no model that it reads" in capsys.readouterr().err
    assert not (tmp_path / "another").exists()


def test_what_cannot_be_is_refused_before_models_are_loaded(capsys):
    """No file of these is there: the refusal names something else."""
    acceptance = ["bench", "acceptance", "--prompts", "p"]
    with_lookup = ["generate", "--target", "nowhere", "--drafter", "lookup", "--prompt", "p"]
    serving = ["serve", "--target", "nowhere"]
    for command, told in [
        (["pair", "nowhere", "lookup"], "expected two models, got lookup"),
        ([*acceptance, "--target", "a.gguf", "--drafter", "b"], "a.gguf"),
        ([*acceptance, "--target", "a", "--drafter", "lookup"], "a model as the drafter, got"),
        ([*with_lookup, "--drafter-weights", "int8"], "with --drafter-weights, got lookup"),
        ([*with_lookup, "--draft-confidence", "0.3"], "with --draft-confidence, got --drafter"),
        ([*serving, "--drafter-weights", "int8"], "with --drafter-weights, got none"),
        ([*serving, "--draft-confidence", ".9"], "with --draft-confidence, got --drafter none"),
        ([*serving, "--draft-length", "auto"], "with --draft-length, got --drafter none"),
        ([*serving, "--backend", "hf", "--drafter-weights", "int8"], "expected --drafter-weights"),
        ([*serving, "--name", ""], "name as a text that is not empty"),
        ([*serving, "--cache-memory", "inf"], "--cache-memory as a number > 0, got inf"),
    ]:
        assert cli.main(command) == 2
        assert told in capsys.readouterr().err
