#include "tools/snap/run_plan.h"

#include <algorithm>

#include "fs/base/quote.h"

namespace snap::cli {
namespace {

std::string_view NamePart(std::string_view variable) { return variable.substr(0, variable.find('=')); }

/// Replaces a variable where it stands or adds it at the end; "NAME" without '=' removes it.
void SetVariable(std::vector<std::string>& env, const std::string& variable) {
  const std::string_view name = NamePart(variable);
  const auto it =
      std::find_if(env.begin(), env.end(), [&](const std::string& v) { return NamePart(v) == name; });
  const bool unset = variable.find('=') == std::string::npos;
  if (it == env.end()) {
    if (!unset) env.push_back(variable);
  } else if (unset) {
    env.erase(it);
  } else {
    *it = variable;
  }
}

/// The user's spelling with the host's value where none is given.
Result<std::string> FromUser(const std::string& variable, const Environment& host) {
  if (NamePart(variable).empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "environment variable {} has no name", Quote(variable));
  }
  if (variable.find('\0') != std::string::npos) {
    return MakeError(ErrorCode::kInvalidArgument, "environment variable {} holds a NUL byte",
                     Quote(variable));
  }
  if (variable.find('=') != std::string::npos) return variable;
  const std::optional<std::string> value = host(variable);
  return value ? variable + "=" + *value : variable;
}

bool HoldsNul(const std::string& text) { return text.find('\0') != std::string::npos; }

}  // namespace

Result<std::vector<std::string>> ParseEnvFile(std::string_view text, std::string_view name) {
  std::vector<std::string> variables;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // some editors mark UTF-8
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t newline = text.find('\n');
    std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.empty() || line.front() == '#') continue;
    const std::string_view variable = NamePart(line);
    if (variable.empty()) {
      return MakeError(ErrorCode::kInvalidArgument, "{}:{}: environment variable {} has no name",
                       EscapeUnprintable(name), number, Quote(line));
    }
    if (variable.find_first_of(" \t") != std::string_view::npos) {
      return MakeError(ErrorCode::kInvalidArgument, "{}:{}: environment variable {} has blanks in its name",
                       EscapeUnprintable(name), number, Quote(variable));
    }
    variables.emplace_back(line);
  }
  return variables;
}

Result<RunPlan> PlanRun(const oci::ImageConfig& image, const RunRequest& request, const Environment& host) {
  RunPlan plan;
  std::vector<std::string> command = request.command;
  if (request.entrypoint) {
    if (!request.entrypoint->empty()) plan.args.push_back(*request.entrypoint);
  } else {
    plan.args = image.entrypoint;
    if (command.empty()) command = image.cmd;
  }
  plan.args.insert(plan.args.end(), command.begin(), command.end());
  if (plan.args.empty() || plan.args.front().empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "no command: the image names none and none was given");
  }
  if (std::any_of(plan.args.begin(), plan.args.end(), HoldsNul)) {
    return MakeError(ErrorCode::kInvalidArgument, "the command holds a NUL byte");
  }

  plan.env.push_back("PATH=" + std::string(kDefaultPath));
  if (!request.hostname.empty()) plan.env.push_back("HOSTNAME=" + request.hostname);
  for (const std::string& variable : image.env) {
    // What is not a variable cannot be passed on; the image's author made a mistake that Docker ignores, too.
    if (NamePart(variable).empty() || variable.find('=') == std::string::npos || HoldsNul(variable)) continue;
    SetVariable(plan.env, variable);
  }
  for (const std::string& text : request.env_files) {
    SNAP_TRY(const std::vector<std::string> variables, ParseEnvFile(text, "environment file"));
    for (const std::string& variable : variables) {
      SNAP_TRY(const std::string full, FromUser(variable, host));
      SetVariable(plan.env, full);
    }
  }
  for (const std::string& variable : request.env) {
    SNAP_TRY(const std::string full, FromUser(variable, host));
    SetVariable(plan.env, full);
  }

  if (!request.working_dir.empty() && !request.working_dir.starts_with('/')) {
    return MakeError(ErrorCode::kInvalidArgument, "working directory {} is not an absolute path",
                     Quote(request.working_dir));
  }
  plan.working_dir = request.working_dir.empty() ? image.working_dir : request.working_dir;
  if (!plan.working_dir.starts_with('/')) plan.working_dir.insert(0, 1, '/');
  plan.user = request.user.empty() ? image.user : request.user;
  if (HoldsNul(plan.working_dir) || HoldsNul(plan.user)) {
    return MakeError(ErrorCode::kInvalidArgument, "the image's working directory or user holds a NUL byte");
  }
  return plan;
}

}  // namespace snap::cli
