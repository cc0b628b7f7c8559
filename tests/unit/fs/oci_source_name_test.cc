#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs/oci_image.h"
#include "tests/support/oci_builder.h"

namespace snap::oci {
namespace {

using testing::HasSubstr;
using Transport = SourceName::Transport;

TEST(SourceName, TransportPathAndReferenceAreSplit) {
  const struct {
    const char* text;
    Transport transport;
    const char* path;
    const char* ref;
  } kCases[] = {
      {"oci:/no/such/dir", Transport::kOciLayout, "/no/such/dir", ""},
      {"oci:/no/such/dir:base", Transport::kOciLayout, "/no/such/dir", "base"},
      {"oci:/no/such/dir:debian:12", Transport::kOciLayout, "/no/such/dir", "debian:12"},
      {"oci-archive:x.tar:localhost:5000/a:1", Transport::kOciArchive, "x.tar", "localhost:5000/a:1"},
      {"docker-archive:-", Transport::kDockerArchive, "-", ""},
      {"docker-archive:-:debian:12", Transport::kDockerArchive, "-", "debian:12"},
      {"tar:-", Transport::kTar, "-", ""},
      {"tar:a:b.tar", Transport::kTar, "a:b.tar", ""},
      {"dir:/a:b", Transport::kDirectory, "/a:b", ""},
  };
  for (const auto& test : kCases) {
    const auto name = SourceName::Parse(test.text);
    ASSERT_TRUE(name.ok()) << test.text;
    EXPECT_EQ(name->transport, test.transport) << test.text;
    EXPECT_EQ(name->path, test.path) << test.text;
    EXPECT_EQ(name->ref, test.ref) << test.text;
  }
}

TEST(SourceName, ColonsOfAPathThatExistsBelongToThePath) {
  const test::TempDir dir;
  dir.WriteFile("a:b/x", "");
  const std::string with_colon = dir / "a:b";
  EXPECT_EQ(SourceName::Parse("oci:" + with_colon)->path, with_colon);
  EXPECT_EQ(SourceName::Parse("oci:" + with_colon)->ref, "");
  EXPECT_EQ(SourceName::Parse("oci:" + with_colon + ":c:d")->path, with_colon);
  EXPECT_EQ(SourceName::Parse("oci:" + with_colon + ":c:d")->ref, "c:d");
}

TEST(SourceName, WhatCannotBeASourceIsRefusedWithAHint) {
  for (const char* text :
       {"", "debian:12", "oci:", "oci::base", "oci:/no/such/dir:", "tar:", "dir:", "docker://debian"}) {
    const auto name = SourceName::Parse(text);
    ASSERT_FALSE(name.ok()) << text;
    EXPECT_EQ(name.error().code(), ErrorCode::kInvalidArgument) << text;
  }
  const test::TempDir dir;
  EXPECT_THAT(SourceName::Parse(dir.path()).error().message(),
              HasSubstr("for this directory: dir:" + dir.path()));
  dir.WriteFile("oci-layout", "");
  EXPECT_THAT(SourceName::Parse(dir.path()).error().message(),
              HasSubstr("for this directory: oci:" + dir.path()));
  EXPECT_THAT(SourceName::Parse(dir / "oci-layout").error().message(), HasSubstr("tar:" + dir.path()));
}

}  // namespace
}  // namespace snap::oci
