// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/case.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>
#include <sstream>
#include <stdexcept>

#include "tests/core/support/error_bar.h"

namespace regard::testing {
namespace {

// Calls f(name, field) for each field that is a number.
template <typename C, typename F>
void for_each_number(C& c, F f) {
  f("seed", c.seed), f("dtype", c.dtype), f("b", c.batch), f("hkv", c.heads_kv), f("g", c.group),
      f("lq", c.len_q), f("lk", c.len_k);
  f("d", c.dim), f("dv", c.dim_v), f("qlie", c.q_lie), f("klie", c.k_lie), f("vlie", c.v_lie),
      f("dolie", c.d_out_lie);
  f("olie", c.out_lie), f("glie", c.gradient_lie), f("softcap", c.softcap), f("scale", c.scale),
      f("lse", c.lse), f("dlse", c.d_lse);
  f("wq", c.dq), f("wk", c.dk), f("wv", c.dv), f("wideout", c.wide_out),
      f("widegrad", c.wide_gradients), f("workers", c.workers);
  f("shape", c.shape), f("score", c.score), f("wsv", c.d_score_v), f("extras", c.extras);
}

DType dtype_of(int n) { return static_cast<DType>(n); }

// Axes that are one in memory hold the same logical values: fill the tensor in order, the last
// value written stays.
Tensor normal(Random& random, DType dtype, const Shape& shape, int lie) {
  Tensor tensor(dtype, shape, static_cast<Lie>(lie));
  tensor.fill_normal(random);
  return tensor;
}

// Adds a slope along the keys to what is already random: scores that rise, fall or step, by a few
// dozen in all.
void shape_scores(Problem& p, int shape) {
  if (shape == 0) return;
  const double reach = p.q.dtype() == kBf16 || p.q.dtype() == kF16 ? 8 : 30;
  for_each_index({p.batch(), p.k.shape()[1], p.len_k(), 1}, [&](auto b, auto h, auto j, auto) {
    const double along =
        static_cast<double>(j) / static_cast<double>(std::max<std::int64_t>(p.len_k(), 1));
    const double at = shape == 1   ? along
                      : shape == 2 ? -along
                                   : std::floor(along * 4) * ((j / 32) % 2 ? 1 : -1) / 4;
    p.k.set(b, h, j, 0, p.k.at(b, h, j, 0) + at * reach);
  });
  for_each_index({p.batch(), p.heads(), p.len_q(), 1}, [&](auto b, auto h, auto i, auto) {
    p.q.set(b, h, i, 0, std::sqrt(static_cast<double>(p.dim())));
  });
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const Case& c) {
  const Case plain;
  std::vector<double> defaults;
  for_each_number(plain,
                  [&](const char*, auto value) { defaults.push_back(static_cast<double>(value)); });
  std::size_t n = 0;
  stream << "REGARD_CASE='";
  for_each_number(c, [&](const char* name, auto value) {
    if (static_cast<double>(value) != defaults[n++]) stream << name << "=" << value << " ";
  });
  if (!c.mask.empty()) stream << "mask=" << c.mask << " ";
  for (const CaseBias& bias : c.biases)
    stream << "bias=" << bias.axes << "," << bias.dtype << "," << bias.lie << "," << bias.before
           << "," << bias.wanted << " ";
  return stream << "' build/release/tests/core/core_tests --gtest_filter=Property.OneCase";
}

Case parse_case(const std::string& text) {
  Case c;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    const std::string key = word.substr(0, equals),
                      value = equals == std::string::npos ? "" : word.substr(equals + 1);
    bool known = true;
    if (key == "mask") {
      c.mask = value;
    } else if (key == "bias") {
      CaseBias bias;
      known = std::sscanf(value.c_str(), "%d,%d,%d,%d,%d", &bias.axes, &bias.dtype, &bias.lie,
                          &bias.before, &bias.wanted) == 5;
      c.biases.push_back(bias);
    } else {
      known = false;
      for_each_number(c, [&](const char* name, auto& field) {
        if (key != name) return;
        std::istringstream(value) >> field;
        known = true;
      });
    }
    if (!known) throw std::invalid_argument("REGARD_CASE: what is " + word + "?");
  }
  return c;
}

Case bounded(Case c, double most) {
  const auto cost = [&] {
    const double pairs = static_cast<double>(c.batch * c.heads_kv * c.group) *
                         static_cast<double>(c.len_q) * static_cast<double>(c.len_k);
    return pairs * (30 + static_cast<double>(c.dim + c.dim_v) *
                             (c.dtype == static_cast<int>(kF64) ? 4 : 1) * (c.score != 0 ? 8 : 1));
  };
  while (cost() > most) {
    if (c.batch > 1)
      --c.batch;
    else if (c.group > 1)
      --c.group;
    else if (c.heads_kv > 1)
      --c.heads_kv;
    else if (c.len_q > c.len_k)
      c.len_q = c.len_q * 2 / 3;
    else if (c.len_q > 20)
      c.len_q = c.len_q * 2 / 3;
    else
      c.len_k = c.len_k * 2 / 3;
  }
  return c;
}

Problem make_problem(const Case& c) {
  Random random(static_cast<std::uint64_t>(c.seed) * 7919 + 17);
  const DType dtype = dtype_of(c.dtype);
  const std::int64_t heads = c.heads_kv * c.group;
  Problem p;
  p.q = normal(random, dtype, {c.batch, heads, c.len_q, c.dim}, c.q_lie);
  p.k = normal(random, dtype, {c.batch, c.heads_kv, c.len_k, c.dim}, c.k_lie);
  p.v = normal(random, dtype, {c.batch, c.heads_kv, c.len_k, c.dim_v}, c.v_lie);
  shape_scores(p, c.shape);
  p.d_out = normal(random, dtype, {c.batch, heads, c.len_q, c.dim_v}, c.d_out_lie);
  if (c.score != 0) {
    p.score_v = Tensor(dtype, {c.score == 3 ? c.batch : 1, c.score == 1 ? 1 : heads, 1, c.dim},
                       static_cast<Lie>(c.gradient_lie));
    p.score_v.fill_normal(random, 2 / std::sqrt(static_cast<double>(c.dim)));
  }
  if (c.d_lse)
    p.d_lse = normal(random, p.statistics_dtype(), {c.batch, heads, c.len_q, 1}, c.d_out_lie);
  for (const CaseBias& bias : c.biases) {
    const auto size = [&](int axis, std::int64_t full) { return bias.axes >> axis & 1 ? 1 : full; };
    const Shape shape{size(0, c.batch), size(1, heads), size(2, c.len_q), size(3, c.len_k)};
    p.biases.push_back({normal(random, dtype_of(bias.dtype), shape, bias.lie), bias.before != 0});
  }
  if (c.scale != 0) p.scale = c.scale;
  p.softcap = c.softcap;
  if (c.extras != 0)
    p.extras = random_extras(random, c.extras, dtype, c.batch, heads, c.len_q, c.len_k);
  p.rule = parse_rule(c.mask, c.batch, heads, c.len_q, c.len_k);
  return p;
}

std::string check(const Case& c) {
  const Problem problem = make_problem(c);
  Request request;
  request.lse = c.lse, request.dq = c.dq, request.dk = c.dk, request.dv = c.dv;
  request.d_score_v = c.d_score_v;
  request.wide_out = c.wide_out, request.wide_gradients = c.wide_gradients;
  request.out_lie = static_cast<Lie>(c.out_lie),
  request.gradient_lie = static_cast<Lie>(c.gradient_lie);
  for (const CaseBias& bias : c.biases) request.d_bias.push_back(bias.wanted);
  const Results results = attempt(problem, ThreadExecutor(c.workers), request);
  return results.error.empty() ? errors_of(problem, results, score_size(problem)) : results.error;
}

}  // namespace regard::testing
