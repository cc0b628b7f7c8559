#include "tools/snap/command_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/snap/help.h"
#include "tools/snap/man.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Words = std::vector<std::string>;

/// A small tree of its own: a verb with every kind of option, one whose command follows, a group.
struct Fixture {
  bool flag = false;
  std::string text, operand, image, choice;
  std::optional<std::string> optional;
  std::vector<std::string> texts, operands;
  std::optional<unsigned> number, other;
  CommandTree tree;

  Fixture() {
    const auto nothing = [](Context&) -> Result<int> { return 0; };
    tree.AddVerb({.name = "do", .usage = "[OPTIONS] IN OUT...", .summary = "Do", .default_format = "table"},
                 [&](OptionSet& options) -> CommandTree::Action {
                   options.Operand("IN", operand, true, "In");
                   options.Operands("OUT", operands, false, "Out");
                   options.Flag("-f,--flag", flag, "Flag");
                   options.Text("-t,--text", text, "TEXT", "Text");
                   options.OptionalText("--optional", optional, "TEXT", "Optional");
                   options.Texts("-e,--env", texts, "NAME", "Several");
                   options.Choice("--choice", choice, {"a", "b"}, "Choice");
                   options.Number("--number", number, 1, "Number");
                   options.Number("--other", other, 1, "Number");
                   options.Exclusive({"--number", "--other"});
                   return nothing;
                 });
    tree.AddVerb({.name = "go",
                  .usage = "IMAGE [COMMAND]",
                  .summary = "Go",
                  .command_follows = true,
                  .failure_status = 125},
                 [&](OptionSet& options) -> CommandTree::Action {
                   options.Operand("IMAGE", image, true, "Image");
                   options.Flag("-i", flag, "Flag");
                   options.Texts("-e,--env", texts, "NAME", "Several");
                   options.OptionalText("--optional", optional, "TEXT", "Optional");
                   return nothing;
                 });
    tree.AddGroup("group", "Group");
    tree.AddVerb({.name = "group verb", .usage = "", .summary = "Verb"},
                 [&](OptionSet&) -> CommandTree::Action { return nothing; });
  }
  Result<CommandTree::Parsed> Parse(const Words& words) { return tree.Parse(words); }
};

TEST(CommandTree, BindsOptionsAndOperands) {
  Fixture f;
  const auto parsed =
      f.Parse({"do", "-f", "--text=x=y", "in", "-eA=1", "-e", "B", "out1", "--number", "3", "out2"});
  ASSERT_TRUE(parsed.ok()) << parsed.error().message();
  EXPECT_EQ(parsed->verb->name, "do");
  EXPECT_TRUE(f.flag);
  EXPECT_EQ(f.text, "x=y");
  EXPECT_EQ(f.operand, "in");
  EXPECT_THAT(f.operands, ElementsAre("out1", "out2"));
  EXPECT_THAT(f.texts, ElementsAre("A=1", "B"));
  EXPECT_EQ(f.number, 3U);
  EXPECT_EQ(f.tree.global().format, "table");
  EXPECT_FALSE(f.tree.global().format_given);
}

TEST(CommandTree, AnEmptyValueIsAValue) {
  Fixture f;
  ASSERT_TRUE(f.Parse({"go", "--optional=", "image"}).ok());
  EXPECT_EQ(f.optional, "");
  EXPECT_EQ(f.image, "image");
  Fixture g;
  ASSERT_TRUE(g.Parse({"go", "--optional", "", "image"}).ok());
  EXPECT_EQ(g.optional, "");
  Fixture h;
  ASSERT_TRUE(h.Parse({"go", "image"}).ok());
  EXPECT_EQ(h.optional, std::nullopt);
}

TEST(CommandTree, ValuesMayLookLikeOptions) {
  Fixture f;
  ASSERT_TRUE(f.Parse({"do", "--text", "--flag", "in"}).ok());
  EXPECT_EQ(f.text, "--flag");
  EXPECT_FALSE(f.flag);
}

TEST(CommandTree, OptionsEndAtTheOperandOfAVerbWhoseCommandFollows) {
  Fixture f;
  const auto parsed = f.Parse({"go", "-i", "-e", "A=1", "image", "ls", "-e", "--help", "--", "do"});
  ASSERT_TRUE(parsed.ok()) << parsed.error().message();
  EXPECT_EQ(parsed->kind, CommandTree::Parsed::Kind::kRun);
  EXPECT_EQ(f.image, "image");
  EXPECT_THAT(f.texts, ElementsAre("A=1"));
  EXPECT_THAT(parsed->command, ElementsAre("ls", "-e", "--help", "--", "do"));
}

TEST(CommandTree, TheNameOfAVerbMayBeAnOperand) {
  Fixture f;
  const auto parsed = f.Parse({"go", "do", "group"});
  ASSERT_TRUE(parsed.ok()) << parsed.error().message();
  EXPECT_EQ(f.image, "do");
  EXPECT_THAT(parsed->command, ElementsAre("group"));
}

TEST(CommandTree, TwoDashesEndOptions) {
  Fixture f;
  ASSERT_TRUE(f.Parse({"do", "--", "-f", "--text"}).ok());
  EXPECT_EQ(f.operand, "-f");
  EXPECT_THAT(f.operands, ElementsAre("--text"));
  EXPECT_FALSE(f.flag);
}

TEST(CommandTree, GlobalOptionsStandBeforeAndBehindTheVerb) {
  Fixture f;
  ASSERT_TRUE(f.Parse({"--root", "/a", "do", "in", "--format", "json", "--debug"}).ok());
  EXPECT_EQ(f.tree.global().flags.root, "/a");
  EXPECT_EQ(f.tree.global().format, "json");
  EXPECT_TRUE(f.tree.global().format_given);
  EXPECT_TRUE(f.tree.global().debug);
  Fixture g;
  ASSERT_TRUE(g.Parse({"group", "verb", "--root=/b"}).ok());
  EXPECT_EQ(g.tree.global().flags.root, "/b");
}

TEST(CommandTree, MistakesAreInvalidArgumentsWithAHint) {
  for (const Words& words : std::vector<Words>{{"do"},
                                               {"do", "in", "--unknown"},
                                               {"do", "in", "-x"},
                                               {"do", "--text"},
                                               {"do", "in", "--choice", "c"},
                                               {"do", "in", "--number", "0"},
                                               {"do", "in", "--number", "-1"},
                                               {"do", "in", "--number", "1x"},
                                               {"do", "in", "--number", "99999999999999"},
                                               {"do", "in", "--number", "1", "--other", "2"},
                                               {"do", "in", "--format", "xml"},
                                               {"do", "in", "--flag=maybe"},
                                               {"go", "--unknown", "image"},
                                               {"group", "verb", "extra"}}) {
    Fixture f;
    const auto parsed = f.Parse(words);
    ASSERT_FALSE(parsed.ok()) << testing::PrintToString(words);
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(f.tree.hint(), HasSubstr("--help")) << testing::PrintToString(words);
    EXPECT_EQ(f.tree.failure_status(), words[0] == "go" ? 125 : 0);
  }
}

TEST(CommandTree, MisspeltVerbsGetASuggestion) {
  Fixture f;
  const auto parsed = f.Parse({"group", "vreb"});
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().message(), "snap group has no command 'vreb'");
  EXPECT_EQ(f.tree.hint(), "did you mean 'snap group verb'?");
  Fixture g;
  EXPECT_FALSE(g.Parse({"frobnicate"}).ok());
  EXPECT_EQ(g.tree.hint(), "'snap --help' lists the commands");
}

TEST(CommandTree, HelpWinsOverWhatIsMissing) {
  Fixture f;
  const auto parsed = f.Parse({"do", "-h"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->kind, CommandTree::Parsed::Kind::kHelp);
  EXPECT_EQ(FullName(*parsed->app), "snap do");
  Fixture g;
  EXPECT_EQ(g.Parse({})->kind, CommandTree::Parsed::Kind::kHelp);
  Fixture h;
  EXPECT_EQ(h.Parse({"group"})->kind, CommandTree::Parsed::Kind::kHelp);
}

/// Every verb, group and the root of the real program.
std::vector<const CLI::App*> AllCommands(const CommandTree& tree) {
  std::vector<const CLI::App*> all = {&tree.root()};
  for (size_t i = 0; i < all.size(); ++i) {
    const auto below = VisibleCommands(*all[i]);
    all.insert(all.end(), below.begin(), below.end());
  }
  return all;
}

TEST(Verbs, AreAllDescribedWithExamples) {
  CommandTree tree;
  AddVerbs(tree);
  size_t verbs = 0;
  for (const CLI::App* app : AllCommands(tree)) {
    EXPECT_FALSE(SummaryOf(*app).empty() || SummaryOf(*app).ends_with(".")) << FullName(*app);
    for (const OptionLine& line : OptionLines(*app)) {
      EXPECT_FALSE(line.help.empty() || line.help.ends_with("."))
          << FullName(*app) << " " << line.long_names.front();
      EXPECT_NE(line.type, "TEXT") << FullName(*app) << " " << line.long_names.front()
                                   << ": a default of CLI11";
    }
    const VerbInfo* verb = tree.InfoOf(app);
    if (verb == nullptr) continue;
    ++verbs;
    EXPECT_FALSE(verb->description.empty()) << FullName(*app);
    EXPECT_THAT(verb->examples, Not(IsEmpty())) << FullName(*app);
    for (const Example& example : verb->examples) {
      EXPECT_THAT(std::string(example.command), HasSubstr("snap ")) << FullName(*app);
    }
  }
  EXPECT_EQ(verbs, 25U);
}

TEST(Verbs, HelpFitsAHundredColumnsAndNamesEveryOption) {
  CommandTree tree;
  AddVerbs(tree);
  for (const CLI::App* app : AllCommands(tree)) {
    const std::string help = RenderHelp(tree, *app);
    for (size_t start = 0; start < help.size();) {
      const size_t end = help.find('\n', start);
      ASSERT_NE(end, std::string::npos) << FullName(*app);
      const std::string line = help.substr(start, end - start);
      const bool example = line.starts_with("  snap ") || line.starts_with("  docker");  // never broken
      EXPECT_TRUE(example || line.size() <= 102) << line;
      EXPECT_FALSE(line.ends_with(" ")) << "'" << line << "'";
      start = end + 1;
    }
    for (const OptionLine& line : OptionLines(*app)) EXPECT_THAT(help, HasSubstr(line.long_names.front()));
  }
}

TEST(ManPages, EscapeWhatTroffActsOn) {
  EXPECT_EQ(TroffText(".x\n'y -a\\n ~"), "\\&.x\n\\&\\(aqy \\-a\\en \\(ti");
}

TEST(ManPages, HaveTheSectionsOfAManual) {
  CommandTree tree;
  AddVerbs(tree);
  const std::string root = RenderManPage(tree, tree.root());
  EXPECT_THAT(root, testing::StartsWith(".TH SNAP 1 "));
  for (const char* section : {".SH NAME", ".SH SYNOPSIS", ".SH COMMANDS", ".SH GLOBAL OPTIONS",
                              ".SH ENVIRONMENT", ".SH FILES", ".SH EXIT STATUS"}) {
    EXPECT_THAT(root, HasSubstr(section));
  }
  for (const CLI::App* app : AllCommands(tree)) {
    if (tree.InfoOf(app) == nullptr) continue;
    const std::string page = RenderManPage(tree, *app);
    EXPECT_THAT(page, HasSubstr(".SH EXAMPLES"));
    EXPECT_THAT(page, HasSubstr(".SH DESCRIPTION"));
  }
}

TEST(Wrap, KeepsParagraphsAndLiteralLines) {
  EXPECT_EQ(Wrap("aa bb cc dd", 5, 0), "aa bb\ncc dd\n");
  EXPECT_EQ(Wrap("aa\n\nbb", 10, 2), "  aa\n\n  bb\n");
  EXPECT_EQ(Wrap("aa\n  literal   text\nbb", 8, 0), "aa\n  literal   text\nbb\n");
  EXPECT_EQ(Wrap("averylongword x", 5, 0), "averylongword\nx\n");
}

}  // namespace
}  // namespace snap::cli
