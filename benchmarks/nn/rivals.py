# SPDX-License-Identifier: Apache-2.0
"""The models of the benchmark in PyTorch's Python, as one writes them with care: keys projected
once a sequence, cells of PyTorch, unbind instead of slices, one output layer after the loop, and
padding left out of it. Parameters have the names of the models in C++."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Encoder(nn.Module):
    def __init__(self, c, hidden):
        super().__init__()
        self.embedding = nn.Embedding(c["source_vocab"], c["embedding"])
        self.recurrent = nn.Module()
        self.recurrent.rnn = nn.GRU(c["embedding"], hidden, batch_first=True, bidirectional=True)

    def forward(self, source, lengths):
        embedded = self.embedding(source)
        if bool((lengths == source.shape[1]).all()):
            return self.recurrent.rnn(embedded)
        packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, True, False)
        out, last = self.recurrent.rnn(packed)
        return nn.utils.rnn.pad_packed_sequence(out, True, total_length=source.shape[1])[0], last


class Recurrent(nn.Module):
    """A GRUCell under the names of a GRU."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.rnn = nn.GRU(dim, hidden)

    def forward(self, x, h):
        r = self.rnn
        return torch.gru_cell(x, h, r.weight_ih_l0, r.weight_hh_l0, r.bias_ih_l0, r.bias_hh_l0)


class Bahdanau(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden, annotation = c["hidden"], 2 * c["hidden"]
        self.encoder = Encoder(c, hidden)
        self.embedding = nn.Embedding(c["target_vocab"], c["embedding"])
        d = self.decoder = nn.Module()
        d.initial = nn.Linear(hidden, hidden)
        d.attention = nn.Module()
        d.attention.query = nn.Linear(hidden, c["attention_dim"], bias=False)
        d.attention.key = nn.Linear(annotation, c["attention_dim"], bias=False)
        d.attention.v = nn.Parameter(torch.rand(c["attention_dim"]) - 0.5)
        d.recurrent = Recurrent(c["embedding"] + annotation, hidden)
        d.from_state = nn.Linear(hidden, 2 * c["maxout"])
        d.from_embedding = nn.Linear(c["embedding"], 2 * c["maxout"], bias=False)
        d.from_context = nn.Linear(annotation, 2 * c["maxout"], bias=False)
        self.output = nn.Linear(c["maxout"], c["target_vocab"])

    def features(self, source, lengths, target_in):
        d = self.decoder
        h, last = self.encoder(source, lengths)
        keys = d.attention.key(h)
        hidden = torch.arange(source.shape[1]) >= lengths[:, None]
        embedded = self.embedding(target_in)
        s = torch.tanh(d.initial(last[-1]))
        states, contexts = [], []
        for y in embedded.unbind(1):
            energy = torch.tanh(d.attention.query(s)[:, None] + keys) @ d.attention.v
            alpha = energy.masked_fill(hidden, -math.inf).softmax(-1)
            context = torch.bmm(alpha[:, None], h)[:, 0]
            states.append(s)
            contexts.append(context)
            s = d.recurrent(torch.cat([y, context], -1), s)
        pairs = (
            d.from_state(torch.stack(states, 1))
            + d.from_embedding(embedded)
            + d.from_context(torch.stack(contexts, 1))
        )
        return pairs.unflatten(-1, (-1, 2)).amax(-1)


class Luong(nn.Module):
    """General score, input feeding."""

    def __init__(self, c):
        super().__init__()
        hidden = c["hidden"]
        self.encoder = Encoder(c, hidden // 2)
        self.embedding = nn.Embedding(c["target_vocab"], c["embedding"])
        d = self.decoder = nn.Module()
        d.recurrent = Recurrent(c["embedding"] + hidden, hidden)
        d.attention = nn.Module()
        d.attention.weight = nn.Parameter(torch.rand(hidden, hidden) * 0.1 - 0.05)
        d.attention.output = nn.Linear(2 * hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, c["target_vocab"])

    def features(self, source, lengths, target_in):
        a = self.decoder.attention
        h, last = self.encoder(source, lengths)
        keys = h @ a.weight.t()
        hidden = torch.arange(source.shape[1]) >= lengths[:, None]
        s = torch.cat([last[0], last[1]], -1)
        feed, features = torch.zeros_like(s), []
        for y in self.embedding(target_in).unbind(1):
            s = self.decoder.recurrent(torch.cat([y, feed], -1), s)
            energy = torch.bmm(keys, s[:, :, None])[:, :, 0].masked_fill(hidden, -math.inf)
            context = torch.bmm(energy.softmax(-1)[:, None], h)[:, 0]
            feed = torch.tanh(a.output(torch.cat([context, s], -1)))
            features.append(feed)
        return torch.stack(features, 1)


class Transformer(nn.Module):
    """torch.nn.Transformer, pre-norm, with PyTorch's scaled_dot_product_attention inside."""

    def __init__(self, c):
        super().__init__()
        layers, dim = c["encoder_layers"], c["dim"]
        self.dim = dim
        self.source_embedding = nn.Embedding(c["source_vocab"], dim)
        self.target_embedding = nn.Embedding(c["target_vocab"], dim)
        body = nn.Transformer(
            dim, c["heads"], layers, c["decoder_layers"], c["feed_forward"], c["dropout"],
            norm_first=True, batch_first=True,
        )  # fmt: skip
        self.encoder, self.decoder = body.encoder, body.decoder
        self.output_bias = nn.Parameter(torch.zeros(c["target_vocab"]))
        self.dropout = nn.Dropout(c["dropout"])
        angle = torch.arange(1024)[:, None] / 10000 ** (torch.arange(0, dim, 2) / dim)
        self.positions = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)

    def embed(self, table, tokens):
        x = table(tokens) * math.sqrt(self.dim) + self.positions[: tokens.shape[1]]
        return self.dropout(x)

    def features(self, source, lengths, target_in):
        hidden = torch.arange(source.shape[1]) >= lengths[:, None]
        causal = nn.Transformer.generate_square_subsequent_mask(target_in.shape[1])
        memory = self.encoder(
            self.embed(self.source_embedding, source), src_key_padding_mask=hidden
        )
        return self.decoder(
            self.embed(self.target_embedding, target_in),
            memory,
            tgt_mask=causal,
            tgt_is_causal=True,
            memory_key_padding_mask=hidden,
        )

    def output(self, x):
        return F.linear(x, self.target_embedding.weight, self.output_bias)


RIVALS = {"bahdanau": Bahdanau, "general": Luong, "transformer": Transformer}


def loss(model, batch):
    """The mean over tokens that are no padding."""
    features = model.features(batch["source"], batch["lengths"], batch["target_in"])
    target = batch["target_out"].flatten()
    places = target.ne(0).nonzero()[:, 0]
    logits = model.output(features.flatten(0, 1).index_select(0, places))
    return F.cross_entropy(logits, target.index_select(0, places))
