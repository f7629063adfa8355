// Options as three flat lists, the form in which they cross every border (PyTorch's operators, C,
// the command line).
//
// `ints` is a row of records, each: kind, count, then `count` integers. Kinds and what they hold:
//
//   1 causal        has_offset, offset
//   2 window        left, right, has_offset, offset
//   3 key_lengths   (none)                      takes one tensor: int32 or int64, shape (1, 1, 1,
//   batch) 4 documents     (none)                      takes two tensors: cu_q, cu_k, int32 or
//   int64, shape (1, 1, 1, documents + 1) 5 tensor        (none)                      takes one
//   bool tensor that broadcasts to (batch, heads, len_q, len_k) 6 dilated       left, right,
//   has_offset, offset     takes one tensor: dilations, int32 or int64, (1, 1, 1, heads or 1) 7
//   global_tokens has_offset, offset          takes one tensor: tokens, int32 or int64, (1, 1,
//   batch or 1, entries); -1 fills short lists 8 blocks        block_q, block_k            takes
//   one bool tensor, (batch or 1, heads or 1, blocks of queries, blocks of keys) 9 prefix
//   has_offset, offset          takes one tensor: lengths, int32 or int64, (1, 1, 1, batch) 10 and,
//   11 or   (none)                      pop two masks, push one (masks are in postfix order) 12 not
//   (none)                      pops one mask, pushes one 13 tree         (none) takes one tensor:
//   parents, int32 or int64, (1, 1, batch or 1, nodes) 14 around       width takes one floating
//   tensor, centres, that broadcasts to (batch, heads, len_q, 1) 15 bigbird      block, window,
//   global, random, seed 20 scale        (none)                      takes one float 21 softcap
//   (none)                      takes one float 22 bias         before_softcap              takes
//   one floating tensor 23 temperature  (none)                      takes one floating tensor 24
//   alibi        (none)                      takes one floating tensor: slopes 25 relative_bias
//   shift                   takes four tensors: table (floating), query_code, key_code, buckets
//   (int32) 26 function     apply, derive, context      addresses in this process; derive and
//   context may be 0 27 sinks        (none)                      takes one floating tensor: logits
//   28 dropout      (none)                      takes one float, p, and one int64 tensor of one
//   element, the seed 29 multiplier   (none)                      takes one floating tensor 30
//   gaussian     (none)                      takes one float, sigma, and one floating tensor,
//   centre 40 additive     (none)                      takes one floating tensor: v 41
//   prepared_keys    (none)                  takes one float32 or float64 tensor: what
//   prepare_keys() made; follows additive 50 part         query_begin, key_begin, len_q, len_k
//
// Shapes of tensors are those of regard/modifier.h and regard/mask.h. Floats and tensors are taken
// from their lists in order. One mask, or none, remains on the stack at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "regard/attention.h"

namespace regard {

enum class Record : std::int64_t {
  kCausal = 1,
  kWindow = 2,
  kKeyLengths = 3,
  kDocuments = 4,
  kTensor = 5,
  kDilated = 6,
  kGlobalTokens = 7,
  kBlocks = 8,
  kPrefix = 9,
  kAnd = 10,
  kOr = 11,
  kNot = 12,
  kTree = 13,
  kAround = 14,
  kBigBird = 15,
  kScale = 20,
  kSoftcap = 21,
  kBias = 22,
  kTemperature = 23,
  kAlibi = 24,
  kRelativeBias = 25,
  kFunction = 26,
  kSinks = 27,
  kDropout = 28,
  kMultiplier = 29,
  kGaussian = 30,
  kAdditive = 40,
  kPreparedKeys = 41,
  kPart = 50,
};

// Which of the tensors have gradients, by their index: one for each entry of
// Gradients::d_modifiers, and Gradients::d_score_v's.
struct Differentiable {
  std::vector<std::size_t> modifiers;
  std::optional<std::size_t> score_v;
};

// Fills `differentiable` where it is wanted.
Status decode(std::span<const std::int64_t> ints, std::span<const double> floats,
              std::span<const TensorView> tensors, Options* options,
              Differentiable* differentiable = nullptr);

}  // namespace regard
