"""`anydraft pair`: predictions against the formulas and against models of known cost."""

import json
import random
import time

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from test_cli import save_model  # noqa: E402
from toys import constant, letters  # noqa: E402

from anydraft import InputError, SamplingParams, cli, theory  # noqa: E402
from anydraft.cli import pair  # noqa: E402


class Clock:
    """Time passes in calls of the models alone: on a busy machine too."""

    now = 0.0

    def slow(self, model, seconds):
        """The model, each call of which takes so long."""

        def call(feeds):
            self.now += seconds
            return model(feeds)

        call.vocabulary = model.vocabulary
        return call


def test_predicts_the_speed_of_models_of_known_cost(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    target = clock.slow(constant(letters(b"a", b"b"), [0.7, 0.3]), 0.02)
    drafter = clock.slow(constant(letters(b"b", b"a"), [0.4, 0.6]), 0.002)
    sampling, prompts = SamplingParams(seed=0), ["ab", "ba"]
    costs = pair.measure_costs(target, drafter, "a")  # however short
    tli = pair.measure_bridge(target, drafter, "tli", prompts, sampling, 150)
    assert tli.acceptance == pytest.approx(0.9, abs=0.04)  # sum of min(p, q)
    assert tli.calls_per_token == pytest.approx(1)
    best, length = pair.best_choice([tli], costs)
    measured = pair.check(target, drafter, best, length, prompts, sampling, 150)
    assert tli.speedup(length, costs) == pytest.approx(measured, rel=0.1)
    assert measured > 2.5


def test_the_formula():
    """Where tokens are right independently of each other it is Leviathan et al.'s."""
    bits = random.Random(0)
    text = tuple(bits.random() < 0.8 for _ in range(100_000))
    costs = pair.Costs(0.1, (1.0, 1.1, 1.3, 1.6, 2.0))
    tli = pair.Measured("tli", 0.8, 1.0, 0.0, (text,))
    for length in (1, 2, 3, 4):
        known = theory.walltime_improvement(0.8, length, 0.1, costs.target[length])
        assert tli.speedup(length, costs) == pytest.approx(known, rel=0.01)
    # A drafter token that spells two target tokens: half the calls, or half the proposal's cost.
    slrs, slem = (pair.Measured(bridge, 0.8, 0.5, 0.0, (text,)) for bridge in ("slrs", "slem"))
    assert slrs.speedup(4, costs) == pytest.approx(slem.speedup(2, costs))
    assert costs.verify(2.5) == pytest.approx(1.2)


def test_easy_tokens_come_in_runs():
    """Rounds of three known texts, counted by hand; the last token of a text is never drafted."""
    texts = ((True,) * 6, (False,) * 3, (True, True, False, True))
    tli = pair.Measured("tli", 0.8, 1.0, 0.0, texts)
    assert tli.rounds(2) == (2 + 3 + 2, (2 + 2) + (2 + 1 + 0) + (2 + 0))
    assert tli.rounds(4) == (2 + 3 + 2, (4 + 0) + (2 + 1 + 0) + (3 + 0))


@pytest.mark.parametrize("limit", [None, 2])
def test_texts_that_end_at_once_are_refused(limit):
    """By the end of the text, and by a limit of the model's."""
    target = constant(letters(b"a", b"b"), [float(limit is not None), float(limit is None)])
    target.stop_tokens, target.context_length = [1], limit
    sampling, prompts = SamplingParams(seed=0), ["aa", "aa"]
    with pytest.raises(InputError, match=r"\[pair\] expected prompts whose texts go on"):
        pair.measure_bridge(target, target, "same", prompts, sampling, 8)
    measured = pair.Measured("same", 0.0, 1.0, 0.0, ((True,),))
    with pytest.raises(InputError, match=r"\[pair\] expected prompts whose texts go on"):
        pair.check(target, target, measured, 2, prompts, sampling, 8)


def test_command_line(tmp_path, capsys):
    corpus = [["the cat sat on the mat " * 9], ["on that hat a rat " * 9]]
    models = [save_model(tmp_path / str(i), 280 + 9 * i, i, text) for i, text in enumerate(corpus)]
    assert (
        cli.main(["pair", *models, "--max-tokens", "8", "--threads", "1", "--json", "--check"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert set(report["speedups"]) == {"tli", "slrs", "slem"}
    assert report["predicted"] == pytest.approx(
        max(max(row) for row in report["speedups"].values()), abs=1e-3
    )
    assert report["measured"] > 0
    # A drafter as slow as its target and right by chance alone.
    assert cli.main(["pair", *models, "--max-tokens", "8", "--threads", "1"]) == 0
    assert "no: plain decoding is as fast or faster here" in capsys.readouterr().err
