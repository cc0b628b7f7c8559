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
  std::vector<std::string> lowers_top_first;
  std::optional<std::string> upper, work;
};
struct OpenedLayers {
  std::vector<Layer> lowers_top_first;
  std::optional<UnionFs::Upper> upper;
};
/// Lowers are reached through read-only clones of their mounts where the process may make them: then nothing can write them, not even
/// the kernel with a descriptor of ours. Errors: kNotFound, kPermission, kInvalidArgument, each with the path.
Result<OpenedLayers> OpenLayers(const LayerPaths& paths, DirFds& fds);

}  // namespace snap::fuse
