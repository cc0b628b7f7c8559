// ImageMounts: EROFS mounts that many containers use, in a directory of ours, for as long as somebody does.
//   DIRECTORY            mounted over itself, private: what is mounted below it is copied to no other mount
//   namespace DIRECTORY/NAME       the mount point of one image DIRECTORY/NAME.lock  its users hold a shared
//   flock; its text says which files the image is
// Invariant: mounts and names below the directory are made and removed under an exclusive flock of the
// directory, and an image's lock is taken only under that. So whoever holds both locks exclusively is alone,
// and no state needs to be looked at twice. A process that is killed at any point leaves at most a mount or
// names that the next sweep removes.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::overlay {

/// Threads: safe; other processes too, in whatever mount namespace: images are shared within one.
class ImageMounts {
 public:
  /// `directory` is made when it is missing (its parent is not); nothing else may use it.
  explicit ImageMounts(std::string directory) : directory_(std::move(directory)) {}

  struct Image {
    std::string name;
    FdRef image;
    std::span<const FdRef> devices;
  };
  using Mounter = std::function<Result<UniqueFd>(const Image& image)>;

  struct Shared {
    UniqueFd root;  ///< of the image's mount
    UniqueFd hold;  ///< the shared lock
  };
  /// One entry per image, in order; nullopt for one that cannot be shared (here, by this caller, or because
  /// its name is in use for another image): mount it for yourself. `mount` makes a detached mount of an image
  /// that nobody has mounted here yet. Leftovers of killed users are removed when something is mounted.
  /// Errors: only those of `mount`; nothing is held then. Waits for others that are just mounting or
  /// unmounting here. Cost: some 10 µs per image that is there.
  Result<std::vector<std::optional<Shared>>> Acquire(std::span<const Image> images, const Mounter& mount);

  /// Unmounts those of the images that nobody holds. Missing ones are fine.
  Result<void> Release(std::span<const std::string> names);
  /// The same for all that are there.
  Result<void> ReleaseUnused();

 private:
  const std::string directory_;
};

}  // namespace snap::overlay
