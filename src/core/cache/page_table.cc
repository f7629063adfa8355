// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include "core/check_view.h"
#include "core/return_if_error.h"
#include "regard/cache.h"

namespace regard {

Status PageTable::make(std::int64_t pages, std::int64_t page_size, PageTable* table) {
  if (pages < 1 || pages > kMaxSize) {
    return Status::invalid("pages: " + std::to_string(pages) + "; expected 1 to " +
                           std::to_string(kMaxSize));
  }
  if (page_size < 16 || page_size > kMaxSize) {
    return Status::invalid("page_size: " + std::to_string(page_size) + "; expected 16 to " +
                           std::to_string(kMaxSize));
  }
  *table = PageTable();
  table->page_size_ = page_size;
  table->uses_.assign(static_cast<std::size_t>(pages), 0);
  table->free_.resize(static_cast<std::size_t>(pages));
  for (std::size_t p = 0; p < table->free_.size(); ++p)  // the first page is the last of the list
    table->free_[p] = static_cast<std::int32_t>(table->free_.size() - 1 - p);
  return {};
}

bool PageTable::has(std::int64_t sequence) const {
  return sequence >= 0 && sequence < static_cast<std::int64_t>(sequences_.size()) &&
         sequences_[static_cast<std::size_t>(sequence)].used;
}

Status PageTable::check(std::int64_t sequence) const {
  if (has(sequence)) return {};
  return Status::invalid("sequence: there is no " + std::to_string(sequence) +
                         "; expected what add() or fork() gave and free() has not taken");
}

std::int64_t PageTable::length(std::int64_t sequence) const {
  return sequences_[static_cast<std::size_t>(sequence)].length;
}

const std::vector<std::int32_t>& PageTable::pages_of(std::int64_t sequence) const {
  return sequences_[static_cast<std::size_t>(sequence)].pages;
}

std::int64_t PageTable::add() {
  std::int64_t number;
  if (free_sequences_.empty()) {
    number = static_cast<std::int64_t>(sequences_.size());
    sequences_.emplace_back();
  } else {
    number = free_sequences_.back();
    free_sequences_.pop_back();
  }
  Sequence& own = sequences_[static_cast<std::size_t>(number)];
  own.used = true;
  own.length = 0;
  own.pages.clear();
  return number;
}

Status PageTable::fork(std::int64_t sequence, std::int64_t length, std::int64_t* made) {
  REGARD_RETURN_IF_ERROR(check(sequence));
  if (length < 0 || length > this->length(sequence)) {
    return Status::invalid("length: " + std::to_string(length) + "; sequence " +
                           std::to_string(sequence) + " has " +
                           std::to_string(this->length(sequence)) + " rows");
  }
  *made = add();
  Sequence& copy = sequences_[static_cast<std::size_t>(*made)];
  const Sequence& from = sequences_[static_cast<std::size_t>(sequence)];
  const auto count = static_cast<std::size_t>((length + page_size_ - 1) / page_size_);
  copy.length = length;
  copy.pages.assign(from.pages.begin(), from.pages.begin() + static_cast<std::ptrdiff_t>(count));
  for (const std::int32_t page : copy.pages) ++uses_[static_cast<std::size_t>(page)];
  return {};
}

void PageTable::drop(std::int32_t page) {
  if (--uses_[static_cast<std::size_t>(page)] == 0) free_.push_back(page);
}

Status PageTable::free(std::int64_t sequence) {
  REGARD_RETURN_IF_ERROR(truncate(sequence, 0));
  sequences_[static_cast<std::size_t>(sequence)].used = false;
  free_sequences_.push_back(sequence);
  return {};
}

Status PageTable::truncate(std::int64_t sequence, std::int64_t length) {
  REGARD_RETURN_IF_ERROR(check(sequence));
  Sequence& own = sequences_[static_cast<std::size_t>(sequence)];
  if (length < 0 || length > own.length) {
    return Status::invalid("length: " + std::to_string(length) + "; sequence " +
                           std::to_string(sequence) + " has " + std::to_string(own.length) +
                           " rows");
  }
  const auto kept = static_cast<std::size_t>((length + page_size_ - 1) / page_size_);
  while (own.pages.size() > kept) {
    drop(own.pages.back());
    own.pages.pop_back();
  }
  own.length = length;
  return {};
}

Status PageTable::reserve(std::span<const std::int64_t> sequences,
                          std::span<const std::int64_t> counts, std::vector<Copy>* copies) {
  copies->clear();
  if (sequences.size() != counts.size()) {
    return Status::invalid("counts: " + std::to_string(counts.size()) +
                           " numbers; expected one for each of " +
                           std::to_string(sequences.size()) + " sequences");
  }
  std::int64_t wanted = 0;
  for (std::size_t n = 0; n < sequences.size(); ++n) {
    REGARD_RETURN_IF_ERROR(check(sequences[n]));
    if (std::count(sequences.begin(), sequences.end(), sequences[n]) > 1) {
      return Status::invalid("sequences: " + std::to_string(sequences[n]) +
                             " is listed twice; expected each once");
    }
    if (counts[n] < 0 || counts[n] > kMaxSize - length(sequences[n])) {
      return Status::invalid("counts: " + std::to_string(counts[n]) + "; expected 0 to " +
                             std::to_string(kMaxSize - length(sequences[n])));
    }
    const Sequence& own = sequences_[static_cast<std::size_t>(sequences[n])];
    const std::int64_t end = own.length + counts[n];
    wanted += (end + page_size_ - 1) / page_size_ - static_cast<std::int64_t>(own.pages.size());
    // A copy of the last page, where others hold it and rows of it will be written. (Where all who
    // share it are in the list, the last of them needs none: one page more than needed is asked
    // for.)
    if (counts[n] > 0 && own.length % page_size_ != 0 &&
        uses_[static_cast<std::size_t>(own.pages.back())] > 1)
      ++wanted;
  }
  if (wanted > free_pages()) {
    return {StatusCode::kFull, "cache: " + std::to_string(wanted) + " pages of " +
                                   std::to_string(page_size_) + " rows are needed, " +
                                   std::to_string(free_pages()) + " of " + std::to_string(pages()) +
                                   " are free"};
  }
  const auto take = [this] {
    const std::int32_t page = free_.back();
    free_.pop_back();
    uses_[static_cast<std::size_t>(page)] = 1;
    return page;
  };
  for (std::size_t n = 0; n < sequences.size(); ++n) {
    Sequence& own = sequences_[static_cast<std::size_t>(sequences[n])];
    if (counts[n] > 0 && own.length % page_size_ != 0 &&
        uses_[static_cast<std::size_t>(own.pages.back())] > 1) {
      const Copy copy{own.pages.back(), take()};
      drop(copy.from);
      own.pages.back() = copy.to;
      copies->push_back(copy);
    }
    own.length += counts[n];
    while (static_cast<std::int64_t>(own.pages.size()) * page_size_ < own.length)
      own.pages.push_back(take());
  }
  return {};
}

std::int64_t PageTable::width(std::span<const std::int64_t> sequences) const {
  std::size_t most = 0;
  for (const std::int64_t sequence : sequences) most = std::max(most, pages_of(sequence).size());
  return static_cast<std::int64_t>(most);
}

void PageTable::write_table(std::span<const std::int64_t> sequences, std::int32_t* to,
                            std::int64_t width) const {
  for (const std::int64_t sequence : sequences) {
    const std::vector<std::int32_t>& own = pages_of(sequence);
    std::copy(own.begin(), own.end(), to);
    std::fill(to + own.size(), to + width, 0);
    to += width;
  }
}

}  // namespace regard
