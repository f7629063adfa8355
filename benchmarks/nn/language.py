# SPDX-License-Identifier: Apache-2.0
"""Text encoders of regard::nn beside transformers' own (BERT with sdpa): same weights, batch and
threads, one process each, taking turns.

    ./dev run python benchmarks/nn/language.py [NAME...] [--rounds 5] [--threads 2] [--memory]
        [--only forward|step|recompute]

Both have a head for two labels. `forward` is an evaluation without gradients, `step` is zero_grad,
loss, backward and AdamW's update, fused on both sides, with the checkpoints' dropout (0.1).
The figure is the median over rounds of the two sides' ratio; losses in evaluation are compared, so
that both do the same work. --memory: the peak memory of one step beyond what the process holds
before it, and beyond its gradients and AdamW's moments as well, which both sides have. `recompute`
is a step in which both compute their layers again in the backward pass (transformers:
gradient_checkpointing). The program beside it is built by ./dev build language_bench."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import peak_memory
import torch
from safetensors.torch import load_file, save_file
from train_steps import Process

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/benchmarks/nn/language_bench"

# name: (model, layers, lengths of the batch's texts, aims of forward and step)
CASES = {
    "bert-512": ("bert", 12, [512] * 8, (1.15, 1.15)),
    "bert-ragged": ("bert", 12, [512, 490, 402, 350, 256, 200, 128, 64], (None, None)),
    "longformer-4096": ("longformer", 12, [4096], (2.0, 2.0)),
    "longformer-16384": ("longformer", 2, [16384], (2.0, 2.0)),
}
WINDOW, PAD = 512, 1


def make_model(name):
    import transformers

    kind, layers, lengths, _ = CASES[name]
    torch.manual_seed(0)
    if kind == "bert":
        config = transformers.BertConfig(num_hidden_layers=layers, attn_implementation="sdpa")
        return transformers.BertForSequenceClassification(config)
    config = transformers.LongformerConfig(
        vocab_size=50265,
        num_hidden_layers=layers,
        attention_window=[WINDOW] * layers,
        max_position_embeddings=max(lengths) + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    return transformers.LongformerForSequenceClassification(config)


def make_batch(name):
    generator, lengths = torch.Generator().manual_seed(0), torch.tensor(CASES[name][2])
    shape = (len(lengths), int(lengths.max()))
    tokens = torch.randint(4, 30000, shape, generator=generator)
    tokens[torch.arange(shape[1]) >= lengths[:, None]] = PAD
    labels = torch.randint(0, 2, (len(lengths),), generator=generator)
    return {"tokens": tokens, "lengths": lengths, "labels": labels}


class Theirs:
    def __init__(self, name, folder, batch):
        from transformers import AutoModelForSequenceClassification, logging

        logging.set_verbosity_error()
        more = {"attn_implementation": "sdpa"} if CASES[name][0] == "bert" else {}
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, **more)
        tokens, lengths = batch["tokens"], batch["lengths"]
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        self.inputs = {"input_ids": tokens, "attention_mask": mask.long()}
        self.labels = batch["labels"]
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)

    def loss(self):
        return torch.nn.functional.cross_entropy(self.model(**self.inputs).logits, self.labels)

    def forward(self):
        self.model.eval()
        with torch.no_grad():
            return self.loss()

    def recompute(self):
        self.model.gradient_checkpointing_enable()
        loss = self.step()
        self.model.gradient_checkpointing_disable()
        return loss

    def step(self):
        self.model.train()
        self.optimiser.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimiser.step()
        return loss

    def answer(self, asked):
        if asked in ("held", "peak"):
            return [getattr(peak_memory, asked + "_bytes")()]
        begin = time.perf_counter()
        loss = getattr(self, asked)()
        return [1000 * (time.perf_counter() - begin), loss.item()]


def serve(name, folder, batch):
    side = Theirs(name, folder, load_file(batch))
    for line in sys.stdin:
        print(*side.answer(line.strip()), flush=True)


def both(name, folder, threads):
    """(ours, theirs), each a process on the same files."""
    make_model(name).save_pretrained(folder / "model")
    save_file(make_batch(name), folder / "batch.safetensors")
    files = [str(folder / "model"), str(folder / "batch.safetensors")]
    other = [sys.executable, __file__, "--serve", name, *files, "--threads", str(threads)]
    return Process([PROGRAM, *files, str(threads)]), Process(other)


def compare_times(name, sides, kinds, rounds):
    figures = []
    for kind in kinds:
        first, second = (side.ask(kind)[1] for side in sides)  # also warms both up
        if kind == "forward" and abs(first - second) > 1e-3 * abs(second):
            raise SystemExit(f"{name}: losses {first} and {second} differ")
        taken = [[side.ask(kind)[0] for side in sides] for _ in range(rounds)]
        a, b = (statistics.median(x) for x in zip(*taken, strict=True))
        ratio = statistics.median(t / o for o, t in taken)
        aim = CASES[name][3][kind != "forward"]
        print(
            f"{name:17} {kind:8} ours {a:8.0f} ms   transformers {b:8.0f} ms   {ratio:5.2f}x"
            + (f"   (aim {aim}x)" if aim and kind != "recompute" else ""),
            flush=True,
        )
        figures.append({"name": name, "kind": kind, "ours": a, "theirs": b, "ratio": ratio})
    return figures


def compare_memory(name, sides, kinds):
    figures = []
    # A gradient and two moments for each parameter, in float32.
    both_have = 12 * sum(p.numel() for p in make_model(name).parameters()) / 2**20
    for kind in kinds:
        used = [peak_memory.of_work(side, kind) for side in sides]
        print(
            f"{name:17} {kind:8} ours {used[0]:8.0f} MiB  transformers {used[1]:8.0f} MiB  "
            f"{used[0] / max(used[1], 1):5.2f} of it",
            end="",
        )
        figure = {"name": name, "kind": kind, "ours_mib": used[0], "theirs_mib": used[1]}
        if kind != "forward":
            ours, theirs = (max(x - both_have, 1) for x in used)
            print(f"; activations {ours:.0f} and {theirs:.0f} MiB, {ours / theirs:.2f}", end="")
            figure |= {"gradients_and_moments_mib": both_have}
        print(flush=True)
        figures.append(figure)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument(
        "--only",
        choices=["forward", "step", "recompute"],
        help="one of them; forward and step otherwise",
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.serve:
        return serve(*arguments.serve)
    names = arguments.names or list(CASES)
    unknown = set(names) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    kinds = [arguments.only] if arguments.only else ["forward", "step"]
    figures = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            sides = both(name, Path(folder), arguments.threads)
            if arguments.memory:
                figures += compare_memory(name, sides, kinds)
            else:
                figures += compare_times(name, sides, kinds, arguments.rounds)
            for side in sides:
                side.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
