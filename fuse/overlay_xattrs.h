// OverlayXattrs: which xattrs belong to the union itself, and how those that only look so are stored beside them.
//   stored "trusted.overlay.overlay.X"  is shown as "trusted.overlay.X" (escaped, as the kernel's overlayfs does since 6.7)
//   stored "trusted.overlay.X"          is the union's own and not shown
// and the same with "user.overlay." in a union that marks there; the other spelling is then anybody's. fuse-overlayfs' marks
// ("user.fuseoverlayfs.") are always read, so nobody may set them. With XattrPermissions::kUser "security.*", which the
// mounting user may not set, is stored as "user.containers.override_security.*"; other names of that beginning are not shown.
// Invariant: what Shown says of a stored name, Stored turns back into that name, and the other way round.
// Sources: Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts"; fuse-overlayfs(1), "xattr_permissions".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "fuse/union_options.h"

namespace snap::fuse {

/// Threads: safe.
class OverlayXattrs {
 public:
  OverlayXattrs() = default;
  explicit OverlayXattrs(bool user_xattr, XattrPermissions permissions = XattrPermissions::kOff)
      : prefix_(user_xattr ? "user.overlay." : "trusted.overlay."), override_(permissions == XattrPermissions::kUser) {}

  /// A stored name that is the union's own: not shown, not copied up (but for IsOverrideXattr).
  bool IsInternal(std::string_view stored) const { return !Shown(stored).has_value(); }
  /// nullopt: not shown.
  std::optional<std::string> Shown(std::string_view stored) const;
  /// nullopt: nobody but the union can have it, or it would be longer than 255 bytes.
  std::optional<std::string> Stored(std::string_view shown) const;

 private:
  /// Names that only the union sets, whatever they would say.
  bool IsReserved(std::string_view name) const;

  std::string_view prefix_ = "trusted.overlay.";
  bool override_ = false;
};

}  // namespace snap::fuse
