// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/dropout_hash.h"
#include "regard/modifier.h"

namespace regard {

bool dropout_keeps(const Dropout& dropout, std::int64_t batch, std::int64_t head,
                   std::int64_t query, std::int64_t key) {
  if (dropout.p >= 1) return false;
  const kernels::DropoutHash hash(dropout.seed, batch, head);
  const std::uint64_t word = hash.Query(query);
  const std::uint32_t bits = kernels::DropoutHash::Pair(
      static_cast<std::uint32_t>(word), static_cast<std::uint32_t>(word >> 32), hash.Key(key));
  return bits >= kernels::DropoutThreshold(dropout.p);
}

}  // namespace regard
