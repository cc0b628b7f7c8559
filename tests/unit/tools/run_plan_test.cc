#include "tools/snap/run_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snap::cli {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

using Words = std::vector<std::string>;

std::optional<std::string> Host(const std::string& name) {
  if (name == "FROM_HOST") return "host value";
  return std::nullopt;
}

struct CommandCase {
  const char* name;
  Words entrypoint, cmd;                // of the image
  std::optional<std::string> override;  // --entrypoint
  Words command;
  Words expected;  // empty: an error
};

class RunCommand : public testing::TestWithParam<CommandCase> {};

TEST_P(RunCommand, IsMergedAsDockerDoes) {
  oci::ImageConfig image;
  image.entrypoint = GetParam().entrypoint;
  image.cmd = GetParam().cmd;
  RunRequest request;
  request.entrypoint = GetParam().override;
  request.command = GetParam().command;
  const auto plan = PlanRun(image, request, Host);
  if (GetParam().expected.empty()) {
    ASSERT_FALSE(plan.ok());
    EXPECT_THAT(plan.error().message(), StartsWith("no command"));
  } else {
    ASSERT_TRUE(plan.ok()) << plan.error().message();
    EXPECT_EQ(plan->args, GetParam().expected);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, RunCommand,
    testing::Values(
        CommandCase{"OnlyCmd", {}, {"bash"}, {}, {}, {"bash"}},
        CommandCase{"CmdReplaced", {}, {"bash"}, {}, {"ls", "-l"}, {"ls", "-l"}},
        CommandCase{"EntrypointAndCmd", {"/init"}, {"serve"}, {}, {}, {"/init", "serve"}},
        CommandCase{"ArgumentsReplaceCmdOnly", {"/init"}, {"serve"}, {}, {"check"}, {"/init", "check"}},
        CommandCase{"EntrypointAlone", {"/init"}, {}, {}, {}, {"/init"}},
        CommandCase{"OverrideDropsCmd", {"/init"}, {"serve"}, "sh", {}, {"sh"}},
        CommandCase{"OverrideWithArguments", {"/init"}, {"serve"}, "sh", {"-c", "x"}, {"sh", "-c", "x"}},
        CommandCase{"EmptyOverrideNeedsACommand", {"/init"}, {"serve"}, "", {}, {}},
        CommandCase{"EmptyOverrideRunsTheCommand", {"/init"}, {"serve"}, "", {"ls"}, {"ls"}},
        CommandCase{"NothingAtAll", {}, {}, {}, {}, {}}, CommandCase{"EmptyProgram", {}, {}, {}, {""}, {}}),
    [](const auto& test) { return test.param.name; });

Result<RunPlan> Plan(const Words& image_env, const Words& user_env, const Words& files = {}) {
  oci::ImageConfig image;
  image.cmd = {"x"};
  image.env = image_env;
  RunRequest request;
  request.env = user_env;
  request.env_files = files;
  request.hostname = "h";
  return PlanRun(image, request, Host);
}

TEST(RunEnvironment, StartsWithPathAndHostname) {
  EXPECT_THAT(Plan({}, {})->env,
              ElementsAre("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=h"));
  EXPECT_THAT(Plan({"PATH=/bin"}, {})->env, ElementsAre("PATH=/bin", "HOSTNAME=h"));
}

TEST(RunEnvironment, LaterPlacesReplaceEarlierOnes) {
  EXPECT_THAT(
      Plan({"A=image", "B=image", "C=image"}, {"C=user", "D=user", "D=again"}, {"B=file\nC=file\n"})->env,
      ElementsAre(StartsWith("PATH="), "HOSTNAME=h", "A=image", "B=file", "C=user", "D=again"));
}

TEST(RunEnvironment, ANameAloneTakesTheHostsValueOrIsUnset) {
  EXPECT_THAT(Plan({}, {"FROM_HOST"})->env, Contains("FROM_HOST=host value"));
  EXPECT_THAT(Plan({"UNSET=image"}, {"UNSET"})->env, Not(Contains(StartsWith("UNSET"))));
  EXPECT_THAT(Plan({}, {}, {"FROM_HOST\n"})->env, Contains("FROM_HOST=host value"));
  EXPECT_THAT(Plan({}, {"EMPTY="})->env, Contains("EMPTY="));
}

TEST(RunEnvironment, VariablesWithoutANameAreRefusedFromUsersAndIgnoredFromImages) {
  EXPECT_EQ(Plan({}, {"=x"}).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Plan({}, {""}).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(Plan({"=x", "NOVALUE", std::string("A=\0b", 4)}, {})->env,
              ElementsAre(StartsWith("PATH="), "HOSTNAME=h"));
}

TEST(EnvFile, ReadsLinesAndSkipsComments) {
  const auto variables = ParseEnvFile("\xEF\xBB\xBF# c\n\n  A=1 2\r\nB\n\tC==\n#D=1\nE=#x", "f");
  ASSERT_TRUE(variables.ok());
  EXPECT_THAT(*variables, ElementsAre("A=1 2", "B", "C==", "E=#x"));
}

TEST(EnvFile, NamesTheLineItCannotRead) {
  EXPECT_THAT(ParseEnvFile("A=1\n=2\n", "f.env").error().message(), HasSubstr("f.env:2: "));
  EXPECT_THAT(ParseEnvFile("A b=1\n", "f.env").error().message(), HasSubstr("f.env:1: "));
}

TEST(RunPlan, UserAndDirectoryOfTheUserWin) {
  oci::ImageConfig image;
  image.cmd = {"x"};
  image.user = "daemon";
  image.working_dir = "/srv";
  RunRequest request;
  EXPECT_EQ(PlanRun(image, request, Host)->user, "daemon");
  EXPECT_EQ(PlanRun(image, request, Host)->working_dir, "/srv");
  request.user = "0:0";
  request.working_dir = "/tmp";
  EXPECT_EQ(PlanRun(image, request, Host)->user, "0:0");
  EXPECT_EQ(PlanRun(image, request, Host)->working_dir, "/tmp");
}

TEST(RunPlan, WorkingDirectoriesAreAbsolute) {
  oci::ImageConfig image;
  image.cmd = {"x"};
  RunRequest request;
  EXPECT_EQ(PlanRun(image, request, Host)->working_dir, "/");
  image.working_dir = "srv";
  EXPECT_EQ(PlanRun(image, request, Host)->working_dir, "/srv");
  request.working_dir = "tmp";
  EXPECT_EQ(PlanRun(image, request, Host).error().code(), ErrorCode::kInvalidArgument);
}

TEST(RunPlan, NulBytesOfTheImageAreRefused) {
  oci::ImageConfig image;
  image.cmd = {std::string("x\0y", 3)};
  EXPECT_EQ(PlanRun(image, {}, Host).error().code(), ErrorCode::kInvalidArgument);
  image.cmd = {"x"};
  image.user = std::string("a\0b", 3);
  EXPECT_EQ(PlanRun(image, {}, Host).error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace snap::cli
