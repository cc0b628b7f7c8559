#include "snapshotter/grpc/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snap {
namespace {

std::vector<SnapshotInfo> Corpus() {
  const auto make = [](std::string name, std::string parent, SnapshotKind kind, Labels labels) {
    return SnapshotInfo{std::move(name), std::move(parent), kind, 0, 0, std::move(labels)};
  };
  return {
      make("base", "", SnapshotKind::kCommitted, {{"foo", "true"}}),
      make("child", "base", SnapshotKind::kActive, {{"foo", "omg_asdf.asdf-qwer"}, {"a.b", "dots"}}),
      make("look, here", "base", SnapshotKind::kView, {{"more \\ complex\"", "present"}}),
      make("gr\xc3\xbc\xc3\x9f"
           "e",
           "child", SnapshotKind::kActive, {{"containerd.io/snapshot.ref", "sha256:0/1"}}),
  };
}

/// The positions in the corpus that the filters select.
std::vector<size_t> Selected(const std::vector<std::string>& texts) {
  const auto filter = SnapshotFilter::Parse(texts);
  EXPECT_TRUE(filter.ok()) << filter.error().message();
  std::vector<size_t> out;
  const auto corpus = Corpus();
  for (size_t i = 0; filter.ok() && i < corpus.size(); ++i) {
    if (filter->Matches(corpus[i])) out.push_back(i);
  }
  return out;
}

struct Case {
  const char* text;
  std::vector<size_t> selected;
};
class Filter : public testing::TestWithParam<Case> {};

TEST_P(Filter, Selects) { EXPECT_EQ(Selected({GetParam().text}), GetParam().selected) << GetParam().text; }

INSTANTIATE_TEST_SUITE_P(
    All, Filter,
    testing::Values(Case{"", {0, 1, 2, 3}}, Case{"name", {0, 1, 2, 3}}, Case{"parent", {0, 1, 2, 3}},
                    Case{"nosuch", {}}, Case{"nosuch!=x", {0, 1, 2, 3}}, Case{"nosuch!=\"\"", {}},
                    Case{"nosuch==\"\"", {}}, Case{"name==base", {0}}, Case{"name!=base", {1, 2, 3}},
                    Case{"name.ignored==base", {0}}, Case{"parent==\"\"", {0}},
                    Case{"parent!=\"\"", {1, 2, 3}}, Case{"parent==base", {1, 2}},
                    Case{"kind==active", {1, 3}}, Case{"kind==view", {2}}, Case{"kind==committed", {0}},
                    Case{"kind==unknown", {}}, Case{"labels.foo", {0, 1}}, Case{"labels.foo==true", {0}},
                    Case{"labels.foo==omg_asdf.asdf-qwer", {1}}, Case{"labels.a.b==dots", {1}},
                    Case{"labels.\"a.b\"==dots", {1}}, Case{"labels.\"a\".b==dots", {1}}, Case{"labels", {}},
                    Case{"labels.foo!=true", {1, 2, 3}},
                    Case{"labels.\"containerd.io/snapshot.ref\"==\"sha256:0/1\"", {3}},
                    Case{"labels.\"containerd.io/snapshot.ref\"==sha256:0/1,parent==child", {3}},
                    Case{"labels.\"containerd.io/snapshot.ref\"==sha256:0/1,parent==base", {}},
                    Case{"labels.\"more \\\\ complex\\\"\"", {2}}, Case{"name==\"look, here\"", {2}},
                    Case{"name==\"\\x62\\141\\u0073e\"", {0}}, Case{"name==\"gr\\u00fc\\u00DFe\"", {3}},
                    Case{"name==gr\xc3\xbc\xc3\x9f"
                         "e",
                         {3}},
                    Case{"name==\"gr\\xc3\\xbc\\303\\237e\"", {3}}, Case{"name==\"\\U000000fc\"", {}},
                    Case{"name == base", {0}}, Case{" name==base, kind==committed", {0}},
                    Case{"labels. foo==true", {0}}, Case{"name~=a", {0}}, Case{"name~=^ch,kind==active", {1}},
                    Case{"name~=/^(base|child)$/", {0, 1}}, Case{"name~=|,|", {2}},
                    Case{"name~=\"^b.se$\"", {0}}, Case{"name~=/\\x62\\/?/", {0}},
                    Case{"labels.foo~=/^$/", {2, 3}}, Case{"name~=(", {}}, Case{"name~=/a{2000}/", {}}));

TEST(Filters, OfSeveralOneMustHold) {
  EXPECT_EQ(Selected({"name==base", "kind==view"}), (std::vector<size_t>{0, 2}));
  EXPECT_EQ(Selected({"name==nosuch", ""}), (std::vector<size_t>{0, 1, 2, 3}));
  EXPECT_EQ(Selected({}), (std::vector<size_t>{0, 1, 2, 3}));
}

class MalformedFilter : public testing::TestWithParam<const char*> {};

TEST_P(MalformedFilter, IsRefused) {
  const std::vector<std::string> texts = {"name==base", GetParam()};
  const auto filter = SnapshotFilter::Parse(texts);
  ASSERT_FALSE(filter.ok()) << GetParam();
  EXPECT_EQ(filter.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(filter.error().message(), testing::HasSubstr(" at byte "));
}

INSTANTIATE_TEST_SUITE_P(All, MalformedFilter,
                         testing::Values(" ", ",", ".", "==x", "name==", "name==base,", "name,", "labels.",
                                         "labels..a", "name=base", "name===base", "name<base", "name==~base",
                                         "name!~base", "name==base trailing", "name ,kind", "labels.?a==x",
                                         "labels.ns/key==value", "labels.key==/value", "labels.|foo|==x",
                                         "name==|base|", "name==/base/", "name==\"base", "name==\"ba\nse\"",
                                         "name==\"\\q\"", "name==\"\\'\"", "name==\"\\/\"", "name~=/\\\"/",
                                         "name==\"\\400\"", "name==\"\\08\"", "name==\"\\x1\"",
                                         "name==\"\\u12\"", "name==\"\\U00110000\"", "name==\"base\"x",
                                         "image~=,id?=?fbaq", "name\"==\"base", "name==\xff",
                                         "name==\xef\xbf\xbd", "\xc3==x", "name==\"\xf0\x9f\""));

TEST(Filters, RefuseWhatIsTooLong) {
  const std::vector<std::string> text = {"name==" + std::string(1U << 17U, 'x')};
  EXPECT_EQ(SnapshotFilter::Parse(text).error().code(), ErrorCode::kLimitExceeded);
  const std::vector<std::string> many(2000, "name");
  EXPECT_EQ(SnapshotFilter::Parse(many).error().code(), ErrorCode::kLimitExceeded);
}

TEST(Filters, NameThePlace) {
  const std::vector<std::string> text = {"labels.?a"};
  EXPECT_THAT(SnapshotFilter::Parse(text).error().message(),
              testing::AllOf(testing::HasSubstr("'labels.?a'"), testing::HasSubstr("at byte 8")));
}

TEST(Filters, RefuseANul) {
  const std::vector<std::string> text = {std::string("name==a\0b", 9)};
  EXPECT_EQ(SnapshotFilter::Parse(text).error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace snap
