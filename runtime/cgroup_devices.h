// Which devices a container may use: rules in order, of which the last that matches decides. Source: runtime-spec config-linux.md
// "Allowed Device list", kernel admin-guide/cgroup-v1/devices.rst, BPF_PROG_TYPE_CGROUP_DEVICE.
#pragma once

#include <linux/bpf.h>

#include <string>
#include <vector>

#include "fs/base/result.h"
#include "runtime/spec.h"

namespace snap::runtime {

/// mknod of anything; null, zero, full, random, urandom, tty, console, ptys: what every container has.
const std::vector<DeviceRule>& DefaultDeviceRules();
/// v1: all rules are taken back first. Errors: of the writes.
Result<void> WriteDeviceRules(const std::string& directory, const std::vector<DeviceRule>& rules);
/// v2: a program takes the place of the one that is there. Errors: kUnsupported without BPF; kPermission.
Result<void> AttachDeviceFilter(const std::string& directory, const std::vector<DeviceRule>& rules);
/// The program: 1 allows, 0 denies. Pure.
std::vector<bpf_insn> BuildDeviceFilter(const std::vector<DeviceRule>& rules);

}  // namespace snap::runtime
