// glibc 2.36 wraps the new mount calls; the flags it lacks come from linux/mount.h.
#include "fs/base/sys_mount.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "fs/base/sys_file.h"

// <sys/mount.h> and <linux/mount.h> define the same names; the calls come from the kernel's numbers instead.
extern "C" int mount(const char*, const char*, const char*, unsigned long, const void*) noexcept;
extern "C" int umount2(const char*, int) noexcept;

namespace snap::sys {
namespace {

SysResult<void> Check(long result) {
  if (result < 0) return LastErrno();
  return {};
}

SysResult<UniqueFd> CheckFd(long result) {
  if (result < 0) return LastErrno();
  return UniqueFd(static_cast<int>(result));
}

SysResult<void> FsConfig(FdRef context, unsigned command, const char* key, const void* value, int aux) {
  return Check(::syscall(SYS_fsconfig, context.get(), command, key, value, aux));
}

// mountinfo writes space, tab, newline and backslash as \ooo (proc(5)).
std::string UnescapeOctal(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string_view NextField(std::string_view& line) {
  const size_t space = line.find(' ');
  const std::string_view field = line.substr(0, space);
  line.remove_prefix(space == std::string_view::npos ? line.size() : space + 1);
  return field;
}

uint64_t ParseNumber(std::string_view text) {
  uint64_t value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);  // the kernel writes decimal numbers
  return value;
}

}  // namespace

SysResult<UniqueFd> FsOpen(const char* fs_type) { return CheckFd(::syscall(SYS_fsopen, fs_type, FSOPEN_CLOEXEC)); }

SysResult<void> FsConfigString(FdRef context, const char* key, const char* value) {
  return FsConfig(context, FSCONFIG_SET_STRING, key, value, 0);
}
SysResult<void> FsConfigFlag(FdRef context, const char* key) {
  return FsConfig(context, FSCONFIG_SET_FLAG, key, nullptr, 0);
}
SysResult<void> FsConfigFd(FdRef context, const char* key, FdRef value) {
  return FsConfig(context, FSCONFIG_SET_FD, key, nullptr, value.get());
}
SysResult<void> FsConfigCreate(FdRef context) {
  return FsConfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
}

SysResult<UniqueFd> FsMount(FdRef context, uint64_t attributes) {
  return CheckFd(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
}

std::string FsContextMessages(FdRef context) {
  std::string out;
  char buffer[1024];
  for (;;) {
    const ssize_t size = ::read(context.get(), buffer, sizeof buffer);
    if (size <= 0) return out;
    // Each message is "<level> <text>".
    std::string_view message(buffer, static_cast<size_t>(size));
    if (message.size() > 2 && message[1] == ' ') message.remove_prefix(2);
    while (message.ends_with('\n')) message.remove_suffix(1);
    if (!out.empty()) out += "; ";
    out += message;
  }
}

SysResult<UniqueFd> OpenTree(FdRef dir, const char* path, unsigned flags) {
  return CheckFd(::syscall(SYS_open_tree, dir.get(), path, flags | OPEN_TREE_CLOEXEC));
}

SysResult<void> MoveMountTo(FdRef mount, FdRef target) {
  return Check(::syscall(SYS_move_mount, mount.get(), "", target.get(), "",
                         MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

SysResult<void> MoveMountAt(FdRef mount, FdRef dir, const char* path) {
  return Check(::syscall(SYS_move_mount, mount.get(), "", dir.get(), path, MOVE_MOUNT_F_EMPTY_PATH));
}

SysResult<void> MountSetAttr(FdRef mount, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  attributes.propagation = propagation;
  return Check(::syscall(SYS_mount_setattr, mount.get(), "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0),
                         &attributes, sizeof attributes));
}

SysResult<void> MountSetIdmap(FdRef mount, FdRef user_namespace) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<__u64>(user_namespace.get());
  return Check(::syscall(SYS_mount_setattr, mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes));
}

SysResult<void> Mount(const char* source, const char* target, const char* fs_type, unsigned long flags,
                      const char* data) {
  return Check(::mount(source, target, fs_type, flags, data));
}

SysResult<void> Unmount(const char* path, int flags) { return Check(::umount2(path, flags)); }

SysResult<void> PivotRoot(const char* new_root, const char* put_old) {
  return Check(::syscall(SYS_pivot_root, new_root, put_old));
}

SysResult<std::vector<MountInfo>> ListMounts() {
  constexpr size_t kMaxBytes = size_t{256} << 20U;
  SNAP_TRY(const std::string text, ReadFileAt(FdRef::Cwd(), "/proc/self/mountinfo", kMaxBytes));
  std::vector<MountInfo> mounts;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    MountInfo info;
    info.id = ParseNumber(NextField(line));
    info.parent_id = ParseNumber(NextField(line));
    (void)NextField(line);  // major:minor
    info.root = UnescapeOctal(NextField(line));
    info.mount_point = UnescapeOctal(NextField(line));
    while (!line.empty() && NextField(line) != "-") {
    }
    info.fs_type = UnescapeOctal(NextField(line));
    info.source = UnescapeOctal(NextField(line));
    info.super_options = std::string(line);
    mounts.push_back(std::move(info));
  }
  return mounts;
}

}  // namespace snap::sys
