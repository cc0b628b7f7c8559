#include "fs/xxhash.h"

#include <xxhash.h>

#include <algorithm>

#include "fs/base/check.h"

namespace snap {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

}  // namespace

uint64_t Xxh3Of64(std::string_view bytes, uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }
uint32_t Xxh32Of(std::string_view bytes, uint32_t seed) { return XXH32(bytes.data(), bytes.size(), seed); }

std::string HexOf(const Xxh128& hash) {
  std::string hex;
  for (const uint8_t byte : hash) {
    hex += kDigits[byte >> 4U];
    hex += kDigits[byte & 15U];
  }
  return hex;
}

std::optional<Xxh128> Xxh128FromHex(std::string_view hex) {
  Xxh128 hash{};
  if (hex.size() != 2 * hash.size()) return std::nullopt;
  for (size_t i = 0; i < hex.size(); ++i) {
    const size_t digit = kDigits.find(hex[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    hash[i / 2] = static_cast<uint8_t>(size_t{hash[i / 2]} << 4U | digit);
  }
  return hash;
}

Xxh3Hasher::Secret::Secret(std::string_view seed) {
  static_assert(sizeof(bytes_) >= XXH3_SECRET_SIZE_MIN);
  // Blocks of the seed's hash under different numbers: as unpredictable as the seed is.
  for (size_t at = 0; at < bytes_.size(); at += sizeof(XXH128_canonical_t)) {
    XXH128_canonical_t block;
    XXH128_canonicalFromHash(&block, XXH3_128bits_withSeed(seed.data(), seed.size(), at));
    std::copy_n(reinterpret_cast<const std::byte*>(block.digest), sizeof(block.digest), bytes_.begin() + static_cast<ptrdiff_t>(at));
  }
}

struct Xxh3Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  const Secret* secret = nullptr;

  State() { SNAP_CHECK(xxh != nullptr); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { XXH3_freeState(xxh); }
  void Reset() const {
    if (secret == nullptr) {
      XXH3_128bits_reset(xxh);
    } else {
      XXH3_128bits_reset_withSecret(xxh, secret->bytes().data(), secret->bytes().size());
    }
  }
};

Xxh3Hasher::Xxh3Hasher() : state_(std::make_unique<State>()) { state_->Reset(); }
Xxh3Hasher::Xxh3Hasher(const Secret& secret) : state_(std::make_unique<State>()) {
  state_->secret = &secret;
  state_->Reset();
}
Xxh3Hasher::~Xxh3Hasher() = default;

void Xxh3Hasher::Update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

Xxh128 Xxh3Hasher::Finish() {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh));
  state_->Reset();
  Xxh128 out{};
  std::copy_n(canonical.digest, out.size(), out.begin());
  return out;
}

}  // namespace snap
