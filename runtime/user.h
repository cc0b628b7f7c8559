// Who a container runs as: Docker's user syntax, looked up in the image's own /etc/passwd and /etc/group.
// Invariant: the files are hostile bytes, read with a limit and parsed here; the C library's lookups (NSS), which would
// read the host's files or load the image's libraries, are never used.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::runtime {

struct UserIds {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  ///< for setgroups: the primary group first, each once
  std::string home = "/";     ///< from passwd; "/" when the user has no entry
};

/// Resolves `user` ("", "uid", "name", "uid:gid", "name:group", ":group"; "" is uid 0) as Docker does: an entry whose
/// name or number equals the text wins, a number needs no entry. Members of /etc/group are counted by name, and only
/// when no group is given. Numbers are plain decimals up to 2147483647.
/// Errors: kInvalidArgument for a malformed text, kNotFound for a name without entry, kLimitExceeded for absurd files.
Result<UserIds> ResolveUser(FdRef rootfs, std::string_view user);
/// The same with the files' contents.
Result<UserIds> ResolveUserIn(std::string_view user, std::string_view passwd, std::string_view group);

}  // namespace snap::runtime
