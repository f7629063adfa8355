// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/map_items.h"

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/schedule/forward_items.h"

namespace regard::schedule {
namespace {

using kernels::MapTask;
using plan::kRowUnit;

constexpr std::int64_t kMostRows = static_cast<std::int64_t>(kernels::kMaxUnits) * kRowUnit;
// Of long passes there are at least about this many items, so that workers end together; below
// kFewestRows an item packs keys for too few rows.
constexpr std::int64_t kEnoughItems = 16, kFewestRows = 96;
// Bytes of scratch for what an item's rows keep.
constexpr std::int64_t kMostKept = std::int64_t{1} << 20;

std::int64_t ceil_div(std::int64_t x, std::int64_t y) { return (x + y - 1) / y; }

void find_sequences(MapTask& task) {
  const plan::Layout& layout = *task.pass.layout;
  task.first_sequence.assign(static_cast<std::size_t>(layout.shape.batch + 1),
                             layout.sequences.size());
  for (std::size_t s = layout.sequences.size(); s-- > 0;)
    task.first_sequence[static_cast<std::size_t>(layout.sequences[s].batch)] = s;
  for (std::size_t b = task.first_sequence.size() - 1; b-- > 0;) {
    task.first_sequence[b] = std::min(task.first_sequence[b], task.first_sequence[b + 1]);
  }
}

// Calls f(batch, first head, end) for every answer: a head each, or the mean of all.
template <typename F>
void each_answer(const MapTask& task, F f) {
  const auto first = static_cast<std::int32_t>(task.region.head_begin),
             end = static_cast<std::int32_t>(task.region.head_end);
  for (std::int64_t b = task.region.batch_begin; b < task.region.batch_end; ++b) {
    if (task.mean) {
      f(b, first, end);
    } else {
      for (std::int32_t h = first; h < end; ++h) f(b, h, h + 1);
    }
  }
}

// Rows of cells that make up an item of a picture.
void cut_picture(MapTask& task) {
  const MapRegion& region = task.region;
  const std::int64_t rows = region.row_end - region.row_begin, height = task.out.shape[2],
                     width = task.out.shape[3];
  const std::int64_t wanted = std::clamp(rows / kEnoughItems, kFewestRows, kMostRows);
  const std::int64_t kept = kMostKept / (width * static_cast<std::int64_t>(sizeof(double)));
  task.most_rows = std::max<std::int64_t>(1, std::min(wanted * height / rows, kept));
  for (std::int64_t end = height; end > 0; end -= std::min(end, task.most_rows)) {
    const std::int64_t first = end - std::min(end, task.most_rows);
    each_answer(task, [&](std::int64_t b, std::int32_t head, std::int32_t head_end) {
      task.items.push_back({b, head, head_end, region.row_begin + ceil_div(first * rows, height),
                            region.row_begin + ceil_div(end * rows, height)});
    });
  }
}

void cut_rows(MapTask& task) {
  const MapRegion& region = task.region;
  const std::int64_t rows = region.row_end - region.row_begin;
  std::int64_t size = std::clamp(rows / kEnoughItems, kFewestRows, kMostRows);
  if (task.kind == MapTask::Kind::kTop) size = std::min(size, kMostKept / (task.out.shape[3] * 16));
  size = std::max<std::int64_t>(size / kRowUnit, 1) * kRowUnit;
  task.most_rows = size;
  // From the last rows to the first: under a causal mask the long items come first. Whole units
  // where sequences begin with one.
  for (std::int64_t end = region.row_end; end > region.row_begin;) {
    const std::int64_t first = std::max(region.row_begin, (end - 1) / size * size);
    each_answer(task, [&](std::int64_t b, std::int32_t head, std::int32_t head_end) {
      task.items.push_back({b, head, head_end, first, end});
    });
    end = first;
  }
}

void find_chunk_units(MapTask& task, std::int64_t chunk) {
  const plan::Layout& layout = *task.pass.layout;
  task.chunk_units.clear();
  task.first_chunk.clear();
  if (layout.mask == nullptr) return;
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    for (std::int32_t h = 0; h < layout.mask_heads; ++h) {
      const std::size_t first = task.chunk_units.size();
      task.first_chunk.push_back(first);
      task.chunk_units.resize(
          first + static_cast<std::size_t>(ceil_div(layout.sequences[s].len_k, chunk)), {0, 0});
      for (std::int64_t u = 0; u < layout.units(s); ++u) {
        for (const plan::Interval& interval : layout.unit(s, h, u)) {
          for (std::int64_t c = interval.begin / chunk; c * chunk < interval.end; ++c) {
            MapTask::Run& run = task.chunk_units[first + static_cast<std::size_t>(c)];
            if (run.begin == run.end) run.begin = u;
            run.end = u + 1;
          }
        }
      }
    }
  }
}

void cut_keys(MapTask& task) {
  const auto chunk = static_cast<std::int64_t>(
      kernels::ChunkKeys(static_cast<std::size_t>(task.pass.inputs.q.shape[3]), 0));
  find_chunk_units(task, chunk);
  // Under a causal mask the first keys are seen by the most rows.
  each_answer(task, [&](std::int64_t b, std::int32_t head, std::int32_t head_end) {
    for (std::size_t s = task.first_sequence[b]; s < task.first_sequence[b + 1]; ++s) {
      const std::int64_t chunks = ceil_div(task.pass.layout->sequences[s].len_k, chunk);
      for (std::int64_t c = 0; c < chunks; ++c)
        task.items.push_back({b, head, head_end, c, c + 1, s});
    }
  });
}

}  // namespace

void cut_map(MapTask& task) {
  task.items.clear();
  find_sequences(task);
  switch (task.kind) {
    case MapTask::Kind::kColumnSums: return cut_keys(task);
    case MapTask::Kind::kPicture: return cut_picture(task);
    case MapTask::Kind::kTiles:
    case MapTask::Kind::kEntropy:
    case MapTask::Kind::kTop: return cut_rows(task);
  }
}

void cut_statistics(MapTask& task) {
  const MapRegion& region = task.region;
  cut_forward(task.pass);
  std::vector<kernels::ForwardItem>& items = task.pass.items;
  std::size_t kept = 0;
  for (kernels::ForwardItem item : items) {
    const plan::Sequence& sequence =
        task.pass.layout->sequences[static_cast<std::size_t>(item.sequence)];
    if (sequence.batch < region.batch_begin || sequence.batch >= region.batch_end) continue;
    item.head_begin = std::max(item.head_begin, static_cast<std::int32_t>(region.head_begin));
    item.head_end = std::min(item.head_end, static_cast<std::int32_t>(region.head_end));
    item.unit_begin = std::max(
        item.unit_begin, std::max<std::int64_t>(region.row_begin - sequence.q_begin, 0) / kRowUnit);
    item.unit_end =
        std::min(item.unit_end,
                 ceil_div(std::max<std::int64_t>(region.row_end - sequence.q_begin, 0), kRowUnit));
    if (item.head_begin < item.head_end && item.unit_begin < item.unit_end) items[kept++] = item;
  }
  items.resize(kept);
}

}  // namespace regard::schedule
