// The data of files: small ones go to the end of the image, each from a block of its own, large ones become objects; and what
// settling adds after the stream.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/file_attributes.h"
#include "fs/file_ranges.h"
#include "fs/packed_writer.h"

namespace snap {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20U;
constexpr uint64_t kWritebackBytes = uint64_t{8} << 20U;

}  // namespace

// --- the image's data

Result<void> PackedWriter::Append(std::span<const std::byte> data) {
  buffer_.insert(buffer_.end(), data.begin(), data.end());
  position_ += data.size();
  return buffer_.size() >= kBufferBytes ? Flush() : Result<void>();
}

Result<void> PackedWriter::AppendZeros(uint64_t count) {
  buffer_.resize(buffer_.size() + count);  // less than a block, or a small file's
  position_ += count;
  return {};
}

Result<void> PackedWriter::Flush() {
  if (buffer_.empty()) return {};
  SNAP_TRY_SYS_VOID(sys::PWriteAll(image_, buffer_, written_), "write the layer's image");
  data_hasher_.Update(buffer_);
  const uint64_t before = written_;
  written_ += buffer_.size();
  buffer_.clear();
  // What is on its way to disk now need not be waited for at the commit.
  if (before / kWritebackBytes != written_ / kWritebackBytes) {
    const uint64_t start = (before / kWritebackBytes) * kWritebackBytes;
    (void)sys::StartWriteback(image_, start, written_ - start);  // a hint: the commit's flush is what counts
  }
  return {};
}

// --- files

Result<void> PackedWriter::BeginFile(const RelPath& path, const Attributes& attributes, uint64_t size) {
  SNAP_TRY_VOID(Usable());
  return Latch(BeginData(path, attributes, size));
}

Result<void> PackedWriter::BeginData(const RelPath& path, const Attributes& attributes, uint64_t size) {
  LayerTree::Inode inode;
  inode.size = size;
  SNAP_TRY(const InodeId id, Put(path, inode, attributes));
  file_.emplace(OpenFile{});  // clang 14 knows no default constructor here yet
  file_->inode = id;
  file_->size = size;
  file_->is_object = size >= options_.object_bytes;
  if (file_->is_object) return object_writer_.Begin(size);
  return {};
}

Result<void> PackedWriter::WriteData(uint64_t offset, std::span<const std::byte> data) {
  if (failed_.has_value()) return *failed_;
  SNAP_CHECK(file_.has_value());
  return Latch(StoreData(offset, data));
}

Result<void> PackedWriter::StoreData(uint64_t offset, std::span<const std::byte> data) {
  OpenFile& file = *file_;
  if (offset < file.end || offset > file.size || data.size() > file.size - offset) {
    return MakeError(ErrorCode::kInvalidArgument, "write {} bytes at {} to a file of {} bytes, {} of them written", data.size(),
                     offset, file.size, file.end);
  }
  if (data.empty()) return {};
  TarContent content{.place = TarContent::Place::kObject, .object = 0, .offset = offset, .size = data.size()};
  if (file.is_object) {
    content.object = static_cast<uint32_t>(objects_.size());
    SNAP_TRY_VOID(object_writer_.Write(offset, data));
  } else {
    const uint64_t block = block_bytes();
    const uint64_t run_end = (file.end + block - 1) / block * block;
    const uint64_t run_begin = offset / block * block;
    if (!file.runs.empty() && run_begin <= run_end) {
      SNAP_TRY_VOID(AppendZeros(offset - file.end));
    } else {
      if (!file.runs.empty()) {
        SNAP_TRY_VOID(AppendZeros(run_end - file.end));
        file.runs.back().size = run_end - file.runs.back().offset;
      }
      file.runs.push_back({.offset = run_begin, .size = 0, .block = position_ / block, .device = 0});
      SNAP_TRY_VOID(AppendZeros(offset - run_begin));
    }
    content.place = TarContent::Place::kImage;
    content.offset = position_;
    SNAP_TRY_VOID(Append(data));
    file.runs.back().size = offset + data.size() - file.runs.back().offset;
  }
  file.end = offset + data.size();
  return index_ != nullptr ? index_->Stored(data, content) : Result<void>();
}

Result<void> PackedWriter::EndFile() {
  if (failed_.has_value()) return *failed_;
  SNAP_CHECK(file_.has_value());
  return Latch(EndData());
}

Result<void> PackedWriter::EndData() {
  OpenFile file = std::move(*file_);
  file_.reset();
  LayerTree::Inode& inode = tree_.inode(file.inode);
  if (file.is_object) {
    SNAP_TRY(const ObjectId id, object_writer_.End());
    objects_.push_back(id);
    inode.data = tree_.AddObject(id);
    inode.data_kind = LayerTree::Inode::Data::kObject;
    return {};
  }
  if (file.size == 0) return {};
  const uint64_t block = block_bytes();
  SNAP_TRY_VOID(AppendZeros((block - position_ % block) % block));
  const bool whole = file.runs.size() == 1 && file.runs.front().offset == 0 && file.runs.front().size == file.size;
  if (whole) {
    inode.block = file.runs.front().block;
    inode.data_kind = LayerTree::Inode::Data::kContiguous;
    return {};
  }
  if (!file.runs.empty()) {
    LayerTree::Run& last = file.runs.back();
    last.size = std::min((last.size + block - 1) / block * block, file.size - last.offset);
  }
  inode.data = tree_.AddRuns(std::move(file.runs));
  inode.data_kind = LayerTree::Inode::Data::kRuns;
  return Charge(0);
}

// --- settling

Result<PackedWriter::InodeId> PackedWriter::DirectoryAt(const RelPath& path) const {
  if (path.IsRoot()) return InodeId{LayerTree::kRoot};
  SNAP_TRY(const EntryId entry, FindEntry(path, path));
  if (entry == LayerTree::kNone || tree_.inode(tree_.entry(entry).inode).type != FileType::kDirectory) {
    return MakeError(ErrorCode::kNotFound, "find directory {} in this layer: there is none", Quote(path.str()));
  }
  return tree_.entry(entry).inode;
}

Result<LayerEditor::Found> PackedWriter::Look(const RelPath& path) {
  if (path.IsRoot()) return Found::kDirectory;
  SNAP_TRY(const EntryId entry, FindEntry(path, path));
  if (entry == LayerTree::kNone) return Found::kNothing;
  return tree_.inode(tree_.entry(entry).inode).type == FileType::kDirectory ? Found::kDirectory : Found::kOther;
}

Result<void> PackedWriter::MakeDirectory(const RelPath& path) {
  SNAP_TRY(const InodeId parent, DirectoryAt(path.Parent()));
  SNAP_TRY(const InodeId made, MakeDirectoryIn(parent, path.Name(), false));
  (void)made;
  return {};
}

Result<bool> PackedWriter::MoveEntries(const RelPath& from, const RelPath& to) {
  SNAP_TRY(const InodeId source, DirectoryAt(from));
  SNAP_TRY(const InodeId target, DirectoryAt(to));
  if (HidesLower(source)) return false;  // it means to hide what is behind the link
  const std::vector<EntryId> entries = tree_.SortedChildren(source);
  for (const EntryId entry : entries) {
    if (tree_.Find(target, tree_.Name(entry)) != LayerTree::kNone) return false;
  }
  for (const EntryId entry : entries) {
    SNAP_TRY_VOID(Charge(0));  // moved names are stored again
    tree_.MoveEntry(entry, target, std::string(tree_.Name(entry)));
  }
  SNAP_TRY(const EntryId emptied, FindEntry(from, from));
  Vacate(emptied);
  return true;
}

Result<void> PackedWriter::CopyIn(const RelPath& path, FdRef directory, const char* name) {
  SNAP_CHECK(finished_ && index_ == nullptr);
  SNAP_TRY_SYS(const struct stat stat, sys::StatAt(directory, name), "look at {}", Quote(name));
  SNAP_TRY(const Attributes attributes, ReadAttributesAt(directory, name));
  if (S_ISLNK(stat.st_mode)) {
    SNAP_TRY_SYS(const std::string target, sys::ReadLinkAt(directory, name), "read link {}", Quote(name));
    LayerTree::Inode inode;
    inode.type = FileType::kSymlink;
    inode.size = target.size();
    inode.data = tree_.AddTarget(target);
    SNAP_TRY(const InodeId put, Put(path, inode, attributes));
    (void)put;
    return {};
  }
  if (!S_ISREG(stat.st_mode)) {
    const FileType type = S_ISCHR(stat.st_mode)   ? FileType::kCharDevice
                          : S_ISBLK(stat.st_mode) ? FileType::kBlockDevice
                                                  : FileType::kFifo;
    return PutNode(path, type, stat.st_rdev, attributes);
  }
  SNAP_TRY_SYS(const UniqueFd in, sys::OpenAt(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), "open {}", Quote(name));
  const auto size = static_cast<uint64_t>(stat.st_size);
  SNAP_TRY_VOID(BeginData(path, attributes, size));
  SNAP_TRY_VOID(ForEachData(in, size, [&](uint64_t offset, std::span<const std::byte> bytes) { return StoreData(offset, bytes); }));
  return EndData();
}

Result<void> PackedWriter::Link(const RelPath& path, const RelPath& target) {
  SNAP_TRY(const InodeId parent, DirectoryAt(path.Parent()));
  SNAP_TRY(const EntryId entry, FindEntry(target, path));
  SNAP_CHECK(entry != LayerTree::kNone);
  if (tree_.Find(parent, path.Name()) != LayerTree::kNone) {
    return MakeError(ErrorCode::kExists, "create hard link {}: the name is taken", Quote(path.str()));
  }
  tree_.AddEntry(parent, path.Name(), tree_.entry(entry).inode);
  return Charge(0);
}

Result<void> PackedWriter::SetAttributes(const RelPath& directory, const Attributes& attributes) {
  SNAP_TRY(const InodeId id, DirectoryAt(directory));
  tree_.SetAttributes(id, attributes);
  tree_.inode(id).implied = false;
  return Charge(0);
}

}  // namespace snap
