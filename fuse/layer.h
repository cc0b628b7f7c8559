// Layer: one read-only layer below the union, a directory tree or a packed image, as single names below directories.
// Invariant: nothing here can change a layer: descriptors are for reading, names are never followed when they are symlinks, and
// no path of more than one component is ever resolved.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_entry.h"

namespace snap::fuse {

/// struct stat with the time of birth (0 where it is not known). Ids are those on disk.
struct FileStat {
  struct stat st{};
  timespec birth{};
};

/// What a directory of a layer says about a name. Whiteouts are listed as they are: see directory_view.h.
struct LayerName {
  std::string name;
  /// st_ino. Packed layers find the file by it, so hand it back as it was listed; 0: it was not listed, the name is looked for.
  uint64_t inode = 0;
  FileType type = FileType::kRegular;
};

/// The data of a regular file, open.
/// Threads: safe.
class LayerFile {
 public:
  virtual ~LayerFile() = default;
  /// Bytes read: less than asked for only at the end of the file.
  virtual SysResult<size_t> Read(uint64_t offset, std::span<std::byte> buffer) = 0;
  /// A descriptor (O_RDONLY) of a file whose bytes are these at the same offsets; nullopt when the bytes lie inside an image.
  virtual std::optional<FdRef> descriptor() const = 0;
  /// lseek(2) with SEEK_DATA and SEEK_HOLE. Errors: ENXIO.
  virtual SysResult<uint64_t> Seek(uint64_t offset, int whence) = 0;
};

/// A directory of a layer. It keeps what it needs of its parents; its descriptor is opened when it is used and may be closed
/// at any time in between (DirFds).
/// Threads: safe.
class LayerDir : public std::enable_shared_from_this<LayerDir> {
 public:
  virtual ~LayerDir() = default;

  /// Layer::file_system of its layer.
  virtual uint64_t file_system() const = 0;

  /// statvfs(2) of what the layer lies in.
  virtual SysResult<struct statvfs> StatFs() = 0;

  /// Everything but '.' and '..', in no order. Cost O(entries).
  virtual SysResult<std::vector<LayerName>> List() = 0;

  /// The directory itself.
  virtual SysResult<FileStat> StatSelf() = 0;
  /// Errors: ENODATA. The full names, overlay.* included, as they are on disk.
  virtual SysResult<std::string> GetXattrSelf(const std::string& xattr) = 0;
  virtual SysResult<std::vector<std::string>> ListXattrSelf() = 0;

  /// Of a name in it, as List gave it. Errors: ENOENT, ENOTDIR, EIO.
  virtual SysResult<std::shared_ptr<LayerDir>> OpenDir(const LayerName& name) = 0;
  virtual SysResult<FileStat> Stat(const LayerName& name) = 0;
  virtual SysResult<std::string> ReadLink(const LayerName& name) = 0;
  virtual SysResult<std::string> GetXattr(const LayerName& name, const std::string& xattr) = 0;
  virtual SysResult<std::vector<std::string>> ListXattr(const LayerName& name) = 0;
  virtual SysResult<std::shared_ptr<LayerFile>> OpenFile(const LayerName& name) = 0;
  /// What the kernel's overlayfs stores in "overlay.origin": struct ovl_fb with the file's handle. Errors: EOPNOTSUPP where
  /// there are no handles (packed layers, some file systems): nothing is stored then.
  virtual SysResult<std::string> OriginOf(const LayerName& name) = 0;
  virtual SysResult<std::string> OriginSelf() = 0;
};

/// A layer's root and what it has of its own.
struct Layer {
  std::shared_ptr<LayerDir> root;
  /// Distinguishes inode numbers: layers on one file system have the same number, a packed layer has its own. See InodeNumbers.
  uint64_t file_system = 0;
};

}  // namespace snap::fuse
