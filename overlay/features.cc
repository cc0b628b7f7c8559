// Each probe has its own directory on the scratch tmpfs: layers a and b, upper u, work w, mount point m. It
// mounts with mount(2), which every kernel has, unless the new call is what is probed, and looks at what the
// mount does: options are accepted and then ignored often enough.
#include "overlay/features.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>

#include <cerrno>

#include "fs/base/json.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_namespace.h"
#include "fs/base/sys_process.h"
#include "overlay/erofs_mount.h"
#include "overlay/probe_image.h"
#include "overlay/scratch.h"

namespace snap::overlay {
namespace {

constexpr const char* kMetacopyXattr = "trusted.overlay.metacopy";
constexpr const char* kRedirectXattr = "trusted.overlay.redirect";

/// Bytes of `text` for the xattr calls.
std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// One probe's directory, by descriptor and by a name relative to the working directory.
class Site {
 public:
  static SysResult<Site> Make(FdRef scratch, std::string name) {
    SNAP_TRY_VOID(sys::MkdirAt(scratch, name.c_str(), 0755));
    SNAP_TRY(UniqueFd dir, sys::OpenAt(scratch, name.c_str(), O_PATH | O_DIRECTORY));
    for (const char* child : {"a", "b", "u", "w", "m"}) SNAP_TRY_VOID(sys::MkdirAt(dir, child, 0755));
    return Site(std::move(dir), std::move(name));
  }
  Site(Site&&) = default;
  Site(const Site&) = delete;
  Site& operator=(Site&&) = delete;
  Site& operator=(const Site&) = delete;
  ~Site() {
    // EINVAL when the probe did not get that far.
    if (dir_) (void)sys::Unmount(Path("m").c_str(), sys::kUnmountDetach);
  }

  FdRef dir() const { return dir_; }
  std::string Path(std::string_view child) const { return fmt::format("{}/{}", name_, child); }
  SysResult<UniqueFd> Open(const char* child) const { return sys::OpenAt(dir_, child, O_PATH | O_DIRECTORY); }

  SysResult<void> WriteFile(const char* path, std::string_view text) const {
    SNAP_TRY(const UniqueFd file, sys::OpenAt(dir_, path, O_WRONLY | O_CREAT | O_EXCL, 0644));
    return sys::WriteAll(file, text);
  }
  SysResult<void> MountReadOnly(std::string_view options) const {
    return MountWith(fmt::format("lowerdir={}:{}{}", Path("a"), Path("b"), options));
  }
  SysResult<void> MountWritable(std::string_view options) const {
    return MountWith(
        fmt::format("lowerdir={},upperdir={},workdir={}{}", Path("a"), Path("u"), Path("w"), options));
  }
  SysResult<void> MountWith(const std::string& data) const {
    return sys::Mount("overlay", Path("m").c_str(), "overlay", 0, data.c_str());
  }

 private:
  Site(UniqueFd dir, std::string name) : dir_(std::move(dir)), name_(std::move(name)) {}
  UniqueFd dir_;
  std::string name_;
};

/// Creates and mounts what the context describes, detached.
SysResult<UniqueFd> Finish(FdRef context) {
  SNAP_TRY_VOID(sys::FsConfigCreate(context));
  return sys::FsMount(context, 0);
}

SysResult<void> LowerByFd(const Site& site) {
  SNAP_TRY(const UniqueFd context, sys::FsOpen("overlay"));
  for (const char* layer : {"a", "b"}) {
    // Readable, not O_PATH: whether O_PATH is taken too is settled at the mount itself.
    SNAP_TRY(const UniqueFd dir, sys::OpenAt(site.dir(), layer, O_RDONLY | O_DIRECTORY));
    SNAP_TRY_VOID(sys::FsConfigFd(context, "lowerdir+", dir));
  }
  SNAP_TRY(const UniqueFd mount, Finish(context));
  return {};
}

SysResult<void> LowerByName(const Site& site) {
  SNAP_TRY(const UniqueFd context, sys::FsOpen("overlay"));
  for (const char* layer : {"a", "b"}) {
    SNAP_TRY(const UniqueFd dir, site.Open(layer));
    SNAP_TRY_VOID(sys::FsConfigString(context, "lowerdir+", sys::ProcFdPath(dir).c_str()));
  }
  SNAP_TRY(const UniqueFd mount, Finish(context));
  return {};
}

SysResult<void> DetachedLayers(const Site& site) {
  const Result<UniqueFd> detached = NewScratch();
  if (!detached.ok()) return detached.error().cause();
  SNAP_TRY_VOID(sys::MkdirAt(*detached, "a", 0755));
  return site.MountWith(fmt::format("lowerdir={}/a:{}", sys::ProcFdPath(*detached), site.Path("b")));
}

SysResult<void> UserXattr(const Site& site) { return site.MountReadOnly(",userxattr"); }

SysResult<void> Volatile(const Site& site) { return site.MountWritable(",volatile"); }

SysResult<void> Metacopy(const Site& site) {
  SNAP_TRY_VOID(site.WriteFile("a/file", "data"));
  SNAP_TRY_VOID(site.MountWritable(",metacopy=on"));
  SNAP_TRY_VOID(sys::FChmodAt(site.dir(), "m/file", 0600));
  SNAP_TRY(const UniqueFd upper, site.Open("u"));
  SNAP_TRY(const std::string mark, sys::GetXattrAt(upper, "file", kMetacopyXattr));
  return {};
}

SysResult<void> RedirectDir(const Site& site) {
  SNAP_TRY_VOID(sys::MkdirAt(site.dir(), "a/old", 0755));
  SNAP_TRY_VOID(site.MountWritable(",redirect_dir=on"));
  return sys::RenameAt(site.dir(), "m/old", site.dir(), "m/new");
}

SysResult<void> DataOnly(const Site& site) {
  constexpr std::string_view kData = "data";
  SNAP_TRY_VOID(site.WriteFile("b/object", kData));
  SNAP_TRY_VOID(site.WriteFile("a/file", ""));
  SNAP_TRY(const UniqueFd meta, sys::OpenAt(site.dir(), "a/file", O_WRONLY));
  SNAP_TRY_VOID(sys::Truncate(meta, kData.size()));
  SNAP_TRY_VOID(sys::FSetXattr(meta, kMetacopyXattr, {}));
  SNAP_TRY_VOID(sys::FSetXattr(meta, kRedirectXattr, Bytes("/object")));
  SNAP_TRY(const UniqueFd context, sys::FsOpen("overlay"));
  SNAP_TRY(const UniqueFd lower, site.Open("a"));
  SNAP_TRY(const UniqueFd data, site.Open("b"));
  SNAP_TRY_VOID(sys::FsConfigString(context, "lowerdir+", sys::ProcFdPath(lower).c_str()));
  SNAP_TRY_VOID(sys::FsConfigString(context, "datadir+", sys::ProcFdPath(data).c_str()));
  SNAP_TRY(const UniqueFd mount, Finish(context));
  SNAP_TRY(const std::string seen, sys::ReadFileAt(mount, "file", kData.size()));
  if (seen != kData) return Errno(EIO);
  return {};
}

SysResult<void> IdmappedLayers(const Site& site) {
  SNAP_TRY_VOID(site.WriteFile("a/file", ""));
  SNAP_TRY(const struct stat before, sys::StatAt(site.dir(), "a/file"));
  constexpr uid_t kShift = 100'000;
  const std::string map = fmt::format("{} {} 1", before.st_uid, before.st_uid + kShift);
  SNAP_TRY(const UniqueFd user_namespace, sys::NewUserNamespace(map, map));
  SNAP_TRY(const UniqueFd layer, site.Open("a"));
  SNAP_TRY(const UniqueFd clone, sys::OpenTree(layer, "", AT_EMPTY_PATH | OPEN_TREE_CLONE));
  SNAP_TRY_VOID(sys::MountSetIdmap(clone, user_namespace));
  SNAP_TRY_VOID(sys::MoveMountAt(clone, site.dir(), "w"));
  SNAP_TRY_VOID(site.MountWith(fmt::format("lowerdir={}:{}", site.Path("w"), site.Path("b"))));
  SNAP_TRY(const struct stat after, sys::StatAt(site.dir(), "m/file"));
  if (after.st_uid != before.st_uid + kShift) return Errno(EOPNOTSUPP);
  return {};
}

/// Creating an overlay without layers fails with EINVAL where it is allowed, and with EPERM before anybody
/// looks at the layers where it is not.
int CreateWithoutLayers() {
  const auto context = sys::FsOpen("overlay");
  if (!context.ok()) return context.error().code();
  const auto created = sys::FsConfigCreate(*context);
  return created.ok() ? 0 : created.error().code();
}

SysResult<void> UserNamespace(const Site& /*site*/) {
  SNAP_TRY(const int error, sys::RunInUserNamespace(CreateWithoutLayers));
  if (error != EINVAL) return Errno(error != 0 ? error : EIO);
  return {};
}

/// The probe image in a file. ramfs, since EROFS does not mount files of a tmpfs and a probe shall not need a
/// disk.
Result<UniqueFd> OpenProbeImage() {
  SNAP_TRY_SYS(const UniqueFd context, sys::FsOpen("ramfs"), "open a ramfs context");
  SNAP_TRY_SYS(const UniqueFd ram, Finish(context), "mount a ramfs");
  constexpr const char* kName = "image";
  SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(ram, kName, O_WRONLY | O_CREAT | O_EXCL, 0444),
               "make a probe image");
  SNAP_TRY_SYS_VOID(sys::WriteAll(file, kProbeImage), "write a probe image");
  SNAP_TRY_SYS(UniqueFd image, sys::OpenAt(ram, kName, O_RDONLY), "open the probe image");
  return image;
}

template <ErofsBacking kBacking>
Result<void> Erofs(const Site& /*site*/) {
  SNAP_TRY(const UniqueFd image, OpenProbeImage());
  SNAP_TRY(const UniqueFd mount, MountErofs(image, {}, kBacking));
  SNAP_TRY_SYS(const std::string seen, sys::ReadFileAt(mount, "file", 4), "read the probe image");
  if (seen != "hole") return MakeError(ErrorCode::kUnsupported, "read the probe image: it says '{}'", seen);
  return {};
}

SysResult<void> OverlayProbeImage(const Site& site, FdRef mount) {
  constexpr std::string_view kData = "data";
  SNAP_TRY_VOID(site.WriteFile("b/object", kData));
  SNAP_TRY_VOID(sys::MoveMountAt(mount, site.dir(), "w"));
  auto seen = [&]() -> SysResult<std::string> {
    SNAP_TRY_VOID(site.MountWith(
        fmt::format("lowerdir={}::{},redirect_dir=on,metacopy=on", site.Path("w"), site.Path("b"))));
    return sys::ReadFileAt(site.dir(), "m/file", kData.size());
  }();
  SNAP_TRY_VOID(sys::Unmount(site.Path("w").c_str(), sys::kUnmountDetach));
  if (!seen.ok()) return seen.error();
  if (*seen != kData) return Errno(EIO);
  return {};
}

Result<void> PackedLayers(const Site& site) {
  SNAP_TRY(const UniqueFd image, OpenProbeImage());
  SNAP_TRY(const UniqueFd mount, MountErofs(image, {}));
  SNAP_TRY_SYS_VOID(OverlayProbeImage(site, mount), "mount an image and its objects with overlayfs");
  return {};
}

/// A probe whose errno says it all.
template <SysResult<void> (*kProbe)(const Site& site)>
Result<void> Plain(const Site& site) {
  const SysResult<void> outcome = kProbe(site);
  if (!outcome.ok()) return Error(ErrorCode::kUnsupported, outcome.error().Message());
  return {};
}

struct Entry {
  Feature feature;
  std::string_view name;
  Result<void> (*probe)(const Site& site);
};
constexpr std::array<Entry, kFeatureCount> kProbes{{
    {Feature::kLowerByFd, "lowerdir_by_fd", Plain<LowerByFd>},
    {Feature::kLowerByName, "lowerdir_by_name", Plain<LowerByName>},
    {Feature::kDetachedLayers, "detached_layers", Plain<DetachedLayers>},
    {Feature::kUserXattr, "userxattr", Plain<UserXattr>},
    {Feature::kVolatile, "volatile", Plain<Volatile>},
    {Feature::kMetacopy, "metacopy", Plain<Metacopy>},
    {Feature::kRedirectDir, "redirect_dir", Plain<RedirectDir>},
    {Feature::kDataOnly, "data_only_layers", Plain<DataOnly>},
    {Feature::kIdmappedLayers, "idmapped_layers", Plain<IdmappedLayers>},
    {Feature::kUserNamespace, "user_namespace", Plain<UserNamespace>},
    {Feature::kErofsByFile, "erofs_file_backed", Erofs<ErofsBacking::kFile>},
    {Feature::kErofsByLoop, "erofs_loop", Erofs<ErofsBacking::kLoop>},
    {Feature::kPackedLayers, "packed_layers", PackedLayers},
}};

Probe RunProbe(FdRef scratch, const Entry& entry) {
  const auto outcome = [&]() -> Result<void> {
    SNAP_TRY_SYS(const Site site, Site::Make(scratch, std::string(entry.name)),
                 "make directories to probe in");
    return entry.probe(site);
  }();
  if (outcome.ok()) return {true, ""};
  return {false, outcome.error().message()};
}

constexpr const char* kVersion = "version";
constexpr uint64_t kCacheVersion = 1;

Result<FeatureSet> FeaturesFromJson(std::string_view text, const CacheKey& key) {
  constexpr std::string_view kWhat = "overlay feature cache";
  SNAP_TRY(const Json json,
           ParseJson(text, kWhat, {.max_bytes = 65'536, .max_depth = 4, .max_values = 1000}));
  SNAP_TRY(const uint64_t version, JsonUnsigned(json, kVersion, kWhat));
  SNAP_TRY(const std::string kernel, JsonString(json, "kernel", kWhat));
  SNAP_TRY(const std::string boot_id, JsonString(json, "boot_id", kWhat));
  SNAP_TRY(const uint64_t uid, JsonUnsigned(json, "uid", kWhat));
  if (version != kCacheVersion || kernel != key.kernel_release || boot_id != key.boot_id || uid != key.uid) {
    return MakeError(ErrorCode::kNotFound, "read {}: it is another machine's", kWhat);
  }
  SNAP_TRY(const Json* const features, JsonObject(json, "features", kWhat));
  FeatureSet set;
  for (const Entry& entry : kProbes) {
    const std::string name(entry.name);
    SNAP_TRY(const Json* const feature, JsonObject(*features, name.c_str(), kWhat));
    if (!feature->contains("available")) return MakeError(ErrorCode::kCorrupt, "read {}: no verdict", kWhat);
    SNAP_TRY(set[entry.feature].available, JsonBoolOr(*feature, "available", false, kWhat));
    SNAP_TRY(set[entry.feature].detail, JsonString(*feature, "detail", kWhat));
  }
  return set;
}

/// Replaces the file in one step. Failures are ignored by the caller: the cache only saves time.
SysResult<void> WriteCacheFile(const std::string& directory, const std::string& text) {
  SNAP_TRY(const UniqueFd dir, sys::OpenAt(FdRef::Cwd(), directory.c_str(), O_PATH | O_DIRECTORY));
  const std::string temporary = fmt::format(".{}.{}", FeatureCache::kFileName, sys::RandomHex128());
  auto written = [&]() -> SysResult<void> {
    SNAP_TRY(const UniqueFd file, sys::OpenAt(dir, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644));
    SNAP_TRY_VOID(sys::WriteAll(file, text));
    return sys::RenameAt(dir, temporary.c_str(), dir, FeatureCache::kFileName);
  }();
  if (!written.ok()) (void)sys::UnlinkAt(dir, temporary.c_str());  // it may not have been made
  return written;
}

}  // namespace

std::string_view FeatureName(Feature feature) {
  for (const Entry& entry : kProbes) {
    if (entry.feature == feature) return entry.name;
  }
  return "";
}

Result<FeatureSet> ProbeFeatures() {
  SNAP_TRY(const UniqueFd scratch, NewScratch());
  FeatureSet set;
  const auto ran = sys::RunInPrivateMountNamespace(scratch, [&] {
    for (const Entry& entry : kProbes) set[entry.feature] = RunProbe(scratch, entry);
  });
  if (!ran.ok()) return Error(ran.error(), "probe overlayfs: enter a private mount namespace");
  return set;
}

std::string FormatCache(const FeatureSet& features, const CacheKey& key) {
  Json json{
      {kVersion, kCacheVersion}, {"kernel", key.kernel_release}, {"boot_id", key.boot_id}, {"uid", key.uid}};
  for (const Entry& entry : kProbes) {
    const Probe& probe = features[entry.feature];
    json["features"][std::string(entry.name)] = {{"available", probe.available}, {"detail", probe.detail}};
  }
  return DumpJson(json);
}

std::optional<FeatureSet> ParseCache(std::string_view text, const CacheKey& key) {
  Result<FeatureSet> features = FeaturesFromJson(text, key);
  if (!features.ok()) return std::nullopt;
  return std::move(features).value();
}

FeatureSet FeatureCache::Get() {
  auto known = features_.Lock();
  if (*known) return **known;
  const auto boot_id = sys::BootId();
  const CacheKey key{sys::KernelRelease(), boot_id.ok() ? *boot_id : "", sys::EffectiveUid()};
  // Without a boot id a file could be of another boot, with other modules loaded.
  const bool remember = directory_ && boot_id.ok();
  if (remember) {
    const std::string path = fmt::format("{}/{}", *directory_, kFileName);
    if (const auto text = sys::ReadFileAt(FdRef::Cwd(), path.c_str(), 65'536); text.ok()) {
      *known = ParseCache(*text, key);
    }
    if (*known) return **known;
  }
  Result<FeatureSet> probed = ProbeFeatures();
  if (!probed.ok()) {
    FeatureSet none;
    for (Probe& probe : none.probes) probe.detail = probed.error().message();
    *known = none;
    return none;
  }
  *known = std::move(probed).value();
  if (remember) {
    (void)WriteCacheFile(*directory_, FormatCache(**known, key));  // the next process probes again
  }
  return **known;
}

}  // namespace snap::overlay
