#include "fs/base/sys_seccomp.h"

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace snap::sys {

SysResult<UniqueFd> InstallSeccomp(std::span<const sock_filter> program, unsigned flags) {
  if (program.empty() || program.size() > BPF_MAXINSNS) return Errno(EINVAL);
  sock_fprog prog{};
  prog.len = static_cast<unsigned short>(program.size());
  prog.filter = const_cast<sock_filter*>(program.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast): the kernel only reads it
  const long result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
  if (result < 0) return LastErrno();
  if ((flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) == 0) return UniqueFd();
  return UniqueFd(static_cast<int>(result));
}

bool HasSeccompFlag(unsigned flag) {
  // A filter that is not there: EFAULT says that the flags were looked at first and found good.
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, nullptr) < 0 && errno == EFAULT;
}

}  // namespace snap::sys
