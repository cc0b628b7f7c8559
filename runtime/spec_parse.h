// The parts of ParseSpec: see spec.h.
#pragma once

#include "runtime/spec.h"
#include "runtime/spec_reader.h"

namespace snap::runtime {

Result<ProcessSpec> ReadProcess(const SpecReader& in);
Result<void> ReadResources(const SpecReader& in, ResourcesSpec& out);

}  // namespace snap::runtime
