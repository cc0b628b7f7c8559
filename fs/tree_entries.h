// TreeEntries: a directory tree read the way TarReader reads an archive, entry by entry and then its data; as
// it is, or, when it is an overlayfs upper, as the changes that it makes to the layers below. Sources: Linux
// Documentation/filesystems/overlayfs.rst; OCI image-spec, layer.md, "Whiteouts". Invariant: the entries are
// a function of the tree: sorted by bytes, parents first, owners as numbers. A tree that somebody else
// changes meanwhile gives an error or one of its states, entry by entry; never a file from outside, and never
// an entry that does not have the data it announces.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/rel_path.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/tar_reader.h"
#include "fs/tree_file.h"
#include "fs/whiteout.h"

namespace snap {

/// How an overlayfs upper is read.
struct UpperView {
  /// The root of a mount that shows the upper over its lower layers. What the upper only refers to is read
  /// there: the data of metacopy files, and all below directories that were renamed. Without it a tree that
  /// has such things is kInvalidArgument.
  UniqueFd merged;
  bool user_xattr = false;  ///< marks are "user.overlay.*": the mount that wrote them had userxattr
  /// The root is left out if all that a layer can say of it but its time is still this; otherwise it is an
  /// entry, as the upper's root is the root that users see.
  std::optional<Attributes> unchanged_root;
};

struct TreeEntriesOptions {
  bool keep_holes = false;  ///< files with holes as sparse entries; otherwise holes are zeros
  std::optional<UpperView> upper;
};

/// The tree below a directory, its root first as "./". Symlinks are never followed. Sockets are left out: tar
/// has none (of an upper, one is a whiteout where a lower file may have its name). Of names that share an
/// inode all but the first become hard links. Of a plain tree all xattrs are given but the host's policy
/// ("security." except security.capability), and other file systems mounted in it are walked into, as tar
/// does.
///
/// Of an upper:
/// - Whiteouts, in both of the kernel's forms, are empty files ".wh.NAME" in the place of NAME, of root, mode
/// 0
///   and time 0; opaque directories begin with ".wh..wh..opq".
/// - A renamed directory is opaque and holds all that `merged` shows in it: OCI layers cannot rename. (Where
/// it
///   was is a whiteout of the kernel's.)
/// - Xattrs are those that a layer may set (JudgeXattr).
/// - No other mount is entered: EXDEV.
///
/// Errors: kBusy when an entry changes under the reader; kInvalidArgument for a name that means a whiteout
/// (".wh.") and for an upper that needs `merged`; kLimitExceeded for paths longer or deeper than RelPath
/// allows, which no layer can hold, and whiteouts of names above 251 bytes; the file system's own. After an
/// error the object is only to be destroyed. Cost: five descriptors whatever the depth; memory for the names
/// of the directories on the way and for one name of each file that has several. Threads: one at a time.
class TreeEntries {
 public:
  /// `root`: a directory, O_PATH is enough. `name` is for errors. Nothing is read before the first Next.
  TreeEntries(UniqueFd root, std::string name, TreeEntriesOptions options);

  /// The next entry, nullptr at the end; valid until the next call. The data of the one before must have been
  /// read. Attributes have their xattrs sorted.
  Result<const TarEntry*> Next();
  /// The data of the current entry, extent after extent as tar::StoredBytes counts it: fills the front of a
  /// non-empty buffer; 0 at the end.
  Result<size_t> Read(std::span<std::byte> buffer);

 private:
  using InodeKey = std::pair<dev_t, ino_t>;
  struct Frame {
    RelPath path;
    InodeKey key{};
    std::vector<std::string> names;  ///< sorted
    size_t next = 0;
    bool in_merged = false;        ///< listed in `merged`, as is all below
    bool hides_lower = false;      ///< it, or a directory above, is opaque
    bool xattr_whiteouts = false;  ///< see whiteout::Mark
  };
  struct Marks {
    bool opaque = false, xattr_whiteouts = false, metacopy = false, redirect = false;
  };
  /// A name looked up once: what is done with it later is done with this file, whatever takes its place.
  struct Item {
    UniqueFd path_fd;
    struct stat stat {};
  };

  std::string Describe(const RelPath& path) const;
  Result<Item> LookUp(FdRef dir, const char* relative, const RelPath& path) const;
  Result<UniqueFd> OpenDirectory(FdRef dir, const char* relative, const RelPath& path) const;

  Result<bool> Step();
  Result<void> LeaveDirectory();
  Result<bool> EnterDirectory(const RelPath& path, UniqueFd dir);
  Result<bool> Visit(const RelPath& path, const std::string& name);
  Result<void> BeginFile(const RelPath& path, Item item);
  Result<UniqueFd> OpenData(const RelPath& path, uint64_t size) const;
  Result<void> FillSpecial(const RelPath& path, const std::string& name, const struct stat& stat);
  Result<bool> IsWhiteout(const std::string& name, const struct stat& stat, const RelPath& path) const;
  Result<InodeKey> IdentityOf(const RelPath& path, const struct stat& stat) const;

  void BeginEntry(const RelPath& path, const struct stat& stat, TarEntry::Kind kind);
  void MakeMarker(const RelPath& path);
  bool IsUnchangedRoot() const;
  bool IsKept(std::string_view xattr) const;
  template <typename Get>
  Result<Marks> ReadXattrs(const SysResult<std::vector<std::string>>& listed, Get get, const RelPath& path);

  const UniqueFd root_;
  const std::string name_;
  const TreeEntriesOptions options_;
  const uint64_t resolve_;  ///< RESOLVE_* of every path
  bool started_ = false;
  UniqueFd current_;  ///< the directory on top of the stack
  std::vector<Frame> stack_;
  std::map<InodeKey, std::string> first_names_;  ///< of inodes with several names
  TarEntry entry_;
  std::optional<RelPath> marker_;  ///< comes next
  TreeFile file_;                  ///< data of entry_
};

}  // namespace snap
