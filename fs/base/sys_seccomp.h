// seccomp(2). Errors: the kernel's errno. Threads: safe; a filter is for the calling thread unless its flags say otherwise.
#pragma once

#include <linux/filter.h>

#include <span>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// Installs a filter; with SECCOMP_FILTER_FLAG_NEW_LISTENER returns the descriptor of its notifications, otherwise an invalid one.
/// Allocates nothing. Errors: EACCES without no_new_privs or CAP_SYS_ADMIN; EINVAL for a program or flag that the kernel refuses;
/// EBUSY when there is a listener already.
SysResult<UniqueFd> InstallSeccomp(std::span<const sock_filter> program, unsigned flags);
/// Whether the kernel knows a SECCOMP_FILTER_FLAG_*.
bool HasSeccompFlag(unsigned flag);

}  // namespace snap::sys
