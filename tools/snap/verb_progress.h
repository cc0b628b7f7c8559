// The progress that a verb shows on standard error, as settings and terminal want it.
#pragma once

#include <memory>

#include "tools/snap/context.h"
#include "tools/snap/progress.h"

namespace snap::cli {

/// nullptr when none is to be shown. `context` must outlive it.
std::unique_ptr<ProgressView> MakeProgress(Context& context, bool quiet);

}  // namespace snap::cli
