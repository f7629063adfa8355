// SPDX-License-Identifier: Apache-2.0
// Additive scores as Backward needs them: tiles with keys as rows, and what pairs add to the
// gradients of queries, keys and v.
//
// Sums are kept without what the columns have in common: s = v . tanh(q + k) has ds/dq_c = ds/dk_c
// = 4 v_c (y - y^2), so the sums are of dS (y - y^2), and v comes in once per row.

#if defined(REGARD_KERNELS_ADDITIVE_GRADIENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_GRADIENT_INL_H_
#undef REGARD_KERNELS_ADDITIVE_GRADIENT_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_GRADIENT_INL_H_
#endif

#include <algorithm>

#include "core/kernels/backward/backward_tiles-inl.h"
#include "core/kernels/backward/gradient_sums-inl.h"
#include "core/kernels/scores/additive_gradient_tile-inl.h"
#include "core/kernels/scores/additive_score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename Float>
class AdditiveGradient {
 public:
  using Ops = PlainOps<Float>;
  using T = Float;
  using Packed = Float;
  static constexpr bool kIsProduct = false;
  bool MultipliesPairs() const { return few_; }
  static constexpr std::size_t kQueries = static_cast<std::size_t>(kQueryChunk);

  static std::size_t Inner(std::size_t dim) { return AdditiveScore<T>::Inner(dim); }
  AdditiveGradient(const BackwardTask& task, std::size_t most_keys, Carve& carve)
      : task_(task),
        dim_(static_cast<std::size_t>(task.inputs.q.shape[3])),
        inner_(Inner(dim_)),
        panels_((dim_ + kWidth<T> - 1) / kWidth<T>),
        stride_(CopyStride(dim_)),
        most_keys_(most_keys) {
    key_kinds_ = carve.Take<std::uint8_t>(RoundUp(most_keys, kRows));
    query_kinds_ = carve.Take<std::uint8_t>(kQueries);
    d_keys_ = carve.Take<T>(panels_ * most_keys * kWidth<T>);
    key_states_ = carve.Take<SumState>(most_keys / kRows);
    if (task.group > 1) group_keys_ = carve.Take<T>(panels_ * most_keys * kWidth<T>);
    d_v_ = carve.Take<T>(panels_ * kWidth<T>);
    factors_ = carve.Take<T>(panels_ * kWidth<T>);
    pair_rows_ = carve.Take<T>(2 * stride_);
    narrow_ = carve.Take<T>(most_keys);
  }

  // `to`: where the keys' gradients go; no base: they are not wanted.
  void Start(const plan::Sequence& sequence, const RowsView& k, std::int64_t kv_head,
             const RowsView& to) {
    few_ = few_queries(sequence);
    to_ = to;
    once_ = sequence.len_q == 1 && task_.group == 1 && to.base != nullptr && to.order == nullptr &&
            InVectors<T>(to, dim_) && dim_ % kWidth<T> == 0;
    stream_ = StoresFor<T>(to, streams_key_gradients(task_)) == Stores::kStreaming;
    keys_ = {k, PreparedHead(task_.additive, sequence, k, kv_head)};
  }
  bool PackKeys(const RowsView& /*k*/, std::int64_t first, std::size_t n,
                const RowBuffers<T>& buffers, Rows<T>* rows, T* row_memory, T* panels,
                std::size_t panel_stride) {
    keys_ = keys_.from(first);
    if (few_) {
      const Rows<T> lie =
          ExponentialRowsAt(keys_, n, dim_, key_kinds_, panels, panels_ * kWidth<T>);
      for (std::size_t at = 0; at < n; at += kRows)
        rows[at / kRows] = lie.row(static_cast<std::int64_t>(at));
      key_rows_ = {lie.data, kWidth<T>, lie.stride};
    } else {
      key_rows_ = {panels, panel_stride};
      for (std::size_t at = 0; at < n; at += kRows) {
        const T* pointers[kRows];
        PointAtExponentials(keys_.from(first + static_cast<std::int64_t>(at)),
                            std::min(kRows, n - at), kRows, dim_, buffers, key_kinds_ + at,
                            pointers);
        T* to = row_memory + at * RowStride(inner_);
        rows[at / kRows] = {to, 1, kRows};
        PackRows(pointers, dim_, to);
        ClearColumns(to, dim_, kRows);
        PackPanels(pointers, std::min(kRows, n - at), dim_, panel_stride, panels + at * kWidth<T>);
      }
    }
    std::fill_n(key_states_, (n + kRows - 1) / kRows, SumState::kNothing);
    if (!once_) ClearKeys(0, n);
    std::fill_n(d_v_, panels_ * kWidth<T>, T{0});
    sum_ = carry_ = 0;
    some_key_is_wide_ = SomeWide(key_kinds_, n);
    return true;  // exponentials always are
  }
  void PrefetchValues(const RowsView& v, std::int64_t first, std::size_t keys, std::size_t dim_v) {
    for (std::size_t j = 0; few_ && v.col == 1 && j < keys; ++j)
      PrefetchRow<false>(v, first + static_cast<std::int64_t>(j), dim_v);
  }
  Rows<T> ValueRows(const RowsView& v, std::int64_t first, std::size_t n, std::size_t dim_v,
                    bool /*staged*/, const RowBuffers<T>& buffers, T* to) {
    return few_ ? RowsInVectors(v, first, n, dim_v, to, RoundUp(dim_v, kLanes<T>))
                : Ops::RowsOf(v, first, n, dim_v, T{1}, buffers, to, RowStride(Ops::Inner(dim_v)),
                              true);
  }
  // A head of the keys' group begins.
  void StartHead(std::int64_t batch, std::int64_t head) {
    const Tag<T> d;
    const AdditiveVector<T> v(task_.additive, batch, head);
    const auto four = hn::Set(d, 4 * v.unit);
    for (std::size_t c = 0; c < panels_ * kWidth<T>; c += kLanes<T>)
      hn::Store(hn::Mul(hn::Load(d, v.v + c), four), d, factors_ + c);
  }
  void StartChunk(const RowsView& q, std::int64_t first) {
    some_query_is_wide_ = false;
    queries_ = {q, {}, first};
  }
  bool PackQueries(const RowsView& q, std::int64_t first, std::size_t n, std::size_t lane,
                   const RowBuffers<T>& buffers, T* lanes, T* panels, std::size_t panel_stride) {
    const ExponentialRows from{q, {}, first};
    if (few_) {
      const std::size_t stride = panels_ * kWidth<T>;
      T* const memory = panels - lane * kWidth<T>;
      ExponentialRowsAt(from, n, dim_, query_kinds_ + lane, memory + lane * stride, stride);
      query_rows_ = {memory, kWidth<T>, static_cast<std::int64_t>(stride)};
    } else {
      const T* pointers[kWidth<T>];
      PointAtExponentials(from, n, kWidth<T>, dim_, buffers, query_kinds_ + lane, pointers);
      PackLanes(pointers, n, dim_, T{1}, lanes);
      ClearColumns(lanes, dim_, kWidth<T>);
      PackPanels(pointers, n, dim_, panel_stride, panels);
      query_rows_ = {panels - lane * kWidth<T>, panel_stride};
    }
    some_query_is_wide_ |= SomeWide(query_kinds_ + lane, n);
    return true;
  }

  // As lanes or, where tiles take their products pair by pair, as rows.
  bool PackOutputGradients(const ChunkRows& rows, const RowBuffers<T>& buffers, T* lanes,
                           std::size_t inner, T* panels, std::size_t panel_stride,
                           Rows<T>* as_rows) {
    const auto [head, first, n, at, dim] = rows;
    if (!few_) {
      return Ops::PackBothOf(head, first, n, dim, T{1}, panel_stride, buffers, lanes + at * inner,
                             panels);
    }
    const std::size_t stride = RoundUp(dim, kLanes<T>);
    *as_rows = RowsInVectors(head, first, n, dim, lanes + at * stride, stride)
                   .row(-static_cast<std::int64_t>(at));
    return panels == nullptr
               ? Ops::FiniteInPlace(head, first, n, dim)
               : Ops::PackPanelsOf(head, first, n, n, dim, panel_stride, buffers, panels);
  }

  void Tile(const ScoreTile<T>& tile, std::size_t row, std::size_t lane, Rows<T> k,
            const T* q) const {
    const AdditiveVector<T> v(task_.additive, tile.batch, tile.head);
    if (few_) {
      const Rows<T> queries{query_rows_.row(lane).data, query_rows_.step};
      AdditivePairs(k, tile.rows, queries, tile.lanes, RoundUp(dim_, kLanes<T>), v, tile.data);
    } else if (FewLanes<T>(tile.lanes)) {
      AdditiveTileOfFewLanes(k.data, q, tile.lanes, v, tile.data);
    } else {
      AdditiveTile(k.data, q, tile.rows, v, tile.data);
    }
    if (HWY_UNLIKELY(SomeIsWide())) {
      MendTile(tile, keys_.from(keys_.first + static_cast<std::int64_t>(row)),
               queries_.from(queries_.first + static_cast<std::int64_t>(lane)), dim_,
               key_kinds_ + row, query_kinds_ + lane, v, pair_rows_, stride_);
    }
  }

  template <class Operands, class Sums>
  HWY_INLINE void MultiplyValues(const Operands& tile, const ScoreTile<T>& score_tile,
                                 T* HWY_RESTRICT memory, Sums& acc) const {
    if (!few_) return AccumulateScores(tile.values, tile.d_outs, tile.inner_v, acc);
    RowProducts(tile.values, score_tile.rows, tile.d_out_rows, score_tile.lanes, tile.inner_v,
                memory);
    LoadAcc(memory, acc);
  }

  // Where one panel of queries is all that comes to the keys.
  bool WriteValueGradients(KeySums<Ops>& dv, std::size_t group, std::size_t groups,
                           std::size_t keys, const Runs* seen, const T* weights,
                           const Rows<T>& d_outs, std::size_t queries) {
    return few_ && dv.WriteRows(group, groups, keys, seen, weights, kQueries, d_outs, queries);
  }

  // What the tiles of a sub-block add: of the chunk's queries, and of keys [key, key + keys) of the
  // block in groups of kRows. Pair by pair, over each run of groups that a query panel sees; pairs
  // that the exponentials do not serve come after all others.
  void AddTiles(const BackwardTiles<T>& tiles, std::size_t queries, std::size_t key,
                std::size_t keys, const T* d_scores, PanelRows<T> d_queries) {
    const bool mend = SomeIsWide(), once = once_ && !mend;
    if (once_ && mend) ClearKeys(key, keys);
    for (const bool carefully : {false, true}) {
      if (carefully && HWY_LIKELY(!mend)) break;
      for (std::size_t p = 0, query = 0; query < queries; ++p, query += kWidth<T>) {
        const std::size_t count = std::min(kWidth<T>, queries - query),
                          groups = (keys + kRows - 1) / kRows;
        for (std::size_t g = 0, end; g < groups; g = end + 1) {
          for (end = g; end < groups && tiles.states[p][end] != plan::Seen::kAbsent;) ++end;
          if (end == g) continue;
          const std::size_t begin = g * kRows, run = std::min(end * kRows, keys) - begin;
          const T* ds = d_scores + begin * kQueries + query;
          if (carefully) {
            AddCarefully(query, count, key + begin, run, ds, d_queries);
          } else {
            AddPairs(query, count, key + begin, run, once, ds, d_queries);
          }
        }
      }
    }
  }

  // After all queries of head `of_group` of its group: the sums of its keys join the group's,
  // that of v goes to its slot.
  void EndHead(std::int64_t of_group, std::size_t slot, std::size_t keys) {
    if (task_.group > 1) AddKeysOfHead(of_group == 0, keys);
    T* to = static_cast<T*>(task_.d_additive) + slot * task_.additive.stride;
    for (std::size_t c = 0; c < dim_; ++c) to[c] = sum_ - 2 * d_v_[c];
    std::fill_n(d_v_, panels_ * kWidth<T>, T{0});
    sum_ = carry_ = 0;
  }

  // Writes the gradients of the block's keys that are not where they go, and zeros for those
  // behind, of which nobody reads anything, up to `owned`. Of a group's, where it has more than one
  // head, EndHead has made the sum.
  void WriteKeys(std::size_t keys, std::size_t owned, T* HWY_RESTRICT row, const T* zeros) const {
    if (to_.base == nullptr) return;
    const Tag<T> d;
    const bool summed = task_.group > 1, in_place = InVectors<T>(to_, dim_);
    const std::size_t columns = RoundUp(dim_, kLanes<T>);
    for (std::size_t j = 0; j < owned; ++j) {
      const std::int64_t key = keys_.first + static_cast<std::int64_t>(j);
      const SumState state = j < keys ? key_states_[j / kRows] : SumState::kNothing;
      if (state == SumState::kWritten) continue;
      if (to_.col == 1 && j + kRowsAhead < owned)
        PrefetchRow<true>(to_, key + static_cast<std::int64_t>(kRowsAhead), dim_);
      if (state == SumState::kNothing) {
        WriteRow(zeros, to_, key, dim_);
        continue;
      }
      const T* HWY_RESTRICT from = (summed ? group_keys_ : d_keys_) + j * kWidth<T>;
      T* HWY_RESTRICT into = in_place ? GradientRow(key) : row;
      for (std::size_t c = 0; c < columns; c += kLanes<T>) {
        const auto x = hn::Load(d, from + c / kWidth<T> * most_keys_ * kWidth<T> + c % kWidth<T>);
        // -0 becomes +0: a row's bits must not depend on its tile's other rows.
        hn::StoreU(summed ? x : hn::MulAdd(x, hn::Load(d, factors_ + c), hn::Zero(d)), d, into + c);
      }
      if (!in_place) WriteRow(row, to_, key, dim_);
    }
  }

  // An item ends.
  void Finish() { FinishStreaming(); }

  // What was summed for the queries of a chunk -> their gradients.
  void FinishQueries(const QuerySums<Ops>& sums, std::size_t queries) const {
    const Tag<T> d;
    for (std::size_t p = 0; p < panels_; ++p) {
      const Vec<T> times[2] = {hn::Load(d, factors_ + p * kWidth<T>),
                               hn::Load(d, factors_ + p * kWidth<T> + kLanes<T>)};
      for (std::size_t i = 0; i < queries; ++i) {
        T* HWY_RESTRICT row = sums.Row(i) + p * sums.panel_step();
        hn::Store(hn::Mul(hn::Load(d, row), times[0]), d, row);
        hn::Store(hn::Mul(hn::Load(d, row + kLanes<T>), times[1]), d, row + kLanes<T>);
      }
    }
  }

 private:
  // Adds 4 v times the sums of a head's keys to the group's sums, and clears it for the next
  // head.
  void AddKeysOfHead(bool first, std::size_t keys) {
    const Tag<T> d;
    const auto zero = hn::Zero(d);
    for (std::size_t p = 0; p < panels_; ++p) {
      const Vec<T> times[2] = {hn::Load(d, factors_ + p * kWidth<T>),
                               hn::Load(d, factors_ + p * kWidth<T> + kLanes<T>)};
      T* HWY_RESTRICT from = d_keys_ + p * most_keys_ * kWidth<T>;
      T* HWY_RESTRICT to = group_keys_ + p * most_keys_ * kWidth<T>;
      for (std::size_t i = 0; i < 2 * keys; ++i, from += kLanes<T>, to += kLanes<T>) {
        hn::Store(hn::MulAdd(times[i % 2], hn::Load(d, from), first ? zero : hn::Load(d, to)), d,
                  to);
        hn::Store(zero, d, from);
      }
    }
  }

  // Keys [key, key + keys) of the block are summed in d_keys_, from zeros on.
  void ClearKeys(std::size_t key, std::size_t keys) {
    for (std::size_t p = 0; p < panels_; ++p)
      Clear(d_keys_ + (p * most_keys_ + key) * kWidth<T>, keys * kWidth<T>);
    std::fill_n(key_states_ + key / kRows, (keys + kRows - 1) / kRows, SumState::kSummed);
  }
  T* GradientRow(std::int64_t key) const {
    return static_cast<T*>(const_cast<void*>(to_.base)) + to_.At(key);
  }

  // dS of all pairs, which nearly cancel, enter every element of the gradient of v: what a sum
  // rounds off is carried on.
  void AddToSum(T x) {
    const T y = x - carry_, sum = sum_ + y;
    carry_ = (sum - sum_) - y;
    sum_ = sum;
  }
  bool SomeIsWide() const { return some_key_is_wide_ || some_query_is_wide_; }
  bool NeedsCare(std::size_t query, std::size_t key) const {
    return query_kinds_[query] + key_kinds_[key] >= 2;
  }

  // Queries [query, query + queries) of the chunk against keys [key, key + keys) of the block; dS
  // of the first pair is *d_scores, keys are kQueries apart. `once`: no other query comes to the
  // keys.
  void AddPairs(std::size_t query, std::size_t queries, std::size_t key, std::size_t keys,
                bool once, const T* d_scores, PanelRows<T> d_queries) {
    PanelRows<T> d_keys = PanelRows<T>{d_keys_, most_keys_ * kWidth<T>}.row(key);
    if (once) {
      d_keys = {GradientRow(keys_.first + static_cast<std::int64_t>(key)), kWidth<T>, to_.row};
      std::fill_n(key_states_ + key / kRows, (keys + kRows - 1) / kRows, SumState::kWritten);
    }
    const auto add_two = !once      ? &AddAdditiveGradients<T, 2, false>
                         : !stream_ ? &AddAdditiveGradients<T, 2, true>
                                    : &AddAdditiveGradients<T, 2, true, Stores::kStreaming>;
    const auto add_one = !once      ? &AddAdditiveGradients<T, 1, false>
                         : !stream_ ? &AddAdditiveGradients<T, 1, true>
                                    : &AddAdditiveGradients<T, 1, true, Stores::kStreaming>;
    const bool mend = SomeIsWide();
    for (std::size_t p = 0; p < panels_; p += 2) {
      for (std::size_t i = 0; i < queries; ++i) {
        const T* ds = d_scores + i;
        std::size_t step = kQueries;
        if (HWY_UNLIKELY(mend)) {
          for (std::size_t j = 0; j < keys; ++j)
            narrow_[j] = NeedsCare(query + i, key + j) ? T{0} : ds[j * kQueries];
          ds = narrow_;
          step = 1;
        }
        const auto add = p + 1 < panels_ ? add_two : add_one;
        add(query_rows_.row(query + i), key_rows_.row(key), ds, step, keys, p,
            d_queries.row(query + i), d_keys, d_v_, factors_);
      }
    }
    for (std::size_t j = 0; j < keys; ++j) {
      T sum = 0;
      for (std::size_t i = 0; i < queries; ++i) sum += d_scores[j * kQueries + i];
      AddToSum(sum);
    }
  }
  // Those that the exponentials do not serve.
  HWY_NOINLINE void AddCarefully(std::size_t query, std::size_t queries, std::size_t key,
                                 std::size_t keys, const T* d_scores, PanelRows<T> d_queries) {
    const PanelRows<T> d_keys{d_keys_, most_keys_ * kWidth<T>};
    for (std::size_t i = query; i < query + queries; ++i) {
      for (std::size_t j = key; j < key + keys; ++j) {
        const T ds = d_scores[(j - key) * kQueries + (i - query)];
        if (!NeedsCare(i, j) || ds == T{0}) continue;
        CopyPlainRow(queries_.head, queries_.first + static_cast<std::int64_t>(i), dim_,
                     pair_rows_);
        CopyPlainRow(keys_.head, keys_.first + static_cast<std::int64_t>(j), dim_,
                     pair_rows_ + stride_);
        AddAdditivePairGradient(pair_rows_, pair_rows_ + stride_, dim_, ds, d_queries.row(i),
                                d_keys.row(j), d_v_);
      }
    }
  }

  const BackwardTask& task_;
  const std::size_t dim_, inner_, panels_, stride_, most_keys_;
  std::uint8_t *key_kinds_, *query_kinds_;
  SumState* key_states_;
  T *d_keys_, *d_v_, *factors_, *pair_rows_,
      *narrow_;              // d_keys_: of the head at hand, without 4 v, which are the factors
  T* group_keys_ = nullptr;  // of all heads of a group, where it has several
  T sum_ = 0, carry_ = 0;
  bool some_key_is_wide_ = false, some_query_is_wide_ = false;
  ExponentialRows queries_, keys_;  // of the chunk and the block
  RowsView to_{};                   // of the keys' gradients
  PanelRows<const T> query_rows_{}, key_rows_{};
  bool few_ = false;     // rows are kept as they lie, and scored pair by pair
  bool once_ = false;    // one query comes to each key, and its gradient can be written at once
  bool stream_ = false;  // and with streaming stores
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
