#include "fs/base/quote.h"

#include <gtest/gtest.h>

namespace snap {
namespace {

TEST(Quote, NothingThatATerminalActsOnSurvives) {
  EXPECT_EQ(Quote("etc/passwd"), "'etc/passwd'");
  EXPECT_EQ(Quote("a\nb\tc"), "'a\\nb\\tc'");
  EXPECT_EQ(Quote("\x1b[31m"), "'\\x1b[31m'");
  EXPECT_EQ(Quote("it's \\"), "'it\\'s \\\\'");
  EXPECT_EQ(Quote("\xc2\x9b"), "'\\xc2\\x9b'") << "C1 control sequence introducer";
}

TEST(Quote, ValidUtf8StaysReadableAndInvalidIsEscaped) {
  EXPECT_EQ(Quote("F\xc5\x91tan\xc3\xbas\xc3\xadtv\xc3\xa1ny"), "'F\xc5\x91tan\xc3\xbas\xc3\xadtv\xc3\xa1ny'");
  EXPECT_EQ(Quote("\xff"), "'\\xff'");
  EXPECT_EQ(Quote("\xc3"), "'\\xc3'");
  EXPECT_EQ(Quote("\xc0\x80"), "'\\xc0\\x80'") << "overlong";
  EXPECT_EQ(Quote("\xed\xa0\x80"), "'\\xed\\xa0\\x80'") << "surrogate";
}

TEST(IsUtf8, AcceptsExactlyWellFormedSequences) {
  EXPECT_TRUE(IsUtf8("\xf0\x9f\x93\xa6"));
  EXPECT_FALSE(IsUtf8("\xf4\x90\x80\x80"));
  EXPECT_FALSE(IsUtf8("\x80"));
}

}  // namespace
}  // namespace snap
