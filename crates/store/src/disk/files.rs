//! The file operations that a store's life depends on.
//!
//! A machine that loses power keeps what was synced, and any part of the rest: a file without a sync may be empty, a
//! name without a sync of its directory may be missing. What has to be durable before what is therefore part of the
//! format. The operations are a trait, so that tests run the same code on a [model](model::Model) that knows what was
//! synced, and look at everything that a crash may leave.

use std::{
    fmt::Debug,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Operations on files and directories. None of them syncs anything unless its name says so.
pub(super) trait Files: Debug {
    /// Whether something is at a path.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes a directory.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Writes a file, in place of what it was.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Shortens a file.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;

    /// Makes a file's contents durable, but not its name.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or directory another name in the same directory, in place of what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a directory with all that is in it. Without a directory it does nothing.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
}

/// The files of the operating system.
#[derive(Debug)]
pub(super) struct SystemFiles;

impl Files for SystemFiles {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        File::create(path)?.write_all(bytes)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        File::options().write(true).open(path)?.set_len(length)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::options().write(true).open(path)?.sync_all()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        // Windows opens no directories, and needs no such thing.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod model {
    //! A file system in memory that loses power.

    use std::{
        cell::{Cell, RefCell},
        collections::BTreeMap,
        ffi::OsString,
    };

    use super::*;

    /// A file system that knows what was synced, and breaks off where a test wants.
    #[derive(Debug)]
    pub(in super::super) struct Model {
        nodes: RefCell<Vec<Node>>,
        operations: Cell<usize>,
        ends_after: usize,
    }

    #[derive(Clone, Debug)]
    enum Node {
        File { now: Vec<u8>, durable: Vec<u8> },
        Directory { now: Names, durable: Names },
    }

    type Names = BTreeMap<OsString, usize>;

    const ROOT: usize = 0;

    impl Node {
        fn is_durable(&self) -> bool {
            match self {
                Self::File { now, durable } => now == durable,
                Self::Directory { now, durable } => now == durable,
            }
        }

        /// The node after a crash: as it was at its last sync, or as it is.
        fn after(&self, kept: bool) -> Self {
            let mut node = self.clone();
            match &mut node {
                Self::File { now, durable } if kept => durable.clone_from(now),
                Self::File { now, durable } => now.clone_from(durable),
                Self::Directory { now, durable } if kept => durable.clone_from(now),
                Self::Directory { now, durable } => now.clone_from(durable),
            }
            node
        }
    }

    fn lost<T>() -> io::Result<T> {
        Err(io::Error::new(io::ErrorKind::NotFound, "there is no such file"))
    }

    impl Model {
        /// A file system with nothing but the root, which is durable.
        pub(in super::super) fn new() -> Self {
            let root = Node::Directory { now: Names::new(), durable: Names::new() };
            Self { nodes: RefCell::new(vec![root]), operations: Cell::new(0), ends_after: usize::MAX }
        }

        /// The same files, on which power is lost after so many changes: these succeed, all others fail.
        pub(in super::super) fn ending_after(&self, operations: usize) -> Self {
            Self { nodes: self.nodes.clone(), operations: Cell::new(0), ends_after: operations }
        }

        /// How many changes were made or tried.
        pub(in super::super) fn operations(&self) -> usize {
            self.operations.get()
        }

        /// All that may be there after the power is back: any of the files and directories is as it was at its last
        /// sync, or as it was last.
        pub(in super::super) fn crashes(&self) -> Vec<Self> {
            let nodes = self.nodes.borrow();
            let open: Vec<usize> = (0..nodes.len()).filter(|at| !nodes[*at].is_durable()).collect();
            assert!(open.len() < 16, "{} things were not synced", open.len());
            let crash = |choice: usize| {
                let mut nodes = nodes.clone();
                for (bit, at) in open.iter().enumerate() {
                    nodes[*at] = nodes[*at].after(choice >> bit & 1 == 1);
                }
                Self { nodes: RefCell::new(nodes), operations: Cell::new(0), ends_after: usize::MAX }
            };
            (0..1 << open.len()).map(crash).collect()
        }

        fn change<T>(&self, change: impl FnOnce(&mut Vec<Node>) -> io::Result<T>) -> io::Result<T> {
            let operation = self.operations.get();
            self.operations.set(operation + 1);
            if operation >= self.ends_after {
                return Err(io::Error::other("the power is lost"));
            }
            change(&mut self.nodes.borrow_mut())
        }

        fn find(nodes: &[Node], path: &Path) -> Option<usize> {
            path.iter().try_fold(ROOT, |at, name| match &nodes[at] {
                Node::Directory { now, .. } => now.get(name).copied(),
                Node::File { .. } => None,
            })
        }

        /// The names of the directory that a path is in, and the path's own name.
        fn parent<'a>(nodes: &'a mut [Node], path: &Path) -> io::Result<(&'a mut Names, OsString)> {
            let name = path.file_name().expect("paths have names").to_owned();
            let parent = Self::find(nodes, path.parent().expect("paths have parents"));
            match parent.map(|at| &mut nodes[at]) {
                Some(Node::Directory { now, .. }) => Ok((now, name)),
                _ => lost(),
            }
        }

        fn remove(nodes: &mut [Node], path: &Path) -> io::Result<()> {
            let (names, name) = Self::parent(nodes, path)?;
            names.remove(&name).map_or_else(lost, |_| Ok(()))
        }

        fn add(nodes: &mut Vec<Node>, path: &Path, node: Node) -> io::Result<()> {
            let next = nodes.len();
            let (names, name) = Self::parent(nodes, path)?;
            names.insert(name, next);
            nodes.push(node);
            Ok(())
        }
    }

    impl Files for Model {
        fn exists(&self, path: &Path) -> io::Result<bool> {
            Ok(Self::find(&self.nodes.borrow(), path).is_some())
        }

        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let nodes = self.nodes.borrow();
            match Self::find(&nodes, path).map(|at| &nodes[at]) {
                Some(Node::File { now, .. }) => Ok(now.clone()),
                _ => lost(),
            }
        }

        fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
            let nodes = self.nodes.borrow();
            match Self::find(&nodes, path).map(|at| &nodes[at]) {
                Some(Node::Directory { now, .. }) => Ok(now.keys().map(|name| path.join(name)).collect()),
                _ => lost(),
            }
        }

        fn create_directory(&self, path: &Path) -> io::Result<()> {
            let empty = Node::Directory { now: Names::new(), durable: Names::new() };
            self.change(|nodes| Self::add(nodes, path, empty))
        }

        fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            self.change(|nodes| {
                if let Some(at) = Self::find(nodes, path) {
                    let Node::File { now, .. } = &mut nodes[at] else { return lost() };
                    *now = bytes.to_vec();
                    return Ok(());
                }
                Self::add(nodes, path, Node::File { now: bytes.to_vec(), durable: Vec::new() })
            })
        }

        fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
            self.change(|nodes| match Self::find(nodes, path).map(|at| &mut nodes[at]) {
                Some(Node::File { now, .. }) => {
                    now.resize(usize::try_from(length).expect("files of tests are short"), 0);
                    Ok(())
                }
                _ => lost(),
            })
        }

        fn sync_file(&self, path: &Path) -> io::Result<()> {
            self.change(|nodes| match Self::find(nodes, path).map(|at| &mut nodes[at]) {
                Some(file @ Node::File { .. }) => {
                    *file = file.after(true);
                    Ok(())
                }
                _ => lost(),
            })
        }

        fn sync_directory(&self, path: &Path) -> io::Result<()> {
            self.change(|nodes| match Self::find(nodes, path).map(|at| &mut nodes[at]) {
                Some(directory @ Node::Directory { .. }) => {
                    *directory = directory.after(true);
                    Ok(())
                }
                _ => lost(),
            })
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            assert_eq!(from.parent(), to.parent(), "names change within a directory");
            self.change(|nodes| {
                let (names, from) = Self::parent(nodes, from)?;
                let Some(at) = names.remove(&from) else { return lost() };
                names.insert(to.file_name().expect("paths have names").to_owned(), at);
                Ok(())
            })
        }

        fn remove_directory(&self, path: &Path) -> io::Result<()> {
            if !self.exists(path)? {
                return Ok(());
            }
            // One name at a time: power may be lost in between.
            for inner in self.list(path)? {
                if self.list(&inner).is_ok() {
                    self.remove_directory(&inner)?;
                } else {
                    self.change(|nodes| Self::remove(nodes, &inner))?;
                }
            }
            self.change(|nodes| Self::remove(nodes, path))
        }
    }
}
