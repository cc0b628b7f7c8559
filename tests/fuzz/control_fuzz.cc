// Any bytes as a message on the control socket, in either direction; what can be read is written the same way
// again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fs/base/check.h"
#include "snapshotter/control_protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snap;
  const std::string_view message(reinterpret_cast<const char*>(data), size);
  const Result<control::Request> request = control::DecodeRequest(message);
  if (request.ok()) {
    // Numbers can be written longer than needed, so compare what is read of what was written.
    const std::string encoded = control::Encode(*request);
    SNAP_CHECK(encoded.size() <= message.size());
    const Result<control::Request> again = control::DecodeRequest(encoded);
    SNAP_CHECK(again.ok() && control::Encode(*again) == encoded);
  } else {
    SNAP_CHECK(request.error().code() == ErrorCode::kCorrupt ||
               request.error().code() == ErrorCode::kUnsupported);
  }
  (void)control::DecodeHelloAnswer(message);
  (void)control::DecodeGetAnswer(message);
  (void)control::DecodeText(message);
  const Result<control::ScanPage> page = control::DecodeScanPage(message);
  if (page.ok()) SNAP_CHECK(page->entries.size() <= message.size());
  const Result<Event> event = control::DecodeEvent(message);
  if (event.ok()) SNAP_CHECK(control::DecodeEvent(control::EncodeEvent(*event)).value() == *event);
  return 0;
}
