// CLI11 behind a narrow door. Words are read here first: CLI11 takes "--name=" as a name without a value, and
// has no way to say "options end at the first operand, and only there".
#include "tools/snap/command_tree.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "fs/base/quote.h"
#include "tools/snap/errors.h"

namespace snap::cli {
namespace {

constexpr const char* kOptionGroup = "Options";
constexpr const char* kGlobalGroup = "Global options";

std::string Join(const std::vector<std::string>& words, std::string_view between) {
  return fmt::format("{}", fmt::join(words, between));
}

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

const CLI::Option* FindLong(const CLI::App& app, const std::string& name) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->check_lname(name)) return option;
  }
  return nullptr;
}

const CLI::Option* FindShort(const CLI::App& app, char name) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->check_sname(std::string(1, name))) return option;
  }
  return nullptr;
}

const CLI::App* FindCommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (sub->get_name() == name) return sub;
  }
  return nullptr;
}

bool HasCommands(const CLI::App& app) { return !VisibleCommands(app).empty(); }

bool IsWholeNumber(const std::string& text, unsigned least) {
  unsigned value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  return parsed.ec == std::errc() && parsed.ptr == end && value >= least;
}

unsigned ToNumber(const std::string& text) {
  unsigned value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);  // checked by IsWholeNumber before
  return value;
}

CLI::Option* Describe(CLI::Option* option, const char* type) {
  option->type_name(type)->group(kOptionGroup);
  return option;
}

}  // namespace

// --- OptionSet

void OptionSet::Flag(const char* names, bool& value, const char* help) {
  app_->add_flag(names, value, help)
      ->group(kOptionGroup)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void OptionSet::Text(const char* names, std::string& value, const char* type, const char* help) {
  Describe(app_->add_option(names, value, help), type)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void OptionSet::OptionalText(const char* names, std::optional<std::string>& value, const char* type,
                             const char* help) {
  auto* option = app_->add_option_function<std::string>(
      names, [&value](const std::string& text) { value = text; }, help);
  Describe(option, type)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void OptionSet::Texts(const char* names, std::vector<std::string>& values, const char* type,
                      const char* help) {
  Describe(app_->add_option(names, values, help), type)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

void OptionSet::Choice(const char* names, std::string& value, std::vector<std::string> choices,
                       const char* help) {
  const std::string type = Join(choices, "|");
  auto* option = Describe(app_->add_option(names, value, help), type.c_str());
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  option->check([choices = std::move(choices)](const std::string& text) -> std::string {
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return "";
    return fmt::format("{} is not one of {}", Quote(text), Join(choices, ", "));
  });
}

void OptionSet::Number(const char* names, std::optional<unsigned>& value, unsigned least, const char* help) {
  auto* option = app_->add_option_function<std::string>(
      names, [&value](const std::string& text) { value = ToNumber(text); }, help);
  Describe(option, "N")->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  option->check([least](const std::string& text) -> std::string {
    if (IsWholeNumber(text, least)) return "";
    return fmt::format("{} is not a whole number of {} or more", Quote(text), least);
  });
}

void OptionSet::Operand(const char* type, std::string& value, bool required, const char* help) {
  app_->add_option(type, value, help)->required(required)->type_name(type)->group(kOptionGroup);
}

void OptionSet::Operands(const char* type, std::vector<std::string>& values, bool required,
                         const char* help) {
  app_->add_option(type, values, help)->required(required)->type_name(type)->group(kOptionGroup);
}

void OptionSet::Exclusive(std::initializer_list<const char*> names) {
  for (const char* first : names) {
    for (const char* second : names) {
      if (first != second) app_->get_option(first)->excludes(app_->get_option(second));
    }
  }
}

// --- CommandTree

CommandTree::CommandTree()
    : root_(std::make_unique<CLI::App>("Container layer store, union mounts and launcher", "snap")) {
  root_->set_help_flag("-h,--help", "Show this help")->group(kGlobalGroup);
  root_->require_subcommand(0, 1);
  AddGlobalOptions(root_.get(), std::nullopt);
  root_->add_flag("--version", version_, "Show the version")->group(kGlobalGroup);
}

CommandTree::~CommandTree() = default;

void CommandTree::AddGlobalOptions(CLI::App* app, const std::optional<std::string_view>& default_format) {
  OptionSet options(app);
  if (default_format) {
    // Some things only make sense as JSON; the option is there so that scripts can always give it.
    std::vector<std::string> formats = {"json"};
    if (*default_format != "json") formats.insert(formats.begin(), "table");
    options.Choice("--format", global_.format, std::move(formats), "How to print");
  }
  const size_t before = app->get_options().size();
  options.Text("--root", global_.flags.root, "DIR", "Use the store at DIR (or SNAP_ROOT)");
  options.Choice("--color", global_.flags.color, {"auto", "always", "never"},
                 "Colour in messages (or NO_COLOR)");
  options.Choice("--progress", global_.flags.progress, {"auto", "tty", "plain", "none"},
                 "How to show progress (or SNAP_PROGRESS)");
  options.Flag("--debug", global_.debug, "Log what happens (or SNAP_LOG=debug)");
  const std::vector<CLI::Option*> all = app->get_options();
  for (size_t i = before; i < all.size(); ++i) all[i]->group(kGlobalGroup);
}

CLI::App* CommandTree::AddApp(std::string_view full_name, std::string_view summary) {
  CLI::App* parent = root_.get();
  std::string name(full_name);
  if (const size_t space = name.find(' '); space != std::string::npos) {
    parent = root_->get_subcommand(name.substr(0, space));
    name = name.substr(space + 1);
  }
  CLI::App* app = parent->add_subcommand(name, std::string(summary));
  // Replaces what is inherited, so that the flag is listed among the global options.
  app->set_help_flag("-h,--help", "Show this help")->group(kGlobalGroup);
  return app;
}

void CommandTree::AddGroup(std::string_view name, std::string_view summary) {
  CLI::App* app = AddApp(name, summary);
  app->require_subcommand(0, 1);
  AddGlobalOptions(app, std::nullopt);
}

void CommandTree::AddVerb(VerbInfo info, const Setup& setup) {
  CLI::App* app = AddApp(info.name, info.summary);
  OptionSet options(app);
  actions_[app] = setup(options);
  AddGlobalOptions(app, info.default_format);
  verbs_[app] = std::move(info);
}

const VerbInfo* CommandTree::InfoOf(const CLI::App* app) const {
  const auto it = verbs_.find(app);
  return it == verbs_.end() ? nullptr : &it->second;
}

CommandTree::Words CommandTree::Read(std::span<const std::string> words) const {
  Words out;
  out.app = root_.get();
  const VerbInfo* verb = nullptr;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    out.wants_value = nullptr;
    if (out.options_ended || word.size() < 2 || word.front() != '-') {
      if (HasCommands(*out.app)) {
        const CLI::App* command = FindCommand(*out.app, word);
        if (command == nullptr) {
          out.unknown_verb = word;
          return out;
        }
        out.app = command;
        verb = InfoOf(command);
        out.normal.push_back(word);
        continue;
      }
      out.operands.push_back(word);
      out.normal.push_back(word);
      if (verb != nullptr && verb->command_follows) {
        out.tail.assign(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
        out.options_ended = true;
        return out;
      }
      continue;
    }
    const auto take_value = [&](const CLI::Option* option) {
      if (i + 1 < words.size()) {
        out.normal.push_back(words[++i]);
      } else {
        out.wants_value = option;
      }
    };
    if (word == "--") {
      out.options_ended = true;
      out.normal.push_back(word);
    } else if (word.starts_with("--")) {
      const size_t equals = word.find('=');
      const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
      const CLI::Option* option = FindLong(*out.app, name);
      if (option == nullptr || !TakesValue(*option)) {
        out.normal.push_back(word);  // CLI11 knows what to say about it
      } else if (equals != std::string::npos) {
        out.normal.push_back("--" + name);
        out.normal.push_back(word.substr(equals + 1));
      } else {
        out.normal.push_back(word);
        take_value(option);
      }
    } else {
      for (size_t at = 1; at < word.size(); ++at) {
        const CLI::Option* option = FindShort(*out.app, word[at]);
        if (option == nullptr) {
          out.normal.push_back("-" + word.substr(at));
          break;
        }
        out.normal.push_back(std::string("-") + word[at]);
        if (!TakesValue(*option)) continue;
        if (at + 1 < word.size()) {
          out.normal.push_back(word.substr(at + 1));
        } else {
          take_value(option);
        }
        break;
      }
    }
  }
  return out;
}

Result<CommandTree::Parsed> CommandTree::Parse(const std::vector<std::string>& words) {
  Words read = Read(words);
  const VerbInfo* verb = InfoOf(read.app);
  failure_status_ = verb != nullptr ? verb->failure_status : 0;
  const std::string help_command = FullName(*read.app) + " --help";
  hint_ = fmt::format("'{}' shows how it is used", help_command);
  if (!read.unknown_verb.empty()) {
    std::vector<std::string> names;
    for (const CLI::App* command : VisibleCommands(*read.app)) names.push_back(NameOf(*command));
    const std::vector<std::string_view> candidates(names.begin(), names.end());
    const std::string_view closest = ClosestWord(read.unknown_verb, candidates);
    if (!closest.empty()) {
      hint_ = fmt::format("did you mean '{} {}'?", FullName(*read.app), closest);
    } else {
      hint_ = fmt::format("'{}' lists the commands", help_command);
    }
    return MakeError(ErrorCode::kInvalidArgument, "{} has no command {}", FullName(*read.app),
                     Quote(read.unknown_verb));
  }
  Parsed parsed;
  parsed.app = read.app;
  parsed.verb = verb;
  parsed.command = std::move(read.tail);
  if (verb != nullptr) parsed.action = &actions_.at(read.app);
  try {
    std::vector<std::string> reversed(read.normal.rbegin(), read.normal.rend());
    root_->parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    parsed.kind = Parsed::Kind::kHelp;
    return parsed;
  } catch (const CLI::ParseError& error) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: {}", FullName(*read.app),
                     EscapeUnprintable(error.what()));
  }
  if (version_) {
    parsed.kind = Parsed::Kind::kVersion;
  } else if (verb == nullptr) {
    parsed.kind = Parsed::Kind::kHelp;
  } else if (verb->default_format) {
    global_.format_given = !global_.format.empty();
    if (!global_.format_given) global_.format = *verb->default_format;
  }
  return parsed;
}

// --- what the printers of the tree read

std::string NameOf(const CLI::App& app) { return app.get_name(); }

std::string SummaryOf(const CLI::App& app) { return app.get_description(); }

const CLI::App* ParentOf(const CLI::App& app) { return app.get_parent(); }

std::string TypeOf(const CLI::Option& option) { return TakesValue(option) ? option.get_type_name() : ""; }

std::string FullName(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : FullName(*parent) + " " + app.get_name();
}

std::vector<const CLI::App*> VisibleCommands(const CLI::App& app) {
  const auto all = app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
  return {all.begin(), all.end()};
}

std::vector<OptionLine> OptionLines(const CLI::App& app) {
  std::vector<OptionLine> own;
  std::vector<OptionLine> global;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) continue;
    OptionLine line;
    line.option = option;
    for (const std::string& name : option->get_snames()) line.short_names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) line.long_names.push_back("--" + name);
    line.type = TypeOf(*option);
    line.help = option->get_description();
    line.global = option->get_group() == kGlobalGroup;
    (line.global ? global : own).push_back(std::move(line));
  }
  own.insert(own.end(), std::make_move_iterator(global.begin()), std::make_move_iterator(global.end()));
  return own;
}

std::vector<OperandLine> OperandLines(const CLI::App& app) {
  std::vector<OperandLine> lines;
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* o) { return o->get_positional(); })) {
    lines.push_back({option->get_type_name(), option->get_description(), option->get_required(),
                     option->get_items_expected_max() > 1});
  }
  return lines;
}

}  // namespace snap::cli
