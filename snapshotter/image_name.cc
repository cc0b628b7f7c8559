// The grammar of image names: [HOST[:PORT]/]PATH[:TAG]. Source: OCI distribution-spec 1.1, "Pulling
// manifests"
// (<name>, <reference>), with the host part of distribution's reference grammar in front.
#include <algorithm>
#include <string>
#include <string_view>

#include "fs/base/quote.h"
#include "snapshotter/store.h"

namespace snap {
namespace {

constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxTagBytes = 128;

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// [a-z0-9]+ ( ( "." | "_" | "__" | "-"+ ) [a-z0-9]+ )*
bool IsPathComponent(std::string_view text) {
  const auto is_alphanumeric = [](char c) { return IsLower(c) || IsDigit(c); };
  size_t at = 0;
  for (;;) {
    const size_t begin = at;
    while (at < text.size() && is_alphanumeric(text[at])) ++at;
    if (at == begin) return false;
    if (at == text.size()) return true;
    const size_t separator = at;
    while (at < text.size() && text[at] == text[separator]) ++at;
    const size_t length = at - separator;
    const bool valid = text[separator] == '-' || (text[separator] == '.' && length == 1) ||
                       (text[separator] == '_' && length <= 2);
    if (!valid) return false;
  }
}

/// A host name with an optional port, or an IPv6 address in brackets with one.
bool IsHost(std::string_view text) {
  std::string_view host = text;
  std::string_view after;
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return false;
    host = text.substr(1, close - 1);
    after = text.substr(close + 1);
    const auto is_address = [](char c) {
      return IsDigit(c) || c == ':' || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    };
    if (host.empty() || !std::all_of(host.begin(), host.end(), is_address)) return false;
  } else {
    const size_t colon = text.find(':');
    host = text.substr(0, colon);
    if (colon != std::string_view::npos) after = text.substr(colon);
    for (std::string_view rest = host;;) {
      const size_t dot = rest.find('.');
      const std::string_view label = rest.substr(0, dot);
      const auto is_label = [](char c) { return IsLower(c) || IsUpper(c) || IsDigit(c) || c == '-'; };
      if (label.empty() || label.starts_with('-') || label.ends_with('-') ||
          !std::all_of(label.begin(), label.end(), is_label)) {
        return false;
      }
      if (dot == std::string_view::npos) break;
      rest.remove_prefix(dot + 1);
    }
  }
  if (after.empty()) return true;
  const std::string_view port = after.substr(1);
  return after.front() == ':' && !port.empty() && port.size() <= 5 &&
         std::all_of(port.begin(), port.end(), IsDigit);
}

/// [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
bool IsTag(std::string_view text) {
  const auto is_word = [](char c) { return IsLower(c) || IsUpper(c) || IsDigit(c) || c == '_'; };
  return !text.empty() && text.size() <= kMaxTagBytes && is_word(text.front()) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}

}  // namespace

Result<std::string> NormalizeImageName(std::string_view name) {
  const auto invalid = [&](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, "image name {}: {}", Quote(name), why);
  };
  if (name.empty()) return invalid("it is empty");
  if (name.find('@') != std::string_view::npos) return invalid("a name cannot hold a digest");

  // A colon after the last slash starts the tag; one before belongs to a port.
  std::string_view path = name;
  std::string_view tag = "latest";
  const size_t slash = name.rfind('/');
  const size_t colon = name.rfind(':');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    path = name.substr(0, colon);
    tag = name.substr(colon + 1);
    if (!IsTag(tag)) {
      return invalid(
          "the tag after ':' must be 1 to 128 letters, digits, '_', '.' or '-', not starting with '.' or "
          "'-'");
    }
  }
  if (path.size() > kMaxNameBytes) return invalid("longer than 255 bytes");

  const std::string normalized = std::string(path) + ":" + std::string(tag);
  const size_t first_slash = path.find('/');
  if (first_slash != std::string_view::npos) {
    const std::string_view first = path.substr(0, first_slash);
    const bool has_host = first.find_first_of(".:[") != std::string_view::npos || first == "localhost" ||
                          std::any_of(first.begin(), first.end(), IsUpper);
    if (has_host) {
      if (!IsHost(first)) return invalid("the part before the first '/' is no host name");
      path.remove_prefix(first_slash + 1);
    }
  }
  for (;;) {
    const size_t end = path.find('/');
    if (!IsPathComponent(path.substr(0, end))) {
      return invalid("parts must be lower-case letters and digits, separated by '.', '_', '__' or '-'");
    }
    if (end == std::string_view::npos) return normalized;
    path.remove_prefix(end + 1);
  }
}

}  // namespace snap
