# SPDX-License-Identifier: Apache-2.0
"""The sections of docs/models.md on language models, from the results that there are."""

import json

from page import table


def _load(work, name):
    path = work / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _row(result):
    return [
        f"{result['parameters'] / 1e6:.1f} M",
        result["steps"],
        f"{result['tokens'] / 1e6:.2f} M",
        f"{result['processor_seconds'] / 60:.1f}",
    ]


def writer(work):
    ours, theirs, samples = (
        _load(work, name) for name in ("writer", "writer-torch", "writer-samples")
    )
    if ours is None:
        return [], []
    rows = [["`regard train lm`", *_row(ours), f"{ours['test']['perplexity']:.1f}"]]
    if theirs is not None:
        name = "transformers' GPT2LMHeadModel, sdpa"
        rows.append([name, *_row(theirs), f"{theirs['test']['perplexity']:.1f}"])
    head = ["", "parameters", "steps", "tokens", "processor minutes", "perplexity (test)"]
    parts = [table(head, rows)]
    if samples is not None:
        curve = ", ".join(f"{value:.0f} after {step}" for step, value in samples["curve"])
        parts.append(f"Perplexity of the validation part by steps: {curve}.")
        parts.append("Samples (temperature 0.8, top-p 0.95; the prompt's words are given):")
        parts += [f"```\n{sample.strip()}\n```" for sample in samples["samples"]]
    return parts, [result for result in (ours, theirs, samples) if result is not None]


def sections(work):
    words, tuned = _load(work, "sections-words"), _load(work, "sections-minilm")
    if words is None or tuned is None:
        return [], []
    train, _, test = words["sizes"]
    gain = 100 * (tuned["test"] - words["test"])
    rows = [
        [f"logistic regression over {words['words']} words", "", f"{100 * words['test']:.1f} %"],
        [
            "MiniLM, fine-tuned",
            f"{tuned['processor_seconds'] / 60:.1f}",
            f"{100 * tuned['test']:.1f} %",
        ],
    ]
    said = (
        f"{words['classes']} sections, {train} descriptions to train on, {test} to test; MiniLM saw"
        f" {tuned['tokens']} of them ({tuned['steps']} steps). The difference is"
        f" {gain:+.1f} points."
    )
    return [table(["", "processor minutes", "accuracy (test)"], rows), said], [words, tuned]


def manuals(work):
    whole, cut, linear = (
        _load(work, name) for name in ("manuals-whole", "manuals-cut", "manuals-linear")
    )
    parts = []
    if whole is not None and cut is not None:
        rows = [
            [
                name,
                result["steps"],
                f"{result['processor_seconds'] / 60:.1f}",
                f"{100 * result['test']:.1f} %",
            ]
            for name, result in (("whole pages", whole), ("cut to 512 tokens", cut))
        ]
        parts.append(table(["", "steps", "processor minutes", "accuracy (test)"], rows))
    if linear is not None:
        rows = [
            [f"{row['tokens']:,}", f"{row['processor_seconds']:.1f}", f"{row['peak_mib']:.0f}"]
            for row in linear["rows"]
        ]
        parts.append(table(["tokens of one text", "processor seconds", "peak MiB"], rows))
    return parts, [result for result in (whole, cut, linear) if result is not None]


SECTIONS = {"writer": writer, "sections": sections, "manuals": manuals}
