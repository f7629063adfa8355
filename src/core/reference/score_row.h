// One query row's scores, stage by stage.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/layout.h"
#include "regard/attention.h"

namespace regard::reference {

// A key that the row sees. A bias of -inf hides a key as a mask does.
struct Pair {
  std::int64_t key;  // of its sequence
  double score;      // after all stages
  double slope;      // d score / d (scale * q . k + biases before the softcap)
};

class ScoreRow {
 public:
  ScoreRow(const TensorView& q, const TensorView& k, const Options& options, const plan::Layout& layout);

  // The keys seen by row i of sequence s in query head `head`, in order.
  const std::vector<Pair>& compute(std::size_t s, std::int32_t head, std::int64_t i);

  double scale() const { return scale_; }
  // Query heads that read one key head.
  std::int64_t group() const { return group_; }

 private:
  Pair pair(const plan::Sequence& sequence, std::int32_t head, std::int64_t i, std::int64_t j) const;
  double sum_of_biases(bool before_softcap, const plan::Sequence& sequence, std::int32_t head, std::int64_t i, std::int64_t j) const;

  const TensorView& q_;
  const TensorView& k_;
  const plan::Layout& layout_;
  double scale_;
  std::int64_t group_;
  double cap_ = 0;  // 0: no softcap
  std::vector<Bias> biases_;
  std::vector<Pair> pairs_;
};

}  // namespace regard::reference
