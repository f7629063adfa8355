# SPDX-License-Identifier: Apache-2.0
"""SmolLM2-135M (float32) writing on after a long prompt, attn_implementation="regard" beside
"sdpa", in turns: median seconds of a token, and of a prompt, and the ratios. A model's generate()
is timed whole, its sampling and its cache among it.

    ./dev run python benchmarks/hugging_face/generate.py                 both lengths
    ./dev run python benchmarks/hugging_face/generate.py --prompt 2048 --tokens 32 --rounds 5
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
WAYS = ("sdpa", "regard")


class Writer:
    """One way of attention over a cache of its own."""

    def __init__(self, model, way):
        self.model, self.way, self.cache = model, way, None

    def write(self, ids, count):
        """``count`` tokens behind ``ids``: (ids with them, seconds)."""
        self.model.set_attn_implementation(self.way)
        options = dict(min_new_tokens=count, max_new_tokens=count, do_sample=False)
        begun = time.perf_counter()
        out = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=self.cache,
            return_dict_in_generate=True,
            pad_token_id=0,
            **options,
        )
        seconds = time.perf_counter() - begun
        self.cache = out.past_key_values
        return out.sequences, seconds


def measure(model, prompt, tokens, rounds):
    """{way: (seconds of the prompt, seconds of each token by round)}, and whether both wrote the
    same."""
    torch.manual_seed(0)
    ids = torch.randint(100, 40000, (1, prompt))
    found = {}
    writers = {way: Writer(model, way) for way in WAYS}
    texts = {}
    for way, writer in writers.items():
        texts[way], seconds = writer.write(ids, 1)
        found[way] = (seconds, [])
    for turn in range(rounds):
        for way in WAYS if turn % 2 else reversed(WAYS):
            texts[way], seconds = writers[way].write(texts[way], tokens)
            found[way][1].append(seconds / tokens)
    return found, torch.equal(*texts.values())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--prompt", type=int, nargs="+", default=[2048, 8000])
    parser.add_argument("--tokens", type=int, default=16, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import real_weights
    import regard.transformers  # noqa: F401

    torch.set_num_threads(options.threads)
    model, _ = real_weights.smollm2("sdpa")
    model.generation_config.eos_token_id = None
    heads = ("prompt", "prompt, sdpa", "regard", "ratio", "token, sdpa", "regard", "ratio", "same")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for prompt in options.prompt:
        found, same = measure(model, prompt, options.tokens, options.rounds)
        first = [found[way][0] for way in WAYS]
        token = [statistics.median(found[way][1]) for way in WAYS]
        ratios = [a / b for a, b in zip(*(found[way][1] for way in WAYS), strict=True)]
        print(
            f"| {prompt} | {first[0]:.2f} s | {first[1]:.2f} s | {first[0] / first[1]:.2f} |"
            f" {token[0] * 1e3:.1f} ms | {token[1] * 1e3:.1f} ms |"
            f" {statistics.median(ratios):.2f} | {'yes' if same else 'no'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
