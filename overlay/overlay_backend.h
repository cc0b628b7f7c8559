// UnionBackend on the kernel's overlayfs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "fs/union_backend.h"
#include "overlay/erofs_mount.h"

namespace snap {

/// How layers are handed to the kernel. All give the same tree; only kAuto should be used outside tests.
enum class MountMethod {
  kAuto,     ///< the first of the others that this kernel has
  kFds,      ///< fsopen, layers by descriptor (6.13)
  kStrings,  ///< fsopen, layers by name (6.8)
  kLegacy,   ///< mount(2) in a private namespace
};

struct OverlayOptions {
  MountMethod method = MountMethod::kAuto;
  /// Where probe results are remembered for this boot; nullopt: each process that needs them probes.
  std::optional<std::string> feature_cache_directory = std::nullopt;
  /// Where packed lowers are mounted that MountOptions::share_images asks to share, e.g.
  /// "/run/snap-store/images": a directory for nothing else, made when missing. nullopt: nothing is shared.
  std::optional<std::string> image_mounts_directory = std::nullopt;
  overlay::ErofsBacking erofs_backing = overlay::ErofsBacking::kAuto;
};

/// Never fails: what the kernel lacks is said by MountStacked (kUnsupported) and Features.
/// Work is not shared between mounts, so concurrent MountStacked calls do not wait for each other.
std::shared_ptr<UnionBackend> MakeOverlayBackend(OverlayOptions options = {});

}  // namespace snap
