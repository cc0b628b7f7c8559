// snapshotterd: the command line. What it does is in daemon.cc.
#include <CLI/CLI.hpp>
#include <csignal>

#include "fs/base/fault.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "tools/snap/version.h"
#include "tools/snapshotterd/daemon.h"
#include "tools/snapshotterd/probe.h"

namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;

int Fail(const std::string& message, int status) {
  snap::log::Write(snap::log::Level::kError, message);
  return status;
}

int Run(int argc, char** argv) {
  snap::daemon::DaemonFlags flags;
  CLI::App app("Serves containerd's snapshots and diff services from a snap store", "snapshotterd");
  app.set_version_flag("--version", std::string("snapshotterd ") + snap::cli::kVersion,
                       "Print the version and end");
  app.add_option("--root", flags.root, "The store, instead of /var/lib/snap-store")->type_name("DIR");
  app.add_option("--address", flags.address, "The socket, instead of <run directory>/snapshotterd.sock")
      ->type_name("SOCKET");
  app.add_option("--config", flags.config, "The settings, instead of /etc/snap-store/config.toml")
      ->type_name("FILE");
  app.add_option("--log-format", flags.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
  snap::daemon::ProbeOptions probe;
  CLI::App* const probing =
      app.add_subcommand("probe", "Use a running daemon as an engine does, and say what works");
  probing->add_option("--address", probe.address, "The daemon's socket")->type_name("SOCKET");
  probing
      ->add_option("--containerd-address", probe.containerd_address,
                   "containerd's socket, for a layer to apply")
      ->type_name("SOCKET");
  std::string probe_format = "table";
  probing->add_option("--format", probe_format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->type_name("FORMAT");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return Fail(std::string(error.what()) + " ('snapshotterd --help' shows the options)", kUsage);
  }
  if (flags.log_format == "json") snap::log::SetFormat(snap::log::Format::kJson);
  if (probing->parsed()) {
    const snap::cli::DoctorChecks checks = snap::daemon::Probe(probe);
    const std::string text = snap::daemon::ProbeText(checks, probe_format == "json");
    if (!snap::sys::WriteAll(snap::FdRef(1), text).ok()) return kFailure;
    return snap::cli::HasProblem(checks) ? kFailure : 0;
  }
  const snap::Result<void> ended = snap::daemon::RunDaemon(flags, snap::cli::ProcessEnvironment());
  if (ended.ok()) return 0;
  return Fail(ended.error().message(), kFailure);
}

}  // namespace

int main(int argc, char** argv) {
  snap::log::SetProgram("snapshotterd");
  (void)std::signal(SIGPIPE, SIG_IGN);  // a log nobody reads must not end the daemon
  if (const auto armed = snap::fault::ArmFromEnvironment(); !armed.ok()) {
    return Fail(armed.error().message(), kFailure);
  }
  snap::sys::ClearUmask();
  snap::sys::RaiseOpenFileLimit();
  try {
    return Run(argc, argv);
  } catch (const std::exception& exception) {
    return Fail(exception.what(), kFailure);
  }
}
