// SPDX-License-Identifier: Apache-2.0
// Attention with the made-up mask, modifier and score, against their formulas in double.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "regard/attention.h"
#include "regard/encoding.h"

namespace {

constexpr std::int64_t kRows = 45, kKeys = 70, kDim = 8;
constexpr double kFactor = 1.75;

struct Data {
  std::vector<float> q, k, v, d_out;
};

std::vector<float> normal(std::mt19937& random, std::int64_t count) {
  std::normal_distribution<float> distribution;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& x : values) x = distribution(random);
  return values;
}

std::vector<double> formula(const Data& in, const std::vector<float>& q, bool cubic) {
  std::vector<double> out(kRows * kDim, 0);
  for (std::int64_t i = 0; i < kRows; ++i) {
    std::vector<double> weights;
    double sum = 0;
    for (std::int64_t j = 0; j < kKeys; ++j) {
      double s = 0;
      for (std::int64_t d = 0; d < kDim; ++d) s += double(q[i * kDim + d]) * in.k[j * kDim + d];
      s /= std::sqrt(double(kDim));
      s = kFactor * (cubic ? s * s * s : s);
      weights.push_back((i + j) % 3 == 0 ? std::exp(s) : 0);
      sum += weights.back();
    }
    for (std::int64_t j = 0; j < kKeys; ++j)
      for (std::int64_t d = 0; d < kDim; ++d)
        out[i * kDim + d] += weights[j] / sum * in.v[j * kDim + d];
  }
  return out;
}

double loss(const Data& in, const std::vector<float>& q) {
  const std::vector<double> out = formula(in, q, false);
  double sum = 0;
  for (std::size_t n = 0; n < out.size(); ++n) sum += out[n] * in.d_out[n];
  return sum;
}

bool near(const char* what, double got, double expected, double bar) {
  if (std::abs(got - expected) <= bar * (1 + std::abs(expected))) return true;
  std::printf("%s: %g, should be %g\n", what, got, expected);
  return false;
}

}  // namespace

int main() {
  using namespace regard;
  std::mt19937 random(7);
  Data in{normal(random, kRows * kDim), normal(random, kKeys * kDim), normal(random, kKeys * kDim),
          normal(random, kRows * kDim)};
  const auto view = [](auto& values, std::int64_t rows, std::int64_t columns) {
    return MutableTensorView::bhsd(values.data(), DType::kFloat32, 1, 1, rows, columns);
  };
  std::vector<float> out(kRows * kDim), maximum(kRows), log_sum(kRows), dq(kRows * kDim);
  const auto q = as_const(view(in.q, kRows, kDim)), k = as_const(view(in.k, kKeys, kDim)),
             v = as_const(view(in.v, kKeys, kDim));
  const Outputs outputs{
      view(out, kRows, kDim), view(maximum, kRows, 1), view(log_sum, kRows, 1), {}};

  // Both come over the border that other languages use.
  Options options;
  const std::int64_t ints[] = {19, 0, 39, 0};
  const double floats[] = {kFactor};
  if (Status status = decode(ints, floats, {}, &options); !status.ok()) {
    std::printf("decode: %s\n", status.message().c_str());
    return 1;
  }
  for (const bool cubic : {true, false}) {
    options.cubic = cubic;
    if (Status status = forward({q, k, v}, options, outputs); !status.ok()) {
      std::printf("forward: %s\n", status.message().c_str());
      return 1;
    }
    const std::vector<double> expected = formula(in, in.q, cubic);
    for (std::size_t n = 0; n < out.size(); ++n)
      if (!near(cubic ? "cubic out" : "out", out[n], expected[n], 1e-4)) return 1;
  }
  BackwardInputs backward_inputs{q,
                                 k,
                                 v,
                                 as_const(outputs.out),
                                 as_const(outputs.maximum),
                                 as_const(outputs.log_sum),
                                 as_const(view(in.d_out, kRows, kDim)),
                                 {}};
  Gradients gradients;
  gradients.dq = view(dq, kRows, kDim);
  if (Status status = backward(backward_inputs, options, gradients); !status.ok()) {
    std::printf("backward: %s\n", status.message().c_str());
    return 1;
  }
  for (std::size_t n = 0; n < dq.size(); n += 11) {
    std::vector<float> up = in.q, down = in.q;
    up[n] += 1e-2f, down[n] -= 1e-2f;
    const double slope = (loss(in, up) - loss(in, down)) / (double(up[n]) - double(down[n]));
    if (!near("dq", dq[n], slope, 2e-3)) return 1;
  }
  if (forward({q, k, v}, {.modifiers = {Stretch{-1}}}, outputs).message() !=
      "stretch: -1; expected a finite number above 0")
    return 1;
  std::printf("a made-up mask, modifier and score compute what they say\n");
  return 0;
}
