// Everything is opened before the union is mounted, so that a layer below the mount point is not asked for through the union.
#include "fuse/open_layers.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fuse/packed_layer.h"
#include "fuse/tree_layer.h"

namespace snap::fuse {
namespace {

/// The directory through a mount of its own that cannot be written, or nothing where that may not be made.
UniqueFd ReadOnlyClone(FdRef directory) {
  SysResult<UniqueFd> clone = sys::OpenTree(directory, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
  if (!clone.ok()) return UniqueFd();
  if (!sys::MountSetAttr(*clone, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME, 0, 0, false).ok()) return UniqueFd();
  return std::move(*clone);
}

Result<UniqueFd> OpenDirectory(const std::string& path, const char* what) {
  SNAP_TRY_SYS(UniqueFd directory, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_PATH | O_DIRECTORY), "open the {} directory {}", what,
               Quote(path));
  return directory;
}

Result<UniqueFd> OpenImage(const std::string& path) {
  SNAP_TRY_SYS(UniqueFd image, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY), "open the packed layer {}", Quote(path));
  return image;
}

Result<Layer> OpenPacked(const std::string& path, const std::vector<std::string>& devices,
                         const std::shared_ptr<const UniqueFd>& objects) {
  PackedLayerFiles files;
  files.objects = objects;
  SNAP_TRY(files.image, OpenImage(path));
  for (const std::string& device : devices) {
    SNAP_TRY(UniqueFd image, OpenImage(device));
    files.devices.push_back(std::move(image));
  }
  Result<Layer> layer = OpenPackedLayer(std::move(files));
  if (!layer.ok()) return std::move(layer).error().Wrap("open the packed layer " + Quote(path));
  return layer;
}

}  // namespace

Result<OpenedLayers> OpenLayers(const LayerPaths& paths, DirFds& fds) {
  OpenedLayers opened;
  std::shared_ptr<const UniqueFd> objects;
  if (paths.objects) {
    SNAP_TRY(UniqueFd directory, OpenDirectory(*paths.objects, "objects"));
    if (UniqueFd clone = ReadOnlyClone(directory); clone.valid()) directory = std::move(clone);
    objects = std::make_shared<const UniqueFd>(std::move(directory));
  }
  for (size_t i = 0; i < paths.lowers_top_first.size(); ++i) {
    const std::string& path = paths.lowers_top_first[i];
    SNAP_TRY_SYS(const struct statx status, sys::StatX(FdRef::Cwd(), path.c_str(), 0, STATX_TYPE), "open the lower {}", Quote(path));
    if (S_ISREG(status.stx_mode)) {
      SNAP_TRY(Layer layer, OpenPacked(path, paths.lower_devices[i], objects));
      opened.lowers_top_first.push_back(std::move(layer));
      continue;
    }
    if (!paths.lower_devices[i].empty()) {
      return MakeError(ErrorCode::kInvalidArgument, "the lower {} is no image that could refer to devices", Quote(path));
    }
    SNAP_TRY(UniqueFd directory, OpenDirectory(path, "lower"));
    if (UniqueFd clone = ReadOnlyClone(directory); clone.valid()) directory = std::move(clone);
    SNAP_TRY(Layer layer, OpenTreeLayer(std::move(directory), fds));
    opened.lowers_top_first.push_back(std::move(layer));
  }
  if (paths.upper) {
    UnionFs::Upper upper;
    SNAP_TRY(upper.upper, OpenDirectory(*paths.upper, "upper"));
    if (paths.work) {
      SNAP_TRY_SYS(upper.work, sys::OpenAt(FdRef::Cwd(), paths.work->c_str(), O_RDONLY | O_DIRECTORY), "open the work directory {}",
                   Quote(*paths.work));
    }
    opened.upper = std::move(upper);
  }
  return opened;
}

}  // namespace snap::fuse
