"""Another library's decoding in a process of its own, by lines of JSON; run as a script.

It imports nothing of this package, so that any Python with the library will do. Arguments: the
library, and its options as JSON. Each line of input is {"prompt": ids, "tokens": n, "ends": ids};
each line of output {"tokens": ids, "first": how many of them came with the prompt, "prefill":
seconds, "decoding": seconds}. The first line says {"version": ...}, or {"error": ...} for what
cannot be run here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Generate = Callable[[list[int], int, list[int]], Iterable[int]]
_DRAFTED = 5  # tokens; what the libraries' own examples take


def main() -> None:
    library, options = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(said: dict[str, Any]) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    try:
        generate, version = _LIBRARIES[library](options)
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"[:300]})
        return
    answer({"version": version})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer(timed(generate, asked["prompt"], asked["tokens"], asked["ends"]))
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"[:300]})


def timed(generate: Generate, prompt: list[int], tokens: int, ends: list[int]) -> dict[str, Any]:
    """The tokens, up to the first of `ends`; seconds to the first one, and of the others."""
    start = first = last = time.perf_counter()
    made: list[int] = []
    coming = generate(prompt, tokens, ends)
    for token in coming:
        last = time.perf_counter()
        if not made:
            first = last
        made.append(int(token))
        if len(made) == tokens or made[-1] in ends:
            break
    if isinstance(coming, _Told):
        return {"tokens": made, **coming.told}
    return {"tokens": made, "first": 1, "prefill": first - start, "decoding": last - first}


# ---- llama.cpp ----------------------------------------------------------------------------------


def llama_cpp(options: dict[str, Any]) -> tuple[Generate, str]:
    """Options: target, threads, context; mode: plain, lookup, draft (with drafter)."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # its idle threads are not to spin
    import llama_cpp as library
    from llama_cpp import llama_speculative

    shared = {
        "n_ctx": options["context"] + 2 * _DRAFTED,  # the last drafts go beyond the text
        "n_batch": 512,
        "n_threads": options["threads"],
        "n_threads_batch": options["threads"],
        "verbose": False,
    }
    draft: Any = None
    if options["mode"] == "lookup":
        draft = llama_speculative.LlamaPromptLookupDecoding(num_pred_tokens=_DRAFTED)
    if options["mode"] == "draft":
        draft = _llama_cpp_drafter(library.Llama(options["drafter"], **shared))
    # Speculation wants the logits of every place, and says so to itself alone: its room for them is
    # else that of one batch, which a longer prompt overruns.
    every = {"logits_all": draft is not None}
    model = library.Llama(options["target"], draft_model=draft, **every, **shared)

    def generate(prompt: list[int], tokens: int, ends: list[int]) -> Iterator[int]:
        model.reset()
        if options["mode"] == "draft":
            draft.read(prompt)
        yield from model.generate(prompt, temp=0.0, reset=False)

    return generate, str(library.__version__)


def _llama_cpp_drafter(model: Any) -> Any:
    import numpy as np
    from llama_cpp.llama_speculative import LlamaDraftModel

    class Greedy(LlamaDraftModel):  # type: ignore[misc]
        def read(self, prompt: list[int]) -> None:
            """Before the first draft, so that it counts as prefill."""
            model.reset()
            model.eval(prompt)

        def __call__(self, input_ids: Any, /, **_: Any) -> Any:
            known, text = model.input_ids[: model.n_tokens], np.asarray(input_ids)
            shorter = min(len(known), len(text) - 1)
            agreed = np.flatnonzero(known[:shorter] != text[:shorter])
            model.n_tokens = int(agreed[0]) if len(agreed) else shorter
            model.eval(text[model.n_tokens :].tolist())
            drafted = [model.sample(temp=0.0)]
            while len(drafted) < _DRAFTED:
                model.eval(drafted[-1:])
                drafted.append(model.sample(temp=0.0))
            return np.asarray(drafted, np.intc)

    return Greedy()


# ---- OpenVINO GenAI -----------------------------------------------------------------------------


def openvino(options: dict[str, Any]) -> tuple[Generate, str]:
    """Options: target (a GGUF file or an exported folder), threads; mode: plain, lookup, draft."""
    import numpy as np
    import openvino as runtime
    import openvino_genai as library

    mode = options["mode"]
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": options["threads"]}
    if mode == "draft":
        settings["draft_model"] = library.draft_model(_openvino_folder(options), "CPU")
    if mode == "lookup":
        settings["prompt_lookup"] = True
    pipeline = library.LLMPipeline(options["target"], "CPU", **settings)

    def generate(prompt: list[int], tokens: int, ends: list[int]) -> Iterator[int]:
        config = library.GenerationConfig(max_new_tokens=tokens, apply_chat_template=False)
        config.stop_token_ids = set(ends)
        if mode != "plain":
            config.num_assistant_tokens = _DRAFTED
        if mode == "lookup":
            config.max_ngram_size = 2
        ids = runtime.Tensor(np.array([prompt], np.int64))
        start = time.perf_counter()
        result = pipeline.generate(ids, config)
        seconds = time.perf_counter() - start
        first = result.perf_metrics.get_ttft().mean / 1e3
        return _Told(list(result.tokens[0]), first, seconds - first)

    return generate, runtime.__version__


def _openvino_folder(options: dict[str, Any]) -> str:
    """A drafter has to be a folder: the GGUF file is written as one, beside its other caches."""
    import openvino_genai as library

    folder = Path(options["scratch"]) / Path(options["drafter"]).stem
    if not (folder / "openvino_model.xml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / "model.gguf"  # it is written beside the file
        if not link.is_symlink():
            link.symlink_to(Path(options["drafter"]).resolve())
        library.LLMPipeline(str(link), "CPU", enable_save_ov_model=True)
    return str(folder)


class _Told(Iterator[int]):
    """Tokens that came in one piece, with the times that the library gives."""

    def __init__(self, tokens: list[int], prefill: float, decoding: float, first: int = 1) -> None:
        self.told = {"first": first, "prefill": prefill, "decoding": decoding}
        self._tokens = iter(tokens)

    def __next__(self) -> int:
        return next(self._tokens)


# ---- transformers -------------------------------------------------------------------------------


def transformers(options: dict[str, Any]) -> tuple[Generate, str]:
    """Options: target and drafter (folders), threads; mode: plain, draft."""
    import torch
    import transformers as library

    torch.set_num_threads(options["threads"])

    def load(folder: str) -> Any:
        return library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    model, more = load(options["target"]), dict[str, Any]()
    if options["mode"] == "draft":
        more["assistant_model"] = load(options["drafter"])
        names = {"tokenizer": options["target"], "assistant_tokenizer": options["drafter"]}
        tokenizers = {k: library.AutoTokenizer.from_pretrained(v) for k, v in names.items()}
        if len({tokenizer.vocab_size for tokenizer in tokenizers.values()}) > 1:
            more |= tokenizers

    class Streamer:
        def __init__(self) -> None:
            self.first = 0.0
            self.tokens = self.calls = 0

        def put(self, ids: Any) -> None:
            self.calls += 1  # the first call has the prompt
            if self.calls == 2:
                self.first, self.tokens = time.perf_counter(), ids.numel()

        def end(self) -> None:
            pass

    def generate(prompt: list[int], tokens: int, ends: list[int]) -> Iterator[int]:
        streamer, ids = Streamer(), torch.tensor([prompt])
        start = time.perf_counter()
        with torch.no_grad():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                do_sample=False,
                eos_token_id=ends,
                streamer=streamer,
                **more,
            )
        seconds = time.perf_counter() - start
        first = streamer.first - start
        new = made[0, len(prompt) :].tolist()
        return _Told(new, first, seconds - first, streamer.tokens)

    return generate, str(library.__version__)


_LIBRARIES: dict[str, Callable[[dict[str, Any]], tuple[Generate, str]]] = {
    "llama.cpp": llama_cpp,
    "openvino": openvino,
    "transformers": transformers,
}

if __name__ == "__main__":
    main()
