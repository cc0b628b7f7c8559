// CommandTree: the verbs of the program with their options, operands, descriptions and examples. Parsing,
// --help, man pages and completion are all read from this one tree. Invariant: command_tree.cc and the files
// that print the tree are the only ones that see CLI11; none of its exceptions leaves them.
#pragma once

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "tools/snap/settings.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace snap::cli {

class Context;

struct Example {
  std::string_view command;
  std::string_view meaning;
};

/// What people read about a verb. Views of literals.
struct VerbInfo {
  std::string_view name{};         ///< "import"; "system df" for a verb of a group
  std::string_view usage{};        ///< what follows the name: "[OPTIONS] SOURCE [NAME]"
  std::string_view summary{};      ///< one line, no full stop
  std::string_view description{};  ///< paragraphs divided by an empty line
  std::vector<Example> examples{};
  /// Options end at the first operand; all that follows belongs to the command that is run.
  bool command_follows = false;
  std::optional<std::string_view> default_format{};  ///< verbs that print data: "table" or "json"
  int failure_status = 0;  ///< exit status of every failure of our own; 0: by its class
};

/// Names and types of a verb's options. `names` as in "-q,--quiet"; `type` is shown in help and drives
/// completion: IMAGE, CONTAINER, LAYER, MOUNT, DIR, FILE, SOURCE and "a|b|c" are completed; a trailing "..."
/// is ignored. The targets must live as long as the tree.
class OptionSet {
 public:
  explicit OptionSet(CLI::App* app) : app_(app) {}
  void Flag(const char* names, bool& value, const char* help);
  void Text(const char* names, std::string& value, const char* type, const char* help);
  /// Tells an empty value from an absent one.
  void OptionalText(const char* names, std::optional<std::string>& value, const char* type, const char* help);
  /// May be given several times; takes one value each time.
  void Texts(const char* names, std::vector<std::string>& values, const char* type, const char* help);
  void Choice(const char* names, std::string& value, std::vector<std::string> choices, const char* help);
  void Number(const char* names, std::optional<unsigned>& value, unsigned least, const char* help);
  void Operand(const char* type, std::string& value, bool required, const char* help);
  void Operands(const char* type, std::vector<std::string>& values, bool required, const char* help);
  /// At most one of these may be given.
  void Exclusive(std::initializer_list<const char*> names);

 private:
  CLI::App* app_;
};

class CommandTree {
 public:
  using Action = std::function<Result<int>(Context&)>;
  /// Binds a verb's options and returns what it does.
  using Setup = std::function<Action(OptionSet&)>;

  CommandTree();
  ~CommandTree();
  CommandTree(const CommandTree&) = delete;
  CommandTree& operator=(const CommandTree&) = delete;

  void AddGroup(std::string_view name, std::string_view summary);
  void AddVerb(VerbInfo info, const Setup& setup);

  /// Options that every verb takes.
  struct Global {
    Flags flags;
    std::string format;  ///< the verb's default when none was given
    bool format_given = false;
    bool debug = false;
  };

  /// What a command line asks for.
  struct Parsed {
    enum class Kind { kRun, kHelp, kVersion } kind = Kind::kRun;
    const CLI::App* app = nullptr;     ///< the verb, group or root it is about
    const VerbInfo* verb = nullptr;    ///< kRun
    const Action* action = nullptr;    ///< kRun
    std::vector<std::string> command;  ///< words behind the first operand of a verb whose command follows
  };
  /// `words` without the program's name. Call once. Errors: kInvalidArgument with a text for the user.
  Result<Parsed> Parse(const std::vector<std::string>& words);
  /// For an error of Parse: "snap import --help", as far as the verb was understood; or "did you mean".
  const std::string& hint() const { return hint_; }
  int failure_status() const { return failure_status_; }

  const Global& global() const { return global_; }
  const CLI::App& root() const { return *root_; }
  /// nullptr for the root and groups.
  const VerbInfo* InfoOf(const CLI::App* app) const;

  /// What words mean without running or judging them; the base of Parse and of completion.
  struct Words {
    const CLI::App* app = nullptr;
    std::vector<std::string> normal;  ///< options and values as words of their own, up to the tail
    std::vector<std::string> operands;
    std::vector<std::string> tail;             ///< of a verb whose command follows
    const CLI::Option* wants_value = nullptr;  ///< the last word was this option
    std::string unknown_verb;
    bool options_ended = false;  ///< after "--" or in the tail
  };
  Words Read(std::span<const std::string> words) const;

 private:
  CLI::App* AddApp(std::string_view full_name, std::string_view summary);
  void AddGlobalOptions(CLI::App* app, const std::optional<std::string_view>& default_format);

  std::unique_ptr<CLI::App> root_;
  std::map<const CLI::App*, VerbInfo> verbs_;
  std::map<const CLI::App*, Action> actions_;
  Global global_;
  std::string hint_;
  int failure_status_ = 0;
  bool version_ = false;
};

/// "snap system df" for a verb; "snap" for the root.
std::string FullName(const CLI::App& app);
/// Sub-commands that people are shown.
std::vector<const CLI::App*> VisibleCommands(const CLI::App& app);
/// Options in groups, in the order they were added; operands are not among them.
struct OptionLine {
  const CLI::Option* option;
  std::vector<std::string> short_names, long_names;  ///< with dashes
  std::string type;                                  ///< "" for flags
  std::string help;
  bool global = false;
};
std::vector<OptionLine> OptionLines(const CLI::App& app);
struct OperandLine {
  std::string type, help;
  bool required = false, repeated = false;
};
std::vector<OperandLine> OperandLines(const CLI::App& app);
std::string SummaryOf(const CLI::App& app);
/// nullptr for the root.
const CLI::App* ParentOf(const CLI::App& app);
/// The type of an option's value: "DIR", "auto|plain|uring", "" for flags.
std::string TypeOf(const CLI::Option& option);
std::string NameOf(const CLI::App& app);

}  // namespace snap::cli
