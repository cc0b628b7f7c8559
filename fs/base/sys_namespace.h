// System calls on namespaces: places to mount and to map ids that nobody else sees.
// Invariant: when a call returns, every thread and child it made is gone and the caller's namespaces are
// unchanged. Errors: the kernel's errno. Threads: safe.
#pragma once

#include <functional>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// Runs `body` on a new thread whose mount namespace is a private copy of the caller's: its mounts are seen
/// by nobody and are gone when this returns, except those that were turned into descriptors (OpenTree with
/// OPEN_TREE_CLONE). `scratch` (a detached mount) is attached over "/" in there, so that it can be mounted
/// on, and is the thread's working directory; absolute paths still mean what they meant. `body` shares the
/// process' descriptors. Errors: EPERM without CAP_SYS_ADMIN; EAGAIN when there is no thread to be had.
/// `body` did not run on error. Cost: O(mounts of the namespace).
SysResult<void> RunInPrivateMountNamespace(FdRef scratch, const std::function<void()>& body);

/// A user namespace held by descriptor, for MountSetIdmap. The maps are the text of /proc/PID/{uid,gid}_map.
/// Errors: EPERM (maps the caller may not write), ENOSPC or EUSERS (user namespaces are limited or switched
/// off).
SysResult<UniqueFd> NewUserNamespace(const std::string& uid_map, const std::string& gid_map);

/// Puts this process, which must have one thread, into a mount namespace of its own where there is nothing but /proc: it holds no
/// mount of the one it came from any more, except by its descriptors. Errors: EPERM without CAP_SYS_ADMIN. After another error the
/// process sees whatever it got to.
SysResult<void> EnterEmptyMountNamespace();
/// CLONE_NEW* of the namespace that a descriptor stands for (NS_GET_NSTYPE). Errors: ENOTTY for what is none.
SysResult<uint64_t> NamespaceType(FdRef ns);

/// Runs `body` in a child with new, unmapped user and mount namespaces, where it has all capabilities, and
/// returns what it returned (0..255). The child is a copy of a maybe multi-threaded process: only system
/// calls in `body`, no allocation, no locks. Errors: EPERM, ENOSPC or EUSERS as above; EINTR when the child
/// was killed.
SysResult<int> RunInUserNamespace(int (*body)());

}  // namespace snap::sys
