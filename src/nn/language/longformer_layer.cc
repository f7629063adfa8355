// SPDX-License-Identifier: Apache-2.0
#include "nn/language/longformer_layer.h"

#include <cmath>

namespace regard::nn {
namespace {

// Up to so many rows of scores a text, few_rows() costs less than projecting every token twice,
// and its weights (this times the length, in floats) little memory.
constexpr std::int64_t kFewRows = 96;

}  // namespace

LongformerLayer::LongformerLayer(const TextEncoderConfig& config) : EncoderLayer(config) {
  query_ = register_module("global_query", drawn_linear(dim_, dim_));
  key_ = register_module("global_key", drawn_linear(dim_, dim_));
  value_ = register_module("global_value", drawn_linear(dim_, dim_));
}

torch::Tensor LongformerLayer::attend(const torch::Tensor& x, const LayerReading& reading) {
  const torch::Tensor out = EncoderLayer::attend(x, reading);
  if (!reading.globals) return out;
  const bool few = reading.globals->most * heads_ <= kFewRows;
  return out.index_copy(0, reading.globals->rows,
                        few ? few_rows(x, reading) : many_rows(x, reading));
}

torch::Tensor LongformerLayer::many_rows(const torch::Tensor& x, const LayerReading& reading) {
  const auto as_heads = [&](const torch::Tensor& y) { return y.unflatten(-1, {heads_, -1}); };
  AttentionOptions options;
  options.layout = Layout::kThd;
  options.mask = documents(reading.globals->starts, reading.packing.starts);
  if (is_training()) options.dropout_p = attention_dropout_;
  const torch::Tensor rows = x.index_select(0, reading.globals->rows);
  return attention(as_heads(query_->forward(rows)), as_heads(key_->forward(x)),
                   as_heads(value_->forward(x)), options)
      .flatten(-2);
}

// The projections of keys and values are moved to the other side of the sums:
//   q . (K x + c) = (K^T q) . x + a number for all keys, which the softmax takes away;
//   sum p (V x + b) = V (sum p x) + (sum p) b, where sum p is 1 but for dropout.
torch::Tensor LongformerLayer::few_rows(const torch::Tensor& x, const LayerReading& reading) {
  const std::int64_t head_dim = dim_ / heads_;
  const auto per_head = [&](const torch::Tensor& weight) {
    return weight.unflatten(0, {heads_, head_dim});  // (heads, head dim, dim)
  };
  const GlobalTokens& globals = *reading.globals;
  const torch::Tensor query =
      (query_->forward(x.index_select(0, globals.rows)) / std::sqrt(static_cast<double>(head_dim)))
          .unflatten(-1, {heads_, head_dim});
  const torch::Tensor turned =  // (count, heads, dim)
      torch::bmm(query.transpose(0, 1), per_head(key_->weight)).transpose(0, 1);
  const bool drops = is_training() && attention_dropout_ > 0;
  std::vector<torch::Tensor> sums, shares;
  std::int64_t row = 0, begin = 0;
  for (std::size_t text = 0; text < globals.counts.size(); ++text) {
    const std::int64_t count = globals.counts[text], length = reading.packing.lengths[text];
    const torch::Tensor keys = x.narrow(0, begin, length);
    begin += length;
    if (count == 0) continue;
    const torch::Tensor mine = turned.narrow(0, row, count).flatten(0, 1);
    row += count;
    torch::Tensor weights = torch::softmax(torch::mm(mine, keys.t()), -1, torch::kFloat32);
    if (drops) weights = torch::dropout(weights, attention_dropout_, true);
    if (drops) shares.push_back(weights.sum(-1).unflatten(0, {count, heads_}));
    sums.push_back(torch::mm(weights.to(x.scalar_type()), keys).unflatten(0, {count, heads_}));
  }
  const torch::Tensor made =  // (heads, count, head dim)
      torch::bmm(torch::cat(sums).transpose(0, 1), per_head(value_->weight).transpose(1, 2));
  torch::Tensor bias = value_->bias.unflatten(0, {heads_, head_dim}).unsqueeze(0);
  if (drops) bias = bias * torch::cat(shares).to(bias.scalar_type()).unsqueeze(-1);
  return (made.transpose(0, 1) + bias).flatten(-2);
}

torch::Tensor LongformerLayer::weights(const torch::Tensor& x, const LayerReading& reading) {
  const torch::Tensor local = EncoderLayer::weights(x, reading);
  if (!reading.globals) return local;
  const Packing& packing = reading.packing;
  AttentionOptions options;
  options.layout = packing.layout();
  options.mask = reading.text;
  const torch::Tensor global = attention_map(packing.as_heads(query_->forward(x), heads_),
                                             packing.as_heads(key_->forward(x), heads_), options);
  const torch::Tensor is_global =
      torch::zeros({x.size(0)}, torch::kBool).index_fill(0, reading.globals->rows, true);
  return torch::where(packing.unpack(is_global).unsqueeze(1).unsqueeze(-1), global, local);
}

}  // namespace regard::nn
