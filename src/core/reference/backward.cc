#include <cmath>
#include <limits>

#include "core/reference/element.h"
#include "core/reference/reference.h"
#include "core/reference/score_row.h"

namespace regard::reference {
namespace {

// A gradient while it is summed: float64, contiguous, zero at first.
class Sum {
 public:
  explicit Sum(const MutableTensorView& gradient) : gradient_(gradient) {
    if (!gradient.given()) return;
    const auto& [b, h, i, d] = gradient.shape;
    values_.resize(static_cast<std::size_t>(b * h * i * d));
    view_ = MutableTensorView::bhsd(values_.data(), DType::kFloat64, b, h, i, d);
  }

  bool wanted() const { return gradient_.given(); }
  double& at(Index b, Index h, Index i, Index d) { return values_[static_cast<std::size_t>(offset_of(view_, b, h, i, d))]; }

  void write() {
    if (!wanted()) return;
    const auto& [batch, heads, length, dim] = gradient_.shape;
    for (Index b = 0; b < batch; ++b)
      for (Index h = 0; h < heads; ++h)
        for (Index i = 0; i < length; ++i)
          for (Index d = 0; d < dim; ++d) store(gradient_, b, h, i, d, at(b, h, i, d));
  }

 private:
  MutableTensorView gradient_, view_;
  std::vector<double> values_;
};

}  // namespace

void backward(const BackwardInputs& inputs, const Options& options, const Gradients& gradients, const plan::Layout& layout) {
  const auto& [q, k, v, out, maximums, log_sums, d_out, d_lse] = inputs;
  const Index dim = q.shape[3], dim_v = v.shape[3];
  ScoreRow row(q, k, options, layout);
  Sum dq(gradients.dq), dk(gradients.dk), dv(gradients.dv);
  std::vector<Sum> d_bias;
  std::vector<bool> before_softcap;
  for (const Modifier& modifier : options.modifiers) {
    const auto* bias = std::get_if<Bias>(&modifier);
    if (bias == nullptr || d_bias.size() == gradients.d_bias.size()) continue;
    before_softcap.push_back(bias->before_softcap);
    d_bias.emplace_back(gradients.d_bias[d_bias.size()]);
  }

  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    const plan::Sequence& sequence = layout.sequences[s];
    const Index b = sequence.batch;
    for (std::int32_t head = 0; head < q.shape[1]; ++head) {
      const Index head_kv = head / row.group();
      for (Index i = 0; i < sequence.len_q; ++i) {
        const Index at = sequence.q_begin + i;
        const double maximum = load(maximums, b, head, at, 0), log_sum = load(log_sums, b, head, at, 0);
        if (maximum == -std::numeric_limits<double>::infinity()) continue;  // saw nothing
        double delta = 0;
        for (Index d = 0; d < dim_v; ++d) delta += load(d_out, b, head, at, d) * load(out, b, head, at, d);
        const double through_lse = d_lse.given() ? load(d_lse, b, head, at, 0) : 0;

        for (const Pair& pair : row.compute(s, head, i)) {
          const Index key = sequence.k_begin + pair.key;
          const double p = std::exp((pair.score - maximum) - log_sum);
          double dp = 0;
          for (Index d = 0; d < dim_v; ++d) {
            const double arriving = load(d_out, b, head, at, d);
            dp += arriving * load(v, b, head_kv, key, d);
            if (dv.wanted()) dv.at(b, head_kv, key, d) += p * arriving;
          }
          const double ds = p * (dp - delta + through_lse), before = ds * pair.slope;
          for (std::size_t n = 0; n < d_bias.size(); ++n) {
            if (!d_bias[n].wanted()) continue;
            const auto [bias_b, bias_h, bias_i, bias_j] = broadcast_index(gradients.d_bias[n], b, head, at, key);
            d_bias[n].at(bias_b, bias_h, bias_i, bias_j) += before_softcap[n] ? before : ds;
          }
          for (Index d = 0; d < dim; ++d) {
            if (dq.wanted()) dq.at(b, head, at, d) += before * row.scale() * load(k, b, head_kv, key, d);
            if (dk.wanted()) dk.at(b, head_kv, key, d) += before * row.scale() * load(q, b, head, at, d);
          }
        }
      }
    }
  }

  dq.write();
  dk.write();
  dv.write();
  for (Sum& sum : d_bias) sum.write();
}

}  // namespace regard::reference
