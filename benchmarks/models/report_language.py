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
    words, cut, whole, linear = (
        _load(work, f"manuals-{name}") for name in ("words", "cut", "whole", "linear")
    )
    parts = []
    if words is not None and cut is not None and whole is not None:
        rows = [
            [
                name,
                result["steps"],
                f"{result['processor_seconds'] / 60:.1f}",
                f"{100 * result['test']:.1f} %",
            ]
            for name, result in (("first 512 tokens", cut), ("then up to 16,384 tokens", whole))
        ]
        rows.append(
            [
                f"logistic regression over {words['words']} words",
                "",
                "",
                f"{100 * words['test']:.1f} %",
            ]
        )
        train, _, test = words["sizes"]
        parts.append(table(["reads", "steps", "processor minutes", "accuracy (test)"], rows))
        parts.append(f"{words['classes']} sections, {train} pages to train on, {test} to test.")
    if linear is not None:
        rows = [
            [f"{row['tokens']:,}", f"{row['processor_seconds']:.1f}", f"{row['peak_mib']:.0f}"]
            for row in linear["rows"]
        ]
        parts.append(table(["tokens of one text", "processor seconds", "peak MiB"], rows))
    return parts, [result for result in (words, cut, whole, linear) if result is not None]


SECTIONS = {"writer": writer, "sections": sections, "manuals": manuals}
