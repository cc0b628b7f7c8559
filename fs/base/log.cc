// No buffering and no lock: a line is formatted whole and written once.
#include "fs/base/log.h"

#include <atomic>
#include <string>

#include "fs/base/sys_file.h"

namespace snap::log {
namespace {

std::atomic<Level> g_level{Level::kWarning};
std::string& Program() {
  static std::string name = "snap";
  return name;
}

constexpr std::string_view kNames[] = {"debug", "info", "warning", "error"};

}  // namespace

void SetLevel(Level level) { g_level.store(level, std::memory_order_relaxed); }
Level GetLevel() { return g_level.load(std::memory_order_relaxed); }

bool SetLevelByName(std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) {
      SetLevel(static_cast<Level>(i));
      return true;
    }
  }
  return false;
}

void SetProgram(std::string_view name) { Program() = name; }

void Write(Level level, std::string_view message) {
  const std::string line =
      fmt::format("{}: {}: {}\n", Program(), kNames[static_cast<size_t>(level)], message);
  (void)sys::WriteAll(FdRef(2), line);  // nowhere left to report a broken standard error
}

}  // namespace snap::log
