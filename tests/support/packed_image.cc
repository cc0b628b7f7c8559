#include "tests/support/packed_image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <optional>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_writer.h"
#include "fs/layer_tree.h"
#include "fs/xxhash.h"

namespace snap {
namespace {

constexpr unsigned kBlockBits = 9;
constexpr uint64_t kBlockBytes = uint64_t{1} << kBlockBits;
constexpr size_t kPieceBytes = 4096;  ///< holes of objects

FileType TypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return FileType::kDirectory;
    case S_IFLNK:
      return FileType::kSymlink;
    case S_IFCHR:
      return FileType::kCharDevice;
    case S_IFBLK:
      return FileType::kBlockDevice;
    case S_IFIFO:
      return FileType::kFifo;
    case S_IFSOCK:
      return FileType::kSocket;
    default:
      return FileType::kRegular;
  }
}

/// A file that data of other files is appended to.
struct Data {
  UniqueFd file;
  uint64_t blocks = 0;

  uint64_t Append(std::string_view text) {
    const uint64_t block = blocks;
    EXPECT_TRUE(sys::PWriteAll(file, std::as_bytes(std::span(text)), block * kBlockBytes).ok());
    blocks += (text.size() + kBlockBytes - 1) / kBlockBytes;
    EXPECT_TRUE(sys::Truncate(file, blocks * kBlockBytes).ok());
    return block;
  }
};

class Packer {
 public:
  Packer(FdRef directory, const std::string& name, FdRef objects, const PackTreeOptions& options)
      : objects_(objects), options_(options) {
    for (size_t i = 0; i <= options.devices; ++i) {
      const std::string file = i == 0 ? name : name + "." + std::to_string(i);
      auto fd = sys::OpenAt(directory, file.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
      EXPECT_TRUE(fd.ok()) << Quote(file);
      data_.push_back({fd.ok() ? std::move(*fd) : UniqueFd(), 0});
    }
    data_[0].blocks = ErofsDataStart(kBlockBits, options.devices);
  }

  void Run(FdRef tree) {
    Attributes(LayerTree::kRoot, tree, ".", *sys::FStat(*sys::OpenAt(tree, ".", O_RDONLY)));
    Directory(LayerTree::kRoot, tree);
    ErofsOptions erofs{.block_bits = kBlockBits, .first_free_block = data_[0].blocks, .devices = {}};
    for (size_t i = 1; i < data_.size(); ++i) erofs.devices.push_back({"", data_[i].blocks});
    const auto written = WriteErofs(data_[0].file, tree_, erofs);
    EXPECT_TRUE(written.ok()) << written.error().message();
  }

 private:
  void Directory(LayerTree::InodeId id, FdRef dir) {
    const auto entries = sys::ListDir(dir);
    ASSERT_TRUE(entries.ok());
    for (const sys::DirEntry& entry : *entries) Entry(id, dir, entry.name);
  }

  void Entry(LayerTree::InodeId parent, FdRef dir, const std::string& name) {
    const struct stat status = *sys::StatAt(dir, name.c_str());
    const auto known = inodes_.find(status.st_ino);
    if (known != inodes_.end()) {
      tree_.AddEntry(parent, name, known->second);
      return;
    }
    LayerTree::Inode inode;
    inode.type = TypeOf(status.st_mode);
    if (inode.type == FileType::kCharDevice || inode.type == FileType::kBlockDevice)
      inode.device = status.st_rdev;
    if (inode.type == FileType::kSymlink) {
      const std::string target = *sys::ReadLinkAt(dir, name.c_str());
      inode.size = target.size();
      inode.data = tree_.AddTarget(target);
    }
    if (inode.type == FileType::kRegular)
      Content(inode, *sys::ReadFileAt(dir, name.c_str(), size_t{1} << 28U));
    const LayerTree::InodeId id = tree_.AddInode(inode);
    inodes_[status.st_ino] = id;
    tree_.AddEntry(parent, name, id);
    Attributes(id, dir, name, status);
    if (inode.type == FileType::kDirectory)
      Directory(id, *sys::OpenAt(dir, name.c_str(), O_RDONLY | O_DIRECTORY));
  }

  void Content(LayerTree::Inode& inode, const std::string& text) {
    inode.size = text.size();
    if (text.empty()) return;
    if (text.size() >= options_.object_bytes) {
      inode.data_kind = LayerTree::Inode::Data::kObject;
      inode.data = tree_.AddObject(Object(text));
      return;
    }
    inode.data_kind = LayerTree::Inode::Data::kContiguous;
    inode.run_device = static_cast<uint16_t>(options_.devices == 0 ? 0 : 1 + next_++ % options_.devices);
    inode.block = data_[inode.run_device].Append(text);
  }

  ObjectId Object(const std::string& text) {
    const uint64_t hash = Xxh3Of64(text, 1);
    ObjectId id;
    for (size_t i = 0; i < 8; ++i) id.hash[i] = static_cast<uint8_t>(hash >> (8 * i));
    id.size = text.size();
    const std::string path = id.Path();
    (void)sys::MkdirAt(objects_, path.substr(0, 2).c_str(), 0755);  // there is one for each of 256 beginnings
    const auto file = sys::OpenAt(objects_, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0444);
    EXPECT_TRUE(file.ok() && sys::Truncate(*file, text.size()).ok()) << Quote(path);
    for (size_t at = 0; at < text.size(); at += kPieceBytes) {
      const std::string_view piece = std::string_view(text).substr(at, kPieceBytes);
      if (piece.find_first_not_of('\0') == std::string_view::npos) continue;
      EXPECT_TRUE(sys::PWriteAll(*file, std::as_bytes(std::span(piece)), at).ok()) << Quote(path);
    }
    return id;
  }

  void Attributes(LayerTree::InodeId id, FdRef dir, const std::string& name, const struct stat& status) {
    snap::Attributes attributes;
    attributes.permissions = status.st_mode & 07777U;
    attributes.uid = status.st_uid;
    attributes.gid = status.st_gid;
    attributes.mtime = status.st_mtim;
    bool opaque = false;
    const auto xattrs = sys::ListXattrAt(dir, name.c_str());
    EXPECT_TRUE(xattrs.ok()) << Quote(name);
    for (const std::string& xattr : *xattrs) {
      if (xattr == "trusted.overlay.opaque") {
        opaque = true;
      } else if (xattr.find(".overlay.") == std::string::npos) {
        attributes.xattrs.push_back({xattr, *sys::GetXattrAt(dir, name.c_str(), xattr.c_str())});
      }
    }
    tree_.SetAttributes(id, attributes);
    tree_.inode(id).opaque = opaque;
  }

  const FdRef objects_;
  const PackTreeOptions options_;
  std::vector<Data> data_;
  LayerTree tree_;
  std::map<ino_t, LayerTree::InodeId> inodes_;
  size_t next_ = 0;
};

}  // namespace

void PackTree(FdRef tree, FdRef directory, const std::string& name, FdRef objects,
              const PackTreeOptions& options) {
  Packer(directory, name, objects, options).Run(tree);
}

}  // namespace snap
