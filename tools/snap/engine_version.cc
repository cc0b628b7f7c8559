#include "tools/snap/engine_version.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>

#include "fs/base/quote.h"
#include "fs/base/sys_program.h"

namespace snap::cli {
namespace {

constexpr std::chrono::seconds kPatience{5};
constexpr size_t kMaxOutput = 64U << 10U;

/// "2.1.9+unknown", "v1.7": a number, a dot, a number, and maybe another.
std::optional<EngineVersion> ParseWord(std::string_view word) {
  if (word.starts_with('v')) word.remove_prefix(1);
  EngineVersion version;
  size_t count = 0;
  for (unsigned* part : {&version.major, &version.minor, &version.patch}) {
    const auto read = std::from_chars(word.data(), word.data() + word.size(), *part);
    if (read.ec != std::errc()) break;
    ++count;
    word.remove_prefix(static_cast<size_t>(read.ptr - word.data()));
    if (!word.starts_with('.')) break;
    word.remove_prefix(1);
  }
  return count >= 2 ? std::optional(version) : std::nullopt;
}

}  // namespace

std::string EngineVersion::ToString() const { return fmt::format("{}.{}.{}", major, minor, patch); }

std::optional<EngineVersion> FindEngineVersion(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n,";
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(kBlanks), text.size());
    if (auto version = ParseWord(text.substr(0, end))) return version;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::nullopt;
}

Result<EngineVersion> AskEngineVersion(const std::string& program) {
  SNAP_TRY_SYS(const sys::ProgramResult answer,
               sys::RunProgram({program, "--version"}, kPatience, kMaxOutput), "run {} --version", program);
  if (answer.timed_out) {
    return MakeError(ErrorCode::kUnavailable, "{} --version did not answer in {} seconds", program,
                     kPatience.count());
  }
  if (answer.status.ShellCode() != 0) {
    return MakeError(ErrorCode::kUnavailable, "{} --version failed with status {}: {}", program,
                     answer.status.ShellCode(), Quote(std::string_view(answer.err).substr(0, 200)));
  }
  const std::optional<EngineVersion> version = FindEngineVersion(answer.out);
  if (!version) {
    return MakeError(ErrorCode::kUnavailable, "{} --version says no version: {}", program,
                     Quote(std::string_view(answer.out).substr(0, 200)));
  }
  return *version;
}

ContainerdTraits TraitsOf(const EngineVersion& containerd) {
  ContainerdTraits traits;
  traits.config_version = containerd >= EngineVersion{2, 0, 0} ? 3 : 2;
  traits.diff_proxy = containerd >= EngineVersion{1, 7, 0};
  traits.capabilities = containerd >= EngineVersion{1, 7, 23};
  traits.exports = containerd >= EngineVersion{2, 0, 0};
  traits.cri_transfer = containerd >= EngineVersion{2, 1, 0};
  traits.rebase = containerd >= EngineVersion{2, 2, 0};
  return traits;
}

}  // namespace snap::cli
