#include "snapshotter/metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "fs/base/fault.h"
#include "snapshotter/database_rocksdb.h"
#include "snapshotter/metadata_codec.h"
#include "snapshotter/store_lock.h"
#include "tests/support/temp_store.h"

namespace snap {
namespace {

using test::IsOk;
using test::RunInChild;
using test::Succeeded;
using test::TempDir;
using test::WasKilled;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

LayerManifest Layer(std::string_view content) {
  LayerManifest manifest;
  manifest.diff_id = DiffId{Digest::Of(content)};
  manifest.id = LayerId{manifest.diff_id.digest};
  manifest.created = "2025-01-01T00:00:00Z";
  return manifest;
}

ImageRecord Image(std::string_view config, const std::vector<std::string>& names,
                  const std::vector<LayerManifest>& layers) {
  ImageRecord image;
  image.config_json = config;
  image.id = ImageId{Digest::Of(config)};
  image.names = names;
  for (const LayerManifest& layer : layers) {
    image.layers.push_back(layer.id);
    image.diff_ids.push_back(layer.diff_id);
  }
  image.imported = "2025-01-01T00:00:00Z";
  image.source = "test";
  return image;
}

ContainerRecord Container(std::string id, std::string name) {
  ContainerRecord container;
  container.id = std::move(id);
  container.name = std::move(name);
  container.args = {"/bin/sh", "", "-c"};
  container.exit_code = -1;
  container.launcher_pid = 42;
  container.init_start_time = ~uint64_t{0};
  return container;
}

class MetadataTest : public ::testing::Test {
 protected:
  MetadataTest() : root_(*sys::OpenAt(FdRef::Cwd(), dir_.path().c_str(), O_RDONLY | O_DIRECTORY)) {
    std::filesystem::create_directories(dir_.path() + "/trash");
    std::filesystem::create_directories(dir_.path() + "/layers");
  }
  Result<Metadata> Open(Metadata::Access access = Metadata::Access::kWrite) {
    return Metadata::Open(root_, dir_.path(), {.access = access});
  }

  TempDir dir_;
  UniqueFd root_;
};

TEST_F(MetadataTest, AnImageComesBackAsItWasPut) {
  ImageRecord image = Image(std::string("{\"a\0b\":1}", 9), {"debian:12", "debian:latest"},
                            {Layer("a"), Layer("b"), Layer("a")});
  image.manifest_json = "{}";
  image.manifest_digest = Digest::Of("{}");
  {
    auto db = Open();
    ASSERT_TRUE(IsOk(db));
    ASSERT_TRUE(IsOk(db->PutImage(image, {Layer("a"), Layer("b")})));
  }
  for (const auto access : {Metadata::Access::kRead, Metadata::Access::kWrite}) {
    auto db = Open(access);
    ASSERT_TRUE(IsOk(db));
    const auto found = db->ImageById(image.id);
    ASSERT_TRUE(IsOk(found));
    ASSERT_TRUE(found->has_value());
    EXPECT_EQ((**found).config_json, image.config_json);
    EXPECT_EQ((**found).manifest_json, "{}");
    EXPECT_EQ((**found).manifest_digest, image.manifest_digest);
    EXPECT_EQ((**found).layers, image.layers);
    EXPECT_EQ((**found).diff_ids, image.diff_ids);
    EXPECT_EQ((**found).names, image.names);
    EXPECT_EQ((**found).imported, image.imported);
    EXPECT_EQ((**found).source, image.source);
    EXPECT_EQ(*db->ImageByName("debian:12").value(), image.id);
    EXPECT_FALSE(db->ImageByName("debian:1")->has_value());
    EXPECT_EQ(db->Images()->size(), 1U);
    EXPECT_EQ(db->Layer(Layer("a").id).value()->references, 1U);  // one image, though it has the layer twice
    EXPECT_EQ(*db->LayerByDiffId(Layer("b").diff_id).value(), Layer("b").id);
  }
}

TEST_F(MetadataTest, AnImageNeedsItsLayers) {
  auto db = Open();
  ASSERT_TRUE(IsOk(db));
  const auto put = db->PutImage(Image("c", {"x:1"}, {Layer("a"), Layer("b")}), {Layer("a")});
  EXPECT_EQ(put.error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(db->Images()->empty());
  EXPECT_TRUE(db->Layers()->empty());
  EXPECT_FALSE(db->ImageByName("x:1")->has_value());
}

TEST_F(MetadataTest, AnImageRemovedTakesTheLayersThatNobodyElseUses) {
  auto db = Open();
  ASSERT_TRUE(IsOk(db));
  const ImageRecord one = Image("1", {"one:1"}, {Layer("base"), Layer("one")});
  const ImageRecord two = Image("2", {"two:1"}, {Layer("base"), Layer("two"), Layer("two")});
  ASSERT_TRUE(IsOk(db->PutImage(one, {Layer("base"), Layer("one")})));
  ASSERT_TRUE(IsOk(db->PutImage(two, {Layer("two")})));
  EXPECT_EQ(db->Layer(Layer("base").id).value()->references, 2U);

  EXPECT_THAT(db->RemoveImage(one.id)->layers, ElementsAre(Layer("one").id));
  EXPECT_FALSE(db->Layer(Layer("one").id)->has_value());
  EXPECT_FALSE(db->LayerByDiffId(Layer("one").diff_id)->has_value());
  EXPECT_FALSE(db->ImageByName("one:1")->has_value());
  EXPECT_EQ(db->Layer(Layer("base").id).value()->references, 1U);
  EXPECT_EQ(db->RemoveImage(one.id).error().code(), ErrorCode::kNotFound);

  EXPECT_THAT(db->RemoveImage(two.id)->layers, UnorderedElementsAre(Layer("base").id, Layer("two").id));
  EXPECT_TRUE(db->Layers()->empty());
  EXPECT_TRUE(db->CheckReferences(false)->empty());
}

TEST_F(MetadataTest, ANameBelongsToOneImage) {
  auto db = Open();
  ASSERT_TRUE(IsOk(db));
  ASSERT_TRUE(IsOk(db->PutImage(Image("1", {"a:1", "b:1"}, {}), {})));
  ASSERT_TRUE(IsOk(db->PutImage(Image("2", {"b:1"}, {}), {})));
  const ImageId one = Image("1", {}, {}).id;
  const ImageId two = Image("2", {}, {}).id;
  EXPECT_THAT(db->ImageById(one).value()->names, ElementsAre("a:1"));
  EXPECT_THAT(db->ImageById(two).value()->names, ElementsAre("b:1"));
  ASSERT_TRUE(IsOk(db->SetName("a:1", two)));
  EXPECT_THAT(db->ImageById(one).value()->names, ElementsAre());
  EXPECT_THAT(db->ImageById(two).value()->names, ElementsAre("a:1", "b:1"));
  EXPECT_EQ(db->SetName("c:1", ImageId{Digest::Of("none")}).error().code(), ErrorCode::kNotFound);
  ASSERT_TRUE(IsOk(db->RemoveName("a:1")));
  EXPECT_EQ(db->RemoveName("a:1").error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(db->ImageById(two).value()->names, ElementsAre("b:1"));
  EXPECT_TRUE(db->CheckReferences(false)->empty());
}

TEST_F(MetadataTest, PuttingAnImageAgainReplacesNamesAndReferences) {
  auto db = Open();
  ASSERT_TRUE(IsOk(db));
  ASSERT_TRUE(IsOk(db->PutImage(Image("1", {"a:1", "b:1"}, {Layer("x")}), {Layer("x")})));
  ASSERT_TRUE(IsOk(db->PutImage(Image("1", {"c:1"}, {Layer("y")}), {Layer("y")})));
  EXPECT_FALSE(db->ImageByName("a:1")->has_value());
  EXPECT_EQ(db->Layer(Layer("x").id).value()->references, 0U);
  EXPECT_EQ(db->Layer(Layer("y").id).value()->references, 1U);
  EXPECT_TRUE(IsOk(db->RemoveLayer(Layer("x").id)));
  EXPECT_EQ(db->RemoveLayer(Layer("y").id).error().code(), ErrorCode::kBusy);
  EXPECT_TRUE(IsOk(db->RemoveLayer(Layer("never").id)));
}

TEST_F(MetadataTest, SettledLayersAreNotFoundByDiffId) {
  auto db = Open();
  ASSERT_TRUE(IsOk(db));
  LayerManifest layer = Layer("x");
  layer.settled = true;
  ASSERT_TRUE(IsOk(db->PutLayer(layer)));
  EXPECT_FALSE(db->LayerByDiffId(layer.diff_id)->has_value());
  layer.settled = false;
  ASSERT_TRUE(IsOk(db->PutLayer(layer)));
  EXPECT_TRUE(db->LayerByDiffId(layer.diff_id)->has_value());
  layer.settled = true;
  ASSERT_TRUE(IsOk(db->PutLayer(layer)));
  EXPECT_FALSE(db->LayerByDiffId(layer.diff_id)->has_value());
}

TEST_F(MetadataTest, ContainersHaveUniqueNames) {
  auto db = Open();
  ASSERT_TRUE(IsOk(db));
  ContainerRecord one = Container("id1", "heron");
  ASSERT_TRUE(IsOk(db->PutContainer(one)));
  EXPECT_EQ(db->PutContainer(Container("id2", "heron")).error().code(), ErrorCode::kExists);
  one.name = "calm-heron";
  one.finished = "2025-01-01T00:00:00Z";
  ASSERT_TRUE(IsOk(db->PutContainer(one)));
  ASSERT_TRUE(IsOk(db->PutContainer(Container("id2", "heron"))));
  const auto found = db->ContainerByName("calm-heron");
  ASSERT_TRUE(IsOk(found));
  EXPECT_EQ((**found).id, "id1");
  EXPECT_EQ((**found).args, one.args);
  EXPECT_EQ((**found).exit_code, -1);
  EXPECT_EQ((**found).launcher_pid, 42);
  EXPECT_EQ((**found).init_start_time, ~uint64_t{0});
  EXPECT_EQ(db->Containers()->size(), 2U);
  ASSERT_TRUE(IsOk(db->RemoveContainer("id1")));
  ASSERT_TRUE(IsOk(db->RemoveContainer("id1")));
  EXPECT_FALSE(db->ContainerByName("calm-heron")->has_value());
  EXPECT_FALSE(db->Container("id1")->has_value());
}

TEST_F(MetadataTest, DecodingRefusesEveryTruncationAndTrailingByte) {
  ImageRecord image = Image("{}", {}, {Layer("a")});
  image.manifest_digest = Digest::Of("m");
  const std::string bytes = codec::EncodeImage(image);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(codec::DecodeImage(image.id, std::string_view(bytes).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(codec::DecodeImage(image.id, bytes + "x").ok());
  EXPECT_TRUE(IsOk(codec::DecodeImage(image.id, bytes)));
  const std::string container = codec::EncodeContainer(Container("i", "n"));
  for (size_t size = 0; size < container.size(); ++size) {
    EXPECT_FALSE(codec::DecodeContainer("i", std::string_view(container).substr(0, size)).ok()) << size;
  }
  // A list that claims 2^64-1 elements takes no memory.
  EXPECT_EQ(codec::DecodeImage(image.id, std::string("\x01\x00\x00\x00", 4) + std::string(9, '\xff') + "\x01")
                .error()
                .code(),
            ErrorCode::kCorrupt);
}

/// What is under `key`, as it lies in the database.
std::optional<std::string> RawGet(const std::string& root_path, std::string_view key) {
  return RocksDatabase::Open(root_path, RocksDatabase::Access::kRead).value()->Get(key).value();
}
void RawPut(const std::string& root_path, const std::string& key, std::string_view value) {
  DatabaseChanges changes;
  changes.Put(key, value);
  ASSERT_TRUE(IsOk(RocksDatabase::Open(root_path, RocksDatabase::Access::kWrite).value()->Write(changes, true)));
}

TEST_F(MetadataTest, ANewerSchemaIsRefused) {
  { ASSERT_TRUE(IsOk(Open())); }
  RawPut(dir_.path(), "S", "999");
  EXPECT_EQ(Open().error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(RawGet(dir_.path(), "S"), "999");
}

TEST_F(MetadataTest, TheSchemaWithoutSnapshotsIsReadAndUpgradedByTheFirstWriter) {
  {
    auto db = Open();
    ASSERT_TRUE(IsOk(db));
    ASSERT_TRUE(IsOk(db->PutImage(Image("1", {"a:1"}, {}), {})));
  }
  EXPECT_EQ(RawGet(dir_.path(), "S"), "3");
  RawPut(dir_.path(), "S", "2");
  {
    auto db = Open(Metadata::Access::kRead);
    ASSERT_TRUE(IsOk(db));
    EXPECT_TRUE(db->ImageByName("a:1")->has_value());
  }
  EXPECT_EQ(RawGet(dir_.path(), "S"), "2");
  {
    auto db = Open();
    ASSERT_TRUE(IsOk(db));
    EXPECT_TRUE(db->ImageByName("a:1")->has_value());
  }
  EXPECT_EQ(RawGet(dir_.path(), "S"), "3");
}

TEST_F(MetadataTest, SnapshotsAreUsersOfLayersAndLostOnesAreFound) {
  {
    auto db = Open();
    ASSERT_TRUE(IsOk(db));
    ASSERT_TRUE(IsOk(db->PutImage(Image("1", {"a:1"}, {Layer("x")}), {Layer("x")})));
  }
  const std::string layer(codec::AsKey(Layer("x").id.digest));
  RawPut(dir_.path(), "U" + codec::NumberKey(7), "key");
  RawPut(dir_.path(), "E" + layer + codec::NumberKey(7), "");
  {
    auto db = Open();
    ASSERT_TRUE(IsOk(db));
    EXPECT_THAT(db->CheckReferences(true).value(), ElementsAre());
    EXPECT_EQ(db->Layer(Layer("x").id).value()->references, 2U);
    EXPECT_EQ(db->Layers()->front().references, 2U);
    // The image goes, the layer stays.
    EXPECT_TRUE(db->RemoveImage(Image("1", {}, {}).id)->layers.empty());
    EXPECT_EQ(db->RemoveLayer(Layer("x").id).error().code(), ErrorCode::kBusy);
  }
  RawPut(dir_.path(), "E" + layer + codec::NumberKey(8), "");
  auto db = Open();
  ASSERT_TRUE(IsOk(db));
  EXPECT_THAT(db->CheckReferences(true).value(), ElementsAre(HasSubstr("snapshot that is not there")));
  EXPECT_THAT(db->CheckReferences(true).value(), ElementsAre());
  EXPECT_EQ(db->Layer(Layer("x").id).value()->references, 1U);
}

TEST_F(MetadataTest, DamageIsReportedAndRebuildHeals) {
  {
    auto db = Open();
    ASSERT_TRUE(IsOk(db));
    ASSERT_TRUE(IsOk(db->PutImage(Image("1", {"a:1"}, {Layer("x")}), {Layer("x")})));
  }
  std::filesystem::create_directory(dir_.path() + "/layers/" + Layer("x").id.Hex());
  const std::string db = dir_.path() + "/db";
  for (const char* victim : {"CURRENT", "MANIFEST"}) {
    for (const auto& entry : std::filesystem::directory_iterator(db)) {
      if (entry.path().filename().string().starts_with(victim)) std::filesystem::remove(entry.path());
    }
    const auto opened = Open();
    ASSERT_FALSE(opened.ok()) << victim;
    EXPECT_EQ(opened.error().code(), ErrorCode::kCorrupt) << opened.error().message();
    EXPECT_THAT(opened.error().message(), HasSubstr("--rebuild"));
    ASSERT_TRUE(IsOk(Metadata::Rebuild(root_, dir_.path(), {}, {Layer("x")})));
    auto rebuilt = Open();
    ASSERT_TRUE(IsOk(rebuilt));
    EXPECT_TRUE(rebuilt->Layer(Layer("x").id)->has_value());
    EXPECT_TRUE(rebuilt->Images()->empty());
  }
  std::filesystem::remove_all(db);
  EXPECT_EQ(Open().error().code(),
            ErrorCode::kCorrupt);  // layers without a database: never start afresh silently
  ASSERT_TRUE(IsOk(Metadata::Rebuild(root_, dir_.path(), {}, {Layer("x")})));
  EXPECT_TRUE(IsOk(Open()));
}

TEST_F(MetadataTest, AKilledWriterLeavesTheOldStateOrTheNew) {
  if (test::ReRunAlone()) return;
  ASSERT_TRUE(Succeeded(RunInChild([&] {
    auto db = Open();
    ASSERT_TRUE(IsOk(db));
    ASSERT_TRUE(IsOk(db->PutImage(Image("1", {"a:1"}, {Layer("x")}), {Layer("x")})));
  })));
  const struct {
    const char* point;
    bool written;
  } kCases[] = {{"metadata.before_write", false}, {"metadata.after_write", true}};
  for (const auto& test : kCases) {
    const std::string name = std::string(test.point) + ":1";
    ASSERT_TRUE(WasKilled(RunInChild([&] {
      auto db = Open();
      ASSERT_TRUE(IsOk(db));
      ASSERT_TRUE(IsOk(fault::Arm((std::string(test.point) + ":kill").c_str())));
      (void)db->PutImage(Image(test.point, {name}, {Layer(test.point)}), {Layer(test.point)});
    })));
    EXPECT_TRUE(Succeeded(RunInChild([&] {
      auto db = Open(Metadata::Access::kRead);
      ASSERT_TRUE(IsOk(db));
      EXPECT_EQ(db->ImageByName(name)->has_value(), test.written);
      EXPECT_EQ(db->Layer(Layer(test.point).id)->has_value(), test.written);
      EXPECT_TRUE(db->ImageByName("a:1")->has_value());
      EXPECT_TRUE(db->CheckReferences(false)->empty());
    }))) << test.point;
  }
}

TEST_F(MetadataTest, AKilledCreationIsStartedAfresh) {
  if (test::ReRunAlone()) return;
  ASSERT_TRUE(WasKilled(RunInChild([&] {
    ASSERT_TRUE(IsOk(fault::Arm("metadata.create.before_rename:kill")));
    (void)Open();
  })));
  EXPECT_TRUE(Succeeded(RunInChild([&] { EXPECT_TRUE(IsOk(Open())); })));
  EXPECT_FALSE(std::filesystem::exists(dir_.path() + "/db.new"));
}

TEST_F(MetadataTest, ManyShortOpeningsDoNotPileUpFiles) {
  for (int i = 0; i < 40; ++i) {
    auto db = Open();
    ASSERT_TRUE(IsOk(db));
    ASSERT_TRUE(IsOk(db->SetName("n", ImageId{Digest::Of("1")}).ok()
                         ? Result<void>()
                         : db->PutImage(Image("1", {"n"}, {}), {})));
  }
  EXPECT_LT(test::CountEntries(dir_.path() + "/db"), 24U);
  auto db = Open();
  ASSERT_TRUE(IsOk(db));
  EXPECT_EQ(db->Images()->size(), 1U);
}

TEST_F(MetadataTest, ProcessesWaitAndAreToldForWhom) {
  if (test::ReRunAlone()) return;
  auto ready = sys::MakePipe();
  auto release = sys::MakePipe();
  ASSERT_TRUE(ready.ok() && release.ok());
  const pid_t holder = ::fork();
  ASSERT_GE(holder, 0);
  std::byte byte{};
  if (holder == 0) {
    auto db = Open();
    (void)sys::Write(ready->write_end, std::span(&byte, 1));
    (void)sys::Read(release->read_end, std::span(&byte, 1));
    ::_exit(db.ok() ? 0 : 1);
  }
  ASSERT_TRUE(IsOk(sys::Read(ready->read_end, std::span(&byte, 1))));
  int told = 0;
  std::optional<int64_t> told_pid;
  // The holder is only let go once we were told, so the message is not a matter of timing.
  const auto on_wait = [&](std::optional<int64_t> pid) {
    ++told;
    told_pid = pid;
    (void)sys::Write(release->write_end, std::span(&byte, 1));
  };
  auto db = Metadata::Open(root_, dir_.path(), {.on_wait = on_wait});
  ASSERT_TRUE(IsOk(db));
  EXPECT_EQ(told, 1);
  EXPECT_EQ(told_pid, holder);
  int status = 0;
  ASSERT_EQ(::waitpid(holder, &status, 0), holder);
  EXPECT_TRUE(Succeeded(status));
}

TEST_F(MetadataTest, ReadersShareTheStore) {
  { ASSERT_TRUE(IsOk(Open())); }
  auto one = Open(Metadata::Access::kRead);
  ASSERT_TRUE(IsOk(one));
  auto two = Open(Metadata::Access::kRead);
  ASSERT_TRUE(IsOk(two));
  EXPECT_TRUE(two->Images()->empty());
}

// Random changes against the obvious model; the database is closed and opened in between.
TEST_F(MetadataTest, BehavesLikeMaps) {
  struct Model {
    std::map<ImageId, std::vector<LayerId>> images;
    std::map<std::string, ImageId> names;
    std::map<std::string, std::string> containers;  // id -> name
    std::set<LayerId> layers;
    std::map<LayerId, std::vector<ObjectId>> objects;  // of all layers there ever were
  } model;
  // Neighbours share some; layer 0 has none.
  const auto objects_of = [](unsigned layer) {
    std::vector<ObjectId> objects;
    for (unsigned i = 0; i < layer; ++i) {
      ObjectId object{.hash = {}, .size = 70000 + layer / 2, .variant = i % 2};
      object.hash[15] = static_cast<uint8_t>(i);
      objects.push_back(object);
    }
    return objects;
  };
  std::mt19937 random(20250131);
  const auto pick = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
  std::optional<Metadata> db;
  for (int step = 0; step < 1500; ++step) {
    if (!db || pick(40) == 0) {
      db.reset();
      auto opened = Open();
      ASSERT_TRUE(IsOk(opened));
      db = std::move(opened).value();
    }
    const std::string image_key = "image" + std::to_string(pick(8));
    const ImageId image_id{Digest::Of(image_key)};
    const std::string name = "name" + std::to_string(pick(6));
    const std::string container = "c" + std::to_string(pick(5));
    switch (pick(7)) {
      case 0: {
        std::vector<LayerManifest> layers;
        std::vector<LayerAddition> additions;
        for (unsigned i = pick(4); i > 0; --i) {
          const unsigned number = pick(6);
          layers.push_back(Layer("layer" + std::to_string(number)));
          additions.emplace_back(layers.back(), objects_of(number));
          model.objects[layers.back().id] = objects_of(number);
        }
        const ImageRecord image = Image(image_key, {name}, layers);
        ASSERT_TRUE(IsOk(db->PutImage(image, additions)));
        std::erase_if(model.names, [&](const auto& entry) { return entry.second == image_id; });
        model.names[name] = image_id;
        model.images[image_id] = image.layers;
        model.layers.insert(image.layers.begin(), image.layers.end());
        break;
      }
      case 1: {
        const auto removed = db->RemoveImage(image_id);
        ASSERT_EQ(removed.ok(), model.images.contains(image_id));
        if (!removed.ok()) break;
        const std::set<LayerId> used(model.images[image_id].begin(), model.images[image_id].end());
        model.images.erase(image_id);
        std::erase_if(model.names, [&](const auto& entry) { return entry.second == image_id; });
        std::set<LayerId> orphans;
        for (const LayerId& layer : used) {
          const bool wanted = std::any_of(model.images.begin(), model.images.end(), [&](const auto& other) {
            return std::find(other.second.begin(), other.second.end(), layer) != other.second.end();
          });
          if (!wanted) orphans.insert(layer);
        }
        EXPECT_EQ(std::set<LayerId>(removed->layers.begin(), removed->layers.end()), orphans);
        std::set<ObjectId> gone;
        for (const LayerId& layer : orphans) {
          model.layers.erase(layer);
          gone.insert(model.objects[layer].begin(), model.objects[layer].end());
        }
        for (const LayerId& layer : model.layers) {
          for (const ObjectId& object : model.objects[layer]) gone.erase(object);
        }
        EXPECT_EQ(removed->objects, std::vector<ObjectId>(gone.begin(), gone.end()));
        break;
      }
      case 2: {
        ASSERT_EQ(db->SetName(name, image_id).ok(), model.images.contains(image_id));
        if (model.images.contains(image_id)) model.names[name] = image_id;
        break;
      }
      case 3:
        ASSERT_EQ(db->RemoveName(name).ok(), model.names.erase(name) == 1);
        break;
      case 4: {
        const bool taken =
            std::any_of(model.containers.begin(), model.containers.end(),
                        [&](const auto& entry) { return entry.second == name && entry.first != container; });
        ASSERT_EQ(db->PutContainer(Container(container, name)).ok(), !taken);
        if (!taken) model.containers[container] = name;
        break;
      }
      case 5:
        ASSERT_TRUE(IsOk(db->RemoveContainer(container)));
        model.containers.erase(container);
        break;
      default: {
        const auto images = db->Images();
        ASSERT_TRUE(IsOk(images));
        ASSERT_EQ(images->size(), model.images.size());
        for (const ImageRecord& image : *images) {
          ASSERT_EQ(image.layers, model.images[image.id]);
          for (const std::string& owned : image.names) ASSERT_EQ(model.names[owned], image.id);
        }
        for (const auto& [owned, id] : model.names) ASSERT_EQ(*db->ImageByName(owned).value(), id);
        const auto layers = db->Layers();
        ASSERT_TRUE(IsOk(layers));
        std::set<LayerId> ids;
        for (const LayerRecord& layer : *layers) {
          ids.insert(layer.manifest.id);
          const auto uses = std::count_if(model.images.begin(), model.images.end(), [&](const auto& image) {
            return std::find(image.second.begin(), image.second.end(), layer.manifest.id) !=
                   image.second.end();
          });
          ASSERT_EQ(layer.references, uses);
          ASSERT_EQ(db->Layer(layer.manifest.id).value()->references, uses);
        }
        ASSERT_EQ(ids, model.layers);
        std::set<ObjectId> referenced;
        for (const LayerId& layer : model.layers) {
          referenced.insert(model.objects[layer].begin(), model.objects[layer].end());
          ASSERT_EQ(*db->ObjectsOfLayer(layer), model.objects[layer]);
        }
        ASSERT_EQ(*db->ReferencedObjects(), referenced);
        ASSERT_EQ(db->Containers()->size(), model.containers.size());
        for (const auto& [id, owned] : model.containers)
          ASSERT_EQ(db->ContainerByName(owned).value()->id, id);
        ASSERT_TRUE(db->CheckReferences(false)->empty());
      }
    }
  }
}

}  // namespace
}  // namespace snap
