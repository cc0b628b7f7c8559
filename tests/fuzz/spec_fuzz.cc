// config.json: whatever it says, it is read or refused; what is read is within the bounds that the launcher relies on.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fs/base/check.h"
#include "runtime/mount_flags.h"
#include "runtime/spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = snap::runtime::ParseSpec(text);
  (void)snap::runtime::ParseProcess(text);
  (void)snap::runtime::ParseResources(text);
  if (!spec.ok()) return 0;
  SNAP_CHECK(!spec->root_path.empty());
  for (const auto& mount : spec->mounts) (void)snap::runtime::ParseMountFlags(mount);
  if (spec->process) {
    SNAP_CHECK(!spec->process->args.empty() && spec->process->cwd.starts_with('/'));
    for (const std::string& arg : spec->process->args) SNAP_CHECK(arg.find('\0') == std::string::npos);
  }
  return 0;
}
