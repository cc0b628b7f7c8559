// TOML that other programs own, as JSON: for looking into their configuration. Our own settings are
// ConfigFile's.
#pragma once

#include <string_view>

#include "fs/base/json.h"
#include "fs/base/result.h"

namespace snap {

/// One document as an object. Dates and times become their text, numbers that JSON has no form for become
/// null. Errors: kInvalidArgument "/etc/x.toml:3: ..." for what is not TOML; kLimitExceeded above
/// `max_bytes`.
Result<Json> ParseToml(std::string_view text, std::string_view name, size_t max_bytes = size_t{1} << 20U);

}  // namespace snap
