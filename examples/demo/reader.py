# SPDX-License-Identifier: Apache-2.0
"""A process of its own that lets the language model read a text with one attention, and measures
it.

    python reader.py ATTENTION TOKENS.npy HIDDEN.npy [OTHER_HIDDEN.npy]

Reports on stdout, one JSON object a line: {"doing": ...}, {"layer": 3, "of": 30}, and last
{"result": {...}}. The hidden states are written to HIDDEN.npy; where another run's are given,
the logits of both are compared, a chunk of positions at a time (all of
them at once would take 1.5 GB).
"""

import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from weights import load_language_model

_WARM_UP = 256  # tokens
_CHUNK = 256  # positions


def tell(**what) -> None:
    print(json.dumps(what), flush=True)


def _status(field: str) -> int:
    """Bytes, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _forget_peak() -> bool:
    """Lets VmHWM start again from what is resident now, so that loading the weights does not
    count."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False


class AttentionClock:
    """Stands in front of one of transformers' attention functions and adds up the time spent in
    it."""

    def __init__(self, name: str):
        from transformers import AttentionInterface
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        self.seconds, self.calls = 0.0, 0
        inner = ALL_ATTENTION_FUNCTIONS[name]

        def timed(*args, **kwargs):
            start = time.perf_counter()
            result = inner(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            self.calls += 1
            return result

        AttentionInterface.register(name, timed)


@torch.no_grad()
def read(model, tokens: torch.Tensor, clock: AttentionClock) -> tuple[dict, torch.Tensor]:
    model.model(tokens[:, :_WARM_UP], use_cache=False)
    clock.seconds, clock.calls = 0.0, 0
    layers = model.model.layers
    hooks = [
        layer.register_forward_hook(
            lambda *_, number=number: tell(layer=number + 1, of=len(layers))
        )
        for number, layer in enumerate(layers)
    ]
    whole = not _forget_peak()
    before = _status("VmRSS")
    start = time.perf_counter()
    hidden = model.model(tokens, use_cache=False).last_hidden_state
    last = model.lm_head(hidden[:, -1])
    seconds = time.perf_counter() - start
    for hook in hooks:
        hook.remove()
    peak = _status("VmHWM")
    return {
        "seconds": seconds,
        "attention_seconds": clock.seconds,
        "attention_calls": clock.calls,
        "peak_bytes": peak,
        "reading_bytes": None if whole else peak - before,
        "next_token": int(last.argmax()),
    }, hidden[0]


@torch.no_grad()
def compare(model, ours: torch.Tensor, theirs: torch.Tensor) -> dict:
    """Both runs' logits at every position, from their last hidden states."""
    largest, scale, same = 0.0, 0.0, 0
    for start in range(0, len(ours), _CHUNK):
        a, b = (model.lm_head(hidden[start : start + _CHUNK]) for hidden in (ours, theirs))
        largest = max(largest, float((a - b).abs().max()))
        scale = max(scale, float(b.abs().max()))
        same += int((a.argmax(-1) == b.argmax(-1)).sum())
        tell(compared=min(start + _CHUNK, len(ours)), of=len(ours))
    return {
        "largest_difference": largest,
        "largest_logit": scale,
        "same_choice": same,
        "positions": len(ours),
    }


def main() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    attention, tokens_path, hidden_path, *other = sys.argv[1:]
    tell(doing="loading the weights")
    if attention == "regard":
        import regard.transformers  # noqa: F401  (registers attn_implementation="regard")
    clock = AttentionClock(attention)
    model = load_language_model(attention)
    tell(doing="reading")
    result, hidden = read(model, torch.from_numpy(np.load(tokens_path))[None], clock)
    np.save(hidden_path, hidden.numpy())
    if other:
        tell(doing="comparing logits")
        result |= compare(model, hidden, torch.from_numpy(np.load(other[0])))
    tell(result=result)


if __name__ == "__main__":
    main()
