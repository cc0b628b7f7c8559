// What an entry does to what is already there, in memory. The data of files is elsewhere: packed_writer_data.
#include "fs/packed_writer.h"

#include <algorithm>
#include <functional>

#include "fs/base/quote.h"
#include "fs/erofs_writer.h"

namespace snap {
namespace {

constexpr uint64_t kRecordOverhead = 64;  // a node of a set or map and its allocation, roughly

Error NotADirectory(std::string_view parent, const RelPath& path) {
  return MakeError(ErrorCode::kInvalidArgument, "create {}: {} is not a directory in this layer", Quote(path.str()),
                   Quote(parent));
}

bool IsBelow(const RelPath& path, const RelPath& ancestor) {
  return !ancestor.IsRoot() && path.str().starts_with(ancestor.str() + "/");
}

/// Calls for each component with whether it is the last one, until it returns false.
template <typename Visit>
void ForEachComponent(std::string_view path, Visit visit) {
  while (!path.empty()) {
    const size_t slash = path.find('/');
    if (!visit(path.substr(0, slash), slash == std::string_view::npos)) return;
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
}

}  // namespace

PackedWriter::PackedWriter(FdRef image, ObjectWriter& objects, TarIndexWriter* index, const PackedWriterOptions& options)
    : options_(options), image_(image), object_writer_(objects), index_(index) {
  position_ = written_ = ErofsDataStart(options_.block_bits) * block_bytes();
}
PackedWriter::~PackedWriter() = default;

Result<void> PackedWriter::Usable() const {
  if (failed_.has_value()) return *failed_;
  SNAP_CHECK(!finished_ && !file_.has_value());
  return {};
}

Result<void> PackedWriter::Charge(uint64_t bytes) {
  extra_memory_ += bytes;
  if (tree_.memory_bytes() + extra_memory_ <= options_.max_memory_bytes) return {};
  return MakeError(ErrorCode::kLimitExceeded, "layer has more metadata than fits {} bytes of memory", options_.max_memory_bytes);
}

// --- names

Result<PackedWriter::InodeId> PackedWriter::ParentOf(const RelPath& path) {
  const std::string_view parent_path = path.ParentView();
  if (last_parent_ != LayerTree::kNone && parent_path == last_parent_path_) return last_parent_;
  InodeId at = LayerTree::kRoot;
  Result<void> outcome;
  ForEachComponent(parent_path, [&](std::string_view name, bool) {
    Result<InodeId> entered = Enter(at, name, path);
    if (!entered.ok()) {
      outcome = std::move(entered).error();
      return false;
    }
    at = *entered;
    return true;
  });
  SNAP_TRY_VOID(std::move(outcome));
  last_parent_path_ = parent_path;
  last_parent_ = at;
  return at;
}

// The directory `name`, made when neither the layer named it nor an entry before implied it.
Result<PackedWriter::InodeId> PackedWriter::Enter(InodeId parent, std::string_view name, const RelPath& path) {
  const EntryId entry = tree_.Find(parent, name);
  if (entry == LayerTree::kNone) return MakeDirectoryIn(parent, name, false);
  const InodeId id = tree_.entry(entry).inode;
  if (tree_.inode(id).type == FileType::kDirectory) return id;
  if (!tree_.inode(id).IsWhiteout() || lower_links_.contains(entry)) return NotADirectory(name, path);
  Vacate(entry);
  return MakeDirectoryIn(parent, name, true);
}

Result<PackedWriter::InodeId> PackedWriter::MakeDirectoryIn(InodeId parent, std::string_view name, bool replaces) {
  LayerTree::Inode inode;
  inode.type = FileType::kDirectory;
  inode.implied = true;
  inode.permissions = 0755;
  inode.opaque = replaces;
  const InodeId id = tree_.AddInode(inode);
  tree_.AddEntry(parent, name, id);
  if (replaces) replacing_.insert(id);
  SNAP_TRY_VOID(Charge(replaces ? kRecordOverhead : 0));
  return id;
}

void PackedWriter::Vacate(EntryId entry) {
  const InodeId inode = tree_.entry(entry).inode;
  if (tree_.inode(inode).type == FileType::kDirectory) last_parent_ = LayerTree::kNone;  // it may lie below
  lower_links_.erase(entry);
  tree_.RemoveEntry(entry);
}

// Puts something that is not a directory at `path`, in place of what was there.
Result<PackedWriter::InodeId> PackedWriter::Put(const RelPath& path, const LayerTree::Inode& inode, const Attributes& attributes) {
  if (path.IsRoot()) return MakeError(ErrorCode::kInvalidArgument, "the root of a layer can only be a directory");
  SNAP_TRY(const InodeId parent, ParentOf(path));
  if (const EntryId old = tree_.Find(parent, path.Name()); old != LayerTree::kNone) Vacate(old);
  const InodeId id = tree_.AddInode(inode);
  tree_.AddEntry(parent, path.Name(), id);
  tree_.SetAttributes(id, attributes);
  SNAP_TRY_VOID(Charge(0));
  return id;
}

Result<PackedWriter::EntryId> PackedWriter::FindEntry(const RelPath& path, const RelPath& for_path) const {
  InodeId at = LayerTree::kRoot;
  EntryId found = LayerTree::kNone;
  Result<void> outcome;
  ForEachComponent(path.str(), [&](std::string_view name, bool last) {
    found = tree_.Find(at, name);
    if (found == LayerTree::kNone || last) return false;
    at = tree_.entry(found).inode;
    if (tree_.inode(at).type == FileType::kDirectory) return true;
    if (!tree_.inode(at).IsWhiteout()) outcome = NotADirectory(name, for_path);
    found = LayerTree::kNone;  // a whiteout: nothing is below
    return false;
  });
  SNAP_TRY_VOID(std::move(outcome));
  return found;
}

// --- entries

Result<void> PackedWriter::Directory(const RelPath& path, const Attributes& attributes) {
  SNAP_TRY_VOID(Usable());
  return Latch(PutDirectory(path, attributes));
}

Result<void> PackedWriter::PutDirectory(const RelPath& path, const Attributes& attributes) {
  InodeId directory = LayerTree::kRoot;
  if (!path.IsRoot()) {
    SNAP_TRY(const InodeId parent, ParentOf(path));
    const EntryId old = tree_.Find(parent, path.Name());
    if (old != LayerTree::kNone && tree_.inode(tree_.entry(old).inode).type == FileType::kDirectory) {
      directory = tree_.entry(old).inode;
    } else {
      if (old != LayerTree::kNone) Vacate(old);
      SNAP_TRY(directory, MakeDirectoryIn(parent, path.Name(), old != LayerTree::kNone));
    }
  }
  tree_.SetAttributes(directory, attributes);
  tree_.inode(directory).implied = false;
  return Charge(0);
}

Result<void> PackedWriter::Symlink(const RelPath& path, std::string_view target, const Attributes& attributes) {
  SNAP_TRY_VOID(Usable());
  if (target.empty() || target.find('\0') != std::string_view::npos) {
    return Latch(Result<void>(MakeError(ErrorCode::kInvalidArgument, "symlink {} has {} target", Quote(path.str()),
                                        target.empty() ? "an empty" : "a NUL byte in its")));
  }
  LayerTree::Inode inode;
  inode.type = FileType::kSymlink;
  inode.size = target.size();
  inode.data = tree_.AddTarget(target);
  Attributes own = attributes;
  own.permissions = 0777;  // what Linux shows of every symlink
  std::erase_if(own.xattrs, [](const Xattr& xattr) { return xattr.name.starts_with("user."); });
  const Result<InodeId> put = Latch(Put(path, inode, own));
  if (!put.ok()) return put.error();
  return {};
}

Result<void> PackedWriter::Node(const RelPath& path, FileType type, dev_t device, const Attributes& attributes) {
  SNAP_TRY_VOID(Usable());
  return Latch(PutNode(path, type, device, attributes));
}

Result<void> PackedWriter::PutNode(const RelPath& path, FileType type, dev_t device, const Attributes& attributes) {
  if (type != FileType::kCharDevice && type != FileType::kBlockDevice && type != FileType::kFifo) {
    return MakeError(ErrorCode::kInvalidArgument, "node {} is neither a device nor a fifo", Quote(path.str()));
  }
  if (type == FileType::kCharDevice && device == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "device {} is 0:0, which is overlayfs' whiteout", Quote(path.str()));
  }
  LayerTree::Inode inode;
  inode.type = type;
  inode.device = type == FileType::kFifo ? 0 : device;
  Attributes own = attributes;
  std::erase_if(own.xattrs, [](const Xattr& xattr) { return xattr.name.starts_with("user."); });
  SNAP_TRY(const InodeId put, Put(path, inode, own));
  (void)put;
  return {};
}

// --- hard links

Result<void> PackedWriter::HardLink(const RelPath& path, const RelPath& target) {
  SNAP_TRY_VOID(Usable());
  return Latch(PutHardLink(path, target));
}

Result<void> PackedWriter::PutHardLink(const RelPath& path, const RelPath& target) {
  const auto refuse = [&](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, "hard link {} to {}, {}", Quote(path.str()), Quote(target.str()), why);
  };
  if (path.IsRoot()) return refuse("but the root of a layer can only be a directory");
  if (target.IsRoot()) return refuse("which is a directory");
  if (IsBelow(target, path)) return refuse("which lies below it");
  SNAP_TRY(const EntryId found, FindEntry(target, path));
  const auto put_lower_link = [&](const RelPath& lower) -> Result<void> {
    SNAP_TRY(const InodeId id, Put(path, LayerTree::Inode{}, Attributes{}));
    SNAP_TRY(const InodeId parent, ParentOf(path));
    (void)id;
    lower_links_.insert_or_assign(tree_.Find(parent, path.Name()), PendingLink{path, lower});
    return Charge(kRecordOverhead + sizeof(PendingLink) + path.str().size() + lower.str().size());
  };
  if (found == LayerTree::kNone) {
    if (path == target) return refuse("which is itself and does not exist");
    return put_lower_link(target);
  }
  const InodeId inode = tree_.entry(found).inode;
  if (tree_.inode(inode).type == FileType::kDirectory) return refuse("which is a directory");
  if (tree_.inode(inode).IsWhiteout()) return refuse("which this layer removes");
  if (path == target) return {};  // as GNU tar: a link to itself is there already
  if (const auto pending = lower_links_.find(found); pending != lower_links_.end()) {
    const RelPath lower = pending->second.target;  // `found` may be what is replaced
    return put_lower_link(lower);
  }
  SNAP_TRY(const InodeId parent, ParentOf(path));
  if (const EntryId old = tree_.Find(parent, path.Name()); old != LayerTree::kNone) Vacate(old);
  tree_.AddEntry(parent, path.Name(), inode);
  return Charge(0);
}

// --- whiteouts

Result<void> PackedWriter::Whiteout(const RelPath& path) {
  SNAP_TRY_VOID(Usable());
  return Latch(PutWhiteout(path));
}

Result<void> PackedWriter::PutWhiteout(const RelPath& path) {
  if (path.IsRoot()) return MakeError(ErrorCode::kInvalidArgument, "the root of a layer cannot be whited out");
  SNAP_TRY(const InodeId parent, ParentOf(path));
  whited_out_.emplace(parent, path.Name());
  SNAP_TRY_VOID(Charge(kRecordOverhead + path.Name().size()));
  const EntryId own = tree_.Find(parent, path.Name());
  if (own != LayerTree::kNone) {
    const InodeId id = tree_.entry(own).inode;
    if (tree_.inode(id).type == FileType::kDirectory) {
      tree_.inode(id).opaque = true;
      replacing_.insert(id);
    }
    return {};  // the layer's own entry stays
  }
  LayerTree::Inode inode;
  inode.type = FileType::kCharDevice;
  tree_.AddEntry(parent, path.Name(), tree_.AddInode(inode));
  return {};
}

Result<void> PackedWriter::OpaqueDirectory(const RelPath& path) {
  SNAP_TRY_VOID(Usable());
  InodeId directory = LayerTree::kRoot;
  if (!path.IsRoot()) {
    const Result<InodeId> parent = Latch(ParentOf(path));
    if (!parent.ok()) return parent.error();
    const Result<InodeId> entered = Latch(Enter(*parent, path.Name(), path));
    if (!entered.ok()) return entered.error();
    directory = *entered;
  }
  tree_.inode(directory).opaque = true;
  return {};
}

// --- the end of the stream

Result<LayerSummary> PackedWriter::Finish() {
  SNAP_TRY_VOID(Usable());
  finished_ = true;
  index_ = nullptr;
  return Latch(Summarize());
}

Result<LayerSummary> PackedWriter::Summarize() {
  LayerSummary summary;
  summary.root_named = !tree_.inode(LayerTree::kRoot).implied;
  // Their names are free from here on: settling gives them.
  for (auto& [entry, link] : lower_links_) {
    if (tree_.entry(entry).inode == LayerTree::kNone) continue;  // went with a directory
    if (RemovesLower(link.target)) {
      return MakeError(ErrorCode::kInvalidArgument, "hard link {} to {}, which this layer removes", Quote(link.path.str()),
                       Quote(link.target.str()));
    }
    tree_.RemoveEntry(entry);
    summary.lower_links.push_back({std::move(link.path), std::move(link.target)});
  }
  lower_links_.clear();

  struct Level {
    InodeId directory;
    RelPath path;
    bool hides_lower;
  };
  std::vector<Level> levels{{LayerTree::kRoot, RelPath(), HidesLower(LayerTree::kRoot)}};
  while (!levels.empty()) {
    const Level level = std::move(levels.back());
    levels.pop_back();
    for (EntryId child = tree_.FirstChild(level.directory); child != LayerTree::kNone; child = tree_.entry(child).next) {
      const InodeId id = tree_.entry(child).inode;
      if (id == LayerTree::kNone || tree_.inode(id).type != FileType::kDirectory) continue;
      RelPath path = level.path.Child(tree_.Name(child));
      if (tree_.inode(id).implied && !replacing_.contains(id) && !level.hides_lower) {
        summary.implied_directories.push_back(path);
        SNAP_TRY_VOID(Charge(path.str().size() + sizeof path));
      }
      levels.push_back({id, std::move(path), level.hides_lower || HidesLower(id)});
    }
  }
  std::sort(summary.implied_directories.begin(), summary.implied_directories.end());
  return summary;
}

// Whether this layer hides the lower entry at `path`, whatever it puts in its place.
bool PackedWriter::RemovesLower(const RelPath& path) const {
  InodeId at = LayerTree::kRoot;
  bool removed = false;
  ForEachComponent(path.str(), [&](std::string_view name, bool last) {
    removed = HidesLower(at) || whited_out_.contains({at, std::string(name)});
    if (removed || last) return false;
    const EntryId entry = tree_.Find(at, name);
    if (entry == LayerTree::kNone) return false;
    at = tree_.entry(entry).inode;
    return tree_.inode(at).type == FileType::kDirectory;
  });
  return removed;
}

Result<PackedWriter::Sealed> PackedWriter::Seal() {
  if (failed_.has_value()) return *failed_;
  SNAP_CHECK(finished_ && !file_.has_value());
  SNAP_TRY_VOID(Latch(Flush()));
  ErofsOptions options;
  options.block_bits = options_.block_bits;
  options.first_free_block = position_ / block_bytes();
  const Result<uint64_t> size = Latch(WriteErofs(image_, tree_, options));
  if (!size.ok()) return size.error();
  Sealed sealed;
  sealed.checksums.data_begin = ErofsDataStart(options_.block_bits) * block_bytes();
  sealed.checksums.data_end = position_;
  sealed.checksums.data = data_hasher_.Finish();
  SNAP_TRY(sealed.checksums.rest, HashAround(image_, sealed.checksums.data_begin, position_));
  sealed.usage.disk_bytes = *size;
  sealed.usage.entries = tree_.live_entries();
  for (InodeId id = 0; id < tree_.inode_count(); ++id) {
    const LayerTree::Inode& inode = tree_.inode(id);
    if (inode.type == FileType::kRegular && inode.links > 0) sealed.usage.data_bytes += inode.size;
  }
  for (const ObjectId& object : std::set<ObjectId>(objects_.begin(), objects_.end())) sealed.usage.object_bytes += object.size;
  return sealed;
}

}  // namespace snap
