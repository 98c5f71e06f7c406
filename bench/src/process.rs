//! What a process has cost the machine.

use std::fs;
use std::time::Duration;

/// The time that all threads of a process have had on a CPU, to the nanosecond (`/proc/<pid>/task/*/schedstat`).
///
/// # Errors
/// When it is not there to be read.
pub fn cpu(pid: u32) -> Result<Duration, String> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder).map_err(|e| format!("{folder}: {e}"))?;
    let nanos = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_nanos(nanos))
}

/// A process, its children, theirs and so on.
///
/// # Errors
/// When processes cannot be listed.
pub fn with_descendants(first: u32) -> Result<Vec<u32>, String> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .map_err(|e| format!("/proc: {e}"))?
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name before it, in parentheses, may hold anything.
            let (_, rest) = stat.rsplit_once(") ")?;
            Some((pid, rest.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found = vec![first];
    let mut looked_at = 0;
    while let Some(parent) = found.get(looked_at).copied() {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        found.extend(children.map(|(pid, _)| *pid));
        looked_at += 1;
    }
    Ok(found)
}

/// The name of the program that a process runs; that of the process itself ends after 15 letters.
#[must_use]
pub fn name(pid: u32) -> Option<String> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(program.file_name()?.to_str()?.to_owned())
}

/// The process that listens on a TCP port of this machine, if this user may see it.
#[must_use]
pub fn listening(port: u16) -> Option<u32> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| {
            let listeners = table.lines().filter_map(|line| listener(line, port));
            listeners.collect::<Vec<_>>()
        })
        .collect();
    let has = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        files.into_iter().flatten().flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| {
                let target = target.to_string_lossy();
                sockets.iter().any(|socket| *socket == target)
            })
        })
    };
    let names = fs::read_dir("/proc").ok()?.flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(has)
}

/// A line of `/proc/net/tcp` as the link of its socket, if that listens on this port.
fn listener(line: &str, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (_, at) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let found = state == LISTENS && u16::from_str_radix(at, 16) == Ok(port);
    found.then(|| format!("socket:[{inode}]"))
}

/// Resident memory in KiB.
///
/// # Errors
/// When it is not there to be read.
pub fn resident(pid: u32) -> Result<u64, String> {
    status(pid, "VmRSS")
}

/// Resident memory in KiB that is no file's: without the program's own code, of which more is there the more of it ran.
///
/// # Errors
/// When it is not there to be read.
pub fn anonymous(pid: u32) -> Result<u64, String> {
    status(pid, "RssAnon")
}

fn status(pid: u32, field: &str) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .ok_or_else(|| format!("{path} has no {field}"))
}

/// The machine in one line: processor, cores, kernel.
#[must_use]
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let cores = cpus.lines().filter(|l| l.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// How busy the machine was: the load average of the last minute.
#[must_use]
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_found() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = own.local_addr().unwrap().port();
        assert_eq!(listening(port), Some(std::process::id()));
        drop(own);
        assert_eq!(listening(port), None);
    }
}
