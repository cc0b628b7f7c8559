#include <gtest/gtest.h>

#include "runtime/container.h"

namespace snap::runtime {
namespace {

struct Good {
  const char* text;
  const char* source;
  const char* target;
  bool read_only, recursive;
};

TEST(BindMount, ReadsDockersSyntax) {
  const Good cases[] = {
      {"/a:/b", "/a", "/b", false, true},
      {"/a:/b:ro", "/a", "/b", true, true},
      {"/a:/b:rw", "/a", "/b", false, true},
      {"/a:/b:bind", "/a", "/b", false, false},
      {"/a:/b:rbind,ro", "/a", "/b", true, true},
      {"/a:/b:ro,bind", "/a", "/b", true, false},
      {"/with space:/x\n", "/with space", "/x\n", false, true},
      {"/:/host", "/", "/host", false, true},
  };
  for (const Good& c : cases) {
    const auto bind = ParseBindMount(c.text);
    ASSERT_TRUE(bind.ok()) << c.text;
    EXPECT_EQ(bind->source, c.source);
    EXPECT_EQ(bind->target, c.target);
    EXPECT_EQ(bind->read_only, c.read_only) << c.text;
    EXPECT_EQ(bind->recursive, c.recursive) << c.text;
  }
}

TEST(BindMount, RefusesWhatIsUnclear) {
  using std::string_view_literals::operator""sv;
  for (const std::string_view text :
       {""sv, ":"sv, "/a"sv, "/a:"sv, ":/b"sv, "a:/b"sv, "/a:b"sv, "./a:/b"sv, "/a:/"sv, "/a://"sv, "/a:/./"sv,
        "/a:/b/../c"sv, "/a:/.."sv, "/a:/b:"sv, "/a:/b:ro,"sv, "/a:/b:ro,rw"sv, "/a:/b:ro,ro"sv, "/a:/b:bind,rbind"sv,
        "/a:/b:RO"sv, "/a:/b:z"sv, "/a:/b:shared"sv, "/a:/b:ro:rw"sv, "/a\0:/b"sv, "/a:/b\0"sv}) {
    const auto bind = ParseBindMount(text);
    ASSERT_FALSE(bind.ok()) << text;
    EXPECT_EQ(bind.error().code(), ErrorCode::kInvalidArgument) << text;
  }
}

TEST(BindMount, ErrorNamesTheOption) {
  EXPECT_EQ(ParseBindMount("/a:/b:rslave").error().message(),
            "parse bind mount '/a:/b:rslave': option 'rslave' is not one of ro, rw, rbind, bind");
}

}  // namespace
}  // namespace snap::runtime
