// The files of a store's database: opened with the schema that this program knows, made when there are none.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "snapshotter/database_rocksdb.h"
#include "snapshotter/metadata.h"

namespace snap {

/// The caller holds the store's lock, exclusively to write. Only a writer makes a missing database. Errors:
/// kUnsupported (newer schema), kCorrupt (also when layers are there but the database is gone), kUnavailable
/// (missing, to read), kNoSpace, kIo.
Result<std::unique_ptr<RocksDatabase>> OpenStoreDatabase(FdRef root, const std::string& root_path,
                                                         RocksDatabase::Access access);
/// <root>/db anew, with these layers.
Result<void> CreateStoreDatabase(FdRef root, const std::string& root_path,
                                 const std::vector<LayerAddition>& layers);
/// Errors: kUnsupported, kCorrupt. `upgrade`: an older schema is made current.
Result<void> AgreeOnSchema(Database& db, bool upgrade);

}  // namespace snap
