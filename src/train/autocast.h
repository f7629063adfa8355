// SPDX-License-Identifier: Apache-2.0
// Products in bfloat16 for as long as this lives.
#pragma once

#include <ATen/autocast_mode.h>

namespace regard::train {

class Autocast {
 public:
  explicit Autocast(bool bf16) : on_(bf16) {
    if (!on_) return;
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::set_autocast_enabled(at::kCPU, false);
    at::autocast::clear_cache();  // weights change after every step
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool on_;
};

// Whether the processor multiplies bfloat16 itself (AVX512-BF16 or AMX).
bool has_bf16();

}  // namespace regard::train
