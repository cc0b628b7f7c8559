// What this runtime can do, as the specification's features.md has it.
#pragma once

#include "fs/base/json.h"

namespace snap::runtime {

Json FeaturesJson();

}  // namespace snap::runtime
