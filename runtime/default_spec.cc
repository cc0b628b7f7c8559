#include "runtime/default_spec.h"

#include <array>

#include "fs/base/json.h"
#include "fs/base/sys_process.h"
#include "runtime/container.h"

namespace snap::runtime {

std::string DefaultSpecJson(bool rootless) {
  using Ordered = nlohmann::ordered_json;
  const auto mount = [](const char* destination, const char* type, const char* source, std::vector<std::string> options) {
    Ordered out = {{"destination", destination}, {"type", type}, {"source", source}};
    if (!options.empty()) out["options"] = std::move(options);
    return out;
  };
  const std::vector<std::string> capabilities = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
  Ordered mounts = Ordered::array();
  mounts.push_back(mount("/proc", "proc", "proc", {}));
  mounts.push_back(mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
  std::vector<std::string> pts = {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"};
  if (!rootless) pts.emplace_back("gid=5");
  mounts.push_back(mount("/dev/pts", "devpts", "devpts", pts));
  mounts.push_back(mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}));
  mounts.push_back(mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
  if (rootless) mounts.push_back(mount("/sys", "none", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"}));
  else mounts.push_back(mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}));
  mounts.push_back(mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}));

  Ordered namespaces = Ordered::array();
  for (const char* type : {"pid", "network", "ipc", "uts", "mount", "cgroup"}) {
    if (rootless && std::string_view(type) == "network") continue;
    namespaces.push_back({{"type", type}});
  }
  if (rootless) namespaces.push_back({{"type", "user"}});

  Ordered linux_ = Ordered::object();
  if (rootless) {
    linux_["uidMappings"] = {{{"containerID", 0}, {"hostID", sys::EffectiveUid()}, {"size", 1}}};
    linux_["gidMappings"] = {{{"containerID", 0}, {"hostID", sys::EffectiveGid()}, {"size", 1}}};
  } else {
    linux_["resources"] = {{"devices", {{{"allow", false}, {"access", "rwm"}}}}};
  }
  linux_["namespaces"] = namespaces;
  linux_["maskedPaths"] = MaskedPaths();
  linux_["readonlyPaths"] = ReadOnlyPaths();

  const Ordered spec = {
      {"ociVersion", "1.2.1"},
      {"process",
       {{"terminal", true},
        {"user", {{"uid", 0}, {"gid", 0}}},
        {"args", {"sh"}},
        {"env", {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"}},
        {"cwd", "/"},
        {"capabilities", {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
        {"rlimits", {{{"type", "RLIMIT_NOFILE"}, {"hard", 1024}, {"soft", 1024}}}},
        {"noNewPrivileges", true}}},
      {"root", {{"path", "rootfs"}, {"readonly", true}}},
      {"hostname", "snap"},
      {"mounts", mounts},
      {"linux", linux_}};
  return spec.dump(1, '\t') + "\n";
}

}  // namespace snap::runtime
