// Wall-clock times as text, the way OCI documents and our records write them.
#pragma once

#include <cstdint>
#include <string>

namespace snap {

/// "2025-01-31T23:59:59Z"; source: RFC 3339, section 5.6.
std::string FormatRfc3339(int64_t unix_seconds);
std::string NowRfc3339();

}  // namespace snap
