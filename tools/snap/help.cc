#include "tools/snap/help.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/snap/human.h"

namespace snap::cli {
namespace {

constexpr size_t kColumns = 100;
constexpr size_t kWidestLeft = 34;

std::string OptionNames(const OptionLine& line) {
  std::string out =
      line.short_names.empty() ? "    " : line.short_names.front() + (line.long_names.empty() ? "" : ", ");
  out += fmt::format("{}", fmt::join(line.long_names, ", "));
  if (!line.type.empty()) out += " " + line.type;
  return out;
}

/// "  left    right", the right part wrapped in its own column.
void AddEntry(std::string& out, const std::string& left, std::string_view right, size_t left_width) {
  const std::string wrapped = Wrap(right, kColumns, left_width + 4);
  std::string line = "  " + left;
  if (DisplayWidth(left) <= left_width) {
    line.append(left_width + 4 - 2 - DisplayWidth(left), ' ');
    out += line + wrapped.substr(std::min(wrapped.size(), left_width + 4));
  } else {
    out += line + "\n" + wrapped;
  }
}

}  // namespace

std::string Wrap(std::string_view text, size_t columns, size_t indent) {
  std::string out;
  const std::string margin(indent, ' ');
  size_t used = 0;  // of the current line; 0: nothing on it yet
  const auto end_line = [&] {
    if (used > 0) out += '\n';
    used = 0;
  };
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    if (line.empty()) {
      end_line();
      out += '\n';
    } else if (line.front() == ' ') {
      end_line();
      out += margin;
      out += line;
      out += '\n';
    } else {
      while (!line.empty()) {
        const size_t space = line.find(' ');
        const std::string_view word = line.substr(0, space);
        line.remove_prefix(space == std::string_view::npos ? line.size() : space + 1);
        const size_t width = DisplayWidth(word);
        if (used > 0 && used + 1 + width > columns) end_line();
        if (used == 0) {
          out += margin;
          used = indent;
        } else {
          out += ' ';
          ++used;
        }
        out += word;
        used += width;
      }
    }
  }
  end_line();
  return out;
}

std::string RenderHelp(const CommandTree& tree, const CLI::App& app) {
  const VerbInfo* verb = tree.InfoOf(&app);
  const std::string name = FullName(app);
  std::string out =
      fmt::format("Usage: {} {}\n\n", name, verb != nullptr ? verb->usage : "[OPTIONS] COMMAND");
  out += Wrap(SummaryOf(app) + ".", kColumns, 0);
  if (verb != nullptr && !verb->description.empty()) out += "\n" + Wrap(verb->description, kColumns, 0);

  const std::vector<const CLI::App*> commands = VisibleCommands(app);
  if (!commands.empty()) {
    out += "\nCommands:\n";
    size_t width = 0;
    for (const CLI::App* command : commands) width = std::max(width, NameOf(*command).size());
    for (const CLI::App* command : commands) AddEntry(out, NameOf(*command), SummaryOf(*command), width);
  }
  const std::vector<OperandLine> operands = OperandLines(app);
  if (!operands.empty()) {
    out += "\nArguments:\n";
    size_t width = 0;
    for (const OperandLine& line : operands) width = std::max(width, DisplayWidth(line.type));
    for (const OperandLine& line : operands) AddEntry(out, line.type, line.help, width);
  }
  const std::vector<OptionLine> options = OptionLines(app);
  size_t width = 0;
  for (const OptionLine& line : options) {
    const size_t names = DisplayWidth(OptionNames(line));
    if (names <= kWidestLeft) width = std::max(width, names);
  }
  bool in_global = false;
  for (size_t i = 0; i < options.size(); ++i) {
    if (i == 0 || options[i].global != in_global) {
      in_global = options[i].global;
      out += in_global ? "\nGlobal options:\n" : "\nOptions:\n";
    }
    AddEntry(out, OptionNames(options[i]), options[i].help, width);
  }
  if (verb != nullptr && !verb->examples.empty()) {
    out += "\nExamples:\n";
    for (const Example& example : verb->examples) {
      out += fmt::format("  {}\n", example.command);
      out += Wrap(example.meaning, kColumns, 6);
    }
  }
  if (!commands.empty()) out += fmt::format("\n'{} COMMAND --help' tells more about a command.\n", name);
  return out;
}

}  // namespace snap::cli
