// A table of options; what is not in it is warned about and ignored, as callers expect. Values that are known and wrong are errors.
#include "fuse/mount_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

#include "fs/base/quote.h"

namespace snap::fuse {
namespace {

template <typename Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

Error Bad(std::string_view name, std::string_view value, std::string_view takes) {
  return MakeError(ErrorCode::kInvalidArgument, "option {}={}: {}", name, Quote(value), takes);
}

// "CONTAINER:HOST:SIZE[:CONTAINER:HOST:SIZE...]"; containers/storage puts a ':' in front.
Result<IdRanges> ParseMapping(std::string_view name, std::string_view value) {
  std::string_view rest = value;
  if (rest.starts_with(':')) rest.remove_prefix(1);
  const std::vector<std::string> parts = SplitOptions(rest, ':', false);
  if (parts.size() % 3 != 0) return Bad(name, value, "takes triples ON_DISK:SHOWN:SIZE");
  std::vector<IdRanges::Range> ranges;
  for (size_t i = 0; i < parts.size(); i += 3) {
    const auto on_disk = ParseNumber<uint32_t>(parts[i]), shown = ParseNumber<uint32_t>(parts[i + 1]),
               size = ParseNumber<uint32_t>(parts[i + 2]);
    if (!on_disk || !shown || !size || *size == 0 || *size > UINT32_MAX - *on_disk || *size > UINT32_MAX - *shown) {
      return Bad(name, value, "takes triples ON_DISK:SHOWN:SIZE of ids");
    }
    ranges.push_back({*on_disk, *shown, *size});
  }
  return IdRanges(std::move(ranges));
}

Result<Use> ParseUse(std::string_view name, std::string_view value) {
  if (value == "auto") return Use::kAuto;
  if (value == "on" || value == "1" || value.empty()) return Use::kOn;
  if (value == "off" || value == "0") return Use::kOff;
  return Bad(name, value, "takes auto, on or off");
}

/// Handed on to the mount as they are.
constexpr auto kMountFlags = std::to_array<std::string_view>({
    "allow_other", "allow_root", "default_permissions", "suid", "nosuid", "dev",   "nodev",      "exec",       "noexec",
    "atime",       "noatime",    "diratime",            "nodiratime", "relatime", "sync", "async", "dirsync", "auto_unmount"});
/// Known to fuse-overlayfs, and of no meaning here: why, for the reader.
///   threaded: always; writeback: never, since it is where files got mixed up; fast_ino, xino: numbers are always stable;
///   context: containers/storage gives it and fuse-overlayfs ignores it too; the rest are libfuse's.
constexpr auto kIgnored = std::to_array<std::string_view>({
    "threaded", "writeback", "fast_ino", "fast_ino_check", "xino", "ino32_t", "context", "kernel_cache", "max_write", "splice_read",
    "splice_write", "splice_move", "nosplice_read", "nosplice_write", "nosplice_move", "nonempty", "auto_cache"});

template <size_t kSize>
bool Contains(const std::array<std::string_view, kSize>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

class Parser {
 public:
  Parser(CommandLine& line, bool root) : line_(line), root_(root) {}

  Result<void> Option(const std::string& text) {
    if (text.empty()) return {};
    const size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    const bool has_value = equals != std::string::npos;
    const std::string value = has_value ? text.substr(equals + 1) : std::string();
    UnionOptions& u = line_.union_options;
    SessionOptions& s = line_.session_options;

    if (name == "lowerdir") {
      line_.lowers_top_first = SplitOptions(value, ':', true);
      for (const std::string& lower : line_.lowers_top_first) {
        if (lower.empty()) return Bad(name, value, "has an empty layer");
      }
      return {};
    }
    if (name == "devices") return Devices(name, value);
    if (name == "objects") return Path(name, value, line_.objects);
    if (name == "upperdir") return Path(name, value, line_.upper);
    if (name == "workdir") return Path(name, value, line_.work);
    if (name == "uidmapping") {
      SNAP_TRY(u.uids, ParseMapping(name, value));
      return {};
    }
    if (name == "gidmapping") {
      SNAP_TRY(u.gids, ParseMapping(name, value));
      return {};
    }
    if (name == "squash_to_root") {
      if (!u.squash_uid) u.squash_uid = 0;
      if (!u.squash_gid) u.squash_gid = 0;
      return {};
    }
    if (name == "squash_to_uid") return Id(name, value, u.squash_uid);
    if (name == "squash_to_gid") return Id(name, value, u.squash_gid);
    if (name == "xattr_permissions") {
      if (value == "0") u.xattr_permissions = XattrPermissions::kOff;
      else if (value == "1") u.xattr_permissions = XattrPermissions::kPrivileged;
      else if (value == "2") u.xattr_permissions = XattrPermissions::kUser;
      else return Bad(name, value, "takes 0, 1 or 2");
      return {};
    }
    if (name == "timeout") {
      double seconds = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (error != std::errc() || end != value.data() + value.size() || !(seconds >= 0)) return Bad(name, value, "takes seconds");
      s.timeout_seconds = std::min(seconds, 1e9);
      return {};
    }
    if (name == "fsync") {
      if (value != "0" && value != "1") return Bad(name, value, "takes 0 or 1");
      u.is_volatile = value == "0";
      return {};
    }
    if (name == "redirect_dir") {
      if (value != "off") return Bad(name, value, "only off is supported");
      return {};
    }
    if (name == "metacopy") {
      if (value != "off") return Bad(name, value, "only off is supported");
      return {};
    }
    if (name == "plugins") return Bad(name, value, "plugins are not supported");
    if (name == "passthrough") return Choice(name, value, s.passthrough);
    if (name == "io_uring") return Choice(name, value, s.io_uring);
    if (name == "no_open") return Choice(name, value, s.no_open);
    if (name == "stats") {
      s.stats_path = value;
      return {};
    }
    if (name == "fsname") {
      s.source = value;
      return {};
    }
    if (name == "volatile") return Set(u.is_volatile);
    if (name == "noxattrs") return Set(u.no_xattrs, value);
    if (name == "noacl") return Set(u.no_acl);
    if (name == "static_nlink") return Set(u.static_nlink);
    if (name == "userxattr") {
      u.user_xattr = true;
      return {};
    }
    if (name == "ro") return Set(u.read_only);
    if (name == "rw") {
      u.read_only = false;
      return {};
    }
    if (!has_value && Contains(kMountFlags, name)) {
      s.mount_options.push_back(name);
      return {};
    }
    if (!Contains(kIgnored, name)) line_.warnings.push_back(fmt::format("unknown option {}, ignoring it", Quote(name)));
    return {};
  }

  /// What root mounts need to look like any file system; what others may have.
  void AddDefaults() {
    std::vector<std::string>& options = line_.session_options.mount_options;
    const auto add = [&](const char* option, const char* opposite) {
      for (const std::string& given : options) {
        if (given == option || given == opposite) return;
      }
      options.emplace_back(option);
    };
    add("default_permissions", "default_permissions");
    add("noatime", "atime");
    if (root_) {
      add("allow_other", "allow_root");
      add("suid", "nosuid");
    }
    if (line_.union_options.read_only || !line_.upper) options.emplace_back("ro");
  }

 private:
  static Result<void> Path(const std::string& name, const std::string& value, std::optional<std::string>& out) {
    if (value.empty()) return Bad(name, value, "takes a directory");
    out = value;
    return {};
  }
  // "N:IMAGE[:IMAGE...]"
  Result<void> Devices(const std::string& name, const std::string& value) {
    constexpr const char* kTakes = "takes the number of a lower, from 1 at the top, and the images it refers to: N:IMAGE[:IMAGE...]";
    constexpr size_t kMaxLowers = 500;
    std::vector<std::string> parts = SplitOptions(value, ':', true);
    const auto number = ParseNumber<size_t>(parts.front());
    if (!number || *number == 0 || *number > kMaxLowers || parts.size() < 2) return Bad(name, value, kTakes);
    if (std::find(parts.begin(), parts.end(), "") != parts.end()) return Bad(name, value, kTakes);
    line_.lower_devices.resize(std::max(line_.lower_devices.size(), *number));
    line_.lower_devices[*number - 1].assign(std::make_move_iterator(parts.begin() + 1), std::make_move_iterator(parts.end()));
    return {};
  }
  static Result<void> Id(const std::string& name, const std::string& value, std::optional<uint32_t>& out) {
    out = ParseNumber<uint32_t>(value);
    if (!out) return Bad(name, value, "takes an id");
    return {};
  }
  static Result<void> Choice(const std::string& name, const std::string& value, Use& out) {
    SNAP_TRY(out, ParseUse(name, value));
    return {};
  }
  static Result<void> Set(bool& flag, std::string_view value = "1") {
    flag = value != "0";
    return {};
  }

  CommandLine& line_;
  const bool root_;
};

}  // namespace

std::vector<std::string> SplitOptions(std::string_view text, char separator, bool unescape) {
  std::vector<std::string> parts;
  std::string part;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && i + 1 < text.size()) {
      const char next = text[++i];
      const bool stands_for_itself = unescape && (next == ':' || next == ',' || next == '\\');
      if (!stands_for_itself) part += c;
      part += next;
    } else if (c == '"' && separator == ',') {
      quoted = !quoted;
      part += c;
    } else if (c == separator && !quoted) {
      parts.push_back(std::move(part));
      part.clear();
    } else {
      part += c;
    }
  }
  parts.push_back(std::move(part));
  return parts;
}

Result<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments, const EnvironmentLookup& environment, bool root) {
  CommandLine line;
  Parser parser(line, root);
  std::vector<std::string> operands;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "-o" || argument.starts_with("-o")) {
      std::string list = argument.substr(2);
      if (list.empty()) {
        if (++i == arguments.size()) return MakeError(ErrorCode::kInvalidArgument, "-o takes a list of options");
        list = arguments[i];
      }
      for (const std::string& option : SplitOptions(list, ',', false)) SNAP_TRY_VOID(parser.Option(option));
    } else if (argument == "-f") {
      line.foreground = true;
    } else if (argument == "-d" || argument == "--debug") {
      line.foreground = true;
      line.session_options.debug = true;
    } else if (argument == "-h" || argument == "--help") {
      line.help = true;
    } else if (argument == "-V" || argument == "--version") {
      line.version = true;
    } else if (argument == "--features") {
      line.features = true;
    } else if (argument == "-s" || argument == "-n") {
      // single-threaded, no mtab: nothing to do
    } else if (argument == "-t") {
      ++i;  // mount(8) may give the type
    } else if (argument.starts_with('-') && argument.size() > 1) {
      line.warnings.push_back(fmt::format("unknown option {}, ignoring it", Quote(argument)));
    } else {
      operands.push_back(argument);
    }
  }
  if (environment("FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT") != nullptr) line.union_options.whiteouts = WhiteoutForm::kFile;
  if (environment("FUSE_OVERLAYFS_NO_PASSTHROUGH") != nullptr) line.session_options.passthrough = Use::kOff;
  if (line.help || line.version || line.features) return line;

  // "MOUNTPOINT", or mount(8)'s "SOURCE MOUNTPOINT".
  if (operands.empty() || operands.size() > 2) {
    return MakeError(ErrorCode::kInvalidArgument, "needs a mount point (got {} operands)", operands.size());
  }
  if (operands.size() == 2) line.session_options.source = operands.front();
  line.target = operands.back();
  if (line.lowers_top_first.empty()) return MakeError(ErrorCode::kInvalidArgument, "option lowerdir= is missing");
  if (line.lower_devices.size() > line.lowers_top_first.size()) {
    return MakeError(ErrorCode::kInvalidArgument, "option devices= is for lower {} of {}", line.lower_devices.size(),
                     line.lowers_top_first.size());
  }
  line.lower_devices.resize(line.lowers_top_first.size());
  if (line.upper && !line.work && !line.union_options.read_only) {
    return MakeError(ErrorCode::kInvalidArgument, "option workdir= is missing: upperdir= needs it");
  }
  parser.AddDefaults();
  return line;
}

}  // namespace snap::fuse
