// The command line of snap-fuse, which is that of fuse-overlayfs(1), so that podman, buildah, CRI-O and mount(8) can call it in its
// place. Pure: nothing is opened.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fuse/session.h"
#include "fuse/union_options.h"

namespace snap::fuse {

struct CommandLine {
  bool help = false, version = false, features = false;
  bool foreground = false;
  std::string target;
  std::vector<std::string> lowers_top_first;            ///< directories, or images of packed layers
  std::vector<std::vector<std::string>> lower_devices;  ///< further images that the lower of the same place refers to
  std::optional<std::string> upper, work, objects;
  UnionOptions union_options;
  SessionOptions session_options;
  /// The target is "/dev/fd/N": an open /dev/fuse whose mount is made already.
  bool IsMountedByCaller() const { return target.starts_with("/dev/fd/"); }
  std::vector<std::string> warnings;         ///< what was ignored, one sentence each
};

/// `environment` answers for FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT (any value: whiteouts are ".wh." files) and
/// FUSE_OVERLAYFS_NO_PASSTHROUGH. `root`: the defaults of a mount by root (allow_other, suid).
/// Errors: kInvalidArgument, naming the option and what it takes.
using EnvironmentLookup = std::function<const char*(const char* name)>;
Result<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments, const EnvironmentLookup& environment, bool root);

/// `text` at its unescaped `separator`s; "\:", "\," and "\\" stand for the character itself when `unescape`. Quotes ("...") keep commas.
std::vector<std::string> SplitOptions(std::string_view text, char separator, bool unescape);

}  // namespace snap::fuse
