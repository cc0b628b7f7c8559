// bpf(2), as far as cgroups need it. Errors: the kernel's errno. Threads: safe.
#pragma once

#include <linux/bpf.h>

#include <span>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// BPF_PROG_TYPE_CGROUP_DEVICE. Errors: EINVAL, EACCES for a program that the verifier refuses; EPERM; ENOSYS.
SysResult<UniqueFd> LoadCgroupDeviceProgram(std::span<const bpf_insn> program);
/// Attaches it to a cgroup2 directory and detaches those that were there before.
SysResult<void> ReplaceCgroupDeviceProgram(FdRef cgroup, FdRef program);

}  // namespace snap::sys
