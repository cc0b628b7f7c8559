// Session, terminal and descriptors. Invariant: what the program inherits is 0, 1, 2 and what the caller asked to preserve; all else is
// closed, not only marked.
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_seqpacket.h"
#include "fs/base/sys_terminal.h"
#include "runtime/child_steps.h"

namespace snap::runtime::steps {

SysResult<void> StartSession(Child& child) {
  SNAP_TRY_VOID(sys::NewSession());
  if (!child.plan.terminal.peer) return {};
  return sys::SetControllingTerminal(child.plan.terminal.peer);
}

// A terminal of the container's own devpts, whose master goes to the caller.
SysResult<void> OpenConsole(Child& child) {
  if (!child.plan.console_socket) return {};
  Pty& pty = child.plan.terminal;
  if (child.plan.devpts_mount >= 0) {
    SNAP_TRY(pty.master, sys::OpenAt(child.plan.made[static_cast<size_t>(child.plan.devpts_mount)], "ptmx",
                                     O_RDWR | O_NOCTTY | O_NOFOLLOW));
  } else {
    SNAP_TRY(pty.master, sys::OpenAt(FdRef::Cwd(), "/dev/ptmx", O_RDWR | O_NOCTTY));  // of a container that runs
  }
  SNAP_TRY_VOID(sys::UnlockPty(pty.master));
  SNAP_TRY(pty.peer, sys::OpenPtyPeer(pty.master));
  SNAP_TRY_VOID(sys::FChown(pty.peer, child.plan.user.uid, static_cast<gid_t>(-1)));
  if (child.plan.terminal_size.ws_row != 0 || child.plan.terminal_size.ws_col != 0) {
    SNAP_TRY_VOID(sys::SetWindowSize(pty.master, child.plan.terminal_size));
  }
  if (child.plan.devpts_mount >= 0) {
    SNAP_TRY(const UniqueFd target, OpenOrMakeTarget(child.Root(), "dev/console", TargetKind::kFile, Symlinks::kRefuse));
    SNAP_TRY(const UniqueFd bound, sys::OpenTree(pty.peer, "", OPEN_TREE_CLONE | AT_EMPTY_PATH));
    SNAP_TRY_VOID(sys::MoveMountTo(bound, target));
  }
  constexpr std::string_view kName = "/dev/ptmx";
  const std::array<FdRef, 1> master = {pty.master};
  SNAP_TRY_VOID(sys::SendPacket(child.plan.console_socket, std::as_bytes(std::span(kName)), master));
  pty.master.Reset();
  return sys::SetControllingTerminal(pty.peer);
}

namespace {

/// Pipes of an engine are its own, and a program that is not root could not open them by name. A device that others use too keeps its
/// owner, and so does what may not be given away.
SysResult<void> GiveStream(FdRef stream, uid_t uid) {
  SNAP_TRY(const struct stat status, sys::FStat(stream));
  if (status.st_uid == uid || S_ISCHR(status.st_mode)) return {};
  const SysResult<void> given = sys::FChown(stream, uid, static_cast<gid_t>(-1));
  const bool stays = !given.ok() && (given.error() == EPERM || given.error() == EINVAL || given.error() == EROFS);
  return stays ? SysResult<void>() : given;
}

}  // namespace

SysResult<void> StandardStreams(Child& child) {
  for (int fd = 0; fd < 3 && child.plan.gives_streams && !child.plan.terminal.peer; ++fd) {
    SNAP_TRY_VOID(GiveStream(FdRef(fd), child.plan.user.uid));
  }
  for (int fd = 0; fd < 3; ++fd) {
    SNAP_TRY_VOID(child.plan.terminal.peer ? sys::DupTo(child.plan.terminal.peer, fd) : sys::KeepOverExec(FdRef(fd)));
  }
  for (unsigned i = 0; i < child.plan.preserved_fds; ++i) {
    const SysResult<void> kept = sys::KeepOverExec(FdRef(3 + static_cast<int>(i)));
    if (!kept.ok() && !(kept.error() == EBADF)) return kept;  // fewer than the caller said
  }
  return {};
}

// What stays is close-on-exec, and none of it is a way to a file of the host.
SysResult<void> CloseDescriptors(Child& child) {
  std::array<unsigned, 8> kept{};
  size_t count = 0;
  for (const UniqueFd* fd : {&child.plan.report_out, &child.plan.launcher, &child.plan.start_listener, &child.plan.go_in,
                             &child.plan.hook_state, &child.label_file, &child.plan.seccomp_socket, &child.plan.seccomp_state}) {
    if (*fd) kept[count++] = static_cast<unsigned>(fd->get());
  }
  const std::span<unsigned> sorted = std::span(kept).first(std::min(count, kept.size()));
  for (size_t i = 1; i < sorted.size(); ++i) {
    for (size_t j = i; j > 0 && sorted[j] < sorted[j - 1]; --j) std::swap(sorted[j], sorted[j - 1]);
  }
  unsigned next = 3 + child.plan.preserved_fds;
  for (const unsigned fd : sorted) {
    if (fd > next) SNAP_TRY_VOID(sys::CloseRange(next, fd - 1));
    next = std::max(next, fd + 1);
  }
  return sys::CloseRange(next, ~0U);
}

}  // namespace snap::runtime::steps
