// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/extras.h"

#include <cmath>
#include <type_traits>

namespace regard::testing {
namespace {

template <typename T>
TensorView entries(const std::vector<T>& values) {
  return TensorView::bhsd(values.data(), DType::kInt32, 1, 1, 1,
                          static_cast<std::int64_t>(values.size()));
}

std::size_t place(const Tensor& tensor, std::int64_t b, std::int64_t h, std::int64_t i,
                  std::int64_t j) {
  const Shape& s = tensor.shape();
  const auto own = [&](int axis, std::int64_t index) { return s[axis] == 1 ? 0 : index; };
  return static_cast<std::size_t>(((own(0, b) * s[1] + own(1, h)) * s[2] + own(2, i)) * s[3] +
                                  own(3, j));
}

struct At {
  const Extras& extras;
  const Pair pair;  // counted in its own sequence

  double distance() const { return std::abs(static_cast<double>(pair.i + pair.offset - pair.j)); }
  std::size_t entry() const {
    return static_cast<std::size_t>(extras.buckets[static_cast<std::size_t>(
        extras.key_code[static_cast<std::size_t>(pair.key)] -
        extras.query_code[static_cast<std::size_t>(pair.row)] + extras.shift)]);
  }
  double table() const {
    return extras.table.broadcast_at(0, pair.head, 0, static_cast<std::int64_t>(entry()));
  }
  double away() const {
    return static_cast<double>(pair.j) -
           extras.centre.broadcast_at(pair.batch, pair.head, pair.row, 0);
  }
  double gaussian() const { return std::exp(-away() * away() / (2 * extras.sigma * extras.sigma)); }
  double multiplier() const {
    return extras.multiplier.broadcast_at(pair.batch, pair.head, pair.row, pair.key);
  }
  double kept() const {
    return dropout_keeps(extras.dropout, pair.batch, pair.head, pair.row, pair.key)
               ? 1 / (1 - extras.dropout.p)
               : 0;
  }
};

// A function of a user's: s <- kBend * s / (kBend + |s|) + shift of the pair.
constexpr double kBend = 6;
double shift_of(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
  return 0.05 * static_cast<double>((11 * b + 7 * h + 3 * i + 5 * j) % 13);
}
template <typename Real, typename F>
void for_each_element(const FunctionTile& tile, F f) {
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    for (std::int64_t c = 0; c < tile.columns; ++c) {
      const std::int64_t at = r * tile.stride + c;
      const auto* scores = static_cast<const Real*>(tile.scores);
      f(static_cast<Real*>(tile.data)[at], scores == nullptr ? Real{0} : scores[at], tile.query + r,
        tile.key + c);
    }
  }
}
template <typename F>
void visit(const FunctionTile& tile, F f) {
  tile.is_double ? for_each_element<double>(tile, f) : for_each_element<float>(tile, f);
}
void apply_function(const FunctionTile* tile, void* /*context*/) {
  visit(*tile, [&](auto& s, auto /*score*/, std::int64_t i, std::int64_t j) {
    using Real = std::decay_t<decltype(s)>;
    const Real bend = kBend;
    s = s * (bend / (bend + std::abs(s))) +
        static_cast<Real>(shift_of(tile->batch, tile->head, i, j));
  });
}
void derive_function(const FunctionTile* tile, void* /*context*/) {
  visit(*tile, [](auto& gradient, auto score, std::int64_t /*i*/, std::int64_t /*j*/) {
    const decltype(score) bend = kBend, slope = bend / (bend + std::abs(score));
    gradient *= slope * slope;
  });
}

}  // namespace

void Extras::append(std::vector<Modifier>& modifiers) const {
  if (which & kSinks) modifiers.push_back(Sinks{sinks.view()});
  if (which & kGaussian) modifiers.push_back(Gaussian{centre.view(), sigma});
  if (which & kRelative)
    modifiers.push_back(RelativeBias{table.view(), entries(query_code), entries(key_code),
                                     entries(buckets), shift});
  if (which & kTemperature) modifiers.push_back(Temperature{temperature.view()});
  if (which & kMultiplier) modifiers.push_back(Multiplier{multiplier.view()});
  if (which & kFunction) modifiers.push_back(Function{apply_function, derive_function, nullptr});
  if (which & kAlibi) modifiers.push_back(Alibi{slopes.view()});
  if (which & kDropout) modifiers.push_back(dropout);
}

std::vector<const Tensor*> Extras::tensors() const {
  std::vector<const Tensor*> found;
  for (const Tensor* tensor : {&sinks, &centre, &table, &temperature, &multiplier, &slopes})
    if (tensor->given()) found.push_back(tensor);
  return found;
}

void Extras::apply(const Rule& rule, DenseProblem& p) const {
  const PlanShape shape{p.batch, p.heads, p.len_q, p.len_k};
  const auto matrix = static_cast<std::size_t>(p.batch * p.heads * p.len_q * p.len_k);
  if (which & kTemperature)
    for (std::int64_t h = 0; h < p.heads; ++h)
      p.temperature.push_back(temperature.broadcast_at(0, h, 0, 0));
  if (which & kSinks) {
    p.sinks = sinks.values();
    p.sinks_of_head = sinks.shape()[3];
  }
  if (which & (kAlibi | kRelative)) p.bias_after.resize(matrix);
  if (which & kFunction) {
    p.bend = kBend;
    p.bias_last.resize(matrix);
  }
  if (which & (kGaussian | kMultiplier | kDropout)) p.factors.assign(matrix, 1);
  std::size_t at = 0;
  for_each_index({p.batch, p.heads, p.len_q, p.len_k}, [&](auto b, auto h, auto i, auto j) {
    const At here{*this, pair_of(rule, shape, b, h, i, j)};
    if (which & kAlibi) p.bias_after[at] -= slopes.broadcast_at(b, h, 0, 0) * here.distance();
    if (which & kRelative) p.bias_after[at] += here.table();
    if (which & kFunction) p.bias_last[at] = shift_of(b, h, i, j);
    if (which & kGaussian) p.factors[at] *= here.gaussian();
    if (which & kMultiplier) p.factors[at] *= here.multiplier();
    if (which & kDropout) p.factors[at] *= here.kept();
    ++at;
  });
}

std::vector<double> Extras::gradient(std::size_t n, const Rule& rule, const DenseProblem& p,
                                     const DenseResults& r, bool sizes) const {
  const Tensor& tensor = *tensors()[n];
  std::vector<double> sums(static_cast<std::size_t>(tensor.count()), 0);
  const PlanShape shape{p.batch, p.heads, p.len_q, p.len_k};
  if (p.d_out.empty()) return sums;  // without query rows
  if (&tensor == &sinks) return sizes ? r.d_sink_terms : r.d_sinks;
  if (&tensor == &temperature) {
    for (std::int64_t h = 0; h < p.heads; ++h)
      sums[place(tensor, 0, h, 0, 0)] +=
          (sizes ? r.d_temperature_terms : r.d_temperature)[static_cast<std::size_t>(h)];
    return sums;
  }
  const std::vector<double>& scores = sizes ? r.d_bias_terms : r.d_bias_after;
  const std::vector<double>& factors = sizes ? r.d_factor_terms : r.d_factors;
  std::size_t at = 0;
  for_each_index({p.batch, p.heads, p.len_q, p.len_k}, [&](auto b, auto h, auto i, auto j) {
    const std::size_t own = at++;
    const At here{*this, pair_of(rule, shape, b, h, i, j)};
    const double dropped = which & kDropout ? here.kept() : 1;
    double slope = 0;
    std::size_t where = place(tensor, b, h, i, j);
    if (&tensor == &slopes) slope = -here.distance() * scores[own];
    if (&tensor == &table) {
      where = static_cast<std::size_t>((tensor.shape()[1] == 1 ? 0 : h) * tensor.shape()[3]) +
              here.entry();
      slope = scores[own];
    }
    if (&tensor == &multiplier)
      slope = factors[own] * dropped * (which & kGaussian ? here.gaussian() : 1);
    if (&tensor == &centre) {
      where = place(tensor, b, h, i, 0);
      slope = factors[own] * dropped * (which & kMultiplier ? here.multiplier() : 1) *
              here.gaussian() * here.away() / (sigma * sigma);
    }
    sums[where] += sizes ? std::abs(slope) : slope;
  });
  return sums;
}

Extras random_extras(Random& random, int which, DType dtype, std::int64_t batch, std::int64_t heads,
                     std::int64_t len_q, std::int64_t len_k) {
  Extras e;
  e.which = which;
  const auto some = [&](std::int64_t full) { return random() % 2 ? full : 1; };
  const auto normal = [&](const Shape& shape, double deviation) {
    Tensor tensor(dtype, shape);
    tensor.fill_normal(random, deviation);
    return tensor;
  };
  if (which & kSinks)
    e.sinks = normal({1, heads, 1, static_cast<std::int64_t>(1 + random() % 3)}, 1);
  if (which & kGaussian) {
    e.centre =
        normal({some(batch), some(heads), some(len_q), 1}, static_cast<double>(len_k) / 4 + 1);
    e.sigma = static_cast<double>(len_k) / 3 + 1;
  }
  if (which & kRelative) {
    // Codes on a grid of three columns, as in two dimensions.
    const auto code = [](std::int64_t n) { return static_cast<std::int32_t>(n / 3 * 5 + n % 3); };
    for (std::int64_t i = 0; i < len_q; ++i) e.query_code.push_back(code(i));
    for (std::int64_t j = 0; j < len_k; ++j) e.key_code.push_back(code(j));
    e.shift = len_q == 0 ? 0 : code(len_q - 1) + 2;
    for (std::int64_t x = 0; x < e.shift + code(len_k) + 3; ++x)
      e.buckets.push_back(static_cast<std::int32_t>(random() % 7));
    e.table = normal({1, some(heads), 1, 7}, 1);
  }
  if (which & kTemperature) {
    e.temperature = normal({1, some(heads), 1, 1}, 1);
    for (std::int64_t h = 0; h < e.temperature.shape()[1]; ++h)
      e.temperature.set(0, h, 0, 0, 0.75 + std::abs(e.temperature.at(0, h, 0, 0)));
  }
  if (which & kMultiplier)
    e.multiplier = normal({some(batch), some(heads), some(len_q), some(len_k)}, 1);
  if (which & kAlibi)
    e.slopes =
        normal({some(batch), some(heads), 1, 1}, 4 / (static_cast<double>(len_q + len_k) + 1));
  if (which & kDropout) e.dropout = {0.25, static_cast<std::uint64_t>(random())};
  return e;
}

}  // namespace regard::testing
