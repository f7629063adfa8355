// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "regard/status.h"

// The first thing that is wrong is what the caller hears; when all is right no string is built.
#define REGARD_RETURN_IF_ERROR(expression)                            \
  do {                                                                \
    if (Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)
