//! Looking up hosts in a static program.
//!
//! glibc loads what `/etc/nsswitch.conf` names beyond files and DNS (resolve, mdns4_minimal, myhostname, …) as shared
//! libraries, and with them the host's own glibc. In a static program of another version that ends in a crash.

/// Has hosts looked up in `/etc/hosts` and by DNS alone, where the program is static. To be called first.
pub fn bound_names() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    configured::files_and_dns();
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
mod configured {
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        /// `nss.h` of glibc: in place of the line for a database in `/etc/nsswitch.conf`.
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }

    pub(super) fn files_and_dns() {
        // SAFETY: both end with a zero byte and live as long as the program, which has one thread so far.
        let failed = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
        debug_assert_eq!(failed, 0, "both services are built in");
    }
}
