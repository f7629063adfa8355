// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/multihead_attention.h"

#include <ATen/Parallel.h>

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "nn/modules/check_rows.h"

namespace regard::nn {
namespace {

constexpr const char* kNames[] = {"q_proj_weight", "k_proj_weight", "v_proj_weight"};

AttentionOptions call_options(const Mask& mask, const std::vector<Modifier>& modifiers) {
  AttentionOptions options;
  options.mask = mask;
  options.modifiers = modifiers;
  options.layout = Layout::kBshd;
  return options;
}

// The rows of `from` that `rows` names, `length` positions of each, into `into`; both contiguous.
void gather_rows(const torch::Tensor& from, const torch::Tensor& rows, std::int64_t length,
                 const torch::Tensor& into) {
  const std::int64_t stride = from.stride(0) * from.element_size();
  const auto bytes = static_cast<std::size_t>(length * from.stride(1) * from.element_size());
  const auto* source = static_cast<const std::byte*>(from.const_data_ptr());
  auto* target = static_cast<std::byte*>(into.data_ptr());
  const auto* row = rows.const_data_ptr<std::int64_t>();
  at::parallel_for(0, rows.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      std::memcpy(target + i * stride, source + row[i] * stride, bytes);
  });
}

// `room` with other rows of it, in `spare` where that has enough of the same form, else in new
// room.
torch::Tensor reordered(const torch::Tensor& room, const torch::Tensor& rows, std::int64_t length,
                        const torch::Tensor& spare) {
  const torch::Tensor from = room.contiguous();
  std::vector<std::int64_t> sizes = from.sizes().vec();
  sizes[0] = rows.size(0);
  const bool enough = spare.defined() && spare.size(0) >= sizes[0] &&
                      spare.sizes().slice(1) == from.sizes().slice(1) &&
                      spare.scalar_type() == from.scalar_type() && spare.is_contiguous();
  torch::Tensor into = enough ? spare.narrow(0, 0, sizes[0]) : torch::empty(sizes, from.options());
  gather_rows(from, rows, length, into);
  return into;
}

}  // namespace

void KeyValueCache::reorder(const torch::Tensor& rows) {
  const torch::Tensor list = checked_rows(rows, room.keys.size(0));
  KeyValues next = {reordered(room.keys, list, length, spare.keys),
                    reordered(room.values, list, length, spare.values)};
  spare = std::exchange(room, std::move(next));
}

MultiheadAttentionImpl::MultiheadAttentionImpl(const MultiheadAttentionOptions& options)
    : options_(options) {
  auto& [dim, heads, kv_heads, key_dim, value_dim, bias, dropout] = options_;
  if (kv_heads == 0) kv_heads = heads;
  if (key_dim == 0) key_dim = dim;
  if (value_dim == 0) value_dim = dim;
  if (dim < 1 || heads < 1 || kv_heads < 1 || dim % heads != 0 || heads % kv_heads != 0)
    throw std::invalid_argument("MultiheadAttention: dim " + std::to_string(dim) + ", heads " +
                                std::to_string(heads) + ", kv_heads " + std::to_string(kv_heads) +
                                "; expected heads to divide dim, and kv_heads to divide heads");
  head_dim_ = dim / heads;
  rows_[0] = dim;
  rows_[1] = rows_[2] = kv_heads * head_dim_;
  const std::int64_t columns[] = {dim, key_dim, value_dim};
  const std::int64_t all = rows_[0] + rows_[1] + rows_[2];
  if (key_dim == dim && value_dim == dim) {
    in_proj_ = register_parameter("in_proj_weight", torch::empty({all, dim}));
    torch::nn::init::xavier_uniform_(in_proj_);
  } else {
    for (int i = 0; i < 3; ++i) {
      separate_[i] = register_parameter(kNames[i], torch::empty({rows_[i], columns[i]}));
      torch::nn::init::xavier_uniform_(separate_[i]);
    }
  }
  if (bias) in_bias_ = register_parameter("in_proj_bias", torch::zeros({all}));
  out_ =
      register_module("out_proj", torch::nn::Linear(torch::nn::LinearOptions(dim, dim).bias(bias)));
  torch::NoGradGuard no_grad;
  if (bias) out_->bias.zero_();
}

torch::Tensor MultiheadAttentionImpl::weight(int which) const {
  if (!in_proj_.defined()) return separate_[which];
  const std::int64_t first = which == 0 ? 0 : which == 1 ? rows_[0] : rows_[0] + rows_[1];
  return in_proj_.narrow(0, first, rows_[which]);
}

torch::Tensor MultiheadAttentionImpl::bias(std::int64_t first, std::int64_t count) const {
  return in_bias_.defined() ? in_bias_.narrow(0, first, count) : in_bias_;
}

torch::Tensor MultiheadAttentionImpl::as_heads(const torch::Tensor& projected) const {
  return projected.unflatten(-1, {-1, head_dim_});
}

KeyValues MultiheadAttentionImpl::keys_values(const torch::Tensor& key,
                                              const torch::Tensor& value) {
  if (in_proj_.defined() && key.is_same(value)) {
    const torch::Tensor both = torch::linear(key, in_proj_.narrow(0, rows_[0], rows_[1] + rows_[2]),
                                             bias(rows_[0], rows_[1] + rows_[2]));
    return {as_heads(both.narrow(-1, 0, rows_[1])), as_heads(both.narrow(-1, rows_[1], rows_[2]))};
  }
  return {as_heads(torch::linear(key, weight(1), bias(rows_[0], rows_[1]))),
          as_heads(torch::linear(value, weight(2), bias(rows_[0] + rows_[1], rows_[2])))};
}

torch::Tensor MultiheadAttentionImpl::attend_projected(const torch::Tensor& query,
                                                       const KeyValues& memory, const Mask& mask,
                                                       const std::vector<Modifier>& modifiers) {
  AttentionOptions options = call_options(mask, modifiers);
  if (is_training()) options.dropout_p = options_.dropout;
  return out_->forward(attention(query, memory.keys, memory.values, options).flatten(-2));
}

torch::Tensor MultiheadAttentionImpl::attend(const torch::Tensor& query, const KeyValues& memory,
                                             const Mask& mask,
                                             const std::vector<Modifier>& modifiers) {
  return attend_projected(as_heads(torch::linear(query, weight(0), bias(0, rows_[0]))), memory,
                          mask, modifiers);
}

torch::Tensor MultiheadAttentionImpl::forward(const torch::Tensor& query, const torch::Tensor& key,
                                              const torch::Tensor& value, const Mask& mask,
                                              const std::vector<Modifier>& modifiers) {
  if (!in_proj_.defined() || !query.is_same(key) || !key.is_same(value))
    return attend(query, keys_values(key, value), mask, modifiers);
  const std::vector<torch::Tensor> parts =
      torch::linear(query, in_proj_, in_bias_).split_with_sizes({rows_[0], rows_[1], rows_[2]}, -1);
  return attend_projected(as_heads(parts[0]), {as_heads(parts[1]), as_heads(parts[2])}, mask,
                          modifiers);
}

torch::Tensor MultiheadAttentionImpl::weights(const torch::Tensor& query, const KeyValues& memory,
                                              const Mask& mask,
                                              const std::vector<Modifier>& modifiers) {
  torch::NoGradGuard no_grad;
  return attention_map(as_heads(torch::linear(query, weight(0), bias(0, rows_[0]))), memory.keys,
                       call_options(mask, modifiers));
}

torch::Tensor MultiheadAttentionImpl::rollout(const torch::Tensor& rows, const torch::Tensor& x) {
  torch::NoGradGuard no_grad;
  return attention_rollout(rows, as_heads(torch::linear(x, weight(0), bias(0, rows_[0]))),
                           keys_values(x, x).keys, call_options({}, {}));
}

torch::Tensor MultiheadAttentionImpl::step(const torch::Tensor& query, KeyValueCache& cache) {
  torch::NoGradGuard no_grad;
  const std::int64_t count = query.size(1);
  if (cache.length + count > cache.max_length())
    throw std::invalid_argument("cache: room for " + std::to_string(cache.max_length()) +
                                " positions, of which " + std::to_string(cache.length) +
                                " are filled; expected room for " + std::to_string(count) +
                                " more");
  torch::Tensor projected;
  KeyValues next;
  if (in_proj_.defined()) {
    const auto parts = torch::linear(query, in_proj_, in_bias_)
                           .split_with_sizes({rows_[0], rows_[1], rows_[2]}, -1);
    projected = parts[0];
    next = {as_heads(parts[1]), as_heads(parts[2])};
  } else {
    projected = torch::linear(query, weight(0), bias(0, rows_[0]));
    next = keys_values(query, query);
  }
  cache.room.keys.narrow(1, cache.length, count).copy_(next.keys);
  cache.room.values.narrow(1, cache.length, count).copy_(next.values);
  cache.length += count;
  return attend_projected(as_heads(projected), cache.filled(), count > 1 ? causal() : Mask(), {});
}

KeyValueCache MultiheadAttentionImpl::make_cache(std::int64_t batch,
                                                 std::int64_t max_length) const {
  const auto room = [&] {
    return torch::empty({batch, max_length, options_.kv_heads, head_dim_}, out_->weight.options())
        .detach();
  };
  return {{room(), room()}, 0, {}};
}

}  // namespace regard::nn
