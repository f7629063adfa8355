# SPDX-License-Identifier: Apache-2.0
"""The recurrent models as plain PyTorch, written from the papers (Bahdanau et al. 2014, arXiv
1409.0473, appendix A; Luong et al. 2015, arXiv 1508.04025; Cho et al. 2014, arXiv 1406.1078), with
PyTorch's cells. Parameters are looked up by the names that the models in C++ have."""

import math

import torch
from torch import nn
from torch.nn import functional as F

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
STEPS = {"gru": torch.gru_cell, "lstm": torch.lstm_cell, "rnn": torch.rnn_tanh_cell}


class Reference:
    def __init__(self, config, parameters):
        self.c, self.p = config, parameters

    def linear(self, name, x):
        return F.linear(x, self.p[f"{name}.weight"], self.p.get(f"{name}.bias"))

    def encode(self, source, lengths):
        c = self.c
        dim = c["hidden"]
        if c["attention"] not in ("fixed", "bahdanau") and c["bidirectional"]:
            dim //= 2
        rnn = CELLS[c["cell"]](
            c["embedding"], dim, c["layers"], bidirectional=c["bidirectional"], batch_first=True
        ).double()
        prefix = "encoder.recurrent.rnn."
        weights = {n[len(prefix) :]: p for n, p in self.p.items() if n.startswith(prefix)}
        embedded = F.embedding(source, self.p["encoder.embedding.weight"])
        packed = nn.utils.rnn.pack_padded_sequence(
            embedded, lengths, batch_first=True, enforce_sorted=False
        )
        out, state = torch.func.functional_call(rnn, weights, (packed,))
        out, _ = nn.utils.rnn.pad_packed_sequence(
            out, batch_first=True, total_length=source.shape[1]
        )
        return out, state if c["cell"] == "lstm" else (state,)

    def step(self, x, state):
        """The stack of cells; state is a list of a tuple for each layer."""
        after = []
        for layer, h in enumerate(state):
            w = [
                self.p[f"decoder.recurrent.rnn.{n}_l{layer}"]
                for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            new = STEPS[self.c["cell"]](x, list(h) if self.c["cell"] == "lstm" else h[0], *w)
            after.append(tuple(new) if self.c["cell"] == "lstm" else (new,))
            x = after[-1][0]
        return after

    def logits(self, source, lengths, target):
        fixed_or_bahdanau = self.c["attention"] in ("fixed", "bahdanau")
        features, maps = (self.bahdanau if fixed_or_bahdanau else self.luong)(
            source, lengths, F.embedding(target, self.p["embedding.weight"])
        )
        return self.linear("output", features), maps

    def bahdanau(self, source, lengths, embedded):
        c = self.c
        h, last = self.encode(source, lengths)
        first = torch.tanh(self.linear("decoder.initial", last[0][-1]))
        first = first.unflatten(-1, (c["layers"], c["hidden"]))
        state = [
            (first[:, n], torch.zeros_like(first[:, n])) if c["cell"] == "lstm" else (first[:, n],)
            for n in range(c["layers"])
        ]
        hidden = torch.arange(source.shape[1]) >= lengths[:, None]
        features, maps = [], []
        for t in range(embedded.shape[1]):
            s, y = state[-1][0], embedded[:, t]
            if c["attention"] == "fixed":
                both = c["bidirectional"]
                context = torch.cat([last[0][-2], last[0][-1]], -1) if both else last[0][-1]
            else:
                e = (
                    torch.tanh(
                        self.linear("decoder.attention.query", s)[:, None]
                        + self.linear("decoder.attention.key", h)
                    )
                    @ self.p["decoder.attention.v"]
                )
                alpha = e.masked_fill(hidden, -math.inf).softmax(-1)
                maps.append(alpha)
                context = (alpha[:, None] @ h)[:, 0]
            pairs = (
                self.linear("decoder.from_state", s)
                + self.linear("decoder.from_embedding", y)
                + self.linear("decoder.from_context", context)
            )
            features.append(pairs.unflatten(-1, (-1, 2)).amax(-1))
            state = self.step(torch.cat([y, context], -1), state)
        return torch.stack(features, 1), torch.stack(maps, 1) if maps else None

    def luong(self, source, lengths, embedded):
        c, p = self.c, self.p
        h, last = self.encode(source, lengths)
        if c["bidirectional"]:
            last = tuple(x.unflatten(0, (c["layers"], 2)).transpose(1, 2).flatten(2) for x in last)
        state = [tuple(x[n] for x in last) for n in range(c["layers"])]
        feed = torch.zeros(source.shape[0], c["hidden"], dtype=h.dtype)
        place = torch.arange(source.shape[1])
        w, window = p.get("decoder.attention.weight"), c["window"]
        features, maps = [], []
        for t in range(embedded.shape[1]):
            x = embedded[:, t]
            state = self.step(torch.cat([x, feed], -1) if c["input_feeding"] else x, state)
            s = state[-1][0]
            if c["attention"] == "dot":
                e = (h @ s[..., None])[..., 0]
            elif c["attention"] == "general":
                e = (h @ (s @ w)[..., None])[..., 0]
            elif c["attention"] == "concat":
                pairs = torch.cat([s[:, None].expand(-1, h.shape[1], -1), h], -1)
                e = torch.tanh(pairs @ w.t()) @ p["decoder.attention.v"]
            else:
                e = (s @ w.t())[:, : h.shape[1]]
            seen, gauss = place < lengths[:, None], 1.0
            if c["reach"] == "local-m":
                seen = seen & ((place - t).abs() <= window)
            if c["reach"] == "local-p":
                inner = torch.tanh(self.linear("decoder.attention.place", s))
                centre = lengths * torch.sigmoid(inner @ p["decoder.attention.place_v"])
                away = place - centre[:, None]
                seen = seen & (away.abs() <= window)
                gauss = torch.exp(-(away**2) / (2 * (window / 2) ** 2))
            e = e.masked_fill(~seen, -math.inf)
            alpha = torch.where(seen.any(-1, keepdim=True), e, 0.0).softmax(-1) * seen * gauss
            maps.append(alpha)
            both = torch.cat([(alpha[:, None] @ h)[:, 0], s], -1)
            feed = torch.tanh(self.linear("decoder.attention.output", both))
            features.append(feed)
        return torch.stack(features, 1), torch.stack(maps, 1)
