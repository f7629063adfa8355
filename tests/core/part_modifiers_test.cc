// SPDX-License-Identifier: Apache-2.0
// Modifiers that count positions, in parts: ALiBi, Gaussian, dropout and a user's function count
// those of the whole; sinks join finished rows.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "tests/core/support/parts.h"

namespace regard::testing {
namespace {

// The function under test: s <- s + 0.3 * sin(row of the query + 2 * row of the key).
double lift(std::int64_t query, std::int64_t key) {
  return 0.3 * std::sin(static_cast<double>(query + 2 * key));
}

template <typename T>
void lift_tile(const FunctionTile& tile) {
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    for (std::int64_t c = 0; c < tile.columns; ++c) {
      static_cast<T*>(tile.data)[r * tile.stride + c] +=
          static_cast<T>(lift(tile.query + r, tile.key + c));
    }
  }
}
void apply(const FunctionTile* tile, void*) {
  tile->is_double != 0 ? lift_tile<double>(*tile) : lift_tile<float>(*tile);
}
void derive(const FunctionTile*, void*) {}  // the derivative is 1

// A problem with all of them, and what it comes to by the formula, in double.
struct Counting {
  Problem p;
  Tensor slopes, centre, sinks;
  Dropout dropout{0.2, 99};
  double sigma = 40, cap = 3;

  Results exact;
  std::vector<double> d_slopes, d_centre, d_sinks;

  Counting(DType dtype, std::uint64_t seed) {
    Random random(seed);
    p = random_problem(random, dtype, {2, 2, 2, 70, 170, 9, 7});
    p.rule = see_window(120, 5) & see_lengths({170, 131});
    p.d_lse = Tensor(p.statistics_dtype(), {2, 4, 70, 1});
    p.d_lse.fill_normal(random);
    slopes = Tensor(p.statistics_dtype(), {1, 4, 1, 1});
    centre = Tensor(p.statistics_dtype(), {2, 1, 70, 1});
    sinks = Tensor(p.statistics_dtype(), {1, 4, 1, 2});
    for (std::int64_t h = 0; h < 4; ++h) slopes.set(0, h, 0, 0, 0.02 * static_cast<double>(h + 1));
    for_each_index(centre.shape(), [&](auto b, auto h, auto i, auto d) {
      centre.set(b, h, i, d, static_cast<double>(60 * b + i));
    });
    sinks.fill_normal(random);
    exact.out = Tensor(kF64, {2, 4, 70, 7});
    exact.lse = Tensor(kF64, {2, 4, 70, 1});
    exact.dq = Tensor(kF64, p.q.shape()), exact.dk = Tensor(kF64, p.k.shape()),
    exact.dv = Tensor(kF64, p.v.shape());
    for (Tensor* gradient : {&exact.dq, &exact.dk, &exact.dv}) gradient->fill(0);
    d_slopes.assign(4, 0), d_centre.assign(2 * 70, 0), d_sinks.assign(4 * 2, 0);
    for_each_index({2, 4, 70, 1}, [&](auto b, auto h, auto i, auto) { row(b, h, i); });
  }

  static void add(Tensor& to, std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t d,
                  double by) {
    to.set(b, h, i, d, to.at(b, h, i, d) + by);
  }

  void row(std::int64_t b, std::int64_t h, std::int64_t i) {
    const std::int64_t kv = h / 2, n = 170;
    const double scale = 1 / std::sqrt(9.0);
    std::vector<double> weight(n), factor(n), slope(n), d_weight(n);
    std::vector<bool> seen(n);
    double sum = 0;
    for (std::int64_t m = 0; m < 2; ++m) sum += std::exp(sinks.at(0, h, 0, m));
    for (std::int64_t j = 0; j < n; ++j) {
      if (!allowed(p.rule, {2, 4, 70, 170}, b, h, i, j)) continue;
      seen[j] = true;
      double s = 0;
      for (std::int64_t d = 0; d < 9; ++d) s += p.q.at(b, h, i, d) * p.k.at(b, kv, j, d) * scale;
      const double squash = std::tanh(s / cap);
      slope[j] = 1 - squash * squash;
      weight[j] = std::exp(cap * squash - slopes.at(0, h, 0, 0) * distance(i, j) + lift(i, j));
      sum += weight[j];
      const double away = static_cast<double>(j) - centre.at(b, 0, i, 0);
      factor[j] = (dropout_keeps(dropout, b, h, i, j) ? 1 / (1 - dropout.p) : 0) *
                  std::exp(-away * away / (2 * sigma * sigma));
    }
    exact.lse.set(b, h, i, 0, std::log(sum));
    double delta = 0;
    for (std::int64_t d = 0; d < 7; ++d) {
      double out = 0;
      for (std::int64_t j = 0; j < n; ++j) out += weight[j] / sum * factor[j] * p.v.at(b, kv, j, d);
      exact.out.set(b, h, i, d, out);
      delta += out * p.d_out.at(b, h, i, d);
    }
    const double d_lse = p.d_lse.at(b, h, i, 0);
    for (std::int64_t m = 0; m < 2; ++m)
      d_sinks[h * 2 + m] += std::exp(sinks.at(0, h, 0, m)) / sum * (d_lse - delta);
    for (std::int64_t j = 0; j < n; ++j) {
      if (!seen[j]) continue;
      const double share = weight[j] / sum;
      double product = 0;
      for (std::int64_t d = 0; d < 7; ++d) {
        product += p.d_out.at(b, h, i, d) * p.v.at(b, kv, j, d);
        add(exact.dv, b, kv, j, d, share * factor[j] * p.d_out.at(b, h, i, d));
      }
      const double ds = share * (factor[j] * product - delta + d_lse);
      d_slopes[h] -= ds * distance(i, j);
      d_centre[b * 70 + i] += share * factor[j] * product *
                              (static_cast<double>(j) - centre.at(b, 0, i, 0)) / (sigma * sigma);
      for (std::int64_t d = 0; d < 9; ++d) {
        add(exact.dq, b, h, i, d, ds * slope[j] * scale * p.k.at(b, kv, j, d));
        add(exact.dk, b, kv, j, d, ds * slope[j] * scale * p.q.at(b, h, i, d));
      }
    }
  }

  static double distance(std::int64_t i, std::int64_t j) {
    return std::abs(static_cast<double>(i + 170 - 70 - j));
  }
};

void expect_near(const char* name, const std::vector<double>& found,
                 const std::vector<double>& exact, double tolerance) {
  ASSERT_EQ(found.size(), exact.size()) << name;
  double size = 1, worst = 0;
  for (const double x : exact) size = std::max(size, std::abs(x));
  for (std::size_t n = 0; n < exact.size(); ++n)
    worst = std::max(worst, std::isnan(found[n]) ? INFINITY : std::abs(found[n] - exact[n]));
  EXPECT_LE(worst, tolerance * size) << name;
}

class PartModifiers : public ::testing::TestWithParam<std::tuple<DType, int>> {};

TEST_P(PartModifiers, CountInTheWhole) {
  const auto [dtype, cuts] = GetParam();
  const Counting c(dtype, static_cast<std::uint64_t>(cuts) + 1);
  Random random(static_cast<std::uint64_t>(cuts) * 17);
  for (const PartBackward way : {PartBackward::kMerged, PartBackward::kOfTheWhole}) {
    PartsRequest request{random_edges(random, 70, cuts), random_edges(random, 170, cuts), way,
                         c.sinks, nullptr};
    std::vector<double> d_slopes(4), d_centre(2 * 70), d_sinks(8);
    if (way == PartBackward::kMerged) request.d_sinks = &d_sinks;
    std::deque<Tensor> centres;
    PartHooks hooks;
    hooks.options = [&](const Problem& part, const Part& place) {
      Options options = options_of_part(part, place);
      centres.push_back(c.centre.slice(2, place.query_begin, part.len_q()));
      options.modifiers = {Gaussian{centres.back().view(), c.sigma}, c.dropout,
                           Function{apply, derive, nullptr}, Alibi{c.slopes.view()},
                           Softcap{c.cap}};
      return options;
    };
    hooks.gradients = [&](const Problem& part) {
      return std::vector<Tensor>{Tensor(part.statistics_dtype(), {2, 1, part.len_q(), 1}),
                                 Tensor(part.statistics_dtype(), c.slopes.shape())};
    };
    hooks.add = [&](const Part& place, const std::vector<Tensor>& gradients) {
      for_each_index(gradients[0].shape(), [&](auto b, auto h, auto i, auto d) {
        d_centre[b * 70 + place.query_begin + i] += gradients[0].at(b, h, i, d);
      });
      for (std::int64_t h = 0; h < 4; ++h) d_slopes[h] += gradients[1].at(0, h, 0, 0);
    };
    const Results r = run_in_parts(c.p, request, hooks);
    ASSERT_EQ(r.error, "");
    const double tolerance = dtype == kF64 ? 1e-12 : 2e-6;
    expect_near("out", r.out.values(), c.exact.out.values(), tolerance);
    expect_near("lse", r.lse.values(), c.exact.lse.values(), tolerance);
    expect_near("dq", r.dq.values(), c.exact.dq.values(), 2 * tolerance);
    expect_near("dk", r.dk.values(), c.exact.dk.values(), 2 * tolerance);
    expect_near("dv", r.dv.values(), c.exact.dv.values(), 2 * tolerance);
    expect_near("d_slopes", d_slopes, c.d_slopes, 2 * tolerance);
    expect_near("d_centre", d_centre, c.d_centre, 2 * tolerance);
    if (way == PartBackward::kMerged) expect_near("d_sinks", d_sinks, c.d_sinks, 2 * tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Cuts, PartModifiers,
                         ::testing::Combine(::testing::Values(kF32, kF64),
                                            ::testing::Values(0, 1, 3, 6)));

}  // namespace
}  // namespace regard::testing
