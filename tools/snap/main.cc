// Brings the process into a known state, then hands over to the command line.
#include <fcntl.h>

#include "fs/base/fault.h"
#include "fs/base/log.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "tools/snap/app.h"

namespace {

/// A closed standard stream would give its number to the next file opened, and that file would get our
/// messages.
bool OpenStandardStreams() {
  for (const int fd : {0, 1, 2}) {
    if (snap::sys::FStat(snap::FdRef(fd)).ok()) continue;
    auto null = snap::sys::OpenAt(snap::FdRef::Cwd(), "/dev/null", O_RDWR);
    if (!null.ok()) return false;
    if (null->get() == fd) {
      // Given the lowest free number it is the right one already; like the other streams it outlives an exec.
      if (!snap::sys::KeepOverExec(*null).ok()) return false;
      (void)null->Release();  // open until the process ends
    } else if (!snap::sys::DupTo(*null, fd).ok()) {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int kUnusable = 125;
  if (!OpenStandardStreams()) return kUnusable;
  snap::log::SetProgram("snap");
  if (const auto armed = snap::fault::ArmFromEnvironment(); !armed.ok()) {
    snap::log::Write(snap::log::Level::kError, armed.error().message());
    return kUnusable;
  }
  snap::sys::ClearUmask();
  snap::sys::RaiseOpenFileLimit();
  return snap::cli::RunSnap({argv + (argc > 0 ? 1 : 0), argv + argc});
}
