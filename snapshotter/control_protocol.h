// What is said over a store's control socket (<root>/control, docs/control-protocol.md): a client asks, the daemon answers, one
// message each, in order; after `events` the daemon only sends. The first request is a hello.
// Invariant: decoding gives exactly what was encoded, or fails; it neither reads past a message nor allocates more than it has bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "fs/base/result.h"
#include "snapshotter/database.h"
#include "snapshotter/event_bus.h"

namespace snap::control {

inline constexpr const char* kSocketName = "control";
/// A change that the other side would misunderstand is a new version. A new request is not: old daemons answer kUnsupported.
inline constexpr uint64_t kVersion = 1;

// --- requests
struct Hello {
  uint64_t least = kVersion, most = kVersion;  ///< versions that the client speaks
  friend bool operator==(const Hello&, const Hello&) = default;
};
struct Get {
  std::string key;
  friend bool operator==(const Get&, const Get&) = default;
};
struct Scan {
  std::string prefix, from;
  friend bool operator==(const Scan&, const Scan&) = default;
};
/// Comes with the descriptor of the store's lock file that the client holds exclusively. The lock belongs to the open file: while
/// the daemon has the descriptor too, the death of the client does not release it, so that nobody gets the lock between a
/// batch that was sent and its writing. The daemon refuses a descriptor that does not hold the lock.
struct Write {
  DatabaseChanges changes;
  bool sync = true;
};
struct Status {
  friend bool operator==(const Status&, const Status&) = default;
};
struct Metrics {
  friend bool operator==(const Metrics&, const Metrics&) = default;
};
struct Events {
  friend bool operator==(const Events&, const Events&) = default;
};
struct Reload {
  friend bool operator==(const Reload&, const Reload&) = default;
};
using Request = std::variant<Hello, Get, Scan, Write, Status, Metrics, Events, Reload>;

std::string Encode(const Request& request);
/// Errors: kUnsupported for a request that this version does not know, kCorrupt for a malformed one.
Result<Request> DecodeRequest(std::string_view message);

// --- answers: an error, or what the request asked for
std::string EncodeError(const Error& error);
std::string EncodeHelloAnswer(uint64_t version);
std::string EncodeGetAnswer(const std::optional<std::string>& value);
std::string EncodeText(std::string_view text);  ///< of Status (JSON), Metrics; "" of Write, Events, Reload
std::string EncodeEvent(const Event& event);

/// Each gives the error that the answer carries, or kCorrupt for a malformed answer.
Result<uint64_t> DecodeHelloAnswer(std::string_view message);
Result<std::optional<std::string>> DecodeGetAnswer(std::string_view message);
Result<std::string> DecodeText(std::string_view message);
Result<Event> DecodeEvent(std::string_view message);

/// A part of what a scan finds.
class ScanPageWriter {
 public:
  /// False: the page is full, and the entry, which is not on it, begins the next one. The first entry always fits.
  bool Add(std::string_view key, std::string_view value);
  /// `more`: the scan goes on behind the last entry.
  std::string Finish(bool more) &&;

 private:
  std::string entries_;
  uint64_t count_ = 0;
};
struct ScanPage {
  std::vector<std::pair<std::string_view, std::string_view>> entries;  ///< views of the message
  bool more = false;
};
Result<ScanPage> DecodeScanPage(std::string_view message);

}  // namespace snap::control
