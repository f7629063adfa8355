// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/matrix_unit.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace regard::kernels {

#if defined(__x86_64__) && defined(__linux__)
namespace {

// Intel's Software Developer's Manual, CPUID leaf 7: bits of EDX, and bit 5 of EAX in its
// subleaf 1.
bool processor_has_it() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAvx512Bf16 = 1u << 5;
  return (a & kAvx512Bf16) != 0;
}

// Linux, Documentation/arch/x86/xstate.rst.
bool system_allows_it() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool has_matrix_unit() {
  static const bool has = processor_has_it() && system_allows_it();
  return has;
}
#else
bool has_matrix_unit() { return false; }
#endif

}  // namespace regard::kernels
