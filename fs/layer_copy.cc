#include "fs/layer_copy.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/file_attributes.h"
#include "fs/file_ranges.h"
#include "fs/whiteout.h"

namespace snap {
namespace {

/// Names of one inode: the first is made, the others are links to it.
template <typename Key>
class FirstNames {
 public:
  /// nullptr for the first name.
  const RelPath* Seen(const Key& inode, const RelPath& path) {
    const auto [place, first] = names_.try_emplace(inode, path);
    return first ? nullptr : &place->second;
  }

 private:
  std::map<Key, RelPath> names_;
};

Result<RelPath> Below(const RelPath& directory, std::string_view name) {
  if (!IsValidName(name)) return MakeError(ErrorCode::kCorrupt, "copy layer: {} is not a name", Quote(name));
  return RelPath::Parse(directory.IsRoot() ? std::string(name) : directory.str() + "/" + std::string(name));
}

class PackedCopy {
 public:
  PackedCopy(const ErofsReader& image, const LayerTree& tree, const ObjectStore& objects, LayerWriter& writer)
      : image_(image), tree_(tree), objects_(objects), writer_(writer) {}

  Result<void> Run() {
    const LayerTree::Inode& root = tree_.inode(LayerTree::kRoot);
    SNAP_TRY_VOID(writer_.Directory(RelPath(), tree_.AttributesOf(LayerTree::kRoot)));
    if (root.opaque) SNAP_TRY_VOID(writer_.OpaqueDirectory(RelPath()));
    std::vector<std::pair<LayerTree::InodeId, RelPath>> directories{{LayerTree::kRoot, RelPath()}};
    while (!directories.empty()) {
      const auto [directory, path] = std::move(directories.back());
      directories.pop_back();
      for (const LayerTree::EntryId entry : tree_.SortedChildren(directory)) {
        SNAP_TRY(RelPath below, Below(path, tree_.Name(entry)));
        const LayerTree::InodeId id = tree_.entry(entry).inode;
        SNAP_TRY_VOID(Entry(below, id));
        if (tree_.inode(id).type == FileType::kDirectory) directories.emplace_back(id, std::move(below));
      }
    }
    return {};
  }

 private:
  Result<void> Entry(const RelPath& path, LayerTree::InodeId id) {
    const LayerTree::Inode& inode = tree_.inode(id);
    if (inode.IsWhiteout()) return writer_.Whiteout(path);
    if (inode.type == FileType::kDirectory) {
      SNAP_TRY_VOID(writer_.Directory(path, tree_.AttributesOf(id)));
      return inode.opaque ? writer_.OpaqueDirectory(path) : Result<void>();
    }
    if (inode.links > 1) {
      if (const RelPath* const first = first_names_.Seen(id, path)) return writer_.HardLink(path, *first);
    }
    switch (inode.type) {
      case FileType::kRegular:
        return File(path, id);
      case FileType::kSymlink:
        return writer_.Symlink(path, tree_.Target(inode), tree_.AttributesOf(id));
      default:
        return writer_.Node(path, inode.type, inode.device, tree_.AttributesOf(id));
    }
  }

  Result<void> File(const RelPath& path, LayerTree::InodeId id) {
    const LayerTree::Inode& inode = tree_.inode(id);
    SNAP_TRY_VOID(writer_.BeginFile(path, tree_.AttributesOf(id), inode.size));
    const auto write = [&](uint64_t offset, std::span<const std::byte> bytes) { return writer_.WriteData(offset, bytes); };
    if (inode.data_kind == LayerTree::Inode::Data::kObject) {
      const ObjectId& object = tree_.Object(inode);
      SNAP_TRY(const UniqueFd file, objects_.Open(object));
      SNAP_TRY_VOID(ForEachData(file, inode.size, write));
    } else {
      for (const LayerTree::Run& run : tree_.Runs(inode)) {
        SNAP_TRY_VOID(CopyRun(run, inode.size));
      }
    }
    return writer_.EndFile();
  }

  Result<void> CopyRun(const LayerTree::Run& run, uint64_t file_size) {
    const uint64_t end = std::min(run.offset + run.size, file_size);
    for (uint64_t at = run.offset; at < end;) {
      const std::span piece = std::span(buffer_).first(std::min<uint64_t>(buffer_.size(), end - at));
      SNAP_TRY_VOID(ReadExactly(image_.image(), (run.block << image_.block_bits()) + (at - run.offset), piece));
      SNAP_TRY_VOID(writer_.WriteData(at, piece));
      at += piece.size();
    }
    return {};
  }

  const ErofsReader& image_;
  const LayerTree& tree_;
  const ObjectStore& objects_;
  LayerWriter& writer_;
  FirstNames<LayerTree::InodeId> first_names_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(size_t{1} << 20U);
};

class TreeCopy {
 public:
  TreeCopy(FdRef tree, LayerWriter& writer) : tree_(tree), writer_(writer) {}

  Result<void> Run() {
    std::vector<RelPath> directories{RelPath()};
    SNAP_TRY_VOID(Directory(RelPath(), tree_, "."));
    while (!directories.empty()) {
      const RelPath path = std::move(directories.back());
      directories.pop_back();
      SNAP_TRY_SYS(const UniqueFd directory, sys::OpenBeneath(tree_, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
                   "open {}", Quote(path.str()));
      SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(directory), "list {}", Quote(path.str()));
      for (const sys::DirEntry& entry : entries) {
        SNAP_TRY(RelPath below, Below(path, entry.name));
        SNAP_TRY_SYS(const struct stat stat, sys::StatAt(directory, entry.name.c_str()), "look at {}", Quote(below.str()));
        SNAP_TRY_VOID(Entry(below, directory, entry.name.c_str(), stat));
        if (S_ISDIR(stat.st_mode)) directories.push_back(std::move(below));
      }
    }
    return {};
  }

 private:
  Result<void> Directory(const RelPath& path, FdRef parent, const char* name) {
    SNAP_TRY(const Attributes attributes, ReadAttributesAt(parent, name));
    SNAP_TRY_VOID(writer_.Directory(path, attributes));
    const SysResult<std::string> opaque = sys::GetXattrAt(parent, name, whiteout::kOpaqueXattr);
    if (opaque.ok() && *opaque == whiteout::kOpaqueValue) return writer_.OpaqueDirectory(path);
    if (!opaque.ok() && !(opaque.error() == ENODATA)) return Error(opaque.error(), "read xattrs of " + Quote(path.str()));
    return {};
  }

  Result<void> Entry(const RelPath& path, FdRef parent, const char* name, const struct stat& stat) {
    if (whiteout::IsOverlayWhiteout(stat.st_mode, stat.st_rdev)) return writer_.Whiteout(path);
    if (S_ISDIR(stat.st_mode)) return Directory(path, parent, name);
    if (stat.st_nlink > 1) {
      if (const RelPath* const first = first_names_.Seen(stat.st_ino, path)) return writer_.HardLink(path, *first);
    }
    SNAP_TRY(const Attributes attributes, ReadAttributesAt(parent, name));
    if (S_ISLNK(stat.st_mode)) {
      SNAP_TRY_SYS(const std::string target, sys::ReadLinkAt(parent, name), "read link {}", Quote(path.str()));
      return writer_.Symlink(path, target, attributes);
    }
    if (!S_ISREG(stat.st_mode)) {
      const FileType type = S_ISCHR(stat.st_mode)   ? FileType::kCharDevice
                            : S_ISBLK(stat.st_mode) ? FileType::kBlockDevice
                                                    : FileType::kFifo;
      return writer_.Node(path, type, stat.st_rdev, attributes);
    }
    SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), "open {}", Quote(path.str()));
    const auto size = static_cast<uint64_t>(stat.st_size);
    SNAP_TRY_VOID(writer_.BeginFile(path, attributes, size));
    const auto write = [&](uint64_t offset, std::span<const std::byte> bytes) { return writer_.WriteData(offset, bytes); };
    SNAP_TRY_VOID(ForEachData(file, size, write));
    return writer_.EndFile();
  }

  const FdRef tree_;
  LayerWriter& writer_;
  FirstNames<ino_t> first_names_;
};

}  // namespace

Result<void> CopyPackedLayer(const ErofsReader& image, const ObjectStore& objects, LayerWriter& writer) {
  SNAP_TRY(const LayerTree tree, image.Load());
  return PackedCopy(image, tree, objects, writer).Run();
}

Result<void> CopyTreeLayer(FdRef tree, LayerWriter& writer) { return TreeCopy(tree, writer).Run(); }

}  // namespace snap
