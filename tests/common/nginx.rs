//! A real nginx in front of a cluster: it buffers answers, as it does unless it is told otherwise.
//!
//! The binary is that of `scripts/install-nginx`, which installs it where there is none.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use super::{installed, ports::Ports, until};

/// A running nginx. Dropping it kills it.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    ports: Ports,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// Passes everything on to `cluster`. `location` are further directives, such as `proxy_read_timeout 2s;`.
    pub async fn start(cluster: SocketAddr, location: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("nginx").tempdir().expect("a temporary directory");
        let (ports, at) = (Ports::reserve(), directory.path().display().to_string());
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths: String = paths.iter().map(|name| format!("{name}_temp_path {at}/{name};\n")).collect();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\naccess_log off;\n{paths}\
             server {{ listen {}; location / {{ proxy_pass http://{cluster}; {location} }} }} }}\n",
            ports.address()
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, configuration).expect("the directory is ours");
        let mut command = Command::new(installed("nginx"));
        command.arg("-p").arg(directory.path()).arg("-c").arg(file).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx starts");
        let address = ports.address();
        until("nginx listens", || TcpStream::connect(&address).is_ok()).await;
        Nginx { child, ports, _directory: directory }
    }

    /// Its address for `NOMAD_ADDR`.
    pub fn url(&self) -> String {
        format!("http://{}", self.ports.address())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
