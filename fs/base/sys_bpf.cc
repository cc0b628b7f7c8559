#include "fs/base/sys_bpf.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

namespace snap::sys {
namespace {

long Bpf(bpf_cmd command, bpf_attr& attributes) { return ::syscall(SYS_bpf, command, &attributes, sizeof attributes); }

}  // namespace

SysResult<UniqueFd> LoadCgroupDeviceProgram(std::span<const bpf_insn> program) {
  static constexpr char kLicense[] = "Apache";
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<uint64_t>(program.data());
  attributes.insn_cnt = static_cast<uint32_t>(program.size());
  attributes.license = reinterpret_cast<uint64_t>(kLicense);
  const long fd = Bpf(BPF_PROG_LOAD, attributes);
  if (fd < 0) return LastErrno();
  return UniqueFd(static_cast<int>(fd));
}

SysResult<void> ReplaceCgroupDeviceProgram(FdRef cgroup, FdRef program) {
  std::array<uint32_t, 64> ids{};
  bpf_attr query{};
  query.query.target_fd = static_cast<uint32_t>(cgroup.get());
  query.query.attach_type = BPF_CGROUP_DEVICE;
  query.query.prog_ids = reinterpret_cast<uint64_t>(ids.data());
  query.query.prog_cnt = ids.size();
  if (Bpf(BPF_PROG_QUERY, query) < 0) return LastErrno();
  std::vector<UniqueFd> old;
  for (uint32_t i = 0; i < query.query.prog_cnt; ++i) {
    bpf_attr open{};
    open.prog_id = ids[i];
    const long fd = Bpf(BPF_PROG_GET_FD_BY_ID, open);
    if (fd < 0) return LastErrno();
    old.emplace_back(static_cast<int>(fd));
  }
  bpf_attr attach{};
  attach.target_fd = static_cast<uint32_t>(cgroup.get());
  attach.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, attach) < 0) return LastErrno();
  // All attached programs must allow: the old ones go, but never before the new one is there.
  for (const UniqueFd& fd : old) {
    bpf_attr detach{};
    detach.target_fd = static_cast<uint32_t>(cgroup.get());
    detach.attach_bpf_fd = static_cast<uint32_t>(fd.get());
    detach.attach_type = BPF_CGROUP_DEVICE;
    if (Bpf(BPF_PROG_DETACH, detach) < 0) return LastErrno();
  }
  return {};
}

}  // namespace snap::sys
