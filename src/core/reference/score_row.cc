#include "core/reference/score_row.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/reference/element.h"

namespace regard::reference {

ScoreRow::ScoreRow(const TensorView& q, const TensorView& k, const Options& options, const plan::Layout& layout)
    : q_(q),
      k_(k),
      layout_(layout),
      scale_(options.scale.value_or(1 / std::sqrt(static_cast<double>(q.shape[3])))),
      group_(k.shape[1] == 0 ? 1 : q.shape[1] / k.shape[1]) {
  for (const Modifier& modifier : options.modifiers) {
    if (const auto* softcap = std::get_if<Softcap>(&modifier)) cap_ = softcap->cap;
    if (const auto* bias = std::get_if<Bias>(&modifier)) biases_.push_back(*bias);
  }
}

double ScoreRow::sum_of_biases(bool before_softcap, const plan::Sequence& sequence, std::int32_t head, std::int64_t i,
                               std::int64_t j) const {
  double sum = 0;
  for (const Bias& bias : biases_) {
    if (bias.before_softcap != before_softcap) continue;
    const auto [b, h, row, key] = broadcast_index(bias.values, sequence.batch, head, sequence.q_begin + i, sequence.k_begin + j);
    sum += load(bias.values, b, h, row, key);
  }
  return sum;
}

Pair ScoreRow::pair(const plan::Sequence& sequence, std::int32_t head, std::int64_t i, std::int64_t j) const {
  double score = 0, slope = 1;
  for (std::int64_t d = 0; d < q_.shape[3]; ++d) {
    score += load(q_, sequence.batch, head, sequence.q_begin + i, d) * load(k_, sequence.batch, head / group_, sequence.k_begin + j, d);
  }
  score = score * scale_ + sum_of_biases(true, sequence, head, i, j);
  // What a bias has hidden stays hidden: the softcap would make -cap of it.
  if (cap_ > 0 && score != -std::numeric_limits<double>::infinity()) {
    const double bent = std::tanh(score / cap_);
    score = cap_ * bent;
    slope = 1 - bent * bent;
  }
  return {j, score + sum_of_biases(false, sequence, head, i, j), slope};
}

const std::vector<Pair>& ScoreRow::compute(std::size_t s, std::int32_t head, std::int64_t i) {
  const plan::Sequence& sequence = layout_.sequences[s];
  pairs_.clear();
  for (std::int64_t j0 = 0; j0 < sequence.len_k; j0 += 64) {
    std::uint64_t seen;
    layout_.bits(s, head, i, 1, j0, &seen);
    for (std::int64_t j = j0; seen != 0; ++j, seen >>= 1) {
      if ((seen & 1) == 0) continue;
      const Pair found = pair(sequence, head, i, j);
      if (found.score != -std::numeric_limits<double>::infinity()) pairs_.push_back(found);
    }
  }
  return pairs_;
}

}  // namespace regard::reference
