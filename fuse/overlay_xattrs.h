// OverlayXattrs: which xattrs belong to the union itself, and how those of an overlay inside it are stored beside them.
//   stored "trusted.overlay.overlay.X"  is shown as "trusted.overlay.X" (escaped, as the kernel's overlayfs does since 6.7)
//   stored "trusted.overlay.X"          is the union's own and not shown
// and the same with "user.overlay." in a union that marks there. Source: Documentation/filesystems/overlayfs.rst, "Nesting overlayfs
// mounts".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace snap::fuse {

/// Threads: safe.
class OverlayXattrs {
 public:
  OverlayXattrs() = default;
  explicit OverlayXattrs(bool user_xattr) : prefix_(user_xattr ? "user.overlay." : "trusted.overlay.") {}

  /// A stored name that is the union's own: not shown, not copied up.
  bool IsInternal(std::string_view stored) const {
    if (stored.starts_with("user.fuseoverlayfs.")) return true;
    if (stored == "security.fuseoverlayfs.override_stat" || stored == "user.containers.override_stat") return true;
    return stored.starts_with(prefix_) && !stored.substr(prefix_.size()).starts_with(kEscape);
  }
  /// nullopt: not shown.
  std::optional<std::string> Shown(const std::string& stored) const {
    if (IsInternal(stored)) return std::nullopt;
    if (!stored.starts_with(prefix_)) return stored;
    return std::string(prefix_) + stored.substr(prefix_.size() + kEscape.size());
  }
  /// nullopt: nobody but the union can have it.
  std::optional<std::string> Stored(const std::string& shown) const {
    if (shown.starts_with(prefix_)) return std::string(prefix_) + std::string(kEscape) + shown.substr(prefix_.size());
    if (IsInternal(shown)) return std::nullopt;
    return shown;
  }

 private:
  static constexpr std::string_view kEscape = "overlay.";
  std::string_view prefix_ = "trusted.overlay.";
};

}  // namespace snap::fuse
