#include "snapshotter/control_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_store.h"

namespace snap::control {
namespace {

using test::IsOk;
using ::testing::ElementsAre;
using ::testing::Pair;

template <typename T>
T RoundTrip(const T& request) {
  const Result<Request> decoded = DecodeRequest(Encode(request));
  EXPECT_TRUE(IsOk(decoded));
  EXPECT_TRUE(std::holds_alternative<T>(*decoded));
  return std::get<T>(*decoded);
}

TEST(ControlProtocol, RequestsComeBackAsTheyWere) {
  const std::string bytes("\0a\xff", 3);
  EXPECT_EQ(RoundTrip(Hello{1, 7}), (Hello{1, 7}));
  EXPECT_EQ(RoundTrip(Get{bytes}), (Get{bytes}));
  EXPECT_EQ(RoundTrip(Scan{bytes, ""}), (Scan{bytes, ""}));
  (void)RoundTrip(Status{});
  (void)RoundTrip(Metrics{});
  (void)RoundTrip(Events{});
  (void)RoundTrip(Reload{});
  Write write;
  write.sync = false;
  write.changes.Put("a", bytes);
  write.changes.Delete("b");
  write.changes.Put("", "");
  const Write back = RoundTrip(write);
  EXPECT_FALSE(back.sync);
  ASSERT_EQ(back.changes.changes.size(), 3U);
  EXPECT_EQ(back.changes.changes[0].value, bytes);
  EXPECT_FALSE(back.changes.changes[1].value.has_value());
  EXPECT_EQ(back.changes.changes[2].value, "");
}

TEST(ControlProtocol, AnswersComeBackAsTheyWere) {
  EXPECT_EQ(DecodeHelloAnswer(EncodeHelloAnswer(3)).value(), 3U);
  EXPECT_EQ(DecodeGetAnswer(EncodeGetAnswer("x")).value(), "x");
  EXPECT_FALSE(DecodeGetAnswer(EncodeGetAnswer(std::nullopt)).value().has_value());
  EXPECT_EQ(DecodeText(EncodeText("t")).value(), "t");
  const Event event{-5, "snapshot.commit", {{"a", "1"}, {"b", ""}}};
  EXPECT_EQ(DecodeEvent(EncodeEvent(event)).value(), event);
  const std::string error = EncodeError(MakeError(ErrorCode::kNoSpace, "write 'x'"));
  for (const Error& carried : {DecodeHelloAnswer(error).error(), DecodeGetAnswer(error).error(), DecodeText(error).error(),
                               DecodeEvent(error).error(), DecodeScanPage(error).error()}) {
    EXPECT_EQ(carried.code(), ErrorCode::kNoSpace);
    EXPECT_EQ(carried.message(), "write 'x'");
  }
}

TEST(ControlProtocol, APageTakesWhatFitsAndAlwaysTheFirst) {
  ScanPageWriter page;
  EXPECT_TRUE(page.Add("k1", std::string(1U << 20U, 'v')));
  EXPECT_FALSE(page.Add("k2", "v"));
  const std::string message = std::move(page).Finish(true);
  const Result<ScanPage> read = DecodeScanPage(message);
  ASSERT_TRUE(IsOk(read));
  EXPECT_TRUE(read->more);
  EXPECT_THAT(read->entries, ElementsAre(Pair("k1", std::string(1U << 20U, 'v'))));

  ScanPageWriter small;
  EXPECT_TRUE(small.Add("a", "1"));
  EXPECT_TRUE(small.Add("b", ""));
  const std::string two = std::move(small).Finish(false);
  EXPECT_THAT(DecodeScanPage(two)->entries, ElementsAre(Pair("a", "1"), Pair("b", "")));
  // More that never comes would be asked for for ever.
  EXPECT_FALSE(DecodeScanPage(ScanPageWriter().Finish(true)).ok());
  EXPECT_TRUE(DecodeScanPage(ScanPageWriter().Finish(false)).ok());
}

TEST(ControlProtocol, NothingShorterOrLongerThanAMessageIsOne) {
  Write write;
  write.changes.Put("key", "value");
  write.changes.Delete("other");
  const std::string requests[] = {Encode(Hello()), Encode(Get{"key"}), Encode(Scan{"k", "l"}), Encode(write),
                                  Encode(Status()), Encode(Metrics()), Encode(Events()), Encode(Reload())};
  for (const std::string& request : requests) {
    for (size_t size = 0; size < request.size(); ++size) {
      const auto cut = DecodeRequest(request.substr(0, size));
      ASSERT_FALSE(cut.ok()) << int{request[0]} << " cut to " << size;
      EXPECT_EQ(cut.error().code(), ErrorCode::kCorrupt);
    }
    EXPECT_EQ(DecodeRequest(request + '\0').error().code(), ErrorCode::kCorrupt) << int{request[0]};
  }
  const std::string event = EncodeEvent({1, "t", {{"a", "b"}}});
  for (size_t size = 0; size < event.size(); ++size) EXPECT_FALSE(DecodeEvent(event.substr(0, size)).ok());
}

TEST(ControlProtocol, AbsurdNumbersAreRefusedWithoutMemory) {
  const std::string huge = std::string(9, '\xff') + "\x01";  // 2^64 - 1
  EXPECT_EQ(DecodeRequest("\x02" + huge).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(DecodeRequest("\x04\x01" + huge).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(DecodeRequest("\x04\x02" + std::string(1, '\0')).error().code(), ErrorCode::kCorrupt);  // sync is 2
  EXPECT_EQ(DecodeScanPage("\x80\x01" + huge).error().code(), ErrorCode::kCorrupt);
}

TEST(ControlProtocol, UnknownRequestsAreUnsupportedNotMalformed) {
  EXPECT_EQ(DecodeRequest("\x7fwhatever").error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(DecodeRequest(std::string(1, '\0')).error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace snap::control
