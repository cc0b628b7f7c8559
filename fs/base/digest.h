// Digest: a SHA-256 content address, as OCI writes it ("sha256:" and 64 lower-case hex digits).
// Invariant: a Digest is 32 parsed bytes; file names are rendered from it, never copied from input.
// Source of the grammar: OCI image-spec, descriptor.md, "Digests".
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"

namespace snap {

class Digest {
 public:
  static constexpr size_t kBytes = 32;
  using Bytes = std::array<std::byte, kBytes>;

  Digest() = default;
  explicit Digest(const Bytes& bytes) : bytes_(bytes) {}

  /// Parses "sha256:<64 lower-case hex>". Errors: kUnsupported for another algorithm, kInvalidArgument otherwise.
  static Result<Digest> Parse(std::string_view text);
  /// Parses the 64 hex digits alone (a file name in the store). Errors: kInvalidArgument.
  static Result<Digest> ParseHex(std::string_view hex);
  /// SHA-256 of the bytes.
  static Digest Of(std::span<const std::byte> data);
  static Digest Of(std::string_view data);

  const Bytes& bytes() const { return bytes_; }
  std::string Hex() const;
  /// "sha256:<hex>"
  std::string ToString() const;
  /// The first 12 hex digits, as people see ids.
  std::string Short() const;

  friend bool operator==(const Digest&, const Digest&) = default;
  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  Bytes bytes_{};
};

/// The three roles a digest plays; distinct types so that one is never passed for another.
/// BlobId: of the bytes in the registry (compressed). DiffId: of the uncompressed tar. ChainId: of a stack of DiffIds.
template <typename Role>
struct DigestId {
  Digest digest;
  std::string ToString() const { return digest.ToString(); }
  std::string Hex() const { return digest.Hex(); }
  friend bool operator==(const DigestId&, const DigestId&) = default;
  friend auto operator<=>(const DigestId&, const DigestId&) = default;
};
using BlobId = DigestId<struct BlobRole>;
using DiffId = DigestId<struct DiffRole>;
using ChainId = DigestId<struct ChainRole>;

/// ChainIds of a stack, bottom layer first: chain[0] = diff[0], chain[n] = sha256(chain[n-1] + " " + diff[n]).
/// Source: OCI image-spec, config.md, "Layer ChainID".
std::vector<ChainId> ChainIds(std::span<const DiffId> diff_ids_bottom_first);

/// Incremental SHA-256 (OpenSSL, with the processor's SHA instructions). Threads: one at a time.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();
  void Update(std::span<const std::byte> data);
  /// The digest of everything so far; the object is finished.
  Digest Finish() &&;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snap

template <>
struct std::hash<snap::Digest> {
  size_t operator()(const snap::Digest& digest) const noexcept;
};
template <typename Role>
struct std::hash<snap::DigestId<Role>> {
  size_t operator()(const snap::DigestId<Role>& id) const noexcept { return std::hash<snap::Digest>()(id.digest); }
};
