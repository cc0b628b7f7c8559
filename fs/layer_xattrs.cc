#include "fs/layer_xattrs.h"

#include "fs/whiteout.h"

namespace snap {

XattrVerdict JudgeXattr(std::string_view name, TarEntry::Kind kind) {
  const bool is_directory = kind == TarEntry::Kind::kDirectory;
  const bool is_file_or_directory = is_directory || kind == TarEntry::Kind::kRegular;
  const auto keep_if = [](bool condition) { return condition ? XattrVerdict::kKeep : XattrVerdict::kOther; };
  if (whiteout::IsOverlayXattr(name)) return XattrVerdict::kOverlay;
  if (name.starts_with("user.")) return keep_if(is_file_or_directory && name.size() > 5);
  if (name == "security.capability") return keep_if(kind == TarEntry::Kind::kRegular);
  if (name.starts_with("security.")) return XattrVerdict::kSecurity;
  if (name == "system.posix_acl_access") return keep_if(kind != TarEntry::Kind::kSymlink);
  if (name == "system.posix_acl_default") return keep_if(is_directory);
  return XattrVerdict::kOther;
}

}  // namespace snap
