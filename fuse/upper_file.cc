// With a name the *at calls do it; without one the descriptor's link in /proc stands for the file.
#include "fuse/upper_file.h"

#include <fcntl.h>

#include "fs/base/sys_file.h"
#include "fuse/file_stat.h"

namespace snap::fuse {

SysResult<FileStat> UpperFile::Stat() const { return has_name() ? StatOf(dir(), name_.c_str()) : StatOf(file(), ""); }

SysResult<UniqueFd> UpperFile::Open(int flags) const {
  return has_name() ? sys::OpenAt(dir(), name_.c_str(), flags | O_NOFOLLOW | O_NONBLOCK) : sys::Reopen(file(), flags);
}

SysResult<UniqueFd> UpperFile::OpenPath() const {
  return has_name() ? sys::OpenAt(dir(), name_.c_str(), O_PATH | O_NOFOLLOW) : sys::Dup(file());
}

SysResult<std::string> UpperFile::ReadLink() const {
  return has_name() ? sys::ReadLinkAt(dir(), name_.c_str()) : sys::ReadLinkAt(file(), "");
}

SysResult<void> UpperFile::Chmod(mode_t permissions) const {
  return has_name() ? sys::FChmodAt(dir(), name_.c_str(), permissions)
                    : sys::FChmodAt(FdRef::Cwd(), sys::ProcFdPath(file()).c_str(), permissions);
}

SysResult<void> UpperFile::Chown(uid_t uid, gid_t gid) const {
  return has_name() ? sys::FChownAt(dir(), name_.c_str(), uid, gid) : sys::FChownAt(file(), "", uid, gid, AT_EMPTY_PATH);
}

SysResult<void> UpperFile::SetTimes(const timespec& access, const timespec& modify) const {
  return has_name() ? sys::SetTimesAt(dir(), name_.c_str(), {access, modify})
                    : sys::SetTimesAt(file(), "", {access, modify}, AT_EMPTY_PATH);
}

SysResult<std::string> UpperFile::GetXattr(const std::string& xattr) const {
  return has_name() ? sys::GetXattrAt(dir(), name_.c_str(), xattr.c_str()) : sys::PathFdGetXattr(file(), xattr.c_str());
}

SysResult<std::vector<std::string>> UpperFile::ListXattr() const {
  return has_name() ? sys::ListXattrAt(dir(), name_.c_str()) : sys::PathFdListXattr(file());
}

SysResult<void> UpperFile::SetXattr(const std::string& xattr, std::string_view value, int flags) const {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(value));
  return has_name() ? sys::SetXattrAt(dir(), name_.c_str(), xattr.c_str(), bytes, flags)
                    : sys::PathFdSetXattr(file(), xattr.c_str(), bytes, flags);
}

SysResult<void> UpperFile::RemoveXattr(const std::string& xattr) const {
  return has_name() ? sys::RemoveXattrAt(dir(), name_.c_str(), xattr.c_str())
                    : sys::PathFdRemoveXattr(file(), xattr.c_str());
}

SysResult<void> UpperFile::LinkTo(FdRef directory, const std::string& name) const {
  return has_name() ? sys::LinkAt(dir(), name_.c_str(), directory, name.c_str())
                    : sys::LinkFd(file(), directory, name.c_str());
}

}  // namespace snap::fuse
