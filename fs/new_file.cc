// The fewest calls: a file of root with plain permissions needs none but its times.
#include "fs/new_file.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <span>
#include <string>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"

namespace snap {
namespace {

constexpr mode_t kPermissionBits = 07777;
constexpr mode_t kPlainBits = 0777;

std::string PathAt(FdRef dir, std::string_view name) {
  return Quote(sys::DescribeFd(dir) + "/" + std::string(name));
}
std::string PathOf(FdRef file) { return Quote(sys::DescribeFd(file)); }

std::span<const std::byte> Bytes(const std::string& value) { return std::as_bytes(std::span(value)); }

// Access time = modification time: two extractions of one layer agree in every field that can be set.
sys::Times TimesOf(const Attributes& attributes) { return {attributes.mtime, attributes.mtime}; }

bool MayHaveUserXattrs(FileType type) { return type == FileType::kRegular || type == FileType::kDirectory; }

}  // namespace

mode_t CreationMode(const Attributes& attributes) { return attributes.permissions & kPlainBits; }

Result<void> ApplyAttributesAt(FdRef dir, const char* name, FileType type, const Attributes& attributes,
                               const NewFileDefaults& defaults, std::optional<mode_t> current_permissions) {
  const bool owner_changes = attributes.uid != defaults.uid || attributes.gid != defaults.gid;
  if (owner_changes) {
    SNAP_TRY_SYS_VOID(sys::FChownAt(dir, name, attributes.uid, attributes.gid), "set the owner of {}",
                      PathAt(dir, name));
  }
  if (type != FileType::kSymlink) {  // a symlink has no permissions
    const mode_t wanted = attributes.permissions & kPermissionBits;
    const mode_t current = current_permissions.value_or(CreationMode(attributes) & ~defaults.cleared);
    if (wanted != current) {
      SNAP_TRY_SYS_VOID(sys::FChmodAt(dir, name, wanted), "set the permissions of {}", PathAt(dir, name));
    }
  }
  for (const Xattr& xattr : attributes.xattrs) {
    if (!MayHaveUserXattrs(type) && xattr.name.starts_with("user.")) continue;
    SNAP_TRY_SYS_VOID(sys::SetXattrAt(dir, name, xattr.name.c_str(), Bytes(xattr.value)),
                      "set xattr {} of {}", Quote(xattr.name), PathAt(dir, name));
  }
  SNAP_TRY_SYS_VOID(sys::SetTimesAt(dir, name, TimesOf(attributes)), "set the times of {}",
                    PathAt(dir, name));
  return {};
}

Result<UniqueFd> NewFileMaker::Create(FdRef dir, std::string_view name, const Attributes& attributes) {
  std::array<char, RelPath::kMaxName + 1> c_name{};
  if (name.size() > RelPath::kMaxName)
    return Error(Errno(ENAMETOOLONG), fmt::format("create {}", Quote(name)));
  name.copy(c_name.data(), name.size());
  constexpr int kFlags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW;

  if (defaults_.has_value()) [[likely]] {
    SNAP_TRY_SYS(UniqueFd file, sys::OpenAt(dir, c_name.data(), kFlags, CreationMode(attributes)),
                 "create {}", PathAt(dir, name));
    return file;
  }
  // Only a file that asks for all bits shows which ones creation takes away.
  SNAP_TRY_SYS(UniqueFd file, sys::OpenAt(dir, c_name.data(), kFlags, kPlainBits), "create {}",
               PathAt(dir, name));
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(file), "stat {}", PathOf(file));
  const NewFileDefaults defaults{stat.st_uid, stat.st_gid, kPlainBits & ~stat.st_mode};
  SNAP_TRY_SYS_VOID(sys::FChmod(file, CreationMode(attributes) & ~defaults.cleared),
                    "set the permissions of {}", PathOf(file));
  defaults_ = defaults;
  return file;
}

Result<void> NewFileMaker::Complete(FdRef file, const Attributes& attributes, uint64_t size,
                                    uint64_t written_end) const {
  SNAP_CHECK(defaults_.has_value());
  if (written_end < size) {
    SNAP_TRY_SYS_VOID(sys::Truncate(file, size), "set the size of {} to {}", PathOf(file), size);
  }
  if (attributes.uid != defaults_->uid || attributes.gid != defaults_->gid) {
    SNAP_TRY_SYS_VOID(sys::FChown(file, attributes.uid, attributes.gid), "set the owner of {}", PathOf(file));
  }
  const mode_t wanted = attributes.permissions & kPermissionBits;
  if (wanted != (CreationMode(attributes) & ~defaults_->cleared)) {
    SNAP_TRY_SYS_VOID(sys::FChmod(file, wanted), "set the permissions of {}", PathOf(file));
  }
  for (const Xattr& xattr : attributes.xattrs) {
    SNAP_TRY_SYS_VOID(sys::FSetXattr(file, xattr.name.c_str(), Bytes(xattr.value)), "set xattr {} of {}",
                      Quote(xattr.name), PathOf(file));
  }
  SNAP_TRY_SYS_VOID(sys::FSetTimes(file, TimesOf(attributes)), "set the times of {}", PathOf(file));
  return {};
}

}  // namespace snap
