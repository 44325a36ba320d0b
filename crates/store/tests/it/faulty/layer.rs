//! A layer between SQLite and its files that fails on request and remembers what was synced.
//!
//! It hands everything on to SQLite's own layer. Of each file it keeps what the disk would hold for certain, and the
//! writes since the last sync; a power cut keeps, tears or loses each of these.
#![expect(unsafe_code, reason = "SQLite's file layer is an interface of C; nothing here is part of Shoal")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "each block does what the one argument below allows")]

// SAFETY: SQLite calls these functions with the file that `open` has filled in, which has room for `Wrapped` and
// behind it for the file of the layer below (`szOsFile`); it calls nothing after `close`, and one file from one thread
// at a time. Names are those that `xOpen` got, valid for the call.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;
use shoal_base::splitmix::SplitMix64;

/// What the disk does, shared by all files of one layer.
#[derive(Default)]
pub(crate) struct Disk {
    files: HashMap<String, File>,
    pub(crate) fault: Fault,
    /// Calls that met a fault.
    pub(crate) faults: u64,
    /// Syncs that were held.
    pub(crate) held: u64,
}

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Writes fail: the disk is full.
    Full,
    /// Writes fail after some bytes.
    TornWrite,
    /// Writes are taken, and syncing them fails.
    Sync,
    /// Syncing waits until there is another fault, or none.
    Hold,
    /// Syncing says that all is well, and does nothing.
    Lie,
    /// Everything fails.
    Gone,
}

/// One file: what is on the disk for certain, and what is under way.
#[derive(Clone, Default)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// A layer with a name, for `Options::vfs`.
pub(crate) struct Layer {
    pub(crate) name: String,
    disk: Arc<Mutex<Disk>>,
}

/// The layers, for `open` to find theirs. They live as long as the process: SQLite never lets go of one.
static DISKS: LazyLock<Mutex<Vec<Arc<Mutex<Disk>>>>> = LazyLock::new(Mutex::default);

impl Layer {
    pub(crate) fn new() -> Self {
        let disk = Arc::new(Mutex::new(Disk::default()));
        let mut disks = lock(&DISKS);
        let name = format!("faulty-{}", disks.len());
        disks.push(Arc::clone(&disk));
        let index = disks.len() - 1;
        drop(disks);
        unsafe { register(&name, index) };
        Self { name, disk }
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.disk().fault = fault;
    }

    /// What a power cut leaves, now, as files in `to`: of each write since the last sync all, a part, or nothing.
    pub(crate) fn cut_power(&self, to: &Path, lot: &mut SplitMix64) {
        let files = self.disk().files.clone();
        for (name, file) in files {
            let mut bytes = file.synced;
            for change in file.pending {
                match change {
                    Change::Write(at, written) => match lot.below(3) {
                        0 => {}
                        1 => apply(&mut bytes, &Change::Write(at, written)),
                        _ => {
                            // Sectors are whole.
                            let sectors = lot.below(written.len() as u64 / 512 + 1) as usize;
                            let written = written[..(sectors * 512).min(written.len())].to_vec();
                            apply(&mut bytes, &Change::Write(at, written));
                        }
                    },
                    Change::Truncate(size) if lot.below(2) == 0 => apply(&mut bytes, &Change::Truncate(size)),
                    Change::Truncate(_) => {}
                }
            }
            let name = Path::new(&name).file_name().expect("a file has a name");
            std::fs::write(to.join(name), bytes).expect("it is written");
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, written) => {
            bytes.resize(bytes.len().max(at + written.len()), 0);
            bytes[*at..at + written.len()].copy_from_slice(written);
        }
        Change::Truncate(size) => bytes.resize(*size, 0),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file as SQLite sees it; that of the layer below lies right behind it.
#[repr(C)]
struct Wrapped {
    base: ffi::sqlite3_file,
    /// None: not of a database, and let through as it is.
    name: *mut String,
    disk: *const Mutex<Disk>,
}

unsafe fn register(name: &str, index: usize) {
    unsafe {
        let below = ffi::sqlite3_vfs_find(std::ptr::null());
        let mut vfs = *below;
        vfs.iVersion = 1;
        vfs.szOsFile = (*below).szOsFile + size_of::<Wrapped>() as c_int;
        vfs.zName = CString::new(name).expect("no zero byte").into_raw();
        // Where `open` finds its disk.
        vfs.pAppData = index as *mut c_void;
        vfs.xOpen = Some(open);
        let result = ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0);
        assert_eq!(result, ffi::SQLITE_OK);
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let disk = Arc::clone(&lock(&DISKS)[(*vfs).pAppData as usize]);
        if lock(&disk).fault == Fault::Gone {
            (*file).pMethods = std::ptr::null();
            return ffi::SQLITE_CANTOPEN;
        }
        let below = ffi::sqlite3_vfs_find(std::ptr::null());
        let result = (*below).xOpen.expect("it has one")(below, name, real(file), flags, out);
        if result != ffi::SQLITE_OK {
            (*file).pMethods = std::ptr::null();
            return result;
        }
        let kept = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL;
        let wrapped = file.cast::<Wrapped>();
        (*wrapped).disk = Arc::as_ptr(&disk);
        (*wrapped).name = std::ptr::null_mut();
        if flags & kept != 0 && !name.is_null() {
            let name = CStr::from_ptr(name).to_str().expect("a path in UTF-8").to_string();
            lock(&disk).files.entry(name.clone()).or_default();
            (*wrapped).name = Box::into_raw(Box::new(name));
        }
        (*file).pMethods = &raw const METHODS.0;
        ffi::SQLITE_OK
    }
}

/// The table of functions, which SQLite may read from any thread.
struct Methods(ffi::sqlite3_io_methods);

unsafe impl Sync for Methods {}

static METHODS: Methods = Methods(ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock_file),
    xUnlock: Some(unlock_file),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
});

unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    unsafe { file.cast::<u8>().add(size_of::<Wrapped>()).cast() }
}

/// Waits while syncing is held.
unsafe fn hold(file: *mut ffi::sqlite3_file) {
    unsafe {
        let disk = &*(*file.cast::<Wrapped>()).disk;
        if lock(disk).fault == Fault::Hold {
            lock(disk).held += 1;
        }
        while lock(disk).fault == Fault::Hold {
            std::thread::yield_now();
        }
    }
}

/// Calls a function of the layer below.
macro_rules! below {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        let real = real($file);
        (*(*real).pMethods).$method.expect("it has one")(real $(, $argument)*)
    }};
}

/// Changes what is known of a file; returns the fault.
unsafe fn note(file: *mut ffi::sqlite3_file, change: impl FnOnce(&mut File, Fault)) -> Fault {
    unsafe {
        let wrapped = file.cast::<Wrapped>();
        let mut disk = lock(&*(*wrapped).disk);
        let fault = disk.fault;
        if let Some(name) = (*wrapped).name.as_ref()
            && let Some(known) = disk.files.get_mut(name)
        {
            change(known, fault);
        }
        if fault != Fault::None {
            disk.faults += 1;
        }
        fault
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe {
        let wrapped = file.cast::<Wrapped>();
        if !(*wrapped).name.is_null() {
            drop(Box::from_raw((*wrapped).name));
        }
        below!(file, xClose)
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, count: c_int, at: i64) -> c_int {
    unsafe {
        if lock(&*(*file.cast::<Wrapped>()).disk).fault == Fault::Gone {
            return ffi::SQLITE_IOERR_READ;
        }
        below!(file, xRead, to, count, at)
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    at: i64,
) -> c_int {
    unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), count as usize);
        let part = count / 2;
        let fault = note(file, |known, fault| match fault {
            Fault::None | Fault::Sync | Fault::Lie | Fault::Hold => {
                known.pending.push(Change::Write(at as usize, bytes.to_vec()));
            }
            Fault::TornWrite => {
                known.pending.push(Change::Write(at as usize, bytes[..part as usize].to_vec()));
            }
            Fault::Full | Fault::Gone => {}
        });
        match fault {
            Fault::Full => ffi::SQLITE_FULL,
            Fault::Gone => ffi::SQLITE_IOERR_WRITE,
            Fault::TornWrite => {
                below!(file, xWrite, from, part, at);
                ffi::SQLITE_IOERR_WRITE
            }
            Fault::None | Fault::Sync | Fault::Lie | Fault::Hold => below!(file, xWrite, from, count, at),
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    unsafe {
        let fault = note(file, |known, fault| {
            if !matches!(fault, Fault::Gone) {
                known.pending.push(Change::Truncate(size as usize));
            }
        });
        if fault == Fault::Gone { ffi::SQLITE_IOERR_TRUNCATE } else { below!(file, xTruncate, size) }
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    unsafe {
        hold(file);
        let fault = note(file, |known, fault| {
            if matches!(fault, Fault::None | Fault::Full) {
                for change in std::mem::take(&mut known.pending) {
                    apply(&mut known.synced, &change);
                }
            }
        });
        // The bytes need not outlive this machine: what would is kept above.
        let _ = flags;
        if matches!(fault, Fault::None | Fault::Full | Fault::Lie) {
            ffi::SQLITE_OK
        } else {
            ffi::SQLITE_IOERR_FSYNC
        }
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    unsafe { below!(file, xFileSize, size) }
}

unsafe extern "C" fn lock_file(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    unsafe { below!(file, xLock, level) }
}

unsafe extern "C" fn unlock_file(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    unsafe { below!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    unsafe { below!(file, xCheckReservedLock, out) }
}

unsafe extern "C" fn control(file: *mut ffi::sqlite3_file, what: c_int, with: *mut c_void) -> c_int {
    unsafe { below!(file, xFileControl, what, with) }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe { below!(file, xSectorSize) }
}

unsafe extern "C" fn characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe { below!(file, xDeviceCharacteristics) }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    unsafe { below!(file, xShmMap, page, size, extend, out) }
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, at: c_int, count: c_int, flags: c_int) -> c_int {
    unsafe { below!(file, xShmLock, at, count, flags) }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    unsafe { below!(file, xShmBarrier) }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    unsafe { below!(file, xShmUnmap, delete) }
}
