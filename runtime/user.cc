// A line of either file is fields between ':'; a line that is malformed in a field we need does not exist for us, so
// that no damage in the file can turn into uid 0.
#include "runtime/user.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

constexpr size_t kMaxFileBytes = size_t{4} << 20U;
constexpr size_t kMaxGroups = 1024;  // of one user; the kernel's own limit is 65536
constexpr uint32_t kMaxId = 2147483647;

// Digits only, no sign, no leading zero, at most INT32_MAX: what every reader understands alike.
std::optional<uint32_t> ParseId(std::string_view text) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id > kMaxId) return std::nullopt;
  return id;
}

bool LooksNumeric(std::string_view text) {
  return !text.empty() && (text[0] == '-' || text[0] == '+' || (text[0] >= '0' && text[0] <= '9'));
}

// Calls `use` with the first N fields of every line that has at least N; `use` returns true to stop.
template <size_t N, typename Use>
void ForEachLine(std::string_view text, Use use) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.starts_with('#') || line.find('\0') != std::string_view::npos) continue;
    std::array<std::string_view, N> fields;
    size_t count = 0;
    for (; count < N; ++count) {
      const size_t colon = line.find(':');
      fields[count] = line.substr(0, colon);
      if (colon == std::string_view::npos) {
        ++count;
        break;
      }
      line.remove_prefix(colon + 1);
    }
    if (count == N && !fields[0].empty() && use(fields)) return;
  }
}

bool ListHolds(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (list.substr(0, comma) == name) return true;
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  }
  return false;
}

Result<gid_t> ResolveGroup(std::string_view group_text, std::string_view group) {
  std::optional<gid_t> found;
  const std::optional<uint32_t> number = ParseId(group_text);
  ForEachLine<3>(group, [&](const std::array<std::string_view, 3>& fields) {
    const std::optional<uint32_t> gid = ParseId(fields[2]);
    if (!gid || (fields[0] != group_text && gid != number)) return false;
    found = gid;
    return true;
  });
  if (found) return *found;
  if (number) return *number;
  if (LooksNumeric(group_text)) {
    return MakeError(ErrorCode::kInvalidArgument, "group {} is not a number from 0 to {}", Quote(group_text), kMaxId);
  }
  return MakeError(ErrorCode::kNotFound, "find group {}: no such entry in the image's /etc/group", Quote(group_text));
}

Result<std::string> ReadImageFile(FdRef rootfs, const char* path) {
  const SysResult<UniqueFd> file = sys::OpenInRoot(rootfs, path, O_PATH);
  if (!file.ok()) {
    if (file.error() == ENOENT || file.error() == ENOTDIR) return std::string();
    return Error(file.error(), fmt::format("open the image's {}", Quote(path)));
  }
  // Only a regular file is opened for reading: a fifo would block, a device would act.
  SNAP_TRY_SYS(const struct stat status, sys::FStat(*file), "stat the image's {}", Quote(path));
  if (!S_ISREG(status.st_mode)) {
    return MakeError(ErrorCode::kInvalidArgument, "read the image's {}: not a regular file", Quote(path));
  }
  SNAP_TRY_SYS(const UniqueFd readable, sys::Reopen(*file, O_RDONLY), "open the image's {}", Quote(path));
  SysResult<std::string> text = sys::ReadAll(readable, kMaxFileBytes);
  if (!text.ok() && text.error() == EFBIG) {
    return MakeError(ErrorCode::kLimitExceeded, "read the image's {}: more than {} bytes", Quote(path), kMaxFileBytes);
  }
  if (!text.ok()) return Error(text.error(), fmt::format("read the image's {}", Quote(path)));
  return *std::move(text);
}

}  // namespace

Result<UserIds> ResolveUserIn(std::string_view user, std::string_view passwd, std::string_view group) {
  const size_t colon = user.find(':');
  std::string_view name = user.substr(0, colon);
  const std::string_view group_text = colon == std::string_view::npos ? "" : user.substr(colon + 1);
  if (colon != std::string_view::npos && (group_text.empty() || group_text.find(':') != std::string_view::npos)) {
    return MakeError(ErrorCode::kInvalidArgument, "user {} is not USER[:GROUP]", Quote(user));
  }
  if (name.empty()) name = "0";

  UserIds ids;
  const std::optional<uint32_t> number = ParseId(name);
  std::string_view entry_name;
  bool found = false;
  ForEachLine<6>(passwd, [&](const std::array<std::string_view, 6>& fields) {
    const std::optional<uint32_t> uid = ParseId(fields[2]);
    const std::optional<uint32_t> gid = ParseId(fields[3]);
    if (!uid || !gid || (fields[0] != name && uid != number)) return false;
    found = true;
    entry_name = fields[0];
    ids.uid = *uid;
    ids.gid = *gid;
    if (fields[5].starts_with('/')) ids.home = fields[5];
    return true;
  });
  if (!found) {
    if (!number && LooksNumeric(name)) {
      return MakeError(ErrorCode::kInvalidArgument, "user {} is not a number from 0 to {}", Quote(name), kMaxId);
    }
    if (!number) {
      return MakeError(ErrorCode::kNotFound, "find user {}: no such entry in the image's /etc/passwd", Quote(name));
    }
    ids.uid = *number;
  }

  if (!group_text.empty()) {
    SNAP_TRY(ids.gid, ResolveGroup(group_text, group));
    ids.groups = {ids.gid};
    return ids;
  }
  ids.groups = {ids.gid};
  bool too_many = false;
  if (found) {
    ForEachLine<4>(group, [&](const std::array<std::string_view, 4>& fields) {
      const std::optional<uint32_t> gid = ParseId(fields[2]);
      if (!gid || !ListHolds(fields[3], entry_name)) return false;
      if (std::find(ids.groups.begin(), ids.groups.end(), *gid) != ids.groups.end()) return false;
      too_many = ids.groups.size() == kMaxGroups;
      if (!too_many) ids.groups.push_back(*gid);
      return too_many;
    });
  }
  if (too_many) {
    return MakeError(ErrorCode::kLimitExceeded, "user {} is in more than {} groups of the image", Quote(name),
                     kMaxGroups);
  }
  return ids;
}

Result<UserIds> ResolveUser(FdRef rootfs, std::string_view user) {
  SNAP_TRY(const std::string passwd, ReadImageFile(rootfs, "etc/passwd"));
  SNAP_TRY(const std::string group, ReadImageFile(rootfs, "etc/group"));
  return ResolveUserIn(user, passwd, group);
}

}  // namespace snap::runtime
