// A command line in runc's manner: "--flag value", "--flag=value", one dash or two, flags before operands. Pure.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"

namespace snap::runtime_cli {

struct Flag {
  enum class Kind { kSwitch, kText, kTexts } kind = Kind::kSwitch;
  std::string_view name;        ///< "bundle"
  std::string_view short_name;  ///< "b", or ""
  std::string_view help;        ///< "" hides it
};

class Arguments {
 public:
  /// Takes flags until the first operand, or "--". Errors: kInvalidArgument, naming the flag.
  static Result<Arguments> Parse(std::span<const std::string> words, std::span<const Flag> flags);

  bool Has(std::string_view name) const { return values_.contains(name); }
  /// The last value; "" when there is none.
  std::string Text(std::string_view name) const;
  const std::vector<std::string>& Texts(std::string_view name) const;
  const std::vector<std::string>& operands() const { return operands_; }

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> operands_;
};

}  // namespace snap::runtime_cli
