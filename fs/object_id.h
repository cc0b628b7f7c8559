// ObjectId: the name of one object, the bytes of a large regular file, in objects/ of a store.
// Invariant: an id is for finding. Equal ids are equal bytes only because whoever inserted the second one compared them: the
// hash is not one to trust, and its secret only keeps outsiders from making collisions cheaply.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace snap {

struct ObjectId {
  std::array<uint8_t, 16> hash{};  ///< XXH3-128 of the bytes, keyed with the store's secret, canonical (big endian)
  uint64_t size = 0;               ///< bytes
  uint32_t variant = 0;            ///< tells apart different bytes of equal hash and size: 0, 1, ...

  /// "3f/9c...-1a2b" or "3f/9c...-1a2b.1": two hex digits as directory, thirty more, size in hex, variant unless 0. This is the
  /// path below objects/ and, with a leading '/', what a packed layer's redirect says.
  std::string Path() const;
  /// The inverse. Errors: kInvalidArgument for anything that Path does not write.
  static Result<ObjectId> ParsePath(std::string_view path);

  /// Whether a directory of this name could hold objects: two hex digits.
  static bool IsShard(std::string_view name);

  friend bool operator==(const ObjectId&, const ObjectId&) = default;
  friend auto operator<=>(const ObjectId&, const ObjectId&) = default;
};

}  // namespace snap
