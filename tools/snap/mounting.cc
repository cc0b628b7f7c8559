#include "tools/snap/mounting.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "fs/base/log.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_process.h"

namespace snap::cli {
namespace {

constexpr size_t kIdDigits = 12;

Result<UniqueFd> OpenDirectoryPath(const std::string& path) {
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_PATH | O_DIRECTORY),
               "open directory {}", Quote(path));
  return fd;
}

Result<uint64_t> MountIdOf(FdRef fd) {
  SNAP_TRY_SYS(const struct statx st, sys::StatX(fd, "", AT_EMPTY_PATH, STATX_MNT_ID),
               "read the id of a mount");
  return st.stx_mnt_id;
}

/// One layer as it lies in the store, whiteouts visible as what overlayfs makes of them.
Result<Mount> MountLayerDirectory(Store& store, const ImageRecord& image, unsigned number,
                                  const MountOptions& options) {
  const LayerId& id = image.layers[number - 1];
  SNAP_TRY(const LayerManifest manifest, store.layers().Find(id));
  if (manifest.format == LayerFormat::kPacked) return store.MountLayer(id, options);
  SNAP_TRY(const UniqueFd tree, store.layers().OpenTree(id));
  SNAP_TRY_SYS(UniqueFd mount, sys::OpenTree(tree, "", AT_EMPTY_PATH | OPEN_TREE_CLONE),
               "clone the mount of layer {}", number);
  uint64_t attributes = MOUNT_ATTR_RDONLY;
  if (options.no_suid) attributes |= MOUNT_ATTR_NOSUID;
  if (options.no_dev) attributes |= MOUNT_ATTR_NODEV;
  SNAP_TRY_SYS_VOID(sys::MountSetAttr(mount, attributes, 0, 0, false), "make layer {} read-only", number);
  return Mount(std::move(mount));
}

Result<Mount> MakeMount(Store& store, const MountRequest& request, const MountRecord& record) {
  MountOptions options;
  options.read_only = !request.read_write;
  options.no_suid = options.no_dev = !request.trusted;
  if (request.layer) return MountLayerDirectory(store, *request.image, *request.layer, options);
  MountSelection selection;
  if (request.upto) selection.upto = *request.upto;
  if (request.only) selection.only = *request.only;
  std::optional<std::string> upper;
  if (request.container != nullptr) {
    upper = request.container->id;
  } else if (!record.upper.empty()) {
    options.volatile_upper = true;
    SNAP_TRY_VOID(store.CreateMountUpper(
        *request.image, request.only ? *request.only : request.upto.value_or(0), record.upper));
    upper = record.upper;
  }
  return store.MountImage(*request.image, selection, upper, options);
}

/// Undoes everything but the mount itself. The record goes last.
Result<void> Forget(Store& store, MountsRegistry& mounts, const MountsRegistry::Lock& lock,
                    const MountRecord& record) {
  if (!record.upper.empty()) {
    const Result<void> discarded = store.layers().DiscardUpper(record.upper);
    if (!discarded.ok() && discarded.error().code() != ErrorCode::kNotFound) return discarded.error();
    (void)store.layers().EmptyTrash();  // what stays is collected later
  }
  if (record.made_target) {
    const SysResult<void> removed = sys::UnlinkAt(FdRef::Cwd(), record.target.c_str(), AT_REMOVEDIR);
    // Somebody mounted or wrote something there: theirs to clean.
    if (!removed.ok() && !(removed.error() == ENOENT)) log::Debug("cannot remove {}", Quote(record.target));
  }
  return mounts.Remove(lock, record.id);
}

std::string SelectionText(const MountRequest& request) {
  if (request.layer) return fmt::format("layer {}", *request.layer);
  if (request.upto) return fmt::format("upto {}", *request.upto);
  if (request.only) return fmt::format("only {}", *request.only);
  return "all";
}

}  // namespace

Result<std::string> CanonicalDirectory(const std::string& path) {
  SNAP_TRY(const UniqueFd fd, OpenDirectoryPath(path));
  SNAP_TRY_SYS(std::string canonical, sys::ReadLinkAt(FdRef::Cwd(), sys::ProcFdPath(fd).c_str()),
               "resolve {}", Quote(path));
  return canonical;
}

Result<MountRecord> AttachMount(Store& store, MountsRegistry& mounts, const MountsRegistry::Lock& lock,
                                const MountRequest& request, std::string created) {
  const std::optional<unsigned> number = request.layer  ? request.layer
                                         : request.upto ? request.upto
                                                        : request.only;
  if (number && *number > request.image->layers.size()) {
    return MakeError(ErrorCode::kNotFound, "image {} has no layer {}: it has {}", Quote(request.image_name),
                     *number, request.image->layers.size());
  }
  if (request.container != nullptr && request.read_write && Store::IsRunning(*request.container)) {
    return MakeError(ErrorCode::kBusy, "container {} is running: its tree cannot be mounted for writing",
                     Quote(request.container->name));
  }
  MountRecord record;
  record.id = sys::RandomHex128().substr(0, kIdDigits);
  SNAP_TRY_SYS(record.boot_id, sys::BootId(), "read the boot id");
  SNAP_TRY(record.mount_namespace, OwnMountNamespace());
  record.image = request.image->id.ToString();
  record.image_name = request.image_name;
  record.container = request.container != nullptr ? request.container->id : "";
  record.selection = SelectionText(request);
  record.read_write = request.read_write;
  record.created = std::move(created);
  if (request.read_write && request.container == nullptr)
    record.upper = std::string(Store::kMountUpperPrefix) + record.id;
  record.made_target = request.target.empty();
  if (record.made_target) {
    SNAP_TRY(record.target, mounts.MakeTarget(record.id));
  } else {
    SNAP_TRY(record.target, CanonicalDirectory(request.target));
  }
  // The run directory itself may lie behind a symlink: /var/run is one.
  if (record.made_target) {
    SNAP_TRY(record.target, CanonicalDirectory(record.target));
  }

  const auto attach = [&]() -> Result<void> {
    SNAP_TRY_VOID(mounts.Put(lock, record));
    SNAP_TRY(Mount mount, MakeMount(store, request, record));
    SNAP_TRY(record.mount_id, MountIdOf(mount.root()));
    SNAP_TRY_VOID(mounts.Put(lock, record));
    SNAP_TRY(const UniqueFd target, OpenDirectoryPath(record.target));
    return mount.AttachTo(target);
  };
  const Result<void> attached = attach();
  if (attached.ok()) return record;
  const Result<void> forgotten = Forget(store, mounts, lock, record);
  if (!forgotten.ok()) log::Warning("{}, trying again later", forgotten.error().message());
  return attached.error();
}

Result<void> DetachMount(Store& store, MountsRegistry& mounts, const MountsRegistry::Lock& lock,
                         const MountRecord& record, MountsRegistry::State state) {
  if (state == MountsRegistry::State::kElsewhere) {
    return MakeError(ErrorCode::kUnavailable, "{} was mounted in another mount namespace, {}",
                     Quote(record.target), record.mount_namespace);
  }
  if (state == MountsRegistry::State::kMounted) {
    {
      SNAP_TRY(const UniqueFd top, OpenDirectoryPath(record.target));
      SNAP_TRY(const uint64_t top_id, MountIdOf(top));
      if (top_id != record.mount_id) {
        return MakeError(ErrorCode::kBusy, "something else is mounted over {}", Quote(record.target));
      }
    }
    SNAP_TRY_SYS_VOID(sys::Unmount(record.target.c_str(), UMOUNT_NOFOLLOW), "unmount {}",
                      Quote(record.target));
  }
  return Forget(store, mounts, lock, record);
}

Result<std::vector<LiveMount>> CleanStale(Store& store, MountsRegistry& mounts,
                                          const MountsRegistry::Lock& lock) {
  SNAP_TRY(const std::vector<MountRecord> records, mounts.List());
  SNAP_TRY(const std::vector<MountsRegistry::State> states, mounts.StatesOf(records));
  std::vector<LiveMount> live;
  for (size_t i = 0; i < records.size(); ++i) {
    if (states[i] != MountsRegistry::State::kGone) {
      live.push_back({records[i], states[i]});
      continue;
    }
    const Result<void> forgotten = Forget(store, mounts, lock, records[i]);
    if (!forgotten.ok()) log::Warning("{}, trying again later", forgotten.error().message());
  }
  return live;
}

Result<std::vector<std::string>> CleanOrphanUppers(Store& store, MountsRegistry& mounts, const MountsRegistry::Lock&,
                                 bool discard) {
  SNAP_TRY(const std::vector<MountRecord> records, mounts.List());
  SNAP_TRY(const std::vector<std::string> uppers, store.layers().ListUppers());
  std::vector<std::string> orphans;
  for (const std::string& upper : uppers) {
    const bool known =
        std::any_of(records.begin(), records.end(), [&](const MountRecord& r) { return r.upper == upper; });
    if (known || !upper.starts_with(Store::kMountUpperPrefix)) continue;
    orphans.push_back(upper);
    if (discard) SNAP_TRY_VOID(store.layers().DiscardUpper(upper));
  }
  return orphans;
}

}  // namespace snap::cli
