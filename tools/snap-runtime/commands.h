// The commands of snap-runtime: which flags they take, and what they do with them.
#pragma once

#include <span>
#include <string_view>

#include "runtime/oci_commands.h"
#include "tools/snap-runtime/arguments.h"

namespace snap::runtime_cli {

struct Command {
  std::string_view name, operands, summary;
  std::span<const Flag> flags;
  size_t least_operands = 0;
  size_t most_operands = SIZE_MAX;
  /// Runs something of a container: the program's own file must be protected from it.
  bool launches = false;
  /// The exit status.
  Result<int, runtime::LaunchError> (*run)(const runtime::RuntimeOptions& options, const Arguments& arguments) = nullptr;
};
std::span<const Command> Commands();

}  // namespace snap::runtime_cli
