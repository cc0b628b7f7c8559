// Opening what a union is made of, by path.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fuse/dir_fds.h"
#include "fuse/layer.h"
#include "fuse/union_fs.h"

namespace snap::fuse {

struct LayerPaths {
  std::vector<std::string> lowers_top_first;            ///< directories; a regular file is the image of a packed layer
  std::vector<std::vector<std::string>> lower_devices;  ///< as many: the further images of packed ones
  std::optional<std::string> upper, work;
  std::optional<std::string> objects;                   ///< where packed layers have their large files
};
struct OpenedLayers {
  std::vector<Layer> lowers_top_first;
  std::optional<UnionFs::Upper> upper;
};
/// Lowers are reached through read-only clones of their mounts where the process may make them: then nothing can write them, not even
/// the kernel with a descriptor of ours. Errors: kNotFound, kPermission, kInvalidArgument, kCorrupt, each with the path.
Result<OpenedLayers> OpenLayers(const LayerPaths& paths, DirFds& fds);

}  // namespace snap::fuse
