// SPDX-License-Identifier: Apache-2.0
#include "nn/language/packing.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace regard::nn {
namespace {

[[noreturn]] void refuse(const char* name, const torch::Tensor& x, const std::string& expected) {
  std::ostringstream text;
  text << name << ": " << x.sizes() << " " << x.scalar_type() << "; expected " << expected;
  throw std::invalid_argument(text.str());
}

torch::Tensor starts_of(const std::vector<std::int64_t>& lengths) {
  torch::Tensor starts =
      torch::zeros({static_cast<std::int64_t>(lengths.size()) + 1}, torch::kInt32);
  std::int32_t at = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    at += static_cast<std::int32_t>(lengths[i]);
    starts[static_cast<std::int64_t>(i) + 1] = at;
  }
  return starts;
}

std::vector<std::int64_t> counts_of(const torch::Tensor& mask) {
  const torch::Tensor counts = mask.sum(1).to(torch::kInt64).contiguous();
  return {counts.data_ptr<std::int64_t>(), counts.data_ptr<std::int64_t>() + counts.numel()};
}

}  // namespace

torch::Tensor text_mask(const TextInput& input) {
  const torch::Tensor& tokens = input.tokens;
  if (!tokens.defined()) throw std::invalid_argument("tokens: not given");
  if (tokens.dim() != 2) refuse("tokens", tokens, "int64 (batch, len)");
  const std::int64_t batch = tokens.size(0), len = tokens.size(1);
  if (input.lengths.defined()) {
    const torch::Tensor& lengths = input.lengths;
    if (input.mask.defined())
      throw std::invalid_argument("mask: given as well as lengths; expected one of them");
    if (lengths.dim() != 1 || lengths.size(0) != batch || lengths.scalar_type() != torch::kInt64)
      refuse("lengths", lengths, "int64 (" + std::to_string(batch) + ")");
    const std::int64_t least = lengths.min().item<std::int64_t>(),
                       most = lengths.max().item<std::int64_t>();
    if (least < 1 || most > len)
      throw std::invalid_argument("lengths: from " + std::to_string(least) + " to " +
                                  std::to_string(most) + "; expected 1 to " + std::to_string(len));
    if (least == len) return {};
    return torch::arange(len).unsqueeze(0) < lengths.unsqueeze(1);
  }
  if (!input.mask.defined()) return {};
  if (input.mask.sizes() != tokens.sizes()) refuse("mask", input.mask, "the shape of tokens");
  const torch::Tensor mask = input.mask.ne(0);
  if (mask.all().item<bool>()) return {};
  if (!mask.any(1).all().item<bool>())
    throw std::invalid_argument("mask: a row is nothing but padding; expected a token at least");
  return mask;
}

Packing packing_of(const TextInput& input) {
  const torch::Tensor mask = text_mask(input);
  Packing packing;
  packing.batch = input.tokens.size(0);
  packing.len = input.tokens.size(1);
  if (mask.defined()) {
    packing.places = mask.reshape(-1).nonzero().squeeze(1);
    packing.lengths = counts_of(mask);
  } else {
    packing.lengths.assign(packing.batch, packing.len);
  }
  packing.starts = starts_of(packing.lengths);
  return packing;
}

torch::Tensor Packing::pack(const torch::Tensor& x) const {
  const torch::Tensor flat = x.flatten(0, 1);
  return whole() ? flat : flat.index_select(0, places);
}

torch::Tensor Packing::unpack(const torch::Tensor& x) const {
  if (whole()) return x.unflatten(0, {batch, len});
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes[0] = batch * len;
  return torch::zeros(sizes, x.options()).index_copy(0, places, x).unflatten(0, {batch, len});
}

torch::Tensor Packing::as_heads(const torch::Tensor& x, std::int64_t heads) const {
  const torch::Tensor split = x.unflatten(-1, {heads, -1});
  return whole() ? split.unflatten(0, {batch, len}) : split;
}

GlobalTokens global_tokens_of(const torch::Tensor& mask, const Packing& packing) {
  GlobalTokens globals;
  globals.rows = packing.pack(mask).nonzero().squeeze(1);
  globals.counts = counts_of(
      packing.whole() ? mask
                      : mask & packing.unpack(torch::ones_like(packing.places)).to(torch::kBool));
  globals.starts = starts_of(globals.counts);
  globals.most = *std::max_element(globals.counts.begin(), globals.counts.end());
  globals.places = torch::full({packing.batch, globals.most}, -1, torch::kInt64);
  std::int64_t at = 0, begin = 0;
  for (std::int64_t i = 0; i < packing.batch; ++i) {
    const std::int64_t count = globals.counts[i];
    globals.places[i].narrow(0, 0, count).copy_(globals.rows.narrow(0, at, count) - begin);
    at += count;
    begin += packing.lengths[i];
  }
  return globals;
}

}  // namespace regard::nn
