// The canary: a client that does with a running daemon what an engine does with it.
#pragma once

#include <string>

#include "tools/snap/doctor_checks.h"

namespace snap::daemon {

struct ProbeOptions {
  std::string address = "/run/snap-store/snapshotterd.sock";
  std::string containerd_address = "/run/containerd/containerd.sock";
};

/// Takes snapshots, mounts them where nobody sees it, writes and reads through them, and applies a layer of
/// one file that it lends to containerd. Removes all of it again, also after a failure; what cannot be
/// removed is a problem that names it. Cost: some twenty calls, each with a deadline. Needs the right to
/// mount. Threads: one at a time.
cli::DoctorChecks Probe(const ProbeOptions& options);

/// For people, or as DoctorJson.
std::string ProbeText(const cli::DoctorChecks& checks, bool json);

}  // namespace snap::daemon
