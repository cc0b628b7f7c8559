// One component at a time below descriptors that are opened when they are needed: a union of 500 layers with 100,000
// directories needs as few descriptors as a small one, and no path is ever longer than a name.
// Layers are hostile: nothing here recurses, so a tree may be as deep as it likes.
#include "fuse/tree_layer.h"

#include <dirent.h>
#include <fcntl.h>

#include <array>
#include <optional>

#include "fs/base/sys_file.h"
#include "fuse/file_stat.h"
#include "fuse/overlay_origin.h"

namespace snap::fuse {
namespace {

/// Reading must not change the layer's access times. Only owners may ask for that.
SysResult<UniqueFd> OpenUnchanged(FdRef dir, const char* name, int flags) {
  SysResult<UniqueFd> fd = sys::OpenAt(dir, name, flags | O_NOATIME);
  if (!fd.ok() && fd.error() == EPERM) fd = sys::OpenAt(dir, name, flags);
  return fd;
}

class TreeFile final : public LayerFile {
 public:
  explicit TreeFile(UniqueFd fd) : fd_(std::move(fd)) {}
  SysResult<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override { return sys::PRead(fd_, buffer, offset); }
  std::optional<FdRef> descriptor() const override { return fd_.ref(); }
  SysResult<uint64_t> Seek(uint64_t offset, int whence) override {
    return sys::Seek(fd_, static_cast<int64_t>(offset), whence);
  }

 private:
  const UniqueFd fd_;
};

/// What all directories of one layer share.
struct Tree {
  DirFds& fds;
  DirFds::Pin root;
  uint64_t file_system = 0;
  std::optional<std::array<char, 16>> uuid;  // of the file system
};

class TreeDir final : public LayerDir {
 public:
  TreeDir(std::shared_ptr<const Tree> tree, std::shared_ptr<TreeDir> parent, std::string name)
      : tree_(std::move(tree)), parent_(std::move(parent)), name_(std::move(name)), slot_(tree_->fds) {}
  ~TreeDir() override {
    // Parents that only this one kept go one after the other, not one inside the other.
    std::shared_ptr<TreeDir> next = std::move(parent_);
    while (next != nullptr && next.use_count() == 1) next = std::move(next->parent_);
  }

  uint64_t file_system() const override { return tree_->file_system; }

  SysResult<struct statvfs> StatFs() override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return sys::FStatVfs(*pin);
  }
  SysResult<std::vector<LayerName>> List() override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    SNAP_TRY(std::vector<sys::DirEntry> entries, sys::ListDir(*pin));
    std::vector<LayerName> names;
    names.reserve(entries.size());
    for (sys::DirEntry& entry : entries) {
      auto mode = static_cast<mode_t>(DTTOIF(entry.type));
      if (entry.type == DT_UNKNOWN) {
        SNAP_TRY(const struct stat stat, sys::StatAt(*pin, entry.name.c_str()));
        mode = stat.st_mode;
      }
      names.push_back({std::move(entry.name), entry.inode, TypeOfMode(mode).value_or(FileType::kRegular)});
    }
    return names;
  }
  SysResult<FileStat> StatSelf() override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return StatOf(*pin, "");
  }
  SysResult<std::string> GetXattrSelf(const std::string& xattr) override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return sys::PathFdGetXattr(*pin, xattr.c_str());
  }
  SysResult<std::vector<std::string>> ListXattrSelf() override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return sys::PathFdListXattr(*pin);
  }
  SysResult<std::string> OriginSelf() override {
    return Origin("");
  }

  SysResult<std::shared_ptr<LayerDir>> OpenDir(const LayerName& name) override {
    return std::shared_ptr<LayerDir>(
        std::make_shared<TreeDir>(tree_, std::static_pointer_cast<TreeDir>(shared_from_this()), name.name));
  }
  SysResult<FileStat> Stat(const LayerName& name) override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return StatOf(*pin, name.name.c_str());
  }
  SysResult<std::string> ReadLink(const LayerName& name) override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return sys::ReadLinkAt(*pin, name.name.c_str());
  }
  SysResult<std::string> GetXattr(const LayerName& name, const std::string& xattr) override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return sys::GetXattrAt(*pin, name.name.c_str(), xattr.c_str());
  }
  SysResult<std::vector<std::string>> ListXattr(const LayerName& name) override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return sys::ListXattrAt(*pin, name.name.c_str());
  }
  SysResult<std::shared_ptr<LayerFile>> OpenFile(const LayerName& name) override {
    SNAP_TRY(const DirFds::Pin pin, Pin());
    if (name.type != FileType::kRegular) return Errno(EINVAL);
    // O_NONBLOCK: should it be a fifo after all, nobody waits for a writer.
    SNAP_TRY(UniqueFd fd, OpenUnchanged(*pin, name.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    SNAP_TRY(const struct stat stat, sys::FStat(fd));
    if (!S_ISREG(stat.st_mode)) return Errno(EIO);
    return std::shared_ptr<LayerFile>(std::make_shared<TreeFile>(std::move(fd)));
  }
  SysResult<std::string> OriginOf(const LayerName& name) override {
    return Origin(name.name.c_str());
  }

 private:
  SysResult<DirFds::Pin> Pin() {
    // Up to one that is open, then down again.
    DirFds::Pin pin;
    std::vector<TreeDir*> closed;
    for (TreeDir* at = this; pin == nullptr; at = at->parent_.get()) {
      if (at->parent_ == nullptr) {
        pin = tree_->root;
      } else if (SysResult<DirFds::Pin> open = tree_->fds.Get(at->slot_, [] { return Errno(ENOENT); }); open.ok()) {
        pin = std::move(*open);
      } else {
        closed.push_back(at);
      }
    }
    for (; !closed.empty(); closed.pop_back()) {
      TreeDir& next = *closed.back();
      SNAP_TRY(pin, tree_->fds.Get(next.slot_, [&]() -> SysResult<UniqueFd> {
        return sys::OpenAt(*pin, next.name_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
      }));
    }
    return pin;
  }
  SysResult<std::string> Origin(const char* name) {
    if (!tree_->uuid) return Errno(EOPNOTSUPP);
    SNAP_TRY(const DirFds::Pin pin, Pin());
    return EncodeOrigin(*pin, name, *tree_->uuid);
  }

  const std::shared_ptr<const Tree> tree_;
  std::shared_ptr<TreeDir> parent_;  // nullptr: the root; constant until destruction
  const std::string name_;
  DirFds::Slot slot_;
};

}  // namespace

Result<Layer> OpenTreeLayer(UniqueFd root, DirFds& fds) {
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(root), "look at a layer");
  if (!S_ISDIR(stat.st_mode)) return MakeError(ErrorCode::kInvalidArgument, "a layer is not a directory");
  Layer layer;
  layer.file_system = stat.st_dev;
  std::optional<std::array<char, 16>> uuid;
  if (auto known = sys::FileSystemUuid(root); known.ok()) uuid = *known;  // else there are no origins
  auto tree = std::make_shared<const Tree>(Tree{fds, std::make_shared<const UniqueFd>(std::move(root)), stat.st_dev, uuid});
  layer.root = std::make_shared<TreeDir>(std::move(tree), nullptr, "");
  return layer;
}

}  // namespace snap::fuse
