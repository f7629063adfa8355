# SPDX-License-Identifier: Apache-2.0
"""Greedy and beam-4 translation with one Transformer's weights: regard, transformers' Marian and
CTranslate2 (float32), one process each, taking turns.

    ./dev run python benchmarks/nn/translation.py [--rounds 7] [--threads 2] [--batch 64]

The weights are random, 3 + 3 layers of d = 256 over 8,000 words; the end token is out of reach, so
that all of them make the same number of tokens. The figure is the median over rounds of the ratio
of times; the first sentence's tokens are compared."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/benchmarks/nn/translate_bench"
VOCABULARY, END, LENGTH, STEPS = 8000, 3, 24, 24
SIDES = ("regard", "transformers", "ctranslate2")


def make_model(folder):
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=VOCABULARY,
        d_model=256,
        encoder_layers=3,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=1024,
        decoder_ffn_dim=1024,
        max_position_embeddings=512,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=VOCABULARY - 1,
        decoder_start_token_id=VOCABULARY - 1,
        eos_token_id=END,
        forced_eos_token_id=None,
        init_std=0.1,
    )
    model = MarianMTModel(config).eval()
    model.final_logits_bias[0, [END, VOCABULARY - 1]] = -1e4
    model.save_pretrained(folder)


def make_batch(size, path):
    lengths = torch.randint(LENGTH * 4 // 5, LENGTH + 1, (size,))
    lengths[0] = LENGTH
    source = torch.randint(4, VOCABULARY - 1, (size, LENGTH))
    source[torch.arange(LENGTH) >= lengths[:, None]] = VOCABULARY - 1
    save_file({"source": source, "lengths": lengths}, path)


def transformers_side(folder, batch, beams, threads):
    from transformers import MarianMTModel

    torch.set_num_threads(threads)
    model = MarianMTModel.from_pretrained(folder).eval()
    mask = (torch.arange(LENGTH) < batch["lengths"][:, None]).long()

    def run():
        said = model.generate(
            batch["source"],
            attention_mask=mask,
            max_new_tokens=STEPS,
            num_beams=beams,
            do_sample=False,
        )
        return said[0, 1:].tolist()

    return run


def ctranslate2_side(folder, batch, beams, threads):
    import ctranslate2
    from ctranslate2.converters.transformers import MarianMTLoader
    from transformers import MarianMTModel

    spec = MarianMTLoader().get_model_spec(MarianMTModel.from_pretrained(folder).eval())
    words = [f"w{i}" for i in range(VOCABULARY - 1)]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.config.unk_token, spec.config.bos_token = "w1", "w2"
    spec.config.eos_token = spec.config.decoder_start_token = f"w{END}"
    spec.config.add_source_bos = spec.config.add_source_eos = False
    converted = Path(folder).parent / f"converted-{beams}"
    converted.mkdir()
    spec.validate()
    spec.save(str(converted))
    translator = ctranslate2.Translator(
        str(converted), compute_type="float32", inter_threads=1, intra_threads=threads
    )
    rows = zip(batch["source"].tolist(), batch["lengths"].tolist(), strict=True)
    sources = [[words[token] for token in row[:length]] for row, length in rows]

    def run():
        said = translator.translate_batch(
            sources, beam_size=beams, max_decoding_length=STEPS, max_batch_size=0
        )
        return [int(word[1:]) for word in said[0].hypotheses[0]]

    return run


def serve(name, folder, batch, beams, threads):
    make = {"transformers": transformers_side, "ctranslate2": ctranslate2_side}[name]
    run = make(folder, load_file(batch), beams, threads)
    for _ in sys.stdin:
        begin = time.perf_counter()
        tokens = run()
        print(1000 * (time.perf_counter() - begin), *tokens, flush=True)


class Side:
    def __init__(self, name, folder, batch, beams, threads):
        own = [PROGRAM, folder, batch, beams, STEPS, threads]
        served = [sys.executable, __file__, "--serve", name, folder, batch, beams]
        command = own if name == "regard" else [*served, "--threads", threads]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self):
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        took, *tokens = self.process.stdout.readline().split()
        return float(took), tokens

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(folder, batch, beams, threads, rounds):
    sides = [Side(name, folder, batch, beams, threads) for name in SIDES]
    said = [side.run()[1] for side in sides]
    for name, tokens in zip(SIDES[1:], said[1:], strict=True):
        same = sum(a == b for a, b in zip(said[0], tokens, strict=True))
        print(f"beams {beams}: {same} of {len(tokens)} tokens as {name}'s", flush=True)
    taken = [[side.run()[0] for side in sides] for _ in range(rounds)]
    for side in sides:
        side.close()
    ours = statistics.median(row[0] for row in taken)
    print(f"beams {beams}: regard {ours:8.1f} ms", flush=True)
    for at, name in list(enumerate(SIDES))[1:]:
        theirs = statistics.median(row[at] for row in taken)
        ratio = statistics.median(row[at] / row[0] for row in taken)
        print(f"beams {beams}: {name} {theirs:8.1f} ms   {ratio:5.2f}x", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        name, folder, batch, beams = arguments.serve
        return serve(name, folder, batch, int(beams), arguments.threads)
    with tempfile.TemporaryDirectory() as root:
        folder, batch = Path(root) / "model", Path(root) / "batch.safetensors"
        make_model(folder)
        make_batch(arguments.batch, batch)
        for beams in (1, 4):
            compare(folder, batch, beams, arguments.threads, arguments.rounds)


if __name__ == "__main__":
    main()
