//! Rust and C++ names as their authors wrote them. Symbol tables are hostile: output and depth are bounded.

use std::borrow::Cow;
use std::fmt::{Error, Write};

/// Longest demangled name in bytes; template names grow exponentially with the mangled one.
pub(crate) const MAX_NAME_BYTES: usize = 8192;
/// Nesting of a C++ name.
const MAX_DEPTH: u32 = 64;

/// A demangled name, or the name itself when it is not mangled.
#[must_use]
pub(crate) fn demangle(name: &str) -> Cow<'_, str> {
    if let Ok(demangled) = rustc_demangle::try_demangle(name) {
        return write_bounded(|out| write!(out, "{demangled:#}")).map_or(Cow::Borrowed(name), Cow::Owned);
    }
    // Everything else is C++ only with its prefix: a C name such as `f` would be taken for a type.
    if !name.starts_with("_Z") && !name.starts_with("__Z") {
        return Cow::Borrowed(name);
    }
    cplusplus(name).map_or(Cow::Borrowed(name), Cow::Owned)
}

fn cplusplus(name: &str) -> Option<String> {
    let parse = cpp_demangle::ParseOptions::default().recursion_limit(MAX_DEPTH);
    let symbol = cpp_demangle::Symbol::new_with_options(name, &parse).ok()?;
    let options = cpp_demangle::DemangleOptions::new().recursion_limit(MAX_DEPTH);
    write_bounded(|out| symbol.structured_demangle(out, &options).map_err(|_| Error))
}

fn write_bounded(write: impl FnOnce(&mut Bounded) -> Result<(), Error>) -> Option<String> {
    let mut out = Bounded(String::new());
    write(&mut out).ok().map(|()| out.0).filter(|name| !name.is_empty())
}

/// Refuses more than [`MAX_NAME_BYTES`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> Result<(), Error> {
        if self.0.len() + text.len() > MAX_NAME_BYTES {
            return Err(Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::demangle;

    #[test]
    fn knows_both_rust_manglings_and_cplusplus() {
        assert_eq!(demangle("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"), "core::fmt::Write::write_fmt");
        assert_eq!(demangle("_RNvC6_123foo3bar"), "123foo::bar");
        assert_eq!(
            demangle("_ZNSt6vectorIiSaIiEE9push_backERKi"),
            "std::vector<int, std::allocator<int> >::push_back(int const&)"
        );
    }

    #[test]
    fn leaves_c_names_alone() {
        for name in ["main", "f", "i", "_start", "__libc_start_main", "_ZZZ", "_R", "_Znonsense"] {
            assert_eq!(demangle(name), name);
        }
    }

    #[test]
    fn a_name_that_explodes_stays_mangled() {
        let mut bomb = String::from("_Z1fIiE");
        for index in 0..40 {
            bomb.push_str(&format!("S{}_S{}_", index % 10, index % 10));
        }
        assert!(demangle(&bomb).len() <= super::MAX_NAME_BYTES);
        assert_eq!(demangle(&format!("_Z{}", "N".repeat(100_000))).len(), 100_002);
    }
}
