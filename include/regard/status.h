// SPDX-License-Identifier: Apache-2.0
// What a call came to: success, or an error that names the argument at fault.
//
// Regard never prints, never throws and never aborts. A message reads like
//   "key: shape (2, 3, 7, 64) has 3 heads; query has 8, which must be a multiple of them".
#pragma once

#include <string>
#include <utility>

namespace regard {

enum class StatusCode {
  kOk = 0,
  kInvalidArgument =
      1,  // the caller's to mend: the message says which argument, its shape and what was expected
  kUnsupported = 2,  // a valid request that this version does not serve yet, named in the message
  kOutOfMemory = 3,  // scratch memory could not be had; nothing was written
  kFull = 4,         // a cache has no room left (regard/cache.h); nothing was written
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status invalid(std::string message) {
    return {StatusCode::kInvalidArgument, std::move(message)};
  }
  static Status unsupported(std::string message) {
    return {StatusCode::kUnsupported, std::move(message)};
  }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

}  // namespace regard
