// POSIX ACLs as xattrs: what Linux accepts for "system.posix_acl_*". A tree's setxattr would refuse anything else; an image
// stores what it is given.
#pragma once

#include <string_view>

namespace snap {

/// Version 2, whole entries, in the kernel's order, with a mask where named entries need one (posix_acl_valid in
/// fs/posix_acl.c). Source of the layout: include/uapi/linux/posix_acl_xattr.h.
bool IsValidPosixAcl(std::string_view value);

}  // namespace snap
