// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/rule.h"

#include <algorithm>
#include <cmath>
#include <memory>

namespace regard::testing {
namespace {

// Which document a row belongs to; -1 for rows past the last.
std::int64_t document_of(const std::vector<std::int64_t>& cu, std::int64_t row) {
  for (std::size_t n = 0; n + 1 < cu.size(); ++n)
    if (cu[n] <= row && row < cu[n + 1]) return static_cast<std::int64_t>(n);
  return -1;
}

}  // namespace

Rule operator&(const Rule& a, const Rule& b) {
  return {a.mask & b.mask, [a, b](const Pair& p) { return a.allows(p) && b.allows(p); }, {}, {}};
}

Rule operator|(const Rule& a, const Rule& b) {
  return {a.mask | b.mask, [a, b](const Pair& p) { return a.allows(p) || b.allows(p); }, {}, {}};
}

Rule operator~(const Rule& a) {
  return {~a.mask, [a](const Pair& p) { return !a.allows(p); }, {}, {}};
}

Rule see_all() { return {}; }

Rule see_causal(std::optional<std::int64_t> offset) {
  return {causal(offset),
          [offset](const Pair& p) { return p.j <= p.i + offset.value_or(p.offset); },
          {},
          {}};
}

Rule see_window(std::int64_t left, std::int64_t right, std::optional<std::int64_t> offset) {
  return {window(left, right, offset),
          [=](const Pair& p) {
            const std::int64_t centre = p.i + offset.value_or(p.offset);
            return (left < 0 || p.j >= centre - left) && (right < 0 || p.j <= centre + right);
          },
          {},
          {}};
}

Rule see_lengths(std::vector<std::int64_t> lengths) {
  return {
      key_lengths(lengths), [lengths](const Pair& p) { return p.key < lengths[p.batch]; }, {}, {}};
}

Rule see_tensor(Tensor allowed) {
  auto kept = std::make_shared<const Tensor>(std::move(allowed));
  return {tensor(kept->view()),
          [kept](const Pair& p) { return kept->broadcast_at(p.batch, p.head, p.row, p.key) != 0; },
          {},
          {}};
}

Rule see_documents(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k,
                   const Rule& inside) {
  const auto together = [cu_q, cu_k](const Pair& p) {
    const std::int64_t document = document_of(cu_q, p.row);
    return document >= 0 && document == document_of(cu_k, p.key);
  };
  Rule rule{documents(cu_q, cu_k) & inside.mask,
            [together, inside](const Pair& p) { return together(p) && inside.allows(p); },
            {},
            {}};
  rule.cu_q = std::move(cu_q);
  rule.cu_k = std::move(cu_k);
  return rule;
}

Rule see_same_document(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k) {
  return {documents(cu_q, cu_k),
          [=](const Pair& p) {
            const std::int64_t document = document_of(cu_q, p.i);
            return document >= 0 && document == document_of(cu_k, p.j);
          },
          {},
          {}};
}

Rule see_dilated(std::int64_t left, std::int64_t right, std::vector<std::int64_t> dilations,
                 std::optional<std::int64_t> offset) {
  return {dilations.size() == 1 ? dilated(left, right, dilations[0], offset)
                                : dilated(left, right, dilations, offset),
          [=](const Pair& p) {
            const std::int64_t dilation = dilations[dilations.size() == 1 ? 0 : p.head];
            const std::int64_t distance = p.i + offset.value_or(p.offset) - p.j;
            if (distance % dilation != 0) return false;
            return (left < 0 || distance / dilation <= left) &&
                   (right < 0 || -distance / dilation <= right);
          },
          {},
          {}};
}

Rule see_global_tokens(std::vector<std::vector<std::int64_t>> tokens,
                       std::optional<std::int64_t> offset) {
  return {tokens.size() == 1 ? global_tokens(tokens[0], offset)
                             : global_tokens_by_batch(tokens, offset),
          [=](const Pair& p) {
            const std::vector<std::int64_t>& own = tokens[tokens.size() == 1 ? 0 : p.batch];
            const auto global = [&own](std::int64_t token) {
              return std::find(own.begin(), own.end(), token) != own.end();
            };
            return global(p.j) || global(p.i + offset.value_or(p.offset));
          },
          {},
          {}};
}

Rule see_blocks(Tensor layout, std::int64_t block_q, std::int64_t block_k) {
  auto kept = std::make_shared<const Tensor>(std::move(layout));
  return {blocks(kept->view(), block_q, block_k),
          [=](const Pair& p) {
            const Shape& shape = kept->shape();
            return kept->at(shape[0] == 1 ? 0 : p.batch, shape[1] == 1 ? 0 : p.head,
                            p.row / block_q, p.key / block_k) != 0;
          },
          {},
          {}};
}

Rule see_prefix(std::vector<std::int64_t> lengths, std::optional<std::int64_t> offset) {
  return {prefix(lengths, offset),
          [=](const Pair& p) {
            return p.j < lengths[p.batch] || p.j <= p.i + offset.value_or(p.offset);
          },
          {},
          {}};
}

Rule see_tree(std::vector<std::vector<std::int64_t>> parents) {
  return {parents.size() == 1 ? tree(parents[0]) : tree_by_batch(parents),
          [=](const Pair& p) {
            const std::vector<std::int64_t>& own = parents[parents.size() == 1 ? 0 : p.batch];
            const std::int64_t past = p.keys - static_cast<std::int64_t>(own.size()),
                               token = p.i + p.offset;
            if (token < past || p.j < past) return p.j <= token;
            for (std::int64_t node = token - past; node >= 0; node = own[node])
              if (p.j == past + node) return true;
            return false;
          },
          {},
          {}};
}

Rule see_around(Tensor centres, std::int64_t width) {
  auto kept = std::make_shared<const Tensor>(std::move(centres));
  return {
      around(kept->view(), width),
      [=](const Pair& p) {
        return std::abs(static_cast<double>(p.j) - kept->broadcast_at(p.batch, p.head, p.row, 0)) <=
               static_cast<double>(width);
      },
      {},
      {}};
}

Rule see_bigbird(std::int64_t block, std::int64_t window, std::int64_t global, bool everything,
                 std::int64_t len_q, std::int64_t len_k) {
  const std::int64_t rows = (len_q + block - 1) / block, columns = (len_k + block - 1) / block;
  return {bigbird({block, window, global, everything ? columns : 0, 7}),
          [=](const Pair& p) {
            const std::int64_t row = p.row / block, column = p.key / block;
            const auto is_global = [global](std::int64_t n, std::int64_t count) {
              return n < (global + 1) / 2 || n >= count - global / 2;
            };
            const std::int64_t distance = column - (row + columns - rows);
            const bool near = distance >= -(window / 2) && distance < window - window / 2;
            return everything || near || is_global(row, rows) || is_global(column, columns);
          },
          {},
          {}};
}

Pair pair_of(const Rule& rule, const PlanShape& shape, std::int64_t batch, std::int64_t head,
             std::int64_t row, std::int64_t key) {
  Pair pair{batch, head, row, key, row, key, shape.len_k - shape.len_q, shape.len_k};
  const std::int64_t n = rule.cu_q.empty() ? -1 : document_of(rule.cu_q, row);
  if (n >= 0) {
    pair.i -= rule.cu_q[n];
    pair.j -= rule.cu_k[n];
    pair.keys = rule.cu_k[n + 1] - rule.cu_k[n];
    pair.offset = pair.keys - (rule.cu_q[n + 1] - rule.cu_q[n]);
  }
  return pair;
}

bool allowed(const Rule& rule, const PlanShape& shape, std::int64_t batch, std::int64_t head,
             std::int64_t row, std::int64_t key) {
  return rule.allows(pair_of(rule, shape, batch, head, row, key));
}

std::vector<std::uint8_t> dense(const Rule& rule, std::int64_t batch, std::int64_t heads,
                                std::int64_t len_q, std::int64_t len_k) {
  std::vector<std::uint8_t> matrix;
  matrix.reserve(static_cast<std::size_t>(batch * heads * len_q * len_k));
  const PlanShape shape{batch, heads, len_q, len_k};
  for_each_index({batch, heads, len_q, len_k}, [&](auto b, auto h, auto row, auto key) {
    matrix.push_back(allowed(rule, shape, b, h, row, key));
  });
  return matrix;
}

}  // namespace regard::testing
