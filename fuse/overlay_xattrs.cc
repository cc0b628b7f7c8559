// Two ways of storing a name that is taken: the kernel's escape for marks of overlayfs, fuse-overlayfs' prefix for the rest.
#include "fuse/overlay_xattrs.h"

namespace snap::fuse {
namespace {

constexpr std::string_view kEscape = "overlay.";
constexpr std::string_view kOverride = "user.containers.override_";
constexpr size_t kMaxName = 255;

std::optional<std::string> Joined(std::string_view a, std::string_view b, std::string_view c) {
  if (a.size() + b.size() + c.size() > kMaxName) return std::nullopt;
  std::string name;
  name.reserve(a.size() + b.size() + c.size());
  return std::move(name.append(a).append(b).append(c));
}

}  // namespace

bool OverlayXattrs::IsReserved(std::string_view name) const {
  if (name.starts_with("user.fuseoverlayfs.") || name == "security.fuseoverlayfs.override_stat") return true;
  return override_ && name.starts_with("security.");
}

std::optional<std::string> OverlayXattrs::Shown(std::string_view stored) const {
  if (stored.starts_with(prefix_)) {
    const std::string_view rest = stored.substr(prefix_.size());
    if (!rest.starts_with(kEscape)) return std::nullopt;
    return Joined(prefix_, "", rest.substr(kEscape.size()));
  }
  if (override_ && stored.starts_with(kOverride)) {
    const std::string_view inner = stored.substr(kOverride.size());
    if (!IsReserved(inner)) return std::nullopt;
    return std::string(inner);
  }
  if (IsReserved(stored)) return std::nullopt;
  return std::string(stored);
}

std::optional<std::string> OverlayXattrs::Stored(std::string_view shown) const {
  if (shown.starts_with(prefix_)) return Joined(prefix_, kEscape, shown.substr(prefix_.size()));
  if (IsReserved(shown)) return override_ ? Joined(kOverride, "", shown) : std::nullopt;
  if (override_ && shown.starts_with(kOverride)) return std::nullopt;
  return std::string(shown);
}

}  // namespace snap::fuse
