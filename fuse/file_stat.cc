// statx instead of fstatat, for the time of birth.
#include "fuse/file_stat.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include "fs/base/sys_file.h"

namespace snap::fuse {
namespace {

timespec Time(const statx_timestamp& time) { return {time.tv_sec, static_cast<long>(time.tv_nsec)}; }

}  // namespace

SysResult<FileStat> StatOf(FdRef dir, const char* name) {
  SNAP_TRY(const struct statx x, sys::StatX(dir, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT,
                                            STATX_BASIC_STATS | STATX_BTIME));
  FileStat out;
  struct stat& st = out.st;
  st.st_dev = makedev(x.stx_dev_major, x.stx_dev_minor);
  st.st_ino = x.stx_ino;
  st.st_mode = x.stx_mode;
  st.st_nlink = x.stx_nlink;
  st.st_uid = x.stx_uid;
  st.st_gid = x.stx_gid;
  st.st_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor);
  st.st_size = static_cast<off_t>(x.stx_size);
  st.st_blksize = static_cast<blksize_t>(x.stx_blksize);
  st.st_blocks = static_cast<blkcnt_t>(x.stx_blocks);
  st.st_atim = Time(x.stx_atime);
  st.st_mtim = Time(x.stx_mtime);
  st.st_ctim = Time(x.stx_ctime);
  if ((x.stx_mask & STATX_BTIME) != 0) out.birth = Time(x.stx_btime);
  return out;
}

}  // namespace snap::fuse
