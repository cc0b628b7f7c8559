#include "tools/snap/man.h"

#include <fcntl.h>

#include <algorithm>
#include <cctype>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "tools/snap/version.h"

namespace snap::cli {
namespace {

/// "snap-system-df"
std::string PageName(const CLI::App& app) {
  std::string name = FullName(app);
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

std::string UpperCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

/// Paragraphs; lines that begin with a blank are kept as they are.
std::string Paragraphs(std::string_view text) {
  std::string out;
  bool literal = false;
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    const bool is_literal = line.starts_with(' ');
    if (is_literal != literal) {
      out += is_literal ? ".PP\n.nf\n" : ".fi\n";
      literal = is_literal;
    }
    out += line.empty() ? std::string(".PP\n") : TroffText(line) + "\n";
  }
  if (literal) out += ".fi\n";
  return out;
}

std::string OptionEntry(const OptionLine& line) {
  std::string names;
  for (const auto* list : {&line.short_names, &line.long_names}) {
    for (const std::string& name : *list) {
      if (!names.empty()) names += ", ";
      names += "\\fB" + TroffText(name) + "\\fR";
    }
  }
  if (!line.type.empty()) names += " \\fI" + TroffText(line.type) + "\\fR";
  return ".TP\n" + names + "\n" + TroffText(line.help) + ".\n";
}

constexpr std::string_view kFiles =
    ".SH ENVIRONMENT\n"
    ".TP\n\\fBSNAP_ROOT\\fR\nThe store to use when \\fB\\-\\-root\\fR is not given.\n"
    ".TP\n\\fBSNAP_CONFIG\\fR\nThe configuration file to read; empty for none.\n"
    ".TP\n\\fBSNAP_DURABILITY\\fR, \\fBSNAP_IO_ENGINE\\fR, \\fBSNAP_PARALLEL_LAYERS\\fR, "
    "\\fBSNAP_PROGRESS\\fR\n"
    "As the keys of the configuration file.\n"
    ".TP\n\\fBSNAP_LOG\\fR\ndebug, info, warning or error.\n"
    ".TP\n\\fBNO_COLOR\\fR\nNo colour when it is not empty.\n"
    ".SH FILES\n"
    ".TP\n\\fI/var/lib/snap\\-store\\fR\nThe store.\n"
    ".TP\n\\fI/run/snap\\-store\\fR\nRecords and directories of mounts.\n"
    ".TP\n\\fI/etc/snap\\-store/config.toml\\fR\nSettings.\n"
    ".SH EXIT STATUS\n"
    "0 success, 1 failure, 2 usage, 3 not found, 4 conflict (exists or busy), 5 permission, 6 integrity, 7 "
    "no space,\n"
    "8 unavailable. \\fBsnap run\\fR: see \\fBsnap\\-run\\fR(1).\n";

}  // namespace

std::string TroffText(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      case '`':
        out += "\\(ga";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string RenderManPage(const CommandTree& tree, const CLI::App& app) {
  const VerbInfo* verb = tree.InfoOf(&app);
  const std::string page = PageName(app);
  std::string summary = SummaryOf(app);
  std::string out = fmt::format(".TH {} 1 {} \"snap {}\" \"User Commands\"\n", TroffText(UpperCase(page)),
                                kReleaseDate, kVersion);
  out += fmt::format(".SH NAME\n{} \\- {}\n", TroffText(page), TroffText(summary));
  out += fmt::format(".SH SYNOPSIS\n\\fB{}\\fR {}\n", TroffText(FullName(app)),
                     TroffText(verb != nullptr ? verb->usage : "[OPTIONS] COMMAND"));
  if (verb != nullptr && !verb->description.empty())
    out += ".SH DESCRIPTION\n" + Paragraphs(verb->description);
  const std::vector<const CLI::App*> commands = VisibleCommands(app);
  if (!commands.empty()) {
    out += ".SH COMMANDS\n";
    for (const CLI::App* command : commands) {
      out += fmt::format(".TP\n\\fB{}\\fR(1)\n{}.\n", TroffText(PageName(*command)),
                         TroffText(SummaryOf(*command)));
    }
  }
  const std::vector<OperandLine> operands = OperandLines(app);
  if (!operands.empty()) {
    out += ".SH ARGUMENTS\n";
    for (const OperandLine& line : operands) {
      out += fmt::format(".TP\n\\fI{}\\fR\n{}.\n", TroffText(line.type), TroffText(line.help));
    }
  }
  bool in_global = false;
  const std::vector<OptionLine> options = OptionLines(app);
  for (size_t i = 0; i < options.size(); ++i) {
    if (i == 0 || options[i].global != in_global) {
      in_global = options[i].global;
      out += in_global ? ".SH GLOBAL OPTIONS\n" : ".SH OPTIONS\n";
    }
    out += OptionEntry(options[i]);
  }
  if (verb != nullptr && !verb->examples.empty()) {
    out += ".SH EXAMPLES\n";
    for (const Example& example : verb->examples) {
      out += fmt::format(".TP\n\\fB{}\\fR\n{}\n", TroffText(example.command), TroffText(example.meaning));
    }
  }
  if (ParentOf(app) == nullptr) {
    out += kFiles;
  } else {
    out += fmt::format(".SH SEE ALSO\n\\fB{}\\fR(1)\n", TroffText(PageName(*ParentOf(app))));
  }
  return out;
}

Result<void> WriteManPages(const CommandTree& tree, const std::string& directory) {
  SNAP_TRY_SYS(const UniqueFd dir, sys::OpenAt(FdRef::Cwd(), directory.c_str(), O_RDONLY | O_DIRECTORY),
               "open {}", Quote(directory));
  std::vector<const CLI::App*> todo = {&tree.root()};
  while (!todo.empty()) {
    const CLI::App* app = todo.back();
    todo.pop_back();
    const std::string name = PageName(*app) + ".1";
    SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(dir, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644),
                 "make {}", Quote(name));
    SNAP_TRY_SYS_VOID(sys::WriteAll(file, RenderManPage(tree, *app)), "write {}", Quote(name));
    const std::vector<const CLI::App*> commands = VisibleCommands(*app);
    todo.insert(todo.end(), commands.begin(), commands.end());
  }
  return {};
}

}  // namespace snap::cli
