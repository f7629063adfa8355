// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/parts.h"

#include <cmath>
#include <set>

namespace regard::testing {
namespace {

// What one part gave, and where it stands.
struct Piece {
  Problem problem;
  Part place;
  Tensor out, maximum, log_sum;

  State state() { return {out.mutable_view(), maximum.mutable_view(), log_sum.mutable_view()}; }
};

// to <- to + from, from row `row` of `to` on.
void add(const Tensor& from, std::int64_t row, Tensor& to) {
  for_each_index(from.shape(), [&](auto b, auto h, auto i, auto d) {
    to.set(b, h, row + i, d, to.at(b, h, row + i, d) + from.at(b, h, i, d));
  });
}

Tensor zeros(DType dtype, const Shape& shape) {
  Tensor tensor(dtype, shape);
  tensor.fill(0);
  return tensor;
}

// All rows of `sinks` as a state.
Piece state_of_sinks(const Tensor& sinks, const Piece& like) {
  Piece piece;
  piece.out = zeros(like.out.dtype(), like.out.shape());
  piece.maximum = Tensor(like.maximum.dtype(), like.maximum.shape());
  piece.log_sum = Tensor(like.log_sum.dtype(), like.log_sum.shape());
  for_each_index(like.maximum.shape(), [&](auto b, auto h, auto i, auto) {
    double most = -INFINITY, sum = 0;
    for (std::int64_t m = 0; m < sinks.shape()[3]; ++m) most = std::max(most, sinks.at(0, h, 0, m));
    for (std::int64_t m = 0; m < sinks.shape()[3]; ++m)
      sum += std::exp(sinks.at(0, h, 0, m) - most);
    piece.maximum.set(b, h, i, 0, most);
    piece.log_sum.set(b, h, i, 0, std::log(sum));
  });
  return piece;
}

class Run {
 public:
  Run(const Problem& p, const PartsRequest& request, const PartHooks& hooks)
      : p_(p), request_(request), hooks_(hooks), wide_(p.statistics_dtype()) {
    r_.out = Tensor(wide_, {p.batch(), p.heads(), p.len_q(), p.dim_v()});
    r_.maximum = Tensor(wide_, {p.batch(), p.heads(), p.len_q(), 1});
    r_.log_sum = Tensor(wide_, r_.maximum.shape());
    r_.lse = Tensor(wide_, r_.maximum.shape());
    // Sums of a few parts, then rounded once: the parts' own roundings are what is looked at.
    r_.dq = zeros(kF64, p.q.shape());
    r_.dk = zeros(kF64, p.k.shape());
    r_.dv = zeros(kF64, p.v.shape());
  }

  Results operator()() {
    for (std::size_t n = 0; n + 1 < request_.query_edges.size() && r_.error.empty(); ++n) {
      rows(request_.query_edges[n], request_.query_edges[n + 1] - request_.query_edges[n]);
    }
    for (Tensor* gradient : {&r_.dq, &r_.dk, &r_.dv}) *gradient = gradient->as(wide_);
    return r_;
  }

 private:
  void expect(const Status& status, const char* what) {
    if (!status.ok()) r_.error = std::string(what) + ": " + status.message();
  }

  // All keys of some rows.
  void rows(std::int64_t begin, std::int64_t size) {
    std::vector<Piece> pieces;
    for (std::size_t n = 0; n + 1 < request_.key_edges.size(); ++n) {
      const std::int64_t key = request_.key_edges[n];
      Piece& piece = pieces.emplace_back();
      piece.problem = p_.rows(begin, size).keys(key, request_.key_edges[n + 1] - key);
      piece.place = {begin, key, p_.len_q(), p_.len_k()};
      attend(piece);
    }
    Piece whole = pieces[0];
    for (std::size_t n = 1; n < pieces.size(); ++n)
      expect(merge(pieces[n].state(), whole.state()), "merge()");
    Piece sinks;
    if (request_.sinks.given()) {
      sinks = state_of_sinks(request_.sinks, whole);
      expect(merge(sinks.state(), whole.state()), "merge() of the sinks");
    }
    for_each_index(whole.out.shape(), [&](auto b, auto h, auto i, auto d) {
      r_.out.set(b, h, begin + i, d, whole.out.at(b, h, i, d));
    });
    for_each_index(whole.maximum.shape(), [&](auto b, auto h, auto i, auto) {
      r_.maximum.set(b, h, begin + i, 0, whole.maximum.at(b, h, i, 0));
      r_.log_sum.set(b, h, begin + i, 0, whole.log_sum.at(b, h, i, 0));
      r_.lse.set(b, h, begin + i, 0, whole.maximum.at(b, h, i, 0) + whole.log_sum.at(b, h, i, 0));
    });
    for (Piece& piece : pieces) backward_of(piece, whole);
    if (request_.sinks.given() && request_.d_sinks != nullptr) sink_gradients(sinks, whole);
  }

  void attend(Piece& piece) {
    const Problem& p = piece.problem;
    piece.out = Tensor(wide_, {p.batch(), p.heads(), p.len_q(), p.dim_v()});
    piece.maximum = Tensor(wide_, {p.batch(), p.heads(), p.len_q(), 1});
    piece.log_sum = Tensor(wide_, piece.maximum.shape());
    const State state = piece.state();
    expect(forward({p.q.view(), p.k.view(), p.v.view()}, hooks_.options(p, piece.place),
                   {state.out, state.maximum, state.log_sum, {}}, ThreadExecutor(2)),
           "forward()");
  }

  // What arrives at a piece, or at the sinks, through the merge.
  void share(Piece& piece, Piece& whole, const Tensor& d_out, const Tensor& d_lse, Tensor& own_out,
             Tensor& own_lse) {
    own_out = Tensor(wide_, d_out.shape());
    own_lse = Tensor(wide_, piece.maximum.shape());
    expect(merge_backward(piece.state(), whole.state(), d_out.view(), d_lse.optional_view(),
                          {own_out.mutable_view(), own_lse.mutable_view()}),
           "merge_backward()");
  }

  void backward_of(Piece& piece, Piece& whole) {
    const Problem& p = piece.problem;
    const bool merged = request_.way == PartBackward::kMerged;
    Tensor d_out = p.d_out.as(wide_), d_lse = p.d_lse;
    if (merged) share(piece, whole, p.d_out.as(wide_), p.d_lse, d_out, d_lse);
    Piece& from = merged ? piece : whole;
    Tensor dq(wide_, p.q.shape()), dk(wide_, p.k.shape()), dv(wide_, p.v.shape());
    std::vector<Tensor> own = hooks_.gradients(p);
    Gradients gradients{dq.mutable_view(), dk.mutable_view(), dv.mutable_view(), {}, {}};
    for (Tensor& gradient : own) gradients.d_modifiers.push_back(gradient.mutable_view());
    expect(backward({p.q.view(), p.k.view(), p.v.view(), from.out.view(), from.maximum.view(),
                     from.log_sum.view(), d_out.view(), d_lse.optional_view()},
                    hooks_.options(p, piece.place), gradients, ThreadExecutor(2)),
           "backward()");
    add(dq, piece.place.query_begin, r_.dq);
    add(dk, piece.place.key_begin, r_.dk);
    add(dv, piece.place.key_begin, r_.dv);
    hooks_.add(piece.place, own);
  }

  void sink_gradients(Piece& sinks, Piece& whole) {
    const std::int64_t begin = whole.place.query_begin, size = whole.out.shape()[2];
    Tensor ignored, d_lse;
    share(sinks, whole, p_.d_out.slice(2, begin, size).as(wide_),
          p_.d_lse.given() ? p_.d_lse.slice(2, begin, size) : Tensor(), ignored, d_lse);
    const std::int64_t count = request_.sinks.shape()[3];
    for_each_index({p_.batch(), p_.heads(), size, count}, [&](auto b, auto h, auto i, auto m) {
      const double lse = sinks.maximum.at(b, h, i, 0) + sinks.log_sum.at(b, h, i, 0);
      (*request_.d_sinks)[static_cast<std::size_t>(h * count + m)] +=
          d_lse.at(b, h, i, 0) * std::exp(request_.sinks.at(0, h, 0, m) - lse);
    });
  }

  const Problem& p_;
  const PartsRequest& request_;
  const PartHooks& hooks_;
  const DType wide_;
  Results r_;
};

}  // namespace

std::vector<std::int64_t> random_edges(Random& random, std::int64_t length, int most) {
  std::set<std::int64_t> edges{0, length};
  for (auto n = static_cast<std::int64_t>(random() % static_cast<unsigned>(most + 1)); n > 0; --n) {
    edges.insert(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(length + 1)));
  }
  if (edges.size() == 1) return {0, 0};  // no rows: one empty part
  return {edges.begin(), edges.end()};
}

Results run_in_parts(const Problem& problem, const PartsRequest& request, const PartHooks& hooks) {
  return Run(problem, request, hooks)();
}

Options options_of_part(const Problem& part, const Part& place) {
  Options options = part.options();
  options.part = place;
  return options;
}

}  // namespace regard::testing
