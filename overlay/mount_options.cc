// The kernel splits the text at ',' first and the lowerdir value at ':' afterwards; both steps honour a
// backslash, and one unescaping follows. So one escape per special character is right for lower, upper and
// work alike.
#include "overlay/mount_options.h"

#include <algorithm>

namespace snap::overlay {

std::vector<MountOption> BehaviourOptions(const Behaviour& behaviour) {
  std::vector<MountOption> options{
      {"redirect_dir", behaviour.follow_marks ? "on" : "nofollow"},
      {"metacopy", behaviour.follow_marks ? "on" : "off"},
      {"index", "off"},
      {"nfs_export", "off"},
  };
  // The kernel complains in its log about xino=on where one file system makes it needless.
  if (behaviour.several_file_systems) options.push_back({"xino", "on"});
  if (behaviour.user_xattr) options.push_back({"userxattr", ""});
  if (behaviour.volatile_upper) options.push_back({"volatile", ""});
  return options;
}

std::string EscapePath(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  for (const char c : path) {
    if (c == ',' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

Result<std::string> FormatMountData(const LayerPaths& layers, const Behaviour& behaviour) {
  const auto invalid = [](const std::string& path) {
    return path.empty() || path.find('\0') != std::string::npos;
  };
  if (layers.lowers_top_first.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "format overlay options: there is no lower layer");
  }
  if (std::any_of(layers.lowers_top_first.begin(), layers.lowers_top_first.end(), invalid) ||
      (!layers.data.empty() && invalid(layers.data)) ||
      (!layers.upper.empty() && (invalid(layers.upper) || invalid(layers.work)))) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "format overlay options: a layer's path is empty or holds a NUL");
  }
  std::string data;
  for (const std::string& lower : layers.lowers_top_first) {
    data += data.empty() ? "lowerdir=" : ":";
    data += EscapePath(lower);
  }
  if (!layers.data.empty()) data += "::" + EscapePath(layers.data);
  if (!layers.upper.empty()) {
    data += ",upperdir=" + EscapePath(layers.upper) + ",workdir=" + EscapePath(layers.work);
  }
  for (const MountOption& option : BehaviourOptions(behaviour)) {
    data += ',' + option.key;
    if (!option.value.empty()) data += '=' + option.value;
  }
  if (data.size() > kMaxMountDataBytes) {
    return MakeError(ErrorCode::kLimitExceeded,
                     "format overlay options: {} layers make {} bytes of options, mount(2) takes {}",
                     layers.lowers_top_first.size(), data.size(), kMaxMountDataBytes);
  }
  return data;
}

}  // namespace snap::overlay
