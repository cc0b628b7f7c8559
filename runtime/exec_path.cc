// The exit codes are those of `docker run` and POSIX shells.
#include "runtime/exec_path.h"

#include <cerrno>

#include "fs/base/quote.h"

namespace snap::runtime {

std::vector<std::string> ExecCandidates(std::string_view name, std::string_view path) {
  std::vector<std::string> candidates;
  if (name.empty()) return candidates;
  if (name.find('/') != std::string_view::npos) {
    candidates.emplace_back(name);
    return candidates;
  }
  while (!path.empty()) {
    const size_t colon = path.find(':');
    const std::string_view dir = path.substr(0, colon);
    path.remove_prefix(colon == std::string_view::npos ? path.size() : colon + 1);
    if (!dir.starts_with('/')) continue;
    candidates.push_back(std::string(dir) + (dir.ends_with('/') ? "" : "/") + std::string(name));
  }
  return candidates;
}

LaunchError ExplainExec(std::string_view name, const ExecFailure& failure) {
  constexpr int kNotFound = 127;
  constexpr int kNotExecutable = 126;
  const auto say = [&](int exit_code, ErrorCode code, std::string_view why) {
    return LaunchError{exit_code, MakeError(code, "exec {}: {}", Quote(name), why)};
  };
  if (failure.is_directory) return say(kNotExecutable, ErrorCode::kInvalidArgument, "is a directory");
  if (failure.no_interpreter) {
    return say(kNotFound, ErrorCode::kNotFound, "the interpreter or loader that it names was not found");
  }
  switch (failure.error.code()) {
    case ENOENT:
    case ENOTDIR:
      return say(kNotFound, ErrorCode::kNotFound,
                 name.find('/') == std::string_view::npos ? "not found in PATH" : failure.error.Message());
    case ENOEXEC: return say(kNotExecutable, ErrorCode::kInvalidArgument, "exec format error");
    case EACCES:
    case EPERM:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ETXTBSY:
    case E2BIG:
    case EINVAL:
    case ELIBBAD:
      return LaunchError{kNotExecutable, Error(failure.error, "exec " + Quote(name))};
    default: return LaunchError{125, Error(failure.error, "exec " + Quote(name))};
  }
}

}  // namespace snap::runtime
