// Writes the corpus of hostile and of odd but legitimate layers as tar files, named should-fail-REASON.tar and
// should-pass-REASON.tar. What a layer tries to reach is given: a canary directory outside of every root.
//   usage: make_hostile OUT_DIR CANARY_DIR
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/support/tar_builder.h"

namespace snap::test {
namespace {

struct Corpus {
  std::string dir;
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir + "/" + name + ".tar", std::ios::binary) << bytes;
  }
  void Fail(const std::string& reason, const std::string& bytes) const { Write("should-fail-" + reason, bytes); }
  void Pass(const std::string& reason, const std::string& bytes) const { Write("should-pass-" + reason, bytes); }
};

std::string Repeat(std::string_view text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

void Traversal(const Corpus& corpus, const std::string& canary) {
  const std::string up = Repeat("../", 40);
  corpus.Fail("dotdot-file", TarBuilder().File("../escaped", "x").Finish());
  corpus.Fail("dotdot-inside", TarBuilder().Directory("a").File("a/../../escaped", "x").Finish());
  corpus.Fail("dotdot-deep", TarBuilder().File(up + canary.substr(1) + "/escaped", "x").Finish());
  corpus.Fail("dotdot-directory", TarBuilder().Directory("..").Finish());
  corpus.Fail("symlink-absolute-then-write",
              TarBuilder().Symlink("link", canary).File("link/escaped", "x").Finish());
  corpus.Fail("symlink-relative-then-write",
              TarBuilder().Symlink("link", up + canary.substr(1)).File("link/escaped", "x").Finish());
  corpus.Fail("symlink-to-root-then-write", TarBuilder().Symlink("link", "/").File("link/tmp/escaped", "x").Finish());
  corpus.Fail("symlink-chain-then-write",
              TarBuilder().Symlink("a", canary).Symlink("b", "a").File("b/escaped", "x").Finish());
  corpus.Fail("symlink-then-directory", TarBuilder().Symlink("link", canary).Directory("link/new").Finish());
  corpus.Fail("symlink-then-hardlink",
              TarBuilder().Symlink("link", canary).File("f", "x").HardLink("link/escaped", "f").Finish());
  corpus.Fail("symlink-then-whiteout", TarBuilder().Symlink("link", canary).File("link/.wh.keep", "").Finish());
  corpus.Fail("symlink-then-opaque", TarBuilder().Symlink("link", canary).File("link/.wh..wh..opq", "").Finish());
  corpus.Fail("symlink-then-fifo", TarBuilder().Symlink("link", canary).Add({.name = "link/p", .type = '6'}).Finish());
  corpus.Fail("directory-replaced-by-symlink-then-write",
              TarBuilder().Directory("d").Symlink("d", canary).File("d/escaped", "x").Finish());
  corpus.Fail("hardlink-through-symlink",
              TarBuilder().Symlink("link", canary).HardLink("stolen", "link/keep").Finish());
  corpus.Fail("hardlink-dotdot", TarBuilder().HardLink("stolen", "../../../etc/shadow").Finish());
  corpus.Fail("hardlink-to-itself", TarBuilder().File("a", "x").HardLink("b", "b").Finish());
  corpus.Fail("hardlink-to-directory", TarBuilder().Directory("d").HardLink("e", "d").Finish());
  corpus.Fail("file-as-parent", TarBuilder().File("f", "x").File("f/g", "y").Finish());
  corpus.Fail("root-is-a-symlink", TarBuilder().Symlink(".", canary).File("escaped", "x").Finish());
  corpus.Fail("root-is-a-file", TarBuilder().File("./", "x").Finish());
}

void Whiteouts(const Corpus& corpus) {
  corpus.Fail("whiteout-of-nothing", TarBuilder().File(".wh.", "").Finish());
  corpus.Fail("whiteout-of-dot", TarBuilder().File(".wh..", "").Finish());
  corpus.Fail("whiteout-of-dotdot", TarBuilder().File(".wh...", "").Finish());
  corpus.Fail("whiteout-of-dotdot-below", TarBuilder().Directory("d").File("d/.wh...", "").Finish());
  corpus.Fail("whiteout-as-directory-component", TarBuilder().File(".wh.d/f", "").Finish());
  corpus.Fail("device-0-0", TarBuilder().Add({.name = "etc/passwd", .type = '3'}).Finish());
}

void Names(const Corpus& corpus) {
  corpus.Fail("component-256-bytes", TarBuilder().LongName(std::string(256, 'n')).File("x", "").Finish());
  corpus.Fail("path-10000-deep", TarBuilder().LongName(Repeat("d/", 10'000) + "f").File("x", "").Finish());
  corpus.Fail("path-1025-deep", TarBuilder().LongName(Repeat("d/", 1'025) + "f").File("x", "").Finish());
  corpus.Fail("path-5000-bytes", TarBuilder().LongName(Repeat(std::string(99, 'p') + "/", 50)).File("x", "").Finish());
  corpus.Fail("pax-path-with-nul",
              TarBuilder().Add({.name = "a", .pax = {{"path", std::string("a\0b", 3)}}}).Finish());
  corpus.Fail("symlink-target-too-long",
              TarBuilder().LongName(std::string(5000, 't'), 'K').Symlink("l", "x").Finish());
}

void Numbers(const Corpus& corpus) {
  corpus.Fail("negative-size", TarBuilder().Add({.name = "f", .size = -1}).Finish());
  corpus.Fail("size-beyond-the-archive", TarBuilder().Add({.name = "f", .data = "x", .size = 1 << 20}).Finish());
  corpus.Fail("size-8-exbibytes",
              TarBuilder().Add({.name = "f", .size = INT64_MAX}).Finish());
  corpus.Fail("pax-size-overflow", TarBuilder().Add({.name = "f", .pax = {{"size", "99999999999999999999"}}}).Finish());
  // Where overlayfs looks for the data of another layer's file before it looks in objects/.
  corpus.Fail("object-name", TarBuilder().File("ff/000000000000000000000000000000-10000", "mine").Finish());
  corpus.Fail("acl-malformed",
              TarBuilder().Add({.name = "f", .pax = {{"SCHILY.xattr.system.posix_acl_access", "\2"}}}).Finish());
  corpus.Fail("pax-size-negative", TarBuilder().Add({.name = "f", .pax = {{"size", "-5"}}}).Finish());
  corpus.Fail("uid-beyond-32-bits", TarBuilder().Add({.name = "f", .uid = int64_t{1} << 32}).Finish());
  corpus.Fail("uid-minus-one", TarBuilder().Add({.name = "f", .uid = 0xffffffffLL}).Finish());
  corpus.Fail("pax-uid-garbage", TarBuilder().Add({.name = "f", .pax = {{"uid", "0x10"}}}).Finish());
  corpus.Fail("checksum-wrong", TarBuilder().Add({.name = "f", .checksum_error = 1}).Finish());
}

void Pax(const Corpus& corpus) {
  corpus.Fail("pax-bomb", TarBuilder().Pax({{"comment", std::string(size_t{2} << 20U, 'x')}}).File("f", "").Finish());
  corpus.Fail("pax-length-zero", TarBuilder().PaxRaw("0 path=x\n").File("f", "").Finish());
  corpus.Fail("pax-length-too-long", TarBuilder().PaxRaw("99 path=x\n").File("f", "").Finish());
  corpus.Fail("pax-no-newline", TarBuilder().PaxRaw("9 path=xy").File("f", "").Finish());
  corpus.Fail("pax-two-paths", TarBuilder().Pax({{"path", "a"}, {"path", "b"}}).File("f", "").Finish());
  corpus.Fail("pax-two-sizes",
              TarBuilder().Add({.name = "f", .data = "x", .pax = {{"size", "1"}, {"size", "512"}}}).Finish());
  {
    PaxRecords many;
    for (int i = 0; i < 300; ++i) many.emplace_back("SCHILY.xattr.user.x" + std::to_string(i), "v");
    corpus.Fail("xattrs-300", TarBuilder().Add({.name = "f", .pax = many}).Finish());
  }
  corpus.Fail("xattr-70-kilobytes",
              TarBuilder().Add({.name = "f", .pax = {{"SCHILY.xattr.user.x", std::string(70'000, 'v')}}}).Finish());
  corpus.Fail("pax-header-then-end", TarBuilder().Pax({{"path", "a"}}).Finish());
}

void Sparse(const Corpus& corpus) {
  const auto sparse = [](const std::string& map, const std::string& data, const std::string& real_size) {
    return TarBuilder()
        .Add({.name = "f", .data = data,
              .pax = {{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.map", map},
                      {"GNU.sparse.size", real_size}}})
        .Finish();
  };
  const std::string block(512, 'd');
  corpus.Fail("sparse-overlapping", sparse("0,512,256,512", block + block, "4096"));
  corpus.Fail("sparse-descending", sparse("1024,512,0,512", block + block, "4096"));
  corpus.Fail("sparse-beyond-the-size", sparse("4096,512", block, "4096"));
  corpus.Fail("sparse-offset-overflow", sparse("18446744073709551615,512", block, "4096"));
  corpus.Fail("sparse-map-longer-than-data", sparse("0,512,1024,512", block, "4096"));
}

void Truncated(const Corpus& corpus) {
  const std::string whole = TarBuilder()
                                .Directory("d")
                                .Add({.name = "f", .data = std::string(1500, 'x'), .pax = {{"path", "d/long"}}})
                                .Symlink("s", "t")
                                .HardLink("h", "d/long")
                                .Finish();
  // Every block boundary up to the first end block; what remains is not a tar that ended.
  for (size_t at = 512; at <= whole.size() - 1024; at += 512) {
    corpus.Fail("truncated-at-" + std::to_string(at), whole.substr(0, at));
  }
  corpus.Fail("truncated-inside-a-header", whole.substr(0, 700));
  corpus.Fail("empty-file", "");
  corpus.Fail("not-a-tar", std::string(4096, 'z'));
}

void Legitimate(const Corpus& corpus) {
  corpus.Pass("absolute-names", TarBuilder().Directory("/etc").File("/etc/x", "x").Finish());
  corpus.Pass("dot-slash-names", TarBuilder().Directory("./").File("./x", "x").Finish());
  corpus.Pass("absolute-symlink", TarBuilder().Symlink("etc/mtab", "/proc/mounts").Finish());
  corpus.Pass("symlink-out-of-the-root", TarBuilder().Symlink("l", "../../../../etc/passwd").Finish());
  corpus.Pass("empty-xattr-value",
              TarBuilder().Add({.name = "f", .pax = {{"SCHILY.xattr.user.overlay.origin", ""}}}).Finish());
  corpus.Pass("overlay-xattrs-stripped",
              TarBuilder()
                  .Add({.name = "f",
                        .pax = {{"SCHILY.xattr.trusted.overlay.redirect", "/etc/shadow"},
                                {"SCHILY.xattr.trusted.overlay.metacopy", ""},
                                {"SCHILY.xattr.user.overlay.whiteout", "y"}}})
                  .Finish());
  corpus.Pass("duplicate-entries", TarBuilder().File("f", "one").File("f", "two").Finish());
  corpus.Pass("file-replaces-directory", TarBuilder().Directory("d").File("d/f", "").File("d", "x").Finish());
  corpus.Pass("directory-after-content", TarBuilder().File("d/f", "x").Directory("d").Finish());
  corpus.Pass("global-pax-header", TarBuilder().Pax({{"comment", "abc"}}, 'g').File("f", "x").Finish());
  corpus.Pass("names-that-are-not-utf8", TarBuilder().File("\xff\xfe\x01", "x").Finish());
  corpus.Pass("component-255-bytes", TarBuilder().LongName(std::string(255, 'n')).File("x", "").Finish());
  corpus.Pass("large-owner", TarBuilder().Add({.name = "f", .uid = 2'000'000'000, .gid = 3'000'000'000}).Finish());
  corpus.Pass("mtime-before-1970", TarBuilder().Add({.name = "f", .pax = {{"mtime", "-1.5"}}}).Finish());
  corpus.Pass("device-nodes",
              TarBuilder().Add({.name = "dev/null", .type = '3', .device_major = 1, .device_minor = 3}).Finish());
  corpus.Pass("whiteout-after-sibling", TarBuilder().File("d/f", "").File("d/.wh.g", "").Finish());
  corpus.Pass("no-entries", TarBuilder().Finish());
}

}  // namespace
}  // namespace snap::test

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: make_hostile OUT_DIR CANARY_DIR\n");
    return 2;
  }
  const snap::test::Corpus corpus{argv[1]};
  snap::test::Traversal(corpus, argv[2]);
  snap::test::Whiteouts(corpus);
  snap::test::Names(corpus);
  snap::test::Numbers(corpus);
  snap::test::Pax(corpus);
  snap::test::Sparse(corpus);
  snap::test::Truncated(corpus);
  snap::test::Legitimate(corpus);
  return 0;
}
