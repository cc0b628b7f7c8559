// Versions of engines, and what configuration each of them understands.
// Invariant: the table is what was found in the engines' own sources, at the tags it names.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace snap::cli {

struct EngineVersion {
  unsigned major = 0, minor = 0, patch = 0;
  std::string ToString() const;
  friend auto operator<=>(const EngineVersion&, const EngineVersion&) = default;
};

/// The first word of a text that begins with a version: "2.1", "v1.7.23-rc.1", "Docker version 28.5.2+dfsg4,
/// build 3ef".
std::optional<EngineVersion> FindEngineVersion(std::string_view text);

/// Asks `program --version`. Errors: kNotFound when there is no such program; kUnavailable when it does not
/// answer in time, fails or says no version.
Result<EngineVersion> AskEngineVersion(const std::string& program);

/// What containerd of a version can be told.
struct ContainerdTraits {
  unsigned config_version = 2;
  bool diff_proxy = false;    ///< proxy plugins of type "diff": 1.7
  bool capabilities = false;  ///< of proxy plugins: 1.7.23, not 1.6
  bool exports = false;       ///< of proxy plugins, and the transfer service for all pulls by ctr: 2.0
  bool cri_transfer = false;  ///< CRI pulls through the transfer service: 2.1
  bool rebase = false;        ///< layers unpacked in parallel: 2.2
};
ContainerdTraits TraitsOf(const EngineVersion& containerd);

/// What is assumed when there is no engine to ask.
inline constexpr EngineVersion kNewestContainerd{2, 2, 0};
inline constexpr EngineVersion kNewestDocker{29, 0, 0};
inline constexpr EngineVersion kOldestContainerd{1, 6, 0};
/// The first with a containerd image store.
inline constexpr EngineVersion kOldestDocker{24, 0, 0};

}  // namespace snap::cli
