// LayerItem: one thing in one lower layer, as a value; a list of them makes the lowers of a union. Layers
// hold what overlayfs itself would have written: whiteouts as devices 0:0 or marked empty files, opaque
// directories. Invariant: the same items give the same layers, times included.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace snap::test {

using Random = std::mt19937_64;

struct LayerItem {
  enum class Kind : uint8_t {
    kFile,
    kDirectory,
    kWhiteout,
    kXattrWhiteout,
    kOpaque,
    kSymlink,
    kHardLink,
    kFifo,
    kDevice
  };
  int layer = 0;  ///< 0 is the top
  Kind kind = Kind::kFile;
  std::string path, target;  ///< `target` of a link
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  uint64_t size = 0, hole = 0;  ///< the data starts behind the hole
  int64_t mtime = 0;
  std::map<std::string, std::string> xattrs;
};
std::string Describe(const LayerItem& item);

/// A random name of the small pool, so that names meet.
std::string RandomName(Random& random);
/// A value of system.posix_acl_*.
std::string RandomAcl(Random& random);

/// `xattr_whiteouts`: also those of the newer spelling.
std::vector<LayerItem> RandomLayers(Random& random, int layers, int items_per_layer, bool xattr_whiteouts);

/// Makes `directory`/0 ... N-1. An item that another one makes impossible (a file where a directory must be)
/// is left out, the same way each time. Returns the directories, top first. Dies when the file system refuses
/// what layers need.
std::vector<std::string> BuildLayers(const std::string& directory, int layers,
                                     const std::vector<LayerItem>& items);

}  // namespace snap::test
