// Seccomp profiles to BPF programs, by libseccomp. Compiled in the parent; installing is the child's (sys_seccomp.h).
#pragma once

#include <linux/filter.h>

#include <vector>

#include "fs/base/result.h"
#include "runtime/spec.h"

namespace snap::runtime {

struct SeccompProgram {
  std::vector<sock_filter> filter;
  unsigned flags = 0;     ///< SECCOMP_FILTER_FLAG_*
  bool notifies = false;  ///< a listener is to be handed over
};

/// Semantics as runc's: names that libseccomp does not know are passed over; rules of one call with several conditions on the same
/// argument are alternatives; errno is EPERM where none is given; where the default is an error, calls that are newer than everything
/// the profile names fail with ENOSYS, so that programs fall back. Architectures that are not listed are killed.
/// Cost: milliseconds for a profile of the usual size: see seccomp_cache.h.
/// Errors: kInvalidArgument (an architecture, flag or rule that makes no sense), kUnsupported (a flag that this kernel lacks).
Result<SeccompProgram> CompileSeccomp(const SeccompSpec& spec);

}  // namespace snap::runtime
