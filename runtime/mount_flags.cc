// A table of words. Invariant: of two options that contradict each other the later one counts, as with mount(8).
#include "runtime/mount_flags.h"

#include <linux/mount.h>
#include <sys/mount.h>

#include <string_view>

#include "fs/base/quote.h"

namespace snap::runtime {
namespace {

struct Attribute {
  std::string_view name;
  uint64_t set, clear;
};
// Each also exists with an "r" in front: recursively.
constexpr Attribute kAttributes[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    // The kinds of atime are one field of which all bits are cleared first.
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"norelatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
};

struct PropagationWord {
  std::string_view name;
  uint64_t propagation;
  bool recursive;
};
constexpr PropagationWord kPropagations[] = {
    {"private", MS_PRIVATE, false}, {"rprivate", MS_PRIVATE, true}, {"shared", MS_SHARED, false},         {"rshared", MS_SHARED, true},
    {"slave", MS_SLAVE, false},     {"rslave", MS_SLAVE, true},     {"unbindable", MS_UNBINDABLE, false}, {"runbindable", MS_UNBINDABLE, true},
};

// mount(8)'s names of superblock flags; the file system gets them as flags.
constexpr std::string_view kSuperFlags[] = {"sync", "dirsync", "lazytime", "mand"};
// Words without effect: the default, or the opposite of a flag that is off anyway.
constexpr std::string_view kNothing[] = {"defaults", "async", "nomand", "noiversion", "nolazytime", "loud", "silent", "remount"};

void Merge(uint64_t& set, uint64_t& clear, const Attribute& attribute) {
  clear = (clear & ~attribute.set) | attribute.clear;
  set = (set & ~attribute.clear) | attribute.set;
}

template <typename Words>
bool Has(const Words& words, std::string_view word) {
  for (const std::string_view known : words) {
    if (known == word) return true;
  }
  return false;
}

bool TakeAttribute(std::string_view option, MountFlags& flags) {
  for (const Attribute& attribute : kAttributes) {
    if (option == attribute.name) {
      Merge(flags.set, flags.clear, attribute);
      return true;
    }
    if (option.size() == attribute.name.size() + 1 && option[0] == 'r' && option.substr(1) == attribute.name) {
      Merge(flags.set, flags.clear, attribute);
      Merge(flags.set_recursive, flags.clear_recursive, attribute);
      return true;
    }
  }
  return false;
}

bool TakePropagation(std::string_view option, MountFlags& flags) {
  for (const PropagationWord& word : kPropagations) {
    if (option != word.name) continue;
    flags.propagation = word.propagation;
    flags.propagate_recursively = word.recursive;
    return true;
  }
  return false;
}

}  // namespace

Result<MountFlags> ParseMountFlags(const MountSpec& mount) {
  MountFlags flags;
  for (const std::string& option : mount.options) {
    if (option == "bind" || option == "rbind") {
      flags.bind = true;
      flags.recursive = flags.recursive || option == "rbind";
    } else if (option == "tmpcopyup") {
      flags.copy_up = true;
    } else if (option == "idmap" || option == "ridmap") {
      flags.idmapped = true;
      flags.idmapped_recursively = option == "ridmap";
    } else if (option.empty() || Has(kNothing, option) || TakeAttribute(option, flags) || TakePropagation(option, flags)) {
      // taken
    } else if (Has(kSuperFlags, option)) {
      flags.data.emplace_back(option, std::nullopt);
    } else if (const size_t equals = option.find('='); equals != std::string::npos) {
      flags.data.emplace_back(option.substr(0, equals), option.substr(equals + 1));
    } else {
      flags.data.emplace_back(option, std::nullopt);
    }
  }
  if (mount.type == "bind") flags.bind = true;
  const auto refuse = [&](std::string_view option, std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, "mount {}: option {}: {}", Quote(mount.destination), Quote(option), why);
  };
  if (flags.copy_up && mount.type != "tmpfs") return refuse("tmpcopyup", "only a tmpfs can have it");
  if (flags.bind && !flags.data.empty()) return refuse(flags.data.front().first, "a bind mount has no options of a file system");
  const bool mapped = !mount.uid_mappings.empty() || !mount.gid_mappings.empty();
  if (mapped && (mount.uid_mappings.empty() || mount.gid_mappings.empty())) {
    return refuse("idmap", "it needs mappings of both users and groups");
  }
  if (mapped) flags.idmapped = true;
  if (flags.idmapped && !flags.bind) return refuse("idmap", "only a bind mount can have it");
  return flags;
}

uint64_t PropagationFlags(Propagation propagation) {
  switch (propagation) {
    case Propagation::kUnset: return 0;
    case Propagation::kPrivate: return MS_PRIVATE;
    case Propagation::kRPrivate: return MS_PRIVATE | MS_REC;
    case Propagation::kShared: return MS_SHARED;
    case Propagation::kRShared: return MS_SHARED | MS_REC;
    case Propagation::kSlave: return MS_SLAVE;
    case Propagation::kRSlave: return MS_SLAVE | MS_REC;
    case Propagation::kUnbindable: return MS_UNBINDABLE;
    case Propagation::kRUnbindable: return MS_UNBINDABLE | MS_REC;
  }
  return 0;
}

}  // namespace snap::runtime
