// SPDX-License-Identifier: Apache-2.0
// A setting of the whole process for programs that run models.
#pragma once

#include <cstdlib>
#include <limits>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace regard::nn {

// Call once, before the first tensor. glibc gives blocks of more than 32 MiB back to the system as
// soon as they are freed, and the system clears each page of the next one; a model that frees and
// asks for the same activations in every layer and step spends up to a fifth of its time on that.
// After this call freed memory stays with the process, to be used again: its peak is what is seen
// until the process ends. Nothing happens where the C library is another one.
inline void keep_freed_memory() {
#ifdef __GLIBC__
  const int most = std::numeric_limits<int>::max();
  mallopt(M_MMAP_THRESHOLD, most);
  mallopt(M_TRIM_THRESHOLD, most);
#endif
}

}  // namespace regard::nn
