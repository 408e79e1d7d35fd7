//! Where engines are asked.

/// Unless told otherwise: Docker's socket, and Podman's, which speaks Docker's language.
pub(crate) const SOCKETS: &str = "/var/run/docker.sock,/run/podman/podman.sock";
