// Source: runtime-spec features.md, features-linux.md. What depends on the host is asked of the host.
#include "runtime/features.h"

#include <linux/seccomp.h>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_seccomp.h"
#include "runtime/capabilities.h"

namespace snap::runtime {

Json FeaturesJson() {
  Json capabilities = Json::array();
  for (unsigned number = 0; !CapabilityName(number).empty(); ++number) capabilities.push_back(CapabilityName(number));
  Json flags = Json::array(), known_flags = Json::array();
  const std::pair<const char*, unsigned> all_flags[] = {{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
                                                        {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
                                                        {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
                                                        {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1U << 5U}};
  for (const auto& [name, bit] : all_flags) {
    known_flags.push_back(name);
    if (sys::HasSeccompFlag(bit)) flags.push_back(name);
  }
  const SysResult<std::string> apparmor = sys::ReadFileAt(FdRef::Cwd(), "/sys/module/apparmor/parameters/enabled", 16);
  const bool selinux = sys::StatAt(FdRef::Cwd(), "/sys/fs/selinux/enforce").ok();
  Json options = Json::array();
  for (const char* option :
       {"acl", "async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "iversion", "lazytime", "loud", "mand",
        "noacl", "noatime", "nodev", "nodiratime", "noexec", "noiversion", "nolazytime", "nomand", "norelatime", "nostrictatime",
        "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "rdiratime", "relatime", "remount", "rexec", "rnoatime", "rnodev",
        "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime", "rnosuid", "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw",
        "rshared", "rslave", "rstrictatime", "rsuid", "rsymfollow", "runbindable", "rw", "shared", "silent", "slave", "strictatime",
        "suid", "symfollow", "sync", "tmpcopyup", "unbindable", "idmap"}) {
    options.push_back(option);
  }
  return {{"ociVersionMin", "1.0.0"},
          {"ociVersionMax", "1.2.1"},
          {"hooks", {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}},
          {"mountOptions", options},
          {"linux",
           {{"namespaces", {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}},
            {"capabilities", capabilities},
            {"cgroup",
             {{"v1", true}, {"v2", sys::FsOpen("cgroup2").ok()}, {"systemd", false}, {"systemdUser", false}, {"rdma", true}}},
            {"seccomp",
             {{"enabled", sys::HasSeccompFlag(0) || !flags.empty()},
              {"actions",
               {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
                "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"}},
              {"operators",
               {"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"}},
              {"archs",
               {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",
                "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_PPC",
                "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_X32",
                "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"}},
              {"knownFlags", known_flags},
              {"supportedFlags", flags}}},
            {"apparmor", {{"enabled", apparmor.ok() && apparmor->starts_with('Y')}}},
            {"selinux", {{"enabled", selinux}}},
            {"intelRdt", {{"enabled", false}}},
            {"mountExtensions", {{"idmap", {{"enabled", true}}}}}}}};
}

}  // namespace snap::runtime
