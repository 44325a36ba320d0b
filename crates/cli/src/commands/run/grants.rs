//! What the guest may touch, as typed.

use shoal_runtime::{DirGrant, Grants, OutboundPattern, OutboundRules, StoreGrant};

use super::each_once;
use crate::exit::{self, Exit};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Grants (what is not granted does not exist for the guest)")]
pub(crate) struct TypedGrants {
    /// Set an environment variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Show a directory to the guest under the absolute path GUEST; `:ro` for reading only
    #[arg(long, value_name = "HOST:GUEST[:ro]")]
    dir: Vec<DirGrant>,
    /// Allow requests and connections to [SCHEME://]HOST[:PORT], such as `https://*.example.com`,
    /// `http://127.0.0.1:9000`, `tcp://10.0.0.0/8:5432`, `udp://9.9.9.9:53`; inner addresses only by address
    #[arg(long, value_name = "PATTERN")]
    allow_outbound: Vec<OutboundPattern>,
    /// Allow listening on this TCP and UDP port; 0 for any that the system picks, not one of the guest's choice
    #[arg(long, value_name = "PORT")]
    allow_listen: Vec<u16>,
    /// Set a value of wasi:config
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// Give a key-value store, in memory or in a file
    #[arg(long, value_name = "NAME[=PATH]")]
    kv: Vec<StoreGrant>,
    /// Give a blob store, in memory or in a directory
    #[arg(long, value_name = "NAME[=DIR]")]
    blobs: Vec<StoreGrant>,
}

impl TypedGrants {
    pub(crate) fn meaning(self) -> Result<Grants, Exit> {
        each_once("--env", self.env.iter().map(|(name, _)| name.as_str()))?;
        each_once("--dir", self.dir.iter().map(|dir| dir.guest.as_str()))?;
        each_once("--config", self.config.iter().map(|(name, _)| name.as_str()))?;
        each_once("--kv", self.kv.iter().map(|store| store.name.as_str()))?;
        each_once("--blobs", self.blobs.iter().map(|store| store.name.as_str()))?;
        let outbound = OutboundRules(self.allow_outbound);
        if outbound.contradicts_itself() {
            return Err(Exit::error(exit::USAGE, "--allow-outbound none stands beside other patterns")
                .hint("leave out `none` to grant what the others do, or the others to grant nothing"));
        }
        Ok(Grants {
            env: self.env,
            dirs: self.dir,
            outbound,
            listen: self.allow_listen,
            config: self.config,
            key_value: self.kv,
            blobs: self.blobs,
        })
    }
}

/// `NAME=VALUE`; the value may be empty and may hold further `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("it is not NAME=VALUE".into()),
    }
}
