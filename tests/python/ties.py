"""Greedy texts of one model, where float rounding may decide a near tie."""

import torch


def same_but_for_ties(model, prompt, plain, drafted):
    """Equal, or different from a near tie on (float rounding of one row against several)."""
    for i, (a, b) in enumerate(zip(plain, drafted, strict=True)):
        if a == b:
            continue
        ids = torch.tensor([[*prompt, *plain[:i]]])
        with torch.inference_mode():
            top = model.model(ids, logits_to_keep=1).logits[0, -1].topk(2).values
        assert top[0] - top[1] < 1e-3, f"token {i}: {a} against {b}, gap {top[0] - top[1]}"
        return False
    return True
