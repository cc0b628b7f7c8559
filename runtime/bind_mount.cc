// Docker's -v syntax. Invariant: a parsed target is absolute, names no '..' and is not the root itself.
#include <string_view>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "runtime/container.h"

namespace snap::runtime {
namespace {

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

}  // namespace

Result<BindMount> ParseBindMount(std::string_view text) {
  const auto invalid = [&](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, "parse bind mount {}: {}", Quote(text), why);
  };
  if (text.find('\0') != std::string_view::npos) return invalid("it holds a NUL byte");
  const std::vector<std::string_view> parts = Split(text, ':');
  if (parts.size() < 2 || parts.size() > 3) return invalid("expected SOURCE:TARGET[:OPTIONS]");
  BindMount bind;
  bind.source = parts[0];
  bind.target = parts[1];
  if (!bind.source.starts_with('/')) return invalid("the source must be an absolute path");
  if (!bind.target.starts_with('/')) return invalid("the target must be an absolute path");
  const Result<RelPath> target = RelPath::Parse(bind.target);
  if (!target.ok()) return invalid(target.error().message());
  if (target->IsRoot()) return invalid("the target cannot be '/'");
  if (parts.size() == 2) return bind;

  bool mode_given = false;
  bool kind_given = false;
  for (const std::string_view option : Split(parts[2], ',')) {
    bool* given = nullptr;
    if (option == "ro" || option == "rw") {
      given = &mode_given;
      bind.read_only = option == "ro";
    } else if (option == "rbind" || option == "bind") {
      given = &kind_given;
      bind.recursive = option == "rbind";
    } else {
      return invalid("option " + Quote(option) + " is not one of ro, rw, rbind, bind");
    }
    if (*given) return invalid("option " + Quote(option) + " repeats or contradicts an earlier one");
    *given = true;
  }
  return bind;
}

}  // namespace snap::runtime
