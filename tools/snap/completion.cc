#include "tools/snap/completion.h"

#include <fcntl.h>

#include <algorithm>
#include <cctype>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap::cli {
namespace {

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

/// Things of the store that have names; other words in capitals (NAME, N) are for people only.
bool IsKind(std::string_view word) {
  return word == "IMAGE" || word == "CONTAINER" || word == "LAYER" || word == "MOUNT";
}

/// "oci:" and the like, then names of files behind it. The shells cannot do that: for them it is one word.
Completion CompleteSource(const std::string& typed) {
  Completion completion;
  completion.kind = Completion::Kind::kNoSpace;
  const size_t colon = typed.find(':');
  if (colon == std::string::npos) {
    completion.candidates = {{"oci:", "OCI image layout"},
                             {"oci-archive:", "OCI image layout in a tar file"},
                             {"docker-archive:", "what 'docker save' writes"},
                             {"tar:", "root file system as a tar file"},
                             {"dir:", "root file system as a directory"}};
    return completion;
  }
  const std::string path = typed.substr(colon + 1);
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  const auto dir =
      sys::OpenAt(FdRef::Cwd(), directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return completion;
  const auto entries = sys::ListDir(*dir);
  if (!entries.ok()) return completion;
  for (const sys::DirEntry& entry : *entries) {
    const bool hidden = entry.name.starts_with('.');
    if (hidden && !path.substr(directory.size()).starts_with('.')) continue;
    if (EscapeUnprintable(entry.name) != entry.name) continue;  // no shell could take it from a line of text
    const auto opened = sys::OpenAt(*dir, entry.name.c_str(), O_PATH | O_DIRECTORY);
    completion.candidates.push_back(
        {typed.substr(0, colon + 1) + directory + entry.name + (opened.ok() ? "/" : ""), ""});
  }
  return completion;
}

/// Values of a type as the command tree spells types.
Completion CompleteType(std::string type, const std::string& typed, const NameSource& names) {
  Completion completion;
  if (type.ends_with("...")) type.resize(type.size() - 3);
  if (type == "SOURCE") return CompleteSource(typed);
  if (type == "DIR" || type == "PATH") {
    completion.kind = Completion::Kind::kDirectories;
  } else if (type == "FILE" || type.starts_with("SOURCE:")) {
    completion.kind = Completion::Kind::kFiles;
  } else if (type == "OBJECT") {
    return CompleteType("CONTAINER|IMAGE|LAYER", typed, names);
  } else {
    for (const std::string& part : Split(type, '|')) {
      if (IsKind(part)) {
        const std::vector<Candidate> found = names(part);
        completion.candidates.insert(completion.candidates.end(), found.begin(), found.end());
      } else if (type.find('|') != std::string::npos &&
                 !std::isupper(static_cast<unsigned char>(part.front()))) {
        completion.candidates.push_back({part, ""});
      }
    }
  }
  return completion;
}

Completion CompleteOptionNames(const CLI::App& app, const std::string& typed) {
  Completion completion;
  for (const OptionLine& line : OptionLines(app)) {
    for (const std::string& name : line.long_names) completion.candidates.push_back({name, line.help});
    if (typed != "-") continue;
    for (const std::string& name : line.short_names) completion.candidates.push_back({name, line.help});
  }
  return completion;
}

Completion CompleteUnfiltered(const CommandTree& tree, const std::vector<std::string>& words,
                              const NameSource& names) {
  const std::string& typed = words.back();
  const CommandTree::Words read = tree.Read(std::span(words).first(words.size() - 1));
  if (!read.unknown_verb.empty()) return {};
  if (read.wants_value != nullptr) return CompleteType(TypeOf(*read.wants_value), typed, names);
  const VerbInfo* verb = tree.InfoOf(read.app);
  if (verb != nullptr && verb->command_follows && !read.operands.empty()) {
    return {Completion::Kind::kFiles, {}};  // paths in the image would be better; the host's are a good guess
  }
  if (!read.options_ended && typed.starts_with('-')) {
    const size_t equals = typed.find('=');
    if (!typed.starts_with("--") || equals == std::string::npos) return CompleteOptionNames(*read.app, typed);
    for (const OptionLine& line : OptionLines(*read.app)) {
      const auto& all = line.long_names;
      if (std::find(all.begin(), all.end(), typed.substr(0, equals)) == all.end()) continue;
      Completion completion = CompleteType(line.type, typed.substr(equals + 1), names);
      for (Candidate& candidate : completion.candidates)
        candidate.value.insert(0, typed.substr(0, equals + 1));
      return completion;
    }
    return {};
  }
  Completion completion;
  const std::vector<const CLI::App*> commands = VisibleCommands(*read.app);
  if (!commands.empty()) {
    for (const CLI::App* command : commands)
      completion.candidates.push_back({NameOf(*command), SummaryOf(*command)});
    return completion;
  }
  const std::vector<OperandLine> operands = OperandLines(*read.app);
  if (operands.empty()) return completion;
  const size_t index = read.operands.size();
  if (index >= operands.size() && !operands.back().repeated) return completion;
  return CompleteType(operands[std::min(index, operands.size() - 1)].type, typed, names);
}

constexpr std::string_view kBash = R"(# bash completion for snap and snapstore
_snap_complete() {
  # Bash divides words at ':' and '=' too, where we do not: put together what no blank divides.
  local rest=$COMP_LINE word stripped i
  local -a words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    stripped=${rest#"${rest%%[![:space:]]*}"}
    if ((i > 0)) && [[ $stripped == "$rest" ]]; then
      words[${#words[@]}-1]+=$word
    else
      words+=("$word")
    fi
    rest=${stripped#"$word"}
  done
  local current=${words[${#words[@]}-1]}
  # Replies stand for what is behind the last divider.
  local prefix=${current%"${current##*[:=]}"}
  [[ $COMP_WORDBREAKS == *:* || $prefix != *: ]] || prefix=
  local -a lines=()
  mapfile -t lines < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
  ((${#lines[@]} > 0)) || return 0
  local directive=${lines[${#lines[@]}-1]} line
  COMPREPLY=()
  case $directive in
    :files) mapfile -t COMPREPLY < <(compgen -f -- "${current#"$prefix"}"); compopt -o filenames 2>/dev/null; return 0 ;;
    :dirs) mapfile -t COMPREPLY < <(compgen -d -- "${current#"$prefix"}"); compopt -o filenames 2>/dev/null; return 0 ;;
    :nospace) compopt -o nospace 2>/dev/null ;;
  esac
  for line in "${lines[@]:0:${#lines[@]}-1}"; do
    line=${line%%$'\t'*}
    COMPREPLY+=("${line#"$prefix"}")
  done
  return 0
}
complete -F _snap_complete snap snapstore
)";

constexpr std::string_view kZsh = R"(#compdef snap snapstore
# zsh completion for snap and snapstore
_snap() {
  local -a lines candidates
  local line directive
  lines=("${(@f)$(${words[1]} __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  directive=${lines[-1]}
  case $directive in
    :files) _files; return ;;
    :dirs) _files -/; return ;;
  esac
  for line in "${(@)lines[1,-2]}"; do
    candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done
  if [[ $directive == :nospace ]]; then
    _describe -V 'snap' candidates -S ''
  else
    _describe -V 'snap' candidates
  fi
}
if [[ $funcstack[1] == _snap ]]; then
  _snap "$@"
else
  compdef _snap snap snapstore
fi
)";

constexpr std::string_view kFish = R"(# fish completion for snap and snapstore
function __snap_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (command $words[1] __complete -- $words[2..-1] "$current" 2>/dev/null)
    test (count $lines) -gt 0; or return
    switch $lines[-1]
        case ':files' ':dirs'
            __fish_complete_path "$current"
        case '*'
            if test (count $lines) -gt 1
                printf '%s\n' $lines[1..-2]
            end
    end
end
complete -c snap -f -a '(__snap_complete)'
complete -c snapstore -f -a '(__snap_complete)'
)";

}  // namespace

Completion Complete(const CommandTree& tree, const std::vector<std::string>& words, const NameSource& names) {
  if (words.empty()) return {};
  Completion completion = CompleteUnfiltered(tree, words, names);
  auto& candidates = completion.candidates;
  std::erase_if(candidates,
                [&](const Candidate& candidate) { return !candidate.value.starts_with(words.back()); });
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.value < b.value; });
  candidates.erase(std::unique(candidates.begin(), candidates.end(),
                               [](const Candidate& a, const Candidate& b) { return a.value == b.value; }),
                   candidates.end());
  return completion;
}

std::string RenderCompletion(const Completion& completion) {
  std::string out;
  for (const Candidate& candidate : completion.candidates) {
    out += EscapeUnprintable(candidate.value) + "\t" + EscapeUnprintable(candidate.description) + "\n";
  }
  switch (completion.kind) {
    case Completion::Kind::kWords:
      return out + ":words\n";
    case Completion::Kind::kNoSpace:
      return out + ":nospace\n";
    case Completion::Kind::kFiles:
      return out + ":files\n";
    case Completion::Kind::kDirectories:
      return out + ":dirs\n";
  }
  return out;
}

std::string_view CompletionScript(std::string_view shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  return "";
}

}  // namespace snap::cli
