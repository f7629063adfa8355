// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "regard/target.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {
namespace {

// Every plan that Python holds. A number is given once: one that was freed stays unknown.
struct Plans {
  std::mutex mutex;
  std::unordered_map<std::int64_t, std::shared_ptr<const Plan>> by_number;
  std::int64_t last = 0;
};

Plans& plans() {
  static Plans* all = new Plans;  // outlives whatever Python frees at its end
  return *all;
}

std::shared_ptr<const Plan> living_plan(std::int64_t number) {
  std::lock_guard lock(plans().mutex);
  const auto found = plans().by_number.find(number);
  if (found == plans().by_number.end())
    throw std::invalid_argument("plan: " + std::to_string(number) +
                                " is the number of no plan (of regard.plan) that is held");
  return found->second;
}

}  // namespace

std::shared_ptr<const Plan> plan_of(std::int64_t number) {
  return number == 0 ? nullptr : living_plan(number);
}

std::int64_t make_plan(Ints ints, Tensors tensors, std::int64_t batch, std::int64_t heads,
                       std::int64_t len_q, std::int64_t len_k) {
  const Options options = decode_options(ints, {}, tensors);
  auto plan = std::make_shared<Plan>();
  raise_if_failed(Plan::make(options.mask, {batch, heads, len_q, len_k}, plan.get()));
  std::lock_guard lock(plans().mutex);
  plans().by_number.emplace(++plans().last, std::move(plan));
  return plans().last;
}

double plan_density(std::int64_t plan) { return living_plan(plan)->density(); }

std::string plan_picture(std::int64_t plan, std::int64_t batch, std::int64_t head,
                         std::int64_t width) {
  return living_plan(plan)->picture(batch, head, static_cast<int>(width));
}

void free_plan(std::int64_t plan) {
  std::lock_guard lock(plans().mutex);
  plans().by_number.erase(plan);
}

std::string kernel_target_op() { return kernel_target(); }

void set_target_op(std::string name) { raise_if_failed(set_target(name)); }

}  // namespace regard::torch_ops
