// SPDX-License-Identifier: Apache-2.0
// Which instruction set runs: what the processor has, what the binary holds, and what was asked
// for.
#include "core/kernels/dispatch.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <iterator>

#include "core/kernels/decode_task.h"
#include "core/kernels/exercised_targets.h"
#include "core/kernels/kernels.h"
#include "core/kernels/matrix_unit.h"
#include "hwy/highway.h"
#include "hwy/targets.h"

namespace regard::kernels {
namespace {

struct Target {
  const char* name;
  std::int64_t number;  // Highway's
  // Bfloat16's own sets, and the decode pass's of a matrix unit, where the target has them.
  const KernelSet* (*bf16)(std::int64_t number) = nullptr;
  const DecodeSet* (*decode_matrix)(std::int64_t number) = nullptr;
  bool (*available)() = nullptr;  // what the processor must have beyond the number
};

// Best first.
constexpr std::array kTargets = {
#if HWY_TARGETS & HWY_AVX3
    Target{"amx_bf16", HWY_AVX3, amx_bf16_for, decode_amx_bf16_for, has_matrix_unit},
    Target{"avx512_bf16", HWY_AVX3, bf16_pairs_for, nullptr,
           [] { return __builtin_cpu_supports("avx512bf16") != 0; }},
    Target{"avx512", HWY_AVX3},
#endif
#if HWY_TARGETS & HWY_AVX2
    Target{"avx2", HWY_AVX2},
#endif
#if HWY_TARGETS & HWY_SSE4
    Target{"sse4", HWY_SSE4},
#endif
    Target{"portable", HWY_STATIC_TARGET},
};

bool available(const Target& target) {
  if (target.number == HWY_STATIC_TARGET) return true;
  if ((hwy::SupportedTargets() & target.number) == 0) return false;
  return target.available == nullptr || target.available();
}

std::string choices() {
  std::string text;
  for (const Target& target : kTargets) {
    if (available(target)) text += (text.empty() ? "" : ", ") + std::string(target.name);
  }
  return text;
}

const Target* find_target(const std::string& name, std::string* error) {
  for (const Target& target : kTargets) {
    if (name != target.name) continue;
    if (available(target)) return &target;
    if (error != nullptr)
      *error = "target: this processor cannot run '" + name + "'; it can run " + choices();
    return nullptr;
  }
  if (error != nullptr)
    *error = "target: '" + name + "' is not known; this processor can run " + choices();
  return nullptr;
}

// Whether REGARD_TARGET names a target that cannot run, and nobody has chosen another since.
std::atomic<bool> forced_in_vain{false};

// The target that REGARD_TARGET names, else the best that is available and exercised.
const Target* default_target() {
  forced_in_vain.store(false, std::memory_order_relaxed);
  if (const char* forced = std::getenv("REGARD_TARGET"); forced != nullptr && *forced != '\0') {
    if (const Target* target = find_target(forced, nullptr)) return target;
    forced_in_vain.store(true, std::memory_order_relaxed);
  }
  return find_target(
      best_target(target_names(true), {std::begin(kExercisedTargets), std::end(kExercisedTargets)}),
      nullptr);
}

std::atomic<const Target*> chosen{nullptr};

const Target& current() {
  const Target* target = chosen.load(std::memory_order_acquire);
  if (target == nullptr) {
    target = default_target();
    chosen.store(target, std::memory_order_release);
  }
  return *target;
}

}  // namespace

Status choose_target(const std::string& name) {
  std::string error;
  const Target* target = name.empty() ? default_target() : find_target(name, &error);
  if (target == nullptr) return Status::invalid(error);
  if (!name.empty()) forced_in_vain.store(false, std::memory_order_relaxed);
  chosen.store(target, std::memory_order_release);
  return {};
}

Status target_status() {
  current();
  if (!forced_in_vain.load(std::memory_order_relaxed)) return {};
  const char* forced = std::getenv("REGARD_TARGET");
  std::string error;
  if (forced == nullptr || *forced == '\0' || find_target(forced, &error) != nullptr) return {};
  return Status::invalid("REGARD_TARGET: " + error);
}

std::vector<std::string> target_names(bool only_available) {
  std::vector<std::string> names;
  for (const Target& target : kTargets) {
    if (!only_available || available(target)) names.emplace_back(target.name);
  }
  return names;
}

std::string best_target(const std::vector<std::string>& available,
                        const std::vector<std::string>& exercised) {
  const auto has = [](const std::vector<std::string>& names, const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const Target& target : kTargets) {
    if (has(available, target.name) && has(exercised, target.name)) return target.name;
  }
  return kTargets.back().name;
}

std::string chosen_target() { return current().name; }

const KernelSet& set_for(DType dtype) {
  const Target& target = current();
  if (dtype == DType::kFloat64) return *float64_for(target.number);
  if (dtype == DType::kBFloat16 && target.bf16 != nullptr) return *target.bf16(target.number);
  return *float32_for(target.number);
}

const KernelSet& additive_set_for(DType dtype) {
  const std::int64_t number = current().number;
  return dtype == DType::kFloat64 ? *additive_float64_for(number) : *additive_float32_for(number);
}

const DecodeSet& decode_set() { return *decode_for(current().number); }

const DecodeSet* decode_matrix_set() {
  const Target& target = current();
  return target.decode_matrix == nullptr ? nullptr : target.decode_matrix(target.number);
}

}  // namespace regard::kernels
