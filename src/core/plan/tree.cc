// SPDX-License-Identifier: Apache-2.0
#include <queue>
#include <string>
#include <utility>

#include "core/check_view.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {
namespace {

// One tree: nodes in an order in which parents come first.
class Branches {
 public:
  explicit Branches(std::vector<std::int64_t> parents) : parents_(std::move(parents)) {
    if (!sound()) return;
    const auto count = static_cast<std::int64_t>(parents_.size());
    depth_.resize(parents_.size());
    jump_.resize(parents_.size());
    run_begin_.resize(parents_.size());
    for (std::int64_t n = 0; n < count; ++n) {
      const std::int64_t parent = parents_[at(n)];
      // A jump goes as far up as two equal jumps of the parent do together (Myers 1983): any
      // ancestor is O(log depth) steps away.
      const std::int64_t once = parent < 0 ? -1 : jump_[at(parent)];
      const bool equal = once >= 0 && depth_[at(parent)] - depth_[at(once)] ==
                                          depth_[at(once)] - depth_of(jump_[at(once)]);
      depth_[at(n)] = parent < 0 ? 0 : depth_[at(parent)] + 1;
      jump_[at(n)] = equal ? jump_[at(once)] : parent;
      run_begin_[at(n)] = parent >= 0 && parent == n - 1 ? run_begin_[at(parent)] : n;
    }
  }

  std::int64_t size() const { return static_cast<std::int64_t>(parents_.size()); }
  std::int64_t parent(std::int64_t node) const { return parents_[at(node)]; }
  // The first node of the run node, node - 1, ... in which each is the next one's parent.
  std::int64_t run_begin(std::int64_t node) const { return run_begin_[at(node)]; }

  // The node that does not come after its parent, or -1.
  std::int64_t first_fault() const {
    for (std::int64_t n = 0; n < size(); ++n) {
      if (parents_[at(n)] < -1 || parents_[at(n)] >= n) return n;
    }
    return -1;
  }

  // The last ancestor of `node`, itself included, that comes before `end`; -1 where there is none.
  std::int64_t ancestor_before(std::int64_t node, std::int64_t end) const {
    while (node >= end) node = jump_[at(node)] >= end ? jump_[at(node)] : parents_[at(node)];
    return node;
  }

 private:
  static std::size_t at(std::int64_t node) { return static_cast<std::size_t>(node); }
  bool sound() const { return first_fault() < 0; }
  std::int64_t depth_of(std::int64_t node) const { return node < 0 ? -1 : depth_[at(node)]; }

  std::vector<std::int64_t> parents_, depth_, jump_, run_begin_;
};

class Tree final : public MaskNode {
 public:
  Tree(std::vector<std::vector<std::int64_t>> parents, bool by_batch) : by_batch_(by_batch) {
    for (std::vector<std::int64_t>& list : parents) trees_.emplace_back(std::move(list));
  }

  Status check(const PlanShape& shape) const override {
    if (by_batch_ && static_cast<std::int64_t>(trees_.size()) != shape.batch) {
      return Status::invalid("tree: " + std::to_string(trees_.size()) +
                             " lists of parents; expected one for each of " +
                             std::to_string(shape.batch) + " batch entries");
    }
    for (const Branches& tree : trees_) {
      if (tree.size() > shape.len_k) {
        return Status::invalid("tree: " + std::to_string(tree.size()) +
                               " nodes; expected at most " + std::to_string(shape.len_k) +
                               ", the keys there are");
      }
      if (const std::int64_t node = tree.first_fault(); node >= 0) {
        return Status::invalid("tree: the parent of node " + std::to_string(node) + " is " +
                               std::to_string(tree.parent(node)) +
                               "; expected an earlier node, or -1");
      }
    }
    return {};
  }

  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override {
    const Branches& tree = of(context);
    const std::int64_t len_k = context.sequence->len_k, past = past_of(context),
                       first = token_of(context, i0), last = token_of(context, i1 - 1);
    // What rows of the past see ends at the row itself; nodes see all of the past.
    const std::int64_t all = std::min(std::min(first + 1, past), len_k),
                       some = std::min(std::min(last + 1, past), len_k);
    append(out, 0, all, true);
    append(out, std::max<std::int64_t>(all, 0), some, false);
    if (last < past) return;
    // From the last node up to the roots; where all rows have met in one node, a run of parents at
    // a time.
    std::priority_queue<std::int64_t> open;
    for (std::int64_t token = std::max(first, past); token <= last; ++token)
      open.push(token - past);
    const auto rows = i1 - i0;
    thread_local std::vector<Interval> found;
    found.clear();
    std::int64_t met = 0;
    while (!open.empty()) {
      const std::int64_t node = open.top();
      met = 0;
      for (; !open.empty() && open.top() == node; open.pop()) ++met;
      const bool alone = open.empty();
      const std::int64_t begin = alone ? tree.run_begin(node) : node;
      found.push_back({static_cast<std::int32_t>(past + begin),
                       static_cast<std::int32_t>(past + node + 1), met == rows});
      for (std::int64_t n = 0; n < met && tree.parent(begin) >= 0; ++n)
        open.push(tree.parent(begin));
    }
    for (auto interval = found.rbegin(); interval != found.rend(); ++interval) {
      append(out, std::max<std::int64_t>(interval->begin, 0),
             std::min<std::int64_t>(interval->end, len_k), interval->full);
    }
  }

  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override {
    const Branches& tree = of(context);
    const std::int64_t past = past_of(context), token = token_of(context, i);
    std::uint64_t word = range_bits(0, std::min(token + 1, past), j0);
    if (token < past || j0 + 64 <= past) return word;
    const std::int64_t first = j0 - past;
    for (std::int64_t node = tree.ancestor_before(token - past, first + 64);
         node >= 0 && node >= first; node = tree.parent(node)) {
      word |= std::uint64_t{1} << (node - first);
    }
    return word;
  }

  bool varies_by_batch() const override { return trees_.size() > 1; }

 private:
  const Branches& of(const MaskContext& context) const {
    return by_batch_ ? trees_[static_cast<std::size_t>(context.sequence->batch)] : trees_[0];
  }
  // Keys before the first node, and the key that row i itself stands for: the last row is the last
  // key.
  static std::int64_t keys_of(const MaskContext& context) {
    return context.sequence->len_q + context.sequence->offset;
  }
  std::int64_t past_of(const MaskContext& context) const {
    return keys_of(context) - of(context).size();
  }
  static std::int64_t token_of(const MaskContext& context, std::int64_t i) {
    return i + context.sequence->offset;
  }

  std::vector<Branches> trees_;
  bool by_batch_;
};

}  // namespace
}  // namespace plan

Mask tree(std::vector<std::int64_t> parents) {
  std::vector<std::vector<std::int64_t>> for_all_batches;
  for_all_batches.push_back(std::move(parents));
  return Mask(std::make_shared<plan::Tree>(std::move(for_all_batches), false));
}

Mask tree_by_batch(std::vector<std::vector<std::int64_t>> parents) {
  return Mask(std::make_shared<plan::Tree>(std::move(parents), true));
}

}  // namespace regard
