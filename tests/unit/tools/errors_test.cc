#include "tools/snap/errors.h"

#include <gtest/gtest.h>

#include "fs/base/json.h"

namespace snap::cli {
namespace {

TEST(ExitStatus, FollowsFromTheClassOfTheError) {
  EXPECT_EQ(ExitStatusOf(ErrorCode::kInvalidArgument), 2);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kNotFound), 3);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kExists), 4);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kBusy), 4);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kPermission), 5);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kCorrupt), 6);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kLimitExceeded), 6);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kNoSpace), 7);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kUnavailable), 8);
  EXPECT_EQ(ExitStatusOf(ErrorCode::kIo), 1);
}

TEST(ErrorText, IsOneLineForWhatAndOneForWhatNext) {
  ErrorReport report{ErrorCode::kNotFound, "find image 'x': there is none\nreally\x1b", "look elsewhere", 3};
  EXPECT_EQ(RenderErrorText(report, false),
            "snap: find image 'x': there is none\\x0areally\\x1b\nhint: look elsewhere\n");
  report.hint.clear();
  EXPECT_EQ(RenderErrorText(report, true),
            "\x1b[1;31msnap:\x1b[0m find image 'x': there is none\\x0areally\\x1b\n");
}

TEST(ErrorText, LeavesEscapesAndUtf8Alone) {
  EXPECT_EQ(RenderErrorText({ErrorCode::kIo, "open 'a\\nß'", "", 1}, false), "snap: open 'a\\nß'\n");
}

TEST(ErrorJson, HasCodeMessageHintAndExitStatus) {
  const std::string text = RenderErrorJson({ErrorCode::kBusy, "it's \"busy\"", "wait", 4});
  EXPECT_TRUE(text.ends_with("\n"));
  const auto json = ParseJson(text, "error");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->at("error").at("code"), "E_BUSY");
  EXPECT_EQ(json->at("error").at("message"), "it's \"busy\"");
  EXPECT_EQ(json->at("error").at("hint"), "wait");
  EXPECT_EQ(json->at("error").at("exit_status"), 4);
}

TEST(ClosestWord, FindsSlipsAndNothingFarAway) {
  const std::vector<std::string_view> verbs = {"import", "images", "inspect", "rm",   "rmi",
                                               "run",    "ps",     "umount",  "mount"};
  EXPECT_EQ(ClosestWord("improt", verbs), "import") << "neighbours swapped";
  EXPECT_EQ(ClosestWord("image", verbs), "images");
  EXPECT_EQ(ClosestWord("rum", verbs), "rm");
  EXPECT_EQ(ClosestWord("unmount", verbs), "umount");
  EXPECT_EQ(ClosestWord("frobnicate", verbs), "");
  EXPECT_EQ(ClosestWord("", verbs), "");
}

TEST(GeneralHint, TellsOnlyUsersToBecomeRoot) {
  EXPECT_NE(GeneralHint(ErrorCode::kPermission, false), "");
  EXPECT_EQ(GeneralHint(ErrorCode::kPermission, true), "");
}

}  // namespace
}  // namespace snap::cli
