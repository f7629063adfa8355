// SPDX-License-Identifier: Apache-2.0
// What the processor's multipliers can do: chains of multiply-adds that touch nothing but
// registers.
//
// A shared library with one function, for benchmarks/bench.py (through ctypes). The machines that
// Regard is measured on are shared and noisy, so a speed is only ever compared with a peak taken
// milliseconds away from it, on as many threads.
#include <atomic>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// Independent chains: enough to hide a latency of 4 or 5 cycles on two ports, few enough for 16
// registers.
constexpr int kChains = 12;
// Of all chains between two looks at the clock, from 50 microseconds to a millisecond: for one
// thread a look is a call into the kernel.
constexpr int kSteps = 40000;

// Runs kSteps of every chain; returns the operations done. `sink` keeps the results alive.
using Block = double (*)(float* sink);

#if defined(__x86_64__)

// 1 - 2^-10 and 2^-10: the accumulators stay near 1, far from denormals and infinities.
constexpr float kFactor = 1.0f - 0x1p-10f;
constexpr float kTerm = 0x1p-10f;

__attribute__((target("avx512f"))) double fma_512(float* sink) {
  __m512 chain[kChains];
  const __m512 factor = _mm512_set1_ps(kFactor), term = _mm512_set1_ps(kTerm);
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) chain[c] = _mm512_set1_ps(static_cast<float>(c));
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) chain[c] = _mm512_fmadd_ps(chain[c], factor, term);
  }
#pragma GCC unroll 12
  for (int c = 1; c < kChains; ++c) chain[0] = _mm512_add_ps(chain[0], chain[c]);
  *sink += _mm512_cvtss_f32(chain[0]);
  return 2.0 * 16 * kChains * kSteps;
}

__attribute__((target("avx2,fma"))) double fma_256(float* sink) {
  __m256 chain[kChains];
  const __m256 factor = _mm256_set1_ps(kFactor), term = _mm256_set1_ps(kTerm);
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) chain[c] = _mm256_set1_ps(static_cast<float>(c));
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) chain[c] = _mm256_fmadd_ps(chain[c], factor, term);
  }
#pragma GCC unroll 12
  for (int c = 1; c < kChains; ++c) chain[0] = _mm256_add_ps(chain[0], chain[c]);
  *sink += _mm256_cvtss_f32(chain[0]);
  return 2.0 * 8 * kChains * kSteps;
}

// Without fused multiply-adds the best is one multiplication and one addition side by side.
__attribute__((target("sse4.1"))) double multiply_add_128(float* sink) {
  __m128 chain[kChains];
  const __m128 factor = _mm_set1_ps(kFactor), term = _mm_set1_ps(kTerm);
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) chain[c] = _mm_set1_ps(static_cast<float>(c));
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) chain[c] = _mm_add_ps(_mm_mul_ps(chain[c], factor), term);
  }
#pragma GCC unroll 12
  for (int c = 1; c < kChains; ++c) chain[0] = _mm_add_ps(chain[0], chain[c]);
  *sink += _mm_cvtss_f32(chain[0]);
  return 2.0 * 4 * kChains * kSteps;
}

__attribute__((target("avx512f,avx512bf16"))) double dot_bf16(float* sink) {
  __m512 chain[kChains];
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(kTerm), _mm512_set1_ps(kTerm));
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) chain[c] = _mm512_set1_ps(static_cast<float>(c));
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) chain[c] = _mm512_dpbf16_ps(chain[c], a, a);
  }
#pragma GCC unroll 12
  for (int c = 1; c < kChains; ++c) chain[0] = _mm512_add_ps(chain[0], chain[c]);
  *sink += _mm512_cvtss_f32(chain[0]);
  return 2.0 * 32 * kChains * kSteps;
}

// 16 x 16 tiles of zeros: the unit takes as long for any numbers.
__attribute__((target("amx-tile,amx-bf16"))) double amx_bf16(float* /*sink*/) {
  struct {
    unsigned char palette = 1, start_row = 0, reserved[14] = {};
    unsigned short bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shapes;
  asm volatile("ldtilecfg %0" : : "m"(shapes));
  for (int step = 0; step < kSteps; ++step) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 2.0 * 16 * 16 * 32 * 4 * kSteps;
}

// Linux lets a process use the unit's registers when it asks (Documentation/arch/x86/xstate.rst).
bool has_amx() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return __builtin_cpu_supports("amx-bf16") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Block find(const char* what) {
  if (std::strcmp(what, "amx") == 0 && has_amx()) return amx_bf16;
  if (std::strcmp(what, "avx512") == 0 && __builtin_cpu_supports("avx512f")) return fma_512;
  if (std::strcmp(what, "avx2") == 0 && __builtin_cpu_supports("avx2") &&
      __builtin_cpu_supports("fma"))
    return fma_256;
  if (std::strcmp(what, "sse4") == 0 && __builtin_cpu_supports("sse4.1")) return multiply_add_128;
  if (std::strcmp(what, "bf16") == 0 && __builtin_cpu_supports("avx512bf16")) return dot_bf16;
  return nullptr;
}

#else

Block find(const char*) { return nullptr; }

#endif

// A single thread counts its own time on its processor, as harness/timing.py does: what others take
// away is nobody's fault. Several count the time on the wall.
double seconds_on(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// One thread's rate: waits for the others, then runs blocks for that long.
double rate(Block block, clockid_t clock, double seconds, std::atomic<int>* waiting) {
  float sink = 0;
  block(&sink);  // wakes the wide units
  waiting->fetch_sub(1);
  while (waiting->load(std::memory_order_relaxed) > 0) {
  }
  const double start = seconds_on(clock);
  double operations = 0, elapsed = 0;
  do {
    operations += block(&sink);
    elapsed = seconds_on(clock) - start;
  } while (elapsed < seconds);
  volatile float keep = sink;
  (void)keep;
  return operations / elapsed;
}

}  // namespace

// Operations a second (a multiplication and an addition count as two) of `threads` threads
// together, measured for about `seconds`. `what`: "avx512", "avx2", "sse4" (float32), "bf16" (the
// AVX512-BF16 dot product) or "amx" (the matrix unit, on bf16); 0 where the processor has no such
// instruction.
extern "C" double regard_peak(const char* what, int threads, double seconds) {
  const Block block = find(what);
  if (block == nullptr || threads < 1) return 0;
  const clockid_t clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  std::atomic<int> waiting{threads};
  std::vector<double> rates(static_cast<std::size_t>(threads));
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t)
    others.emplace_back([&, t] { rates[t] = rate(block, clock, seconds, &waiting); });
  rates[0] = rate(block, clock, seconds, &waiting);
  for (std::thread& other : others) other.join();
  double sum = 0;
  for (double r : rates) sum += r;
  return sum;
}
