# SPDX-License-Identifier: Apache-2.0
"""Training steps of regard::nn beside the same models in PyTorch's Python: same weights, batch,
optimiser and threads, one process each, taking turns a step at a time. With one thread its
processor's time is taken, with several the clock's.

    ./dev run python benchmarks/nn/train_steps.py [NAME...] [--rounds 15] [--threads 2] [--memory]

A step is zero_grad, loss, backward and Adam, fused on both sides. The figure is the median over
rounds of the two sides' ratio; losses are compared, so that both do the same work. --memory: the
peak memory of one step beyond what the process holds before it, instead of times."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peak_memory
import torch
from rivals import RIVALS, loss
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/benchmarks/nn/nn_bench"
VOCABULARY = 8000

RECURRENT = {
    "kind": "seq2seq",
    "source_vocab": VOCABULARY,
    "target_vocab": VOCABULARY,
    "embedding": 256,
    "hidden": 512,
    "attention_dim": 512,
    "maxout": 256,
    "cell": "gru",
    "dropout": 0.0,
}
TRANSFORMER = {
    "kind": "transformer",
    "source_vocab": VOCABULARY,
    "target_vocab": VOCABULARY,
    "dim": 256,
    "heads": 4,
    "feed_forward": 1024,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "dropout": 0.1,
}
# name: (rival, config, batch, length, what is aimed at)
CASES = {
    "bahdanau-20": ("bahdanau", {**RECURRENT, "attention": "bahdanau"}, 64, 20, 2.5),
    "bahdanau-60": ("bahdanau", {**RECURRENT, "attention": "bahdanau"}, 64, 60, 4.0),
    "luong-20": ("general", {**RECURRENT, "attention": "general"}, 64, 20, 1.5),
    "luong-60": ("general", {**RECURRENT, "attention": "general"}, 64, 60, 1.5),
    "transformer-20": ("transformer", TRANSFORMER, 64, 20, 1.15),
    "transformer-60": ("transformer", TRANSFORMER, 64, 60, 1.15),
    "bahdanau-200": ("bahdanau", {**RECURRENT, "attention": "bahdanau"}, 64, 200, None),
}
TIMED = [name for name in CASES if name != "bahdanau-200"]


def make_batch(size, length, seed=0):
    """Sentences of `length` tokens and less: half of a batch is cut by up to a fifth, as buckets
    of similar lengths leave it."""
    generator = torch.Generator().manual_seed(seed)

    def tokens():
        return torch.randint(4, VOCABULARY, (size, length), generator=generator)

    cut = torch.randint(0, length // 5 + 1, (size,), generator=generator)
    cut[::2] = 0
    lengths = length - cut
    place, source, target = torch.arange(length), tokens(), tokens()
    source[place >= lengths[:, None]] = 0
    target[place >= lengths[:, None]] = 0
    begin = torch.full((size, 1), 2)
    target_in = torch.cat([begin, target[:, :-1]], 1)
    return {"source": source, "lengths": lengths, "target_in": target_in, "target_out": target}


class Theirs:
    """The model in Python, behind the same questions as nn_bench answers."""

    def __init__(self, name, config, weights, batch):
        torch.manual_seed(0)
        self.model = RIVALS[name](config)
        self.model.load_state_dict(weights, strict=True)
        self.model.train()
        self.batch = batch
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True)

    def step(self):
        begin = time.perf_counter()
        self.optimiser.zero_grad()
        value = loss(self.model, self.batch)
        value.backward()
        self.optimiser.step()
        return 1000 * (time.perf_counter() - begin), value.item()


class Process:
    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return [float(x) for x in self.process.stdout.readline().split()]

    def step(self):
        """(milliseconds by the clock, of its main thread's processor, loss)."""
        begin = self.processor_time()
        took, loss = self.ask("step")
        return took, self.processor_time() - begin, loss

    def processor_time(self):
        nanoseconds = Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]
        return int(nanoseconds) / 1e6

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def prepare(name, folder):
    """Files with the case's config, weights and batch."""
    rival, config, size, length, _ = CASES[name]
    torch.manual_seed(0)
    model = RIVALS[rival](config)
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    batch = make_batch(size, length)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "weights.safetensors")
    save_file(batch, folder / "batch.safetensors")
    return [str(folder / x) for x in ("config.json", "weights.safetensors", "batch.safetensors")]


def ours(files, threads):
    return Process([PROGRAM, *files, str(threads)])


def theirs(name, files, threads):
    return Process([sys.executable, __file__, "--serve", name, *files, "--threads", str(threads)])


def serve(name, files):
    """Answers questions on standard input, as nn_bench does."""
    config = json.loads(Path(files[0]).read_text())
    side = Theirs(CASES[name][0], config, load_file(files[1]), load_file(files[2]))
    for line in sys.stdin:
        memory = {"held": peak_memory.held_bytes, "peak": peak_memory.peak_bytes}.get(line.strip())
        if memory:
            print(memory(), flush=True)
        else:
            print(*side.step(), flush=True)


def compare_times(name, files, threads, rounds):
    sides = [ours(files, threads), theirs(name, files, threads)]
    for warm in range(2):
        first, second = (side.step()[2] for side in sides)
        if CASES[name][1]["dropout"] == 0 and abs(first - second) > 1e-3 * abs(second):
            raise SystemExit(f"{name}: losses {first} and {second} differ in step {warm}")
    what = 1 if threads == 1 else 0  # others on the machine do not lengthen a processor's time
    taken = [[side.step()[what] for side in sides] for _ in range(rounds)]
    for side in sides:
        side.close()
    a, b = (statistics.median(x) for x in zip(*taken, strict=True))
    ratio = statistics.median(t / o for o, t in taken)
    aim = CASES[name][4]
    print(
        f"{name:16} ours {a:8.1f} ms   PyTorch {b:8.1f} ms   {ratio:5.2f}x   (aim {aim}x)",
        flush=True,
    )
    return {"name": name, "ours_ms": a, "theirs_ms": b, "ratio": ratio, "aim": aim}


def compare_memory(name, files, threads):
    used = []
    for side in (ours(files, threads), theirs(name, files, threads)):
        used.append(peak_memory.of_work(side, "step"))
        side.close()
    print(
        f"{name:16} ours {used[0]:8.0f} MiB  PyTorch {used[1]:8.0f} MiB  "
        f"{used[0] / used[1]:5.2f} of it   (aim 0.33)",
        flush=True,
    )
    return {"name": name, "ours_mib": used[0], "theirs_mib": used[1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.serve:
        return serve(arguments.serve[0], arguments.serve[1:])
    names = arguments.names or (["bahdanau-200"] if arguments.memory else TIMED)
    unknown = set(names) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    figures = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            files = prepare(name, Path(folder))
            if arguments.memory:
                figures.append(compare_memory(name, files, arguments.threads))
            else:
                figures.append(compare_times(name, files, arguments.threads, arguments.rounds))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
