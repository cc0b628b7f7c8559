// Which engine: see docs/decisions. The plain one is always there.
#include "fs/io_engine.h"

#include "fs/base/quote.h"
#include "fs/io_engine_impl.h"

namespace snap {

Result<std::unique_ptr<IoEngine>> MakeIoEngine(IoEngineKind kind) {
  switch (kind) {
    case IoEngineKind::kUring:
      return io_engine_impl::MakeUring();
    case IoEngineKind::kAuto:
    case IoEngineKind::kPlain:
      break;
  }
  return io_engine_impl::MakePlain();
}

Result<IoEngineKind> ParseIoEngineKind(std::string_view text) {
  if (text == "auto") return IoEngineKind::kAuto;
  if (text == "plain") return IoEngineKind::kPlain;
  if (text == "uring") return IoEngineKind::kUring;
  return MakeError(ErrorCode::kInvalidArgument, "I/O engine {} is not auto, plain or uring", Quote(text));
}

}  // namespace snap
