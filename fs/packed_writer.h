// PackedWriter: stages a layer as one EROFS image: small files one after another in stream order, large ones as objects, all
// metadata in memory until Seal writes it behind the data.
// Invariant: the rules of a layer (last wins, what is opaque, what is implied) are TreeWriter's, so that a layer means the same
// in both formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/image_checksums.h"
#include "fs/layer_editor.h"
#include "fs/layer_tree.h"
#include "fs/layer_writer.h"
#include "fs/object_store.h"
#include "fs/tar_index.h"

namespace snap {

struct PackedWriterOptions {
  unsigned block_bits = 9;
  uint64_t object_bytes = uint64_t{64} << 10U;  ///< files from this size on become objects
  uint64_t max_memory_bytes = uint64_t{3} << 30U;  ///< of metadata; more is kLimitExceeded. About 200 bytes per entry
};

/// LayerWriter's rules, decided as TreeWriter decides what they leave open. LayerUsage is only right after
/// Seal.
class PackedWriter final : public LayerWriter, public LayerEditor {
 public:
  /// `image`: a new, empty file open for reading and writing. `objects` takes the large files, `index`, if given, is told where
  /// the data of the tar went. All must outlive this.
  PackedWriter(FdRef image, ObjectWriter& objects, TarIndexWriter* index, const PackedWriterOptions& options = {});
  ~PackedWriter() override;

  Result<void> Directory(const RelPath& path, const Attributes& attributes) override;
  Result<void> Symlink(const RelPath& path, std::string_view target, const Attributes& attributes) override;
  Result<void> Node(const RelPath& path, FileType type, dev_t device, const Attributes& attributes) override;
  Result<void> HardLink(const RelPath& path, const RelPath& target) override;
  Result<void> BeginFile(const RelPath& path, const Attributes& attributes, uint64_t size) override;
  Result<void> WriteData(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> EndFile() override;
  Result<void> Whiteout(const RelPath& path) override;
  Result<void> OpaqueDirectory(const RelPath& path) override;
  /// The stream has ended: its bytes are not looked at any more. What the summary says is missing may now be settled (LayerEditor)
  /// before Seal.
  Result<LayerSummary> Finish() override;

  // LayerEditor; between Finish and Seal.
  Result<Found> Look(const RelPath& path) override;
  Result<void> MakeDirectory(const RelPath& path) override;
  Result<bool> MoveEntries(const RelPath& from, const RelPath& to) override;
  Result<void> CopyIn(const RelPath& path, FdRef directory, const char* name) override;
  Result<void> Link(const RelPath& path, const RelPath& target) override;
  Result<void> SetAttributes(const RelPath& directory, const Attributes& attributes) override;
  Result<void> Close() override { return {}; }

  struct Sealed {
    LayerUsage usage;
    ImageChecksums checksums;
  };
  /// Writes the metadata. Lower links must have been settled. Durability: none.
  Result<Sealed> Seal();
  /// The objects of the layer in the order in which the tar index counts them; the same one may come again.
  const std::vector<ObjectId>& objects() const { return objects_; }
  const LayerTree& tree() const { return tree_; }
  /// The metadata, after Seal; the writer is then only to be destroyed.
  LayerTree TakeTree() && { return std::move(tree_); }

 private:
  using InodeId = LayerTree::InodeId;
  using EntryId = LayerTree::EntryId;

  Result<void> Usable() const;
  Result<void> Charge(uint64_t bytes);
  template <typename T>
  Result<T> Latch(Result<T> result) {
    if (!result.ok()) failed_ = result.error();
    return result;
  }
  bool HidesLower(InodeId directory) const { return tree_.inode(directory).opaque; }
  Result<InodeId> ParentOf(const RelPath& path);
  Result<InodeId> Enter(InodeId parent, std::string_view name, const RelPath& path);
  Result<InodeId> MakeDirectoryIn(InodeId parent, std::string_view name, bool replaces);
  void Vacate(EntryId entry);
  Result<InodeId> Put(const RelPath& path, const LayerTree::Inode& inode, const Attributes& attributes);
  Result<void> PutDirectory(const RelPath& path, const Attributes& attributes);
  Result<void> PutNode(const RelPath& path, FileType type, dev_t device, const Attributes& attributes);
  Result<void> PutHardLink(const RelPath& path, const RelPath& target);
  Result<void> PutWhiteout(const RelPath& path);
  /// The entry at a path of this layer; kNone when there is none. Errors: kInvalidArgument when a directory on the way is none.
  Result<EntryId> FindEntry(const RelPath& path, const RelPath& for_path) const;
  Result<InodeId> DirectoryAt(const RelPath& path) const;
  bool RemovesLower(const RelPath& path) const;
  Result<LayerSummary> Summarize();
  Result<void> BeginData(const RelPath& path, const Attributes& attributes, uint64_t size);
  Result<void> StoreData(uint64_t offset, std::span<const std::byte> data);
  Result<void> EndData();

  Result<void> Append(std::span<const std::byte> data);
  Result<void> AppendZeros(uint64_t count);
  Result<void> Flush();
  uint64_t block_bytes() const { return uint64_t{1} << options_.block_bits; }

  const PackedWriterOptions options_;
  const FdRef image_;
  ObjectWriter& object_writer_;
  TarIndexWriter* index_;
  std::optional<Error> failed_;  // the answer to everything after the first error
  LayerTree tree_;

  std::string last_parent_path_;  // of last_parent_: most entries lie where the one before them did
  InodeId last_parent_ = LayerTree::kNone;
  std::set<InodeId> replacing_;  // directories that take the place of something that is gone
  std::set<std::pair<InodeId, std::string>> whited_out_;  // names whose lower entry the layer removes, whatever it puts there
  struct PendingLink {
    RelPath path, target;
  };
  std::map<EntryId, PendingLink> lower_links_;  // their inodes stand for files that only settling can give
  uint64_t extra_memory_ = 0;                   // of the three above

  struct OpenFile {
    InodeId inode = LayerTree::kNone;
    bool is_object = false;
    uint64_t size = 0;
    uint64_t end = 0;  // of the data so far, in the file
    std::vector<LayerTree::Run> runs;
  };
  std::optional<OpenFile> file_;
  std::vector<ObjectId> objects_;

  std::vector<std::byte> buffer_;  // the end of the image, not written yet
  uint64_t position_ = 0;          // of the end of the image, buffer included
  uint64_t written_ = 0;
  Xxh3Hasher data_hasher_;
  bool finished_ = false;
};

}  // namespace snap
