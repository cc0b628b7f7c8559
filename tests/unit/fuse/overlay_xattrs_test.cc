#include "fuse/overlay_xattrs.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fuse/override_stat.h"

namespace snap::fuse {
namespace {

constexpr auto kOff = XattrPermissions::kOff;
constexpr auto kUser = XattrPermissions::kUser;

TEST(OverlayXattrs, TheUnionsOwnMarksAreNotShown) {
  for (const bool user : {false, true}) {
    const OverlayXattrs xattrs(user);
    const std::string prefix = user ? "user." : "trusted.";
    for (const char* name : {"overlay.opaque", "overlay.origin", "overlay.redirect", "overlay.metacopy", "overlay.impure",
                             "overlay.whiteout", "overlay.snap.ino", "overlay.", "overlay.overlay"}) {
      EXPECT_TRUE(xattrs.IsInternal(prefix + name)) << prefix << name;
    }
    EXPECT_FALSE(xattrs.IsInternal(prefix + "overlayx"));
    EXPECT_FALSE(xattrs.IsInternal(prefix + "overlay"));
  }
}

TEST(OverlayXattrs, MarksOfAnOverlayInsideAreEscaped) {
  const OverlayXattrs trusted(false), user(true);
  EXPECT_EQ("trusted.overlay.overlay.opaque", trusted.Stored("trusted.overlay.opaque"));
  EXPECT_EQ("trusted.overlay.opaque", trusted.Shown("trusted.overlay.overlay.opaque"));
  EXPECT_EQ("trusted.overlay.overlay.overlay.opaque", trusted.Stored("trusted.overlay.overlay.opaque"));
  EXPECT_EQ("user.overlay.overlay.opaque", user.Stored("user.overlay.opaque"));
  EXPECT_EQ("user.overlay.opaque", user.Shown("user.overlay.overlay.opaque"));
  // The spelling that this union does not use is anybody's.
  EXPECT_EQ("user.overlay.opaque", trusted.Stored("user.overlay.opaque"));
  EXPECT_EQ("user.overlay.opaque", trusted.Shown("user.overlay.opaque"));
  EXPECT_EQ("trusted.overlay.opaque", user.Shown("trusted.overlay.opaque"));
}

TEST(OverlayXattrs, WhatFuseOverlayfsMarksIsReserved) {
  for (const bool user : {false, true}) {
    const OverlayXattrs xattrs(user);
    for (const char* name :
         {"user.fuseoverlayfs.opaque", "user.fuseoverlayfs.origin", "user.fuseoverlayfs.override_stat", "user.fuseoverlayfs.",
          "security.fuseoverlayfs.override_stat"}) {
      EXPECT_TRUE(xattrs.IsInternal(name)) << name;
      EXPECT_FALSE(xattrs.Stored(name)) << name;
    }
  }
}

TEST(OverlayXattrs, OverridesAreOnlyReservedWhereTheyAreUsed) {
  const OverlayXattrs off(true, kOff), on(true, kUser);
  EXPECT_EQ("user.containers.override_stat", off.Shown("user.containers.override_stat"));
  EXPECT_EQ("user.containers.override_stat", off.Stored("user.containers.override_stat"));
  EXPECT_TRUE(on.IsInternal("user.containers.override_stat"));
  EXPECT_FALSE(on.Stored("user.containers.override_stat"));
  EXPECT_FALSE(on.Stored("user.containers.override_security.capability"));
  EXPECT_EQ("user.containers.other", on.Stored("user.containers.other"));
}

TEST(OverlayXattrs, SecurityXattrsAreKeptAsideForUsersWhoCannotSetThem) {
  const OverlayXattrs on(true, kUser), privileged(false, XattrPermissions::kPrivileged);
  EXPECT_EQ("user.containers.override_security.capability", on.Stored("security.capability"));
  EXPECT_EQ("security.capability", on.Shown("user.containers.override_security.capability"));
  EXPECT_FALSE(on.Shown("security.capability"));  // the host's
  EXPECT_EQ("security.capability", privileged.Stored("security.capability"));
  EXPECT_EQ("security.capability", privileged.Shown("security.capability"));
}

TEST(OverlayXattrs, NamesThatBecomeTooLongCannotBeStored) {
  const OverlayXattrs xattrs(false);
  const std::string longest = "trusted.overlay." + std::string(255 - 16 - 8, 'x');
  EXPECT_EQ(255U, xattrs.Stored(longest)->size());
  EXPECT_FALSE(xattrs.Stored(longest + "x"));
  EXPECT_FALSE(OverlayXattrs(true, kUser).Stored("security." + std::string(240, 'x')));
}

TEST(OverlayXattrs, ShownAndStoredAreInversesOfEachOther) {
  std::vector<std::string> names;
  for (const char* first : {"", "user.containers.override_", "trusted.overlay.", "user.overlay.", "security."}) {
    for (const char* second : {"", "overlay.", "overlay.overlay.", "trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.",
                               "security.", "user.containers.override_", "user."}) {
      for (const char* last : {"opaque", "stat", "a", "fuseoverlayfs.override_stat", ""}) {
        names.push_back(std::string(first) + second + last);
      }
    }
  }
  for (const bool user : {false, true}) {
    for (const XattrPermissions permissions : {kOff, XattrPermissions::kPrivileged, kUser}) {
      const OverlayXattrs xattrs(user, permissions);
      for (const std::string& name : names) {
        if (const auto shown = xattrs.Shown(name)) {
          EXPECT_EQ(name, xattrs.Stored(*shown)) << *shown;
        }
        if (const auto stored = xattrs.Stored(name)) {
          EXPECT_EQ(name, xattrs.Shown(*stored)) << *stored;
        }
        EXPECT_EQ(xattrs.IsInternal(name), !xattrs.Shown(name)) << name;
      }
    }
  }
}

TEST(OverlayXattrs, EveryOverrideThatIsReadIsInternalWhereItIsRead) {
  for (const char* name :
       {"security.fuseoverlayfs.override_stat", "user.containers.override_stat", "user.fuseoverlayfs.override_stat"}) {
    EXPECT_TRUE(IsOverrideXattr(name));
    EXPECT_TRUE(OverlayXattrs(true, kUser).IsInternal(name)) << name;
  }
}

}  // namespace
}  // namespace snap::fuse
