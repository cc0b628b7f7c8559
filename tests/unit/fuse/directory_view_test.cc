#include "fuse/directory_view.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <set>
#include <string>
#include <vector>

#include "tests/unit/fuse/memory_layer.h"

namespace snap::fuse {
namespace {

using test::MemoryDir;
using Dirs = std::vector<std::shared_ptr<LayerDir>>;
using File = MemoryDir::File;

std::shared_ptr<const DirectoryView> Build(const Dirs& dirs) {
  auto view = DirectoryView::Build(dirs);
  EXPECT_TRUE(view.ok());
  return *view;
}

std::multiset<std::string> Names(const DirectoryView& view) {
  std::multiset<std::string> names;
  view.ForEach([&](std::string_view name) { names.emplace(name); });
  EXPECT_EQ(view.size(), names.size());
  for (const std::string& name : names) EXPECT_TRUE(view.Find(name)) << name;
  return names;
}
using Expected = std::multiset<std::string>;

TEST(DirectoryView, TheTopmostEntryOfANameCounts) {
  const auto top = MemoryDir::Make(), bottom = MemoryDir::Make();
  top->Add("both", {FileType::kSymlink, 0, 1, {}, {}});
  top->Add("top");
  bottom->Add("bottom");
  bottom->Add("both");
  const auto view = Build({top, bottom});
  EXPECT_EQ((Expected{"both", "bottom", "top"}), Names(*view));
  const auto both = view->Find("both");
  EXPECT_EQ(FileType::kSymlink, both->name.type);
  EXPECT_EQ("both", both->name.name);
  EXPECT_EQ(1U, both->name.inode);
  EXPECT_EQ(0U, both->layer);
  EXPECT_EQ(1U, view->Find("bottom")->layer);
  EXPECT_FALSE(view->Find("none"));
  EXPECT_FALSE(view->Find(""));
}

TEST(DirectoryView, OfNoDirectoriesIsEmpty) {
  const auto view = Build({});
  EXPECT_EQ(0U, view->size());
  EXPECT_FALSE(view->Find("a"));
  EXPECT_EQ(0U, Build({MemoryDir::Make()})->size());
}

struct Form {
  const char* what;
  std::function<void(MemoryDir&, const std::string&)> hide;
};
const std::vector<Form> kForms = {
    {"device", [](MemoryDir& dir, const std::string& name) { dir.AddWhiteout(name); }},
    {"file", [](MemoryDir& dir, const std::string& name) { dir.Add(".wh." + name, {FileType::kRegular, 0, 0, {}, {}}); }},
    {"xattr",
     [](MemoryDir& dir, const std::string& name) {
       dir.xattrs["trusted.overlay.opaque"] = "x";
       dir.Add(name, {FileType::kRegular, 0, 0, {{"trusted.overlay.whiteout", ""}}, {}});
     }},
    {"user xattr",
     [](MemoryDir& dir, const std::string& name) {
       dir.xattrs["user.overlay.opaque"] = "x";
       dir.Add(name, {FileType::kRegular, 0, 0, {{"user.overlay.whiteout", "y"}}, {}});
     }},
};

TEST(DirectoryView, EveryFormOfWhiteoutHidesTheNameInAllLayersBelow) {
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.what);
    const auto top = MemoryDir::Make(), middle = MemoryDir::Make(), bottom = MemoryDir::Make();
    top->Add("kept");
    form.hide(*middle, "gone");
    form.hide(*middle, "never");
    bottom->Add("gone");
    bottom->Add("below");
    EXPECT_EQ((Expected{"below", "kept"}), Names(*Build({top, middle, bottom})));
    // What is above the whiteout does not mind it.
    top->Add("gone");
    EXPECT_EQ((Expected{"below", "gone", "kept"}), Names(*Build({top, middle, bottom})));
    EXPECT_EQ(0U, Build({top, middle, bottom})->Find("gone")->layer);
    // In the lowest layer it is not shown either.
    EXPECT_EQ(Expected{}, Names(*Build({middle})));
  }
}

TEST(DirectoryView, AWhiteoutBetweenTwoDirectoriesSeparatesThem) {
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.what);
    const auto top = MemoryDir::Make(), middle = MemoryDir::Make(), bottom = MemoryDir::Make();
    top->AddDir("d")->Add("in top");
    form.hide(*middle, "d");
    bottom->AddDir("d")->Add("in bottom");
    const Dirs dirs{top, middle, bottom};
    const auto view = Build(dirs);
    const auto found = view->Find("d");
    EXPECT_TRUE(found->below.empty());
    const auto parts = DirectoryView::ResolveDirectory(*found, dirs);
    EXPECT_EQ(Expected{"in top"}, Names(*Build(*parts)));
  }
}

TEST(DirectoryView, AFileWhiteoutBesideADirectoryHidesWhatIsBelowTheDirectory) {
  // In any order of the listing.
  for (const bool whiteout_first : {false, true}) {
    const auto top = MemoryDir::Make(), bottom = MemoryDir::Make();
    if (whiteout_first) top->Add(".wh.d");
    top->AddDir("d");
    if (!whiteout_first) top->Add(".wh.d");
    bottom->AddDir("d");
    const auto view = Build({top, bottom});
    EXPECT_EQ(Expected{"d"}, Names(*view));
    EXPECT_EQ(0U, view->Find("d")->layer);
    EXPECT_TRUE(view->Find("d")->below.empty());
  }
}

TEST(DirectoryView, WhatOnlyLooksLikeAWhiteoutIsShown) {
  const auto dir = MemoryDir::Make();
  dir->Add("null", {FileType::kCharDevice, makedev(1, 3), 0, {}, {}});
  dir->Add("block", {FileType::kBlockDevice, 0, 0, {}, {}});
  dir->Add("marked", {FileType::kRegular, 0, 0, {{"trusted.overlay.whiteout", ""}}, {}});  // the directory is not
  dir->Add(".whx");
  dir->Add("a.wh.b");
  EXPECT_EQ((Expected{".whx", "a.wh.b", "block", "marked", "null"}), Names(*Build({dir})));
  dir->xattrs["trusted.overlay.opaque"] = "x";
  dir->Add("large", {FileType::kRegular, 0, 5, {{"trusted.overlay.whiteout", ""}}, {}});
  dir->Add("empty", {FileType::kRegular, 0, 0, {}, {}});
  EXPECT_EQ((Expected{".whx", "a.wh.b", "block", "empty", "large", "null"}), Names(*Build({dir})));
}

TEST(DirectoryView, ReservedNamesAreNeverShown) {
  const auto dir = MemoryDir::Make();
  for (const char* name : {".wh.", ".wh..wh..opq", ".wh..wh.plnk", ".wh..wh.aufs", ".wh...", ".wh..wh.x"}) dir->Add(name);
  dir->AddDir(".wh.directory");
  dir->Add("a");
  EXPECT_EQ(Expected{"a"}, Names(*Build({dir})));
  EXPECT_FALSE(Build({dir})->Find(".wh..wh..opq"));
}

TEST(DirectoryView, EveryOpaqueMarkIsRead) {
  for (const char* xattr : {"trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque"}) {
    const auto dir = MemoryDir::Make();
    EXPECT_FALSE(*IsOpaque(*dir));
    dir->xattrs[xattr] = "y";
    EXPECT_TRUE(*IsOpaque(*dir)) << xattr;
    for (const char* other : {"x", "n", "", "yy"}) {
      dir->xattrs[xattr] = other;
      EXPECT_FALSE(*IsOpaque(*dir)) << xattr << other;
    }
  }
  const auto dir = MemoryDir::Make();
  dir->Add(".wh..wh..opq");
  EXPECT_TRUE(*IsOpaque(*dir));
}

TEST(DirectoryView, AskingForAnOpaqueMarkIsCheap) {
  const auto dir = MemoryDir::Make();
  EXPECT_FALSE(*IsOpaque(*dir));
  EXPECT_EQ(2U, dir->questions);
}

TEST(DirectoryView, DirectoriesMergeUntilSomethingElseHasTheName) {
  const auto a = MemoryDir::Make(), b = MemoryDir::Make(), c = MemoryDir::Make(), d = MemoryDir::Make(), e = MemoryDir::Make();
  a->Add("unrelated");
  b->AddDir("d")->Add("b");
  c->AddDir("d")->Add("c");
  d->Add("d");
  e->AddDir("d")->Add("e");
  const Dirs dirs{a, b, c, d, e};
  const auto view = Build(dirs);
  const auto found = view->Find("d");
  EXPECT_EQ(1U, found->layer);
  ASSERT_EQ(1U, found->below.size());
  EXPECT_EQ(2U, found->below[0].layer);
  const auto parts = DirectoryView::ResolveDirectory(*found, dirs);
  ASSERT_EQ(2U, parts->size());
  EXPECT_EQ((Expected{"b", "c"}), Names(*Build(*parts)));
}

TEST(DirectoryView, AFileHidesDirectoriesBelow) {
  const auto top = MemoryDir::Make(), bottom = MemoryDir::Make();
  top->Add("d");
  bottom->AddDir("d");
  EXPECT_TRUE(Build({top, bottom})->Find("d")->below.empty());
}

TEST(DirectoryView, AMergeEndsWithAnOpaqueDirectory) {
  for (const bool file_form : {false, true}) {
    const auto top = MemoryDir::Make(), middle = MemoryDir::Make(), bottom = MemoryDir::Make();
    top->AddDir("d")->Add("top");
    const auto opaque = middle->AddDir("d");
    opaque->Add("middle");
    if (file_form) {
      opaque->Add(".wh..wh..opq", {FileType::kRegular, 0, 0, {}, {}});
    } else {
      opaque->xattrs["trusted.overlay.opaque"] = "y";
    }
    bottom->AddDir("d")->Add("bottom");
    const Dirs dirs{top, middle, bottom};
    const auto parts = DirectoryView::ResolveDirectory(*Build(dirs)->Find("d"), dirs);
    ASSERT_EQ(2U, parts->size());
    EXPECT_EQ((Expected{"middle", "top"}), Names(*Build(*parts)));
  }
}

TEST(DirectoryView, ANameThatALayerListsTwiceCountsOnce) {
  const auto top = MemoryDir::Make(), bottom = MemoryDir::Make();
  top->AddDir("d");
  top->ListAgain("d");
  bottom->AddDir("d");
  bottom->ListAgain("d");
  const auto view = Build({top, bottom});
  EXPECT_EQ(Expected{"d"}, Names(*view));
  EXPECT_EQ(1U, view->Find("d")->name.inode);
  ASSERT_EQ(1U, view->Find("d")->below.size());
  EXPECT_EQ(1U, view->Find("d")->below[0].inode);
}

TEST(DirectoryView, ErrorsOfLayersAreHandedOn) {
  const auto top = MemoryDir::Make(), bottom = MemoryDir::Make();
  bottom->fail_list = EIO;
  EXPECT_EQ(Errno(EIO), DirectoryView::Build(Dirs{top, bottom}).error());
}

TEST(DirectoryView, HoldsAHundredThousandNames) {
  constexpr int kNames = 100000;
  const auto top = MemoryDir::Make(), bottom = MemoryDir::Make();
  for (int i = 0; i < kNames; ++i) {
    bottom->Add("name " + std::to_string(i));
    if (i % 10 == 0) top->AddWhiteout("name " + std::to_string(i));
    if (i % 10 == 1) top->Add("name " + std::to_string(i));
  }
  const auto view = Build({top, bottom});
  EXPECT_EQ(static_cast<size_t>(kNames / 10 * 9), view->size());
  for (int i = 0; i < kNames; ++i) {
    const auto found = view->Find("name " + std::to_string(i));
    ASSERT_EQ(i % 10 != 0, found.has_value()) << i;
    if (!found) continue;
    ASSERT_EQ(i % 10 == 1 ? 0U : 1U, found->layer) << i;
  }
  EXPECT_FALSE(view->Find("name 100000"));
}

TEST(DirectoryView, MergesFiveHundredLayers) {
  constexpr size_t kLayers = 500;
  Dirs dirs;
  for (size_t i = 0; i < kLayers; ++i) {
    const auto dir = MemoryDir::Make();
    dir->AddDir("common")->Add("of " + std::to_string(i));
    dir->Add("own " + std::to_string(i));
    dir->Add("hidden");
    if (i == 0) dir->Add(".wh.own 400");
    dirs.push_back(dir);
  }
  const auto view = Build(dirs);
  EXPECT_EQ(kLayers - 1 + 2, view->size());
  EXPECT_EQ(499U, view->Find("own 499")->layer);
  EXPECT_EQ(0U, view->Find("hidden")->layer);
  const auto common = view->Find("common");
  ASSERT_EQ(kLayers - 1, common->below.size());
  for (size_t i = 1; i < kLayers; ++i) ASSERT_EQ(i, common->below[i - 1].layer);
  const auto parts = DirectoryView::ResolveDirectory(*common, dirs);
  ASSERT_EQ(kLayers, parts->size());
  EXPECT_EQ(kLayers, Build(*parts)->size());
}

}  // namespace
}  // namespace snap::fuse
