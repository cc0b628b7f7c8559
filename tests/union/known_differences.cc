#include "tests/union/known_differences.h"

#include <string_view>

namespace snap::test {
namespace {

bool g_on_tmpfs = false;
constexpr const char* kTmpfsHoles = "tmpfs: reading a hole through a mapping or a pipe makes it data";

}  // namespace

void SetCircumstances(bool on_tmpfs) { g_on_tmpfs = on_tmpfs; }

const char* MayDiffer(const Operation& operation, const Outcome& kernel, const Outcome& other) {
  (void)kernel;
  (void)other;
  if (g_on_tmpfs && operation.kind == Kind::kSeek) return kTmpfsHoles;
  return nullptr;
}

const char* MayDiffer(const std::string& field, const FileRecord& kernel, const FileRecord& other) {
  (void)kernel;
  (void)other;
  if (g_on_tmpfs && field == "extents") return kTmpfsHoles;
  return nullptr;
}

const char* MayContradict(const std::string& program, const std::string& contradiction) {
  if (program == "kernel" && contradiction.starts_with("d_ino ")) {
    return "overlayfs lists another number for a link to a copied-up file in a directory that nothing was "
           "copied up into";
  }
  return nullptr;
}

}  // namespace snap::test
