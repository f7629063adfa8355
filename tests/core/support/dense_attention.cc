// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/dense_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/core/support/dtypes.h"

namespace regard::testing {
namespace {

struct Exactly {
  template <typename Real>
  Real operator()(Real x) const {
    return x;
  }
};
struct ToBf16 {
  float operator()(float x) const { return round_to_bf16(x); }
};
struct ToF16 {
  float operator()(float x) const { return static_cast<float>(round_to(kF16, x)); }
};

double finite_maximum(const std::vector<double>& values) {
  double most = 0;
  for (const double x : values)
    if (std::isfinite(x)) most = std::max(most, std::abs(x));
  return most;
}

template <typename Real>
std::vector<Real> transposed(const Real* rows, std::int64_t n, std::int64_t dim) {
  std::vector<Real> columns(n * dim);
  for (std::int64_t j = 0; j < n; ++j)
    for (std::int64_t d = 0; d < dim; ++d) columns[d * n + j] = rows[j * dim + d];
  return columns;
}

template <typename Real>
std::vector<double> doubles(const std::vector<Real>& values) {
  return {values.begin(), values.end()};
}

// One (batch, query head): rows of q against all keys. `Round` is applied wherever the plain
// attention of a dtype would store a tensor of that dtype.
template <typename Real, typename Round>
class Head {
 public:
  Head(const DenseProblem& p, DenseResults& r, std::int64_t b, std::int64_t h,
       std::vector<Real>& dk, std::vector<Real>& dv)
      : p_(p),
        r_(r),
        n_(p.len_k),
        head_(b * p.heads + h),
        kv_((b * (p.heads / p.group) + h / p.group) * p.len_k) {
    k_.assign(p.k.begin() + kv_ * p.dim, p.k.begin() + (kv_ + n_) * p.dim);
    v_.assign(p.v.begin() + kv_ * p.dim_v, p.v.begin() + (kv_ + n_) * p.dim_v);
    kt_ = transposed(k_.data(), n_, p.dim);
    if (!p.d_out.empty()) {
      vt_ = transposed(v_.data(), n_, p.dim_v);
      dk_ = dk.data() + kv_ * p.dim;
      dv_ = dv.data() + kv_ * p.dim_v;
      k_terms_.assign(n_, 0);
      v_terms_.assign(n_, 0);
      k_delta_.assign(n_, 0);
      if (!p.score_v.empty()) d_score_v_.assign(p.dim, 0);
    }
  }

  void forward(std::int64_t i) {
    row_ = head_ * p_.len_q + i;
    scores();
    Real maximum = -std::numeric_limits<Real>::infinity(), sum = 0;
    for (std::int64_t j = 0; j < n_; ++j)
      if (allowed(j)) maximum = std::max(maximum, s_[j]);
    for (std::int64_t m = 0; m < p_.sinks_of_head; ++m) maximum = std::max(maximum, sink(m));
    sees_ = maximum != -std::numeric_limits<Real>::infinity() || any_nan();
    prob_.assign(n_, 0);
    out_.assign(p_.dim_v, 0);
    if (sees_) {
      for (std::int64_t j = 0; j < n_; ++j) {
        if (!allowed(j)) continue;
        prob_[j] = std::exp(s_[j] - maximum);
        sum += prob_[j];
      }
      for (std::int64_t m = 0; m < p_.sinks_of_head; ++m) sum += std::exp(sink(m) - maximum);
      for (std::int64_t j = 0; j < n_; ++j) {
        if (!allowed(j)) continue;
        prob_[j] = round_(prob_[j] / sum);
        for (std::int64_t d = 0; d < p_.dim_v; ++d)
          out_[d] += round_(prob_[j] * factor(j)) * v_[j * p_.dim_v + d];
      }
    }
    for (std::int64_t d = 0; d < p_.dim_v; ++d) r_.out[row_ * p_.dim_v + d] = round_(out_[d]);
    r_.maximum[row_] = maximum;
    r_.lse[row_] = sees_ ? maximum + std::log(sum) : maximum;
  }

  // After forward(i) for the same i.
  void backward(std::int64_t i) {
    row_ = head_ * p_.len_q + i;
    if (!sees_) return;
    const double* d_out = &p_.d_out[row_ * p_.dim_v];
    const Real d_lse = p_.d_lse.empty() ? 0 : static_cast<Real>(p_.d_lse[row_]);
    dp_.assign(n_, 0);
    for (std::int64_t d = 0; d < p_.dim_v; ++d)
      for (std::int64_t j = 0; j < n_; ++j) dp_[j] += static_cast<Real>(d_out[d]) * vt_[d * n_ + j];
    Real delta = 0, delta_size = 0;
    for (std::int64_t j = 0; j < n_; ++j)
      if (allowed(j)) delta += prob_[j] * factor(j) * (dp_[j] = round_(dp_[j]));
    for (std::int64_t d = 0; d < p_.dim_v; ++d)
      delta_size += std::abs(static_cast<Real>(d_out[d]) * out_[d]);

    const Real scale = static_cast<Real>(p_.scale) / temperature();
    const double* q = &p_.q[row_ * p_.dim];
    double q_size = 0;
    for (std::int64_t d = 0; d < p_.dim; ++d) q_size = std::max(q_size, std::abs(q[d]));
    dq_.assign(p_.dim, 0);
    std::vector<Real> mean_key(p_.dim, 0);
    const double* w = p_.score_v.empty() ? nullptr : score_v();
    if (w != nullptr) {
      q_size = 0;
      for (std::int64_t d = 0; d < p_.dim; ++d) q_size = std::max(q_size, std::abs(w[d]));
    }
    double terms = 0;
    for (std::int64_t j = 0; j < n_; ++j) {
      if (!allowed(j)) continue;
      const Real last = round_(prob_[j] * (dp_[j] * factor(j) - delta + d_lse));
      const Real ds = p_.bend == 0 ? last : round_(last * bent_[j] * bent_[j]);
      const Real before = p_.softcap == 0 ? ds : round_(ds * (1 - squash_[j] * squash_[j]));
      const double term =
          std::abs(prob_[j]) * (std::abs(dp_[j] * factor(j)) + std::abs(delta) + std::abs(d_lse));
      if (!p_.bias_after.empty()) r_.d_bias_after[row_ * n_ + j] = ds;
      if (!p_.bias_before.empty()) r_.d_bias_before[row_ * n_ + j] = before;
      r_.d_bias_terms[row_ * n_ + j] = term;
      if (!p_.factors.empty()) {
        r_.d_factors[row_ * n_ + j] = prob_[j] * dp_[j];
        double size = 0;
        for (std::int64_t d = 0; d < p_.dim_v; ++d)
          size += std::abs(d_out[d] * static_cast<double>(v_[j * p_.dim_v + d]));
        r_.d_factor_terms[row_ * n_ + j] = prob_[j] * size;
      }
      if (!p_.temperature.empty()) {
        r_.d_temperature[head_ % p_.heads] -= before * cooled_[j] / temperature();
        r_.d_temperature_terms[head_ % p_.heads] += term * std::abs(cooled_[j] / temperature());
      }
      r_.d_bias_delta[row_ * n_ + j] = prob_[j] * delta_size;
      for (std::int64_t d = 0; w != nullptr && d < p_.dim; ++d) {
        const Real bent = round_(std::tanh(round_(static_cast<Real>(q[d]) + k_[j * p_.dim + d])));
        const Real slope = static_cast<Real>(w[d]) * round_(1 - bent * bent) * scale;
        dq_[d] += before * slope;
        dk_[j * p_.dim + d] += before * slope;
        mean_key[d] += prob_[j] * static_cast<Real>(w[d]) * (1 - bent * bent);
        d_score_v_[d] += before * bent * scale;
      }
      for (std::int64_t d = 0; w == nullptr && d < p_.dim; ++d) {
        dq_[d] += before * k_[j * p_.dim + d] * scale;
        dk_[j * p_.dim + d] += before * static_cast<Real>(q[d]) * scale;
        mean_key[d] += prob_[j] * k_[j * p_.dim + d];
      }
      for (std::int64_t d = 0; d < p_.dim_v; ++d)
        dv_[j * p_.dim_v + d] += round_(prob_[j] * factor(j)) * static_cast<Real>(d_out[d]);
      terms += term;
      k_terms_[j] += term * q_size * std::abs(scale);
      k_delta_[j] += prob_[j] * delta_size * q_size * std::abs(scale);
      v_terms_[j] += prob_[j] * std::abs(factor(j));
    }
    for (std::int64_t d = 0; d < p_.dim; ++d) {
      r_.dq[row_ * p_.dim + d] = round_(dq_[d]);
      r_.dq_delta = std::max<double>(r_.dq_delta, std::abs(delta_size * scale * mean_key[d]));
    }
    r_.dq_terms = std::max<double>(r_.dq_terms, terms * std::abs(scale));
    score_v_terms_ += terms * std::abs(static_cast<double>(scale));
    score_v_delta_ += static_cast<double>(delta_size) * std::abs(static_cast<double>(scale));
    for (std::int64_t m = 0; m < p_.sinks_of_head; ++m) {
      const Real weight = std::exp(sink(m) - static_cast<Real>(r_.lse[row_]));
      r_.d_sinks[head_ % p_.heads * p_.sinks_of_head + m] += weight * (d_lse - delta);
      r_.d_sink_terms[head_ % p_.heads * p_.sinks_of_head + m] +=
          weight * (std::abs(d_lse) + delta_size);
    }
  }

  void finish() {
    for (std::int64_t j = 0; j < n_; ++j) {
      r_.dk_terms = std::max(r_.dk_terms, k_terms_[j] * static_cast<double>(p_.group));
      r_.dk_delta = std::max(r_.dk_delta, k_delta_[j] * static_cast<double>(p_.group));
      r_.dv_terms = std::max(r_.dv_terms, v_terms_[j] * static_cast<double>(p_.group));
    }
    for (std::size_t d = 0; d < d_score_v_.size(); ++d)
      r_.d_score_v[head_ * p_.dim + d] += static_cast<double>(d_score_v_[d]);
    // One v may serve all heads of all batch entries.
    r_.d_score_v_terms += score_v_terms_;
    r_.d_score_v_delta += score_v_delta_;
  }

 private:
  bool allowed(std::int64_t j) const {
    return p_.allowed.empty() || p_.allowed[row_ * n_ + j] != 0;
  }

  bool any_nan() const {
    for (std::int64_t j = 0; j < n_; ++j)
      if (allowed(j) && std::isnan(s_[j])) return true;
    return false;
  }

  Real sink(std::int64_t m) const {
    return static_cast<Real>(p_.sinks[head_ % p_.heads * p_.sinks_of_head + m]);
  }
  Real factor(std::int64_t j) const {
    return p_.factors.empty() ? 1 : static_cast<Real>(p_.factors[row_ * n_ + j]);
  }
  Real temperature() const {
    return p_.temperature.empty() ? 1 : static_cast<Real>(p_.temperature[head_ % p_.heads]);
  }

  const double* score_v() const { return &p_.score_v[head_ * p_.dim]; }

  void scores() {
    s_.assign(n_, 0);
    cooled_.assign(n_, 0);
    squash_.assign(p_.softcap == 0 ? 0 : n_, 0);
    bent_.assign(p_.bend == 0 ? 0 : n_, 0);
    for (std::int64_t d = 0; d < p_.dim; ++d) {
      const Real q = static_cast<Real>(p_.q[row_ * p_.dim + d]);
      if (!p_.score_v.empty()) {
        const Real w = static_cast<Real>(score_v()[d]);
        for (std::int64_t j = 0; j < n_; ++j)
          s_[j] += w * round_(std::tanh(round_(q + kt_[d * n_ + j])));
        continue;
      }
      for (std::int64_t j = 0; j < n_; ++j) s_[j] += q * kt_[d * n_ + j];
    }
    for (std::int64_t j = 0; j < n_; ++j) {
      s_[j] = round_(round_(s_[j]) * static_cast<Real>(p_.scale));
      if (!p_.temperature.empty()) s_[j] = cooled_[j] = round_(s_[j] / temperature());
      if (!p_.bias_before.empty())
        s_[j] = round_(s_[j] + static_cast<Real>(p_.bias_before[row_ * n_ + j]));
      if (p_.softcap != 0) {
        squash_[j] = std::tanh(s_[j] / static_cast<Real>(p_.softcap));
        s_[j] = round_(static_cast<Real>(p_.softcap) * squash_[j]);
      }
      if (!p_.bias_after.empty())
        s_[j] = round_(s_[j] + static_cast<Real>(p_.bias_after[row_ * n_ + j]));
      if (p_.bend != 0) {
        const Real bend = static_cast<Real>(p_.bend);
        bent_[j] = bend / (bend + std::abs(s_[j]));
        s_[j] = round_(round_(s_[j] * bent_[j]) + static_cast<Real>(p_.bias_last[row_ * n_ + j]));
      }
    }
  }

  const DenseProblem& p_;
  DenseResults& r_;
  const Round round_{};
  const std::int64_t n_, head_, kv_;
  std::int64_t row_ = 0;
  bool sees_ = false;
  std::vector<Real> k_, v_, kt_, vt_;
  std::vector<Real> s_, cooled_, squash_, bent_, prob_, out_, dp_, dq_;
  Real* dk_ = nullptr;
  Real* dv_ = nullptr;
  std::vector<Real> d_score_v_;
  double score_v_terms_ = 0, score_v_delta_ = 0;
  std::vector<double> k_terms_, v_terms_, k_delta_;
};

template <typename Real, typename Round>
DenseResults attend_in(const DenseProblem& p) {
  const std::int64_t rows = p.batch * p.heads * p.len_q,
                     keys = p.batch * (p.heads / p.group) * p.len_k;
  const bool backward = !p.d_out.empty();
  DenseResults r;
  r.out.assign(rows * p.dim_v, 0);
  r.maximum.assign(rows, 0);
  r.lse.assign(rows, 0);
  std::vector<Real> dk, dv;
  if (backward) {
    r.dq.assign(rows * p.dim, 0);
    dk.assign(keys * p.dim, 0);
    dv.assign(keys * p.dim_v, 0);
    r.d_score_v.assign(p.score_v.size(), 0);
    r.d_temperature.assign(p.temperature.size(), 0);
    r.d_temperature_terms.assign(p.temperature.size(), 0);
    r.d_sinks.assign(p.sinks.size(), 0);
    r.d_sink_terms.assign(p.sinks.size(), 0);
    r.d_factors.assign(p.factors.size(), 0);
    r.d_factor_terms.assign(p.factors.size(), 0);
    r.d_bias_before.assign(p.bias_before.size(), 0);
    r.d_bias_after.assign(p.bias_after.size(), 0);
    r.d_bias_terms.assign(rows * p.len_k, 0);
    r.d_bias_delta.assign(rows * p.len_k, 0);
  }
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t h = 0; h < p.heads; ++h) {
      Head<Real, Round> head(p, r, b, h, dk, dv);
      for (std::int64_t i = 0; i < p.len_q; ++i) {
        head.forward(i);
        if (backward) head.backward(i);
      }
      if (backward) head.finish();
    }
  }
  if (backward) {
    const Round round{};
    for (Real& x : dk) x = round(x);
    for (Real& x : dv) x = round(x);
    r.dk = doubles(dk);
    r.dv = doubles(dv);
    r.dq_terms *= finite_maximum(p.score_v.empty() ? p.k : p.score_v);
    r.dv_terms *= finite_maximum(p.d_out);
  }
  return r;
}

// Each row of `cols` elements back to front.
std::vector<double> backwards(std::vector<double> rows, std::int64_t cols) {
  for (std::size_t at = 0; at < rows.size(); at += cols)
    std::reverse(rows.begin() + at, rows.begin() + at + cols);
  return rows;
}

// The keys of each head back to front, their elements in order.
std::vector<double> keys_backwards(std::vector<double> heads, std::int64_t len_k,
                                   std::int64_t dim) {
  for (std::size_t at = 0; at < heads.size(); at += len_k * dim) {
    for (std::int64_t j = 0; j < len_k / 2; ++j) {
      const auto row = heads.begin() + at + j * dim;
      std::swap_ranges(row, row + dim, heads.begin() + at + (len_k - 1 - j) * dim);
    }
  }
  return heads;
}

}  // namespace

DenseProblem reversed(const DenseProblem& p) {
  DenseProblem r = p;
  r.scale = 1;
  r.q = backwards(p.q, p.dim);
  r.score_v = backwards(p.score_v, p.dim);
  for (double& x : p.score_v.empty() ? r.q : r.score_v) x *= p.scale;
  r.k = keys_backwards(backwards(p.k, p.dim), p.len_k, p.dim);
  r.v = keys_backwards(p.v, p.len_k, p.dim_v);
  for (std::size_t at = 0; at < r.allowed.size(); at += p.len_k)
    std::reverse(r.allowed.begin() + at, r.allowed.begin() + at + p.len_k);
  r.bias_before = backwards(p.bias_before, p.len_k);
  r.bias_after = backwards(p.bias_after, p.len_k);
  r.bias_last = backwards(p.bias_last, p.len_k);
  r.factors = backwards(p.factors, p.len_k);
  return r;
}

DenseResults restored(const DenseProblem& p, const DenseResults& results) {
  DenseResults r = results;
  r.dq = backwards(results.dq, p.dim);
  r.d_score_v = backwards(results.d_score_v, p.dim);
  for (double& x : p.score_v.empty() ? r.dq : r.d_score_v) x *= p.scale;
  r.dk = keys_backwards(backwards(results.dk, p.dim), p.len_k, p.dim);
  r.dv = keys_backwards(results.dv, p.len_k, p.dim_v);
  r.d_bias_before = backwards(results.d_bias_before, p.len_k);
  r.d_bias_after = backwards(results.d_bias_after, p.len_k);
  r.d_factors = backwards(results.d_factors, p.len_k);
  return r;
}

DenseResults attend(const DenseProblem& problem, Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::kLongDouble: return attend_in<long double, Exactly>(problem);
    case Arithmetic::kFloat: return attend_in<float, Exactly>(problem);
    case Arithmetic::kBf16: return attend_in<float, ToBf16>(problem);
    case Arithmetic::kF16: return attend_in<float, ToF16>(problem);
    case Arithmetic::kDouble: break;
  }
  return attend_in<double, Exactly>(problem);
}

Arithmetic arithmetic_of(DType dtype) {
  switch (dtype) {
    case kBf16: return Arithmetic::kBf16;
    case kF16: return Arithmetic::kF16;
    case kF64: return Arithmetic::kDouble;
    default: return Arithmetic::kFloat;
  }
}

Arithmetic oracle_of(DType dtype) {
  return dtype == kF64 ? Arithmetic::kLongDouble : Arithmetic::kDouble;
}

}  // namespace regard::testing
