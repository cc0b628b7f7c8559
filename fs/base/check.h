// SNAP_CHECK: stops the program on a bug of ours. Never for input: a crash here strands somebody's container.
#pragma once

namespace snap {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace snap

#define SNAP_CHECK(condition)                                      \
  do {                                                             \
    if (!(condition)) [[unlikely]] {                               \
      ::snap::CheckFailed(#condition, __FILE__, __LINE__);         \
    }                                                              \
  } while (false)
