// EngineLowers: layers as paths, for engines that mount by themselves with mount(2).
//   DIRECTORY/<32 hex>          an EROFS image (a layer's, or a merged one), mounted read-only
//   DIRECTORY/<name>-<32 hex>   the same, a layer's tree or an upper e<number>, with its owners mapped as the
//   hash says DIRECTORY/l<16 hex>/<i>     symlinks to the lowers of a chain whose paths would not fit into
//   mount's one page DIRECTORY/empty             an empty directory
// A mount is made when a snapshot first needs it and goes when the last one that does is removed; an overlay
// that is mounted above it does not need the path any more. Invariant: what was published for a chain is the
// same for as long as the chain is.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/union_backend.h"
#include "snapshotter/id_map.h"
#include "snapshotter/snapshot_chain.h"

namespace snap {

/// Threads: safe.
class EngineLowers {
 public:
  /// Makes the directory and the one above it, for root alone.
  static Result<std::unique_ptr<EngineLowers>> Open(LayerStore& layers, UnionBackend& backend,
                                                    const std::string& directory);

  struct Published {
    std::vector<std::string> paths;  ///< absolute, top first
    bool packed = false;             ///< some need objects/ as data-only layer below
  };
  /// `merged`: one image for the packed layers at the bottom, made now if it is not there (O(entries));
  /// otherwise one mount each. `user` is whose they are, until Forget. Errors: kNotFound, kCorrupt (a layer),
  /// kUnsupported, kIo. `map`, if given: through mounts that show the files' owners as a user namespace of
  /// this map has them. kUnsupported where the file system of an upper cannot do that. Cost, when everything
  /// is there: some microseconds per path.
  Result<Published> Publish(const SnapshotChain& chain, bool merged, const IdMap* map, uint64_t user);
  /// What Publish gives, without making it.
  Published Planned(const SnapshotChain& chain, bool merged, const IdMap* map) const;
  /// Says that a user needs what was published for it, by a process before this one; mounts nothing.
  void Enter(const SnapshotChain& chain, bool merged, const IdMap* map, uint64_t user);
  /// The user needs nothing any more; nobody else's names are unmounted.
  void Forget(uint64_t user);
  /// Unmounts and removes everything in DIRECTORY that has no user: after all were published that were before
  /// a restart.
  Result<void> RemoveUnused();

  const std::string& empty() const { return empty_; }

 private:
  /// What a chain is shown as.
  struct Plan {
    struct Path {
      std::string path;
      std::string name;    // in DIRECTORY; "": a directory of the store
      std::string source;  // mapped: the path that is shown at `path`, and its name in DIRECTORY, if any
      std::string source_name;
      std::vector<const LayerManifest*> run;  // what the image has, top first; more than one: merged
    };
    std::vector<Path> paths;  // top first
    std::string links;        // name of the directory of symlinks, when one is needed
  };
  EngineLowers(LayerStore& layers, UnionBackend& backend, std::string directory, UniqueFd fd)
      : layers_(layers),
        backend_(backend),
        path_(std::move(directory)),
        fd_(std::move(fd)),
        empty_(path_ + "/empty") {}
  Plan PlanFor(const SnapshotChain& chain, bool merged, const IdMap* map) const;
  void EnterNames(const Plan& plan, uint64_t user);
  bool IsMounted(const std::string& name) const;
  Result<void> MountImage(const Plan::Path& path);
  Result<void> MountMapped(const Plan::Path& path, const IdMap& map);
  Result<void> Attach(const std::string& name, Mount mount);
  Result<void> MakeLinks(const Plan& plan);
  void RemoveName(const std::string& name);

  LayerStore& layers_;
  UnionBackend& backend_;
  const std::string path_;
  const UniqueFd fd_;
  const std::string empty_;
  std::mutex making_;                                      // merged images: one at a time
  std::mutex mutex_;                                       // mounts, names and users
  std::map<std::string, std::set<uint64_t>> users_;        // by name
  std::map<uint64_t, std::vector<std::string>> names_of_;  // by user
};

}  // namespace snap
