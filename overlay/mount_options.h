// Options of an overlayfs mount as text: the behaviour we ask for, and names as mount(2) takes them. No
// system calls. Invariant: every option whose default depends on the machine is spelled out, so that an upper
// means the same everywhere (docs/decisions/overlay-mount-options.md). Source of the syntax: Linux
// Documentation/filesystems/overlayfs.rst; fs/overlayfs/params.c for the escapes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"

namespace snap::overlay {

inline constexpr size_t kMaxLowers = 500;           ///< OVL_MAX_STACK of the kernel
inline constexpr size_t kMaxMountDataBytes = 4095;  ///< mount(2) takes one page with its final NUL

/// What differs from one mount to the next, apart from the layers.
struct Behaviour {
  bool user_xattr = false;
  bool volatile_upper = false;
  /// Redirects and metacopy files are written into an upper, and followed in all layers; otherwise neither.
  bool follow_marks = false;
  /// Layers on more than one file system: xino=on keeps one st_dev for the whole tree.
  bool several_file_systems = false;
};

struct MountOption {
  std::string key;
  std::string value;  ///< empty: the option is a flag
  friend bool operator==(const MountOption&, const MountOption&) = default;
};

/// The options of every mount, without the layers; "volatile" is the last one, since it may be dropped.
std::vector<MountOption> BehaviourOptions(const Behaviour& behaviour);

/// Layers as the kernel shall look them up.
struct LayerPaths {
  std::vector<std::string> lowers_top_first;
  std::string data;   ///< the data-only layer; empty: none
  std::string upper;  ///< empty: read-only
  std::string work;
};

/// A path as a value in mount(2)'s option text: '\\' in front of ',', ':' and '\\'; all other bytes stand for
/// themselves.
std::string EscapePath(std::string_view path);
/// "lowerdir=a:b::data,upperdir=u,workdir=w,index=off,...". Errors: kInvalidArgument (no lower, an empty
/// path, a NUL); kLimitExceeded when it is longer than mount(2) takes.
Result<std::string> FormatMountData(const LayerPaths& layers, const Behaviour& behaviour);

}  // namespace snap::overlay
