// SPDX-License-Identifier: Apache-2.0
// Element types as the tests read and write them: one element at a time, through double, rounding
// to nearest even.
#pragma once

#include "regard/tensor_view.h"

namespace regard::testing {

inline constexpr DType kF32 = DType::kFloat32, kBf16 = DType::kBFloat16, kF16 = DType::kFloat16,
                       kF64 = DType::kFloat64;

// The distance from 1 to the next number, as torch.finfo(dtype).eps.
double eps(DType dtype);

// The largest finite number.
double largest(DType dtype);

double load(const void* element, DType dtype);
void store(double value, void* element, DType dtype);

// The number of `dtype` nearest to value.
double round_to(DType dtype, double value);
float round_to_bf16(float value);

}  // namespace regard::testing
