// SPDX-License-Identifier: Apache-2.0
// Rules from text: what each letter draws from its seed.
#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include "tests/core/support/rule.h"

namespace regard::testing {
namespace {

// A few documents of random lengths, some empty, that may leave rows over at the end.
std::vector<std::int64_t> random_cuts(Random& random, int documents, std::int64_t rows) {
  std::vector<std::int64_t> cu(documents + 1, 0);
  for (int n = 1; n <= documents; ++n) cu[n] = static_cast<std::int64_t>(random() % (rows + 1));
  if (random() % 2) cu.back() = rows;
  std::sort(cu.begin(), cu.end());
  return cu;
}

// The numbers that follow the letter, up to an @; and the one behind it.
struct Numbers {
  std::vector<std::int64_t> list;
  std::optional<std::int64_t> offset;

  explicit Numbers(const std::string& token) {
    const auto at = token.find('@');
    if (at != std::string::npos) offset = std::atoll(token.c_str() + at + 1);
    std::istringstream rest(token.substr(1, at == std::string::npos ? at : at - 1));
    for (std::string number; std::getline(rest, number, ':');)
      list.push_back(std::atoll(number.c_str()));
    list.resize(3);
  }
};

class Leaves {
 public:
  Leaves(const PlanShape& shape, const Numbers& numbers, std::size_t seed_at)
      : shape_(shape),
        numbers_(numbers),
        random_(static_cast<std::uint64_t>(numbers.list[seed_at])),
        axes_(numbers.list[1]) {}

  Rule lengths() { return see_lengths(up_to(shape_.len_k, shape_.batch)); }

  Rule tensor() {
    Tensor allowed(DType::kBool,
                   broadcast({shape_.batch, shape_.heads, shape_.len_q, shape_.len_k}), any_lie());
    fill(allowed);
    return see_tensor(std::move(allowed));
  }

  Rule other_documents() {
    const int documents = static_cast<int>(1 + random_() % 5);
    auto cu_q = random_cuts(random_, documents, shape_.len_q);
    return ~see_same_document(cu_q, random_cuts(random_, documents, shape_.len_k));
  }

  Rule dilated() {
    std::vector<std::int64_t> dilations(random_() % 2 ? shape_.heads : 1);
    for (auto& dilation : dilations)
      dilation = 1 + static_cast<std::int64_t>(random_() % (random_() % 4 ? 6 : 70));
    return see_dilated(numbers_.list[0], numbers_.list[1], std::move(dilations), numbers_.offset);
  }

  Rule global_tokens() {
    const std::int64_t end = std::max(
        shape_.len_k, shape_.len_q + numbers_.offset.value_or(shape_.len_k - shape_.len_q));
    std::vector<std::vector<std::int64_t>> tokens(random_() % 2 ? shape_.batch : 1);
    for (auto& list : tokens) {
      if (end > 0) list = up_to(end - 1, static_cast<std::int64_t>(random_() % 8));
    }
    return see_global_tokens(std::move(tokens), numbers_.offset);
  }

  Rule blocks() {
    const auto size = [this] { return 1 + static_cast<std::int64_t>(random_() % 40); };
    const std::int64_t block_q = size(), block_k = size();
    // Only batch and heads broadcast.
    axes_ &= 3;
    Tensor layout(DType::kBool,
                  broadcast({shape_.batch, shape_.heads, (shape_.len_q + block_q - 1) / block_q,
                             (shape_.len_k + block_k - 1) / block_k}),
                  any_lie());
    fill(layout);
    return see_blocks(std::move(layout), block_q, block_k);
  }

  Rule prefix() { return see_prefix(up_to(shape_.len_k, shape_.batch), numbers_.offset); }

  Rule tree() {
    std::vector<std::vector<std::int64_t>> parents(random_() % 2 ? shape_.batch : 1);
    for (auto& list : parents) {
      const std::int64_t nodes = static_cast<std::int64_t>(random_() % (shape_.len_k + 1));
      // Bushy, or mostly a chain.
      const bool chain = random_() % 2;
      for (std::int64_t n = 0; n < nodes; ++n) {
        list.push_back(chain && random_() % 8 ? n - 1
                                              : static_cast<std::int64_t>(random_() % (n + 1)) - 1);
      }
    }
    return see_tree(std::move(parents));
  }

  Rule around() {
    axes_ &= 7;
    Tensor centres(random_() % 2 ? kF32 : kF64,
                   broadcast({shape_.batch, shape_.heads, shape_.len_q, 1}), any_lie());
    const bool drifting = random_() % 2;
    for_each_index(centres.shape(), [&](auto b, auto h, auto i, auto) {
      const double anywhere =
          static_cast<double>(random_() % 1000) / 1000 * static_cast<double>(shape_.len_k + 20) -
          10;
      centres.set(b, h, i, 0, drifting ? static_cast<double>(i) * 0.75 + anywhere / 50 : anywhere);
    });
    return see_around(std::move(centres), static_cast<std::int64_t>(random_() % 30));
  }

  Rule bigbird() {
    const auto count = [this](std::uint64_t most) {
      return static_cast<std::int64_t>(random_() % most);
    };
    const std::int64_t block = 1 + count(30), window = count(5), global = count(5);
    return see_bigbird(block, window, global, random_() % 5 == 0, shape_.len_q, shape_.len_k);
  }

 private:
  Shape broadcast(Shape full) const {
    for (std::size_t axis = 0; axis < 4; ++axis)
      if (axes_ >> axis & 1) full[axis] = 1;
    return full;
  }
  Lie any_lie() { return static_cast<Lie>(random_() % kInputLies); }
  void fill(Tensor& allowed) {
    const std::uint64_t density = 1 + random_() % 9;
    for_each_index(allowed.shape(), [&](auto b, auto h, auto i, auto j) {
      allowed.set(b, h, i, j, random_() % 10 < density);
    });
  }
  std::vector<std::int64_t> up_to(std::int64_t most, std::int64_t count) {
    std::vector<std::int64_t> list(static_cast<std::size_t>(count));
    for (auto& value : list) value = static_cast<std::int64_t>(random_() % (most + 1));
    return list;
  }

  PlanShape shape_;
  const Numbers& numbers_;
  Random random_;
  std::int64_t axes_;
};

Rule parse_leaf(const std::string& token, const PlanShape& shape) {
  const Numbers numbers(token);
  const std::vector<std::int64_t>& n = numbers.list;
  const auto leaf = [&](std::size_t seed_at = 0) { return Leaves(shape, numbers, seed_at); };
  switch (token[0]) {
    case 'c': return see_causal(numbers.offset);
    case 'w': return see_window(n[0], n[1], numbers.offset);
    case 'k': return leaf().lengths();
    case 't': return leaf().tensor();
    case 'd': return leaf().other_documents();
    case 'i': return leaf(2).dilated();
    case 'g': return leaf().global_tokens();
    case 'b': return leaf().blocks();
    case 'x': return leaf().prefix();
    case 'e': return leaf().tree();
    case 'a': return leaf().around();
    case 'r': return leaf().bigbird();
    default: throw std::invalid_argument("no such mask: " + token);
  }
}

}  // namespace

Rule parse_rule(const std::string& text, std::int64_t batch, std::int64_t heads, std::int64_t len_q,
                std::int64_t len_k) {
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
      stack.push_back(parse_leaf(token, {batch, heads, len_q, len_k}));
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
