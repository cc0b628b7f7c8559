// Containers for tests: a tiny rootfs with the probe in it, and launches whose output is captured.
// All tests of the program run in a mount namespace of their own whose mounts are *shared*, as on a systemd host: a
// mount that propagated out of a container would be seen, and nothing here can disturb the machine.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/json.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_process.h"
#include "runtime/container.h"

namespace snap::runtime {

struct Outcome {
  std::optional<LaunchError> launch_error;
  sys::ExitStatus status;
  std::string out;          ///< standard output and error
  std::vector<Json> lines;  ///< the JSON objects of `out`
  std::string Message() const { return launch_error ? launch_error->error.message() : ""; }
  int exit_code() const { return launch_error ? launch_error->exit_code : status.ShellCode(); }
  /// The first object of the verb (and argument); a failure and null when there is none.
  Json Of(const char* verb, const char* arg = nullptr) const;
};

/// A fixture with one rootfs, bin/probe in it, and checks that nothing is left: no mount, no process, no descriptor.
class ContainerTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// A spec that runs the probe with these words (verbs separated by ",").
  static ContainerSpec Probe(std::vector<std::string> words);
  /// A detached clone of the rootfs.
  UniqueFd Tree() const;
  /// Launches, waits, captures.
  Outcome Run(const ContainerSpec& spec) { return Run(spec, Tree()); }
  Outcome Run(const ContainerSpec& spec, UniqueFd rootfs);
  Outcome RunProbe(std::vector<std::string> words) { return Run(Probe(std::move(words))); }

  void MakeDir(const std::string& path) const;
  void WriteFile(const std::string& path, std::string_view text, mode_t mode = 0644) const;
  void Link(const std::string& target, const std::string& path) const;
  /// Text of a file of the test's directory; nullopt when missing.
  std::optional<std::string> Read(const std::string& path) const;
  void InstallProbe(const std::string& path) const;

  std::string path_;  ///< the test's directory; the rootfs is root/ in it, and canary/ must stay as it is
  UniqueFd dir_;

 private:
  std::vector<uint64_t> mounts_before_;
  size_t fds_before_ = 0;
};

}  // namespace snap::runtime
