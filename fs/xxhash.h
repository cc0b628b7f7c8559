// XXH3, for finding and for noticing damage; never for trust: whoever knows the secret makes collisions at will.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace snap {

uint64_t Xxh3Of64(std::string_view bytes, uint64_t seed);
/// XXH32, which EROFS has in its format.
uint32_t Xxh32Of(std::string_view bytes, uint32_t seed);

using Xxh128 = std::array<uint8_t, 16>;  ///< canonical: big endian

/// Lower-case hex digits, and the inverse (nullopt for anything else).
std::string HexOf(const Xxh128& hash);
std::optional<Xxh128> Xxh128FromHex(std::string_view hex);

/// XXH3-128, with a secret of one's own if given. Threads: one at a time. Cost: memory speed.
class Xxh3Hasher {
 public:
  /// The 192 bytes that XXH3 wants, derived from a shorter secret.
  class Secret {
   public:
    explicit Secret(std::string_view seed);
    std::span<const std::byte> bytes() const { return bytes_; }

   private:
    std::array<std::byte, 192> bytes_{};
  };

  Xxh3Hasher();
  /// `secret` must outlive the hasher.
  explicit Xxh3Hasher(const Secret& secret);
  ~Xxh3Hasher();
  void Update(std::span<const std::byte> bytes);
  /// The hash of what was given since construction or the last call, which this starts anew.
  Xxh128 Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snap
