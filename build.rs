//! Makes the binary follow the built web pages, which it embeds.

use std::path::Path;

fn main() {
    let dist = Path::new("web/dist");
    // A folder that is missing would rerun this on every build. Where it cannot be made, as on a
    // read-only checkout, nothing is embedded and a page says how to build the pages.
    if !dist.exists()
        && let Err(error) = std::fs::create_dir_all(dist)
    {
        println!("cargo::warning=cannot create {}: {error}", dist.display());
    }
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LODESTONE_COMMIT");
}
