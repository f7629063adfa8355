// SPDX-License-Identifier: Apache-2.0
// The assignment problem: who does what, at the least cost of all.
#pragma once

#include <cstdint>
#include <vector>

namespace regard::nn {

// costs (rows, columns), row by row, finite. Matches min(rows, columns) pairs, no row or column
// twice, so that the sum of their costs is least. Gives each row's column, or -1.
//
// Shortest augmenting paths with dual potentials (Jonker and Volgenant 1987, "A shortest augmenting
// path algorithm for dense and sparse linear assignment problems", without its initialization):
// O(min^2 max).
std::vector<std::int64_t> assign(const std::vector<double>& costs, std::int64_t rows,
                                 std::int64_t columns);

}  // namespace regard::nn
