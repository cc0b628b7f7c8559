// UnionFs: the union file system without FUSE: nodes by number, operations that answer with a value or an errno. What the kernel's
// overlayfs does with redirect_dir, index and metacopy off, and what it writes to the upper, so that either can mount the
// other's upper (Documentation/filesystems/overlayfs.rst).
// Invariants: a lower layer is never written. A change of a lower file happens in a copy that becomes visible whole, by one rename or
// link. What the upper holds at any moment is a valid upper.
// Locks: docs/locking.md, "The FUSE union".
#pragma once

#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fuse/dir_fds.h"
#include "fuse/layer.h"
#include "fuse/union_options.h"

namespace snap::fuse {

/// Names a node for as long as the kernel knows it (Lookup counts, Forget). 1 is the root. Never reused, never a pointer.
using NodeId = uint64_t;
inline constexpr NodeId kRootNode = 1;
using HandleId = uint64_t;

/// Who asks. `uid` and `gid` are as the mount shows them.
struct Caller {
  uint32_t uid = 0, gid = 0;
  mode_t umask = 0;
};

/// A node with its attributes, as they are shown: st_ino is the union's own number, stable over copy-up and remount.
struct Entry {
  NodeId node = 0;  ///< 0: there is no such name, and it can be remembered
  FileStat stat;
};

/// How the kernel is to treat a file that was opened.
struct Opened {
  HandleId handle = 0;
  /// I/O goes to this file without asking us (FOPEN_PASSTHROUGH): a backing id of BackingFiles. 0: it comes here.
  int32_t backing_id = 0;
  bool keep_cache = false;  ///< what the kernel has cached of the file is still right
};

/// Registers files for passthrough with the kernel; the session's.
class BackingFiles {
 public:
  virtual ~BackingFiles() = default;
  /// A positive id. The descriptor may be closed afterwards. Errors: EPERM, EOPNOTSUPP, ELOOP: use the file without.
  virtual SysResult<int32_t> Register(FdRef file) = 0;
  virtual void Unregister(int32_t id) = 0;
};

/// What a SetAttr changes. nullopt: as it is.
struct AttributeChange {
  std::optional<mode_t> permissions;  ///< 07777
  std::optional<uint32_t> uid, gid;   ///< as shown
  std::optional<uint64_t> size;
  /// tv_nsec may be UTIME_NOW.
  std::optional<timespec> access_time, modify_time;
  bool kill_suid_sgid = false;  ///< HANDLE_KILLPRIV_V2: drop set-id bits and security.capability
};

/// One entry of a directory. `next` is where to go on after it.
struct DirectoryEntry {
  std::string_view name;
  uint64_t inode = 0;
  uint32_t type = 0;  ///< S_IF*
  uint64_t next = 0;
};

/// What is read once when the union is opened: for the command line's `--features` and for messages.
struct UnionTraits {
  bool writable = false;
  bool user_xattr = false;
  WhiteoutForm whiteouts = WhiteoutForm::kDevice;
  bool has_acls = true;   ///< false: no layer can have any, so the kernel need not ask
  uint32_t name_max = 255;
};

/// Threads: all calls are safe. Errors are what the caller of the system call sees. Names are single components without '/'.
/// A name that the union reserves (".wh.x" in the file form of whiteouts) is EPERM to make and does not exist otherwise.
class UnionFs {
 public:
  struct Upper {
    UniqueFd upper;  ///< directory that receives changes
    UniqueFd work;   ///< empty directory on the same file system; temporary files are in `work/work` as overlayfs has them
  };
  /// Layers top first, at least one, or none with an upper; `fds` is what they were opened with. `backing` (nullptr: never passthrough)
  /// outlives the union. Empties the work directory. Errors: kInvalidArgument, kBusy (upper used by another mount), kIo, kUnsupported.
  static Result<std::unique_ptr<UnionFs>> Open(std::vector<Layer> layers_top_first, std::optional<Upper> upper,
                                               const UnionOptions& options, std::shared_ptr<DirFds> fds, BackingFiles* backing);
  /// For Open: as many descriptors as `options` or the process' limit allow.
  static std::shared_ptr<DirFds> MakeDirFds(const UnionOptions& options);
  UnionFs(const UnionFs&) = delete;
  UnionFs& operator=(const UnionFs&) = delete;
  ~UnionFs();

  const UnionTraits& traits() const;

  // --- names. An Entry that is returned counts one lookup of its node.
  SysResult<Entry> Lookup(NodeId directory, std::string_view name);
  void Forget(NodeId node, uint64_t lookups);
  SysResult<FileStat> GetAttr(NodeId node);
  SysResult<FileStat> SetAttr(NodeId node, const AttributeChange& change, std::optional<HandleId> handle);
  SysResult<std::string> ReadLink(NodeId node);
  SysResult<Entry> MakeNode(NodeId directory, std::string_view name, mode_t mode, dev_t device, const Caller& caller);
  SysResult<Entry> MakeDirectory(NodeId directory, std::string_view name, mode_t mode, const Caller& caller);
  SysResult<Entry> MakeSymlink(NodeId directory, std::string_view name, std::string_view target, const Caller& caller);
  SysResult<Entry> Link(NodeId node, NodeId directory, std::string_view name);
  SysResult<void> Unlink(NodeId directory, std::string_view name);
  SysResult<void> RemoveDirectory(NodeId directory, std::string_view name);
  /// `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT. A directory with a lower part: EXDEV.
  SysResult<void> Rename(NodeId old_directory, std::string_view old_name, NodeId new_directory, std::string_view new_name,
                         unsigned flags);

  // --- files. `flags` are open(2)'s.
  SysResult<Opened> OpenFile(NodeId node, int flags);
  struct Created {
    Entry entry;
    Opened opened;
  };
  SysResult<Created> CreateFile(NodeId directory, std::string_view name, mode_t mode, int flags, const Caller& caller);
  /// O_TMPFILE.
  SysResult<Created> CreateUnnamed(NodeId directory, mode_t mode, int flags, const Caller& caller);
  void ReleaseFile(HandleId handle);
  /// `handle` 0: opened without asking (no_open).
  SysResult<size_t> Read(NodeId node, HandleId handle, uint64_t offset, std::span<std::byte> buffer);
  SysResult<size_t> Write(NodeId node, HandleId handle, uint64_t offset, std::span<const std::byte> data, bool kill_suid_sgid);
  SysResult<void> FlushFile(NodeId node, HandleId handle, bool data_only);
  SysResult<void> Allocate(NodeId node, HandleId handle, int mode, uint64_t offset, uint64_t size);
  SysResult<uint64_t> Seek(NodeId node, HandleId handle, uint64_t offset, int whence);
  SysResult<size_t> CopyRange(NodeId in, HandleId in_handle, uint64_t in_offset, NodeId out, HandleId out_handle,
                              uint64_t out_offset, size_t size);

  // --- directories
  /// Calls for entries behind `offset` (0, or a DirectoryEntry::next), '.' and '..' included, until `visit` returns false or they end.
  /// There are no handles: an offset means the same whoever uses it when, and names that stay are seen once.
  using EntryVisitor = std::function<bool(const DirectoryEntry& entry)>;
  SysResult<void> ReadDirectory(NodeId directory, uint64_t offset, const EntryVisitor& visit);
  /// The same with a lookup of every entry: '.' and '..' have node 0 and must not be forgotten. `visit` says whether the entry was
  /// taken; one that was not does not count as looked up. A name that has gone meanwhile is left out.
  using EntryPlusVisitor = std::function<bool(const DirectoryEntry& entry, const Entry& looked_up)>;
  SysResult<void> ReadDirectoryPlus(NodeId directory, uint64_t offset, const EntryPlusVisitor& visit);
  SysResult<void> FlushDirectory(NodeId directory);

  // --- xattrs
  SysResult<std::string> GetXattr(NodeId node, const std::string& name);
  SysResult<std::vector<std::string>> ListXattr(NodeId node);
  /// `flags`: XATTR_CREATE, XATTR_REPLACE.
  SysResult<void> SetXattr(NodeId node, const std::string& name, std::string_view value, int flags);
  SysResult<void> RemoveXattr(NodeId node, const std::string& name);

  // --- the whole
  SysResult<struct statvfs> StatFs();
  SysResult<void> SyncAll();

  /// For tests and SIGUSR1: what is held now.
  struct Counts {
    uint64_t nodes = 0, handles = 0, directory_descriptors = 0, detached_descriptors = 0;
  };
  Counts counts() const;

 private:
  class Impl;
  explicit UnionFs(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snap::fuse
