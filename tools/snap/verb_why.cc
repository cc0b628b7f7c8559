// snap why: what something in the store is, what keeps it there, and what would remove it.
#include <algorithm>

#include "fs/base/quote.h"
#include "snapshotter/explain.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

/// Mounts are not the store's to know: the registry has them.
void AddMounts(const std::vector<MountRecord>& records, const std::vector<MountsRegistry::State>& states,
               Explanation& explanation) {
  for (size_t i = 0; i < records.size(); ++i) {
    const MountRecord& record = records[i];
    if (states[i] == MountsRegistry::State::kGone) continue;
    const bool of_image = record.container.empty() &&
                          std::any_of(explanation.images.begin(), explanation.images.end(),
                                      [&](const ImageId& id) { return id.ToString() == record.image; });
    if (!of_image && explanation.id != record.container && explanation.id != record.upper) continue;
    explanation.kept_by.push_back(fmt::format("mount {} at {}", record.id, Quote(record.target)));
  }
}

Json ExplanationJson(const Explanation& explanation) {
  Json facts = Json::object();
  for (const auto& [key, value] : explanation.facts) facts[key] = value;
  Json json = {{"type", explanation.type},       {"id", explanation.id},
               {"facts", std::move(facts)},      {"kept_by", explanation.kept_by},
               {"removal", explanation.removal}, {"orphan", explanation.orphan}};
  json["bytes"] = explanation.bytes ? Json(*explanation.bytes) : Json();
  return json;
}

std::string ExplanationText(const Explanation& explanation) {
  std::vector<std::pair<std::string, std::string>> fields = {{"Type", explanation.type},
                                                             {"Id", explanation.id}};
  if (explanation.bytes) fields.emplace_back("Size", HumanSize(*explanation.bytes));
  for (const auto& [key, value] : explanation.facts) {
    std::string title = EscapeUnprintable(key);
    if (!title.empty() && title.front() >= 'a' && title.front() <= 'z')
      title.front() = static_cast<char>(title.front() - 'a' + 'A');
    fields.emplace_back(std::move(title), value);
  }
  for (const std::string& line : explanation.kept_by) fields.emplace_back("Kept by", line);
  if (explanation.orphan) fields.emplace_back("Kept by", "nothing: it is an orphan");
  fields.emplace_back("Removed by", explanation.removal);
  return RenderFields(fields);
}

Result<int> Why(Context& context, const std::vector<std::string>& ids) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(MountsRegistry* const registry, context.OpenMounts());
  SNAP_TRY(const std::vector<MountRecord> records, registry->List());
  SNAP_TRY(const std::vector<MountsRegistry::State> states, registry->StatesOf(records));
  Json documents = Json::array();
  std::string text;
  for (const std::string& id : ids) {
    Result<std::vector<Explanation>> found = Explain(*store, id);
    if (!found.ok()) {
      context.Report(found.error());
      continue;
    }
    for (Explanation& explanation : *found) {
      AddMounts(records, states, explanation);
      documents.push_back(ExplanationJson(explanation));
      text += (text.empty() ? "" : "\n") + ExplanationText(explanation);
    }
  }
  context.Print(context.json() ? RenderJson(documents) : text);
  return context.reported_status();
}

}  // namespace

void AddWhy(CommandTree& tree) {
  tree.AddVerb({.name = "why",
                .usage = "[OPTIONS] ID...",
                .summary = "Explain what keeps something in the store",
                .description = "ID is a layer (its id or DiffId), an object, an image, a container, an "
                               "engine's snapshot (name, key or number), a "
                               "merged image, or the name of a directory in snapshots/. Four characters of a "
                               "digest are enough; all that it could "
                               "mean is explained.\n\n"
                               "What nothing keeps is an orphan: 'snap system gc' takes it.",
                .examples = {{"snap why debian:12", "Which names, containers and mounts keep an image."},
                             {"snap why sha256:4a7d", "Which images and snapshots use a layer."},
                             {"snap why 3f/9c0d", "Which layers hold an object."}},
                .default_format = "table"},
               [](OptionSet& options) -> CommandTree::Action {
                 const auto ids = std::make_shared<std::vector<std::string>>();
                 options.Operands("ID", *ids, true, "What to explain");
                 return [ids](Context& context) { return Why(context, *ids); };
               });
}

}  // namespace snap::cli
