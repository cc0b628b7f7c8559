// docs/control-protocol.md specifies every byte.
#include "snapshotter/control_protocol.h"

#include "snapshotter/record_coding.h"

namespace snap::control {
namespace {

using codec::Decoder;
using codec::Encoder;

enum class Kind : uint8_t {
  kHello = 1,
  kGet = 2,
  kScan = 3,
  kWrite = 4,
  kStatus = 5,
  kMetrics = 6,
  kEvents = 7,
  kReload = 8,
};
constexpr uint8_t kAnswer = 0x80;
constexpr uint8_t kErrorAnswer = 0x81;
constexpr uint8_t kEvent = 0x82;
constexpr std::string_view kMagic = "snap-control";
constexpr size_t kPageBytes = size_t{48} << 10U;  // one packet

constexpr ErrorCode kCodes[] = {
    ErrorCode::kInvalidArgument, ErrorCode::kNotFound,    ErrorCode::kExists,      ErrorCode::kPermission,
    ErrorCode::kCorrupt,         ErrorCode::kLimitExceeded, ErrorCode::kNoSpace,   ErrorCode::kUnsupported,
    ErrorCode::kBusy,            ErrorCode::kUnavailable, ErrorCode::kCancelled,   ErrorCode::kIo,
    ErrorCode::kInternal};

uint8_t Byte(Kind kind) { return static_cast<uint8_t>(kind); }

Error Malformed(std::string_view what) {
  return MakeError(ErrorCode::kCorrupt, "read {} on the control socket: malformed message", what);
}

struct EncodeRequest {
  std::string operator()(const Hello& hello) const {
    Encoder out(Byte(Kind::kHello));
    out.Text(kMagic);
    out.Number(hello.least);
    out.Number(hello.most);
    return std::move(out).Take();
  }
  std::string operator()(const Get& get) const {
    Encoder out(Byte(Kind::kGet));
    out.Text(get.key);
    return std::move(out).Take();
  }
  std::string operator()(const Scan& scan) const {
    Encoder out(Byte(Kind::kScan));
    out.Text(scan.prefix);
    out.Text(scan.from);
    return std::move(out).Take();
  }
  std::string operator()(const Write& write) const {
    Encoder out(Byte(Kind::kWrite));
    out.Number(write.sync ? 1 : 0);
    out.Number(write.changes.changes.size());
    for (const DatabaseChanges::Change& change : write.changes.changes) {
      out.Number(change.value ? 1 : 0);
      out.Text(change.key);
      if (change.value) out.Text(*change.value);
    }
    return std::move(out).Take();
  }
  std::string operator()(const Status&) const { return Encoder(Byte(Kind::kStatus)).Take(); }
  std::string operator()(const Metrics&) const { return Encoder(Byte(Kind::kMetrics)).Take(); }
  std::string operator()(const Events&) const { return Encoder(Byte(Kind::kEvents)).Take(); }
  std::string operator()(const Reload&) const { return Encoder(Byte(Kind::kReload)).Take(); }
};

/// A number that may be 0 or 1.
bool TakeBool(Decoder& in, bool& valid) {
  const uint64_t number = in.Number();
  valid = valid && number <= 1;
  return number == 1;
}

template <typename Body>
Result<Request> Complete(const Decoder& in, Body body, bool valid = true) {
  if (!valid || !in.CompleteAndValid()) return Malformed("a request");
  return Request(std::move(body));
}

/// Reads an answer's kind; what follows is the answer's own.
Result<Decoder> OpenAnswer(std::string_view message, uint8_t expected) {
  const uint8_t kind = message.empty() ? uint8_t{0} : static_cast<uint8_t>(message.front());
  if (kind == expected) return Decoder(message, kind);
  if (kind != kErrorAnswer) return Malformed("an answer");
  Decoder in(message, kErrorAnswer);
  const std::string name = in.Text();
  std::string text = in.Text();
  if (!in.CompleteAndValid()) return Malformed("an answer");
  for (const ErrorCode code : kCodes) {
    if (ErrorCodeName(code) == name) return Error(code, std::move(text));
  }
  return Error(ErrorCode::kIo, std::move(text));  // of a later version
}

}  // namespace

std::string Encode(const Request& request) { return std::visit(EncodeRequest(), request); }

Result<Request> DecodeRequest(std::string_view message) {
  if (message.empty()) return Malformed("a request");
  const auto kind = static_cast<uint8_t>(message.front());
  Decoder in(message, kind);
  bool valid = true;
  switch (static_cast<Kind>(kind)) {
    case Kind::kHello: {
      valid = in.View() == kMagic;
      Hello hello;
      hello.least = in.Number();
      hello.most = in.Number();
      return Complete(in, hello, valid && hello.least <= hello.most);
    }
    case Kind::kGet: {
      Get get{in.Text()};
      return Complete(in, std::move(get));
    }
    case Kind::kScan: {
      Scan scan;
      scan.prefix = in.Text();
      scan.from = in.Text();
      return Complete(in, std::move(scan));
    }
    case Kind::kWrite: {
      Write write;
      write.sync = TakeBool(in, valid);
      // No reserve: an element that claims one byte takes many here.
      for (uint64_t left = in.Count(); left > 0 && valid && in.Valid(); --left) {
        const bool put = TakeBool(in, valid);
        std::string key = in.Text();
        if (put) {
          write.changes.changes.push_back({std::move(key), in.Text()});
        } else {
          write.changes.Delete(std::move(key));
        }
      }
      return Complete(in, std::move(write), valid);
    }
    case Kind::kStatus: return Complete(in, Status());
    case Kind::kMetrics: return Complete(in, Metrics());
    case Kind::kEvents: return Complete(in, Events());
    case Kind::kReload: return Complete(in, Reload());
  }
  return MakeError(ErrorCode::kUnsupported, "answer request {}: the daemon does not know it", kind);
}

std::string EncodeError(const Error& error) {
  Encoder out(kErrorAnswer);
  out.Text(ErrorCodeName(error.code()));
  out.Text(error.message());
  return std::move(out).Take();
}

std::string EncodeHelloAnswer(uint64_t version) {
  Encoder out(kAnswer);
  out.Number(version);
  return std::move(out).Take();
}

Result<uint64_t> DecodeHelloAnswer(std::string_view message) {
  SNAP_TRY(Decoder in, OpenAnswer(message, kAnswer));
  const uint64_t version = in.Number();
  if (!in.CompleteAndValid()) return Malformed("an answer");
  return version;
}

std::string EncodeGetAnswer(const std::optional<std::string>& value) {
  Encoder out(kAnswer);
  out.Number(value ? 1 : 0);
  if (value) out.Text(*value);
  return std::move(out).Take();
}

Result<std::optional<std::string>> DecodeGetAnswer(std::string_view message) {
  SNAP_TRY(Decoder in, OpenAnswer(message, kAnswer));
  bool valid = true;
  std::optional<std::string> value;
  if (TakeBool(in, valid)) value = in.Text();
  if (!valid || !in.CompleteAndValid()) return Malformed("an answer");
  return value;
}

std::string EncodeText(std::string_view text) {
  Encoder out(kAnswer);
  out.Text(text);
  return std::move(out).Take();
}

Result<std::string> DecodeText(std::string_view message) {
  SNAP_TRY(Decoder in, OpenAnswer(message, kAnswer));
  std::string text = in.Text();
  if (!in.CompleteAndValid()) return Malformed("an answer");
  return text;
}

std::string EncodeEvent(const Event& event) {
  Encoder out(kEvent);
  out.Number(static_cast<uint64_t>(event.time_ns));
  out.Text(event.type);
  out.Number(event.attributes.size());
  for (const auto& [name, value] : event.attributes) {
    out.Text(name);
    out.Text(value);
  }
  return std::move(out).Take();
}

Result<Event> DecodeEvent(std::string_view message) {
  SNAP_TRY(Decoder in, OpenAnswer(message, kEvent));
  Event event;
  event.time_ns = static_cast<int64_t>(in.Number());
  event.type = in.Text();
  for (uint64_t left = in.Count(); left > 0 && in.Valid(); --left) {
    std::string name = in.Text();
    event.attributes.insert_or_assign(std::move(name), in.Text());
  }
  if (!in.CompleteAndValid()) return Malformed("an event");
  return event;
}

bool ScanPageWriter::Add(std::string_view key, std::string_view value) {
  if (count_ != 0 && entries_.size() + key.size() + value.size() > kPageBytes) return false;
  Encoder entry(0);
  entry.Text(key);
  entry.Text(value);
  entries_.append(std::move(entry).Take(), 1);
  ++count_;
  return true;
}

std::string ScanPageWriter::Finish(bool more) && {
  Encoder out(kAnswer);
  out.Number(more ? 1 : 0);
  out.Number(count_);
  return std::move(out).Take() + entries_;
}

Result<ScanPage> DecodeScanPage(std::string_view message) {
  SNAP_TRY(Decoder in, OpenAnswer(message, kAnswer));
  ScanPage page;
  bool valid = true;
  page.more = TakeBool(in, valid);
  for (uint64_t left = in.Count(); left > 0 && in.Valid(); --left) {
    const std::string_view key = in.View();
    page.entries.emplace_back(key, in.View());
  }
  // A page that promises more and has nothing would be asked for for ever.
  if (!valid || !in.CompleteAndValid() || (page.more && page.entries.empty())) return Malformed("an answer");
  return page;
}

}  // namespace snap::control
