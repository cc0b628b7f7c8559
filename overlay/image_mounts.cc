// The directory and its lock files are the only shared state, so that processes need not know of each other,
// and the kernel lets go for the killed ones. Removing a mount point takes it, and what is mounted there, out
// of all mount namespaces: copies that were made together with a namespace (clone, unshare) cannot keep an
// image alive.
#include "overlay/image_mounts.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/stat.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"

namespace snap::overlay {
namespace {

constexpr std::string_view kLockSuffix = ".lock";
constexpr size_t kMaxNameBytes = 200;
constexpr size_t kMaxIdentityBytes = size_t{4} << 20U;  ///< 65535 devices
constexpr unsigned long kPrivate = 1UL << 18U;          ///< MS_PRIVATE; <sys/mount.h> cannot be included here

bool IsUsableName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name[0] != '.' &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos &&
         !name.ends_with(kLockSuffix);
}

std::string LockName(std::string_view name) { return fmt::format("{}{}", name, kLockSuffix); }

/// Which files an image consists of. Good as long as they are mounted: then their inodes cannot become other
/// files.
SysResult<std::string> Identity(const ImageMounts::Image& image) {
  std::string text;
  const auto add = [&](FdRef file) -> SysResult<void> {
    SNAP_TRY(const struct stat status, sys::FStat(file));
    text += fmt::format("{:x}:{:x}\n", status.st_dev, status.st_ino);
    return {};
  };
  SNAP_TRY_VOID(add(image.image));
  for (const FdRef device : image.devices) SNAP_TRY_VOID(add(device));
  return text;
}

/// False also where the kernel does not tell (before 5.8): then nothing is shared.
bool IsMountRoot(FdRef directory) {
  const auto status = sys::StatX(directory, "", AT_EMPTY_PATH, 0);
  return status.ok() && (status->stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/// The locked directory.
class Session {
 public:
  /// ENOENT when the directory is missing and `make` is false.
  static SysResult<Session> Begin(const std::string& path, bool make) {
    auto dir = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!dir.ok() && dir.error() == ENOENT && make) {
      const auto made = sys::MkdirAt(FdRef::Cwd(), path.c_str(), 0700);
      if (!made.ok() && made.error() != EEXIST) return made.error();
      dir = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    }
    if (!dir.ok()) return dir.error();
    SNAP_TRY_VOID(sys::Flock(*dir, LOCK_EX));
    // Opened again, since somebody may have mounted over it while we waited.
    SNAP_TRY(UniqueFd top, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    SNAP_TRY(const struct stat locked, sys::FStat(*dir));
    SNAP_TRY(const struct stat named, sys::FStat(top));
    if (locked.st_dev != named.st_dev || locked.st_ino != named.st_ino) return Errno(ESTALE);
    Session session;
    session.lock_ = std::move(*dir);
    session.top_ = std::move(top);
    return session;
  }

  /// Mounts the directory over itself unless that is so, and cuts it off from other namespaces.
  SysResult<void> Isolate(const std::string& path) {
    // A copy that came from another namespace may still pass on what is mounted in it.
    if (IsMountRoot(top_)) return sys::MountSetAttr(top_, 0, 0, kPrivate, false);
    SNAP_TRY(const UniqueFd clone, sys::OpenTree(top_, "", AT_EMPTY_PATH | OPEN_TREE_CLONE));
    SNAP_TRY_VOID(sys::MoveMountTo(clone, top_));
    // After attaching: below a shared mount everything becomes shared.
    if (const auto set = sys::MountSetAttr(clone, 0, 0, kPrivate, false); !set.ok()) {
      (void)sys::Unmount(sys::ProcFdPath(clone).c_str(), sys::kUnmountDetach);
      return set.error();
    }
    SNAP_TRY(top_, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return {};
  }

  FdRef top() const { return top_; }
  /// Unmounts an image here and removes its mount point; neither needs to be there.
  SysResult<void> Detach(const std::string& name) {
    const auto unmounted = sys::Unmount(fmt::format("{}/{}", sys::ProcFdPath(top_), name).c_str(),
                                        sys::kUnmountDetach | sys::kUnmountNoFollow);
    // EINVAL: nothing is mounted there, in this namespace.
    if (!unmounted.ok() && unmounted.error() != EINVAL && unmounted.error() != ENOENT)
      return unmounted.error();
    const auto removed = sys::UnlinkAt(top_, name.c_str(), AT_REMOVEDIR);
    if (!removed.ok() && removed.error() != ENOENT) return removed.error();
    return {};
  }
  /// Removes all of an image whose lock the caller holds exclusively. The lock file goes last: without it
  /// nobody would look.
  SysResult<void> Remove(const std::string& name) {
    SNAP_TRY_VOID(Detach(name));
    const auto removed = sys::UnlinkAt(top_, LockName(name).c_str());
    if (!removed.ok() && removed.error() != ENOENT) return removed.error();
    return {};
  }
  /// Removes an image unless somebody holds it.
  SysResult<void> RemoveUnused(const std::string& name) {
    const auto lock = sys::OpenAt(top_, LockName(name).c_str(), O_RDWR | O_NOFOLLOW);
    if (lock.ok()) {
      const auto alone = sys::Flock(*lock, LOCK_EX | LOCK_NB);
      if (!alone.ok()) return alone.error() == EWOULDBLOCK ? SysResult<void>() : alone;
    } else if (lock.error() != ENOENT) {
      return lock.error();
    }
    return Remove(name);
  }
  /// Unmounts the directory from itself when nothing is left in it. A file system of its own stays: it is not
  /// of our making.
  SysResult<void> EndIfEmpty() {
    SNAP_TRY(const auto entries, sys::ListDir(top_));
    if (!entries.empty() || !IsMountRoot(top_)) return {};
    SNAP_TRY(const struct stat here, sys::FStat(top_));
    SNAP_TRY(const struct stat parent, sys::StatAt(top_, ".."));
    if (here.st_dev != parent.st_dev) return {};
    return sys::Unmount(sys::ProcFdPath(top_).c_str(), sys::kUnmountDetach);
  }
  SysResult<std::vector<std::string>> ImageNames() const {
    SNAP_TRY(const auto entries, sys::ListDir(top_));
    std::vector<std::string> names;
    for (const sys::DirEntry& entry : entries) {
      std::string_view name = entry.name;
      if (name.ends_with(kLockSuffix)) name.remove_suffix(kLockSuffix.size());
      if (IsUsableName(name)) names.emplace_back(name);
    }
    return names;
  }

 private:
  UniqueFd lock_, top_;
};

/// One image of an Acquire.
class Acquisition {
 public:
  Acquisition(Session& session, const ImageMounts::Image& image) : session_(session), image_(image) {}

  /// nullopt when it cannot be shared.
  Result<std::optional<ImageMounts::Shared>> Run(const ImageMounts::Mounter& mount, bool& mounted_one) {
    if (!IsUsableName(image_.name)) return None();
    auto root = Find();
    if (!root.ok()) return None();
    if (!root->valid()) {
      mounted_one = true;
      Result<UniqueFd> mounted = mount(image_);
      if (!mounted.ok()) {
        Abandon();
        return mounted.error();
      }
      // The descriptor of the mount is its root wherever the mount is.
      if (!Attach(*mounted).ok()) {
        Abandon();
        return None();
      }
      *root = std::move(*mounted);
    }
    return std::optional(ImageMounts::Shared{std::move(*root), std::move(hold_)});
  }

 private:
  static std::optional<ImageMounts::Shared> None() { return std::nullopt; }

  /// Takes the lock and gives the image's mount, or an invalid descriptor when it is not mounted in this
  /// namespace.
  SysResult<UniqueFd> Find() {
    SNAP_TRY(const std::string identity, Identity(image_));
    SNAP_TRY(hold_,
             sys::OpenAt(session_.top(), LockName(image_.name).c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    SNAP_TRY_VOID(sys::Flock(hold_, LOCK_SH | LOCK_NB));
    SNAP_TRY(const std::string known, sys::ReadAll(hold_, kMaxIdentityBytes));
    if (known != identity) {
      // New, or of an image that has gone; EWOULDBLOCK when that one is still used.
      SNAP_TRY_VOID(sys::Flock(hold_, LOCK_EX | LOCK_NB));
      SNAP_TRY_VOID(session_.Detach(image_.name));
      SNAP_TRY_VOID(sys::Truncate(hold_, 0));
      SNAP_TRY_VOID(sys::PWriteAll(hold_, std::as_bytes(std::span(identity)), 0));
      SNAP_TRY_VOID(sys::Flock(hold_, LOCK_SH | LOCK_NB));  // nobody comes between: we hold the directory
      return UniqueFd();
    }
    auto root = sys::OpenAt(session_.top(), image_.name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (!root.ok() && root.error() != ENOENT) return root.error();
    if (root.ok() && IsMountRoot(*root)) return std::move(*root);
    return UniqueFd();
  }

  SysResult<void> Attach(FdRef mounted) {
    const auto made = sys::MkdirAt(session_.top(), image_.name.c_str(), 0700);
    if (!made.ok() && made.error() != EEXIST) return made.error();
    return sys::MoveMountAt(mounted, session_.top(), image_.name.c_str());
  }

  /// Others, in other namespaces, may have it mounted.
  void Abandon() {
    hold_.Reset();
    (void)session_.RemoveUnused(image_.name);  // what is left is found by the next sweep
  }

  Session& session_;
  const ImageMounts::Image& image_;
  UniqueFd hold_;
};

Result<void> SweepAll(Session& session, std::span<const std::string> names, const std::string& directory) {
  Result<void> outcome;
  const auto note = [&](const SysResult<void>& done, const std::string& name) {
    if (!done.ok() && outcome.ok()) {
      outcome = Error(done.error(), fmt::format("unmount image {} in {}", Quote(name), Quote(directory)));
    }
  };
  for (const std::string& name : names) note(session.RemoveUnused(name), name);
  note(session.EndIfEmpty(), ".");
  return outcome;
}

}  // namespace

Result<std::vector<std::optional<ImageMounts::Shared>>> ImageMounts::Acquire(std::span<const Image> images,
                                                                             const Mounter& mount) {
  std::vector<std::optional<Shared>> shared(images.size());
  auto session = Session::Begin(directory_, true);
  if (!session.ok() || !session->Isolate(directory_).ok()) return shared;
  bool mounted_one = false;
  Result<void> outcome;
  for (size_t i = 0; i < images.size() && outcome.ok(); ++i) {
    auto one = Acquisition(*session, images[i]).Run(mount, mounted_one);
    if (one.ok()) {
      shared[i] = std::move(*one);
    } else {
      outcome = one.error();
    }
  }
  if (!outcome.ok()) shared.clear();
  const bool any = std::any_of(shared.begin(), shared.end(), [](const auto& one) { return one.has_value(); });
  if (mounted_one || !any) {
    // What is not removed now is by the next one.
    if (const auto names = session->ImageNames(); names.ok()) (void)SweepAll(*session, *names, directory_);
  }
  if (!outcome.ok()) return outcome.error();
  return shared;
}

Result<void> ImageMounts::Release(std::span<const std::string> names) {
  auto session = Session::Begin(directory_, false);
  if (!session.ok()) {
    if (session.error() == ENOENT) return {};
    return Error(session.error(), fmt::format("open {}", Quote(directory_)));
  }
  return SweepAll(*session, names, directory_);
}

Result<void> ImageMounts::ReleaseUnused() {
  auto session = Session::Begin(directory_, false);
  if (!session.ok()) {
    if (session.error() == ENOENT) return {};
    return Error(session.error(), fmt::format("open {}", Quote(directory_)));
  }
  SNAP_TRY_SYS(const std::vector<std::string> names, session->ImageNames(), "list {}", Quote(directory_));
  return SweepAll(*session, names, directory_);
}

}  // namespace snap::overlay
