// SPDX-License-Identifier: Apache-2.0
// How much memory a call takes beyond its inputs and outputs: one line of JSON for each case.
//
// Whole squares of scores at n=262144 take minutes, so by default the longest cases are a causal
// window, and a few queries before all keys (every chunk of keys then passes a dense row); --full
// computes the squares as well.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "allocations.h"
#include "pool.h"
#include "problem.h"
#include "regard/plan.h"

namespace {

using regard::bench::Allocations;
using regard::bench::Problem;
using regard::bench::Shape;

constexpr std::int64_t kDim = 128;

struct Case {
  const char* name;
  std::int64_t len_q, len_k;
  bool window = false;
  int workers = 1;  // with one worker, what is kept is what one worker keeps
  regard::DType dtype = regard::DType::kFloat32;
};

void print(const Case& c, const char* direction, std::size_t scratch, const Allocations& cold,
           const Allocations& warm) {
  std::printf(
      "{\"case\": \"%s\", \"direction\": \"%s\", \"len_q\": %lld, \"len_k\": %lld, \"dim\": %lld, "
      "\"dtype\": \"%s\", "
      "\"workers\": %d, "
      "\"scratch_bytes\": %zu, \"cold_peak_bytes\": %lld, \"warm_allocations\": %lld, "
      "\"warm_peak_bytes\": %lld}\n",
      c.name, direction, static_cast<long long>(c.len_q), static_cast<long long>(c.len_k),
      static_cast<long long>(kDim), regard::name_of(c.dtype), c.workers, scratch,
      static_cast<long long>(cold.peak_bytes), static_cast<long long>(warm.count),
      static_cast<long long>(warm.peak_bytes));
  std::fflush(stdout);
}

void measure(const Case& c) {
  const Shape shape{.heads = 1, .len_q = c.len_q, .len_k = c.len_k, .dim = kDim};
  regard::Options options;
  if (c.window) options.mask = regard::causal() & regard::window(255, 0);
  Problem problem(shape, c.dtype, options, true);
  const regard::bench::Pool pool(c.workers);

  // The first call finds nothing kept; the second should ask for nothing.
  const auto twice = [&](const char* direction, auto&& call) {
    regard::release_scratch();
    regard::bench::reset_allocations();
    call();
    const Allocations cold = regard::bench::allocations();
    const std::size_t scratch = regard::scratch_bytes();
    regard::bench::reset_allocations();
    call();
    print(c, direction, scratch, cold, regard::bench::allocations());
  };
  twice("forward", [&] { problem.forward(pool); });
  twice("backward", [&] { problem.backward(pool); });
}

// Planning a window over so many rows: how long it takes, and what the plan keeps or needs
// meanwhile.
void measure_plan(std::int64_t rows) {
  std::vector<double> milliseconds;
  std::int64_t bytes = 0;
  for (int round = 0; round < 5; ++round) {
    regard::Plan plan;
    regard::bench::reset_allocations();
    const auto start = std::chrono::steady_clock::now();
    const regard::Status status =
        regard::Plan::make(regard::window(255, 0), {1, 1, rows, rows}, &plan);
    milliseconds.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count());
    bytes = std::max(bytes, regard::bench::allocations().peak_bytes);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.message().c_str());
      std::exit(1);
    }
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  std::printf("{\"case\": \"plan\", \"rows\": %lld, \"milliseconds\": %.3f, \"bytes\": %lld}\n",
              static_cast<long long>(rows), milliseconds[milliseconds.size() / 2],
              static_cast<long long>(bytes));
}

}  // namespace

int main(int argc, char** argv) {
  const bool full = argc == 2 && std::strcmp(argv[1], "--full") == 0;
  if (argc > 1 && !full) {
    std::fprintf(stderr, "usage: %s [--full]\n", argv[0]);
    return 2;
  }
  std::vector<Case> cases{{"all pairs", 16384, 16384},
                          {"all pairs", 16384, 16384, false, 2},
                          {"all pairs", 16384, 16384, false, 1, regard::DType::kBFloat16}};
  for (const std::int64_t n : {16384, 65536, 262144})
    cases.push_back({"window of 256 keys", n, n, true});
  for (const std::int64_t n : {16384, 65536, 262144}) cases.push_back({"256 queries", 256, n});
  if (full) {
    for (const std::int64_t n : {65536, 262144}) cases.push_back({"all pairs", n, n, false, 2});
  }
  for (const Case& c : cases) measure(c);
  measure_plan(1 << 20);
  return 0;
}
