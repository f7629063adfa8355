// SPDX-License-Identifier: Apache-2.0
// Prints what the results of random attentions are, bit by bit, on every instruction set that this
// processor has: a line for each (target, case, result), and a digest of the result's elements.
// Two builds that print the same lines compute the same. `./dev digest` runs it.
//
//   core_digest [COUNT]   so many cases, 300 unless given
#include <rapidcheck.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

#include "regard/executor.h"
#include "regard/map.h"
#include "regard/target.h"
#include "tests/core/support/any_case.h"
#include "tests/core/support/dense_map.h"

namespace regard::testing {

void showValue(const Case& c, std::ostream& stream) { stream << c; }

namespace {

// FNV-1a over the bytes of all elements, in (batch, heads, seq, dim) order.
std::uint64_t digest_of(const Tensor& tensor) {
  std::uint64_t hash = 14695981039346656037u;
  for_each_index(tensor.shape(), [&](auto... at) {
    const auto* bytes = static_cast<const unsigned char*>(tensor.element(at...));
    for (std::size_t i = 0; i < size_of(tensor.dtype()); ++i)
      hash = (hash ^ bytes[i]) * 1099511628211u;
  });
  return hash;
}

struct Line {
  std::string start;

  void print(const std::string& result, const Tensor& tensor) const {
    if (tensor.given()) print(result, digest_of(tensor));
  }
  void print(const std::string& result, std::uint64_t digest) const {
    std::printf("%s\t%s\t%016llx\n", start.c_str(), result.c_str(),
                static_cast<unsigned long long>(digest));
  }
  // A call that fails has its message for a result.
  void print_error(const std::string& call, const std::string& message) const {
    std::printf("%s\t%s\t%s\n", start.c_str(), call.c_str(), message.c_str());
  }
};

Request request_of(const Case& c) {
  Request request;
  request.lse = c.lse != 0;
  request.dq = c.dq != 0, request.dk = c.dk != 0, request.dv = c.dv != 0;
  request.d_score_v = c.d_score_v != 0;
  for (const CaseBias& bias : c.biases) request.d_bias.push_back(bias.wanted != 0);
  request.wide_out = c.wide_out != 0;
  request.wide_gradients = c.wide_gradients != 0;
  request.out_lie = static_cast<Lie>(c.out_lie);
  request.gradient_lie = static_cast<Lie>(c.gradient_lie);
  return request;
}

void print_passes(const Line& line, const Problem& problem, const Case& c) {
  const ThreadExecutor executor(c.workers);
  const Results r = attempt(problem, executor, request_of(c));
  if (!r.error.empty()) return line.print_error("forward and backward", r.error);
  line.print("out", r.out), line.print("maximum", r.maximum), line.print("log_sum", r.log_sum);
  line.print("lse", r.lse), line.print("dq", r.dq), line.print("dk", r.dk), line.print("dv", r.dv);
  line.print("d_score_v", r.d_score_v);
  for (std::size_t n = 0; n < r.d_bias.size(); ++n)
    line.print("d_bias " + std::to_string(n), r.d_bias[n]);
  for (std::size_t n = 0; n < r.d_extras.size(); ++n)
    line.print("d_extra " + std::to_string(n), r.d_extras[n]);
}

void print_maps(const Line& line, const Problem& p, const Case& c) {
  const ThreadExecutor executor(c.workers);
  const MapInputs inputs = map_inputs(p);
  const Options options = p.options();
  const DType dtype = p.statistics_dtype();
  const std::int64_t rows = p.len_q(), keys = p.len_k(), heads = p.heads(), batch = p.batch();
  const auto show = [&](const char* name, const Shape& shape, auto call) {
    Tensor to(dtype, shape);
    const Status status = call(to.mutable_view());
    status.ok() ? line.print(name, to) : line.print_error(name, status.message());
  };
  show("weights", {batch, heads, rows, keys}, [&](const MutableTensorView& to) {
    return attention_weights(inputs, options, {}, to, executor);
  });
  if (rows == 0 || keys == 0) return;
  const std::int64_t height = (rows + 2) / 3, width = (keys + 4) / 5;
  for (const auto& [name, pooling] :
       {std::pair{"picture, largest", Pooling::kMax}, {"picture, mean", Pooling::kMean}}) {
    show(name, {batch, 1, height, width}, [&, pooling = pooling](const MutableTensorView& to) {
      return attention_picture(inputs, options, {}, pooling, to, executor);
    });
  }
  show("entropy", {batch, heads, rows, 1}, [&](const MutableTensorView& to) {
    return attention_entropy(inputs, options, {}, to, executor);
  });
  show("column sums", {batch, heads, 1, keys}, [&](const MutableTensorView& to) {
    return attention_column_sums(inputs, options, {}, {}, to, executor);
  });
  const std::int64_t count = std::min<std::int64_t>(keys, 5);
  show("top", {batch, heads, rows, count}, [&](const MutableTensorView& to) {
    std::vector<std::int64_t> chosen(static_cast<std::size_t>(batch * heads * rows * count));
    MutableTensorView view{chosen.data(), DType::kInt64, to.shape, to.strides};
    return attention_top(inputs, options, {}, view, to, executor);
  });
}

int print_all(int count) {
  constexpr double kMostWork = 4e6;
  const auto generate = rc::gen::exec([] { return any_case(kMostWork); });
  for (const std::string& target : available_targets()) {
    if (!set_target(target).ok()) return 1;
    rc::Random random(20170612);
    for (int n = 0; n < count; ++n) {
      const Case c = generate(random.split(), n % rc::kNominalSize).value();
      const Problem problem = make_problem(c);
      std::ostringstream text;
      text << c;
      const std::string all = text.str();
      const std::size_t begin = all.find('\'') + 1;
      const Line line{target + "\t" + all.substr(begin, all.find('\'', begin) - begin)};
      print_passes(line, problem, c);
      print_maps(line, problem, c);
    }
  }
  return 0;
}

}  // namespace
}  // namespace regard::testing

int main(int argc, char** argv) {
  return regard::testing::print_all(argc > 1 ? std::atoi(argv[1]) : 300);
}
