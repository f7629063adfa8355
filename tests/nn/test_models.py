# SPDX-License-Identifier: Apache-2.0
"""Models against plain PyTorch with the same weights: logits, every gradient, incremental decoding,
and the folders that they are saved to."""

import json
import shutil

import pytest
import torch
from harness import ProgramError, close, compare, run
from safetensors.torch import load_file, save_file
from seq2seq_reference import Reference
from torch import nn

SOURCE_VOCAB, TARGET_VOCAB, BATCH, SOURCE_LEN, TARGET_LEN = 17, 19, 3, 8, 6
LENGTHS = torch.tensor([8, 5, 1])

SEQ2SEQ = {
    "kind": "seq2seq",
    "source_vocab": SOURCE_VOCAB,
    "target_vocab": TARGET_VOCAB,
    "embedding": 6,
    "hidden": 8,
    "attention_dim": 7,
    "maxout": 5,
    "positions": 12,
    "window": 2,
    "cell": "gru",
    "layers": 1,
    "bidirectional": True,
    "input_feeding": True,
    "reach": "global",
}
TRANSFORMER = {
    "kind": "transformer",
    "source_vocab": SOURCE_VOCAB,
    "target_vocab": TARGET_VOCAB,
    "dim": 16,
    "heads": 4,
    "feed_forward": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
}


def batch():
    source = torch.randint(4, SOURCE_VOCAB, (BATCH, SOURCE_LEN))
    source[torch.arange(SOURCE_LEN) >= LENGTHS[:, None]] = 0
    target = torch.randint(4, TARGET_VOCAB, (BATCH, TARGET_LEN))
    target[:, 0] = 2
    return {"source": source, "lengths": LENGTHS, "target": target}


def drawn(tmp_path, config):
    """Parameters of the config's model, drawn larger than it would, so that every part counts."""
    request = {"command": "checkpoint", "config": config, "fresh": True}
    names = run(tmp_path, {**request, "save_to": str(tmp_path / "drawn")}, {"-": torch.zeros(1)})
    return {n: torch.randn_like(p) * 0.4 for n, p in sorted(names.items())}


def ask(tmp_path, command, config, tensors, parameters, **more):
    return run(tmp_path, {"command": command, "config": config, **more}, tensors, parameters)


def check_decoding(tmp_path, config, given, parameters, logits, maps=None):
    """Step by step the logits are those of the whole target, also of rows that are repeated,
    exchanged and dropped on the way; `maps` are (batch, heads, target, source)."""
    at, steps = [list(range(BATCH))], [{"tokens": given["target"][:, 0].tolist()}]
    orders = {1: [0, 0, 1, 1, 2, 2], 2: [1, 1, 2, 2, 4, 5], 3: [5, 0], 4: [1, 1, 0]}
    rows = list(range(BATCH))
    for t in range(1, TARGET_LEN):
        if t in orders:
            rows = [rows[n] for n in orders[t]]
            steps.append({"reorder": orders[t]})
        at.append(rows)
        steps.append({"tokens": given["target"][rows, t].tolist()})
    answers = ask(
        tmp_path,
        "decode",
        config,
        given,
        parameters,
        steps=steps,
        max_length=TARGET_LEN,
        weights=maps is not None,
    )
    for t, rows in enumerate(at):
        close(answers[f"logits.{t}"], logits[rows, t], f"logits of step {t}")
        if maps is not None:
            close(answers[f"weights.{t}"], maps[rows, :, t], f"weights of step {t}")
    with pytest.raises(ProgramError, match="max_length"):
        ask(tmp_path, "decode", config, given, parameters, steps=[{}, {}], max_length=1)


@pytest.mark.parametrize(
    "change",
    [
        {"attention": "fixed"},
        {"attention": "fixed", "bidirectional": False, "cell": "lstm"},
        {"attention": "bahdanau"},
        {"attention": "bahdanau", "cell": "lstm", "layers": 2},
        {"attention": "bahdanau", "cell": "rnn", "bidirectional": False},
        {"attention": "dot", "cell": "lstm", "layers": 2},
        {"attention": "dot", "input_feeding": False},
        {"attention": "general"},
        {"attention": "general", "reach": "local-m"},
        {"attention": "general", "reach": "local-m", "input_feeding": False},
        {"attention": "general", "reach": "local-p", "bidirectional": False},
        {"attention": "general", "reach": "local-p", "input_feeding": False, "cell": "rnn"},
        {"attention": "concat", "reach": "local-p"},
        {"attention": "location"},
        {"attention": "location", "reach": "local-m", "input_feeding": False},
    ],
    ids=lambda change: "-".join(str(v) for v in change.values()),
)
def test_seq2seq(tmp_path, change):
    config = {**SEQ2SEQ, **change}
    given, parameters = batch(), drawn(tmp_path, config)
    p = {n: x.double().requires_grad_() for n, x in parameters.items()}
    logits, maps = Reference(config, p).logits(given["source"], LENGTHS, given["target"])
    d_out = torch.randn(logits.shape)
    looks = config["attention"] != "fixed"
    tensors = {**given, "d_out": d_out}
    answers = ask(tmp_path, "model", config, tensors, parameters, alignment=looks)
    compare(answers, logits, d_out, {f"p.{n}": x for n, x in p.items()})
    if looks:
        close(answers["alignment"], maps[:, None], "alignment")
    check_decoding(
        tmp_path, config, given, parameters, logits.detach(), maps[:, None] if looks else None
    )


def test_a_fixed_vector_has_no_weights(tmp_path):
    config = {**SEQ2SEQ, "attention": "fixed"}
    given, parameters = batch(), drawn(tmp_path, config)
    with pytest.raises(ProgramError, match="a fixed vector has no attention"):
        ask(tmp_path, "decode", config, given, parameters, steps=[{}], max_length=3, weights=True)


class PlainTransformer:
    """torch.nn.Transformer between embeddings, with parameters by our names."""

    def __init__(self, config, p):
        self.c, self.p = config, p
        norm_first = config.get("norm", "pre") == "pre"
        activation = config.get("activation", "relu")
        options = {"norm_first": norm_first, "batch_first": True}
        self.module = nn.Transformer(16, 4, 2, 2, 24, 0.0, activation, **options).double()
        if not norm_first:
            self.module.encoder.norm = self.module.decoder.norm = None

    def embed(self, name, tokens):
        tied = self.c.get("tied", "target") == "all"
        table = self.p["source_embedding.weight" if tied else f"{name}_embedding.weight"]
        x = table[tokens] * 4.0
        if self.c.get("positions") == "learned":
            return x + self.p[f"{name}_positions.weight"][: tokens.shape[1]]
        angle = torch.arange(tokens.shape[1]).double()[:, None] / 10000 ** (
            torch.arange(0, 16, 2).double() / 16
        )
        return x + torch.stack([angle.sin(), angle.cos()], -1).flatten(1)

    def logits(self, source, lengths, target):
        weights = {n: p for n, p in self.p.items() if n.split(".")[0] in ("encoder", "decoder")}
        hidden = torch.arange(source.shape[1]) >= lengths[:, None]
        causal = torch.ones(target.shape[1], target.shape[1]).triu(1).bool()
        arguments = (self.embed("source", source), self.embed("target", target))
        features = torch.func.functional_call(
            self.module,
            weights,
            arguments,
            {
                "tgt_mask": causal,
                "src_key_padding_mask": hidden,
                "memory_key_padding_mask": hidden,
            },
        )
        tied = {"all": "source_embedding.weight", "target": "target_embedding.weight"}
        table = self.p[tied.get(self.c.get("tied", "target"), "output_weight")]
        return features @ table.t() + self.p["output_bias"]


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "pre"},
        {"norm": "post", "activation": "gelu"},
        {"norm": "pre", "tied": "all", "source_vocab": TARGET_VOCAB},
        {"norm": "post", "tied": "none", "positions": "learned", "max_positions": 9},
    ],
    ids=lambda change: "-".join(str(v) for v in change.values()),
)
def test_transformer(tmp_path, change):
    config = {**TRANSFORMER, **change}
    given, parameters = batch(), drawn(tmp_path, config)
    p = {n: x.double().requires_grad_() for n, x in parameters.items()}
    logits = PlainTransformer(config, p).logits(given["source"], LENGTHS, given["target"])
    d_out = torch.randn(logits.shape)
    tensors = {**given, "d_out": d_out}
    answers = ask(tmp_path, "model", config, tensors, parameters, alignment=True)
    compare(answers, logits, d_out, {f"p.{n}": x for n, x in p.items()}, 3e-5)
    maps = answers["alignment"]
    close(maps.sum(-1), torch.ones(BATCH, 4, TARGET_LEN), "sums of weights")
    assert not maps[1, :, :, 5:].any()
    check_decoding(tmp_path, config, given, parameters, answers["out"], maps)


@pytest.mark.parametrize("config", [SEQ2SEQ, TRANSFORMER], ids=lambda c: c["kind"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss(tmp_path, config, smoothing):
    """Chunks of any size give PyTorch's cross entropy and its gradients; padding does not count."""
    given, parameters = batch(), drawn(tmp_path, config)
    target_out = torch.randint(4, TARGET_VOCAB, (BATCH, TARGET_LEN))
    target_out[1, 3:] = 0
    ask_model = {**given, "d_out": torch.zeros(BATCH, TARGET_LEN, TARGET_VOCAB)}
    logits = ask(tmp_path, "model", config, ask_model, parameters)["out"].double().requires_grad_()
    nll = nn.functional.cross_entropy(logits.flatten(0, 1), target_out.flatten(), ignore_index=0)
    loss = nn.functional.cross_entropy(
        logits.flatten(0, 1), target_out.flatten(), ignore_index=0, label_smoothing=smoothing
    )
    (d_logits,) = torch.autograd.grad(3 * loss, logits)
    tensors = {**given, "target_out": target_out}
    d_out = {"d_out": torch.tensor(3.0)}
    expected = ask(tmp_path, "model", config, {**given, "d_out": d_logits.float()}, parameters)
    for chunk in (4, 1000):
        answers = ask(
            tmp_path,
            "loss",
            config,
            {**tensors, **d_out},
            parameters,
            smoothing=smoothing,
            chunk=chunk,
        )
        close(answers["out"], loss, "loss")
        close(answers["nll"], nll, "nll")
        for name, x in expected.items():
            if name.startswith("d."):
                close(answers[name], x, f"{name}, chunk {chunk}", 2e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"source": torch.full((BATCH, SOURCE_LEN), 99)}, "source: from 99 to 99"),
        ({"source": torch.zeros(BATCH, SOURCE_LEN)}, "source: .*expected int64"),
        ({"lengths": torch.tensor([8, 5, 0])}, "source_lengths: from 0 to 8"),
        ({"lengths": torch.tensor([8, 5, 9])}, "source_lengths: from 5 to 9"),
        ({"lengths": torch.tensor([8, 5])}, "source_lengths: 2 of 3 rows"),
        ({"target": torch.full((BATCH, 2), -1)}, "target_in: from -1 to -1"),
        ({"target": torch.full((2, 2), 3)}, "target_in: 2 rows"),
    ],
)
@pytest.mark.parametrize("config", [SEQ2SEQ, TRANSFORMER], ids=lambda c: c["kind"])
def test_errors_name_the_argument(tmp_path, config, change, message):
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, {"command": "model", "config": config, "fresh": True}, {**batch(), **change})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "rnn"}, 'kind: "rnn"; expected one of .*llama, .*seq2seq, transformer'),
        ({"hidden": 0}, "hidden: 0; expected 1 to"),
        ({"hidden": 10**12}, "hidden"),
        ({"hidden": 7.5}, "hidden: 7.5; expected a whole number"),
        ({"dropout": 1}, "dropout: 1"),
        ({"attention": "none"}, 'attention: "none"; expected one of fixed, bahdanau'),
        ({"attention": "dot", "hidden": 7}, "hidden: 7; expected an even number"),
        ({"input_feeding": 1}, "input_feeding: 1; expected true or false"),
        ({"colour": 3}, "colour: a config of kind .seq2seq. has no such field"),
        ({"source_vocab": 3}, "source_vocab: 3"),
    ],
)
def test_wrong_configs(tmp_path, change, message):
    request = {"command": "model", "config": {**SEQ2SEQ, **change}, "fresh": True}
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request, batch())


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "model"
    parameters = drawn(tmp_path, TRANSFORMER)
    request = {"command": "checkpoint", "config": TRANSFORMER, "save_to": str(folder)}
    run(tmp_path, request, {}, parameters)
    return folder, parameters


def test_a_saved_model_is_read_by_python_and_by_us(tmp_path, saved):
    folder, parameters = saved
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert config["kind"] == "transformer" and config["format"] == 1 and config["dim"] == 16
    read = load_file(folder / "model.safetensors")
    assert read.keys() == parameters.keys()
    assert all(torch.equal(read[n], parameters[n]) for n in read)
    given = batch()
    there = run(tmp_path, {"command": "model", "folder": str(folder)}, given)
    here = ask(tmp_path, "model", TRANSFORMER, given, parameters)
    assert torch.equal(there["out"], here["out"])
    save_file(read, folder / "model.safetensors")  # written again by Python, without our metadata
    again = run(tmp_path, {"command": "model", "folder": str(folder)}, given)
    assert torch.equal(again["out"], here["out"])


def damage_config(**change):
    def damage(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        config = {k: v for k, v in {**config, **change}.items() if v is not None}
        path.write_text(json.dumps(config))

    return damage


def damage_weights(change):
    def damage(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return damage


def cut(name, keep):
    def damage(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:keep])

    return damage


NORM = "encoder.norm.weight"


@pytest.mark.parametrize(
    "damage, message",
    [
        (damage_config(format=99), r'config.json: "format" is 99; this version reads 1'),
        (damage_config(format=None), r'config.json: "format" is missing'),
        (damage_config(dim=32), "model.safetensors: written for another config"),
        (cut("config.json", 20), "config.json: not a JSON object"),
        (cut("model.safetensors", 1000), "model.safetensors: truncated"),
        (cut("model.safetensors", -1), "model.safetensors: .*truncated"),
        (lambda f: (f / "config.json").unlink(), "config.json: cannot be read"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: cannot be read"),
        (lambda f: shutil.rmtree(f), "config.json: cannot be read"),
        (damage_weights(lambda t: t.pop(NORM)), f'tensor "{NORM}" is missing'),
        (
            damage_weights(lambda t: t.update(more=torch.ones(1))),
            'tensor "more" belongs to nothing',
        ),
        (damage_weights(lambda t: t.update({NORM: torch.ones(8)})), "the model has"),
        (damage_weights(lambda t: t.update({NORM: torch.ones(16).half()})), "the model has"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, saved, damage, message):
    damage(saved[0])
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, {"command": "model", "folder": str(saved[0])}, batch())
