#include "tools/snap-runtime/arguments.h"

#include <algorithm>

#include "fs/base/quote.h"

namespace snap::runtime_cli {

Result<Arguments> Arguments::Parse(std::span<const std::string> words, std::span<const Flag> flags) {
  Arguments out;
  size_t i = 0;
  for (; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (word == "--") {
      ++i;
      break;
    }
    if (word.size() < 2 || word[0] != '-') break;
    word.remove_prefix(word.starts_with("--") ? 2 : 1);
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const auto found = std::find_if(flags.begin(), flags.end(), [&](const Flag& flag) {
      return name == flag.name || (!flag.short_name.empty() && name == flag.short_name);
    });
    if (found == flags.end()) return MakeError(ErrorCode::kInvalidArgument, "flag provided but not defined: {}", Quote(words[i]));
    std::vector<std::string>& values = out.values_[std::string(found->name)];
    if (found->kind == Flag::Kind::kSwitch) {
      const std::string_view value = equals == std::string_view::npos ? "true" : word.substr(equals + 1);
      if (value != "true" && value != "false") {
        return MakeError(ErrorCode::kInvalidArgument, "flag --{} is true or false, not {}", found->name, Quote(value));
      }
      if (value == "true") values.assign(1, "true");
      else out.values_.erase(std::string(found->name));
      continue;
    }
    std::string value;
    if (equals != std::string_view::npos) {
      value = word.substr(equals + 1);
    } else if (++i < words.size()) {
      value = words[i];
    } else {
      return MakeError(ErrorCode::kInvalidArgument, "flag needs an argument: --{}", found->name);
    }
    if (found->kind == Flag::Kind::kText) values.clear();
    values.push_back(std::move(value));
  }
  out.operands_.assign(words.begin() + static_cast<ptrdiff_t>(i), words.end());
  return out;
}

std::string Arguments::Text(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() || found->second.empty() ? "" : found->second.back();
}

const std::vector<std::string>& Arguments::Texts(std::string_view name) const {
  static const std::vector<std::string> none;
  const auto found = values_.find(name);
  return found == values_.end() ? none : found->second;
}

}  // namespace snap::runtime_cli
