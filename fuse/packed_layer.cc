// Nothing is believed of an image but what ErofsReader has checked: a name has the type that its directory says, runs lie
// within their devices, redirects are paths of objects of the file's size, and directories are no deeper than any archive can
// make them, so that one that contains itself ends.
#include "fuse/packed_layer.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_reader.h"
#include "fs/object_id.h"
#include "fs/whiteout.h"
#include "fs/xxhash.h"

namespace snap::fuse {
namespace {

using Run = LayerTree::Run;

constexpr size_t kMaxRuns = size_t{1} << 20U;  // of one file; more would take more memory than an open file may
constexpr blksize_t kIoBytes = 4096;
constexpr uint64_t kStatBlock = 512;
constexpr uint64_t kNumberSeed = 0x736e61702d696e6f;

/// Messages end here: who reads a file sees an errno.
template <typename T>
SysResult<T> OrEio(Result<T> result) {
  if (!result.ok()) return Errno(EIO);
  return std::move(result).value();
}

// Node ids may be 0, which no st_ino should be.
uint64_t NumberOf(ErofsReader::NodeId id) { return id + 1; }
ErofsReader::NodeId NodeOf(uint64_t number) { return number - 1; }

bool LeadsToObject(std::string_view xattr) {
  return xattr == whiteout::kMetacopyXattr || xattr == whiteout::kRedirectXattr;
}

/// What all directories and files of one layer share. Constant after opening.
struct Packed {
  PackedLayerFiles files;
  std::optional<ErofsReader> reader;  // of files.image
  uint64_t file_system = 0;

  FdRef Device(size_t number) const { return number == 0 ? files.image.ref() : files.devices[number - 1].ref(); }
};

/// A file whose bytes lie in images.
class ImageFile final : public LayerFile {
 public:
  static SysResult<std::shared_ptr<LayerFile>> Open(std::shared_ptr<const Packed> packed, const ErofsReader::Node& node) {
    SNAP_TRY(std::vector<Run> runs, OrEio(packed->reader->Runs(node.id, kMaxRuns)));
    if (node.tail_bytes != 0) runs.push_back({node.size - node.tail_bytes, node.tail_bytes, 0, kTail});
    return std::shared_ptr<LayerFile>(std::make_shared<ImageFile>(std::move(packed), node, std::move(runs)));
  }
  ImageFile(std::shared_ptr<const Packed> packed, const ErofsReader::Node& node, std::vector<Run> runs)
      : packed_(std::move(packed)), id_(node.id), size_(node.size), runs_(std::move(runs)) {}

  SysResult<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override {
    if (offset >= size_) return size_t{0};
    buffer = buffer.first(std::min<uint64_t>(buffer.size(), size_ - offset));
    std::span<std::byte> rest = buffer;
    for (auto run = RunAt(offset); !rest.empty(); ++run) {
      const uint64_t data = run == runs_.end() ? size_ : run->offset;
      if (data > offset) {
        const std::span<std::byte> hole = rest.first(std::min<uint64_t>(rest.size(), data - offset));
        std::fill(hole.begin(), hole.end(), std::byte{0});
        rest = rest.subspan(hole.size());
        offset += hole.size();
        if (rest.empty()) break;
      }
      const std::span<std::byte> part = rest.first(std::min<uint64_t>(rest.size(), run->offset + run->size - offset));
      SNAP_TRY_VOID(ReadRun(*run, offset, part));
      rest = rest.subspan(part.size());
      offset += part.size();
    }
    return buffer.size();
  }
  std::optional<FdRef> descriptor() const override { return std::nullopt; }
  SysResult<uint64_t> Seek(uint64_t offset, int whence) override {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return Errno(EINVAL);
    if (offset >= size_) return Errno(ENXIO);
    auto run = RunAt(offset);
    if (whence == SEEK_DATA) {
      if (run == runs_.end()) return Errno(ENXIO);
      return std::max(offset, run->offset);
    }
    for (; run != runs_.end() && run->offset <= offset; ++run) offset = run->offset + run->size;
    return offset;
  }

 private:
  static constexpr uint16_t kTail = UINT16_MAX;  // a run that lies beside the inode; no image has so many devices

  /// The first run that ends behind `offset`.
  std::vector<Run>::const_iterator RunAt(uint64_t offset) const {
    return std::partition_point(runs_.begin(), runs_.end(), [&](const Run& run) { return run.offset + run.size <= offset; });
  }
  SysResult<void> ReadRun(const Run& run, uint64_t offset, std::span<std::byte> buffer) const {
    if (run.device == kTail) {
      SNAP_TRY(const size_t got, OrEio(packed_->reader->ReadFile(id_, offset, buffer)));
      if (got != buffer.size()) return Errno(EIO);
      return {};
    }
    uint64_t at = (run.block << packed_->reader->block_bits()) + (offset - run.offset);
    while (!buffer.empty()) {
      SNAP_TRY(const size_t got, sys::PRead(packed_->Device(run.device), buffer, at));
      if (got == 0) return Errno(EIO);  // the image has become shorter
      buffer = buffer.subspan(got);
      at += got;
    }
    return {};
  }

  const std::shared_ptr<const Packed> packed_;
  const ErofsReader::NodeId id_;
  const uint64_t size_;
  const std::vector<Run> runs_;  // ascending, disjoint
};

/// A file that is an object.
class ObjectFile final : public LayerFile {
 public:
  ObjectFile(UniqueFd fd, uint64_t size) : fd_(std::move(fd)), size_(size) {}
  static SysResult<std::shared_ptr<LayerFile>> Open(const Packed& packed, const ErofsReader::Node& node,
                                                    std::string_view redirect) {
    if (packed.files.objects == nullptr || !redirect.starts_with('/')) return Errno(EIO);
    SNAP_TRY(const ObjectId id, OrEio(ObjectId::ParsePath(redirect.substr(1))));
    if (id.size != node.size) return Errno(EIO);
    // O_NONBLOCK: whatever is there, nobody waits for it.
    constexpr unsigned kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    const std::string path = id.Path();
    SysResult<UniqueFd> fd = sys::OpenBeneath(*packed.files.objects, path.c_str(), kFlags | O_NOATIME);
    if (!fd.ok() && fd.error() == EPERM) fd = sys::OpenBeneath(*packed.files.objects, path.c_str(), kFlags);
    if (!fd.ok()) {
      const bool is_for_later = fd.error() == EMFILE || fd.error() == ENFILE || fd.error() == ENOMEM || fd.error() == EACCES;
      return is_for_later ? fd.error() : Errno(EIO);
    }
    SNAP_TRY(const struct stat stat, sys::FStat(*fd));
    if (!S_ISREG(stat.st_mode) || static_cast<uint64_t>(stat.st_size) != id.size) return Errno(EIO);
    return std::shared_ptr<LayerFile>(std::make_shared<ObjectFile>(std::move(*fd), id.size));
  }

  SysResult<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override {
    if (offset >= size_) return size_t{0};
    buffer = buffer.first(std::min<uint64_t>(buffer.size(), size_ - offset));
    for (std::span<std::byte> rest = buffer; !rest.empty();) {
      SNAP_TRY(const size_t got, sys::PRead(fd_, rest, offset));
      if (got == 0) return Errno(EIO);
      rest = rest.subspan(got);
      offset += got;
    }
    return buffer.size();
  }
  std::optional<FdRef> descriptor() const override { return fd_.ref(); }
  SysResult<uint64_t> Seek(uint64_t offset, int whence) override {
    if (offset > INT64_MAX) return Errno(ENXIO);
    return sys::Seek(fd_, static_cast<int64_t>(offset), whence);
  }

 private:
  const UniqueFd fd_;
  const uint64_t size_;
};

class PackedDir final : public LayerDir {
 public:
  PackedDir(std::shared_ptr<const Packed> packed, ErofsReader::NodeId id, size_t depth)
      : packed_(std::move(packed)), id_(id), depth_(depth) {}

  uint64_t file_system() const override { return packed_->file_system; }
  SysResult<struct statvfs> StatFs() override { return sys::FStatVfs(packed_->files.image); }

  SysResult<std::vector<LayerName>> List() override {
    SNAP_TRY(std::vector<ErofsReader::DirEntry> entries, OrEio(reader().List(id_)));
    std::vector<LayerName> names;
    names.reserve(entries.size());
    for (ErofsReader::DirEntry& entry : entries) names.push_back({std::move(entry.name), NumberOf(entry.id), entry.type});
    return names;
  }

  SysResult<FileStat> StatSelf() override {
    SNAP_TRY(const ErofsReader::Node node, OrEio(reader().Stat(id_)));
    return StatOf(node);
  }
  SysResult<std::string> GetXattrSelf(const std::string& xattr) override { return GetXattrOf(id_, xattr); }
  SysResult<std::vector<std::string>> ListXattrSelf() override { return ListXattrOf(id_); }

  SysResult<std::shared_ptr<LayerDir>> OpenDir(const LayerName& name) override {
    if (depth_ >= RelPath::kMaxDepth) return Errno(EIO);
    SNAP_TRY(const ErofsReader::Node node, Find(name));
    if (node.type != FileType::kDirectory) return Errno(ENOTDIR);
    return std::shared_ptr<LayerDir>(std::make_shared<PackedDir>(packed_, node.id, depth_ + 1));
  }
  SysResult<FileStat> Stat(const LayerName& name) override {
    SNAP_TRY(const ErofsReader::Node node, Find(name));
    return StatOf(node);
  }
  SysResult<std::string> ReadLink(const LayerName& name) override {
    SNAP_TRY(const ErofsReader::Node node, Find(name));
    if (node.type != FileType::kSymlink) return Errno(EINVAL);
    return OrEio(reader().ReadLink(node.id));
  }
  SysResult<std::string> GetXattr(const LayerName& name, const std::string& xattr) override {
    SNAP_TRY(const ErofsReader::NodeId id, IdOf(name));
    return GetXattrOf(id, xattr);
  }
  SysResult<std::vector<std::string>> ListXattr(const LayerName& name) override {
    SNAP_TRY(const ErofsReader::NodeId id, IdOf(name));
    return ListXattrOf(id);
  }
  SysResult<std::shared_ptr<LayerFile>> OpenFile(const LayerName& name) override {
    SNAP_TRY(const ErofsReader::Node node, Find(name));
    if (node.type != FileType::kRegular) return Errno(EINVAL);
    SNAP_TRY(const std::vector<Xattr> xattrs, OrEio(reader().Xattrs(node.id)));
    bool metacopy = false;
    const std::string* redirect = nullptr;
    for (const Xattr& xattr : xattrs) {
      if (xattr.name == whiteout::kMetacopyXattr) metacopy = true;
      if (xattr.name == whiteout::kRedirectXattr) redirect = &xattr.value;
    }
    if (!metacopy) return ImageFile::Open(packed_, node);
    if (redirect == nullptr) return Errno(EIO);
    return ObjectFile::Open(*packed_, node, *redirect);
  }
  SysResult<std::string> OriginOf(const LayerName&) override { return Errno(EOPNOTSUPP); }
  SysResult<std::string> OriginSelf() override { return Errno(EOPNOTSUPP); }

 private:
  const ErofsReader& reader() const { return *packed_->reader; }

  SysResult<ErofsReader::NodeId> IdOf(const LayerName& name) const {
    if (name.inode != 0) return NodeOf(name.inode);
    SNAP_TRY(const std::optional<ErofsReader::NodeId> id, OrEio(reader().Lookup(id_, name.name)));
    if (!id) return Errno(ENOENT);
    return *id;
  }
  /// The inode of a name; of one that was listed it has the type that the directory said.
  SysResult<ErofsReader::Node> Find(const LayerName& name) const {
    SNAP_TRY(const ErofsReader::NodeId id, IdOf(name));
    SNAP_TRY(const ErofsReader::Node node, OrEio(reader().Stat(id)));
    if (name.inode != 0 && node.type != name.type) return Errno(EIO);
    return node;
  }

  FileStat StatOf(const ErofsReader::Node& node) const {
    FileStat out;
    struct stat& st = out.st;
    st.st_dev = packed_->file_system;
    st.st_ino = NumberOf(node.id);
    st.st_mode = TypeBits(node.type) | node.permissions;
    st.st_nlink = node.links;
    st.st_uid = node.uid;
    st.st_gid = node.gid;
    st.st_rdev = node.device;
    st.st_size = static_cast<off_t>(node.size);
    st.st_blksize = kIoBytes;
    st.st_blocks = static_cast<blkcnt_t>(node.size / kStatBlock + (node.size % kStatBlock != 0 ? 1 : 0));
    st.st_atim = st.st_mtim = st.st_ctim = node.mtime;
    return out;
  }
  SysResult<std::string> GetXattrOf(ErofsReader::NodeId id, const std::string& name) const {
    if (LeadsToObject(name)) return Errno(ENODATA);
    SNAP_TRY(std::vector<Xattr> xattrs, OrEio(reader().Xattrs(id)));
    for (Xattr& xattr : xattrs) {
      if (xattr.name == name) return std::move(xattr.value);
    }
    return Errno(ENODATA);
  }
  SysResult<std::vector<std::string>> ListXattrOf(ErofsReader::NodeId id) const {
    SNAP_TRY(std::vector<Xattr> xattrs, OrEio(reader().Xattrs(id)));
    std::vector<std::string> names;
    for (Xattr& xattr : xattrs) {
      if (!LeadsToObject(xattr.name)) names.push_back(std::move(xattr.name));
    }
    return names;
  }

  const std::shared_ptr<const Packed> packed_;
  const ErofsReader::NodeId id_;
  const size_t depth_;
};

}  // namespace

Result<Layer> OpenPackedLayer(PackedLayerFiles files, uint64_t max_held_bytes) {
  auto packed = std::make_shared<Packed>();
  packed->files = std::move(files);
  const PackedLayerFiles& in = packed->files;
  SNAP_TRY(packed->reader, ErofsReader::Open(in.image, in.name));
  if (packed->reader->device_count() != in.devices.size()) {
    return MakeError(ErrorCode::kInvalidArgument, "layer {} refers to {} further images, {} are given", Quote(in.name),
                     packed->reader->device_count(), in.devices.size());
  }
  SNAP_TRY(const bool held, packed->reader->HoldMetadata(max_held_bytes));
  (void)held;  // without it, questions take system calls
  SNAP_TRY(const ErofsReader::Node root, packed->reader->Stat(packed->reader->root()));
  if (root.type != FileType::kDirectory) {
    return MakeError(ErrorCode::kCorrupt, "the root of layer {} is not a directory", Quote(in.name));
  }
  std::string identity = in.name;
  if (identity.empty()) {
    SNAP_TRY_SYS(const struct stat stat, sys::FStat(in.image), "look at the image of a layer");
    identity = fmt::format("{}:{}", stat.st_dev, stat.st_ino);
  }
  packed->file_system = Xxh3Of64(identity, kNumberSeed) | uint64_t{1} << 63U;  // no st_dev

  Layer layer;
  layer.file_system = packed->file_system;
  layer.root = std::make_shared<PackedDir>(std::move(packed), root.id, 0);
  return layer;
}

}  // namespace snap::fuse
