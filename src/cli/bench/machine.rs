//! The machine, and what a process has used of it, as Linux shows both in `/proc`. Where there is no such folder the figures
//! are not known.

use std::time::Duration;

use serde::Serialize;

/// Ticks a second in `/proc/PID/stat`: the kernel's USER_HZ, 100 on every architecture that this program is built for.
const TICKS_A_SECOND: u64 = 100;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub os: &'static str,
    pub arch: &'static str,
    pub kernel: Option<String>,
    pub cpu: Option<String>,
    pub cores: usize,
    pub memory_bytes: Option<u64>,
}

impl Machine {
    pub(super) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        Machine {
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            cpu: read("/proc/cpuinfo").and_then(|text| cpu_model(&text)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: read("/proc/meminfo").and_then(|text| kib_line(&text, "MemTotal:")),
        }
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Time on a core, in user mode and in the kernel.
    pub cpu: Option<Duration>,
    pub resident_bytes: Option<u64>,
    pub resident_bytes_max: Option<u64>,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let status = read("status").unwrap_or_default();
        Usage {
            cpu: read("stat").ok().and_then(|text| cpu_time(&text)),
            resident_bytes: kib_line(&status, "VmRSS:"),
            resident_bytes_max: kib_line(&status, "VmHWM:"),
        }
    }
}

/// utime and stime of `/proc/PID/stat`, its fields 14 and 15. The second field, the program's name in parentheses, may have
/// spaces and parentheses of its own.
fn cpu_time(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut times = behind_name.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let kernel: u64 = times.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + kernel) * (1000 / TICKS_A_SECOND),
    ))
}

/// The value of a line such as `VmHWM:   2048 kB`, in bytes.
fn kib_line(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    let (_, model) = line.split_once(':')?;
    Some(model.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_a_name_with_spaces_and_parentheses() {
        let stat =
            "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 500 0 2 0 150 25 7 8 20 0 9 0 100 1000 20";
        assert_eq!(cpu_time(stat), Some(Duration::from_millis(1750)));
        assert_eq!(cpu_time("4242 (deltaplane) S 1"), None);
        assert_eq!(cpu_time(""), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tdeltaplane\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kib_line(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(kib_line(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(kib_line(status, "VmSwap:"), None);
    }

    #[test]
    fn a_process_that_is_not_there_has_used_nothing_that_is_known() {
        let none = Usage::of(u32::MAX);
        assert!(none.cpu.is_none() && none.resident_bytes_max.is_none());
        if cfg!(target_os = "linux") {
            let own = Usage::of(std::process::id());
            assert!(own.cpu.is_some() && own.resident_bytes <= own.resident_bytes_max);
        }
    }
}
