"""Tiny random models over the letters a, b, c, and the target's exact distribution."""

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

MERGES = {
    "target": [("a", "b"), ("b", "c"), ("ab", "c")],
    "drafter": [("b", "a"), ("a", "b"), ("c", "c")],
}
SIZE = 7  # tokens of each, the end of text among them


def write_model(folder, name, *, heads=2, seed=0):
    """A folder as transformers saves it."""
    folder.mkdir(parents=True)
    tokens = [*"abc", *("".join(pair) for pair in MERGES[name])]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, list(MERGES[name])))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>"])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    fast.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=SIZE,
        hidden_size=32 * heads,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=256,
        eos_token_id=SIZE - 1,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.25)
    model.save_pretrained(folder)
    return str(folder)


class Exact:
    """Distributions of a tiny model, computed apart from vLLM and from anydraft."""

    def __init__(self, folder, prompt):
        self._model = transformers.AutoModelForCausalLM.from_pretrained(folder).double()
        self._prompt = prompt

    def masses(self, text, params):
        """float64 [SIZE]: of the token behind prompt and text, by vLLM's sampling parameters."""
        with torch.no_grad():
            ids = torch.tensor([[*self._prompt, *text]])
            row = self._model(ids).logits[0, -1].numpy()
        row = _changed(row, self._prompt, text, params)
        row = row / params["temperature"]
        mass = _softmax(row)
        least = params.get("extra_args", {}).get("anydraft_min_p", 0.0) * mass.max()
        mass = np.where(mass < least, 0.0, mass)
        if k := params.get("top_k"):
            mass = np.where(mass < np.sort(mass)[-k], 0.0, mass)
        mass = mass / mass.sum()
        if (p := params.get("top_p", 1.0)) < 1:
            order = np.argsort(-mass)
            before = np.cumsum(mass[order]) - mass[order]
            mass[order[before >= p]] = 0.0
        return mass / mass.sum()

    def joint(self, params):
        """float64 [SIZE] * 3: of the first three tokens."""
        joint = np.zeros((SIZE,) * 3)
        first = self.masses((), params)
        for a in np.flatnonzero(first):
            second = self.masses((a,), params)
            for b in np.flatnonzero(second):
                joint[a, b] = first[a] * second[b] * self.masses((a, b), params)
        return joint


def _changed(row, prompt, text, params):
    row = row.copy()
    allowed = params.get("allowed_token_ids")
    if allowed is not None:
        row[[i for i in range(SIZE) if i not in allowed]] = -np.inf
    if len(text) < params.get("min_tokens", 0):
        row[params["stop_token_ids"]] = -np.inf
    for token, by in params.get("extra_args", {}).get("anydraft_logit_bias", {}).items():
        row[int(token)] += by
    for token in {*prompt, *text}:
        by = params.get("repetition_penalty", 1.0)
        row[token] = row[token] * by if row[token] < 0 else row[token] / by
    for token in set(text):
        row[token] -= params.get("frequency_penalty", 0.0) * text.count(token)
        row[token] -= params.get("presence_penalty", 0.0)
    return row


def _softmax(row):
    mass = np.exp(row - row.max())
    return mass / mass.sum()
