// The table between ".wh." names in tars and what overlayfs keeps on disk.
// A name is read component by component: only the last one may speak, anything with the prefix further up is
// either AUFS' bookkeeping directory or an attempt to smuggle a name past somebody who only looks at the last
// component. Invariant: FromTarName(WhiteoutTarName(p)) gives p back, and likewise for OpaqueTarName.
#include "fs/whiteout.h"

#include <sys/stat.h>

#include "fs/base/quote.h"

namespace snap::whiteout {
namespace {

// Everything that starts so, except the opaque marker, was AUFS' own: ".wh..wh.plnk", ".wh..wh.orph",
// ".wh..wh.aufs".
constexpr std::string_view kMetaPrefix = ".wh..wh.";
constexpr std::string_view kTrustedOverlayPrefix = "trusted.overlay.";
constexpr std::string_view kUserOverlayPrefix = "user.overlay.";
constexpr std::string_view kXattrWhiteoutsValue = "x";

// The path with its last component replaced.
Result<RelPath> Sibling(const RelPath& path, std::string_view name) {
  std::string text(path.ParentView());
  if (!text.empty()) text += '/';
  text += name;
  return RelPath::Parse(text);
}

bool IsMetaName(std::string_view name) { return name.starts_with(kMetaPrefix) && name != kOpaqueName; }

}  // namespace

Result<Parsed> FromTarName(const RelPath& path) {
  std::string_view directories = path.ParentView();
  while (!directories.empty()) {
    const size_t slash = directories.find('/');
    const std::string_view name = directories.substr(0, slash);
    directories.remove_prefix(slash == std::string_view::npos ? directories.size() : slash + 1);
    if (!name.starts_with(kPrefix)) continue;
    if (IsMetaName(name)) return Parsed{Kind::kIgnored, path};
    return MakeError(ErrorCode::kInvalidArgument, "directory {} of path {} has a whiteout's name",
                     Quote(name), Quote(path.str()));
  }
  const std::string_view name = path.Name();
  if (!name.starts_with(kPrefix)) return Parsed{Kind::kNone, path};
  if (name == kOpaqueName) return Parsed{Kind::kOpaque, path.Parent()};
  if (IsMetaName(name)) return Parsed{Kind::kIgnored, path};
  const std::string_view removed = name.substr(kPrefix.size());
  if (!IsValidName(removed)) {
    return MakeError(ErrorCode::kInvalidArgument, "whiteout {} removes nothing that can be named",
                     Quote(path.str()));
  }
  SNAP_TRY(RelPath sibling, Sibling(path, removed));
  return Parsed{Kind::kWhiteout, std::move(sibling)};
}

Result<RelPath> WhiteoutTarName(const RelPath& removed) {
  if (removed.IsRoot()) return MakeError(ErrorCode::kInvalidArgument, "the root cannot be whited out");
  if (removed.Name().starts_with(kPrefix)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "path {} has a whiteout's name: it cannot be whited out itself", Quote(removed.str()));
  }
  return Sibling(removed, std::string(kPrefix) += removed.Name());
}

RelPath OpaqueTarName(const RelPath& directory) { return directory.Child(kOpaqueName); }

bool IsOverlayWhiteout(mode_t mode, dev_t device) { return S_ISCHR(mode) && device == 0; }

Mark ReadMark(std::string_view name, std::string_view value, bool user_xattr) {
  const std::string_view prefix = user_xattr ? kUserOverlayPrefix : kTrustedOverlayPrefix;
  if (!name.starts_with(prefix)) return Mark::kNone;
  name.remove_prefix(prefix.size());
  if (name == "opaque") {
    if (value == kOpaqueValue) return Mark::kOpaque;
    return value == kXattrWhiteoutsValue ? Mark::kXattrWhiteouts : Mark::kNone;
  }
  if (name == "whiteout") return Mark::kWhiteout;
  if (name == "metacopy") return Mark::kMetacopy;
  return name == "redirect" ? Mark::kRedirect : Mark::kNone;
}

bool IsOverlayXattr(std::string_view name) {
  return name.starts_with(kTrustedOverlayPrefix) || name.starts_with(kUserOverlayPrefix);
}

}  // namespace snap::whiteout
