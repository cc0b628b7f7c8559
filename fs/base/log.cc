// No buffering and no lock: a line is formatted whole and written once.
#include "fs/base/log.h"

#include <atomic>
#include <string>

#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/time.h"

namespace snap::log {
namespace {

std::atomic<Level> g_level{Level::kWarning};
std::atomic<Format> g_format{Format::kText};
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

void SetFormat(Format format) { g_format.store(format, std::memory_order_relaxed); }

void Write(Level level, std::string_view message) { WriteFields(level, message, {}); }

void WriteFields(Level level, std::string_view message, std::span<const Field> fields) {
  const std::string_view level_name = kNames[static_cast<size_t>(level)];
  std::string line;
  if (g_format.load(std::memory_order_relaxed) == Format::kJson) {
    Json object = {
        {"time", NowRfc3339()}, {"level", level_name}, {"program", Program()}, {"message", message}};
    for (const Field& field : fields) object[std::string(field.name)] = field.value;
    line = DumpJson(object) + "\n";
  } else {
    line = fmt::format("{}: {}: {}", Program(), level_name, message);
    for (const Field& field : fields) {
      const bool plain = !field.value.empty() && field.value.find_first_of(" =\"'") == std::string::npos &&
                         EscapeUnprintable(field.value) == field.value;
      line += fmt::format(" {}={}", field.name, plain ? field.value : Quote(field.value));
    }
    line += '\n';
  }
  (void)sys::WriteAll(FdRef(2), line);  // nowhere left to report a broken standard error
}

}  // namespace snap::log
