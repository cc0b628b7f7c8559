// The steps of a child, by what they are about; child.cc has them in order. See child.h for what holds for all of them.
#pragma once

#include <array>

#include "runtime/child.h"
#include "runtime/plan.h"

namespace snap::runtime {

struct Child {
  Plan& plan;
  std::array<UniqueFd, kStagedFiles.size()> staged{};
  UniqueFd empty_dir{};
  UniqueFd root{};        // when the child opens its rootfs itself
  UniqueFd start{};       // who lets it run its program: told of a failure
  UniqueFd label_file{};  // of /proc/self/attr, open for writing
  bool null_attached = false;
  bool empty_attached = false;
  ChildReport report{};

  FdRef Root() const { return root ? root.ref() : plan.rootfs.rootfs.ref(); }
};

/// To whoever launches: the parent, or the one who lets a created container start. False: nobody is there any more.
bool SendReport(const Child& child, const ChildReport& report);
/// Reports and waits for the parent's byte. Errors: EPIPE when the parent is gone.
SysResult<void> Rendezvous(const Child& child, int32_t step);
bool IsMissing(Errno error);
SysResult<void> ChangeGroups(const Child& child, std::span<const gid_t> groups);

namespace steps {

// --- child_namespaces.cc
SysResult<void> ArmParentDeath(Child& child);
SysResult<void> ForbidInspection(Child& child);
SysResult<void> ResetSignals(Child& child);
SysResult<void> JoinCgroup(Child& child);
SysResult<void> JoinNamespaces(Child& child);
SysResult<void> CloneIntoJoined(Child& child);
SysResult<void> AwaitMaps(Child& child);
SysResult<void> BecomeRoot(Child& child);
SysResult<void> UnshareLate(Child& child);
SysResult<void> NewKeyring(Child& child);
SysResult<void> SetHostname(Child& child);
SysResult<void> SetDomainname(Child& child);
SysResult<void> Loopback(Child& child);

// --- child_mounts.cc
SysResult<void> CutPropagation(Child& child);
SysResult<void> TakeStaged(Child& child);
SysResult<void> OpenRoot(Child& child);
SysResult<void> MakeMounts(Child& child);
SysResult<void> OpenDevices(Child& child);
SysResult<void> AttachRootEarly(Child& child);
SysResult<void> AttachRootAtPath(Child& child);
SysResult<void> PivotEarly(Child& child);
SysResult<void> PivotLate(Child& child);
SysResult<void> DetachOldRootEarly(Child& child);
SysResult<void> DetachOldRootLate(Child& child);
SysResult<void> AttachMounts(Child& child);
SysResult<void> WriteSysctls(Child& child);
SysResult<void> MakeDevices(Child& child);
SysResult<void> MaskPaths(Child& child);
SysResult<void> MakePathsReadOnly(Child& child);
SysResult<void> EnterWorkingDir(Child& child);
SysResult<void> MakeRootReadOnly(Child& child);
SysResult<void> SetRootPropagation(Child& child);

// --- child_streams.cc
SysResult<void> StartSession(Child& child);
SysResult<void> OpenConsole(Child& child);
SysResult<void> StandardStreams(Child& child);
SysResult<void> CloseDescriptors(Child& child);

// --- child_credentials.cc
SysResult<void> AwaitState(Child& child);
SysResult<void> SetOomScore(Child& child);
SysResult<void> SetLimits(Child& child);
SysResult<void> SetScheduling(Child& child);
SysResult<void> OpenLabel(Child& child);
SysResult<void> NoNewPrivileges(Child& child);
SysResult<void> InstallSeccompEarly(Child& child);
SysResult<void> InstallSeccompLate(Child& child);
SysResult<void> LimitBounding(Child& child);
SysResult<void> SetGroups(Child& child);
SysResult<void> SetGid(Child& child);
SysResult<void> SetUid(Child& child);
SysResult<void> SetCapabilities(Child& child);
SysResult<void> SetPersonality(Child& child);
SysResult<void> WriteLabel(Child& child);

// --- child_program.cc
SysResult<void> AwaitHooks(Child& child);
SysResult<void> RunCreateContainerHooks(Child& child);
SysResult<void> CheckProgram(Child& child);
SysResult<void> AwaitStart(Child& child);
SysResult<void> RunStartContainerHooks(Child& child);
SysResult<void> UnblockSignals(Child& child);
SysResult<void> Exec(Child& child);

}  // namespace steps
}  // namespace snap::runtime
