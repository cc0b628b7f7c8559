// Normalisation of names from outside. '..' is refused rather than resolved: what it means depends on symlinks.
#include "fs/base/rel_path.h"

#include "fs/base/quote.h"

namespace snap {
namespace {

std::string Shorten(std::string_view bytes) {
  constexpr size_t kShown = 120;
  return bytes.size() <= kShown ? Quote(bytes) : Quote(bytes.substr(0, kShown)) + "...";
}

}  // namespace

bool IsValidName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= RelPath::kMaxName &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Result<RelPath> RelPath::Parse(std::string_view bytes) {
  if (bytes.find('\0') != std::string_view::npos) {
    return MakeError(ErrorCode::kInvalidArgument, "path {} contains a NUL byte", Shorten(bytes));
  }
  std::string out;
  out.reserve(bytes.size());
  size_t depth = 0;
  for (std::string_view rest = bytes; !rest.empty();) {
    const size_t slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      return MakeError(ErrorCode::kInvalidArgument, "path {} contains '..'", Shorten(bytes));
    }
    if (name.size() > kMaxName) {
      return MakeError(ErrorCode::kLimitExceeded, "path {} has a component of {} bytes, at most {} are possible",
                       Shorten(bytes), name.size(), kMaxName);
    }
    if (++depth > kMaxDepth) {
      return MakeError(ErrorCode::kLimitExceeded, "path {} is deeper than {} directories", Shorten(bytes),
                       kMaxDepth);
    }
    if (!out.empty()) out += '/';
    out += name;
  }
  if (out.size() >= kMaxPath) {
    return MakeError(ErrorCode::kLimitExceeded, "path {} has {} bytes, at most {} are possible", Shorten(bytes),
                     out.size(), kMaxPath - 1);
  }
  return RelPath(std::move(out));
}

std::string_view RelPath::Name() const {
  const size_t slash = path_.rfind('/');
  return slash == std::string::npos ? std::string_view(path_) : std::string_view(path_).substr(slash + 1);
}

std::string_view RelPath::ParentView() const {
  const size_t slash = path_.rfind('/');
  return slash == std::string::npos ? std::string_view() : std::string_view(path_).substr(0, slash);
}

RelPath RelPath::Parent() const { return RelPath(std::string(ParentView())); }

RelPath RelPath::Child(std::string_view name) const {
  SNAP_CHECK(IsValidName(name));
  std::string out;
  out.reserve(path_.size() + 1 + name.size());
  out = path_;
  if (!out.empty()) out += '/';
  out += name;
  return RelPath(std::move(out));
}

size_t RelPath::Depth() const {
  if (path_.empty()) return 0;
  size_t depth = 1;
  for (const char c : path_) depth += c == '/' ? 1U : 0U;
  return depth;
}

}  // namespace snap
