#include <memory>

#include "regard/target.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {

std::int64_t make_plan(Ints ints, Tensors tensors, std::int64_t batch, std::int64_t heads,
                       std::int64_t len_q, std::int64_t len_k) {
  const Options options = decode_options(ints, {}, tensors);
  auto plan = std::make_unique<Plan>();
  raise_if_failed(Plan::make(options.mask, {batch, heads, len_q, len_k}, plan.get()));
  return reinterpret_cast<std::int64_t>(plan.release());
}

double plan_density(std::int64_t plan) { return plan_at(plan)->density(); }

std::string plan_picture(std::int64_t plan, std::int64_t batch, std::int64_t head,
                         std::int64_t width) {
  return plan_at(plan)->picture(batch, head, static_cast<int>(width));
}

void free_plan(std::int64_t plan) { delete plan_at(plan); }

std::string kernel_target_op() { return kernel_target(); }

void set_target_op(std::string name) { raise_if_failed(set_target(name)); }

}  // namespace regard::torch_ops
