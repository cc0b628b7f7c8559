// IdMap: the ids of a layer's files as a container with a user namespace has them on the host.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"

namespace snap {

struct IdRange {
  uint32_t inside = 0, outside = 0, size = 0;
};

struct IdMap {
  std::vector<IdRange> uids, gids;

  /// "0:100000:65536[,...]" each, as containerd's labels have it. Errors: kInvalidArgument (grammar, empty or
  /// overflowing ranges, ranges that overlap, more than the kernel takes).
  static Result<IdMap> Parse(std::string_view uids, std::string_view gids);
  /// What the kernel's uid_map and gid_map files take.
  static std::string KernelText(const std::vector<IdRange>& ranges);
  /// nullopt for an id that has no counterpart.
  static std::optional<uint32_t> Outside(const std::vector<IdRange>& ranges, uint32_t inside);
};

}  // namespace snap
