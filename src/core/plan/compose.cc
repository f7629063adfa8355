// SPDX-License-Identifier: Apache-2.0
#include "core/plan/compose.h"

#include <string>

#include "core/plan/combine.h"

namespace regard {
namespace plan {
namespace {

// An expression is walked recursively, and a mask that occurs twice is evaluated twice: beyond this
// size it is refused.
constexpr int kMaxSize = 1024;

// The node made anew over what its operands become when bound, or null when neither changes.
template <typename Node>
NodePointer bind_operands(const Node& node, const PlanShape& shape) {
  NodePointer a = node.a()->bind(shape), b = node.b()->bind(shape);
  if (a == nullptr && b == nullptr) return nullptr;
  return std::make_shared<Node>(a == nullptr ? node.a() : std::move(a),
                                b == nullptr ? node.b() : std::move(b));
}

template <typename Node>
NodePointer over_operands(const Node& node, const NodePointer& self,
                          const MaskNode::Replace& replace) {
  NodePointer a = replace_masks(node.a(), replace), b = replace_masks(node.b(), replace);
  return a == node.a() && b == node.b() ? self : std::make_shared<Node>(std::move(a), std::move(b));
}

class Or final : public Binary {
 public:
  using Binary::Binary;
  NodePointer over(const NodePointer& self, const Replace& replace) const override {
    return over_operands(*this, self, replace);
  }
  NodePointer bind(const PlanShape& shape) const override { return bind_operands(*this, shape); }

  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override {
    BorrowedIntervals in_a, in_b;
    a()->intervals(context, i0, i1, *in_a);
    b()->intervals(context, i0, i1, *in_b);
    combine(
        *in_a, *in_b, context.sequence->len_k, [](Seen x, Seen y) { return std::max(x, y); }, out);
  }

  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override {
    return a()->bits(context, i, j0) | b()->bits(context, i, j0);
  }

  void words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
             std::uint64_t* words) const override {
    std::uint64_t others[kMostRows];
    a()->words(context, i, rows, j0, words);
    b()->words(context, i, rows, j0, others);
    for (int r = 0; r < rows; ++r) words[r] |= others[r];
  }
};

class Not final : public MaskNode {
 public:
  explicit Not(NodePointer a) : a_(std::move(a)), size_(1 + a_->size()) {}

  Status check(const PlanShape& shape) const override { return a_->check(shape); }
  NodePointer over(const NodePointer& self, const Replace& replace) const override {
    NodePointer a = replace_masks(a_, replace);
    return a == a_ ? self : std::make_shared<Not>(std::move(a));
  }

  NodePointer bind(const PlanShape& shape) const override {
    NodePointer a = a_->bind(shape);
    return a == nullptr ? nullptr : std::make_shared<Not>(std::move(a));
  }

  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override {
    BorrowedIntervals seen;
    a_->intervals(context, i0, i1, *seen);
    std::int64_t key = 0;
    for (const Interval& interval : *seen) {
      append(out, key, interval.begin, true);
      if (!interval.full) append(out, interval.begin, interval.end, false);
      key = interval.end;
    }
    append(out, key, context.sequence->len_k, true);
  }

  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override {
    return ~a_->bits(context, i, j0);
  }

  void words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
             std::uint64_t* words) const override {
    a_->words(context, i, rows, j0, words);
    for (int r = 0; r < rows; ++r) words[r] = ~words[r];
  }

  bool varies_by_head() const override { return a_->varies_by_head(); }
  bool varies_by_batch() const override { return a_->varies_by_batch(); }
  bool varies_by_position() const override { return a_->varies_by_position(); }
  int size() const override { return size_; }

 private:
  NodePointer a_;
  int size_;
};

// Hides every pair; with a complaint, stands for an expression that cannot be served.
class Nothing final : public MaskNode {
 public:
  explicit Nothing(std::string complaint = {}) : complaint_(std::move(complaint)) {}
  Status check(const PlanShape&) const override {
    return complaint_.empty() ? Status() : Status::invalid(complaint_);
  }
  void intervals(const MaskContext&, std::int64_t, std::int64_t,
                 std::vector<Interval>&) const override {}
  std::uint64_t bits(const MaskContext&, std::int64_t, std::int64_t) const override { return 0; }

 private:
  std::string complaint_;
};

template <typename Node, typename... Operand>
Mask compose(const Operand&... operands) {
  // The operands of an expression that is too large are let go, so that no later one grows on them.
  if ((operands.node()->size() + ...) >= kMaxSize) {
    return Mask(std::make_shared<Nothing>("mask: an expression of more than " +
                                          std::to_string(kMaxSize) + " masks and operators"));
  }
  return Mask(std::make_shared<Node>(operands.node()...));
}

}  // namespace

Status Binary::check(const PlanShape& shape) const {
  Status status = a_->check(shape);
  return status.ok() ? b_->check(shape) : status;
}

NodePointer replace_masks(const NodePointer& node, const MaskNode::Replace& replace) {
  NodePointer whole = node->over(node, replace);
  return whole != nullptr ? whole : replace(node);
}

NodePointer And::bind(const PlanShape& shape) const { return bind_operands(*this, shape); }
NodePointer And::over(const NodePointer& self, const Replace& replace) const {
  return over_operands(*this, self, replace);
}

void And::intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                    std::vector<Interval>& out) const {
  BorrowedIntervals in_a, in_b;
  a()->intervals(context, i0, i1, *in_a);
  if ((*in_a).empty()) return;
  b()->intervals(context, i0, i1, *in_b);
  combine(
      *in_a, *in_b, context.sequence->len_k, [](Seen x, Seen y) { return std::min(x, y); }, out);
}

void And::words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
                std::uint64_t* words) const {
  std::uint64_t others[kMostRows];
  a()->words(context, i, rows, j0, words);
  b()->words(context, i, rows, j0, others);
  for (int r = 0; r < rows; ++r) words[r] &= others[r];
}

}  // namespace plan

Mask operator&(const Mask& a, const Mask& b) {
  if (a.hides_nothing()) return b;
  if (b.hides_nothing()) return a;
  return plan::compose<plan::And>(a, b);
}

Mask operator|(const Mask& a, const Mask& b) {
  if (a.hides_nothing() || b.hides_nothing()) return {};
  return plan::compose<plan::Or>(a, b);
}

Mask operator~(const Mask& a) {
  if (a.hides_nothing()) return Mask(std::make_shared<plan::Nothing>());
  return plan::compose<plan::Not>(a);
}

}  // namespace regard
