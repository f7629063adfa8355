// SPDX-License-Identifier: Apache-2.0
#include "nn/steps/sequences.h"

#include "nn/steps/cells.h"

namespace regard::nn {
namespace {

// Which positions rows of a batch have.
struct Extent {
  std::int64_t whole;    // positions before this one are in every row
  torch::Tensor inside;  // (steps, batch, 1) bool, or undefined where all are whole
};

Extent extent_of(const torch::Tensor& lengths, std::int64_t steps) {
  if (!lengths.defined()) return {steps, {}};
  const std::int64_t shortest = lengths.min().item<std::int64_t>();
  if (shortest >= steps) return {steps, {}};
  const torch::Tensor place = torch::arange(steps, torch::kInt64).unsqueeze(1);
  return {shortest, place.lt(lengths.to(torch::kInt64)).unsqueeze(-1)};
}

// One layer in one direction over x (steps, batch, dim) -> (steps, batch, hidden), 0 past a row's
// end; the state becomes that after each row's last step. Past its end a row's state stays as it
// is: in the reverse direction those steps come first.
torch::Tensor one_direction(const CellLayer& layer, const torch::Tensor& x, const Extent& extent,
                            bool reverse, torch::Tensor& hidden, torch::Tensor& cell) {
  const std::vector<torch::Tensor> prepared = layer.prepare(x);
  const auto steps = static_cast<std::int64_t>(prepared.size());
  std::vector<torch::Tensor> outputs(prepared.size());
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t t = reverse ? steps - 1 - i : i;
    const torch::Tensor hidden_before = hidden, cell_before = cell;
    layer.step(prepared[static_cast<std::size_t>(t)], {}, hidden, cell);
    if (t >= extent.whole) {
      const torch::Tensor inside = extent.inside[t];
      hidden = torch::where(inside, hidden, hidden_before);
      if (cell.defined()) cell = torch::where(inside, cell, cell_before);
    }
    outputs[static_cast<std::size_t>(t)] = hidden;
  }
  const torch::Tensor all = torch::stack(outputs);
  return extent.inside.defined() ? all.masked_fill(extent.inside.logical_not(), 0) : all;
}

}  // namespace

std::pair<torch::Tensor, RecurrentState> through_steps(const RecurrentImpl& recurrent,
                                                       const torch::Tensor& input,
                                                       const torch::Tensor& lengths,
                                                       const RecurrentState& initial) {
  const RecurrentOptions& options = recurrent.options();
  const std::vector<torch::Tensor> w = recurrent.weights();
  const std::int64_t directions = options.bidirectional ? 2 : 1;
  const Extent extent = extent_of(lengths, input.size(1));
  std::vector<torch::Tensor> hidden, cell;
  torch::Tensor x = input.transpose(0, 1);
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    if (layer > 0 && options.dropout > 0)
      x = torch::dropout(x, options.dropout, recurrent.is_training());
    std::vector<torch::Tensor> sides;
    for (std::int64_t side = 0; side < directions; ++side) {
      const std::int64_t at = layer * directions + side;
      const CellLayer cells(options.cell, &w[static_cast<std::size_t>(4 * at)], x.size(2));
      torch::Tensor h = initial.hidden[at], c;
      if (initial.cell.defined()) c = initial.cell[at];
      sides.push_back(one_direction(cells, x, extent, side == 1, h, c));
      hidden.push_back(h);
      if (c.defined()) cell.push_back(c);
    }
    x = directions == 1 ? sides[0] : torch::cat(sides, 2);
  }
  return {x.transpose(0, 1).contiguous(),
          {torch::stack(hidden), cell.empty() ? torch::Tensor() : torch::stack(cell)}};
}

}  // namespace regard::nn
