// mountinfo says where hierarchies are, /proc/self/cgroup which path in each is ours; they are matched by their controllers.
#include "runtime/cgroup_layout.h"

#include <algorithm>
#include <map>

#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

constexpr size_t kMaxText = size_t{16} << 20U;

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(separator));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    parts.push_back(part);
  }
  return parts;
}

/// "\040" and the like.
std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

constexpr std::string_view kKnown[] = {"cpuset",  "cpu",      "cpuacct", "blkio", "memory",  "devices", "freezer",
                                       "net_cls", "net_prio", "perf_event", "hugetlb", "pids", "rdma", "misc"};

}  // namespace

CgroupLayout ParseCgroupLayout(std::string_view mountinfo, std::string_view cgroup) {
  std::map<std::string, std::string, std::less<>> own;  // controllers as /proc/self/cgroup joins them
  for (const std::string_view line : Split(cgroup, '\n')) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    for (const std::string_view controller : Split(line.substr(first + 1, second - first - 1), ',')) {
      own[std::string(controller)] = line.substr(second + 1);
    }
    if (second == first + 1) own[""] = line.substr(second + 1);
  }
  const auto own_of = [&](std::string_view controller) {
    const auto found = own.find(controller);
    return found == own.end() ? std::string("/") : found->second;
  };
  CgroupLayout layout;
  for (const std::string_view line : Split(mountinfo, '\n')) {
    const std::vector<std::string_view> fields = Split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 5 || fields.end() - dash < 4) continue;
    const std::string_view type = dash[1];
    // A mount of a part of a hierarchy shows other paths than ours.
    if (fields[3] != "/") continue;
    const std::string point = Unescape(fields[4]);
    if (type == "cgroup2" && !layout.unified) {
      layout.unified = CgroupLayout::Unified{point, own_of("")};
    } else if (type == "cgroup") {
      CgroupLayout::Hierarchy hierarchy;
      for (const std::string_view option : Split(dash[3], ',')) {
        if (std::find(std::begin(kKnown), std::end(kKnown), option) != std::end(kKnown) || option.starts_with("name=")) {
          hierarchy.controllers.emplace_back(option);
        }
      }
      if (hierarchy.controllers.empty()) continue;
      const auto same = [&](const CgroupLayout::Hierarchy& other) { return other.controllers == hierarchy.controllers; };
      if (std::any_of(layout.hierarchies.begin(), layout.hierarchies.end(), same)) continue;  // mounted twice
      hierarchy.mount_point = point;
      hierarchy.name = point.substr(point.rfind('/') + 1);
      hierarchy.own_path = own_of(hierarchy.controllers.front());
      layout.hierarchies.push_back(std::move(hierarchy));
    }
  }
  return layout;
}

Result<CgroupLayout> ReadCgroupLayout() {
  SNAP_TRY_SYS(const std::string mounts, sys::ReadFileAt(FdRef::Cwd(), "/proc/self/mountinfo", kMaxText), "read the table of mounts");
  SNAP_TRY_SYS(const std::string own, sys::ReadFileAt(FdRef::Cwd(), "/proc/self/cgroup", kMaxText), "read the own cgroups");
  return ParseCgroupLayout(mounts, own);
}

}  // namespace snap::runtime
