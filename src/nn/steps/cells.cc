// SPDX-License-Identifier: Apache-2.0
#include "nn/steps/cells.h"

#include "nn/steps/no_double_backward.h"

namespace regard::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// PyTorch's GRU: r, z = sigmoid(i + h); n = tanh(i_n + r h_n); h' = n + z (h - n). i and h are the
// products with the input and with the state, biases included, (batch, 3 hidden) in the order r, z,
// n.
struct GruGates : torch::autograd::Function<GruGates> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& i,
                               const torch::Tensor& h, const torch::Tensor& state) {
    const std::int64_t n = state.size(1);
    // Under autocast the products are in bfloat16, and a first state in float32.
    const torch::ScalarType dtype = state.scalar_type();
    const torch::Tensor both = (i.narrow(1, 0, 2 * n) + h.narrow(1, 0, 2 * n)).sigmoid_().to(dtype);
    const torch::Tensor reset = both.narrow(1, 0, n), update = both.narrow(1, n, n);
    const torch::Tensor next =
        torch::addcmul(i.narrow(1, 2 * n, n).to(dtype), reset, h.narrow(1, 2 * n, n).to(dtype))
            .tanh_();
    context->save_for_backward({both, next, h, state});
    return torch::lerp(next, state, update);
  }
  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    refuse_double_backward();
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &both = saved[0], &next = saved[1], &state = saved[3], &d_out = arrived[0];
    const std::int64_t n = state.size(1);
    const torch::Tensor reset = both.narrow(1, 0, n), update = both.narrow(1, n, n);
    torch::Tensor d_i = torch::empty({state.size(0), 3 * n}, state.options());
    torch::Tensor d_reset = d_i.narrow(1, 0, n), d_update = d_i.narrow(1, n, n);
    torch::Tensor d_next = d_i.narrow(1, 2 * n, n), d_both = d_i.narrow(1, 0, 2 * n);
    const torch::Tensor d_state = d_out * update;
    // Through tanh, then what reaches r and z through their sigmoids.
    torch::sub_out(d_next, d_out, d_state).mul_(1 - next * next);
    torch::mul_out(d_reset, d_next, saved[2].narrow(1, 2 * n, n));
    torch::mul_out(d_update, d_out, state - next);
    d_both.mul_(both * (1 - both));
    torch::Tensor d_h = d_i.clone();
    d_h.narrow(1, 2 * n, n).mul_(reset);
    return {d_i, d_h, d_state};
  }
};

// PyTorch's LSTM: i, f, o = sigmoid, g = tanh of the gates; c' = f c + i g; h' = o tanh(c').
struct LstmGates : torch::autograd::Function<LstmGates> {
  static variable_list forward(AutogradContext* context, const torch::Tensor& gates,
                               const torch::Tensor& cell) {
    const std::int64_t n = cell.size(1);
    torch::Tensor all = torch::sigmoid(gates);
    torch::Tensor g = all.narrow(1, 2 * n, n);
    torch::tanh_out(g, gates.narrow(1, 2 * n, n));
    const torch::Tensor next = torch::addcmul(all.narrow(1, 0, n) * g, all.narrow(1, n, n), cell);
    const torch::Tensor squashed = next.tanh();
    context->save_for_backward({all, cell, squashed});
    return {all.narrow(1, 3 * n, n) * squashed, next};
  }
  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    refuse_double_backward();
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &all = saved[0], &cell = saved[1], &squashed = saved[2];
    const std::int64_t n = cell.size(1);
    const auto gate = [&](std::int64_t which) { return all.narrow(1, which * n, n); };
    const torch::Tensor d_next =
        torch::addcmul(arrived[1], arrived[0] * gate(3), 1 - squashed * squashed);
    const torch::Tensor g = gate(2);
    const torch::Tensor d_gates =
        torch::cat({d_next * g, d_next * cell, d_next * gate(0), arrived[0] * squashed}, 1);
    torch::Tensor slope = all * (1 - all);
    slope.narrow(1, 2 * n, n).copy_(1 - g * g);
    return {d_gates.mul_(slope), d_next * gate(1)};
  }
};

std::vector<torch::Tensor> layers_of(const torch::Tensor& states) {
  return states.defined() ? states.unbind(0) : std::vector<torch::Tensor>{};
}

}  // namespace

CellStates::CellStates(const RecurrentState& state)
    : hidden(layers_of(state.hidden)), cell(layers_of(state.cell)) {}

CellLayer::CellLayer(Cell cell, const torch::Tensor* weights, std::int64_t known)
    : cell_(cell),
      known_weight_(weights[0].narrow(1, 0, known)),
      rest_(weights[0].narrow(1, known, weights[0].size(1) - known)),
      hidden_(weights[1]),
      input_bias_(weights[2]),
      hidden_bias_(weights[3]) {}

std::vector<torch::Tensor> CellLayer::prepare(const torch::Tensor& known) const {
  return torch::linear(known, known_weight_, input_bias_).unbind(0);
}

void CellLayer::step(const torch::Tensor& prepared, const torch::Tensor& rest,
                     torch::Tensor& hidden, torch::Tensor& cell) const {
  const torch::Tensor& first = prepared.defined() ? prepared : input_bias_;
  const torch::Tensor i = rest.defined() ? rest_(first, rest) : first;
  switch (cell_) {
    case Cell::kGru: hidden = GruGates::apply(i, hidden_(hidden_bias_, hidden), hidden); break;
    case Cell::kLstm: {
      const variable_list next = LstmGates::apply(hidden_(i + hidden_bias_, hidden), cell);
      hidden = next[0];
      cell = next[1];
      break;
    }
    case Cell::kRnn: hidden = torch::tanh(hidden_(i + hidden_bias_, hidden)); break;
  }
}

Cells::Cells(Recurrent recurrent, std::int64_t known) : recurrent_(std::move(recurrent)) {
  const std::vector<torch::Tensor> w = recurrent_->weights();
  for (std::size_t at = 0; at < w.size(); at += 4)
    layers_.emplace_back(recurrent_->options().cell, &w[at], at == 0 ? known : 0);
}

std::vector<torch::Tensor> Cells::prepare(const torch::Tensor& known) const {
  return layers_[0].prepare(known);
}

void Cells::step(const torch::Tensor& prepared, const torch::Tensor& rest,
                 CellStates& states) const {
  const RecurrentOptions& options = recurrent_->options();
  torch::Tensor none, x = rest;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (l > 0 && options.dropout > 0)
      x = torch::dropout(x, options.dropout, recurrent_->is_training());
    layers_[l].step(l == 0 ? prepared : none, x, states.hidden[l],
                    states.cell.empty() ? none : states.cell[l]);
    x = states.hidden[l];
  }
}

}  // namespace regard::nn
