// The table is the kernel's numbering (linux/capability.h), the position is the bit. It is ABI and only grows.
#include "runtime/capabilities.h"

#include <linux/capability.h>

#include <array>
#include <string>

#include "runtime/container.h"

namespace snap::runtime {
namespace {

constexpr std::array<std::string_view, 41> kNames = {
    "CAP_CHOWN",           "CAP_DAC_OVERRIDE",   "CAP_DAC_READ_SEARCH",   "CAP_FOWNER",
    "CAP_FSETID",          "CAP_KILL",           "CAP_SETGID",            "CAP_SETUID",
    "CAP_SETPCAP",         "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",       "CAP_NET_RAW",        "CAP_IPC_LOCK",          "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",      "CAP_SYS_RAWIO",      "CAP_SYS_CHROOT",        "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",       "CAP_SYS_ADMIN",      "CAP_SYS_BOOT",          "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",    "CAP_SYS_TIME",       "CAP_SYS_TTY_CONFIG",    "CAP_MKNOD",
    "CAP_LEASE",           "CAP_AUDIT_WRITE",    "CAP_AUDIT_CONTROL",     "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",    "CAP_MAC_ADMIN",      "CAP_SYSLOG",            "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",   "CAP_AUDIT_READ",     "CAP_PERFMON",           "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE"};
static_assert(kNames.size() == CAP_CHECKPOINT_RESTORE + 1);

constexpr uint64_t Bit(unsigned number) { return uint64_t{1} << number; }

}  // namespace

std::optional<unsigned> CapabilityNumber(std::string_view name) {
  std::string upper;
  for (const char c : name) upper += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  if (!upper.starts_with("CAP_")) upper.insert(0, "CAP_");
  for (unsigned number = 0; number < kNames.size(); ++number) {
    if (kNames[number] == upper) return number;
  }
  return std::nullopt;
}

std::string_view CapabilityName(unsigned number) { return number < kNames.size() ? kNames[number] : ""; }

uint64_t DefaultCapabilities() {
  return Bit(CAP_CHOWN) | Bit(CAP_DAC_OVERRIDE) | Bit(CAP_FSETID) | Bit(CAP_FOWNER) | Bit(CAP_MKNOD) |
         Bit(CAP_NET_RAW) | Bit(CAP_SETGID) | Bit(CAP_SETUID) | Bit(CAP_SETFCAP) | Bit(CAP_SETPCAP) |
         Bit(CAP_NET_BIND_SERVICE) | Bit(CAP_SYS_CHROOT) | Bit(CAP_KILL) | Bit(CAP_AUDIT_WRITE);
}

}  // namespace snap::runtime
