//! MariaDB, for the store on MySQL.

use jobcore_services::mariadb::{MariaDb, Options};

use super::{Service, Started, apt};
use crate::cargo;

/// A private server of MariaDB, or of MySQL where that is installed.
pub(crate) const MARIADB: Service = Service {
    name: "mariadb",
    about: "MariaDB (apt: mariadb-server-core mariadb-client-core), or the MySQL 8 that is there",
    variable: MariaDb::URL,
    start,
};

/// The server without a service of the system, and the client for people.
const PACKAGES: &[&str] = &["mariadb-server-core", "mariadb-client-core"];

fn start() -> Result<Started, String> {
    if !MariaDb::is_installed() {
        apt::install(PACKAGES)?;
    }
    let data = cargo::programs()?.with_file_name("services");
    let server = MariaDb::start(Options::new(data)).map_err(|error| error.to_string())?;
    let variables = vec![
        (MariaDb::URL, server.url()),
        (MariaDb::AUTHORITY, server.authority().display().to_string()),
    ];
    Ok(Started {
        variables,
        server: Box::new(server),
    })
}
