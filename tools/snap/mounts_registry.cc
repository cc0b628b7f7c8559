#include "tools/snap/mounts_registry.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"

namespace snap::cli {
namespace {

constexpr size_t kMaxRecordBytes = size_t{64} << 10U;
constexpr std::string_view kSuffix = ".json";

std::string FileName(std::string_view id) { return std::string(id) + std::string(kSuffix); }

bool IsId(std::string_view id) {
  return !id.empty() && id.size() <= 64 && id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// Makes every missing directory of an absolute path, like mkdir -p.
Result<void> MakeDirectories(const std::string& path, mode_t mode) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    const SysResult<void> made = sys::MkdirAt(FdRef::Cwd(), part.c_str(), mode);
    if (!made.ok() && !(made.error() == EEXIST))
      return Error(made.error(), fmt::format("make directory {}", Quote(part)));
    if (slash == std::string::npos) return {};
  }
}

/// Mount namespaces that some process lives in. One that is only held by a bind mount of its file is not
/// found.
std::set<std::string> LiveNamespaces() {
  std::set<std::string> found;
  const auto proc = sys::OpenAt(FdRef::Cwd(), "/proc", O_RDONLY | O_DIRECTORY);
  if (!proc.ok()) return found;
  const auto entries = sys::ListDir(*proc);
  if (!entries.ok()) return found;
  for (const sys::DirEntry& entry : *entries) {
    if (entry.name.find_first_not_of("0123456789") != std::string::npos) continue;
    // A process that ends meanwhile has no namespace any more.
    if (auto link = sys::ReadLinkAt(*proc, (entry.name + "/ns/mnt").c_str()); link.ok()) found.insert(*link);
  }
  return found;
}

}  // namespace

Result<void> MakeRunDirectory(const std::string& run_dir) { return MakeDirectories(run_dir, 0700); }

Result<std::string> OwnMountNamespace() {
  SNAP_TRY_SYS(std::string name, sys::ReadLinkAt(FdRef::Cwd(), "/proc/self/ns/mnt"),
               "read '/proc/self/ns/mnt'");
  return name;
}

std::string MountRecordJson(const MountRecord& r) {
  return DumpJson(Json{{"version", 1},
                       {"id", r.id},
                       {"boot_id", r.boot_id},
                       {"target", r.target},
                       {"image", r.image},
                       {"image_name", r.image_name},
                       {"container", r.container},
                       {"selection", r.selection},
                       {"upper", r.upper},
                       {"created", r.created},
                       {"read_write", r.read_write},
                       {"made_target", r.made_target},
                       {"mount_namespace", r.mount_namespace},
                       {"mount_id", r.mount_id}});
}

Result<MountRecord> ParseMountRecord(std::string_view text, std::string_view what) {
  SNAP_TRY(const Json json, ParseJson(text, what));
  SNAP_TRY(const uint64_t version, JsonUnsigned(json, "version", what));
  if (version != 1) return MakeError(ErrorCode::kUnsupported, "{} has version {}", what, version);
  MountRecord r;
  SNAP_TRY(r.id, JsonString(json, "id", what));
  SNAP_TRY(r.boot_id, JsonString(json, "boot_id", what));
  SNAP_TRY(r.target, JsonString(json, "target", what));
  SNAP_TRY(r.image, JsonString(json, "image", what));
  SNAP_TRY(r.image_name, JsonString(json, "image_name", what));
  SNAP_TRY(r.container, JsonString(json, "container", what));
  SNAP_TRY(r.selection, JsonString(json, "selection", what));
  SNAP_TRY(r.upper, JsonString(json, "upper", what));
  SNAP_TRY(r.created, JsonString(json, "created", what));
  SNAP_TRY(r.read_write, JsonBoolOr(json, "read_write", false, what));
  SNAP_TRY(r.made_target, JsonBoolOr(json, "made_target", false, what));
  SNAP_TRY(r.mount_namespace, JsonString(json, "mount_namespace", what));
  SNAP_TRY(r.mount_id, JsonUnsigned(json, "mount_id", what));
  if (!IsId(r.id) || !r.target.starts_with('/'))
    return MakeError(ErrorCode::kCorrupt, "{} is malformed", what);
  return r;
}

Result<MountsRegistry> MountsRegistry::Open(const std::string& run_dir) {
  const std::string path = run_dir + "/mounts";
  SNAP_TRY_VOID(MakeDirectories(path, 0700));
  SNAP_TRY_SYS(UniqueFd mounts, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
               "open {}", Quote(path));
  return MountsRegistry(run_dir, std::move(mounts));
}

Result<MountsRegistry::Lock> MountsRegistry::Acquire() {
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt(mounts_, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600),
               "open the lock in {}", Quote(run_dir_ + "/mounts"));
  SNAP_TRY_SYS_VOID(sys::Flock(fd, LOCK_EX), "lock {}", Quote(run_dir_ + "/mounts"));
  return Lock(std::move(fd));
}

Result<std::vector<MountRecord>> MountsRegistry::List() const {
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(mounts_), "list {}",
               Quote(run_dir_ + "/mounts"));
  std::vector<MountRecord> records;
  for (const sys::DirEntry& entry : entries) {
    const std::string_view name = entry.name;
    if (!name.ends_with(kSuffix) || !IsId(name.substr(0, name.size() - kSuffix.size()))) continue;
    const auto text = sys::ReadFileAt(mounts_, entry.name.c_str(), kMaxRecordBytes);
    if (!text.ok()) {
      if (text.error() == ENOENT) continue;  // unmounted meanwhile
      return Error(text.error(), fmt::format("read mount record {}", Quote(name)));
    }
    Result<MountRecord> record = ParseMountRecord(*text, fmt::format("mount record {}", Quote(name)));
    if (!record.ok() || record->id != name.substr(0, name.size() - kSuffix.size())) {
      log::Warning("{} cannot be used, ignoring it", Quote(run_dir_ + "/mounts/" + entry.name));
      continue;
    }
    records.push_back(*std::move(record));
  }
  std::sort(records.begin(), records.end(), [](const MountRecord& a, const MountRecord& b) {
    return std::tie(a.created, a.id) < std::tie(b.created, b.id);
  });
  return records;
}

Result<void> MountsRegistry::Put(const Lock&, const MountRecord& record) {
  SNAP_CHECK(IsId(record.id));
  const std::string temporary = record.id + ".new";
  const std::string name = FileName(record.id);
  {
    SNAP_TRY_SYS(const UniqueFd file,
                 sys::OpenAt(mounts_, temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600),
                 "make mount record {}", Quote(name));
    SNAP_TRY_SYS_VOID(sys::WriteAll(file, MountRecordJson(record)), "write mount record {}", Quote(name));
  }
  // No flush: after a crash of the machine there are no mounts to remember.
  SNAP_TRY_SYS_VOID(sys::RenameAt(mounts_, temporary.c_str(), mounts_, name.c_str()), "write mount record {}",
                    Quote(name));
  return {};
}

Result<void> MountsRegistry::Remove(const Lock&, std::string_view id) {
  const SysResult<void> removed = sys::UnlinkAt(mounts_, FileName(id).c_str());
  if (!removed.ok() && !(removed.error() == ENOENT)) {
    return Error(removed.error(), fmt::format("remove mount record {}", Quote(FileName(id))));
  }
  return {};
}

Result<std::string> MountsRegistry::MakeTarget(const std::string& id) {
  SNAP_TRY_VOID(MakeDirectories(run_dir_ + "/mnt", 0700));
  std::string path = run_dir_ + "/mnt/" + id;
  SNAP_TRY_SYS_VOID(sys::MkdirAt(FdRef::Cwd(), path.c_str(), 0700), "make directory {}", Quote(path));
  return path;
}

Result<std::vector<MountsRegistry::State>> MountsRegistry::StatesOf(
    const std::vector<MountRecord>& records) const {
  SNAP_TRY_SYS(const std::string boot_id, sys::BootId(), "read the boot id");
  SNAP_TRY(const std::string own, OwnMountNamespace());
  SNAP_TRY_SYS(const std::vector<sys::MountInfo> mounts, sys::ListMounts(), "list mounts");
  const auto is_mounted = [&](const MountRecord& record) {
    return std::any_of(mounts.begin(), mounts.end(), [&](const sys::MountInfo& mount) {
      return mount.id == record.mount_id && mount.mount_point == record.target;
    });
  };
  std::optional<std::set<std::string>> live;
  std::vector<State> states;
  states.reserve(records.size());
  for (const MountRecord& record : records) {
    if (record.boot_id != boot_id) {
      states.push_back(State::kGone);
    } else if (record.mount_namespace == own) {
      states.push_back(is_mounted(record) ? State::kMounted : State::kGone);
    } else {
      if (!live) live = LiveNamespaces();
      states.push_back(live->contains(record.mount_namespace) ? State::kElsewhere : State::kGone);
    }
  }
  return states;
}

}  // namespace snap::cli
