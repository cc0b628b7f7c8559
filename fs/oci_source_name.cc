// SOURCE as a user types it. Colons separate, but paths may hold them too: what exists on disk decides.
#include <array>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/oci_image.h"

namespace snap::oci {
namespace {

struct TransportName {
  std::string_view prefix;
  SourceName::Transport transport;
  bool takes_ref;
};
constexpr std::array kTransports = {
    TransportName{"oci:", SourceName::Transport::kOciLayout, true},
    TransportName{"oci-archive:", SourceName::Transport::kOciArchive, true},
    TransportName{"docker-archive:", SourceName::Transport::kDockerArchive, true},
    TransportName{"tar:", SourceName::Transport::kTar, false},
    TransportName{"dir:", SourceName::Transport::kDirectory, false},
};

bool Exists(std::string_view path) {
  return !path.empty() && sys::StatAt(FdRef::Cwd(), std::string(path).c_str()).ok();
}

/// The longest prefix that exists and ends at a ':' or the end; without any, everything before the first ':'.
size_t PathLength(std::string_view rest) {
  for (size_t end = rest.size();;) {
    if (Exists(rest.substr(0, end))) return end;
    const size_t colon = end == 0 ? std::string_view::npos : rest.rfind(':', end - 1);
    if (colon == std::string_view::npos) break;
    end = colon;
  }
  return std::min(rest.find(':'), rest.size());
}

std::string Suggestion(std::string_view text) {
  const std::string path(text);
  const auto stat = sys::StatAt(FdRef::Cwd(), path.c_str());
  if (!stat.ok()) return {};
  if (!S_ISDIR(stat->st_mode)) {
    return fmt::format("; for this file: oci-archive:{0}, docker-archive:{0} or tar:{0}",
                       EscapeUnprintable(path));
  }
  const bool layout = sys::StatAt(FdRef::Cwd(), (path + "/oci-layout").c_str()).ok();
  return fmt::format("; for this directory: {}:{}", layout ? "oci" : "dir", EscapeUnprintable(path));
}

}  // namespace

Result<SourceName> SourceName::Parse(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    return MakeError(ErrorCode::kInvalidArgument, "source {} contains a NUL byte",
                     Quote(text.substr(0, 200)));
  }
  for (const TransportName& name : kTransports) {
    if (!text.starts_with(name.prefix)) continue;
    const std::string_view rest = text.substr(name.prefix.size());
    const size_t path_length = name.takes_ref ? PathLength(rest) : rest.size();
    if (path_length == 0)
      return MakeError(ErrorCode::kInvalidArgument, "source {} names no path", Quote(text));
    SourceName out;
    out.transport = name.transport;
    out.path = rest.substr(0, path_length);
    if (path_length < rest.size()) {
      out.ref = rest.substr(path_length + 1);
      if (out.ref.empty()) {
        return MakeError(ErrorCode::kInvalidArgument, "source {} ends in ':' without a reference",
                         Quote(text));
      }
    }
    return out;
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "source {} does not start with oci:, oci-archive:, docker-archive:, tar: or dir:{}",
                   Quote(text), Suggestion(text));
}

}  // namespace snap::oci
