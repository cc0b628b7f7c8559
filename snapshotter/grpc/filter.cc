// Recursive descent without recursion: a filter has two levels.
#include "snapshotter/grpc/filter.h"

#include <re2/re2.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "snapshotter/grpc/filter_scanner.h"

namespace snap {
namespace {

/// Far above what engines send (two selectors, 200 bytes).
constexpr size_t kMaxFilterBytes = size_t{64} << 10U;
constexpr size_t kMaxFilters = 1024;

std::unique_ptr<re2::RE2> CompilePattern(const std::string& pattern) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  constexpr int64_t kMaxMemory = int64_t{1} << 20;
  options.set_max_mem(kMaxMemory);
  auto compiled = std::make_unique<re2::RE2>(pattern, options);
  return compiled->ok() ? std::move(compiled) : nullptr;
}

}  // namespace

struct SnapshotFilter::Selector {
  enum class Operator : uint8_t { kPresent, kEqual, kNotEqual, kMatches };
  enum class Field : uint8_t { kName, kParent, kKind, kLabel, kUnknown };

  Field field = Field::kUnknown;
  std::string label;
  Operator op = Operator::kPresent;
  std::string value;
  std::unique_ptr<re2::RE2> pattern;  // of kMatches; nullptr: matches nothing

  void SetPath(const std::vector<std::string>& path);
  std::optional<std::string_view> ValueIn(const SnapshotInfo& info) const;
  bool Matches(const SnapshotInfo& info) const;

  static Result<Selector> Parse(FilterScanner& scanner);
};

void SnapshotFilter::Selector::SetPath(const std::vector<std::string>& path) {
  const std::string& first = path.front();
  field = first == "name"     ? Field::kName
          : first == "parent" ? Field::kParent
          : first == "kind"   ? Field::kKind
          : first == "labels" ? Field::kLabel
                              : Field::kUnknown;
  for (size_t i = 1; i < path.size(); ++i) label += (i > 1 ? "." : "") + path[i];
}

std::optional<std::string_view> SnapshotFilter::Selector::ValueIn(const SnapshotInfo& info) const {
  switch (field) {
    case Field::kName:
      return info.name;
    case Field::kParent:
      return info.parent;
    case Field::kKind:
      switch (info.kind) {
        case SnapshotKind::kView:
          return "view";
        case SnapshotKind::kActive:
          return "active";
        case SnapshotKind::kCommitted:
          return "committed";
      }
      return std::nullopt;
    case Field::kLabel: {
      const auto it = info.labels.find(label);
      if (it == info.labels.end()) return std::nullopt;
      return it->second;
    }
    case Field::kUnknown:
      return std::nullopt;
  }
  return std::nullopt;
}

bool SnapshotFilter::Selector::Matches(const SnapshotInfo& info) const {
  const std::optional<std::string_view> found = ValueIn(info);
  const std::string_view text = found.value_or("");
  switch (op) {
    case Operator::kPresent:
      return found.has_value();
    case Operator::kEqual:
      return found.has_value() && text == value;
    case Operator::kNotEqual:
      return text != value;
    case Operator::kMatches:
      return pattern != nullptr &&
             re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *pattern);
  }
  return false;
}

Result<SnapshotFilter::Selector> SnapshotFilter::Selector::Parse(FilterScanner& scanner) {
  Selector selector;
  std::vector<std::string> path;
  while (true) {
    SNAP_TRY(FilterToken part, scanner.Next());
    if (part.kind == FilterTokenKind::kQuoted && part.quote != '"') {
      return scanner.Complaint(part.position, "a quote that only patterns may use");
    }
    if (part.kind != FilterTokenKind::kField && part.kind != FilterTokenKind::kQuoted) {
      return scanner.Complaint(part.position, "expected a field or quoted text");
    }
    path.push_back(std::move(part.text));
    if (scanner.Peek() != '.') break;
    SNAP_TRY(const FilterToken dot, scanner.Next());
  }
  selector.SetPath(path);
  if (scanner.AtEnd() || scanner.Peek() == ',') return selector;

  SNAP_TRY(const FilterToken op, scanner.Next());
  if (op.kind != FilterTokenKind::kOperator) {
    return scanner.Complaint(op.position, "expected ==, != or ~=");
  }
  if (op.text == "==") {
    selector.op = Operator::kEqual;
  } else if (op.text == "!=") {
    selector.op = Operator::kNotEqual;
  } else if (op.text == "~=") {
    selector.op = Operator::kMatches;
  } else {
    return scanner.Complaint(op.position, "expected ==, != or ~=");
  }
  SNAP_TRY(FilterToken value, scanner.Next());
  const bool quoted = value.kind == FilterTokenKind::kQuoted;
  if (quoted && value.quote != '"' && selector.op != Operator::kMatches) {
    return scanner.Complaint(value.position, "a quote that only patterns may use");
  }
  if (!quoted && value.kind != FilterTokenKind::kValue) {
    return scanner.Complaint(value.position, "expected a value or quoted text");
  }
  selector.value = std::move(value.text);
  if (selector.op == Operator::kMatches) selector.pattern = CompilePattern(selector.value);
  return selector;
}

SnapshotFilter::SnapshotFilter(std::vector<std::vector<Selector>> alternatives)
    : alternatives_(std::move(alternatives)) {}
SnapshotFilter::SnapshotFilter(SnapshotFilter&&) noexcept = default;
SnapshotFilter& SnapshotFilter::operator=(SnapshotFilter&&) noexcept = default;
SnapshotFilter::~SnapshotFilter() = default;

Result<SnapshotFilter> SnapshotFilter::Parse(std::span<const std::string> texts) {
  if (texts.size() > kMaxFilters) {
    return MakeError(ErrorCode::kLimitExceeded, "parse filters: {}, at most {} are accepted", texts.size(),
                     kMaxFilters);
  }
  std::vector<std::vector<Selector>> alternatives;
  bool everything = false;
  for (const std::string& text : texts) {
    if (text.empty()) {
      everything = true;
      continue;
    }
    if (text.size() > kMaxFilterBytes) {
      return MakeError(ErrorCode::kLimitExceeded, "parse filter: {} bytes, at most {} are accepted",
                       text.size(), kMaxFilterBytes);
    }
    FilterScanner scanner(text);
    std::vector<Selector>& all = alternatives.emplace_back();
    while (true) {
      SNAP_TRY(Selector selector, Selector::Parse(scanner));
      all.push_back(std::move(selector));
      if (scanner.AtEnd()) break;
      if (scanner.Peek() != ',') return scanner.Complaint(scanner.position(), "expected a comma");
      SNAP_TRY(const FilterToken comma, scanner.Next());
    }
  }
  if (everything) alternatives.clear();
  return SnapshotFilter(std::move(alternatives));
}

bool SnapshotFilter::Matches(const SnapshotInfo& info) const {
  const auto holds = [&](const Selector& selector) { return selector.Matches(info); };
  return alternatives_.empty() ||
         std::any_of(alternatives_.begin(), alternatives_.end(),
                     [&](const auto& all) { return std::all_of(all.begin(), all.end(), holds); });
}

}  // namespace snap
