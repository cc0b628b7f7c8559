// NewFile: giving a file that was just created its attributes, with only the system calls that it needs.
// Both I/O engines and the tree writer go through here, so their trees cannot differ.
// Invariant: attributes are applied after the last write and in the one order in which none undoes another:
// owner (clears set-id bits and security.capability), permissions, xattrs, times.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_entry.h"

namespace snap {

/// What the kernel gives a new file when nothing is asked: it depends on the process (ids, umask), the mount
/// (grpid) and the directory (set-group-id bit), so it is measured rather than derived.
struct NewFileDefaults {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t cleared = 0;  ///< permission bits that creation takes away (umask)
};

/// The permissions to give to open, mkdir or mknod: set-id and sticky bits come after the data.
mode_t CreationMode(const Attributes& attributes);

/// The same for a name that is not open: symlink, device, fifo or directory; never follows a symlink. Before
/// the call the file has CreationMode less `defaults.cleared`, or `current_permissions` when given. xattrs:
/// Linux allows user.* only on regular files and directories; on other types they are ignored, as containerd
/// does. Every other failure is an error, since what was lost might be a capability or an ACL.
Result<void> ApplyAttributesAt(FdRef dir, const char* name, FileType type, const Attributes& attributes,
                               const NewFileDefaults& defaults,
                               std::optional<mode_t> current_permissions = {});

/// Creates regular files. Threads: one at a time.
class NewFileMaker {
 public:
  /// O_EXCL: kExists when the name is taken, by anything. The first call measures the defaults; all
  /// directories given to one maker must hand down the same ones and have no default ACL.
  Result<UniqueFd> Create(FdRef dir, std::string_view name, const Attributes& attributes);
  /// After the last write, which ended at `written_end`: size and attributes.
  Result<void> Complete(FdRef file, const Attributes& attributes, uint64_t size, uint64_t written_end) const;

 private:
  std::optional<NewFileDefaults> defaults_;
};

}  // namespace snap
