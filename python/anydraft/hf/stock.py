"""A transformers model's own forward pass over a chain or a tree of tokens, request by request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch

from anydraft.hf.kv_cache import RequestCache
from anydraft.hf.packing import ATTENTION
from anydraft.hf.slots import Part, Slots, additive

# Those that take a mask of four dimensions as it is.
_MASKABLE = {"sdpa", "eager", ATTENTION}
_WINDOWED = {"full_attention": False, "sliding_attention": True}


class StockDecoder:
    """Runs a transformers causal model."""

    together = 1  # tokens that several requests may have in one call: none

    def __init__(self, model: Any) -> None:
        self._model = model
        self._config = model.config.get_text_config(decoder=True)
        self._trees_checked = False

    def new_cache(self) -> RequestCache:
        """An empty cache for one request."""
        return RequestCache()

    def __call__(self, parts: Sequence[Part]) -> torch.Tensor:
        """-> float32 logits [sum of rows, vocab]. In inference mode only."""
        return torch.cat([self._forward(part) for part in parts])

    def _forward(self, part: Part) -> torch.Tensor:
        options: dict[str, Any] = {}
        if not part.slots.follows(part.positions, part.parents):
            self._check_trees()
            options["attention_mask"] = self._tree_mask(part.slots, part.positions, part.parents)
        device = self._model.device
        out = self._model(
            input_ids=torch.tensor([list(part.tokens)], device=device),
            position_ids=torch.tensor([list(part.positions)], device=device),
            past_key_values=part.cache,
            use_cache=True,
            logits_to_keep=max(part.rows, 1),  # 0 would mean all of them
            **options,
        )
        return cast(torch.Tensor, out.logits[0, out.logits.shape[1] - part.rows :].float())

    def _tree_mask(self, slots: Slots, positions: Sequence[int], parents: Sequence[int]) -> Any:
        """What to add to the scores [1, 1, new, held + new]; where layers differ, by their type."""
        visible = slots.visible(positions, parents)
        window: Any = getattr(self._config, "sliding_window", None)
        kinds = set(getattr(self._config, "layer_types", None) or ())
        if not kinds:
            kinds = {"full_attention" if window is None else "sliding_attention"}
        masks = {}
        for kind in kinds:
            seen = visible
            if _WINDOWED[kind]:
                seen = visible & (slots.distances(positions) < window)
            masks[kind] = additive(seen, self._model.dtype).to(self._model.device)
        return masks if len(masks) > 1 else masks.popitem()[1]

    def _check_trees(self) -> None:
        """Refuses trees where the model does not take the mask; tried out once.

        A model may drop a mask it does not know, or count positions from it.
        """
        if self._trees_checked:
            return
        attention = self._config._attn_implementation
        unknown = set(getattr(self._config, "layer_types", None) or ()) - set(_WINDOWED)
        if attention not in _MASKABLE or unknown:
            raise NotImplementedError(
                f"[HfModel] expected a chain, got a tree: this model's attention ({attention}"
                f"{''.join(f', {kind}' for kind in sorted(unknown))}) takes no mask of its own; "
                "use drafts that are chains"
            )
        self._trees_checked = True  # this runs a tree itself
        try:
            error = self._tree_error()
        except Exception as failure:
            self._trees_checked = False
            raise NotImplementedError(_NO_TREES + f"it fails: {failure}") from failure
        if not error < (1e-3 if self._model.dtype == torch.float32 else 0.1):
            self._trees_checked = False
            raise NotImplementedError(_NO_TREES + f"the logits differ by {error:.2g} of their size")

    def _tree_error(self) -> float:
        """How far logits of a small tree lie from those of its paths, relative to their size."""
        vocab = self._config.vocab_size
        a, b, left, right, leaf = (token % vocab for token in (3, 5, 7, 11, 13))
        text = [a, b]
        slots, cache = Slots(), self.new_cache()
        self([Part(text, [0, 1], [-1, 0], 0, slots, cache)])
        slots.add([0, 1], [-1, 0])
        tree = self([Part([left, right, leaf], [2, 2, 3], [-1, -1, 1], 3, slots, cache)])
        paths = ([*text, left], [*text, right, leaf])
        chains = [
            self([Part(p, range(len(p)), range(-1, len(p) - 1), 2, Slots(), self.new_cache())])
            for p in paths
        ]
        expected = torch.cat((chains[0][1:], chains[1]))
        return float((tree - expected).abs().max() / expected.abs().max())


_NO_TREES = (
    "[HfModel] expected a chain, got a tree, and on a tree this model's own forward pass does not "
    "give what it gives on the paths (use drafts that are chains): "
)
