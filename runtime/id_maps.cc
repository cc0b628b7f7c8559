// The kernel takes one write of each map, from somebody with rights over the ids: user_namespaces(7).
#include "runtime/id_maps.h"

#include <fcntl.h>

#include <cerrno>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_program.h"
#include "runtime/oci_plan.h"

namespace snap::runtime {
namespace {

constexpr std::chrono::seconds kPatience(10);

SysResult<void> WriteProc(pid_t pid, const char* file, std::string_view text) {
  const std::string path = fmt::format("/proc/{}/{}", pid, file);
  SNAP_TRY(const UniqueFd fd, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_WRONLY));
  return sys::WriteAll(fd, text);
}

bool IsOwnIdAlone(const std::vector<IdMapping>& maps, uint32_t own) {
  return maps.size() == 1 && maps[0].size == 1 && maps[0].host_id == own;
}

Result<void> RunHelper(const char* program, pid_t pid, const std::vector<IdMapping>& maps) {
  std::vector<std::string> words = {program, std::to_string(pid)};
  for (const IdMapping& map : maps) {
    for (const uint32_t number : {map.container_id, map.host_id, map.size}) words.push_back(std::to_string(number));
  }
  const SysResult<sys::ProgramResult> run = sys::RunProgram(words, kPatience, 4096);
  if (!run.ok() && run.error() == ENOENT) {
    return MakeError(ErrorCode::kNotFound, "map ids: {} is not installed, and the ids are not this user's to map", Quote(program));
  }
  if (!run.ok()) return Error(run.error(), fmt::format("map ids: run {}", Quote(program)));
  if (run->status.ShellCode() == 0 && !run->timed_out) return {};
  std::string said = run->err;
  while (said.ends_with('\n')) said.pop_back();
  return MakeError(ErrorCode::kPermission, "map ids: {}", said.empty() ? fmt::format("{} failed", Quote(program)) : said);
}

}  // namespace

Result<void> WriteIdMaps(pid_t pid, const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids) {
  const SysResult<void> uid_map = WriteProc(pid, "uid_map", MapText(uids));
  if (!uid_map.ok() && !(uid_map.error() == EPERM)) return Error(uid_map.error(), "map users");
  if (!uid_map.ok()) SNAP_TRY_VOID(RunHelper("newuidmap", pid, uids));
  SysResult<void> gid_map = WriteProc(pid, "gid_map", MapText(gids));
  if (!gid_map.ok() && gid_map.error() == EPERM && IsOwnIdAlone(gids, sys::EffectiveGid())) {
    SNAP_TRY_SYS_VOID(WriteProc(pid, "setgroups", "deny"), "deny setgroups");
    gid_map = WriteProc(pid, "gid_map", MapText(gids));
  }
  if (gid_map.ok()) return {};
  if (!(gid_map.error() == EPERM)) return Error(gid_map.error(), "map groups");
  return RunHelper("newgidmap", pid, gids);
}

}  // namespace snap::runtime
