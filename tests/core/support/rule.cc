#include "tests/core/support/rule.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <stdexcept>

namespace regard::testing {
namespace {

// Which document a row belongs to; -1 for rows past the last.
std::int64_t document_of(const std::vector<std::int64_t>& cu, std::int64_t row) {
  for (std::size_t n = 0; n + 1 < cu.size(); ++n)
    if (cu[n] <= row && row < cu[n + 1]) return static_cast<std::int64_t>(n);
  return -1;
}

// A few documents of random lengths, some empty, that may leave rows over at the end.
std::vector<std::int64_t> random_cuts(Random& random, int documents, std::int64_t rows) {
  std::vector<std::int64_t> cu(documents + 1, 0);
  for (int n = 1; n <= documents; ++n) cu[n] = static_cast<std::int64_t>(random() % (rows + 1));
  if (random() % 2) cu.back() = rows;
  std::sort(cu.begin(), cu.end());
  return cu;
}

Rule parse_leaf(const std::string& token, std::int64_t batch, std::int64_t heads, std::int64_t len_q, std::int64_t len_k) {
  const auto number_after = [&](char mark) {
    const auto at = token.find(mark);
    return at == std::string::npos ? std::int64_t{0} : static_cast<std::int64_t>(std::atoll(token.c_str() + at + 1));
  };
  const std::int64_t first = std::atoll(token.c_str() + 1);
  std::optional<std::int64_t> offset;
  if (token.find('@') != std::string::npos) offset = number_after('@');
  Random random(static_cast<std::uint64_t>(first));
  switch (token[0]) {
    case 'c': return see_causal(offset);
    case 'w': return see_window(first, number_after(':'), offset);
    case 'k': {
      std::vector<std::int64_t> lengths(batch);
      for (auto& length : lengths) length = static_cast<std::int64_t>(random() % (len_k + 1));
      return see_lengths(lengths);
    }
    case 't': {
      const std::int64_t axes = number_after(':');
      const Shape shape{axes & 1 ? 1 : batch, axes & 2 ? 1 : heads, axes & 4 ? 1 : len_q, axes & 8 ? 1 : len_k};
      Tensor allowed(DType::kBool, shape, static_cast<Lie>(random() % kInputLies));
      const std::uint64_t density = 1 + random() % 9;
      for_each_index(shape, [&](auto b, auto h, auto i, auto j) { allowed.set(b, h, i, j, random() % 10 < density); });
      return see_tensor(std::move(allowed));
    }
    case 'd': {
      const int documents = static_cast<int>(1 + random() % 5);
      auto cu_q = random_cuts(random, documents, len_q);
      return ~see_same_document(cu_q, random_cuts(random, documents, len_k));
    }
    default: throw std::invalid_argument("no such mask: " + token);
  }
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
  return {causal(offset), [offset](const Pair& p) { return p.j <= p.i + offset.value_or(p.offset); }, {}, {}};
}

Rule see_window(std::int64_t left, std::int64_t right, std::optional<std::int64_t> offset) {
  return {window(left, right, offset),
          [=](const Pair& p) {
            const std::int64_t centre = p.i + offset.value_or(p.offset);
            return (left < 0 || p.j >= centre - left) && (right < 0 || p.j <= centre + right);
          },
          {}, {}};
}

Rule see_lengths(std::vector<std::int64_t> lengths) {
  return {key_lengths(lengths), [lengths](const Pair& p) { return p.key < lengths[p.batch]; }, {}, {}};
}

Rule see_tensor(Tensor allowed) {
  auto kept = std::make_shared<const Tensor>(std::move(allowed));
  return {tensor(kept->view()), [kept](const Pair& p) { return kept->broadcast_at(p.batch, p.head, p.row, p.key) != 0; }, {}, {}};
}

Rule see_documents(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k, const Rule& inside) {
  Rule rule = see_same_document(cu_q, cu_k) & inside;
  if (inside.mask.hides_nothing()) rule.mask = documents(cu_q, cu_k);
  rule.cu_q = std::move(cu_q);
  rule.cu_k = std::move(cu_k);
  return rule;
}

Rule see_same_document(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k) {
  return {documents(cu_q, cu_k),
          [=](const Pair& p) {
            const std::int64_t document = document_of(cu_q, p.row);
            return document >= 0 && document == document_of(cu_k, p.key);
          },
          {}, {}};
}

std::vector<std::uint8_t> dense(const Rule& rule, std::int64_t batch, std::int64_t heads, std::int64_t len_q, std::int64_t len_k) {
  std::vector<std::uint8_t> allowed;
  allowed.reserve(static_cast<std::size_t>(batch * heads * len_q * len_k));
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t row = 0; row < len_q; ++row) {
        const std::int64_t n = rule.cu_q.empty() ? -1 : document_of(rule.cu_q, row);
        for (std::int64_t key = 0; key < len_k; ++key) {
          Pair pair{b, h, row, key, row, key, len_k - len_q};
          if (n >= 0) {
            pair.i -= rule.cu_q[n];
            pair.j -= rule.cu_k[n];
            pair.offset = (rule.cu_k[n + 1] - rule.cu_k[n]) - (rule.cu_q[n + 1] - rule.cu_q[n]);
          }
          allowed.push_back(rule.allows(pair));
        }
      }
    }
  }
  return allowed;
}

Rule parse_rule(const std::string& text, std::int64_t batch, std::int64_t heads, std::int64_t len_q, std::int64_t len_k) {
  std::vector<Rule> stack;
  std::optional<Random> packed;
  std::istringstream tokens(text);
  for (std::string token; std::getline(tokens, token, '.');) {
    const auto pop = [&] {
      if (stack.empty()) throw std::invalid_argument("a mask is missing in " + text);
      Rule top = std::move(stack.back());
      stack.pop_back();
      return top;
    };
    if (token == "&" || token == "|") {
      const Rule b = pop(), a = pop();
      stack.push_back(token == "&" ? a & b : a | b);
    } else if (token == "~") {
      stack.push_back(~pop());
    } else if (token[0] == 'p') {
      packed.emplace(static_cast<std::uint64_t>(std::atoll(token.c_str() + 1)));
    } else {
      stack.push_back(parse_leaf(token, batch, heads, len_q, len_k));
    }
  }
  Rule rule = stack.empty() ? see_all() : stack.back();
  if (!packed) return rule;
  const int documents = static_cast<int>(1 + (*packed)() % 6);
  auto cu_q = random_cuts(*packed, documents, len_q);
  auto cu_k = random_cuts(*packed, documents, len_k);
  return see_documents(std::move(cu_q), std::move(cu_k), rule);
}

}  // namespace regard::testing
