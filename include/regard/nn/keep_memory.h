// SPDX-License-Identifier: Apache-2.0
// What the whole process does with memory, for programs that run models.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <limits>
#ifdef __GLIBC__
#include <malloc.h>
#if __GLIBC_PREREQ(2, 33)
#define REGARD_HAS_MALLINFO2
#endif
#endif

namespace regard::nn {

// Call once, before the first tensor. glibc gives blocks of more than 32 MiB back to the system as
// soon as they are freed, and the system clears each page of the next one; a model that frees and
// asks for the same activations in every layer and step spends up to a fifth of its time on that.
// After this call freed memory stays with the process, to be used again; a program whose tensors
// have ever other sizes calls give_spare_memory_back() now and then. Nothing happens where the C
// library is another one.
inline void keep_freed_memory() {
#ifdef __GLIBC__
  const int most = std::numeric_limits<int>::max();
  mallopt(M_MMAP_THRESHOLD, most);
  mallopt(M_TRIM_THRESHOLD, most);
#endif
}

// Call between steps or batches. A freed block does not serve a larger one, so that with ever other
// sizes a process would hold more and more; this gives all that is free back where it is more than
// twice of what is in use and 1 GiB. Otherwise it only adds up what is free.
inline void give_spare_memory_back() {
#ifdef REGARD_HAS_MALLINFO2
  constexpr std::size_t kSpare = std::size_t{1} << 30;
  const struct mallinfo2 memory = mallinfo2();
  if (memory.fordblks > 2 * memory.uordblks + kSpare) malloc_trim(0);
#endif
}

}  // namespace regard::nn
