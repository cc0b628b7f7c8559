// A malformed value is an error, never a guess: a guess could make a file somebody else's.
#include "fuse/override_stat.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <charconv>
#include <vector>

namespace snap::fuse {
namespace {

constexpr const char* kPrivilegedName = "security.fuseoverlayfs.override_stat";
constexpr const char* kUserName = "user.containers.override_stat";
constexpr const char* kOldUserName = "user.fuseoverlayfs.override_stat";

struct TypeName {
  std::string_view name;
  mode_t type;
};
constexpr std::array<TypeName, 7> kTypes = {{{"dir", S_IFDIR},
                                             {"file", S_IFREG},
                                             {"symlink", S_IFLNK},
                                             {"pipe", S_IFIFO},
                                             {"socket", S_IFSOCK},
                                             {"block", S_IFBLK},
                                             {"char", S_IFCHR}}};

std::optional<uint32_t> Number(std::string_view text, int base) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string_view> Split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find_first_of(separators);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

std::optional<OverrideStat> ParseOverride(std::string_view value) {
  const std::vector<std::string_view> parts = Split(value, ":");
  if (parts.size() < 3 || parts.size() > 5) return std::nullopt;
  const std::optional<uint32_t> uid = Number(parts[0], 10), gid = Number(parts[1], 10), mode = Number(parts[2], 8);
  if (!uid || !gid || !mode) return std::nullopt;
  OverrideStat stat{*uid, *gid, static_cast<mode_t>(*mode & 07777U), std::nullopt, 0};
  if (parts.size() == 3) return stat;
  const std::vector<std::string_view> type = Split(parts[3], "-");
  for (const TypeName& known : kTypes) {
    if (type[0] == known.name) stat.type = known.type;
  }
  if (!stat.type) return std::nullopt;
  // Devices: "block-MAJOR-MINOR", or "block:MAJOR:MINOR" in older files.
  std::vector<std::string_view> numbers(type.begin() + 1, type.end());
  if (numbers.empty() && parts.size() == 5) numbers = Split(parts[4], ":-");
  if (*stat.type != S_IFBLK && *stat.type != S_IFCHR) return numbers.empty() ? std::optional(stat) : std::nullopt;
  if (numbers.size() != 2) return std::nullopt;
  const std::optional<uint32_t> major_number = Number(numbers[0], 10), minor_number = Number(numbers[1], 10);
  if (!major_number || !minor_number) return std::nullopt;
  stat.device = makedev(*major_number, *minor_number);
  return stat;
}

std::string FormatOverride(const OverrideStat& stat) {
  std::string text = fmt::format("{}:{}:{:o}", stat.uid, stat.gid, stat.permissions & 07777U);
  if (!stat.type) return text;
  for (const TypeName& known : kTypes) {
    if (known.type == *stat.type) text += fmt::format(":{}", known.name);
  }
  if (*stat.type == S_IFBLK || *stat.type == S_IFCHR) text += fmt::format("-{}-{}", major(stat.device), minor(stat.device));
  return text;
}

const char* OverrideXattrName(XattrPermissions where) {
  switch (where) {
    case XattrPermissions::kOff: return "";
    case XattrPermissions::kPrivileged: return kPrivilegedName;
    case XattrPermissions::kUser: return kUserName;
  }
  return "";
}

bool IsOverrideXattr(std::string_view name) {
  return name == kPrivilegedName || name == kUserName || name == kOldUserName;
}

SysResult<std::optional<OverrideStat>> LoadOverride(XattrPermissions where,
                                                    const std::function<SysResult<std::string>(const std::string&)>& get) {
  SysResult<std::string> value = get(OverrideXattrName(where));
  if (!value.ok() && value.error() == ENODATA && where == XattrPermissions::kUser) value = get(kOldUserName);
  if (!value.ok()) {
    if (value.error() == ENODATA || value.error() == EOPNOTSUPP) return std::optional<OverrideStat>();
    return value.error();
  }
  std::optional<OverrideStat> stat = ParseOverride(*value);
  if (!stat) return Errno(EIO);
  return stat;
}

}  // namespace snap::fuse
