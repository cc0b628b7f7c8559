#include "tests/union/known_differences.h"

#include <sstream>
#include <string_view>

namespace snap::test {
namespace {

bool g_on_tmpfs = false;
// A list of names with spaces behind them.
std::string WithoutTrusted(const std::string& names) {
  std::istringstream in(names);
  std::string out;
  for (std::string name; in >> name;) {
    if (!name.starts_with("trusted.")) out += name + " ";
  }
  return out;
}

constexpr const char* kTmpfsHoles = "tmpfs: reading a hole through a mapping or a pipe makes it data";

}  // namespace

void SetCircumstances(bool on_tmpfs) { g_on_tmpfs = on_tmpfs; }

const char* MayDiffer(const Operation& operation, const Outcome& kernel, const Outcome& other) {
  if (g_on_tmpfs && operation.kind == Kind::kSeek) return kTmpfsHoles;
  const bool chowns = operation.kind == Kind::kChown || operation.kind == Kind::kChownFd;
  if (chowns && operation.uid == static_cast<uid_t>(-1) && operation.gid == static_cast<gid_t>(-1) &&
      kernel.result == -EPERM && other.result == 0) {
    return "a chown that changes nothing and would drop set-id bits: FUSE leaves it out before anybody is "
           "asked";
  }
  const bool lists_xattrs = operation.kind == Kind::kListXattr || operation.kind == Kind::kListXattrFd;
  if (lists_xattrs && operation.as != 0 && WithoutTrusted(kernel.detail) == WithoutTrusted(other.detail)) {
    return "FUSE does not say whether the caller has CAP_SYS_ADMIN, without which the kernel lists no "
           "trusted.* names";
  }
  return nullptr;
}

const char* MayDiffer(const std::string& field, const FileRecord& kernel, const FileRecord& other) {
  (void)kernel;
  (void)other;
  if (g_on_tmpfs && field == "extents") return kTmpfsHoles;
  return nullptr;
}

const char* MayContradict(const std::string& program, const std::string& contradiction) {
  if (program == "kernel" && contradiction.starts_with("d_ino ")) {
    return "overlayfs lists another number for a link to a copied-up file in a directory that nothing was "
           "copied up into";
  }
  return nullptr;
}

}  // namespace snap::test
