// The one place where the program ends itself.
#include "fs/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace snap {

void CheckFailed(const char* condition, const char* file, int line) {
  (void)std::fprintf(stderr, "snap: internal error: check failed: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace snap
