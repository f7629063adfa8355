# SPDX-License-Identifier: Apache-2.0
"""The same GPT-2 in PyTorch's Python: transformers' GPT2LMHeadModel with PyTorch's fused attention,
trained on the same tokens; and the perplexity of either by transformers' code.

language_torch.py train MODEL TEXTS OUT SECONDS     as large as MODEL, for so much processor time
language_torch.py perplexity MODEL TEXTS

MODEL is a folder of `regard train lm`, TEXTS its JSON Lines. Batches are documents of like lengths,
padded, in an order of their own every epoch, as many tokens as MODEL's training had.
"""

import json
import math
import random
import sys
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

BATCH_TOKENS, LEARNING_RATE, WARMUP = 4096, 1e-3, 100


def documents(model, texts):
    """Each document as ids, cut into parts of the model's context with the token after each."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    context = AutoConfig.from_pretrained(model).n_positions
    parts = []
    for line in Path(texts).read_text().splitlines():
        ids = [*tokenizer(json.loads(line)["text"]).input_ids, tokenizer.eos_token_id]
        parts += [ids[i : i + context + 1] for i in range(0, len(ids) - 1, context)]
    return parts


def batches(parts, rng=None):
    """Parts of like lengths, at most BATCH_TOKENS with their padding."""
    noise = rng.random if rng else lambda: 0
    order = sorted(parts, key=lambda part: (len(part) + 8 * noise(), noise()))
    made, open_ = [], []
    for part in order:
        if open_ and (len(open_) + 1) * (len(part) - 1) > BATCH_TOKENS:
            made.append(open_)
            open_ = []
        open_.append(part)
    made.append(open_)
    if rng:
        rng.shuffle(made)
    return made


def summed_loss(model, batch):
    """The summed negative log-likelihood of a batch, and of how many tokens it is."""
    longest = max(len(part) for part in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.int64)
    seen = torch.zeros_like(ids)
    for row, part in enumerate(batch):
        ids[row, : len(part)] = torch.tensor(part)
        seen[row, : len(part)] = 1
    logits = model(ids[:, :-1], attention_mask=seen[:, :-1]).logits
    targets = ids[:, 1:].masked_fill(seen[:, 1:] == 0, -100)
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100, reduction="sum"
    )
    return loss, int(seen[:, 1:].sum())


def autocast(bf16):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16)


def perplexity(model, texts, folder=None):
    folder = folder or model
    loaded = AutoModelForCausalLM.from_pretrained(model, attn_implementation="sdpa").eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches(documents(folder, texts)):
            loss, tokens = summed_loss(loaded, batch)
            total, count = total + loss.item(), count + tokens
    return {"perplexity": math.exp(total / count), "tokens": count}


def train(model, texts, out, seconds, bf16):
    torch.manual_seed(1)
    rng = random.Random(1)
    config = AutoConfig.from_pretrained(model)
    net = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").train()
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)
    parts = documents(model, texts)
    begin = time.process_time()
    steps = tokens = 0
    while time.process_time() - begin < seconds:
        for batch in batches(parts, rng):
            steps += 1
            rate = min(steps / WARMUP, math.sqrt(WARMUP / steps))
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * rate
            with autocast(bf16):
                loss, count = summed_loss(net, batch)
            optimizer.zero_grad()
            (loss / count).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            tokens += count
            if steps % 20 == 0:
                print(f"step {steps}: loss {loss.item() / count:.3f}", file=sys.stderr, flush=True)
            if time.process_time() - begin > seconds:
                break
    used = time.process_time() - begin
    net.save_pretrained(out)
    parameters = sum(p.numel() for p in net.parameters())
    return {"steps": steps, "tokens": tokens, "processor_seconds": used, "parameters": parameters}


def main():
    kind, model, texts, *rest = sys.argv[1:]
    torch.set_num_threads(1)
    if kind == "perplexity":
        said = perplexity(model, texts, *rest)
    else:
        out, seconds, bf16 = rest
        said = train(model, texts, out, float(seconds), bf16 == "bf16")
    print(json.dumps(said))


if __name__ == "__main__":
    main()
