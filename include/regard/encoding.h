// SPDX-License-Identifier: Apache-2.0
// Options as three flat lists, the form in which they cross every border (PyTorch's operators, C,
// the command line).
//
// `ints` is a row of records, each: kind, count, then `count` integers. What each kind holds is in
// kRecordFormats. Floats and tensors are taken from their lists in order; masks are in postfix
// order, and one, or none, remains at the end. Shapes of tensors are those of regard/modifier.h and
// regard/mask.h, lists of integers (1, 1, batch or 1, entries), int32 or int64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
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

// What a record of one kind holds: names, separated by ", ".
struct RecordFormat {
  Record kind;
  const char* name;
  const char* ints;
  const char* floats;
  const char* tensors;
  int masks;  // that it takes from the stack; those of kinds below kScale push one
};

inline constexpr RecordFormat kRecordFormats[] = {
    {Record::kCausal, "causal", "has_offset, offset", "", "", 0},
    {Record::kWindow, "window", "left, right, has_offset, offset", "", "", 0},
    {Record::kKeyLengths, "key_lengths", "", "", "lengths", 0},
    {Record::kDocuments, "documents", "", "", "cu_q, cu_k", 0},
    {Record::kTensor, "tensor", "", "", "allowed", 0},
    {Record::kDilated, "dilated", "left, right, has_offset, offset", "", "dilations", 0},
    // -1 fills lists of tokens that are shorter than the longest
    {Record::kGlobalTokens, "global_tokens", "has_offset, offset", "", "tokens", 0},
    {Record::kBlocks, "blocks", "block_q, block_k", "", "allowed", 0},
    {Record::kPrefix, "prefix", "has_offset, offset", "", "lengths", 0},
    {Record::kAnd, "and", "", "", "", 2},
    {Record::kOr, "or", "", "", "", 2},
    {Record::kNot, "not", "", "", "", 1},
    {Record::kTree, "tree", "", "", "parents", 0},
    {Record::kAround, "around", "width", "", "centres", 0},
    {Record::kBigBird, "bigbird", "block, window, global, random, seed", "", "", 0},
    {Record::kScale, "scale", "", "scale", "", 0},
    {Record::kSoftcap, "softcap", "", "cap", "", 0},
    {Record::kBias, "bias", "before_softcap", "", "values", 0},
    {Record::kTemperature, "temperature", "", "", "values", 0},
    {Record::kAlibi, "alibi", "", "", "slopes", 0},
    {Record::kRelativeBias, "relative_bias", "shift", "", "table, query_code, key_code, buckets",
     0},
    // addresses in this process; derive and context may be 0
    {Record::kFunction, "function", "apply, derive, context", "", "", 0},
    {Record::kSinks, "sinks", "", "", "logits", 0},
    {Record::kDropout, "dropout", "", "p", "seed", 0},  // the seed: one int64 element
    {Record::kMultiplier, "multiplier", "", "", "values", 0},
    {Record::kGaussian, "gaussian", "", "sigma", "centre", 0},
    {Record::kAdditive, "additive", "", "", "v", 0},
    {Record::kPreparedKeys, "prepared_keys", "", "", "keys", 0},  // comes after additive
    {Record::kPart, "part", "query_begin, key_begin, len_q, len_k", "", "", 0},
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

// The records for a person to read, a line each: "window(left=3, right=0, has_offset=0, offset=0)".
// Tensors are named by their index, or their shape where `tensors` are given. What is not an
// encoding is shown as far as it is one.
std::string encoding_text(std::span<const std::int64_t> ints, std::span<const double> floats,
                          std::span<const TensorView> tensors = {});

}  // namespace regard
