#include <cmath>
#include <limits>

#include "core/reference/element.h"
#include "core/reference/reference.h"
#include "core/reference/score_row.h"

namespace regard::reference {

void forward(const Inputs& inputs, const Options& options, const Outputs& outputs, const plan::Layout& layout) {
  const TensorView& v = inputs.v;
  ScoreRow row(inputs.q, inputs.k, options, layout);
  std::vector<double> sums(static_cast<std::size_t>(v.shape[3]));
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    const plan::Sequence& sequence = layout.sequences[s];
    for (std::int32_t head = 0; head < inputs.q.shape[1]; ++head) {
      for (std::int64_t i = 0; i < sequence.len_q; ++i) {
        const std::vector<Pair>& pairs = row.compute(s, head, i);
        double maximum = -std::numeric_limits<double>::infinity(), sum = 0;
        for (const Pair& pair : pairs) {
          if (pair.score > maximum || std::isnan(pair.score)) maximum = pair.score;  // a NaN stays
        }
        sums.assign(sums.size(), 0.0);
        for (const Pair& pair : pairs) {
          const double weight = std::exp(pair.score - maximum);
          sum += weight;
          for (std::size_t d = 0; d < sums.size(); ++d) {
            sums[d] += weight * load(v, sequence.batch, head / row.group(), sequence.k_begin + pair.key, static_cast<Index>(d));
          }
        }
        const std::int64_t b = sequence.batch, at = sequence.q_begin + i;
        const double log_sum = pairs.empty() ? 0 : std::log(sum);
        for (std::size_t d = 0; d < sums.size(); ++d) {
          store(outputs.out, b, head, at, static_cast<Index>(d), pairs.empty() ? 0 : sums[d] / sum);
        }
        if (outputs.maximum.given()) store(outputs.maximum, b, head, at, 0, maximum);
        if (outputs.log_sum.given()) store(outputs.log_sum, b, head, at, 0, log_sum);
        if (outputs.lse.given()) store(outputs.lse, b, head, at, 0, maximum + log_sum);
      }
    }
  }
}

}  // namespace regard::reference
