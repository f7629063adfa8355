// SPDX-License-Identifier: Apache-2.0
// A mask twice over: as the library's value, and as a formula over pairs from which tests fill a
// dense matrix.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "regard/mask.h"
#include "regard/plan.h"
#include "tests/core/support/tensor.h"

namespace regard::testing {

// One query and one key.
struct Pair {
  std::int64_t batch, head;
  std::int64_t row, key;  // in the tensors
  std::int64_t i, j;      // in their own sequence: the same, except inside a document
  std::int64_t offset;    // len_k - len_q of that sequence
  std::int64_t keys;      // its len_k
};

struct Rule {
  Mask mask;
  std::function<bool(const Pair&)> allows = [](const Pair&) { return true; };
  // Of a packed sequence at the top of the expression: pairs count within their document.
  std::vector<std::int64_t> cu_q, cu_k;
};

Rule operator&(const Rule& a, const Rule& b);
Rule operator|(const Rule& a, const Rule& b);
Rule operator~(const Rule& a);

Rule see_all();
Rule see_causal(std::optional<std::int64_t> offset = std::nullopt);
Rule see_window(std::int64_t left, std::int64_t right,
                std::optional<std::int64_t> offset = std::nullopt);
Rule see_lengths(std::vector<std::int64_t> lengths);
Rule see_tensor(Tensor allowed);  // of dtype kBool; its copy lives as long as the rule
Rule see_dilated(std::int64_t left, std::int64_t right, std::vector<std::int64_t> dilations,
                 std::optional<std::int64_t> offset = std::nullopt);
// One list for all batch entries, or one for each.
Rule see_global_tokens(std::vector<std::vector<std::int64_t>> tokens,
                       std::optional<std::int64_t> offset = std::nullopt);
Rule see_blocks(Tensor layout, std::int64_t block_q, std::int64_t block_k);
Rule see_prefix(std::vector<std::int64_t> lengths,
                std::optional<std::int64_t> offset = std::nullopt);
Rule see_tree(std::vector<std::vector<std::int64_t>> parents);  // one for all, or one for each
Rule see_around(Tensor centres, std::int64_t width);
// BigBird's window and global blocks, of a problem whose random blocks are none, or (`everything`)
// all the rest.
Rule see_bigbird(std::int64_t block, std::int64_t window, std::int64_t global, bool everything,
                 std::int64_t len_q, std::int64_t len_k);
// Packed documents, with a rule inside each.
Rule see_documents(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k,
                   const Rule& inside = see_all());
// Documents as a mask like any other, for use under | and ~, or within other documents.
Rule see_same_document(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k);

// A pair of tensor rows, counted in its own sequence too.
Pair pair_of(const Rule& rule, const PlanShape& shape, std::int64_t batch, std::int64_t head,
             std::int64_t row, std::int64_t key);
// Whether the rule lets it be.
bool allowed(const Rule& rule, const PlanShape& shape, std::int64_t batch, std::int64_t head,
             std::int64_t row, std::int64_t key);
// The dense matrix (batch, heads, len_q, len_k), written from the formula.
std::vector<std::uint8_t> dense(const Rule& rule, std::int64_t batch, std::int64_t heads,
                                std::int64_t len_q, std::int64_t len_k);

// A mask in text, postfix, dot-separated, for one-line reproductions ("" hides nothing):
//   c  wLEFT:RIGHT  kSEED (key lengths)  tSEED:AXES (a tensor; bit a of AXES: axis a is broadcast)
//   dSEED (keys of other documents)  iLEFT:RIGHT:SEED (dilated)  gSEED (global tokens)  bSEED:AXES
//   (blocks)  xSEED (prefix)  eSEED (tree) aSEED:AXES (around centres)  rSEED (BigBird)  &  |  ~
//   and, first, pSEED: packed documents around all the rest c, w, i, g and x may end in @OFFSET
Rule parse_rule(const std::string& text, std::int64_t batch, std::int64_t heads, std::int64_t len_q,
                std::int64_t len_k);

}  // namespace regard::testing
