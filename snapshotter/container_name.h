// Names for containers that were given none: an adjective and a bird, easy to say and to type.
#pragma once

#include <string>

namespace snap {

/// "calm-heron"; `attempt` > 0 adds a number, so that a loop over attempts always ends.
std::string RandomContainerName(unsigned attempt);

}  // namespace snap
