// SPDX-License-Identifier: Apache-2.0
// A function of a user's own over tiles of scores (regard/modifier.h), for the benchmark and the
// tests of docs/mechanisms.md:
//
//   s <- cap * s / (cap + |s|) - slope * sqrt(|i - j|)      cap 4, slope 1/4
#include <cmath>
#include <cstdlib>

#include "regard/modifier.h"

namespace {

constexpr double kCap = 4, kSlope = 0.25;

template <typename Real>
void apply(const regard::FunctionTile& tile) {
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    Real* row = static_cast<Real*>(tile.data) + r * tile.stride;
    const auto behind = static_cast<Real>(tile.query + r - tile.key);
    for (int c = 0; c < static_cast<int>(tile.columns); ++c) {
      const Real distance = std::abs(behind - static_cast<Real>(c));
      row[c] = Real{kCap} * row[c] / (Real{kCap} + std::abs(row[c])) -
               Real{kSlope} * std::sqrt(distance);
    }
  }
}

template <typename Real>
void derive(const regard::FunctionTile& tile) {
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    Real* row = static_cast<Real*>(tile.data) + r * tile.stride;
    const Real* scores = static_cast<const Real*>(tile.scores) + r * tile.stride;
    for (int c = 0; c < static_cast<int>(tile.columns); ++c) {
      const Real root = Real{kCap} / (Real{kCap} + std::abs(scores[c]));
      row[c] *= root * root;
    }
  }
}

}  // namespace

extern "C" {

void regard_bench_apply(const regard::FunctionTile* tile, void*) {
  tile->is_double ? apply<double>(*tile) : apply<float>(*tile);
}
void regard_bench_derive(const regard::FunctionTile* tile, void*) {
  tile->is_double ? derive<double>(*tile) : derive<float>(*tile);
}
}
