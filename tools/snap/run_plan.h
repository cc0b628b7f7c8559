// RunPlan: what the image says and what the user says, merged by Docker's rules into what is started.
// Rules: `docker run` reference and moby's merge of container and image configuration (behaviour, as of
// 2024). Invariant: pure; the image's configuration is hostile and can only fill in strings that the launcher
// resolves inside the container.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/oci_image.h"
#include "tools/snap/settings.h"

namespace snap::cli {

struct RunRequest {
  std::optional<std::string> entrypoint;  ///< one program; "" means: none, not even the image's
  std::vector<std::string> command;       ///< words behind the image
  std::vector<std::string> env_files;     ///< contents, in the order given
  std::vector<std::string> env;           ///< -e, in the order given
  std::string working_dir, user, hostname;
};

struct RunPlan {
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string working_dir;
  std::string user;
};

/// entrypoint + command; --entrypoint drops both the image's entrypoint and its command. Environment: PATH
/// and HOSTNAME, then the image's, then the files', then -e; the last value of a name counts. "NAME" alone
/// takes the host's value, and unsets the name when the host has none. Errors: kInvalidArgument (no command,
/// malformed variable, relative working directory).
Result<RunPlan> PlanRun(const oci::ImageConfig& image, const RunRequest& request, const Environment& host);

/// Lines NAME=value or NAME; empty lines and those that begin with '#' are skipped, blanks in front dropped.
/// Errors: kInvalidArgument with `name` and the line.
Result<std::vector<std::string>> ParseEnvFile(std::string_view text, std::string_view name);

inline constexpr std::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

}  // namespace snap::cli
