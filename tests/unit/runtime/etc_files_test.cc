#include "runtime/etc_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace snap::runtime {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(EtcFiles, WithoutNetworkThereIsLocalhostTheOwnNameAndNoNameServer) {
  const EtcFiles files = MakeEtcFiles("web1", Network::kNone);
  EXPECT_EQ(files.hostname, "web1\n");
  EXPECT_THAT(files.hosts, HasSubstr("127.0.0.1\tlocalhost\n"));
  EXPECT_THAT(files.hosts, HasSubstr("\tweb1\n"));
  EXPECT_THAT(files.resolv_conf, Not(HasSubstr("nameserver")));
}

TEST(EtcFiles, NameThatIsThereAlreadyIsNotAddedAgain) {
  EXPECT_THAT(MakeEtcFiles("localhost", Network::kNone).hosts, Not(HasSubstr("127.0.0.1\tlocalhost\n127.0.0.1")));
  EXPECT_THAT(MakeEtcFiles("local", Network::kNone).hosts, HasSubstr("127.0.0.1\tlocal\n")) << "a prefix is no match";
}

TEST(EtcFiles, HostnameCannotWriteLines) {
  for (const std::string& name : {std::string("web1"), std::string("a"), std::string("a-b.c"), std::string(64, 'x')}) {
    EXPECT_TRUE(CheckHostname(name).ok()) << name;
  }
  for (const std::string& name :
       {std::string(), std::string(65, 'x'), std::string("a\nb"), std::string("a b"), std::string("-a"),
        std::string("a."), std::string("a/b"), std::string("a\0b", 3), std::string("\xc3\xa4")}) {
    EXPECT_EQ(CheckHostname(name).error().code(), ErrorCode::kInvalidArgument) << name;
  }
}

}  // namespace
}  // namespace snap::runtime
