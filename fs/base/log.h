// Log lines for programs: one event, one line, key=value. Libraries return errors; only programs log.
#pragma once

#include <fmt/format.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace snap::log {

enum class Level { kDebug, kInfo, kWarning, kError };

/// Lowest level that is written; from SNAP_LOG=debug|info|warning|error or --debug. Default kWarning.
void SetLevel(Level level);
Level GetLevel();
/// "debug", "info", "warning", "error"; false for anything else (the level is unchanged).
bool SetLevelByName(std::string_view name);
/// Name in front of every line ("snap: warning: ...").
void SetProgram(std::string_view name);
/// How lines look; default kText. JSON: one object a line with time, level, program, message and the fields.
enum class Format { kText, kJson };
void SetFormat(Format format);
struct Field {
  std::string_view name;  ///< a plain word
  std::string value;
};
/// "snapshotterd: info: call ended method=Stat code=OK": values with blanks or the like are quoted.
void WriteFields(Level level, std::string_view message, std::span<const Field> fields);
/// Writes one line to standard error with one write(2). Threads: safe; lines never mix.
void Write(Level level, std::string_view message);

template <typename... Args>
void Debug(fmt::format_string<Args...> format, Args&&... args) {
  if (GetLevel() <= Level::kDebug) Write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Info(fmt::format_string<Args...> format, Args&&... args) {
  if (GetLevel() <= Level::kInfo) Write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
/// Says what happens next: "cannot start write-back early, flushing at the end".
template <typename... Args>
void Warning(fmt::format_string<Args...> format, Args&&... args) {
  if (GetLevel() <= Level::kWarning) Write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace snap::log
