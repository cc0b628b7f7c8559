#include "tools/snap/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;

std::vector<Candidate> FakeNames(std::string_view kind) {
  if (kind == "IMAGE") return {{"debian:12", "id"}, {"app:1.4", "id"}, {"app:1.5", "id"}};
  if (kind == "CONTAINER") return {{"calm-heron", "debian:12"}};
  if (kind == "LAYER") return {{"0123456789ab", "layer"}};
  if (kind == "MOUNT") return {{"/mnt", "debian:12"}};
  return {{"unexpected-kind", ""}};
}

Completion CompleteWords(const std::vector<std::string>& words) {
  static const CommandTree& tree = *[] {
    auto* made = new CommandTree;  // lives as long as the program
    AddVerbs(*made);
    return made;
  }();
  return Complete(tree, words, FakeNames);
}

std::vector<std::string> Values(const std::vector<std::string>& words) {
  std::vector<std::string> values;
  for (const Candidate& candidate : CompleteWords(words).candidates) values.push_back(candidate.value);
  return values;
}

TEST(Completion, OffersVerbsWithTheirSummaries) {
  EXPECT_THAT(Values({"im"}), ElementsAre("images", "import"));
  EXPECT_EQ(CompleteWords({"ps"}).candidates, (std::vector<Candidate>{{"ps", "List containers"}}));
  EXPECT_THAT(Values({"system", ""}), ElementsAre("check", "df", "gc", "info", "migrate"));
  EXPECT_THAT(Values({"--root", "/x", "tag"}), ElementsAre("tag"));
  EXPECT_THAT(Values({"nonsense", ""}), IsEmpty());
}

TEST(Completion, HidesWhatIsForScripts) { EXPECT_THAT(Values({"_"}), IsEmpty()); }

TEST(Completion, OffersOptionsOfTheVerbAndGlobalOnes) {
  EXPECT_THAT(Values({"images", "--"}),
              IsSupersetOf({"--quiet", "--digests", "--format", "--root", "--help"}));
  EXPECT_THAT(Values({"images", "-"}), IsSupersetOf({"-q", "--quiet", "-h"}));
  EXPECT_THAT(Values({"images", "--qu"}), ElementsAre("--quiet"));
  EXPECT_THAT(Values({"images", "--"}), Not(Contains("--rm")));
}

TEST(Completion, OffersValuesOfOptions) {
  EXPECT_THAT(Values({"images", "--format", ""}), ElementsAre("json", "table"));
  EXPECT_THAT(Values({"images", "--format=j"}), ElementsAre("--format=json"));
  EXPECT_THAT(Values({"run", "--network", "h"}), ElementsAre("host"));
  EXPECT_EQ(CompleteWords({"--root", ""}).kind, Completion::Kind::kDirectories);
  EXPECT_EQ(CompleteWords({"run", "--env-file", ""}).kind, Completion::Kind::kFiles);
  EXPECT_THAT(Values({"mount", "--upto", ""}), IsEmpty());
}

TEST(Completion, OffersNamesForOperandsInTheirPlaces) {
  EXPECT_THAT(Values({"tag", "a"}), ElementsAre("app:1.4", "app:1.5"));
  EXPECT_THAT(Values({"rmi", "-f", "app:1.4", "app"}), ElementsAre("app:1.4", "app:1.5"));
  EXPECT_THAT(Values({"mount", ""}), ElementsAre("app:1.4", "app:1.5", "calm-heron", "debian:12"));
  EXPECT_EQ(CompleteWords({"mount", "debian:12", ""}).kind, Completion::Kind::kDirectories);
  EXPECT_THAT(Values({"rm", ""}), ElementsAre("calm-heron"));
  EXPECT_THAT(Values({"umount", ""}), ElementsAre("/mnt"));
  EXPECT_THAT(Values({"inspect", "0"}), ElementsAre("0123456789ab"));
  EXPECT_THAT(Values({"layers", "debian:12", ""}), IsEmpty()) << "it takes one image only";
  EXPECT_THAT(Values({"completion", ""}), ElementsAre("bash", "fish", "zsh"));
}

TEST(Completion, LeavesTheCommandOfRunToTheShell) {
  EXPECT_THAT(Values({"run", "--rm", "deb"}), ElementsAre("debian:12"));
  EXPECT_EQ(CompleteWords({"run", "--rm", "debian:12", ""}).kind, Completion::Kind::kFiles);
  EXPECT_EQ(CompleteWords({"run", "--rm", "debian:12", "--fo"}).kind, Completion::Kind::kFiles);
}

TEST(Completion, OffersTransportsAndFilesForSources) {
  EXPECT_THAT(Values({"import", "oci"}), ElementsAre("oci-archive:", "oci:"));
  EXPECT_EQ(CompleteWords({"import", "oci"}).kind, Completion::Kind::kNoSpace);
  const test::TempDir dir;
  (void)dir.MakeDir("layout");
  (void)dir.MakeDir("lay\nout");
  EXPECT_THAT(Values({"import", "oci:" + dir.path() + "/la"}), ElementsAre("oci:" + dir.path() + "/layout/"));
}

TEST(Completion, SaysWhatKindItsLinesAre) {
  EXPECT_EQ(RenderCompletion({Completion::Kind::kWords, {{"a", "b\nc"}}}), "a\tb\\nc\n:words\n");
  EXPECT_EQ(RenderCompletion({Completion::Kind::kFiles, {}}), ":files\n");
}

TEST(CompletionScript, ExistsForThreeShells) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_THAT(std::string(CompletionScript(shell)), testing::HasSubstr("__complete")) << shell;
  }
  EXPECT_EQ(CompletionScript("tcsh"), "");
}

}  // namespace
}  // namespace snap::cli
