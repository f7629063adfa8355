// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/mask.h"

#include <initializer_list>
#include <stdexcept>

#include "regard/encoding.h"

namespace regard::nn {
namespace {

using Kind = regard::Record;

OptionRecord record(Kind kind, std::initializer_list<std::int64_t> ints,
                    std::vector<torch::Tensor> tensors = {}, std::vector<double> floats = {}) {
  OptionRecord result{{static_cast<std::int64_t>(kind), static_cast<std::int64_t>(ints.size())},
                      std::move(floats),
                      std::move(tensors)};
  result.ints.insert(result.ints.end(), ints);
  return result;
}

Mask mask(Kind kind, std::initializer_list<std::int64_t> ints,
          std::vector<torch::Tensor> tensors = {}) {
  return Mask(record(kind, ints, std::move(tensors)));
}

Mask join(const Mask& a, const Mask& b, Kind kind) {
  OptionRecord both = a.record();
  const OptionRecord& second = b.record();
  both.ints.insert(both.ints.end(), second.ints.begin(), second.ints.end());
  both.ints.insert(both.ints.end(), {static_cast<std::int64_t>(kind), 0});
  both.tensors.insert(both.tensors.end(), second.tensors.begin(), second.tensors.end());
  return Mask(std::move(both));
}

void check_hides(const Mask& mask, const char* operation) {
  if (mask.hides_nothing())
    throw std::invalid_argument(std::string("mask: operator") + operation +
                                " of a mask that hides nothing");
}

std::int64_t has(std::optional<std::int64_t> offset) { return offset ? 1 : 0; }
std::int64_t value(std::optional<std::int64_t> offset) { return offset.value_or(0); }

// A tensor whose rank is one of those given, so that it is never read along a wrong axis.
const torch::Tensor& of_rank(const char* name, const torch::Tensor& tensor, std::int64_t least,
                             std::int64_t most) {
  if (!tensor.defined()) throw std::invalid_argument(std::string(name) + ": not given");
  if (tensor.dim() < least || tensor.dim() > most)
    throw std::invalid_argument(std::string(name) + ": " + std::to_string(tensor.dim()) +
                                " dimensions; expected " + std::to_string(least) +
                                (least == most ? "" : " to " + std::to_string(most)));
  return tensor;
}

}  // namespace

Mask operator&(const Mask& a, const Mask& b) {
  if (a.hides_nothing()) return b;
  if (b.hides_nothing()) return a;
  return join(a, b, Kind::kAnd);
}

Mask operator|(const Mask& a, const Mask& b) {
  check_hides(a, "|");
  check_hides(b, "|");
  return join(a, b, Kind::kOr);
}

Mask operator~(const Mask& a) {
  check_hides(a, "~");
  OptionRecord result = a.record();
  result.ints.insert(result.ints.end(), {static_cast<std::int64_t>(Kind::kNot), 0});
  return Mask(std::move(result));
}

Mask causal(std::optional<std::int64_t> offset) {
  return mask(Kind::kCausal, {has(offset), value(offset)});
}

Mask window(std::int64_t left, std::int64_t right, std::optional<std::int64_t> offset) {
  return mask(Kind::kWindow, {left, right, has(offset), value(offset)});
}

Mask key_lengths(const torch::Tensor& lengths) {
  return mask(Kind::kKeyLengths, {}, {of_rank("key_lengths: lengths", lengths, 1, 1)});
}

Mask documents(const torch::Tensor& cu_q, const torch::Tensor& cu_k) {
  return mask(Kind::kDocuments, {},
              {of_rank("documents: cu_q", cu_q, 1, 1), of_rank("documents: cu_k", cu_k, 1, 1)});
}

Mask dilated(std::int64_t left, std::int64_t right, const torch::Tensor& dilations,
             std::optional<std::int64_t> offset) {
  return mask(Kind::kDilated, {left, right, has(offset), value(offset)},
              {of_rank("dilated: dilations", dilations, 1, 1)});
}

Mask global_tokens(const torch::Tensor& tokens, std::optional<std::int64_t> offset) {
  return mask(Kind::kGlobalTokens, {has(offset), value(offset)},
              {of_rank("global_tokens: tokens", tokens, 1, 2)});
}

Mask blocks(const torch::Tensor& allowed, std::int64_t block_q, std::int64_t block_k) {
  return mask(Kind::kBlocks, {block_q, block_k}, {of_rank("blocks: allowed", allowed, 2, 4)});
}

Mask bigbird(std::int64_t block, std::int64_t window, std::int64_t global, std::int64_t random,
             std::int64_t seed) {
  return mask(Kind::kBigBird, {block, window, global, random, seed});
}

Mask prefix(const torch::Tensor& lengths, std::optional<std::int64_t> offset) {
  return mask(Kind::kPrefix, {has(offset), value(offset)},
              {of_rank("prefix: lengths", lengths, 1, 1)});
}

Mask tree(const torch::Tensor& parents) {
  return mask(Kind::kTree, {}, {of_rank("tree: parents", parents, 1, 2)});
}

Mask around(const torch::Tensor& centres, std::int64_t width) {
  return mask(Kind::kAround, {width},
              {of_rank("around: centres", centres, 0, 3).detach().unsqueeze(-1)});
}

Mask tensor_mask(const torch::Tensor& allowed) {
  return mask(Kind::kTensor, {}, {of_rank("tensor_mask: allowed", allowed, 0, 4)});
}

Modifier temperature(const torch::Tensor& values) {
  return Modifier(record(Kind::kTemperature, {},
                         {of_rank("temperature: values", values, 0, 1).reshape({1, -1, 1, 1})}));
}

Modifier alibi(const torch::Tensor& slopes) {
  of_rank("alibi: slopes", slopes, 1, 2);
  return Modifier(record(Kind::kAlibi, {}, {slopes.reshape({-1, slopes.size(-1), 1, 1})}));
}

Modifier relative_bias(const torch::Tensor& table, const torch::Tensor& buckets,
                       const torch::Tensor& query_code, const torch::Tensor& key_code,
                       std::int64_t shift) {
  of_rank("relative_bias: table", table, 2, 2);
  const auto codes = [](const char* name, const torch::Tensor& code) {
    return of_rank(name, code, 1, 1).to(torch::kInt32).contiguous().reshape({1, 1, 1, -1});
  };
  return Modifier(record(
      Kind::kRelativeBias, {shift},
      {table.t().reshape({1, table.size(1), 1, -1}), codes("relative_bias: query_code", query_code),
       codes("relative_bias: key_code", key_code), codes("relative_bias: buckets", buckets)}));
}

Modifier bias(const torch::Tensor& values, bool before_softcap) {
  return Modifier(
      record(Kind::kBias, {before_softcap ? 1 : 0}, {of_rank("bias: values", values, 0, 4)}));
}

Modifier sinks(const torch::Tensor& logits) {
  of_rank("sinks: logits", logits, 1, 2);
  return Modifier(record(Kind::kSinks, {}, {logits.reshape({1, logits.size(0), 1, -1})}));
}

Modifier multiplier(const torch::Tensor& weights) {
  return Modifier(record(Kind::kMultiplier, {}, {of_rank("multiplier: weights", weights, 0, 4)}));
}

Modifier gaussian(const torch::Tensor& centre, double sigma) {
  return Modifier(record(Kind::kGaussian, {},
                         {of_rank("gaussian: centre", centre, 0, 3).unsqueeze(-1)}, {sigma}));
}

Modifier function(void (*apply)(const FunctionTile*, void*),
                  void (*derive)(const FunctionTile*, void*), void* context) {
  return Modifier(record(Kind::kFunction, {reinterpret_cast<std::int64_t>(apply),
                                           reinterpret_cast<std::int64_t>(derive),
                                           reinterpret_cast<std::int64_t>(context)}));
}

}  // namespace regard::nn
