// Features: what this kernel's overlayfs does for this process, found by trying it on a scratch tmpfs.
// Invariant: nothing is concluded from a version number, and a probe leaves nothing behind.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "fs/base/result.h"
#include "fs/base/synchronized.h"

namespace snap::overlay {

enum class Feature : size_t {
  kLowerByFd,       ///< lowerdir+ takes descriptors
  kLowerByName,     ///< lowerdir+ takes strings
  kDetachedLayers,  ///< layers may be in a detached mount
  kUserXattr,       ///< userxattr
  kVolatile,        ///< volatile
  kMetacopy,        ///< metacopy=on copies up metadata alone
  kRedirectDir,     ///< redirect_dir=on renames lower directories
  kDataOnly,        ///< datadir+: file data in lower layers that are not seen
  kIdmappedLayers,  ///< layers may be id-mapped mounts
  kUserNamespace,   ///< overlayfs can be mounted by an unprivileged user in a user namespace
  kErofsByFile,     ///< EROFS images that are files on a disk can be mounted
  kErofsByLoop,     ///< and through a loop device
  kPackedLayers,  ///< an EROFS image (one way or the other) as lower layer, its redirect leading to an object
  kCount,
};
inline constexpr size_t kFeatureCount = static_cast<size_t>(Feature::kCount);

/// Stable name for machines and `snap system info`, e.g. "lowerdir_by_fd".
std::string_view FeatureName(Feature feature);

struct Probe {
  bool available = false;
  std::string detail;  ///< why not
  friend bool operator==(const Probe&, const Probe&) = default;
};

struct FeatureSet {
  std::array<Probe, kFeatureCount> probes;
  Probe& operator[](Feature feature) { return probes[static_cast<size_t>(feature)]; }
  const Probe& operator[](Feature feature) const { return probes[static_cast<size_t>(feature)]; }
  friend bool operator==(const FeatureSet&, const FeatureSet&) = default;
};

/// Tries every feature in a private mount namespace. Errors: kPermission and the like when the process may
/// not mount at all. Cost: a dozen mounts and two short-lived children, some milliseconds.
Result<FeatureSet> ProbeFeatures();

/// Whom a cached result belongs to.
struct CacheKey {
  std::string kernel_release, boot_id;
  uint64_t uid = 0;
};
std::string FormatCache(const FeatureSet& features, const CacheKey& key);
/// nullopt for another kernel, boot or user, and for anything that FormatCache does not write.
std::optional<FeatureSet> ParseCache(std::string_view text, const CacheKey& key);

/// Probes at most once per process, and once per boot when there is a directory to remember it in.
/// Threads: safe; callers wait for the first one's probes.
class FeatureCache {
 public:
  static constexpr const char* kFileName = "overlay-features.json";

  /// `directory`: where kFileName is kept; written only by us, nullopt for memory alone.
  explicit FeatureCache(std::optional<std::string> directory) : directory_(std::move(directory)) {}
  /// When the process may not mount, every feature is unavailable for that reason, and the file is left
  /// alone.
  FeatureSet Get();

 private:
  const std::optional<std::string> directory_;
  Synchronized<std::optional<FeatureSet>> features_;
};

}  // namespace snap::overlay
