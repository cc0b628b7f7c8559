// Error: what failed, with what, and the class of failure that callers branch on.
// Invariant: the message starts with a verb, quotes paths, has no trailing period, and says each thing once.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "fs/base/errno.h"

namespace snap {

/// Classes of failure. The comment is what the caller may do; the order fixes nothing.
enum class ErrorCode {
  kInvalidArgument,  ///< the caller's input is wrong: tell the user, do not retry
  kNotFound,         ///< the named thing does not exist
  kExists,           ///< the named thing exists already
  kPermission,       ///< the process may not do this
  kCorrupt,          ///< content does not match its digest, checksum or format
  kLimitExceeded,    ///< hostile or absurd input passed a limit (see docs/limits.md)
  kNoSpace,          ///< disk, inode or quota exhausted
  kUnsupported,      ///< this kernel, file system or build cannot do it
  kBusy,             ///< in use: try again when the user is gone
  kUnavailable,      ///< the store or a service cannot answer now
  kCancelled,        ///< somebody asked for the stop
  kIo,               ///< any other failure of the system
  kInternal,         ///< a bug of ours
};

/// Stable upper-case name for machines, e.g. "E_CORRUPT".
std::string_view ErrorCodeName(ErrorCode code);
/// The class that an errno belongs to (ENOENT is kNotFound, ENOSPC is kNoSpace, otherwise kIo).
ErrorCode ClassifyErrno(Errno e);

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  /// `what` says the action and its object; the errno's text is appended: "open 'x': Permission denied".
  Error(Errno e, std::string_view what);

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  /// The errno this came from; zero when it came from no system call.
  Errno cause() const { return cause_; }

  /// The same error with the outer action in front: "import 'x': open 'y': Permission denied".
  Error Wrap(std::string_view outer) &&;

 private:
  ErrorCode code_;
  Errno cause_{0};
  std::string message_;
};

/// Error(code, formatted message).
template <typename... Args>
Error MakeError(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace snap
