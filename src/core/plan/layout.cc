// SPDX-License-Identifier: Apache-2.0
#include "core/plan/layout.h"

#include <new>
#include <stdexcept>
#include <string>

#include "core/check_view.h"
#include "core/plan/compose.h"
#include "core/plan/documents.h"
#include "core/plan/interval_list.h"
#include "core/plan/key_lengths.h"
#include "core/plan/ordered.h"
#include "core/plan/part.h"

namespace regard::plan {
namespace {

// What stands side by side under & at the top of a mask.
struct Conjuncts {
  const Documents* documents = nullptr;    // the first one: it makes the sequences
  std::vector<const KeyLengths*> lengths;  // all of them: they clip the sequences
  std::vector<const NodePointer*> others;  // what remains to be evaluated

  void collect(const NodePointer& node) {
    if (const auto* both = dynamic_cast<const And*>(node.get())) {
      collect(both->a());
      collect(both->b());
    } else if (const auto* cut = dynamic_cast<const Documents*>(node.get());
               cut != nullptr && documents == nullptr) {
      documents = cut;
    } else if (const auto* clip = dynamic_cast<const KeyLengths*>(node.get())) {
      lengths.push_back(clip);
    } else {
      others.push_back(&node);
    }
  }

  // The & of what remains: the whole expression itself where nothing became a sequence.
  NodePointer rest(const NodePointer& whole) const {
    if (documents == nullptr && lengths.empty()) return whole;
    NodePointer node;
    for (const NodePointer* other : others)
      node = node == nullptr ? *other : std::make_shared<And>(node, *other);
    return node;
  }
};

Status check_shape(const PlanShape& shape) {
  for (const std::int64_t size : {shape.batch, shape.heads, shape.len_q, shape.len_k}) {
    if (size < 0 || size > kMaxSize) {
      return Status::invalid("plan: (batch, heads, len_q, len_k) is " +
                             text({shape.batch, shape.heads, shape.len_q, shape.len_k}) +
                             "; expected sizes from 0 to " + std::to_string(kMaxSize));
    }
  }
  return {};
}

// Whether a mask answers alike for both, so that one list of intervals serves them.
bool alike(const MaskNode& mask, const Sequence& x, const Sequence& y) {
  if (x.whole != nullptr) {
    return x.len_q == y.len_q && x.len_k == y.len_k && x.i_begin == y.i_begin &&
           x.j_begin == y.j_begin && alike(mask, *x.whole, *y.whole);
  }
  return x.len_q == y.len_q && x.len_k == y.len_k && x.offset == y.offset &&
         (x.batch == y.batch || !mask.varies_by_batch()) &&
         ((x.q_begin == y.q_begin && x.k_begin == y.k_begin) || !mask.varies_by_position());
}

void make_sequences(const Conjuncts& conjuncts, const PlanShape& shape,
                    std::span<const OwnLengths> own, std::vector<Sequence>& sequences) {
  sequences.clear();
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    const auto batch = static_cast<std::int32_t>(b);
    if (!own.empty()) {
      const auto& [q_begin, len_q, len_k] = own[static_cast<std::size_t>(b)];
      sequences.push_back({batch, q_begin, 0, len_q, len_k, len_k, len_k - len_q});
    } else if (conjuncts.documents != nullptr) {
      conjuncts.documents->split(batch, shape, sequences);
    } else {
      sequences.push_back(
          {batch, 0, 0, shape.len_q, shape.len_k, shape.len_k, shape.len_k - shape.len_q});
    }
  }
  for (const KeyLengths* lengths : conjuncts.lengths) {
    for (Sequence& sequence : sequences) sequence.len_k = lengths->visible(sequence);
  }
}

void make_intervals(Layout& layout) {
  thread_local std::vector<Interval> found;
  const MaskNode& mask = *layout.mask;
  const auto heads = static_cast<std::size_t>(layout.mask_heads);
  layout.offsets.push_back(0);
  layout.first_unit.resize(layout.sequences.size() * heads);
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    const Sequence& sequence = layout.sequences[s];
    std::int64_t* first_unit = &layout.first_unit[s * heads];
    if (s > 0 && alike(mask, sequence, layout.sequences[s - 1])) {
      std::copy(first_unit - heads, first_unit, first_unit);
      continue;
    }
    for (std::size_t h = 0; h < heads; ++h) {
      const auto head = static_cast<std::int32_t>(h);
      const MaskContext context{&sequence, head, 1, layout.order(s, head)};
      first_unit[h] = static_cast<std::int64_t>(layout.offsets.size()) - 1;
      for (std::int64_t i = 0; i < sequence.len_q; i += kRowUnit) {
        found.clear();
        if (sequence.len_k > 0)
          mask.intervals(context, i, std::min(i + kRowUnit, sequence.len_q), found);
        layout.intervals.insert(layout.intervals.end(), found.begin(), found.end());
        layout.offsets.push_back(static_cast<std::int64_t>(layout.intervals.size()));
      }
    }
  }
}

}  // namespace

Status Layout::build(const Mask& wanted, const PlanShape& for_shape,
                     const std::optional<Part>& part, std::span<const OwnLengths> own) {
  const PlanShape of_mask =
      part ? PlanShape{for_shape.batch, for_shape.heads, part->len_q, part->len_k} : for_shape;
  Status status = check_shape(for_shape);
  if (status.ok() && part) status = check_part(*part, for_shape.len_q, for_shape.len_k);
  if (status.ok() && !wanted.hides_nothing()) status = wanted.node()->check(of_mask);
  if (!status.ok()) return status;
  try {
    thread_local Conjuncts conjuncts;
    conjuncts.documents = nullptr;
    conjuncts.lengths.clear();
    conjuncts.others.clear();
    const bool hides = !wanted.hides_nothing() && (part || !wanted.node()->hides_nothing(of_mask));
    if (hides) conjuncts.collect(wanted.node());
    if (!own.empty() && conjuncts.documents != nullptr) {
      return Status::invalid(
          "documents: a cache says itself which keys are whose; expected a mask without them");
    }

    shape = for_shape;
    mask = hides ? conjuncts.rest(wanted.node()) : nullptr;
    if (mask != nullptr) {
      if (NodePointer bound = mask->bind(of_mask)) mask = std::move(bound);
      if (part) mask = mask_of_part(std::move(mask));
    }
    mask_heads =
        mask != nullptr && mask->varies_by_head() ? static_cast<std::int32_t>(shape.heads) : 1;

    make_sequences(conjuncts, of_mask, own, part ? whole_sequences : sequences);
    if (part) {
      sequences.clear();
      cut(*part, shape, whole_sequences, sequences);
    }
    first_unit.clear();
    offsets.clear();
    intervals.clear();
    whole.clear();
    if (mask != nullptr) {
      make_intervals(*this);
    } else {
      for (const Sequence& sequence : sequences)
        whole.push_back({0, static_cast<std::int32_t>(sequence.len_k), true});
    }
    has_ordered_ = false;
    if (!part && own.empty()) build_ordered();  // an order of rows is that of a whole mask
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "plan: no memory for the intervals of this mask"};
  } catch (const std::length_error&) {
    return {StatusCode::kOutOfMemory, "plan: no memory for the intervals of this mask"};
  }
  return {};
}

void Layout::build_ordered() {
  has_ordered_ = false;
  if (mask == nullptr) return;
  const OrderWish wish(mask);
  if (wish.none()) return;
  if (ordered_ == nullptr) ordered_ = std::make_unique<Layout>();
  Layout& other = *ordered_;
  other.shape = shape;
  other.sequences = sequences;
  other.mask_heads = mask_heads;
  other.orders.clear();
  other.order_of.clear();
  const auto heads = static_cast<std::size_t>(mask_heads);
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    for (std::size_t h = 0; h < heads; ++h) {
      const auto head = static_cast<std::int32_t>(h);
      // Heads of one dilation share an order, as do sequences that are alike.
      std::size_t same = 0;
      while (same < h && wish.step(static_cast<std::int32_t>(same)) != wish.step(head)) ++same;
      if (same < h) {
        other.order_of.push_back(other.order_of[s * heads + same]);
      } else if (s > 0 && alike(*mask, sequences[s], sequences[s - 1])) {
        other.order_of.push_back(other.order_of[(s - 1) * heads + h]);
      } else {
        RowOrder own;
        const bool changes = wish.order({&sequences[s], head}, &own);
        other.order_of.push_back(changes ? static_cast<std::int32_t>(other.orders.size()) : -1);
        if (changes) other.orders.push_back(std::move(own));
      }
    }
  }
  if (other.orders.empty()) return;
  other.mask = plan::ordered(mask);
  other.first_unit.clear();
  other.offsets.clear();
  other.intervals.clear();
  make_intervals(other);
  has_ordered_ = true;
}

bool Layout::one_order_for_each(std::int64_t group) const {
  if (order_of.empty() || mask_heads == 1) return true;
  for (std::size_t place = 0; place < order_of.size(); ++place) {
    const std::size_t head = place % static_cast<std::size_t>(mask_heads);
    if (order_of[place] != order_of[place - head % static_cast<std::size_t>(group)]) return false;
  }
  return true;
}

void Layout::bits(std::size_t s, std::int32_t head, std::int64_t i0, int rows, std::int64_t j0,
                  std::uint64_t* words) const {
  const Sequence& sequence = sequences[s];
  const MaskContext context{&sequence, mask_head(head), 1, order(s, head)};
  const std::uint64_t inside = range_bits(0, sequence.len_k, j0);
  const int real =
      inside == 0 ? 0 : static_cast<int>(std::clamp<std::int64_t>(sequence.len_q - i0, 0, rows));
  for (int r = 0; mask != nullptr && r < real; r += MaskNode::kMostRows) {
    mask->words(context, i0 + r, std::min(MaskNode::kMostRows, real - r), j0, words + r);
  }
  for (int r = 0; r < rows; ++r)
    words[r] = r >= real ? 0 : mask == nullptr ? inside : words[r] & inside;
}

}  // namespace regard::plan
