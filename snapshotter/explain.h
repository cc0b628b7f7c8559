// Why something is in the store: what it is, who keeps it there, and what would remove it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/base/result.h"
#include "snapshotter/store.h"

namespace snap {

struct Explanation {
  std::string type;  ///< "layer", "object", "image", "container", "snapshot", "merged image", "upper"
  std::string id;    ///< whole
  std::optional<uint64_t> bytes;
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<std::string> kept_by;  ///< one line for each
  std::string removal;               ///< what would remove it
  bool orphan = false;               ///< nothing keeps it: garbage collection takes it
  std::vector<ImageId> images;       ///< that it is part of, or that it is
};

/// Everything that `id` names: a layer's LayerId or DiffId, an object, an image, a container, a snapshot by
/// name or number, a merged image, an upper. Of digests and objects four characters are enough, with or
/// without "sha256:". Reads only. Errors: kNotFound. Cost O(layers + images + snapshots), for objects
/// O(objects) besides.
Result<std::vector<Explanation>> Explain(Store& store, std::string_view id);

}  // namespace snap
