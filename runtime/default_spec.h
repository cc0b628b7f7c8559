// The config.json to begin with that `spec` writes: runc's defaults, as tools expect them.
#pragma once

#include <string>

namespace snap::runtime {

/// `rootless`: with a user namespace of the caller's own id, without what needs rights.
std::string DefaultSpecJson(bool rootless);

}  // namespace snap::runtime
