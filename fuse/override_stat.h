// override_stat: owner, permissions and type of a file in an xattr, for users who cannot set the real ones (xattr_permissions).
//   uid:gid:mode[:type]   decimal, mode octal, type one of dir file symlink pipe socket block-MAJOR-MINOR char-MAJOR-MINOR
// Source: containers/storage, "force_mask"; fuse-overlayfs(1), "xattr_permissions".
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "fs/base/result.h"
#include "fuse/union_options.h"

namespace snap::fuse {

struct OverrideStat {
  uint32_t uid = 0, gid = 0;
  mode_t permissions = 0;      ///< 07777
  std::optional<mode_t> type;  ///< S_IF*; nullopt: as the file is
  dev_t device = 0;
  friend bool operator==(const OverrideStat&, const OverrideStat&) = default;
};

/// nullopt: not such a value.
std::optional<OverrideStat> ParseOverride(std::string_view value);
std::string FormatOverride(const OverrideStat& stat);

/// The xattr that is written; "" for kOff.
const char* OverrideXattrName(XattrPermissions where);
bool IsOverrideXattr(std::string_view name);
/// What a file's xattrs say. nullopt: nothing. Errors: those of `get`; EIO for a value that is none.
SysResult<std::optional<OverrideStat>> LoadOverride(XattrPermissions where,
                                                    const std::function<SysResult<std::string>(const std::string&)>& get);

}  // namespace snap::fuse
