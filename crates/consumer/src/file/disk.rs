//! The file system, as far as checkpoints need it.

use std::{
    fmt::Debug,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

/// A file system. Tests have one that can be full, and that remembers what was flushed when it crashes.
pub(super) trait Files: Debug + Send + Sync {
    /// The content of a file; `None` if it does not exist.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Creates a file, or empties it.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Flushes all renames in a directory to the disk.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub(super) trait NewFile: Write {
    /// Flushes content and metadata to the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug)]
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        // Elsewhere a directory cannot be opened as a file, and a rename is on the disk when it returns.
        if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

impl NewFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Whether the disk was flushed is seen only after a power cut. But Linux rejects the flush of a device that has
    /// nothing to flush, which shows that the flush is requested.
    #[test]
    fn files_and_directories_are_really_flushed() {
        let device = Path::new("/dev/null");
        let mut file = Disk.create(device).unwrap();
        file.write_all(b"content").unwrap();
        assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(Disk.sync_directory(device).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
