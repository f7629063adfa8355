// SPDX-License-Identifier: Apache-2.0
#include "nn/vision/detr_assignment.h"

#include <limits>

namespace regard::nn {
namespace {

// For rows <= columns; cost(i, j). Gives each column's row, or -1.
//
// Potentials u and v keep every reduced cost, cost(i, j) - u[i] - v[j], at 0 or more, and those of
// matched pairs at 0. A row is added by the shortest path of reduced costs, over matched pairs
// backwards, to a column that is still free (Dijkstra); the path's pairs then change places.
template <typename Cost>
std::vector<std::int64_t> match_rows(std::int64_t rows, std::int64_t columns, const Cost& cost) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const auto n = static_cast<std::size_t>(columns);
  std::vector<double> u(static_cast<std::size_t>(rows)), v(n);
  std::vector<std::int64_t> row_of(n, -1);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::vector<double> distance(n, kInfinite);
    std::vector<std::int64_t> before(n, -1);  // the column from which a path comes; -1 is `row`
    std::vector<bool> done(n);
    std::int64_t at = -1;  // the column whose row is looked at
    double length = 0;
    do {
      const std::int64_t i = at < 0 ? row : row_of[static_cast<std::size_t>(at)];
      std::size_t nearest = n;
      for (std::size_t j = 0; j < n; ++j) {
        if (done[j]) continue;
        const double through =
            length + cost(i, static_cast<std::int64_t>(j)) - u[static_cast<std::size_t>(i)] - v[j];
        if (through < distance[j]) {
          distance[j] = through;
          before[j] = at;
        }
        if (nearest == n || distance[j] < distance[nearest]) nearest = j;
      }
      done[nearest] = true;
      length = distance[nearest];
      at = static_cast<std::int64_t>(nearest);
    } while (row_of[static_cast<std::size_t>(at)] >= 0);

    u[static_cast<std::size_t>(row)] += length;
    for (std::size_t j = 0; j < n; ++j) {
      if (!done[j] || row_of[j] < 0) continue;
      u[static_cast<std::size_t>(row_of[j])] += length - distance[j];
      v[j] -= length - distance[j];
    }
    while (at >= 0) {
      const std::int64_t from = before[static_cast<std::size_t>(at)];
      row_of[static_cast<std::size_t>(at)] =
          from < 0 ? row : row_of[static_cast<std::size_t>(from)];
      at = from;
    }
  }
  return row_of;
}

}  // namespace

std::vector<std::int64_t> assign(const std::vector<double>& costs, std::int64_t rows,
                                 std::int64_t columns) {
  const auto cost = [&](std::int64_t i, std::int64_t j) {
    return costs[static_cast<std::size_t>(i * columns + j)];
  };
  if (columns < rows)
    return match_rows(columns, rows, [&](std::int64_t i, std::int64_t j) { return cost(j, i); });
  std::vector<std::int64_t> column_of(static_cast<std::size_t>(rows), -1);
  const std::vector<std::int64_t> row_of = match_rows(rows, columns, cost);
  for (std::size_t j = 0; j < row_of.size(); ++j)
    if (row_of[j] >= 0)
      column_of[static_cast<std::size_t>(row_of[j])] = static_cast<std::int64_t>(j);
  return column_of;
}

}  // namespace regard::nn
