// SPDX-License-Identifier: Apache-2.0
// What happens to a score between the product q . k and the softmax, and to a weight between the
// softmax and the values. Modifiers are values in Options::modifiers; they compose with each other,
// every mask, score and dtype.
//
// Their order is fixed, whatever the order in the list (several of a kind that may come more than
// once keep theirs):
//
//   score * scale -> Temperature -> Bias that asks to come before -> Softcap -> Bias, Alibi,
//   RelativeBias -> Function -> mask
//   -> softmax, whose denominator Sinks join -> Dropout, Multiplier, Gaussian -> times V
//
// Tensors are views in the order (batch, heads, seq, dim) like all others. A modifier's tensor may
// be float32, bfloat16, float16 or float64, and each of its sizes equals the full one or is 1. Its
// gradient is asked for in Gradients::d_modifiers.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "regard/tensor_view.h"

namespace regard {

// s <- s / values: one positive number per head, (1, heads or 1, 1, 1).
struct Temperature {
  TensorView values;
};

// s <- cap * tanh(s / cap), cap > 0 (Gemma 2, arXiv 2408.00118). No gradient to cap.
struct Softcap {
  double cap = 0;
};

// s <- s + bias, of any shape that broadcasts to (batch, heads, len_q, len_k). -inf hides a pair;
// finite values do not, but 87 (float64: 707) below the row's maximum, and lower, a weight is 0.
struct Bias {
  TensorView values;
  bool before_softcap = false;
};

// s <- s - slope * |i + len_k - len_q - j| (ALiBi, arXiv 2108.12409; the last query stands at the
// last key): slopes (batch or 1, heads or 1, 1, 1). Query and key count within their own sequence;
// len_k is the length before key_lengths().
struct Alibi {
  TensorView slopes;
};

// s <- s + table[head][buckets[key_code[j] - query_code[i] + shift]]: a bias that depends on how
// two positions lie to each other, without a len_q x len_k tensor. Codes are one-dimensional
// positions, or anything whose difference says it all:
//   T5 (arXiv 1910.10683): codes are positions, `buckets` holds the bucket of each distance;
//   Swin (arXiv 2103.14030): code = row * (2 * width - 1) + column inside a window, `buckets`
//   counts 0, 1, 2, ...
// table (1, heads or 1, 1, entries); query_code (1, 1, 1, len_q), key_code (1, 1, 1, len_k) and
// buckets (1, 1, 1, any size) are int32. Every difference that occurs must be inside buckets, every
// bucket inside the table.
struct RelativeBias {
  TensorView table;
  TensorView query_code, key_code, buckets;
  std::int64_t shift = 0;
};

// A function of one's own over a tile of scores, and its derivative. A tile has query rows and key
// columns; element (r, c) is the pair of query row `query + r` and key row `key + c` of the
// tensors, at data[r * stride + c]. `data` holds float, or double for float64 tensors. The
// function is called from several threads at once and must depend on nothing but its arguments;
// pairs that a mask hides may be among them, and hold any value.
struct FunctionTile {
  void* data;  // apply: scores, changed in place; derive: the gradient of the changed scores,
               // turned into that of the scores
  const void* scores;  // derive: the scores as apply() met them, laid out as data
  std::int64_t rows, columns, stride;
  std::int64_t query, key;
  std::int64_t batch, head;
  std::int32_t is_double;
};
struct Function {
  void (*apply)(const FunctionTile* tile, void* context) = nullptr;
  void (*derive)(const FunctionTile* tile,
                 void* context) = nullptr;  // may be null where no gradient is wanted
  void* context = nullptr;
};

// Learned logits that join the denominator of every row of their head, and nothing else: (1, heads,
// 1, any number). A row that sees no key gives out 0 and lse = logsumexp(its sinks). States that
// will be merged carry none (arXiv 2309.17453; gpt-oss).
struct Sinks {
  TensorView logits;
};

// Each weight is dropped with probability p, the others are divided by 1 - p. Whether one is
// dropped depends on (seed, batch, head, query row, key row) alone: see dropout_keeps().
struct Dropout {
  double p = 0;
  std::uint64_t seed = 0;
};

// weight <- weight * values after the softmax, of any shape that broadcasts to (batch, heads,
// len_q, len_k). Rows no longer add up to 1.
struct Multiplier {
  TensorView values;
};

// weight <- weight * exp(-(j - centre)^2 / (2 sigma^2)) after the softmax (local-p, Luong et al.
// 2015, arXiv 1508.04025): centre (batch or 1, heads or 1, len_q or 1, 1); key j counts within its
// own sequence. sigma > 0 has no gradient.
struct Gaussian {
  TensorView centre;
  double sigma = 0;
};

using Modifier = std::variant<Softcap, Bias, Temperature, Alibi, RelativeBias, Function, Sinks,
                              Dropout, Multiplier, Gaussian>;

// Whether Dropout keeps the weight of this pair. Rows are those of the tensors (the whole's, of a
// part).
bool dropout_keeps(const Dropout& dropout, std::int64_t batch, std::int64_t head,
                   std::int64_t query, std::int64_t key);

}  // namespace regard
