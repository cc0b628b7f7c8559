// Capabilities by name and as a bit mask. Source: capabilities(7); the default set is Docker's.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace snap::runtime {

/// Bit number of "CAP_NET_RAW", "NET_RAW" or "net_raw"; nullopt for a name this build does not know.
std::optional<unsigned> CapabilityNumber(std::string_view name);
/// "CAP_NET_RAW"; "" for a number without a name.
std::string_view CapabilityName(unsigned number);

}  // namespace snap::runtime
