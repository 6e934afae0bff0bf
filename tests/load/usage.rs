//! Measures the CPU time and memory of a process.

/// Returns the CPU seconds and the resident megabytes of a process.
pub(crate) fn usage(pid: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may contain anything, fields 12 and 13 are times in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().map(|index: &usize| fields[*index].parse::<f64>().unwrap()).sum();
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: f64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    (ticks / 100.0, pages * 4096.0 / 1e6)
}
