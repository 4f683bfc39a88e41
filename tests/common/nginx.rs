//! A real nginx in front of a cluster: it buffers answers, as it does unless it is told otherwise.
//!
//! The binary is that of `scripts/install-nginx`, which installs it where there is none.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{installed, ports::Ports, until};

/// A running nginx. Dropping it kills it.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    ports: Ports,
    cluster: SocketAddr,
    directory: tempfile::TempDir,
}

impl Nginx {
    /// Passes everything on to `cluster`. `location` are further directives, such as `proxy_read_timeout 2s;`.
    pub async fn start(cluster: SocketAddr, location: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("nginx").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let child = spawn(directory.path(), &ports.address(), cluster, location);
        let nginx = Nginx { child, ports, cluster, directory };
        nginx.until_it_listens().await;
        nginx
    }

    /// Stops it, and starts it with other directives.
    pub async fn restart(&mut self, location: &str) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
        self.child = spawn(self.directory.path(), &self.ports.address(), self.cluster, location);
        self.until_it_listens().await;
    }

    async fn until_it_listens(&self) {
        let address = self.ports.address();
        until("nginx listens", || TcpStream::connect(&address).is_ok()).await;
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

fn spawn(directory: &Path, listen: &str, cluster: SocketAddr, location: &str) -> Child {
    let at = directory.display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.iter().map(|name| format!("{name}_temp_path {at}/{name};\n")).collect();
    let configuration = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\n{paths}\
         server {{ listen {listen}; location / {{ proxy_pass http://{cluster}; {location} }} }} }}\n",
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration).expect("the directory is ours");
    let mut command = Command::new(installed("nginx"));
    command.arg("-p").arg(directory).arg("-c").arg(file).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx starts")
}
