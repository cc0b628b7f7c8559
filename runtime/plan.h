// Everything that a launch needs, decided and opened before the clone: the parent may fail, allocate and look things
// up; the child only walks what is here. Invariant: constant from the clone on; the child's copy is its fork's memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/fault.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "runtime/container.h"
#include "runtime/rootfs.h"
#include "runtime/terminal.h"
#include "runtime/user.h"

namespace snap::runtime {

struct Plan {
  Plan() = default;
  Plan(const Plan&) = delete;  // argv and envp point into the strings
  Plan& operator=(const Plan&) = delete;

  uint64_t clone_flags = 0;  // CLONE_NEW*
  RootfsPlan rootfs;
  Pty terminal;         // empty without one
  bool attach_staging = false;  // a test wants the way of kernels below 6.15
  UniqueFd launcher;    // pidfd of this process: the child sees its death
  UniqueFd report_in;   // the parent's end
  UniqueFd report_out;  // the child's end

  std::string hostname;
  bool loopback = false;
  std::string working_dir;
  bool read_only_rootfs = false;
  bool no_new_privileges = true;
  UserIds user;
  uint64_t bounding = 0;  // capability masks
  uint64_t permitted = 0;

  std::vector<const char*> masked_paths, read_only_paths;

  std::vector<std::string> args, env, candidates;
  bool searched = false;                // args[0] has no '/': the candidates are PATH's
  std::vector<char*> argv, envp;        // into the above, null-terminated
  std::vector<const char*> exec_paths;  // into candidates

  // An injected fault for the child: at which step (index of ChildSteps), and what. -1: none.
  int fault_step = -1;
  fault::Order fault;
};

/// Fills `plan`. Errors: kInvalidArgument and kNotFound for what the spec asks; otherwise of the system calls.
/// Side effects on the host: see PlanRootfs.
Result<void> Prepare(const ContainerSpec& spec, UniqueFd rootfs, Plan& plan);

}  // namespace snap::runtime
