//! The file that `record` writes: proven writable before the recording, complete or untouched after it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Names tried for the temporary file until one is free.
const TEMPORARY_NAMES: u32 = 100;

/// The output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {reason}", path.display())]
pub struct NotWritable {
    path: PathBuf,
    reason: String,
}

/// An output that can be written, opened before there is anything to write.
///
/// A plain file is written under another name in the same folder and renamed, so readers see the old content or the
/// new one; dropped unfinished, it leaves nothing behind. Devices, pipes and what a symbolic link leads to are written
/// in place: `/dev/stdout` is a link, and replacing it would help nobody. Opening a fifo waits for its reader.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    /// The output itself, where it is there already.
    existing: Option<File>,
    temporary: Option<Temporary>,
}

#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already once it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

impl OutputFile {
    /// Proves that `path` can be written, without changing what is there.
    ///
    /// # Errors
    /// It cannot; the error names path and reason.
    pub fn create(path: &Path) -> Result<Self, NotWritable> {
        let fail = |reason: String| NotWritable { path: path.to_owned(), reason };
        let folder = folder(path).map_err(|reason| fail(reason.to_owned()))?;
        let existing = match OpenOptions::new().write(true).open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(fail(reason(&error))),
        };
        let in_place = existing.is_some() && !is_plain_file(path).map_err(|error| fail(reason(&error)))?;
        let temporary = match (in_place, &existing) {
            (true, _) => None,
            (false, None) => Some(Temporary::create(folder).map_err(|error| fail(folder_reason(&error, folder)))?),
            // The folder takes no new files, but the output itself can be written.
            (false, Some(_)) => Temporary::create(folder).ok(),
        };
        Ok(Self { path: path.to_owned(), existing, temporary })
    }

    /// Writes the output; it is on disk when this returns.
    ///
    /// # Errors
    /// It could not be written, for example because the disk is full. Except for outputs written in place, the old
    /// content is still there then.
    pub fn finish(mut self, content: &[u8]) -> Result<(), NotWritable> {
        let written = match self.temporary.take() {
            Some(temporary) => self.replace(&temporary, content),
            None => self.write_in_place(content),
        };
        written.map_err(|error| NotWritable { reason: reason(&error), path: self.path })
    }

    fn replace(&mut self, temporary: &Temporary, content: &[u8]) -> io::Result<()> {
        if let Some(existing) = &self.existing {
            temporary.file.set_permissions(existing.metadata()?.permissions())?;
        }
        (&temporary.file).write_all(content)?;
        temporary.file.sync_all()?;
        match fs::rename(&temporary.path, &self.path) {
            Ok(()) => {}
            // A file mounted into a container cannot be replaced, only written.
            Err(error) if error.kind() == ErrorKind::ResourceBusy && self.existing.is_some() => {
                return self.write_in_place(content);
            }
            Err(error) => return Err(error),
        }
        if let Some(folder) = temporary.path.parent() {
            // Some file systems cannot; the content itself is on disk.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    fn write_in_place(&mut self, content: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.existing else { return Ok(()) };
        let on_disk = file.metadata()?.is_file();
        if on_disk {
            file.set_len(0)?;
        }
        file.write_all(content)?;
        if on_disk { file.sync_all() } else { Ok(()) }
    }
}

impl Temporary {
    fn create(folder: &Path) -> io::Result<Self> {
        let mut taken = io::Error::from(ErrorKind::AlreadyExists);
        for attempt in 0..TEMPORARY_NAMES {
            let path = folder.join(format!(".profiler-{}-{attempt}.tmp", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => taken = error,
                Err(error) => return Err(error),
            }
        }
        Err(taken)
    }
}

/// The folder of a path that can name a file.
fn folder(path: &Path) -> Result<&Path, &'static str> {
    if path.as_os_str().is_empty() {
        return Err("the name is empty");
    }
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.file_name().is_none() || path.is_dir() {
        return Err("it is a folder");
    }
    Ok(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Neither a device nor a symbolic link.
fn is_plain_file(path: &Path) -> io::Result<bool> {
    Ok(fs::symlink_metadata(path)?.is_file())
}

fn folder_reason(error: &io::Error, folder: &Path) -> String {
    match error.kind() {
        ErrorKind::NotFound if !folder.exists() => format!("there is no folder {}", folder.display()),
        ErrorKind::NotADirectory => format!("{} is no folder", folder.display()),
        ErrorKind::PermissionDenied => format!("no permission to write into the folder {}", folder.display()),
        _ => reason(error),
    }
}

/// The system's words, in lower case and without the number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::process::Command;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_existing_output_only_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.svg");
        fs::write(&path, "old and longer").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let output = OutputFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old and longer");
        output.finish(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(names(folder.path()), ["out.svg"]);
    }

    #[test]
    fn unfinished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(OutputFile::create(&folder.path().join("out.svg")).unwrap());
        assert!(names(folder.path()).is_empty());
        let long = "x".repeat(255);
        OutputFile::create(&folder.path().join(&long)).unwrap().finish(b"1").unwrap();
        assert_eq!(names(folder.path()), [long]);
    }

    #[test]
    fn two_at_once_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let first = OutputFile::create(&folder.path().join("a.svg")).unwrap();
        let second = OutputFile::create(&folder.path().join("b.svg")).unwrap();
        second.finish(b"b").unwrap();
        first.finish(b"a").unwrap();
        assert_eq!(names(folder.path()), ["a.svg", "b.svg"]);
    }

    #[test]
    fn says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().display().to_string();
        fs::write(folder.path().join("file"), "").unwrap();
        for (name, reason) in [
            (base.clone(), "it is a folder".to_owned()),
            (format!("{base}/new.svg/"), "it is a folder".to_owned()),
            (format!("{base}/.."), "it is a folder".to_owned()),
            (String::new(), "the name is empty".to_owned()),
            (format!("{base}/no/out.svg"), format!("there is no folder {base}/no")),
            ("/proc/out.svg".to_owned(), "no such file or directory".to_owned()),
            (format!("{base}/file/out.svg"), "not a directory".to_owned()),
            (format!("{base}/{}", "x".repeat(256)), "file name too long".to_owned()),
        ] {
            let error = OutputFile::create(Path::new(&name)).unwrap_err().to_string();
            assert_eq!(error, format!("cannot write {name}: {reason}"));
        }
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn full_disk_is_an_error_of_the_end() {
        let error = OutputFile::create(Path::new("/dev/full")).unwrap().finish(b"1").unwrap_err();
        assert_eq!(error.to_string(), "cannot write /dev/full: no space left on device");
    }

    #[test]
    fn devices_are_written_in_place() {
        OutputFile::create(Path::new("/dev/null")).unwrap().finish(b"1").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn fifo_gets_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.svg");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let content = vec![7; 300_000];
        let reader = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut read = Vec::new();
                File::open(path).unwrap().read_to_end(&mut read).unwrap();
                read
            }
        });
        OutputFile::create(&path).unwrap().finish(&content).unwrap();
        assert_eq!(reader.join().unwrap(), content);
        assert_eq!(names(folder.path()), ["out.svg"]);
    }

    #[test]
    fn symbolic_links_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link.svg"), folder.path().join("target.svg"));
        fs::write(&target, "old and longer").unwrap();
        symlink(&target, &link).unwrap();
        OutputFile::create(&link).unwrap().finish(b"new").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
