// Image configurations. What parses holds no NUL where a process would see a string cut short.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fs/base/check.h"
#include "fs/oci_image.h"

namespace {

void CheckStrings(const std::vector<std::string>& strings) {
  for (const std::string& text : strings) SNAP_CHECK(text.find('\0') == std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config =
      snap::oci::ParseImageConfig(std::string_view(reinterpret_cast<const char*>(data), size), "config");
  if (!config.ok()) return 0;
  CheckStrings(config->env);
  CheckStrings(config->entrypoint);
  CheckStrings(config->cmd);
  CheckStrings(config->volumes);
  CheckStrings({config->user, config->working_dir, config->stop_signal});
  const std::string made =
      snap::oci::MakeConfigJson(config->platform, config->diff_ids, config->created, "fuzz");
  const auto again = snap::oci::ParseImageConfig(made, "made");
  SNAP_CHECK(again.ok() && again->diff_ids == config->diff_ids);
  return 0;
}
