#include <optional>
#include <string>
#include <utility>

#include "core/plan/far.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {
namespace {

class GlobalTokens final : public MaskNode {
 public:
  GlobalTokens(std::vector<std::vector<std::int64_t>> indices, bool by_batch, std::optional<std::int64_t> offset)
      : indices_(std::move(indices)), by_batch_(by_batch), offset_(offset) {
    for (std::vector<std::int64_t>& list : indices_) {
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
    }
  }

  Status check(const PlanShape& shape) const override {
    if (by_batch_ && static_cast<std::int64_t>(indices_.size()) != shape.batch) {
      return Status::invalid("global_tokens: " + std::to_string(indices_.size()) + " lists; expected one for each of " +
                             std::to_string(shape.batch) + " batch entries");
    }
    const std::int64_t end = std::max(shape.len_k, near_sum(shape.len_q, offset_.value_or(shape.len_k - shape.len_q)));
    for (const std::vector<std::int64_t>& list : indices_) {
      if (list.empty() || (list.front() >= 0 && list.back() < end)) continue;
      return Status::invalid("global_tokens: token " + std::to_string(list.front() < 0 ? list.front() : list.back()) + "; expected 0 to " +
                             std::to_string(end - 1) + ", the tokens there are");
    }
    return {};
  }

  void intervals(const Place& place, std::int64_t i0, std::int64_t i1, std::vector<Interval>& out) const override {
    const std::vector<std::int64_t>& tokens = of(place);
    const std::int64_t len_k = place.sequence->len_k, offset = offset_.value_or(place.sequence->offset);
    const auto first = std::lower_bound(tokens.begin(), tokens.end(), near_sum(i0, offset));
    const std::int64_t global_rows = std::lower_bound(first, tokens.end(), near_sum(i1, offset)) - first;
    if (global_rows == i1 - i0) {
      append(out, 0, len_k, true);
      return;
    }
    std::int64_t key = 0;
    for (const std::int64_t token : tokens) {
      if (token >= len_k) break;
      if (global_rows > 0) append(out, key, token, false);
      append(out, token, token + 1, true);
      key = token + 1;
    }
    if (global_rows > 0) append(out, key, len_k, false);
  }

  std::uint64_t bits(const Place& place, std::int64_t i, std::int64_t j0) const override {
    const std::vector<std::int64_t>& tokens = of(place);
    if (std::binary_search(tokens.begin(), tokens.end(), near_sum(i, offset_.value_or(place.sequence->offset)))) return ~std::uint64_t{0};
    std::uint64_t word = 0;
    for (auto token = std::lower_bound(tokens.begin(), tokens.end(), j0); token != tokens.end() && *token < j0 + 64; ++token) {
      word |= std::uint64_t{1} << (*token - j0);
    }
    return word;
  }

  bool varies_by_batch() const override { return indices_.size() > 1; }

 private:
  const std::vector<std::int64_t>& of(const Place& place) const {
    return by_batch_ ? indices_[static_cast<std::size_t>(place.sequence->batch)] : indices_[0];
  }

  std::vector<std::vector<std::int64_t>> indices_;  // sorted, each once
  bool by_batch_;
  std::optional<std::int64_t> offset_;
};

}  // namespace
}  // namespace plan

Mask global_tokens(std::vector<std::int64_t> tokens, std::optional<std::int64_t> offset) {
  std::vector<std::vector<std::int64_t>> for_all_batches;
  for_all_batches.push_back(std::move(tokens));
  return Mask(std::make_shared<plan::GlobalTokens>(std::move(for_all_batches), false, offset));
}

Mask global_tokens_by_batch(std::vector<std::vector<std::int64_t>> tokens, std::optional<std::int64_t> offset) {
  return Mask(std::make_shared<plan::GlobalTokens>(std::move(tokens), true, offset));
}

}  // namespace regard
