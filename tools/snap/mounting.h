// Making and undoing the mounts of `snap mount`, with their records.
// Invariant: a record exists from before anything was made until after everything is gone, so a program
// killed at any moment leaves only what CleanStale finds.
#pragma once

#include <optional>
#include <string>

#include "fs/base/result.h"
#include "snapshotter/store.h"
#include "tools/snap/mounts_registry.h"

namespace snap::cli {

struct MountRequest {
  const ImageRecord* image = nullptr;          ///< of the container, when one is mounted
  const ContainerRecord* container = nullptr;  ///< mounted with its changes
  std::string image_name;                      ///< as the user wrote it
  std::optional<unsigned> layer, upto, only;   ///< from 1 at the bottom; at most one
  bool read_write = false;                     ///< an image gets a throw-away upper
  bool trusted = false;                        ///< set-id programs and device files work
  std::string target;                          ///< existing directory; "": one is made
};
/// Attaches the tree and returns the record. Errors: kNotFound (target, layer number), kBusy (running
/// container, to be written), and those of Store::MountImage; nothing is left then.
Result<MountRecord> AttachMount(Store& store, MountsRegistry& mounts, const MountsRegistry::Lock& lock,
                                const MountRequest& request, std::string created);

/// Unmounts, and removes what was made for it. There is no lazy way: layers and uppers could go under their
/// users. Errors: kBusy (in use, or something is mounted over it), kUnavailable (in another mount namespace).
Result<void> DetachMount(Store& store, MountsRegistry& mounts, const MountsRegistry::Lock& lock,
                         const MountRecord& record, MountsRegistry::State state);

/// Removes what mounts that are gone have left behind: throw-away uppers, directories, records. Returns the
/// records of those that exist with their states. What cannot be removed is logged.
struct LiveMount {
  MountRecord record;
  MountsRegistry::State state;
};
Result<std::vector<LiveMount>> CleanStale(Store& store, MountsRegistry& mounts,
                                          const MountsRegistry::Lock& lock);

/// Uppers of mounts without a record: of a boot before this one, whose run directory is gone. Returns their
/// names; `discard` moves them to the trash.
Result<std::vector<std::string>> CleanOrphanUppers(Store& store, MountsRegistry& mounts, const MountsRegistry::Lock& lock,
                                 bool discard);

/// Absolute path without symlinks of an existing directory.
Result<std::string> CanonicalDirectory(const std::string& path);

}  // namespace snap::cli
