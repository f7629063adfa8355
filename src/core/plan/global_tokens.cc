// SPDX-License-Identifier: Apache-2.0
#include "core/plan/global_tokens.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/plan/bounded.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {

GlobalTokens::GlobalTokens(std::vector<std::vector<std::int64_t>> tokens, bool by_batch,
                           std::optional<std::int64_t> offset)
    : tokens_(std::move(tokens)), by_batch_(by_batch), offset_(offset) {
  for (std::vector<std::int64_t>& list : tokens_) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
}

Status GlobalTokens::check(const PlanShape& shape) const {
  if (by_batch_ && static_cast<std::int64_t>(tokens_.size()) != shape.batch) {
    return Status::invalid("global_tokens: " + std::to_string(tokens_.size()) +
                           " lists; expected one for each of " + std::to_string(shape.batch) +
                           " batch entries");
  }
  const std::int64_t end =
      std::max(shape.len_k, bounded_sum(shape.len_q, offset_.value_or(shape.len_k - shape.len_q)));
  for (const std::vector<std::int64_t>& list : tokens_) {
    if (list.empty() || (list.front() >= 0 && list.back() < end)) continue;
    return Status::invalid("global_tokens: token " +
                           std::to_string(list.front() < 0 ? list.front() : list.back()) +
                           "; expected 0 to " + std::to_string(end - 1) + ", the tokens there are");
  }
  return {};
}

const std::vector<std::int64_t>& GlobalTokens::tokens(const MaskContext& context) const {
  return by_batch_ ? tokens_[static_cast<std::size_t>(context.sequence->batch)] : tokens_[0];
}

bool GlobalTokens::is_global(const MaskContext& context, std::int64_t i) const {
  const std::vector<std::int64_t>& list = tokens(context);
  return std::binary_search(list.begin(), list.end(), bounded_sum(i, offset(context)));
}

void GlobalTokens::intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                             std::vector<Interval>& out) const {
  const std::vector<std::int64_t>& list = tokens(context);
  const std::int64_t len_k = context.sequence->len_k, first = bounded_sum(i0, offset(context)),
                     last = bounded_sum(i1, offset(context));
  std::int64_t global_rows = 0;
  for (auto token = std::lower_bound(list.begin(), list.end(), first);
       token != list.end() && *token < last; ++token) {
    global_rows += (*token - first) % context.step == 0 ? 1 : 0;
  }
  if (global_rows == (i1 - 1 - i0) / context.step + 1) {
    append(out, 0, len_k, true);
    return;
  }
  std::int64_t key = 0;
  for (const std::int64_t token : list) {
    if (token >= len_k) break;
    if (global_rows > 0) append(out, key, token, false);
    append(out, token, token + 1, true);
    key = token + 1;
  }
  if (global_rows > 0) append(out, key, len_k, false);
}

std::uint64_t GlobalTokens::bits(const MaskContext& context, std::int64_t i,
                                 std::int64_t j0) const {
  std::uint64_t word;
  words(context, i, 1, j0, &word);
  return word;
}

void GlobalTokens::words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
                         std::uint64_t* words) const {
  const std::vector<std::int64_t>& list = tokens(context);
  std::uint64_t keys = 0;
  for (auto token = std::lower_bound(list.begin(), list.end(), j0);
       token != list.end() && *token < j0 + 64; ++token) {
    keys |= std::uint64_t{1} << (*token - j0);
  }
  std::fill_n(words, rows, keys);
  const std::int64_t first = bounded_sum(i, offset(context));
  for (auto token = std::lower_bound(list.begin(), list.end(), first);
       token != list.end() && *token < first + rows; ++token) {
    words[*token - first] = ~std::uint64_t{0};
  }
}

}  // namespace plan

Mask global_tokens(std::vector<std::int64_t> tokens, std::optional<std::int64_t> offset) {
  std::vector<std::vector<std::int64_t>> for_all_batches;
  for_all_batches.push_back(std::move(tokens));
  return Mask(std::make_shared<plan::GlobalTokens>(std::move(for_all_batches), false, offset));
}

Mask global_tokens_by_batch(std::vector<std::vector<std::int64_t>> tokens,
                            std::optional<std::int64_t> offset) {
  return Mask(std::make_shared<plan::GlobalTokens>(std::move(tokens), true, offset));
}

}  // namespace regard
