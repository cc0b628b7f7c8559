// TreeWriter: stages a layer as a plain directory tree, in overlayfs' spelling of whiteouts and opaque
// directories. Invariant: the kernel is only ever given single names in directories that this writer made
// (see TreeDirectories), so nothing in a layer can make it touch a file outside its root.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/io_engine.h"
#include "fs/layer_writer.h"
#include "fs/new_file.h"
#include "fs/tree_directories.h"

namespace snap {

struct TreeWriterOptions {
  bool user_xattr = false;  ///< mark opaque directories with user.overlay.*: for mounts with "userxattr"
  size_t max_open_directories = 64;         ///< cached descriptors
  uint64_t max_memory_bytes = 1ULL << 30U;  ///< of what must be remembered to the end; more is kLimitExceeded
};

/// LayerWriter's rules, and how this one decides what they leave open:
/// - A directory that takes the place of anything else of the same layer (a whiteout, whether it comes before
/// or after;
///   a file) is opaque: what the lower layers have under that name is gone.
/// - Implied directories below an opaque or replaced one are not reported: nothing of the lower layers is
/// there to take
///   attributes from. The root is never reported; unnamed it is 0755 root, mtime 0.
/// - A hard link to something that is neither in this layer nor removed by it is a lower link; one to
/// something that
///   this layer removes, in whatever order, is kInvalidArgument (reported by Finish). It takes the name like
///   any entry.
/// - user.* xattrs on anything but files and directories, where Linux has none, are ignored; all other
/// failures count.
///   Overlay xattrs are the caller's to strip.
/// - LayerUsage: disk_bytes assumes 4 KiB blocks and counts data, directories and long symlinks; inodes are
/// free, as
///   for st_blocks. When a later entry has replaced an earlier one, Finish counts again by walking the tree.
/// Memory: O(directories + whiteouts + lower links), not O(files).
/// Cost: a small plain file of root takes four system calls (open, write, utimens, close).
class TreeWriter final : public LayerWriter {
 public:
  /// `root_dir`: an empty directory that nobody else touches, on a file system with /proc mounted somewhere;
  /// only used during the call. Failures are reported by the first operation.
  TreeWriter(FdRef root_dir, std::unique_ptr<IoEngine> engine, const TreeWriterOptions& options = {});
  ~TreeWriter() override;

  Result<void> Directory(const RelPath& path, const Attributes& attributes) override;
  Result<void> Symlink(const RelPath& path, std::string_view target, const Attributes& attributes) override;
  Result<void> Node(const RelPath& path, FileType type, dev_t device, const Attributes& attributes) override;
  Result<void> HardLink(const RelPath& path, const RelPath& target) override;
  Result<void> BeginFile(const RelPath& path, const Attributes& attributes, uint64_t size) override;
  Result<void> WriteData(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> EndFile() override;
  Result<void> Whiteout(const RelPath& path) override;
  Result<void> OpaqueDirectory(const RelPath& path) override;
  Result<LayerSummary> Finish() override;

 private:
  /// Where a hard link's target would be; no directory when this layer has none on the way to it.
  struct Target {
    TreeDirectory* parent = nullptr;
    TreeName* record = nullptr;
  };

  Result<void> Prepare();
  Result<void> Usable() const;
  template <typename T>
  Result<T> Latch(Result<T> result) {
    if (!result.ok()) failed_ = result.error();
    return result;
  }
  Result<void> Charge(uint64_t bytes);

  Result<TreeDirectory*> ParentOf(const RelPath& path);
  Result<TreeDirectory*> Enter(TreeDirectory& parent, std::string_view name, const RelPath& path);
  Result<TreeDirectory*> MakeDirectory(TreeDirectory& parent, std::string_view name, mode_t permissions,
                                       bool replaces);
  Result<TreeName*> RecordOf(TreeDirectory& parent, std::string_view name);
  Result<void> Vacate(TreeDirectory& parent, const char* name);
  template <typename Create>
  Result<void> Put(const RelPath& path, Create create);

  Result<void> PutDirectory(const RelPath& path, const Attributes& attributes);
  Result<void> PutNode(const RelPath& path, FileType type, dev_t device, const Attributes& attributes);
  Result<void> PutHardLink(const RelPath& path, const RelPath& target);
  Result<void> PutLowerLink(const RelPath& path, const RelPath& target);
  Result<void> PutWhiteout(const RelPath& path);
  Result<Target> FindTarget(const RelPath& target, const RelPath& path);

  Result<LayerSummary> FinishTree();
  Result<void> FinishBelow(TreeDirectory& directory, bool hides_lower, LayerSummary& summary);
  Result<void> FinishDirectory(FdRef parent, const char* name, const TreeDirectory& directory,
                               const NewFileDefaults& defaults) const;
  bool RemovesLower(const RelPath& path);

  const TreeWriterOptions options_;
  std::unique_ptr<IoEngine> engine_;
  std::optional<Error>
      failed_;  // the answer to everything after the first error; set by directories_' initialiser
  TreeDirectories directories_;
  NewFileDefaults root_defaults_;  // the root's owner as found
  NewFileDefaults defaults_;       // of everything below it
  uint64_t memory_bytes_ = 0;

  std::string last_parent_path_;  // of last_parent_: most entries lie where the one before them did
  TreeDirectory* last_parent_ = nullptr;

  std::optional<IoEngine::FileId> file_;  // between BeginFile and EndFile
  uint64_t file_blocks_end_ = 0;

  LayerUsage usage_;
  bool recount_ = false;  // something was replaced, so usage_ is only an upper bound
  bool finished_ = false;
};

}  // namespace snap
