#include "snapshotter/engine_lowers.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <memory>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_namespace.h"
#include "fs/base/sys_process.h"
#include "snapshotter/layer_stack.h"
#include "snapshotter/merged_image.h"
#include "snapshotter/snapshot_record.h"

namespace snap {
namespace {

constexpr size_t kNameDigits =
    32;  // of SHA-256: short, since many fit into a page; long enough that nobody finds a second one
constexpr size_t kMapDigits = 32;          // as above: a map must not be taken for another
constexpr const char* kLinksPrefix = "l";  // no hexadecimal digit
constexpr size_t kLinksDigits = 16;
constexpr size_t kMaxPathBytes = 3000;  // of 4096 for all options
constexpr const char* kEmpty = "empty";

}  // namespace

Result<std::unique_ptr<EngineLowers>> EngineLowers::Open(LayerStore& layers, UnionBackend& backend,
                                                         const std::string& directory) {
  for (const std::string& made : {directory.substr(0, directory.rfind('/')), directory}) {
    const SysResult<void> created = sys::MkdirAt(FdRef::Cwd(), made.c_str(), 0700);
    if (!created.ok() && !(created.error() == EEXIST)) return Error(created.error(), "make " + Quote(made));
  }
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt(FdRef::Cwd(), directory.c_str(), O_RDONLY | O_DIRECTORY), "open {}",
               Quote(directory));
  const SysResult<void> made = sys::MkdirAt(fd, kEmpty, 0755);
  if (!made.ok() && !(made.error() == EEXIST))
    return Error(made.error(), "make " + Quote(directory + "/empty"));
  SNAP_TRY_SYS_VOID(sys::FChmodAt(fd, kEmpty, 0755), "make {}",
                    Quote(directory + "/empty"));  // whatever the umask
  return std::unique_ptr<EngineLowers>(new EngineLowers(layers, backend, directory, std::move(fd)));
}

EngineLowers::Plan EngineLowers::PlanFor(const SnapshotChain& chain, bool merged, const IdMap* map) const {
  Plan plan;
  const std::vector<ChainElement> elements = ElementsOf(chain);
  // Where only packed layers follow: what they hide of each other can be decided once and for all.
  size_t run = elements.size();
  while (run > 0 && elements[run - 1].layer != nullptr &&
         elements[run - 1].layer->format == LayerFormat::kPacked)
    --run;
  const auto image = [&](const std::string& key, std::vector<const LayerManifest*> layers) {
    const std::string name = key.substr(0, kNameDigits);
    plan.paths.push_back({path_ + "/" + name, name, "", "", std::move(layers)});
  };
  for (size_t i = 0; i < elements.size(); ++i) {
    if (i == run && merged) {
      std::vector<StackedLayer> stacked;
      std::vector<const LayerManifest*> layers;
      for (size_t j = i; j < elements.size(); ++j) {
        layers.push_back(elements[j].layer);
        const LayerManifest& m = *layers.back();
        stacked.push_back({m.id, m.format, FdRef(-1), m.checksums, m.usage.entries});
      }
      if (const std::string key = MergedImageKey(stacked); !key.empty()) {
        image(key, std::move(layers));
        break;
      }
    }
    const ChainElement& element = elements[i];
    if (element.layer == nullptr) {
      plan.paths.push_back(
          {layers_.root_path() + "/snapshots/" + SnapshotUpperName(element.upper) + "/fs", "", "", "", {}});
    } else if (element.layer->format == LayerFormat::kTree) {
      plan.paths.push_back(
          {layers_.root_path() + "/layers/" + element.layer->id.Hex() + "/" + LayerStage::kTreeName,
           "",
           "",
           "",
           {}});
    } else {
      image(element.layer->id.Hex(), {element.layer});
    }
  }
  if (map != nullptr) {
    const std::string hash = Digest::Of(IdMap::KernelText(map->uids) + "/" + IdMap::KernelText(map->gids))
                                 .Hex()
                                 .substr(0, kMapDigits);
    for (size_t i = 0; i < plan.paths.size(); ++i) {
      Plan::Path& path = plan.paths[i];
      path.source = path.path;
      path.source_name = path.name;
      // Of "<root>/snapshots/e1/fs" and "<root>/layers/<hex>/tree" the part that tells them apart.
      std::string base = path.name;
      if (base.empty()) {
        base = path.path.substr(0, path.path.rfind('/'));
        base = base.substr(base.rfind('/') + 1).substr(0, kNameDigits);
      }
      path.name = base + "-" + hash;
      path.path = path_ + "/" + path.name;
    }
  }
  size_t bytes = 0;
  for (const Plan::Path& path : plan.paths) bytes += path.path.size() + 1;
  if (bytes > kMaxPathBytes) {
    std::string all;
    for (const Plan::Path& path : plan.paths) all += path.path + "\n";
    plan.links = kLinksPrefix + Digest::Of(all).Hex().substr(0, kLinksDigits);
  }
  return plan;
}

void EngineLowers::EnterNames(const Plan& plan, uint64_t user) {
  const std::lock_guard guard(mutex_);
  const auto enter = [&](const std::string& name) {
    if (!name.empty() && users_[name].insert(user).second) names_of_[user].push_back(name);
  };
  for (const Plan::Path& path : plan.paths) {
    enter(path.name);
    enter(path.source_name);
  }
  enter(plan.links);
}

void EngineLowers::Enter(const SnapshotChain& chain, bool merged, const IdMap* map, uint64_t user) {
  EnterNames(PlanFor(chain, merged, map), user);
}

Result<EngineLowers::Published> EngineLowers::Publish(const SnapshotChain& chain, bool merged,
                                                      const IdMap* map, uint64_t user) {
  const Plan plan = PlanFor(chain, merged, map);
  EnterNames(plan, user);  // before anything is mounted for it, so that nobody takes it away meanwhile
  for (const Plan::Path& path : plan.paths) {
    if (path.name.empty() || IsMounted(path.name)) continue;
    SNAP_TRY_VOID(map != nullptr ? MountMapped(path, *map) : MountImage(path));
  }
  if (!plan.links.empty()) SNAP_TRY_VOID(MakeLinks(plan));
  return Planned(chain, merged, map);
}

EngineLowers::Published EngineLowers::Planned(const SnapshotChain& chain, bool merged,
                                              const IdMap* map) const {
  const Plan plan = PlanFor(chain, merged, map);
  Published planned;
  for (size_t i = 0; i < plan.paths.size(); ++i) {
    planned.packed = planned.packed || !plan.paths[i].run.empty();
    planned.paths.push_back(plan.links.empty() ? plan.paths[i].path
                                               : path_ + "/" + plan.links + "/" + std::to_string(i));
  }
  return planned;
}

bool EngineLowers::IsMounted(const std::string& name) const {
  const SysResult<bool> mounted = sys::IsMountPoint(fd_, name.c_str());
  return mounted.ok() && *mounted;
}

/// A second mount of what is at `source`, with mapped owners.
Result<void> EngineLowers::MountMapped(const Plan::Path& path, const IdMap& map) {
  if (!path.source_name.empty() && !IsMounted(path.source_name)) {
    Plan::Path source = path;
    source.path = path.source;
    source.name = path.source_name;
    SNAP_TRY_VOID(MountImage(source));
  }
  SNAP_TRY_SYS(const UniqueFd user_namespace,
               sys::NewUserNamespace(IdMap::KernelText(map.uids), IdMap::KernelText(map.gids)),
               "make a user namespace");
  SNAP_TRY_SYS(UniqueFd clone, sys::OpenTree(FdRef::Cwd(), path.source.c_str(), OPEN_TREE_CLONE), "clone {}",
               Quote(path.source));
  SNAP_TRY_SYS_VOID(sys::MountSetIdmap(clone, user_namespace), "map the ids of {}", Quote(path.source));
  SNAP_TRY_SYS_VOID(sys::MountSetAttr(clone, MOUNT_ATTR_RDONLY, 0, 0, false), "make {} read-only",
                    Quote(path.source));
  return Attach(path.name, Mount(std::move(clone)));
}

Result<void> EngineLowers::MountImage(const Plan::Path& path) {
  std::vector<OpenedLayer> opened;
  std::vector<StackedLayer> stacked;
  opened.reserve(path.run.size());
  for (const LayerManifest* layer : path.run) {
    SNAP_TRY(OpenedLayer one, OpenLayer(layers_, layer->id));
    opened.push_back(std::move(one));
    stacked.push_back(opened.back().Stacked());
  }
  if (stacked.size() == 1) {
    SNAP_TRY(Mount mount, backend_.MountPackedLayer(MountStack::Lower(stacked.front().content, {}), {}));
    return Attach(path.name, std::move(mount));
  }
  std::optional<MergedStack> merged;
  {
    const std::lock_guard guard(making_);
    SNAP_TRY_VOID(MakeMergedImage(layers_, stacked, {}));
    SNAP_TRY(merged, StackMerged(layers_, stacked));
  }
  if (!merged)
    return MakeError(ErrorCode::kUnavailable, "mount merged image {}: it has just been removed", path.name);
  SNAP_TRY(Mount mount, backend_.MountPackedLayer(merged->stack.lowers_top_first.front(), {}));
  return Attach(path.name, std::move(mount));
}

/// Shows the mount under its name, unless somebody has just done so.
Result<void> EngineLowers::Attach(const std::string& name, Mount mount) {
  const std::lock_guard guard(mutex_);
  if (IsMounted(name)) return {};
  const SysResult<void> made = sys::MkdirAt(fd_, name.c_str(), 0700);
  if (!made.ok() && !(made.error() == EEXIST))
    return Error(made.error(), "make " + Quote(path_ + "/" + name));
  SNAP_TRY_SYS(const UniqueFd point, sys::OpenAt(fd_, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW),
               "open {}", Quote(path_ + "/" + name));
  return mount.AttachTo(point);
}

Result<void> EngineLowers::MakeLinks(const Plan& plan) {
  const std::lock_guard guard(mutex_);
  const SysResult<void> made = sys::MkdirAt(fd_, plan.links.c_str(), 0700);
  if (!made.ok() && !(made.error() == EEXIST))
    return Error(made.error(), "make " + Quote(path_ + "/" + plan.links));
  for (size_t i = 0; i < plan.paths.size(); ++i) {
    const std::string link = plan.links + "/" + std::to_string(i);
    const SysResult<void> linked = sys::SymlinkAt(plan.paths[i].path.c_str(), fd_, link.c_str());
    if (!linked.ok() && !(linked.error() == EEXIST))
      return Error(linked.error(), "make " + Quote(path_ + "/" + link));
  }
  return {};
}

void EngineLowers::Forget(uint64_t user) {
  const std::lock_guard guard(mutex_);
  const auto names = names_of_.find(user);
  if (names == names_of_.end()) return;
  for (const std::string& name : names->second) {
    const auto used = users_.find(name);
    if (used == users_.end()) continue;
    used->second.erase(user);
    if (!used->second.empty()) continue;
    users_.erase(used);
    RemoveName(name);
  }
  names_of_.erase(names);
}

/// What cannot be removed now is found by the next RemoveUnused.
void EngineLowers::RemoveName(const std::string& name) {
  // Whoever has mounted an overlay above it keeps the image; only the name goes.
  if (IsMounted(name))
    (void)sys::Unmount((path_ + "/" + name).c_str(), sys::kUnmountDetach | sys::kUnmountNoFollow);
  if (name.starts_with(kLinksPrefix)) {
    (void)sys::RemoveTree(fd_, name.c_str());  // symlinks alone
  } else {
    (void)sys::UnlinkAt(fd_, name.c_str(), AT_REMOVEDIR);
  }
}

Result<void> EngineLowers::RemoveUnused() {
  const std::lock_guard guard(mutex_);
  SNAP_TRY_SYS(const UniqueFd directory, sys::OpenAt(fd_, ".", O_RDONLY | O_DIRECTORY), "open {}",
               Quote(path_));
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(directory), "list {}", Quote(path_));
  for (const sys::DirEntry& entry : entries) {
    if (entry.name != kEmpty && !users_.contains(entry.name)) RemoveName(entry.name);
  }
  return {};
}

}  // namespace snap
