//! How RocksDB runs: bounded memory, few threads, its log on, a filter for each kind of lookup.

use super::Options;
use super::keys::{self, DEDUPE, HISTORY};
use rocksdb::compaction_filter::Decision;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DataBlockIndexType, SliceTransform};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Bits per key of the Bloom filters: 1 % false positives.
const BLOOM_BITS: f64 = 10.0;

/// The options of the database and of each column family. Expired message ids are those before `cutoff`.
pub(super) fn families(options: &Options, cutoff: &Arc<AtomicI64>) -> (rocksdb::Options, Vec<ColumnFamilyDescriptor>) {
    let mut database = rocksdb::Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.set_max_background_jobs(options.background_jobs);
    database.set_max_open_files(options.open_files);
    database.set_db_write_buffer_size(options.write_buffer_bytes);
    database.set_max_total_wal_size(options.write_buffer_bytes as u64 * 4);
    // Written back in small steps: a checkpoint must not fill the disk's queue in front of the journal.
    database.set_bytes_per_sync(1 << 20);
    database.set_wal_bytes_per_sync(1 << 20);
    // A log file that is missing is noticed at the next start.
    database.set_track_and_verify_wals_in_manifest(true);
    database.set_keep_log_file_num(3);
    database.set_max_log_file_size(8 << 20);
    database.set_log_level(rocksdb::LogLevel::Warn);
    database.set_stats_dump_period_sec(0);
    let cache = Cache::new_lru_cache(options.cache_bytes);
    let families = keys::FAMILIES
        .iter()
        .map(|(name, _)| ColumnFamilyDescriptor::new(*name, family_tuning(name, options, &cache, cutoff)))
        .collect();
    (database, families)
}

fn family_tuning(name: &str, options: &Options, cache: &Cache, cutoff: &Arc<AtomicI64>) -> rocksdb::Options {
    let mut family = rocksdb::Options::default();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    table.set_bloom_filter(BLOOM_BITS, false);
    table.set_block_size(16 << 10);
    family.set_write_buffer_size((options.write_buffer_bytes / 4).max(1 << 20));
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_bottommost_compression_type(DBCompressionType::Zstd);
    family.set_level_compaction_dynamic_level_bytes(true);
    match name {
        HISTORY => {
            family.set_prefix_extractor(SliceTransform::create_fixed_prefix(keys::HISTORY_PREFIX));
            family.set_memtable_prefix_bloom_ratio(0.05);
            // Looked up by profile only, never by a whole key.
            table.set_whole_key_filtering(false);
        }
        DEDUPE => {
            // Point lookups, nearly all of them of ids that are not there: the filter answers.
            table.set_block_size(4 << 10);
            table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
            table.set_data_block_hash_ratio(0.75);
            table.set_whole_key_filtering(true);
            family.set_memtable_prefix_bloom_ratio(0.05);
            family.set_memtable_whole_key_filtering(true);
            // Hashes do not compress.
            family.set_compression_type(DBCompressionType::None);
            family.set_bottommost_compression_type(DBCompressionType::None);
            family.set_periodic_compaction_seconds(86_400);
            let cutoff = cutoff.clone();
            family.set_compaction_filter("expired-message-ids", move |_, _, value| match keys::dedupe_time(value) {
                Some(at) if at.0 < cutoff.load(Ordering::Relaxed) => Decision::Remove,
                _ => Decision::Keep,
            });
        }
        _ => {}
    }
    family.set_block_based_table_factory(&table);
    family
}
