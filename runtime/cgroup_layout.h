// Which cgroup hierarchies this host has, and where this process is in them. Source: cgroups(7), proc(5).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"

namespace snap::runtime {

struct CgroupLayout {
  /// A v1 hierarchy.
  struct Hierarchy {
    std::string name;                      ///< of its directory: "memory", "cpu,cpuacct", "systemd"
    std::vector<std::string> controllers;  ///< {"cpu", "cpuacct"}, or {"name=systemd"}
    std::string mount_point;
    std::string own_path;                  ///< of this process: "/" or "/user.slice"
  };
  struct Unified {
    std::string mount_point, own_path;
  };
  std::vector<Hierarchy> hierarchies;  ///< none on a host with the unified hierarchy alone
  std::optional<Unified> unified;      ///< hybrid hosts have it too, without controllers
  bool IsUnified() const { return hierarchies.empty() && unified.has_value(); }
};

Result<CgroupLayout> ReadCgroupLayout();
/// The same from the texts of /proc/self/mountinfo and /proc/self/cgroup. Pure.
CgroupLayout ParseCgroupLayout(std::string_view mountinfo, std::string_view cgroup);

}  // namespace snap::runtime
