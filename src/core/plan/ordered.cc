// SPDX-License-Identifier: Apache-2.0
#include "core/plan/ordered.h"

#include "core/plan/bounded.h"
#include "core/plan/combine.h"
#include "core/plan/dilated.h"
#include "core/plan/global_tokens.h"

namespace regard::plan {
namespace {

// Steps beyond this leave rows as they are: a class of rows would be short, and each interval of
// another mask would be cut in so many.
constexpr std::int64_t kMostSteps = 256;

// A mask, counted by places. Rows of one class are an even progression: the mask is evaluated for
// them, and its keys are looked up in each class.
class Ordered : public MaskNode {
 public:
  explicit Ordered(NodePointer mask) : mask_(std::move(mask)) {}

  void intervals(const MaskContext& context, std::int64_t p0, std::int64_t p1,
                 std::vector<Interval>& out) const override {
    if (context.order == nullptr) return mask_->intervals(context, p0, p1, out);
    const AxisOrder& queries = context.order->queries;
    BorrowedIntervals joined, piece, sum;
    for (std::int64_t p = p0, end; p < p1; p = end) {
      const bool in_front = p < queries.front();
      end = in_front ? p + 1 : std::min(p1, queries.class_begin(queries.class_at(p) + 1));
      (*piece).clear();
      see({context.sequence, context.head, queries.classes(), context.order}, queries.row(p),
          queries.row(end - 1) + 1, *piece);
      if (p == p0) {
        std::swap(*joined, *piece);
        continue;
      }
      (*sum).clear();
      combine(
          *joined, *piece, context.sequence->len_k,
          [](Seen x, Seen y) { return x == y ? x : Seen::kPartial; }, *sum);
      std::swap(*joined, *sum);
    }
    out.insert(out.end(), (*joined).begin(), (*joined).end());
  }

  std::uint64_t bits(const MaskContext& context, std::int64_t p, std::int64_t q0) const override {
    if (context.order == nullptr) return mask_->bits(context, p, q0);
    const AxisOrder& keys = context.order->keys;
    const std::int64_t i = context.order->queries.row(p);
    std::int64_t begin, end;
    if (mask_->key_range(context, i, &begin, &end)) {
      const std::uint64_t word =
          class_bits(keys, begin, end, q0, [](std::int64_t) { return true; });
      return q0 >= keys.front()
                 ? word
                 : word | range_bits(keys.front_place(begin), keys.front_place(end), q0);
    }
    // Key by key; the mask's words serve neighbours.
    const std::int64_t last = std::min(q0 + 64, context.sequence->len_k);
    std::uint64_t word = 0, read = 0;
    std::int64_t from = -64;
    for (std::int64_t q = q0; q < last; ++q) {
      const std::int64_t key = keys.row(q);
      if (key < from || key >= from + 64) {
        from = key;
        read = mask_->bits(context, i, key);
      }
      word |= (read >> (key - from) & 1) << (q - q0);
    }
    return word;
  }

  // Where the word's keys are one class without gaps, its places are counted instead of looked up.
  void words(const MaskContext& context, std::int64_t p, int rows, std::int64_t q0,
             std::uint64_t* words) const override {
    if (context.order == nullptr) return mask_->words(context, p, rows, q0, words);
    const AxisOrder& keys = context.order->keys;
    const std::int64_t last = std::min(q0 + 64, context.sequence->len_k) - 1, step = keys.classes();
    const std::int64_t first_key = keys.row(q0), end_key = keys.row(last) + 1;
    if (q0 < keys.front() || end_key - first_key != (last - q0) * step + 1)
      return MaskNode::words(context, p, rows, q0, words);
    for (int r = 0; r < rows; ++r) {
      std::int64_t begin, end;
      if (!mask_->key_range(context, context.order->queries.row(p + r), &begin, &end))
        return MaskNode::words(context, p, rows, q0, words);
      const auto places_before = [&](std::int64_t key) {
        return steps_up(std::clamp(key, first_key, end_key) - first_key, step);
      };
      words[r] = range_bits(q0 + places_before(begin), q0 + places_before(end), q0);
    }
  }

  bool varies_by_head() const override { return mask_->varies_by_head(); }
  bool varies_by_batch() const override { return mask_->varies_by_batch(); }
  bool varies_by_position() const override { return mask_->varies_by_position(); }

 protected:
  // Adds what rows i0, i0 + context.step, ... before i1 see, as intervals of places.
  virtual void see(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                   std::vector<Interval>& out) const {
    BorrowedIntervals found;
    mask_->intervals(context, i0, i1, *found);
    const AxisOrder& keys = context.order->keys;
    for (const Interval& interval : *found)
      append(out, keys.front_place(interval.begin), keys.front_place(interval.end), interval.full);
    for (std::int64_t c = 0; c < keys.classes(); ++c) {
      for (const Interval& interval : *found)
        append(out, keys.place(c, interval.begin), keys.place(c, interval.end), interval.full);
    }
  }

  // distance / step, rounded up.
  static std::int64_t steps_up(std::int64_t distance, std::int64_t step) {
    return distance > 0 ? (distance + step - 1) / step : -(-distance / step);
  }
  // The bits of keys [begin, end) of the classes that `wanted` names, in the word that starts at
  // place q0.
  template <typename Wanted>
  static std::uint64_t class_bits(const AxisOrder& keys, std::int64_t begin, std::int64_t end,
                                  std::int64_t q0, Wanted wanted) {
    std::uint64_t word = 0;
    for (std::int64_t c = keys.class_at(q0); c < keys.classes() && keys.class_begin(c) < q0 + 64;
         ++c) {
      if (wanted(c)) word |= range_bits(keys.place(c, begin), keys.place(c, end), q0);
    }
    return word;
  }

  // The bits of the front's keys that `wanted` names, likewise.
  template <typename Wanted>
  static std::uint64_t front_bits(const AxisOrder& keys, std::int64_t q0, Wanted wanted) {
    std::uint64_t word = 0;
    for (std::int64_t q = q0; q < std::min(q0 + 64, keys.front()); ++q)
      word |= std::uint64_t{wanted(keys.row(q))} << (q - q0);
    return word;
  }

  NodePointer mask_;
};

// Rows of one class see keys of one class of theirs, without gaps.
class OrderedDilated final : public Ordered {
 public:
  using Ordered::Ordered;

  std::uint64_t bits(const MaskContext& context, std::int64_t p, std::int64_t q0) const override {
    if (context.order == nullptr || !fits(context)) return Ordered::bits(context, p, q0);
    const AxisOrder& keys = context.order->keys;
    const std::int64_t i = context.order->queries.row(p);
    const Dilated::Comb comb = dilated().comb(context);
    const std::int64_t begin = i + comb.low, end = i + comb.high,
                       residue = modulo(comb.residue + i, comb.step);
    const auto meets = [&](std::int64_t key) { return key % comb.step == residue; };
    return front_bits(keys, q0,
                      [&](std::int64_t key) { return key >= begin && key < end && meets(key); }) |
           class_bits(keys, begin, end, q0, meets);
  }

  // A row of the same class sees the same range, a place later; rows in front leave gaps in this.
  void words(const MaskContext& context, std::int64_t p, int rows, std::int64_t q0,
             std::uint64_t* words) const override {
    if (context.order == nullptr || context.order->queries.front() != 0 ||
        context.order->keys.front() != 0)
      return MaskNode::words(context, p, rows, q0, words);
    const AxisOrder &queries = context.order->queries, &keys = context.order->keys;
    const Dilated::Comb comb = dilated().comb(context);
    if (comb.step != keys.classes()) return MaskNode::words(context, p, rows, q0, words);
    for (int r = 0, end; r < rows; r = end) {
      end = static_cast<int>(
          std::min<std::int64_t>(rows, queries.class_begin(queries.class_at(p + r) + 1) - p));
      const std::int64_t i = queries.row(p + r), c = modulo(comb.residue + i, comb.step);
      const std::int64_t first = keys.class_begin(c), last = keys.class_begin(c + 1);
      const std::int64_t low = first + steps_up(i + comb.low - c, comb.step),
                         high = first + steps_up(i + comb.high - c, comb.step);
      for (int k = 0; k < end - r; ++k)
        words[r + k] = range_bits(std::max(low + k, first), std::min(high + k, last), q0);
    }
  }

 protected:
  void see(const MaskContext& context, std::int64_t i0, std::int64_t i1,
           std::vector<Interval>& out) const override {
    if (!fits(context)) return Ordered::see(context, i0, i1, out);
    const Dilated::Comb comb = dilated().comb(context);
    const std::int64_t last = i1 - 1, begin = i0 + comb.low, end = last + comb.high,
                       residue = modulo(comb.residue + i0, comb.step);
    const std::int64_t all_end = i0 + comb.high, all_begin = std::min(last + comb.low, all_end);
    const AxisOrder& keys = context.order->keys;
    for (std::int64_t q = keys.front_place(begin); q < keys.front_place(end); ++q) {
      const std::int64_t key = keys.row(q);
      if (key % comb.step == residue) append(out, q, q + 1, key >= all_begin && key < all_end);
    }
    for (std::int64_t c = residue; c < keys.classes(); c += comb.step) {
      append(out, keys.place(c, begin), keys.place(c, all_begin), false);
      append(out, keys.place(c, all_begin), keys.place(c, all_end), true);
      append(out, keys.place(c, all_end), keys.place(c, end), false);
    }
  }

 private:
  const Dilated& dilated() const { return static_cast<const Dilated&>(*mask_); }
  bool fits(const MaskContext& context) const {
    return context.order->keys.classes() % dilated().dilation(context.head) == 0;
  }
};

// All global tokens stand in front.
class OrderedGlobalTokens final : public Ordered {
 public:
  using Ordered::Ordered;

  std::uint64_t bits(const MaskContext& context, std::int64_t p, std::int64_t q0) const override {
    if (context.order == nullptr) return mask_->bits(context, p, q0);
    const auto& global = static_cast<const GlobalTokens&>(*mask_);
    if (p < context.order->queries.front() &&
        global.is_global(context, context.order->queries.row(p)))
      return ~std::uint64_t{0};
    const std::vector<std::int64_t>& tokens = global.tokens(context);
    return front_bits(context.order->keys, q0, [&](std::int64_t key) {
      return std::binary_search(tokens.begin(), tokens.end(), key);
    });
  }

  // Rows behind the front see one and the same.
  void words(const MaskContext& context, std::int64_t p, int rows, std::int64_t q0,
             std::uint64_t* words) const override {
    if (context.order == nullptr || p < context.order->queries.front())
      return MaskNode::words(context, p, rows, q0, words);
    std::fill_n(words, rows, bits(context, p, q0));
  }

 protected:
  // Rows of a class are not global, though those they stand between may be.
  void see(const MaskContext& context, std::int64_t i0, std::int64_t i1,
           std::vector<Interval>& out) const override {
    const auto& global = static_cast<const GlobalTokens&>(*mask_);
    if (i1 - i0 == 1 && global.is_global(context, i0))
      return append(out, 0, context.sequence->len_k, true);
    const std::vector<std::int64_t>& tokens = global.tokens(context);
    const AxisOrder& keys = context.order->keys;
    for (std::int64_t q = 0; q < keys.front(); ++q) {
      if (std::binary_search(tokens.begin(), tokens.end(), keys.row(q)))
        append(out, q, q + 1, true);
    }
  }
};

}  // namespace

OrderWish::OrderWish(const NodePointer& mask) {
  replace_masks(mask, [this](const NodePointer& leaf) {
    if (dynamic_cast<const Dilated*>(leaf.get()) != nullptr) dilated_.push_back(leaf);
    if (dynamic_cast<const GlobalTokens*>(leaf.get()) != nullptr) global_.push_back(leaf);
    return leaf;
  });
}

std::int64_t OrderWish::step(std::int32_t head) const {
  std::int64_t step = 1;
  for (const NodePointer& leaf : dilated_) {
    const std::int64_t dilation = static_cast<const Dilated&>(*leaf).dilation(head);
    if (dilation <= kMostSteps) step = std::max(step, dilation);
  }
  return step;
}

bool OrderWish::order(const MaskContext& context, RowOrder* order) const {
  const Sequence& sequence = *context.sequence;
  thread_local std::vector<std::int64_t> query_front, key_front;
  query_front.clear();
  key_front.clear();
  for (const NodePointer& leaf : global_) {
    const auto& global = static_cast<const GlobalTokens&>(*leaf);
    for (const std::int64_t token : global.tokens(context)) {
      const std::int64_t row = bounded_sum(token, -global.offset(context));
      if (token >= 0 && token < sequence.len_k) key_front.push_back(token);
      if (row >= 0 && row < sequence.len_q) query_front.push_back(row);
    }
  }
  for (std::vector<std::int64_t>* front : {&query_front, &key_front}) {
    std::sort(front->begin(), front->end());
    front->erase(std::unique(front->begin(), front->end()), front->end());
  }
  const std::int64_t every = step(context.head);
  order->queries.make(sequence.len_q, sequence.len_q, every, query_front);
  order->keys.make(sequence.len_k, sequence.k_rows, every, key_front);
  return !order->queries.changes_nothing() || !order->keys.changes_nothing();
}

NodePointer ordered(const NodePointer& mask) {
  return replace_masks(mask, [](const NodePointer& leaf) -> NodePointer {
    if (dynamic_cast<const Dilated*>(leaf.get()) != nullptr)
      return std::make_shared<OrderedDilated>(leaf);
    if (dynamic_cast<const GlobalTokens*>(leaf.get()) != nullptr)
      return std::make_shared<OrderedGlobalTokens>(leaf);
    return std::make_shared<Ordered>(leaf);
  });
}

}  // namespace regard::plan
