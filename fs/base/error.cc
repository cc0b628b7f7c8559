// Mapping of error numbers to classes and texts.
#include "fs/base/error.h"

#include <cerrno>
#include <cstring>

namespace snap {

Errno LastErrno() { return Errno(errno); }

std::string Errno::Message() const {
  char buffer[128];
  return strerror_r(code_, buffer, sizeof buffer);  // the GNU variant returns the text
}

std::string_view ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "E_INVALID_ARGUMENT";
    case ErrorCode::kNotFound: return "E_NOT_FOUND";
    case ErrorCode::kExists: return "E_EXISTS";
    case ErrorCode::kPermission: return "E_PERMISSION";
    case ErrorCode::kCorrupt: return "E_CORRUPT";
    case ErrorCode::kLimitExceeded: return "E_LIMIT_EXCEEDED";
    case ErrorCode::kNoSpace: return "E_NO_SPACE";
    case ErrorCode::kUnsupported: return "E_UNSUPPORTED";
    case ErrorCode::kBusy: return "E_BUSY";
    case ErrorCode::kUnavailable: return "E_UNAVAILABLE";
    case ErrorCode::kCancelled: return "E_CANCELLED";
    case ErrorCode::kIo: return "E_IO";
    case ErrorCode::kInternal: return "E_INTERNAL";
  }
  return "E_INTERNAL";
}

ErrorCode ClassifyErrno(Errno e) {
  switch (e.code()) {
    case ENOENT: return ErrorCode::kNotFound;
    case EEXIST:
    case ENOTEMPTY: return ErrorCode::kExists;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorCode::kPermission;
    case ENOSPC:
    case EDQUOT: return ErrorCode::kNoSpace;
    case EBUSY:
    case ETXTBSY: return ErrorCode::kBusy;
    case ENOSYS:
    case EOPNOTSUPP: return ErrorCode::kUnsupported;
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
    case ELOOP: return ErrorCode::kInvalidArgument;
    default: return ErrorCode::kIo;
  }
}

Error::Error(Errno e, std::string_view what)
    : code_(ClassifyErrno(e)), cause_(e), message_(fmt::format("{}: {}", what, e.Message())) {}

Error Error::Wrap(std::string_view outer) && {
  message_ = fmt::format("{}: {}", outer, message_);
  return std::move(*this);
}

}  // namespace snap
