//! Configurations that are wrong in one place each, and what the operator is told.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing;

fn flags(config: &Path) -> Flags {
    Flags::parse_from(["node", "--config", config.to_str().unwrap()])
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        let files = Files(tempfile::tempdir().unwrap());
        files.put("genesis.toml", &testing::genesis_text());
        files.put("key", &hex::encode(testing::secret(0).to_seed()));
        files.put("node.toml", "genesis = 'genesis.toml'\nkey = 'key'\ndata = 'data'\nlisten = '127.0.0.1:4001'\n");
        files
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load(&self, role: Role) -> Result<(NodeConfig, Identity), ConfigError> {
        let config = NodeConfig::load(&flags(&self.0.path().join("node.toml")))?;
        let identity = config.identity(role)?;
        Ok((config, identity))
    }

    /// The message, which must hold each of these words.
    fn refused(&self, role: Role, words: &[&str]) {
        let message = self.load(role).err().unwrap().to_string();
        for word in words {
            assert!(message.contains(word), "{word:?} is not in: {message}");
        }
    }
}

#[test]
fn paths_are_relative_to_the_file_and_flags_override() {
    let files = Files::new();
    let (config, identity) = files.load(Role::Beacon).unwrap();
    assert_eq!(config.data, files.0.path().join("data"));
    assert_eq!((config.metrics, config.log.as_str(), config.log_format), (None, "info", LogFormat::Text));
    assert_eq!((identity.validator, identity.name.as_str()), (Some(ValidatorId(0)), "validator-0"));
    let path = files.0.path().join("node.toml");
    let text = path.to_str().unwrap();
    let flags = Flags::parse_from([
        "node",
        "--config",
        text,
        "--listen",
        "127.0.0.1:9",
        "--metrics",
        "127.0.0.1:8",
        "--data",
        "/elsewhere",
        "--log",
        "warn",
    ]);
    let config = NodeConfig::load(&flags).unwrap();
    assert_eq!(config.listen, "127.0.0.1:9".parse().unwrap());
    assert_eq!(config.metrics, Some("127.0.0.1:8".parse().unwrap()));
    assert_eq!((config.data, config.log.as_str()), (PathBuf::from("/elsewhere"), "warn"));
}

#[test]
fn unknown_missing_and_mistyped_keys_are_named_with_the_file() {
    let files = Files::new();
    let good = fs::read_to_string(files.0.path().join("node.toml")).unwrap();
    files.put("node.toml", &format!("{good}lissten = 1\n"));
    files.refused(Role::Beacon, &["node.toml", "lissten"]);
    files.put("node.toml", &good.replace("key = 'key'\n", ""));
    files.refused(Role::Beacon, &["node.toml", "key"]);
    files.put("node.toml", &good.replace("127.0.0.1:4001", "port 4001"));
    files.refused(Role::Beacon, &["node.toml", "listen"]);
    files.put("node.toml", &format!("{good}log_format = 'xml'\n"));
    files.refused(Role::Beacon, &["node.toml", "log_format"]);
}

#[test]
fn missing_and_damaged_files_are_named() {
    let files = Files::new();
    files.put("genesis.toml", &testing::genesis_text().replace("shards = 1", "shards = 0"));
    files.refused(Role::Beacon, &["genesis.toml", "shards", "1 to 1024"]);
    fs::remove_file(files.0.path().join("genesis.toml")).unwrap();
    files.refused(Role::Beacon, &["genesis.toml", "cannot be read"]);
    let files = Files::new();
    files.put("key", "not a key");
    files.refused(Role::Beacon, &["/key", "64 hexadecimal digits"]);
    let missing = NodeConfig::load(&flags(&files.0.path().join("none.toml"))).err().unwrap();
    assert!(missing.to_string().contains("none.toml"));
}

#[test]
fn a_strangers_key_and_the_wrong_role_are_refused_with_the_way_out() {
    let files = Files::new();
    files.refused(Role::Shard, &["validator-0", "kakera-beacon"]);
    files.put("key", &hex::encode(testing::secret(1).to_seed()));
    files.refused(Role::Beacon, &["validator-1", "kakera-shard"]);
    files.put("key", &"77".repeat(32));
    files.refused(Role::Beacon, &["belongs to no validator", "genesis.toml"]);
}

#[test]
fn a_network_that_is_too_risky_is_refused_with_the_way_out() {
    let files = Files::new();
    let good = testing::genesis_text();
    let risk = "[risk]\nadversary_per_mille = 250\ncapture = 0.000001\nstall = 0.01\n";
    files.put("genesis.toml", &good.replacen("[beacon]", &format!("{risk}\n[beacon]"), 1));
    files.refused(Role::Beacon, &["genesis.toml", "seats"]);
}

#[test]
fn where_stake_is_taken_a_strangers_key_is_one_to_come() {
    let files = Files::new();
    files.put("key", &"77".repeat(32));
    let changing = "[epochs]\nslots = 20\nfallback_slots = 5\nrotation_per_mille = 250\nunbonding = 2\n\
                    [staking]\nseat = 5\nchurn_seats = 4\nreward = 1\nreporter_per_mille = 100\n";
    files.put("genesis.toml", &testing::genesis_text().replacen("[beacon]", &format!("{changing}\n[beacon]"), 1));
    let (_, identity) = files.load(Role::Shard).unwrap();
    assert_eq!((identity.validator, identity.randomness), (None, None));
    files.put("key", &hex::encode(testing::secret(1).to_seed()));
    files.put("randomness", &format!("seed = '{}'\nlinks = 65536\n", "08".repeat(32)));
    let (_, identity) = files.load(Role::Shard).unwrap();
    assert_eq!((identity.validator, identity.randomness), (Some(ValidatorId(1)), Some([8; 32])));
    files.put("randomness", "seed = '77'\nlinks = 65536\n");
    files.refused(Role::Shard, &["/randomness", "64 hexadecimal digits"]);
    files.put("randomness", &format!("seed = '{}'\nlinks = 7\n", "08".repeat(32)));
    files.refused(Role::Shard, &["/randomness", "7 links"]);
}

#[test]
fn a_fault_lab_sets_relays_clock_and_disk() {
    let files = Files::new();
    let base = "genesis = 'genesis.toml'\nkey = 'key'\ndata = 'data'\nlisten = '127.0.0.1:4001'\n";
    let (plain, identity) = files.load(Role::Beacon).unwrap();
    assert_eq!((plain.clock_offset_ms, plain.disk_limit_bytes, plain.via.len()), (0, None, 0));
    assert_eq!(identity.ways, Ways::default());
    let lab = "clock_offset_ms = -2000\ndisk_limit_bytes = 500000\n[via]\nvalidator-2 = '127.1.1.3:99'\n";
    files.put("node.toml", &format!("{base}{lab}"));
    let (config, identity) = files.load(Role::Beacon).unwrap();
    assert_eq!((config.clock_offset_ms, config.disk_limit_bytes), (-2_000, Some(500_000)));
    assert_eq!(identity.ways.to(ValidatorId(2), "127.0.0.1:4002"), "127.1.1.3:99");
    files.put("node.toml", &format!("{base}[via]\nnobody = '127.1.1.3:99'\n"));
    files.refused(Role::Beacon, &["nobody", "via"]);
}

/// What the fuzz targets do to all that lies below this crate: seeded changes of a valid file.
#[test]
fn any_change_of_a_configuration_is_refused_with_the_file_or_read() {
    let valid = b"genesis = 'g'\nkey = 'k'\ndata = 'd'\nlisten = '127.0.0.1:4001'\nmetrics = '[::1]:9'\nlog = 'info'\nlog_format = 'json'\n";
    let path = Path::new("node.toml");
    let (mut random, mut read) = (7u64, 0);
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % limit
    };
    for _ in 0..20_000 {
        let mut bytes = valid.to_vec();
        for _ in 0..=below(3) {
            let (at, to) = (below(bytes.len()), below(bytes.len()));
            match below(5) {
                0 => bytes[at] = u8::try_from(below(128)).unwrap(),
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, *b"'\"[]{}=\n#.,0-:\\".get(below(16)).unwrap_or(&b' ')),
                3 => drop(bytes.splice(at.min(to)..at.max(to), b"9".repeat(40))),
                _ => bytes.extend_from_within(at.min(to)..at.max(to)),
            }
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        match NodeConfig::parse(&text, path) {
            Ok(config) => read += usize::from(config.log_format == LogFormat::Json),
            Err(refused) => assert!(refused.to_string().starts_with("node.toml: ")),
        }
    }
    assert!(read > 100, "most changes inside texts are read: {read}");
}
