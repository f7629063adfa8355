// SPDX-License-Identifier: Apache-2.0
// The kernels through the public C++ interface, without Python: what the core itself reaches, by
// the processor's time on one worker.
//
//   regard_kernel_bench --benchmark_filter='forward/f32/causal'
//   REGARD_TARGET=avx2 regard_kernel_bench
#include <benchmark/benchmark.h>

#include <string>

#include "problem.h"
#include "regard/target.h"

namespace {

using regard::DType;
using regard::bench::Problem;
using regard::bench::Shape;

struct Case {
  DType dtype;
  bool causal;
  bool backward;
  int workers;
};

const char* short_name(DType dtype) {
  if (dtype == DType::kBFloat16) return "bf16";
  if (dtype == DType::kFloat16) return "fp16";
  return "f32";
}

std::string name_of(const Case& c) {
  std::string name = c.backward ? "backward/" : "forward/";
  name += short_name(c.dtype);
  name += c.causal ? "/causal" : "/plain";
  if (c.workers > 1) name += "/workers:" + std::to_string(c.workers);
  return name;
}

void run(benchmark::State& state, const Case& c) {
  Shape shape{.batch = state.range(2),
              .len_q = state.range(0),
              .len_k = state.range(0),
              .dim = state.range(1)};
  if (c.causal)
    shape.pairs = 0.5 * static_cast<double>(shape.len_q) * static_cast<double>(shape.len_k);
  regard::Options options;
  if (c.causal) options.mask = regard::causal();
  Problem problem(shape, c.dtype, options, c.backward);
  const regard::ThreadExecutor threads(c.workers);
  const regard::Executor& executor = c.workers == 1 ? regard::serial_executor() : threads;

  problem.forward(executor);
  if (c.backward) problem.backward(executor);
  for (auto _ : state) {
    if (c.backward) {
      problem.backward(executor);
    } else {
      problem.forward(executor);
    }
  }
  const double flops = c.backward ? shape.backward_flops() : shape.forward_flops();
  state.counters["flops"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"n", "dim", "batch"})->Unit(benchmark::kMicrosecond);
  for (const int n : {1, 4, 15}) b->Args({n, 64, 1});
  for (const int n : {16, 32, 64, 128, 512}) {
    for (const int dim : {32, 64, 128}) b->Args({n, dim, 4});
  }
  b->Args({2048, 64, 1})->Args({2048, 128, 1});
  b->Args({2047, 128, 1})
      ->Args({2048, 40, 1})
      ->Args({2048, 80, 1})
      ->Args({2048, 96, 1})
      ->Args({2048, 160, 1})
      ->Args({2048, 256, 1});
}

void register_all() {
  for (const bool backward : {false, true}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
      for (const bool causal : {false, true}) {
        const Case c{dtype, causal, backward, 1};
        benchmark::RegisterBenchmark(name_of(c).c_str(), run, c)->Apply(shapes);
      }
    }
    const Case two{DType::kFloat32, false, backward, 2};
    benchmark::RegisterBenchmark(name_of(two).c_str(), run, two)
        ->ArgNames({"n", "dim", "batch"})
        ->Args({2048, 64, 1})
        ->Args({2048, 128, 1})
        ->Unit(benchmark::kMicrosecond)
        ->UseRealTime();
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("target", regard::current_target());
  register_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
