// Walks from the root and builds the tree that the image must have been written from, or says where it cannot
// have been. Invariant: work is bounded by the metadata's size. Contents that overlap would multiply it (a
// thousand directories in the same blocks), so the sizes of all that is decoded are added up and must not
// exceed what there is.
#include "fs/erofs_load.h"

#include <map>
#include <string>

#include "fs/base/rel_path.h"
#include "fs/erofs_directory.h"
#include "fs/erofs_format.h"
#include "fs/erofs_inode.h"
#include "fs/erofs_xattr_reader.h"
#include "fs/whiteout.h"

namespace snap::erofs {
namespace {

using Inode = LayerTree::Inode;
using InodeId = LayerTree::InodeId;

// Of all different sets of xattrs together. A shared value of 64 KiB costs an inode four bytes.
constexpr uint64_t kMaxXattrBytes = uint64_t{256} << 20U;

/// What an inode's xattrs say in overlayfs' spelling, and the set of the others.
struct Marks {
  bool opaque = false;
  bool origin = false;
  bool metacopy = false;
  std::string redirect;
  uint32_t others = 0;
  bool IsObject() const { return metacopy || !redirect.empty(); }
};

class Loader {
 public:
  explicit Loader(ErofsImage image) : image_(std::move(image)) {}
  Result<LayerTree> Load();

 private:
  struct Directory {
    ErofsInode inode;
    InodeId id = LayerTree::kRoot;
    uint64_t parent_nid = 0;
    size_t depth = 0;
    bool origin = false;
  };
  Result<void> ReadDirectory(const Directory& directory);
  Result<void> AddName(const Directory& directory, const DirectoryBlock::Item& item,
                       uint32_t& subdirectories);
  Result<InodeId> NewInode(const Directory& parent, const DirectoryBlock::Item& item);
  Result<Inode> Convert(const ErofsInode& raw, Marks& marks);
  Result<void> ConvertData(const ErofsInode& raw, const Marks& marks, Inode& inode);
  Result<Marks> MarksOf(const ErofsInode& raw);
  Result<Marks> ReadMarks(const ErofsInode& raw);
  Result<void> CheckLinks() const;
  /// `bytes` of metadata belong to `nid` and to nobody else.
  Result<void> Spend(uint64_t nid, uint64_t bytes) {
    if (bytes > budget_) return image_.CorruptInode(nid, "its metadata overlaps with other inodes'");
    budget_ -= bytes;
    return {};
  }

  ErofsImage image_;
  LayerTree tree_;
  uint64_t budget_ = 0;
  uint64_t xattr_bytes_ = 0;
  std::vector<InodeId> inode_of_;      // by nid
  std::vector<uint32_t> link_counts_;  // by InodeId, as the image says
  std::vector<uint64_t> nids_;         // by InodeId
  std::vector<Directory> waiting_;
  std::map<std::string, Marks> known_marks_;  // by raw body; no hash table, since layers choose the keys
};

Result<LayerTree> Loader::Load() {
  SNAP_TRY_VOID(image_.HoldMetadata());
  budget_ = image_.held_bytes();
  inode_of_.assign(image_.nid_limit(), LayerTree::kNone);

  SNAP_TRY(const ErofsInode root, ReadInode(image_, image_.root()));
  if (root.type != FileType::kDirectory) return image_.CorruptInode(root.nid, "the root is no directory");
  Marks marks;
  SNAP_TRY(Inode inode, Convert(root, marks));
  inode.links = 1;
  tree_.inode(LayerTree::kRoot) = inode;
  inode_of_[root.nid] = LayerTree::kRoot;
  link_counts_.push_back(root.links);
  nids_.push_back(root.nid);
  waiting_.push_back({root, LayerTree::kRoot, root.nid, 0, marks.origin});
  while (!waiting_.empty()) {
    const Directory next = waiting_.back();
    waiting_.pop_back();
    SNAP_TRY_VOID(ReadDirectory(next));
  }
  SNAP_TRY_VOID(CheckLinks());
  return std::move(tree_);
}

Result<void> Loader::ReadDirectory(const Directory& directory) {
  const ErofsInode& inode = directory.inode;
  SNAP_TRY_VOID(Spend(inode.nid, inode.size));
  std::vector<std::byte> scratch;
  std::string previous;
  uint32_t subdirectories = 0;
  size_t dots = 0;
  bool first = true;
  const uint64_t blocks = ((inode.size - 1) >> image_.block_bits()) + 1;
  for (uint64_t i = 0; i < blocks; ++i) {
    SNAP_TRY(const DirectoryBlock block, ReadDirectoryBlock(image_, inode, i, scratch));
    for (size_t k = 0; k < block.size(); ++k) {
      const DirectoryBlock::Item item = block.at(k);
      if (!first && item.name <= previous) {
        return image_.CorruptInode(inode.nid, "name {} is not behind {}", Quote(item.name), Quote(previous));
      }
      first = false;
      previous = item.name;
      if (!item.IsDots()) {
        SNAP_TRY_VOID(AddName(directory, item, subdirectories));
        continue;
      }
      ++dots;
      if (item.nid != (item.name == "." ? inode.nid : directory.parent_nid)) {
        return image_.CorruptInode(inode.nid, "{} leads to inode {}", Quote(item.name), item.nid);
      }
    }
  }
  if (dots != 2) return image_.CorruptInode(inode.nid, "a directory has no '.' or '..'");
  if (inode.links != subdirectories + uint64_t{2}) {
    return image_.CorruptInode(inode.nid, "a directory with {} directories has {} links", subdirectories,
                               inode.links);
  }
  // The mark follows from the content, so it is checked and forgotten.
  bool holds_whiteouts = false;
  for (auto id = tree_.FirstChild(directory.id); id != LayerTree::kNone; id = tree_.entry(id).next) {
    holds_whiteouts = holds_whiteouts || tree_.inode(tree_.entry(id).inode).IsWhiteout();
  }
  if (holds_whiteouts != directory.origin) {
    return image_.CorruptInode(inode.nid, "a directory's mark for whiteouts does not fit its content");
  }
  return {};
}

Result<void> Loader::AddName(const Directory& directory, const DirectoryBlock::Item& item,
                             uint32_t& subdirectories) {
  if (item.nid >= inode_of_.size())
    return image_.CorruptInode(directory.inode.nid, "inode {} is beyond the image", item.nid);
  InodeId id = inode_of_[item.nid];
  if (id == LayerTree::kNone) {
    SNAP_TRY(id, NewInode(directory, item));
  } else if (tree_.inode(id).type == FileType::kDirectory) {
    return image_.CorruptInode(item.nid, "a directory has two names, or holds itself");
  } else if (tree_.inode(id).type != item.type) {
    return image_.CorruptInode(item.nid, "it has another type than its name {} says", Quote(item.name));
  }
  if (tree_.inode(id).type == FileType::kDirectory) ++subdirectories;
  tree_.AddEntry(directory.id, item.name, id);
  return {};
}

Result<InodeId> Loader::NewInode(const Directory& parent, const DirectoryBlock::Item& item) {
  SNAP_TRY(const ErofsInode raw, ReadInode(image_, item.nid));
  if (raw.type != item.type)
    return image_.CorruptInode(item.nid, "it has another type than its name {} says", Quote(item.name));
  Marks marks;
  SNAP_TRY(const Inode inode, Convert(raw, marks));
  const InodeId id = tree_.AddInode(inode);
  inode_of_[item.nid] = id;
  link_counts_.push_back(raw.links);
  nids_.push_back(raw.nid);
  if (raw.type == FileType::kDirectory) {
    if (parent.depth + 1 > RelPath::kMaxDepth) return image_.CorruptInode(item.nid, "it is too deep");
    waiting_.push_back({raw, id, parent.inode.nid, parent.depth + 1, marks.origin});
  }
  return id;
}

Result<Inode> Loader::Convert(const ErofsInode& raw, Marks& marks) {
  SNAP_TRY(marks, MarksOf(raw));
  const bool is_directory = raw.type == FileType::kDirectory;
  if ((marks.opaque || marks.origin) && !is_directory) {
    return image_.CorruptInode(raw.nid, "it has a directory's mark and is none");
  }
  Inode inode;
  inode.type = raw.type;
  inode.opaque = marks.opaque;
  inode.permissions = raw.permissions;
  inode.uid = raw.uid;
  inode.gid = raw.gid;
  inode.mtime = raw.mtime.tv_sec;
  inode.mtime_ns = static_cast<uint32_t>(raw.mtime.tv_nsec);
  inode.xattrs = marks.others;
  inode.device = raw.device;
  if (raw.type == FileType::kSymlink) {
    SNAP_TRY_VOID(Spend(raw.nid, raw.size));
    SNAP_TRY(const std::string target, ReadTarget(image_, raw));
    inode.size = raw.size;
    inode.data = tree_.AddTarget(target);
  }
  if (raw.type == FileType::kRegular) {
    inode.size = raw.size;
    SNAP_TRY_VOID(ConvertData(raw, marks, inode));
  } else if (marks.IsObject()) {
    return image_.CorruptInode(raw.nid, "it refers to an object and is no regular file");
  }
  return inode;
}

Result<void> Loader::ConvertData(const ErofsInode& raw, const Marks& marks, Inode& inode) {
  SNAP_TRY_VOID(Spend(raw.nid, ChunkIndexBytes(raw)));
  SNAP_TRY(std::vector<LayerTree::Run> runs, ReadRuns(image_, raw));
  if (raw.layout == kLayoutInline && raw.size != 0) {
    return image_.CorruptInode(raw.nid, "a regular file has inline data");  // no run can say where
  }
  if (marks.IsObject()) {
    const bool complete = marks.metacopy && marks.redirect.starts_with('/') && runs.empty();
    const auto object = ObjectId::ParsePath(std::string_view(marks.redirect).substr(complete ? 1 : 0));
    if (!complete || !object.ok() || object->size != raw.size) {
      return image_.CorruptInode(raw.nid, "its object {} is impossible", Quote(marks.redirect));
    }
    inode.data_kind = Inode::Data::kObject;
    inode.data = tree_.AddObject(*object);
    return {};
  }
  if (runs.empty()) return {};
  if (runs.size() == 1 && runs[0].offset == 0 && runs[0].size == raw.size) {
    inode.data_kind = Inode::Data::kContiguous;
    inode.block = runs[0].block;
    inode.run_device = runs[0].device;
    return {};
  }
  inode.data_kind = Inode::Data::kRuns;
  inode.data = tree_.AddRuns(std::move(runs));
  return {};
}

Result<Marks> Loader::MarksOf(const ErofsInode& raw) {
  if (raw.xattr_bytes == 0) return Marks();
  SNAP_TRY_VOID(Spend(raw.nid, raw.xattr_bytes));
  std::vector<std::byte> scratch;
  SNAP_TRY(const auto body, image_.View(raw.xattr_offset, raw.xattr_bytes, scratch));
  std::string key(reinterpret_cast<const char*>(body.data()), body.size());
  if (const auto known = known_marks_.find(key); known != known_marks_.end()) return known->second;
  SNAP_TRY(Marks marks, ReadMarks(raw));
  return known_marks_.emplace(std::move(key), std::move(marks)).first->second;
}

Result<Marks> Loader::ReadMarks(const ErofsInode& raw) {
  SNAP_TRY(std::vector<Xattr> xattrs, ReadXattrs(image_, raw));
  Marks marks;
  std::vector<Xattr> others;
  for (Xattr& xattr : xattrs) {
    xattr_bytes_ += xattr.name.size() + xattr.value.size();
    if (xattr_bytes_ > kMaxXattrBytes) {
      return MakeError(ErrorCode::kLimitExceeded, "EROFS image {}: its xattrs are too large",
                       Quote(image_.name()));
    }
    if (!whiteout::IsOverlayXattr(xattr.name)) {
      others.push_back(std::move(xattr));
    } else if (xattr.name == whiteout::kOpaqueXattr && xattr.value == whiteout::kOpaqueValue) {
      marks.opaque = true;
    } else if (xattr.name == whiteout::kOriginXattr && xattr.value.empty()) {
      marks.origin = true;
    } else if (xattr.name == whiteout::kMetacopyXattr && xattr.value.empty()) {
      marks.metacopy = true;
    } else if (xattr.name == whiteout::kRedirectXattr && !xattr.value.empty()) {
      marks.redirect = std::move(xattr.value);
    } else {
      return image_.CorruptInode(raw.nid, "xattr {} does not belong into a layer", Quote(xattr.name));
    }
  }
  marks.others = tree_.InternXattrs(others);
  return marks;
}

Result<void> Loader::CheckLinks() const {
  if (tree_.inode_count() != image_.inode_count()) {
    return image_.Corrupt("it has {} inodes, its superblock says {}", tree_.inode_count(),
                          image_.inode_count());
  }
  for (InodeId id = 0; id < tree_.inode_count(); ++id) {
    const Inode& inode = tree_.inode(id);
    if (inode.type != FileType::kDirectory && inode.links != link_counts_[id]) {
      return image_.CorruptInode(nids_[id], "it has {} names and {} links", inode.links, link_counts_[id]);
    }
  }
  return {};
}

}  // namespace

Result<LayerTree> LoadTree(const ErofsImage& image) { return Loader(image).Load(); }

}  // namespace snap::erofs
