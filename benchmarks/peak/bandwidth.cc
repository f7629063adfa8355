// SPDX-License-Identifier: Apache-2.0
// How fast memory can be read: a sum over memory that is there already, by vectors, in pieces that
// threads draw from one counter. The same memory as the timing beside it reads, so that pages,
// caches and neighbours are the same.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kPiece = std::size_t{1} << 18;

// Eight independent sums of 64 bytes each: the compiler makes vectors of them.
__attribute__((target_clones("avx512f", "avx2", "default"))) std::uint64_t sum(
    const std::uint64_t* data, std::size_t count) {
  std::uint64_t sums[64] = {};
  for (std::size_t i = 0; i + 64 <= count; i += 64) {
    for (std::size_t lane = 0; lane < 64; ++lane) sums[lane] += data[i + lane];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t x : sums) total += x;
  return total;
}

}  // namespace

// Seconds to read `count` blocks, of sizes[n] bytes at data[n] each, once on so many threads.
extern "C" double regard_read(const void* const* data, const std::size_t* sizes, std::size_t count,
                              int threads) {
  struct Piece {
    const char* data;
    std::size_t bytes;
  };
  std::vector<Piece> pieces;
  for (std::size_t n = 0; n < count; ++n) {
    for (std::size_t at = 0; at < sizes[n]; at += kPiece)
      pieces.push_back({static_cast<const char*>(data[n]) + at, std::min(kPiece, sizes[n] - at)});
  }
  std::atomic<std::size_t> next{0};
  std::atomic<int> waiting{threads};
  std::atomic<std::uint64_t> total{0};
  const auto work = [&] {
    waiting.fetch_sub(1);
    while (waiting.load(std::memory_order_relaxed) > 0) {
    }
    std::uint64_t own = 0;
    for (std::size_t p = next.fetch_add(1); p < pieces.size(); p = next.fetch_add(1)) {
      own += sum(reinterpret_cast<const std::uint64_t*>(pieces[p].data),
                 pieces[p].bytes / sizeof(std::uint64_t));
    }
    total += own;
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work);
  // The others may need a while to start; the clock starts when all are there.
  while (waiting.load(std::memory_order_relaxed) > 1) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  work();
  for (std::thread& other : others) other.join();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  volatile std::uint64_t keep = total.load();
  (void)keep;
  return elapsed.count();
}
