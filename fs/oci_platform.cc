// Platforms: which machine an image is for. Spellings differ between tools, so comparisons happen on one
// normal form.
// Sources: OCI image-spec, image-index.md, "Platform Variants"; Go's GOOS and GOARCH names; uname(2).
#include <algorithm>
#include <array>
#include <charconv>

#include "fs/base/quote.h"
#include "fs/base/sys_process.h"
#include "fs/oci_documents.h"
#include "fs/oci_image.h"

namespace snap::oci {
namespace {

struct Alias {
  std::string_view spelling, architecture, variant;
};
// What uname, dpkg and people say, against what Go says. MIPS and PowerPC name their byte order in GOARCH
// only.
constexpr std::array kAliases = {
    Alias{"x86_64", "amd64", ""},   Alias{"x86-64", "amd64", ""},    Alias{"i386", "386", ""},
    Alias{"i486", "386", ""},       Alias{"i586", "386", ""},        Alias{"i686", "386", ""},
    Alias{"aarch64", "arm64", ""},  Alias{"armhf", "arm", "v7"},     Alias{"armel", "arm", "v6"},
    Alias{"armv8l", "arm", "v8"},   Alias{"armv7l", "arm", "v7"},    Alias{"armv6l", "arm", "v6"},
    Alias{"armv5tel", "arm", "v5"}, Alias{"ppc64el", "ppc64le", ""}, Alias{"loongarch64", "loong64", ""},
};
constexpr std::array<std::string_view, 13> kArchitectures = {
    "386",    "amd64",    "arm",   "arm64",   "loong64", "mips", "mipsle",
    "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x"};
constexpr std::array<std::string_view, 5> kSystems = {"linux", "windows", "darwin", "freebsd", "wasip1"};

template <typename List>
bool Contains(const List& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool IsWord(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

void ToLower(std::string& text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
}

std::string_view DefaultVariant(std::string_view architecture) {
  if (architecture == "amd64") return "v1";
  if (architecture == "arm64") return "v8";
  if (architecture == "arm") return "v7";
  return {};
}

/// "v8" -> 8000, "v8.1" -> 8001; nullopt for variants that have no order.
std::optional<unsigned> VariantLevel(std::string_view variant) {
  if (!variant.starts_with('v')) return std::nullopt;
  const char* const end = variant.data() + variant.size();
  uint8_t major = 0;
  uint8_t minor = 0;
  auto parsed = std::from_chars(variant.data() + 1, end, major);
  if (parsed.ec != std::errc()) return std::nullopt;
  if (parsed.ptr != end) {
    if (*parsed.ptr != '.') return std::nullopt;
    parsed = std::from_chars(parsed.ptr + 1, end, minor);
    if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  }
  return major * 1000U + minor;
}

}  // namespace

Platform NormalizePlatform(Platform platform) {
  ToLower(platform.os);
  ToLower(platform.architecture);
  ToLower(platform.variant);
  for (const Alias& alias : kAliases) {
    if (platform.architecture == alias.spelling) {
      platform.architecture = alias.architecture;
      if (platform.variant.empty()) platform.variant = alias.variant;
      break;
    }
  }
  if (!platform.variant.empty() && platform.variant[0] >= '0' && platform.variant[0] <= '9') {
    platform.variant.insert(0, 1, 'v');
  }
  if (platform.architecture == "arm") {
    if (platform.variant.empty()) platform.variant = "v7";
  } else if (platform.variant == DefaultVariant(platform.architecture)) {
    platform.variant.clear();
  }
  return platform;
}

std::optional<unsigned> PlatformScore(const Platform& wanted, const Platform& offered) {
  if (wanted.os != offered.os || wanted.architecture != offered.architecture) return std::nullopt;
  const auto level = [](const Platform& platform) {
    return VariantLevel(platform.variant.empty() ? DefaultVariant(platform.architecture) : platform.variant);
  };
  const auto wanted_level = level(wanted);
  const auto offered_level = level(offered);
  if (wanted_level && offered_level) {
    if (*offered_level > *wanted_level) return std::nullopt;
    return *offered_level;
  }
  if (wanted.variant != offered.variant) return std::nullopt;
  return 0U;
}

Platform Platform::Host() {
  std::string machine = sys::MachineName();
  if constexpr (std::endian::native == std::endian::little) {
    if (machine == "mips" || machine == "mips64") machine += "le";
  }
  return NormalizePlatform({.os = "linux", .architecture = std::move(machine), .variant = {}});
}

Result<Platform> Platform::Parse(std::string_view text) {
  std::vector<std::string> words;
  for (std::string_view rest = text;;) {
    const size_t slash = rest.find('/');
    words.emplace_back(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (words.size() > 3 || !std::all_of(words.begin(), words.end(), IsWord)) {
    return MakeError(ErrorCode::kInvalidArgument, "platform {} is not OS/ARCH[/VARIANT], such as linux/arm64",
                     Quote(text.substr(0, 200)));
  }
  if (words.size() > 1) {
    return NormalizePlatform(
        {.os = words[0], .architecture = words[1], .variant = words.size() > 2 ? words[2] : ""});
  }
  ToLower(words[0]);
  if (Contains(kSystems, words[0])) {
    Platform platform = Host();
    platform.os = words[0];
    return platform;
  }
  Platform platform = NormalizePlatform({.os = "linux", .architecture = words[0], .variant = {}});
  if (!Contains(kArchitectures, platform.architecture)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "platform {} is no known architecture; write OS/ARCH[/VARIANT]", Quote(text));
  }
  return platform;
}

std::string Platform::ToString() const {
  std::string text = (os.empty() ? "unknown" : os) + "/" + (architecture.empty() ? "unknown" : architecture);
  if (!variant.empty()) text += "/" + variant;
  return text;
}

}  // namespace snap::oci
