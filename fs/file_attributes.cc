// The order matters: chown clears set-id bits and capabilities, so it comes first; times come last.
#include "fs/file_attributes.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/whiteout.h"

namespace snap {

Result<void> CopyAttributes(FdRef source, FdRef target) {
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(source), "read attributes");
  SNAP_TRY_SYS_VOID(sys::FChown(target, stat.st_uid, stat.st_gid), "change owner");
  SNAP_TRY_SYS_VOID(sys::FChmod(target, stat.st_mode & 07777U), "change mode");
  SNAP_TRY_SYS(const std::vector<std::string> wanted, sys::FListXattr(source), "list xattrs");
  SNAP_TRY_SYS(const std::vector<std::string> present, sys::FListXattr(target), "list xattrs");
  for (const std::string& name : present) {
    if (whiteout::IsOverlayXattr(name) || std::find(wanted.begin(), wanted.end(), name) != wanted.end())
      continue;
    SNAP_TRY_SYS_VOID(sys::FRemoveXattr(target, name.c_str()), "remove xattr {}", Quote(name));
  }
  for (const std::string& name : wanted) {
    if (whiteout::IsOverlayXattr(name)) continue;
    SNAP_TRY_SYS(const std::string value, sys::FGetXattr(source, name.c_str()), "read xattr {}", Quote(name));
    SNAP_TRY_SYS_VOID(sys::FSetXattr(target, name.c_str(), std::as_bytes(std::span(value))), "set xattr {}",
                      Quote(name));
  }
  SNAP_TRY_SYS_VOID(sys::FSetTimes(target, {stat.st_mtim, stat.st_mtim}), "set times");
  return {};
}

Result<void> CopyAttributesAt(FdRef source_dir, const char* source, FdRef target_dir, const char* target) {
  SNAP_TRY_SYS(const struct stat stat, sys::StatAt(source_dir, source), "read attributes");
  SNAP_TRY_SYS_VOID(sys::FChownAt(target_dir, target, stat.st_uid, stat.st_gid), "change owner");
  if (!S_ISLNK(stat.st_mode)) {
    SNAP_TRY_SYS_VOID(sys::FChmodAt(target_dir, target, stat.st_mode & 07777U), "change mode");
  }
  SNAP_TRY_SYS(const std::vector<std::string> names, sys::ListXattrAt(source_dir, source), "list xattrs");
  for (const std::string& name : names) {
    if (whiteout::IsOverlayXattr(name)) continue;
    SNAP_TRY_SYS(const std::string value, sys::GetXattrAt(source_dir, source, name.c_str()), "read xattr {}",
                 Quote(name));
    SNAP_TRY_SYS_VOID(sys::SetXattrAt(target_dir, target, name.c_str(), std::as_bytes(std::span(value))),
                      "set xattr {}", Quote(name));
  }
  SNAP_TRY_SYS_VOID(sys::SetTimesAt(target_dir, target, {stat.st_mtim, stat.st_mtim}), "set times");
  return {};
}

Result<Attributes> ReadAttributesAt(FdRef directory, const char* name) {
  SNAP_TRY_SYS(const struct stat stat, sys::StatAt(directory, name), "read attributes");
  Attributes attributes;
  attributes.permissions = stat.st_mode & 07777U;
  attributes.uid = stat.st_uid;
  attributes.gid = stat.st_gid;
  attributes.mtime = stat.st_mtim;
  SNAP_TRY_SYS(const std::vector<std::string> names, sys::ListXattrAt(directory, name), "list xattrs");
  for (const std::string& xattr : names) {
    if (whiteout::IsOverlayXattr(xattr)) continue;
    SNAP_TRY_SYS(std::string value, sys::GetXattrAt(directory, name, xattr.c_str()), "read xattr {}", Quote(xattr));
    attributes.xattrs.push_back({xattr, std::move(value)});
  }
  return attributes;
}

}  // namespace snap
