//! Which program is behind a netlink port, as far as the kernel tells.
//!
//! A port is a number that the kernel gives to a socket: the process's own for its first one, any for the others; libnl counts its own
//! sockets in the upper bits. A process is claimed only if the socket of that port is among its open files.

use std::{fs, path::Path};

/// `NETLINK_ROUTE`, as /proc/net/netlink shows it.
const ROUTE: &str = "0";

/// Of a port that libnl chose, the bits that are the process.
const LIBNL_PROCESS_BITS: u32 = (1 << 22) - 1;

/// Open files of a process that are looked through: beyond them the number has to do.
const FILES_MAX: usize = 4096;

/// Who is behind a port, for people.
pub(super) fn behind(port: u32) -> String {
    let inodes = sockets(
        &fs::read_to_string("/proc/thread-self/net/netlink").unwrap_or_default(),
        port,
    );
    for process in [port, port & LIBNL_PROCESS_BITS] {
        // The name first: a program about to end loses its files before it loses its name.
        let directory = Path::new("/proc").join(process.to_string());
        let Ok(name) = fs::read_to_string(directory.join("comm")) else {
            continue;
        };
        if holds(&directory, &inodes) {
            return format!("{} (pid {process})", name.trim_end());
        }
    }
    if inodes.is_empty() {
        format!("a program that has ended (netlink port {port})")
    } else {
        format!("the program with netlink port {port}")
    }
}

/// The inodes of the sockets with a port, in the text of /proc/net/netlink: sk, Eth, Pid, Groups, Rmem, Wmem, Dump, Locks, Drops, Inode.
fn sockets(table: &str, port: u32) -> Vec<String> {
    let port = port.to_string();
    let of_port = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, ROUTE, number, .., inode] if number == port => Some(inode.to_owned()),
            _ => None,
        }
    };
    table.lines().filter_map(of_port).collect()
}

/// Whether a process has one of these sockets open.
fn holds(directory: &Path, inodes: &[String]) -> bool {
    let Ok(files) = fs::read_dir(directory.join("fd")) else {
        return false;
    };
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let targets = files
        .take(FILES_MAX)
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    targets.into_iter().any(|target| {
        let target = target.to_string_lossy();
        wanted.iter().any(|wanted| *wanted == target)
    })
}

#[cfg(test)]
mod tests {
    use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

    use super::*;

    #[test]
    fn a_process_is_named_by_its_first_socket_while_it_is_open() {
        let mut sockets: Vec<Socket> = (0..2)
            .map(|_| Socket::new(NETLINK_ROUTE).unwrap())
            .collect();
        let ports: Vec<u32> = sockets
            .iter_mut()
            .map(|socket| socket.bind_auto().unwrap().port_number())
            .collect();
        let own = std::process::id();
        for port in &ports {
            let by = behind(*port);
            if *port == own {
                assert!(by.ends_with(&format!("(pid {own})")), "{by}");
            } else {
                assert_eq!(by, format!("the program with netlink port {port}"));
            }
        }
        drop(sockets);
        assert_eq!(
            behind(ports[1]),
            format!("a program that has ended (netlink port {})", ports[1])
        );
    }

    #[test]
    fn the_number_of_a_process_alone_is_no_claim() {
        // Process 1 is there, and no socket of it has this port here.
        assert!(!behind(1).contains("(pid 1)"));
    }

    #[test]
    fn sockets_of_other_families_are_not_meant() {
        let table = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                     0000000000000000 0   612        00000440 0        0        0     2        0        4711\n\
                     0000000000000000 15  612        00000000 0        0        0     2        0        4712\n\
                     0000000000000000 0   4195      00000000 0        0        0     2        0        4713\n";
        assert_eq!(sockets(table, 612), ["4711"]);
        assert_eq!(sockets(table, 15), Vec::<String>::new());
    }
}
