// SPDX-License-Identifier: Apache-2.0
// Where a part stands in a longer attention.
#pragma once

#include <cstdint>

namespace regard {

// The query and key tensors of a call hold rows [query_begin, query_begin + their length) and
// [key_begin, key_begin + their length) of an attention of len_q queries and len_k keys: a block of
// a ring, a range of a cache's pages, a split of keys for decoding. All that counts positions
// counts those of the whole:
//
//   masks                       are the whole's: its lengths, documents, tokens, layouts of blocks
//   and tensors (batch, heads, len_q, len_k) Alibi, Gaussian             distances, and the count
//   of keys, in the whole Dropout, Function           rows of the whole's tensors other modifiers'
//   tensors    are the part's own slices: Bias, Multiplier, codes of RelativeBias, centres of
//   Gaussian
//
// The states of parts over disjoint keys merge into the whole's rows (regard/state.h).
struct Part {
  std::int64_t query_begin = 0, key_begin = 0;
  std::int64_t len_q = 0, len_k = 0;

  bool operator==(const Part&) const = default;
};

}  // namespace regard
