//! Each test confines a thread of its own.

use super::*;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

const DENIED: Option<i32> = Some(libc::EPERM);
/// Landlock's answer.
const OUTSIDE: Option<i32> = Some(libc::EACCES);

/// What a thread finds once it is confined.
fn on_thread<T: Send>(confine: impl FnOnce() + Send, attempt: impl FnOnce() -> T + Send) -> T {
    let body = || {
        confine();
        attempt()
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap())
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().map(|error| error.raw_os_error().unwrap())
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[test]
fn what_every_thread_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let all: [&(dyn Fn() + Sync); 3] =
        [&reader_thread, &|| network_thread(&Rules::default()), &|| files_thread(folder.path())];
    for confine in all {
        on_thread(confine, || {
            assert_eq!(errno(Command::new("/bin/true").spawn()), DENIED);
            assert_eq!(errno(Command::new("/bin/true").status()), DENIED);
            let parent = rustix::process::getppid().unwrap();
            assert_eq!(rustix::process::test_kill_process(parent), Err(rustix::io::Errno::PERM));
            assert_eq!(rustix::process::chroot("/"), Err(rustix::io::Errno::PERM));
            let through = rustix::fs::ResolveFlags::empty();
            let opened = rustix::fs::openat2(
                rustix::fs::CWD,
                "/etc/hostname",
                rustix::fs::OFlags::RDONLY,
                rustix::fs::Mode::empty(),
                through,
            );
            assert_eq!(opened.err(), Some(rustix::io::Errno::NOSYS));
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            assert_eq!(
                rustix::process::setrlimit(rustix::process::Resource::Nofile, limit),
                Err(rustix::io::Errno::PERM)
            );
            assert_eq!(errno(std::os::unix::fs::symlink("a", folder.path().join("link"))), DENIED);
            // Ordinary work goes on: memory, threads, time, reading.
            assert_eq!(std::thread::spawn(|| vec![1_u8; 1 << 20].len()).join().unwrap(), 1 << 20);
            assert!(fs::read("/proc/self/status").is_ok() && fs::read_dir("/proc").is_ok());
            std::thread::sleep(std::time::Duration::from_millis(1));
        });
    }
}

#[test]
fn readers_open_nothing_for_writing_and_have_no_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let present = folder.path().join("present");
    fs::write(&present, "old").unwrap();
    on_thread(reader_thread, || {
        for options in [
            OpenOptions::new().write(true),
            OpenOptions::new().read(true).write(true),
            OpenOptions::new().append(true),
            OpenOptions::new().write(true).truncate(true),
        ] {
            assert_eq!(errno(options.open(&present)), DENIED);
        }
        let absent = folder.path().join("absent");
        assert_eq!(errno(fs::File::create(&absent)), DENIED);
        assert_eq!(errno(fs::create_dir(&absent)), DENIED);
        assert_eq!(errno(fs::remove_file(&present)), DENIED);
        assert_eq!(errno(fs::rename(&present, &absent)), DENIED);
        assert_eq!(errno(fs::hard_link(&present, &absent)), DENIED);
        assert_eq!(errno(TcpStream::connect(loopback(1))), DENIED);
        assert_eq!(errno(TcpListener::bind(loopback(0))), DENIED);
        assert_eq!(errno(UdpSocket::bind(loopback(0))), DENIED);
        assert_eq!(errno(std::os::unix::net::UnixStream::pair()), DENIED);
        // What is open stays of use, and memory without a name is no file.
        let kept = fs::File::open(&present).unwrap();
        kept.set_modified(std::time::SystemTime::now()).unwrap();
        let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        fs::File::from(memory).write_all(b"unpacked").unwrap();
    });
    assert_eq!(fs::read_to_string(&present).unwrap(), "old");
}

#[test]
fn threads_of_the_network_keep_to_their_ports_and_folders() {
    let Some(abi) = landlock_abi() else { panic!("this kernel has no Landlock") };
    assert!(abi >= domain::PORTS_SINCE, "this kernel's Landlock knows no ports");
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let [allowed, other] = [(); 2].map(|()| TcpListener::bind(loopback(0)).unwrap());
    let [allowed_port, other_port] = [&allowed, &other].map(|one| one.local_addr().unwrap().port());
    let free = TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap().port();
    let rules =
        Rules { folders: vec![folder.path().into()], connect_ports: vec![allowed_port], bind_ports: vec![free] };
    on_thread(
        || network_thread(&rules),
        || {
            TcpStream::connect(loopback(allowed_port)).unwrap();
            assert_eq!(errno(TcpStream::connect(loopback(other_port))), OUTSIDE);
            TcpListener::bind(loopback(free)).unwrap();
            assert_eq!(errno(TcpListener::bind(loopback(0))), OUTSIDE);
            fs::write(folder.path().join("part"), "new").unwrap();
            fs::rename(folder.path().join("part"), folder.path().join("whole")).unwrap();
            assert_eq!(errno(fs::write(outside.path().join("file"), "new")), OUTSIDE);
            assert_eq!(errno(fs::remove_dir(outside.path())), OUTSIDE);
            assert_eq!(errno(fs::rename(folder.path().join("whole"), outside.path().join("moved"))), OUTSIDE);
            // Another process cannot be looked into.
            assert!(fs::read_link(format!("/proc/{}/exe", rustix::process::getppid().unwrap())).is_err());
            // Names are looked up by the host's own means.
            use std::net::ToSocketAddrs as _;
            assert!("localhost:1".to_socket_addrs().unwrap().next().is_some());
        },
    );
}

#[test]
fn sockets_of_this_host_are_for_the_network_alone() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    // As Docker has it: root's and its group's. Nothing but the owner's right leads there.
    std::os::unix::fs::chown(&socket, None, Some(999)).unwrap();
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o660)).unwrap();
    let connect = || errno(UnixStream::connect(&socket));
    let talking = || {
        reader_capabilities();
        network_thread(&Rules::default());
    };
    assert_eq!(on_thread(talking, connect), None);
    assert_eq!(on_thread(reader_thread, connect), DENIED);
    assert_eq!(on_thread(|| files_thread(folder.path()), connect), DENIED);
}

/// Those that the agent keeps: none opens what another user may not.
fn reader_capabilities() {
    capabilities::keep(Verb::Run).unwrap();
    assert!(
        !rustix::thread::capabilities(None).unwrap().effective.contains(rustix::thread::CapabilitySet::DAC_OVERRIDE)
    );
}

#[test]
fn without_a_folder_nothing_is_opened_for_writing() {
    let folder = tempfile::tempdir().unwrap();
    let refused =
        on_thread(|| network_thread(&Rules::default()), || errno(fs::write(folder.path().join("file"), "new")));
    assert_eq!(refused, DENIED);
}

#[test]
fn the_keeper_of_files_has_no_network() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(loopback(0)).unwrap();
    let address = listener.local_addr().unwrap();
    on_thread(
        || files_thread(folder.path()),
        || {
            assert_eq!(errno(TcpStream::connect(address)), DENIED);
            assert_eq!(errno(UdpSocket::bind(loopback(0))), DENIED);
            let path = folder.path().join("file");
            let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
            (&file).write_all(b"record").unwrap();
            file.set_len(3).unwrap();
            file.sync_all().unwrap();
            fs::File::open(folder.path()).unwrap().sync_all().unwrap();
            fs::remove_file(&path).unwrap();
            let elsewhere = fs::write(std::env::temp_dir().join("profiler-agent-outside"), "new");
            assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::PermissionDenied);
        },
    );
}

#[test]
fn a_thread_keeps_the_capabilities_that_its_work_needs() {
    let before = rustix::thread::capabilities(None).unwrap().permitted;
    on_thread(reader_thread, || {
        let sets = rustix::thread::capabilities(None).unwrap();
        let wanted = before & capabilities::READING;
        assert_eq!((sets.effective, sets.permitted), (wanted, wanted));
        assert!(sets.inheritable.is_empty());
    });
    // Of this thread nothing was taken.
    assert_eq!(rustix::thread::capabilities(None).unwrap().permitted, before);
}
