// Text form and SHA-256 of digests. Every text that is not exactly the canonical form is refused.
#include "fs/base/digest.h"

#include <openssl/evp.h>

#include <cstring>
#include <vector>

#include "fs/base/quote.h"

namespace snap {
namespace {

constexpr std::string_view kPrefix = "sha256:";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

Result<Digest> Digest::ParseHex(std::string_view hex) {
  Bytes bytes;
  if (hex.size() != 2 * kBytes) {
    return MakeError(ErrorCode::kInvalidArgument, "digest {} does not have 64 hex digits", Quote(hex.substr(0, 100)));
  }
  for (size_t i = 0; i < kBytes; ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return MakeError(ErrorCode::kInvalidArgument, "digest {} is not lower-case hex", Quote(hex));
    }
    bytes[i] = static_cast<std::byte>(high * 16 + low);
  }
  return Digest(bytes);
}

Result<Digest> Digest::Parse(std::string_view text) {
  if (!text.starts_with(kPrefix)) {
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) {
      return MakeError(ErrorCode::kInvalidArgument, "digest {} has no algorithm", Quote(text.substr(0, 100)));
    }
    return MakeError(ErrorCode::kUnsupported, "digest algorithm {} is not supported, only sha256 is",
                     Quote(text.substr(0, std::min<size_t>(colon, 100))));
  }
  return ParseHex(text.substr(kPrefix.size()));
}

Digest Digest::Of(std::span<const std::byte> data) {
  Sha256 hasher;
  hasher.Update(data);
  return std::move(hasher).Finish();
}

Digest Digest::Of(std::string_view data) { return Of(std::as_bytes(std::span(data))); }

std::string Digest::Hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out(2 * kBytes, '0');
  for (size_t i = 0; i < kBytes; ++i) {
    const auto value = std::to_integer<unsigned>(bytes_[i]);
    out[2 * i] = kDigits[value >> 4U];
    out[2 * i + 1] = kDigits[value & 15U];
  }
  return out;
}

std::string Digest::ToString() const { return std::string(kPrefix) + Hex(); }
std::string Digest::Short() const { return Hex().substr(0, 12); }

std::vector<ChainId> ChainIds(std::span<const DiffId> diff_ids_bottom_first) {
  std::vector<ChainId> chain;
  chain.reserve(diff_ids_bottom_first.size());
  for (const DiffId& diff : diff_ids_bottom_first) {
    chain.push_back(chain.empty() ? ChainId{diff.digest}
                                  : ChainId{Digest::Of(chain.back().ToString() + " " + diff.ToString())});
  }
  return chain;
}

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  // Fetched once: an implicit fetch per hasher costs more than hashing a small file.
  static const EVP_MD* const kAlgorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  SNAP_CHECK(kAlgorithm != nullptr && state_->context != nullptr);
  SNAP_CHECK(EVP_DigestInit_ex(state_->context, kAlgorithm, nullptr) == 1);
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::Update(std::span<const std::byte> data) {
  SNAP_CHECK(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1);
}

Digest Sha256::Finish() && {
  Digest::Bytes bytes;
  unsigned size = 0;
  SNAP_CHECK(EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(bytes.data()), &size) == 1);
  SNAP_CHECK(size == bytes.size());
  return Digest(bytes);
}

}  // namespace snap

size_t std::hash<snap::Digest>::operator()(const snap::Digest& digest) const noexcept {
  size_t value;  // SHA-256 output is uniform: any eight of its bytes make a good hash
  std::memcpy(&value, digest.bytes().data(), sizeof value);
  return value;
}
